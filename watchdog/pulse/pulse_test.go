package pulse

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
	patience = time.Minute
	quick    = 50 * time.Millisecond
)

// world is a cluster of nodes at 127.0.1.1, 127.0.1.2, ... The port behind port is the test's, too.
type world struct {
	t    *testing.T
	port int
}

// newWorld has ports of its own: sockets for heartbeats share a port, so two tests on one would hear each other.
func newWorld(t *testing.T) *world {
	t.Helper()
	port := pgcluster.FreePorts(t, 2)
	before := runtime.NumGoroutine()
	t.Cleanup(func() { // runs after all nodes have ended
		eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before })
	})
	return &world{t: t, port: port}
}

func host(id int) string { return fmt.Sprintf("127.0.1.%d", id+1) }

// config is that of node self among n; it sends and listens at the addresses of the nodes.
func (w *world) config(self, n int) Config {
	c := Config{Self: self, SelfHost: host(self), SelfPgpoolPort: 9999, Key: testKey, Keepalive: quick}
	c.Listen = []Listener{{Address: host(self), Port: w.port}}
	for id := range n {
		if id != self {
			c.Known = append(c.Known, NodeName{Node: id, Host: host(id), PgpoolPort: 9999})
			c.Paths = append(c.Paths, Path{Node: id, Host: host(id), Port: w.port})
		}
	}
	return c
}

type testNode struct {
	*Pulse
	log  *logText
	stop func()

	mu    sync.Mutex
	heard map[int]int
	paths map[string]int
	last  time.Duration
}

func (w *world) start(c Config, change ...func(*Pulse)) *testNode {
	w.t.Helper()
	n := &testNode{log: &logText{}, heard: map[int]int{}, paths: map[string]int{}}
	p, err := New(c, n.report, logging.To(n.log, logging.Debug1))
	if err != nil {
		w.t.Fatal(err)
	}
	p.bindInterval, p.restartInterval = 10*time.Millisecond, 20*time.Millisecond
	for _, f := range change {
		f(p)
	}
	n.Pulse = p
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(n.stop)
	return n
}

func (n *testNode) report(id int, path string, at time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.heard[id]++
	n.paths[path]++
	n.last = at
}

func (n *testNode) signs(id int) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.heard[id]
}

func (n *testNode) hears(t *testing.T, id int) {
	t.Helper()
	from := n.signs(id)
	eventually(t, fmt.Sprintf("node %d hears node %d", n.config.Self, id), func() bool { return n.signs(id) >= from+3 })
}

func (n *testNode) logs(t *testing.T, line string) {
	t.Helper()
	n.log.contains(t, line)
}

// saysLittle checks how often a node that began then has told of forged packets.
func (n *testNode) saysLittle(t *testing.T, began time.Time) {
	t.Helper()
	lines := strings.Count(n.log.String(), "watchdog heartbeat receive")
	if bound := logging.LimiterBurst + int(time.Since(began)/(10*time.Second)); lines > bound {
		t.Errorf("%d lines, more than %d", lines, bound)
	}
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

func (l *logText) contains(t *testing.T, line string) {
	t.Helper()
	eventually(t, "log line "+line, func() bool { return strings.Contains(l.String(), line) })
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
			t.Fatalf("%s: did not happen", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func TestNodesHearEachOther(t *testing.T) {
	w := newWorld(t)
	var nodes []*testNode
	for id := range 3 {
		nodes = append(nodes, w.start(w.config(id, 3)))
	}
	for id, n := range nodes {
		for other := range nodes {
			if other != id {
				n.hears(t, other)
			}
		}
		n.mu.Lock()
		if age := bootTime() - n.last; age < 0 || age > patience {
			t.Errorf("heard %v ago", age)
		}
		n.mu.Unlock()
	}
	before := nodes[0].signs(2)
	nodes[1].stop()
	nodes[0].hears(t, 2)
	if nodes[0].signs(2) <= before {
		t.Error("one node's end silenced another")
	}
	w.start(w.config(1, 3)).hears(t, 0)
	nodes[0].hears(t, 1)
}

// TestContactDoesNotWaitForTheNextBeat restarts nodes whose beats are an hour apart: answers alone must introduce them.
func TestContactDoesNotWaitForTheNextBeat(t *testing.T) {
	w := newWorld(t)
	slow := func(id int) Config {
		c := w.config(id, 2)
		c.Keepalive = time.Hour
		return c
	}
	// A sender of the first node may run before the receiver of the second one is there; whoever comes last is heard.
	a := w.start(slow(0))
	a.awaitListening(t)
	for range 3 {
		before := a.signs(1)
		b := w.start(slow(1), func(p *Pulse) {
			// The answer must find our receiver: the first beat waits for it.
			p.lookup = func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
				eventuallyListening(ctx, p.config.Listen[0])
				return []netip.Addr{netip.MustParseAddr(host(0))}, nil
			}
			p.nodes[0].senders[0].path.Host = "name-of-a"
		})
		eventually(t, "both have met", func() bool { return a.signs(1) > before && b.signs(0) > 0 })
		b.stop()
	}
}

// awaitListening waits until the receiver has its socket.
func (n *testNode) awaitListening(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	eventuallyListening(ctx, n.config.Listen[0])
}

// eventuallyListening waits until the address is taken.
func eventuallyListening(ctx context.Context, l Listener) {
	for ctx.Err() == nil {
		c, err := net.ListenPacket("udp4", net.JoinHostPort(l.Address, fmt.Sprint(l.Port)))
		if err != nil {
			return
		}
		c.Close()
		<-time.After(2 * time.Millisecond)
	}
}

func TestAnyPathKeepsANodeAlive(t *testing.T) {
	w := newWorld(t)
	a, b := w.config(0, 2), w.config(1, 2)
	a.Paths = []Path{
		{Node: 1, Host: "never.resolved", Port: w.port},
		{Node: 1, Host: host(1), Port: w.port, Device: "nodevice0"},
		{Node: 1, Host: "127.0.1.9", Port: w.port},
		{Node: 1, Host: host(1), Port: w.port},
	}
	b.Listen = append(b.Listen, Listener{Address: "127.0.1.9", Port: w.port})
	hang := func(p *Pulse) {
		p.lookup = func(ctx context.Context, _, _ string) ([]netip.Addr, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		p.root = true
	}
	na, nb := w.start(a, hang), w.start(b)
	nb.hears(t, 0)
	na.hears(t, 1)
	na.logs(t, fmt.Sprintf("heartbeat sender to 127.0.1.2:%d through nodevice0 failed and is started again", w.port))
	for _, path := range []uint8{2, 3} {
		eventually(t, fmt.Sprintf("path %d is heard", path), func() bool {
			n := nb.nodes[0]
			n.mu.Lock()
			defer n.mu.Unlock()
			return n.contact.onPath[path] > 0
		})
	}
}

func TestNamesAreResolvedAgain(t *testing.T) {
	w := newWorld(t)
	a, b := w.config(0, 2), w.config(1, 2)
	a.Paths[0].Host = "b.example"
	var mu sync.Mutex
	answer := []netip.Addr{netip.MustParseAddr("127.0.1.8")}
	na := w.start(a, func(p *Pulse) {
		p.lookup = func(context.Context, string, string) ([]netip.Addr, error) {
			mu.Lock()
			defer mu.Unlock()
			if answer == nil {
				return nil, &net.DNSError{Err: "no such host", Name: "b.example"}
			}
			return slices.Clone(answer), nil
		}
	})
	nb := w.start(b)
	eventually(t, "packets to the old address", func() bool { return na.Stats().Sent > 2 })
	if nb.signs(0) > 0 {
		t.Error("heard at the wrong address")
	}
	mu.Lock()
	answer = []netip.Addr{netip.MustParseAddr(host(1))}
	mu.Unlock()
	nb.hears(t, 0)
	if s := nb.Stats(); s.Stale != 0 {
		t.Errorf("packets are sent more than once: %+v", s)
	}
	mu.Lock()
	answer = nil
	mu.Unlock()
	na.logs(t, "heartbeat destination b.example cannot be resolved")
	nb.hears(t, 0) // at the address known before
}

func TestReceiverIsStartedAgain(t *testing.T) {
	w := newWorld(t)
	other, err := net.ListenPacket("udp4", fmt.Sprintf("%s:%d", host(1), w.port)) // does not share the port
	if err != nil {
		t.Fatal(err)
	}
	w.start(w.config(0, 2))
	b := w.start(w.config(1, 2))
	b.logs(t, fmt.Sprintf("heartbeat receiver on 127.0.1.2:%d failed and is started again", w.port))
	other.Close()
	b.hears(t, 0)
}

func TestDevicesNeedRoot(t *testing.T) {
	w := newWorld(t)
	a, b := w.config(0, 2), w.config(1, 2)
	a.Paths[0].Device = "nodevice0"
	a.Listen[0].Device = "nodevice0"
	plain := func(p *Pulse) { p.root = false }
	na, nb := w.start(a, plain), w.start(b)
	na.logs(t, "ignores the device")
	na.logs(t, fmt.Sprintf("heartbeat receiver on 127.0.1.1:%d of nodevice0 is not created", w.port))
	eventually(t, "packets arrive", func() bool { return nb.Stats().Strange > 2 })
	if na.signs(1)+nb.signs(0) != 0 {
		t.Error("heard without a receiver")
	}
}

// TestDevices sends and receives through the loopback device, on all addresses.
func TestDevices(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may bind a socket to a device")
	}
	w := newWorld(t)
	a, b := w.config(0, 2), w.config(1, 2)
	a.Listen[0], a.Paths[0].Port = Listener{Address: "*", Port: w.port, Device: "lo"}, w.port+1
	b.Listen[0], b.Paths[0].Port = Listener{Address: "*", Port: w.port + 1, Device: "lo"}, w.port
	a.Paths[0].Device, b.Paths[0].Device = "lo", "lo"
	a.Paths = append(a.Paths, Path{Node: 1, Host: "::1", Port: w.port + 1})
	na, nb := w.start(a), w.start(b)
	nb.hears(t, 0)
	na.hears(t, 1)
	if c, err := net.ListenPacket("udp6", "[::1]:0"); err != nil {
		t.Logf("no IPv6 here: %v", err)
		return
	} else {
		c.Close()
	}
	eventually(t, "packets over IPv6 count", func() bool {
		nb.mu.Lock()
		defer nb.mu.Unlock()
		return nb.paths["::1"] > 1
	})
}

func TestDifferentKeys(t *testing.T) {
	for _, keys := range [][2]string{{"one", "two"}, {"one", ""}, {"", "two"}} {
		t.Run(fmt.Sprintf("%q %q", keys[0], keys[1]), func(t *testing.T) {
			w := newWorld(t)
			a, b := w.config(0, 2), w.config(1, 2)
			a.Key, b.Key = keys[0], keys[1]
			began := time.Now()
			na, nb := w.start(a), w.start(b)
			for _, n := range []*testNode{na, nb} {
				n.logs(t, "watchdog heartbeat receive")
				n.logs(t, "authentication failed")
				eventually(t, "forgeries are counted", func() bool { return n.Stats().Forged > 10 })
				if s := n.Stats(); s.Alive+s.Strange != 0 {
					t.Errorf("%+v", s)
				}
			}
			na.saysLittle(t, began)
		})
	}
}

func TestWithoutAKey(t *testing.T) {
	w := newWorld(t)
	a, b := w.config(0, 2), w.config(1, 2)
	a.Key, b.Key = "", ""
	na, nb := w.start(a), w.start(b)
	na.hears(t, 1)
	nb.hears(t, 0)
}

func TestConfigIsChecked(t *testing.T) {
	w := &world{t: t, port: 21160}
	for name, spoil := range map[string]func(*Config){
		"own id as another's":  func(c *Config) { c.Known[0].Node = 0 },
		"path to nobody":       func(c *Config) { c.Paths[0].Node = 5 },
		"path without host":    func(c *Config) { c.Paths[0].Host = "" },
		"path without port":    func(c *Config) { c.Paths[0].Port = 0 },
		"listener at no port":  func(c *Config) { c.Listen[0].Port = 70000 },
		"listener at no place": func(c *Config) { c.Listen[0].Address = "" },
		"long host":            func(c *Config) { c.SelfHost = strings.Repeat("h", 256) },
		"negative interval":    func(c *Config) { c.Keepalive = -1 },
	} {
		c := w.config(0, 2)
		spoil(&c)
		if _, err := New(c, nil, logging.Logger{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
