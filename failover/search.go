package failover

import (
	"slices"
	"time"

	"gopgpool/cluster"
)

// conclude ends the episode when its commands have ended and, where one is needed, a primary has been found.
func conclude(v *cluster.View, m Memory, r Sought, p Policy, now time.Time) Plan {
	e := m.Open
	if e.Op == cluster.OpNone {
		return Plan{Memory: m}
	}
	found, plan := v.Primary, Plan{Memory: m}
	if v.Mode.HasPrimary() && found == cluster.NoNode {
		seen := gather(v, m, r.Roles)
		plan.Memory = seen.memory
		found, plan.Reasons = seen.successor(v, &e)
		if found == cluster.NoNode && e.Search == UntilFound && v.Main() != cluster.NoNode {
			if !r.Over {
				return plan
			}
			why := Reason{Kind: SearchFailed, Node: cluster.NoNode, After: p.SearchPrimaryNodeTimeout}
			if p.unaided(v) {
				why.New = unknownPrimary
			}
			plan.Reasons = append(plan.Reasons, why)
			if len(seen.claims) > 0 {
				plan.Reasons = append(plan.Reasons, Reason{Kind: StrayPrimary, Node: seen.claims[0], Others: seen.claims})
			}
		}
	}
	return plan.end(v, found, p, now)
}

// successor picks the primary for an episode: who was appointed, else whom the script was told to promote, else who was
// promoted under our eyes, else whoever says it is the primary. A stray one, which has claimed to be a primary beside the old
// one, holds other data and is not taken.
func (s *evidence) successor(v *cluster.View, e *Episode) (cluster.NodeID, []Reason) {
	if id := alwaysPrimary(v); id != cluster.NoNode {
		return id, []Reason{{Kind: AlwaysPrimarySo, Node: id}}
	}
	if v.Live(e.Elect) {
		return e.Elect, nil
	}
	claims := s.claims
	if slices.Contains(claims, e.Heir) {
		claims = []cluster.NodeID{e.Heir}
	} else if promoted := s.promoted(claims); len(promoted) > 0 {
		claims = promoted
	} else {
		claims = s.trusted(v.Mode)
	}
	id, why := s.find(claims, v.Mode)
	if id != cluster.NoNode {
		why = append(why, s.standbys()...)
	}
	return id, why
}

// end closes the episode with the primary that was found, NoNode for none.
func (plan Plan) end(v *cluster.View, primary cluster.NodeID, p Policy, now time.Time) Plan {
	next, e := edit(v), plan.Memory.Open
	next.Seeking, next.Op = false, cluster.OpNone
	if primary != v.Primary {
		next.Primary = primary
		// Its connections were opened to a standby, and may finish what they are at.
		if v.Seeking || e.Lost || plan.Memory.Vacant || plan.Memory.promoted(primary) {
			next.Nodes[primary].Epoch++
		}
		next.Nodes[primary].LastStatusChange = now
		plan.Memory.Promoted, plan.Memory.Beside = make([]bool, len(next.Nodes)), nil
	}
	plan.close(v, next, &e, primary, p)
	plan.followNew(next, &e, primary, p, now)
	assignRoles(next)
	if v.Mode.HasPrimary() {
		plan.Reasons = append(plan.Reasons, Reason{Kind: PrimaryChanged, Node: primary})
	}
	plan.Reasons = append(plan.Reasons, Reason{Kind: MainChanged, Node: next.Main()})
	if primary == cluster.NoNode {
		e.Promoted = nil
	}
	plan.Reasons = append(plan.Reasons, e.closing(v)...)
	plan.Memory.Open = Episode{}
	plan.Memory.Vacant = primary == cluster.NoNode && (e.Lost || plan.Memory.Vacant)
	plan.View, plan.Save = next, true
	return plan
}

func (m *Memory) promoted(id cluster.NodeID) bool {
	return id >= 0 && int(id) < len(m.Promoted) && m.Promoted[id]
}

// followNew has the standbys follow a new primary: after the loss of the old one, after a promotion, and where a failover found a
// primary though none was known.
func (plan *Plan) followNew(next *cluster.View, e *Episode, primary cluster.NodeID, p Policy, now time.Time) {
	because := e.Lost || e.OldPrimary == cluster.NoNode && len(e.Failed) > 0
	if primary == cluster.NoNode || !because || e.ByHand || next.Mode != cluster.ModeStreaming || p.FollowPrimaryCommand == "" {
		return
	}
	why := plan.follow(next, primary, now)
	plan.Reasons = append(plan.Reasons, why...)
	plan.Fence = len(why) > 0
	nodes := followers(next)
	if len(nodes) == 0 {
		return
	}
	plan.Memory.Run++
	next.Following = true
	plan.Follow = &Follow{Run: plan.Memory.Run, Nodes: nodes, OldPrimary: e.OldPrimary, NewPrimary: primary}
}

// closing are the lines that tell the end of an operation.
func (e *Episode) closing(v *cluster.View) []Reason {
	var why []Reason
	for _, list := range []struct {
		kind  Kind
		nodes []cluster.NodeID
	}{{FailoverDone, e.Failed}, {FailbackDone, e.Attached}, {PromotionDone, e.Promoted}} {
		for _, id := range list.nodes {
			why = append(why, Reason{Kind: list.kind, Node: id, Old: place(v, id)})
		}
	}
	return why
}

// unknownPrimary is what helps where nobody is promoted because nobody knows which server was the primary.
const unknownPrimary = "auto_failover promotes nobody where it is not known who was the primary: start that one and attach it (pcp_attach_node)," +
	" or promote a standby by hand."
