package proxy

import (
	"strings"

	"gopgpool/pgwire"
	"gopgpool/proxy/stmt"
	"gopgpool/proxy/vsession"
)

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
		return &note{prepare: &prepared{name: f.Name, frame: append([]byte(nil), frame...), facts: f, bySQL: true, node: b.node, ver: s.nextVersion(), stays: !s.shares()}}
	case stmt.KindDeallocate:
		name := f.Name
		return &note{dealloc: &name}
	case stmt.KindCommit:
		return committing
	case stmt.KindRollback:
		return rollingBack
	case stmt.KindPrepareTransaction:
		return committing
	case stmt.KindOther:
		if f.DatabaseDDL != "" {
			if s.srv.parts.Users != nil {
				s.srv.parts.Users.Forget(f.DatabaseDDL)
			}
			return &note{release: s.srv.pool.Hold(f.DatabaseDDL)}
		}
	}
	if effect, name, ok := journalled(f, both && !s.pooled); ok && name != "seed" {
		writer := f.Kind == stmt.KindSet && f.Class == stmt.ClassPrimary
		st := &vsession.Statement{Text: string(text), Effect: effect, Name: name, Writer: writer}
		st.Reset = f.Setting != nil && f.Setting.Default
		return &note{journal: st}
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
		if f.Setting == nil {
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
		return vsession.Local, set.Name, true
	}
	// Characteristics and names that stand for others are never overridden by a later setting, only repeated in order.
	return vsession.Setting, set.Name + dateStyleHalf(set), true
}

// dateStyleHalf names the half of DateStyle that a SET leaves alone the other half; empty for any other setting.
func dateStyleHalf(set *stmt.Setting) string {
	if set.Name != "datestyle" || set.Default {
		return ""
	}
	half := ""
	for _, word := range strings.FieldsFunc(strings.ToLower(strings.Join(set.Values, ",")), func(r rune) bool { return r == ',' || r == ' ' }) {
		part := " order"
		switch word {
		case "iso", "sql", "postgres":
			part = " style"
		case "german", "default": // with an order of its own
			return ""
		}
		if half != "" && half != part {
			return ""
		}
		half = part
	}
	return half
}

// concluded is a ReadyForQuery the client gets: what the statement has done is folded into the session.
func (s *session) concluded(b *backend, e *expect, status byte) {
	switch {
	case (e.kind == pgwire.Query || e.kind == pgwire.FunctionCall) && !e.failed:
		s.succeeded(b, e)
	case e.kind == pgwire.Sync:
		if s.hears.changes.Pending() && !s.journal.InTx() {
			s.endListen(!s.batchFailed && status == 'I')
		}
		s.endBatch()
	}
	if e.note != nil && e.note.release != nil {
		e.note.release()
	}
	s.transactionState(b, e, status)
}

// batchNote is a setting made in an extended batch, and where.
type batchNote struct {
	b *backend
	e expect
}

// cutsBatch notes that a statement begins or ends a transaction in a batch that has made settings by then: what becomes of those when the
// rest of the batch fails, or is rolled back, is asked for.
func (s *session) cutsBatch(f *stmt.Facts) {
	if !s.pooled || len(s.batchNotes) == 0 {
		return
	}
	switch f.Kind {
	case stmt.KindBegin, stmt.KindCommit, stmt.KindRollback, stmt.KindPrepareTransaction:
	default:
		if !commitsItself(f, false) {
			return
		}
	}
	for i := range s.batchNotes {
		b := s.batchNotes[i].b
		b.holds |= holdsSettings
		b.probe = true
	}
}

// endBatch keeps, or forgets, the settings an extended batch has made.
func (s *session) endBatch() {
	if !s.batchFailed {
		for i := range s.batchNotes {
			s.succeeded(s.batchNotes[i].b, &s.batchNotes[i].e)
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
	touched := (f.MayTouchSession && f.Setting != nil || s.taints(f)) && !(b.standby && f.Kind == stmt.KindSelect && f.Setting == nil) // there no function makes anything
	if f.Counter == stmt.CountDDL || f.Multi || f.Kind == stmt.KindUnparsed || touched || len(f.CreatesTemp) > 0 {
		s.afterDDL(f)
	}
	if e.note != nil {
		s.apply(b, e.note)
	}
	if subject := s.subject(f); subject != nil {
		s.leaves(b, subject, e.writes)
	}
}

// subject is what an EXECUTE stands for.
func (s *session) subject(f *stmt.Facts) *stmt.Facts {
	if f.Kind == stmt.KindExecute {
		if p := s.named[f.Name]; p != nil {
			return p.runs()
		}
	}
	return f
}

// apply carries out a note.
func (s *session) apply(b *backend, n *note) {
	switch {
	case n.journal != nil:
		if n.journal.Effect == vsession.DiscardAll {
			s.discardAll(b)
		}
		s.savepointListen(n.journal)
		s.journal.Ran(&b.mark, *n.journal)
		s.ownSettings = s.ownSettings || n.journal.Writer
	case n.prepare != nil:
		p := n.prepare
		p.placed(b)
		s.setNamed(p.name, p)
	case n.dealloc != nil:
		s.deallocate(b, *n.dealloc)
	}
}

// note is what a statement that changes the session does when it succeeds; most statements have none.
type note struct {
	journal *vsession.Statement // to be recorded
	end     txEnd               // how the transaction ends
	begin   string              // the text of a BEGIN that was sent
	prepare *prepared           // SQL PREPARE
	dealloc *string             // SQL DEALLOCATE; "" is ALL
	release func()              // to be called when the answer is complete, whatever it is
}

// The notes of statements that only end a transaction are shared.
var (
	committing  = &note{end: endCommit}
	rollingBack = &note{end: endRollback}
)

func noteOf(end txEnd) *note {
	if end == endCommit {
		return committing
	}
	return rollingBack
}

// txEnd is what COMMIT, ROLLBACK and PREPARE TRANSACTION do.
type txEnd uint8

const (
	endNone txEnd = iota
	endCommit
	endRollback
)
