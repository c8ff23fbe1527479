package cluster

import (
	"errors"
	"time"
)

// Errors of those who act on servers.
var (
	// ErrEnded is a server that ended while it was starting.
	ErrEnded = errors.New("the server ended while it was starting")
	// ErrNeedsAgent is something that SQL cannot do, on a host without an agent.
	ErrNeedsAgent = errors.New("needs an agent")
	// ErrOldTerm is an order that an agent refuses: somebody else has taken office since.
	ErrOldTerm = errors.New("the agent obeys a newer term")
	// ErrCannotRewind is a server that only a base backup makes a standby of the other one again.
	ErrCannotRewind = errors.New("the server cannot be rewound")
	// ErrBusy is an order that found another action at work on the server's host.
	ErrBusy = errors.New("another action is under way on the server")
)

// Term orders those who may act on servers: it rises with each office (the leader of a watchdog cluster) and each start of a pgpool that
// decides alone. Whoever acts on a server refuses what comes with a lower Term than it has obeyed before.
type Term uint64

// XID is a transaction id that does not wrap around (PostgreSQL's xid8).
type XID uint64

// ServerState is what a server says of itself by SQL when a new primary is chosen or replication is put in order. Fields that a server
// cannot tell in its present role are zero.
type ServerState struct {
	Node NodeID
	Err  error // it did not answer, or not all; nil: the rest is true; else what it told last counts of SystemID and,
	// where it was a primary then, Timeline; 0 where it never did

	InRecovery bool
	SystemID   uint64 // system identifier: servers with another one are of another cluster
	// Timeline is the newest timeline of which it has WAL.
	Timeline Timeline
	// Received is the end of the WAL that it has and can replay: received and flushed, or replayed if that is more; of a primary, the
	// end of the WAL written.
	Received, Replayed LSN
	ReplayPaused       bool
	// Unread: a standby that was started again and has not read all of the WAL on its disk so far. Received is less than it has.
	Unread bool
	// Streaming: its WAL receiver streams, from UpstreamHost and UpstreamPort as primary_conninfo has them.
	Streaming    bool
	UpstreamHost string
	UpstreamPort int
	// ConnInfo and SlotName are primary_conninfo and primary_slot_name in force. ConnInfo may hold a password: it is never logged.
	ConnInfo, SlotName string
	// ApplicationName is the name by which it streams, as synchronous_standby_names of its primary knows it.
	ApplicationName string
	// SyncNames is its own setting of synchronous_standby_names.
	SyncNames string
	// NextXID is the upper end of a snapshot taken there (pg_snapshot_xmax): no transaction with this id or a later one has ended.
	NextXID XID
}

// Bounds is what is known of transaction ids at the moment a standby left recovery.
//
// Of the lost primary's transactions the new primary knows the outcome for certain where the id is below Before. From After on nobody had
// used an id when it took its first writes: such a transaction did not commit. In between nothing is known.
// Both zero: nothing is known at all.
type Bounds struct{ Before, After XID }

// Crossing is the last change of the primary, for sessions that had a COMMIT under way at the old one. It is never changed.
type Crossing struct {
	From      NodeID
	FromEpoch Epoch // the old primary's epoch that condemned it: connections of a lower one belong to its reign
	To        NodeID
	ToEpoch   Epoch // the new primary's epoch in its reign
	Bounds    Bounds
	// GivenUp is who was told to be the new primary before To, and was lost: it may have begun a timeline of its own, and nothing was
	// written to it through pgpool. NoNode: nobody was.
	GivenUp NodeID
}

// Source is the server that another one streams from or is rebuilt from.
type Source struct {
	Host string // a leading '/' is a socket directory
	Port int
	User string // who streams; empty leaves what the server has
	// Password may be empty: then the server's own .pgpass or pg_hba.conf must do. It is never logged.
	Password string
	// Login is how others log in there, as words of a connection string, for what the server's own connection does not say. User and
	// Password go before. It may hold a password: it is never logged.
	Login           string `json:",omitempty"`
	Database        string // for pg_rewind
	SlotName        string // primary_slot_name; empty: none
	ApplicationName string // empty leaves what the server has
	Timeline        Timeline
}

// StopMode is how a server is stopped (pg_ctl stop -m).
type StopMode uint8

// Stop modes. StopNow is immediate, and kills what is left of a server that does not end, frozen or orphaned processes included.
const (
	StopFast StopMode = iota
	StopNow
)

// Control is what pg_controldata and the process table say of a server on its own host.
type Control struct {
	Running bool
	PID     int
	// Orphans: server processes are at work whose postmaster is gone.
	Orphans bool
	// State is the cluster state of pg_controldata, such as "shut down" or "in production"; empty: there is no data directory.
	State      string
	SystemID   uint64
	Timeline   Timeline
	Checkpoint LSN // of the latest checkpoint; where the server was shut down cleanly: the end of its WAL
	// Standby: standby.signal is there.
	Standby bool
	// Starting: it runs and does not accept connections yet. Says is then the last line of its log that tells why; it may be empty.
	Starting bool   `json:",omitempty"`
	Says     string `json:",omitempty"`
	// Broken: a rewind or base backup was begun there and has not ended, so the server must not be started.
	Broken bool
	Since  time.Time // when this was found out
}

// Need tells that somebody is needed at a server's host: something is left undone because nobody is there (ErrNeedsAgent), or the agent there
// does not answer, or does not obey.
type Need struct {
	ToDo   string // "stop", "start", or a remedy of replication; "" where nobody can tell without a look at the server's files
	Found  string // what is wrong with the server; it holds no password
	Reason string // why nobody is at its host, or does not obey
	Since  time.Time
}

// Needs is an immutable snapshot of all there are; nil: this pgpool does not act on the servers, so it does not know.
type Needs map[NodeID]Need

// SwitchoverPhase is how far a planned switchover has come.
type SwitchoverPhase uint8

// Phases, in their order. The last two are its end.
const (
	SwitchoverDraining  SwitchoverPhase = iota + 1 // transactions at the old primary may end
	SwitchoverStopping                             // nothing is sent any more, the old primary is being stopped
	SwitchoverPromoting                            // the new one is being promoted
	SwitchoverDone
	SwitchoverFailed
)

// Switchover is the last planned switchover. It is never changed.
type Switchover struct {
	Run   int // rises with each
	To    NodeID
	Phase SwitchoverPhase
	Why   string // of SwitchoverFailed
}
