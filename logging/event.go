package logging

import (
	"io"
	"sync/atomic"
)

// NodeRef names a node in an Event. The zero value names none, so events that concern no node need not say so.
type NodeRef int

// OnNode refers to the backend node with the given id; a negative id to none.
func OnNode[T ~int | ~int8 | ~int16 | ~int32 | ~int64](id T) NodeRef {
	if id < 0 {
		return 0
	}
	return NodeRef(id) + 1
}

// ID is the node's number, or -1.
func (n NodeRef) ID() int { return int(n) - 1 }

// Event is one thing worth a line in the log. Only Severity and Message are required (no severity means LOG). Message to
// Context appear in text and JSON; the fields below are the fixed fields of log_format = json.
type Event struct {
	Severity Severity
	Message  string
	Detail   string
	Hint     string
	Query    string
	Context  string

	SQLState string
	Node     NodeRef
	Gen      uint64 // generation of the cluster view; 0 is none
	DB       string // DB, User and Client default to those of the origin
	User     string
	Client   string // host and port of the client
	Reason   string // the typed reason of a decision, as text
}

// Origin says who speaks: a session or a part of the daemon. It must not be copied. Its owner alone may change the fields,
// and only while nobody else logs with it. Empty names print as [unknown] (%a) and [No Connection] (%d, %u).
type Origin struct {
	App         string // %a: application_name of the client, or the name of the part
	ProcessName string // %P
	PID         int    // %p: a stable number of the session, or the process id
	DB          string // %d
	User        string // %u
	Client      string // host and port of the client, for JSON

	lines atomic.Uint64 // %l
}

// Logger is a cheap value through which a part or a session logs. The zero Logger discards everything. It may be used
// from any goroutine, within the rule of its Origin. A call of Log never waits for a slow destination while Output.Run
// runs; PANIC alone waits, bounded, until it is written.
type Logger struct {
	out       *Output
	origin    *Origin
	min       int32 // rank of the session's log_min_messages, 0: the common one
	verbosity int8  // the session's log_error_verbosity + 1, 0: the common one
}

// With returns a Logger that speaks for origin.
func (l Logger) With(origin *Origin) Logger {
	l.origin = origin
	return l
}

// WithLevel returns a Logger with its own log_min_messages (PGPOOL SET); 0 returns to the common one.
func (l Logger) WithLevel(minimum Severity) Logger {
	l.min = 0
	if minimum != 0 {
		l.min = minimum.rank()
	}
	return l
}

// WithVerbosity returns a Logger with its own log_error_verbosity (PGPOOL SET); a negative one returns to the common one.
func (l Logger) WithVerbosity(v Verbosity) Logger {
	l.verbosity = max(int8(v)+1, 0)
	return l
}

// Origin returns who speaks through l; nil for the main process.
func (l Logger) Origin() *Origin { return l.origin }

// Enabled reports whether an event of severity s would reach the log: one atomic load.
func (l Logger) Enabled(s Severity) bool {
	if l.out == nil {
		return false
	}
	if l.min != 0 {
		return s.rank() >= l.min
	}
	return s.rank() >= l.out.min.Load()
}

// Log writes e, if its severity is enabled.
func (l Logger) Log(e Event) {
	if !l.Enabled(e.Severity) {
		return
	}
	if e.Severity == 0 {
		e.Severity = Log
	}
	l.out.log(l, e)
}

// LineWriter returns a writer for the output of a command (failover_command and the like), to be closed after the command
// ended. What is written goes line by line to where standard error goes, without a prefix; with log_format = json each line
// becomes an event.
func (l Logger) LineWriter() io.WriteCloser { return &lineWriter{log: l} }
