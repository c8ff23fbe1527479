package show

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gopgpool/cluster"
)

var update = flag.Bool("update", false, "write the golden files anew")

// at is a time of the sample day, in the zone answers are given in.
func at(clock string) time.Time {
	t, err := time.ParseInLocation("2006-01-02 15:04:05", "2026-11-20 "+clock, time.Local)
	if err != nil {
		panic(err)
	}
	return t
}

// text is an answer as the golden files have it: columns, rows, tag, values separated by a dot in the middle.
func text(r Result) string {
	var b strings.Builder
	b.WriteString(strings.Join(r.Columns, "·") + "\n")
	for _, row := range r.Rows {
		b.WriteString(strings.Join(row, "·") + "\n")
	}
	b.WriteString(r.Tag + "\n")
	return b.String()
}

func golden(t *testing.T, name string, r Result) {
	t.Helper()
	for i, row := range r.Rows {
		if len(row) != len(r.Columns) {
			t.Errorf("row %d has %d values for %d columns", i, len(row), len(r.Columns))
		}
	}
	path := filepath.Join("testdata", name+".txt")
	got := text(r)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n%s\nwant:\n%s", name, got, want)
	}
}

// sample is a primary and a standby, as the samples of the manual have them.
func sample() *cluster.View {
	node := func(id cluster.NodeID, r cluster.Role) cluster.Node {
		return cluster.Node{
			ID: id, Host: "127.0.0.1", Port: 15432 + int(id), Weight: 1, Status: cluster.StatusUp, Role: r,
			LastStatusChange: at("18:13:24"),
		}
	}
	return &cluster.View{
		Mode: cluster.ModeStreaming, Primary: 0,
		Nodes: []cluster.Node{node(0, cluster.RolePrimary), node(1, cluster.RoleStandby)},
	}
}

func TestPoolNodes(t *testing.T) {
	golden(t, "pool_nodes", PoolNodes(Nodes{
		View:            sample(),
		Gauges:          &cluster.Gauges{Nodes: []cluster.NodeGauge{{}, {ReplicationState: "streaming", SyncState: "async"}}},
		Live:            []Live{{"up", "primary"}, {"up", "standby"}},
		Stats:           []BackendStat{{Select: 1}},
		LoadBalanceNode: 0,
	}))
}

func TestPoolNodesOddities(t *testing.T) {
	v := sample()
	v.Nodes[0].Weight, v.Nodes[1].Weight = 1, 2
	v.Nodes[1].Status = cluster.StatusDown
	v.Nodes[1].Host = "/var/run"
	v.Nodes = append(v.Nodes, cluster.Node{ID: 2, Role: cluster.RoleStandby})
	v.Nodes = append(v.Nodes, cluster.Node{
		ID: 3, Host: "late", Port: 1, Weight: 3, Status: cluster.StatusQuarantine, Role: cluster.RoleStandby,
	})
	golden(t, "pool_nodes_oddities", PoolNodes(Nodes{
		View: v,
		Gauges: &cluster.Gauges{Nodes: []cluster.NodeGauge{
			{Lag: 5}, {Lag: 4294967299}, {}, {HasLagTime: true, LagTime: 12345 * time.Microsecond},
		}},
		LoadBalanceNode: cluster.NoNode,
	}))
}

func TestDelayUnits(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                        "0.000000 second",
		12345 * time.Microsecond: "0.012345 second",
		1999 * time.Millisecond:  "1.999000 second",
		2 * time.Second:          "2.000000 seconds",
	} {
		if got := delay(cluster.NodeGauge{HasLagTime: true, LagTime: d}, false); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestPoolHealthCheckStats(t *testing.T) {
	ms := time.Millisecond
	g := &cluster.Gauges{Nodes: []cluster.NodeGauge{
		{HealthCheck: cluster.HealthStats{
			Total: 24, Success: 24, MaxDuration: 27 * ms, MinDuration: ms, TotalDuration: 179 * ms,
			Last: at("18:14:33"), LastSuccess: at("18:14:33"),
		}},
		{HealthCheck: cluster.HealthStats{
			Total: 5, Success: 2, Fail: 1, Skip: 2, Retry: 4, MaxRetry: 3, MaxDuration: 1500 * time.Microsecond,
			TotalDuration: 2 * ms, Last: at("18:14:33"), LastSuccess: at("18:14:31"), LastSkip: at("18:14:32"),
			LastFailure: at("18:14:33"),
		}},
	}}
	golden(t, "pool_health_check_stats", PoolHealthCheckStats(sample(), g))
	golden(t, "pool_health_check_stats_off", PoolHealthCheckStats(sample(), nil))
}

func TestPoolBackendStats(t *testing.T) {
	golden(t, "pool_backend_stats", PoolBackendStats(sample(), []BackendStat{
		{Select: 12, Insert: 10, Update: 30, Delete: 1, DDL: 30, Other: 2, Panic: 3, Fatal: 4, Error: 5},
	}))
}

func TestPoolProcesses(t *testing.T) {
	golden(t, "pool_processes", PoolProcesses([]Process{
		{PID: 20004, Start: at("18:13:24"), Clients: 2, RestartIn: 279 * time.Second},
		{
			PID: 20005, Start: at("18:13:24"), Connected: true, Database: "test", User: "postgres",
			BackendConnected: at("18:14:34"), PoolCounter: 1, State: StateExecute, RestartIn: 300 * time.Second,
		},
		{PID: 20006, Start: at("18:13:24"), RestartIn: 300 * time.Second},
		{PID: 20007, Start: at("18:13:24"), Clients: 1, RestartIn: -1},
		{PID: 20008, Start: at("18:13:24"), Connected: true, State: StateConnecting, RestartIn: -1},
		{PID: 20009, Start: at("18:13:24"), Connected: true, Database: "d", User: "u", State: StateIdleInTransaction, RestartIn: -1},
	}))
}

func TestPoolPools(t *testing.T) {
	served := &Process{PID: 20004, Start: at("18:13:24"), Clients: 2, RestartIn: 279 * time.Second}
	fresh := &Process{PID: 20006, Start: at("18:13:24"), RestartIn: 300 * time.Second}
	busy := &Process{PID: 20005, Start: at("18:13:24"), Connected: true, State: StateIdle, RestartIn: -1}
	golden(t, "pool_pools", PoolPools([]Slot{
		{
			Process: served, Database: "test", User: "postgres", BackendConnected: at("18:13:30"),
			ClientConnected: at("18:13:33"), ClientDisconnected: at("18:13:33"), Major: 3, PoolCounter: 2,
			BackendPID: 20072, ClientHost: "127.0.0.1", ClientPort: "33338", Statement: "DISCARD ALL",
		},
		{Process: fresh, PoolID: 1, Node: 1},
		{
			Process: busy, Database: "test", User: "postgres", BackendConnected: at("18:13:30"),
			ClientConnected: at("18:13:33"), IdleFor: 70 * time.Second, ClientDisconnectsIn: 50 * time.Second,
			Major: 3, Minor: 2, PoolCounter: 1, BackendPID: 7, InUse: true, LoadBalanceNode: true,
			ClientHost: "[local]", Statement: "SELECT 1",
		},
	}))
}

func TestPoolCacheAndVersion(t *testing.T) {
	golden(t, "pool_cache_off", PoolCache(Cache{}))
	golden(t, "pool_cache", PoolCache(Cache{
		Hits: 2, Selects: 4, HashEntries: 1048576, UsedHash: 3, Entries: 3, UsedSize: 200, FreeSize: 67108664, Wasted: 9,
	}))
	golden(t, "pool_version", PoolVersion("0.1"))
}

func TestCacheDelete(t *testing.T) {
	if r := CacheDelete("SELECT 1", true); r.Tag != "SET" || r.Notice != `query cache deleted. query: "SELECT 1"` {
		t.Errorf("%+v", r)
	}
	if r := CacheDelete("SELECT 1", false); r.Notice != `query cache does not exist for query: "SELECT 1"` {
		t.Errorf("%+v", r)
	}
}

func TestExplainRoute(t *testing.T) {
	golden(t, "explain_route", ExplainRoute(sample(), []Route{
		{Node: 1, Reason: "load balanced"}, {Node: cluster.NoNode, Reason: "no node is up"},
	}))
}
