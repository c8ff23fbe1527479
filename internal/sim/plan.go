package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Plan is all that a run depends on.
type Plan struct {
	Seed      uint64
	Nodes     int
	HalfVotes bool
	External  bool // no life check
	Trusted   bool // trusted servers are configured
	NoAddress bool

	Lease, Deadtime, Loading    time.Duration
	RemoveShutdown              bool
	LostRemoval, NoShowRemoval  time.Duration
	Require, WhenQuorum, Repeat bool // failover_require_consensus, failover_when_quorum_exists, allow_multiple_...

	Latency, Jitter time.Duration
	Loss            float64 // of messages between machines, while faults last
	PulseLoss       float64
	WriteTime       time.Duration
	Escalation      time.Duration // of wd_escalation_command
	DeEscalation    time.Duration

	Harm   time.Duration // how long faults last
	Acts   []Act
	Ending Ending
}

// Act is a fault.
type Act struct {
	At   time.Duration
	Verb Verb
	Node int           // leading: who holds the address or leads by then
	Mask int           // of other nodes
	For  time.Duration // then it is over, at the latest at the end of harm
	Bits int           // variants
}

// leading stands for the leader of the moment.
const leading = -1

func (a Act) String() string {
	node := fmt.Sprintf("node %d", a.Node)
	if a.Node == leading {
		node = "leader"
	}
	return fmt.Sprintf("%7.2fs %-12s %s mask %07b bits %d for %.2fs", a.At.Seconds(), a.Verb, node, a.Mask, a.Bits, a.For.Seconds())
}

// Verb is a kind of fault.
type Verb string

// Faults.
const (
	Kill      Verb = "kill"      // the process; what was not synced is lost
	PowerOff  Verb = "poweroff"  // the host, with clock and kernel
	PowerMany Verb = "powermany" // several hosts at once
	Freeze    Verb = "freeze"
	Stop      Verb = "stop" // in good order
	Restart   Verb = "restart"
	FullDisk  Verb = "fulldisk"
	SlowDisk  Verb = "slowdisk"
	Wipe      Verb = "wipe"     // power, and the disk comes back empty
	WipeMost  Verb = "wipemost" // so many that no majority is left
	OneWay    Verb = "oneway"
	Pair      Verb = "pair"
	Isolate   Verb = "isolate"
	Deafen    Verb = "deafen" // hears nobody
	Mute      Verb = "mute"   // is heard by nobody
	Split     Verb = "split"
	Ring      Verb = "ring" // everybody talks to the neighbours only
	Flap      Verb = "flap"
	Lag       Verb = "lag" // everything takes longer
	Reset     Verb = "reset"
	Untrusted Verb = "untrusted"
	Sick      Verb = "sick"
	Slander   Verb = "slander"  // one node's life check says that another is dead
	Slanders  Verb = "slanders" // those of all others do
	Resign    Verb = "resign"
	Stall     Verb = "stall" // frozen between looking at the clock and raising the address, the next time it does so
)

// odds are how often a fault comes where a seed has it at all.
var odds = []struct {
	verb Verb
	n    int
}{
	{Kill, 5},
	{PowerOff, 4},
	{PowerMany, 2},
	{Freeze, 6},
	{Stop, 3},
	{Restart, 3},
	{FullDisk, 2},
	{SlowDisk, 2},
	{Wipe, 3},
	{OneWay, 4},
	{Pair, 3},
	{Isolate, 5},
	{Deafen, 3},
	{Mute, 3},
	{Split, 5},
	{Ring, 2},
	{Flap, 3},
	{Lag, 2},
	{Reset, 3},
	{Untrusted, 2},
	{Sick, 2},
	{Slander, 3},
	{Slanders, 2},
	{Resign, 2},
	{Stall, 3},
}

// parting are the faults by which nodes that run cannot talk.
var parting = []Verb{OneWay, Pair, Isolate, Deafen, Mute, Split, Ring, Flap, Slander, Slanders}

// NewPlan draws a plan.
func NewPlan(seed uint64) Plan {
	rng := rand.New(rand.NewPCG(seed, 1))
	p := Plan{Seed: seed, Ending: pick(rng, endings...)}
	p.Nodes = pick(rng, 3, 3, 3, 4, 5, 5, 7, 2, 2, 4, 6)
	p.HalfVotes = p.Nodes%2 == 0 && (p.Nodes == 6 || rng.IntN(3) > 0) || rng.IntN(10) == 0
	p.Lease = pick[time.Duration](rng, 3, 3, 3, 4, 5, 10) * time.Second
	p.Deadtime = max(p.Lease, pick[time.Duration](rng, 3, 5, 10, 30)*time.Second)
	p.Loading = pick[time.Duration](rng, 3, 5, 10) * time.Second
	p.External = rng.IntN(6) == 0
	p.Trusted = rng.IntN(2) == 0
	p.NoAddress = rng.IntN(20) == 0
	p.drawParameters(rng)
	p.drawWorld(rng)
	p.drawActs(rng)
	return p
}

func (p *Plan) drawParameters(rng *rand.Rand) {
	p.RemoveShutdown = rng.IntN(4) == 0
	if rng.IntN(5) == 0 {
		p.LostRemoval = time.Duration(5+rng.IntN(40)) * time.Second
	}
	if rng.IntN(5) == 0 {
		p.NoShowRemoval = time.Duration(10+rng.IntN(40)) * time.Second
	}
	p.Require, p.WhenQuorum, p.Repeat = rng.IntN(4) > 0, rng.IntN(4) > 0, rng.IntN(4) == 0
}

func (p *Plan) drawWorld(rng *rand.Rand) {
	p.Latency = pick(rng, 200*time.Microsecond, time.Millisecond, 5*time.Millisecond, 30*time.Millisecond)
	p.Jitter = pick(rng, p.Latency/2, p.Latency*3, 50*time.Millisecond)
	if rng.IntN(4) == 0 {
		p.Loss = rng.Float64() * 0.3
	}
	p.PulseLoss = rng.Float64() * 0.2
	p.WriteTime = pick(rng, time.Millisecond, 5*time.Millisecond, 30*time.Millisecond)
	if rng.IntN(4) == 0 {
		p.Escalation = time.Duration(rng.IntN(1000)) * time.Millisecond
	}
	if rng.IntN(4) == 0 {
		p.DeEscalation = time.Duration(rng.IntN(500)) * time.Millisecond
	}
	p.Harm = p.Lease*4 + time.Duration(rng.Int64N(int64(8*p.Lease)))
	if rng.IntN(12) == 0 {
		p.Harm = 0 // only the start and the ending
	}
}

func (p *Plan) drawActs(rng *rand.Rand) {
	var all []Verb
	whole := p.HalfVotes && rng.IntN(2) == 0 // no partitions: two holders are never allowed
	for _, o := range odds {
		if whole && slices.Contains(parting, o.verb) {
			continue
		}
		if rng.IntN(3) > 0 { // not all faults in one seed: some are only seen where others are not
			all = append(all, slices.Repeat([]Verb{o.verb}, o.n)...)
		}
	}
	pause := p.Lease / pick[time.Duration](rng, 1, 2, 4, 8)
	for at := random(rng, p.Lease*4); at < p.Harm && len(all) > 0; at += random(rng, 2*pause) {
		a := Act{At: at, Verb: pick(rng, all...), Node: rng.IntN(p.Nodes), Mask: 1 + rng.IntN(1<<p.Nodes-1), Bits: rng.IntN(64)}
		if rng.IntN(2) == 0 {
			a.Node = leading
		}
		a.For = 100*time.Millisecond + random(rng, pick(rng, p.Lease/2, p.Lease, 3*p.Lease, p.Deadtime+2*p.Lease))
		p.Acts = append(p.Acts, a)
	}
	if p.Harm > 0 && rng.IntN(12) == 0 {
		p.Acts = append(p.Acts, Act{At: p.Harm / 2, Verb: WipeMost, Mask: 1 + rng.IntN(1<<p.Nodes-1), For: random(rng, 2*p.Lease)})
		slices.SortStableFunc(p.Acts, func(a, b Act) int { return int(a.At - b.At) })
	}
}

// Bound is how long a cluster may take to come together when everything works.
func (p *Plan) Bound() time.Duration {
	return 3*(p.Lease+p.Deadtime) + p.Loading + 2*p.Escalation
}

// has reports whether a fault is planned.
func (p *Plan) has(v Verb) bool {
	return slices.ContainsFunc(p.Acts, func(a Act) bool { return a.Verb == v })
}

// shrinks reports whether nodes may cease to count for the quorum.
func (p *Plan) shrinks() bool { return p.RemoveShutdown || p.LostRemoval > 0 || p.NoShowRemoval > 0 }

// halves reports whether half of the nodes may go on alone.
func (p *Plan) halves() bool { return p.HalfVotes && (p.Nodes%2 == 0 || p.shrinks()) }

// forks reports whether what was decided may be lost: where disks were, and where half a cluster went on alone.
func (p *Plan) forks() bool { return p.halves() || p.has(WipeMost) }

// Kind names the plan's row in the statistics.
func (p *Plan) Kind() string {
	s := fmt.Sprintf("%d nodes", p.Nodes)
	if p.HalfVotes {
		s += ", half votes"
	}
	if p.External {
		s += ", no life check"
	}
	return s
}

// String is the plan as it can be read, one act per line.
func (p *Plan) String() string {
	var b strings.Builder
	head := *p
	head.Acts = nil
	fmt.Fprintf(&b, "%+v\n", head)
	for _, a := range p.Acts {
		fmt.Fprintln(&b, a)
	}
	return b.String()
}

func pick[T any](rng *rand.Rand, from ...T) T { return from[rng.IntN(len(from))] }

// random is up to d.
func random(rng *rand.Rand, d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return time.Duration(rng.Int64N(int64(d)))
}
