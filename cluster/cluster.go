package cluster

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// NodeID is the number N of a backend_hostnameN group. -1 stands for "none".
type NodeID int

// NoNode is the NodeID that names nobody.
const NoNode NodeID = -1

// MaxNodes bounds NodeID: backend numbers run from 0 to 127 (manual: backend_hostname).
const MaxNodes = 128

// Status is what has been decided about a node. Its text is the `status` column of SHOW pool_nodes.
type Status uint8

// The states of a node, as SHOW pool_nodes prints them.
const (
	StatusUnused     Status = iota // no backend_portN, or the status file says so
	StatusWaiting                  // up, but no client has used it so far
	StatusUp                       // up
	StatusDown                     // detached
	StatusQuarantine               // detached without the cluster's consent
)

var statusNames = [...]string{"unused", "waiting", "up", "down", "quarantine"}

func (s Status) String() string { return statusNames[s] }

// Live reports whether statements may be sent to a node in this state.
func (s Status) Live() bool { return s == StatusWaiting || s == StatusUp }

// Role of a node. Main and Replica are the words of the modes without a primary.
type Role uint8

// Roles, as SHOW pool_nodes prints them.
const (
	RoleUnknown Role = iota
	RolePrimary
	RoleStandby
	RoleMain
	RoleReplica
)

var roleNames = [...]string{"unknown", "primary", "standby", "main", "replica"}

func (r Role) String() string { return roleNames[r] }

// Mode is backend_clustering_mode.
type Mode uint8

// Modes. Their order is that of the integers SHOW pool_status prints (4.7: streaming is 1).
const (
	ModeStreaming Mode = iota + 1
	ModeNativeReplication
	ModeLogical
	ModeRaw
	ModeSnapshotIsolation
)

var modeNames = [...]string{"", "streaming_replication", "native_replication", "logical_replication", "raw", "snapshot_isolation"}

func (m Mode) String() string { return modeNames[m] }

// HasPrimary reports whether the mode distinguishes a primary from standbys (the "SL" family).
func (m Mode) HasPrimary() bool { return m == ModeStreaming || m == ModeLogical }

// LSN is a position in the write-ahead log, in bytes.
type LSN uint64

// ParseLSN reads PostgreSQL's text form, two hexadecimal numbers with a slash: 16/B374D848.
func ParseLSN(s string) (LSN, error) {
	hi, lo, ok := strings.Cut(s, "/")
	if !ok {
		return 0, fmt.Errorf("cluster: invalid LSN %q", s)
	}
	h, err := strconv.ParseUint(hi, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("cluster: invalid LSN %q: %w", s, err)
	}
	l, err := strconv.ParseUint(lo, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("cluster: invalid LSN %q: %w", s, err)
	}
	return LSN(h<<32 | l), nil
}

func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint64(l)>>32, uint32(l)) }

// Timeline is a server's timeline: it rises with each promotion. 0 is unknown.
type Timeline uint32

// Generation counts the Views published; it only rises.
type Generation uint64

// Epoch of a node rises whenever it is condemned, promoted or demoted. A statement never runs on a connection that
// was opened under an older epoch of its node.
type Epoch uint64

// Node is one backend as decided. It is a value: copy it, never share a pointer into a View.
type Node struct {
	ID               NodeID
	Host             string // as configured; a leading '/' is a socket directory
	Port             int
	Weight           float64 // as configured, not normalized
	DataDirectory    string
	ApplicationName  string
	DisallowFailover bool
	AlwaysPrimary    bool
	Status           Status
	Role             Role
	// Agent is host:port of the server's agent, "" for none.
	Agent string
	// Detached: an administrator took it out, and it stays out until he takes it in again.
	Detached bool
	// Unfit: it must not be promoted, because it lacks what was acknowledged (sync_standby_guard).
	Unfit bool
	// Stray: no primary is known, and the node says it is one but was not taken, because it holds other data. It takes no writes.
	Stray bool
	Epoch Epoch
	// Fenced is the epoch below which connections are cut at once, even in the middle of a statement: it rises when the node is
	// condemned. Connections from Fenced up to below Epoch may finish what runs on them (the node was promoted meanwhile).
	Fenced           Epoch
	LastStatusChange time.Time
}

// Operation is what failover is carrying out; requests of administrators that collide with it are refused meanwhile.
type Operation uint8

// Operations.
const (
	OpNone Operation = iota
	OpFailover
	OpFailback
	OpPromote
	OpSwitchover // planned, without scripts
)

var operationNames = [...]string{"none", "failover", "failback", "promote node operation", "switchover"}

func (o Operation) String() string { return operationNames[o] }

// View is what has been decided about the cluster. It is immutable: whoever changes something publishes a new one.
type View struct {
	Generation Generation
	Mode       Mode
	Nodes      []Node // index = NodeID, gaps are StatusUnused
	Primary    NodeID // NoNode where none is known or the mode has none

	Op Operation // what is being carried out now
	// Seeking: the primary was condemned and its successor is being looked for, or a node that was attached where none is known is asked
	// whether it is one. Nothing may be written meanwhile; what needs the primary waits for the next View.
	Seeking bool
	// Following: follow_primary_command is running. The check for false primaries rests and nobody searches for a primary.
	Following bool
	// Draining: a planned switchover is about to begin. Statements that begin a transaction at the primary wait; those that run, and
	// transactions that are open, go on.
	Draining bool
	// Switchover is the last planned switchover; nil: there was none.
	Switchover *Switchover
	// Crossing is the last change of the primary that was carried out without scripts; nil: none was.
	Crossing *Crossing
}

// Main returns the lowest-numbered live node, NoNode if none is.
func (v *View) Main() NodeID {
	for i := range v.Nodes {
		if v.Nodes[i].Status.Live() {
			return NodeID(i)
		}
	}
	return NoNode
}

// Writer returns the node that takes writes: the primary or, where no live primary is known, the lowest-numbered live node that is no
// stray. While the primary is sought nobody does.
func (v *View) Writer() NodeID {
	if v.Seeking {
		return NoNode
	}
	if v.Mode.HasPrimary() && v.Live(v.Primary) {
		return v.Primary
	}
	for i := range v.Nodes {
		if v.Nodes[i].Status.Live() && !v.Nodes[i].Stray {
			return NodeID(i)
		}
	}
	return NoNode
}

// Live reports whether id names a node that may be used.
func (v *View) Live(id NodeID) bool {
	return id >= 0 && int(id) < len(v.Nodes) && v.Nodes[id].Status.Live()
}

// TotalWeight is the sum of the configured weights of all nodes in use, the divisor of lb_weight.
func (v *View) TotalWeight() float64 {
	sum := 0.0
	for i := range v.Nodes {
		if v.Nodes[i].Status != StatusUnused {
			sum += v.Nodes[i].Weight
		}
	}
	return sum
}

// NodeGauge is what has been measured on one node.
type NodeGauge struct {
	Lag              LSN           // bytes behind the primary; 0 for the primary itself and where unknown
	LagTime          time.Duration // replay_lag, where delay_threshold_by_time is used
	HasLagTime       bool
	ReplicationState string // pg_stat_replication.state, empty if unknown
	SyncState        string
	Reachable        bool // last probe got an answer
	Probed           bool // there was a probe
	Measured         time.Time
	HealthCheck      HealthStats
}

// HealthStats are the columns of SHOW pool_health_check_stats.
type HealthStats struct {
	Total, Success, Fail, Skip, Retry        uint64
	MaxRetry                                 uint64
	MaxDuration, MinDuration, TotalDuration  time.Duration
	Last, LastSuccess, LastSkip, LastFailure time.Time
}

// Gauges is an immutable snapshot of the measurements, index = NodeID. It may be shorter than View.Nodes.
type Gauges struct {
	Nodes   []NodeGauge
	Primary PrimaryGauge
}

// PrimaryGauge is what the primary said last. It outlives the primary: it is what a failover knows of it.
type PrimaryGauge struct {
	Node     NodeID // whom it is about; of no worth where Measured is zero
	LSN      LSN    // where it wrote
	Sync     string // its synchronous_standby_names
	Timeline Timeline
	Measured time.Time // zero: nothing is known
}

// Of returns the measurements of a node, the zero value where there are none.
func (g *Gauges) Of(id NodeID) NodeGauge {
	if g == nil || id < 0 || int(id) >= len(g.Nodes) {
		return NodeGauge{}
	}
	return g.Nodes[id]
}
