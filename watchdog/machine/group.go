package machine

import (
	"encoding/json"
	"fmt"
	"math"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// startGroup starts Raft from what the disk has kept, or from a snapshot alone. Without either it waits for the leader's snapshot.
func (m *Machine) startGroup(img Image) error {
	storage := raft.NewMemoryStorage()
	g := group{storage: storage, conf: &raftpb.ConfState{}, joined: m.now}
	rec := record{Office: office{Node: -1}}
	if !raft.IsEmptySnap(img.Snapshot) {
		if err := storage.ApplySnapshot(img.Snapshot); err != nil {
			return fmt.Errorf("machine: snapshot: %w", err)
		}
		g.conf, g.applied = img.Snapshot.GetMetadata().GetConfState(), img.Snapshot.GetMetadata().GetIndex()
		var err error
		if rec, err = decodeRecord(img.Snapshot.GetData()); err != nil {
			return err
		}
	}
	if img.HardState != nil {
		if err := storage.SetHardState(img.HardState); err != nil {
			return fmt.Errorf("machine: %w", err)
		}
	}
	if err := storage.Append(following(img.Entries, g.applied)); err != nil {
		return fmt.Errorf("machine: log: %w", err)
	}
	g.cut = g.applied
	node, err := raft.NewRawNode(&raft.Config{
		ID: m.meta.RaftID, ElectionTick: electionTicks, HeartbeatTick: heartbeatTicks, Storage: storage, Applied: g.applied,
		MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 64, MaxUncommittedEntriesSize: 16 << 20, CheckQuorum: true, PreVote: true,
		DisableProposalForwarding: true, StepDownOnRemoval: true, Logger: silent{},
	})
	if err != nil {
		return fmt.Errorf("machine: %w", err)
	}
	g.node = node
	m.log, m.rec = g, rec
	m.tellDecision()
	return nil
}

// following are the entries that continue a log that ends at index.
func following(entries []*raftpb.Entry, index uint64) []*raftpb.Entry {
	for i, e := range entries {
		if e.GetIndex() == index+1 {
			return entries[i:]
		}
	}
	return nil
}

// stopGroup leaves the group; nothing of it is used any more.
func (m *Machine) stopGroup() {
	m.stepDown()
	m.log = group{}
	m.rec.Office = office{Node: -1}
	m.behind, m.cleared = nil, 0
	if m.flight != nil {
		m.flight.ready, m.flight.after, m.flight.then = nil, nil, nil
	}
}

// stepRaft gives Raft a message that was meant for this life of this node.
func (m *Machine) stepRaft(from int, e *envelope) {
	msg, err := unmarshalRaft(e.Raft)
	if err != nil || nodeOf(msg.GetFrom()) != from || msg.GetTo() != m.meta.RaftID || !m.believable(msg) {
		return
	}
	if m.log.node == nil && !m.enter(e, msg) {
		return
	}
	if e.Cluster != m.meta.Cluster || m.peers[from].dead {
		return
	}
	if last, _ := m.log.storage.LastIndex(); msg.GetType() == raftpb.MsgHeartbeat && msg.GetCommit() > last {
		if i := m.peers[from].info; i == nil || !i.Office || i.Cluster != m.meta.Cluster || i.Term != msg.GetTerm() {
			return
		}
		// The leader tells no node of more than that node has said it has.
		m.event(Warning, "the disk of this watchdog node has lost what was written to it, the node joins anew",
			fmt.Sprintf("The leader knows of entry %d, the log ends at %d.", msg.GetCommit(), last))
		m.becomeBlank(true)
		return
	}
	before := m.log.node.BasicStatus().GetTerm()
	if msg.GetTerm() >= before {
		m.quiet.heard(msg, m.rec.Office.Node == from && m.rec.Office.Term == msg.GetTerm(), m.now)
	}
	m.quiet.voted(from, msg, e.Quiet, m.now)
	_ = m.log.node.Step(msg) // a message Raft does not want is no trouble of ours
	switch msg.GetType() {
	case raftpb.MsgHeartbeat, raftpb.MsgApp, raftpb.MsgSnap:
		m.log.contact = m.view.ticks
	}
}

// enter puts a blank node into the group whose leader has written to it.
func (m *Machine) enter(e *envelope, msg *raftpb.Message) bool {
	switch msg.GetType() {
	case raftpb.MsgHeartbeat, raftpb.MsgApp, raftpb.MsgSnap:
	default:
		return false
	}
	if m.meta.Cluster != 0 || e.Cluster == 0 || m.next != nil || m.unknown {
		return false
	}
	m.meta.Cluster, m.meta.Epoch, m.metaDirty = e.Cluster, e.Epoch, true
	if err := m.startGroup(Image{}); err != nil {
		panic(fmt.Sprintf("machine: an empty log cannot be started: %v", err))
	}
	return true
}

// landReady carries out what Raft had ready, once it is on disk.
func (m *Machine) landReady(rd *raft.Ready) {
	g := &m.log
	if !raft.IsEmptySnap(rd.Snapshot) {
		m.restore(rd.Snapshot)
	}
	must(g.storage.Append(rd.Entries))
	if rd.HardState != nil {
		must(g.storage.SetHardState(rd.HardState))
	}
	for _, msg := range rd.Messages {
		m.sendRaft(msg)
	}
	for _, e := range rd.CommittedEntries {
		m.apply(e)
	}
	for _, s := range rd.ReadStates {
		m.lease.answered(g.node.BasicStatus().GetTerm(), s.RequestCtx, m.view.ticks)
	}
	if g.node != nil {
		g.node.Advance(*rd)
	}
}

func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("machine: log in memory: %v", err))
	}
}

func (m *Machine) restore(s *raftpb.Snapshot) {
	must(m.log.storage.ApplySnapshot(s))
	rec, err := decodeRecord(s.GetData())
	must(err)
	m.rec = rec
	m.log.conf, m.log.applied = s.GetMetadata().GetConfState(), s.GetMetadata().GetIndex()
	m.log.cut = m.log.applied
	if m.toldOf != m.meta.Cluster {
		m.told = 0
	}
	m.tellDecision()
}

// tellDecision passes the last decision on if nobody was told of it.
func (m *Machine) tellDecision() {
	if m.rec.Seq != m.told && m.rec.Seq > 0 {
		m.out.Decided = append(m.out.Decided, Decided{Seq: m.rec.Seq, Data: m.rec.Decision})
	}
	m.told, m.toldOf = m.rec.Seq, m.meta.Cluster
}

// wholeRecord is what all of the log comes to, also what is not known to be committed: where the majority that could tell is lost, what
// was decided may stand there.
func (m *Machine) wholeRecord() (r *record, term, index uint64) {
	rec, err := decodeRecord(m.rec.encode())
	must(err)
	if m.log.node == nil {
		return &rec, 0, 0
	}
	index, _ = m.log.storage.LastIndex()
	term, _ = m.log.storage.Term(index)
	if index > m.log.applied {
		entries, err := m.log.storage.Entries(m.log.applied+1, index+1, math.MaxUint64)
		must(err)
		for _, e := range entries {
			var one entry
			if e.GetType() == raftpb.EntryNormal && json.Unmarshal(e.Data, &one) == nil {
				rec.apply(&one)
			}
		}
	}
	return &rec, term, index
}

func (m *Machine) sendRaft(msg *raftpb.Message) {
	to := nodeOf(msg.GetTo())
	if to < 0 || to >= len(m.peers) || to == m.c.Self || !m.peers[to].linked || m.peers[to].dead {
		if to >= 0 && to != m.c.Self {
			m.log.node.ReportUnreachable(msg.GetTo())
		}
		if msg.GetType() == raftpb.MsgSnap {
			m.log.node.ReportSnapshot(msg.GetTo(), raft.SnapshotFailure)
		}
		return
	}
	e := &envelope{Cluster: m.meta.Cluster, Epoch: m.meta.Epoch, Raft: marshalRaft(msg)}
	if msg.GetType() == raftpb.MsgVoteResp {
		e.Quiet = m.quiet.age(m.now)
	}
	m.send(to, e)
	if msg.GetType() == raftpb.MsgSnap {
		m.log.node.ReportSnapshot(msg.GetTo(), raft.SnapshotFinish)
	}
}

// apply carries out a committed entry.
func (m *Machine) apply(e *raftpb.Entry) {
	g := &m.log
	g.applied = e.GetIndex()
	switch e.GetType() {
	case raftpb.EntryNormal:
		if len(e.Data) > 0 {
			m.applyEntry(e.Data)
		}
	case raftpb.EntryConfChange:
		var cc raftpb.ConfChange
		must(proto.Unmarshal(e.Data, &cc))
		m.applyConf(&cc)
	case raftpb.EntryConfChangeV2:
		var cc raftpb.ConfChangeV2
		must(proto.Unmarshal(e.Data, &cc))
		m.applyConf(&cc)
	}
}

func (m *Machine) applyConf(cc raftpb.ConfChangeI) {
	if joint := len(m.log.conf.GetVotersOutgoing()) > 0; joint != (len(cc.AsV2().Changes) == 0) {
		return // Raft writes none such; all nodes pass it over alike
	}
	m.log.conf = m.log.node.ApplyConfChange(cc)
	m.log.snap = true // who joins needs a snapshot that knows him
	m.term.confAt = 0
	m.urgent = true
}

func (m *Machine) applyEntry(data []byte) {
	var e entry
	if err := json.Unmarshal(data, &e); err != nil {
		return // written by a later version: all nodes pass it over alike
	}
	before := m.rec.Office
	done := m.rec.apply(&e)
	m.urgent = true
	switch e.Kind {
	case takeOffice:
		m.tookOffice(&e, before)
	case decide:
		m.tellDecision()
	case releaseAddress, setMembership, leftInOrder, cameBack:
	}
	if e.By == m.meta.RaftID && e.Boot == m.boot && e.Number != 0 {
		m.calls.applied(m, e.Number, done)
	}
}

// cutLog makes a snapshot where one is due, and forgets what stands before it.
func (m *Machine) cutLog(f *flight) {
	g := &m.log
	if g.node == nil || g.applied == 0 || f.save.Snapshot != nil || f.ready != nil || !g.snap && g.applied-g.cut < cutAfter {
		return
	}
	g.snap = false
	if g.applied == g.cut {
		return
	}
	s, err := g.storage.CreateSnapshot(g.applied, g.conf, m.rec.encode())
	if err != nil {
		return
	}
	if g.applied > keptEntries {
		_ = g.storage.Compact(min(g.applied, max(g.applied-keptEntries, g.cut))) // already cut: nothing to do
	}
	g.cut = g.applied
	f.save.Snapshot = s
}

// write proposes an entry; number 0 where nobody waits for it. It is false when Raft does not take it now.
func (m *Machine) write(e entry) bool {
	if m.log.node == nil || !m.term.leads {
		return false
	}
	e.By, e.Boot, e.Term = m.meta.RaftID, m.boot, m.term.term
	return m.log.node.Propose(e.encode()) == nil
}

// silent keeps Raft's own chatter out of the log.
type silent struct{}

func (silent) Debug(...any)            {}
func (silent) Debugf(string, ...any)   {}
func (silent) Error(...any)            {}
func (silent) Errorf(string, ...any)   {}
func (silent) Info(...any)             {}
func (silent) Infof(string, ...any)    {}
func (silent) Warning(...any)          {}
func (silent) Warningf(string, ...any) {}

func (silent) Fatal(v ...any)                 { panic("raft: " + fmt.Sprint(v...)) }
func (silent) Fatalf(format string, v ...any) { panic("raft: " + fmt.Sprintf(format, v...)) }
func (silent) Panic(v ...any)                 { panic("raft: " + fmt.Sprint(v...)) }
func (silent) Panicf(format string, v ...any) { panic("raft: " + fmt.Sprintf(format, v...)) }
