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
	// Timelines, index = NodeID: of those that say they are the primary; 0 where that is not known.
	Timelines []cluster.Timeline
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

var originNames = [...]string{
	"", "health check", "backend error", "backend shutdown", "false primary", "administrator", "online recovery", "auto failback",
}

func (o Origin) String() string { return originNames[o] }

// Evidence is what a session or a check has met at a node. Not all of it proves that the node is gone.
type Evidence uint8

// Kinds of evidence. Judged is a verdict somebody else has reached: a health check after all its attempts, an administrator.
const (
	Judged      Evidence = iota
	Refused              // nothing listens at the address
	Unreachable          // no route to the host
	TimedOut             // no answer in time: perhaps only slow
	Unresolved           // the name does not resolve: says nothing about the server
	Broken               // an established connection failed
	Answered             // the server answered, with an error: so it runs
)

var evidenceNames = [...]string{
	"judged", "connection refused", "host unreachable", "timeout", "name not resolved", "connection broken", "answered with an error",
}

func (e Evidence) String() string { return evidenceNames[e] }

// Detach asks for nodes to be taken out. Nodes that are down already are passed over.
type Detach struct {
	Nodes  []cluster.NodeID
	Origin Origin
	// Seen is the View whose nodes the finding is about: one that speaks of an older epoch of a node is worth nothing. Nil for an
	// operator's request, which is about whatever is there.
	Seen *cluster.View
	// Evidence says how much the finding is worth. Refused and Unreachable condemn at once, TimedOut and Broken have the node
	// checked first, Unresolved and Answered never condemn.
	Evidence Evidence
	// TimedOut: a health check ended by health_check_timeout. Err is the finding in words, for the log.
	TimedOut bool
	Err      error
}

// Attach asks for a node to be taken in again.
type Attach struct {
	Node   cluster.NodeID
	Origin Origin
	// Seen is the View the finding is from that the node is well again: it is worth nothing if the node or the primary has changed since.
	// Nil for an order.
	Seen *cluster.View
}

// Promote asks for another primary (manual: pcp_promote_node).
type Promote struct {
	Node cluster.NodeID
	// Switchover detaches the primary in force and has failover_command promote Node. Without it only the book-keeping changes: Node
	// is taken to be the primary.
	Switchover bool
}

// Sought is what a round of the search for a primary has found: a request of the coordinator to itself.
type Sought struct {
	Roles RolesSeen
	Over  bool // no further round will follow: the time is up, or nobody has to be searched
}

// FollowEnded tells that the run of follow_primary_command with this number is over.
type FollowEnded struct{ Run int }

func (Sought) request()           {}
func (FollowEnded) request()      {}
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
