package failover

import (
	"errors"
	"testing"
	"time"

	"gopgpool/cluster"
)

// TestWhoFollowsAUsurper: the newest timeline wins only if it came of the lost primary's own succession.
func TestWhoFollowsAUsurper(t *testing.T) {
	standby := func(id cluster.NodeID, timeline cluster.Timeline, received cluster.LSN) cluster.ServerState {
		return cluster.ServerState{Node: id, InRecovery: true, SystemID: 5, Timeline: timeline, Received: received}
	}
	silent := errors.New("connection refused")
	gauge := cluster.PrimaryGauge{Node: 0, Measured: time.Now(), LSN: 900, Timeline: 2}
	for _, c := range []struct {
		name     string
		lost     cluster.ServerState
		last     cluster.PrimaryGauge
		other    cluster.Timeline
		descends bool
		heir     cluster.NodeID
	}{
		{"it follows somebody else", cluster.ServerState{Err: silent}, gauge, 2, false, 2},
		{"the primary has told the keeper", cluster.ServerState{Err: silent, Timeline: 2}, cluster.PrimaryGauge{Node: cluster.NoNode}, 2, false, 2},
		{"it follows the heir that was lost", cluster.ServerState{Err: silent}, gauge, 2, true, 1},
		{"all are there: what was measured is old", cluster.ServerState{Err: silent}, gauge, 3, false, 2},
		{"nothing is known", cluster.ServerState{Err: silent}, cluster.PrimaryGauge{Node: cluster.NoNode}, 2, false, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := &cluster.View{Mode: cluster.ModeStreaming, Primary: cluster.NoNode}
			for i := range 3 {
				v.Nodes = append(v.Nodes, cluster.Node{ID: cluster.NodeID(i), Port: 5432 + i, Status: cluster.StatusUp})
			}
			v.Nodes[0].Status = cluster.StatusDown
			heir, why := elect(v, election{
				states: []cluster.ServerState{c.lost, standby(1, 3, 500), standby(2, c.other, 900)},
				last:   c.last, old: 0, target: cluster.NoNode, settled: cluster.NoNode, descends: c.descends,
			})
			if heir != c.heir {
				t.Errorf("node %d (%s), want %d", heir, why, c.heir)
			}
		})
	}
}
