package proxy

import (
	"errors"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
	"gopgpool/pool"
	"gopgpool/proxy/route"
	"gopgpool/proxy/stmt"
)

// This file is about statements that cannot be sent now but may be soon: what was never sent waits for the next View instead of
// failing. Their age is bounded by failover_hold_timeout, their number and bytes by what held.go says.

// brokenFor is how long a statement waits for a server that has accepted a connection and broken it off: it is asked again soon, and
// what it then does says more.
const brokenFor = 2 * time.Second

// Pauses between attempts to reach a server again while nothing is decided about it.
const (
	retryRefused  = 500 * time.Millisecond
	retryStarting = 250 * time.Millisecond // it says that it is starting up
)

var (
	// errChanged: the View has changed while a server was connected to, and the decision has to be taken anew.
	errChanged = errors.New("the cluster has changed")
	// errSeeking: what is needed is the primary, and that is being sought.
	errSeeking = errors.New("the primary is being sought")
	// errDraining: what is needed is the primary, and that is about to be another one.
	errDraining  = errors.New("the primary is being switched over")
	errNoPrimary = &clientError{
		Code: "57P03", Message: "no primary node is available",
		Detail: "The nodes that are up say they are primaries but were not taken, for they hold other data than the one that is lost.",
		Hint:   "An administrator can choose one with pcp_promote_node.",
	}
	errNodeGone = &clientError{
		Code: "08006", Message: "the server connection that the statement needs is no longer there",
		Detail: "The statement was not sent to any server.",
	}
	errOpeningEnded = &clientError{
		Severity: "FATAL", Code: "57P01", Message: "terminating connection due to administrator command",
		Detail: "The server process was ended while the connection to it was opened; the statement was not sent to any server.",
	}
	errCancelled = &clientError{Code: "57014", Message: "canceling statement due to user request"}
	errPromoted  = &clientError{
		Code: "40001", Message: "the transaction cannot go on, its node was promoted",
		Detail: "It was rolled back and has had no effect.", Hint: "Repeat the transaction.",
	}
)

// attempt is one statement's way to a server. The zero attempt is the beginning.
type attempt struct {
	began   time.Time // the waiting; zero before
	renewed bool      // a connection that had ended unnoticed was replaced

	why     route.ReasonCode // of the last decision
	ticket  *ticket          // it was held; nil: it was not
	through bool             // and its turn to go on has come
}

// until is when the next wait ends, unless the waiting is over altogether: limit, which depends on what is waited for now, counts from
// the first wait.
func (a *attempt) until(now time.Time, limit, pause time.Duration) (until time.Time, over bool) {
	end, until := a.began.Add(limit), now.Add(pause)
	if end.Before(until) {
		until = end
	}
	return until, !now.Before(end)
}

// tellLost tells failover of a server that could not be reached or that broke off; v is the View in force before.
func (s *session) tellLost(node cluster.NodeID, v *cluster.View, err error) {
	var unreachable *pool.ConnectError
	switch {
	case s.srv.parts.NodeLost == nil:
	case errors.As(err, &unreachable):
		s.srv.parts.NodeLost(node, v, unreachable.Err)
	case notServing(err):
		s.srv.parts.NodeLost(node, v, err)
	}
}

// notServing reports whether a server answered that it does not serve now: it is starting up, shutting down or recovering.
func notServing(err error) bool {
	var refused *pool.ServerError
	return errors.As(err, &refused) && refused.Fields.Code == "57P03"
}

// place decides where a statement goes and gets a connection there. It begins again when the View has changed meanwhile, and holds the
// statement while what it needs is not there but may come.
func (s *session) place(f *stmt.Facts, text []byte) (d route.Decision, p *prepared, b *backend, err error) {
	var a attempt
	defer s.placed(&a, &err)
	for s.placing = true; ; {
		if err := s.pass(); err != nil {
			return d, p, nil, err
		}
		d, p, err = s.decide(f, text)
		a.why = d.Reason.Code
		if err == nil && d.Action == route.Send {
			if s.in.View != s.seen {
				continue
			}
			if waited, err := s.awaitTurn(&a); err != nil {
				return d, p, nil, err
			} else if waited {
				continue
			}
			b, err = s.backendOr(&d)
			if err == nil && !s.cancelled && !s.overtaken(b) && !s.barred() {
				s.state.Placed(&d, b.node)
				return d, p, b, nil
			}
		}
		if err := s.again(&a, err); err != nil {
			return d, p, nil, err
		}
	}
}

// placeBound is place for an extended message, which makes the connection the active one and brings it up to the session's state.
func (s *session) placeBound(decide func() (route.Decision, *prepared, error)) (d route.Decision, p *prepared, b *backend, err error) {
	var a attempt
	defer s.placed(&a, &err)
	for s.placing = true; ; {
		if err := s.pass(); err != nil {
			return d, p, nil, err
		}
		if d, p, err = decide(); err == nil {
			err = s.gate(&d)
		}
		a.why = d.Reason.Code
		if err == nil && d.Action == route.Send {
			if s.in.View != s.seen {
				continue
			}
			if waited, err := s.awaitTurn(&a); err != nil {
				return d, p, nil, err
			} else if waited {
				continue
			}
			b, err = s.target(d)
			if err == nil && !s.cancelled && !s.overtaken(b) && !s.barred() {
				s.state.Placed(&d, b.node)
				return d, p, b, nil
			}
		}
		if err := s.again(&a, err); err != nil {
			return d, p, nil, err
		}
	}
}

// placed is placingDone of an attempt that may have been held, or is one of many for a statement.
func (s *session) placed(a *attempt, err *error) {
	*err = s.orLost(*err)
	s.leaveRoom(a)
	s.placingDone()
}

// placingDone is the end of place: a request to cancel is about a server from now on.
func (s *session) placingDone() { s.placing, s.cancelled = false, false }

// onWriterHeld is the connection to the node that takes writes, whichever that is when there is one again.
func (s *session) onWriterHeld() (*backend, error) {
	_, _, b, err := s.placeBound(s.toWriter)
	return b, err
}

// toWriter decides for the node that takes writes, whichever that is now.
func (s *session) toWriter() (route.Decision, *prepared, error) {
	v := s.look()
	d := route.Decision{Node: v.Writer()}
	if d.Node == cluster.NoNode {
		return d, nil, s.noWriter()
	}
	return d, nil, nil
}

// overtaken reports whether the decision that led to b is out of date: waiting for the connection took time.
func (s *session) overtaken(b *backend) bool {
	return b.dropped || s.in.View != s.srv.store.Current()
}

// again says whether a statement that could not be placed is to be tried again: nil after the waiting that this took, else the error
// for the client.
func (s *session) again(a *attempt, err error) error {
	switch {
	case s.cancelled && (err == nil || errors.Is(err, errChanged) || errors.Is(err, errSeeking) || errors.Is(err, errDraining) || isUnreachable(err)):
		return errCancelled
	case s.bereaved != nil:
		return s.bereaved
	}
	v := s.in.View
	changed := v != s.srv.store.Current()
	switch {
	case s.barred() && (err == nil || errors.Is(err, errChanged) || isUnreachable(err) || notServing(err)): // paused meanwhile
		return nil
	case changed && (err == nil || errors.Is(err, errChanged) || isUnreachable(err)):
		return nil
	case errors.Is(err, errChanged):
		return errNodeGone
	case endedOpening(err) && a.renewed:
		return errOpeningEnded
	case (errors.Is(err, errNodeLeft) || endedOpening(err)) && !a.renewed:
		a.renewed = true
		return nil
	case err == nil, errors.Is(err, errSeeking):
		return s.holdForPrimary(a, v)
	case errors.Is(err, errDraining): // or until a standby lets the session in again
		a.why = route.ReasonDraining
		limit := s.srv.holding().HoldTimeout
		return s.holdFor(a, v, limit, retryRefused, heldError(limit, a.why))
	}
	var unreachable *pool.ConnectError
	switch {
	case errors.As(err, &unreachable):
		worth := s.worthWaiting(v, err)
		if unreachable.Node != v.Writer() || worth == 0 {
			return s.unreplaceable(unreachable)
		}
		return s.holdFor(a, v, worth, retryRefused, err)
	case notServing(err) && nodeOf(err) == v.Writer():
		return s.holdFor(a, v, s.srv.holding().HoldTimeout, retryStarting, err)
	}
	return err
}

// endedOpening reports a server process that was told to end while a session was opening its connection to it.
func endedOpening(err error) bool {
	var refused *pool.ServerError
	return errors.As(err, &refused) && (refused.Fields.Code == "57P01" || refused.Fields.Code == "57P02")
}

// nodeOf is the node an error of opening a connection is about.
func nodeOf(err error) cluster.NodeID {
	var unreachable *pool.ConnectError
	var refused *pool.ServerError
	switch {
	case errors.As(err, &unreachable):
		return unreachable.Node
	case errors.As(err, &refused):
		return refused.Node
	}
	return cluster.NoNode
}

// worthWaiting tells how long it makes sense to wait for somebody to decide about a node that could not be connected to.
func (s *session) worthWaiting(v *cluster.View, err error) time.Duration {
	f := &s.cfg.Failover
	node := nodeOf(err)
	switch {
	case s.srv.parts.NodeLost == nil || !v.Live(node) || v.Nodes[node].DisallowFailover:
		return 0
	case !isUnreachable(err) && !notServing(err):
		return 0
	case s.cfg.HealthCheck.For(int(node)).Period > 0, f.FailoverOnBackendError && condemns(err):
		return s.srv.holding().HoldTimeout
	case f.FailoverOnBackendError:
		return min(brokenFor, s.srv.holding().HoldTimeout)
	}
	return 0
}

// condemns reports whether an error says for certain that nobody serves at a node's address.
func condemns(err error) bool { return pool.Refused(err) || pool.Unreachable(err) }

// unreplaceable is the error for a server that cannot be reached and that nobody will replace.
func (s *session) unreplaceable(co *pool.ConnectError) error {
	if s.cfg.Failover.FailoverOnBackendError || s.srv.parts.NodeLost == nil {
		return co
	}
	e := unreachableError(co)
	e.Detail = "not executing failover because failover_on_backend_error is off: " + e.Detail
	return e
}

// holdForPrimary holds a statement under v until another View is in force, at most for failover_hold_timeout.
func (s *session) holdForPrimary(a *attempt, v *cluster.View) error {
	limit := s.srv.holding().HoldTimeout
	return s.holdFor(a, v, limit, limit, heldError(limit, a.why))
}

// holdFor waits until v or the configuration is out of date or the pause is over, in the middle of a client's message. When limit is
// over, counted from the first wait, it returns why.
func (s *session) holdFor(a *attempt, v *cluster.View, limit, pause time.Duration, why error) error {
	now := s.t.Now()
	if a.began.IsZero() {
		a.began = now
		s.logHeld(why)
	}
	until, over := a.until(now, limit, pause)
	if over {
		s.home.tally.Holds.Expired++
		return why
	}
	if err := s.enterRoom(a); err != nil {
		return err
	}
	defer s.stands(heldBack)()
	set := s.srv.current.Load()
	return s.pumpUntil(until, func() bool {
		return s.cancelled || s.bereaved != nil || s.srv.store.Current() != v || s.srv.current.Load() != set || !s.t.Now().Before(until)
	})
}

func (s *session) logHeld(why error) {
	s.log.Log(logging.Event{Severity: logging.Debug1, Message: "statement is held", Detail: why.Error()})
}
