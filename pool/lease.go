package pool

import (
	"errors"
	"time"

	"gopgpool/loop"
)

// This file is about leases for a transaction: a session asks for a connection, waits its turn, and returns it.

// Errors of Lease.
var (
	// ErrWaitTimeout says that no connection became free within query_wait_timeout.
	ErrWaitTimeout = errors.New("pool: no server connection became free in time")
	// ErrBusy is the answer to Ask.NoWait where there is nothing at once.
	ErrBusy = errors.New("pool: no server connection is free")
	// ErrUsed is the answer to Ask.Exactly where the connection has gone or somebody else has used it.
	ErrUsed = errors.New("pool: the server connection is not as it was left")
)

// WaitNotice is after what time one who waits is told so, see Ask.Waiting.
const WaitNotice = 5 * time.Second

// Ask is what a session wants of a place. It is the session's, to be used again for its next lease, not to be changed or copied while
// Lease runs.
type Ask struct {
	Place *Place
	Print uint64 // the settings the session needs: a connection that has them is preferred
	Owner uint64 // the session: the connection it used last is preferred most; 0 = nobody

	// Exactly wants this connection, as the session left it when Conn.Serial was Serial, or ErrUsed. It waits for the end of a pause only.
	Exactly *Conn
	Serial  uint64

	NoWait bool // ErrBusy instead of waiting
	// Cancelled is asked whenever the task is woken; Watched are things that mean the same when they happen. Lease then returns
	// loop.ErrStopped.
	Cancelled func() bool
	Watched   []loop.Interest
	// Waiting is called once, on the task, when it has waited WaitNotice.
	Waiting func()

	w waiter
}

// Lease makes an idle connection the task's, or reserves the place of a new one, or waits its turn for one or the other: first come, first
// served among those of the same place; among places that compete for a bound, the one whose first has waited longest. (nil, nil) is a
// place: Open it, or give it back with Unreserve. A connection is given back by Return or Discard.
//
// Errors: ErrWaitTimeout; loop.ErrStopped when the task is stopped or cancelled; ErrBusy; ErrUsed.
func (p *Pool) Lease(t *loop.Task, a *Ask) (*Conn, error) {
	now := t.Now()
	p.mu.Lock()
	pl := p.liveLocked(a.Place)
	pl.used = now
	if a.Exactly == nil && pl.idle.n > 0 && pl.queue.n == 0 && !pl.paused {
		c := pl.choose(t.Loop(), a.Print, a.Owner)
		pl.takeLocked(c)
		pl.leases++
		p.mu.Unlock()
		return p.begin(t, c)
	}
	a.w = waiter{task: t, ask: a, since: now}
	p.mu.Unlock()
	if err := p.queue(t, pl, &a.w); err != nil {
		return nil, err
	}
	if a.w.conn == nil {
		return nil, nil
	}
	return p.begin(t, a.w.conn)
}

// begin makes a leased connection the task's. Of one that turns out to be of no use the place is left.
func (p *Pool) begin(t *loop.Task, c *Conn) (*Conn, error) {
	if !c.bringTo(t) || c.Wire.Readable() || p.stale(c) {
		p.toPlace(c)
		return nil, nil
	}
	c.Uses++
	c.Serial++
	return c, nil
}

// toPlace closes a leased connection and keeps its place reserved for the lessee.
func (p *Pool) toPlace(c *Conn) {
	_ = c.Wire.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	c.place.goneLocked(c)
	c.place.reserveLocked()
}

// exactLocked is the connection wanted exactly, if nobody has used it since.
func (a *Ask) exactLocked() *Conn {
	c := a.Exactly
	if c.idle && c.Serial == a.Serial && c.State.Owner == a.Owner {
		return c
	}
	return nil
}

// queue has the waiter wait its turn, which may have come already. What is granted is in the waiter.
func (p *Pool) queue(t *loop.Task, pl *Place, w *waiter) error {
	var out outcome
	p.mu.Lock()
	pl.enqueueLocked(w)
	p.settleLocked(pl.node, w.since, &out)
	at, busy := w.granted, false
	if !at {
		if busy = w.ask.NoWait; busy {
			pl.dequeueLocked(w)
		} else {
			pl.waits++
		}
	}
	pl.leases++
	p.mu.Unlock()
	out.carryOutFor(w)
	switch {
	case busy:
		return ErrBusy
	case at:
		return w.err
	}
	return p.await(t, w)
}

// await waits until something is granted.
func (p *Pool) await(t *loop.Task, w *waiter) error {
	began, told := w.since, w.ask.Waiting == nil
	for {
		p.mu.Lock()
		until := p.nextLookLocked(w, t.Now())
		p.mu.Unlock()
		if !told {
			until = earlier(until, began.Add(WaitNotice))
		}
		cause := t.Wait(until, w.ask.Watched...)
		if over, err := p.look(t, w, cause); over {
			return err
		}
		if !told && t.Now().Sub(began) >= WaitNotice {
			told = true
			w.ask.Waiting()
		}
	}
}

// look sees after a wake-up whether the wait is over.
func (p *Pool) look(t *loop.Task, w *waiter, cause loop.Cause) (over bool, err error) {
	cancelled := cause == loop.Stopped || cause == loop.Ready || w.ask.Cancelled != nil && w.ask.Cancelled()
	now := t.Now()
	var out outcome
	p.mu.Lock()
	switch {
	case w.granted:
		over, err = true, w.err
	case cancelled:
		over, err = true, loop.ErrStopped
	case p.timeLocked(w) > 0 && !w.place.paused && now.Sub(w.since) >= p.timeLocked(w):
		over, err = true, ErrWaitTimeout
	}
	n := w.place.node
	if over && !w.granted {
		w.place.waitTime += now.Sub(w.since)
		w.place.dequeueLocked(w)
	}
	p.settleLocked(n, now, &out) // the reserve may be open now, or who stood in the way is gone
	if w.granted && !over {
		over, err = true, w.err
	}
	p.mu.Unlock()
	out.carryOutFor(w)
	return over, err
}

// timeLocked is how long the waiter may wait, 0 for ever.
func (p *Pool) timeLocked(w *waiter) time.Duration {
	if w.place.governed {
		return w.place.bounds.WaitTimeout
	}
	return p.limits.WaitTimeout
}

// nextLookLocked is when a waiter has to look by itself; zero is never.
func (p *Pool) nextLookLocked(w *waiter, now time.Time) (until time.Time) {
	if w.granted || w.place.paused {
		return until
	}
	if d := p.timeLocked(w); d > 0 {
		until = w.since.Add(d)
	}
	b := &w.place.bounds
	if b.Reserve > 0 && b.ReserveAfter > 0 && !b.reserveAt(w.since, now) {
		until = earlier(until, w.since.Add(b.ReserveAfter))
	}
	return until
}

// earlier is the first of two deadlines, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// carryOutFor is carryOut by the task of a waiter, who need not be woken himself.
func (o *outcome) carryOutFor(self *waiter) {
	for i := range o.grants {
		if o.grants[i].waiter == self {
			o.grants = append(o.grants[:i], o.grants[i+1:]...)
			break
		}
	}
	o.carryOut(self.task.Loop())
}

// Return ends a lease; the connection must be between transactions, with nothing outstanding. It goes to the first who waits for it, else
// idles, else is closed: its time is over, its node was condemned or changed its role, Reconnect or Hold was called, there are more than
// the bounds allow now. It must not be used afterwards. For the loop of the lease.
func (p *Pool) Return(c *Conn) {
	p.giveBack(c, func(pl *Place, now time.Time) bool { return pl.governed && pl.tooOldLocked(c, now) })
}

// giveBack ends a lease. over tells whether the connection has had its time.
func (p *Pool) giveBack(c *Conn, over func(pl *Place, now time.Time) bool) {
	here := c.home
	now := here.Now()
	bad := c.Wire.Readable() || p.stale(c)
	p.mu.Lock()
	pl := c.place
	if bad || p.closed || pl.held || pl.uncached || c.era != pl.era || p.tooManyLocked(pl) || over(pl, now) {
		p.mu.Unlock()
		p.Discard(c)
		return
	}
	pl.used = now
	pl.idleLocked(c, now)
	var out outcome
	p.settleLocked(pl.node, now, &out)
	p.mu.Unlock()
	c.Wire.Park(c.onIdle)
	out.carryOut(here)
}

// tooManyLocked tells whether there are more connections than the bounds allow, as after a reload.
func (p *Pool) tooManyLocked(pl *Place) bool {
	b := &pl.bounds
	return pl.node.total > p.limits.PerNode || b.Size > 0 && pl.total() > b.Size+b.Reserve ||
		roomUnder(b.MaxDB, pl.db.total) < 0 || roomUnder(b.MaxUser, pl.user.total) < 0
}
