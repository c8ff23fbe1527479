package failover

import (
	"fmt"
	"strconv"

	"gopgpool/cluster"
)

// refuse says why an administrator's request cannot be carried out, nil if it can (manual: pcp_attach_node, pcp_detach_node,
// pcp_promote_node).
func refuse(v *cluster.View, r Request, p *Policy) *Refusal {
	switch r := r.(type) {
	case Attach:
		return refuseAttach(v, r)
	case Detach:
		for _, id := range r.Nodes {
			if why := refuseDetach(v, id, p); why != nil {
				return why
			}
		}
	case Bar:
		if v.Op != cluster.OpNone {
			return &Refusal{Message: "could not process the request", Detail: fmt.Sprintf("%v is under way", v.Op)}
		}
	case CallOff:
		if why := refuseCallOff(v, r.Run); why != nil {
			return why
		}
	case Switchover:
		return refuseSwitchover(v, r.Node, p)
	case Promote:
		if r.Switchover && p.WithoutScripts() {
			return refuseSwitchover(v, r.Node, p)
		}
		why := refusePromote(v, r)
		if why == nil && r.Switchover {
			why = refuseDetach(v, v.Primary, p)
		}
		return why
	}
	return nil
}

func outOfRange(id cluster.NodeID) bool { return id < 0 || id >= cluster.MaxNodes }

// refuseAttach lets a node pass that is attached already: asking for what is so is no mistake.
func refuseAttach(v *cluster.View, r Attach) *Refusal {
	switch {
	case outOfRange(r.Node):
		return &Refusal{Message: fmt.Sprintf(
			"invalid failback request, node id: %d is out of range. node id must be between [0 and %d]", r.Node, cluster.MaxNodes)}
	case v.Mode == cluster.ModeRaw && v.Live(r.Node):
		return &Refusal{Message: fmt.Sprintf(
			"invalid failback request, node id : %d status: [%s] not valid for failback", r.Node, statusNumber(v, r.Node))}
	}
	return nil
}

func refuseDetach(v *cluster.View, id cluster.NodeID, p *Policy) *Refusal {
	switch {
	case outOfRange(id):
		return &Refusal{Message: fmt.Sprintf(
			"invalid degenerate backend request, node id: %d is out of range. node id must be between [0 and %d]", id, cluster.MaxNodes)}
	case keepable(v, id, p):
	case !v.Live(id):
		return &Refusal{Message: fmt.Sprintf(
			"invalid degenerate backend request, node id : %d status: [%s] is not valid for failover", id, statusNumber(v, id))}
	case v.Nodes[id].DisallowFailover:
		return &Refusal{Message: disallowed(id, pid(*p))}
	}
	return nil
}

func disallowed(id cluster.NodeID, pid string) string {
	return fmt.Sprintf("degenerate backend request for node_id: %d from pid [%s] is canceled because failover is disallowed on the node",
		id, pid)
}

func refusePromote(v *cluster.View, r Promote) *Refusal {
	switch {
	case nodeOf(v, r.Node).Status == cluster.StatusUnused:
		return &Refusal{Message: "could not process promote request", Detail: fmt.Sprintf("node id %d is not valid", r.Node)}
	case v.Mode != cluster.ModeStreaming:
		return &Refusal{
			Fatal: true, Message: "invalid pgpool mode for process promote request",
			Detail: fmt.Sprintf("not in streaming replication mode, can't promote node id %d", r.Node),
		}
	case r.Node == v.Primary:
		return &Refusal{
			Fatal: true, Message: "invalid promote request",
			Detail: fmt.Sprintf("specified node is already primary node, can't promote node id %d", r.Node),
		}
	case !v.Live(r.Node):
		return &Refusal{
			Message: "could not process promote request",
			Detail:  fmt.Sprintf("node id %d is not valid, its status is %s", r.Node, nodeOf(v, r.Node).Status),
		}
	case alwaysPrimary(v) != cluster.NoNode:
		return &Refusal{
			Message: "could not process promote request",
			Detail:  fmt.Sprintf("node id %d is flagged ALWAYS_PRIMARY", alwaysPrimary(v)),
		}
	case r.Switchover && v.Primary == cluster.NoNode:
		return &Refusal{Message: "could not process promote request", Detail: "no primary node is known, so none can be switched over"}
	}
	return nil
}

// statusNumber is a node's state as the manual numbers it.
func statusNumber(v *cluster.View, id cluster.NodeID) string {
	s := nodeOf(v, id).Status
	if s == cluster.StatusQuarantine {
		s = cluster.StatusDown
	}
	return strconv.Itoa(int(s))
}

// place names a node's server as the log lines do: host(port).
func place(v *cluster.View, id cluster.NodeID) string {
	n := nodeOf(v, id)
	return fmt.Sprintf("%s(%d)", n.Host, n.Port)
}

func pid(p Policy) string { return strconv.Itoa(p.PID) }
