package machine

import (
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// founds is what a node does about a founding; see founding.go.
type founds struct {
	ticks     int // observed time
	proposal  *proposal
	again     time.Duration // not before then
	round     uint64
	epoch     uint64        // the highest that was heard of
	since     time.Duration // since when this node could begin one, 0: it cannot
	probing   time.Duration // since when an answer of the network is awaited
	free      time.Duration // when the network last had nobody with the address
	taken     time.Duration // when it last had somebody
	incumbent time.Duration // this node held the address when it lost its quorum: until when it may
	founded   uint64        // the group it has founded meanwhile
	looked    uint64        // the group for which this node has made sure that the others are gone and nobody has the address
	foreign   time.Duration // since when another group's leader is seen
	yielding  uint64        // the group for which this leader would give up its own
	beaten    uint64        // the group whose leader would do so for this one
}

// cause is why a founding is possible.
type cause uint8

const (
	noCause  cause = iota
	allBlank       // a majority, none of which has ever been in a cluster
	allLost        // everybody is here, and no old group can have a majority again
	halfLeft       // exactly half of an even cluster, the others are dead
)

// found begins a founding when this node may, and follows up the one it has begun.
func (m *Machine) found() {
	f := &m.founds
	if leader := m.leaderNode(); m.now >= f.incumbent || m.term.office && m.lease.valid(m.term.term, m.now) || leader >= 0 && leader != m.c.Self {
		f.incumbent, f.founded = 0, 0
	}
	m.catchUp()
	m.remind()
	m.stand()
	if p := f.proposal; p != nil && p.charter == nil && m.now > f.again-m.electionTimeout()*3/4 {
		m.tellNext(p.second(m.draw, true))
	}
	why := m.cause()
	if why == noCause || m.unknown || m.hand.leaving {
		f.since, f.proposal = 0, nil
		return
	}
	if f.since == 0 {
		f.since = m.now
	}
	if p := f.proposal; p != nil && p.hopeless {
		f.proposal, f.epoch, f.again = nil, p.epoch+1, m.now
	}
	if m.now < f.again {
		return
	}
	if why == halfLeft && f.incumbent == 0 && !m.term.leads && m.c.VIP && !m.addressIsFree() {
		return
	}
	side := m.side()
	turn := slices.Index(m.inOrder(side), m.c.Self)
	if m.now-f.since < time.Duration(turn)*m.electionTimeout() {
		return
	}
	m.beginFounding(side, why)
}

// catchUp begins what this node has accepted once it sees that it was chosen: somebody is in it.
func (m *Machine) catchUp() {
	c := m.meta.Founder.Accepted
	if c == nil || c.Epoch <= m.meta.Epoch {
		return
	}
	m.others(func(id int, p *peer) {
		if m.visible(id) && p.info.Cluster == c.Cluster {
			m.begin(c)
		}
	})
}

// stand has the preferred node of a new group stand for election at once, and again while nothing has come of it: the others may not
// have begun yet.
func (m *Machine) stand() {
	if m.log.node == nil || m.log.applied > 1 || m.leaderNode() >= 0 || m.hand.leaving || m.now-m.log.joined > m.electionTimeout() ||
		m.preferred(m.side()) != m.c.Self || !m.calls.once("stand", m.now, m.electionTimeout()/8) {
		return
	}
	_ = m.log.node.Campaign() // it may be one already
}

// remind tells voters of this group who have not begun it that it was founded.
func (m *Machine) remind() {
	c := m.meta.Charter
	if c == nil || m.log.node == nil {
		return
	}
	m.others(func(id int, p *peer) {
		if m.visible(id) && p.info.Cluster == 0 && contains(c.Voters, p.info.RaftID) && m.calls.once(fmt.Sprint("remind", id), m.now, m.electionTimeout()) {
			m.send(id, &envelope{Found: &foundMsg{Kind: chosen, Epoch: c.Epoch, Charter: c}})
		}
	})
}

// inOrder are ids, the preferred first.
func (m *Machine) inOrder(ids []int) []int {
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b int) int {
		switch {
		case a == b:
			return 0
		case m.before(a, b):
			return -1
		}
		return 1
	})
	return ids
}

// cause looks whether a founding is called for.
func (m *Machine) cause() cause {
	leader := m.leaderNode()
	if leader >= 0 && leader != m.c.Self || m.term.leads && !m.deserted() || m.founds.foreign != 0 || m.inTransit() {
		return noCause
	}
	side, all := m.side(), m.configured()
	if m.groupPossible(side) {
		return noCause
	}
	blank := m.blank(side)
	switch {
	case blank == len(side) && len(side) >= len(m.c.Nodes)/2+1 && (len(side) == len(all) || m.now-m.started > m.c.Loading):
		return allBlank
	case len(side) == len(all) && m.leaderless() > 2*m.electionTimeout():
		return allLost
	case m.half(side, all):
		return halfLeft
	}
	return noCause
}

func (m *Machine) blank(side []int) (n int) {
	for _, id := range side {
		if m.clusterOf(id) == 0 {
			n++
		}
	}
	return n
}

func (m *Machine) clusterOf(id int) uint64 {
	if id == m.c.Self {
		return m.meta.Cluster
	}
	return m.peers[id].info.Cluster
}

func (m *Machine) raftIDOf(id int) uint64 {
	if id == m.c.Self {
		return m.meta.RaftID
	}
	return m.peers[id].info.RaftID
}

// confOf is who votes, as a node knows it, and how much of the log it has seen.
func (m *Machine) confOf(id int) (voters, outgoing []uint64, applied uint64) {
	if id == m.c.Self {
		if m.log.node == nil {
			return nil, nil, 0
		}
		return m.log.conf.GetVoters(), m.log.conf.GetVotersOutgoing(), m.log.applied
	}
	i := m.peers[id].info
	return i.Voters, i.Outgoing, i.Applied
}

// groupPossible reports whether an old group could elect a leader from a side.
func (m *Machine) groupPossible(side []int) bool {
	for _, id := range side {
		if m.clusterOf(id) == 0 || !m.latest(id, side) {
			continue
		}
		voters, outgoing, _ := m.confOf(id)
		if len(voters) > 0 && m.majority(voters, id, side) && (len(outgoing) == 0 || m.majority(outgoing, id, side)) {
			return true
		}
	}
	return false
}

// latest reports whether nobody on a side knows more of a node's group. Who knows less may think of voters that are none any more.
func (m *Machine) latest(id int, side []int) bool {
	_, _, applied := m.confOf(id)
	return !slices.ContainsFunc(side, func(other int) bool {
		_, _, more := m.confOf(other)
		return m.clusterOf(other) == m.clusterOf(id) && more > applied
	})
}

// majority reports whether most of the voters of a node's group are on a side.
func (m *Machine) majority(voters []uint64, id int, side []int) bool {
	n := 0
	for _, other := range side {
		there := m.clusterOf(other)
		if (there == m.clusterOf(id) || there == 0) && contains(voters, m.raftIDOf(other)) {
			n++ // a blank one among the voters has not begun yet
		}
	}
	return n > len(voters)/2
}

// half reports whether a side is one half that may go on alone (enable_consensus_with_half_votes).
func (m *Machine) half(side, all []int) bool {
	members, n := m.members(), 0
	for _, id := range side {
		if m.rec.membership(id) == Member {
			n++
		}
	}
	if !m.c.HalfVotes || members%2 != 0 || n != members/2 || !m.trusts() {
		return false
	}
	if m.founds.incumbent != 0 || m.deserted() {
		return !m.address.Unplugged // it is the leader, or was until just now: it need not wait for a verdict to go on
	}
	return m.othersGone()
}

// trusts reports whether the trusted servers have answered just now, and asks them where that is not known (trusted_servers).
func (m *Machine) trusts() bool {
	t := &m.trust
	if m.untrusted || !m.c.AsksTrusted {
		return !m.untrusted
	}
	if t.at != 0 && m.now-t.at < m.c.Lease {
		return true
	}
	if t.asked == 0 || m.now-t.asked > m.c.Lease {
		t.asked, m.out.AskTrusted = m.now, true
	}
	return false
}

// trust is what is known of the trusted servers.
type trust struct{ asked, at time.Duration }

// othersGone reports whether all nodes this one cannot talk to are dead, as far as can be known, and the network is not the trouble.
func (m *Machine) othersGone() bool {
	return !m.untrusted && !slices.ContainsFunc(m.configured(), func(id int) bool {
		return id != m.c.Self && !m.visible(id) && !m.gone(id)
	})
}

// deserted reports whether this node leads and holds the address, and no quorum has answered for an election timeout of observed time.
// With half votes it may go on before Raft has it step down, so that the address stays where it is.
func (m *Machine) deserted() bool {
	return m.c.HalfVotes && m.term.office && m.desired.Hold && m.lease.valid(m.term.term, m.now) && m.view.ticks-m.lease.confirmed > electionTicks
}

// gone reports whether a node is dead as far as can be known without it: the life check says so, it said goodbye, or it was never
// there.
func (m *Machine) gone(id int) bool {
	p := &m.peers[id]
	switch {
	case p.dead:
		return true
	case p.info == nil:
		return !p.linked && m.now-m.started > m.c.Loading && (p.beat == 0 || m.now-p.beat > 3*m.c.Lease)
	case p.info.Bye:
		return true
	}
	return m.c.External && !p.linked && m.now-p.heard > 2*m.c.Lease
}

// leaderless is for how long, of the time this node was awake, there has been no leader.
func (m *Machine) leaderless() time.Duration {
	return time.Duration(m.view.ticks-m.view.ledAt) * m.c.Lease / ticksPerLease
}

// addressIsFree asks the network whether somebody holds the address, and is true once it has said that nobody does.
func (m *Machine) addressIsFree() bool {
	f := &m.founds
	if f.free != 0 && m.now-f.free < m.electionTimeout() {
		return true
	}
	if f.taken != 0 && m.now-f.taken < m.electionTimeout() {
		return false
	}
	if f.probing == 0 || m.now-f.probing > m.c.Lease {
		f.probing, m.out.Probe = m.now, true
	}
	return false
}

func (f *founds) probed(answered bool, now time.Duration) {
	if f.probing == 0 {
		return
	}
	f.probing = 0
	if answered {
		f.taken, f.free = now, 0
	} else {
		f.free, f.taken = now, 0
	}
}

// incumbentSide reports whether this node held the address when it lost its quorum, and is about to go on with half of the nodes.
func (m *Machine) incumbentSide() bool {
	f := &m.founds
	if f.incumbent == 0 || m.now >= f.incumbent || m.sick != "" || m.hand.leaving {
		return false
	}
	return f.founded != 0 && f.founded == m.meta.Cluster || m.cause() == halfLeft
}

func (m *Machine) beginFounding(side []int, why cause) {
	f := &m.founds
	f.round++
	f.again = m.now + m.electionTimeout()
	f.epoch = max(f.epoch, m.meta.Epoch+1, m.meta.Founder.Epoch)
	quorum := len(side)
	if why == allBlank {
		quorum = len(m.c.Nodes)/2 + 1
	}
	f.round = max(f.round, m.meta.Founder.Promised.Round+1)
	f.proposal = &proposal{
		epoch: f.epoch, ballot: ballot{Round: f.round, Node: m.c.Self}, quorum: quorum, nodes: len(m.configured()), side: side, whole: why == allBlank,
		promised: make(map[int]*foundMsg), accepted: make(map[int]bool),
	}
	m.tellSide(&foundMsg{Kind: prepare, Epoch: f.epoch, Ballot: f.proposal.ballot})
}

// tellSide sends a message of the proposer to all acceptors, itself among them.
func (m *Machine) tellSide(msg *foundMsg) {
	side := m.founds.proposal.side
	for _, id := range side {
		if id != m.c.Self {
			m.sendSaved(id, &envelope{Found: msg}) // it counts this node's own promise, which must be on disk, too
		}
	}
	if slices.Contains(side, m.c.Self) && msg.Kind != chosen {
		m.heardFound(m.c.Self, msg)
	}
}

func (m *Machine) tellNext(msg *foundMsg) {
	if msg != nil {
		m.tellSide(msg)
	}
}

// heardFound is the acceptor and, for answers, the proposer.
func (m *Machine) heardFound(from int, msg *foundMsg) {
	f := &m.founds
	if !m.believableFound(from, msg) {
		return
	}
	switch msg.Kind {
	case prepare, accept:
		m.acceptor(from, msg)
	case promise, accepted:
		if f.proposal == nil {
			return
		}
		next, done := f.proposal.take(from, msg, m.draw)
		m.tellNext(next)
		if done {
			c := f.proposal.charter
			m.tellSide(&foundMsg{Kind: chosen, Epoch: c.Epoch, Charter: c})
			f.proposal = nil
			m.begin(c)
		}
	case refused:
		f.round, f.epoch = max(f.round, msg.Ballot.Round), max(f.epoch, msg.Epoch)
		if p := f.proposal; p != nil && (p.epoch < msg.Epoch || p.ballot.less(msg.Ballot)) {
			f.proposal = nil
			// Two who refuse each other must not go on at the same pace.
			f.again = m.now + m.electionTimeout()/4 + time.Duration(m.c.Random()%uint64(m.electionTimeout()))
		}
	case chosen:
		m.begin(msg.Charter)
	}
}

func (m *Machine) acceptor(from int, msg *foundMsg) {
	leader := m.leaderNode()
	if leader >= 0 && leader != from || m.term.leads && from != m.c.Self || m.inTransit() || msg.Epoch <= m.meta.Epoch {
		m.answerFound(from, &foundMsg{Kind: refused, Epoch: max(m.meta.Epoch+1, m.meta.Founder.Epoch), Ballot: m.meta.Founder.Promised})
		return
	}
	reply, changed := m.meta.Founder.answer(msg)
	m.metaDirty = m.metaDirty || changed
	if reply.Kind == promise {
		reply.RaftID = m.meta.RaftID
		if m.log.node != nil {
			reply.Known = m.meta.Epoch
		}
		reply.Record, reply.LastTerm, reply.LastIndex = m.wholeRecord()
	}
	m.answerFound(from, reply)
}

// answerFound sends an answer once what it promises is on disk; to this node itself at once, because what its own proposer sends to
// others waits for the same write.
func (m *Machine) answerFound(to int, msg *foundMsg) {
	if to != m.c.Self {
		m.sendSaved(to, &envelope{Found: msg})
		return
	}
	m.heardFound(m.c.Self, msg)
}

// draw makes the charter of a new cluster.
func (m *Machine) draw(p *proposal) *charter {
	c := &charter{Cluster: m.c.Random()>>1 | 1, Epoch: p.epoch, Record: p.best()}
	c.Record.Office = office{Node: -1, Lease: c.Record.Office.Lease}
	for id := range m.c.Nodes {
		switch promised := p.promised[id]; {
		case promised != nil:
			c.Voters = append(c.Voters, promised.RaftID)
		case p.whole:
			c.Voters = append(c.Voters, raftID(0, id))
		}
	}
	return c
}

// begin makes this node one of a new cluster.
func (m *Machine) begin(c *charter) {
	if c.Epoch <= m.meta.Epoch || c.Cluster == m.meta.Cluster || !contains(c.Voters, m.meta.RaftID) || m.inTransit() {
		return
	}
	had := m.meta.Cluster != 0
	after := m.behind
	m.stopGroup()
	if m.founds.incumbent != 0 {
		m.founds.founded, m.founds.looked = c.Cluster, c.Cluster
	}
	if f := m.founds.free; f != 0 && m.now-f < 2*m.electionTimeout() {
		m.founds.looked = c.Cluster
	}
	m.meta.Cluster, m.meta.Epoch, m.meta.Charter = c.Cluster, c.Epoch, c
	m.metaDirty = false
	term, index := uint64(1), uint64(1)
	first := &raftpb.Snapshot{
		Data: c.Record.encode(),
		Metadata: &raftpb.SnapshotMetadata{
			ConfState: &raftpb.ConfState{Voters: c.Voters}, Index: &index, Term: &term,
		},
	}
	hard := &raftpb.HardState{Term: &term, Commit: &index}
	f := &flight{save: Save{Meta: m.meta.encode(), HardState: hard, Snapshot: first, Replace: true, Reset: had}, after: after}
	f.then = func() {
		if err := m.startGroup(Image{HardState: hard, Snapshot: first}); err != nil {
			panic(fmt.Sprintf("machine: a new log cannot be started: %v", err))
		}
		m.view.ledAt = m.view.ticks // somebody is about to lead
		m.stand()
		m.urgent = true
	}
	m.next = f
	m.event(Log, fmt.Sprintf("watchdog cluster %x is founded with %d voters", c.Cluster, len(c.Voters)))
}

// inTransit reports whether this node is leaving one group or entering another: its disk does not know yet.
func (m *Machine) inTransit() bool { return m.next != nil || m.meta.Cluster != 0 && m.log.node == nil }
