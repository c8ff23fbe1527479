package failover

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"gopgpool/cluster"
)

const (
	decisionVersion = 1
	// maxDecision bounds what is read of a decision; one about 128 nodes has some 30 kB.
	maxDecision = 1 << 20
	// maxEpoch leaves room for counting on from what somebody else has written.
	maxEpoch = cluster.Epoch(1) << 62
)

// decision is what the pgpool nodes have agreed about the backends, and what another leader needs to go on from there. Weights, flags
// and directories are each node's own. Its epochs are those of the View the leader decides about, see adopt.
type decision struct {
	Version   int               `json:"version"`
	Number    uint64            `json:"number"` // rises with each decision
	Primary   cluster.NodeID    `json:"primary"`
	Op        cluster.Operation `json:"op,omitempty"`
	Seeking   bool              `json:"seeking,omitempty"`
	Following bool              `json:"following,omitempty"`
	Draining  bool              `json:"draining,omitempty"`
	Nodes     []decidedNode     `json:"nodes"`
	Memory    sharedMemory      `json:"memory"`
	Commands  []sharedCommand   `json:"commands,omitempty"` // that have not ended, in their order
	Follow    *Follow           `json:"follow,omitempty"`   // the run of follow_primary_command under way

	Switchover *cluster.Switchover `json:"switchover,omitempty"`
	Crossing   *cluster.Crossing   `json:"crossing,omitempty"`
}

// decidedNode is what is decided about a backend. Host and Port only tell whether two nodes mean the same one.
type decidedNode struct {
	Host    string         `json:"host"`
	Port    int            `json:"port"`
	Status  cluster.Status `json:"status"`
	Stray   bool           `json:"stray,omitempty"`
	Out     bool           `json:"detached,omitempty"` // by an administrator
	Unfit   bool           `json:"unfit,omitempty"`
	Epoch   cluster.Epoch  `json:"epoch"`
	Fenced  cluster.Epoch  `json:"fenced,omitempty"`
	Changed time.Time      `json:"changed"`
}

// sharedMemory is what of Memory is worth more than the leader's office.
type sharedMemory struct {
	Was      []cluster.Role `json:"was,omitempty"`
	Promoted []bool         `json:"promoted,omitempty"`
	Beside   []bool         `json:"beside,omitempty"`
	Vacant   bool           `json:"vacant,omitempty"`
	Run      int            `json:"run,omitempty"`
	Open     Episode        `json:"open"`
}

// sharedCommand is a command that is to be run. Begun: nobody knows whether it has done its work.
type sharedCommand struct {
	Command
	Begun bool `json:"begun,omitempty"`
}

// decisionOf words what a leader has decided.
func decisionOf(v *cluster.View, m *Memory, commands []sharedCommand, follow *Follow, number uint64) *decision {
	d := &decision{
		Version: decisionVersion, Number: number, Primary: v.Primary, Op: v.Op, Seeking: v.Seeking, Following: v.Following,
		Draining: v.Draining, Switchover: v.Switchover, Crossing: v.Crossing,
		Nodes:  make([]decidedNode, len(v.Nodes)),
		Memory: sharedMemory{Was: m.Was, Promoted: m.Promoted, Beside: m.Beside, Vacant: m.Vacant, Run: m.Run, Open: m.Open}, Commands: commands,
	}
	if v.Following {
		d.Follow = follow
	}
	for i := range v.Nodes {
		n := &v.Nodes[i]
		d.Nodes[i] = decidedNode{
			Host: n.Host, Port: n.Port, Status: n.Status, Stray: n.Stray, Out: n.Detached, Unfit: n.Unfit, Epoch: n.Epoch, Fenced: n.Fenced, Changed: n.LastStatusChange,
		}
	}
	return d
}

func (d *decision) encode() []byte {
	data, err := json.Marshal(d)
	if err != nil {
		panic("failover: a decision cannot be written: " + err.Error())
	}
	return data
}

var (
	errTooLong = errors.New("it is too long")
	errMeaning = errors.New("it means nothing")
)

// parseDecision reads a decision. What it returns can be carried out without further checks.
func parseDecision(data []byte) (*decision, error) {
	if len(data) > maxDecision {
		return nil, fmt.Errorf("failover: decision of %d bytes: %w", len(data), errTooLong)
	}
	var d decision
	if err := json.Unmarshal(data, &d); err != nil {
		return nil, fmt.Errorf("failover: decision: %w", err)
	}
	if d.Version != decisionVersion {
		return nil, fmt.Errorf("failover: decision of version %d, this release knows version %d", d.Version, decisionVersion)
	}
	if !d.sound() {
		return nil, fmt.Errorf("failover: decision %d: %w", d.Number, errMeaning)
	}
	return &d, nil
}

// sound reports whether all numbers are of the kinds they stand for.
func (d *decision) sound() bool {
	if len(d.Nodes) > cluster.MaxNodes || d.Op > cluster.OpSwitchover || !optional(d.Primary) || d.Memory.Run < 0 || d.Op != d.Memory.Open.Op {
		return false
	}
	if len(d.Memory.Was) > cluster.MaxNodes || len(d.Memory.Promoted) > cluster.MaxNodes ||
		len(d.Memory.Beside) > cluster.MaxNodes || len(d.Commands) > 4*cluster.MaxNodes {
		return false
	}
	if slices.ContainsFunc(d.Memory.Was, func(r cluster.Role) bool { return r > cluster.RoleReplica }) {
		return false
	}
	for i := range d.Nodes {
		n := &d.Nodes[i]
		if n.Status > cluster.StatusDown || n.Epoch > maxEpoch || n.Fenced > n.Epoch {
			return false
		}
	}
	for i := range d.Commands {
		if !d.Commands[i].sound() {
			return false
		}
	}
	if c := d.Crossing; c != nil && (outOfRange(c.From) || outOfRange(c.To) || !optional(c.GivenUp)) {
		return false
	}
	if s := d.Switchover; s != nil && (outOfRange(s.To) || s.Phase > cluster.SwitchoverFailed) {
		return false
	}
	return d.Memory.Open.sound() && (d.Follow == nil || d.Follow.sound())
}

func (e *Episode) sound() bool {
	return e.Op <= cluster.OpSwitchover && e.Act <= ActRestore && e.Search <= UntilFound && nodeIDs(e.Failed) && nodeIDs(e.Attached) && nodeIDs(e.Promoted) &&
		optional(e.OldPrimary) && optional(e.OldMain) && optional(e.Elect) && optional(e.Heir) && optional(e.Target) &&
		optional(e.Doomed) && optional(e.GivenUp)
}

func (c *Command) sound() bool {
	return c.Kind >= FailoverCommand && c.Kind <= FollowCommand && !outOfRange(c.Node) && optional(c.OldPrimary) && optional(c.OldMain) &&
		optional(c.NewMain) && nodeIDs(c.Avoid)
}

func (f *Follow) sound() bool {
	return nodeIDs(f.Nodes) && optional(f.OldPrimary) && optional(f.NewPrimary)
}

func nodeIDs(ids []cluster.NodeID) bool {
	return len(ids) <= 4*cluster.MaxNodes && !slices.ContainsFunc(ids, outOfRange)
}

func optional(id cluster.NodeID) bool { return id == cluster.NoNode || !outOfRange(id) }

// view is the decision as a View, with the configuration of this node, which own has. A backend that is not configured here stays
// unused; one that the decision does not know is down until the leader's configuration has it.
func (d *decision) view(own *cluster.View) *cluster.View {
	v := edit(own)
	v.Op, v.Seeking, v.Following, v.Primary = d.Op, d.Seeking, d.Following, cluster.NoNode
	v.Draining, v.Switchover, v.Crossing = d.Draining, d.Switchover, d.Crossing
	if nodeOf(v, d.Primary).Port != 0 {
		v.Primary = d.Primary
	}
	for i := range v.Nodes {
		switch n := &v.Nodes[i]; {
		case n.Port == 0:
		case i >= len(d.Nodes) || d.Nodes[i].Port == 0:
			if n.Status.Live() {
				n.Status = cluster.StatusDown
			}
		default:
			s := &d.Nodes[i]
			n.Detached, n.Unfit = s.Out, s.Unfit
			n.Status, n.Stray, n.Epoch, n.Fenced, n.LastStatusChange = s.Status, s.Stray, s.Epoch, s.Fenced, s.Changed
		}
	}
	assignRoles(v)
	return v
}

// strangers are the nodes whose address is another one here than where it was decided.
func (d *decision) strangers(own *cluster.View) []cluster.NodeID {
	var ids []cluster.NodeID
	for i := range max(len(own.Nodes), len(d.Nodes)) {
		here, there := nodeOf(own, cluster.NodeID(i)), decidedNode{}
		if i < len(d.Nodes) {
			there = d.Nodes[i]
		}
		if here.Host != there.Host || here.Port != there.Port {
			ids = append(ids, cluster.NodeID(i))
		}
	}
	return ids
}

// within reports whether all that is to be acted on is configured here.
func (d *decision) within(own *cluster.View) bool {
	e := &d.Memory.Open
	ids := slices.Concat(e.Failed, e.Attached, e.Promoted, []cluster.NodeID{e.OldPrimary, e.OldMain, e.Elect, e.Heir, e.Target, e.Doomed, e.GivenUp})
	if c := d.Crossing; c != nil {
		ids = append(ids, c.From, c.To)
	}
	return !slices.ContainsFunc(ids, func(id cluster.NodeID) bool { return int(id) >= len(own.Nodes) })
}

// remember is the Memory a leader goes on with.
func (d *decision) remember() Memory {
	m := &d.Memory
	return Memory{Was: m.Was, Promoted: m.Promoted, Beside: m.Beside, Vacant: m.Vacant, Run: m.Run, Open: m.Open}
}
