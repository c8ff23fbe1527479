package sim

import (
	"fmt"
	"slices"
	"time"

	"gopgpool/watchdog/machine"
)

// Ending is the last act: when all is well one more thing happens, and then all must be well again.
type Ending string

// Endings.
const (
	EndCalm     Ending = "calm"
	EndLeave    Ending = "graceful stop of the leader"
	EndKill     Ending = "SIGKILL of the leader"
	EndPower    Ending = "power loss of the leader"
	EndFreeze   Ending = "freeze of the leader"
	EndIsolate  Ending = "partition of the leader"
	EndMute     Ending = "one-way partition of the leader"
	EndSick     Ending = "sickness of the leader"
	EndResign   Ending = "resignation of the leader"
	EndMinority Ending = "loss of the quorum"
	EndStandby  Ending = "graceful stop of a standby"
)

var endings = []Ending{
	EndCalm, EndLeave, EndLeave, EndKill, EndKill, EndPower, EndFreeze, EndIsolate, EndMute, EndSick, EndResign, EndMinority, EndStandby,
}

const lookEvery = 50 * time.Millisecond

// end demands that the cluster comes together, stays together, and survives the ending.
func (w *World) end() {
	since := max(w.now, w.lastStart)
	w.trace(-1, "all faults are over")
	if !w.comeTogether(since, w.plan.Bound()) {
		return
	}
	w.stats.Together = append(w.stats.Together, w.now-since)
	w.stay(w.plan.Lease * 3 / 2)
	w.decide()
	w.lastAct()
}

// comeTogether waits until all is well and has been so for a moment, in which heartbeats come from everybody.
func (w *World) comeTogether(since, bound time.Duration) bool {
	why := w.apart()
	moment := time.Second + w.plan.keepalive()
	for good := w.now; w.failed == nil && w.now-good < moment; {
		w.run(w.now + lookEvery)
		if now := w.apart(); now != "" {
			why, good = now, w.now
		}
		if w.now-since > bound+moment {
			w.fail("%.1fs after the last fault the cluster is not together: %s", (w.now - since).Seconds(), why)
		}
	}
	return w.failed == nil
}

// stay demands that nothing changes where nothing happens.
func (w *World) stay(d time.Duration) {
	leader := w.leader()
	for end := w.now + d; w.failed == nil && w.now < end; {
		w.run(w.now + lookEvery)
		if why := w.apart(); why != "" {
			w.fail("nothing happens, and yet: %s", why)
		} else if now := w.leader(); now != leader {
			w.fail("nothing happens, and yet node %d leads instead of %d", now.id, leader.id)
		}
	}
}

// decide demands that a decision is everywhere within a second.
func (w *World) decide() {
	n := w.leader()
	if w.failed != nil || n == nil {
		return
	}
	text := ""
	n.proc.run(timer, func() { text = n.proc.propose() })
	w.run(w.now + time.Second)
	for _, o := range w.nodes {
		if w.failed == nil && o.proc.office.data != text {
			w.fail("a second after %q was proposed by node %d, node %d knows %q", text, n.id, o.id, o.proc.office.data)
		}
	}
}

// apart is what is not as it should be when all nodes run and can talk; "" when all is well.
func (w *World) apart() string {
	leader := -1
	for _, n := range w.nodes {
		if n.proc == nil || n.proc.left {
			return fmt.Sprintf("node %d does not run", n.id)
		}
		s := n.proc.m.Status(n.proc.now())
		if leader == -1 {
			leader = s.Leader
		}
		if s.Leader != leader || s.Leader < 0 {
			return fmt.Sprintf("node %d shows node %d as the leader, node 0 shows %d", n.id, s.Leader, leader)
		}
	}
	for _, n := range w.nodes {
		if why := w.standsWell(n, leader); why != "" {
			return why
		}
	}
	return w.leadsWell(w.nodes[leader])
}

func (w *World) standsWell(n *node, leader int) string {
	state, want, standing := n.proc.m.State(), machine.StateStandby, machine.Follows
	if n.id == leader {
		want, standing = machine.StateLeader, machine.Leads
	}
	s := n.proc.m.Status(n.proc.now())
	switch {
	case state != want:
		return fmt.Sprintf("node %d is %v", n.id, state)
	case s.Standing != standing:
		return fmt.Sprintf("node %d is %v", n.id, s.Standing)
	case s.Quorum != machine.QuorumExists:
		return fmt.Sprintf("node %d says %v", n.id, s.Quorum)
	case n.kernel.holds != (n.id == leader && !w.plan.NoAddress):
		return fmt.Sprintf("node %d has the address: %v (%s)", n.id, n.kernel.holds, s.Reason)
	case s.Cluster != w.nodes[leader].proc.m.Status(w.nodes[leader].proc.now()).Cluster:
		return fmt.Sprintf("node %d is in another cluster than its leader", n.id)
	case s.Seq != w.nodes[leader].proc.m.Status(w.nodes[leader].proc.now()).Seq:
		return fmt.Sprintf("node %d knows decision %d last", n.id, s.Seq)
	case s.Seq == 0: // a new cluster that has not decided anything
	case n.proc.office.last != s.Seq:
		return fmt.Sprintf("node %d was told of decision %d last, and knows %d", n.id, n.proc.office.last, s.Seq)
	case n.proc.office.data != w.nodes[leader].proc.office.data:
		return fmt.Sprintf("node %d knows %q, the leader %q", n.id, n.proc.office.data, w.nodes[leader].proc.office.data)
	}
	return ""
}

func (w *World) leadsWell(n *node) string {
	s := n.proc.m.Status(n.proc.now())
	if s.Members != len(w.nodes) || s.Alive != len(w.nodes)-1 {
		return fmt.Sprintf("leader %d counts %d members and %d standbys", n.id, s.Members, s.Alive)
	}
	for id, o := range s.Nodes {
		switch {
		case o.Role != "voter":
			return fmt.Sprintf("leader %d has node %d as %s", n.id, id, o.Role)
		case o.Membership != machine.Member:
			return fmt.Sprintf("leader %d has node %d as %v", n.id, id, o.Membership)
		case id != n.id && o.State != machine.StateStandby:
			return fmt.Sprintf("leader %d shows node %d as %v", n.id, id, o.State)
		}
	}
	if highest := w.judge.highest[w.judge.era(n.proc)]; s.Seq < highest {
		return fmt.Sprintf("leader %d knows decision %d last, there was %d", n.id, s.Seq, highest)
	}
	return ""
}

// lastAct carries out the ending, waits for its success, undoes it and waits until all is well.
func (w *World) lastAct() {
	n := w.leader()
	if w.failed != nil || n == nil || w.plan.Ending == EndCalm {
		return
	}
	w.trace(-1, "ENDING %s, node %d", w.plan.Ending, n.id)
	w.plan.Harm = 1 << 60 // undone by us
	began := w.now
	undo := w.beginEnding(n)
	w.takeOver(n, began)
	if w.failed != nil {
		return
	}
	undo()
	w.trace(-1, "ENDING is over")
	since := w.now
	if w.comeTogether(since, w.plan.Bound()) {
		w.stay(w.plan.Lease / 2)
	}
}

func (w *World) beginEnding(n *node) (undo func()) {
	a := Act{Node: n.id, Mask: 1 << n.id}
	switch w.plan.Ending {
	case EndLeave:
		a.Verb = Stop
	case EndKill:
		a.Verb = Kill
	case EndPower:
		a.Verb = PowerOff
	case EndFreeze:
		a.Verb, a.Bits = Freeze, w.rng.IntN(2)
	case EndIsolate:
		a.Verb = Isolate
	case EndMute:
		a.Verb = Mute
	case EndSick:
		a.Verb = Sick
	case EndResign:
		a.Verb = Resign
	case EndMinority:
		a.Verb, a.Mask = PowerMany, w.majorityBut(n)
	case EndStandby:
		a.Verb = Stop
		n = w.nodes[(n.id+1)%len(w.nodes)]
	case EndCalm:
		return func() {}
	}
	return w.begin(a, n)
}

// majorityBut are so many other nodes that n has no quorum without them, even with half votes.
func (w *World) majorityBut(n *node) (mask int) {
	for i := range len(w.nodes)/2 + 1 {
		mask |= 1 << ((n.id + 1 + i) % len(w.nodes))
	}
	return mask &^ (1 << n.id)
}

// takeOver waits for what must follow the ending.
func (w *World) takeOver(old *node, began time.Duration) {
	p := &w.plan
	switch {
	case p.Ending == EndMinority:
		w.minority(old)
	case p.Ending == EndStandby:
		w.run(w.now + 2*p.Lease)
		if w.failed == nil && len(w.nodes) > 2 && w.leader() != old {
			w.fail("a standby has left, and node %d does not lead any more", old.id)
		}
	case !w.survives():
		w.run(w.now + p.Bound())
	case p.NoAddress:
		w.run(w.now + 2*p.Lease)
	default:
		w.successor(old, began)
	}
}

// survives reports whether the others can go on without their leader.
func (w *World) survives() bool {
	return len(w.nodes) > 2 || w.plan.Ending == EndSick || w.plan.Ending == EndResign
}

// minority demands that the address is given up, and that somebody is shown as leader without a quorum.
func (w *World) minority(old *node) {
	w.run(w.now + w.plan.Bound())
	if w.failed != nil || w.plan.shrinks() || w.plan.halves() && len(w.nodes) == 2 {
		return
	}
	for _, n := range w.nodes {
		if n.kernel.holds {
			w.fail("node %d has the address without a quorum", n.id)
		}
	}
	s := old.proc.m.Status(old.proc.now())
	if s.Quorum >= 0 {
		w.fail("node %d says %v, and most nodes are gone", old.id, s.Quorum)
	}
}

// successor waits until another node has the address, and notes how long it took.
func (w *World) successor(old *node, began time.Duration) {
	held := func(n *node) bool { return n != old && n.kernel.holds }
	bound := w.takeOverBound()
	for w.failed == nil && !slices.ContainsFunc(w.nodes, held) {
		w.run(w.now + lookEvery/5)
		if w.now-began > bound {
			w.fail("%v: %.2fs later nobody else has the address", w.plan.Ending, (w.now - began).Seconds())
		}
	}
	if w.failed != nil {
		return
	}
	w.stats.TakeOver[w.plan.Ending] = append(w.stats.TakeOver[w.plan.Ending], takeover{w.now - began, w.plan.Lease})
	w.run(w.now + random(w.rng, 3*w.plan.Lease))
}

// takeOverBound is how long a change of the holder may take.
func (w *World) takeOverBound() time.Duration {
	p := &w.plan
	slow := p.Escalation + p.DeEscalation + 20*(p.Latency+p.Jitter+p.WriteTime)
	switch p.Ending {
	case EndLeave, EndSick, EndResign:
		return 3*time.Second + slow
	default:
		if p.Latency+p.Jitter > p.Lease/100 {
			slow += 2 * p.Lease // several nodes stand at once, and again, and again
		}
		return p.Lease*20/19 + 2*time.Second + slow
	}
}
