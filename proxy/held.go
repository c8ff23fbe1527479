package proxy

import (
	"fmt"
	"sync"
	"time"

	"gopgpool/conf"
	"gopgpool/proxy/route"
)

// This file is about how many statements may be held, and how they go on when what they wait for is there: failover_hold_sessions,
// failover_hold_memory and failover_release_rate. The rate bounds the connections that held sessions open to a new primary too: each
// opens one at most, and not before its turn.

// waitingRoom is the turnstile that the sessions of all loops share.
type waitingRoom struct {
	mu sync.Mutex
	turnstile
}

func (w *waitingRoom) admit(bytes int64, f *conf.Failover) (*ticket, fullness) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.enter(bytes, f.HoldSessions, f.HoldMemory)
}

func (w *waitingRoom) release(x *ticket) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leave(x)
}

func (w *waitingRoom) turnOf(x *ticket, now time.Time, rate int) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.turn(x, now, rate)
}

func (w *waitingRoom) takeBack(x *ticket) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.again(x)
}

// Held tells how many sessions wait for a primary, or for their turn to go on with a new one, and how many bytes their clients have sent
// that are kept meanwhile.
func (s *Server) Held() (sessions int, bytes int64) {
	s.room.mu.Lock()
	defer s.room.mu.Unlock()
	return s.room.sessions(), s.room.bytes
}

// holding is the configuration of failover in force: for a session that waits it is not that of its beginning.
func (s *Server) holding() *conf.Failover { return &s.current.Load().cfg.Failover }

// heldError is a statement that has waited in vain.
func heldError(limit time.Duration, why route.ReasonCode) error {
	e := &clientError{
		Code: "57P03", Message: "no primary node is available",
		Detail: "The statement was not sent to any server; it has waited for " + limit.String() + ".", Hint: "Try again later.",
	}
	if why == route.ReasonDraining {
		e.Message = "the primary node is being switched over"
	}
	return e
}

// fullError is a statement that may not even wait.
func fullError(full fullness, f *conf.Failover) error {
	e := &clientError{Code: "57P03", Message: "no primary node is available", Hint: "Try again later."}
	if full == fullOfSessions {
		e.Detail = fmt.Sprintf("The statement was not sent to any server: %d sessions wait already (failover_hold_sessions).", f.HoldSessions)
	} else {
		e.Detail = fmt.Sprintf("The statement was not sent to any server: %d bytes of statements may wait (failover_hold_memory).", f.HoldMemory)
	}
	return e
}

// enterRoom counts an attempt among those that are held, if there is room.
func (s *session) enterRoom(a *attempt) error {
	if a.ticket != nil {
		s.srv.room.takeBack(a.ticket)
		a.through = false
		return nil
	}
	f := s.srv.holding()
	x, full := s.srv.room.admit(s.keeps(), f)
	if full != roomLeft {
		s.home.tally.Holds.Refused++
		return fullError(full, f)
	}
	a.ticket = x
	s.home.tally.Holds.Began++
	return nil
}

// leaveRoom is the end of an attempt, whatever has come of it.
func (s *session) leaveRoom(a *attempt) {
	if a.ticket != nil {
		s.home.tally.Holds.Waited.Observe(s.t.Now().Sub(a.began))
		s.srv.room.release(a.ticket)
		a.ticket = nil
	}
}

// keeps is how much of what the client has sent is kept while the message that is dealt with now is held: that message, and what has
// come behind it. No more is read meanwhile.
func (s *session) keeps() int64 { return int64(s.client.w - s.flight.message) }

// awaitTurn has an attempt that was held wait for its turn, and reports whether it had to: the decision may be out of date then.
func (s *session) awaitTurn(a *attempt) (waited bool, err error) {
	if a.ticket == nil || a.through {
		return false, nil
	}
	due := s.srv.room.turnOf(a.ticket, s.t.Now(), s.srv.holding().ReleaseRate)
	a.through = true
	if !s.t.Now().Before(due) {
		return false, nil
	}
	defer s.stands(heldBack)()
	if err := s.pumpUntil(due, func() bool { return s.cancelled || !s.t.Now().Before(due) }); err != nil {
		return true, err
	}
	if s.cancelled {
		return true, errCancelled
	}
	return true, nil
}
