package failover

import (
	"gopgpool/cluster"
	"gopgpool/conf"
)

// Request is something the coordinator is asked to decide about.
type Request interface{ request() }

// NodeUsed tells that a client session uses a node: a waiting node becomes up.
type NodeUsed struct{ Node cluster.NodeID }

// RolesSeen is what the nodes said of themselves in one round of asking.
type RolesSeen struct {
	Seen *cluster.View // the View in force when they were asked
	// Roles, index = NodeID: primary, standby, or unknown for a node that was not asked or did not answer.
	Roles []cluster.Role
	// Gone, index = NodeID: nothing listens at the node's address, so no server can be at work there. Silence, a time-out
	// or a name that does not resolve is not that.
	Gone []bool
}

// BackendsReloaded brings the backend section of a configuration that was just loaded.
type BackendsReloaded struct{ Backends []conf.Backend }

func (NodeUsed) request()         {}
func (RolesSeen) request()        {}
func (BackendsReloaded) request() {}
