package query

import "gopgpool/cluster"

// candidates are the nodes that may be asked, the best first: the primary, then the other live nodes that have its data. Where no node
// copies another, only the one that sessions use.
func candidates(v *cluster.View) []cluster.Node {
	if !v.Mode.HasPrimary() {
		if w := v.Writer(); w != cluster.NoNode {
			return []cluster.Node{v.Nodes[w]}
		}
		return nil
	}
	var list []cluster.Node
	if v.Live(v.Primary) {
		list = append(list, v.Nodes[v.Primary])
	}
	for i := range v.Nodes {
		if n := v.Nodes[i]; cluster.NodeID(i) != v.Primary && n.Status.Live() && !n.Stray {
			list = append(list, n)
		}
	}
	return list
}

// home is a node as it was when a connection to it was opened.
type home struct {
	node  cluster.NodeID
	host  string
	port  int
	epoch cluster.Epoch
}

func homeOf(n cluster.Node) home { return home{node: n.ID, host: n.Host, port: n.Port, epoch: n.Epoch} }

// current reports whether new questions may go to a connection.
func (h home) current(v *cluster.View) bool { return v.Live(h.node) && homeOf(v.Nodes[h.node]) == h }

// condemned reports whether even a question under way is to be broken off.
func (h home) condemned(v *cluster.View) bool {
	return !v.Live(h.node) || v.Nodes[h.node].Fenced > h.epoch
}
