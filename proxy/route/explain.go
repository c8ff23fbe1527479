package route

import (
	"strconv"
	"strings"

	"gopgpool/cluster"
)

// AppendNodes appends the nodes a decision concerns, in their order: the one that runs the statement, and with Both the
// load balance node, or with All every live node. It is what log_per_node_statement and PGPOOL EXPLAIN ROUTE show; which
// of them get the statement, and when, depends on which the session uses.
func (d *Decision) AppendNodes(dst []cluster.NodeID, v *cluster.View) []cluster.NodeID {
	for i := range v.Nodes {
		id := cluster.NodeID(i)
		if id == d.Node || d.Both && v.Live(id) && (d.All || id == d.L) {
			dst = append(dst, id)
		}
	}
	return dst
}

// Destination returns those nodes as text: "node 0", "nodes 0,2"; "refused", "held" or "pgpool" where no node gets the
// statement now.
func (d *Decision) Destination(v *cluster.View) string {
	switch d.Action {
	case Refuse:
		return "refused"
	case Hold:
		return "held"
	case Answer:
		return "pgpool"
	case Send:
	}
	nodes := d.AppendNodes(nil, v)
	text := make([]string, len(nodes))
	for i, n := range nodes {
		text[i] = strconv.Itoa(int(n))
	}
	if len(text) == 1 {
		return "node " + text[0]
	}
	return "nodes " + strings.Join(text, ",")
}
