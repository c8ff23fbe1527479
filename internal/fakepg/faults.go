package fakepg

import (
	"io"
	"time"
)

// Moment is a point in the life of a connection at which a Fault may strike.
type Moment uint8

// Moments, in order. Those from Asked on are of a statement: a simple query, or the Execute of one.
const (
	Accepted  Moment = iota // nothing was read
	Started                 // the startup packet was read
	Admitted                // AuthenticationOk was sent, settings and key were not
	LoggedIn                // ReadyForQuery of the login was sent
	Asked                   // the statement was read and nothing said
	Described               // its RowDescription was sent
	HalfRow                 // half of its first row was sent
	Rows                    // its rows were sent, CommandComplete was not
	Completed               // CommandComplete was sent, ReadyForQuery was not
	Answered                // ReadyForQuery was sent
)

// Fault is a misbehaviour: what is done at a moment. Do returns whether the server goes on as if nothing had happened; it may
// block, until Conn.Gone.
type Fault struct {
	At    Moment
	SQL   string // of the statement; "" is any (of ours or of the proxy)
	User  string // of the session; "" is any
	Times int    // how often; 0 is always
	Do    func(c *Conn) bool

	struck int
}

// Drop closes the connection in order.
func Drop(c *Conn) bool {
	c.flush()
	c.cut()
	return false
}

// Reset closes the connection so that the peer's next read or write fails.
func Reset(c *Conn) bool {
	c.flush()
	_ = c.wire.SetLinger(0)
	c.cut()
	return false
}

// Stall never reads nor writes again, until the connection is cut.
func Stall(c *Conn) bool {
	c.flush()
	<-c.gone
	return false
}

// Deaf says nothing more but reads whatever comes, until the peer closes.
func Deaf(c *Conn) bool {
	c.flush()
	_, _ = io.Copy(io.Discard, c.wire)
	return false
}

// Say sends bytes and goes on.
func Say(b []byte) func(*Conn) bool {
	return func(c *Conn) bool {
		c.Send(b)
		return true
	}
}

// SayAndDrop sends bytes and closes.
func SayAndDrop(b []byte) func(*Conn) bool {
	return func(c *Conn) bool {
		c.Send(b)
		return Drop(c)
	}
}

// SayAndStall sends bytes and is silent for ever.
func SayAndStall(b []byte) func(*Conn) bool {
	return func(c *Conn) bool {
		c.Send(b)
		return Stall(c)
	}
}

// Flood sends the same bytes again and again until the connection ends.
func Flood(b []byte) func(*Conn) bool {
	return func(c *Conn) bool {
		c.flush()
		big := b
		for len(big) < floodChunk {
			big = append(big, b...)
		}
		for {
			n, err := c.wire.Write(big)
			c.count(n)
			if err != nil {
				return false
			}
		}
	}
}

// floodChunk is what one write of a flood has at least.
const floodChunk = 64 << 10

// FloodFor sends the same bytes a number of times and goes on.
func FloodFor(b []byte, times int) func(*Conn) bool {
	return func(c *Conn) bool {
		for range times {
			c.Send(b)
		}
		return true
	}
}

// Wait blocks until the channel is closed or the connection ends, then goes on.
func Wait(until <-chan struct{}) func(*Conn) bool {
	return func(c *Conn) bool {
		c.flush()
		select {
		case <-until:
			return true
		case <-c.gone:
			return false
		}
	}
}

// WaitForCancel is a statement that runs until it is cancelled; then it fails as PostgreSQL says it.
func WaitForCancel(c *Conn) bool {
	c.flush()
	if !c.awaitInterrupt() {
		return false
	}
	c.fail(Failure("57014", "canceling statement due to user request"))
	return true
}

// aLongTime bounds writes to a peer that does not read, so that a test that fails ends.
const aLongTime = 5 * time.Minute
