package pool

import (
	"time"

	"gopgpool/loop"
)

// This file is about connections that change their loop. The descriptor is taken off the poller of one loop and flies to the other in a
// posted function.

// flight is a connection on its way to the loop of the task that has leased it. Its fields are that loop's.
type flight struct {
	task     *loop.Task
	conn     *Conn
	landed   bool
	lost     bool // the connection was closed, or its loop has ended
	forsaken bool // the task has gone
}

// bringTo makes the task the owner of a connection it has leased, fetching it from another loop if need be. It reports false for one that
// is closed, or lost on the way.
func (c *Conn) bringTo(t *loop.Task) bool {
	if c.home == t.Loop() {
		t.Take(c.Wire)
		return !c.Wire.Closed()
	}
	f := &flight{task: t, conn: c}
	home := c.home
	return home.Post(func() { f.start() }) && f.await()
}

// start sends the connection to its task; for the connection's loop, the connection being parked.
func (f *flight) start() {
	loose := f.conn.Wire.Release()
	if !f.task.Loop().Post(func() { f.land(loose) }) {
		loose.Close()
	}
}

// land puts the connection on the task's loop.
func (f *flight) land(loose loop.Loose) {
	f.landed, f.lost = true, loose.FD < 0
	if f.forsaken {
		loose.Close()
		return
	}
	if !f.lost {
		wire, err := f.task.AdoptLoose(loose)
		if err != nil {
			loose.Close()
			f.lost = true
		} else {
			f.conn.Wire, f.conn.home = wire, f.task.Loop()
		}
	}
	f.task.Wake()
}

// await waits for the landing. Whoever wakes the task meanwhile may mean its next wait.
func (f *flight) await() bool {
	defer func() { f.forsaken = !f.landed }()
	for !f.landed {
		f.task.Wait(time.Time{})
	}
	f.task.Wake()
	return !f.lost
}

// closeFromAnywhere closes a connection that is nobody's any more, on its loop.
func (c *Conn) closeFromAnywhere() {
	wire := c.Wire
	c.home.Post(func() { _ = wire.Close() })
}
