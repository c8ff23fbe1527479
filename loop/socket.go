package loop

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Adopt puts a connected, non-blocking stream descriptor on the task's loop and makes the task its owner. The Conn
// closes fd; on an error the caller keeps it. The Conn's Readable begins as false and tells the truth after the next turn.
func (t *Task) Adopt(fd int) (*Conn, error) {
	c := &Conn{loop: t.loop, sock: fdSocket(fd), stream: fdSocket(fd), writable: true}
	if err := t.loop.poll.add(c); err != nil {
		return nil, err
	}
	t.Take(c)
	return c, nil
}

// FD is the descriptor of a connection on epoll, for socket options; -1 for a virtual one.
func (c *Conn) FD() int {
	if f, ok := c.sock.(fdSocket); ok {
		return int(f)
	}
	return -1
}

// Loose is a connection on no loop.
type Loose struct {
	FD  int // -1: there is none
	tls *TLS
}

// Close closes the descriptor.
func (l Loose) Close() {
	if l.FD >= 0 {
		unix.Close(l.FD)
	}
}

// Release takes the connection off its loop without closing it; the result is the caller's from now on, to be put on another loop by
// AdoptLoose, or closed. A closed connection, or a virtual one, which is closed by it, gives FD -1.
func (c *Conn) Release() Loose {
	if c.closed {
		return Loose{FD: -1}
	}
	fd := c.FD()
	if fd < 0 {
		c.Close()
		return Loose{FD: -1}
	}
	c.leave()
	return Loose{FD: fd, tls: c.tls}
}

// AdoptLoose is Adopt for a connection that another loop has released, with its encryption.
func (t *Task) AdoptLoose(l Loose) (*Conn, error) {
	c, err := t.Adopt(l.FD)
	if err == nil {
		c.resume(l.tls)
	}
	return c, err
}

// DialError is a connection attempt that failed; Timeout reports that time ran out.
type DialError struct {
	Addr string
	Err  error
}

func (e *DialError) Error() string { return "connect " + e.Addr + ": " + e.Err.Error() }
func (e *DialError) Unwrap() error { return e.Err }

// Timeout reports whether the attempt was given up because of its deadline.
func (e *DialError) Timeout() bool { return os.IsTimeout(e.Err) && !errors.Is(e.Err, unix.EAGAIN) }

// Dial connects to a socket address (an IP address and port, or the path of a unix socket), giving up at the time until
// (zero: the system's own limit). Names are resolved by the caller, off the loop. The error is a [*DialError], or
// [ErrStopped] if the task was asked to end.
func (t *Task) Dial(addr net.Addr, until time.Time) (*Conn, error) {
	dial := t.dial
	if v, ok := t.loop.poll.(*virtual); ok {
		dial = v.dialFor(t)
	}
	c, err := dial(addr, until)
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, ErrStopped):
		return nil, ErrStopped
	}
	return nil, &DialError{Addr: addr.String(), Err: err}
}

func (t *Task) dial(addr net.Addr, until time.Time) (*Conn, error) {
	family, sa, err := sockaddr(addr)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	pending, err := t.connect(fd, sa, until)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	c, err := t.Adopt(fd)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	if pending {
		err = c.connected(until)
	}
	if err == nil && selfConnected(fd) {
		err = unix.ECONNREFUSED
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// connect begins to connect; pending tells that the end is still to come.
func (t *Task) connect(fd int, sa unix.Sockaddr, until time.Time) (pending bool, err error) {
	for pause := time.Millisecond; ; pause = min(2*pause, maxConnectPause) {
		switch err := unix.Connect(fd, sa); err {
		case nil:
			return false, nil
		case unix.EINPROGRESS, unix.EINTR:
			return true, nil
		case unix.EAGAIN:
			// The queue of a unix socket is full, and nothing tells when it no longer is.
			if t.loop.past(until) {
				return false, os.ErrDeadlineExceeded
			}
			t.Sleep(pause)
			if t.asked {
				return false, ErrStopped
			}
		default:
			return false, err
		}
	}
}

// maxConnectPause is how long connect waits at most before it looks again for room in a unix socket's queue.
const maxConnectPause = 20 * time.Millisecond

// connected waits for the outcome of connect.
func (c *Conn) connected(until time.Time) error {
	c.writable = false
	if err := c.wait(Interest{Conn: c, Write: true}, until); err != nil {
		return err
	}
	if c.aborted {
		return ErrAborted
	}
	e, err := unix.GetsockoptInt(c.FD(), unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if e != 0 {
		return unix.Errno(e)
	}
	// Whatever edge reported the connection may also have carried data; ask the socket rather than the flag.
	c.readable = true
	return nil
}

// selfConnected tells a TCP socket that met itself: the port dialled had no listener and the kernel chose it as our own.
func selfConnected(fd int) bool {
	local, err := unix.Getsockname(fd)
	if err != nil {
		return false
	}
	peer, err := unix.Getpeername(fd)
	if err != nil {
		return false
	}
	switch l := local.(type) {
	case *unix.SockaddrInet4:
		p, ok := peer.(*unix.SockaddrInet4)
		return ok && l.Port == p.Port && l.Addr == p.Addr
	case *unix.SockaddrInet6:
		p, ok := peer.(*unix.SockaddrInet6)
		return ok && l.Port == p.Port && l.Addr == p.Addr
	}
	return false
}

func sockaddr(addr net.Addr) (family int, sa unix.Sockaddr, err error) {
	switch a := addr.(type) {
	case *net.UnixAddr:
		return unix.AF_UNIX, &unix.SockaddrUnix{Name: a.Name}, nil
	case *net.TCPAddr:
		if ip4 := a.IP.To4(); ip4 != nil {
			return unix.AF_INET, &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(ip4)}, nil
		}
		if len(a.IP) != net.IPv6len {
			return 0, nil, fmt.Errorf("invalid address %q", a)
		}
		s := &unix.SockaddrInet6{Port: a.Port, Addr: [16]byte(a.IP)}
		if a.Zone != "" {
			ifc, err := net.InterfaceByName(a.Zone)
			if err != nil {
				return 0, nil, err
			}
			s.ZoneId = uint32(ifc.Index)
		}
		return unix.AF_INET6, s, nil
	}
	return 0, nil, fmt.Errorf("unsupported address %T", addr)
}
