package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gopgpool/logging"
)

func untilDone(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// running is a daemon under test.
type running struct {
	t       *testing.T
	d       *daemon
	signals chan os.Signal
	result  chan error
	starts  int
	log     bytes.Buffer
}

func runDaemon(t *testing.T, d *daemon) *running {
	r := &running{t: t, d: d, signals: make(chan os.Signal, 8), result: make(chan error, 1)}
	d.log = logging.To(&r.log, logging.Log)
	if d.parts == nil {
		d.parts = []part{{"one", untilDone}, {"two", untilDone}}
	}
	go func() { r.result <- d.run(r.signals, func() { r.starts++ }) }()
	synctest.Wait()
	return r
}

func (r *running) send(sig os.Signal) {
	r.signals <- sig
	synctest.Wait()
}

func (r *running) isUp() bool {
	select {
	case err := <-r.result:
		r.result <- err
		return false
	default:
		return true
	}
}

func TestRunStops(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT} {
		synctest.Test(t, func(t *testing.T) {
			closed := false
			r := runDaemon(t, &daemon{close: func() { closed = true }})
			if r.starts != 1 || !r.isUp() {
				t.Fatal("not started")
			}
			r.send(syscall.SIGPIPE)
			r.send(syscall.SIGUSR2)
			r.send(syscall.SIGHUP) // no callback: ignored
			if !r.isUp() {
				t.Fatal("stopped by a harmless signal")
			}
			r.send(sig)
			if err := <-r.result; err != nil {
				t.Error(err)
			}
			if !closed || !strings.Contains(r.log.String(), " shutdown request\n") {
				t.Errorf("closed %v, log %q", closed, r.log.String())
			}
		})
	}
}

func TestRunWaitsForReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ready := make(chan struct{})
		r := runDaemon(t, &daemon{ready: ready})
		if r.starts != 0 {
			t.Error("started before it is ready")
		}
		close(ready)
		synctest.Wait()
		if r.starts != 1 {
			t.Error("not started")
		}
		r.send(syscall.SIGINT)
		if err := <-r.result; err != nil {
			t.Error(err)
		}
	})
}

func TestRunReloadsAndRotates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls []string
		r := runDaemon(t, &daemon{
			reload: func() { calls = append(calls, "reload") },
			rotate: func() { calls = append(calls, "rotate") },
		})
		r.send(syscall.SIGHUP)
		r.send(syscall.SIGUSR1)
		r.send(syscall.SIGINT)
		if err := <-r.result; err != nil {
			t.Error(err)
		}
		if got := strings.Join(calls, " "); got != "reload rotate" {
			t.Errorf("got %q", got)
		}
	})
}

func TestSmartStop(t *testing.T) {
	drainFor := func(d time.Duration) func(context.Context) {
		return func(ctx context.Context) {
			select {
			case <-ctx.Done():
			case <-time.After(d):
			}
		}
	}
	t.Run("waits for the sessions", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			r := runDaemon(t, &daemon{drain: drainFor(time.Hour)})
			r.send(syscall.SIGTERM)
			r.send(syscall.SIGTERM) // again: nothing new
			if !r.isUp() {
				t.Fatal("did not wait")
			}
			if err := <-r.result; err != nil {
				t.Error(err)
			}
			if d := time.Since(start); d != time.Hour {
				t.Errorf("after %v", d)
			}
		})
	})
	// "documented improvement: a later faster stop speeds up"
	t.Run("is overtaken by a fast one", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			r := runDaemon(t, &daemon{drain: drainFor(time.Hour)})
			r.send(syscall.SIGTERM)
			r.send(syscall.SIGINT)
			if err := <-r.result; err != nil {
				t.Error(err)
			}
			if d := time.Since(start); d != 0 {
				t.Errorf("after %v", d)
			}
		})
	})
	t.Run("still reloads", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			reloads := 0
			r := runDaemon(t, &daemon{drain: drainFor(time.Hour), reload: func() { reloads++ }})
			r.send(syscall.SIGTERM)
			r.send(syscall.SIGHUP)
			if reloads != 1 {
				t.Error("no reload")
			}
			if err := <-r.result; err != nil {
				t.Error(err)
			}
		})
	})
}

func TestPartEnds(t *testing.T) {
	boom := errors.New("boom")
	for _, tt := range []struct {
		name string
		err  error
		is   error
	}{{"with an error", boom, boom}, {"without", nil, errPart}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				other := false
				r := runDaemon(t, &daemon{parts: []part{
					{"bad", func(context.Context) error { time.Sleep(time.Second); return tt.err }},
					{"good", func(ctx context.Context) error { <-ctx.Done(); other = true; return nil }},
				}})
				err := <-r.result
				if !errors.Is(err, tt.is) || !strings.HasPrefix(err.Error(), "bad: ") {
					t.Errorf("got %v", err)
				}
				if !other {
					t.Error("the other part was left running")
				}
			})
		})
	}
}

func TestPartFailsWhileStopping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		boom := errors.New("boom")
		r := runDaemon(t, &daemon{parts: []part{{"bad", func(ctx context.Context) error { <-ctx.Done(); return boom }}}})
		r.send(syscall.SIGINT)
		if err := <-r.result; !errors.Is(err, boom) {
			t.Errorf("got %v", err)
		}
	})
}

func TestStuckPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		r := runDaemon(t, &daemon{parts: []part{
			{"good", untilDone},
			{"stuck", func(context.Context) error { <-release; return nil }},
		}})
		start := time.Now()
		r.send(syscall.SIGINT)
		err := <-r.result
		if !errors.Is(err, errStuck) || !strings.HasPrefix(err.Error(), "stuck: ") || time.Since(start) != stopGrace {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
		close(release)
	})
}
