package mesh

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gopgpool/logging"
)

// between starts two nodes whose connections lead through a relay each: first to node 0, then to node 1.
func (w *world) between(idle time.Duration) (a, b *node, toA, toB *relay) {
	w.t.Helper()
	configs := []Config{w.config(0), w.config(1)}
	relays := make([]*relay, 2)
	for i := range configs {
		port := w.nodes[i].WdPort
		configs[i].ListenPort = port + 1
		configs[i].Idle = idle
		relays[i] = startRelay(w.t, fmt.Sprintf("%s:%d", w.nodes[i].Host, port), fmt.Sprintf("%s:%d", w.nodes[i].Host, port+1))
	}
	a, b = w.start(configs[0]), w.start(configs[1])
	linked(w.t, a, b)
	return a, b, relays[0], relays[1]
}

func TestSilenceIsNoticedAndHealed(t *testing.T) {
	w := newWorld(t, 2)
	const idle = 500 * time.Millisecond
	a, b, toA, toB := w.between(idle)
	for try := 1; ; try++ { // a busy machine may be early or late, but not each time
		toA.frozen.Store(true)
		toB.frozen.Store(true)
		began := time.Now()
		eventually(t, "both give up", func() bool { return !a.Reachable(1) && !b.Reachable(0) })
		took, why := time.Since(began), a.awaitLoss(t, 1)
		a.Send(1, []byte("into the void"))
		toA.frozen.Store(false)
		toB.frozen.Store(false)
		toA.cut()
		toB.cut()
		linked(t, a, b)
		if took >= idle/2 && took <= 4*idle && strings.Contains(why, "nothing was heard for 500ms") {
			break
		}
		if try == 5 {
			t.Fatalf("noticed after %v: %q", took, why)
		}
	}
	eventually(t, "message arrives", func() bool { // a busy machine may lose the connection once more
		a.Send(1, []byte("again"))
		return len(b.got(0)) > 0
	})
	if b.got(0)[0] != "again" {
		t.Error("a message of the time without a connection arrived")
	}
}

// TestOneConnectionSuffices keeps one of the two from coming about.
func TestOneConnectionSuffices(t *testing.T) {
	w := newWorld(t, 2)
	a, b, toA, toB := w.between(testIdle)
	for _, r := range []*relay{toA, toB} {
		r.attack(func(bool, int, []byte) [][]byte { return nil }) // connects, and never says anything
		r.cut()
		eventually(t, "one connection is left", func() bool { return a.connections(1) == 1 && b.connections(0) == 1 })
		for i := range 50 {
			a.Send(1, fmt.Append(nil, i))
			b.Send(0, fmt.Append(nil, i))
		}
		eventually(t, "messages arrive", func() bool { return len(b.got(0)) >= 50 && len(a.got(1)) >= 50 })
		r.attack(nil)
		linked(t, a, b)
	}
	if got := a.told(); len(got) != 1 || len(b.told()) != 1 {
		t.Errorf("told %q", got)
	}
}

// TestAttacksOnARunningConnection changes frames under way, in both directions. Nothing of it may reach the handler; the connection
// ends and another one follows.
func TestAttacksOnARunningConnection(t *testing.T) {
	w := newWorld(t, 2)
	a, b, toA, toB := w.between(testIdle)
	var mu sync.Mutex
	var other []byte // a frame of another connection and direction
	attacks := []struct {
		name   string
		change func(frame []byte) [][]byte
	}{
		{"repeat", func(f []byte) [][]byte { return [][]byte{f, f} }},
		{"drop one", func([]byte) [][]byte { return [][]byte{} }},
		{"turn a bit of the payload", func(f []byte) [][]byte {
			f[sessionHeader] ^= 1
			return [][]byte{f}
		}},
		{"another kind", func(f []byte) [][]byte {
			f[0] = kindAlive
			return [][]byte{f}
		}},
		{"another sequence number", func(f []byte) [][]byte {
			f[sessionHeader-1]++
			return [][]byte{f}
		}},
		{"insert one of another connection", func(f []byte) [][]byte {
			mu.Lock()
			defer mu.Unlock()
			return [][]byte{bytes.Clone(other), f}
		}},
		{"insert a refusal", func(f []byte) [][]byte {
			return [][]byte{appendEarly(nil, kindRefuse, []byte("go away, node, there is nothing here for you to be had")), f}
		}},
	}
	for _, attack := range attacks {
		t.Run(attack.name, func(t *testing.T) {
			linked(t, a, b)
			var done atomic.Bool
			hook := func(r *relay, sender string) {
				r.attack(func(_ bool, n int, frame []byte) [][]byte {
					if n < 3 || frame[0] != kindData {
						return [][]byte{frame}
					}
					if !bytes.Contains(frame, []byte(sender)) {
						mu.Lock()
						other = bytes.Clone(frame)
						mu.Unlock()
						return [][]byte{frame}
					}
					if done.Swap(true) {
						return [][]byte{frame}
					}
					return attack.change(frame)
				})
			}
			hook(toB, "from a")
			hook(toA, "from a")
			made := a.connectionsMade() + b.connectionsMade()
			eventually(t, "the attack ends a connection", func() bool {
				b.Send(0, []byte("of b: "+attack.name))
				a.Send(1, []byte("from a: "+attack.name))
				return done.Load() && a.connectionsMade()+b.connectionsMade() > made
			})
		})
	}
	linked(t, a, b)
	seen := map[string]int{}
	for _, text := range b.got(0) {
		if !strings.HasPrefix(text, "from a: ") {
			t.Errorf("received %q", text)
		}
		seen[text]++
	}
	for _, text := range a.got(1) {
		if !strings.HasPrefix(text, "of b: ") {
			t.Errorf("received %q", text)
		}
	}
	if len(seen) == 0 {
		t.Error("nothing arrived at all")
	}
}

// connectionsMade counts them: a new one follows when one has ended.
func (n *node) connectionsMade() int {
	return strings.Count(n.log.String(), "new outbound connection") + strings.Count(n.log.String(), "new watchdog node connection")
}

// TestRefusalsReachTheHandler joins a node with a wrong key to a running cluster.
func TestRefusalsReachTheHandler(t *testing.T) {
	w := newWorld(t, 3)
	port := w.nodes[0].WdPort
	a, b := w.start(w.config(0)), w.start(w.config(1))
	linked(t, a, b)
	wrong := w.config(2)
	wrong.Key = "wrong"
	c := w.start(wrong)
	eventually(t, "c is rejected by both", func() bool {
		text := c.log.String()
		return strings.Contains(text, fmt.Sprintf("watchdog node 0 at 127.0.1.1:%d rejects this node", port)) &&
			strings.Contains(text, fmt.Sprintf("watchdog node 1 at 127.0.1.2:%d rejects this node", port))
	})
	eventually(t, "the handler is told", func() bool {
		return strings.Contains(c.rejections(), "authentication failed for add node from hostname:\"127.0.1.3\"")
	})
	a.awaitLog(t, fmt.Sprintf(`authentication failed for add node from hostname:"127.0.1.3" port:%d pgpool_port:9999`, port))
	a.awaitLog(t, "wd_authkey must be the same on all nodes")
	c.stop()
	if c.Reachable(0) || a.Reachable(2) || len(c.told()) != 0 {
		t.Error("linked all the same")
	}
	linked(t, a, b)
	same := w.config(1)
	same.ListenAddress, same.Name = "127.0.1.4", "another node 1"
	d := w.start(same)
	eventually(t, "another node 1 takes the place of the first", func() bool { return d.Reachable(0) })
	// The one who connects is done with the handshake before the other.
	a.awaitLog(t, "watchdog node 1 was started again, or another node speaks with its id")
	eventually(t, "the handler is told", func() bool { return len(a.told()) >= 3 })
	if told := a.told(); !slices.Equal(told[:3], []string{"up 1", "down 1", "up 1"}) {
		t.Errorf("told %q", told)
	}
	d.stop()
	w.start(w.config(2)).stop()
	linked(t, a, b)
}

// TestFloodOfStrangers lets hundreds of connections come from the peer's own address and from others, while the peer joins.
func TestFloodOfStrangers(t *testing.T) {
	w := newWorld(t, 2)
	target := fmt.Sprint("127.0.1.1:", w.nodes[0].WdPort)
	start := time.Now()
	a := w.start(w.config(0))
	stop := make(chan struct{})
	var flood sync.WaitGroup
	hello := sampleHello()
	for i := range 6 {
		source := &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(2+i))} // the first is the peer's
		flood.Go(func() {
			d := net.Dialer{LocalAddr: source, Timeout: time.Second}
			var open []net.Conn
			defer func() {
				for _, c := range open {
					c.Close()
				}
			}()
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				c, err := d.Dial("tcp", target)
				if err != nil {
					continue
				}
				if n%2 == 0 { // the others say nothing
					_, _ = c.Write(appendEarly(nil, kindHello, hello.append(nil)))
				}
				if open = append(open, c); len(open) > 100 {
					open[0].Close()
					open = open[1:]
				}
			}
		})
	}
	eventually(t, "the door is full", func() bool {
		a.door.mu.Lock()
		defer a.door.mu.Unlock()
		return len(a.door.waiting) >= strangersPerSource
	})
	began := time.Now()
	b := w.start(w.config(1))
	linked(t, a, b)
	t.Logf("both connections after %v", time.Since(began))
	a.door.mu.Lock()
	if n := len(a.door.waiting); n > strangers+knownPerAddress {
		t.Errorf("%d connections wait", n)
	}
	a.door.mu.Unlock()
	close(stop)
	flood.Wait()
	lines := strings.Count(a.log.String(), "turned away")
	if bound := 3*logging.LimiterBurst + 2*int(time.Since(start)/(10*time.Second)); lines > bound { // strangers and the peer's address have one each
		t.Errorf("%d lines, more than %d", lines, bound)
	}
}
