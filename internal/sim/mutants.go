package sim

import (
	"bytes"
	"encoding/json"
	"time"

	"gopgpool/watchdog/machine"
)

// Mutant is a machine, or something it relies on, broken on purpose. The zero value breaks nothing.
type Mutant struct {
	Name string

	plan     func(*Plan) // makes plans that show it sooner
	config   func(*machine.Config)
	load     func(*World, *machine.Image)
	output   func(*process, *machine.Output)
	write    func(*process, *machine.Save) (done bool)
	raise    func(*process, int) (done bool) // instead of the call that gives the address a lifetime
	step     func(machine.Input) (unheard bool)
	rate     func(float64) float64 // of clocks
	keeping  bool                  // the address is not taken away when it is given up
	trusting bool                  // the clock is not looked at after a call
}

// Mutants returns all there are.
func Mutants() []Mutant {
	return []Mutant{
		{Name: "saved before it is written", write: tooEarly},
		{Name: "entries are not written", write: without(func(s *machine.Save) { s.Entries = nil })},
		{Name: "terms and votes are not written", write: without(func(s *machine.Save) { s.HardState = nil })},
		{Name: "snapshots are not written", write: without(func(s *machine.Save) { s.Snapshot = nil })},
		{Name: "the log is lost, the name stays", load: func(_ *World, img *machine.Image) { *img = machine.Image{Meta: img.Meta} }},
		{Name: "the lease is longer", output: func(_ *process, o *machine.Output) { o.Address.Until += 3 * time.Second }},
		{Name: "the lease needs no quorum", output: ownLease},
		{Name: "the address is raised by whoever is shown as leader", output: atOnce},
		{Name: "the address stays when it is given up", keeping: true},
		{Name: "the address has no lifetime", raise: func(p *process, _ int) bool { p.n.kernel.raise(0, false); return true }},
		{Name: "the clock is not read after the call", trusting: true},
		{Name: "voters forget when they last answered a leader", output: forgetAnswers, plan: cutOffCandidate},
		{
			Name: "verdicts of the life check are not heard", plan: slandered,
			step: func(in machine.Input) bool { _, ok := in.(machine.Judged); return ok },
		},
		{Name: "clocks differ by a factor of four", rate: func(r float64) float64 { return 1 + (r-1)*12 }},
		{Name: "a proposal counts as committed when its outcome is unknown", output: hope},
		{Name: "half is a quorum everywhere", config: func(c *machine.Config) { c.HalfVotes = true }},
	}
}

// tooEarly says that a write is done when it has only begun.
func tooEarly(p *process, s *machine.Save) bool {
	p.save = nil
	p.arrive(machine.Saved{})
	p.unsynced = append(p.unsynced, s)
	p.w.after(2*time.Second, func() {
		if !p.gone && len(p.unsynced) > 0 {
			p.save, p.unsynced = p.unsynced[0], p.unsynced[1:]
			p.sync()
		}
	})
	return true
}

func without(what func(*machine.Save)) func(*process, *machine.Save) bool {
	return func(_ *process, s *machine.Save) bool {
		what(s)
		return false
	}
}

// cutOffCandidate lets a leader lose one of two standbys first, and then freeze: who has not answered it for long may be elected by who
// has just done so.
func cutOffCandidate(p *Plan) {
	*p = p.plain()
	at := 4*p.Loading + p.Lease
	p.Acts = []Act{
		{At: at, Verb: Pair, Node: leading, Mask: int(p.Seed % 3), For: 5 * p.Lease},
		{At: at + 2*p.Lease, Verb: Freeze, Node: leading, Bits: 1, For: 2 * p.Lease},
	}
}

// slandered lets a leader be called dead by all others.
func slandered(p *Plan) {
	*p = p.plain()
	p.Acts = []Act{{At: 4*p.Loading + p.Lease, Verb: Slanders, Node: leading, For: 5 * p.Lease}}
}

// plain is a cluster of three on a good network.
func (p *Plan) plain() Plan {
	return Plan{
		Seed: p.Seed, Nodes: 3, Lease: p.Lease, Deadtime: 30 * time.Second, Loading: p.Loading, Require: true, WhenQuorum: true,
		Latency: time.Millisecond, Jitter: time.Millisecond, WriteTime: time.Millisecond, Harm: 4*p.Loading + 10*p.Lease, Ending: EndCalm,
	}
}

// forgetAnswers has every vote say that no leader was answered for an hour.
func forgetAnswers(_ *process, o *machine.Output) {
	for i, m := range o.Send {
		var e map[string]any
		d := json.NewDecoder(bytes.NewReader(m.Payload))
		d.UseNumber()
		if d.Decode(&e) != nil || e["Quiet"] == nil {
			continue
		}
		e["Quiet"] = int64(time.Hour)
		if text, err := json.Marshal(e); err == nil {
			o.Send[i].Payload = text
		}
	}
}

func hope(_ *process, o *machine.Output) {
	for i := range o.Proposals {
		out := &o.Proposals[i]
		out.Committed, out.Unknown = out.Committed || out.Unknown, false
	}
}

// ownLease lets a leader hold the address as long as it believes to be one.
func ownLease(p *process, o *machine.Output) {
	if p.m.Status(p.now()).Standing == machine.Leads && p.vip.desired.Hold {
		o.Address = machine.Desired{Hold: true, Until: p.now() + p.w.plan.Lease}
	}
}

// atOnce lets a leader hold the address from its first moment on.
func atOnce(p *process, o *machine.Output) {
	if p.m.Status(p.now()).Standing == machine.Leads {
		o.Address = machine.Desired{Hold: true, Until: max(o.Address.Until, p.now()+p.w.plan.Lease/10*9)}
	}
}
