package mesh

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gopgpool/internal/pgcluster"
	"gopgpool/logging"
)

const (
	testKey  = "a key of the cluster"
	testIdle = 10 * time.Second // a busy machine's pause is no silence
	patience = time.Minute
)

// world is a cluster's configuration on loopback addresses, of which a test runs some nodes.
type world struct {
	t     *testing.T
	nodes []Endpoint
}

// newWorld has n nodes at 127.0.1.1, 127.0.1.2, ..., all on one port; the port behind it is the test's, too.
func newWorld(t *testing.T, n int) *world {
	t.Helper()
	port := pgcluster.FreePorts(t, 2)
	before := runtime.NumGoroutine()
	t.Cleanup(func() { // runs after all nodes have ended
		eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before })
	})
	w := &world{t: t}
	for i := range n {
		w.nodes = append(w.nodes, Endpoint{Host: fmt.Sprintf("127.0.1.%d", i+1), WdPort: port, PgpoolPort: 9999})
	}
	return w
}

func (w *world) config(id int) Config {
	return Config{
		Self: id, Nodes: slices.Clone(w.nodes), Name: fmt.Sprintf("%s:9999 Linux n%d", w.nodes[id].Host, id),
		Key: testKey, Version: 1, Idle: testIdle,
	}
}

// node is a running Mesh and what its handler was told.
type node struct {
	*Mesh
	log  *logText
	stop func()

	mu       sync.Mutex
	events   []string // "up 1", "down 1"
	why      []string
	received map[int][]string
	rejected []string
}

func (w *world) start(c Config) *node { return w.startWith(c, func(*Mesh) {}) }

func (w *world) startWith(c Config, change func(*Mesh)) *node {
	w.t.Helper()
	n := &node{log: &logText{}, received: map[int][]string{}}
	m, err := New(c, n, logging.To(n.log, logging.Debug1))
	if err != nil {
		w.t.Fatal(err)
	}
	change(m)
	n.Mesh = m
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("node %d: %v", c.Self, err)
		}
	})
	w.t.Cleanup(n.stop)
	return n
}

func (n *node) Linked(peer int, up bool, why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	state := "down"
	if up {
		state = "up"
	}
	n.events = append(n.events, fmt.Sprint(state, " ", peer))
	n.why = append(n.why, why)
}

func (n *node) Received(peer int, payload []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.received[peer] = append(n.received[peer], string(payload))
}

func (n *node) Rejected(_ int, reason string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.rejected = append(n.rejected, reason)
}

func (n *node) got(peer int) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.received[peer])
}

func (n *node) told() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.events)
}

// awaitLoss waits until the handler was told last that peer is lost, and returns why.
func (n *node) awaitLoss(t *testing.T, peer int) (why string) {
	t.Helper()
	eventually(t, "told that the peer is lost", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		for i, e := range slices.Backward(n.events) {
			if strings.HasSuffix(e, fmt.Sprint(" ", peer)) {
				why = n.why[i]
				return strings.HasPrefix(e, "down")
			}
		}
		return false
	})
	return why
}

// awaitLog waits for a line of the log: some are written a moment after what others see.
func (n *node) awaitLog(t *testing.T, line string) {
	t.Helper()
	eventually(t, "log line "+line, func() bool { return strings.Contains(n.log.String(), line) })
}

func (n *node) rejections() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.rejected, "\n")
}

// connections is how many lead to peer.
func (n *node) connections(peer int) int {
	p := n.peers[peer]
	p.mu.Lock()
	defer p.mu.Unlock()
	count := 0
	for _, l := range []*link{p.in, p.out} {
		if l != nil {
			count++
		}
	}
	return count
}

type logText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); {
		if time.Now().After(end) {
			buf := make([]byte, 1<<16)
			t.Fatalf("%s: did not happen\n%s", what, buf[:runtime.Stack(buf, true)])
		}
		runtime.Gosched()
		<-time.After(5 * time.Millisecond)
	}
}

func linked(t *testing.T, nodes ...*node) {
	t.Helper()
	eventually(t, "all nodes are linked by two connections", func() bool {
		for _, n := range nodes {
			for _, o := range nodes {
				if n != o && (!n.Reachable(o.config.Self) || n.connections(o.config.Self) != 2) {
					return false
				}
			}
		}
		return true
	})
}

func TestNodesMeetAndTalk(t *testing.T) {
	w := newWorld(t, 3)
	a, b, c := w.start(w.config(0)), w.start(w.config(1)), w.start(w.config(2))
	linked(t, a, b, c)
	a.door.mu.Lock()
	if n := len(a.door.waiting); n != 0 {
		t.Errorf("%d connections of nodes still have a place at the door", n)
	}
	a.door.mu.Unlock()
	for i := range 500 {
		a.Send(1, fmt.Append(nil, "to b ", i))
		b.Send(0, fmt.Append(nil, "to a ", i))
		a.Send(2, fmt.Append(nil, "to c ", i))
	}
	eventually(t, "messages arrive", func() bool { return len(b.got(0)) == 500 && len(a.got(1)) == 500 && len(c.got(0)) == 500 })
	for i, text := range b.got(0) {
		if text != fmt.Sprint("to b ", i) {
			t.Fatalf("message %d is %q", i, text)
		}
	}
	if info, ok := a.Peer(1); !ok || info.Name != "127.0.1.2:9999 Linux n1" || info.Run == (runID{}) {
		t.Errorf("%+v", info)
	}
	text := a.log.String()
	for _, line := range []string{
		fmt.Sprint("new outbound connection to 127.0.1.2:", w.nodes[1].WdPort),
		`new watchdog node connection is received from "127.0.0.1:`,
		fmt.Sprintf(`new node joined the cluster hostname:"127.0.1.2" port:%d pgpool_port:9999`, w.nodes[1].WdPort),
	} {
		if !strings.Contains(text, line) {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
	b.Send(0, []byte("goodbye"))
	b.stop()
	eventually(t, "b is gone", func() bool { return !a.Reachable(1) && !c.Reachable(1) })
	if got := a.got(1); got[len(got)-1] != "goodbye" {
		t.Errorf("last words were %q", got[len(got)-1])
	}
	if why := a.awaitLoss(t, 1); why != errBye.Error() {
		t.Errorf("why: %q", why)
	}
	b = w.start(w.config(1))
	linked(t, a, b, c)
	if got := a.told(); !slices.Equal(slices.DeleteFunc(got, func(s string) bool { return strings.HasSuffix(s, "2") }), []string{"up 1", "down 1", "up 1"}) {
		t.Errorf("told %q", got)
	}
}

func TestLongMessages(t *testing.T) {
	w := newWorld(t, 2)
	a, b := w.start(w.config(0)), w.start(w.config(1))
	linked(t, a, b)
	for _, size := range []int{MaxPayload, MaxPayload + 1, 1, 0, 3 << 20} {
		a.Send(1, make([]byte, size))
	}
	eventually(t, "messages arrive", func() bool { return len(b.got(0)) == 3 })
	for i, size := range []int{MaxPayload, 1, 3 << 20} {
		if got := len(b.got(0)[i]); got != size {
			t.Errorf("message %d has %d bytes, not %d", i, got, size)
		}
	}
	a.Send(7, []byte("nobody"))
	a.Send(0, []byte("ourselves"))
	a.Send(-1, []byte("nobody"))
}

// TestPortInUse shows the attempts of Run: the port becomes free after the first.
func TestPortInUse(t *testing.T) {
	w := newWorld(t, 2)
	other, err := net.Listen("tcp", fmt.Sprint("127.0.1.1:", w.nodes[0].WdPort))
	if err != nil {
		t.Fatal(err)
	}
	n := &node{log: &logText{}, received: map[int][]string{}}
	m, err := New(w.config(0), n, logging.To(os.Stderr, logging.Error))
	if err != nil {
		t.Fatal(err)
	}
	m.bindInterval = 20 * time.Millisecond
	if err := m.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("five attempts, then %v", err)
	}
	other.Close()
	w.start(w.config(0))
}

// TestOwnNameOnLoopback has a resolver that knows our own name as Debian's installer writes it.
func TestOwnNameOnLoopback(t *testing.T) {
	w := newWorld(t, 2)
	w.nodes[0].Host = "server1.invalid"
	n := w.startWith(w.config(0), func(m *Mesh) {
		m.bindInterval = time.Millisecond
		m.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("127.0.1.1")}, nil
		}
	})
	eventually(t, "a warning", func() bool { return strings.Contains(n.log.String(), "listens on a loopback address only") })
	if b := w.start(w.config(1)); strings.Contains(b.log.String(), "loopback") {
		t.Error("warned of a configured loopback address")
	}
}
