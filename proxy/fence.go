package proxy

import (
	"context"

	"gopgpool/cluster"
	"gopgpool/loop"
	"gopgpool/pool"
)

// Fence cuts the connections that are older than the Fenced epoch of their node in v, and returns when no session can send anything
// on one any more, or with the cause of ctx. What was sent before and has not left the machine is thrown away.
func (s *Server) Fence(ctx context.Context, v *cluster.View) error {
	for _, h := range s.homes {
		done := make(chan struct{})
		cut := func() {
			defer close(done)
			for x := range h.sessions {
				x.cutFenced(v)
			}
		}
		if !h.loop.Post(cut) {
			continue // the loop has ended, and its sessions with it
		}
		select {
		case <-done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// fenced reports whether a connection must not be used for anything any more.
func fenced(c *pool.Conn, v *cluster.View) bool {
	return !v.Live(c.Key.Node) || c.Epoch < v.Nodes[c.Key.Node].Fenced
}

// stale reports whether nothing new may be begun on a connection.
func stale(c *pool.Conn, v *cluster.View) bool {
	return !v.Live(c.Key.Node) || c.Epoch != v.Nodes[c.Key.Node].Epoch
}

// cutFenced cuts the session's connections to condemned nodes, those included that it is opening. The session notices by itself. It runs
// on the session's loop, between two of its turns.
func (s *session) cutFenced(v *cluster.View) {
	if b := s.returning; b != nil && fenced(b.c, v) {
		b.c.Wire.Abort()
	}
	for _, b := range s.backends {
		if fenced(b.c, v) {
			b.planned = b.planned || planned(v)
			b.c.Wire.Abort()
		}
	}
	if n := s.opening; n != nil && (!v.Live(n.ID) || n.Epoch < v.Nodes[n.ID].Fenced) {
		s.t.EachConn(func(c *loop.Conn) {
			if c != s.client.conn && !s.leases(c) {
				c.Abort()
			}
		})
	}
}

// leases reports whether a connection is that of a server the session has.
func (s *session) leases(c *loop.Conn) bool {
	for _, b := range s.backends {
		if b.conn == c {
			return true
		}
	}
	return s.returning != nil && s.returning.conn == c
}
