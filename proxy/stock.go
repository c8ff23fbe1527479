package proxy

import "gopgpool/cluster"

// This file is about what a new View leaves of a session's connections.

// takeStock looks at what a View has left of the session's connections.
func (s *session) takeStock(v *cluster.View) error {
	s.seen = v
	for i := 0; i < len(s.backends); i++ {
		b := s.backends[i]
		if !stale(b.c, v) {
			continue
		}
		if err := s.nodeLeft(b, v); err != nil {
			return err
		}
		if i < len(s.backends) && s.backends[i] != b {
			i--
		}
	}
	return nil
}

// nodeLeft is a connection whose node was condemned, promoted or demoted. A session that has nothing there goes on without it. What
// runs on a node that was promoted may finish.
func (s *session) nodeLeft(b *backend, v *cluster.View) error {
	switch {
	case fenced(b.c, v), !b.busy() && b.holds != 0:
		return s.lostBackend(b, errNodeLeft)
	case !b.busy():
		s.dropBackend(b)
	}
	return nil
}

// promotedUnder ends a transaction that has read from a standby which is no standby any more, unless it can go on elsewhere.
func (s *session) promotedUnder(b *backend) error {
	if s.stakeAt(b) == writing {
		return s.lostBackend(b, errNodeLeft)
	}
	movable := s.movable(b)
	if movable && b.unsynced { // its answers come before those of the next server
		if err := s.drainBatch(b); err != nil {
			return err
		}
	}
	s.dropBackend(b)
	if movable {
		return nil
	}
	return errPromoted
}

// movable reports whether the transaction has nothing on a server that it could not begin anew elsewhere: it has only read there, each
// time with a new snapshot, as it would on any other.
func (s *session) movable(b *backend) bool {
	if b.outstanding() > 0 && !b.unsynced || b.wrote || b.holds != 0 || b.status == 'E' || s.journal.Full() || !s.state.EachReadAnew() {
		return false
	}
	for _, po := range s.portals {
		if po.b == b {
			return false
		}
	}
	return true
}
