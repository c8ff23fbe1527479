package pool

import "time"

// This file is about Bounds.Min. The pool cannot log in: it says what lacks, and whoever knows how opens it.

// Lack is a place that has fewer connections than its Min.
type Lack struct {
	Place *Place
	N     int // how many more there is room for, without closing others'
}

// Keep leaves with the place what it takes to log in without a client, for whoever fills it (see Lacking): a credential that a
// session's login proved; nil when that turned out to be of no use. While Min is 0 it is forgotten when nobody uses the place.
func (p *Pool) Keep(pl *Place, v any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.liveLocked(pl).kept = v
}

// Kept is what Keep left, nil if nothing.
func (p *Pool) Kept(pl *Place) any {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.liveLocked(pl).kept
}

// Lacking lists the places with fewer connections than their Min, of those a login has left something at. To fill one, call ReserveSpare,
// Open, Login and Return on a task, as often as N says; asking once a second will do.
func (p *Pool) Lacking() []Lack {
	v := p.store.Current()
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []Lack
	for _, pl := range p.places {
		if n := min(pl.bounds.Min-pl.total(), p.spareRoomLocked(pl)); n > 0 && pl.kept != nil && !pl.paused && !pl.held && v.Live(pl.key.Node) {
			out = append(out, Lack{Place: pl, N: n})
		}
	}
	return out
}

// spareRoomLocked is how many connections may be opened without closing others.
func (p *Pool) spareRoomLocked(pl *Place) int {
	now := time.Time{}
	b := &pl.bounds
	return min(b.room(pl.total(), now, now), p.limits.PerNode-pl.node.total, roomUnder(b.MaxDB, pl.db.total), roomUnder(b.MaxUser, pl.user.total))
}

// ReserveSpare reserves a place for a connection that shall idle, if one is lacking and there is room. Open it, or Unreserve.
func (p *Pool) ReserveSpare(pl *Place) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	pl = p.liveLocked(pl)
	if pl.total() >= pl.bounds.Min || p.spareRoomLocked(pl) <= 0 || pl.paused || pl.held {
		return false
	}
	pl.reserveLocked()
	return true
}
