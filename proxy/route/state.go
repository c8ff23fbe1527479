package route

import (
	"slices"

	"gopgpool/proxy/stmt"
)

// maxWritten bounds the statements remembered for dml_adaptive in one transaction; beyond it every relation counts as written.
const maxWritten = 256

// State is what a session, and its transaction, has done so far, as far as it matters for routing. The session folds
// into it what passes; deciding only reads it. The zero value is a session that has just begun. It keeps the *stmt.Facts
// it is given, which are immutable. Not safe for concurrent use.
type State struct {
	inTx         bool
	failed       bool
	multi        bool // begun inside a string of several statements: exists on the primary only
	wrote        bool
	wroteUnknown bool // dml_adaptive: wrote relations nobody can name

	modes         modes    // of the transaction
	begunReadOnly bool     // read-only since it began: no savepoint can undo that
	readOnlyAt    []string // else the savepoints at which it was
	defaults      modes    // of the session's next transaction
	atBegin       modes    // the defaults when the transaction began, for its rollback
	seed          modes    // the defaults when the session began, for RESET

	home     settledNode // where a read-only transaction runs
	snapshot settledNode // where a REPEATABLE READ transaction has its snapshot
	cursors  []cursor    // declared in this transaction, where it is read-only

	wroteInTx bool // some transaction that is over has written
	wroteEver bool // something has written, inside or outside a transaction

	written []*stmt.Facts // statements of this transaction that wrote, for dml_adaptive
	temps   []tempName
}

// tempName is a temporary relation the session has created, for check_temp_table = trace.
type tempName struct {
	name             string
	created, dropped bool // in the transaction that is open
}

// InTransaction tells that an explicit transaction is open, failed or not.
func (s *State) InTransaction() bool { return s.inTx }

// IsFailed tells that the open transaction has failed.
func (s *State) IsFailed() bool { return s.failed }

// PrimaryOnly tells that the transaction was begun inside a string of several statements: no other node takes part in it.
func (s *State) PrimaryOnly() bool { return s.multi }

// Wrote tells that the open transaction has written.
func (s *State) Wrote() bool { return s.wrote }

// EachReadAnew tells that each read of the transaction sees what is committed by then, and that no cursor of it is open: reads may move to
// another node.
func (s *State) EachReadAnew() bool { return s.modes.isolation == readCommitted && len(s.cursors) == 0 }

// Serializable tells that the open transaction is, as far as statements have said it.
func (s *State) Serializable() bool { return s.inTx && s.modes.isolation == serializable }

// Begin folds a BEGIN that has been accepted. Inside a transaction it only changes the modes, as in PostgreSQL.
func (s *State) Begin(m stmt.TxModes) {
	if !s.inTx {
		s.clearTransaction()
		s.inTx = true
		s.modes, s.atBegin = s.defaults, s.defaults
	}
	s.modes = s.modes.with(m)
	s.begunReadOnly = s.modes.readOnly
}

// Failed folds an error: an open transaction has failed.
func (s *State) Failed() { s.failed = s.inTx }

// RollbackTo folds a ROLLBACK TO that succeeded. The transaction still counts as having written: what was written
// before the savepoint is not known to be nothing. (Pgpool-II forgets the write here.) A READ ONLY that was set after the
// savepoint is undone.
func (s *State) RollbackTo(name string) {
	s.failed = false
	at := slices.Index(s.readOnlyAt, name)
	s.modes.readOnly = s.modes.readOnly && (s.begunReadOnly || at >= 0)
	s.readOnlyAt = s.readOnlyAt[:at+1]
	for i := range s.temps {
		s.temps[i].dropped = false
	}
}

// End folds the end of the transaction. commit is false for a ROLLBACK and for a COMMIT of a failed transaction.
func (s *State) End(commit bool) {
	if s.wrote {
		s.wroteInTx = true
	}
	if !commit && s.inTx {
		s.defaults = s.atBegin
	}
	s.endTemps(commit)
	s.clearTransaction()
}

// Chain folds COMMIT AND CHAIN or ROLLBACK AND CHAIN: a new transaction with the modes of the old.
func (s *State) Chain(commit bool) {
	modes, multi := s.modes, s.multi
	s.End(commit)
	s.Begin(stmt.TxModes{})
	s.modes, s.begunReadOnly, s.multi = modes, modes.readOnly, multi
}

// Ready folds the transaction state of a ReadyForQuery of the primary ('I', 'T' or 'E'). It puts right what the
// statements did not tell: transactions begun or ended inside strings of several statements and in procedures.
func (s *State) Ready(status byte) {
	switch status {
	case 'I':
		if s.inTx {
			for i := range s.temps { // commit or rollback is not known: keep every name
				s.temps[i].dropped = false
			}
			s.End(true)
		}
	case 'T', 'E':
		if !s.inTx {
			s.Begin(stmt.TxModes{})
			s.multi = true
		}
		s.failed = status == 'E'
	}
}

// Succeeded folds a statement that succeeded, of every kind; f are the facts of Input.Subject, for EXECUTE the prepared
// statement's, and writes is Decision.Writes. A COMMIT of a failed transaction ends it as a ROLLBACK.
func (s *State) Succeeded(f *stmt.Facts, writes bool) {
	if f.Multi {
		s.severalSucceeded(f, writes)
		return
	}
	switch f.Kind {
	case stmt.KindBegin:
		s.Begin(f.Modes)
	case stmt.KindCommit, stmt.KindRollback:
		commit := f.Kind == stmt.KindCommit && !s.failed
		if f.Chain {
			s.Chain(commit)
		} else {
			s.End(commit)
		}
	case stmt.KindPrepareTransaction:
		s.End(!s.failed)
	case stmt.KindSavepoint, stmt.KindRelease:
		s.savepoint(f)
	case stmt.KindRollbackTo:
		s.RollbackTo(f.Name)
	case stmt.KindDiscard:
		s.discard(f.DiscardTarget)
	case stmt.KindClosePortal:
		s.closeCursor(f.Name)
	}
	s.foldEffects(f, writes)
}

// severalSucceeded folds a string of several statements. A transaction it leaves open exists on the primary only; one it
// ends is put right by Ready.
func (s *State) severalSucceeded(f *stmt.Facts, writes bool) {
	if f.MultiBegins && !s.inTx {
		s.Begin(f.Modes)
		s.multi = true
	}
	s.foldEffects(f, writes)
}

func (s *State) foldEffects(f *stmt.Facts, writes bool) {
	if f.Setting != nil {
		s.set(f)
	}
	if len(f.CreatesTemp) > 0 || len(f.DropsTables) > 0 {
		s.foldTemps(f)
	}
	if writes && countsAsWrite(f) && !(s.modes.readOnly && cannotWrite(f)) {
		s.wroteEver = true
		if s.inTx {
			s.foldWrite(f)
		}
	}
}

func (s *State) clearTransaction() {
	s.inTx, s.failed, s.multi, s.wrote, s.wroteUnknown = false, false, false, false, false
	s.modes, s.begunReadOnly, s.readOnlyAt = modes{}, false, nil
	s.home, s.snapshot, s.cursors = settledNode{}, settledNode{}, nil
	clear(s.written)
	s.written = s.written[:0]
}

// countsAsWrite leaves out what is not read-only by syntax but does not pin reads: transaction control, two-phase commit,
// and settings of the transaction itself that do not announce a write.
func countsAsWrite(f *stmt.Facts) bool {
	switch f.Kind {
	case stmt.KindEmpty, stmt.KindBegin, stmt.KindCommit, stmt.KindRollback,
		stmt.KindPrepareTransaction, stmt.KindCommitPrepared, stmt.KindRollbackPrepared:
		return f.Multi // of several statements the first is no measure
	case stmt.KindSet, stmt.KindReset:
		return f.Multi || f.Setting == nil || !setsTransaction(f)
	default:
		return true
	}
}

// cannotWrite reports what is not read-only by syntax and yet writes nothing in a read-only transaction.
func cannotWrite(f *stmt.Facts) bool {
	switch f.Kind {
	case stmt.KindSet, stmt.KindReset, stmt.KindSavepoint, stmt.KindRelease, stmt.KindRollbackTo, stmt.KindFetch, stmt.KindClosePortal:
		return !f.Multi
	case stmt.KindSelect: // set_config()
		return !f.Multi && f.Setting != nil
	case stmt.KindDeclareCursor:
		return !f.Multi && len(f.Functions) == 0
	}
	return false
}

func (s *State) foldWrite(f *stmt.Facts) {
	s.wrote = true
	switch {
	case f.Multi, f.Kind == stmt.KindUnparsed, f.Kind == stmt.KindDo, f.Kind == stmt.KindCall, f.Kind == stmt.KindExecute:
		s.wroteUnknown = true
		return
	case len(f.Relations) == 0 && len(f.Functions) == 0:
		return
	}
	for _, seen := range s.written {
		if seen == f {
			return
		}
	}
	if len(s.written) >= maxWritten {
		s.wroteUnknown = true
		return
	}
	s.written = append(s.written, f)
}

// writtenIn returns the first relation of f that this transaction has written, directly or by the configured
// relationships.
func (s *State) writtenIn(p *Policy, f *stmt.Facts) (stmt.Name, bool) {
	for _, w := range s.written {
		for i := range f.Relations {
			if touches(p, w, lower(f.Relations[i].Name)) {
				return f.Relations[i], true
			}
		}
	}
	return stmt.Name{}, false
}

func touches(p *Policy, w *stmt.Facts, name string) bool {
	for i := range w.Relations {
		n := lower(w.Relations[i].Name)
		if n == name || p.related.byRelation[n] == name {
			return true
		}
	}
	if len(p.related.byFunction) == 0 {
		return false
	}
	for i := range w.Functions {
		if p.related.byFunction[lower(w.Functions[i].Name)] == name {
			return true
		}
	}
	return false
}
