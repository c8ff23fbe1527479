package failover

import (
	"context"
	"errors"
)

// Standing is what this pgpool node may decide about backends.
type Standing uint8

// Standings. Without a watchdog a node leads, for good.
const (
	StandingLeads   Standing = iota // decides for all nodes; what it decides must be committed before commands run
	StandingFollows                 // another node decides; findings and orders are brought before it
	StandingAlone                   // without quorum: what is decided holds here only, until the nodes meet again
	StandingLoading                 // not yet known
)

// Office is a Standing and what it is bound to.
type Office struct {
	Standing Standing
	Term     uint64 // rises with each leader; work begun in an earlier one is given up
	Leader   string // the name of the node that leads, for the log
	// Fresh: nobody was running before, and the status file was discarded at the start (pgpool -D): the leader begins with its own
	// View, not with what was decided before.
	Fresh bool
}

// Ask is a request that is brought before the leader.
type Ask struct {
	Key       string // requests with the same key are votes for the same thing
	Function  string // the manual's name for it, for the log; "" is not told
	Confirmed bool   // needs no votes
	Request   []byte // for Execute of the leader's coordinator
}

// Result is what the nodes say to a request (manual: failover consensus).
type Result uint8

// Results.
const (
	ResultError Result = iota
	ResultDone
	ResultNoQuorum
	ResultBuilding
	ResultMayFail
	ResultNoLeader
)

// Answer is a Result, with what the leader's coordinator replied where it is ResultDone.
type Answer struct {
	Result Result
	Votes  int
	Reply  []byte
}

// Consensus is what the pgpool nodes of a cluster agree by; the watchdog fits. Its methods may be called from any goroutine.
//
// The other direction: the watchdog tells the coordinator its Office (Coordinator.Hold), every committed decision in order
// (Coordinator.Decided), and what the nodes have agreed to (Coordinator.Execute, on the leader). Before it tells that this node leads,
// it has told all decisions committed so far.
type Consensus interface {
	// Ask brings a request before the leader, also where that is this node, and returns with its answer, or when ctx ends.
	Ask(ctx context.Context, a Ask) (Answer, error)
	// Commit has a decision written where all nodes will find it, and returns when it cannot be lost any more. ErrNotLeader: it was not,
	// or that is not known, because somebody else leads.
	Commit(ctx context.Context, decision []byte) error
	// Await returns when all nodes that follow have carried out what was committed last, or ctx ends.
	Await(ctx context.Context) error
	// Carried tells the leader that this node has carried out decision seq: no session here can act against it.
	Carried(seq uint64)
	// Resign lets somebody else lead: only this node sees the primary dead.
	Resign(why string)
}

// ErrNotLeader is a decision that this node may not make.
var ErrNotLeader = errors.New("this node is not the leader of the watchdog cluster")
