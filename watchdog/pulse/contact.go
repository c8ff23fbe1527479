package pulse

import "slices"

const maxCandidates = 4

// verdict is what a packet is worth.
type verdict uint8

const (
	stale   verdict = iota // heard before, or older than what was heard
	strange                // it does not know our present run: answer, so that it learns
	alive                  // a sign of life
	met                    // a sign of life, the first of that start of the node: answer, so that it hears of us at once too
)

// contact judges the packets of one node, and says what to echo to it. It is pure; its owner guards it. Packets have
// passed authentication, but may have been recorded and sent again by anybody, as often and as late as he likes.
type contact struct {
	self  runID
	sent  uint64 // number of our last packet to the node
	known bool   // run, newest, onPath, echoed are set

	run    runID
	newest uint64
	onPath map[uint8]uint64 // the newest of each path: a slower path's packet of the same beat counts too
	echoed uint64           // the highest number of ours the node has echoed

	// While no packet has counted yet these may be the node's present start, or recordings. All are echoed, the one heard last first.
	candidates []mark
}

// hear judges a packet.
func (c *contact) hear(p *packet) verdict {
	if p.Echo.Run != c.self {
		if !c.known {
			c.consider(p.Mark)
		} else if p.Mark.Run == c.run {
			return stale // of the time before it heard of us
		}
		return strange
	}
	if c.known && p.Mark.Run == c.run {
		if p.Mark.Seq < c.newest || p.Mark.Seq <= c.onPath[p.Path] {
			return stale
		}
		c.newest, c.onPath[p.Path] = p.Mark.Seq, p.Mark.Seq
		c.echoed = max(c.echoed, min(p.Echo.Seq, c.sent))
		return alive
	}
	// Another start of the node. It is its present one only if it heard a packet of ours that the former one did not hear any more.
	if p.Echo.Seq <= c.echoed || p.Echo.Seq > c.sent {
		return stale
	}
	c.known, c.run, c.newest, c.echoed = true, p.Mark.Run, p.Mark.Seq, p.Echo.Seq
	c.onPath = map[uint8]uint64{p.Path: p.Mark.Seq}
	c.candidates = nil
	return met
}

func (c *contact) consider(m mark) {
	if i := slices.IndexFunc(c.candidates, func(o mark) bool { return o.Run == m.Run }); i >= 0 {
		m.Seq = max(m.Seq, c.candidates[i].Seq)
		c.candidates = slices.Delete(c.candidates, i, i+1)
	} else if len(c.candidates) == maxCandidates {
		c.candidates = c.candidates[:maxCandidates-1]
	}
	c.candidates = slices.Insert(c.candidates, 0, m)
}

// next is the mark of our next packet, and what it shall echo: one packet for each.
func (c *contact) next() (ours mark, echoes []mark) {
	c.sent++
	ours = mark{Run: c.self, Seq: c.sent}
	switch {
	case c.known:
		return ours, []mark{{Run: c.run, Seq: c.newest}}
	case len(c.candidates) == 0:
		return ours, []mark{{}}
	}
	return ours, slices.Clone(c.candidates)
}
