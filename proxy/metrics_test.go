package proxy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/internal/fakepg"
	"gopgpool/pgwire"
	"gopgpool/proxy/meter"
)

const wrong = "SELECT wrong"

// measured is what the proxy has counted, in words: classes of statements, reasons and errors by node, all of ours.
func measured(tb testing.TB, p *testProxy) string {
	tb.Helper()
	r := p.Measure(tb.Context())
	var out []string
	for id, n := range r.Total.Nodes {
		if n == nil {
			continue
		}
		for class := range meter.Classes {
			if h := &n.Queries[class]; h.Count() > 0 {
				out = append(out, fmt.Sprintf("%d:%v=%d", id, class, h.Count()))
				if h.Sum <= 0 {
					tb.Errorf("node %d, %v: no time has passed", id, class)
				}
			}
		}
		for code, count := range n.Routes {
			if count > 0 {
				out = append(out, fmt.Sprintf("%d:%s=%d", id, r.Reasons[code], count))
			}
		}
		for class, count := range n.Errors {
			out = append(out, fmt.Sprintf("%d:error%s=%d", id, class, count))
		}
	}
	for class, count := range r.Total.Errors {
		out = append(out, fmt.Sprintf("error%s=%d", class, count))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// Each statement that a server answers is counted once, whatever the protocol, and so is why it went there.
func TestStatementsAreMeasured(t *testing.T) {
	for _, c := range []struct {
		name string
		run  func(*fakepg.Client)
		want string
	}{
		{"reads go to the standby", func(c *fakepg.Client) { ok(t, c, one); ok(t, c, one) }, "1:dice=1 1:load_balance_node=1 1:read=2"},
		{"writes", func(c *fakepg.Client) { ok(t, c, insert) }, "0:write=1 0:write=1"},
		{"a transaction", func(c *fakepg.Client) {
			ok(t, c, "BEGIN")
			ok(t, c, insert)
			ok(t, c, one)
			ok(t, c, "COMMIT")
		}, "0:read=1 0:transaction=1 0:transaction_control=1 0:transaction_wrote=1 0:write=1 0:write=1"},
		{"an empty transaction", func(c *fakepg.Client) { ok(t, c, "BEGIN"); ok(t, c, "COMMIT") }, ""},
		{"settings", func(c *fakepg.Client) { ok(t, c, setName) }, "0:other=1 0:session_state=1"},
		{"a server's error", func(c *fakepg.Client) { c.Query(wrong) }, "1:dice=1 1:error42=1 1:read=1"},
		{"extended", func(c *fakepg.Client) {
			c.Send(slices.Concat(extended(one), extended(insert)))
			c.UntilReady()
			c.UntilReady()
		}, "0:write=1 0:write=1 1:dice=1 1:read=1"},
		{"an error in the extended protocol", func(c *fakepg.Client) {
			c.Send(extended(wrong))
			c.UntilReady()
		}, "1:dice=1 1:error42=1"},
		{"an error of ours", func(c *fakepg.Client) { c.Query("PGPOOL SET nonsense TO 1") }, "error42=1"},
		{"what pgpool answers", func(c *fakepg.Client) { c.Query("SHOW pool_version") }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := world()
			w[wrong] = fakepg.Answer{Error: &pgwire.Fields{Severity: "ERROR", Code: "42703", Message: "no such column"}}
			p := newTestProxy(t, setup{world: w, nodes: 2, conf: onStandby})
			client := p.connect(t, "u")
			c.run(client)
			client.Bye()
			p.rest()
			if got := measured(t, p); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestLoginsAreCounted(t *testing.T) {
	p := newTestProxy(t, setup{world: world(), hba: "host all good 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 reject\n"})
	good := p.connect(t, "good")
	bad := p.start(t, "bad")
	bad.ExpectFatal("28000")
	r := p.Measure(t.Context())
	if l := r.Total.Logins; l != [meter.Logins]uint64{1, 1, 0} || r.Total.Errors["28"] != 1 {
		t.Errorf("%v, %v", l, r.Total.Errors)
	}
	if want := (meter.Sessions{Database: "db", State: "idle", N: 1}); !slices.Contains(r.Sessions, want) {
		t.Errorf("%+v", r.Sessions)
	}
	if l := r.Limits; l.Clients < 1 || l.MaxClients != 8 {
		t.Errorf("%+v", l)
	}
	good.Bye()
}

func TestPinsAreCounted(t *testing.T) {
	p := newTestProxy(t, setup{world: stateful(), conf: "pool_mode = transaction\n"})
	c := p.connect(t, "u")
	ok(t, c, "DECLARE c CURSOR WITH HOLD FOR SELECT 1 FOR UPDATE")
	ok(t, c, one)
	ok(t, c, one)
	r := p.Measure(t.Context())
	bit := slices.Index(r.Pins, "cursor WITH HOLD")
	if bit < 0 || r.Total.Pins[bit] != 1 || r.Pinned[bit] != 1 {
		t.Errorf("%v: %v in all, %v now", r.Pins, r.Total.Pins, r.Pinned)
	}
	c.Bye()
	p.rest()
	if r := p.Measure(t.Context()); r.Pinned[bit] != 0 || r.Total.Pins[bit] != 1 {
		t.Errorf("afterwards %v in all, %v now", r.Total.Pins, r.Pinned)
	}
}

// A loop that does not turn is told as such, with what it has counted before, and is asked only once.
func TestStalledLoopIsTold(t *testing.T) {
	p := newTestProxy(t, setup{world: world(), loops: 2})
	c := p.connect(t, "u")
	ok(t, c, insert)
	before := p.Measure(t.Context())
	stalled, release := make(chan struct{}), make(chan struct{})
	h := p.homes[1]
	h.loop.Post(func() { close(stalled); <-release })
	<-stalled
	for range 3 {
		var r *meter.Reading
		for limit := 200 * time.Millisecond; ; limit *= 2 { // on a busy machine the other loop may not turn at once
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			r = p.Measure(ctx)
			cancel()
			if r.Loops[0].Answered || limit > awaitTimeout {
				break
			}
		}
		if !r.Loops[0].Answered || r.Loops[1].Answered {
			t.Errorf("%+v", r.Loops)
		}
		if got, want := countOf(r), countOf(before); got != want {
			t.Errorf("%d statements, before there were %d", got, want)
		}
	}
	if h.loop.Held(time.Now()) == 0 {
		t.Error("the loop says that it waits")
	}
	close(release)
	await(t, "the loop answers", func() bool { return p.Measure(t.Context()).Loops[1].Answered })
	c.Bye()
}

func countOf(r *meter.Reading) (n uint64) {
	for id := range cluster.NodeID(cluster.MaxNodes) {
		if node := r.Total.Nodes[id]; node != nil {
			n += node.Queries[meter.Write].Count()
		}
	}
	return n
}

// What is held is told while it lasts, and afterwards how long that was.
func TestHoldsAreCounted(t *testing.T) {
	p := newTestProxy(t, setup{world: world(), nodes: 2, conf: "failover_hold_sessions = 1\n"})
	c, late := p.connect(t, "held"), p.connect(t, "late")
	p.publish(t, func(v *cluster.View) { v.Primary, v.Seeking, v.Op = cluster.NoNode, true, cluster.OpFailover })
	c.Send(pgwire.AppendQuery(nil, insert))
	await(t, "the statement is held", func() bool { return p.standsAs("held") == heldBack })
	if r := p.Measure(t.Context()); r.Limits.HeldSessions != 1 || r.Limits.HeldBytes == 0 || !slices.Contains(r.Sessions, meter.Sessions{Database: "db", State: "held", N: 1}) {
		t.Errorf("%+v, %+v", r.Limits, r.Sessions)
	}
	if got := refusal(t, late, insert); !strings.HasPrefix(got, "57P03") {
		t.Error(got)
	}
	p.publish(t, func(v *cluster.View) { v.Primary, v.Seeking, v.Op = 0, false, cluster.OpNone })
	c.UntilReady()
	r := p.Measure(t.Context())
	if h := &r.Total.Holds; h.Began != 1 || h.Refused != 1 || h.Expired != 0 || h.Waited.Count() != 1 || r.Limits.HeldSessions != 0 || r.Total.Errors["57"] != 1 {
		t.Errorf("%+v, %+v", h, r)
	}
	c.Bye()
	late.Bye()
}
