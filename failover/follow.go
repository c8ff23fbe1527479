package failover

import (
	"time"

	"gopgpool/cluster"
)

// Follow is a run of follow_primary_command: once for each node, one after another.
type Follow struct {
	Run                    int
	Nodes                  []cluster.NodeID // ascending
	OldPrimary, NewPrimary cluster.NodeID
}

// command is what the run does about one of its nodes.
func (f *Follow) command(id cluster.NodeID) Command {
	return Command{Kind: FollowCommand, Node: id, OldPrimary: f.OldPrimary, OldMain: f.OldPrimary, NewMain: f.NewPrimary}
}

// follow takes all nodes but the new primary down, because they still follow the old one (manual: follow_primary_command). Their
// servers are about to be rebuilt, so their connections are cut.
func (*Plan) follow(next *cluster.View, primary cluster.NodeID, now time.Time) []Reason {
	var why []Reason
	for i := range next.Nodes {
		id := cluster.NodeID(i)
		if id == primary || !next.Nodes[i].Status.Live() {
			continue
		}
		condemn(&next.Nodes[i], now)
		why = append(why, Reason{Kind: FollowDegenerating, Node: id, Old: place(next, id)})
	}
	if n := len(why); n > 0 {
		why = append(why, Reason{Kind: FollowCount, Node: cluster.NoNode, Count: n})
	}
	return why
}

// followers are all nodes that are down.
func followers(v *cluster.View) []cluster.NodeID {
	var ids []cluster.NodeID
	for i := range v.Nodes {
		if v.Nodes[i].Status == cluster.StatusDown {
			ids = append(ids, cluster.NodeID(i))
		}
	}
	return ids
}

// followEnded takes note of the end of a run, unless another one has begun meanwhile.
func followEnded(v *cluster.View, m Memory, run int) Plan {
	if run != m.Run || !v.Following {
		return Plan{Memory: m}
	}
	next := edit(v)
	next.Following = false
	return Plan{View: next, Memory: m}
}
