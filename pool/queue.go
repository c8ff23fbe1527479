package pool

import (
	"time"

	"gopgpool/loop"
)

// waiter stands in the queue of a place. It is part of an Ask.
type waiter struct {
	task *loop.Task
	ask  *Ask

	// All below is guarded by Pool.mu while the waiter stands in a queue; afterwards it is the task's.
	place     *Place
	since     time.Time // when it began to wait, moved on by the time a pause took
	placeOnly bool      // wants to open one, whatever idles
	granted   bool      // conn, err, or neither: a place
	conn      *Conn
	err       error
	prev      *waiter
	next      *waiter
}

// waitList is a queue through the waiters.
type waitList struct {
	first, last *waiter
	n           int
}

func (l *waitList) push(w *waiter) {
	w.prev, w.next = l.last, nil
	if l.last == nil {
		l.first = w
	} else {
		l.last.next = w
	}
	l.last = w
	l.n++
}

func (l *waitList) remove(w *waiter) {
	if w.prev == nil {
		l.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		l.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next = nil, nil
	l.n--
}

func (pl *Place) enqueueLocked(w *waiter) {
	w.place = pl
	if pl.queue.n == 0 {
		pl.node.waiting = append(pl.node.waiting, pl)
	}
	pl.queue.push(w)
}

func (pl *Place) dequeueLocked(w *waiter) {
	if pl.queue.first == w {
		pl.passed = 0
	}
	pl.queue.remove(w)
	if pl.queue.n > 0 {
		return
	}
	list := pl.node.waiting
	for i := range list {
		if list[i] == pl {
			last := len(list) - 1
			list[i], list[last] = list[last], nil
			pl.node.waiting = list[:last]
			return
		}
	}
}

// outcome is what was decided under the mutex and has to be done without it.
type outcome struct {
	grants  []grant
	victims []*Conn
}

// grant is whom to wake. The waiter itself may be in its next queue before that is done.
type grant struct {
	waiter *waiter // only its address
	task   *loop.Task
	conn   *Conn
}

// carryOut wakes those whose turn has come and closes what made room. here is the loop that runs the caller, nil if none does.
func (o *outcome) carryOut(here *loop.Loop) {
	for _, c := range o.victims {
		if c.home == here {
			_ = c.Wire.Close()
			continue
		}
		c.closeFromAnywhere()
	}
	for _, g := range o.grants {
		g.wake(here)
	}
}

// wake tells a waiter that its turn has come. A connection of the same loop is its own at once.
func (g *grant) wake(here *loop.Loop) {
	if g.task.Loop() != here {
		g.task.Loop().Post(g.task.Wake)
		return
	}
	if g.conn != nil && g.conn.home == here {
		g.task.Take(g.conn.Wire)
	}
	g.task.Wake()
}

// settleLocked meets the claims of those who wait for connections of the node, as far as possible.
func (p *Pool) settleLocked(n *space, now time.Time, out *outcome) {
	for len(n.waiting) > 0 {
		p.claims = p.claims[:0]
		p.claimers = p.claimers[:0]
		for _, pl := range n.waiting {
			if !pl.paused {
				p.claims = append(p.claims, p.claimLocked(pl, now))
				p.claimers = append(p.claimers, pl)
			}
		}
		i := next(p.claims)
		if i < 0 {
			return
		}
		for k := range p.claims {
			if passedBy(&p.claims[k], &p.claims[i]) {
				p.claimers[k].passed++
			}
		}
		w := p.claimers[i].queue.first
		p.grantLocked(w, now, out)
		out.grants = append(out.grants, grant{waiter: w, task: w.task, conn: w.conn})
	}
}

func (p *Pool) settleAllLocked(now time.Time) (out outcome) {
	for _, n := range p.nodes {
		p.settleLocked(n, now, &out)
	}
	return out
}

// claimLocked is what the first waiter of a place needs.
func (p *Pool) claimLocked(pl *Place, now time.Time) claim {
	w := pl.queue.first
	own := pl.total()
	if w.placeOnly {
		own -= pl.idle.n
	}
	return claim{
		since: w.since, ready: w.exact() || pl.idle.n > 0 && !w.placeOnly,
		own:  pl.bounds.room(own, w.since, now),
		node: p.limits.PerNode - pl.node.total + pl.node.idle,
		db:   roomUnder(pl.bounds.MaxDB, pl.db.total-pl.db.idle), dbOf: pl.db,
		user: roomUnder(pl.bounds.MaxUser, pl.user.total-pl.user.idle), userOf: pl.user,
		passed: pl.passed,
	}
}

func (w *waiter) exact() bool { return w.ask != nil && w.ask.Exactly != nil }

// grantLocked gives the first waiter of a place, whose claim can be met, what it wants.
func (p *Pool) grantLocked(w *waiter, now time.Time, out *outcome) {
	pl := w.place
	pl.dequeueLocked(w)
	w.granted = true
	pl.waitTime += now.Sub(w.since)
	switch {
	case w.exact():
		if w.conn = w.ask.exactLocked(); w.conn == nil {
			w.err = ErrUsed
			return
		}
		pl.takeLocked(w.conn)
	case !w.placeOnly && pl.idle.n > 0:
		w.conn = pl.choose(w.task.Loop(), w.ask.Print, w.ask.Owner)
		pl.takeLocked(w.conn)
	default:
		p.makeRoomLocked(pl, w, now, out)
		pl.reserveLocked()
	}
}

// makeRoomLocked closes idle connections until every bound has room for one more.
func (p *Pool) makeRoomLocked(pl *Place, w *waiter, now time.Time, out *outcome) {
	evict := func(match func(*Place) bool) {
		c := p.victimLocked(pl.node, match)
		if c == nil {
			panic("pool: room that was counted is not there")
		}
		c.place.dropLocked(c)
		out.victims = append(out.victims, c)
	}
	for pl.bounds.room(pl.total(), w.since, now) <= 0 {
		evict(func(o *Place) bool { return o == pl })
	}
	for roomUnder(pl.bounds.MaxDB, pl.db.total) <= 0 {
		evict(func(o *Place) bool { return o.db == pl.db })
	}
	for roomUnder(pl.bounds.MaxUser, pl.user.total) <= 0 {
		evict(func(o *Place) bool { return o.user == pl.user })
	}
	for p.limits.PerNode-pl.node.total <= 0 {
		evict(func(*Place) bool { return true })
	}
}
