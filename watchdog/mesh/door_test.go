package mesh

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gopgpool/logging"
)

func TestDoor(t *testing.T) {
	var d door
	gone := map[string]int{}
	enter := func(from string, known bool) *visitor {
		return d.enter(netip.MustParseAddr(from), known, func() { gone[from]++ })
	}
	for range 200 {
		enter("10.0.0.1", false) // one busy stranger
	}
	if len(d.waiting) != strangersPerSource || gone["10.0.0.1"] != 200-strangersPerSource {
		t.Errorf("%d wait, %v", len(d.waiting), gone)
	}
	for range 200 {
		enter("fe80::1", false)
		enter("fe80::2", false) // the same network of 64 bits
	}
	if len(d.waiting) != 2*strangersPerSource {
		t.Errorf("%d wait", len(d.waiting))
	}
	genuine := enter("10.0.0.2", false) // from an address we do not know
	for i := range 200 {
		enter(fmt.Sprintf("10.1.0.%d", i%40), false)
	}
	if len(d.waiting) != strangers || gone["10.0.0.2"] != 0 {
		t.Errorf("%d wait, %v", len(d.waiting), gone["10.0.0.2"])
	}
	for range 100 {
		enter("10.0.0.9", true)
	}
	if gone["10.0.0.9"] != 100-knownPerAddress || len(d.waiting) != strangers+knownPerAddress {
		t.Errorf("%d wait, %v", len(d.waiting), gone["10.0.0.9"])
	}
	d.left(genuine)
	d.left(genuine)
	if len(d.waiting) != strangers+knownPerAddress-1 {
		t.Errorf("%d wait", len(d.waiting))
	}
	for i := range 300 {
		enter(fmt.Sprintf("10.2.%d.%d", i/100, i%100), false) // each from elsewhere
	}
	if len(d.waiting) != strangers+knownPerAddress {
		t.Errorf("%d wait", len(d.waiting))
	}
}

func TestQueueDropsTheOldest(t *testing.T) {
	var q queue
	l := &link{wake: make(chan struct{}, 1)}
	q.push([]byte("nobody carries it"))
	q.carry(l)
	for i := range queueCount + 10 {
		q.push(fmt.Append(nil, i))
	}
	if got := q.take(&link{}); got != nil {
		t.Error("another connection may take")
	}
	if got := q.take(l); string(got[0]) != "10" || q.dropped() != 11 {
		t.Errorf("oldest is %q, %d dropped", got[0], q.dropped())
	}
	for q.take(l) != nil {
	}
	big := make([]byte, MaxPayload)
	for range 4 {
		q.push(big)
	}
	if n := len(q.take(l)); n != 1 || len(q.items) != 1 {
		t.Errorf("%d taken, %d left", n, len(q.items))
	}
	q.carry(nil)
	if len(q.items) != 0 || q.bytes != 0 {
		t.Error("kept without a connection")
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"nobody":            func(c *Config) { c.Self = 3 },
		"no port of ours":   func(c *Config) { c.Nodes[0].WdPort = 0 },
		"no host":           func(c *Config) { c.Nodes[1].Host = "" },
		"no port of pgpool": func(c *Config) { c.Nodes[1].PgpoolPort = 0 },
		"port":              func(c *Config) { c.ListenPort = 70000 },
		"long name":         func(c *Config) { c.Name = strings.Repeat("n", 2000) },
		"version":           func(c *Config) { c.Version = -1 },
		"idle":              func(c *Config) { c.Idle = time.Millisecond },
	} {
		c := testConfig(0, testKey)
		spoil(&c)
		if _, err := New(c, nil, logging.Logger{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestNames resolves names as an administrator gives them, and lives on with what it knew when the resolver fails.
func TestNames(t *testing.T) {
	w := newWorld(t, 2)
	names := map[string]string{"a.example": "127.0.1.1", "b.example": "127.0.1.2"}
	w.nodes[0].Host, w.nodes[1].Host = "a.example", "b.example"
	c := w.config(0)
	c.ListenAddress = "127.0.1.1"
	lookup := func(_ context.Context, _, host string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr(names[host])}, nil
	}
	a := w.startWith(c, func(m *Mesh) { m.lookup = lookup })
	c = w.config(1)
	c.ListenAddress = "127.0.1.2"
	b := w.startWith(c, func(m *Mesh) { m.lookup = lookup })
	linked(t, a, b)
}

func TestWithoutAKey(t *testing.T) {
	w := newWorld(t, 2)
	ca, cb := w.config(0), w.config(1)
	ca.Key, cb.Key = "", ""
	ca.ListenAddress = "*"
	a := w.start(ca)
	cb.ListenAddress = "127.0.1.2"
	cb.ListenPort = w.nodes[1].WdPort + 1
	b := w.start(cb)
	eventually(t, "linked by the connection that can be made", func() bool { return a.Reachable(1) && b.Reachable(0) })
	if !strings.Contains(a.log.String(), "watchdog nodes do not authenticate each other") {
		t.Errorf("no warning in %s", a.log)
	}
	a.Send(1, []byte("x"))
	eventually(t, "message arrives", func() bool { return len(b.got(0)) == 1 })
}
