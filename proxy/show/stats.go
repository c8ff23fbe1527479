package show

import (
	"sync/atomic"
	"unsafe"

	"gopgpool/cluster"
	"gopgpool/proxy/stmt"
)

// BackendStat are the counters of one node: the columns of pool_backend_stats. Select is select_cnt of pool_nodes too.
type BackendStat struct {
	Select, Insert, Update, Delete, DDL, Other uint64
	Panic, Fatal, Error                        uint64
}

// Counters count statements and errors per node since the start. Counting is split over shards so that two loops never
// write the same cache line; reading adds the shards up. All methods may be called from any goroutine.
type Counters struct {
	shards []Shard
}

// NewCounters makes counters of n shards, at least one: one for each event loop.
func NewCounters(n int) *Counters { return &Counters{shards: make([]Shard, max(n, 1))} }

// Shard returns the shard of a loop; numbers beyond the last shard share.
func (c *Counters) Shard(loop int) *Shard { return &c.shards[uint(loop)%uint(len(c.shards))] }

// Snapshot adds up the counters of the first n nodes. A count made meanwhile is in it or in the next one.
func (c *Counters) Snapshot(n int) []BackendStat {
	out := make([]BackendStat, min(max(n, 0), cluster.MaxNodes))
	for s := range c.shards {
		for id := range out {
			c.shards[s].nodes[id].addTo(&out[id])
		}
	}
	return out
}

// Shard is one loop's part of the counters.
type Shard struct {
	nodes [cluster.MaxNodes]nodeCounters
}

// columns of nodeCounters after those of stmt.Counter.
const (
	countError = int(stmt.CountDDL) + 1 + iota
	countFatal
	countPanic
	countKinds
)

const cacheLine = 64

// nodeCounters fill whole cache lines, so that the last node of one shard and the first of the next do not meet.
type nodeCounters struct {
	counts [countKinds]atomic.Uint64
	_      [cacheLine - unsafe.Sizeof([countKinds]atomic.Uint64{})%cacheLine]byte
}

func (n *nodeCounters) addTo(sum *BackendStat) {
	sum.Other += n.counts[stmt.CountOther].Load()
	sum.Select += n.counts[stmt.CountSelect].Load()
	sum.Insert += n.counts[stmt.CountInsert].Load()
	sum.Update += n.counts[stmt.CountUpdate].Load()
	sum.Delete += n.counts[stmt.CountDelete].Load()
	sum.DDL += n.counts[stmt.CountDDL].Load()
	sum.Error += n.counts[countError].Load()
	sum.Fatal += n.counts[countFatal].Load()
	sum.Panic += n.counts[countPanic].Load()
}

// Statement counts a statement sent to a node: one for each simple query or Execute.
func (s *Shard) Statement(node cluster.NodeID, c stmt.Counter) {
	s.nodes[node].counts[c].Add(1)
}

// Failure counts an ErrorResponse of a node by its severity field, the one that is never translated. Other severities are not
// counted.
func (s *Shard) Failure(node cluster.NodeID, severity string) {
	switch severity {
	case "ERROR":
		s.nodes[node].counts[countError].Add(1)
	case "FATAL":
		s.nodes[node].counts[countFatal].Add(1)
	case "PANIC":
		s.nodes[node].counts[countPanic].Add(1)
	}
}

func statOf(stats []BackendStat, id cluster.NodeID) BackendStat {
	if int(id) >= len(stats) {
		return BackendStat{}
	}
	return stats[id]
}
