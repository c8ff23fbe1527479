package proxy

import (
	"context"
	"time"
)

// Quiesce keeps new clients waiting, without refusing them, and returns when none is connected, or with the cause of ctx. Meanwhile
// client_idle_limit_in_recovery holds. In either case resume lets the clients in again; it may be called more than once. Several
// callers may overlap: clients enter when the last has resumed (manual: online recovery, second stage).
func (s *Server) Quiesce(ctx context.Context) (resume func(), err error) {
	s.admitted.bar(true)
	s.shared.bar(true)
	s.quiescing.Add(1)
	s.wakeAll()
	over := make(chan struct{}, 1)
	over <- struct{}{}
	resume = func() {
		select {
		case <-over:
			s.quiescing.Add(-1)
			s.admitted.bar(false)
			s.shared.bar(false)
		default:
		}
	}
	tick := time.NewTicker(quiesceTick)
	defer tick.Stop()
	for s.admitted.busy()+s.shared.busy() > 0 {
		select {
		case <-ctx.Done():
			return resume, context.Cause(ctx)
		case <-tick.C:
		}
	}
	return resume, nil
}

// quiesceTick is how often Quiesce looks whether the last client has left.
const quiesceTick = 50 * time.Millisecond

// recoveryError ends an idle session while clients are kept out.
func recoveryError(limit time.Duration) error {
	e := &clientError{
		Severity: "FATAL", Code: "57000", Message: "connection terminated due to online recovery",
		Detail: "client_idle_limit_in_recovery is -1",
	}
	if limit > 0 {
		e.Message = "connection terminated due to client_idle_limit_in_recovery"
		e.Detail = "The client was idle for " + limit.String() + "."
	}
	return e
}

// quietUntil is when client_idle_limit_in_recovery ends the session; on is false where it does not.
func (s *session) quietUntil() (until time.Time, on bool) {
	if s.srv.quiescing.Load() == 0 || s.owed > 0 || s.pumping {
		return time.Time{}, false
	}
	limit := s.set.ClientIdleLimitInRecovery()
	if limit == 0 {
		return time.Time{}, false
	}
	return s.lastSeen.Add(max(limit, 0)), true
}

// outstayed is the end of a session that client_idle_limit_in_recovery does not want.
func (s *session) outstayed() error {
	until, on := s.quietUntil()
	if !on || s.t.Now().Before(until) {
		return nil
	}
	return recoveryError(s.set.ClientIdleLimitInRecovery())
}
