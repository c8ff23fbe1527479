package replication

import (
	"context"
	"slices"

	"gopgpool/cluster"
	"gopgpool/logging"
)

// leftover is a replication slot that nobody will use again where it is, and that holds WAL back until the disk is full.
type leftover struct {
	node cluster.NodeID
	slot string
}

// idleRounds is how many rounds in a row a slot must have been left over before it is dropped.
const idleRounds = 5

// leftovers finds them: reserved, used by nobody, and named by primary_slot_name of exactly one node, which streams from another server,
// or is itself the primary now. Slots that no node names are somebody else's.
func leftovers(f *Facts) []leftover {
	var all []leftover
	for i := range f.Nodes {
		at := &f.Nodes[i]
		if at.State.Err != nil || f.View.Nodes[i].Detached {
			continue
		}
		for _, s := range at.Slots {
			if !s.Active && s.Reserved && elsewhere(f, cluster.NodeID(i), s.Name) {
				all = append(all, leftover{cluster.NodeID(i), s.Name})
			}
		}
	}
	return all
}

// elsewhere reports whether the one owner of a slot is not going to use the one at a node.
func elsewhere(f *Facts, at cluster.NodeID, slot string) bool {
	owner := cluster.NoNode
	for i := range f.Nodes {
		s := &f.Nodes[i].State
		if s.Err != nil && f.View.Nodes[i].Port > 0 {
			return false // it may be his
		}
		if s.Err == nil && s.SlotName == slot {
			if owner != cluster.NoNode {
				return false
			}
			owner = cluster.NodeID(i)
		}
	}
	if owner == cluster.NoNode {
		return false
	}
	s := &f.Nodes[owner].State
	if owner == at {
		return !s.InRecovery && at == f.View.Primary
	}
	up := f.upstream(owner)
	return s.InRecovery && s.Streaming && up != cluster.NoNode && up != at
}

// tidy drops the slots that have been left over for some rounds. What fails is tried again.
func (k *Keeper) tidy(f *Facts) {
	found := leftovers(f)
	for l := range k.idle {
		if !slices.Contains(found, l) {
			delete(k.idle, l)
		}
	}
	for _, l := range found {
		if k.idle[l]++; k.idle[l] < idleRounds {
			continue
		}
		delete(k.idle, l)
		k.drop(f.View.Nodes[l.node], l.slot)
	}
}

func (k *Keeper) drop(n cluster.Node, slot string) {
	ctx, cancel := context.WithTimeout(k.reign.ctx, surveyBound)
	defer cancel()
	sql := "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots" +
		" WHERE slot_name = " + literal(slot) + " AND slot_type = 'physical' AND NOT active"
	err := k.links.use(ctx, n, func(s *server) error { return s.exec(ctx, sql) })
	if err == nil {
		k.tell(n.ID, logging.Log, "node %d: replication slot %q was dropped: whom it was for streams from another server", n.ID, slot)
	}
}
