package failover

import (
	"fmt"
	"strconv"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
)

// Kind says what was found or decided.
type Kind uint8

// The kinds of Reason.
const (
	// Of the status file.
	StatusRead      Kind = iota + 1 // a line was applied
	StatusGarbled                   // a line says nothing: the node starts waiting
	StatusBogus                     // no line says up: the file is disregarded
	StatusMissing                   // there is no file
	StatusDiscarded                 // -D
	StatusNotRead                   // the file cannot be read; all nodes start waiting
	StatusNotSaved                  // the file cannot be written
	StatusKept                      // not written, because all nodes are down

	// Of the roles.
	PrimaryFound    // no primary was known, now one is
	PrimaryMoved    // the servers changed roles: another node takes over
	PrimaryLost     // the primary became a standby and nobody took over
	StandbyFound    // told once for each standby when the primary is found
	SeveralPrimary  // more than one node says it is the primary
	StrayPrimary    // only nodes claim to be primary that did so beside the lost one: nobody is taken
	UnsurePrimary   // another node says it is the primary and the known one is silent: nothing is changed
	AlwaysPrimarySo // the primary is the node flagged ALWAYS_PRIMARY

	// Of requests.
	DetachAsked      // the node is taken out
	DetachUnknown    // there is no such node
	DetachInvalid    // it is down already
	DetachKept       // it is down already and is to be left alone
	Outdated         // the finding speaks of what the node was before
	DetachOff        // the configuration wants no failover for this cause
	DetachDisallowed // DISALLOW_TO_FAILOVER
	DetachEarly      // the first search for a primary goes on
	DetachUnproved   // the finding says nothing about the server
	DetachDoubtful   // the node is checked first
	AttachAsked
	AttachUnknown
	AttachInvalid
	PromoteAsked
	PromoteRefused
	FalsePrimary // the node is judged not to be the primary it says it is

	// Of the course of an operation.
	FailoverBegins
	Degenerating
	FailbackBegins
	NoMain
	SearchBegins
	SearchFailed // Node none: until the time was up
	PrimaryChanged
	MainChanged
	FollowDegenerating
	FollowCount
	FailoverDone
	FailbackDone
	PromotionDone
	FenceLate
	Executing
	CommandEnded
	CommandFailed
	FollowBegins
	FollowEnds
	FollowDropped // the primary that was to be followed is lost

	// Of an operation without scripts.
	SwitchoverBegins
	SwitchoverDone
	SwitchoverFailed
	ServerStopped
	ServerNotStopped
	Elected    // told to become the primary
	NotElected // nobody can be promoted
	NotPromoted
	NotRestored
	Reinstated // the old primary serves again
	NowUnfit
	NowFit
	LastIsLost   // the primary from before a restart does not come back
	KeepsakeLost // what another start needs to go on could not be written

	// Of the agreement with other pgpool nodes.
	VoteBuilding   // noted, more votes are needed
	VoteHandled    // the nodes have agreed
	VoteCanceled   // nobody carries the request out
	VoteQuarantine // they have not agreed
	QuarantineBegins
	QuarantineDone
	QuarantineEnds
	Resigns        // this node alone sees the primary dead
	ResignsBlind   // this node alone reaches no server
	AloneBegins    // without quorum
	AloneOrder     // what an administrator wants is done here only
	AloneFailover  // failover_when_quorum_exists is off
	GrantDropped   // the request came when this node did not lead any more
	OrderFailed    // nobody waits for an answer, so it is told here
	LeaderData     // this node leads and begins with what it knows
	Resumed        // an operation of another leader goes on
	TakenUp        // an operation of an earlier start goes on
	JoinedStandby  // the first decision since this node follows
	LeaderFailover // the leader has ended an operation
	LeaderStatus
	SetDown
	SetUp
	Stranger       // the backend is another one on the leader
	OthersLate     // the followers have not answered in time
	NotCommitted   // the decision could not be written
	DecisionUnread // it cannot be read

	// Of a node.
	FirstUse      // a waiting node was used
	NodeAdded     // by a reload
	WeightChanged // by a reload
	Immovable     // a reload tried to change host or port

	lastKind = iota
)

// Reason is one finding or consequence of a decision: what is logged and what an administrator is told.
type Reason struct {
	Kind Kind
	Node cluster.NodeID // whom it is about, NoNode for none
	// Old and New are the values of a change, as the Kind has them.
	Old, New string
	// Others are the nodes that compete (SeveralPrimary, UnsurePrimary).
	Others []cluster.NodeID
	// Finding and Cause are what led to a request: the kind of evidence, and the error in words.
	Finding, Cause string
	Count          int
	After          time.Duration
}

// String is the text of the log line.
func (r Reason) String() string {
	n := int(r.Node)
	if text, ok := r.course(); ok {
		return text
	}
	if text, ok := r.agreed(); ok {
		return text
	}
	if text, ok := r.unaided(); ok {
		return text
	}
	switch r.Kind {
	case StatusRead:
		return fmt.Sprintf("reading status file: %d th backend is set to %s status", n, r.New)
	case StatusGarbled:
		return "invalid data in status file, ignoring..."
	case StatusBogus:
		return fmt.Sprintf("status file %q says that no backend is up and is disregarded", r.Old)
	case StatusMissing:
		return fmt.Sprintf("Backend status file %s does not exist", r.Old)
	case StatusDiscarded:
		return fmt.Sprintf("Backend status file %s discarded", r.Old)
	case StatusNotRead:
		return fmt.Sprintf("Backend status file %s could not be read: %s", r.Old, r.New)
	case StatusNotSaved:
		return fmt.Sprintf("failed to open status file at: %q", r.Old)
	case StatusKept:
		return "All the DB nodes are in down status and skip writing status file."
	case PrimaryFound, AlwaysPrimarySo:
		return fmt.Sprintf("find_primary_node: primary node is %d", n)
	case PrimaryMoved:
		return fmt.Sprintf("node %d is the primary now instead of node %s", n, list(r.Others))
	case FalsePrimary:
		return fmt.Sprintf("node %d says it is a primary, but node %s is: it is a false primary", n, list(r.Others))
	case PrimaryLost:
		return fmt.Sprintf("primary node %d has become a standby and no other node is primary", n)
	case StandbyFound:
		return fmt.Sprintf("find_primary_node: standby node is %d", n)
	case SeveralPrimary:
		return fmt.Sprintf("nodes %s say they are primary, node %d is taken, nothing is written to the others", list(r.Others), n)
	case StrayPrimary:
		return fmt.Sprintf("node %s says it is a primary, but is not taken", list(r.Others))
	case UnsurePrimary:
		return fmt.Sprintf("node %s says it is primary while primary node %d does not answer, nothing is changed",
			list(r.Others), n)
	case FirstUse:
		return fmt.Sprintf("node %d is used for the first time", n)
	case NodeAdded:
		return fmt.Sprintf("node %d has been added and is down, attach it to use it", n)
	case WeightChanged:
		return fmt.Sprintf("initializing pool configuration: backend weight for backend:%d changed from %s to %s",
			n, r.Old, r.New)
	case Immovable:
		return fmt.Sprintf("backend_hostname and backend_port of node %d cannot be changed from %s to %s without a restart",
			n, r.Old, r.New)
	default:
		panic("failover: no such kind of reason: " + strconv.Itoa(int(r.Kind)))
	}
}

// Severity is the level the reason is logged with.
func (r Reason) Severity() logging.Severity {
	switch r.Kind {
	case StatusGarbled, StatusNotRead, StatusNotSaved, StatusKept, SeveralPrimary, UnsurePrimary, StrayPrimary, PrimaryLost, Immovable,
		FalsePrimary, DetachUnknown, AttachUnknown, PromoteRefused, NoMain, SearchFailed, FenceLate, CommandFailed, FollowDropped,
		SwitchoverFailed, ServerNotStopped, NotElected, NotPromoted, NotRestored, NowUnfit, KeepsakeLost,
		AloneBegins, AloneOrder, AloneFailover, GrantDropped, OrderFailed, Stranger, OthersLate, NotCommitted, DecisionUnread:
		return logging.Warning
	case FirstUse, DetachInvalid, Outdated, DetachOff, DetachUnproved, DetachDoubtful, AttachInvalid:
		return logging.Debug1
	}
	return logging.Log
}

// Event is the log line of a reason, under the View of generation gen.
func (r Reason) Event(gen cluster.Generation) logging.Event {
	e := logging.Event{Severity: r.Severity(), Message: r.String(), Node: logging.OnNode(r.Node), Gen: uint64(gen)}
	e.Reason = r.trigger()
	switch r.Kind {
	case DetachAsked, DetachDisallowed, DetachEarly, DetachUnproved, DetachDoubtful, DetachOff, PromoteRefused:
		e.Detail = r.Cause
	case StrayPrimary:
		e.Detail = "They said so beside the primary that is lost, so they hold other data."
		e.Hint = "Use pcp_promote_node for the node whose data is to be kept."
	case FenceLate, CommandFailed, OthersLate, NotCommitted, DecisionUnread, OrderFailed, SwitchoverFailed, ServerNotStopped, NotElected,
		NotPromoted, NotRestored, KeepsakeLost:
		e.Detail = r.New
	case VoteCanceled, VoteQuarantine:
		e.Detail = r.Old
	case VoteBuilding, VoteHandled:
		e.Detail = r.Cause
	case JoinedStandby, LeaderFailover:
		e.Detail = "syncing the backend states from the LEADER watchdog node"
	case LeaderData:
		e.Detail = "using the local backend node status"
	case Resigns, ResignsBlind:
		e.Detail = "resigning from the coordinator"
	case AloneBegins:
		e.Detail = "What is decided holds on this node only, until the quorum is there again. Should the others promote another primary meanwhile, " +
			"what clients of this node write to the old one may be lost."
	case SearchFailed:
		e.Hint = r.New
		if r.After > 0 {
			e.Detail = fmt.Sprintf("expired after %d seconds", int(r.After/time.Second))
		}
	case StatusNotSaved:
		e.Detail = r.New
	case StatusGarbled:
		e.Detail = fmt.Sprintf("The line of node %d is %q, the node starts waiting.", r.Node, r.New)
	case AlwaysPrimarySo:
		e.Detail = "The node has the flag ALWAYS_PRIMARY, no server is asked."
	}
	return e
}

// trigger is what a request was caused by, as the field "reason" of log_format = json has it.
func (r Reason) trigger() string {
	switch r.Kind {
	case AttachAsked:
		return r.Old
	case DetachAsked, Outdated, DetachOff, DetachDisallowed, DetachEarly, DetachUnproved, DetachDoubtful:
		if r.Finding != "" {
			return r.Old + ": " + r.Finding
		}
		return r.Old
	}
	return ""
}

func list(ids []cluster.NodeID) string {
	s := ""
	for i, id := range ids {
		if i > 0 {
			s += ", "
		}
		s += strconv.Itoa(int(id))
	}
	return s
}
