package machine

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// world is a few machines on a network without loss, in virtual time, with disks that never fail. What fails is the simulation's.
type world struct {
	t       *testing.T
	now     time.Duration
	nodes   []*Machine
	disks   []Image
	confs   []Config
	cut     map[[2]int]bool
	held    []Desired
	told    [][]Decided
	lines   [][]string
	left    []bool
	healed  time.Duration
	trusted func(m *Machine)                 // answers for the trusted servers
	divert  func(from int, msg Message) bool // takes a message away
	out     []Output
}

func newWorld(t *testing.T, n int, edit func(id int, c *Config)) *world {
	w := &world{
		t: t, now: time.Hour, nodes: make([]*Machine, n), disks: make([]Image, n), confs: make([]Config, n), cut: map[[2]int]bool{},
		held: make([]Desired, n), told: make([][]Decided, n), lines: make([][]string, n), left: make([]bool, n), out: make([]Output, n),
	}
	random := rand.New(rand.NewPCG(1, 2))
	nodes := make([]Node, n)
	for id := range nodes {
		nodes[id] = Node{Host: fmt.Sprintf("server%d", id+1), WdPort: 9000, PgpoolPort: 9999}
	}
	for id := range n {
		w.confs[id] = Config{
			Self: id, Nodes: nodes, Name: fmt.Sprintf("server%d:9999 Linux server%d", id+1, id+1), Priority: 1, VIP: true,
			Lease: 3 * time.Second, Loading: 5 * time.Second, FailoverWhenQuorum: true, RequireConsensus: true, VoteExpiry: 15 * time.Second,
			Random: random.Uint64,
		}
		if edit != nil {
			edit(id, &w.confs[id])
		}
	}
	return w
}

func (w *world) start(ids ...int) {
	for _, id := range ids {
		m, err := New(w.confs[id], w.disks[id], w.now)
		if err != nil {
			w.t.Fatal(err)
		}
		w.nodes[id], w.left[id] = m, false
	}
	for _, id := range ids {
		for other := range w.nodes {
			w.link(id, other, true)
		}
	}
}

func (w *world) link(a, b int, up bool) {
	if a == b || w.nodes[a] == nil || w.nodes[b] == nil {
		return
	}
	w.nodes[a].Step(w.now, Linked{Peer: b, Up: up})
	w.nodes[b].Step(w.now, Linked{Peer: a, Up: up})
}

// stop is a crash: nothing is said to anybody, the others notice the end of the connections.
func (w *world) stop(id int) {
	w.nodes[id] = nil
	w.held[id] = Desired{}
	for other, m := range w.nodes {
		if m != nil && other != id {
			m.Step(w.now, Linked{Peer: id, Why: "connection reset"})
		}
	}
}

func (w *world) partition(a, b int) {
	w.cut[[2]int{a, b}], w.cut[[2]int{b, a}] = true, true
	w.link(a, b, false)
}

func (w *world) heal() {
	w.healed = w.now
	for p := range w.cut {
		delete(w.cut, p)
		w.link(p[0], p[1], true)
	}
}

// run lets time pass.
func (w *world) run(d time.Duration) {
	for end := w.now + d; w.now < end; w.now += 10 * time.Millisecond {
		for id, m := range w.nodes {
			if m != nil {
				m.Tick(w.now)
				w.take(id)
			}
		}
		w.check()
	}
}

func (w *world) take(id int) {
	m := w.nodes[id]
	for n := 0; m == w.nodes[id]; n++ {
		if n > 1000 {
			w.t.Fatalf("node %d never ends: %+v %+v", id, m.out, m.Status(w.now))
		}
		out, some := m.Take()
		w.held[id] = out.Address
		if !some {
			return
		}
		w.carryOut(id, m, out)
	}
}

func (w *world) carryOut(id int, m *Machine, out Output) {
	for _, e := range out.Events {
		w.lines[id] = append(w.lines[id], e.Message)
		if testing.Verbose() {
			w.t.Logf("%v node %d: %s %s", w.now-time.Hour, id, e.Message, e.Detail)
		}
	}
	w.told[id] = append(w.told[id], out.Decided...)
	o := &w.out[id]
	o.Proposals = append(o.Proposals, out.Proposals...)
	o.Answers = append(o.Answers, out.Answers...)
	for _, x := range out.Execute {
		m.Step(w.now, Executed{Number: x.Number, Reply: x.Request})
	}
	if out.Save != nil {
		w.disks[id] = save(w.disks[id], out.Save)
		m.Step(w.now, Saved{})
	}
	m.Step(w.now, AddressIs{Held: out.Address.Hold})
	if out.Probe {
		answered := false
		for other, d := range w.held {
			answered = answered || other != id && d.Hold && !w.cut[[2]int{id, other}]
		}
		m.Step(w.now, Probed{Answered: answered})
	}
	if out.AskTrusted && w.trusted != nil {
		w.trusted(m)
	}
	for _, msg := range out.Send {
		if w.divert != nil && w.divert(id, msg) {
			continue
		}
		if to := w.nodes[msg.To]; to != nil && !w.cut[[2]int{id, msg.To}] {
			to.Step(w.now, Received{From: id, Payload: msg.Payload})
		}
	}
	if out.Left {
		w.left[id] = true
		w.stop(id)
	}
}

// save is what a disk does.
func save(img Image, s *Save) Image {
	if s.Reset {
		img = Image{}
	}
	if s.Meta != nil {
		img.Meta = s.Meta
	}
	if s.HardState != nil {
		img.HardState = s.HardState
	}
	if len(s.Entries) > 0 {
		var kept []*raftpb.Entry
		for _, e := range img.Entries {
			if e.GetIndex() < s.Entries[0].GetIndex() {
				kept = append(kept, e)
			}
		}
		img.Entries = append(kept, s.Entries...)
	}
	if s.Snapshot != nil {
		img.Snapshot = s.Snapshot
		var kept []*raftpb.Entry
		for _, e := range img.Entries {
			if e.GetIndex() > s.Snapshot.GetMetadata().GetIndex() && !s.Replace {
				kept = append(kept, e)
			}
		}
		img.Entries = kept
	}
	return img
}

// check is the one thing that must never be: two holders.
func (w *world) check() {
	w.t.Helper()
	holders := 0
	for id, m := range w.nodes {
		if m != nil && w.held[id].Hold && w.now < w.held[id].Until {
			holders++
			if m.rec.Office.Node == id && m.rec.Office.Released {
				w.t.Fatalf("%v: node %d holds what the log says it has given up", w.now-time.Hour, id)
			}
		}
	}
	if holders > 1 && len(w.cut) == 0 && w.now-w.healed > 100*time.Millisecond {
		w.t.Fatalf("%v: %d nodes hold the address", w.now-time.Hour, holders)
	}
}

func (w *world) until(what string, within time.Duration, ok func() bool) time.Duration {
	w.t.Helper()
	began := w.now
	for !ok() {
		if w.now-began > within {
			for id, m := range w.nodes {
				if m != nil {
					w.t.Logf("node %d: %+v", id, m.Status(w.now))
				}
			}
			w.t.Fatalf("%s: not within %v", what, within)
		}
		w.run(10 * time.Millisecond)
	}
	return w.now - began
}

// holder is who holds the address, -1 nobody.
func (w *world) holder() int {
	for id, m := range w.nodes {
		if m != nil && w.held[id].Hold && w.now < w.held[id].Until {
			return id
		}
	}
	return -1
}

func (w *world) settled(leader int) func() bool {
	return func() bool {
		for id, m := range w.nodes {
			if m == nil {
				continue
			}
			want := StateStandby
			if id == leader {
				want = StateLeader
			}
			if m.State() != want || m.Status(w.now).Nodes[id].Role != "voter" {
				return false
			}
		}
		return w.holder() == leader
	}
}

func TestThreeNodesStartTogether(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.start(0, 1, 2)
	took := w.until("leader and address", 6*time.Second, w.settled(0))
	t.Logf("address after %v", took)
	w.run(20 * time.Second)
	if !w.settled(0)() {
		t.Error("did not stay so")
	}
}

func TestPriorityAndStartDecide(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.start(0)
	w.run(300 * time.Millisecond)
	w.start(2)
	w.run(300 * time.Millisecond)
	w.start(1)
	w.until("first started leads", 6*time.Second, w.settled(0))
	w.nodes[0].Step(w.now, Leave{})
	took := w.until("earliest of the others leads", 2*time.Second, func() bool { return w.nodes[0] == nil && w.settled(2)() })
	t.Logf("graceful: %v", took)
	if took > 500*time.Millisecond {
		t.Errorf("took %v", took)
	}
}

func TestCrashOfTheLeader(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.start(0, 1, 2)
	w.until("leader", 6*time.Second, w.settled(0))
	w.run(10 * time.Second)
	w.stop(0)
	took := w.until("successor", 5*time.Second, w.settled(1))
	t.Logf("crash: %v", took)
	if took > 4*time.Second {
		t.Errorf("took %v", took)
	}
	w.start(0)
	w.until("back as a standby", 5*time.Second, w.settled(1))
}

func TestDecisions(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.start(0, 1, 2)
	w.until("leader", 6*time.Second, w.settled(0))
	for i := range 1000 {
		w.nodes[0].Step(w.now, Proposed{Number: uint64(i + 1), Decision: fmt.Appendf(nil, "decision %d", i+1)})
		w.run(10 * time.Millisecond)
	}
	w.until("all know", time.Second, func() bool {
		return len(w.told[0]) == 1000 && len(w.told[1]) == 1000 && len(w.told[2]) == 1000 && len(w.out[0].Proposals) == 1000
	})
	if n := len(w.disks[1].Entries); n > 1000 {
		t.Errorf("%d entries on disk", n)
	}
	w.stop(2)
	w.disks[2] = Image{}
	w.start(2)
	w.until("a wiped node is a voter again", 5*time.Second, w.settled(0))
	if last := w.told[2][len(w.told[2])-1]; string(last.Data) != "decision 1000" {
		t.Errorf("it knows %q", last.Data)
	}
}

func TestTwoOfThreeDisksLost(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.start(0, 1, 2)
	w.until("leader", 6*time.Second, w.settled(0))
	w.nodes[0].Step(w.now, Proposed{Number: 1, Decision: []byte("kept")})
	w.run(time.Second)
	for id := range 3 {
		w.stop(id)
	}
	w.disks[0], w.disks[1] = Image{}, Image{}
	w.start(0, 1, 2)
	w.until("a new group", 15*time.Second, w.settled(0))
	if last := w.told[0][len(w.told[0])-1]; string(last.Data) != "kept" {
		t.Errorf("knows %q", last.Data)
	}
}

func half(_ int, c *Config) { c.HalfVotes = true }

func TestHalfVotes(t *testing.T) {
	w := newWorld(t, 2, half)
	w.start(0)
	t.Logf("alone: %v", w.until("alone with the address", 20*time.Second, w.settled(0)))
	w.start(1)
	t.Logf("second: %v", w.until("second joins", 5*time.Second, w.settled(0)))
	w.nodes[0].Step(w.now, Leave{})
	t.Logf("graceful: %v", w.until("successor", 3*time.Second, func() bool { return w.nodes[0] == nil && w.settled(1)() }))
	w.start(0)
	w.until("first is back as a standby", 5*time.Second, w.settled(1))
	w.stop(1)
	w.run(3 * time.Second)
	w.nodes[0].Step(w.now, Judged{Peer: 1, Dead: true, Why: "test"})
	t.Logf("after the verdict: %v", w.until("successor after a crash", 4*time.Second, w.settled(0)))
}

func TestHalfVotesStandbyDies(t *testing.T) {
	w := newWorld(t, 2, half)
	w.start(0, 1)
	w.until("leader", 6*time.Second, w.settled(0))
	w.run(5 * time.Second)
	w.stop(1)
	for range 500 {
		w.run(10 * time.Millisecond)
		if w.holder() != 0 {
			t.Fatalf("the leader lost the address: %+v", w.nodes[0].Status(w.now))
		}
	}
	if q := w.nodes[0].Status(w.now).Quorum; q != QuorumOnEdge {
		t.Errorf("quorum is %v", q)
	}
	w.start(1)
	w.until("it comes back", 5*time.Second, w.settled(0))
}

func TestHalfVotesPartition(t *testing.T) {
	w := newWorld(t, 4, half)
	w.start(0, 1, 2, 3)
	w.until("leader", 6*time.Second, w.settled(0))
	for _, a := range []int{0, 1} {
		for _, b := range []int{2, 3} {
			w.partition(a, b)
		}
	}
	for id := range 4 {
		for other := range 4 {
			if (id < 2) != (other < 2) {
				w.nodes[id].Step(w.now, Judged{Peer: other, Dead: true})
			}
		}
	}
	w.run(20 * time.Second)
	for id, m := range w.nodes {
		if s := m.Status(w.now); s.Quorum != QuorumOnEdge {
			t.Errorf("node %d: %+v", id, s)
		}
	}
	w.heal()
	for id := range 4 {
		for other := range 4 {
			if id != other {
				w.nodes[id].Step(w.now, Judged{Peer: other})
			}
		}
	}
	w.until("one group again", 10*time.Second, func() bool { return w.holder() >= 0 && w.settled(w.holder())() })
}

func TestMinority(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.start(0, 1, 2)
	w.until("leader", 6*time.Second, w.settled(0))
	w.partition(0, 1)
	w.partition(0, 2)
	w.until("majority goes on", 5*time.Second, func() bool { return w.nodes[1].State() == StateLeader && w.held[1].Hold })
	w.run(3 * time.Second)
	if s := w.nodes[0].Status(w.now); s.Standing != Alone || s.Quorum != QuorumAbsent || w.held[0].Hold || w.nodes[0].State() != StateLeader {
		t.Errorf("the minority: %+v %v", s, w.nodes[0].State())
	}
	w.heal()
	w.until("it comes back", 5*time.Second, w.settled(1))
}

func TestVotes(t *testing.T) {
	w := newWorld(t, 3, nil)
	w.start(0, 1, 2)
	w.until("leader", 6*time.Second, w.settled(0))
	ask := Ask{Key: "down 1", Request: []byte("x")}
	w.nodes[1].Step(w.now, Asked{Number: 7, Ask: ask})
	w.until("first vote", time.Second, func() bool { return len(w.out[1].Answers) == 1 })
	w.nodes[1].Step(w.now, Asked{Number: 8, Ask: ask})
	w.until("again", time.Second, func() bool { return len(w.out[1].Answers) == 2 })
	w.nodes[0].Step(w.now, Asked{Number: 9, Ask: ask})
	w.until("consensus", time.Second, func() bool { return len(w.out[0].Answers) == 1 })
	got := fmt.Sprint(w.out[1].Answers[0].Result, w.out[1].Answers[1].Result, w.out[0].Answers[0].Result)
	if want := fmt.Sprint(ResultBuilding, ResultMayFail, ResultDone); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// The manual's way to add a node: all get the longer list, one after the other, then it is started.
func TestAddingANode(t *testing.T) {
	w := newWorld(t, 4, nil)
	longer := w.confs[0].Nodes
	for id := range 3 {
		w.confs[id].Nodes = longer[:3]
	}
	w.start(0, 1, 2)
	w.until("leader", 6*time.Second, w.settled(0))
	w.nodes[0].Step(w.now, Proposed{Number: 1, Decision: []byte("kept")})
	w.run(time.Second)
	for _, id := range []int{1, 2, 0} {
		w.confs[id].Nodes = longer
		w.nodes[id].Step(w.now, Leave{})
		w.until("it has left", 3*time.Second, func() bool { return w.nodes[id] == nil })
		w.start(id)
		w.until("it is back", 8*time.Second, func() bool { return w.holder() >= 0 && w.settled(w.holder())() })
	}
	w.start(3)
	w.until("the new node is a voter", 8*time.Second, func() bool { return w.holder() >= 0 && w.settled(w.holder())() })
	if last := w.told[3]; len(last) == 0 || string(last[len(last)-1].Data) != "kept" {
		t.Errorf("it was told %v", last)
	}
	if s := w.nodes[3].Status(w.now); s.Members != 4 || s.Required != 3 {
		t.Errorf("it counts %d members, %d required", s.Members, s.Required)
	}
}
