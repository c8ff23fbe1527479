package failover

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
)

// First makes the View a start begins with, before any server was asked: all configured nodes waiting, or as the status file
// says. No primary is known yet, but for a node with the flag ALWAYS_PRIMARY. Nodes the file does not list stay unused (manual:
// pgpool_status).
func First(mode cluster.Mode, backends []conf.Backend, marks []Mark, now time.Time) (*cluster.View, []Reason) {
	v := &cluster.View{Mode: mode, Primary: cluster.NoNode, Nodes: make([]cluster.Node, len(backends))}
	var why []Reason
	for i := range backends {
		id := cluster.NodeID(i)
		v.Nodes[i] = cluster.Node{ID: id, LastStatusChange: now}
		if !backends[i].Exists() {
			continue
		}
		configure(&v.Nodes[i], &backends[i])
		v.Nodes[i].Host, v.Nodes[i].Port = backends[i].Hostname, backends[i].Port
		v.Nodes[i].DataDirectory = backends[i].DataDirectory
		v.Nodes[i].Epoch = 1
		v.Nodes[i].Status = cluster.StatusWaiting
		if marks == nil {
			continue
		}
		m := Mark{Status: cluster.StatusUnused}
		if i < len(marks) {
			m = marks[i]
		}
		v.Nodes[i].Status = m.Status
		if m.Status == cluster.StatusWaiting {
			why = append(why, Reason{Kind: StatusGarbled, Node: id, New: m.Line})
		} else {
			why = append(why, Reason{Kind: StatusRead, Node: id, New: m.Status.String()})
		}
	}
	if id := alwaysPrimary(v); mode.HasPrimary() && id != cluster.NoNode {
		v.Primary = id
		why = append(why, Reason{Kind: AlwaysPrimarySo, Node: id})
	}
	assignRoles(v)
	return v, why
}

// configure takes over what may change at any time.
func configure(n *cluster.Node, b *conf.Backend) {
	n.Weight, n.ApplicationName = b.Weight, b.ApplicationName
	n.DisallowFailover, n.AlwaysPrimary, n.Agent = b.Flag.DisallowFailover, b.Flag.AlwaysPrimary, b.Agent
}

// Policy is what the coordinator obeys.
type Policy struct {
	conf.Failover
	// WhenQuorumExists: without a quorum of pgpool nodes findings cause quarantine, not failover (failover_when_quorum_exists). It means
	// nothing without a watchdog.
	WhenQuorumExists bool
	// VoteExpiry is how long a vote waits for others (manual: failover consensus).
	VoteExpiry time.Duration
	// PID is the number of our process, for texts. The coordinator sets it.
	PID int
}

// Memory is what decisions must know of the past. It belongs to the View's writer.
type Memory struct {
	// Was has the last role each node told of itself, index = NodeID.
	Was []cluster.Role
	// Promoted marks nodes that were seen as a standby and later as a primary: somebody promoted them under our eyes. A
	// server that has said "primary" from the start is a stray one and never takes over.
	Promoted []bool
	// Beside marks nodes that said they were primaries while the known primary said so, too: what was written there since they lack.
	Beside []bool
	// Doubted says when somebody last complained of a node without consequence, index = NodeID.
	Doubted []time.Time
	// Open is the operation under way.
	Open Episode
	// Vacant: the last primary was lost and no other one has been found since.
	Vacant bool
	// Run is the number of the last run of follow_primary_command.
	Run int
	// Last is the primary this pgpool knew before it was started, and LastUntil until when it is left to say so itself. Zero: nothing is
	// known.
	Last      cluster.NodeID
	LastUntil time.Time
	// Early is the end of the first search for a primary: before it, and before one is found, nobody is detached but by an
	// administrator. Scripts would take a failover without a known primary for one that has lost it. Zero: that time is over.
	Early time.Time
}

// FirstSearch is the Memory of a start: the first search for a primary ends after timeout (search_primary_node_timeout, 0 = never).
func FirstSearch(v *cluster.View, timeout time.Duration, now time.Time) Memory {
	if !v.Mode.HasPrimary() || v.Primary != cluster.NoNode {
		return Memory{}
	}
	if timeout == 0 {
		timeout = forever
	}
	return Memory{Early: now.Add(timeout)}
}

const forever = 100 * 365 * 24 * time.Hour

// early reports whether the first search for a primary still goes on.
func (m *Memory) early(v *cluster.View, now time.Time) bool {
	return v.Primary == cluster.NoNode && now.Before(m.Early)
}

// Episode is an operation from its beginning to its end: what is still to be known when it ends. Its slices are never changed.
type Episode struct {
	Op                         cluster.Operation // OpNone: no operation is under way
	Failed, Attached, Promoted []cluster.NodeID  // whom the closing lines name

	OldPrimary, OldMain cluster.NodeID // when it began
	// Lost: the primary was condemned or has stepped down, so another one is needed.
	Lost bool
	// ByHand: the servers changed their roles by themselves. No command runs for that.
	ByHand bool
	// Elect becomes the primary without being asked (NoNode: look for one).
	Elect cluster.NodeID
	// Heir is whom the last failover_command was told to promote (%m).
	Heir   cluster.NodeID
	Search Search

	// Of an operation without scripts.
	Act     Act
	Step    int       // rises with each act
	Since   time.Time // the act is the next one
	Planned bool      // a switchover, to Target
	Target  cluster.NodeID
	Doomed  cluster.NodeID // whom to stop, NoNode for the old primary
	GivenUp cluster.NodeID // the heir that was lost, NoNode for none
	Sound   bool           // the old primary has not failed, a switchover took it out of use
	Stopped bool           // that has been done, or given up
	End     cluster.LSN    // of the old primary's WAL, where it was shut down cleanly
	Reign   cluster.Epoch  // the epoch that condemned the old primary
	Raised  bool           // the heir was promoted by us
	Bounds  cluster.Bounds // of that
	Last    cluster.PrimaryGauge
	Refused string // what was told last of why nothing goes on
	Because string // why a switchover fails
}

// Search is how the primary is looked for when the commands have ended.
type Search uint8

// Ways to look for the primary.
const (
	NoSearch   Search = iota
	LookOnce          // ask the nodes once and take what is found
	UntilFound        // ask until one says it is the primary, or search_primary_node_timeout
)

func begin(v *cluster.View, op cluster.Operation) Episode {
	return Episode{
		Op: op, OldPrimary: v.Primary, OldMain: v.Main(), Elect: cluster.NoNode, Heir: cluster.NoNode, Target: cluster.NoNode, Doomed: cluster.NoNode,
		GivenUp: cluster.NoNode,
	}
}

// Plan is what to do about a request. Nothing is to be published where View is nil. What is left to be done comes in the order of
// the fields; when all of it is done the coordinator asks for the end of the episode (Sought).
type Plan struct {
	View    *cluster.View
	Memory  Memory
	Reasons []Reason
	Save    bool // the status file is to be written

	Confirm  []cluster.NodeID // to be checked at once
	Fence    bool             // wait until the View has arrived everywhere
	Commands []Command        // to be run one after another
	Follow   *Follow          // to be run beside everything else
	After    *Command         // after_promotion_command, beside everything else
}

// Decide answers a request. It is pure: v and m are never changed.
func Decide(v *cluster.View, m Memory, r Request, p Policy, now time.Time) Plan {
	if v.Primary != cluster.NoNode {
		m.Early = time.Time{}
	}
	plan := decide(v, m, r, p, now)
	plan.markStrays(v)
	return plan
}

// markStrays tells readers of the View which nodes must not be written to though they would take it: those that say they are the primary
// while none was taken. Otherwise the main node stands in where no primary is known.
func (plan *Plan) markStrays(v *cluster.View) {
	next, cloned := plan.View, plan.View != nil
	if next == nil {
		next = v
	}
	for i := range next.Nodes {
		stray := next.Mode.HasPrimary() && next.Primary == cluster.NoNode && i < len(plan.Memory.Was) && plan.Memory.Was[i] == cluster.RolePrimary
		if next.Nodes[i].Stray == stray {
			continue
		}
		if !cloned {
			next, cloned = edit(next), true
		}
		next.Nodes[i].Stray = stray
		plan.View = next
	}
}

func decide(v *cluster.View, m Memory, r Request, p Policy, now time.Time) Plan {
	switch r := r.(type) {
	case NodeUsed:
		return used(v, m, r.Node, now)
	case RolesSeen:
		return rolesSeen(v, m, r, p, now)
	case BackendsReloaded:
		return reloaded(v, m, r.Backends, now)
	case Detach:
		return detach(v, m, r, p, now)
	case Attach:
		return attach(v, m, r, p, now)
	case Promote:
		return promote(v, m, r, p, now)
	case Sought:
		return conclude(v, m, r, p, now)
	case FollowEnded:
		return followEnded(v, m, r.Run)
	case Switchover:
		return switchover(v, m, r, p, now)
	case CallOff:
		return callOff(v, m, r, p, now)
	case Bar:
		return bar(v, m, r)
	case Acted:
		return acted(v, m, r, p, now)
	default:
		panic(fmt.Sprintf("failover: no such request: %T", r))
	}
}

// edit copies a View for changing.
func edit(v *cluster.View) *cluster.View {
	c := *v
	c.Nodes = slices.Clone(v.Nodes)
	return &c
}

func used(v *cluster.View, m Memory, id cluster.NodeID, now time.Time) Plan {
	if id < 0 || int(id) >= len(v.Nodes) || v.Nodes[id].Status != cluster.StatusWaiting {
		return Plan{Memory: m}
	}
	next := edit(v)
	next.Nodes[id].Status = cluster.StatusUp
	next.Nodes[id].LastStatusChange = now
	return Plan{View: next, Memory: m, Reasons: []Reason{{Kind: FirstUse, Node: id}}, Save: true}
}

// reloaded takes over what a reload may change. New nodes come as down, and a node keeps its place until a restart
// (manual: backend settings).
func reloaded(v *cluster.View, m Memory, backends []conf.Backend, now time.Time) Plan {
	next, why := reconfigured(v, backends, now)
	told, fence := m.flagged(next, now)
	assignRoles(next)
	// The status file is rewritten on reload even if nothing changed: somebody may have edited it.
	return Plan{View: next, Memory: m, Reasons: append(why, told...), Save: true, Fence: fence}
}

// reconfigured is a View with another configuration of the nodes.
func reconfigured(v *cluster.View, backends []conf.Backend, now time.Time) (*cluster.View, []Reason) {
	next := edit(v)
	var why []Reason
	for i := range backends {
		b, id := &backends[i], cluster.NodeID(i)
		if i == len(next.Nodes) {
			next.Nodes = append(next.Nodes, cluster.Node{ID: id, LastStatusChange: now})
		}
		n := &next.Nodes[i]
		switch {
		case !b.Exists():
			continue
		case n.Port == 0:
			*n = cluster.Node{
				ID: id, Host: b.Hostname, Port: b.Port, DataDirectory: b.DataDirectory,
				Status: cluster.StatusDown, Epoch: n.Epoch + 1, LastStatusChange: now,
			}
			why = append(why, Reason{Kind: NodeAdded, Node: id})
		default:
			why = append(why, changed(n, b)...)
			if n.Status == cluster.StatusUnused || n.Status == cluster.StatusDown {
				n.DataDirectory = b.DataDirectory
			}
		}
		configure(n, b)
	}
	return next, why
}

// flagged has the primary follow the flag ALWAYS_PRIMARY, which a reload may have moved or taken away. Fence: whoever writes to the
// primary in force is to be cut off.
func (m *Memory) flagged(next *cluster.View, now time.Time) (why []Reason, fence bool) {
	id := alwaysPrimary(next)
	switch {
	case !next.Mode.HasPrimary() || next.Seeking || id == next.Primary:
		return nil, false
	case id != cluster.NoNode:
		fence = next.Primary != cluster.NoNode
		m.Open = m.Open.install(next, id, now)
		return []Reason{{Kind: AlwaysPrimarySo, Node: id}}, fence
	case !next.Live(next.Primary):
		next.Primary, m.Vacant = cluster.NoNode, true // it was the primary by its flag alone
	}
	return nil, false
}

// install makes a node the primary because the configuration says so: at once, or when nobody writes to the one in force any more.
func (e Episode) install(next *cluster.View, id cluster.NodeID, now time.Time) Episode {
	if next.Primary == cluster.NoNode {
		setPrimary(next, id, now)
		return e
	}
	if e.Op == cluster.OpNone {
		e = begin(next, cluster.OpFailover)
	}
	e.Lost, e.ByHand, e.Elect, e.Search = true, true, id, NoSearch
	setPrimary(next, cluster.NoNode, now)
	next.Seeking, next.Op = true, e.Op
	return e
}

// changed tells the differences between a node in force and its new configuration.
func changed(n *cluster.Node, b *conf.Backend) []Reason {
	var why []Reason
	if n.Host != b.Hostname || n.Port != b.Port {
		why = append(why, Reason{
			Kind: Immovable, Node: n.ID,
			Old: fmt.Sprintf("%s:%d", n.Host, n.Port), New: fmt.Sprintf("%s:%d", b.Hostname, b.Port),
		})
	}
	if n.Weight != b.Weight {
		why = append(why, Reason{
			Kind: WeightChanged, Node: n.ID,
			Old: strconv.FormatFloat(n.Weight, 'f', 6, 64), New: strconv.FormatFloat(b.Weight, 'f', 6, 64),
		})
	}
	return why
}
