package watchdog

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"gopgpool/logging"
	"gopgpool/watchdog/disk"
	"gopgpool/watchdog/lifecheck"
	"gopgpool/watchdog/machine"
	"gopgpool/watchdog/vip"
)

// inbox is what the loop has to be told. It is bounded: what comes from peers is dropped first, the mesh's messages may be lost anyway.
type inbox struct {
	wake chan struct{} // of capacity 1

	mu    sync.Mutex
	items []any       // guarded by mu: machine.Input, heartbeat, message for watchdogs
	from  map[int]int // guarded by mu; bytes in items that a peer has sent
}

const (
	inboxSize = 5000
	peerBytes = 8 << 20 // of one peer
)

func newInbox() inbox { return inbox{wake: make(chan struct{}, 1), from: make(map[int]int)} }

func (i *inbox) put(item any) {
	i.mu.Lock()
	full := len(i.items) >= inboxSize
	switch in := item.(type) {
	case machine.Received:
		if full = full || i.from[in.From]+len(in.Payload) > peerBytes; !full {
			i.from[in.From] += len(in.Payload)
		}
	case settingsOf, rejected, heartbeat:
	default:
		full = false // what happens here is not lost
	}
	if !full {
		i.items = append(i.items, item)
	}
	i.mu.Unlock()
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

func (i *inbox) take() []any {
	i.mu.Lock()
	defer i.mu.Unlock()
	items := i.items
	i.items = nil
	clear(i.from)
	return items
}

// heartbeat is a sign of life from a node.
type heartbeat struct {
	node int
	at   time.Duration
}

// loop is the one goroutine that knows the machine. A machine that panics is thrown away: the address is given up, and a new one starts
// from the disk, like after a crash, while the proxy goes on.
func (w *Watchdog) loop(ctx context.Context) error {
	for crashes := 0; ; {
		began := vip.Boottime()
		err := w.live(ctx)
		var broken *panicked
		if !errors.As(err, &broken) || ctx.Err() != nil {
			return err
		}
		w.addr.Set(vip.Desired{})
		w.log.Log(logging.Event{Severity: logging.Warning, Message: "recovering from the crash of watchdog process", Detail: broken.Error()})
		w.abandon()
		if crashes++; vip.Boottime()-began > quietLife {
			crashes = 1
		}
		if crashes >= crashesOfADisk && w.notAlone() {
			w.setAside()
			crashes = 0
		}
		if !pause(ctx, time.Second) {
			return nil
		}
	}
}

const (
	quietLife      = 30 * time.Second // a machine that lived so long did not die of what is on its disk
	crashesOfADisk = 3
)

// notAlone reports whether somebody else is there who may know what this node's disk knows.
func (w *Watchdog) notAlone() bool {
	for id := range w.cfg.Watchdog.Nodes {
		if id != w.self && w.mesh.Reachable(id) {
			return true
		}
	}
	return false
}

// setAside gives up what is on the disk: a machine that dies of it again and again would keep this node out of the cluster for good. The
// node joins anew under another name, so nobody counts on what it has forgotten.
func (w *Watchdog) setAside() {
	err := w.store.Save(disk.Batch{Reset: true})
	e := logging.Event{Severity: logging.Warning, Message: "the state of the watchdog is set aside, this node joins anew", Detail: w.store.Path()}
	if err != nil {
		e.Message, e.Detail = "could not set the state of the watchdog aside", err.Error()
	}
	w.log.Log(e)
}

// panicked is the end of a machine.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("%v\n%s", p.value, p.stack) }

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// live is the life of one machine.
func (w *Watchdog) live(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicked{value: v, stack: debug.Stack()}
		}
	}()
	img, err := w.store.Load()
	if err != nil {
		return err
	}
	m, err := machine.New(w.machineConfig(w.cfg), machine.Image(img), vip.Boottime())
	if err != nil {
		return &panicked{value: err}
	}
	w.recall(m)
	tick := time.NewTicker(max(w.cfg.Watchdog.Lease()/60, 10*time.Millisecond))
	defer tick.Stop()
	for ctx.Err() == nil && w.fatal == nil {
		w.turn(ctx, m)
		select {
		case <-ctx.Done():
		case <-w.inbox.wake:
		case <-tick.C:
		}
	}
	return w.fatal
}

// turn tells the machine what has happened, and does what it wants.
func (w *Watchdog) turn(ctx context.Context, m *machine.Machine) {
	for n, item := range w.inbox.take() {
		if n%100 == 99 {
			w.serve(ctx, m) // many words of others must not keep this node from its lease
		}
		switch item := item.(type) {
		case heartbeat:
			if w.judge != nil {
				w.judge.Heard(item.node, item.at)
				m.Step(vip.Boottime(), machine.Heartbeat{Peer: item.node})
			}
		case machine.Input:
			w.lasting.note(item)
			m.Step(vip.Boottime(), item)
		case settingsOf:
			w.settings[item.node] = item.values
		case lifecheck.Verdict:
			w.verdicts(m, []lifecheck.Verdict{item})
		case lost:
			w.isLost(m, item)
		case rejected:
			w.isRejected(item)
		case externalEnd:
			w.fatal = errors.New("system has lost the network: the life check says that this node is dead: " + item.message)
		}
	}
	if w.judge != nil {
		w.verdicts(m, w.judge.Tick(vip.Boottime()))
		w.allHeard.Store(w.judge.Ready())
	}
	w.serve(ctx, m)
	w.show(m)
	w.end()
}

// serve does what the machine wants, until that is nothing.
func (w *Watchdog) serve(ctx context.Context, m *machine.Machine) {
	m.Tick(vip.Boottime())
	for {
		out, some := m.Take()
		if !some {
			return
		}
		w.carryOut(ctx, m, &out)
	}
}

func (w *Watchdog) verdicts(m *machine.Machine, verdicts []lifecheck.Verdict) {
	for _, v := range verdicts {
		w.log.Log(logging.Event{
			Severity: logging.Log, Message: "informing the node status change to watchdog",
			Detail: fmt.Sprintf("node id :%d status = %q message:%q", v.Node, lifeWord(v.Dead), v.Message),
		})
		in := machine.Judged{Peer: v.Node, Dead: v.Dead, Why: v.Message}
		w.lasting.note(in)
		m.Step(vip.Boottime(), in)
	}
}

// lasting is what is told once and holds on: a machine that takes another's place must know it, too.
type lasting struct {
	judged map[int]machine.Judged
	self   machine.SelfChecked
	cutOff bool
	leaves bool
}

func (l *lasting) note(in machine.Input) {
	switch in := in.(type) {
	case machine.Judged:
		l.judged[in.Peer] = in
	case machine.SelfChecked:
		l.self = in
	case machine.Trusted:
		l.cutOff = !in.Reachable
	case machine.Leave:
		l.leaves = true
	}
}

// recall tells a new machine what is known.
func (w *Watchdog) recall(m *machine.Machine) {
	now, l := vip.Boottime(), &w.lasting
	for id := range w.cfg.Watchdog.Nodes {
		if id == w.self {
			continue
		}
		if w.mesh.Reachable(id) {
			m.Step(now, machine.Linked{Peer: id, Up: true})
		}
		if in, ok := l.judged[id]; ok {
			m.Step(now, in)
		}
	}
	m.Step(now, l.self)
	m.Step(now, machine.Trusted{Reachable: !l.cutOff})
	is := w.addr.Current()
	m.Step(now, machine.AddressIs{Held: is.Held, Busy: is.Busy, Unplugged: is.Unplugged})
	m.Step(now, machine.Reconfigure{Config: w.machineConfig(w.parts.Config.Current())})
	if l.leaves {
		m.Step(now, machine.Leave{})
	}
}

func lifeWord(dead bool) string {
	if dead {
		return "NODE DEAD"
	}
	return "NODE ALIVE"
}

// carryOut does what the machine wants. The address comes first: giving it up must not wait for a slow disk.
func (w *Watchdog) carryOut(ctx context.Context, m *machine.Machine, out *machine.Output) {
	w.addr.Set(vip.Desired(out.Address))
	for _, e := range out.Events {
		w.log.Log(logging.Event{Severity: severity(e.Severity), Message: e.Message, Detail: e.Detail, Hint: e.Hint})
	}
	for _, msg := range out.Send {
		w.mesh.Send(msg.To, msg.Payload)
	}
	if s := out.Save; s != nil {
		m.Step(vip.Boottime(), machine.Saved{Err: w.store.Save(disk.Batch{
			Meta: s.Meta, HardState: s.HardState, Entries: s.Entries, Snapshot: s.Snapshot, Reset: s.Reset,
		})})
	}
	for _, d := range out.Decided {
		w.parts.Backends.Decided(d.Seq, d.Data)
	}
	w.hold(m)
	w.answer(out)
	for _, x := range out.Execute {
		w.execute(ctx, x)
	}
	if out.Announce {
		w.addr.Announce()
	}
	if out.Resend {
		w.parts.Backends.Resend()
	}
	if out.Probe {
		w.probe(ctx)
	}
	if out.AskTrusted {
		w.tasks.Go(func() { w.inbox.put(machine.Trusted{Reachable: w.checks.AskTrusted(ctx)}) })
	}
	if out.Left {
		w.hasLeft()
	}
}

func severity(s machine.Severity) logging.Severity {
	return [...]logging.Severity{
		machine.Debug: logging.Debug1, machine.Info: logging.Info, machine.Log: logging.Log, machine.Notice: logging.Notice,
		machine.Warning: logging.Warning, machine.Error: logging.Error,
	}[s]
}

func (w *Watchdog) answer(out *machine.Output) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range out.Proposals {
		if c := w.commits[o.Number]; c != nil {
			c <- o
			delete(w.commits, o.Number)
		}
	}
	for _, a := range out.Answers {
		if c := w.asks[a.Number]; c != nil {
			c <- a
			delete(w.asks, a.Number)
		}
	}
}

func (w *Watchdog) execute(ctx context.Context, x machine.Execute) {
	w.tasks.Go(func() {
		reply := w.parts.Backends.Execute(ctx, x.Request)
		w.inbox.put(machine.Executed{Number: x.Number, Reply: reply})
	})
}

// probe asks the network who has the address.
func (w *Watchdog) probe(ctx context.Context) {
	w.tasks.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		answered, by, err := w.addr.Probe(ctx)
		if err != nil {
			w.log.Log(logging.Event{Severity: logging.Warning, Message: "could not find out who has the delegate IP address", Detail: err.Error()})
			return // no answer is no permission
		}
		if answered {
			w.log.Log(logging.Event{Severity: logging.Log, Message: "the delegate IP address is in use, this half of the nodes does not take it", Detail: "answered by " + by})
		}
		w.inbox.put(machine.Probed{Answered: answered})
	})
}

func (w *Watchdog) hasLeft() {
	select {
	case <-w.left:
	default:
		close(w.left)
	}
}

// hold tells who decides about backends, when that changes.
func (w *Watchdog) hold(m *machine.Machine) {
	s := m.Status(vip.Boottime())
	o := Office{Standing: s.Standing, Term: s.Term, Fresh: s.Fresh && s.Standing == machine.Leads}
	if s.Leader >= 0 && s.Standing != machine.Alone {
		o.Leader = s.Nodes[s.Leader].Name
	}
	if o.Standing != machine.Leads && o.Standing == w.office.Standing {
		o.Term = w.office.Term // a follower need not know of elections that change nothing for it
	}
	if o == w.office {
		return
	}
	w.office = o
	w.parts.Backends.Hold(o)
}

// show publishes what others see of the machine.
func (w *Watchdog) show(m *machine.Machine) {
	s := &snapshot{Status: m.Status(vip.Boottime()), at: vip.Boottime(), held: w.addr.Current().Held}
	w.status.Store(s)
	if !w.isReady && s.Standing != machine.Loading {
		w.isReady = true
		close(w.ready)
	}
	w.compareSettings(s)
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.changed)
	w.changed = make(chan struct{})
}

// addressIs is told by vip what it holds.
func (w *Watchdog) addressIs(s vip.State) {
	w.inbox.put(machine.AddressIs{Held: s.Held, Busy: s.Busy, Unplugged: s.Unplugged})
}

func (w *Watchdog) nameOf(id int) string {
	if s := w.status.Load(); id >= 0 && id < len(s.Nodes) {
		return s.Nodes[id].Name
	}
	return "Not_Set"
}
