package watchdog

import (
	"fmt"
	"time"

	"gopgpool/logging"
	"gopgpool/watchdog/ipc"
	"gopgpool/watchdog/machine"
	"gopgpool/watchdog/vip"
)

// Cluster is the node list as the IPC socket and PCP tell it: the local node first.
func (w *Watchdog) Cluster() ipc.Cluster {
	s := w.status.Load()
	c := ipc.Cluster{
		RequiredForQuorum: s.Required, Quorum: int(s.Quorum), AliveRemote: s.Alive, Escalated: s.Escalated,
		LeaderName: "Not Set", LeaderHost: "Not Set",
	}
	for id, n := range w.cfg.Watchdog.Nodes {
		if n.WdPort == 0 {
			continue
		}
		is := &s.Nodes[id]
		node := ipc.Node{
			ID: id, State: int(is.State), StateName: is.State.String(), Membership: int(is.Membership), MembershipName: is.Membership.String(),
			Name: is.Name, Host: n.Hostname, DelegateIP: w.cfg.Watchdog.DelegateIP, WdPort: n.WdPort, PgpoolPort: n.PgpoolPort, Priority: is.Priority,
		}
		if node.Name == "" {
			node.Name = "Not_Set"
		}
		c.Nodes = append(c.Nodes, node)
		if id != w.self {
			c.Remote++
			if is.Membership == machine.Member {
				c.MemberRemote++
			}
		}
		if id == s.Leader {
			c.LeaderName, c.LeaderHost = node.Name, n.Hostname
		}
	}
	ipc.LocalFirst(c.Nodes, w.self)
	return c
}

// StatusChange takes the verdict of an external life check.
func (w *Watchdog) StatusChange(node int, dead bool, message string) error {
	w.log.Log(logging.Event{
		Severity: logging.Log, Message: "received node status change ipc message",
		Detail: fmt.Sprintf("node id :%d status = %q message:%q", node, lifeWord(dead), message),
	})
	nodes := w.cfg.Watchdog.Nodes
	if node < 0 || node >= len(nodes) || nodes[node].WdPort == 0 {
		return fmt.Errorf("invalid node id %d", node)
	}
	if node == w.self {
		if dead {
			w.inbox.put(externalEnd{message})
		}
		return nil
	}
	w.inbox.put(machine.Judged{Peer: node, Dead: dead, Why: message})
	return nil
}

// externalEnd is the external life check's word that this node is dead: it leaves.
type externalEnd struct{ message string }

// Variable is a variable others may ask for.
func (w *Watchdog) Variable(name string) (value any, ok bool) {
	s := w.status.Load()
	switch name {
	case ipc.VariableState:
		return int(s.Nodes[w.self].State), true
	case ipc.VariableQuorum:
		return int(s.Quorum), true
	case ipc.VariableEscalated:
		return s.Escalated, true
	}
	return nil, false
}

// Snapshot is the state of the cluster as this node sees it, and what that is about: the configured nodes by id, the own id, whether the
// address is here.
type Snapshot struct {
	machine.Status
	Self int
	Held bool
	VIP  bool // there is an address to hold
	At   time.Duration
}

// Snapshot is the latest state. It costs no lock.
func (w *Watchdog) Snapshot() Snapshot {
	s := w.status.Load()
	return Snapshot{Status: s.Status, Self: w.self, Held: s.held, VIP: w.cfg.Watchdog.DelegateIP != "", At: vip.Boottime()}
}
