package pool

import "time"

// This file is about an administrator's verbs, and about DDL that wants a database for itself. An empty database name means all of them.

// Pause has everybody who asks for a connection to the database wait until Resume, without his time running out. Leases go on; Busy
// tells how many there are. A pause of all databases and one of a single one are ended each by its own Resume.
func (p *Pool) Pause(database string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.paused[database].IsZero() {
		p.paused[database] = time.Now()
	}
	for _, pl := range p.places {
		pl.paused = p.pausedLocked(pl.key.Database)
	}
}

// Resume ends a Pause; Resume of "" ends all.
func (p *Pool) Resume(database string) {
	now := time.Now()
	p.mu.Lock()
	delete(p.paused, database)
	if database == "" {
		clear(p.paused)
	}
	var out outcome
	for _, pl := range p.places {
		if pl.paused && !p.pausedLocked(pl.key.Database) {
			pl.paused = false
			pl.resumedLocked(now)
			for w := pl.queue.first; w != nil; w = w.next {
				out.grants = append(out.grants, grant{waiter: w, task: w.task}) // or its clock would stand still
			}
		}
	}
	settled := p.settleAllLocked(now)
	out.grants, out.victims = append(out.grants, settled.grants...), settled.victims
	p.mu.Unlock()
	out.carryOut(nil)
}

// resumedLocked has the waiters' time begin again.
func (pl *Place) resumedLocked(now time.Time) {
	for w := pl.queue.first; w != nil; w = w.next {
		w.since = now
	}
}

func (p *Pool) pausedLocked(database string) bool {
	return !p.paused[database].IsZero() || !p.paused[""].IsZero()
}

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
