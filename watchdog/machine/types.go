package machine

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// Config is what a machine is built with. All nodes must agree on it but for Self and Priority.
type Config struct {
	Self     int
	Nodes    []Node // configured, index = pgpool_node_id; gaps have WdPort 0
	Name     string // host:port and system of this node, as shown everywhere
	Priority int    // wd_priority
	VIP      bool   // there is an address to hold
	// Lease is wd_lease_time: how long a leader may hold the address without hearing from a quorum. The election timeout is a third
	// of it, a heartbeat a tenth.
	Lease time.Duration
	// Loading is how long a node that meets nobody waits for the others before it goes on alone.
	Loading time.Duration

	HalfVotes          bool          // enable_consensus_with_half_votes
	RemoveShutdown     bool          // wd_remove_shutdown_nodes
	LostRemoval        time.Duration // wd_lost_node_removal_timeout, 0: never
	NoShowRemoval      time.Duration // wd_no_show_node_removal_timeout, 0: never
	FailoverWhenQuorum bool          // failover_when_quorum_exists
	RequireConsensus   bool          // failover_require_consensus
	AllowMultiple      bool          // allow_multiple_failover_requests_from_node
	VoteExpiry         time.Duration // how long a vote that waits for others counts
	AsksTrusted        bool          // trusted_servers are configured: half of the nodes goes on only when they answer
	External           bool          // wd_lifecheck_method = external, or no life check: a node that cannot be reached long enough counts as dead
	Fresh              bool          // started with -D: at a cold start of the cluster what was decided before is forgotten
	Random             func() uint64 // incarnations and cluster ids
}

// Node is a configured pgpool node.
type Node struct {
	Host               string
	WdPort, PgpoolPort int
}

// Exists reports whether the node is configured.
func (n Node) Exists() bool { return n.WdPort != 0 }

// Image is what a disk has kept. The zero value is an empty disk.
type Image struct {
	Meta      []byte
	HardState *raftpb.HardState
	Snapshot  *raftpb.Snapshot
	Entries   []*raftpb.Entry
}

// Save is what must be on disk before anything that follows from it leaves the node.
type Save struct {
	Meta      []byte            // nil: unchanged
	HardState *raftpb.HardState // nil: unchanged
	Entries   []*raftpb.Entry   // appended; entries from the first one's index on are replaced
	Snapshot  *raftpb.Snapshot  // nil: none; entries up to its index are dropped
	Replace   bool              // Snapshot took the place of the log: all entries that are there are dropped
	Reset     bool              // what is there is set aside first
}

// Input is something a machine is told.
type Input interface{ input() }

// Inputs.
type (
	// Received is a message of an authenticated peer.
	Received struct {
		From    int
		Payload []byte
	}
	// Linked tells that a peer can be talked to, or no longer.
	Linked struct {
		Peer int
		Up   bool
		Why  string
	}
	// Judged is a verdict of the life check about a peer.
	Judged struct {
		Peer int
		Dead bool
		Why  string
	}
	// SelfChecked is what the node has found about itself. A node that is sick gives up leading.
	SelfChecked struct {
		Sick bool
		Why  string
	}
	// Heartbeat is a sign of life of a peer, by another way than messages.
	Heartbeat struct{ Peer int }
	// Trusted tells whether the trusted servers answer, on change and as the answer to Output.AskTrusted; never told where none are
	// configured.
	Trusted struct{ Reachable bool }
	// Probed answers Output.Probe: does anybody else answer for the address?
	Probed struct{ Answered bool }
	// AddressIs tells what has become of Desired.
	AddressIs struct {
		Held      bool
		Unplugged bool // its device has no carrier: this node is the one that is cut off
		Busy      bool // a command of the transition is running
	}
	// Proposed asks to have a decision committed; Output.Proposals answers with the same number.
	Proposed struct {
		Number   uint64
		Decision []byte
	}
	// Asked brings a request before the leader; Output.Answers answers with the same number.
	Asked struct {
		Number uint64
		Ask    Ask
	}
	// Executed answers Output.Execute.
	Executed struct {
		Number uint64
		Reply  []byte
	}
	// Carried tells that a decision holds on this node.
	Carried struct{ Seq uint64 }
	// Saved tells what came of Output.Save. After an error the same Save is asked for again.
	Saved struct{ Err error }
	// Leave asks the node to stop gracefully: Output.Left tells when it may.
	Leave struct{}
	// Resign asks the leader to let somebody else lead.
	Resign struct{ Why string }
	// Reconfigure brings the parameters that a reload may change; the others are not looked at.
	Reconfigure struct{ Config Config }
)

func (Received) input()    {}
func (Linked) input()      {}
func (Judged) input()      {}
func (SelfChecked) input() {}
func (Trusted) input()     {}
func (Heartbeat) input()   {}
func (Probed) input()      {}
func (AddressIs) input()   {}
func (Proposed) input()    {}
func (Asked) input()       {}
func (Executed) input()    {}
func (Carried) input()     {}
func (Saved) input()       {}
func (Leave) input()       {}
func (Resign) input()      {}
func (Reconfigure) input() {}

// Ask is a request for the cluster (manual: failover in the watchdog cluster).
type Ask struct {
	Key       string // requests with the same key are votes for the same thing
	Function  string // the manual's name for it, for the log; "" is not told
	Confirmed bool   // needs no votes: an administrator wants it
	Request   []byte // what the leader's executor gets
}

// Result is what the cluster says to a request.
type Result uint8

// Results (manual: failover consensus).
const (
	ResultError    Result = iota
	ResultDone            // carried out: Reply is what the executor said
	ResultNoQuorum        // most nodes are missing
	ResultBuilding        // noted, more votes are needed
	ResultMayFail         // noted before, still not enough votes
	ResultNoLeader        // nobody leads, or the leader changed meanwhile: perhaps carried out, perhaps not
)

// Answer answers Asked.
type Answer struct {
	Number uint64
	Result Result
	Votes  int
	Reply  []byte
}

// Output is what is to be done. Everything in it may be done at once and in any order, but for Save: what depends on it comes later.
type Output struct {
	Save       *Save
	Send       []Message
	Address    Desired
	Probe      bool // ask the network who holds the address, then step Probed
	Decided    []Decided
	Proposals  []Outcome
	Answers    []Answer
	Execute    []Execute
	AskTrusted bool // do the trusted servers answer? then step Trusted
	Announce   bool // tell the network again where the address is
	Resend     bool // votes are being collected: repeat requests about quarantined nodes
	Events     []Event
	Left       bool // the node may exit
}

// Message goes to a peer; it may be lost.
type Message struct {
	To      int
	Payload []byte
}

// Desired is what the address is to be.
type Desired struct {
	Hold     bool
	Until    time.Duration // the lease ends; an address still there then is the kernel's to remove
	Graceful bool          // given up in good order: there is time for wd_de_escalation_command first
}

// Decided is a decision all nodes see in the same order. A node may see only the last of several.
type Decided struct {
	Seq  uint64
	Data []byte
}

// Outcome answers Proposed. It is final: not committed means it never will be, but for Unknown.
type Outcome struct {
	Number    uint64
	Seq       uint64
	Committed bool
	Unknown   bool // leadership was lost before it was known
}

// Execute is an approved request for the executor of the leader.
type Execute struct {
	Number  uint64
	From    int // the node that asked, for the log
	Votes   int
	Request []byte
}

// Standing is what a node may decide about backends.
type Standing uint8

// Standings.
const (
	Loading Standing = iota // not yet known
	Alone                   // without quorum: what is decided holds here only, until the node meets the others again
	Follows                 // the leader decides
	Leads                   // decides for all
)

var standingNames = [...]string{"loading", "alone", "standby", "leader"}

func (s Standing) String() string { return standingNames[s] }

// Severity of an Event.
type Severity uint8

// Severities.
const (
	Debug Severity = iota
	Info
	Log
	Notice
	Warning
	Error
)

// Event is a line for the log.
type Event struct {
	Severity              Severity
	Message, Detail, Hint string
}

// Status is the machine as seen from outside.
type Status struct {
	Standing  Standing
	Term      uint64 // Raft's
	Cluster   uint64 // id of the group this node is in, 0 while it is in none
	Epoch     uint64 // how often a group was founded: half votes and lost disks make a new one
	Leader    int    // who is shown as the leader, -1 for nobody
	Quorum    Quorum
	Members   int  // that count for the quorum
	Required  int  // of them must be alive
	Alive     int  // standbys that have joined the leader
	Escalated bool // this node holds what the leader holds
	LeaseEnd  time.Duration
	Reason    string // why the address is, or is not, here
	Seq       uint64 // of the last decision
	Fresh     bool   // leads, and nobody was running before who knew more than the configuration (Config.Fresh)
	Nodes     []NodeStatus
}

// NodeStatus is a node in Status; index = id.
type NodeStatus struct {
	Name       string // Not_Set before it was heard
	State      State
	Membership Membership
	Priority   int
	Heard      time.Duration // when a message of it came last; 0 never
	Role       string        // voter, learner, none
	Follows    bool          // it has joined this node, which leads
	Carried    uint64        // the last decision that holds there
}
