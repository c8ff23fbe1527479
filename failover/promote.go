package failover

import (
	"time"

	"gopgpool/cluster"
)

// promote makes another node the primary (manual: pcp_promote_node).
func promote(v *cluster.View, m Memory, r Promote, p Policy, now time.Time) Plan {
	plan := Plan{Memory: m}
	if r.Switchover && p.WithoutScripts() {
		return switchover(v, m, Switchover{Node: r.Node}, p, now)
	}
	if why := refusePromote(v, r); why != nil {
		plan.Reasons = []Reason{{Kind: PromoteRefused, Node: r.Node, Old: why.Message, Cause: why.Detail}}
		return plan
	}
	plan.Reasons = []Reason{{Kind: PromoteAsked, Node: r.Node, New: pid(p)}}
	if r.Switchover {
		return plan.takeOut(v, []cluster.NodeID{v.Primary}, r.Node, &p, now)
	}
	return plan.appoint(v, r.Node, now)
}

// appoint declares a node the primary without asking it. All others go down: they are standbys of somebody else.
func (plan Plan) appoint(v *cluster.View, id cluster.NodeID, now time.Time) Plan {
	next, e := edit(v), plan.Memory.Open
	if e.Op == cluster.OpNone {
		e = begin(v, cluster.OpPromote)
	}
	plan.Reasons = append(plan.Reasons, plan.follow(next, id, now)...)
	e.turn(NoAct, now)
	e.Planned = false
	e.Promoted, e.Lost, e.Elect, e.Search = []cluster.NodeID{id}, true, id, NoSearch
	next.Primary, next.Seeking, next.Op = cluster.NoNode, true, e.Op
	assignRoles(next)
	plan.View, plan.Memory.Open, plan.Save, plan.Fence = next, e, true, true
	return plan
}
