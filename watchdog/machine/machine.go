package machine

import (
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

const (
	electionTicks  = 10 // an election timeout is a third of the lease
	heartbeatTicks = 3
	ticksPerLease  = 30
	// maxTicks is how many ticks are made up for after a pause. Time slept through is not silence of others.
	maxTicks = 2
	// keptEntries is how much of the log stays for nodes that lag behind when it is cut, cutAfter how long it may grow.
	keptEntries, cutAfter = 50, 200
	saveRetry             = 500 * time.Millisecond
)

// Machine is the watchdog of one node. It is not safe for use by several goroutines. Its owner steps it with what happens, ticks it at
// least every Lease/30, and after either takes what is to be done until there is nothing.
type Machine struct {
	c       Config
	now     time.Duration
	started time.Duration
	boot    uint64 // this life, to tell own proposals from those of an earlier one
	peers   []peer // index = node id; the own place is not used
	meta    meta
	log     group
	rec     record
	told    uint64 // the last decision that went out, and of which group
	toldOf  uint64

	quiet  quiet
	lease  lease
	term   termState
	founds founds
	hand   handover
	votes  votes
	calls  calls

	sick      string // why this node should not lead, "" when well
	untrusted bool
	unsaved   bool // the last write has failed
	trust     trust
	carried   uint64
	cleared   uint64 // the last term in which this node might hold the address
	address   AddressIs
	desired   Desired
	view      display
	out       Output
	flight    *flight
	next      *flight   // takes the place of everything else when flight has landed
	behind    []Message // may leave once meta is on disk
	metaDirty bool
	unknown   bool // meta has never been on disk: nobody may hear of us
	beat      time.Duration
	lastInfo  time.Duration
	urgent    bool // tell everybody now
	tickAt    time.Duration
}

// group is the Raft group this node is in; node is nil while it is in none.
type group struct {
	node    *raft.RawNode
	storage *raft.MemoryStorage
	conf    *raftpb.ConfState
	applied uint64
	cut     uint64 // index of the last snapshot
	snap    bool   // a snapshot is due
	joined  time.Duration
	contact int // when, in ticks, a leader of the group last wrote to us
}

// termState is what holds as long as this node leads in one term; the zero value while it does not.
type termState struct {
	leads      bool
	term       uint64
	office     bool // the log says so
	released   bool // and it says, or is about to say, that the address was given up
	taking     bool // the entry is on its way
	inOffice   time.Duration
	free       time.Duration // nobody else holds the address from then on
	cleared    bool          // that time has come
	tried      []int         // to whom leading was offered
	offered    time.Duration
	confAt     time.Duration // of the last change of voters that was proposed
	resend     uint64
	questioned bool
	lapsed     int // when, in ticks, it was noticed that the lease of a half ran out; 0: it has not
}

// flight is a write that is under way with what follows from it.
type flight struct {
	save  Save
	ready *raft.Ready
	after []Message
	then  func()
	retry time.Duration // 0: its outcome is awaited
}

// New makes the machine of a node from what its disk has kept. An empty image is a node that nobody knows. Nothing happens before the
// first Tick.
func New(c Config, img Image, now time.Duration) (*Machine, error) {
	if c.Self < 0 || c.Self >= len(c.Nodes) || !c.Nodes[c.Self].Exists() {
		return nil, fmt.Errorf("machine: node %d is not configured", c.Self)
	}
	kept, err := decodeMeta(img.Meta)
	if err != nil {
		return nil, err
	}
	m := &Machine{
		c: c, now: now, started: now, tickAt: now, boot: c.Random(), peers: make([]peer, len(c.Nodes)), meta: kept,
		rec: record{Office: office{Node: -1}}, quiet: quiet{answered: now}, lease: lease{length: c.Lease},
	}
	m.view = newDisplay()
	m.calls.number = m.boot >> 1 // not those of an earlier life in the same process
	if m.meta.RaftID == 0 {
		m.becomeBlank(false)
	}
	if m.meta.Cluster != 0 {
		return m, m.startGroup(img)
	}
	return m, nil
}

// becomeBlank gives the node a name nobody has heard. With aside it leaves the group it was in: what it kept is set aside.
func (m *Machine) becomeBlank(aside bool) {
	incarnation := m.c.Random()>>9 | 1
	m.meta = meta{RaftID: raftID(incarnation, m.c.Self), Epoch: m.meta.Epoch, Founder: m.meta.Founder}
	if f := &m.meta.Founder; f.Epoch <= m.meta.Epoch {
		f.Accepted, f.At = nil, ballot{}
	}
	m.metaDirty, m.unknown = true, true
	if aside {
		m.stopGroup()
		m.metaDirty, m.next = false, &flight{save: Save{Meta: m.meta.encode(), Reset: true}}
	}
}

// Tick tells the time. It may come late: what was slept through is not counted as silence.
func (m *Machine) Tick(now time.Duration) {
	m.clock(now)
	period := m.c.Lease / ticksPerLease
	for n := 0; m.now-m.tickAt >= period; n++ {
		if n == maxTicks {
			m.tickAt = m.now
			break
		}
		m.tickAt += period
		m.ticked()
	}
	m.evaluate()
}

func (m *Machine) ticked() {
	m.view.ticks++
	m.founds.ticks++
	if m.log.node != nil && (m.term.leads || !m.hand.leaving) { // who leaves does not stand for election
		m.log.node.Tick()
	}
}

func (m *Machine) clock(now time.Duration) { m.now = max(m.now, now) }

// Step tells what has happened.
func (m *Machine) Step(now time.Duration, in Input) {
	m.clock(now)
	switch in := in.(type) {
	case Received:
		m.receive(in)
	case Linked:
		m.linked(in)
	case Judged:
		m.judged(in)
	case SelfChecked:
		m.selfChecked(in)
	case Trusted:
		m.untrusted, m.trust.asked = !in.Reachable, 0
		if in.Reachable {
			m.trust.at = m.now
		}
	case Heartbeat:
		if p := m.peerAt(in.Peer); p != nil {
			p.beat = m.now
		}
	case Probed:
		m.founds.probed(in.Answered, m.now)
	case AddressIs:
		m.address = in
	case Proposed:
		m.propose(in)
	case Asked:
		m.ask(in)
	case Executed:
		m.executed(in)
	case Carried:
		m.carried = max(m.carried, in.Seq)
		m.urgent = true
	case Saved:
		m.saved(in.Err)
	case Leave:
		m.leave()
	case Resign:
		m.resign(in.Why)
	case Reconfigure:
		m.reconfigure(in.Config)
	default:
		panic(fmt.Sprintf("machine: no such input: %T", in))
	}
	m.evaluate()
}

// reconfigure takes over what a reload may change.
func (m *Machine) reconfigure(c Config) {
	m.c.RemoveShutdown, m.c.LostRemoval, m.c.NoShowRemoval = c.RemoveShutdown, c.LostRemoval, c.NoShowRemoval
	m.c.VoteExpiry = c.VoteExpiry
}

func (m *Machine) selfChecked(in SelfChecked) {
	why := ""
	if in.Sick {
		why = in.Why
		if why == "" {
			why = "sick"
		}
	}
	m.urgent = m.urgent || (why == "") != (m.sick == "")
	m.sick = why
}

// evaluate draws the consequences of what is known now. Each part looks at the state the parts before it have left.
func (m *Machine) evaluate() {
	m.follow()
	m.found()
	m.join()
	m.serve()
	m.tendMembers()
	m.handOver()
	m.hold()
	m.display()
	m.inform()
}

// Take is what is to be done now. It is false when that is nothing; until then it is to be called again.
func (m *Machine) Take() (Output, bool) {
	before := m.desired
	m.collect()
	m.evaluate()
	out := m.out
	m.out = Output{}
	out.Address = m.desired
	some := out.Save != nil || len(out.Send) > 0 || out.Probe || out.AskTrusted || out.Announce || len(out.Decided) > 0 || len(out.Proposals) > 0 || len(out.Answers) > 0 ||
		len(out.Execute) > 0 || out.Resend || len(out.Events) > 0 || out.Left || before != m.desired || m.view.unseen(m.desired)
	return out, some
}

// collect moves on what Raft has ready: what needs no write at once, what does with a Save.
func (m *Machine) collect() {
	for m.flight == nil {
		f := m.next
		if f != nil {
			m.next, m.flight, f.retry = nil, f, m.now
			break
		}
		f = &flight{}
		if m.metaDirty {
			f.save.Meta, m.metaDirty = m.meta.encode(), false
		}
		f.after, m.behind = m.behind, nil
		if n := m.log.node; n != nil && n.HasReady() {
			rd := n.Ready()
			f.ready = &rd
			f.take(&rd)
		}
		m.cutLog(f)
		if f.ready == nil && len(f.after) == 0 && f.save.Meta == nil && f.save.Snapshot == nil {
			return
		}
		if f.save.empty() {
			m.land(f)
			continue
		}
		m.flight, f.retry = f, m.now
	}
	if f := m.flight; f.retry != 0 && m.now >= f.retry {
		f.retry = 0
		save := f.save
		m.out.Save = &save
	}
}

func (f *flight) take(rd *raft.Ready) {
	f.save.HardState = rd.HardState
	f.save.Entries = rd.Entries
	if !raft.IsEmptySnap(rd.Snapshot) {
		f.save.Snapshot, f.save.Replace = rd.Snapshot, true
	}
}

func (s *Save) empty() bool {
	return s.Meta == nil && s.HardState == nil && len(s.Entries) == 0 && s.Snapshot == nil && !s.Reset
}

// saved goes on after a write.
func (m *Machine) saved(err error) {
	f := m.flight
	if f == nil || f.retry != 0 {
		return
	}
	if err != nil {
		f.retry = m.now + saveRetry
		if !m.unsaved || m.calls.once("unsaved", m.now, time.Minute) {
			m.event(Warning, fmt.Sprintf("watchdog could not save its state: %v", err), "The node takes no part in decisions until it can.")
		}
		m.unsaved = true
		return
	}
	if m.unsaved {
		m.unsaved = false
		m.event(Log, "watchdog can save its state again")
	}
	m.flight = nil
	m.land(f)
}

// land carries out what had to wait for a write.
func (m *Machine) land(f *flight) {
	if f.save.Meta != nil {
		m.unknown, m.urgent = false, true
	}
	m.out.Send = append(m.out.Send, f.after...)
	if f.then != nil {
		f.then()
	}
	if f.ready != nil {
		m.landReady(f.ready)
	}
}

func (m *Machine) event(s Severity, message string, detail ...string) {
	e := Event{Severity: s, Message: message}
	if len(detail) > 0 {
		e.Detail = detail[0]
	}
	if len(detail) > 1 {
		e.Hint = detail[1]
	}
	m.out.Events = append(m.out.Events, e)
}

func (m *Machine) send(to int, e *envelope) {
	m.out.Send = append(m.out.Send, Message{To: to, Payload: e.encode()})
}

// sendSaved sends what only may be said when meta is on disk.
func (m *Machine) sendSaved(to int, e *envelope) {
	m.behind = append(m.behind, Message{To: to, Payload: e.encode()})
}

// electionTimeout is how long a node waits for a leader.
func (m *Machine) electionTimeout() time.Duration { return m.c.Lease / ticksPerLease * electionTicks }

func (m *Machine) configured() (ids []int) {
	for id := range m.c.Nodes {
		if m.c.Nodes[id].Exists() {
			ids = append(ids, id)
		}
	}
	return ids
}

// others calls f with every configured node but this one.
func (m *Machine) others(f func(id int, p *peer)) {
	for id := range m.peers {
		if id != m.c.Self && m.c.Nodes[id].Exists() {
			f(id, &m.peers[id])
		}
	}
}

func contains(ids []uint64, id uint64) bool { return slices.Contains(ids, id) }
