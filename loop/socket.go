package loop

import (
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Adopt puts a connected, non-blocking stream descriptor on the task's loop and makes the task its owner. The Conn
// closes fd; on an error the caller keeps it.
func (t *Task) Adopt(fd int) (*Conn, error) {
	c := &Conn{loop: t.loop, sock: fdSocket(fd), writable: true}
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

// Release takes the connection off its loop without closing it and returns the descriptor, which is the caller's from now
// on (to Adopt it on another loop).
func (c *Conn) Release() int {
	fd := c.FD()
	c.disown()
	c.closed = true
	c.loop.poll.remove(c)
	return fd
}

// DialError is a connection attempt that failed; Timeout reports that time ran out.
type DialError struct {
	Addr string
	Err  error
}

func (e *DialError) Error() string { return "connect " + e.Addr + ": " + e.Err.Error() }
func (e *DialError) Unwrap() error { return e.Err }

// Timeout reports whether the attempt was given up because of its deadline.
func (e *DialError) Timeout() bool { return os.IsTimeout(e.Err) || e.Err == unix.ETIMEDOUT }

// Dial connects to a socket address (an IP address and port, or the path of a unix socket), giving up at the time until
// (zero: the system's own limit). Names are resolved by the caller, off the loop.
func (t *Task) Dial(addr net.Addr, until time.Time) (*Conn, error) {
	c, err := t.dial(addr, until)
	if err != nil {
		return nil, &DialError{Addr: addr.String(), Err: err}
	}
	return c, nil
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
	err = unix.Connect(fd, sa)
	if err != nil && err != unix.EINPROGRESS {
		unix.Close(fd)
		return nil, err
	}
	pending := err != nil
	c, err := t.Adopt(fd)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	if !pending {
		return c, nil
	}
	c.writable = false
	if err := c.wait(Interest{Conn: c, Write: true}, until); err != nil {
		c.Close()
		return nil, err
	}
	if e, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || e != 0 {
		c.Close()
		if err == nil {
			err = unix.Errno(e)
		}
		return nil, err
	}
	// Whatever edge reported the connection may also have carried data; ask the socket rather than the flag.
	c.readable = true
	return c, nil
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

// acceptsPerTurn bounds how long a burst of arrivals keeps the loop from its sessions.
const acceptsPerTurn = 64

// Accept runs as a task: it takes connections from a listening, non-blocking descriptor, which it owns from now on, and
// hands each to serve, until the task is stopped. A shortage of descriptors or memory is reported through failed and waited out.
func Accept(t *Task, fd int, serve func(fd int, from net.Addr), failed func(error)) {
	ln, err := t.Adopt(fd)
	if err != nil {
		unix.Close(fd)
		failed(err)
		return
	}
	ln.readable = true
	for n := 0; ; n++ {
		if n == acceptsPerTurn {
			n = 0
			t.Yield()
		}
		if t.Stopped() {
			return
		}
		conn, sa, err := unix.Accept4(fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
			serve(conn, addrOf(sa))
		case unix.EINTR, unix.ECONNABORTED:
		case unix.EAGAIN:
			ln.readable = false
			if t.Wait(time.Time{}, Interest{Conn: ln, Read: true}) == Stopped {
				return
			}
		default:
			failed(os.NewSyscallError("accept", err))
			t.Sleep(acceptRetry)
		}
	}
}

// acceptRetry is how long Accept waits after an error such as "too many open files".
const acceptRetry = 200 * time.Millisecond
