package web

import (
	"sync"
	"time"

	"gopgpool/cluster"
)

// changes counts what has happened to the cluster, from one View to the next.
type changes struct {
	mu    sync.Mutex
	last  *cluster.View // guarded by mu
	count history       // guarded by mu
}

// history is what has happened since the start.
type history struct {
	failovers   map[string]uint64 // nodes lost: by their role, or "quarantine", or "operator"
	failbacks   uint64            // nodes that came back
	promotions  uint64            // another node became the primary
	switchovers map[bool]uint64   // that ended: done, failed
	promoted    time.Time         // last
	lost        time.Time         // a node last was
	primary     cluster.NodeID    // last one known
	missing     time.Duration     // how long there was no primary, but for the present time
	since       time.Time         // that there is none; zero: there is one
}

func newChanges(first *cluster.View, now time.Time) *changes {
	c := &changes{last: first, count: history{
		failovers: make(map[string]uint64), switchovers: make(map[bool]uint64), primary: first.Primary,
	}}
	c.count.missed(first, now)
	return c
}

// see takes the next View; one that was seen before changes nothing.
func (c *changes) see(v *cluster.View, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v.Generation <= c.last.Generation {
		return
	}
	c.count.fold(c.last, v, now)
	c.last = v
}

// failoverKinds are the keys of history.failovers.
func failoverKinds() []string {
	return []string{"primary", "standby", "main", "replica", "unknown", "quarantine", "operator"}
}

// read is the history up to now.
func (c *changes) read(now time.Time) history {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.count
	h.failovers, h.switchovers = make(map[string]uint64), make(map[bool]uint64)
	for _, k := range failoverKinds() {
		h.failovers[k] = c.count.failovers[k]
	}
	for k, n := range c.count.switchovers {
		h.switchovers[k] = n
	}
	if !h.since.IsZero() {
		h.missing += now.Sub(h.since)
	}
	return h
}

func (h *history) fold(was, is *cluster.View, now time.Time) {
	for i := range min(len(was.Nodes), len(is.Nodes)) {
		h.node(was, is, i, now)
	}
	if p := is.Primary; p != cluster.NoNode {
		if h.primary != cluster.NoNode && h.primary != p {
			h.promotions++
			h.promoted = now
		}
		h.primary = p
	}
	if s := is.Switchover; s != nil && ended(s) && !(was.Switchover != nil && was.Switchover.Run == s.Run && ended(was.Switchover)) {
		h.switchovers[s.Phase == cluster.SwitchoverDone]++
	}
	h.missed(is, now)
}

func ended(s *cluster.Switchover) bool {
	return s.Phase == cluster.SwitchoverDone || s.Phase == cluster.SwitchoverFailed
}

func (h *history) node(was, is *cluster.View, i int, now time.Time) {
	o, n := &was.Nodes[i], &is.Nodes[i]
	switch {
	case o.Status == cluster.StatusUnused || n.Status == cluster.StatusUnused: // the configuration has changed
	case !o.Status.Live() && n.Status.Live():
		h.failbacks++
	case o.Status.Live() && !n.Status.Live() && is.Op != cluster.OpSwitchover:
		kind := o.Role.String()
		switch {
		case n.Status == cluster.StatusQuarantine:
			kind = "quarantine"
		case n.Detached && !o.Detached, is.Op == cluster.OpPromote:
			kind = "operator"
		}
		h.failovers[kind]++
		h.lost = now
	}
}

// missed takes the time in which no live primary is known.
func (h *history) missed(v *cluster.View, now time.Time) {
	missing := v.Mode.HasPrimary() && (v.Seeking || !v.Live(v.Primary))
	switch {
	case missing && h.since.IsZero():
		h.since = now
	case !missing && !h.since.IsZero():
		h.missing += now.Sub(h.since)
		h.since = time.Time{}
	}
}
