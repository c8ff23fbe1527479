package pool

import (
	"time"

	"gopgpool/cluster"
	"gopgpool/loop"
)

// This file is about leases for a session: an idle connection or none, a place for a new one, and the end of both.

// Idle leases an idle connection of the key to the task, nil if there is none. A connection opened under an older epoch of
// its node is closed instead of being returned.
func (p *Pool) Idle(t *loop.Task, key Key) *Conn {
	for {
		c := p.pop(t, key)
		if c == nil {
			return nil
		}
		if p.usable(t, c, nil) {
			c.Uses++
			c.Serial++
			return c
		}
		p.gone(c, t.Loop())
	}
}

// pop takes the connection used last, on this loop if possible.
func (p *Pool) pop(t *loop.Task, key Key) *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	pl := p.places[key]
	if pl == nil || pl.paused || pl.idle.n == 0 {
		return nil
	}
	pl.used = t.Now()
	c := pl.choose(t.Loop(), 0, 0)
	pl.leases++
	pl.leaseLocked(c, pl.used)
	return c
}

// Reserve counts one connection of the key before it is opened. At a bound an idle connection, even of the same key, makes room; without
// one the task waits its turn, until Limits.WaitTimeout or the place's own (ErrWaitTimeout), or until it is stopped or finds, when it
// is woken or something watched happens, that cancelled reports true (loop.ErrStopped); what is watched must mean that. Each Reserve is
// paid back by Discard of the connection or by Unreserve.
func (p *Pool) Reserve(t *loop.Task, key Key, cancelled func() bool, watched ...loop.Interest) error {
	p.mu.Lock()
	pl := p.placeLocked(key)
	p.mu.Unlock()
	a := &Ask{Place: pl, Cancelled: cancelled, Watched: watched}
	a.w = waiter{task: t, ask: a, since: t.Now(), placeOnly: true}
	return p.queue(pl, &a.w)
}

// Unreserve gives a reserved place back.
func (p *Pool) Unreserve(key Key) {
	var out outcome
	p.mu.Lock()
	pl := p.places[key]
	pl.unreserveLocked()
	p.settleLocked(pl.node, time.Now(), &out)
	p.mu.Unlock()
	out.carryOut(nil)
}

// Release ends the lease of a session in order: the connection is clean (reset) and idle from now on, or closed where Limits say so or
// somebody waits for its place. The connection must not be used afterwards.
func (p *Pool) Release(c *Conn) {
	p.giveBack(c, true)
}

// cacheable reports false for the databases whose connections would stand in the way of CREATE DATABASE.
func cacheable(database string) bool { return database != "template0" && database != "template1" }

// Discard ends a lease by closing the connection.
func (p *Pool) Discard(c *Conn) {
	_ = c.Wire.Close()
	p.gone(c, c.home)
}

// gone counts the end of a connection that is leased or being opened. here is the loop that runs the caller.
func (p *Pool) gone(c *Conn, here *loop.Loop) {
	out := outcome{here: here}
	p.mu.Lock()
	c.place.goneLocked(c)
	p.settleLocked(c.place.node, here.Now(), &out)
	p.mu.Unlock()
	out.carryOut(nil)
}

// opened counts a connection that has been logged in as leased.
func (p *Pool) opened(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pl := c.place
	c.opening = false
	pl.opening--
	pl.leased++
	pl.opens++
}

// Count tells how many connections a node has, leased, idle and being opened.
func (p *Pool) Count(node cluster.NodeID) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.nodes[node]; n != nil {
		return n.total
	}
	return 0
}
