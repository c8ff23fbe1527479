package loop

import (
	"io"
	"net"
	"os"
	"time"
)

// Conn is a stream connection on a loop. Read and Write are those of net.Conn: they give up the loop until they can make
// progress, and obey the deadlines, so a Conn can stand under crypto/tls. TryRead and TryWrite never wait.
//
// A Conn is owned by one task, or by nobody while it idles (see Park). Only its owner may use it.
type Conn struct {
	loop  *Loop
	owner *Task
	sock  socket
	slot  uint32 // where the poller finds it

	readable  bool // a read may yield something
	writable  bool // a write may yield something
	hup       bool // the peer has ended its side, or there is an error: readable stays set
	waitWrite bool // the poller reports writability
	closed    bool

	onEvent       func(*Conn) // of a parked connection
	readDeadline  time.Time
	writeDeadline time.Time
}

// socket is the system's side of a connection.
type socket interface {
	// read and write return errAgain where they would block.
	read([]byte) (int, error)
	write([]byte) (int, error)
	close()
	local() net.Addr
	remote() net.Addr
}

// errAgain is "nothing now", the only error TryRead and TryWrite never show.
type againError struct{}

func (againError) Error() string { return "loop: would block" }

var errAgain error = againError{}

// TryRead reads what is there. n = 0 with a nil error means that there is nothing now. io.EOF is the end of the stream.
func (c *Conn) TryRead(b []byte) (n int, err error) {
	if c.closed {
		return 0, net.ErrClosed
	}
	n, err = c.sock.read(b)
	switch {
	case err == errAgain:
		c.readable = false
		return 0, nil
	case err != nil:
		return 0, err
	case n == 0 && len(b) > 0:
		return 0, io.EOF
	case n < len(b) && !c.hup:
		c.readable = false // a short read has emptied the socket; the next arrival is a new edge
	}
	return n, nil
}

// TryWrite writes what fits. n < len(b) with a nil error means that the rest does not fit now.
func (c *Conn) TryWrite(b []byte) (n int, err error) {
	if c.closed {
		return 0, net.ErrClosed
	}
	for n < len(b) {
		k, err := c.sock.write(b[n:])
		if err == errAgain {
			c.writable = false
			return n, nil
		}
		if err != nil {
			return n, err
		}
		n += k
	}
	return n, nil
}

// Readable reports whether a TryRead may yield something (data, end of stream, an error).
func (c *Conn) Readable() bool { return c.readable || c.closed }

// HungUp reports whether the peer has closed its side or the connection has failed, though data may still be unread.
func (c *Conn) HungUp() bool { return c.hup }

// Closed reports whether Close was called.
func (c *Conn) Closed() bool { return c.closed }

// Owner is the task the connection belongs to, nil while parked.
func (c *Conn) Owner() *Task { return c.owner }

// Read implements net.Conn.
func (c *Conn) Read(b []byte) (int, error) {
	for {
		n, err := c.TryRead(b)
		if n > 0 || err != nil || len(b) == 0 {
			return n, err
		}
		if err := c.wait(Interest{Conn: c, Read: true}, c.readDeadline); err != nil {
			return 0, err
		}
	}
}

// Write implements net.Conn.
func (c *Conn) Write(b []byte) (int, error) {
	n := 0
	for {
		k, err := c.TryWrite(b[n:])
		n += k
		if n == len(b) || err != nil {
			return n, err
		}
		if err := c.wait(Interest{Conn: c, Write: true}, c.writeDeadline); err != nil {
			return n, err
		}
	}
}

// wait is Wait without wake-ups: they are kept for the owner's next Wait.
func (c *Conn) wait(i Interest, until time.Time) error {
	t := c.owner
	for {
		switch t.Wait(until, i) {
		case Ready:
			return nil
		case Timeout:
			return os.ErrDeadlineExceeded
		case Stopped:
			return ErrStopped
		case Woken:
			for !i.met() && !t.asked && (until.IsZero() || t.loop.now.Before(until)) {
				t.park(until)
			}
			t.woken = true
			if i.met() {
				return nil
			}
			if t.asked {
				return ErrStopped
			}
			return os.ErrDeadlineExceeded
		}
	}
}

// Close closes the descriptor. A second call does nothing.
func (c *Conn) Close() error {
	if c.closed {
		return nil
	}
	c.closed = true
	c.disown()
	c.loop.poll.remove(c)
	c.sock.close()
	return nil
}

// Park takes the connection from its owner and leaves it on the loop; onEvent is called, on the loop, at whatever happens to
// it (data or its end). Take gives it to a task again.
func (c *Conn) Park(onEvent func(*Conn)) {
	c.disown()
	c.onEvent = onEvent
}

// Take makes the calling task the owner of a parked connection of its loop.
func (t *Task) Take(c *Conn) {
	if c.loop != t.loop {
		panic("loop: Take of a connection of another loop")
	}
	c.onEvent = nil
	c.owner = t
	t.conns = append(t.conns, c)
}

func (c *Conn) disown() {
	t := c.owner
	if t == nil {
		return
	}
	c.owner = nil
	for i, o := range t.conns {
		if o == c {
			last := len(t.conns) - 1
			t.conns[i] = t.conns[last]
			t.conns[last] = nil
			t.conns = t.conns[:last]
			return
		}
	}
}

// event is called by the poller.
func (c *Conn) event(in, out, hup bool) {
	c.readable = c.readable || in || hup
	c.writable = c.writable || out || hup
	c.hup = c.hup || hup
	switch {
	case c.owner != nil:
		c.loop.ready(c.owner)
	case c.onEvent != nil:
		c.onEvent(c)
	}
}

// wantWrite asks the poller for edges of writability, once.
func (c *Conn) wantWrite() {
	if !c.waitWrite {
		c.waitWrite = true
		c.loop.poll.watchWrite(c)
	}
}

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr { return c.sock.local() }

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return c.sock.remote() }

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error {
	c.readDeadline, c.writeDeadline = t, t
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.readDeadline = t
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.writeDeadline = t
	return nil
}
