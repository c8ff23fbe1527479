package failover

import (
	"slices"
	"time"

	"gopgpool/cluster"
)

// detachFalse takes the nodes out that say they are primary and are judged not to be (manual: detach_false_primary). It is false
// where nothing can be judged.
func (e *evidence) detachFalse(v *cluster.View, p Policy, now time.Time) (Plan, bool) {
	truth := e.truePrimary(v)
	if truth == cluster.NoNode {
		return Plan{}, false
	}
	plan := Plan{Memory: e.memory}
	var out []cluster.NodeID
	for _, id := range e.others(truth) {
		what, why := judgeDetach(v, id, Detach{Origin: ByFalsePrimary}, p)
		plan.Reasons = append(plan.Reasons, Reason{Kind: FalsePrimary, Node: id, Others: []cluster.NodeID{truth}}, why)
		if what == condemned {
			out = append(out, id)
		}
	}
	if len(out) == 0 {
		return Plan{}, false
	}
	return plan.expel(v, truth, out, &p, now), true
}

// expel condemns the false primaries. To failover_command the true one is the primary in any case, so that it promotes nobody.
func (plan Plan) expel(v *cluster.View, truth cluster.NodeID, out []cluster.NodeID, p *Policy, now time.Time) Plan {
	e := begin(v, cluster.OpFailover)
	e.OldPrimary = truth
	plan.Memory.Open = e
	plan = plan.takeOut(v, out, truth, p, now)
	if truth == v.Primary {
		return plan
	}
	// The known primary was the false one, or none was known: the true one takes over when the others are cut off.
	e = plan.Memory.Open
	e.Lost, e.ByHand, e.Elect, e.Search, e.Act = true, true, truth, NoSearch, NoAct
	setPrimary(plan.View, cluster.NoNode, now)
	plan.View.Seeking = true
	plan.Memory.Open = e
	return plan
}

// truePrimary judges several claims: the primary is the one all standbys stream from, directly or through others. Without standbys
// it is the known one, or the lowest, if every node has answered. NoNode where that settles nothing.
func (e *evidence) truePrimary(v *cluster.View) cluster.NodeID {
	if len(e.claims) < 2 {
		return cluster.NoNode
	}
	owner, standbys, silent := cluster.NoNode, 0, false
	for i := range v.Nodes {
		switch {
		case !v.Nodes[i].Status.Live():
		case e.says[i] == cluster.RoleUnknown:
			silent = true
		case e.says[i] == cluster.RoleStandby:
			source := e.source(cluster.NodeID(i))
			if source == cluster.NoNode || standbys > 0 && source != owner {
				return cluster.NoNode
			}
			owner, standbys = source, standbys+1
		}
	}
	switch {
	case standbys > 0:
		return owner
	case silent:
		return cluster.NoNode
	case slices.Contains(e.claims, v.Primary):
		return v.Primary
	}
	return e.claims[0]
}

// source is the claimant at the end of the chain a standby streams from.
func (e *evidence) source(id cluster.NodeID) cluster.NodeID {
	for range e.says {
		id = e.upstream[id]
		if id < 0 || int(id) >= len(e.says) {
			return cluster.NoNode
		}
		if e.says[id] == cluster.RolePrimary {
			return id
		}
	}
	return cluster.NoNode
}
