package listen

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
	"gopgpool/loop"
	"gopgpool/pgwire"
	"gopgpool/pool"
)

// world is a hub on some loops.
type world struct {
	testing.TB
	store *cluster.Store
	hub   *Hub
	loops []*loop.Loop
	log   *logText
	// dial reaches a node.
	dial func(t *loop.Task, node cluster.NodeID) (*loop.Conn, error)
	// database is that of the sessions.
	database string
}

// logText is what the hub has logged.
type logText struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), part)
}

// newWorld runs the loops until the function it returns is called, which checks that nothing is left.
func newWorld(tb testing.TB, cfg Config, loops []*loop.Loop, nodes int) (w *world, stop func()) {
	w = &world{TB: tb, store: cluster.NewStore(view(nodes, 0)), loops: loops, log: &logText{}, database: "postgres"}
	cfg.Store, cfg.Log = w.store, logging.To(w.log, logging.Debug1)
	cfg.Discard = func(c *pool.Conn) { c.Wire.Close() }
	w.hub = New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, l := range loops {
		running.Go(func() {
			if err := l.Run(ctx); err != nil {
				tb.Errorf("a loop: %v", err)
			}
		})
	}
	return w, func() {
		w.hub.Close()
		cancel()
		running.Wait()
		if left := w.hub.Status(); len(left) > 0 {
			tb.Errorf("left at the end: %+v", left)
		}
		if tb.Failed() {
			tb.Logf("log of the hub:\n%s", w.log.text.String())
		}
	}
}

// view is a cluster whose node n is the primary.
func view(nodes, n int) *cluster.View {
	v := &cluster.View{Mode: cluster.ModeStreaming, Primary: cluster.NodeID(n)}
	for i := range nodes {
		v.Nodes = append(v.Nodes, cluster.Node{ID: cluster.NodeID(i), Status: cluster.StatusUp, Epoch: 1})
	}
	return v
}

// tester is a session. Its fields belong to its task.
type tester struct {
	w     *world
	name  string
	key   Key
	task  *loop.Task
	inbox *Inbox
	mine  map[string]bool // in force
	todo  []func(*loop.Task)
	user  string
	ended bool

	mu  sync.Mutex
	got []string // guarded by mu: pid channel payload
	err error    // guarded by mu: of the inbox
	// deaf: it does not read
	deaf bool // guarded by mu
}

// session starts a session on loop number n.
func (w *world) session(n int, limit int) *tester {
	l := w.loops[n%len(w.loops)]
	s := &tester{w: w, key: Key{Database: w.database, Encoding: "UTF8"}, mine: map[string]bool{}, user: "postgres", name: fmt.Sprint("session ", n)}
	started := make(chan struct{})
	s.inbox = NewInbox(l, limit, func() { s.task.Wake() })
	l.Post(func() {
		s.task = l.Go(s.name, s.run)
		close(started)
	})
	<-started
	return s
}

func (s *tester) run(t *loop.Task) {
	for !t.Stopped() && !s.ended {
		for len(s.todo) > 0 {
			f := s.todo[0]
			s.todo = s.todo[1:]
			f(t)
		}
		s.drain()
		if !s.ended {
			t.Wait(time.Time{})
		}
	}
}

func (s *tester) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = s.inbox.Err()
	if s.deaf || !s.inbox.Pending() {
		return
	}
	var in splitter
	in.buf = s.inbox.Append(nil, 1<<30, func(ch string) bool { return s.mine[ch] })
	in.w = len(in.buf)
	for frame, _ := in.next(); frame != nil; frame, _ = in.next() {
		n, ok := ReadNotification(frame[pgwire.HeaderSize:])
		if !ok {
			s.w.Errorf("%s got %q", s.name, frame)
		}
		s.got = append(s.got, fmt.Sprintf("%d %s %s", n.PID, n.Channel, n.Payload))
	}
}

// do has the session run f on its task; the result comes when it has.
func (s *tester) do(f func(*loop.Task) error) <-chan error {
	done := make(chan error, 1)
	s.task.Loop().Post(func() {
		s.todo = append(s.todo, func(t *loop.Task) { done <- f(t) })
		s.task.Wake()
	})
	return done
}

func (s *tester) listen(channels ...string) <-chan error {
	return s.do(func(t *loop.Task) error {
		err := s.w.hub.Listen(t, s.key, s, channels, nil)
		if err == nil {
			for _, ch := range channels {
				s.mine[ch] = true
			}
		}
		return err
	})
}

func (s *tester) unlisten(channels ...string) <-chan error {
	return s.do(func(*loop.Task) error {
		for _, ch := range channels {
			delete(s.mine, ch)
		}
		s.w.hub.Unlisten(s.key, s, channels)
		return nil
	})
}

func (s *tester) leave() <-chan error {
	return s.do(func(*loop.Task) error {
		clear(s.mine)
		s.w.hub.Leave(s)
		return nil
	})
}

// end is leave and the end of the task.
func (s *tester) end() <-chan error {
	return s.do(func(*loop.Task) error {
		s.w.hub.Leave(s)
		s.ended = true
		return nil
	})
}

func (s *tester) heard() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.got...)
}

func (s *tester) setDeaf(deaf bool) {
	s.mu.Lock()
	s.deaf = deaf
	s.mu.Unlock()
	s.do(func(*loop.Task) error { return nil })
}

// Inbox implements Subscriber.
func (s *tester) Inbox() *Inbox { return s.inbox }

// OpenListener implements Subscriber.
func (s *tester) OpenListener(t *loop.Task, key Key, v *cluster.View) (*pool.Conn, error) {
	node := v.Writer()
	wire, err := s.w.dial(t, node)
	if err != nil {
		return nil, &pool.ConnectError{Node: node, Err: err}
	}
	c := &pool.Conn{Wire: wire, Epoch: v.Nodes[node].Epoch, Key: pool.Key{Node: node, Database: key.Database, User: s.user}}
	if err := login(c); err != nil {
		wire.Close()
		return nil, err
	}
	return c, nil
}

// login is that of a server that asks for no password.
func login(c *pool.Conn) error {
	if _, err := c.Wire.Write(pgwire.AppendStartup(nil, c.Key.User, c.Key.Database, nil)); err != nil {
		return &pool.ConnectError{Node: c.Key.Node, Err: err}
	}
	var in splitter
	for {
		n, err := c.Wire.Read(in.room())
		if err != nil {
			return &pool.ConnectError{Node: c.Key.Node, Err: err}
		}
		in.added(n)
		for frame, err := in.next(); frame != nil || err != nil; frame, err = in.next() {
			switch {
			case err != nil:
				return err
			case frame[0] == pgwire.ErrorResponse:
				return &pool.ServerError{Node: c.Key.Node, Fields: pgwire.ReadFields(frame[pgwire.HeaderSize:])}
			case frame[0] == pgwire.BackendKeyData:
				c.PID = binary.BigEndian.Uint32(frame[pgwire.HeaderSize:])
			case frame[0] == pgwire.ReadyForQuery:
				return nil
			}
		}
	}
}

// must ends the test unless what was asked for comes without an error.
func must(tb testing.TB, results ...<-chan error) {
	tb.Helper()
	for _, r := range results {
		if err := result(tb, r); err != nil {
			tb.Fatal(err)
		}
	}
}

func result(tb testing.TB, r <-chan error) error {
	tb.Helper()
	select {
	case err := <-r:
		return err
	case <-time.After(time.Minute):
		tb.Fatal("no answer within a minute")
		return nil
	}
}

var errNoServer = errors.New("connection refused")

// addr is where a fake node is.
type addr cluster.NodeID

func (a addr) Network() string { return "fake" }
func (a addr) String() string  { return fmt.Sprint("node ", int(a)) }

var _ net.Addr = addr(0)
