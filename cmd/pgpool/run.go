package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"gopgpool/logging"
)

// stopGrace is how long parts may take to end once their context has ended.
const stopGrace = 10 * time.Second

// part is a long-lived part of the daemon. Its run ends when ctx does; ending earlier, it takes the daemon down.
type part struct {
	name string
	run  func(ctx context.Context) error
}

// daemon is the running process, made by build. Its parts run until the daemon stops.
type daemon struct {
	log   logging.Logger
	parts []part

	// announce is called once clients are served, after the line that says so; may be nil.
	announce func()
	// ready is closed by a part once clients are served; nil: as soon as the parts run.
	ready <-chan struct{}
	// reload reads the files again (SIGHUP) and logs what came of it. It is called on the daemon's own goroutine.
	reload func()
	// rotate begins a new log file (SIGUSR1).
	rotate func()
	// drain is a smart stop: it stops taking new clients and returns when the last session ended, or with ctx. It may be nil.
	drain func(ctx context.Context)
	// leave hands over to others before the parts end: it is called once when the daemon was asked to stop, and may take seconds.
	leave func()
	// close runs after all parts ended: last words to files and sockets. It may be nil.
	close func()

	grace time.Duration // stopGrace
}

// errPart is a part that ended before it was asked to.
var errPart = errors.New("ended unexpectedly")

// errStuck are parts that did not end in time.
var errStuck = errors.New("did not end in time")

// ended is what came of a part.
type ended struct {
	name string
	err  error
}

// run starts the parts, calls started once the daemon is ready, and obeys signals until everything ended. The error is nil
// after a stop by request. A faster stop overtakes a slower one.
func (d *daemon) run(signals <-chan os.Signal, started func()) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	results := make(chan ended, len(d.parts))
	running := make(map[string]bool, len(d.parts))
	for _, p := range d.parts {
		running[p.name] = true
		go runPart(ctx, p, results)
	}
	err := d.supervise(ctx, cancel, signals, results, running, started)
	cancel(nil)
	err = errors.Join(err, d.awaitParts(results, running))
	if d.close != nil {
		d.close()
	}
	return err
}

func runPart(ctx context.Context, p part, results chan<- ended) {
	results <- ended{p.name, p.run(ctx)}
}

// supervise returns when the parts shall end: nil if that was asked for.
func (d *daemon) supervise(ctx context.Context, cancel context.CancelCauseFunc, signals <-chan os.Signal,
	results <-chan ended, running map[string]bool, started func(),
) error {
	ready := d.ready
	if ready == nil {
		ready = closedChannel()
	}
	var drain sync.WaitGroup
	defer drain.Wait()
	defer cancel(nil)
	drained := make(chan struct{})
	draining := false
	for {
		select {
		case <-ready:
			ready = nil
			started()
			if d.announce != nil {
				d.announce()
			}
		case r := <-results:
			delete(running, r.name)
			return partError(r)
		case <-drained:
			d.handOver()
			return nil
		case sig := <-signals:
			switch mode := d.onSignal(sig); {
			case mode == StopSmart && d.drain != nil && !draining:
				draining = true
				drain.Go(func() { d.drain(ctx); close(drained) })
			case mode != 0 && (mode != StopSmart || !draining):
				d.handOver()
				return nil
			}
		}
	}
}

func (d *daemon) handOver() {
	if d.leave != nil {
		d.leave()
	}
}

// onSignal does what sig asks for, or returns the stop mode it means.
func (d *daemon) onSignal(sig os.Signal) StopMode {
	switch sig {
	case syscall.SIGHUP:
		if d.reload != nil {
			d.reload()
		}
	case syscall.SIGUSR1:
		if d.rotate != nil {
			d.rotate()
		}
	case syscall.SIGTERM:
		d.log.Log(logging.Event{Severity: logging.Log, Message: "received smart shutdown request"})
		return StopSmart
	case syscall.SIGINT:
		d.log.Log(logging.Event{Severity: logging.Log, Message: "received fast shutdown request"})
		return StopFast
	case syscall.SIGQUIT:
		d.log.Log(logging.Event{Severity: logging.Log, Message: "received immediate shutdown request"})
		return StopImmediate
	}
	return 0
}

// awaitParts waits for all parts still running, for a bounded time.
func (d *daemon) awaitParts(results <-chan ended, running map[string]bool) error {
	grace := d.grace
	if grace == 0 {
		grace = stopGrace
	}
	t := time.NewTimer(grace)
	defer t.Stop()
	var errs []error
	for len(running) > 0 {
		select {
		case r := <-results:
			delete(running, r.name)
			if r.err != nil && !errors.Is(r.err, context.Canceled) {
				errs = append(errs, fmt.Errorf("%s: %w", r.name, r.err))
			}
		case <-t.C:
			return errors.Join(append(errs, fmt.Errorf("%s: %w", names(running), errStuck))...)
		}
	}
	return errors.Join(errs...)
}

func partError(r ended) error {
	if r.err == nil {
		return fmt.Errorf("%s: %w", r.name, errPart)
	}
	return fmt.Errorf("%s: %w", r.name, r.err)
}

func names(set map[string]bool) string {
	list := make([]string, 0, len(set))
	for name := range set {
		list = append(list, name)
	}
	return strings.Join(list, ", ")
}

func closedChannel() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}
