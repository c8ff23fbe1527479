package proxy

import (
	"slices"
	"strings"

	"gopgpool/cluster"
	"gopgpool/loop"
	"gopgpool/pgwire"
	"gopgpool/proxy/stmt"
)

// This file is about what a session loses with a server connection, and so whether it survives the loss.

// stake is the worst of what a session has at one server.
type stake uint8

const (
	nothing     stake = iota // what it has there is known and can be had elsewhere
	notRun                   // a statement was sent and the server ended before it came to it
	stateThere               // temporary tables and the like, see holding
	transaction              // an open transaction has been there
	reading                  // a statement that only reads is running
	writing                  // a statement that may write is running
)

func (s stake) String() string {
	switch s {
	case notRun:
		return "the statement has not been run and has had no effect"
	case stateThere:
		return "the session had state there that cannot be moved (temporary tables, LISTEN, advisory locks, cursors or the like)"
	case transaction:
		return "the open transaction is lost and has had no effect"
	case reading:
		return "the statement that was running has had no effect"
	case writing:
		return "the statement that was running may have taken effect"
	default:
		return "nothing was running there"
	}
}

// stakeAt tells what the session would lose with a connection.
func (s *session) stakeAt(b *backend) stake {
	at := s.runningAt(b)
	inBlock := b.mark.Joined() || b.unsynced
	switch {
	case b.ending && !b.wrote: // its COMMIT is on the way, and the client hears of another server's
		return nothing
	case b.ending, b.lasting:
		at = writing
	case at == writing:
	case inBlock:
		at = transaction
	case at == reading:
	case s.midFrame == b:
		at = reading
	case b.holds != 0:
		at = stateThere
	}
	return at
}

// runningAt tells whether the client waits for a statement there, and whether the loss leaves its effect in doubt. Questions of our own
// do not count: whoever asked gets an error.
func (s *session) runningAt(b *backend) stake {
	at := nothing
	for i := b.head; i < len(b.queue); i++ {
		e := &b.queue[i]
		switch {
		case e.swallow && e.kind != pgwire.Sync:
		case e.note != nil && e.note.end == endRollback:
			at = reading
		case s.mayLast(b, e):
			return writing
		case !e.swallow:
			at = reading
		}
	}
	return at
}

// mayLast tells whether what was sent may have an effect that lasts though its answer has not come.
func (s *session) mayLast(b *backend, e *expect) bool {
	inTx := s.journal.InTx() // in a block nothing lasts before its end
	switch e.kind {
	case pgwire.Sync:
		return e.writes && !inTx
	case pgwire.FunctionCall:
		return !inTx
	case pgwire.Query, pgwire.Execute:
	default:
		return false
	}
	switch f := e.facts; {
	case f == nil:
		return true
	case inTx:
		return f.Multi || f.Kind == stmt.KindUnparsed || f.Kind == stmt.KindCommit || f.Kind == stmt.KindPrepareTransaction
	default:
		return e.note != nil || e.writes || f.Kind == stmt.KindCommit || s.mayWrite(b, f)
	}
}

// mayWrite tells whether a statement that routing takes for a read may write all the same: a function may, and views, operators, casts
// and rules may call any. Only a standby never writes.
func (s *session) mayWrite(b *backend, f *stmt.Facts) bool {
	return !b.standby && f.Kind != stmt.KindShow && f.Kind != stmt.KindEmpty
}

// stakes notes what a statement that is sent now may do, for as long as its transaction is not over.
func (s *session) stakes(b *backend, e *expect) {
	f := e.facts
	b.wrote = b.wrote || f == nil || e.writes || s.mayWrite(b, f)
	if f != nil {
		s.sinceNotify(b, f)
	}
	if s.pooled && !b.sequences && (f == nil || s.mayAdvance(f)) {
		b.sequences, b.unsure = true, true
	}
	if s.pooled && f != nil {
		s.sendsPin(b, f, e.writes)
	}
	if e.kind != pgwire.Query && (e.note == nil || e.note.end != endRollback) {
		b.lasting = b.lasting || f == nil || commitsItself(f, s.journal.InTx())
	}
}

// commitsItself tells whether a statement in an extended batch may last though the batch is not finished.
func commitsItself(f *stmt.Facts, inTx bool) bool {
	switch f.Kind {
	case stmt.KindUnparsed, stmt.KindCommit, stmt.KindPrepareTransaction:
		return true
	case stmt.KindCommitPrepared, stmt.KindRollbackPrepared, stmt.KindCall, stmt.KindDo, stmt.KindVacuum, stmt.KindLoad,
		stmt.KindCheckpoint, stmt.KindOther:
		return !inTx
	}
	return false
}

// holding is session state that lives at one server and that nobody can make anew elsewhere.
type holding uint16

const (
	holdsTemp     holding = 1 << iota // temporary tables
	holdsListen                       // LISTEN
	holdsLock                         // advisory locks of the session
	holdsCursor                       // a cursor WITH HOLD
	holdsSettings                     // settings the journal does not know
	holdsUnknown                      // what DO, CALL or a function has left behind
	holdsSequence                     // what nextval has left for currval and lastval, and somebody asks for
	holdsSeed                         // setseed
	holdsLibrary                      // LOAD
	holdsPrepared                     // prepared statements that are not known by name
	holdsMarked                       // what a function of unsafe_function_list has left
)

// holdingOf is what a statement that succeeded leaves behind. What a function does that writes nothing is taken to leave no state.
func (s *session) holdingOf(f *stmt.Facts, writes bool) (h holding) {
	if f.Kind == stmt.KindDiscard || f.Kind == stmt.KindUnlisten || f.Kind == stmt.KindPrepare && !f.Multi {
		return 0
	}
	if len(f.CreatesTemp) > 0 {
		h |= holdsTemp
	}
	if f.Hold {
		h |= holdsCursor
	}
	switch f.Kind {
	case stmt.KindListen:
		h |= holdsListen
	case stmt.KindLoad:
		h |= holdsLibrary
	case stmt.KindDo, stmt.KindCall, stmt.KindUnparsed:
		h |= holdsUnknown
	}
	if s.pooled && s.taints(f) || !s.pooled && f.MayTouchSession && writes && f.Setting == nil || f.Multi && f.MultiState {
		h |= holdsUnknown
	}
	if f.Kind == stmt.KindUpdate && slices.ContainsFunc(f.Relations, func(n stmt.Name) bool { return n.Name == "pg_settings" }) {
		h |= holdsUnknown // as good as SET (manual: pg_settings)
	}
	if f.Setting != nil && f.Setting.Name == "seed" {
		h |= holdsSeed
	}
	for i := range f.Functions {
		if locksForSession(f.Functions[i].Name) {
			h |= holdsLock
		}
		h |= s.heldBy(&f.Functions[i])
	}
	return h
}

// heldBy is what a function leaves behind that matters where connections are shared.
func (s *session) heldBy(f *stmt.Name) holding {
	switch {
	case f.Name == "setseed":
		return holdsSeed
	case !s.pooled:
		return 0
	case f.Name == "currval" || f.Name == "lastval":
		return holdsSequence
	case keepsBackend(f.Name), s.cfg.Pools.UnsafeFunctionList.Match(qualified(f)):
		return holdsMarked
	}
	return 0
}

// qualified is a function's name as the lists of functions have it.
func qualified(f *stmt.Name) string {
	if f.Schema == "" {
		return f.Name
	}
	return f.Schema + "." + f.Name
}

// keepsBackend reports the functions of PostgreSQL that bind something to the server process which no question finds.
func keepsBackend(name string) bool {
	switch name {
	case "pg_backup_start", "pg_start_backup", "pg_replication_origin_session_setup", "pg_create_logical_replication_slot",
		"pg_create_physical_replication_slot", "pg_copy_logical_replication_slot", "pg_copy_physical_replication_slot":
		return true
	}
	return false
}

// locksForSession reports pg_advisory_lock and its kin, but for those whose locks end with the transaction.
func locksForSession(function string) bool {
	return strings.HasPrefix(function, "pg_advisory_lock") || strings.HasPrefix(function, "pg_try_advisory_lock")
}

// leaves records what a statement has left behind on a server.
func (s *session) leaves(b *backend, f *stmt.Facts, writes bool) {
	switch {
	case f.Kind == stmt.KindDiscard && f.DiscardTarget == "all":
		b.holds &= foreverHeld
		return
	case f.Kind == stmt.KindDiscard && f.DiscardTarget == "temp":
		b.holds &^= holdsTemp
	case f.Kind == stmt.KindUnlisten && f.Name == "":
		b.holds &^= holdsListen
	}
	before := b.holds
	h := s.holdingOf(f, writes)
	if s.pooled {
		h &^= holdsUnknown // was noted when it was sent
	}
	b.holds |= h
	if s.pinned {
		b.holds |= holdsSettings
	}
	b.probe = b.probe || s.pooled && b.holds&^before&findable != 0
}

// suspect is a server that has ended an idle connection by an administrator's command: it shuts down, or only this connection was
// meant (pg_terminate_backend).
type suspect struct {
	node  cluster.NodeID
	frame []byte // what it said
	at    stake  // what the session has lost if that was meant
	heart bool   // it was the session's connection to the primary, or its only one: whoever ends that means the session
}

// suspect takes note of a server that has ended the session's connection to it with this frame while the client waited for it.
func (s *session) suspect(node cluster.NodeID, frame []byte, at stake) {
	s.suspects = append(s.suspects, suspect{node: node, frame: append([]byte(nil), frame...), heart: true, at: at})
}

// askSuspects finds out what the servers meant. Where one still takes connections, its client was to go: it is told and the session is
// over. Where it does not, the session goes on without it.
func (s *session) askSuspects() error {
	all := s.suspects
	s.suspects = nil
	for _, x := range all {
		v := s.srv.store.Current()
		if !v.Live(x.node) {
			continue
		}
		c, err := s.connectAnew(x.node)
		if err == nil {
			s.giveUp(c)
		}
		switch {
		case err == nil && !x.heart:
			continue
		case err == nil:
			s.end = endedBy(x.node, pgwire.ReadFields(x.frame[pgwire.HeaderSize:]), x.at)
			return s.end
		case s.mustEndNow(err), s.t.Stopped():
			return loop.ErrStopped
		case refusesUs(err) && s.srv.parts.NodeShutdown != nil && (x.node == v.Writer() || x.node == s.in.L):
			s.srv.parts.NodeShutdown(x.node, v)
		}
		s.tellLost(x.node, v, err)
	}
	return nil
}
