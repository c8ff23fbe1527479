package health

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/internal/fakepg"
	"gopgpool/internal/pgcluster"
)

// worldSync is synchronous_standby_names of the fake servers.
const worldSync = "ANY 1 (one)"

// tells is the answer to the question for role and position.
func tells(role string) fakepg.World {
	columns := []fakepg.Column{fakepg.TextColumn("role"), fakepg.TextColumn("lsn"), fakepg.TextColumn("received"), fakepg.TextColumn("file")}
	return fakepg.World{
		positionSQL: {Columns: append(slices.Clone(columns), fakepg.TextColumn("sync")), Rows: [][]string{{role, "0/100", "", "0000000A0000000000000001", worldSync}}, Tag: "SELECT 1"},
		receiverSQL: {
			Columns: columns,
			Rows:    [][]string{{"streaming", "127.0.0.1", "1", ""}}, Tag: "SELECT 1",
		},
	}
}

func asUser() Settings { return Settings{Streaming: conf.StreamingCheck{SrCheckUser: "u"}} }

func detaching() Settings {
	s := asUser()
	s.DetachFalsePrimary = true
	return s
}

// bench is a set of fake servers to seek a primary among.
type bench struct {
	servers []*fakepg.Server
	view    *cluster.View
	prober  *Prober
}

func newBench(t *testing.T, roles ...string) *bench {
	b := &bench{view: &cluster.View{Mode: cluster.ModeStreaming, Primary: cluster.NoNode}, prober: newProber(t)}
	for i, r := range roles {
		s := fakepg.Start(t, tells(r))
		b.servers = append(b.servers, s)
		b.view.Nodes = append(b.view.Nodes, fakeNode(i, s))
	}
	return b
}

// seek returns what the nodes said, as rig.do does, and how long it took. Nothing must be open afterwards.
func (b *bench) seek(t *testing.T, s Settings) (string, time.Duration) {
	t.Helper()
	began := time.Now()
	r := b.prober.Roles(t.Context(), b.view, s)
	took := time.Since(began)
	for _, s := range b.servers {
		s.Await("the end of the connections", func() bool { return s.Open() == 0 })
	}
	if r.Seen != b.view || len(r.Roles) != len(b.view.Nodes) || len(r.Gone) != len(r.Roles) || len(r.Upstream) != len(r.Roles) {
		t.Errorf("answer %+v", r)
	}
	return text(r), took
}

// text is what the nodes said: P primary, S standby, x refused, dot nothing.
func text(r Roles) string {
	said := ""
	for i, role := range r.Roles {
		switch {
		case role == cluster.RolePrimary:
			said += "P"
		case role == cluster.RoleStandby:
			said += "S"
		case r.Gone[i]:
			said += "x"
		default:
			said += "."
		}
	}
	return said
}

func TestRoles(t *testing.T) {
	b := newBench(t, "t", "f", "t", "t")
	b.view.Nodes[2].Status = cluster.StatusDown
	b.view.Nodes[3].Port = pgcluster.FreePort(t)
	said, took := b.seek(t, asUser())
	for again := 20; late(said, "SP.x") && again > 0; again-- {
		said, took = b.seek(t, asUser())
	}
	if said != "SP.x" || took > seekBound {
		t.Errorf("the nodes said %s after %v", said, took)
	}
	if n := len(b.servers[2].Conns()); n != 0 {
		t.Errorf("a node that is down was asked %d times", n)
	}
	none := &bench{view: &cluster.View{}, prober: b.prober}
	if said, _ := none.seek(t, asUser()); said != "" {
		t.Errorf("nobody said %s", said)
	}
}

// TestRolesGrace has a silent node beside the primary: it is waited for only a moment.
func TestRolesGrace(t *testing.T) {
	t.Parallel()
	b := newBench(t, "t", "f")
	b.servers[0].Misbehave(fakepg.Fault{At: fakepg.Started, Do: fakepg.Deaf})
	said, took := b.seek(t, asUser())
	if said != ".P" || took < seekGrace || took > seekBound-time.Second {
		t.Errorf("the nodes said %s after %v", said, took)
	}
}

// TestRolesPromotion has a silent node and a standby that is promoted while the silent one is waited for: one call finds it.
func TestRolesPromotion(t *testing.T) {
	t.Parallel()
	b := newBench(t, "t", "t")
	b.servers[0].Misbehave(fakepg.Fault{At: fakepg.Started, Do: fakepg.Deaf})
	done := make(chan string, 1)
	go func() { done <- text(b.prober.Roles(t.Context(), b.view, asUser())) }()
	s := b.servers[1]
	s.Await("a second question", func() bool { return len(s.Conns()) > 0 && len(s.Last().Statements()) > 1 })
	s.Set(positionSQL, tells("f")[positionSQL])
	if said := <-done; said != ".P" {
		t.Errorf("the nodes said %s", said)
	}
	if n := len(s.Conns()); n != 1 {
		t.Errorf("%d connections were opened to the standby", n)
	}
}

// TestRolesSilent asks nobody but silent nodes.
func TestRolesSilent(t *testing.T) {
	t.Parallel()
	b := newBench(t, "t")
	b.servers[0].Misbehave(fakepg.Fault{At: fakepg.Asked, Do: fakepg.Deaf})
	if said, took := b.seek(t, asUser()); said != "." || took < seekBound || took > seekBound+5*time.Second {
		t.Errorf("the nodes said %s after %v", said, took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if said := text(b.prober.Roles(ctx, b.view, asUser())); said != "." {
		t.Errorf("after the end the nodes said %s", said)
	}
}

func TestRolesUpstream(t *testing.T) {
	b := newBench(t, "f", "t")
	b.view.Nodes = append(b.view.Nodes, cluster.Node{ID: 2, Host: "127.0.0.1", Port: 1, Status: cluster.StatusDown})
	ask := func(s Settings) Roles {
		t.Helper()
		r := b.prober.Roles(t.Context(), b.view, s)
		for again := 20; late(text(r), "PS.") && again > 0; again-- {
			r = b.prober.Roles(t.Context(), b.view, s)
		}
		return r
	}
	r := ask(asUser())
	if r.Upstream[1] != cluster.NoNode || b.servers[1].Last().Has(receiverSQL) {
		t.Errorf("nobody asked: %v", r.Upstream)
	}
	r = ask(detaching())
	if r.Upstream[0] != cluster.NoNode || r.Upstream[1] != 2 {
		t.Errorf("upstream %v", r.Upstream)
	}
	// Who must not tell, tells its role all the same.
	b.servers[1].Set(receiverSQL, fakepg.Answer{Error: fakepg.Failure("42501", "permission denied")})
	r = ask(detaching())
	if r.Upstream[1] != cluster.NoNode || text(r) != "PS." {
		t.Errorf("upstream %v, roles %v", r.Upstream, r.Roles)
	}
}

// TestRolesLeavesNothing asks many times, with a silent node among the asked, and counts what is left.
func TestRolesLeavesNothing(t *testing.T) {
	b := newBench(t, "f", "t")
	b.servers[1].Misbehave(fakepg.Fault{At: fakepg.Asked, Do: fakepg.Deaf})
	b.view.Nodes = append(b.view.Nodes, cluster.Node{ID: 2, Host: "127.0.0.1", Port: pgcluster.FreePort(t), Status: cluster.StatusUp})
	b.seek(t, asUser())
	for range 5 {
		if said, _ := b.seek(t, asUser()); said != "P.x" {
			t.Fatalf("the nodes said %s", said)
		}
	}
	deadline, tick := time.Now().Add(30*time.Second), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for _, left := range []string{"health.(*Prober)", "pgconn."} {
		for running(left) { // one that is told to end may need a moment on a busy machine
			if time.Now().After(deadline) {
				t.Fatalf("a goroutine of %s is left", left)
			}
			<-tick.C
		}
	}
}

// running reports whether a goroutine of somebody's is there.
func running(of string) bool {
	stacks := make([]byte, 1<<20)
	return strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), of)
}

// late reports whether all that lacks is the answer of a standby: once the primary has answered, others are waited for a moment only.
func late(said, want string) bool {
	if said == want || len(said) != len(want) || !strings.Contains(said, "P") {
		return false
	}
	for i := range said {
		if said[i] != want[i] && (said[i] != '.' || want[i] != 'S') {
			return false
		}
	}
	return true
}

// TestRolesReal asks real servers, one of which is frozen, then dead.
func TestRolesReal(t *testing.T) {
	t.Parallel()
	c := pgcluster.StartTest(t, pgcluster.Options{Nodes: 3, Auth: "scram-sha-256", Password: password})
	ctx := t.Context()
	r := newRig(t, nodesOf(c)...)
	seek := func(when, want string, bound time.Duration) Roles {
		t.Helper()
		for again := 20; ; again-- {
			began := time.Now()
			said := r.prober.Roles(ctx, r.view, r.settings)
			took := time.Since(began)
			if late(text(said), want) && again > 0 {
				t.Logf("%s the nodes said %s: the machine is busy", when, text(said))
				continue
			}
			if text(said) != want || took > bound {
				t.Errorf("%s the nodes said %s after %v, want %s", when, text(said), took, want)
			}
			return said
		}
	}
	r.settings.DetachFalsePrimary = true
	said := seek("at first", "PSS", seekBound)
	if said.Upstream[0] != cluster.NoNode || said.Upstream[1] != 0 || said.Upstream[2] != 0 {
		t.Errorf("upstream %v", said.Upstream)
	}
	ok(t, c.Nodes[2].Pause())
	seek("with a frozen standby", "PS.", seekBound-time.Second)
	ok(t, c.Nodes[0].Kill(ctx))
	seek("after the primary's death", "xS.", seekBound+5*time.Second)
	r.view.Nodes[0].Status = cluster.StatusDown
	// The promotion is seen while the frozen node is waited for.
	done := make(chan Roles, 1)
	go func() { done <- r.prober.Roles(ctx, r.view, r.settings) }()
	ok(t, c.Nodes[1].Promote(ctx))
	if last := <-done; text(last) != ".P." {
		seek("after the promotion", ".P.", seekBound)
	}
	ok(t, c.Nodes[2].Resume())
}

func TestUpstreamOf(t *testing.T) {
	v := &cluster.View{Nodes: []cluster.Node{
		{Host: "db0", Port: 5432, Status: cluster.StatusUp},
		{Host: "db1", Port: 5432, Status: cluster.StatusDown},
		{Host: "/tmp", Port: 5433, Status: cluster.StatusUp},
		{Host: "db3", Port: 5432, Status: cluster.StatusUnused},
	}}
	for _, tc := range []struct {
		r       receiver
		standby int
		want    cluster.NodeID
	}{
		{receiver{"streaming", "db0", 5432}, 1, 0},
		{receiver{"streaming", "db1", 5432}, 0, 1},
		{receiver{"streaming", "db0", 5433}, 1, cluster.NoNode},
		{receiver{"streaming", "DB0", 5432}, 1, cluster.NoNode},
		{receiver{"stopped", "db0", 5432}, 1, cluster.NoNode},
		{receiver{"", "db0", 5432}, 1, cluster.NoNode},
		{receiver{"streaming", "db0", 5432}, 0, cluster.NoNode},
		{receiver{"streaming", "/tmp", 5433}, 1, 2},
		{receiver{"streaming", "", 5433}, 1, 2},
		{receiver{"streaming", "localhost", 5433}, 1, 2},
		{receiver{"streaming", "localhost", 5432}, 1, cluster.NoNode},
		{receiver{"streaming", "/var/run/postgresql", 5433}, 1, cluster.NoNode},
		{receiver{"streaming", "db3", 5432}, 1, cluster.NoNode},
		{receiver{}, 1, cluster.NoNode},
	} {
		if got := upstreamOf(v, tc.standby, tc.r); got != tc.want {
			t.Errorf("%+v of node %d: %d, want %d", tc.r, tc.standby, got, tc.want)
		}
	}
}

func TestVersions(t *testing.T) {
	for version, want := range map[string]bool{
		"": false, "9.5.2": false, "9.6.24": true, "10.1": true, "15.4 (Debian 15.4-1)": true, "17beta1": true, "x": false,
	} {
		if got := hasReceiver(version); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
}

func TestConninfo(t *testing.T) {
	for _, tc := range []struct{ text, host, port string }{
		{"", "", ""},
		{"user=r passfile=/x host=db0 port=5432 sslmode=prefer", "db0", "5432"},
		{"host='/var/run/my pg' port=5433", "/var/run/my pg", "5433"},
		{`application_name='it''s' host=db0`, "", ""}, // not libpq's way: the value ends at the second quote
		{`application_name='it\'s host=no' host='a\\b' port = 1`, `a\b`, "1"},
		{"hostaddr=192.0.2.1 port=", "", ""},
		{"host", "", ""},
		{"host='open", "open", ""},
	} {
		if h, p := conninfoPart(tc.text, "host"), conninfoPart(tc.text, "port"); h != tc.host || p != tc.port {
			t.Errorf("%s: host %q, port %q", tc.text, h, p)
		}
	}
}

func FuzzConninfo(f *testing.F) {
	f.Add("user=r host='a b' port=5432", "host")
	f.Add(`x='\'`, "x")
	f.Fuzz(func(t *testing.T, conninfo, key string) {
		if v := conninfoPart(conninfo, key); len(v) > len(conninfo) {
			t.Errorf("%q has more than %q", v, conninfo)
		}
	})
}
