package pool

import (
	"maps"
	"time"

	"gopgpool/cluster"
)

// counts are what a place has seen since it was made. Guarded by Pool.mu.
type counts struct {
	leases, waits, opens, closed uint64
	waitTime                     time.Duration
}

func (c counts) plus(o counts) counts {
	return counts{c.leases + o.leases, c.waits + o.waits, c.opens + o.opens, c.closed + o.closed, c.waitTime + o.waitTime}
}

// Totals are the counters of a node since the start, of all its places. They only rise.
type Totals struct {
	Leases   uint64        // asked for
	Waits    uint64        // of them, those that had to wait
	WaitTime time.Duration // of those whose wait is over
	Opened   uint64        // connections logged in
	Closed   uint64
}

// Totals are those of all nodes that were used.
func (p *Pool) Totals() map[cluster.NodeID]Totals {
	p.mu.Lock()
	defer p.mu.Unlock()
	sums := maps.Clone(p.past)
	for key, pl := range p.places {
		sums[key.Node] = sums[key.Node].plus(pl.counts)
	}
	out := make(map[cluster.NodeID]Totals, len(sums))
	for id, c := range sums {
		out[id] = Totals{Leases: c.leases, Waits: c.waits, WaitTime: c.waitTime, Opened: c.opens, Closed: c.closed}
	}
	return out
}

// keepLocked keeps what a place that is being forgotten has counted; it may come to life again.
func (p *Pool) keepLocked(pl *Place) {
	p.past[pl.key.Node] = p.past[pl.key.Node].plus(pl.counts)
	pl.counts = counts{}
}

// PoolStats are the figures of one place. The counters begin at 0 again when a place nobody used for a while is forgotten.
type PoolStats struct {
	Key     Key
	Bounds  Bounds
	Pooled  bool // bounds were given: its connections are leased for a transaction
	Paused  bool
	Waiting int           // sessions that wait
	Oldest  time.Duration // how long the first of them has
	Leased  int
	Opening int // being opened, or about to
	Idle    int

	Leases   uint64 // asked for
	Waits    uint64 // of them, those that had to wait
	WaitTime time.Duration
	Opened   uint64 // connections logged in
	Closed   uint64
}

// Stats are the figures of all places, in no order.
func (p *Pool) Stats() []PoolStats {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]PoolStats, 0, len(p.places))
	for _, pl := range p.places {
		s := PoolStats{
			Key: pl.key, Bounds: pl.bounds, Pooled: pl.governed, Paused: pl.paused,
			Waiting: pl.queue.n, Leased: pl.leased, Opening: pl.opening, Idle: pl.idle.n,
			Leases: pl.leases, Waits: pl.waits, WaitTime: pl.waitTime, Opened: pl.opens, Closed: pl.closed,
		}
		if w := pl.queue.first; w != nil {
			s.Oldest = max(now.Sub(w.since), 0)
		}
		out = append(out, s)
	}
	return out
}
