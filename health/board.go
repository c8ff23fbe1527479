package health

import (
	"slices"
	"sync"

	"gopgpool/cluster"
)

// Board is the one writer of a Store's Gauges: the checks of all nodes bring their measurements here.
type Board struct {
	store *cluster.Store
	mu    sync.Mutex // held while a snapshot is copied, changed and published
}

// NewBoard makes the writer of store's Gauges. There must be only one for a Store.
func NewBoard(store *cluster.Store) *Board { return &Board{store: store} }

// update publishes new Gauges for at least n nodes, changed by f.
func (b *Board) update(n int, f func(nodes []cluster.NodeGauge)) { b.record(n, nil, f) }

// record publishes new Gauges for at least n nodes, changed by f, and what a primary said. Nil keeps what one said last: that
// outlives it.
func (b *Board) record(n int, said *cluster.PrimaryGauge, f func(nodes []cluster.NodeGauge)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.store.Gauges()
	next := &cluster.Gauges{Nodes: slices.Clone(before.Nodes), Primary: before.Primary}
	for len(next.Nodes) < n {
		next.Nodes = append(next.Nodes, cluster.NodeGauge{})
	}
	f(next.Nodes)
	if said != nil {
		next.Primary = *said
	}
	b.store.PublishGauges(next)
}
