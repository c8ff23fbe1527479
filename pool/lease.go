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

	// Exactly wants this connection, as the session left it when Conn.Serial was Serial and State.Owner was Owner, or ErrUsed. It waits
	// for the end of a pause only.
	Exactly *Conn
	Serial  uint64

	NoWait bool // ErrBusy instead of waiting
	// Cancelled is asked whenever the task is woken; Watched are things that mean the same when they happen. Lease then returns
	// loop.ErrStopped. Wake-ups are kept for the task's next wait.
	Cancelled func() bool
	Watched   []loop.Interest
	// Waiting is called once, on the task, when it has waited WaitNotice, be it for the end of a pause. It should not wait itself.
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
	if !pl.paused {
		if a.Exactly != nil {
			c, err := pl.exactLocked(a, now)
			p.mu.Unlock()
			if err != nil {
				return nil, err
			}
			return p.begin(t, a, c)
		}
		if pl.idle.n > 0 && pl.queue.n == 0 {
			c := pl.choose(t.Loop(), a.Print, a.Owner)
			pl.leases++
			pl.leaseLocked(c, now)
			p.mu.Unlock()
			return p.begin(t, a, c)
		}
	}
	p.mu.Unlock()
	a.w = waiter{task: t, ask: a, since: now}
	if err := p.queue(pl, &a.w); err != nil {
		return nil, err
	}
	if a.w.conn == nil {
		return nil, nil
	}
	return p.begin(t, a, a.w.conn)
}

// begin makes a leased connection the task's. Of one that turns out to be of no use the place is left.
func (p *Pool) begin(t *loop.Task, a *Ask, c *Conn) (*Conn, error) {
	if p.usable(t, c, a.w.flight) {
		a.w.flight = nil
		c.Uses++
		c.Serial++
		return c, nil
	}
	a.w.flight = nil
	if a.Exactly != nil {
		p.gone(c, t.Loop())
		return nil, ErrUsed
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	c.place.goneLocked(c)
	c.place.reserveLocked()
	return nil, nil
}

// usable makes the task the owner of a connection that is leased to it. One that is of no use it closes.
func (p *Pool) usable(t *loop.Task, c *Conn, f *flight) bool {
	if f != nil && f.conn == c {
		if !f.await() {
			return false
		}
	} else if !c.bringTo(t) {
		return false
	}
	if c.Wire.Unread() || p.stale(c) {
		_ = c.Wire.Close()
		return false
	}
	return true
}

// exactLocked leases the connection wanted exactly, if nobody has used it since.
func (pl *Place) exactLocked(a *Ask, now time.Time) (*Conn, error) {
	c := a.Exactly
	if !c.idle || c.place != pl || c.Serial != a.Serial || c.State.Owner != a.Owner {
		return nil, ErrUsed
	}
	pl.leases++
	pl.leaseLocked(c, now)
	return c, nil
}

// Return ends a lease; the connection must be between transactions, with nothing outstanding. It goes to the first who waits for it, else
// idles, else is closed: its time is over, its node was condemned or changed its role, Reconnect or Hold was called, there are more than
// the bounds allow now. It must not be used afterwards. For the loop of the lease.
func (p *Pool) Return(c *Conn) { p.giveBack(c, false) }

// giveBack ends the lease of a transaction or of a session.
func (p *Pool) giveBack(c *Conn, session bool) {
	out := outcome{here: c.home}
	now := c.home.Now()
	bad := c.Wire.Unread() || p.stale(c)
	p.mu.Lock()
	pl := c.place
	pl.used = now
	if bad || p.spentLocked(c, session, now) {
		pl.goneLocked(c)
		p.settleLocked(pl.node, now, &out)
		p.mu.Unlock()
		_ = c.Wire.Close()
		out.carryOut(nil)
		return
	}
	pl.idleLocked(c, now)
	p.settleLocked(pl.node, now, &out)
	p.mu.Unlock()
	c.Wire.Park(c.onIdle) // first of all: whoever has it by now, or closes it, asks this loop for it
	out.carryOut(nil)
}

// spentLocked tells whether a connection is to be closed rather than used again.
func (p *Pool) spentLocked(c *Conn, session bool, now time.Time) bool {
	pl := c.place
	if p.closed || pl.held || pl.uncached || c.era != pl.era || p.tooManyLocked(pl) || pl.tooOldLocked(c, now) {
		return true
	}
	return session && (!p.limits.Cache || p.limits.MaxUses > 0 && c.Uses >= p.limits.MaxUses)
}

// tooManyLocked tells whether there are more connections than the bounds allow, as after a reload.
func (p *Pool) tooManyLocked(pl *Place) bool {
	b := &pl.bounds
	return pl.node.total > p.limits.PerNode || b.Size > 0 && pl.total() > b.Size+b.Reserve ||
		roomUnder(b.MaxDB, pl.db.total) < 0 || roomUnder(b.MaxUser, pl.user.total) < 0
}
