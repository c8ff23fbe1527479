package sim

import (
	"time"

	"gopgpool/watchdog/machine"
)

const (
	// noticeMin and noticeMax are how long a connection that carries nothing goes unnoticed.
	noticeMin, noticeMax = 1 * time.Second, 3 * time.Second
	dialEvery            = 400 * time.Millisecond
)

// wire is what connects two nodes: one TCP connection, or none. Each side has an idea of its own whether it stands. What is written
// arrives in order or, when the connection ends first, not at all. While a direction is cut nothing arrives, and after that everything,
// unless somebody lost patience.
type wire struct {
	w      *World
	ends   [2]*node
	serial int         // of the connection
	side   [2]*process // who believes to be connected; nil: nobody
	flow   [2]flow     // [0] from ends[0] to ends[1]
}

type flow struct {
	free  time.Duration // nothing arrives before that
	stuck [][]byte      // held up by a cut
}

func (l *wire) index(n *node) int {
	if l.ends[0] == n {
		return 0
	}
	return 1
}

// open reports whether both directions work.
func (l *wire) open() bool {
	a, b := l.ends[0].id, l.ends[1].id
	return l.w.cut[a][b] == 0 && l.w.cut[b][a] == 0
}

// dial is a process trying to reach its peer.
func (l *wire) dial(p *process) {
	me := l.index(p.n)
	if l.side[me] == p || !l.open() {
		return
	}
	peer := l.ends[1-me]
	l.w.after(3*l.w.delay(), func() {
		q := peer.proc
		if p.gone || p.frozen || q == nil || q.frozen || !l.open() || l.side[me] == p {
			return
		}
		l.connect(p, q)
	})
}

func (l *wire) connect(p, q *process) {
	l.serial++
	l.flow = [2]flow{}
	for _, x := range []*process{p, q} {
		i := l.index(x.n)
		peer := l.ends[1-i].id
		if l.side[i] == x {
			x.arrive(machine.Linked{Peer: peer, Why: "replaced by a newer connection"})
		}
		l.side[i] = x
		x.arrive(machine.Linked{Peer: peer, Up: true})
	}
}

// send puts a message on its way.
func (l *wire) send(p *process, payload []byte) {
	me := l.index(p.n)
	w := l.w
	w.stats.Messages++
	if l.side[me] != p || w.loss > 0 && w.rng.Float64() < w.loss {
		w.stats.Lost++
		return
	}
	f := &l.flow[me]
	f.free = max(f.free, w.now+w.delay())
	serial := l.serial
	w.at(f.free, func() { l.deliver(me, serial, payload) })
}

func (l *wire) deliver(from, serial int, payload []byte) {
	if serial != l.serial {
		return
	}
	f := &l.flow[from]
	if l.w.cut[l.ends[from].id][l.ends[1-from].id] > 0 || len(f.stuck) > 0 {
		f.stuck = append(f.stuck, payload)
		return
	}
	l.hand(from, payload)
}

func (l *wire) hand(from int, payload []byte) {
	if q := l.side[1-from]; q != nil && !q.gone {
		q.arrive(machine.Received{From: l.ends[from].id, Payload: payload})
	}
}

// flush hands over what was held up, after the kernel has sent it again.
func (l *wire) flush(from int) {
	serial := l.serial
	l.w.after(100*time.Millisecond+random(l.w.rng, 900*time.Millisecond), func() {
		if serial != l.serial || l.w.cut[l.ends[from].id][l.ends[1-from].id] > 0 {
			return
		}
		stuck := l.flow[from].stuck
		l.flow[from].stuck = nil
		for _, payload := range stuck {
			l.hand(from, payload)
		}
	})
}

// doubt makes both sides lose patience if what is wrong stays.
func (l *wire) doubt(wrong func() bool) {
	for i, p := range l.side {
		if p == nil {
			continue
		}
		serial := l.serial
		l.w.after(noticeMin+random(l.w.rng, noticeMax-noticeMin), func() {
			if serial == l.serial && l.side[i] == p && wrong() {
				l.hangUp(p, "nothing was heard")
			}
		})
	}
}

// hangUp ends the connection for one side, and for the other as soon as it hears of that.
func (l *wire) hangUp(p *process, why string) {
	me := l.index(p.n)
	if l.side[me] != p {
		return
	}
	l.side[me] = nil
	if !p.gone {
		p.arrive(machine.Linked{Peer: l.ends[1-me].id, Why: why})
	}
	serial := l.serial
	l.w.after(l.w.delay(), func() {
		q := l.side[1-me]
		if serial == l.serial && q != nil && l.w.cut[l.ends[me].id][l.ends[1-me].id] == 0 {
			l.hangUp(q, "the connection was closed")
		}
	})
}

// lost is the end of a process as its peers see it: at once if its kernel still closes connections, else by silence.
func (l *wire) lost(p *process, closed bool) {
	me := l.index(p.n)
	if l.side[me] != p {
		return
	}
	if closed {
		l.hangUp(p, "")
	}
	l.side[me] = nil
	l.doubt(func() bool { return true })
}

// block cuts one direction between two nodes, or gives it back.
func (w *World) block(from, to int, on bool) {
	if from == to {
		return
	}
	l := w.wires[from][to]
	if on {
		w.cut[from][to]++
		l.doubt(func() bool { return !l.open() })
		return
	}
	w.cut[from][to]--
	if w.cut[from][to] == 0 {
		l.flush(l.index(w.nodes[from]))
	}
}

// delay is how long a packet takes.
func (w *World) delay() time.Duration {
	d := w.plan.Latency + random(w.rng, w.plan.Jitter)
	if w.lag > 0 {
		d += random(w.rng, w.lag)
	}
	return d
}
