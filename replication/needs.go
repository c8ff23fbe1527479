package replication

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"gopgpool/cluster"
)

// needsOf lists where somebody is needed at a host: findings leave something undone because nobody is there, or the agent there does not
// answer; or it does not obey, which is better known before it is needed. faults are why agents do not obey.
func needsOf(f *Facts, all []Finding, faults map[cluster.NodeID]string) cluster.Needs {
	needs := cluster.Needs{}
	for i := range f.View.Nodes {
		n := &f.View.Nodes[i]
		if why := faults[n.ID]; why != "" && n.Agent != "" && n.Port != 0 {
			needs[n.ID] = cluster.Need{Found: fmt.Sprintf("its agent at %s does not obey", n.Agent), Reason: why}
		}
	}
	for i := range all {
		n := &all[i]
		err := f.Nodes[n.Node].ControlErr
		switch {
		case n.Needs:
			needs[n.Node] = cluster.Need{ToDo: n.Remedy.toDo(), Found: n.Why, Reason: n.Nobody}
		case n.Kind == Unreachable && err != nil && !f.View.Live(n.Node):
			needs[n.Node] = cluster.Need{Found: n.Why, Reason: err.Error()}
		}
	}
	return needs
}

// toDo words a remedy, "" where it takes a look at the server's files to tell.
func (r Remedy) toDo() string {
	if r == None {
		return ""
	}
	return r.String()
}

// want publishes what waits for somebody at a host; nil: this pgpool does not act, so it does not know. What has waited before keeps its time.
func (k *Keeper) want(needs cluster.Needs) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.wantLocked(needs)
}

func (k *Keeper) wantLocked(needs cluster.Needs) {
	now := time.Now()
	for id, n := range needs {
		n.Since = now
		if old, ok := k.needs[id]; ok {
			n.Since = old.Since
		}
		needs[id] = n
	}
	k.needs = needs
	k.parts.Store.PublishNeeds(needs)
}

// lacking notes that failover wanted something done at a node's host where nobody is. It stands until a round looks at the node again: while
// the primary is sought none does.
func (k *Keeper) lacking(id cluster.NodeID, toDo, found string, err error) {
	if !errors.Is(err, cluster.ErrNeedsAgent) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	needs := cluster.Needs{id: {ToDo: toDo, Found: found, Reason: nobody(err)}}
	for other, n := range k.needs {
		if other != id {
			needs[other] = n
		}
	}
	k.wantLocked(needs)
}

// nobody words why nobody is at a host, "" where somebody is. What stands in front of it tells only that an agent is needed.
func nobody(err error) string {
	if err == nil || !errors.Is(err, cluster.ErrNeedsAgent) {
		return ""
	}
	if _, why, ok := strings.Cut(err.Error(), cluster.ErrNeedsAgent.Error()+": "); ok {
		return why
	}
	return err.Error()
}
