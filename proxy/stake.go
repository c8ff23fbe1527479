package proxy

import (
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
	stateThere               // temporary tables and the like, see holding
	transaction              // an open transaction has been there
	reading                  // a statement that only reads is running
	writing                  // a statement that may write is running
)

func (s stake) String() string {
	switch s {
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
	case b.ending: // its COMMIT is on the way, and the client hears of another server's
		return nothing
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
		case e.swallow:
		case e.note != nil && e.note.end == endRollback:
			at = reading
		case e.note != nil, e.facts == nil && (e.kind == pgwire.Query || e.kind == pgwire.Execute || e.kind == pgwire.FunctionCall):
			return writing
		case e.writes && !s.journal.InTx(): // in a block nothing lasts before its COMMIT, which carries a note
			return writing
		default:
			at = reading
		}
	}
	return at
}

// holding is session state that lives at one server and that nobody can make anew elsewhere.
type holding uint8

const (
	holdsTemp     holding = 1 << iota // temporary tables
	holdsListen                       // LISTEN
	holdsLock                         // advisory locks of the session
	holdsCursor                       // a cursor WITH HOLD
	holdsSettings                     // settings the journal does not know
	holdsUnknown                      // what DO, CALL, LOAD or a function has left behind
)

// holdingOf is what a statement that succeeded leaves behind. What a function does that writes nothing is taken to leave no state.
func holdingOf(f *stmt.Facts, writes bool) (h holding) {
	if f.Kind == stmt.KindDiscard || f.Kind == stmt.KindUnlisten {
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
	case stmt.KindDo, stmt.KindCall, stmt.KindLoad, stmt.KindUnparsed:
		h |= holdsUnknown
	}
	if f.MayTouchSession && writes && f.Setting == nil || f.Multi && f.MultiState {
		h |= holdsUnknown
	}
	for i := range f.Functions {
		if locksForSession(f.Functions[i].Name) {
			h |= holdsLock
		}
	}
	return h
}

// locksForSession reports pg_advisory_lock and its kin, but for those whose locks end with the transaction.
func locksForSession(function string) bool {
	return strings.HasPrefix(function, "pg_advisory_lock") || strings.HasPrefix(function, "pg_try_advisory_lock")
}

// leaves records what a statement has left behind on a server.
func (s *session) leaves(b *backend, f *stmt.Facts, writes bool) {
	switch {
	case f.Kind == stmt.KindDiscard && f.DiscardTarget == "all":
		b.holds = 0
		return
	case f.Kind == stmt.KindDiscard && f.DiscardTarget == "temp":
		b.holds &^= holdsTemp
	case f.Kind == stmt.KindUnlisten && f.Name == "":
		b.holds &^= holdsListen
	}
	b.holds |= holdingOf(f, writes)
	if s.pinned {
		b.holds |= holdsSettings
	}
}

// suspect is a server that has ended an idle connection by an administrator's command: it shuts down, or only this connection was
// meant (pg_terminate_backend).
type suspect struct {
	node  cluster.NodeID
	frame []byte // what it said
	heart bool   // it was the session's connection to the primary, or its only one: whoever ends that means the session
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
		c, err := s.connect(x.node)
		if err == nil {
			s.srv.pool.Release(c)
		}
		switch {
		case err == nil && !x.heart:
			continue
		case err == nil:
			s.client.send(x.frame)
			s.end = errServerEnded
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
