package failover

import (
	"errors"
	"testing"
	"time"

	"gopgpool/cluster"
)

// TestAStandbyThatReadsItsWAL: a standby that was started again tells less than it has until it has read all of it, and may have what was
// acknowledged and the others lack.
func TestAStandbyThatReadsItsWAL(t *testing.T) {
	standby := func(id cluster.NodeID, name string, received cluster.LSN, unread bool) cluster.ServerState {
		return cluster.ServerState{
			Node: id, InRecovery: true, SystemID: 5, Timeline: 1, Received: received, ApplicationName: name, Unread: unread,
		}
	}
	for _, c := range []struct {
		name    string
		sync    string
		standby cluster.ServerState
		patient bool
		heir    cluster.NodeID
	}{
		{"it may have been asked for the commit", "ANY 1 (b, c)", standby(1, "b", 100, true), false, cluster.NoNode},
		{"it has read all", "ANY 1 (b, c)", standby(1, "b", 100, false), false, 2},
		{"it has the most anyhow", "ANY 1 (b, c)", standby(1, "b", 1000, true), true, 1},
		{"commits wait for the other one", "c", standby(1, "b", 100, true), false, 2},
		{"asynchronous, it is waited for", "", standby(1, "b", 100, true), true, cluster.NoNode},
		{"asynchronous, it was waited for", "", standby(1, "b", 100, true), false, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := &cluster.View{Mode: cluster.ModeStreaming, Primary: cluster.NoNode}
			for i, name := range []string{"a", "b", "c"} {
				v.Nodes = append(v.Nodes, cluster.Node{ID: cluster.NodeID(i), Port: 5432 + i, Status: cluster.StatusUp, ApplicationName: name})
			}
			v.Nodes[0].Status = cluster.StatusDown
			heir, why := elect(v, election{
				states: []cluster.ServerState{{Node: 0, Err: errors.New("connection refused")}, c.standby, standby(2, "c", 900, false)},
				last:   cluster.PrimaryGauge{Node: 0, Measured: time.Now(), LSN: 900, Timeline: 1, Sync: c.sync},
				old:    0, target: cluster.NoNode, settled: cluster.NoNode, patient: c.patient,
			})
			if heir != c.heir {
				t.Errorf("node %d (%s), want %d", heir, why, c.heir)
			}
		})
	}
}

// TestOldNewsOfTheSetting: that commits waited for nobody when the primary was asked last, long ago, says nothing.
func TestOldNewsOfTheSetting(t *testing.T) {
	now := time.Now()
	const all = "ANY 1 (a, b, c)"
	for _, c := range []struct {
		age  time.Duration
		own  string // the standby's setting
		heir cluster.NodeID
	}{{time.Second, all, 1}, {time.Hour, all, cluster.NoNode}, {time.Hour, "a", 1}, {time.Hour, "", 1}} {
		v := &cluster.View{Mode: cluster.ModeStreaming, Primary: cluster.NoNode}
		for i, name := range []string{"a", "b", "c"} {
			v.Nodes = append(v.Nodes, cluster.Node{ID: cluster.NodeID(i), Port: 5432 + i, Status: cluster.StatusUp, ApplicationName: name})
		}
		v.Nodes[0].Status, v.Nodes[0].LastStatusChange = cluster.StatusDown, now
		silent := errors.New("connection refused")
		got, why := elect(v, election{
			states: []cluster.ServerState{
				{Node: 0, Err: silent},
				{Node: 2, Err: silent},
				{Node: 1, InRecovery: true, SystemID: 5, Timeline: 1, Received: 100, ApplicationName: "b", SyncNames: c.own},
			},
			last: cluster.PrimaryGauge{Node: 0, Measured: now.Add(-c.age), Timeline: 1}, old: 0, target: cluster.NoNode, settled: cluster.NoNode,
		})
		if got != c.heir {
			t.Errorf("%v ago, %q: node %d (%s), want %d", c.age, c.own, got, why, c.heir)
		}
	}
}
