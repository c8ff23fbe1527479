package health

import (
	"context"

	"gopgpool/cluster"
)

// Roles asks all live nodes for their roles at once, each over a connection of its own, and returns when all have answered or have
// been waited for long enough, or when ctx ends.
func (p *Prober) Roles(ctx context.Context, v *cluster.View, s Settings) Roles {
	probes := p.Ask(ctx, v, s)
	r := Roles{
		Seen: v, Roles: make([]cluster.Role, len(v.Nodes)), Gone: make([]bool, len(v.Nodes)), Upstream: make([]cluster.NodeID, len(v.Nodes)),
	}
	for i := range probes {
		switch probes[i].Role {
		case cluster.RolePrimary.String():
			r.Roles[i] = cluster.RolePrimary
		case cluster.RoleStandby.String():
			r.Roles[i] = cluster.RoleStandby
		}
		r.Upstream[i] = cluster.NoNode
	}
	return r
}

// Confirm has a node checked at once, whatever its period: somebody had trouble with it. The finding is reported like any other.
func (h *Check) Confirm(cluster.NodeID) { h.Wake() }
