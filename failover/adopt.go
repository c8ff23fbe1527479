package failover

import (
	"time"

	"gopgpool/cluster"
)

// A pgpool node that has agreed with others keeps two Views: the basis, which decisions are about and whose epochs all nodes share, and
// the one it publishes, which also has what holds here only: quarantine. Connections are told apart by the epochs of the latter, which
// never fall as long as the process lives.

// adopt carries over to local, the View published here, what changes when the basis from is replaced by to. fork is the last basis
// that both have in common: where from went on without the others, what it did is taken back and its connections are cut. marked are the
// nodes in quarantine, and since when. It is pure.
func adopt(local, from, fork, to *cluster.View, marked map[cluster.NodeID]time.Time) *cluster.View {
	next := edit(to)
	for i := range next.Nodes {
		if i < len(local.Nodes) && local.Nodes[i].Port != 0 {
			n, id := &next.Nodes[i], cluster.NodeID(i)
			n.Epoch, n.Fenced = local.Nodes[i].Epoch, local.Nodes[i].Fenced
			renumber(n, nodeOf(from, id), nodeOf(fork, id), to.Nodes[i])
			if gaveWay(id, local, from, to) && n.Fenced <= local.Nodes[i].Epoch {
				cutOff(n)
			}
		}
	}
	next.Crossing = crossed(local, next, to)
	isolate(local, next, marked)
	return next
}

// crossed is the last change of the primary in the epochs of the View published here. One that is known here stays as it is.
func crossed(local, next, to *cluster.View) *cluster.Crossing {
	c := to.Crossing
	if c == nil || int(c.From) >= len(next.Nodes) || int(c.To) >= len(next.Nodes) {
		return nil
	}
	if l := local.Crossing; l != nil && l.From == c.From && l.To == c.To && l.Bounds == c.Bounds && local.Primary == c.To {
		return l
	}
	here := *c
	here.FromEpoch, here.ToEpoch = next.Nodes[c.From].Fenced, next.Nodes[c.To].Epoch
	return &here
}

// renumber raises the epochs of a node as much as those of the basis have risen.
func renumber(n *cluster.Node, from, fork, to cluster.Node) {
	sameEpochs := func(a, b *cluster.Node) bool { return a.Epoch == b.Epoch && a.Fenced == b.Fenced }
	switch {
	case sameEpochs(&from, &to) && from.LastStatusChange.Equal(to.LastStatusChange):
	case sameEpochs(&from, &fork) && to.Epoch >= from.Epoch && to.Fenced >= from.Fenced:
		n.Epoch += to.Epoch - from.Epoch
		if to.Fenced > from.Fenced {
			n.Fenced = max(n.Fenced, n.Epoch-(to.Epoch-to.Fenced))
		}
	default:
		cutOff(n)
	}
}

// gaveWay reports whether a node is out of use, or no longer the primary.
func gaveWay(id cluster.NodeID, local, from, to *cluster.View) bool {
	return local.Live(id) && !to.Live(id) || from.Primary == id && to.Primary != id
}

func cutOff(n *cluster.Node) {
	n.Epoch++
	n.Fenced = n.Epoch
}

// isolate takes the marked nodes out of use on this node alone. Without its primary it has none, and nothing is written meanwhile: who
// else says that he is the primary may have been promoted by nobody's decision. The same holds for the main node where there are no
// primaries.
func isolate(local, next *cluster.View, marked map[cluster.NodeID]time.Time) {
	main := next.Main()
	for i := range next.Nodes {
		n, id := &next.Nodes[i], cluster.NodeID(i)
		since, is := marked[id]
		is = is && n.Status.Live()
		was := nodeOf(local, id).Status == cluster.StatusQuarantine
		switch {
		case is && !was:
			cutOff(n)
		case was && !is && n.Epoch == local.Nodes[i].Epoch:
			n.Epoch++ // what was found out about it before is worth nothing now
		}
		if !is {
			continue
		}
		n.Status, n.LastStatusChange = cluster.StatusQuarantine, since
		if id == next.Primary {
			next.Primary, next.Seeking = cluster.NoNode, true
		}
		if id == main && !next.Mode.HasPrimary() {
			next.Seeking = true
		}
	}
	assignRoles(next)
}

// staleEpoch is no epoch a node has.
const staleEpoch = ^cluster.Epoch(0)

// shared words a View that was in force here in the epochs of the basis: what has changed since is marked as stale.
func shared(seen, local, basis *cluster.View) *cluster.View {
	if seen == nil {
		return nil
	}
	out := edit(seen)
	for i := range out.Nodes {
		id, n := cluster.NodeID(i), &out.Nodes[i]
		if i < len(basis.Nodes) && n.Epoch == nodeOf(local, id).Epoch {
			n.Epoch = basis.Nodes[i].Epoch
		} else {
			n.Epoch = staleEpoch
		}
	}
	return out
}

// inShared is a request that speaks of Views in force here, in the epochs of the basis.
func inShared(r Request, local, basis *cluster.View) Request {
	switch r := r.(type) {
	case Detach:
		r.Seen = shared(r.Seen, local, basis)
		return r
	case Attach:
		r.Seen = shared(r.Seen, local, basis)
		return r
	case RolesSeen:
		r.Seen = shared(r.Seen, local, basis)
		return r
	}
	return r
}

// orphan is a View without the operation that nobody carries on: what was condemned stays so, and who is primary is found out from
// the servers.
func orphan(v *cluster.View) *cluster.View {
	if v.Op == cluster.OpNone && !v.Seeking && !v.Following && !v.Draining {
		return v
	}
	next := edit(v)
	next.Op, next.Seeking, next.Following, next.Draining = cluster.OpNone, false, false, false
	return next
}
