package pulse

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"
)

// attacker sits on the way to a node: he sees every packet, decides whether it goes on, and can send what he has seen.
type attacker struct {
	in     *net.UDPConn
	target netip.AddrPort
	work   sync.WaitGroup

	mu     sync.Mutex // guards all below
	seen   [][]byte
	passed int // of seen, those that are not under way any more
	drop   bool
}

// startAttacker listens at from and passes packets on to target.
func startAttacker(t *testing.T, from, target string) *attacker {
	t.Helper()
	in, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(from)))
	if err != nil {
		t.Fatal(err)
	}
	x := &attacker{in: in, target: netip.MustParseAddrPort(target)}
	x.work.Go(x.pass)
	t.Cleanup(func() {
		in.Close()
		x.work.Wait()
	})
	return x
}

func (x *attacker) pass() {
	b := make([]byte, 2*maxPacket)
	for {
		n, _, err := x.in.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		x.mu.Lock()
		x.seen = append(x.seen, bytes.Clone(b[:n]))
		drop := x.drop
		x.mu.Unlock()
		if !drop {
			x.send(b[:n])
		}
		x.mu.Lock()
		x.passed++
		x.mu.Unlock()
	}
}

// settle waits until a node has judged what the attacker has passed on of it so far: what comes last is known to be garbage.
func (x *attacker) settle(t *testing.T, to *testNode) {
	t.Helper()
	eventually(t, "nothing is under way", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		return x.passed == len(x.seen)
	})
	before := to.Stats().Forged
	x.send([]byte("the end"))
	eventually(t, "all that was sent is judged", func() bool { return to.Stats().Forged > before })
}

// end stops a node whose packets come to the attacker, who had seen so many before, and waits until the other node has judged the last.
func (x *attacker) end(t *testing.T, from *testNode, before int, to *testNode) {
	t.Helper()
	from.stop()
	eventually(t, "the last packets have arrived", func() bool { return uint64(len(x.recorded())-before) == from.Stats().Sent })
	x.settle(t, to)
}

func (x *attacker) send(b []byte) { _, _ = x.in.WriteToUDPAddrPort(b, x.target) }

func (x *attacker) recorded() [][]byte {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.seen)
}

func (x *attacker) cut(drop bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.drop = drop
}

// between starts an attacker on each way between two nodes: to node 0 and to node 1.
func (w *world) between() (a, b Config, toA, toB *attacker) {
	a, b = w.config(0, 2), w.config(1, 2)
	at := func(id int) string { return fmt.Sprintf("%s:%d", host(id), w.port) }
	onTheWay := func(id int) string { return fmt.Sprintf("%s:%d", host(id), w.port+1) }
	toA, toB = startAttacker(w.t, onTheWay(0), at(0)), startAttacker(w.t, onTheWay(1), at(1))
	a.Paths[0].Port, b.Paths[0].Port = w.port+1, w.port+1
	return a, b, toA, toB
}

// replay sends a batch again and waits until the node has judged it.
func (x *attacker) replay(t *testing.T, to *testNode, batch [][]byte) {
	t.Helper()
	judged := func() uint64 {
		s := to.Stats()
		return s.Alive + s.Strange + s.Stale + s.Forged
	}
	for part := range slices.Chunk(batch, 50) { // so that the receive buffer holds them
		before := judged()
		for _, b := range part {
			x.send(b)
		}
		eventually(t, "packets sent again are judged", func() bool { return judged() >= before+uint64(len(part)) })
	}
}

func TestRecordedPacketsNeverCount(t *testing.T) {
	w := newWorld(t)
	ca, cb, toA, toB := w.between()
	a, b := w.start(ca), w.start(cb)
	a.hears(t, 1)
	b.hears(t, 0)

	toB.end(t, a, 0, b) // dead, says the network; the attacker says otherwise
	before := b.signs(0)
	toB.replay(t, b, toB.recorded())
	if b.signs(0) != before {
		t.Error("recorded packets keep a dead node alive")
	}
	b.logs(t, "heartbeat of node 0 is ignored")

	b.stop() // b forgets everything
	b = w.start(cb)
	eventually(t, "b listens", func() bool { toB.send(toB.recorded()[0]); return b.Stats().Strange > 0 })
	toB.replay(t, b, toB.recorded())
	if b.signs(0) != 0 {
		t.Error("packets recorded before the start count")
	}

	// While everything ever recorded comes again and again both meet all the same.
	stop := make(chan struct{})
	var work sync.WaitGroup
	for _, x := range []*attacker{toA, toB} {
		work.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				seen := x.recorded()
				x.send(seen[i%len(seen)])
			}
		})
	}
	former := len(toB.recorded())
	a = w.start(ca)
	a.hears(t, 1)
	b.hears(t, 0)
	close(stop)
	work.Wait()

	toB.end(t, a, former, b)
	before = b.signs(0)
	toB.replay(t, b, toB.recorded())
	if after := b.signs(0); after != before {
		t.Errorf("%d recorded packets count", after-before)
	}
}

func TestForgedPackets(t *testing.T) {
	w := newWorld(t)
	ca, cb, toA, toB := w.between()
	began := time.Now()
	a, b := w.start(ca), w.start(cb)
	a.hears(t, 1)
	b.hears(t, 0)
	toB.cut(true)
	toB.settle(t, b)
	genuine := len(toB.recorded())
	eventually(t, "a packet b has not seen", func() bool { return len(toB.recorded()) > genuine })
	fresh := toB.recorded()[genuine]

	var forged [][]byte
	for i := range fresh {
		c := bytes.Clone(fresh)
		c[i] ^= 0x20
		forged = append(forged, c)
	}
	forged = append(forged, fresh[:len(fresh)-1], append(bytes.Clone(fresh), 0), fresh[:len(fresh)-macSize], nil, []byte("hello"),
		make([]byte, 4*maxPacket))
	forged = append(forged, toA.recorded()...) // b's own packets come back
	before, signs := b.Stats().Forged, b.signs(0)
	toB.replay(t, b, forged)
	if got := b.Stats().Forged - before; got != uint64(len(forged)) || b.signs(0) != signs {
		t.Errorf("%d of %d are forged", got, len(forged))
	}
	b.logs(t, "watchdog heartbeat receive")
	b.saysLittle(t, began)
	signs = b.signs(0)
	toB.send(fresh) // unchanged it counts: nothing but the changes was wrong
	eventually(t, "the genuine packet counts", func() bool { return b.signs(0) > signs })
	toB.cut(false)
	b.hears(t, 0)
}

// TestPacketsForAnotherNode sends what a says to b to c, who knows a as well.
func TestPacketsForAnotherNode(t *testing.T) {
	w := newWorld(t)
	ca, cb, _, toB := w.between()
	ca.Known = append(ca.Known, NodeName{Node: 2, Host: host(2), PgpoolPort: 9999})
	cc := w.config(2, 3)
	cc.Paths = nil
	a, b, c := w.start(ca), w.start(cb), w.start(cc)
	a.hears(t, 1)
	b.hears(t, 0)
	toC := &attacker{in: toB.in, target: netip.MustParseAddrPort(fmt.Sprintf("%s:%d", host(2), w.port))}
	eventually(t, "c listens", func() bool { toC.send([]byte("anything")); return c.Stats().Forged > 0 })
	toC.replay(t, c, toB.recorded())
	if s := c.Stats(); s.Alive+s.Strange+s.Stale != 0 {
		t.Errorf("%+v", s)
	}
}

// TestAnswersAreBounded lets an attacker make a node answer as often as he can.
func TestAnswersAreBounded(t *testing.T) {
	w := newWorld(t)
	ca, cb, _, toB := w.between()
	cb.Keepalive = time.Hour
	b := w.start(cb)
	packets := make([][]byte, 2000)
	for i := range packets {
		p := packet{From: 0, To: 1, Port: 9999, Mark: mark{runID{byte(i), byte(i >> 8)}, 1}, Host: host(0)}
		packets[i] = p.append(nil, ca.Key)
	}
	eventually(t, "b listens", func() bool { toB.send(packets[0]); return b.Stats().Strange > 0 })
	began := time.Now()
	toB.replay(t, b, packets)
	sent := b.Stats().Sent
	if bound := uint64(maxCandidates) * uint64(2+answersBurst+2*int(time.Since(began)/answersInterval)); sent > bound {
		t.Errorf("%d packets sent, more than %d", sent, bound)
	}
}
