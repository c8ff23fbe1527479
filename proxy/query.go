package proxy

import (
	"errors"

	"gopgpool/cluster"
	"gopgpool/pgwire"
	"gopgpool/pool"
	"gopgpool/proxy/route"
	"gopgpool/proxy/stmt"
	"gopgpool/proxy/vsession"
)

// offloadParse is the length of a text from which the grammar may take longer than a loop can be kept waiting.
const offloadParse = 4 << 10

// analyze returns a statement's facts.
func (s *session) analyze(text []byte) *stmt.Facts {
	f, ok := s.home.analyzer.Lookup(text)
	switch {
	case ok:
	case len(text) < offloadParse:
		f = s.home.analyzer.Parse(text)
	default:
		s.t.Offload(func() { f = s.home.analyzer.Parse(text) })
	}
	if f.Kind == stmt.KindUnparsed {
		s.logUnparsable(text)
	}
	return f
}

// query is a simple query.
func (s *session) query(frame []byte) error {
	text := frame[pgwire.HeaderSize:]
	if len(text) == 0 || text[len(text)-1] != 0 {
		return s.run(unparsed, nil, frame, len(frame)) // the server says what is wrong with it
	}
	text = text[:len(text)-1]
	if s.set.LogStatement() {
		s.logStatement(text)
	}
	if s.batchUsed { // PostgreSQL takes a Query in the middle of an extended batch; the servers' order has to be kept
		if err := s.settle(); err != nil || s.skipping {
			return err
		}
	}
	s.unnamed, s.noName = nil, portal{} // a simple query destroys the unnamed statement and portal
	f := s.analyze(text)
	switch {
	case f.Kind == stmt.KindEmpty && s.state.IsFailed():
		s.client.setQueued(pgwire.AppendReady(pgwire.AppendSimple(s.client.queued(), pgwire.EmptyQueryResponse), 'E'))
		return nil
	case f.Kind == stmt.KindPool:
		return s.poolQuery(f)
	case f.Multi:
	case f.Kind == stmt.KindBegin:
		if done, err := s.beginSimple(f, text); done {
			return err
		}
	case f.Kind == stmt.KindCommit || f.Kind == stmt.KindRollback:
		if done, err := s.endSimple(f, text); done {
			return err
		}
	}
	return s.run(f, text, frame, len(frame))
}

// run routes a simple query and sends it.
func (s *session) run(f *stmt.Facts, text, frame []byte, size int) error {
	d, p, err := s.decide(f, text, false)
	if err != nil {
		return s.refuse(err)
	}
	b, err := s.backendOrWriter(d.Node)
	if err != nil {
		return s.refuse(err)
	}
	s.activate(b)
	s.bringUp(b, b.node == s.in.View.Writer())
	if p != nil && f.Kind == stmt.KindExecute {
		s.ensure(p, b)
	}
	b.unnamed = nil // a simple query destroys the unnamed statement
	s.spread(f, b)
	b.push(expect{kind: pgwire.Query, facts: f, writes: d.Writes, note: s.noteFor(f, d.Both, b, text, frame)})
	if s.perNode {
		s.logPerNode(b, 'Q', text)
	}
	b.remember(text)
	s.home.counters.Statement(b.node, f.Counter)
	s.sendFrame(b, frame, size)
	s.owed++
	return nil
}

// decide asks route where a statement goes. p is the prepared statement an EXECUTE or DEALLOCATE names.
func (s *session) decide(f *stmt.Facts, text []byte, extended bool) (d route.Decision, p *prepared, err error) {
	in := &s.in
	in.Facts = f
	in.View = s.srv.store.Current()
	in.Gauges = s.srv.store.Gauges()
	in.Policy = s.policy
	in.Prepared, in.PreparedNode = nil, cluster.NoNode
	in.Names = route.Names{}
	in.Text = ""
	if s.policy.NeedsText() {
		in.Text = string(text)
	}
	if f.Kind == stmt.KindExecute || f.Kind == stmt.KindDeallocate && f.Name != "" {
		if p = s.named[f.Name]; p != nil {
			in.Prepared, in.PreparedNode = p.facts, p.node
		}
	}
	in.Dice = s.home.dice.Float64()
	if route.NeedsNames(in) {
		if err := s.lookUp(in); err != nil {
			return d, p, err
		}
	}
	d = route.Decide(in)
	if d.Action != route.Send {
		return d, p, s.refusal(&d)
	}
	if d.ChoseL {
		in.L = d.L
	}
	if s.mustStay(f, &d, in.View) {
		d.Node = in.View.Writer()
	}
	if node, ok := s.boundTo(f); ok {
		d.Node = node
	}
	if f.TerminatePID > 0 {
		if node, ok := s.srv.nodeOfPID(s.t, uint32(f.TerminatePID)); ok {
			d.Node = node
		}
	}
	return d, p, nil
}

// boundTo is the node that has the portal a FETCH or CLOSE names, or the prepared statement whose name a PREPARE repeats.
func (s *session) boundTo(f *stmt.Facts) (cluster.NodeID, bool) {
	switch f.Kind {
	case stmt.KindFetch, stmt.KindClosePortal:
		if po := s.portals[f.Name]; po != nil && po.b != nil {
			return po.b.node, true
		}
	case stmt.KindPrepare:
		if b := s.holder(s.named[f.Name]); b != nil {
			return b.node, true
		}
	}
	return cluster.NoNode, false
}

// backendOrWriter returns a connection to the node, or to the one that takes writes where a standby cannot be reached: a read is
// not refused for that. The standby is left alone for a while.
func (s *session) backendOrWriter(node cluster.NodeID) (*backend, error) {
	b, err := s.backendFor(node)
	var unreachable *pool.ConnectError
	if err == nil || node == s.writer() || !errors.As(err, &unreachable) {
		return b, err
	}
	s.logUnreachable(err)
	s.srv.avoid(node, s.t.Now())
	if s.in.L == node {
		s.in.L = cluster.NoNode // to be chosen again
	}
	return s.onWriter()
}

// mustStay overrides a read that would leave the writer: inside an extended batch that has written (one transaction
// until Sync), in a transaction no other server can join any more, or in a session whose settings only the writer has.
func (s *session) mustStay(f *stmt.Facts, d *route.Decision, v *cluster.View) bool {
	if d.Node == v.Writer() {
		return false
	}
	if s.ownSettings && f.Kind == stmt.KindShow {
		return true
	}
	return s.batchWrote || s.journal.Full() || s.pinned || s.srv.avoided(d.Node, s.t.Now())
}

// refusal is the error for a statement that is not sent.
func (s *session) refusal(d *route.Decision) error {
	if d.Reason.Code == route.ReasonFailedTransaction {
		return errFailedTransaction
	}
	return errNoNode
}

// activate makes b the server whose answers the client reads next.
func (s *session) activate(b *backend) { s.active = b }

// onWriter returns the connection to the node that takes writes.
func (s *session) onWriter() (*backend, error) {
	w := s.writer()
	if w == cluster.NoNode {
		return nil, errNoNode
	}
	return s.backendFor(w)
}

// bringUp sends a server what it lacks of the session's state, ahead of the statement that follows.
func (s *session) bringUp(b *backend, writer bool) {
	if !s.journal.Behind(&b.mark) {
		return
	}
	s.preludes = s.journal.Lacks(&b.mark, writer, s.preludes[:0])
	for i := range s.preludes {
		s.inject(b, &s.preludes[i])
	}
}

// inject sends a statement of ours ahead of the client's.
func (s *session) inject(b *backend, st *vsession.Statement) {
	if st.Effect == vsession.DiscardAll {
		s.forgetPrepared(b)
	}
	b.unnamed = nil
	b.dirty = true
	b.setQueued(pgwire.AppendQuery(b.queued(), st.Text))
	b.push(expect{kind: pgwire.Query, swallow: true, prelude: true})
	if s.set.LogPerNodeStatement() {
		s.logInjected(b, st.Text)
	}
}

// injectQuietly sends a statement whose failure does not matter to what follows.
func (s *session) injectQuietly(b *backend, text string) {
	b.unnamed = nil
	b.dirty = true
	b.setQueued(pgwire.AppendQuery(b.queued(), text))
	b.push(expect{kind: pgwire.Query, swallow: true})
	if s.set.LogPerNodeStatement() {
		s.logInjected(b, text)
	}
}

// noteFor describes what the statement does to the session when it succeeds; nil for most.
func (s *session) noteFor(f *stmt.Facts, both bool, b *backend, text, frame []byte) *note {
	if f.Multi {
		if f.MultiState {
			s.pinned = true // what it sets is known to this server alone
		}
		return nil
	}
	switch f.Kind {
	case stmt.KindPrepare:
		return &note{prepare: &prepared{name: f.Name, frame: append([]byte(nil), frame...), facts: f, bySQL: true, node: b.node}}
	case stmt.KindDeallocate:
		name := f.Name
		return &note{dealloc: &name}
	case stmt.KindCommit:
		return &note{end: endCommit}
	case stmt.KindRollback:
		return &note{end: endRollback}
	case stmt.KindPrepareTransaction:
		return &note{end: endCommit}
	case stmt.KindOther:
		if f.DatabaseDDL != "" {
			return &note{release: s.srv.pool.Hold(f.DatabaseDDL)}
		}
	}
	if effect, name, ok := journalled(f, both); ok {
		return &note{journal: &vsession.Statement{Text: string(text), Effect: effect, Name: name}}
	}
	return nil
}

// journalled tells whether a statement has to be repeated on servers that lack it.
func journalled(f *stmt.Facts, both bool) (effect vsession.Effect, name string, ok bool) {
	switch f.Kind {
	case stmt.KindSavepoint:
		return vsession.Savepoint, f.Name, true
	case stmt.KindRelease:
		return vsession.Release, f.Name, true
	case stmt.KindRollbackTo:
		return vsession.RollbackTo, f.Name, true
	case stmt.KindDiscard:
		if f.DiscardTarget == "all" {
			return vsession.DiscardAll, "", true
		}
		return vsession.Setting, "discard " + f.DiscardTarget, both
	case stmt.KindSet, stmt.KindReset, stmt.KindSelect:
		if f.Setting == nil || !both && f.Kind != stmt.KindSelect {
			return 0, "", false
		}
		return settingEffect(f.Setting)
	}
	return 0, "", false
}

func settingEffect(set *stmt.Setting) (vsession.Effect, string, bool) {
	switch {
	case set.All:
		return vsession.ResetAll, "", true
	case set.Transaction, set.Local:
		return vsession.Local, "", true
	}
	// Characteristics and names that stand for others are never overridden by a later setting, only repeated in order.
	return vsession.Setting, set.Name, true
}

// spread is a statement that other servers of the session have to run as well, now: those that drop what is prepared.
func (s *session) spread(f *stmt.Facts, b *backend) {
	if f.Kind != stmt.KindDeallocate || f.Multi {
		return
	}
	for _, o := range s.backends {
		switch {
		case o == b:
		case f.Name == "":
			s.injectQuietly(o, "DEALLOCATE ALL")
		default:
			if p := s.named[f.Name]; p != nil && p.on(o) {
				s.injectQuietly(o, "DEALLOCATE "+quoteName(f.Name))
			}
		}
	}
}

// concluded is a ReadyForQuery the client gets: what the statement has done is folded into the session.
func (s *session) concluded(b *backend, e *expect, status byte) {
	switch {
	case e.kind == pgwire.Query && !e.failed:
		s.succeeded(b, e)
	case e.kind == pgwire.Sync:
		s.endBatch(b)
	}
	if e.note != nil && e.note.release != nil {
		e.note.release()
	}
	s.transactionState(b, e, status)
}

// endBatch keeps, or forgets, the settings an extended batch has made.
func (s *session) endBatch(b *backend) {
	if !s.batchFailed {
		for i := range s.batchNotes {
			s.succeeded(b, &s.batchNotes[i])
		}
	}
	clear(s.batchNotes)
	s.batchNotes = s.batchNotes[:0]
	s.batchFailed = false
}

// succeeded folds a statement that succeeded.
func (s *session) succeeded(b *backend, e *expect) {
	f := e.facts
	if f == nil {
		return
	}
	if subject := s.subject(f); subject != nil {
		s.state.Succeeded(subject, e.writes)
	}
	if e.writes {
		s.stateVer++
	}
	if f.Counter == stmt.CountDDL || f.Multi || f.Kind == stmt.KindUnparsed || f.MayTouchSession || len(f.CreatesTemp) > 0 {
		s.afterDDL(f)
	}
	if e.note != nil {
		s.apply(b, f, e.note)
	} else if f.Kind == stmt.KindSet {
		s.ownSettings = true
	}
}

// subject is what an EXECUTE stands for.
func (s *session) subject(f *stmt.Facts) *stmt.Facts {
	if f.Kind == stmt.KindExecute {
		if p := s.named[f.Name]; p != nil {
			if p.facts.Kind == stmt.KindPrepare && p.facts.Inner != nil {
				return p.facts.Inner
			}
			return p.facts
		}
	}
	return f
}

// apply carries out a note.
func (s *session) apply(b *backend, f *stmt.Facts, n *note) {
	switch {
	case n.journal != nil:
		if n.journal.Effect == vsession.DiscardAll {
			s.discardAll(b)
		}
		if n.journal.Effect == vsession.RollbackTo {
			s.state.RollbackTo()
		}
		s.journal.Ran(&b.mark, *n.journal)
	case n.prepare != nil:
		p := n.prepare
		p.placed(b)
		s.setNamed(p.name, p)
	case n.dealloc != nil:
		s.deallocate(*n.dealloc)
	}
	_ = f
}

// discardAll drops what DISCARD ALL drops, here; the other servers follow by the journal.
func (s *session) discardAll(b *backend) {
	s.forgetPrepared(b)
	s.named, s.unnamed = nil, nil
	s.pinned = false
}

// forgetPrepared notes that a server has lost all its prepared statements.
func (s *session) forgetPrepared(b *backend) {
	b.unnamed = nil
	for _, p := range s.named {
		p.gone(b)
	}
}

func (s *session) deallocate(name string) {
	if name == "" {
		s.named = nil
		return
	}
	delete(s.named, name)
}

func (s *session) setNamed(name string, p *prepared) {
	if s.named == nil {
		s.named = make(map[string]*prepared)
	}
	s.named[name] = p
}

// ensure prepares a statement on a server that does not have it, ahead of its use.
func (s *session) ensure(p *prepared, b *backend) {
	if p.on(b) || p.frame == nil {
		return
	}
	b.dirty = true
	b.queue2(p.frame)
	if s.set.LogPerNodeStatement() {
		s.logInjected(b, p.sql())
	}
	if p.bySQL {
		b.unnamed = nil
		b.push(expect{kind: pgwire.Query, swallow: true, prelude: true})
	} else {
		b.push(expect{kind: pgwire.Parse, swallow: true, prelude: true, prep: p})
		if !b.unsynced { // in front of a simple query
			b.setQueued(pgwire.AppendSimple(b.queued(), pgwire.Sync))
			b.push(expect{kind: pgwire.Sync, swallow: true})
		}
	}
	p.placed(b)
}
