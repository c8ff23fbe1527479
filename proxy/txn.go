package proxy

import (
	"strings"
	"time"

	"gopgpool/pgwire"
	"gopgpool/proxy/route"
	"gopgpool/proxy/stmt"
	"gopgpool/proxy/vsession"
)

// beginSimple answers a BEGIN ourselves: servers learn of it with the first statement they get. done is false where a
// server has to answer: inside a transaction it warns.
func (s *session) beginSimple(f *stmt.Facts, text []byte) (done bool, err error) {
	if s.journal.InTx() {
		return false, nil
	}
	if err := s.refuseShared(f); err != nil {
		return true, s.refuse(err)
	}
	s.begin(f, text)
	s.beginListener()
	s.answer(beginTag(f), 'T')
	return true, nil
}

// begin opens a transaction block no server has joined.
func (s *session) begin(f *stmt.Facts, text []byte) {
	bg := s.journal.LastBegin()
	if bg.Text != string(text) {
		bg.Text = string(text)
		bg.Other = bg.Text
		if f.Modes.ReadWrite || f.Modes.Isolation == "serializable" {
			bg.Other = "BEGIN"
			if level := f.Modes.Isolation; level != "" && level != "serializable" {
				bg.Other += " ISOLATION LEVEL " + strings.ToUpper(level)
			}
		}
	}
	s.journal.Begin(bg)
	s.state.Begin(f.Modes)
	s.stateVer++
}

func beginTag(f *stmt.Facts) string {
	if f.StartTransaction {
		return "START TRANSACTION"
	}
	return "BEGIN"
}

// endSimple is COMMIT or ROLLBACK, or PREPARE TRANSACTION of a failed transaction, which rolls back. Where no server has joined the
// transaction we answer ourselves; else the writer, if it has joined, answers the client, and the others are told first.
func (s *session) endSimple(f *stmt.Facts, text []byte) (done bool, err error) {
	if !s.journal.InTx() {
		return false, nil
	}
	commit := f.Kind == stmt.KindCommit && !s.state.IsFailed()
	if commit {
		if err := s.confirmListen(); err != nil {
			return true, s.refuse(err)
		}
	}
	lead := s.endLead()
	if lead == nil {
		s.endTransaction(commit, f.Chain, nil)
		tag := "ROLLBACK"
		if commit {
			tag = "COMMIT"
		}
		status := byte('I')
		if f.Chain {
			status = 'T'
		}
		s.answer(tag, status)
		return true, nil
	}
	if commit && f.Chain { // its next transaction begins with what it has
		s.bringUp(lead, lead.node == s.writer())
	}
	s.endOthers(lead, commit)
	s.activate(lead)
	s.sendEnd(lead, f, text, commit)
	return true, nil
}

// endLead is the server that answers the end of the transaction: the one that has written, whatever has been decided about it since.
// What becomes of the others makes no difference.
func (s *session) endLead() *backend {
	var lead *backend
	w := s.writer()
	for _, b := range s.backends {
		if b.mark.Joined() && (lead == nil || b.wrote && !lead.wrote || b.node == w && b.wrote == lead.wrote) {
			lead = b
		}
	}
	return lead
}

// endOthers ends the transaction on the servers other than lead.
func (s *session) endOthers(lead *backend, commit bool) {
	text := "ROLLBACK"
	if commit {
		text = "COMMIT"
	}
	for _, b := range s.backends {
		if b != lead && b.mark.Joined() {
			s.injectQuietly(b, text)
			b.ending = true
		}
	}
}

func (s *session) sendEnd(lead *backend, f *stmt.Facts, text []byte, commit bool) {
	sql := string(text)
	if f.Kind != stmt.KindRollback && !commit && lead.status != 'E' {
		sql = "ROLLBACK" // it failed elsewhere, and this server does not know
		if f.Chain {
			sql = "ROLLBACK AND CHAIN"
		}
	}
	end := endRollback
	if commit {
		end = endCommit
	}
	e := expect{kind: pgwire.Query, facts: f, note: noteOf(end), asked: commit && s.asksID(lead)}
	s.measure(&e, lead, route.ReasonTransactionControl)
	lead.push(e)
	lead.unnamed = nil
	lead.dirty = true
	lead.setQueued(pgwire.AppendQuery(lead.queued(), sql))
	lead.flush()
	lead.remember(text)
	if s.perNode {
		s.logPerNode(lead, 'Q', []byte(sql))
	}
	s.home.counters.Statement(lead.node, f.Counter)
	s.owed++
}

// transactionState follows the state a server reports with the ReadyForQuery the client gets.
func (s *session) transactionState(b *backend, e *expect, status byte) {
	in := s.journal.InTx()
	if status == 'I' && len(s.portals) > 0 {
		clear(s.portals)
	}
	end := endNone
	chain := false
	if e.note != nil {
		end = e.note.end
	}
	if e.facts != nil {
		chain = e.facts.Chain
	}
	switch {
	case in && status == 'I':
		if e.facts != nil && e.facts.Multi && s.journal.Touching() {
			s.pinned = true // nobody knows whether its settings were kept
		}
		s.finish(b, end != endRollback && !e.failed && !s.state.IsFailed())
	case in && end != endNone && chain && !e.failed:
		s.endTransaction(end == endCommit, true, b)
	case !in && status != 'I':
		s.journal.BeganOn(&b.mark, vsession.Begin{Text: "BEGIN", Other: "BEGIN"})
		s.state.Ready(status)
		s.stateVer++
	case in:
		s.state.Ready(status) // a string of several statements may have failed, or recovered, the transaction
	case status == 'E':
		s.state.Failed()
	}
	if s.journal.InTx() && e.facts != nil && e.facts.Multi {
		s.journal.Freeze() // what else it did is known to this server alone
	}
}

// finish is the end of a transaction as a server reported it: those that still are in it are told.
func (s *session) finish(b *backend, commit bool) {
	for _, o := range s.backends {
		if o != b && o.mark.Joined() && !o.ending {
			if commit {
				s.injectQuietly(o, "COMMIT")
			} else {
				s.injectQuietly(o, "ROLLBACK")
			}
		}
	}
	s.endTransaction(commit, false, nil)
}

// endTransaction folds the end of the transaction. With chain a new one has begun, on the server b if that is not nil.
func (s *session) endTransaction(commit, chain bool, b *backend) {
	marks := s.marks[:0]
	for _, x := range s.backends {
		marks = append(marks, &x.mark)
		x.ending = false
	}
	s.marks = marks[:0]
	s.endListen(commit)
	if commit {
		s.journal.Commit(marks)
	} else {
		s.journal.Rollback(marks)
	}
	s.stateVer++
	s.timing.tx = time.Time{}
	s.changedCatalog = false
	if s.temps.TempPossible() {
		s.temps.Touched() // a rollback takes temporary tables with it
	}
	if len(s.portals) > 0 {
		clear(s.portals)
	}
	if !chain {
		s.state.End(commit)
		return
	}
	s.state.Chain(commit)
	if b != nil {
		s.journal.Chain(&b.mark)
	} else {
		s.journal.Rechain()
	}
}

// answer sends a command tag and ReadyForQuery of our own.
func (s *session) answer(tag string, status byte) {
	out := pgwire.AppendTag(s.client.queued(), tag)
	s.client.setQueued(pgwire.AppendReady(out, status))
	s.lastSeen = s.t.Now()
}

// txByte is the transaction state the client is told when no server tells it.
func (s *session) txByte() byte {
	switch {
	case !s.journal.InTx():
		return 'I'
	case s.state.IsFailed():
		return 'E'
	}
	return 'T'
}
