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
	// Upstream, index = NodeID: whom a standby streams from, by pg_stat_wal_receiver; asked only with detach_false_primary.
	// NoNode where it does not stream, does not tell, or streams from nobody we know.
	Upstream []cluster.NodeID
}

// BackendsReloaded brings the backend section of a configuration that was just loaded.
type BackendsReloaded struct{ Backends []conf.Backend }

// Origin is who asks for a node to be detached or attached.
type Origin uint8

// Origins.
const (
	ByHealthCheck     Origin = iota + 1
	ByBackendError           // a session could not reach it (failover_on_backend_error)
	ByBackendShutdown        // it said that it shuts down (failover_on_backend_shutdown)
	ByFalsePrimary           // detach_false_primary
	ByOperator               // pcp_detach_node, pcp_attach_node
	ByRecovery               // online recovery has finished
	ByAutoFailback           // auto_failback
)

// Detach asks for nodes to be taken out. Nodes that are down already are passed over.
type Detach struct {
	Nodes  []cluster.NodeID
	Origin Origin
	// Seen is the View whose nodes the finding is about: one that speaks of an older epoch of a node is worth nothing. Nil for an
	// operator's request, which is about whatever is there.
	Seen *cluster.View
	// TimedOut: a health check ended by health_check_timeout. Err is the finding in words, for the log.
	TimedOut bool
	Err      error
}

// Attach asks for a node to be taken in again.
type Attach struct {
	Node   cluster.NodeID
	Origin Origin
}

// Promote asks for another primary (manual: pcp_promote_node).
type Promote struct {
	Node cluster.NodeID
	// Switchover detaches the primary in force and has failover_command promote Node. Without it only the book-keeping changes: Node
	// is taken to be the primary.
	Switchover bool
}

func (NodeUsed) request()         {}
func (RolesSeen) request()        {}
func (BackendsReloaded) request() {}
func (Detach) request()           {}
func (Attach) request()           {}
func (Promote) request()          {}

// Refusal is a request that is not carried out. Message and Detail are the texts of the manual's programs (pcp).
type Refusal struct {
	Fatal           bool // the connection it came by is to be closed
	Message, Detail string
}

func (r *Refusal) Error() string {
	if r.Detail == "" {
		return r.Message
	}
	return r.Message + ": " + r.Detail
}
