package agent

import (
	"net"
	"net/netip"
	"slices"
	"sync"
)

// strangers is how many connections may be in their handshake.
const strangers = 64

// door bounds the connections that are not authenticated yet. When it is full, the oldest of the address with the most gives way, so that
// one address cannot keep another out.
type door struct {
	mu      sync.Mutex // guards waiting
	waiting []visitor  // oldest first
}

type visitor struct {
	conn net.Conn
	from netip.Addr
}

// enter takes a connection in. Whoever must leave for it is closed.
func (d *door) enter(c net.Conn) {
	v := visitor{conn: c}
	if a, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
		v.from = a.Addr().Unmap()
	}
	d.mu.Lock()
	d.waiting = append(d.waiting, v)
	var out net.Conn
	if len(d.waiting) > strangers {
		i := d.victimLocked()
		out = d.waiting[i].conn
		d.waiting = slices.Delete(d.waiting, i, i+1)
	}
	d.mu.Unlock()
	if out != nil {
		_ = out.Close() // its own goroutine finds out
	}
}

func (d *door) victimLocked() int {
	count := make(map[netip.Addr]int)
	for _, v := range d.waiting {
		count[v.from]++
	}
	most := d.waiting[0].from
	for _, v := range d.waiting {
		if count[v.from] > count[most] {
			most = v.from
		}
	}
	return slices.IndexFunc(d.waiting, func(v visitor) bool { return v.from == most })
}

// left takes a connection off; it may have been made to leave before.
func (d *door) left(c net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting = slices.DeleteFunc(d.waiting, func(v visitor) bool { return v.conn == c })
}
