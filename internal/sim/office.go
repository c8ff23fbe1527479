package sim

import (
	"fmt"
	"strings"
	"time"

	"gopgpool/watchdog/machine"
)

// officer stands in for failover: where its node leads it proposes decisions, everywhere it brings requests before the leader and
// notes what is decided.
type officer struct {
	last     uint64 // seq of the last decision here
	data     string
	anew     bool // the log was set aside: decisions may come again
	proposed map[uint64]string
	asked    map[uint64]string
}

func (p *process) startOffice() {
	p.office = officer{proposed: make(map[uint64]string), asked: make(map[uint64]string)}
	p.every(2*time.Second, func() {
		if p.w.proposing && p.m.Status(p.now()).Standing == machine.Leads {
			p.propose()
		}
	})
}

// propose brings a decision nobody has proposed before.
func (p *process) propose() string {
	n := p.w.unique()
	text := fmt.Sprintf("decision %d of node %d", n, p.n.id)
	p.office.proposed[n] = text
	p.w.stats.Proposed++
	p.step(machine.Proposed{Number: n, Decision: []byte(text)})
	return text
}

// ask brings a request.
func (p *process) ask(key string, confirmed bool) {
	n := p.w.unique()
	p.office.asked[n] = key
	p.w.judge.asked(p, key, n)
	p.step(machine.Asked{Number: n, Ask: machine.Ask{Key: key, Confirmed: confirmed, Request: fmt.Appendf(nil, "%s|%v", key, confirmed)}})
}

// decisions takes what an output says about them.
func (p *process) decisions(out machine.Output) {
	for _, d := range out.Decided {
		p.decided(d)
	}
	for _, o := range out.Proposals {
		p.outcome(o)
	}
	for _, e := range out.Execute {
		p.w.judge.execute(p, e)
		p.later(10*time.Millisecond+random(p.w.rng, 300*time.Millisecond), timer, func() {
			if p.w.proposing && p.m.Status(p.now()).Standing == machine.Leads {
				p.propose()
			}
			p.step(machine.Executed{Number: e.Number, Reply: append([]byte("done: "), e.Request...)})
		})
	}
	for _, a := range out.Answers {
		p.answer(a)
	}
}

func (p *process) decided(d machine.Decided) {
	p.w.trace(p.n.id, "   decided %d: %s", d.Seq, d.Data)
	p.w.judge.decided(p, d.Seq, string(d.Data))
	p.office.last, p.office.data, p.office.anew = d.Seq, string(d.Data), false
	p.later(random(p.w.rng, 5*time.Millisecond), timer, func() { p.step(machine.Carried{Seq: d.Seq}) })
}

func (p *process) outcome(o machine.Outcome) {
	text, ok := p.office.proposed[o.Number]
	if !ok {
		p.w.fail("node %d gets an outcome of %d, which was not asked for or had one", p.n.id, o.Number)
		return
	}
	delete(p.office.proposed, o.Number)
	p.w.trace(p.n.id, "   %q: %+v", text, o)
	switch {
	case o.Committed:
		p.w.judge.committed(p, o.Seq, text)
	case !o.Unknown:
		p.w.judge.refused(p, text)
	}
}

func (p *process) answer(a machine.Answer) {
	key, ok := p.office.asked[a.Number]
	if !ok {
		p.w.fail("node %d gets an answer to %d, which was not asked or has one", p.n.id, a.Number)
		return
	}
	delete(p.office.asked, a.Number)
	p.w.judge.answered(p, a.Number)
	p.w.stats.Answers[a.Result]++
	p.w.trace(p.n.id, "   %q: %+v", key, a)
	if a.Result == machine.ResultDone && !strings.HasPrefix(string(a.Reply), "done: "+key) {
		p.w.fail("node %d asked for %q and is told %q", p.n.id, key, a.Reply)
	}
}
