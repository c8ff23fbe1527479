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

// Control is what the server has the rest of the daemon do and tell. Its methods may be called from several goroutines; they return
// when the work is done, or with the cause of the context. Their errors are of type *Error where the client is to see them as they
// are; any other becomes an ERROR with its text.
type Control interface {
	Attach(ctx context.Context, id cluster.NodeID) error
	Detach(ctx context.Context, id cluster.NodeID, gracefully bool) error
	Promote(ctx context.Context, id cluster.NodeID, switchover, gracefully bool) error
	Recover(ctx context.Context, id cluster.NodeID) error
	Stop(mode StopMode) error // returns before the stop begins
	Reload() error
	RotateLog() error
	InvalidateQueryCache() error

	// Cluster is what is decided and measured now.
	Cluster() (*cluster.View, *cluster.Gauges)
	// Probe asks the servers for status and role, index = NodeID: "up", "down", "unknown"; "primary", "standby", "main",
	// "replica", "unknown".
	Probe(ctx context.Context) []NodeProbe
	// Processes are the worker numbers.
	Processes(ctx context.Context) []int
	// Pools are the rows of pcp_proc_info: one for each worker, pool slot and node.
	Pools(ctx context.Context) []Pool
	// PoolStatus is the content of SHOW pool_status.
	PoolStatus(ctx context.Context) []Parameter
	// Watchdog is the answer of pcp_watchdog_info: -1 all nodes, 0 the local one, n the remote node n-1.
	Watchdog(id int) (json string, err error)
}

// NodeProbe is what a server said of itself.
type NodeProbe struct{ Status, Role string }

// Parameter is a row of SHOW pool_status.
type Parameter struct{ Name, Value, Description string }

// Pool is a row of pcp_proc_info, its fields as they are sent (specification: process info, layout of 4.7).
type Pool struct {
	PID    int
	Fields []string // 2 to 21
}
