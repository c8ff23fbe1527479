package sim

import (
	"crypto/rand"
	"fmt"
	"hash/fnv"
	"io"
	mathrand "math/rand/v2"
	"runtime/debug"
	"time"

	"gopgpool/watchdog/machine"
)

// World is one run.
type World struct {
	plan   Plan
	make   Make
	mutant Mutant
	log    io.Writer // nil: nothing is traced

	now    time.Duration
	queue  queue
	rng    *mathrand.Rand
	nodes  []*node
	wires  [][]*wire
	judge  judge
	stats  Stats
	digest uint64

	cut       [][]int // by from and to: faults that cut it
	slander   [][]int // by who says it and of whom
	lag       time.Duration
	loss      float64
	pulseLoss float64
	proposing bool
	numbers   uint64
	lastStart time.Duration
	failed    *Violation
}

// Violation is what must not be.
type Violation struct {
	At   time.Duration
	What string
}

func (v *Violation) String() string { return fmt.Sprintf("at %.3fs: %s", v.At.Seconds(), v.What) }

// Result is what a run has shown.
type Result struct {
	Plan      Plan
	Violation *Violation // nil: none
	Stats     Stats
	Digest    uint64 // equal for equal runs
}

// Run carries out a plan with machines of a kind. With log all that happens is written there. It exchanges crypto/rand's reader while it
// lasts, see the package comment.
func Run(plan Plan, build Make, mutant Mutant, log io.Writer) Result {
	defer exchangeDice(plan.Seed)()
	w := newWorld(plan, build, mutant, log)
	w.guarded(w.live)
	w.stats.finish(w)
	return Result{Plan: plan, Violation: w.failed, Stats: w.stats, Digest: w.digest}
}

// exchangeDice makes crypto/rand a function of the seed and returns what undoes it.
func exchangeDice(seed uint64) (restore func()) {
	before := rand.Reader
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	rand.Reader = mathrand.NewChaCha8(key)
	return func() { rand.Reader = before }
}

func newWorld(plan Plan, build Make, mutant Mutant, log io.Writer) *World {
	w := &World{plan: plan, make: build, mutant: mutant, log: log, rng: mathrand.New(mathrand.NewPCG(plan.Seed, 2))}
	w.judge, w.stats = newJudge(w), newStats()
	w.proposing, w.loss, w.pulseLoss = true, plan.Loss, plan.PulseLoss
	n := plan.Nodes
	w.cut, w.slander, w.wires = square[int](n), square[int](n), square[*wire](n)
	for id := range n {
		node := &node{id: id, clock: clock{rate: 0.95 + 0.1*w.rng.Float64(), shift: random(w.rng, time.Hour)}}
		if mutant.rate != nil {
			node.clock.rate = mutant.rate(node.clock.rate)
		}
		node.kernel = kernel{w: w, n: node}
		w.nodes = append(w.nodes, node)
	}
	for a := range n {
		for b := range a {
			l := &wire{w: w, ends: [2]*node{w.nodes[b], w.nodes[a]}}
			w.wires[a][b], w.wires[b][a] = l, l
		}
	}
	return w
}

func square[T any](n int) [][]T {
	s := make([][]T, n)
	for i := range s {
		s[i] = make([]T, n)
	}
	return s
}

// config is what a node is configured with.
func (w *World) config(n *node) machine.Config {
	p := w.plan
	prios := mathrand.New(mathrand.NewPCG(p.Seed, 3+uint64(n.id)))
	c := machine.Config{
		Self: n.id, Name: fmt.Sprintf("node%d:9999 Linux node%d", n.id, n.id), Priority: 1 + prios.IntN(3), VIP: !p.NoAddress,
		Lease: p.Lease, Loading: p.Loading, HalfVotes: p.HalfVotes, RemoveShutdown: p.RemoveShutdown, LostRemoval: p.LostRemoval,
		NoShowRemoval: p.NoShowRemoval, FailoverWhenQuorum: p.WhenQuorum, RequireConsensus: p.Require, AllowMultiple: p.Repeat,
		VoteExpiry: 15 * time.Second, External: p.External, Random: w.rng.Uint64,
	}
	for id := range p.Nodes {
		c.Nodes = append(c.Nodes, machine.Node{Host: fmt.Sprintf("node%d", id), WdPort: 9000, PgpoolPort: 9999})
	}
	if w.mutant.config != nil {
		w.mutant.config(&c)
	}
	return c
}

// live is the whole run.
func (w *World) live() {
	for _, n := range w.nodes {
		at := random(w.rng, pickStart(w))
		w.lastStart = max(w.lastStart, at)
		w.at(at, func() { w.start(n) })
	}
	for _, a := range w.plan.Acts {
		w.at(a.At, func() { w.act(a) })
	}
	w.requests()
	w.run(w.plan.Harm)
	w.loss, w.pulseLoss, w.proposing = 0, 0, false
	w.end()
}

// pickStart is within what time the nodes start: together, or so that some start alone.
func pickStart(w *World) time.Duration {
	return pick(w.rng, time.Millisecond, time.Second, w.plan.Loading, 3*w.plan.Loading)
}

// run lets time pass until a moment, or a violation.
func (w *World) run(until time.Duration) {
	for w.failed == nil {
		e, ok := w.queue.take(until)
		if !ok {
			w.now = max(w.now, until)
			return
		}
		w.now = e.at
		e.do()
		w.judge.after()
	}
}

// guarded turns a panic into a violation.
func (w *World) guarded(f func()) {
	defer func() {
		if r := recover(); r != nil {
			w.fail("panic: %v\n%s", r, debug.Stack())
		}
	}()
	f()
}

func (w *World) at(t time.Duration, do func())    { w.queue.add(max(t, w.now), do) }
func (w *World) after(d time.Duration, do func()) { w.queue.add(w.now+d, do) }

func (w *World) fail(format string, args ...any) {
	if w.failed == nil {
		w.failed = &Violation{At: w.now, What: fmt.Sprintf(format, args...)}
		w.trace(-1, "VIOLATION: %s", w.failed.What)
	}
}

func (w *World) tracing() bool { return w.log != nil }

// trace writes a line about a node, -1 for the world.
func (w *World) trace(node int, format string, args ...any) {
	if w.log == nil {
		return
	}
	who := "     "
	if node >= 0 {
		who = fmt.Sprintf("%-5d", node)
	}
	fmt.Fprintf(w.log, "%10.4f %s%s\n", w.now.Seconds(), who, fmt.Sprintf(format, args...))
}

// mix makes the digest depend on what happens.
func (w *World) mix(values ...uint64) {
	h := fnv.New64a()
	var b [8]byte
	for _, v := range append(values, w.digest) {
		for i := range b {
			b[i] = byte(v >> (8 * i))
		}
		_, _ = h.Write(b[:]) // a hash never fails
	}
	w.digest = h.Sum64()
}

func (w *World) unique() uint64 {
	w.numbers++
	return w.numbers
}

// leader is the node that faults aimed at the leader meet: who holds the address, or says that it leads.
func (w *World) leader() *node {
	for _, n := range w.nodes {
		if n.kernel.holds && n.proc != nil {
			return n
		}
	}
	for _, n := range w.nodes {
		if n.proc != nil && n.proc.m.State() == machine.StateLeader {
			return n
		}
	}
	return nil
}

// requests lets several nodes ask for the same thing now and then.
func (w *World) requests() {
	w.after(random(w.rng, 8*time.Second), func() {
		if w.proposing {
			key := fmt.Sprintf("detach %d", w.rng.IntN(3))
			confirmed := w.rng.IntN(4) == 0
			for _, n := range w.nodes {
				if w.rng.IntN(2) == 0 {
					w.after(random(w.rng, 3*time.Second), func() {
						if p := n.proc; p != nil {
							p.run(timer, func() { p.ask(key, confirmed) })
						}
					})
				}
			}
		}
		w.requests()
	})
}
