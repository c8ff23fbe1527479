package sim

import (
	"time"

	"gopgpool/watchdog/machine"
)

const (
	// kernelSlack is how much longer than its lifetime an address may stay.
	kernelSlack = 700 * time.Millisecond
	callSlack   = 20 * time.Millisecond
	// lateBound is how long a process takes to delete an address that a call has raised too late, unless it is stopped again.
	lateBound = time.Millisecond
)

// kernel is what a host knows of the virtual address. Nobody needs to run for it to lose the address in time.
type kernel struct {
	w     *World
	n     *node
	holds bool
	set   int  // counts changes
	late  bool // raised by a call that was stopped on its way for longer than its lease
	since time.Duration
}

func (k *kernel) raise(seconds int, late bool) {
	if !k.holds {
		k.since = k.w.now
		k.w.trace(k.n.id, "** has the address for %d s, late %v", seconds, late)
	}
	k.holds, k.late = true, late
	k.w.judge.address()
	k.live(seconds)
}

// live gives the address a lifetime; 0 is for ever.
func (k *kernel) live(seconds int) {
	k.set++
	set := k.set
	if seconds == 0 {
		return
	}
	lifetime := time.Duration(seconds)*time.Second + random(k.w.rng, kernelSlack)
	k.w.after(k.n.clock.real(lifetime), func() {
		if k.set == set {
			k.w.trace(k.n.id, "** the kernel drops the address")
			k.drop()
		}
	})
}

func (k *kernel) drop() {
	if k.holds {
		k.w.trace(k.n.id, "** has the address no more")
	}
	k.set++
	k.holds, k.late = false, false
	k.w.judge.address()
}

// vip is the part of a process that keeps the address as the machine wants it. It does what watchdog/vip does.
type vip struct {
	desired   machine.Desired
	escalated bool
	busy      bool
	calling   bool
	told      machine.AddressIs
}

// lifetime is what the address may be given, 0 if there is not time for a second.
func lifetime(now, until time.Duration) int {
	left := until - now - kernelSlack - callSlack
	if left < time.Second {
		return 0
	}
	return int(left / time.Second)
}

func outlives(now, until time.Duration, seconds int) bool {
	return now+time.Duration(seconds)*time.Second+kernelSlack > until
}

// want takes what the machine desires.
func (p *process) want(d machine.Desired) {
	if d != p.vip.desired {
		p.vip.desired = d
		p.settle()
	}
}

// settle brings what is there nearer to what is desired.
func (p *process) settle() {
	v := &p.vip
	if !v.busy && !v.calling {
		seconds := lifetime(p.now(), v.desired.Until)
		switch {
		case p.w.plan.NoAddress:
		case v.desired.Hold && !v.escalated:
			v.escalated = true
			p.command(p.w.plan.Escalation)
		case v.desired.Hold && seconds > 0:
			p.call(seconds)
		case !v.desired.Hold && v.escalated:
			p.release()
		}
	}
	p.tellAddress()
}

// command runs a user's command, if there is one.
func (p *process) command(takes time.Duration) {
	if takes == 0 {
		p.later(0, timer, p.settle)
		return
	}
	p.vip.busy = true
	p.later(takes, timer, func() {
		p.vip.busy = false
		p.settle()
	})
}

// call places or refreshes the address. A process may be stopped between looking at its clock and the call.
func (p *process) call(seconds int) {
	v, k, until := &p.vip, &p.n.kernel, p.vip.desired.Until
	v.calling = true
	there := k.holds
	if !there && p.n.stall > 0 {
		p.stall()
	}
	p.later(50*time.Microsecond+random(p.w.rng, time.Millisecond), timer, func() {
		v.calling = false
		late := outlives(p.now(), until, seconds)
		switch {
		case p.w.mutant.raise != nil && p.w.mutant.raise(p, seconds):
		case there && k.holds:
			k.live(seconds) // also when late: it ends as a lease that began then would, so it must go at once
			k.late = k.late || late
		case !there:
			k.raise(seconds, late)
		}
		if late && k.holds && !p.w.mutant.trusting {
			p.w.stats.Late++
			p.later(random(p.w.rng, lateBound/2), timer, k.drop)
		}
		p.tellAddress()
	})
}

// stall freezes the process before the call that is under way.
func (p *process) stall() {
	p.w.trace(p.n.id, "** is frozen before it raises the address")
	p.freeze()
	p.w.after(max(0, min(p.n.stall, p.w.plan.Harm-p.w.now)), p.thaw)
	p.n.stall = 0
}

// release takes the address away, after the command of a good end.
func (p *process) release() {
	v := &p.vip
	v.escalated = false
	if v.desired.Graceful && p.w.plan.DeEscalation > 0 {
		v.busy = true
		p.later(p.w.plan.DeEscalation, timer, func() {
			v.busy = false
			p.remove()
		})
		return
	}
	p.remove()
}

func (p *process) remove() {
	p.vip.calling = true
	p.later(50*time.Microsecond+random(p.w.rng, 5*time.Millisecond), timer, func() {
		p.vip.calling = false
		if !p.w.mutant.keeping {
			p.n.kernel.drop()
		}
		p.settle()
	})
}

func (p *process) tellAddress() {
	v := &p.vip
	is := machine.AddressIs{Held: p.n.kernel.holds, Busy: v.busy || v.calling && !v.desired.Hold}
	if is != v.told {
		v.told = is
		p.later(0, timer, func() { p.step(is) })
	}
}

// probed tells whether anybody else answers for the address. Frozen processes do not matter: their kernels answer.
func (p *process) probed() {
	answered := false
	for _, n := range p.w.nodes {
		answered = answered || n != p.n && n.kernel.holds && p.w.cut[p.n.id][n.id] == 0 && p.w.cut[n.id][p.n.id] == 0
	}
	p.step(machine.Probed{Answered: answered})
}
