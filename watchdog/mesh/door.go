package mesh

import (
	"net/netip"
	"slices"
	"sync"
)

const (
	knownPerAddress    = 64
	strangersPerSource = 8
	strangers          = 64
)

// door bounds the connections that are not authenticated yet. Each address of a configured node has places of its own, which
// strangers cannot take. Among strangers places are shared by source, and when none is left the oldest of the source
// with the most gives way, so one source cannot keep another out.
type door struct {
	mu      sync.Mutex // guards waiting
	waiting []*visitor // oldest first
}

// visitor is a connection in its handshake.
type visitor struct {
	source netip.Prefix
	known  bool
	leave  func() // ends it
}

// source is what one stranger has for itself: an IPv4 address, or a network of 64 bits.
func source(a netip.Addr) netip.Prefix {
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // never more bits than the address has
	return p
}

// enter gives a connection from a place; leave is called, at most once, when it must give way to another.
func (d *door) enter(a netip.Addr, known bool, leave func()) *visitor {
	v := &visitor{source: source(a), known: known, leave: leave}
	if known {
		v.source = netip.PrefixFrom(a, a.BitLen())
	}
	d.mu.Lock()
	out := d.victimLocked(v)
	if out >= 0 {
		victim := d.waiting[out]
		d.waiting = slices.Delete(d.waiting, out, out+1)
		defer victim.leave()
	}
	d.waiting = append(d.waiting, v)
	d.mu.Unlock()
	return v
}

// victimLocked is the index of who must leave before v may enter; -1 if nobody must.
func (d *door) victimLocked(v *visitor) int {
	limit := strangersPerSource
	if v.known {
		limit = knownPerAddress
	}
	count, all := map[netip.Prefix]int{}, 0
	for _, w := range d.waiting {
		if w.known == v.known {
			count[w.source]++
			all++
		}
	}
	most := v.source
	if count[v.source] < limit {
		if v.known || all < strangers {
			return -1
		}
		for source, n := range count {
			if n > count[most] {
				most = source
			}
		}
		if count[most] <= 1 { // everybody has one at most: the oldest goes
			return slices.IndexFunc(d.waiting, func(w *visitor) bool { return !w.known })
		}
	}
	return slices.IndexFunc(d.waiting, func(w *visitor) bool { return w.known == v.known && w.source == most })
}

// left takes v off; it may have been made to leave before.
func (d *door) left(v *visitor) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := slices.Index(d.waiting, v); i >= 0 {
		d.waiting = slices.Delete(d.waiting, i, i+1)
	}
}
