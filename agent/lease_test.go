package agent

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gopgpool/logging"
)

// fencedServer is a server that Guard looks after.
type fencedServer struct {
	isPrimary atomic.Bool
	stubborn  atomic.Bool // it cannot be stopped
	mu        sync.Mutex  // guards when
	when      []time.Duration
	now       func() time.Duration
}

func (f *fencedServer) primary() bool { return f.isPrimary.Load() }

// stops are the times at which it was stopped.
func (f *fencedServer) stops() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.when)
}

func (f *fencedServer) fence(context.Context, time.Duration) error {
	f.mu.Lock()
	f.when = append(f.when, f.now())
	f.mu.Unlock()
	if f.stubborn.Load() {
		return errors.New("stubborn")
	}
	f.isPrimary.Store(false)
	return nil
}

// bubble runs a guard with a lease of 10 s in virtual time; slept is how long the machine was suspended.
func bubble(t *testing.T, f func(t *testing.T, s *fencedServer, g *Guard, on *atomic.Bool, slept *atomic.Int64)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		boot := time.Now()
		var on atomic.Bool
		var slept atomic.Int64
		on.Store(true)
		now := func() time.Duration { return time.Since(boot) + time.Duration(slept.Load()) }
		s := &fencedServer{now: now}
		s.isPrimary.Store(true)
		g := newGuard(s, func() Fencing { return Fencing{On: on.Load(), Lease: 10 * time.Second} }, logging.Logger{}, now)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- g.Run(ctx) }()
		f(t, s, g, &on, &slept)
		cancel()
		check(t, <-done)
	})
}

func TestGuardStopsOnce(t *testing.T) {
	bubble(t, func(t *testing.T, s *fencedServer, g *Guard, _ *atomic.Bool, _ *atomic.Int64) {
		for range 20 { // contact each second
			pass(time.Second)
			g.contacted(g.now())
		}
		pass(10*time.Second - time.Millisecond)
		if len(s.stops()) != 0 {
			t.Fatal("stopped within its lease", s.stops())
		}
		pass(time.Second)
		if len(s.stops()) != 1 || s.stops()[0] > 30*time.Second+guardTick {
			t.Fatal(s.stops())
		}
		pass(time.Hour)
		if len(s.stops()) != 1 {
			t.Fatal("stopped again", s.stops())
		}
		s.isPrimary.Store(true) // somebody starts it by hand
		pass(time.Second)
		if len(s.stops()) != 2 {
			t.Fatal("a primary without contact", s.stops())
		}
		g.contacted(g.now())
		s.isPrimary.Store(true)
		pass(9 * time.Second)
		if len(s.stops()) != 2 {
			t.Fatal("stopped in spite of contact", s.stops())
		}
	})
}

func TestGuardLeavesAlone(t *testing.T) {
	bubble(t, func(t *testing.T, s *fencedServer, _ *Guard, on *atomic.Bool, _ *atomic.Int64) {
		on.Store(false)
		pass(time.Minute)
		on.Store(true)
		s.isPrimary.Store(false) // a standby
		pass(time.Minute)
		if len(s.stops()) != 0 {
			t.Fatal(s.stops())
		}
	})
}

func TestGuardTriesAgain(t *testing.T) {
	bubble(t, func(t *testing.T, s *fencedServer, _ *Guard, _ *atomic.Bool, _ *atomic.Int64) {
		s.stubborn.Store(true)
		pass(12 * time.Second)
		if len(s.stops()) < 2 {
			t.Fatal(s.stops())
		}
	})
}

// TestGuardAfterSuspension: what a machine finds in its sockets when it wakes up comes after its lease has ended.
func TestGuardAfterSuspension(t *testing.T) {
	bubble(t, func(t *testing.T, s *fencedServer, g *Guard, _ *atomic.Bool, slept *atomic.Int64) {
		pass(time.Second + time.Millisecond)
		heard := g.now()
		g.contacted(heard)
		slept.Store(int64(time.Minute))
		g.settle(t.Context()) // the order that is read first
		if len(s.stops()) != 1 {
			t.Fatal("the order came first")
		}
		// The contact counts from when the client was certainly there.
		g.contacted(heard)
		s.isPrimary.Store(true)
		g.settle(t.Context())
		if len(s.stops()) != 2 {
			t.Fatal("an old contact renewed the lease")
		}
	})
}

// pass lets time go by, and everybody finish what it woke.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
