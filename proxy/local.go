package proxy

import (
	"gopgpool/pgwire"
	"gopgpool/proxy/show"
	"gopgpool/proxy/stmt"
	"gopgpool/proxy/vsession"
)

// answersItself reports whether the proxy answers a statement until it is executed, or altogether.
func (s *session) answersItself(f *stmt.Facts) bool {
	switch f.Kind {
	case stmt.KindPool, stmt.KindCommit, stmt.KindRollback:
		return true
	case stmt.KindBegin:
		return true
	}
	return s.answersListen(f)
}

// executed is the end of an Execute that succeeded.
func (s *session) executed(b *backend, e *expect) error {
	s.took(b, e)
	if s.blocked == b {
		s.blocked = nil
	}
	if e.note == nil || e.facts == nil {
		return nil
	}
	if e.note.release != nil {
		e.note.release()
	}
	if j := e.note.journal; j != nil && j.Effect != vsession.DiscardAll && !s.journal.InTx() { // it lasts if the batch, which is one transaction, succeeds
		s.batchWrote = true
		s.stateVer++
		s.batchNotes = append(s.batchNotes, batchNote{b, *e})
		return nil
	}
	s.succeeded(b, e)
	switch {
	case e.note.end != endNone:
		s.finishExtended(b, e)
	case e.facts.Kind == stmt.KindBegin:
		s.begin(e.facts, []byte(e.note.begin))
		s.journal.BeganOn(&b.mark, s.journal.LastBegin())
	}
	return nil
}

// finishExtended is the end of a transaction by the extended protocol.
func (s *session) finishExtended(b *backend, e *expect) {
	if e.swallow || !s.journal.InTx() {
		return
	}
	commit := e.note.end == endCommit
	if e.facts.Kind == stmt.KindPrepareTransaction {
		s.endOthers(b, true)
	}
	var on *backend
	if e.facts.Chain {
		on = b
	}
	s.endTransaction(commit, e.facts.Chain, on)
}

// describeLocal describes a statement the proxy answers.
func (s *session) describeLocal(p *prepared, statement bool) []byte {
	var out []byte
	if statement {
		out = pgwire.AppendBody(out, pgwire.ParameterDescription, []byte{0, 0})
	}
	if p.facts.Kind == stmt.KindPool {
		if columns := s.poolColumns(p.facts); len(columns) > 0 {
			return pgwire.AppendRowDescription(out, columns)
		}
	}
	return pgwire.AppendSimple(out, pgwire.NoData)
}

// executeLocal executes a statement the proxy has answered so far: its own commands, and transaction control.
func (s *session) executeLocal(p *prepared) error {
	f := p.facts
	if s.set.LogStatement() {
		s.logStatement(p.text)
	}
	switch f.Kind {
	case stmt.KindPool:
		r, err := s.poolCommand(f)
		if err != nil {
			return s.refuseExtended(err)
		}
		return s.local(appendRows(nil, r))
	case stmt.KindBegin:
		return s.beginExtended(p)
	case stmt.KindListen, stmt.KindUnlisten:
		tag, err := s.listenTo(f)
		if err != nil {
			return s.refuseExtended(err)
		}
		return s.local(pgwire.AppendTag(nil, tag))
	}
	return s.endExtended(p)
}

// beginExtended is BEGIN by the extended protocol. As in simple queries servers learn of it later, except where statements of
// the same batch have reached one: they belong to the transaction.
func (s *session) beginExtended(p *prepared) error {
	if s.journal.InTx() || s.anyUnsynced() {
		return s.executeOn(nil, p, &note{begin: string(p.text)})
	}
	if err := s.refuseShared(p.facts); err != nil {
		return s.refuseExtended(err)
	}
	s.begin(p.facts, p.text)
	s.beginListener()
	return s.local(pgwire.AppendTag(nil, beginTag(p.facts)))
}

func (s *session) anyUnsynced() bool {
	for _, b := range s.backends {
		if b.unsynced {
			return true
		}
	}
	return false
}

// endExtended is COMMIT or ROLLBACK by the extended protocol.
func (s *session) endExtended(p *prepared) error {
	f := p.facts
	if !s.journal.InTx() {
		return s.executeOn(nil, p, nil)
	}
	if s.active != nil {
		if err := s.drain(s.active); err != nil || s.skipping {
			return err
		}
	}
	commit := f.Kind == stmt.KindCommit && !s.state.IsFailed()
	if commit {
		if err := s.confirmListen(); err != nil {
			return s.refuseExtended(err)
		}
	}
	lead := s.endLead()
	if lead == nil {
		s.endTransaction(commit, f.Chain, nil)
		tag := "ROLLBACK"
		if commit {
			tag = "COMMIT"
		}
		return s.local(pgwire.AppendTag(nil, tag))
	}
	s.endOthers(lead, commit)
	end := endRollback
	if commit {
		end = endCommit
	}
	if f.Kind == stmt.KindCommit && !commit && lead.status != 'E' {
		p = &prepared{facts: f, text: []byte("ROLLBACK"), ver: p.ver + 1}
		p.frame = pgwire.AppendParse(nil, "", "ROLLBACK")
	}
	return s.executeOn(lead, p, noteOf(end))
}

// executeOn runs a statement without parameters that the client believes to be parsed and bound, on the node that takes writes where b is
// nil.
func (s *session) executeOn(b *backend, p *prepared, n *note) error {
	b, err := s.on(b)
	if err != nil {
		return s.refuseExtended(err)
	}
	asked := n == committing && s.asksID(b)
	s.ensureExtended(p, b)
	b.queue2(pgwire.AppendBind(nil, "", p.serverName()))
	b.push(expect{kind: pgwire.Bind, swallow: true, mark: s.mark})
	b.queue2(pgwire.AppendExecute(nil, ""))
	e := expect{kind: pgwire.Execute, facts: p.facts, note: n, mark: s.mark, asked: asked}
	s.stakes(b, &e)
	b.push(e)
	b.unsynced, b.dirty = true, true
	b.remember(p.text)
	s.home.counters.Statement(b.node, p.facts.Counter)
	if s.perNode {
		s.logPerNode(b, 'E', p.text)
	}
	if n != nil {
		s.blocked = b
	}
	return nil
}

// appendRows appends the rows of an answer of ours.
func appendRows(dst []byte, r *show.Result) []byte {
	for _, row := range r.Rows {
		dst = pgwire.AppendDataRow(dst, row)
	}
	return pgwire.AppendTag(dst, r.Tag)
}
