package pcp

import (
	"context"
	"fmt"
	"strconv"

	"gopgpool/cluster"
	"gopgpool/conf"
)

// nodeInfo tells of one node, or with -1 of all.
func (c *connection) nodeInfo(ctx context.Context, id int) error {
	v, g := c.control().Cluster()
	first, last := id, id+1
	switch {
	case id == -1:
		first, last = 0, len(v.Nodes)
	case id < 0 || id >= len(v.Nodes):
		return fail("informing node info failed", fmt.Sprintf("invalid node ID : %d", id))
	}
	probes := c.control().Probe(ctx, cluster.NodeID(id))
	layout := c.server.parts.Settings().NodeInfo
	c.array(ReplyNodeInfo, last-first)
	for i := first; i < last; i++ {
		said := NodeProbe{Status: "unknown", Role: "unknown"}
		if i < len(probes) {
			said = probes[i]
		}
		c.out.strings(ReplyNodeInfo, nodeFields(v, g.Of(cluster.NodeID(i)), said, i, layout)...)
	}
	return c.done(ReplyNodeInfo, nil)
}

// weightScale is what weights are multiplied by on the wire: clients divide by the RAND_MAX of their C library.
const weightScale = 1<<31 - 1

// nodeFields is the row of node i, in the layout of 4.4 to 4.7 or in that of 4.3, which has no delay by time and counts in bytes.
func nodeFields(v *cluster.View, g cluster.NodeGauge, said NodeProbe, i int, layout conf.NodeInfoLayout) []string {
	n := &v.Nodes[i]
	status, quarantine := statusNumber(n.Status)
	f := []string{
		TagNodeInfo, n.Host, strconv.Itoa(n.Port), status, quarantine, said.Status, weight(n.Weight, v.TotalWeight()),
		roleNumber(v.Mode, n.Role), said.Role,
	}
	delay, byTime := uint64(g.Lag), "0"
	if g.HasLagTime && layout != conf.NodeInfo43 {
		delay, byTime = uint64(max(g.LagTime.Microseconds(), 0)), "1"
	}
	if v.Primary == cluster.NodeID(i) {
		delay = 0
	}
	if layout != conf.NodeInfo43 {
		f = append(f, byTime)
	}
	changed := "0"
	if !n.LastStatusChange.IsZero() {
		changed = strconv.FormatInt(n.LastStatusChange.Unix(), 10)
	}
	return append(f, strconv.FormatUint(delay, 10), g.ReplicationState, g.SyncState, changed)
}

func statusNumber(s cluster.Status) (status, quarantine string) {
	if s == cluster.StatusQuarantine {
		return "3", "1"
	}
	return strconv.Itoa(int(s)), "0"
}

// weight is a node's share of the sum of all, scaled.
func weight(w, total float64) string {
	share := 0.0
	if total > 0 {
		share = w / total
	}
	return strconv.FormatFloat(share*weightScale, 'f', 6, 64)
}

// roleNumber is 0 main, 1 replica, 2 primary, 3 standby; a node of unknown role takes no writes.
func roleNumber(m cluster.Mode, r cluster.Role) string {
	switch r {
	case cluster.RoleMain:
		return "0"
	case cluster.RoleReplica:
		return "1"
	case cluster.RolePrimary:
		return "2"
	case cluster.RoleStandby:
		return "3"
	case cluster.RoleUnknown:
	}
	if m.HasPrimary() {
		return "3"
	}
	return "1"
}
