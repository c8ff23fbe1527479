package show

import (
	"strconv"
	"strings"
	"time"

	"gopgpool/cluster"
)

// Session is one client session, a row of pool_sessions.
type Session struct {
	PID            int64 // that of pool_processes: the number PGPOOL KILL takes
	Database, User string
	ClientHost     string
	ClientPort     string // "" for a unix socket
	Mode           string // pool_mode
	State          SessionState
	Pin            string // why the session keeps its server connection between transactions; "" where it need not
	Nodes          []cluster.NodeID
	Since          time.Time // when the state began
}

// SessionState is what a session is doing.
type SessionState uint8

// The states of a session.
const (
	SessionLogin             SessionState = iota // not logged in so far
	SessionIdle                                  // outside a transaction, the client's turn
	SessionIdleInTransaction                     // in a transaction, the client's turn
	SessionActive                                // a statement runs
	SessionWaiting                               // for a free server connection
	SessionHeld                                  // for a node that can run its statement
	SessionPaused                                // for PGPOOL RESUME
)

func (s SessionState) String() string {
	return [...]string{"login", "idle", "idle in transaction", "active", "waiting", "held", "paused"}[s]
}

// PoolSessions answers SHOW pool_sessions, an addition of ours: one row for each client session.
func PoolSessions(sessions []Session) Result {
	columns := []string{"pid", "database", "username", "client", "mode", "state", "pin", "nodes", "since"}
	rows := make([][]string, len(sessions))
	for i := range sessions {
		s := &sessions[i]
		client := s.ClientHost
		if s.ClientPort != "" {
			client += ":" + s.ClientPort
		}
		nodes := make([]string, len(s.Nodes))
		for j, n := range s.Nodes {
			nodes[j] = strconv.Itoa(int(n))
		}
		rows[i] = []string{
			strconv.FormatInt(s.PID, 10), s.Database, s.User, client, s.Mode, s.State.String(), s.Pin, strings.Join(nodes, ","), clock(s.Since),
		}
	}
	return table(columns, rows)
}

// Queue is the pool of one database and user on one node, a row of pool_queues.
type Queue struct {
	Database, User string
	Mode           string // pool_mode
	Node           cluster.NodeID
	ClientsActive  int           // sessions of the database and user, on whichever node, that wait for nothing
	ClientsWaiting int           // sessions that wait for a connection to this node
	ClientsPaused  int           // sessions of the database and user with a statement that waits for PGPOOL RESUME
	ServersActive  int           // connections in use
	ServersIdle    int           // connections that are free
	ServersLogin   int           // connections being opened
	MaxWait        time.Duration // how long the first of those who wait has
	Size           int           // most connections; 0 sets no bound
	Paused         bool
}

// PoolQueues answers SHOW pool_queues: what PgBouncer's console tells of its pools, for each node.
func PoolQueues(queues []Queue) Result {
	columns := []string{
		"database", "user", "pool_mode", "node_id", "cl_active", "cl_waiting", "cl_paused", "sv_active", "sv_idle", "sv_login",
		"maxwait", "maxwait_us", "pool_size", "paused",
	}
	rows := make([][]string, len(queues))
	for i := range queues {
		q := &queues[i]
		wait := max(q.MaxWait, 0)
		rows[i] = []string{
			q.Database, q.User, q.Mode, strconv.Itoa(int(q.Node)), strconv.Itoa(q.ClientsActive), strconv.Itoa(q.ClientsWaiting),
			strconv.Itoa(q.ClientsPaused), strconv.Itoa(q.ServersActive), strconv.Itoa(q.ServersIdle), strconv.Itoa(q.ServersLogin),
			strconv.FormatInt(int64(wait/time.Second), 10), strconv.FormatInt(int64(wait%time.Second/time.Microsecond), 10),
			strconv.Itoa(q.Size), oneOrZero(q.Paused),
		}
	}
	return table(columns, rows)
}
