package failover

import (
	"slices"
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

// setPrimary makes id the primary, NoNode for none. The node that stops being primary is condemned as such: what was meant for a
// primary never runs on it, and whatever still does is cut.
func setPrimary(v *cluster.View, id cluster.NodeID, now time.Time) {
	if old := v.Primary; old != cluster.NoNode {
		v.Nodes[old].Epoch++
		v.Nodes[old].Fenced = v.Nodes[old].Epoch
		v.Nodes[old].LastStatusChange = now
	}
	if id != cluster.NoNode {
		v.Nodes[id].LastStatusChange = now
	}
	v.Primary = id
	assignRoles(v)
}

// rolesSeen judges what the nodes said of themselves. During an operation only its own search does.
func rolesSeen(v *cluster.View, m Memory, r RolesSeen, p Policy, now time.Time) Plan {
	if !v.Mode.HasPrimary() || v.Seeking && m.LastUntil.IsZero() || m.Open.Op != cluster.OpNone {
		return Plan{Memory: m}
	}
	e := gather(v, m, r)
	if alwaysPrimary(v) != cluster.NoNode || v.Following && v.Primary != cluster.NoNode {
		return Plan{Memory: e.memory}
	}
	if p.DetachFalsePrimary && v.Mode == cluster.ModeStreaming {
		if plan, found := e.detachFalse(v, p, now); found {
			return plan
		}
	}
	primary, why := e.choose(v)
	if p.unaided(v) && primary != v.Primary && e.outdone(v, primary) {
		primary, why = v.Primary, []Reason{{Kind: UnsurePrimary, Node: v.Primary, Others: []cluster.NodeID{primary}}}
	}
	if primary == cluster.NoNode && v.Primary == cluster.NoNode {
		if plan, found := e.lastIsLost(v, p, now); found {
			return plan
		}
	}
	switch {
	case primary == cluster.NoNode && v.Seeking && !now.Before(e.memory.Early): // it has been waited for long enough
		next := edit(v)
		next.Seeking = false
		return Plan{View: next, Memory: e.memory, Reasons: why}
	case primary == v.Primary:
		return Plan{Memory: e.memory, Reasons: why}
	case v.Primary == cluster.NoNode:
		return e.found(v, primary, why, now)
	}
	return e.depose(v, primary, why, now)
}

// lastIsLost takes the primary that was known before this pgpool was started for lost: nothing listens there, the standbys answer, and
// nobody else says that it is the primary. Nobody would ever condemn it otherwise, for it is not known to be one.
func (e *evidence) lastIsLost(v *cluster.View, p Policy, now time.Time) (Plan, bool) {
	last := e.memory.Last
	if e.memory.LastUntil.IsZero() || now.Before(e.memory.LastUntil) || !p.unaided(v) || len(e.claims) > 0 || !v.Live(last) || !e.gone[last] ||
		!slices.Contains(e.says, cluster.RoleStandby) {
		return Plan{}, false
	}
	e.memory.LastUntil = time.Time{}
	before := edit(v)
	before.Primary, before.Seeking = last, false
	plan := Plan{Memory: e.memory, Reasons: []Reason{{Kind: LastIsLost, Node: last}}}
	return plan.takeOut(before, []cluster.NodeID{last}, cluster.NoNode, &p, now), true
}

// found publishes the first primary. Its connections are good where it was one all the time.
func (e *evidence) found(v *cluster.View, primary cluster.NodeID, why []Reason, now time.Time) Plan {
	next := edit(v)
	next.Seeking, e.memory.LastUntil = false, time.Time{}
	setPrimary(next, primary, now)
	if e.memory.Vacant || e.memory.promoted(primary) {
		next.Nodes[primary].Epoch++
	}
	e.memory.Promoted, e.memory.Beside, e.memory.Vacant = make([]bool, len(next.Nodes)), nil, false
	return Plan{View: next, Memory: e.memory, Reasons: append(why, e.standbys()...), Save: true}
}

// depose takes the primary out of its office, because the servers changed their roles by themselves. Its successor takes over when
// nobody can write to the old one any more; where none is known (NoNode) one is searched for.
func (e *evidence) depose(v *cluster.View, successor cluster.NodeID, why []Reason, now time.Time) Plan {
	ep := begin(v, cluster.OpFailover)
	ep.Lost, ep.ByHand, ep.Elect = true, true, successor
	if successor == cluster.NoNode {
		ep.Search = UntilFound
	}
	next := edit(v)
	setPrimary(next, cluster.NoNode, now)
	next.Seeking, next.Op = true, ep.Op
	e.memory.Open = ep
	return Plan{View: next, Memory: e.memory, Reasons: why, Save: true, Fence: true}
}

// evidence is what is known about the roles after a round.
type evidence struct {
	says     []cluster.Role   // of this round, RoleUnknown for no or an outdated answer
	gone     []bool           // nothing listens there
	upstream []cluster.NodeID // whom a standby streams from
	memory   Memory           // with this round taken in
	claims   []cluster.NodeID
	timeline []cluster.Timeline // of the claims
	stray    []bool             // claimed to be a primary before this round and was not promoted under our eyes
}

// gather sorts the answers. An answer about a node that was promoted, demoted or detached since the question was put is
// worth nothing.
func gather(v *cluster.View, m Memory, r RolesSeen) evidence {
	n := len(v.Nodes)
	e := evidence{
		says: make([]cluster.Role, n), gone: make([]bool, n), upstream: make([]cluster.NodeID, n), stray: make([]bool, n), memory: m,
		timeline: make([]cluster.Timeline, n),
	}
	e.memory.Was, e.memory.Promoted = make([]cluster.Role, n), make([]bool, n)
	copy(e.memory.Was, m.Was)
	copy(e.memory.Promoted, m.Promoted)
	e.memory.Beside = make([]bool, n)
	copy(e.memory.Beside, m.Beside)
	for i := range v.Nodes {
		e.upstream[i] = cluster.NoNode
		e.stray[i] = m.stray(cluster.NodeID(i))
		if r.Seen == nil || outdated(v, cluster.NodeID(i), r.Seen) || !v.Nodes[i].Status.Live() {
			continue
		}
		e.gone[i] = i < len(r.Gone) && r.Gone[i]
		if i < len(r.Upstream) {
			e.upstream[i] = r.Upstream[i]
		}
		if i < len(r.Timelines) {
			e.timeline[i] = r.Timelines[i]
		}
		if i < len(r.Roles) {
			e.note(i, r.Roles[i])
		}
	}
	if v.Live(v.Primary) && e.says[v.Primary] == cluster.RolePrimary {
		for _, id := range e.others(v.Primary) {
			e.memory.Beside[id] = true
		}
	}
	return e
}

// stray reports whether a node has said all the time that it is a primary: unless it was the primary, it holds other data.
func (m *Memory) stray(id cluster.NodeID) bool {
	return int(id) < len(m.Was) && m.Was[id] == cluster.RolePrimary && !m.promoted(id)
}

// strays are the nodes that claim to be a primary beside the known one. Without a primary, or where all nodes are writable, nobody
// can tell.
func (m *Memory) strays(v *cluster.View) []cluster.NodeID {
	var out []cluster.NodeID
	for i := range v.Nodes {
		if id := cluster.NodeID(i); v.Mode == cluster.ModeStreaming && m.stray(id) && id != v.Primary {
			out = append(out, id)
		}
	}
	return out
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
		e.memory.Promoted[i], e.memory.Beside[i] = false, false
	case cluster.RoleUnknown, cluster.RoleMain, cluster.RoleReplica:
		return
	}
	e.says[i], e.memory.Was[i] = role, role
}

// choose picks the primary. A known primary is kept as long as it claims to be one, and also while it is silent, unless
// nothing listens at its address any more and exactly one node was promoted meanwhile.
func (e *evidence) choose(v *cluster.View) (cluster.NodeID, []Reason) {
	if v.Primary == cluster.NoNode {
		return e.first(v.Mode)
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
		return promoted[0], []Reason{{Kind: PrimaryMoved, Node: promoted[0], Others: []cluster.NodeID{v.Primary}}}
	case len(promoted) > 0:
		return v.Primary, []Reason{{Kind: UnsurePrimary, Node: v.Primary, Others: promoted}}
	}
	return v.Primary, nil
}

// first picks the first primary. One that claimed to be a primary beside the last one is not taken.
func (e *evidence) first(mode cluster.Mode) (cluster.NodeID, []Reason) {
	claims := e.trusted(mode)
	if len(claims) == 0 && len(e.claims) > 0 {
		return cluster.NoNode, []Reason{{Kind: StrayPrimary, Node: e.claims[0], Others: e.claims}}
	}
	return e.find(claims, mode)
}

// trusted are the claims but those of stray nodes.
func (e *evidence) trusted(mode cluster.Mode) []cluster.NodeID {
	if mode != cluster.ModeStreaming {
		return e.claims
	}
	return slices.DeleteFunc(slices.Clone(e.claims), func(id cluster.NodeID) bool { return e.stray[id] })
}

// find picks one of those who claim to be primary: the one that was promoted last, by its timeline, for the others have been left
// behind; else the lowest.
func (e *evidence) find(claims []cluster.NodeID, mode cluster.Mode) (cluster.NodeID, []Reason) {
	if len(claims) == 0 {
		return cluster.NoNode, nil
	}
	pick := claims[0]
	for _, id := range claims[1:] {
		if mode == cluster.ModeStreaming && e.timeline[id] > e.timeline[pick] {
			pick = id
		}
	}
	var why []Reason
	if len(claims) > 1 && mode == cluster.ModeStreaming {
		why = append(why, Reason{Kind: SeveralPrimary, Node: pick, Others: claims})
	}
	return pick, append(why, Reason{Kind: PrimaryFound, Node: pick})
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
	return candidates[0], append(why, Reason{
		Kind: PrimaryMoved, Node: candidates[0], Others: []cluster.NodeID{v.Primary},
	})
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
