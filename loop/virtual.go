package loop

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// NewVirtual makes a loop without a kernel: its connections come from [Loop.Pipe] and [Task.Dial] reaches what was given
// to [Loop.OnDial]. While nothing happens it blocks on a channel and a timer, so made and run inside a bubble of
// testing/synctest it lives on virtual time, which stands still while anybody works. Without a reporter (nil) a panic on
// the loop ends the program.
func NewVirtual(id int, reporter Reporter) *Loop {
	return newLoop(id, &virtual{news: make(chan struct{}, 1)}, reporter)
}

// errEngine is a descriptor on a virtual loop.
var errEngine = errors.New("loop: a virtual loop takes no descriptors")

// virtual is the poller without a kernel. Like epoll it reports edges: arrivals, room after a lack of it, the end.
type virtual struct {
	news   chan struct{} // holds something when poll has to look
	onDial func(net.Addr, *Peer) error
	batch  []virtualEvent // for deliver

	mu    sync.Mutex
	conns map[*virtualSocket]*Conn // guarded by mu
	queue []*virtualSocket         // guarded by mu; with events, in order of arrival
}

// virtualSocket is the loop's end of a pipe.
type virtualSocket struct {
	pipe   *pipe
	poller *virtual
	edges  edges // guarded by poller.mu
	queued bool  // guarded by poller.mu
}

type edges struct{ in, out, hup bool }

type virtualEvent struct {
	conn *Conn
	edges
}

func (v *virtual) poll(timeout time.Duration) (int, error) {
	if n := v.deliver(); n > 0 || timeout == 0 {
		return n, nil
	}
	if timeout < 0 {
		<-v.news
		return v.deliver(), nil
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-v.news:
	case <-timer.C:
	}
	return v.deliver(), nil
}

func (v *virtual) deliver() int {
	v.mu.Lock()
	for i, s := range v.queue {
		if c := v.conns[s]; c != nil {
			v.batch = append(v.batch, virtualEvent{c, s.edges})
		}
		s.edges, s.queued = edges{}, false
		v.queue[i] = nil
	}
	v.queue = v.queue[:0]
	v.mu.Unlock()
	n := 0
	for _, e := range v.batch {
		if e.conn.closed { // by an event before this
			continue
		}
		e.in = e.in && e.conn.sock.pending() // it may have been read since
		if e.edges != (edges{}) {
			e.conn.event(e.in, e.out, e.hup)
			n++
		}
	}
	clear(v.batch)
	v.batch = v.batch[:0]
	return n
}

func (v *virtual) wake() {
	select {
	case v.news <- struct{}{}:
	default:
	}
}

// tell queues edges of a socket. Any goroutine may call it.
func (v *virtual) tell(s *virtualSocket, e edges) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.conns[s] == nil || e == (edges{}) {
		return
	}
	s.edges = edges{s.edges.in || e.in, s.edges.out || e.out, s.edges.hup || e.hup}
	if !s.queued {
		s.queued = true
		v.queue = append(v.queue, s)
	}
	v.wake()
}

func (v *virtual) add(c *Conn) error {
	s, ok := c.sock.(*virtualSocket)
	if !ok {
		return errEngine
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.conns == nil {
		v.conns = make(map[*virtualSocket]*Conn)
	}
	v.conns[s] = c
	return nil
}

func (v *virtual) remove(c *Conn) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.conns, c.sock.(*virtualSocket))
}

func (v *virtual) watchWrite(c *Conn) {
	s := c.sock.(*virtualSocket)
	v.tell(s, s.pipe.watchRoom())
}

func (v *virtual) close() {
	v.mu.Lock()
	left := make([]*Conn, 0, len(v.conns))
	for _, c := range v.conns {
		left = append(left, c)
	}
	v.mu.Unlock()
	for _, c := range left {
		_ = c.Close()
	}
}

// OnDial has every Dial on this virtual loop make a pipe and hand its far end to accept, which is called on the loop, must
// not wait, and owns the far end if it returns nil. Its error is that of the Dial; os.ErrDeadlineExceeded stands for a host
// that keeps silent until the time given to Dial is over. Without OnDial every Dial is refused. For the loop's goroutine,
// or before Run.
func (l *Loop) OnDial(accept func(addr net.Addr, far *Peer) error) { l.virtual().onDial = accept }

// dialFor is dial for a task of a virtual loop.
func (v *virtual) dialFor(t *Task) func(addr net.Addr, until time.Time) (*Conn, error) {
	return func(addr net.Addr, until time.Time) (*Conn, error) {
		if v.onDial == nil {
			return nil, unix.ECONNREFUSED
		}
		c, far := t.loop.Pipe(dialBuffer)
		if err := v.onDial(addr, far); err != nil {
			c.Close()
			far.Close()
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return nil, t.waitFor(until)
			}
			return nil, err
		}
		t.Take(c)
		return c, nil
	}
}

// dialBuffer is the size of the buffers between Dial and OnDial.
const dialBuffer = 64 << 10

func (l *Loop) virtual() *virtual {
	v, ok := l.poll.(*virtual)
	if !ok {
		panic("loop: a loop on epoll has no pipes")
	}
	return v
}
