package pool

import (
	"time"

	"gopgpool/loop"
)

// This file is about connections nobody uses: their order, the choice among them, their end.

// connList is a list of idle connections through the connections themselves, in the order in which they began to idle.
type connList struct {
	first, last *Conn
	n           int
}

func (l *connList) push(c *Conn) {
	c.prev, c.next = l.last, nil
	if l.last == nil {
		l.first = c
	} else {
		l.last.next = c
	}
	l.last = c
	l.n++
}

func (l *connList) remove(c *Conn) {
	if c.prev == nil {
		l.first = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next == nil {
		l.last = c.prev
	} else {
		c.next.prev = c.prev
	}
	c.prev, c.next = nil, nil
	l.n--
}

// maxLook is how many idle connections are looked at for the one that suits best.
const maxLook = 64

// choose picks among the idle connections: the one the owner used last, else one with the same settings, else any; of equal ones one that
// is on the loop already, else the one used last. nil if there is none.
func (pl *Place) choose(here *loop.Loop, print, owner uint64) *Conn {
	var best *Conn
	most := -1
	for c, look := pl.idle.last, maxLook; c != nil && look > 0; c, look = c.prev, look-1 {
		if owner != 0 && c.State.Owner == owner {
			return c
		}
		s := 0
		if c.State.Print == print {
			s += 2
		}
		if c.home == here {
			s++
		}
		if s > most {
			best, most = c, s
		}
	}
	return best
}

// idleLocked makes a leased connection idle. It is the caller who parks it, before anything else runs on its loop.
func (pl *Place) idleLocked(c *Conn, now time.Time) {
	c.IdleSince, c.idle = now, true
	pl.idle.push(c)
	pl.leased--
	pl.node.idle++
	pl.db.idle++
	pl.user.idle++
}

// takeLocked makes an idle connection leased.
func (pl *Place) takeLocked(c *Conn) {
	c.idle = false
	pl.idle.remove(c)
	pl.leased++
	pl.node.idle--
	pl.db.idle--
	pl.user.idle--
}

// leaseLocked makes an idle connection leased, to be used.
func (pl *Place) leaseLocked(c *Conn, now time.Time) {
	pl.takeLocked(c)
	c.MustCheck = pl.bounds.mustCheck(now.Sub(c.IdleSince))
}

// dropLocked takes an idle connection off the pool; the caller closes it.
func (pl *Place) dropLocked(c *Conn) {
	pl.takeLocked(c)
	pl.goneLocked(c)
}

// spoiled is called on the home loop when something happens to an idle connection. Whatever there is to read, it is of no use any more.
func (p *Pool) spoiled(c *Conn) {
	if !c.Wire.Unread() { // no more than that there is room to write
		return
	}
	p.mu.Lock()
	if !c.idle { // somebody has just taken it, and will see for himself
		p.mu.Unlock()
		return
	}
	c.place.dropLocked(c)
	out := outcome{here: c.home}
	p.settleLocked(c.place.node, c.home.Now(), &out)
	p.mu.Unlock()
	_ = c.Wire.Close()
	out.carryOut(nil)
}

// CloseIdle closes the idle connections for which match holds, wherever they are. It does not wait for the sockets. match must not call
// the pool.
func (p *Pool) CloseIdle(match func(*Conn) bool) {
	p.mu.Lock()
	out := p.closeIdleLocked(time.Now(), func(_ *Place, c *Conn) bool { return match(c) })
	p.mu.Unlock()
	out.carryOut(nil)
}

func (p *Pool) closeIdleLocked(now time.Time, match func(*Place, *Conn) bool) (out outcome) {
	for _, pl := range p.places {
		for c := pl.idle.first; c != nil; {
			c2 := c.next
			if match(pl, c) {
				pl.dropLocked(c)
				out.victims = append(out.victims, c)
			}
			c = c2
		}
	}
	p.settleAllLocked(now, &out)
	return out
}

// EachIdle calls f with every idle connection; f must not keep it or call the pool.
func (p *Pool) EachIdle(f func(*Conn)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pl := range p.places {
		for c := pl.idle.first; c != nil; c = c.next {
			f(c)
		}
	}
}

// sweep closes the idle connections whose time is over and forgets what nobody uses.
func (p *Pool) sweep(now time.Time) {
	p.mu.Lock()
	out := p.closeIdleLocked(now, func(pl *Place, c *Conn) bool { return p.stale(c) || p.idleOverLocked(pl, c, now) })
	p.forgetLocked(now)
	p.mu.Unlock()
	out.carryOut(nil)
}

// idleOverLocked tells whether an idle connection has had its time.
func (p *Pool) idleOverLocked(pl *Place, c *Conn, now time.Time) bool {
	if !pl.governed {
		return !p.limits.Cache || p.limits.IdleTime > 0 && now.Sub(c.IdleSince) >= p.limits.IdleTime
	}
	if pl.tooOldLocked(c, now) {
		return true
	}
	return pl.bounds.IdleTime > 0 && now.Sub(c.IdleSince) >= pl.bounds.IdleTime && pl.total() > pl.bounds.Min
}

func (pl *Place) tooOldLocked(c *Conn, now time.Time) bool {
	end, ends := pl.bounds.endOfLife(c.Created, c.jitter)
	return ends && !now.Before(end)
}
