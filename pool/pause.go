package pool

import "time"

// This file is about an administrator's verbs, and about DDL that wants a database for itself. An empty database name means all of them.

// Pause has everybody who asks for a connection to the database wait until Resume, without his time running out. Leases go on; Busy
// tells how many there are.
func (p *Pool) Pause(database string) {
	now := time.Now()
	var out outcome
	p.mu.Lock()
	p.paused[database] = true
	for _, pl := range p.places {
		if !pl.paused && p.pausedLocked(pl.key.Database) {
			pl.paused, pl.pausedAt = true, now
		}
	}
	p.settleAllLocked(now, &out) // what was kept for one who has to wait now
	p.mu.Unlock()
	out.carryOut(nil)
}

// Resume ends a Pause of the same database, Resume of "" all of them.
func (p *Pool) Resume(database string) {
	now := time.Now()
	var out outcome
	p.mu.Lock()
	delete(p.paused, database)
	if database == "" {
		clear(p.paused)
	}
	for _, pl := range p.places {
		if pl.paused && !p.pausedLocked(pl.key.Database) {
			pl.paused = false
			p.goOnLocked(pl, now, &out)
		}
	}
	p.settleAllLocked(now, &out)
	p.mu.Unlock()
	out.carryOut(nil)
}

// goOnLocked has the clocks of those who wait go on, and gives those who want one connection and no other what they want before others take it.
func (p *Pool) goOnLocked(pl *Place, now time.Time, out *outcome) {
	for w := pl.queue.first; w != nil; {
		following := w.next
		begin := pl.pausedAt
		if w.since.After(begin) {
			begin = w.since
		}
		w.since = w.since.Add(max(now.Sub(begin), 0))
		if w.ask.Exactly != nil {
			w.conn, w.err = pl.exactLocked(w.ask, now)
			p.doneLocked(w, now, out)
		} else {
			out.add(grant{waiter: w, task: w.task}) // to set its clock
		}
		w = following
	}
}

func (p *Pool) pausedLocked(database string) bool { return p.paused[database] || p.paused[""] }

// Paused tells whether the database is paused.
func (p *Pool) Paused(database string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pausedLocked(database)
}

// Busy tells how many connections to the database are leased or being opened.
func (p *Pool) Busy(database string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pl := range p.places {
		if database == "" || pl.key.Database == database {
			n += pl.leased + pl.opening
		}
	}
	return n
}

// Reconnect replaces the connections to the database: the idle ones are closed now, the leased ones when they are given back.
func (p *Pool) Reconnect(database string) {
	match := func(pl *Place) bool { return database == "" || pl.key.Database == database }
	p.mu.Lock()
	for _, pl := range p.places {
		if match(pl) {
			pl.era++
		}
	}
	out := p.closeIdleLocked(time.Now(), func(pl *Place, _ *Conn) bool { return match(pl) })
	p.mu.Unlock()
	out.carryOut(nil)
}

// Hold closes the idle connections to a database and keeps new ones from idling until the returned function is called, so that
// DROP DATABASE, ALTER DATABASE ... RENAME and CREATE DATABASE ... TEMPLATE find nobody in their way.
func (p *Pool) Hold(database string) (release func()) {
	p.mu.Lock()
	p.held[database]++
	p.markHeldLocked(database)
	out := p.closeIdleLocked(time.Now(), func(_ *Place, c *Conn) bool { return c.Key.Database == database })
	p.mu.Unlock()
	out.carryOut(nil)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.held[database]--; p.held[database] == 0 {
			delete(p.held, database)
		}
		p.markHeldLocked(database)
	}
}

func (p *Pool) markHeldLocked(database string) {
	for _, pl := range p.places {
		if pl.key.Database == database {
			pl.held = p.held[database] > 0
		}
	}
}
