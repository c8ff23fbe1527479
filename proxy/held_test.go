package proxy

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gopgpool/conf"
	"gopgpool/internal/fakepg"
	"gopgpool/pgwire"
)

// TestHoldIsBounded: what is held is counted to the byte and given back on every way out; what would be too much is refused at once.
func TestHoldIsBounded(t *testing.T) {
	one := pgwire.AppendQuery(nil, insert)
	p := newTestProxy(t, setup{world: stateful(), nodes: 2, conf: onStandby, tweak: func(c *conf.Config) {
		c.Failover.HoldSessions, c.Failover.HoldMemory = 3, int64(2*len(one)+len(extended(insert)))
	}})
	var clients []*fakepg.Client
	for _, name := range []string{"cancels", "leaves", "waits", "comes late"} {
		clients = append(clients, p.connect(t, name))
	}
	holds := func(sessions, bytes int) {
		t.Helper()
		await(t, "so many are held", func() bool {
			n, size := p.Held()
			return n == sessions && size == int64(bytes)
		})
	}
	refused := func(c *fakepg.Client, message []byte, why string) {
		t.Helper()
		c.Send(message)
		got := errorsOf(c.UntilReady())
		if len(got) != 1 || got[0].Code != "57P03" || got[0].Severity != "ERROR" || !strings.Contains(got[0].Detail, why) || !strings.Contains(got[0].Detail, "was not sent") {
			t.Errorf("got %v", got)
		}
	}
	p.publish(t, condemn)
	clients[0].Send(one)
	holds(1, len(one))
	clients[1].Send(extended(insert)) // all of the batch stands in the buffer
	holds(2, len(one)+len(extended(insert)))
	refused(clients[2], extended(insert), "failover_hold_memory")
	clients[2].Send(one)
	holds(3, 2*len(one)+len(extended(insert)))
	refused(clients[3], one, "failover_hold_sessions")
	ok(t, clients[3], "SELECT 1")

	p.cancelRequest(t, clients[0])
	clients[0].UntilReady()
	holds(2, len(one)+len(extended(insert)))
	clients[1].Close()
	holds(1, len(one))
	clients[3].Send(one)
	holds(2, 2*len(one))
	p.publish(t, crown(1))
	fine(t, clients[2], "held")
	fine(t, clients[3], "held")
	holds(0, 0)
	for _, c := range []*fakepg.Client{clients[0], clients[2], clients[3]} {
		c.Bye()
	}
}

// TestHoldTimeoutIsReloaded: a new limit holds for those who wait already.
func TestHoldTimeoutIsReloaded(t *testing.T) {
	p := newTestProxy(t, setup{world: stateful(), nodes: 2, conf: onStandby})
	c := p.connect(t, "victim")
	p.publish(t, condemn)
	c.Send(pgwire.AppendQuery(nil, insert))
	await(t, "the statement is held", func() bool { return p.waiting("victim") })
	cfg := *p.current.Load().cfg
	cfg.Failover.HoldTimeout = time.Millisecond
	p.Configure(&cfg)
	if got := errorsOf(c.UntilReady()); len(got) != 1 || got[0].Code != "57P03" || !strings.Contains(got[0].Detail, "1ms") {
		t.Errorf("got %v", got)
	}
	if sessions, bytes := p.Held(); sessions != 0 || bytes != 0 {
		t.Errorf("%d sessions and %d bytes are held", sessions, bytes)
	}
	c.Bye()
}

// TestPacedRelease: held sessions go on in the order in which they came, across loops, and not faster than the rate; who was not held does not
// wait for them, and one whose turn has not come may cancel.
func TestPacedRelease(t *testing.T) {
	const rate, n = 5, 6 // so far apart that their order shows on a busy machine too
	p := newTestProxy(t, setup{world: stateful(), nodes: 2, loops: 2, conf: onStandby, tweak: func(c *conf.Config) {
		c.Failover.ReleaseRate = rate
		c.Pool.NumInitChildren = 32
	}})
	var clients []*fakepg.Client
	for i := range n {
		clients = append(clients, p.connect(t, "u"+string(rune('a'+i))))
	}
	other, cancels := p.connect(t, "other"), p.connect(t, "cancels")
	p.publish(t, condemn)
	for i, c := range append(slices.Clone(clients), cancels) {
		c.Send(pgwire.AppendQuery(nil, insert))
		await(t, "it is held", func() bool { sessions, _ := p.Held(); return sessions == i+1 })
	}
	began := time.Now()
	p.publish(t, crown(1))
	ok(t, other, insert)
	p.cancelRequest(t, cancels)
	if got := errorsOf(cancels.UntilReady()); len(got) == 1 && got[0].Code != "57014" {
		t.Errorf("got %v", got)
	}
	for i, c := range clients {
		fine(t, c, insert)
		const saved = 1 // a tenth of a second's worth is none
		if took, least := time.Since(began), time.Duration(i+1-saved)*time.Second/rate; took < least {
			t.Errorf("number %d went on after %v, not %v", i, took, least)
		}
	}
	var order []string
	for _, x := range p.fakes[1].Conns() {
		if x.Has(insert) && strings.HasPrefix(x.Startup().User, "u") {
			order = append(order, x.Startup().User)
		}
	}
	if len(order) != n || !slices.IsSorted(order) {
		t.Errorf("they went on in the order %v", order)
	}
	for _, c := range append(clients, other, cancels) {
		c.Bye()
	}
}
