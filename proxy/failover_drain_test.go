package proxy

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/internal/fakepg"
	"gopgpool/pgwire"
)

// drain, fencing and enthroned are what a planned switchover to a node publishes.
func drain(v *cluster.View) { v.Draining, v.Op = true, cluster.OpSwitchover }

func undrain(v *cluster.View) { v.Draining, v.Op = false, cluster.OpNone }

func fencing(v *cluster.View) {
	condemn(v)
	v.Draining, v.Op = false, cluster.OpSwitchover
}

// drains begins to wait for what is open on the primary.
func (p *testProxy) drains(ctx context.Context) <-chan error {
	done := make(chan error, 1)
	go func() { done <- p.DrainPrimary(ctx, p.store.Current()) }()
	return done
}

// waiting reports whether a user's session is held for a node.
func (p *testProxy) waiting(user string) bool { return p.standsAs(user) == heldBack }

// fine reads an answer that must be without an error.
func fine(tb testing.TB, c *fakepg.Client, what string) {
	tb.Helper()
	if got := c.UntilReady(); len(fakepg.Errors(got)) > 0 {
		tb.Errorf("%s got %s", what, fakepg.Transcript(got))
	}
}

// TestSwitchover goes through one: what is open goes on, what begins waits, reads go on elsewhere, and no client gets an error.
func TestSwitchover(t *testing.T) { inModes(t, testSwitchover) }

func testSwitchover(t *testing.T, line string) {
	p := newTestProxy(t, setup{world: stateful(), nodes: 3, loops: 2, conf: onStandby + line, tweak: func(c *conf.Config) { c.Pool.NumInitChildren = 16 }})
	names := []string{"simple", "extended", "described", "begun", "batch", "parsed again"}
	clients := make(map[string]*fakepg.Client)
	for _, name := range append(names, "open", "unsynced", "idle", "reader") {
		clients[name] = p.connect(t, name)
		ok(t, clients[name], insert)
	}
	named := synced(pgwire.AppendParse(nil, "p", insert))
	for _, name := range []string{"described", "parsed again"} {
		clients[name].Send(named)
		fine(t, clients[name], "Parse")
	}
	ok(t, clients["open"], "BEGIN")
	ok(t, clients["open"], insert)
	clients["unsynced"].Send(flushed(run(insert)))
	await(t, "the batch has been executed", func() bool { return p.batchOpen("unsynced") })
	ok(t, clients["begun"], "BEGIN")

	p.publish(t, drain)
	done := p.drains(t.Context())
	before := len(p.fakes[0].Conns())
	clients["simple"].Send(pgwire.AppendQuery(nil, insert))
	clients["extended"].Send(extended(insert))
	clients["described"].Send(synced(pgwire.AppendDescribe(nil, 'S', "p")))
	clients["begun"].Send(pgwire.AppendQuery(nil, insert))
	clients["batch"].Send(synced(run("SELECT 1"), run(insert)))
	clients["parsed again"].Send(synced(pgwire.AppendClose(nil, 'S', "p"), pgwire.AppendParse(nil, "p", insert)))
	for _, name := range names {
		if name != "parsed again" || line == "pool_mode = session\n" {
			await(t, name+" is held", func() bool { return p.waiting(name) })
		}
	}
	ok(t, clients["reader"], "SELECT 1")
	ok(t, clients["open"], insert)
	late := p.connect(t, "late")
	ok(t, late, "SELECT 1")
	select {
	case err := <-done:
		t.Fatalf("drained with a transaction and a batch open: %v", err)
	default:
	}
	ok(t, clients["open"], "COMMIT")
	clients["open"].Send(pgwire.AppendQuery(nil, insert))
	await(t, "its next one is held", func() bool { return p.waiting("open") })
	clients["unsynced"].Send(slices.Concat(run(insert), pgwire.AppendSimple(nil, pgwire.Sync)))
	fine(t, clients["unsynced"], "the batch")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := p.DrainPrimary(t.Context(), p.store.Current()); err != nil { // and once more, with nothing to wait for
		t.Error(err)
	}
	if n := len(p.fakes[0].Conns()); n != before {
		t.Errorf("%d connections were opened to the primary while it was drained", n-before)
	}
	was := p.asked()
	p.publish(t, fencing)
	p.publish(t, crown(1))
	for _, name := range append(names, "open") {
		fine(t, clients[name], name)
	}
	if p.asked() != was {
		t.Error("the old primary was sent something")
	}
	ok(t, clients["begun"], "COMMIT")
	for name, c := range clients {
		ok(t, c, insert)
		if name == "parsed again" {
			c.Send(synced(pgwire.AppendBind(nil, "", "p"), pgwire.AppendExecute(nil, "")))
			fine(t, c, "the statement parsed again")
		}
		c.Bye()
	}
	late.Bye()
	if sessions, bytes := p.Held(); sessions != 0 || bytes != 0 {
		t.Errorf("%d sessions and %d bytes are held", sessions, bytes)
	}
}

// batchOpen reports whether all of a user's batch was answered and its Sync is still to come.
func (p *testProxy) batchOpen(user string) bool {
	open := false
	p.sessionOf(user, func(s *session) {
		for _, b := range s.backends {
			open = open || b.unsynced && b.outstanding() == 0
		}
	})
	return open
}

// TestDrainGivesUp: when it takes too long, or is taken back, everything goes on where it was.
func TestDrainGivesUp(t *testing.T) {
	p := newTestProxy(t, setup{world: stateful(), nodes: 2, conf: onStandby})
	open, held := p.connect(t, "open"), p.connect(t, "held")
	ok(t, open, "BEGIN")
	ok(t, open, insert)
	if err := p.DrainPrimary(t.Context(), p.store.Current()); !errors.Is(err, errNotDraining) {
		t.Errorf("of a primary that is not drained: %v", err)
	}
	p.publish(t, drain)
	held.Send(pgwire.AppendQuery(nil, insert))
	await(t, "the statement is held", func() bool { return p.waiting("held") })
	cause := errors.New("took too long")
	ctx, cancel := context.WithCancelCause(t.Context())
	done := p.drains(ctx)
	cancel(cause)
	if err := <-done; !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	await(t, "nobody waits for the sessions", func() bool { return p.departing() == 0 })
	done = p.drains(t.Context())
	await(t, "somebody waits for the sessions", func() bool { return p.departing() > 0 })
	p.publish(t, undrain)
	if err := <-done; !errors.Is(err, errNotDraining) {
		t.Errorf("taken back: %v", err)
	}
	fine(t, held, insert)
	ok(t, open, "COMMIT")
	if p.got(1, insert) {
		t.Error("the standby was written to")
	}
	open.Bye()
	held.Bye()
}

// got reports whether a node was sent a statement.
func (p *testProxy) got(node int, sql string) bool {
	return slices.ContainsFunc(p.fakes[node].Conns(), func(c *fakepg.Conn) bool { return c.Has(sql) })
}

func (p *testProxy) departing() (n int) {
	p.onLoops(func(h *home) { n += len(h.departures) })
	return n
}

// TestDrainEndsWithTheSession: a client that leaves in the middle of its transaction is waited for no longer.
func TestDrainEndsWithTheSession(t *testing.T) {
	p := newTestProxy(t, setup{world: stateful(), nodes: 2, conf: onStandby})
	c := p.connect(t, "victim")
	ok(t, c, "BEGIN")
	ok(t, c, insert)
	p.publish(t, drain)
	done := p.drains(t.Context())
	c.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestStateLostToASwitchover: an idle session with state on the old primary is not cut while it does nothing. Its next statement is not
// sent, and says what is lost; who listens is told at once; who has nothing there notices nothing.
func TestStateLostToASwitchover(t *testing.T) {
	const lost = "08006"
	for _, c := range []struct {
		name   string
		before string
		held   bool // a statement is held meanwhile
		atOnce bool
		code   string // of the error of the next statement
	}{
		{"nothing", insert, false, false, ""},
		{"settings", "SET work_mem TO '5MB'", false, false, ""},
		{"a temporary table", "CREATE TEMP TABLE x (a int)", false, false, lost},
		{"an advisory lock, and a statement is held", "SELECT pg_advisory_lock(1)", true, false, lost},
		{"LISTEN", "LISTEN c", false, true, lost},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newTestProxy(t, setup{world: stateful(), nodes: 2, conf: onStandby})
			client := p.connect(t, "victim")
			ok(t, client, c.before)
			p.publish(t, drain)
			if c.held {
				client.Send(pgwire.AppendQuery(nil, insert))
				await(t, "the statement is held", func() bool { return p.waiting("victim") })
			}
			if err := p.DrainPrimary(t.Context(), p.store.Current()); err != nil {
				t.Fatal(err)
			}
			p.publish(t, fencing)
			p.publish(t, crown(1))
			if !c.atOnce && !c.held {
				if p.sessionCount() != 1 {
					t.Error("the session was ended")
				}
				client.Send(pgwire.AppendQuery(nil, insert))
			}
			if c.code == "" {
				fine(t, client, insert)
				client.Bye()
				return
			}
			out, whole := client.UntilEnd()
			if got := errorsOf(out); !whole || len(got) != 1 || got[0].Code != c.code || !strings.Contains(got[0].Detail, "cannot be moved") {
				t.Errorf("got %s", fakepg.Transcript(out))
			}
			if p.got(1, insert) {
				t.Error("the statement was sent")
			}
		})
	}
}

// TestLoginDuringSwitchover: clients log in all the time, and are not taken for readers.
func TestLoginDuringSwitchover(t *testing.T) { inModes(t, testLoginDuringSwitchover) }

func testLoginDuringSwitchover(t *testing.T, line string) {
	p := newTestProxy(t, setup{world: stateful(), nodes: 2, conf: onStandby + line})
	for _, step := range []func(*cluster.View){drain, fencing, crown(1)} {
		p.publish(t, step)
		c := p.connect(t, "late")
		ok(t, c, "SELECT 1")
		c.Bye()
	}
	if n := len(p.fakes[0].Conns()); n > 0 {
		t.Errorf("%d connections to the old primary", n)
	}
}
