package failover

import (
	"slices"
	"sync"

	"gopgpool/cluster"
)

// maxInbox bounds the requests of administrators that wait. All others are bounded by the number of nodes.
const maxInbox = 1024

// inbox holds the requests that wait. A flood of findings about one node is one request: the strongest.
type inbox struct {
	mu      sync.Mutex
	waiting []Request                     // guarded by mu
	held    int                           // guarded by mu: taken out, but still waiting for the end of an operation
	used    [cluster.MaxNodes / 64]uint64 // guarded by mu: nodes with a NodeUsed that waits

	wake chan struct{} // holds at most one token: something waits
}

// put adds a request. It never blocks, and is false where too many wait.
func (b *inbox) put(r Request) bool {
	b.mu.Lock()
	added := b.addLocked(r)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
	return added
}

func (b *inbox) addLocked(r Request) bool {
	switch r := r.(type) {
	case NodeUsed:
		if !b.firstUseLocked(r.Node) {
			return true
		}
	case RolesSeen: // only the newest counts
		b.waiting = slices.DeleteFunc(b.waiting, same[RolesSeen])
	case BackendsReloaded:
		b.waiting = slices.DeleteFunc(b.waiting, same[BackendsReloaded])
	case Detach:
		if b.mergedLocked(r) {
			return true
		}
	case Attach:
		if slices.Contains(b.waiting, Request(r)) {
			return true
		}
	case decided: // only the newest counts
		if n := len(b.waiting); n > 0 && same[decided](b.waiting[n-1]) {
			b.waiting[n-1] = r
			return true
		}
	}
	if b.held+len(b.waiting) >= maxInbox && isOrder(r) {
		return false
	}
	b.waiting = append(b.waiting, r)
	return true
}

// isOrder reports whether a request may come any number of times. Of all others few can wait: they are merged.
func isOrder(r Request) bool {
	switch r := r.(type) {
	case Attach, Promote, Switchover, CallOff, Bar, settle, granted:
		return true
	case Detach:
		return r.Origin == ByOperator || len(r.Nodes) != 1
	}
	return false
}

func same[T Request](r Request) bool {
	_, ok := r.(T)
	return ok
}

// firstUseLocked reports whether the node has no NodeUsed waiting yet, and remembers that it has one now.
func (b *inbox) firstUseLocked(id cluster.NodeID) bool {
	if id < 0 || id >= cluster.MaxNodes {
		return false
	}
	word, bit := &b.used[id/64], uint64(1)<<(id%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// mergedLocked merges a finding about one node with the one of the same origin that waits already.
func (b *inbox) mergedLocked(r Detach) bool {
	if r.Origin == ByOperator || len(r.Nodes) != 1 {
		return false
	}
	for i, other := range b.waiting {
		old, ok := other.(Detach)
		if !ok || old.Origin != r.Origin || len(old.Nodes) != 1 || old.Nodes[0] != r.Nodes[0] {
			continue
		}
		if stronger(r, old) {
			b.waiting[i] = r
		}
		return true
	}
	return false
}

// stronger reports whether a finding is worth more than one that waits: the node was another one by then, or it proves more.
func stronger(r, old Detach) bool {
	if r.Seen != nil && old.Seen != nil && r.Seen.Generation != old.Seen.Generation {
		if id := r.Nodes[0]; nodeOf(r.Seen, id).Epoch != nodeOf(old.Seen, id).Epoch {
			return r.Seen.Generation > old.Seen.Generation
		}
	}
	return weigh(r) > weigh(old)
}

// hold tells how many of the requests taken out could not be decided yet.
func (b *inbox) hold(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held = n
}

// take empties the inbox.
func (b *inbox) take() []Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.waiting
	b.waiting = nil
	clear(b.used[:])
	return all
}
