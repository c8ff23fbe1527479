package proxy

import (
	"context"
	"errors"

	"gopgpool/cluster"
	"gopgpool/proxy/route"
)

// This file is about a planned switchover, as the sessions see it. While the View is Draining what would begin on the primary is held
// before it is sent, and what is open there goes on to its end. Sessions with nothing open there are not asked: who has state there
// that cannot be moved loses it when the primary is fenced, see bereave.

// errNotDraining is a drain of a primary that is not, or no longer, about to be another one.
var errNotDraining = errors.New("proxy: the primary is not being drained")

// departure is one loop's part of waiting until nothing is open on a node. It belongs to the loop.
type departure struct {
	node cluster.NodeID
	left map[*session]struct{} // with something open there
	over chan error            // has room for the one error that is sent
}

// DrainPrimary returns when no session has a transaction or a statement at the primary of v, or with the cause of ctx. v is Draining and
// in force; when a later View is not, the drain has failed.
//
// That it sees all of them rests on this order. The View is published; then each loop is passed once, between two turns of its
// sessions. A turn that checks the View and then sends a statement does so without giving up the loop in between. So a session whose
// check came before the View was published has something open there when its loop is passed, and is counted; and one that comes to its
// check later is held. Who is counted can only become fewer, and tells so by itself, at its next wait: nobody polls. When every loop's
// are none, nobody has anything open there, though the loops are not looked at in the same moment.
//
// Questions of pgpool's own (about catalogs, or what pins a session) may still begin there. They are counted where they are seen, have no
// effect, and are put to another server if they are cut.
func (s *Server) DrainPrimary(ctx context.Context, v *cluster.View) error {
	if now := s.store.Current(); !v.Draining || !now.Draining || now.Primary != v.Primary {
		return errNotDraining
	}
	all := make(map[*home]*departure, len(s.homes))
	for _, h := range s.homes {
		d := &departure{node: v.Primary, left: make(map[*session]struct{}), over: make(chan error, 1)}
		if h.loop.Post(func() { h.depart(d, s.store.Current()) }) { // else the loop has ended, and its sessions with it
			all[h] = d
		}
	}
	defer func() {
		for h, d := range all {
			h.loop.Post(func() { h.endDeparture(d) })
		}
	}()
	for _, d := range all {
		select {
		case err := <-d.over:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// depart begins to wait for the loop's sessions.
func (h *home) depart(d *departure, v *cluster.View) {
	for s := range h.sessions {
		if s.busyAt(d.node) {
			d.left[s] = struct{}{}
		}
	}
	h.departures = append(h.departures, d)
	h.lookAtDepartures(v)
}

// lookAtDepartures ends those for which nobody is left, or whose View is no longer in force.
func (h *home) lookAtDepartures(v *cluster.View) {
	for i := len(h.departures) - 1; i >= 0; i-- {
		switch d := h.departures[i]; {
		case !v.Draining || v.Primary != d.node:
			d.over <- errNotDraining
			h.endDeparture(d)
		case len(d.left) == 0:
			d.over <- nil
			h.endDeparture(d)
		}
	}
}

func (h *home) endDeparture(d *departure) {
	for i, x := range h.departures {
		if x == d {
			h.departures = append(h.departures[:i], h.departures[i+1:]...)
			return
		}
	}
}

// rests is a session that waits: it may have come to its end there.
func (h *home) rests(s *session) {
	for _, d := range h.departures {
		if _, counted := d.left[s]; counted && !s.busyAt(d.node) {
			delete(d.left, s)
		}
	}
	h.lookAtDepartures(s.srv.store.Current())
}

// forget is a session that is over.
func (h *home) forget(s *session) {
	delete(h.sessions, s)
	for _, d := range h.departures {
		delete(d.left, s)
	}
	h.lookAtDepartures(s.srv.store.Current())
}

// busyAt reports whether something of the session runs or is open on a node.
func (s *session) busyAt(node cluster.NodeID) bool {
	for _, b := range s.backends {
		if b.node == node && b.busy() {
			return true
		}
	}
	return s.returning != nil && s.returning.node == node && s.returning.busy()
}

// look takes the View in force as that of the next decision.
func (s *session) look() *cluster.View {
	v := s.srv.store.Current()
	s.in.View = v
	s.in.Open = v.Draining && s.openAt(v.Writer())
	return v
}

// openAt reports whether a transaction, or a batch without its Sync, is open on a node: what belongs to it goes on there.
func (s *session) openAt(node cluster.NodeID) bool {
	b := s.find(node)
	return b != nil && (b.mark.Joined() || b.unsynced)
}

// closed reports whether nothing of the session may begin on a node, because a switchover waits for what is open there.
func (s *session) closed(node cluster.NodeID) bool {
	v := s.srv.store.Current()
	return v.Draining && node == v.Writer() && !s.openAt(node)
}

// gate looks again at a decision about a node that route has not decided alone.
func (s *session) gate(d *route.Decision) error {
	route.Admit(&s.in, d)
	if d.Action == route.Refuse {
		return s.refusal(d)
	}
	return nil
}

// awaitOpening holds a message for a server that the session has a connection to, while nothing may begin there. The connection may be
// gone afterwards.
func (s *session) awaitOpening(b *backend) (err error) {
	var a attempt
	defer s.placed(&a, &err)
	for s.placing = true; !b.dropped && s.closed(b.node); {
		a.why = route.ReasonDraining
		if err := s.holdForPrimary(&a, s.look()); err != nil {
			return err
		}
		if s.cancelled {
			return errCancelled
		}
		if s.bereaved != nil {
			return s.bereaved
		}
	}
	_, err = s.awaitTurn(&a)
	return err
}

// planned reports whether the primary is gone because a switchover has taken it.
func planned(v *cluster.View) bool {
	if v.Op == cluster.OpSwitchover {
		return true
	}
	x := v.Switchover
	return x != nil && (x.Phase == cluster.SwitchoverStopping || x.Phase == cluster.SwitchoverPromoting)
}

// bereave is an idle session that loses state which cannot be moved to a planned switchover. It is not cut while its client does nothing:
// many such clients never come back to what they have left there. Its next statement is not sent, and ends it with an error that says
// so; to go on without a word would let it use a table instead of its temporary one, or believe that it holds a lock. Only a
// session that listens is told at once: its client may never say a word, and wait for ever.
func (s *session) bereave(b *backend, v *cluster.View, lost error) bool {
	if !b.planned && !planned(v) || b.holds&holdsListen != 0 {
		return false
	}
	s.bereaved = lost
	return true
}
