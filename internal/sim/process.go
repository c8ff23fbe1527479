package sim

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"gopgpool/watchdog/machine"
)

// Machine is what a process runs: that of package machine, or a mutant of it.
type Machine interface {
	Tick(now time.Duration)
	Step(now time.Duration, in machine.Input)
	Take() (machine.Output, bool)
	Status(now time.Duration) machine.Status
	State() machine.State
}

// Make builds a machine from what a disk has kept.
type Make func(machine.Config, machine.Image, time.Duration) (Machine, error)

// node is a host: what stays when a process ends.
type node struct {
	id     int
	clock  clock
	disk   disk
	kernel kernel
	proc   *process // nil while none runs
	down   int      // faults that keep it down
	boots  int
	since  time.Duration // when the process started or ended
	voter  bool          // since its disk was empty last
	sick   int
	stall  time.Duration // for how long it is frozen when it is about to raise the address
	term   uint64        // it has been told that this is on disk
	cutOff int           // faults that hide the trusted servers
}

// process is one life of pgpool on a node.
type process struct {
	w *World
	n *node
	m Machine

	gone    bool
	freezes int
	frozen  bool
	held    []held // what happened while it was frozen
	thawed  time.Duration

	save     *machine.Save // being written
	saveTerm uint64
	unsynced []*machine.Save // of a mutant that lies about its writes
	status   machine.Status
	term     uint64 // the highest seen
	leaving  time.Duration
	left     bool
	pulse    pulse
	vip      vip
	office   officer
	trusting *bool
	ill      bool
}

// held waits for a frozen process.
type held struct {
	kind kind
	do   func()
}

// kind tells what wakes a process: after a freeze the order of timers and mail is open.
type kind uint8

const (
	timer kind = iota
	mail
)

func (p *process) now() time.Duration { return p.n.clock.at(p.w.now) }

// later does something in the process, after a time of its own clock.
func (p *process) later(d time.Duration, k kind, do func()) {
	p.w.after(p.n.clock.real(d), func() { p.run(k, do) })
}

func (p *process) run(k kind, do func()) {
	if p.gone {
		return
	}
	if p.frozen {
		p.held = append(p.held, held{k, do})
		return
	}
	do()
	p.pump()
}

// every repeats something, never quite regularly.
func (p *process) every(d time.Duration, do func()) {
	p.later(d/2+random(p.w.rng, d/2), timer, func() {
		do()
		if !p.gone {
			p.every(d, do)
		}
	})
}

// arrive is an input from outside.
func (p *process) arrive(in machine.Input) { p.later(0, mail, func() { p.step(in) }) }

func (p *process) step(in machine.Input) {
	if p.gone {
		return
	}
	if p.w.tracing() {
		p.w.trace(p.n.id, "<- %s", describe(in))
	}
	p.w.mix(uint64(p.n.id), uint64(p.w.now))
	if p.w.mutant.step != nil && p.w.mutant.step(in) {
		return
	}
	p.m.Step(p.now(), in)
}

// start begins a life of a node, if nothing keeps it down.
func (w *World) start(n *node) {
	if n.proc != nil || n.down > 0 {
		return
	}
	n.boots++
	n.kernel.drop() // vip removes at its start what a crash has left
	p := &process{w: w, n: n, term: n.term, pulse: newPulse(w.plan.Nodes)}
	img := n.disk.load()
	if w.mutant.load != nil {
		w.mutant.load(w, &img)
	}
	m, err := w.make(w.config(n), img, p.now())
	if err != nil {
		w.fail("node %d does not start from its disk: %v", n.id, err)
		return
	}
	p.m, n.proc, n.since = m, p, w.now
	w.trace(n.id, "starts, life %d", n.boots)
	w.judge.changed()
	p.every(w.plan.Lease/30, p.tick)
	for _, peer := range w.nodes {
		if peer != n {
			p.every(dialEvery, func() { w.wires[n.id][peer.id].dial(p) })
		}
	}
	p.every(500*time.Millisecond, p.look)
	p.every(250*time.Millisecond, p.settle)
	p.startPulse()
	p.startOffice()
	p.later(random(w.rng, 20*time.Millisecond), timer, p.tick)
}

// tick tells the machine the time.
func (p *process) tick() {
	p.m.Tick(p.now())
	p.status = p.m.Status(p.now())
	p.w.judge.ticked(p)
}

// look tells the machine what has changed about its host.
func (p *process) look() {
	if reachable := p.n.cutOff == 0; p.w.plan.Trusted && (p.trusting == nil || *p.trusting != reachable) {
		p.trusting = &reachable
		p.step(machine.Trusted{Reachable: reachable})
	}
	if sick := p.n.sick > 0; sick != p.ill {
		p.ill = sick
		p.step(machine.SelfChecked{Sick: sick, Why: "the own listener does not answer"})
	}
}

// pump does what the machine wants.
func (p *process) pump() {
	for n := 0; !p.gone; n++ {
		out, more := p.m.Take()
		if !more {
			return
		}
		if n == 1000 {
			p.w.fail("node %d never comes to rest: %d messages, events %+v", p.n.id, len(out.Send), out.Events)
			return
		}
		p.do(out)
	}
}

func (p *process) do(out machine.Output) {
	w := p.w
	for _, e := range out.Events {
		w.trace(p.n.id, "   %s %s", e.Message, e.Detail)
	}
	if w.mutant.output != nil {
		w.mutant.output(p, &out)
	}
	if out.Save != nil {
		p.write(out.Save)
	}
	for _, m := range out.Send {
		p.send(m)
	}
	p.want(out.Address)
	if out.Probe {
		p.later(200*time.Millisecond+random(w.rng, 800*time.Millisecond), mail, p.probed)
	}
	p.decisions(out)
	if out.Left {
		p.leave()
	}
}

func (p *process) send(m machine.Message) {
	if m.To < 0 || m.To >= len(p.w.nodes) || m.To == p.n.id {
		p.w.fail("node %d sends to %d", p.n.id, m.To)
		return
	}
	p.w.mix(uint64(m.To), uint64(len(m.Payload)))
	p.w.wires[p.n.id][m.To].send(p, m.Payload)
}

// write makes a save durable after a while.
func (p *process) write(s *machine.Save) {
	w := p.w
	if p.save != nil {
		w.fail("node %d wants a second write before the first has ended", p.n.id)
		return
	}
	p.save = s
	p.saveTerm = s.HardState.GetTerm()
	if s.Reset {
		w.judge.reset(p)
	}
	took := w.plan.WriteTime/2 + random(w.rng, w.plan.WriteTime)
	if p.n.disk.slow {
		took += random(w.rng, time.Second)
	}
	if w.mutant.write != nil && w.mutant.write(p, s) {
		return
	}
	w.after(took, func() { // a frozen process does not keep its kernel from writing
		if !p.gone {
			p.written()
		}
	})
}

// written is the end of a write: the kernel is done, the process will hear of it.
func (p *process) written() {
	if p.n.disk.full {
		p.save = nil
		p.arrive(machine.Saved{Err: errFull})
		return
	}
	p.sync()
	p.n.term = max(p.n.term, p.saveTerm)
	p.arrive(machine.Saved{})
}

// sync has the disk keep what is being written.
func (p *process) sync() {
	s := p.save
	p.save = nil
	if err := p.n.disk.write(s); err != nil {
		p.w.fail("node %d wants to write what no disk can: %v", p.n.id, err)
	}
}

// leave is the good end of a process.
func (p *process) leave() {
	p.w.trace(p.n.id, "has left")
	p.left = true
	p.n.kernel.drop()
	p.end(true)
	p.w.comeBack(p.n)
}

// end ends a process. What was being written may have reached the disk.
func (p *process) end(closed bool) {
	if p.gone {
		return
	}
	w := p.w
	if p.save != nil && !p.n.disk.full && w.rng.IntN(2) == 0 {
		p.sync()
	}
	p.gone, p.n.proc, p.n.since = true, nil, w.now
	for _, peer := range w.nodes {
		if peer != p.n {
			w.wires[p.n.id][peer.id].lost(p, closed)
		}
	}
	w.judge.changed()
}

// comeBack starts a node again that has ended by itself.
func (w *World) comeBack(n *node) {
	w.after(100*time.Millisecond+random(w.rng, 2*time.Second), func() { w.start(n) })
}

func (p *process) freeze() {
	p.freezes++
	p.frozen = true
	w := p.w
	w.judge.changed()
	for _, peer := range w.nodes {
		if peer != p.n {
			l := w.wires[p.n.id][peer.id]
			l.doubtOf(p)
		}
	}
}

// thaw lets a process go on with all that has piled up.
func (p *process) thaw() {
	p.freezes--
	if p.gone || p.freezes > 0 {
		return
	}
	p.frozen, p.thawed = false, p.w.now
	p.w.judge.changed()
	pile := p.held
	p.held = nil
	order := []kind{timer, mail}
	switch p.w.rng.IntN(3) {
	case 0:
		order[0], order[1] = mail, timer
	case 1:
		order = nil
	}
	for _, h := range pile {
		if order == nil || h.kind == order[0] {
			p.run(h.kind, h.do)
		}
	}
	for _, h := range pile {
		if order != nil && h.kind == order[1] {
			p.run(h.kind, h.do)
		}
	}
}

// doubtOf makes the peer of a frozen process lose patience.
func (l *wire) doubtOf(p *process) {
	l.doubt(func() bool { return p.frozen })
}

// describe is an input as the trace shows it.
func describe(in machine.Input) string {
	switch in := in.(type) {
	case machine.Received:
		return fmt.Sprintf("from %d %s", in.From, show(in.Payload))
	case machine.Asked:
		return fmt.Sprintf("asked %d for %q, confirmed %v", in.Number, in.Ask.Key, in.Ask.Confirmed)
	case machine.Proposed:
		return fmt.Sprintf("proposed %d", in.Number)
	case machine.Executed:
		return fmt.Sprintf("executed %d", in.Number)
	}
	return strings.TrimPrefix(fmt.Sprintf("%T%+v", in, in), "machine.")
}

// show is a message of the machine; what is in it of Raft is spelled out.
func show(payload []byte) string {
	var e struct{ Raft []byte }
	var m raftpb.Message
	if json.Unmarshal(payload, &e) == nil && len(e.Raft) > 0 && proto.Unmarshal(e.Raft, &m) == nil {
		return raft.DescribeMessage(&m, func(b []byte) string { return string(b) })
	}
	return string(payload)
}
