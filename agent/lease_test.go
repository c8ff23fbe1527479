package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"gopgpool/logging"
)

// fencedServer is a server that Guard looks after.
type fencedServer struct {
	isPrimary bool
	stubborn  bool // it cannot be stopped
	stops     []time.Duration
	now       func() time.Duration
}

func (f *fencedServer) primary() bool { return f.isPrimary }

func (f *fencedServer) fence(context.Context, time.Duration) error {
	f.stops = append(f.stops, f.now())
	if f.stubborn {
		return errors.New("stubborn")
	}
	f.isPrimary = false
	return nil
}

// bubble runs a guard with a lease of 10 s in virtual time; slept is how long the machine was suspended.
func bubble(t *testing.T, f func(t *testing.T, s *fencedServer, g *Guard, on *bool, slept *time.Duration)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		boot, on, slept := time.Now(), true, time.Duration(0)
		now := func() time.Duration { return time.Since(boot) + slept }
		s := &fencedServer{isPrimary: true, now: now}
		g := newGuard(s, func() Fencing { return Fencing{On: on, Lease: 10 * time.Second} }, logging.Logger{}, now)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- g.Run(ctx) }()
		f(t, s, g, &on, &slept)
		cancel()
		check(t, <-done)
	})
}

func TestGuardStopsOnce(t *testing.T) {
	bubble(t, func(t *testing.T, s *fencedServer, g *Guard, _ *bool, _ *time.Duration) {
		for range 20 { // contact each second
			time.Sleep(time.Second)
			g.contacted(g.now())
		}
		time.Sleep(10*time.Second - time.Millisecond)
		if len(s.stops) != 0 {
			t.Fatal("stopped within its lease", s.stops)
		}
		time.Sleep(time.Second)
		if len(s.stops) != 1 || s.stops[0] > 30*time.Second+guardTick {
			t.Fatal(s.stops)
		}
		time.Sleep(time.Hour)
		if len(s.stops) != 1 {
			t.Fatal("stopped again", s.stops)
		}
		s.isPrimary = true // somebody starts it by hand
		time.Sleep(time.Second)
		if len(s.stops) != 2 {
			t.Fatal("a primary without contact", s.stops)
		}
		g.contacted(g.now())
		s.isPrimary = true
		time.Sleep(9 * time.Second)
		if len(s.stops) != 2 {
			t.Fatal("stopped in spite of contact", s.stops)
		}
	})
}

func TestGuardLeavesAlone(t *testing.T) {
	bubble(t, func(t *testing.T, s *fencedServer, _ *Guard, on *bool, _ *time.Duration) {
		*on = false
		time.Sleep(time.Minute)
		*on, s.isPrimary = true, false // a standby
		time.Sleep(time.Minute)
		if len(s.stops) != 0 {
			t.Fatal(s.stops)
		}
	})
}

func TestGuardTriesAgain(t *testing.T) {
	bubble(t, func(t *testing.T, s *fencedServer, _ *Guard, _ *bool, _ *time.Duration) {
		s.stubborn = true
		time.Sleep(12 * time.Second)
		if len(s.stops) < 2 {
			t.Fatal(s.stops)
		}
	})
}

// TestGuardAfterSuspension: what a machine finds in its sockets when it wakes up comes after its lease has ended.
func TestGuardAfterSuspension(t *testing.T) {
	bubble(t, func(t *testing.T, s *fencedServer, g *Guard, _ *bool, slept *time.Duration) {
		time.Sleep(time.Second + time.Millisecond)
		heard := g.now()
		g.contacted(heard)
		*slept = time.Minute
		g.settle(t.Context()) // the order that is read first
		if len(s.stops) != 1 {
			t.Fatal("the order came first")
		}
		// The contact counts from when the client was certainly there.
		g.contacted(heard)
		s.isPrimary = true
		g.settle(t.Context())
		if len(s.stops) != 2 {
			t.Fatal("an old contact renewed the lease")
		}
	})
}
