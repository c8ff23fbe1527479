package loop

import (
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// Conn is a stream connection on a loop. Read and Write are those of net.Conn: they give up the loop until they can make
// progress, and obey the deadlines, so a Conn can stand under crypto/tls. TryRead and TryWrite never wait.
//
// A Conn is owned by one task, or by nobody while it idles (see Park). Only its owner may read, write and wait; whatever else
// runs on the loop may close it. A deadline is looked at with the precision of the loop's turns, see Loop.Now.
type Conn struct {
	loop   *Loop
	owner  *Task
	sock   socket
	stream bytestream // what is read and written: sock, or the encryption above it
	tls    *TLS
	slot   uint32 // where the poller finds it

	readable  bool // a read may yield something
	writable  bool // a write may yield something
	hup       bool // the peer has ended its side, or there is an error: readable stays set
	waitWrite bool // the poller reports writability
	closed    bool
	aborted   bool

	onEvent       func(*Conn) // of a parked connection
	readDeadline  time.Time
	writeDeadline time.Time
}

// socket is the system's side of a connection.
type socket interface {
	bytestream
	close()
	abort()
	local() net.Addr
	remote() net.Addr
}

// bytestream is what bytes come from and go to.
type bytestream interface {
	// read and write return errAgain where they would block; read returns 0 without an error at the end of the stream.
	read([]byte) (int, error)
	write([]byte) (int, error)
	pending() bool // a read would yield something, if only an end or an error
}

// errAgain is "nothing now", the only error TryRead and TryWrite never show.
var errAgain = errors.New("loop: would block")

// TryRead reads what is there. n = 0 with a nil error means that there is nothing now. io.EOF is the end of the stream.
func (c *Conn) TryRead(b []byte) (n int, err error) {
	if c.closed {
		return 0, net.ErrClosed
	}
	n, err = c.stream.read(b)
	switch {
	case errors.Is(err, errAgain):
		c.readable = false
		return 0, nil
	case err != nil:
		c.readable, c.hup = true, true
		return 0, err
	case n == 0 && len(b) > 0:
		c.readable, c.hup = true, true
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
		k, err := c.stream.write(b[n:])
		if errors.Is(err, errAgain) {
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

// Unread is Readable without its doubt: it asks the system where the last read filled its buffer and cannot know what is left.
func (c *Conn) Unread() bool {
	if c.readable && !c.hup && !c.closed {
		c.readable = c.stream.pending()
	}
	return c.Readable()
}

// HungUp reports whether the peer has closed its side or the connection has failed, though data may still be unread.
func (c *Conn) HungUp() bool { return c.hup }

// Closed reports whether Close was called.
func (c *Conn) Closed() bool { return c.closed }

// Owner is the task the connection belongs to, nil while parked.
func (c *Conn) Owner() *Task { return c.owner }

// Read implements net.Conn.
func (c *Conn) Read(b []byte) (int, error) {
	if err := c.begin(c.readDeadline); err != nil {
		return 0, err
	}
	for {
		n, err := c.TryRead(b)
		if n > 0 || err != nil || len(b) == 0 {
			c.moved(n)
			return n, err
		}
		if err := c.wait(Interest{Conn: c, Read: true}, c.readDeadline); err != nil {
			return 0, err
		}
	}
}

// Write implements net.Conn.
func (c *Conn) Write(b []byte) (int, error) {
	if err := c.begin(c.writeDeadline); err != nil {
		return 0, err
	}
	n := 0
	for {
		k, err := c.TryWrite(b[n:])
		n += k
		c.moved(k)
		if n == len(b) || err != nil {
			return n, err
		}
		if err := c.wait(Interest{Conn: c, Write: true}, c.writeDeadline); err != nil {
			return n, err
		}
	}
}

// bytesPerTurn is how much a task moves by Read and Write before others have their turn: a peer that floods keeps a reader
// from ever having to wait.
const bytesPerTurn = 256 << 10

// begin refuses a read or write whose time is over, as every net.Conn does.
func (c *Conn) begin(deadline time.Time) error {
	if c.closed {
		return net.ErrClosed
	}
	if c.loop.past(deadline) {
		return os.ErrDeadlineExceeded
	}
	if t := c.loop.current; t != nil && t.moved >= bytesPerTurn {
		t.moved = 0
		t.Yield()
	}
	return nil
}

func (c *Conn) moved(n int) {
	if t := c.loop.current; t != nil {
		t.moved += n
	}
}

// wait waits in the name of the owner.
func (c *Conn) wait(i Interest, until time.Time) error {
	if c.owner == nil {
		panic("loop: wait for a connection without an owner")
	}
	return c.owner.waitFor(until, i)
}

// Close closes the descriptor, and ends the owner's wait for it if somebody else calls it. A second call does nothing.
func (c *Conn) Close() error {
	if c.closed {
		return nil
	}
	if c.tls != nil {
		c.tls.end()
	}
	c.leave()
	c.sock.close()
	return nil
}

// Abort ends the connection at once: what was written and has not left the machine is thrown away, the peer is told by a reset, and
// the owner, who still has to Close it, meets errors from now on. It may be called by whatever runs on the loop.
func (c *Conn) Abort() {
	if c.closed {
		return
	}
	c.aborted = true
	c.sock.abort()
	c.event(true, true, true)
}

// ErrAborted is the error of a connection attempt that Abort has ended.
var ErrAborted = errors.New("the connection attempt was given up")

// EachConn calls f with every connection the task owns, one it is dialling included. It may be called by whatever runs on the loop; f
// may Abort the connection, nothing else.
func (t *Task) EachConn(f func(*Conn)) {
	for _, c := range t.conns {
		f(c)
	}
}

// leave takes the connection off its loop.
func (c *Conn) leave() {
	c.closed = true
	c.onEvent = nil
	if t := c.owner; t != nil && t != c.loop.current {
		c.loop.ready(t)
	}
	c.disown()
	c.loop.poll.remove(c)
}

// Park takes the connection from its owner and leaves it on the loop; onEvent (may be nil) is called, on the loop and never
// from within Park, at whatever happens to it or has happened unseen (data or its end). Take gives it to a task again.
func (c *Conn) Park(onEvent func(*Conn)) {
	c.disown()
	if c.closed {
		return
	}
	c.onEvent = onEvent
	if c.Unread() && onEvent != nil {
		c.loop.Post(func() {
			if c.readable && c.onEvent != nil {
				c.notify()
			}
		})
	}
}

// Take makes the task the owner of a connection of its loop. Nobody owns a closed one.
func (t *Task) Take(c *Conn) {
	if c.loop != t.loop {
		panic("loop: Take of a connection of another loop")
	}
	c.disown()
	c.onEvent = nil
	if !c.closed {
		c.owner = t
		t.conns = append(t.conns, c)
	}
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
	if c.tls != nil {
		c.tls.wire.news(hup)
	}
	c.readable = c.readable || in || hup
	c.writable = c.writable || out || hup
	c.hup = c.hup || hup
	switch {
	case c.owner != nil:
		c.loop.ready(c.owner)
	case c.onEvent != nil:
		c.notify()
	}
}

func (c *Conn) notify() {
	defer c.loop.caught("connection event")
	c.onEvent(c)
}

// wantWrite asks the poller for edges of writability, once.
func (c *Conn) wantWrite() {
	if !c.waitWrite {
		c.waitWrite = true
		c.loop.poll.watchWrite(c)
	}
}

// LocalAddr implements net.Conn; nil once closed.
func (c *Conn) LocalAddr() net.Addr {
	if c.closed {
		return nil // the descriptor may be somebody else's by now
	}
	return c.sock.local()
}

// RemoteAddr implements net.Conn; nil once closed.
func (c *Conn) RemoteAddr() net.Addr {
	if c.closed {
		return nil
	}
	return c.sock.remote()
}

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
