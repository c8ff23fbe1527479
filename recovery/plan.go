package recovery

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"gopgpool/cluster"
	"gopgpool/conf"
)

// StepKind is what one step of a recovery does.
type StepKind uint8

// The steps.
const (
	StepCheckpoint  StepKind = iota + 1 // a CHECKPOINT on the source
	StepScript                          // a stage: a script of the source's data directory, run by pgpool_recovery()
	StepQuiesce                         // keep clients out, to the end of the recovery
	StepRemoteStart                     // the script pgpool_remote_start, run by pgpool_remote_start()
	StepAwait                           // wait until the node accepts connections
	StepAttach                          // have it attached
)

// Step is one step. Stage and Script are those of StepScript.
type Step struct {
	Kind   StepKind
	Stage  string // "1st stage", "2nd stage"
	Script string // file name
}

func (s Step) String() string {
	switch s.Kind {
	case StepCheckpoint:
		return "checkpoint on the source"
	case StepScript:
		return s.Stage + ": " + s.Script
	case StepQuiesce:
		return "keep clients out"
	case StepRemoteStart:
		return "pgpool_remote_start"
	case StepAwait:
		return "wait for the node"
	case StepAttach:
		return "attach the node"
	}
	panic(fmt.Sprintf("recovery: bug: step %d", s.Kind))
}

// Plan is how a node is recovered: what is done, in this order, and from which node.
type Plan struct {
	Node, Source cluster.Node
	Steps        []Step
	// Standby: the node must come up as a standby.
	Standby bool
}

// lost reports whether the source has gone: what was copied from it is not to be attached.
func (p Plan) lost(v *cluster.View) bool {
	return !v.Live(p.Source.ID) || p.Standby && v.Primary != p.Source.ID
}

// Check tells why a recovery is not to be begun, as *Error, or nil: what can be seen from the request alone. Decide repeats it.
func Check(v *cluster.View, s Settings, id cluster.NodeID) error {
	switch {
	case v.Op != cluster.OpNone:
		return errOperation(v.Op.String())
	case v.Seeking:
		return errOperation(cluster.OpFailover.String())
	case id < 0 || int(id) >= len(v.Nodes):
		return refuse(fmt.Sprintf("node id %d is not valid", id))
	case s.Mode == conf.ModeStreamingReplication && id == v.Primary:
		return refuse("primary server cannot be recovered by online recovery.")
	case s.Mode != conf.ModeStreamingReplication && !replicates(s.Mode):
		return refuse("recovery request is only allowed in replication and streaming replication modes.")
	}
	return nil
}

// Decide makes the plan for recovering node id, or refuses with an *Error.
func Decide(v *cluster.View, s Settings, id cluster.NodeID) (Plan, error) {
	if err := Check(v, s, id); err != nil {
		return Plan{}, err
	}
	if err := checkNode(v.Nodes[id], s); err != nil {
		return Plan{}, err
	}
	streaming := s.Mode == conf.ModeStreamingReplication
	source := v.Main()
	if streaming {
		source = v.Primary
	}
	if !v.Live(source) {
		return Plan{}, errUnreachable(source, errNoSource{})
	}
	return Plan{Node: v.Nodes[id], Source: v.Nodes[source], Steps: steps(s), Standby: streaming}, nil
}

// replicates reports whether pgpool itself keeps the servers alike, which takes a second stage.
func replicates(m conf.ClusteringMode) bool {
	return m == conf.ModeNativeReplication || m == conf.ModeSnapshotIsolation
}

// checkNode tells whether this node may be recovered.
func checkNode(n cluster.Node, s Settings) error {
	switch {
	case n.Status == cluster.StatusUnused:
		return &Error{Message: fmt.Sprintf("node recovery failed, node id: %d is unused", n.ID)}
	case n.Status.Live():
		return &Error{Message: fmt.Sprintf("node recovery failed, node id: %d is alive", n.ID)}
	case n.DataDirectory == "":
		return refuse(fmt.Sprintf("backend_data_directory%d is not set", n.ID))
	case !fileName(s.Recovery1stStageCommand):
		return refuse("recovery_1st_stage_command is not the name of a file in the data directory")
	case replicates(s.Mode) && !fileName(s.Recovery2ndStageCommand):
		return refuse("recovery_2nd_stage_command is not the name of a file in the data directory")
	}
	return nil
}

// fileName reports whether a stage's command can name a file of the data directory; empty means there is no such stage.
func fileName(name string) bool {
	return !strings.Contains(name, "/") && name != "." && name != ".."
}

func steps(s Settings) []Step {
	var all []Step
	second := replicates(s.Mode)
	if second {
		all = append(all, Step{Kind: StepCheckpoint})
	}
	if s.Recovery1stStageCommand != "" {
		all = append(all, Step{Kind: StepScript, Stage: "1st stage", Script: s.Recovery1stStageCommand})
	}
	if second {
		all = append(all, Step{Kind: StepQuiesce}, Step{Kind: StepCheckpoint})
		if s.Recovery2ndStageCommand != "" {
			all = append(all, Step{Kind: StepScript, Stage: "2nd stage", Script: s.Recovery2ndStageCommand})
		}
	}
	return append(all, Step{Kind: StepRemoteStart}, Step{Kind: StepAwait}, Step{Kind: StepAttach})
}

// scriptArguments are what pgpool_recovery is given, of which an older extension takes the first few.
func (p Plan) scriptArguments(script string) []string {
	return []string{
		script, remoteHost(p.Node), p.Node.DataDirectory, strconv.Itoa(p.Source.Port),
		strconv.Itoa(int(p.Node.ID)), strconv.Itoa(p.Node.Port), remoteHost(p.Source),
	}
}

// remoteHost is a node's host as scripts can use it: a socket directory is on this machine.
func remoteHost(n cluster.Node) string {
	if n.Host == "" || path.IsAbs(n.Host) {
		return "localhost"
	}
	return n.Host
}

// errNoSource is that there is no node to copy.
type errNoSource struct{}

func (errNoSource) Error() string { return "no such node is up" }
