package loop

import (
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// poller is where a loop learns what happened: epoll, or the virtual one of tests. All but wake are called on the loop.
type poller interface {
	// poll delivers what happened to the connections, waiting up to timeout (0: not at all, negative: for ever), and
	// returns how many things did. It may return early, and does after wake, which any goroutine may call.
	poll(timeout time.Duration) (int, error)
	wake()
	add(c *Conn) error
	remove(c *Conn)
	watchWrite(c *Conn)
	close() // with all connections that are left
}

// epoll is the kernel's poller. Connections stand in slots; an event carries slot and a generation, so that an event for a
// closed connection cannot reach the next one in its slot.
type epoll struct {
	fd, event int // epoll and eventfd
	slots     []epollSlot
	free      []uint32
	events    [256]unix.EpollEvent
}

type epollSlot struct {
	conn *Conn
	gen  int32
}

const wakeSlot = 0

// maxWait is in milliseconds, what the kernel takes without reading "for ever".
const maxWait = 1<<31 - 1

func newEpoll() (*epoll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	ev, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	p := &epoll{fd: fd, event: ev, slots: make([]epollSlot, 1, 64)}
	if err := unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, ev, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: wakeSlot}); err != nil {
		p.close()
		return nil, fmt.Errorf("epoll_ctl: %w", err)
	}
	return p, nil
}

func (p *epoll) poll(timeout time.Duration) (int, error) {
	var n int
	if timeout == 0 {
		// Does not block, so Go's scheduler need not know of it.
		r, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])), uintptr(len(p.events)), 0, 0, 0)
		if e == unix.EINTR {
			return 0, nil
		}
		if e != 0 {
			return 0, os.NewSyscallError("epoll_pwait", e)
		}
		n = int(r)
	} else {
		ms := -1
		if timeout > 0 {
			ms = int(min((timeout+time.Millisecond-1)/time.Millisecond, maxWait))
		}
		var err error
		n, err = unix.EpollWait(p.fd, p.events[:], ms)
		if err == unix.EINTR {
			return 0, nil
		}
		if err != nil {
			return 0, os.NewSyscallError("epoll_wait", err)
		}
	}
	for i := range p.events[:n] {
		p.deliver(&p.events[i])
	}
	return n, nil
}

func (p *epoll) deliver(ev *unix.EpollEvent) {
	if ev.Fd == wakeSlot {
		var b [8]byte
		_, _ = unix.Read(p.event, b[:])
		return
	}
	s := p.slots[ev.Fd]
	if s.conn == nil || s.gen != ev.Pad {
		return
	}
	e := ev.Events
	s.conn.event(e&unix.EPOLLIN != 0, e&unix.EPOLLOUT != 0, e&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0)
}

func (p *epoll) wake() {
	one := [8]byte{1}
	_, _ = unix.Write(p.event, one[:]) // full means that a wake-up is pending already
}

func (p *epoll) add(c *Conn) error {
	if n := len(p.free); n > 0 {
		c.slot, p.free = p.free[n-1], p.free[:n-1]
	} else {
		c.slot = uint32(len(p.slots))
		p.slots = append(p.slots, epollSlot{})
	}
	s := &p.slots[c.slot]
	s.conn = c
	s.gen++
	if err := p.ctl(unix.EPOLL_CTL_ADD, c, unix.EPOLLIN); err != nil {
		s.conn = nil
		p.free = append(p.free, c.slot)
		return err
	}
	return nil
}

func (p *epoll) ctl(op int, c *Conn, events uint32) error {
	ev := unix.EpollEvent{Events: events | unix.EPOLLRDHUP | unix.EPOLLET, Fd: int32(c.slot), Pad: p.slots[c.slot].gen}
	if err := unix.EpollCtl(p.fd, op, int(c.sock.(fdSocket)), &ev); err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	return nil
}

func (p *epoll) watchWrite(c *Conn) {
	// A modification reports what is the case already, so no edge is lost. It cannot fail for a registered descriptor.
	_ = p.ctl(unix.EPOLL_CTL_MOD, c, unix.EPOLLIN|unix.EPOLLOUT)
}

func (p *epoll) remove(c *Conn) {
	// Explicit, since a duplicate of the descriptor would keep the registration alive past close.
	_ = unix.EpollCtl(p.fd, unix.EPOLL_CTL_DEL, int(c.sock.(fdSocket)), nil)
	p.slots[c.slot].conn = nil
	p.free = append(p.free, c.slot)
}

func (p *epoll) close() {
	for i := range p.slots {
		if c := p.slots[i].conn; c != nil {
			_ = c.Close()
		}
	}
	unix.Close(p.event)
	unix.Close(p.fd)
}
