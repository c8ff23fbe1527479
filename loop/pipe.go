package loop

import (
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Pipe makes a connection of this virtual loop, parked for a task to take, and its far end for an ordinary goroutine. In
// each direction size bytes can be under way; a writer waits, or is told to, when they are. Any goroutine may call it
// before the loop ends.
func (l *Loop) Pipe(size int) (*Conn, *Peer) {
	v := l.virtual()
	p := &pipe{toLoop: stream{size: size}, toPeer: stream{size: size}}
	p.changed.L = &p.mu
	p.sock = &virtualSocket{pipe: p, poller: v}
	c := &Conn{loop: l, sock: p.sock, stream: p.sock, writable: true}
	_ = v.add(c) // refuses only descriptors
	return c, &Peer{pipe: p}
}

// pipe is what lies between a virtual connection and its Peer.
type pipe struct {
	sock *virtualSocket

	mu      sync.Mutex
	changed sync.Cond // guarded by mu; for the Peer's waits
	toLoop  stream    // guarded by mu
	toPeer  stream    // guarded by mu
	watched bool      // guarded by mu; the loop wants to hear of room in toPeer
	lacked  bool      // guarded by mu; there was none when the loop last wrote
}

// stream is one direction.
type stream struct {
	buf    []byte
	size   int
	ended  bool // by its writer
	broken bool // the reader is gone
}

// put takes as much of b as there is room for.
func (s *stream) put(b []byte) int {
	n := min(len(b), s.room())
	s.buf = append(s.buf, b[:n]...)
	return n
}

func (s *stream) room() int { return s.size - len(s.buf) }

func (s *stream) take(b []byte) int {
	n := copy(b, s.buf)
	s.buf = s.buf[:copy(s.buf, s.buf[n:])]
	return n
}

// watchRoom asks for an edge whenever there is room again, and returns one if there is now.
func (p *pipe) watchRoom() edges {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watched = true
	return edges{out: p.toPeer.room() > 0 || p.toPeer.broken}
}

func (s *virtualSocket) read(b []byte) (int, error) {
	p := s.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := p.toLoop.take(b); n > 0 || len(b) == 0 {
		p.changed.Broadcast()
		return n, nil
	}
	if p.toLoop.ended {
		return 0, nil
	}
	return 0, errAgain
}

func (s *virtualSocket) write(b []byte) (int, error) {
	p := s.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.toPeer.broken {
		return 0, os.NewSyscallError("write", unix.EPIPE)
	}
	n := p.toPeer.put(b)
	if n < len(b) {
		p.lacked = true
	}
	if n == 0 && len(b) > 0 {
		return 0, errAgain
	}
	p.changed.Broadcast()
	return n, nil
}

func (s *virtualSocket) pending() bool {
	s.pipe.mu.Lock()
	defer s.pipe.mu.Unlock()
	return len(s.pipe.toLoop.buf) > 0 || s.pipe.toLoop.ended
}

func (s *virtualSocket) close() {
	p := s.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	p.toPeer.ended = true
	p.toLoop.broken = true
	p.changed.Broadcast()
}

func (s *virtualSocket) abort() {
	p := s.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	p.toPeer.ended, p.toPeer.broken = true, true
	p.toLoop.ended, p.toLoop.broken = true, true
	p.toPeer.buf, p.toLoop.buf = nil, nil
	p.changed.Broadcast()
}

func (s *virtualSocket) local() net.Addr  { return pipeAddr() }
func (s *virtualSocket) remote() net.Addr { return pipeAddr() }

// pipeAddr is that of a nameless unix socket, which a pipe resembles most.
func pipeAddr() net.Addr { return &net.UnixAddr{Net: "unix"} }

// Peer is the far end of a virtual connection: a net.Conn for ordinary goroutines, which block in it as on a socket. All
// its methods may be called from any goroutine.
type Peer struct {
	pipe *pipe

	closed        bool     // guarded by pipe.mu
	readDeadline  deadline // guarded by pipe.mu
	writeDeadline deadline // guarded by pipe.mu
}

// deadline wakes the waiters of a pipe when it has come.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) past() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (d *deadline) setLocked(p *pipe, at time.Time) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = at
	if !at.IsZero() {
		d.timer = time.AfterFunc(time.Until(at), p.wakeAll)
	}
	p.changed.Broadcast()
}

func (p *pipe) wakeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed.Broadcast()
}

// Read implements net.Conn.
func (e *Peer) Read(b []byte) (int, error) {
	p := e.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case e.closed:
			return 0, net.ErrClosed
		case e.readDeadline.past():
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		}
		if n := p.toPeer.take(b); n > 0 {
			e.roomLocked()
			return n, nil
		}
		if p.toPeer.ended {
			return 0, io.EOF
		}
		p.changed.Wait()
	}
}

// roomLocked tells the loop that it can write again.
func (e *Peer) roomLocked() {
	p := e.pipe
	if p.lacked && p.watched {
		p.lacked = false
		p.sock.poller.tell(p.sock, edges{out: true})
	}
}

// Write implements net.Conn.
func (e *Peer) Write(b []byte) (n int, err error) {
	p := e.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case e.closed || p.toLoop.ended:
			return n, net.ErrClosed
		case e.writeDeadline.past():
			return n, os.ErrDeadlineExceeded
		case p.toLoop.broken:
			return n, unix.EPIPE
		}
		if k := p.toLoop.put(b[n:]); k > 0 {
			n += k
			p.sock.poller.tell(p.sock, edges{in: true})
		}
		if n == len(b) {
			return n, nil
		}
		p.changed.Wait()
	}
}

// CloseWrite ends the stream towards the loop; Read goes on.
func (e *Peer) CloseWrite() error {
	p := e.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	e.endLocked()
	return nil
}

func (e *Peer) endLocked() {
	p := e.pipe
	p.toLoop.ended = true
	p.sock.poller.tell(p.sock, edges{in: true, out: p.toPeer.broken, hup: true})
	p.changed.Broadcast()
}

// Close implements net.Conn. What the loop has not yet read it still reads; its writes fail from now on.
func (e *Peer) Close() error {
	p := e.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.closed {
		return net.ErrClosed
	}
	e.closed = true
	e.readDeadline.setLocked(p, time.Time{})
	e.writeDeadline.setLocked(p, time.Time{})
	p.toPeer.broken = true
	e.endLocked()
	return nil
}

// LocalAddr implements net.Conn.
func (e *Peer) LocalAddr() net.Addr { return pipeAddr() }

// RemoteAddr implements net.Conn.
func (e *Peer) RemoteAddr() net.Addr { return pipeAddr() }

// SetDeadline implements net.Conn.
func (e *Peer) SetDeadline(t time.Time) error {
	e.pipe.mu.Lock()
	defer e.pipe.mu.Unlock()
	e.readDeadline.setLocked(e.pipe, t)
	e.writeDeadline.setLocked(e.pipe, t)
	return nil
}

// SetReadDeadline implements net.Conn.
func (e *Peer) SetReadDeadline(t time.Time) error {
	e.pipe.mu.Lock()
	defer e.pipe.mu.Unlock()
	e.readDeadline.setLocked(e.pipe, t)
	return nil
}

// SetWriteDeadline implements net.Conn.
func (e *Peer) SetWriteDeadline(t time.Time) error {
	e.pipe.mu.Lock()
	defer e.pipe.mu.Unlock()
	e.writeDeadline.setLocked(e.pipe, t)
	return nil
}
