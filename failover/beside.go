package failover

import "gopgpool/cluster"

// Somebody may promote a standby by hand while the primary serves. What is written to the primary from then on that server lacks, for
// seconds or for weeks. Where no script promotes it does not take over when the primary is lost, as long as there is a standby that has
// gone on with the primary; where there is none it does.

// beside reports whether a node was a primary beside the known one.
func (m *Memory) beside(id cluster.NodeID) bool {
	return id >= 0 && int(id) < len(m.Beside) && m.Beside[id]
}

// outdone reports whether a node that would take over was promoted beside the known primary, and a standby may be there that follows the
// latter.
func (e *evidence) outdone(v *cluster.View, id cluster.NodeID) bool {
	if !e.memory.beside(id) || v.Primary != cluster.NoNode && e.says[v.Primary] == cluster.RoleStandby {
		return false
	}
	for i := range v.Nodes {
		other := cluster.NodeID(i)
		if v.Live(other) && other != id && other != v.Primary && e.says[i] != cluster.RolePrimary && e.upstream[i] != id {
			return true
		}
	}
	return false
}

// outdoneBy is outdone by what the servers have told when they were weighed: one on the same timeline follows the node.
func (m *Memory) outdoneBy(v *cluster.View, states []cluster.ServerState, id, old cluster.NodeID) bool {
	if !m.beside(id) {
		return false
	}
	var timeline cluster.Timeline
	for i := range states {
		if states[i].Node == id {
			timeline = states[i].Timeline
		}
	}
	for i := range states {
		s := &states[i]
		if v.Live(s.Node) && s.Node != id && s.Node != old && (s.Err != nil || s.InRecovery && s.Timeline < timeline) {
			return true
		}
	}
	return false
}
