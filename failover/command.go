package failover

import (
	"slices"
	"strconv"
	"strings"

	"gopgpool/cluster"
)

// CommandKind names the parameter a command comes from.
type CommandKind uint8

// Kinds of commands.
const (
	FailoverCommand CommandKind = iota + 1
	FailbackCommand
	FollowCommand
	AfterPromotionCommand
)

var commandNames = [...]string{"", "failover_command", "failback_command", "follow_primary_command", "after_promotion_command"}

func (k CommandKind) String() string { return commandNames[k] }

// Template is the parameter's value.
func (k CommandKind) Template(p *Policy) string {
	switch k {
	case FailoverCommand:
		return p.FailoverCommand
	case FailbackCommand:
		return p.FailbackCommand
	case FollowCommand:
		return p.FollowPrimaryCommand
	case AfterPromotionCommand:
		return p.AfterPromotionCommand
	default:
		panic("failover: no such command: " + strconv.Itoa(int(k)))
	}
}

// Command is a run of a user's command about one node.
type Command struct {
	Kind                CommandKind
	Node                cluster.NodeID
	OldPrimary, OldMain cluster.NodeID
	NewMain             cluster.NodeID // NoNode, or one that is down by then: the main node when the command is run
	// Avoid are nodes that hold other data and are not to be promoted while there is another one.
	Avoid []cluster.NodeID
}

// target is the node %m: the new main node, or the new primary of follow_primary_command.
func (c Command) target(v *cluster.View) cluster.NodeID {
	if v.Live(c.NewMain) {
		return c.NewMain
	}
	for i := range v.Nodes {
		if id := cluster.NodeID(i); v.Live(id) && !slices.Contains(c.Avoid, id) {
			return id
		}
	}
	return v.Main()
}

// promotes is the node the command is to promote, NoNode for none: scripts promote %m where %d is %P.
func (c Command) promotes(v *cluster.View) cluster.NodeID {
	if c.Kind != FailoverCommand || c.Node != c.OldPrimary {
		return cluster.NoNode
	}
	return c.target(v)
}

// Expand puts the values into the template's placeholders (manual: failover_command). Numbers of %d, %p and %m begin with a
// blank and a node that is none is `""`, as scripts have come to expect; unknown placeholders vanish.
func (c Command) Expand(template string, v *cluster.View) string {
	var b strings.Builder
	for {
		text, rest, found := strings.Cut(template, "%")
		b.WriteString(text)
		if !found || rest == "" {
			return b.String()
		}
		b.WriteString(c.value(rest[0], v))
		template = rest[1:]
	}
}

func (c Command) value(placeholder byte, v *cluster.View) string {
	node, target := nodeOf(v, c.Node), c.target(v)
	switch placeholder {
	case '%':
		return "%"
	case 'd':
		return " " + number(c.Node)
	case 'h':
		return node.Host
	case 'p':
		return " " + strconv.Itoa(node.Port)
	case 'D':
		return node.DataDirectory
	case 'm':
		return " " + number(target)
	case 'H':
		return orQuotes(nodeOf(v, target).Host)
	case 'r':
		return portOf(v, target)
	case 'R':
		return orQuotes(nodeOf(v, target).DataDirectory)
	case 'M':
		return number(c.OldMain)
	case 'P':
		return number(c.oldPrimary(v))
	case 'N':
		return orQuotes(nodeOf(v, c.oldPrimary(v)).Host)
	case 'S':
		return portOf(v, c.oldPrimary(v))
	}
	return ""
}

// oldPrimary is %P. After a failback nobody is old: it is the primary, or the main node where there is none.
func (c Command) oldPrimary(v *cluster.View) cluster.NodeID {
	if c.Kind == FailbackCommand && c.OldPrimary == cluster.NoNode {
		return v.Main()
	}
	return c.OldPrimary
}

func nodeOf(v *cluster.View, id cluster.NodeID) cluster.Node {
	if id < 0 || int(id) >= len(v.Nodes) {
		return cluster.Node{}
	}
	return v.Nodes[id]
}

func number(id cluster.NodeID) string { return strconv.Itoa(int(id)) }

func portOf(v *cluster.View, id cluster.NodeID) string {
	if n := nodeOf(v, id); n.Port != 0 {
		return strconv.Itoa(n.Port)
	}
	return `""`
}

func orQuotes(s string) string {
	if s == "" {
		return `""`
	}
	return s
}
