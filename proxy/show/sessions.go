package show

import (
	"strconv"
	"time"

	"gopgpool/cluster"
)

// State of a worker in the status column of pool_processes and pool_pools. A worker is a place for one client session.
type State uint8

// The states. Their texts are Pgpool-II's.
const (
	StateWait       State = iota // no client
	StateConnecting              // authentication, first connection to a server
	StateIdle
	StateIdleInTransaction
	StateExecute // a statement runs
)

func (s State) String() string {
	switch s {
	case StateWait:
		return "Wait for connection"
	case StateConnecting:
		return "Connecting"
	case StateIdle:
		return "Idle"
	case StateIdleInTransaction:
		return "Idle in transaction"
	case StateExecute:
		return "Execute command"
	default:
		panic("show: no such worker state: " + strconv.Itoa(int(s)))
	}
}

// Process is one worker: the place that serves one client at a time. Where Pgpool-II has an operating system process,
// PID is a number that stays the worker's own.
type Process struct {
	PID   int64
	Start time.Time
	// Clients is the number of clients the worker has finished with.
	Clients uint64
	// Connected tells that a client is connected: without one the four next fields are not shown in pool_processes.
	Connected        bool
	Database, User   string
	BackendConnected time.Time // when the connection of the client's pool slot was opened
	PoolCounter      uint64    // how many clients that connection has served
	State            State
	// RestartIn is the time left before child_life_time ends an idle worker that has served someone; negative where that
	// parameter is off or not counting.
	RestartIn time.Duration
}

// start words start_time with the end of the worker's life where one is coming.
func (p *Process) start() string {
	s := clock(p.Start)
	if p.RestartIn >= 0 && !p.Connected && p.Clients > 0 {
		s += " (" + countdown(p.RestartIn) + " before process restarting)"
	}
	return s
}

// PoolProcesses answers SHOW pool_processes, one row for each worker.
func PoolProcesses(workers []Process) Result {
	columns := []string{
		"pool_pid", "start_time", "client_connection_count", "database", "username", "backend_connection_time",
		"pool_counter", "status",
	}
	rows := make([][]string, len(workers))
	for i := range workers {
		p := &workers[i]
		row := []string{strconv.FormatInt(p.PID, 10), p.start(), number(p.Clients), "", "", "", "", p.State.String()}
		if p.Connected {
			row[3], row[4], row[5], row[6] = p.Database, p.User, clock(p.BackendConnected), number(p.PoolCounter)
		}
		rows[i] = row
	}
	return table(columns, rows)
}

// Slot is one worker's pool slot on one node: a row of pool_pools. Of an unused slot only the numbers that name it, the
// worker's fields and Statement are set.
type Slot struct {
	Process *Process // shared by all slots of the worker, never nil
	PoolID  int
	Node    cluster.NodeID

	Database, User      string
	BackendConnected    time.Time
	ClientConnected     time.Time
	ClientDisconnected  time.Time
	IdleFor             time.Duration // how long the connected client has sent nothing, else 0
	Major, Minor        int           // protocol version of the client's startup packet
	PoolCounter         uint64
	BackendPID          int64
	InUse               bool // the slot's client is connected: pool_connected, and it may be disconnected for idling
	LoadBalanceNode     bool
	ClientHost          string
	ClientPort          string
	Statement           string        // the last one sent to that node
	ClientDisconnectsIn time.Duration // time left of client_idle_limit; negative where it is off
}

func (s *Slot) idle() string {
	text := strconv.FormatInt(int64(max(s.IdleFor, 0)/time.Second), 10)
	if s.InUse && s.ClientDisconnectsIn >= 0 {
		text += " (" + countdown(s.ClientDisconnectsIn) + " before client disconnected)"
	}
	return text
}

// PoolPools answers SHOW pool_pools: a row for each worker, slot and node, in that order as given.
func PoolPools(slots []Slot) Result {
	columns := []string{
		"pool_pid", "start_time", "client_connection_count", "pool_id", "backend_id", "database", "username",
		"backend_connection_time", "client_connection_time", "client_disconnection_time", "client_idle_duration",
		"majorversion", "minorversion", "pool_counter", "pool_backendpid", "pool_connected", "status",
		"load_balance_node", "client_host", "client_port", "statement",
	}
	rows := make([][]string, len(slots))
	for i := range slots {
		s := &slots[i]
		rows[i] = []string{
			strconv.FormatInt(s.Process.PID, 10), s.Process.start(), number(s.Process.Clients),
			strconv.Itoa(s.PoolID), strconv.Itoa(int(s.Node)), s.Database, s.User,
			clock(s.BackendConnected), clock(s.ClientConnected), clock(s.ClientDisconnected), s.idle(),
			strconv.Itoa(s.Major), strconv.Itoa(s.Minor), number(s.PoolCounter), strconv.FormatInt(s.BackendPID, 10),
			oneOrZero(s.InUse), s.Process.State.String(), oneOrZero(s.LoadBalanceNode), s.ClientHost, s.ClientPort, s.Statement,
		}
	}
	return table(columns, rows)
}
