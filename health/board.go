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
func (b *Board) update(n int, f func(nodes []cluster.NodeGauge)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	nodes := slices.Clone(b.store.Gauges().Nodes)
	for len(nodes) < n {
		nodes = append(nodes, cluster.NodeGauge{})
	}
	f(nodes)
	b.store.PublishGauges(&cluster.Gauges{Nodes: nodes})
}
