package sim

import (
	"time"

	"gopgpool/watchdog/machine"
)

// pulse is a node's life check by heartbeat: packets that may be lost, doubled and overtaken. A node that was heard once and then not for
// the dead time is dead until it is heard again.
type pulse struct {
	heard []time.Duration // by node, 0: never
	dead  []bool
}

func newPulse(nodes int) pulse {
	return pulse{heard: make([]time.Duration, nodes), dead: make([]bool, nodes)}
}

func (p *process) startPulse() {
	if p.w.plan.External {
		return
	}
	p.later(0, timer, p.beat)
	p.every(p.w.plan.Deadtime/5, p.beat)
	p.every(time.Second, p.judgePeers)
}

// beat sends a heartbeat to everybody.
func (p *process) beat() {
	w := p.w
	for _, n := range w.nodes {
		if n == p.n {
			continue
		}
		for range 1 + w.rng.IntN(20)/19 {
			if w.rng.Float64() >= w.pulseLoss {
				w.after(w.delay()+random(w.rng, 2*w.plan.Jitter), func() { p.pulseReaches(n) })
			}
		}
	}
}

func (p *process) pulseReaches(n *node) {
	if q := n.proc; q != nil && p.w.cut[p.n.id][n.id] == 0 {
		q.later(0, mail, func() { q.pulse.heard[p.n.id] = q.now() })
	}
}

func (p *process) judgePeers() {
	for id := range p.pulse.heard {
		if id == p.n.id {
			continue
		}
		silent := p.pulse.heard[id] != 0 && p.now()-p.pulse.heard[id] > p.w.plan.Deadtime
		dead := silent || p.w.slander[p.n.id][id] > 0
		if dead == p.pulse.dead[id] {
			continue
		}
		p.pulse.dead[id] = dead
		p.w.judge.changed()
		why := "Heartbeat signal found"
		if dead {
			why = "No heartbeat signal from node"
		}
		p.step(machine.Judged{Peer: id, Dead: dead, Why: why})
	}
}
