package failover

import (
	"errors"
	"testing"

	"gopgpool/cluster"
)

// TestStrangersAreNotPromoted: which standby belongs to another database cluster is told by what the lost primary was, and by nobody's
// number.
func TestStrangersAreNotPromoted(t *testing.T) {
	lost := errors.New("connection refused")
	standby := func(id cluster.NodeID, system uint64, received cluster.LSN) cluster.ServerState {
		return cluster.ServerState{Node: id, InRecovery: true, SystemID: system, Timeline: 1, Received: received}
	}
	for _, c := range []struct {
		name   string
		states []cluster.ServerState
		heir   cluster.NodeID
	}{
		{"the stranger comes first and is ahead", []cluster.ServerState{{Node: 0, Err: lost, SystemID: 5}, standby(1, 7, 900), standby(2, 5, 100)}, 2},
		{"the stranger comes last", []cluster.ServerState{{Node: 0, Err: lost, SystemID: 5}, standby(1, 5, 100), standby(2, 7, 900)}, 1},
		{"strangers alone", []cluster.ServerState{{Node: 0, Err: lost, SystemID: 5}, standby(1, 7, 900), standby(2, 7, 100)}, cluster.NoNode},
		{"the primary's is not known", []cluster.ServerState{{Node: 0, Err: lost}, standby(1, 7, 900), standby(2, 5, 100)}, cluster.NoNode},
		{"not known, but all are of one", []cluster.ServerState{{Node: 0, Err: lost}, standby(1, 5, 100), standby(2, 5, 900)}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := &cluster.View{Mode: cluster.ModeStreaming, Primary: cluster.NoNode}
			for i := range 3 {
				v.Nodes = append(v.Nodes, cluster.Node{ID: cluster.NodeID(i), Port: 5432 + i, Status: cluster.StatusUp})
			}
			v.Nodes[0].Status = cluster.StatusDown
			heir, why := elect(v, election{states: c.states, old: 0, target: cluster.NoNode, settled: cluster.NoNode})
			if heir != c.heir {
				t.Errorf("node %d (%s), want %d", heir, why, c.heir)
			}
		})
	}
}
