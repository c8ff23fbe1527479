package proxy

import (
	"errors"

	"gopgpool/auth"
	"gopgpool/loop"
	"gopgpool/pool"
)

// delayFailure is auth_delay: it waits before a client is told that its login failed, so that guessing costs time. As that of
// PostgreSQL's module the time is fixed: it is not there to blur how long a login took, which must not tell anything by itself. The
// wait ends early when the client hangs up or the proxy stops. The client counts among those of its address that are not logged in
// meanwhile, and no longer among those of its database and user.
func (s *session) delayFailure(err error) {
	d := s.cfg.Auth.AuthDelay
	if d <= 0 || !failedProof(err) {
		return
	}
	s.uncount()
	s.client.rest()
	until := s.t.Now().Add(d)
	for !s.client.conn.HungUp() {
		switch s.t.Wait(until, loop.Interest{Conn: s.client.conn, HangUp: true}) {
		case loop.Timeout, loop.Stopped:
			return
		case loop.Ready, loop.Woken:
		}
	}
}

// failedProof tells whether a login failed because the client is not who it says, or may not come from where it comes: our own
// judgement or, of a proof that was passed on, a server's.
func failedProof(err error) bool {
	var ours *auth.Error
	var server *pool.ServerError
	code := ""
	switch {
	case errors.As(err, &ours):
		code = ours.SQLSTATE
	case errors.As(err, &server):
		code = server.Fields.Code
	}
	return code == "28P01" || code == "28000"
}
