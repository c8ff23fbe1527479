package recovery

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
)

// nodes makes a View of nodes in the given states; node 0 is the primary.
func nodes(states ...cluster.Status) *cluster.View {
	v := &cluster.View{Mode: cluster.ModeStreaming}
	for i, s := range states {
		v.Nodes = append(v.Nodes, cluster.Node{
			ID: cluster.NodeID(i), Host: fmt.Sprintf("server%d", i), Port: 5432 + i, DataDirectory: fmt.Sprintf("/data%d", i), Status: s,
		})
	}
	return v
}

func settings(mode conf.ClusteringMode, first, second string) Settings {
	return Settings{Mode: mode, Recovery: conf.Recovery{
		RecoveryUser: "postgres", RecoveryDatabase: "postgres", Recovery1stStageCommand: first, Recovery2ndStageCommand: second,
		RecoveryTimeout: 90 * time.Second,
	}}
}

const (
	up, waiting, down   = cluster.StatusUp, cluster.StatusWaiting, cluster.StatusDown
	unused, quarantined = cluster.StatusUnused, cluster.StatusQuarantine
)

// The texts are those of pcp_recovery_node: message | detail, with FATAL in front where the connection is closed.
func TestRefusals(t *testing.T) {
	t.Parallel()
	streaming := settings(conf.ModeStreamingReplication, "recovery_1st_stage", "")
	with := func(f func(*cluster.View)) *cluster.View {
		v := nodes(up, down, unused)
		f(v)
		return v
	}
	for _, tc := range []struct {
		name string
		v    *cluster.View
		s    Settings
		id   cluster.NodeID
		want string
	}{
		{"below", nodes(up, down), streaming, -1, "process recovery request failed|node id -1 is not valid"},
		{"beyond", nodes(up, down), streaming, 2, "process recovery request failed|node id 2 is not valid"},
		{
			"primary", nodes(up, down), streaming, 0,
			"process recovery request failed|primary server cannot be recovered by online recovery.",
		},
		{
			"primary that is down", nodes(down, up), streaming, 0,
			"process recovery request failed|primary server cannot be recovered by online recovery.",
		},
		{
			"raw", nodes(up, down), settings(conf.ModeRaw, "x", ""), 1, "process recovery request failed|" +
				"recovery request is only allowed in replication and streaming replication modes.",
		},
		{
			"logical", nodes(up, down), settings(conf.ModeLogicalReplication, "x", ""), 0, "process recovery request failed|" +
				"recovery request is only allowed in replication and streaming replication modes.",
		},
		{"up", nodes(up, up), streaming, 1, "node recovery failed, node id: 1 is alive|"},
		{"waiting", nodes(up, waiting), streaming, 1, "node recovery failed, node id: 1 is alive|"},
		{"unused", nodes(up, down, unused), streaming, 2, "node recovery failed, node id: 2 is unused|"},
		{
			"no primary", with(func(v *cluster.View) { v.Primary = cluster.NoNode }), streaming, 1,
			"node recovery failed, unable to connect to main node: -1 |the reason is: no such node is up",
		},
		{
			"failover", with(func(v *cluster.View) { v.Op = cluster.OpFailover }), streaming, 1,
			"failed to process PCP request at the moment|failover is in progress",
		},
		{
			"failback", with(func(v *cluster.View) { v.Op = cluster.OpFailback }), streaming, 9,
			"failed to process PCP request at the moment|failback is in progress",
		},
		{
			"promotion", with(func(v *cluster.View) { v.Op = cluster.OpPromote }), streaming, 1,
			"failed to process PCP request at the moment|promote node operation is in progress",
		},
		{
			"seeking", with(func(v *cluster.View) { v.Seeking = true }), streaming, 1,
			"failed to process PCP request at the moment|failover is in progress",
		},
		{
			"no directory", with(func(v *cluster.View) { v.Nodes[1].DataDirectory = "" }), streaming, 1,
			"process recovery request failed|backend_data_directory1 is not set",
		},
		{
			"path", nodes(up, down), settings(conf.ModeStreamingReplication, "../x", ""), 1,
			"process recovery request failed|recovery_1st_stage_command is not the name of a file in the data directory",
		},
		{
			"second path", nodes(up, down), settings(conf.ModeNativeReplication, "x", "/bin/sh"), 1,
			"process recovery request failed|recovery_2nd_stage_command is not the name of a file in the data directory",
		},
	} {
		_, err := Decide(tc.v, tc.s, tc.id)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %v, want an Error", tc.name, err)
			continue
		}
		got := e.Message + "|" + e.Detail
		if e.Fatal {
			got = "FATAL " + got
		}
		if got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.name, got, tc.want)
		}
	}
	if e := errBusy(); !e.Fatal || e.Error() != "process recovery request failed: "+
		"pgpool-II is already processing another recovery request." {
		t.Errorf("busy: %v, fatal %v", e, e.Fatal)
	}
}

func TestPlans(t *testing.T) {
	t.Parallel()
	const ending = "; pgpool_remote_start; wait for the node; attach the node"
	for _, tc := range []struct {
		name   string
		v      *cluster.View
		s      Settings
		source cluster.NodeID
		want   string
	}{
		{
			"streaming", nodes(up, down), settings(conf.ModeStreamingReplication, "first", "second"), 0,
			"1st stage: first" + ending,
		},
		{"streaming, no script", nodes(up, down), settings(conf.ModeStreamingReplication, "", ""), 0, ending[2:]},
		{
			"streaming, in quarantine", nodes(up, quarantined), settings(conf.ModeStreamingReplication, "first", ""), 0,
			"1st stage: first" + ending,
		},
		{
			"native", nodes(down, down, up), settings(conf.ModeNativeReplication, "first", "second"), 2,
			"checkpoint on the source; 1st stage: first; keep clients out; checkpoint on the source; 2nd stage: second" + ending,
		},
		{
			"snapshot isolation, no second script", nodes(up, down), settings(conf.ModeSnapshotIsolation, "first", ""), 0,
			"checkpoint on the source; 1st stage: first; keep clients out; checkpoint on the source" + ending,
		},
	} {
		plan, err := Decide(tc.v, tc.s, 1)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		var words []string
		for _, s := range plan.Steps {
			words = append(words, s.String())
		}
		if got := strings.Join(words, "; "); got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.name, got, tc.want)
		}
		if plan.Source.ID != tc.source || plan.Node.ID != 1 {
			t.Errorf("%s: node %d from %d, want node 1 from %d", tc.name, plan.Node.ID, plan.Source.ID, tc.source)
		}
	}
}

// "a new primary may be followed by recovery": the script of follow_primary_command may ask for a recovery.
func TestFollowingDoesNotHinder(t *testing.T) {
	t.Parallel()
	v := nodes(up, down)
	v.Following = true
	if _, err := Decide(v, settings(conf.ModeStreamingReplication, "first", ""), 1); err != nil {
		t.Error(err)
	}
}

func TestScriptArguments(t *testing.T) {
	t.Parallel()
	v := nodes(up, down)
	plan, err := Decide(v, settings(conf.ModeStreamingReplication, "first", ""), 1)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(plan.scriptArguments("first"), " "), "first server1 /data1 5432 1 5433 server0"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	plan.Node.Host, plan.Source.Host = "/var/run/postgresql", ""
	if got, want := strings.Join(plan.scriptArguments("first"), " "), "first localhost /data1 5432 1 5433 localhost"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := callRecovery(3), "SELECT pgpool_recovery($1::pg_catalog.text, $2::pg_catalog.text, $3::pg_catalog.text)"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := callRecovery(7); !strings.Contains(got, "$5::pg_catalog.int4, $6::pg_catalog.text, $7::pg_catalog.text") {
		t.Error(got)
	}
}

// The original's clients take a capital S, M or D at the start of a text for the name of a field.
func TestTextsAreReadable(t *testing.T) {
	t.Parallel()
	cause := errors.New("Something Deep")
	n := nodes(up).Nodes[0]
	for _, e := range []*Error{
		errBusy(), errOperation("failover"), errUnreachable(0, cause), errFailed("executing x", "CHECKPOINT", n, cause),
		errStage("1st stage", "Script", n, cause), errNotStarted(n, "postgres", "u", 90, cause), errNode(0, "it runs", cause),
	} {
		for _, text := range []string{e.Message, e.Detail} {
			if strings.IndexAny(text, "SMD") == 0 {
				t.Errorf("%q begins with the name of a field", text)
			}
		}
	}
}
