package failover

import (
	"slices"

	"gopgpool/cluster"
)

// What a node without quorum decides is taken back when the nodes meet. A failover is another matter (failover_when_quorum_exists =
// off): a server was promoted, and clients have written to it. As long as the others still take a server for their primary that was
// given up here, they have decided nothing since, and what happened here holds for all.

// lonely notes what a failover without quorum has taken out.
func (c *Coordinator) lonely(r Detach) {
	v, p := c.view(), &c.peers
	for _, id := range r.Nodes {
		if int(id) < len(v.Nodes) && id >= 0 && !v.Live(id) && !slices.Contains(p.lonely, id) {
			p.lonely = append(p.lonely, id)
		}
	}
}

// stands reports whether what was done alone is to hold for all, given what they have decided: primary is the one that it made.
func (p *agreement) stands(primary cluster.NodeID) bool {
	return p.last != nil && len(p.lonely) > 0 && primary != cluster.NoNode && primary != p.last.Primary && slices.Contains(p.lonely, p.last.Primary)
}

// bringAlong has the leader take over the primary that was made here alone. The order takes all others out of use, as
// pcp_promote_node does: whose changes they follow is for an administrator to find out.
func (c *Coordinator) bringAlong(primary cluster.NodeID) {
	stands := c.peers.stands(primary)
	c.peers.lonely = nil
	if stands {
		c.order(Promote{Node: primary})
	}
}
