package failover

import (
	"slices"
	"time"

	"gopgpool/cluster"
)

// attach takes a node into service again (manual: failback). Nothing is said about its role: it is a standby until the known
// primary is gone, whatever the server says of itself, so two nodes never take writes.
func attach(v *cluster.View, m Memory, r Attach, p Policy, now time.Time) Plan {
	plan := Plan{Memory: m}
	tell := func(k Kind, old string) {
		plan.Reasons = append(plan.Reasons, Reason{Kind: k, Node: r.Node, Old: old, New: pid(p)})
	}
	id := r.Node
	switch {
	case id < 0 || int(id) >= len(v.Nodes) || v.Nodes[id].Port == 0:
		tell(AttachUnknown, "")
		return plan
	case v.Nodes[id].Status.Live():
		tell(AttachInvalid, statusNumber(v, id))
		return plan
	case r.outdated(v):
		tell(Outdated, r.Origin.String())
		return plan
	}
	tell(AttachAsked, r.Origin.String())
	plan.Reasons = append(plan.Reasons, Reason{Kind: FailoverBegins, Node: cluster.NoNode})
	tell(FailbackBegins, place(v, id))
	next, e := edit(v), m.Open
	if e.Op == cluster.OpNone {
		e = begin(v, cluster.OpFailback)
		if v.Mode.HasPrimary() {
			e.Search = LookOnce
		}
	}
	n := &next.Nodes[id]
	n.Status, n.LastStatusChange = cluster.StatusWaiting, now
	n.Detached = false
	n.Epoch++ // what was found out about it before is worth nothing now
	next.Op = e.Op
	if v.Primary == cluster.NoNode && e.Search == LookOnce { // it may be the primary: it is not written to before it has been asked
		next.Seeking = true
	}
	plan.relieveMain(v, next, now)
	assignRoles(next)
	e.Attached = append(slices.Clip(e.Attached), id)
	plan.View, plan.Save = next, true
	plan.Memory = m.forget(id)
	plan.Memory.Open = e
	plan.Commands = []Command{{
		Kind: FailbackCommand, Node: id, OldPrimary: v.Primary, OldMain: v.Main(), NewMain: cluster.NoNode,
	}}
	return plan
}

// outdated reports whether a finding is about another state of the node, or about the standby of another primary. While
// follow_primary_command runs, its scripts attach what they have rebuilt.
func (r Attach) outdated(v *cluster.View) bool {
	if r.Seen == nil {
		return false
	}
	return v.Following || v.Primary != r.Seen.Primary || !v.Live(v.Primary) || outdated(v, v.Primary, r.Seen) ||
		outdated(v, r.Node, r.Seen)
}

// relieveMain cuts off the main node that gives way to the one that comes back, where the main node is the one that is written to.
// Its successor is used when nobody writes to it any more.
func (plan *Plan) relieveMain(v, next *cluster.View, now time.Time) {
	old := v.Main()
	if v.Mode.HasPrimary() || old == cluster.NoNode || next.Main() == old {
		return
	}
	n := &next.Nodes[old]
	n.Epoch++
	n.Fenced, n.LastStatusChange = n.Epoch, now
	next.Seeking, plan.Fence = true, true
}

// forget drops what a node said of itself before.
func (m Memory) forget(id cluster.NodeID) Memory {
	if int(id) < len(m.Was) {
		m.Was = slices.Clone(m.Was)
		m.Was[id] = cluster.RoleUnknown
	}
	if int(id) < len(m.Promoted) {
		m.Promoted = slices.Clone(m.Promoted)
		m.Promoted[id] = false
	}
	if m.beside(id) {
		m.Beside = slices.Clone(m.Beside)
		m.Beside[id] = false
	}
	return m
}
