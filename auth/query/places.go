package query

import (
	"context"
	"slices"
	"time"

	"gopgpool/cluster"
)

// seat lets a bounded number of questions run in one database.
type seat struct {
	taken chan struct{}
	users int // who has one or waits for one; guarded by Asker.mu
}

// attempt is a question that has been put to a node, or a connection to it that is being opened.
type attempt struct {
	home   home
	cancel context.CancelCauseFunc
}

// enter waits until a question may run in a database. The caller calls leave when it is over.
func (a *Asker) enter(ctx context.Context, database string) (leave func(), err error) {
	s, err := a.queue(database)
	if err != nil {
		return nil, err
	}
	select {
	case s.taken <- struct{}{}:
		return func() { <-s.taken; a.unqueue(database, s) }, nil
	case <-ctx.Done():
		err = context.Cause(ctx)
	case <-a.stop:
		err = errClosed
	}
	a.unqueue(database, s)
	return nil, err
}

func (a *Asker) queue(database string) (*seat, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, errClosed
	}
	a.calls.Add(1)
	s := a.seats[database]
	if s == nil {
		s = &seat{taken: make(chan struct{}, perDB)}
		a.seats[database] = s
	}
	s.users++
	return s, nil
}

func (a *Asker) unqueue(database string, s *seat) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.users--; s.users == 0 {
		delete(a.seats, database)
	}
	a.calls.Done()
}

// attend gives the context of an attempt at a node, which ends with errMoved when the node is lost. The caller calls done.
func (a *Asker) attend(parent context.Context, h home) (ctx context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(parent)
	t := &attempt{home: h, cancel: cancel}
	a.mu.Lock()
	a.under[t] = struct{}{}
	closed := a.closed
	a.mu.Unlock()
	switch {
	case closed:
		cancel(errClosed)
	case h.condemned(a.parts.Store.Current()): // before it was entered
		cancel(errMoved)
	}
	return ctx, func() {
		a.mu.Lock()
		delete(a.under, t)
		a.mu.Unlock()
		cancel(nil)
	}
}

// changed looks at a View just published, on the goroutine of its writer.
func (a *Asker) changed(v *cluster.View) {
	a.mu.Lock()
	for t := range a.under {
		if t.home.condemned(v) {
			t.cancel(errMoved)
		}
	}
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// takeIdle gives the connection used last.
func (a *Asker) takeIdle(k key) *conn {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, c := range slices.Backward(a.idle) {
		if c.key == k {
			a.idle = slices.Delete(a.idle, i, i+1)
			return c
		}
	}
	return nil
}

// giveBack keeps a connection for the next question, if it may be kept.
func (a *Asker) giveBack(c *conn) {
	if c.broken() || !c.key.home.current(a.parts.Store.Current()) || !a.kept(c) {
		a.discard(c)
	}
}

func (a *Asker) kept(c *conn) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || a.waiting > 0 {
		return false
	}
	c.since = time.Now()
	a.idle = append(a.idle, c)
	return true
}

// reserve waits for the right to one more connection. An idle one makes way for it.
func (a *Asker) reserve(ctx context.Context) error {
	select {
	case a.places <- struct{}{}:
		return nil
	default:
	}
	a.hunger(1)
	defer a.hunger(-1)
	seen := 0
	a.discardIdle(func(*conn) bool { seen++; return seen == 1 })
	select {
	case a.places <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (a *Asker) hunger(n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waiting += n
}

func (a *Asker) free() { <-a.places }

// sweep closes what has not been used for long and what leads to a node that is no more.
func (a *Asker) sweep(now time.Time) {
	v := a.parts.Store.Current()
	a.discardIdle(func(c *conn) bool { return now.Sub(c.since) >= a.keep || !c.key.home.current(v) })
}

func (a *Asker) discardIdle(which func(*conn) bool) {
	var out []*conn
	a.mu.Lock()
	a.idle = slices.DeleteFunc(a.idle, func(c *conn) bool {
		if !which(c) {
			return false
		}
		out = append(out, c)
		a.calls.Add(1) // before Run can wait for all
		return true
	})
	a.mu.Unlock()
	for _, c := range out {
		go a.finish(c)
	}
}

// discard closes a connection of a question under way.
func (a *Asker) discard(c *conn) {
	a.calls.Add(1)
	go a.finish(c)
}

// close breaks off what is under way and waits until everything is closed.
func (a *Asker) close() {
	a.mu.Lock()
	a.closed = true
	for t := range a.under {
		t.cancel(errClosed)
	}
	a.mu.Unlock()
	close(a.stop)
	a.discardIdle(func(*conn) bool { return true })
	a.calls.Wait()
}
