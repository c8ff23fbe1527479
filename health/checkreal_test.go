package health

import (
	"context"
	"strings"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/internal/pgcluster"
)

// checkRig is a health check that runs over real servers.
type checkRig struct {
	*rig
	check    *Check
	findings chan Finding
}

func newCheckRig(t *testing.T, c *pgcluster.Cluster) *checkRig {
	t.Helper()
	k := &checkRig{rig: newRig(t, nodesOf(c)...), findings: make(chan Finding)}
	k.settings.HealthCheck.Global.Period = 50 * time.Millisecond
	k.settings.HealthCheck.Global.Timeout = 30 * time.Second
	hasty := k.settings.HealthCheck.Global // of node 1, which freezes; node 0 must not be taken for frozen on a busy machine
	hasty.Timeout = 500 * time.Millisecond
	k.settings.HealthCheck.Nodes = map[int]*conf.NodeHealthCheck{1: &hasty}
	settings := k.settings // of the running check: replaced as a whole, never changed
	ctx, cancel := context.WithCancel(t.Context())
	k.check = NewCheck(k.store, NewBoard(k.store), newProber(t), func() Settings { return settings }, func(f Finding) {
		select {
		case k.findings <- f:
		case <-ctx.Done():
		}
	}, "", k.log)
	done := make(chan error, 1)
	go func() { done <- k.check.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return k
}

// await waits for a finding about node 1, and fails if one about node 0 is anything but good.
func (k *checkRig) await(t *testing.T, what string, cond func(Finding) bool) {
	t.Helper()
	bound, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		select {
		case f := <-k.findings:
			if f.Node == 0 && f.Verdict != Well {
				t.Errorf("while waiting for %s node 0 was found %+v", what, f)
			}
			if f.Node == 1 && cond(f) {
				return
			}
		case <-bound.Done():
			t.Fatalf("%s was not found", what)
		}
	}
}

// TestHealthCheckReal freezes, stops and resumes a server while another is well.
func TestHealthCheckReal(t *testing.T) {
	t.Parallel()
	c := pgcluster.StartTest(t, pgcluster.Options{Nodes: 2, Auth: "scram-sha-256", Password: password})
	ctx := t.Context()
	k := newCheckRig(t, c)
	well := func(f Finding) bool { return f.Verdict == Well }
	k.await(t, "a good server", well)

	ok(t, c.Nodes[1].Pause())
	k.await(t, "a frozen server", func(f Finding) bool {
		if f.Verdict == Condemned && (!f.TimedOut || f.Retries != 1) {
			t.Errorf("a frozen server: %+v", f)
		}
		return f.Verdict == Condemned
	})
	ok(t, c.Nodes[1].Resume())
	k.await(t, "a resumed server", well)

	// A session that stays keeps the server in its smart shutdown.
	session, err := c.Nodes[1].Connect(ctx)
	ok(t, err)
	stopped := make(chan error, 1)
	go func() { stopped <- c.Nodes[1].Stop(ctx, pgcluster.Smart) }()
	k.await(t, "a server that shuts down", func(f Finding) bool {
		return f.Verdict == Condemned && strings.Contains(f.Err.Error(), "57P03")
	})
	ok(t, session.Close(ctx))
	ok(t, <-stopped)
	k.await(t, "a stopped server", func(f Finding) bool { return f.Verdict == Condemned && gone(f.Err) && !f.TimedOut })
	ok(t, c.Nodes[1].Start(ctx))
	k.await(t, "a started server", well)
	ok(t, c.Nodes[1].Kill(ctx))
	k.await(t, "a killed server", func(f Finding) bool { return f.Verdict == Condemned })
}

// TestHealthCheckWrongSettings has settings that the servers do not like: they are alive and stay.
func TestHealthCheckWrongSettings(t *testing.T) {
	c := shared.Cluster(t)
	p, n := newProber(t), nodesOf(c)[0]
	good := conf.NodeHealthCheck{
		Period: time.Second, User: "postgres", Password: password, Database: "postgres", Timeout: 10 * time.Second,
	}
	for _, tc := range []struct {
		name   string
		change func(*conf.NodeHealthCheck)
		want   Trouble
		state  string
	}{
		{"wrong password", func(c *conf.NodeHealthCheck) { c.Password = "wrong" }, Rejected, "28P01"},
		{"empty password", func(c *conf.NodeHealthCheck) { c.Password = "" }, Rejected, ""},
		{"no user", func(c *conf.NodeHealthCheck) { c.User = "" }, Rejected, "28000"},
		{"no such user", func(c *conf.NodeHealthCheck) { c.User = "nobody" }, Rejected, "28P01"},
		{"no such database", func(c *conf.NodeHealthCheck) { c.Database = "nowhere" }, Rejected, "3D000"},
		{"closed database", func(c *conf.NodeHealthCheck) { c.Database = "template0" }, Rejected, "55000"},
		{"password cannot be read", func(c *conf.NodeHealthCheck) { c.Password = "unreadable" }, NotAsked, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			settings := good
			tc.change(&settings)
			w := (&Check{probe: p.login, store: cluster.NewStore(&cluster.View{Nodes: []cluster.Node{n}})}).watcher(0)
			f := w.check(t.Context(), n, settings, false)
			if f.Err == nil || troubleIn(f.Err) != tc.want || !strings.Contains(f.Err.Error(), tc.state) || judge(n, f.Err) != Spared {
				t.Errorf("trouble %d: %v", troubleIn(f.Err), f.Err)
			}
		})
	}
}

// TestStateOfDetached measures a standby that is down and streams: auto_failback must see it.
func TestStateOfDetached(t *testing.T) {
	c := shared.Cluster(t)
	r := newRig(t, nodesOf(c)...)
	r.view.Primary, r.view.Nodes[1].Status = 0, cluster.StatusDown
	r.until(t, "the state of the node that is down", func() bool {
		g := r.store.Gauges().Of(1)
		return g.ReplicationState == "streaming" && g.SyncState == "async"
	})
	g := r.store.Gauges().Of(1)
	if g.Probed || !g.Measured.IsZero() {
		t.Errorf("a node that is down was asked: %+v", g)
	}
	r.settings.AutoFailback = true
	if !mayFailBack(r.view, 1, g, &r.settings, time.Time{}, time.Now()) {
		t.Errorf("it may not come back: %+v", g)
	}
}
