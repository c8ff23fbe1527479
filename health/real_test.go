package health

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"gopgpool/auth"
	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/internal/pgcluster"
	"gopgpool/logging"
)

const password = "s3cret"

var shared = pgcluster.NewShared(pgcluster.Options{Nodes: 2, Auth: "scram-sha-256", Password: password})

func TestMain(m *testing.M) { os.Exit(shared.Main(m)) }

// rig is a replication check over real servers, driven round by round.
type rig struct {
	*ReplicationCheck
	view     *cluster.View
	settings Settings
	said     Roles
	lines    *bytes.Buffer
}

func newRig(t *testing.T, nodes ...cluster.Node) *rig {
	t.Helper()
	r := &rig{
		view:  &cluster.View{Mode: cluster.ModeStreaming, Primary: cluster.NoNode, Nodes: nodes},
		lines: &bytes.Buffer{},
	}
	login := conf.NodeHealthCheck{
		Period: time.Second, User: "postgres", Password: password, Database: "postgres", ConnectTimeout: 10 * time.Second,
	}
	r.settings = Settings{
		HealthCheck: conf.HealthCheck{Global: login},
		Streaming: conf.StreamingCheck{
			SrCheckPeriod: time.Second, SrCheckUser: "postgres", SrCheckPassword: password, SrCheckDatabase: "postgres",
			LogStandbyDelay: conf.StandbyDelayAlways,
		},
	}
	cfg := logging.Default()
	cfg.Writer, cfg.LinePrefix, cfg.MinMessages = r.lines, "", logging.Debug5
	out, err := logging.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	store := cluster.NewStore(r.view)
	r.ReplicationCheck = NewReplicationCheck(store, NewBoard(store), newProber(t), func() Settings { return r.settings },
		func(said Roles) { r.said = said }, out.Logger())
	t.Cleanup(r.closeAll)
	return r
}

func newProber(t *testing.T) *Prober {
	t.Helper()
	p, err := NewProber(func(_, param string) (auth.Entry, error) {
		switch param {
		case "unreadable":
			return auth.Entry{}, errors.New("no such key")
		case "":
			return auth.Entry{}, nil
		}
		return auth.ParseEntry(param, auth.Key{}), nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// do is one round. It returns what the nodes said: P primary, S standby, x refused, dot nothing.
func (r *rig) do(t *testing.T, searching bool) string {
	t.Helper()
	r.round(t.Context(), r.view, &r.settings, searching)
	return text(r.said)
}

// until repeats rounds until cond holds.
func (r *rig) until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		r.do(t, false)
		if cond() {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s did not happen; gauges %+v\n%s", what, r.store.Gauges().Nodes, r.lines)
		case <-tick.C:
		}
	}
}

func nodeOf(id int, n *pgcluster.Node) cluster.Node {
	return cluster.Node{
		ID: cluster.NodeID(id), Host: n.Host, Port: n.Port, ApplicationName: n.Name, Status: cluster.StatusUp, Epoch: 1,
	}
}

func nodesOf(c *pgcluster.Cluster) []cluster.Node {
	var nodes []cluster.Node
	for i, n := range c.Nodes {
		nodes = append(nodes, nodeOf(i, n))
	}
	return nodes
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestProbe(t *testing.T) {
	c := shared.Cluster(t)
	p, nodes := newProber(t), nodesOf(c)
	good := Login{User: "postgres", Password: password, Database: "postgres", ConnectTimeout: 10 * time.Second}
	// A standby refuses all queries of a serializable transaction.
	strict := good
	strict.User = "strict"
	ok(t, c.Nodes[0].Exec(t.Context(), "CREATE ROLE strict SUPERUSER LOGIN PASSWORD '"+password+"'"))
	ok(t, c.Nodes[0].Exec(t.Context(), "ALTER ROLE strict SET default_transaction_isolation = serializable"))
	ok(t, c.WaitReplayed(t.Context(), c.Nodes[0]))
	socket := nodes[0]
	socket.Host = c.SocketDir
	for _, tc := range []struct {
		name string
		node cluster.Node
		as   Login
		role cluster.Role
	}{
		{"primary", nodes[0], good, cluster.RolePrimary},
		{"standby", nodes[1], good, cluster.RoleStandby},
		{"socket", socket, good, cluster.RolePrimary},
		{"primary, serializable", nodes[0], strict, cluster.RolePrimary},
		{"standby, serializable", nodes[1], strict, cluster.RoleStandby},
	} {
		a, err := p.position(t.Context(), tc.node, tc.as)
		if err != nil || a.Role != tc.role || a.LSN == 0 || a.Version < 10 {
			t.Errorf("%s: %+v, %v", tc.name, a, err)
		}
	}

	// The environment of the daemon must not reach its probes.
	t.Setenv("PGOPTIONS", "-c no_such_parameter=1")
	t.Setenv("PGSSLMODE", "verify-full")
	t.Setenv("PGTARGETSESSIONATTRS", "read-only")
	if err := newProber(t).login(t.Context(), nodes[0], good); err != nil {
		t.Errorf("with PG variables: %v", err)
	}

	free := pgcluster.FreePort(t)
	gone1, gone2, nobody := nodes[0], nodes[0], nodes[0]
	gone1.Port, gone2.Port, gone2.Host, nobody.Host = free, free, c.SocketDir, "no-such-host.invalid"
	bad, none, unreadable := good, good, good
	bad.Password, none.Database, unreadable.Password = "wrong", "nowhere", "unreadable"
	for _, tc := range []struct {
		name       string
		node       cluster.Node
		login      Login
		gone, ping bool
	}{
		{"wrong password", nodes[0], bad, false, true},
		{"no such database", nodes[0], none, false, true},
		{"nothing listens", gone1, good, true, false},
		{"no socket", gone2, good, true, false},
		{"no such host", nobody, good, false, false},
		{"password cannot be read", nodes[0], unreadable, false, true},
	} {
		err := p.login(t.Context(), tc.node, tc.login)
		var e *Error
		if !errors.As(err, &e) || gone(err) != tc.gone || strings.Contains(err.Error(), password) {
			t.Errorf("%s: gone %v, %v", tc.name, gone(err), err)
		}
		if up := p.Ping(t.Context(), tc.node, tc.login); up != tc.ping {
			t.Errorf("%s: ping says %v", tc.name, up)
		}
	}
}

func TestAsk(t *testing.T) {
	c := shared.Cluster(t)
	nodes := nodesOf(c)
	absent, unused := nodes[0], cluster.Node{ID: 3}
	absent.ID, absent.Port = 2, pgcluster.FreePort(t)
	nodes = append(nodes, absent, unused)
	r := newRig(t, nodes...)
	r.settings.HealthCheck.Nodes = map[int]*conf.NodeHealthCheck{}
	for _, tc := range []struct {
		name   string
		change func()
		want   string
	}{
		{"all on", func() {}, "up primary|up standby|down unknown|unknown unknown"},
		{
			"raw",
			func() {
				r.view.Mode = cluster.ModeRaw
				r.view.Nodes[0].Role, r.view.Nodes[1].Role = cluster.RoleMain, cluster.RoleReplica
			},
			"up main|up replica|down unknown|unknown unknown",
		},
		{
			"no sr_check",
			func() { r.view.Mode = cluster.ModeStreaming; r.settings.Streaming.SrCheckPeriod = 0 },
			"up unknown|up unknown|down unknown|unknown unknown",
		},
		{
			"no health check of node 0",
			func() {
				r.settings.Streaming.SrCheckPeriod = 1
				r.settings.HealthCheck.Nodes[0] = &conf.NodeHealthCheck{}
			},
			"unknown unknown|up standby|down unknown|unknown unknown",
		},
	} {
		tc.change()
		began := time.Now()
		said := r.prober.Ask(t.Context(), r.view, r.settings)
		for again := 20; time.Since(began) >= askBound && again > 0; again-- { // a busy machine has used the time up
			began = time.Now()
			said = r.prober.Ask(t.Context(), r.view, r.settings)
		}
		var got []string
		for _, p := range said {
			got = append(got, p.Status+" "+p.Role)
		}
		if text := strings.Join(got, "|"); text != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, text, tc.want)
		}
	}
}

// TestAskSilent asks a server that accepts connections and says nothing: the answer is bounded by the context.
func TestAskSilent(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	defer l.Close()
	r := newRig(t, cluster.Node{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, Status: cluster.StatusUp})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if got := r.prober.Ask(ctx, r.view, r.settings); got[0] != (NodeProbe{"down", "unknown"}) {
		t.Errorf("got %+v", got)
	}
}

func TestReplicationCheck(t *testing.T) {
	c := shared.Cluster(t)
	ctx := t.Context()
	r := newRig(t, nodesOf(c)...)
	if said := r.do(t, true); said != "PS" {
		t.Fatalf("the nodes said %s\n%s", said, r.lines)
	}
	r.view.Primary = 0
	standby := func() cluster.NodeGauge { return r.store.Gauges().Of(1) }
	// A lag that nobody has measured is 0 too.
	r.until(t, "streaming, and catching up", func() bool {
		g := standby()
		return g.ReplicationState == "streaming" && g.Reachable && !g.Measured.IsZero() && g.Lag == 0
	})
	if g := standby(); g.SyncState != "async" || g.HasLagTime {
		t.Errorf("gauge %+v", g)
	}
	open := r.conns[1]

	ok(t, c.Nodes[1].Exec(ctx, "SELECT pg_wal_replay_pause()"))
	defer func() { ok(t, c.Nodes[1].Exec(ctx, "SELECT pg_wal_replay_resume()")) }()
	ok(t, c.Nodes[0].Exec(ctx, "CREATE TABLE lagging AS SELECT generate_series(1, 1000) AS a"))
	r.until(t, "lag", func() bool { return standby().Lag > 1000 })
	if !strings.Contains(r.lines.String(), "LOG:  Replication of node: 1 is behind ") {
		t.Errorf("the lag was not told:\n%s", r.lines)
	}
	if r.store.Gauges().Of(0).Lag != 0 {
		t.Error("the primary has a lag")
	}

	r.settings.Streaming.DelayThresholdByTime = time.Millisecond
	ok(t, c.Nodes[1].Exec(ctx, "SELECT pg_wal_replay_resume()"))
	r.until(t, "time lag", func() bool { return standby().HasLagTime && standby().LagTime > 0 })
	if !strings.Contains(r.lines.String(), " second(s) from the primary server (node: 0)") {
		t.Errorf("the time lag was not told:\n%s", r.lines)
	}
	if r.conns[1] != open {
		t.Error("the connection was not kept between rounds")
	}
}

// TestServersComeAndGo stops, pauses and promotes servers of its own.
func TestServersComeAndGo(t *testing.T) {
	c := pgcluster.StartTest(t, pgcluster.Options{Nodes: 2, Auth: "scram-sha-256", Password: password})
	ctx := t.Context()
	r := newRig(t, nodesOf(c)...)
	r.view.Primary = 0
	say := func(when, want string) {
		t.Helper()
		told := r.lines.Len()
		said := r.do(t, false)
		for again := 20; late(said, want) && again > 0; again-- {
			t.Logf("%s the nodes said %s: the machine is busy", when, said)
			r.lines.Truncate(told)
			said = r.do(t, false)
		}
		if said != want {
			t.Fatalf("%s the nodes said %s, want %s\n%s", when, said, want, r.lines)
		}
	}
	say("at first", "PS")
	ok(t, c.Nodes[1].Restart(ctx))
	say("after a restart between two rounds", "PS")
	if strings.Contains(r.lines.String(), "Failed to check") {
		t.Errorf("a restart between two rounds was told as a failure:\n%s", r.lines)
	}

	// A silent server does not hold up the search for the primary.
	ok(t, c.Nodes[1].Pause())
	began := time.Now()
	if said := r.do(t, true); said != "P." {
		t.Errorf("with a silent standby the nodes said %s", said)
	}
	if took := time.Since(began); took > roundBound {
		t.Errorf("the search waited %v for a silent standby", took)
	}
	ok(t, c.Nodes[1].Resume())
	say("after the pause", "PS")

	ok(t, c.Nodes[0].Stop(ctx, pgcluster.Fast))
	say("without the primary", "xS")
	say("still without the primary", "xS")
	for _, detail := range []string{"node 0: dial tcp 127.0.0.1", "node 1: no answer in time"} {
		if n := strings.Count(r.lines.String(), "Failed to check replication time lag\nDETAIL:  "+detail); n != 1 {
			t.Errorf("%s was told %d times:\n%s", detail, n, r.lines)
		}
	}
	if g := r.store.Gauges().Of(0); g.Reachable || !g.Probed {
		t.Errorf("gauge of the stopped node: %+v", g)
	}
	if r.prober.Ping(ctx, r.view.Nodes[0], r.settings.srLogin()) {
		t.Error("a stopped server was pinged")
	}
	ok(t, c.Nodes[1].Promote(ctx))
	say("after the promotion", "xP")
	r.view.Nodes[0].Status = cluster.StatusDown
	say("after the detachment", ".P")
}

// TestRun lets the check run: it searches until somebody is primary, then checks, and ends when told.
func TestRun(t *testing.T) {
	c := shared.Cluster(t)
	r := newRig(t, nodesOf(c)...)
	rounds := make(chan Roles)
	r.report = func(said Roles) {
		select {
		case rounds <- said:
		case <-t.Context().Done():
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	said := <-rounds
	for again := 20; late(text(said), "PS") && again > 0; again-- {
		said = <-rounds
	}
	if said.Roles[0] != cluster.RolePrimary || said.Roles[1] != cluster.RoleStandby {
		t.Errorf("roles %v", said.Roles)
	}
	<-r.Ready()
	found := *r.view
	found.Primary = 0
	r.store.Publish(&found)
	if said := <-rounds; said.Seen.Primary != 0 && said.Seen.Primary != cluster.NoNode {
		t.Errorf("primary %d", said.Seen.Primary)
	}
	cancel()
	for ended := false; !ended; {
		select {
		case <-rounds:
		case err := <-done:
			ok(t, err)
			ended = true
		}
	}
	if n := strings.Count(r.lines.String(), "waiting for finding a primary node"); n != 1 {
		t.Errorf("the search was told %d times:\n%s", n, r.lines)
	}
	for i, conn := range r.conns {
		if conn != nil {
			t.Errorf("the connection to node %d was left open", i)
		}
	}
}
