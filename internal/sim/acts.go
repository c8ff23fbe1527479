package sim

import (
	"time"

	"gopgpool/watchdog/machine"
)

// act carries out a fault and sees to its end.
func (w *World) act(a Act) {
	n := w.target(a)
	w.trace(-1, "FAULT %v (node %d)", a, n.id)
	w.stats.Faults[a.Verb]++
	undo := w.begin(a, n)
	w.at(max(w.now, min(w.now+a.For, w.plan.Harm)), func() {
		w.trace(-1, "over: %s of node %d", a.Verb, n.id)
		undo()
	})
}

func (w *World) target(a Act) *node {
	if a.Node != leading {
		return w.nodes[a.Node%len(w.nodes)]
	}
	if n := w.leader(); n != nil {
		return n
	}
	return w.nodes[a.Bits%len(w.nodes)]
}

// begin starts a fault and returns what ends it.
func (w *World) begin(a Act, n *node) (undo func()) {
	switch a.Verb {
	case Kill:
		return w.kill(n)
	case PowerOff:
		return w.powerOff(n)
	case PowerMany:
		return w.forMask(a, w.powerOff)
	case Wipe:
		return w.wipe(n)
	case WipeMost:
		return w.wipeMost(a)
	case Freeze:
		return w.freeze(n, a.Bits)
	case Stop, Restart:
		return w.stop(n, a.Verb == Stop)
	case FullDisk:
		n.disk.full = true
		return func() { n.disk.full = false }
	case SlowDisk:
		n.disk.slow = true
		return func() { n.disk.slow = false }
	case Untrusted:
		n.cutOff++
		return func() { n.cutOff-- }
	case Sick:
		n.sick++
		return func() { n.sick-- }
	case Stall:
		n.stall = a.For
		return func() { n.stall = 0 }
	case Lag:
		w.lag = time.Duration(50+a.Bits*20) * time.Millisecond
		return func() { w.lag = 0 }
	case Resign:
		if p := n.proc; p != nil {
			p.arrive(machine.Resign{Why: "told to"})
		}
		return func() {}
	case Slander, Slanders, OneWay, Pair, Isolate, Deafen, Mute, Split, Ring, Flap, Reset:
	}
	return w.beginBetween(a, n)
}

// beginBetween is begin for what happens between nodes.
func (w *World) beginBetween(a Act, n *node) (undo func()) {
	other := w.nodes[a.Mask%len(w.nodes)]
	in := func(id int) bool { return a.Mask&(1<<id) != 0 }
	switch a.Verb {
	case Slander:
		return w.slanders(n, func(id int) bool { return id == other.id })
	case Slanders:
		return w.slanders(n, func(int) bool { return true })
	case OneWay:
		return w.cuts(func(from, to int) bool { return from == n.id && to == other.id })
	case Pair:
		return w.cuts(func(from, to int) bool { return from == n.id && to == other.id || from == other.id && to == n.id })
	case Isolate:
		return w.cuts(func(from, to int) bool { return from == n.id || to == n.id })
	case Deafen:
		return w.cuts(func(_, to int) bool { return to == n.id })
	case Mute:
		return w.cuts(func(from, _ int) bool { return from == n.id })
	case Split:
		return w.cuts(func(from, to int) bool { return in(from) != in(to) && (a.Bits%4 > 0 || in(from)) })
	case Ring:
		k := len(w.nodes)
		return w.cuts(func(from, to int) bool { return (from-to+k)%k > 1 && (to-from+k)%k > 1 })
	case Flap:
		return w.flap(a, n)
	case Reset:
		w.reset(n)
	}
	return func() {}
}

func (w *World) kill(n *node) (undo func()) {
	if n.proc != nil {
		w.trace(n.id, "is killed")
		n.proc.end(true)
	}
	return w.keepDown(n)
}

func (w *World) keepDown(n *node) (undo func()) {
	n.down++
	return func() {
		n.down--
		w.start(n)
	}
}

// powerOff ends the host with its kernel; its clock begins anew.
func (w *World) powerOff(n *node) (undo func()) {
	if n.proc != nil {
		n.proc.end(false)
	}
	w.trace(n.id, "is without power")
	n.kernel.drop()
	up := w.keepDown(n)
	return func() {
		if n.proc == nil {
			n.clock.boot, n.clock.shift = w.now, random(w.rng, 20*time.Second)
		}
		up()
	}
}

func (w *World) forMask(a Act, f func(*node) func()) (undo func()) {
	var all []func()
	for id, n := range w.nodes {
		if a.Mask&(1<<id) != 0 {
			all = append(all, f(n))
		}
	}
	return func() {
		for _, u := range all {
			u()
		}
	}
}

// wipe takes a node's disk away, as far as a majority have theirs with all they have ever confirmed. Where voters may have been removed
// all must be voters.
func (w *World) wipe(n *node) (undo func()) {
	whole, need := 0, len(w.nodes)/2+1
	if w.plan.shrinks() || w.plan.halves() {
		need = len(w.nodes) - 1
	}
	for id, o := range w.nodes {
		if o != n && o.voter && w.judge.voters&(1<<id) != 0 {
			whole++
		}
	}
	if whole < need {
		w.stats.Faults["wipe that was too many"]++
		return func() {}
	}
	return w.wipeOut(n)
}

func (w *World) wipeOut(n *node) (undo func()) {
	up := w.powerOff(n)
	w.trace(n.id, "has lost its disk")
	n.disk = disk{full: n.disk.full, slow: n.disk.slow}
	n.voter, n.term = false, 0
	return up
}

// wipeMost takes so many disks that those left are no majority.
func (w *World) wipeMost(a Act) (undo func()) {
	most := len(w.nodes)/2 + 1
	mask, n := 0, 0
	for i := 0; n < most; i++ {
		if id := (a.Mask + i) % len(w.nodes); mask&(1<<id) == 0 {
			mask, n = mask|1<<id, n+1
		}
	}
	a.Mask = mask
	return w.forMask(a, w.wipeOut)
}

// freeze stops a process; with some bits exactly when it is about to raise or refresh the address.
func (w *World) freeze(n *node, bits int) (undo func()) {
	p := n.proc
	if p == nil {
		return func() {}
	}
	if bits%2 == 0 && !p.frozen {
		p.settle()
	}
	p.freeze()
	return p.thaw
}

// stop ends a process in good order. Where it does not stay away it is started as soon as it has ended.
func (w *World) stop(n *node, away bool) (undo func()) {
	if p := n.proc; p != nil && p.leaving == 0 {
		p.leaving = max(w.now, 1)
		p.arrive(machine.Leave{})
	}
	if away {
		return w.keepDown(n)
	}
	return func() {}
}

// cuts cuts the directions that are chosen.
func (w *World) cuts(chosen func(from, to int) bool) (undo func()) {
	each := func(on bool) {
		for from := range w.nodes {
			for to := range w.nodes {
				if from != to && chosen(from, to) {
					w.block(from, to, on)
				}
			}
		}
		w.judge.changed()
	}
	each(true)
	return func() { each(false) }
}

// flap cuts a node off and on again until it is over.
func (w *World) flap(a Act, n *node) (undo func()) {
	over := false
	var heal func()
	var turn func()
	turn = func() {
		if over {
			return
		}
		if heal == nil {
			heal = w.cuts(func(from, to int) bool {
				return from == n.id && a.Mask&(1<<to) != 0 || to == n.id && a.Mask&(1<<from) != 0
			})
		} else {
			heal()
			heal = nil
		}
		w.after(50*time.Millisecond+random(w.rng, w.plan.Lease/2), turn)
	}
	turn()
	return func() {
		over = true
		if heal != nil {
			heal()
		}
	}
}

// reset ends all connections of a node.
func (w *World) reset(n *node) {
	for _, o := range w.nodes {
		if o == n {
			continue
		}
		l := w.wires[n.id][o.id]
		for _, p := range l.side {
			if p != nil {
				l.hangUp(p, "reset")
			}
		}
	}
}

// slanders makes the life checks of some nodes say that n is dead.
func (w *World) slanders(n *node, who func(int) bool) (undo func()) {
	each := func(d int) {
		for id := range w.nodes {
			if id != n.id && who(id) {
				w.slander[id][n.id] += d
			}
		}
		w.judge.changed()
	}
	each(1)
	return func() { each(-1) }
}
