package sim

import (
	"time"

	"gopgpool/watchdog/lifecheck"
	"gopgpool/watchdog/machine"
)

// pulse is a node's life check by heartbeat: packets that may be lost, doubled and overtaken, judged by the shipped judge, and now and
// then by one that is wrong.
type pulse struct {
	judge *lifecheck.Judge
	dead  []bool // by node, as the judge says
	told  []bool // as the machine was told
}

func newPulse(nodes int) pulse { return pulse{dead: make([]bool, nodes), told: make([]bool, nodes)} }

// keepalive is wd_heartbeat_keepalive.
func (p *Plan) keepalive() time.Duration { return min(p.Deadtime/5, 2*time.Second) }

func (p *process) startPulse() {
	if p.w.plan.External {
		return
	}
	var ids []int
	for _, n := range p.w.nodes {
		ids = append(ids, n.id)
	}
	p.pulse.judge = lifecheck.NewJudge(p.n.id, ids, p.w.plan.Deadtime, p.now())
	p.later(0, timer, p.beat)
	p.every(p.w.plan.keepalive(), p.beat)
	p.every(200*time.Millisecond, p.judgePeers)
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
		q.later(0, mail, func() { q.pulse.judge.Heard(p.n.id, q.now()) })
	}
}

func (p *process) judgePeers() {
	for _, v := range p.pulse.judge.Tick(p.now()) {
		p.pulse.dead[v.Node] = v.Dead
	}
	for id := range p.pulse.dead {
		dead := p.pulse.dead[id] || p.w.slander[p.n.id][id] > 0
		if dead == p.pulse.told[id] {
			continue
		}
		p.pulse.told[id] = dead
		p.w.judge.changed()
		why := "Heartbeat signal found"
		if dead {
			why = "No heartbeat signal from node"
		}
		p.step(machine.Judged{Peer: id, Dead: dead, Why: why})
	}
}
