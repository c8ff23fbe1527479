package health

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// three is a primary and two standbys.
func three(mode cluster.Mode) *cluster.View {
	v := &cluster.View{Mode: mode, Primary: 0}
	for i, name := range []string{"zero", "one", "two"} {
		v.Nodes = append(v.Nodes, cluster.Node{ID: cluster.NodeID(i), ApplicationName: name, Status: cluster.StatusUp})
	}
	return v
}

func primarySays(l cluster.LSN, peers ...Peer) reading {
	return reading{node: 0, asked: true, answer: Answer{Role: cluster.RolePrimary, LSN: l, Version: 15}, peers: peers}
}

func standbySays(node int, l cluster.LSN) reading {
	return reading{node: node, asked: true, answer: Answer{Role: cluster.RoleStandby, LSN: l, Version: 15}}
}

func TestMeasure(t *testing.T) {
	peers := []Peer{
		{ApplicationName: "one", State: "streaming", SyncState: "sync", ReplayLag: 2 * time.Second},
		{ApplicationName: "two", State: "backup"},
		{ApplicationName: "two", State: "streaming", SyncState: "async"},
	}
	silent := func(node int) reading { return reading{node: node, asked: true, err: errors.New("silence")} }
	old := cluster.NodeGauge{
		Lag: 77, ReplicationState: "streaming", SyncState: "async",
		HealthCheck: cluster.HealthStats{Total: 3},
	}
	for _, tc := range []struct {
		name   string
		mode   cluster.Mode
		byTime time.Duration
		got    []reading
		want   string // per node: lag, time lag, state, sync state, whether it answered
	}{
		{
			"all well", cluster.ModeStreaming, 0,
			[]reading{primarySays(1<<33, peers...), standbySays(1, 1<<33-5), standbySays(2, 1<<33+8)},
			"0 - '' '' ok|5 - streaming sync ok|0 - streaming async ok",
		},
		{
			"by time", cluster.ModeStreaming, time.Second,
			[]reading{primarySays(100, peers...), standbySays(1, 100), standbySays(2, 90)},
			"0 - '' '' ok|0 2s streaming sync ok|10 0s streaming async ok",
		},
		{
			"by time, a standby that does not stream", cluster.ModeStreaming, time.Second,
			[]reading{primarySays(100, peers[0]), standbySays(1, 100), standbySays(2, 40)},
			"0 - '' '' ok|0 2s streaming sync ok|60 - '' '' ok",
		},
		{
			"a silent standby keeps its lag", cluster.ModeStreaming, 0,
			[]reading{primarySays(100, peers...), silent(1), standbySays(2, 100)},
			"0 - '' '' ok|77 - streaming sync down|0 - streaming async ok",
		},
		{
			"a silent primary empties the states", cluster.ModeStreaming, 0,
			[]reading{silent(0), standbySays(1, 10), standbySays(2, 10)},
			"77 - '' '' down|77 - '' '' ok|77 - '' '' ok",
		},
		{
			"a primary that became a standby measures nothing", cluster.ModeStreaming, 0,
			[]reading{standbySays(0, 10), standbySays(1, 10), {}},
			"77 - '' '' ok|77 - '' '' ok|77 - '' '' -",
		},
		{
			"a node that is down keeps its state", cluster.ModeStreaming, time.Second,
			[]reading{primarySays(100, peers...), {}, standbySays(2, 100)},
			"0 - '' '' ok|77 - streaming sync -|0 0s streaming async ok",
		},
		{
			"logical has no lag", cluster.ModeLogical, 0,
			[]reading{primarySays(100, peers...), standbySays(1, 10), standbySays(2, 10)},
			"0 - '' '' ok|77 - '' '' ok|77 - '' '' ok",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			nodes := []cluster.NodeGauge{old, old, old}
			s := &conf.StreamingCheck{DelayThresholdByTime: tc.byTime}
			measure(three(tc.mode), s, nodes, tc.got, noon)
			var got []string
			for _, g := range nodes {
				got = append(got, gaugeText(g))
				if g.HealthCheck.Total != 3 {
					t.Error("the health check's statistics were lost")
				}
			}
			if text := strings.Join(got, "|"); text != tc.want {
				t.Errorf("got  %s\nwant %s", text, tc.want)
			}
		})
	}
}

func gaugeText(g cluster.NodeGauge) string {
	or := func(s, empty string) string {
		if s == "" {
			return empty
		}
		return s
	}
	lagTime, answered := "-", "-"
	if g.HasLagTime {
		lagTime = g.LagTime.String()
	}
	if g.Probed {
		answered = "down"
		if g.Reachable {
			answered = "ok"
		}
	}
	lag := strconv.FormatUint(uint64(g.Lag), 10)
	return strings.Join([]string{lag, lagTime, or(g.ReplicationState, "''"), or(g.SyncState, "''"), answered}, " ")
}

func TestMeasurePrimaryBeforeTen(t *testing.T) {
	p := primarySays(100, Peer{ApplicationName: "one", State: "streaming"})
	p.answer.Version = 9
	nodes := make([]cluster.NodeGauge, 3)
	measure(three(cluster.ModeStreaming), &conf.StreamingCheck{DelayThresholdByTime: 1}, nodes,
		[]reading{p, standbySays(1, 90), {}}, noon)
	if nodes[1].HasLagTime || nodes[1].Lag != 10 {
		t.Errorf("%+v", nodes[1])
	}
}

func TestDelays(t *testing.T) {
	nodes := []cluster.NodeGauge{
		{Lag: 5, Measured: noon},
		{Lag: 1000, Measured: noon},
		{Lag: 10, Measured: noon},
	}
	bytes := "Replication of node: 1 is behind 1000 bytes from the primary server (node: 0)"
	late := []cluster.NodeGauge{
		{},
		{HasLagTime: true, LagTime: 1500 * time.Millisecond, Lag: 1, Measured: noon},
		{HasLagTime: true, Lag: 1 << 40, Measured: noon},
	}
	seconds := "Replication of node: 1 is behind 1.500000 second(s) from the primary server (node: 0)"
	for _, tc := range []struct {
		name  string
		s     conf.StreamingCheck
		nodes []cluster.NodeGauge
		want  string
	}{
		{"over", conf.StreamingCheck{DelayThreshold: 999, LogStandbyDelay: conf.StandbyDelayIfOverThreshold}, nodes, bytes},
		{"at the threshold", conf.StreamingCheck{DelayThreshold: 1000, LogStandbyDelay: conf.StandbyDelayIfOverThreshold}, nodes, ""},
		{"no threshold", conf.StreamingCheck{LogStandbyDelay: conf.StandbyDelayIfOverThreshold}, nodes, ""},
		{
			"always",
			conf.StreamingCheck{LogStandbyDelay: conf.StandbyDelayAlways},
			nodes,
			bytes + "\nReplication of node: 2 is behind 10 bytes from the primary server (node: 0)",
		},
		{"none", conf.StreamingCheck{DelayThreshold: 1, LogStandbyDelay: conf.StandbyDelayNone}, nodes, ""},
		{
			"time wins over bytes",
			conf.StreamingCheck{
				DelayThreshold: 1, DelayThresholdByTime: time.Second, LogStandbyDelay: conf.StandbyDelayIfOverThreshold,
			},
			late, seconds,
		},
		{
			"within time",
			conf.StreamingCheck{DelayThresholdByTime: 2 * time.Second, LogStandbyDelay: conf.StandbyDelayIfOverThreshold},
			late, "",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []string
			for _, e := range delays(three(cluster.ModeStreaming), &tc.s, tc.nodes, noon) {
				got = append(got, e.Message)
			}
			if text := strings.Join(got, "\n"); text != tc.want {
				t.Errorf("got %s", text)
			}
		})
	}
	old := &conf.StreamingCheck{LogStandbyDelay: conf.StandbyDelayAlways}
	if e := delays(three(cluster.ModeStreaming), old, nodes, noon.Add(1)); len(e) != 0 {
		t.Errorf("told again though nothing was measured: %v", e)
	}
}

func TestPace(t *testing.T) {
	known, raw := three(cluster.ModeStreaming), three(cluster.ModeRaw)
	lost, logical := three(cluster.ModeStreaming), three(cluster.ModeLogical)
	lost.Primary, raw.Primary = cluster.NoNode, cluster.NoNode
	working, following := *lost, *known
	working.Op, following.Following = cluster.OpFailover, true
	on := &Settings{Streaming: conf.StreamingCheck{SrCheckPeriod: 10 * time.Second}, SearchTimeout: 300 * time.Second}
	off := &Settings{SearchTimeout: 300 * time.Second}
	forever := &Settings{}
	check := step{ask: true, keep: true, wait: 10 * time.Second}
	search := step{ask: true, searching: true, keep: true, wait: time.Second}
	idle := step{wait: 30 * time.Second}
	for _, tc := range []struct {
		name  string
		v     *cluster.View
		s     *Settings
		since time.Duration
		want  step
	}{
		{"known", known, on, 0, check},
		{"failover at work", &working, on, 0, idle},
		{"follow_primary_command at work", &following, on, 0, idle},
		{"known, off", known, off, 0, idle},
		{"searching", lost, on, 299 * time.Second, search},
		{"searching with the check off", lost, off, 299 * time.Second, search},
		{"expired", lost, on, 300 * time.Second, check},
		{"expired, off", lost, off, 300 * time.Second, step{ask: true, searching: true, wait: idleEvery}},
		{"for ever", lost, forever, 1e6 * time.Second, search},
		{"raw", raw, on, 0, idle},
		{"logical", logical, on, 0, idle},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := pace(tc.v, tc.s, noon, noon.Add(tc.since)); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}
