package pool

import (
	"time"

	"gopgpool/loop"
)

// This file meets the claims of those who wait: decided under the mutex (turn.go), carried out without it.

// outcome is what was decided and remains to be done.
type outcome struct {
	here    *loop.Loop // that runs the caller, nil if none does
	first   grant      // the usual case needs no list
	grants  []grant
	victims []*Conn
}

// grant is whom to wake. When that is done the waiter may be in its next queue already.
type grant struct {
	waiter *waiter // only its address
	task   *loop.Task
	flight *flight
}

func (o *outcome) add(g grant) {
	if o.first.task == nil {
		o.first = g
		return
	}
	o.grants = append(o.grants, g)
}

// carryOut closes what made room and wakes those whose turn has come, except the caller.
func (o *outcome) carryOut(self *waiter) {
	for _, c := range o.victims {
		if c.home == o.here {
			_ = c.Wire.Close()
			continue
		}
		c.closeFromAnywhere()
	}
	if o.first.task == nil {
		return
	}
	o.first.wake(o.here, self)
	for i := range o.grants {
		o.grants[i].wake(o.here, self)
	}
}

func (g *grant) wake(here *loop.Loop, self *waiter) {
	switch {
	case g.waiter == self:
	case g.flight != nil:
		g.flight.start()
	case g.task.Loop() == here:
		g.task.Wake()
	default:
		g.task.Loop().Post(g.task.Wake)
	}
}

// settleLocked meets the claims of those who wait for connections of the node, as far as possible. Afterwards nobody waits for what is there.
func (p *Pool) settleLocked(n *space, now time.Time, out *outcome) {
	for len(n.waiting) > 0 {
		p.claimsLocked(n, now)
		i := next(p.claims)
		if i < 0 {
			return
		}
		for k := range p.claims {
			p.claimers[k].passed.passOver(&p.claims[k], &p.claims[i])
		}
		p.grantLocked(p.claimers[i].queue.first, now, out)
	}
}

func (p *Pool) settleAllLocked(now time.Time, out *outcome) {
	for _, n := range p.nodes {
		p.settleLocked(n, now, out)
	}
}

// claimsLocked gathers the claims of the first waiters of a node's places.
func (p *Pool) claimsLocked(n *space, now time.Time) {
	p.claims, p.claimers = p.claims[:0], p.claimers[:0]
	for _, pl := range n.waiting {
		if !pl.paused {
			p.claims = append(p.claims, p.claimLocked(pl, now))
			p.claimers = append(p.claimers, pl)
		}
	}
}

// claimLocked is what the first waiter of a place needs.
func (p *Pool) claimLocked(pl *Place, now time.Time) claim {
	w := pl.queue.first
	own := pl.total()
	if w.placeOnly {
		own -= pl.idle.n
	}
	return claim{
		since: w.since, ready: pl.idle.n > 0 && !w.placeOnly,
		own:  pl.bounds.room(own, w.since, now),
		node: p.limits.PerNode - pl.node.total + pl.node.idle,
		db:   roomUnder(pl.bounds.MaxDB, pl.db.total-pl.db.idle), dbOf: pl.db,
		user: roomUnder(pl.bounds.MaxUser, pl.user.total-pl.user.idle), userOf: pl.user,
		passed: pl.passed,
	}
}

// grantLocked gives the first waiter of a place, whose claim can be met, what it wants.
func (p *Pool) grantLocked(w *waiter, now time.Time, out *outcome) {
	pl := w.place
	if pl.idle.n > 0 && !w.placeOnly {
		p.giveLocked(w, pl.choose(w.task.Loop(), w.ask.Print, w.ask.Owner), now, out)
		return
	}
	p.makeRoomLocked(pl, w, now, out)
	pl.reserveLocked()
	p.doneLocked(w, now, out)
}

// giveLocked gives a waiter an idle connection. If the caller's loop has it and the waiter's is another, the caller sends it there.
func (p *Pool) giveLocked(w *waiter, c *Conn, now time.Time, out *outcome) {
	w.place.leaseLocked(c, now)
	w.conn = c
	if out.here != nil && c.home == out.here && w.task.Loop() != out.here {
		w.flight = &flight{task: w.task, conn: c}
	}
	p.doneLocked(w, now, out)
}

// doneLocked ends a waiter's wait.
func (p *Pool) doneLocked(w *waiter, now time.Time, out *outcome) {
	w.place.dequeueLocked(w, now)
	w.granted = true
	out.add(grant{waiter: w, task: w.task, flight: w.flight})
}

// makeRoomLocked closes idle connections until every bound has room for one more.
func (p *Pool) makeRoomLocked(pl *Place, w *waiter, now time.Time, out *outcome) {
	for pl.bounds.room(pl.total(), w.since, now) <= 0 {
		p.evictLocked(pl.node, out, func(o *Place) bool { return o == pl })
	}
	for roomUnder(pl.bounds.MaxDB, pl.db.total) <= 0 {
		p.evictLocked(pl.node, out, func(o *Place) bool { return o.db == pl.db })
	}
	for roomUnder(pl.bounds.MaxUser, pl.user.total) <= 0 {
		p.evictLocked(pl.node, out, func(o *Place) bool { return o.user == pl.user })
	}
	for p.limits.PerNode-pl.node.total <= 0 {
		p.evictLocked(pl.node, out, func(*Place) bool { return true })
	}
}

func (p *Pool) evictLocked(n *space, out *outcome, match func(*Place) bool) {
	c := p.victimLocked(n, match)
	if c == nil {
		panic("pool: room that was counted is not there")
	}
	c.place.dropLocked(c)
	out.victims = append(out.victims, c)
}

// victimLocked finds the connection that has idled longest, of the node's places for which match holds: one its pool can do without
// (Bounds.Min) if there is one, but somebody who waits is worth more than what may be wanted.
func (p *Pool) victimLocked(n *space, match func(*Place) bool) *Conn {
	var spare, other *Conn
	for _, pl := range p.places {
		c := pl.idle.first
		if c == nil || pl.node != n || !match(pl) {
			continue
		}
		if other == nil || c.IdleSince.Before(other.IdleSince) {
			other = c
		}
		if pl.total() > pl.bounds.Min && (spare == nil || c.IdleSince.Before(spare.IdleSince)) {
			spare = c
		}
	}
	if spare != nil {
		return spare
	}
	return other
}
