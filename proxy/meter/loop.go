package meter

import (
	"maps"
	"time"

	"gopgpool/cluster"
)

// Class is what kind of statement was answered.
type Class uint8

// Classes of statements.
const (
	Read        Class = iota // reads, by all that is known of it
	Write                    // may write: DML, DDL, functions that may
	Transaction              // begins, ends or divides a transaction
	Other                    // settings, cursors, maintenance
	Classes                  // how many there are
)

func (c Class) String() string { return [...]string{"read", "write", "transaction", "other"}[c] }

// Outcome is what became of a COMMIT whose server was lost before it answered.
type Outcome uint8

// Outcomes of a COMMIT under way.
const (
	Committed  Outcome = iota // the client was told that it took effect
	RolledBack                // ... that it did not
	Unknown                   // ... that nobody knows
	Outcomes                  // how many there are
)

func (o Outcome) String() string { return [...]string{"committed", "rolled_back", "unknown"}[o] }

// Login is how a login ended.
type Login uint8

// Ends of logins.
const (
	LoginOK        Login = iota
	LoginFailed          // the client was refused
	LoginAbandoned       // the client went away, as programs do that find they need a password
	Logins               // how many there are
)

func (l Login) String() string { return [...]string{"ok", "failed", "abandoned"}[l] }

// Codes is how many codes of reasons are told apart, larger ones count as 0; Bits is how many bits of pins.
const (
	Codes = 64
	Bits  = 16
)

// Loop are the counters of one event loop. Only code on that loop may touch it; the zero value has counted nothing.
type Loop struct {
	Nodes  [cluster.MaxNodes]*Node // nil: nothing was sent there
	Pins   [Bits]uint64            // sessions that came to keep a connection, by bit
	Logins [Logins]uint64
	Errors map[string]uint64 // of ours to clients, by class of SQLSTATE
	Holds  Holds
	Reruns uint64 // reads run again elsewhere
	Ends   [Outcomes]uint64
}

// Node are the counters of one node.
type Node struct {
	Queries [Classes]Histogram
	Routes  [Codes]uint64     // statements sent there, by code of the reason
	Errors  map[string]uint64 // of the server, by class of SQLSTATE
}

// Holds are statements that waited for a node which can run them.
type Holds struct {
	Began   uint64 // held
	Refused uint64 // not held, for a bound was reached
	Expired uint64 // refused after the wait
	Waited  Histogram
}

func (l *Loop) node(id cluster.NodeID) *Node {
	n := l.Nodes[id]
	if n == nil {
		n = &Node{}
		l.Nodes[id] = n
	}
	return n
}

// Answered counts a statement that a node has answered completely, and how long that took.
func (l *Loop) Answered(id cluster.NodeID, c Class, d time.Duration) {
	l.node(id).Queries[c].Observe(d)
}

// Routed counts a statement that goes to a node, by the code of the reason.
func (l *Loop) Routed(id cluster.NodeID, code uint8) {
	if code >= Codes {
		code = 0
	}
	l.node(id).Routes[code]++
}

// ServerError counts an error of a node's server.
func (l *Loop) ServerError(id cluster.NodeID, sqlstate string) {
	n := l.node(id)
	countClass(&n.Errors, sqlstate)
}

// Error counts an error of ours to a client.
func (l *Loop) Error(sqlstate string) { countClass(&l.Errors, sqlstate) }

// Pinned counts a session that has come to keep its server connection, for each bit of why.
func (l *Loop) Pinned(why uint32) {
	for i := range l.Pins {
		if why&(1<<i) != 0 {
			l.Pins[i]++
		}
	}
}

// classes by which errors are told apart: those of SQLSTATE are two letters or digits. There may be at most 36*36 of them.
func countClass(m *map[string]uint64, sqlstate string) {
	class := "other"
	if len(sqlstate) == 5 && upper(sqlstate[0]) && upper(sqlstate[1]) {
		class = sqlstate[:2]
	}
	if *m == nil {
		*m = make(map[string]uint64)
	}
	(*m)[class]++
}

func upper(c byte) bool { return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' }

// Clone is a copy that shares nothing.
func (l *Loop) Clone() *Loop {
	out := &Loop{}
	out.Add(l)
	return out
}

// Add adds the counts of another one.
func (l *Loop) Add(o *Loop) {
	for id, n := range o.Nodes {
		if n != nil {
			l.node(cluster.NodeID(id)).add(n)
		}
	}
	for i := range l.Pins {
		l.Pins[i] += o.Pins[i]
	}
	for i := range l.Logins {
		l.Logins[i] += o.Logins[i]
	}
	for i := range l.Ends {
		l.Ends[i] += o.Ends[i]
	}
	l.Errors = added(l.Errors, o.Errors)
	l.Holds.Began += o.Holds.Began
	l.Holds.Refused += o.Holds.Refused
	l.Holds.Expired += o.Holds.Expired
	l.Holds.Waited.add(&o.Holds.Waited)
	l.Reruns += o.Reruns
}

func (n *Node) add(o *Node) {
	for i := range n.Queries {
		n.Queries[i].add(&o.Queries[i])
	}
	for i := range n.Routes {
		n.Routes[i] += o.Routes[i]
	}
	n.Errors = added(n.Errors, o.Errors)
}

// added adds what to into.
func added(into, what map[string]uint64) map[string]uint64 {
	if into == nil && what != nil {
		return maps.Clone(what)
	}
	for k, n := range what {
		into[k] += n
	}
	return into
}
