package proxy

import (
	"time"

	"gopgpool/conf"
)

// This file is about the limits on what a client may take its time for: query_timeout, transaction_timeout, idle_transaction_timeout and
// client_idle_timeout, with PgBouncer's names and meaning. No timer is set for a statement: before each wait the session looks at what
// it is doing and takes the nearest end for the wait's deadline.

// stage is what a session is doing, as far as time limits go.
type stage uint8

const (
	atRest   stage = iota // outside a transaction, the client's turn
	inBlock               // in a transaction block, the client's turn
	answered              // a statement is held, sent or running
)

// timing is since when a session has been doing what it does. The zero value is that of a session that has done nothing.
type timing struct {
	stage stage
	since time.Time // the stage began
	seen  time.Time // session.lastSeen then: another one is the end of a statement in between
	tx    time.Time // the transaction began; zero outside one
}

// enter notes what the session does now. lastSeen is when the client got its last answer, inTx whether a transaction block is open.
func (t *timing) enter(st stage, inTx bool, lastSeen, now time.Time) {
	if st != t.stage || !lastSeen.Equal(t.seen) {
		t.stage, t.seen, t.since = st, lastSeen, lastSeen
		if st == answered {
			t.since = now
		}
	}
	switch {
	case st == atRest:
		t.tx = time.Time{}
	case t.tx.IsZero(), st == answered && !inTx: // a statement outside a block is a transaction of its own
		t.tx = t.since
	}
}

// nearest is the first limit to be reached and when; zero times where there is none.
func (t *timing) nearest(p *conf.Pooling, shared bool) (until time.Time, why error) {
	limit := func(from time.Time, d time.Duration, err error) {
		if d <= 0 || from.IsZero() {
			return
		}
		if end := from.Add(d); until.IsZero() || end.Before(until) {
			until, why = end, err
		}
	}
	switch t.stage {
	case answered:
		limit(t.since, p.QueryTimeout, errQueryTimeout)
	case inBlock:
		limit(t.since, p.IdleTransactionTimeout, errIdleTransactionTimeout)
	case atRest:
		if shared {
			limit(t.since, p.ClientIdleTimeout, errClientIdleTimeout)
		}
	}
	limit(t.tx, p.TransactionTimeout, errTransactionTimeout)
	return until, why
}

// What PgBouncer says in one word each, with the codes and words PostgreSQL has for the same ends.
var (
	errQueryTimeout = &clientError{
		Severity: "FATAL", Code: "57014", Message: "terminating connection due to query timeout", Hint: "See query_timeout.",
	}
	errTransactionTimeout = &clientError{
		Severity: "FATAL", Code: "25P04", Message: "terminating connection due to transaction timeout", Hint: "See transaction_timeout.",
	}
	errIdleTransactionTimeout = &clientError{
		Severity: "FATAL", Code: "25P03", Message: "terminating connection due to idle-in-transaction timeout",
		Hint: "See idle_transaction_timeout.",
	}
	errClientIdleTimeout = &clientError{
		Severity: "FATAL", Code: "57P05", Message: "terminating connection due to idle-session timeout",
		Hint: "See client_idle_timeout.",
	}
)

// timed reports whether any of the limits is set for the session.
func (s *session) timed() bool {
	p := &s.pooling
	return p.QueryTimeout > 0 || p.TransactionTimeout > 0 || p.IdleTransactionTimeout > 0 || p.ClientIdleTimeout > 0 && s.pooled
}

// waitHint goes with query_wait_timeout.
const waitHint = "default_pool_size, max_db_connections and max_user_connections bound the server connections, query_wait_timeout the wait for one."

// idleLimitInForce is client_idle_limit. Where connections are shared client_idle_timeout takes its place, unless the session has set it.
func (s *session) idleLimitInForce() time.Duration {
	limit := s.set.ClientIdleLimit()
	if s.pooled && limit == s.cfg.Pool.ClientIdleLimit {
		return 0
	}
	return limit
}

// stageNow is what the session is doing. A batch that the client has not ended with Sync is one statement.
func (s *session) stageNow() stage {
	switch {
	case s.owed > 0 || s.pumping || s.batchUsed:
		return answered
	case s.journal.InTx():
		return inBlock
	}
	return atRest
}

// limited is the deadline of a wait: until, or the session's nearest limit if that is sooner.
func (s *session) limited(until time.Time) time.Time {
	s.timing.enter(s.stageNow(), s.journal.InTx(), s.lastSeen, s.t.Now())
	if !s.timed() {
		return until
	}
	if end, _ := s.timing.nearest(&s.pooling, s.pooled); !end.IsZero() && (until.IsZero() || end.Before(until)) {
		return end
	}
	return until
}

// overdue is the end of a session that has reached a limit.
func (s *session) overdue() error {
	if !s.timed() {
		return nil
	}
	end, why := s.timing.nearest(&s.pooling, s.pooled)
	if end.IsZero() || s.t.Now().Before(end) {
		return nil
	}
	return why
}
