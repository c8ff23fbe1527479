package failover

import (
	"slices"

	"gopgpool/cluster"
)

// quarantine takes the nodes of a vote out of use on this node alone, because the others have not agreed (manual: quarantine). No
// command runs and nothing is written; the health check goes on looking at them.
func (c *Coordinator) quarantine(v *vote, because string) {
	c.isolateNodes(v.finding.Nodes, v.finding, because)
}

// isolateFound does the same without a vote, where there is nobody to vote.
func (c *Coordinator) isolateFound(r Detach) {
	if out := c.screened(r); len(out) > 0 {
		r.Nodes = out
		c.isolateNodes(out, r, "watchdog does not holds the quorum")
	}
}

func (c *Coordinator) isolateNodes(ids []cluster.NodeID, r Detach, because string) {
	p, v := &c.peers, c.view()
	var fresh []cluster.NodeID
	for _, id := range ids {
		if _, already := p.marked[id]; !already && v.Live(id) {
			p.marked[id], p.cause[id] = c.now(), r
			fresh = append(fresh, id)
		}
	}
	for _, id := range fresh {
		c.tell(Reason{Kind: VoteQuarantine, Node: id, Old: because, New: pid(c.policy()), Cause: r.cause()},
			Reason{Kind: QuarantineBegins, Node: id, Old: place(v, id)})
	}
	if len(fresh) == 0 {
		return
	}
	c.store.Publish(adopt(c.store.Current(), v, v, v, p.marked))
	c.tell(Reason{Kind: PrimaryChanged, Node: c.store.Current().Primary})
	for _, id := range fresh {
		c.tell(Reason{Kind: QuarantineDone, Node: id, Old: place(v, id)})
	}
}

// apply puts a node back into use on this node. It is what all nodes have agreed it is.
func (r released) apply(c *Coordinator) {
	p, v := &c.peers, c.view()
	if _, is := p.marked[r.node]; !is {
		return
	}
	p.unmark(r.node)
	c.store.Publish(adopt(c.store.Current(), v, v, v, p.marked))
	c.tell(Reason{Kind: QuarantineEnds, Node: r.node, Old: place(v, r.node)})
}

func (p *agreement) unmark(id cluster.NodeID) {
	delete(p.marked, id)
	delete(p.cause, id)
}

// apply repeats the requests about nodes in quarantine: somebody else has met the same, and the votes count together.
func (resend) apply(c *Coordinator) {
	p := &c.peers
	if p.office.Standing != StandingFollows && p.office.Standing != StandingLeads {
		return
	}
	ids := make([]cluster.NodeID, 0, len(p.cause))
	for id := range p.cause {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		c.ballot(p.cause[id], true)
	}
}

// Well tells that a node was found well, under the View seen: a waiting one is up, one in quarantine is used again.
func (c *Coordinator) Well(id cluster.NodeID, seen *cluster.View) {
	v := c.store.Current()
	if nodeOf(v, id).Status != cluster.StatusQuarantine {
		c.Used(id)
		return
	}
	if !outdated(v, id, seen) {
		c.Report(released{id})
	}
}
