package health

import (
	"context"
	"testing"
	"time"

	"gopgpool/auth"
	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/internal/fakepg"
)

// restRig is a replication check over two fake servers that runs; asked counts the questions to node 1.
func restRig(t *testing.T) (r *rig, b *bench, asked func() int, publish func(func(*cluster.View))) {
	t.Helper()
	b = newBench(t, "f", "t")
	r = newRig(t, b.view.Nodes...)
	r.view.Primary = 0
	b.servers[0].Set(peersSQL, fakepg.Answer{
		Columns: []fakepg.Column{fakepg.TextColumn("a"), fakepg.TextColumn("b"), fakepg.TextColumn("c"), fakepg.TextColumn("d")},
		Rows:    [][]string{{"one", "streaming", "async", ""}}, Tag: "SELECT 1",
	})
	r.view.Nodes[1].ApplicationName = "one"
	r.settings.Streaming.SrCheckPeriod = 20 * time.Millisecond
	r.settings.Streaming.SrCheckUser = "u"
	r.report = func(Roles) {}
	asked = func() int {
		n := 0
		for _, c := range b.servers[1].Conns() {
			n += len(c.Statements())
		}
		return n
	}
	publish = func(change func(*cluster.View)) {
		v := *r.store.Current()
		v.Nodes = append([]cluster.Node(nil), v.Nodes...)
		change(&v)
		r.store.Publish(&v)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r, b, asked, publish
}

// TestRest lets failover set to work: no round is made meanwhile, connections go, and one follows at once when it is over.
func TestRest(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name       string
		begin, end func(*cluster.View)
	}{
		{"failover", func(v *cluster.View) { v.Op = cluster.OpFailover }, func(v *cluster.View) { v.Op = cluster.OpNone }},
		{"follow_primary_command", func(v *cluster.View) { v.Following = true }, func(v *cluster.View) { v.Following = false }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, b, asked, publish := restRig(t)
			s := b.servers[1]
			s.Await("rounds", func() bool { return asked() > 2 })
			publish(tc.begin)
			s.Await("the end of the connection", func() bool { return s.Open() == 0 })
			before := asked()
			sleep(t.Context(), 5*r.settings.Streaming.SrCheckPeriod)
			if n := asked(); n != before {
				t.Errorf("%d questions while it should rest", n-before)
			}
			publish(tc.end)
			s.Await("a round", func() bool { return asked() > before })
		})
	}
}

// TestNoRestWithoutPrimary loses the primary while follow_primary_command runs, which may take hours: the search goes on.
func TestNoRestWithoutPrimary(t *testing.T) {
	_, b, asked, publish := restRig(t)
	s := b.servers[1]
	s.Await("rounds", func() bool { return asked() > 2 })
	publish(func(v *cluster.View) { v.Following = true })
	s.Await("the end of the connection", func() bool { return s.Open() == 0 })
	before := asked()
	publish(func(v *cluster.View) { v.Primary = cluster.NoNode })
	s.Await("a round", func() bool { return asked() > before })
}

// TestRestEndsRound has a round under way that waits for a silent node when failover sets to work: it ends at once and says nothing.
func TestRestEndsRound(t *testing.T) {
	_, b, asked, publish := restRig(t)
	s := b.servers[1]
	s.Await("rounds", func() bool { return asked() > 0 })
	s.Misbehave(fakepg.Fault{At: fakepg.Asked, Do: fakepg.Deaf})
	n := asked()
	s.Await("a question without an answer", func() bool { return asked() > n })
	began := time.Now()
	publish(func(v *cluster.View) { v.Op = cluster.OpFailover })
	s.Await("the end of the connection", func() bool { return s.Open() == 0 })
	if took := time.Since(began); took > roundGrace {
		t.Errorf("the round went on for %v", took)
	}
}

// TestStatesOfLostPrimary: what a primary said of its standbys is over when it is not the primary any more, before anybody acts on it.
func TestStatesOfLostPrimary(t *testing.T) {
	r, b, _, publish := restRig(t)
	state := func() string { return r.store.Gauges().Of(1).ReplicationState }
	b.servers[0].Await("a measurement", func() bool { return state() == "streaming" })
	publish(func(v *cluster.View) { v.Nodes[1].Status = cluster.StatusDown })
	b.servers[1].Await("the node to be left alone", func() bool { return b.servers[1].Open() == 0 })
	if state() != "streaming" {
		t.Error("the state of a node that is down was forgotten")
	}
	publish(func(v *cluster.View) { v.Op, v.Seeking, v.Primary = cluster.OpFailover, true, cluster.NoNode })
	if got := state(); got != "" {
		t.Errorf("without a primary the state is %q", got)
	}
	if said := r.store.Gauges().Primary; said.Node != 0 || said.LSN != 0x100 || said.Sync != worldSync || said.Timeline != 10 || said.Measured.IsZero() {
		t.Errorf("what the primary said last is %+v", said)
	}
}

// TestStatesSeenEarly has a round begin between the publication of a View and the news of it.
func TestStatesSeenEarly(t *testing.T) {
	r := newRig(t, cluster.Node{}, cluster.Node{ID: 1})
	r.seen = r.store.Current()
	r.board.update(2, func(nodes []cluster.NodeGauge) { nodes[1].ReplicationState = "streaming" })
	lost := *r.view
	lost.Primary, lost.Op = 1, cluster.OpFailover
	r.store.Publish(&lost)
	r.begin(func() {})
	r.changed(&lost)
	if got := r.store.Gauges().Of(1).ReplicationState; got != "" {
		t.Errorf("the state is %q", got)
	}
}

func BenchmarkRoles(b *testing.B) {
	c := shared.Cluster(b)
	p, err := NewProber(func(_, param string) (auth.Entry, error) { return auth.ParseEntry(param, auth.Key{}), nil }, nil)
	if err != nil {
		b.Fatal(err)
	}
	s := Settings{Streaming: conf.StreamingCheck{SrCheckUser: "postgres", SrCheckPassword: password, SrCheckDatabase: "postgres"}}
	v := &cluster.View{Nodes: nodesOf(c)}
	for b.Loop() {
		if said := text(p.Roles(b.Context(), v, s)); said != "PS" {
			b.Fatal(said)
		}
	}
}
