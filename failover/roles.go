package failover

import (
	"time"

	"gopgpool/cluster"
)

// alwaysPrimary is the first node flagged ALWAYS_PRIMARY, NoNode if none is in use.
func alwaysPrimary(v *cluster.View) cluster.NodeID {
	for i := range v.Nodes {
		if v.Nodes[i].AlwaysPrimary && v.Nodes[i].Status != cluster.StatusUnused {
			return cluster.NodeID(i)
		}
	}
	return cluster.NoNode
}

// assignRoles derives the role column from who is primary. Nobody is unknown: where no primary is known all are standbys, and a
// primary that is down is still shown as what it was.
func assignRoles(v *cluster.View) {
	head := v.Primary
	first, rest := cluster.RolePrimary, cluster.RoleStandby
	if !v.Mode.HasPrimary() {
		head = v.Main()
		first, rest = cluster.RoleMain, cluster.RoleReplica
	}
	for i := range v.Nodes {
		v.Nodes[i].Role = rest
		if cluster.NodeID(i) == head {
			v.Nodes[i].Role = first
		}
	}
}

// setPrimary makes id the primary, NoNode for none. The epoch of the node that stops being primary rises, so that no
// statement meant for a primary runs on a connection from before.
func setPrimary(v *cluster.View, id cluster.NodeID, now time.Time) {
	if old := v.Primary; old != cluster.NoNode {
		v.Nodes[old].Epoch++
		v.Nodes[old].LastStatusChange = now
	}
	if id != cluster.NoNode {
		v.Nodes[id].LastStatusChange = now
	}
	v.Primary = id
	assignRoles(v)
}

// rolesSeen judges what the nodes said of themselves.
func rolesSeen(v *cluster.View, m Memory, r RolesSeen, now time.Time) Plan {
	if !v.Mode.HasPrimary() {
		return Plan{Memory: m}
	}
	e := gather(v, m, r)
	if always := alwaysPrimary(v); always != cluster.NoNode {
		return Plan{Memory: e.memory}
	}
	primary, why := e.choose(v)
	if primary == v.Primary {
		return Plan{Memory: e.memory, Reasons: why}
	}
	next := edit(v)
	found := v.Primary == cluster.NoNode
	setPrimary(next, primary, now)
	if primary != cluster.NoNode && (!found || e.memory.Promoted[primary]) {
		// Its connections were opened to a standby. (The first primary found was one all the time.)
		next.Nodes[primary].Epoch++
	}
	if found {
		why = append(why, e.standbys()...)
	}
	e.memory.Promoted = make([]bool, len(next.Nodes))
	return Plan{View: next, Memory: e.memory, Reasons: why, Save: true}
}

// evidence is what is known about the roles after a round.
type evidence struct {
	says   []cluster.Role // of this round, RoleUnknown for no or an outdated answer
	gone   []bool         // nothing listens there
	memory Memory         // with this round taken in
	claims []cluster.NodeID
}

// gather sorts the answers. An answer about a node that was promoted, demoted or detached since the question was put is
// worth nothing.
func gather(v *cluster.View, m Memory, r RolesSeen) evidence {
	n := len(v.Nodes)
	e := evidence{says: make([]cluster.Role, n), gone: make([]bool, n)}
	e.memory = Memory{Was: make([]cluster.Role, n), Promoted: make([]bool, n)}
	copy(e.memory.Was, m.Was)
	copy(e.memory.Promoted, m.Promoted)
	for i := range v.Nodes {
		if i >= len(r.Seen.Nodes) || r.Seen.Nodes[i].Epoch != v.Nodes[i].Epoch || !v.Nodes[i].Status.Live() {
			continue
		}
		e.gone[i] = i < len(r.Gone) && r.Gone[i]
		if i < len(r.Roles) {
			e.note(i, r.Roles[i])
		}
	}
	return e
}

// note takes in one answer.
func (e *evidence) note(i int, role cluster.Role) {
	switch role {
	case cluster.RolePrimary:
		if e.memory.Was[i] == cluster.RoleStandby {
			e.memory.Promoted[i] = true
		}
		e.claims = append(e.claims, cluster.NodeID(i))
	case cluster.RoleStandby:
		e.memory.Promoted[i] = false
	case cluster.RoleUnknown, cluster.RoleMain, cluster.RoleReplica:
		return
	}
	e.says[i], e.memory.Was[i] = role, role
}

// choose picks the primary. A known primary is kept as long as it claims to be one, and also while it is silent, unless
// nothing listens at its address any more and exactly one node was promoted meanwhile.
func (e *evidence) choose(v *cluster.View) (cluster.NodeID, []Reason) {
	if v.Primary == cluster.NoNode {
		return e.find(v.Mode)
	}
	others := e.others(v.Primary)
	switch e.says[v.Primary] {
	case cluster.RolePrimary:
		if len(others) > 0 && v.Mode == cluster.ModeStreaming {
			return v.Primary, []Reason{{Kind: SeveralPrimary, Node: v.Primary, Others: e.claims}}
		}
		return v.Primary, nil
	case cluster.RoleStandby:
		return e.replaceDemoted(v, others)
	case cluster.RoleUnknown, cluster.RoleMain, cluster.RoleReplica:
	}
	promoted := e.promoted(others)
	switch {
	case len(promoted) == 1 && (e.gone[v.Primary] || !v.Live(v.Primary)):
		return promoted[0], []Reason{{Kind: PrimaryChanged, Node: promoted[0]}}
	case len(promoted) > 0:
		return v.Primary, []Reason{{Kind: UnsurePrimary, Node: v.Primary, Others: promoted}}
	}
	return v.Primary, nil
}

// find picks the first primary: the lowest node that claims to be one.
func (e *evidence) find(mode cluster.Mode) (cluster.NodeID, []Reason) {
	if len(e.claims) == 0 {
		return cluster.NoNode, nil
	}
	var why []Reason
	if len(e.claims) > 1 && mode == cluster.ModeStreaming {
		why = append(why, Reason{Kind: SeveralPrimary, Node: e.claims[0], Others: e.claims})
	}
	return e.claims[0], append(why, Reason{Kind: PrimaryFound, Node: e.claims[0]})
}

// replaceDemoted picks a successor for a primary that says it is a standby now. A node promoted under our eyes comes before one that
// has always claimed to be a primary.
func (e *evidence) replaceDemoted(v *cluster.View, others []cluster.NodeID) (cluster.NodeID, []Reason) {
	candidates := e.promoted(others)
	if len(candidates) == 0 {
		candidates = others
	}
	if len(candidates) == 0 {
		return cluster.NoNode, []Reason{{Kind: PrimaryLost, Node: v.Primary}}
	}
	var why []Reason
	if len(candidates) > 1 {
		why = append(why, Reason{Kind: SeveralPrimary, Node: candidates[0], Others: candidates})
	}
	return candidates[0], append(why, Reason{Kind: PrimaryChanged, Node: candidates[0]})
}

// others are the claimants besides the known primary.
func (e *evidence) others(primary cluster.NodeID) []cluster.NodeID {
	var out []cluster.NodeID
	for _, id := range e.claims {
		if id != primary {
			out = append(out, id)
		}
	}
	return out
}

func (e *evidence) promoted(ids []cluster.NodeID) []cluster.NodeID {
	var out []cluster.NodeID
	for _, id := range ids {
		if e.memory.Promoted[id] {
			out = append(out, id)
		}
	}
	return out
}

// standbys tells who else answered when the primary was found.
func (e *evidence) standbys() []Reason {
	var why []Reason
	for i, role := range e.says {
		if role == cluster.RoleStandby {
			why = append(why, Reason{Kind: StandbyFound, Node: cluster.NodeID(i)})
		}
	}
	return why
}
