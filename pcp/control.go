package pcp

import (
	"context"

	"gopgpool/cluster"
)

// Error is a request that is answered with an E packet.
type Error struct {
	Fatal           bool // the server closes the connection behind it
	Message, Detail string
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return e.Message
	}
	return e.Message + ": " + e.Detail
}

// StopMode is how the server is stopped.
type StopMode byte

// Stop modes, as they stand in a packet.
const (
	StopSmart     StopMode = 's'
	StopFast      StopMode = 'f'
	StopImmediate StopMode = 'i'
)

// ClusterCommand is what all nodes can be told to do; its text is the manual's name for it.
type ClusterCommand string

// Commands for all nodes. Only the first has a mode.
const (
	ClusterStop      ClusterCommand = "SHUTDOWN_CLUSTER"
	ClusterReload    ClusterCommand = "RELOAD_CONFIG_CLUSTER"
	ClusterRotateLog ClusterCommand = "LOGROTATE_CLUSTER"
)

// Control is what the server has the rest of the daemon do and tell. Its methods may be called from several goroutines; they return
// when the work is done, or with the cause of the context. Their errors are of type *Error where the client is to see them as they
// are; any other becomes an ERROR with its text.
//
// A context ends when the daemon stops; that of Quiesce and of what only tells something ends when the client hangs up, too.
type Control interface {
	// Attach, and Detach and Promote without settled, return when the request is queued; with settled when it is carried out.
	Attach(ctx context.Context, id cluster.NodeID) error
	Detach(ctx context.Context, id cluster.NodeID, settled bool) error
	// A switchover without scripts is told of with progress, on the caller's goroutine, and Promote returns when it is over.
	Promote(ctx context.Context, id cluster.NodeID, switchover, settled bool, progress func(text string)) error
	// CheckDetach and CheckPromote tell whether that would be refused now.
	CheckDetach(id cluster.NodeID) error
	CheckPromote(id cluster.NodeID, switchover bool) error
	// Quiesce keeps new clients waiting and returns when none is connected, or after recovery_timeout with an error. In either case
	// resume lets them in again.
	Quiesce(ctx context.Context) (resume func(), err error)
	// Recover returns when the node is attached again.
	Recover(ctx context.Context, id cluster.NodeID) error
	// Elsewhere has all other pgpool nodes of the watchdog cluster do something (scope cluster) and returns when they have said that they
	// will. After an error nothing is done here. Without a watchdog the whole cluster is this server.
	Elsewhere(ctx context.Context, c ClusterCommand, mode StopMode) error
	Stop(mode StopMode) error // returns before the stop begins; called once the client has its answer
	Reload() error
	RotateLog() error
	InvalidateQueryCache() error

	// Cluster is what is decided and measured now.
	Cluster() (*cluster.View, *cluster.Gauges)
	// Probe asks a server, or all with NoNode, for status and role, index = NodeID: "up", "down", "unknown"; "primary", "standby",
	// "main", "replica", "unknown". Nodes that were not asked, and those behind the end, are unknown.
	Probe(ctx context.Context, id cluster.NodeID) []NodeProbe
	// HealthCheckStats are the rows of SHOW pool_health_check_stats, index = NodeID.
	HealthCheckStats() [][]string
	// Processes are the worker numbers.
	Processes(ctx context.Context) []int
	// Pools are the rows of pcp_proc_info: one for each worker, pool slot and node.
	Pools(ctx context.Context) []Pool
	// PoolStatus is the content of SHOW pool_status.
	PoolStatus(ctx context.Context) []Parameter
	// Watchdog is the answer of pcp_watchdog_info, a JSON document on one line: of the pgpool with that pgpool_node_id, or with -1 of all.
	Watchdog(id int) (json string, err error)
}

// NodeProbe is what a server said of itself.
type NodeProbe struct{ Status, Role string }

// Parameter is a row of SHOW pool_status.
type Parameter struct{ Name, Value, Description string }

// Pool is a row of pcp_proc_info, its fields as they are sent (manual: pcp_proc_info; layout of 4.7).
type Pool struct {
	PID    int
	Fields []string // 2 to 21
}
