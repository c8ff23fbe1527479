package ipc

import (
	"cmp"
	"slices"
	"strconv"
)

// The values of QuorumStatus.
const (
	QuorumExists   = 1
	QuorumOnEdge   = 0 // half of the votes, which enable_consensus_with_half_votes lets suffice
	QuorumAbsent   = -1
	QuorumNoLeader = -2
)

// AllNodes stands for all in the place of a node's id.
const AllNodes = -1

// What stands for a text that is not known.
const (
	notSet       = "Not_Set"
	noLeader     = "Not Set"
	notAvailable = "NOT-Available" // of a state or a membership of no known code
)

// Node is what is told of a pgpool. ID is its pgpool_node_id.
type Node struct {
	ID             int
	State          int    // 0 to 12, see StateName
	StateName      string // empty: that of State
	Membership     int    // 0 to 3, see MembershipName
	MembershipName string // empty: that of Membership
	Name           string // empty: never heard of
	Host           string
	DelegateIP     string // empty: none
	WdPort         int
	PgpoolPort     int
	Priority       int
}

// Cluster is the state of the watchdog as this node sees it.
type Cluster struct {
	Remote            int // configured nodes but this one
	MemberRemote      int // those of them that are members
	RequiredForQuorum int
	Quorum            int // QuorumExists and so on; QuorumNoLeader without a leader
	AliveRemote       int // standbys that have joined
	Escalated         bool
	LeaderName        string // empty: there is no leader
	LeaderHost        string
	Nodes             []Node // this node first, then by id
}

// StateName is the name of a node's state (manual: watchdog states).
func StateName(state int) string {
	names := [...]string{
		"DEAD", "LOADING", "JOINING", "INITIALIZING", "LEADER", "PARTICIPATING IN ELECTION", "STANDING FOR LEADER", "STANDBY", "LOST",
		"IN NETWORK TROUBLE", "SHUTDOWN", "ADD MESSAGE SENT", "NETWORK ISOLATION",
	}
	if state < 0 || state >= len(names) {
		return notAvailable
	}
	return names[state]
}

// MembershipName is the name of a node's membership.
func MembershipName(membership int) string {
	names := [...]string{"MEMBER", "REVOKED-SHUTDOWN", "REVOKED-NO-SHOW", "REVOKED-LOST"}
	if membership < 0 || membership >= len(names) {
		return notAvailable
	}
	return names[membership]
}

// LocalFirst puts nodes into the order in which they are told: the local one, then the others by id.
func LocalFirst(nodes []Node, local int) {
	slices.SortFunc(nodes, func(a, b Node) int {
		if (a.ID == local) != (b.ID == local) {
			if a.ID == local {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.ID, b.ID)
	})
}

// EncodeNodes is the document that tells of one node by its pgpool_node_id, or with a negative id of all. In the place of an unknown
// node is one that says so. Tools depend on the names and their order.
func EncodeNodes(c Cluster, id int) []byte {
	nodes := c.Nodes
	if id >= 0 {
		nodes = []Node{unknownNode()}
		if i := slices.IndexFunc(c.Nodes, func(n Node) bool { return n.ID == id }); i >= 0 {
			nodes = c.Nodes[i : i+1]
		}
	}
	b := append([]byte(nil), '{')
	b = appendInt(b, "RemoteNodeCount", c.Remote)
	b = appendInt(b, "MemberRemoteNodeCount", c.MemberRemote)
	b = appendInt(b, "NodesRequireForQuorum", c.RequiredForQuorum)
	b = appendInt(b, "QuorumStatus", c.Quorum)
	b = appendInt(b, "AliveNodeCount", c.AliveRemote)
	b = appendInt(b, "Escalated", oneOrZero(c.Escalated))
	b = appendText(b, "LeaderNodeName", c.LeaderName, noLeader)
	b = appendText(b, "LeaderHostName", c.LeaderHost, noLeader)
	b = appendInt(b, "NodeCount", len(nodes))
	b = append(b, `"WatchdogNodes": [`...) // with the blank that the original has
	for i := range nodes {
		b = appendNode(b, &nodes[i])
		b = append(b, ',')
	}
	if len(nodes) > 0 {
		b = b[:len(b)-1]
	}
	return append(b, "]}"...)
}

func unknownNode() Node {
	return Node{ID: -1, State: -1, StateName: notSet, Membership: -1, MembershipName: notSet}
}

func appendNode(b []byte, n *Node) []byte {
	b = append(b, '{')
	b = appendInt(b, "ID", n.ID)
	b = appendInt(b, "State", n.State)
	b = appendInt(b, "Membership", n.Membership)
	b = appendText(b, "MembershipString", n.MembershipName, MembershipName(n.Membership))
	b = appendText(b, "NodeName", n.Name, notSet)
	b = appendText(b, "HostName", n.Host, notSet)
	b = appendText(b, "StateName", n.StateName, StateName(n.State))
	b = appendText(b, "DelegateIP", n.DelegateIP, notSet)
	b = appendInt(b, "WdPort", n.WdPort)
	b = appendInt(b, "PgpoolPort", n.PgpoolPort)
	b = appendInt(b, "Priority", n.Priority)
	b[len(b)-1] = '}'
	return b
}

func appendInt(b []byte, name string, n int) []byte {
	b = append(append(append(b, '"'), name...), `":`...)
	return append(strconv.AppendInt(b, int64(n), 10), ',')
}

func appendText(b []byte, name, text, missing string) []byte {
	b = append(append(append(b, '"'), name...), `":`...)
	return append(appendString(b, cmp.Or(text, missing)), ',')
}

func oneOrZero(b bool) int {
	if b {
		return 1
	}
	return 0
}
