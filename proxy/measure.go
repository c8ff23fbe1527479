package proxy

import (
	"context"
	"math/bits"
	"sync"

	"gopgpool/proxy/meter"
	"gopgpool/proxy/route"
	"gopgpool/proxy/show"
)

// This file gathers what the loops have counted, for others than clients.

// reader has a loop copy its counters, one copy at a time: a loop that does not turn is asked once, however often somebody wants to know.
type reader struct {
	mu      sync.Mutex
	last    *loopReading  // guarded by mu; nil before the first
	pending chan struct{} // guarded by mu; closed when the copy asked for is there; nil: none was asked for
}

// loopReading is what a loop said of itself. It is never changed.
type loopReading struct {
	tally    *meter.Loop
	sessions map[sessionGroup]int
	pinned   [meter.Bits]int
	tasks    int
}

type sessionGroup struct {
	database string
	state    show.SessionState
}

// ask has the home's loop make a copy and returns what is closed when that is done; nil if the loop has ended.
func (r *reader) ask(h *home) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pending != nil {
		return r.pending
	}
	done := make(chan struct{})
	if !h.loop.Post(func() { r.put(h.read()); close(done) }) {
		return nil
	}
	r.pending = done
	return done
}

func (r *reader) put(got *loopReading) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last, r.pending = got, nil
}

func (r *reader) latest() *loopReading {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// read copies what the loop has counted and looks at its sessions; for the loop.
func (h *home) read() *loopReading {
	out := &loopReading{tally: h.tally.Clone(), sessions: make(map[sessionGroup]int), tasks: h.loop.Tasks()}
	for s := range h.sessions {
		g := sessionGroup{state: s.stateShown()}
		if g.state != show.SessionLogin {
			g.database = s.startup.Database
		}
		out.sessions[g]++
		if !s.pooled {
			continue
		}
		var held holding
		for _, b := range s.backends {
			held |= b.holds
		}
		for ; held != 0; held &= held - 1 {
			out.pinned[bits.TrailingZeros16(uint16(held))]++
		}
	}
	return out
}

// Measure adds up what the loops have counted. A loop that does not answer before ctx ends is told as such, with the counts it gave last.
// It is for goroutines other than the loops'.
func (s *Server) Measure(ctx context.Context) *meter.Reading {
	out := &meter.Reading{Reasons: reasonLabels(), Pins: pinLabels(), Limits: s.limits()}
	asked := make([]<-chan struct{}, len(s.homes))
	for i, h := range s.homes {
		asked[i] = h.reader.ask(h)
	}
	groups := make(map[sessionGroup]int)
	for i, h := range s.homes {
		fresh := answeredIn(ctx, asked[i])
		out.Loops = append(out.Loops, meter.Turning{ID: h.loop.ID(), Answered: fresh, Tasks: h.loop.Tasks()})
		got := h.reader.latest()
		if got == nil {
			continue
		}
		out.Total.Add(got.tally)
		if !fresh {
			continue
		}
		for g, n := range got.sessions {
			groups[g] += n
		}
		for bit, n := range got.pinned {
			out.Pinned[bit] += n
		}
	}
	for g, n := range groups {
		out.Sessions = append(out.Sessions, meter.Sessions{Database: g.database, State: g.state.String(), N: n})
	}
	return out
}

func answeredIn(ctx context.Context, done <-chan struct{}) bool {
	if done == nil {
		return false
	}
	select {
	case <-done:
		return true
	default:
	}
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *Server) limits() meter.Limits {
	l := meter.Limits{
		Clients: s.admitted.busy(), MaxClients: s.admitted.most, Shared: s.shared.busy(), MaxShared: s.shared.most,
	}
	l.HeldSessions, l.HeldBytes = s.Held()
	return l
}

// Accepting reports whether new clients are let in: the proxy is neither stopping nor waiting for its last clients to go.
func (s *Server) Accepting() bool { return !s.draining.Load() && !s.stopping.Load() }

func reasonLabels() []string {
	out := make([]string, meter.Codes)
	for i := range out {
		out[i] = route.ReasonCode(i).Label()
	}
	return out
}

func pinLabels() []string {
	out := make([]string, meter.Bits)
	for _, p := range pins {
		out[bits.TrailingZeros16(uint16(p.h))] = p.reason
	}
	return out
}
