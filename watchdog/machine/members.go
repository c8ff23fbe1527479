package machine

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
)

// join brings a node without a group into the one that has a leader, and has a node leave a group that has been overtaken.
func (m *Machine) join() {
	f := &m.founds
	leader := m.seenLeader()
	if leader < 0 || m.unknown || m.inTransit() {
		f.foreign, f.yielding, f.beaten = 0, 0, 0
		return
	}
	i := m.peers[leader].info
	if i.Cluster == m.meta.Cluster && (contains(i.Voters, m.meta.RaftID) || contains(i.Learners, m.meta.RaftID)) {
		f.foreign, f.yielding, f.beaten = 0, 0, 0
		return
	}
	if f.foreign == 0 {
		f.foreign = m.now
	}
	switch {
	case m.hand.leaving:
	case m.meta.Cluster == 0:
		m.askIn(leader)
	case m.term.office && m.lease.valid(m.term.term, m.now):
		if i.Cluster != m.meta.Cluster {
			m.meetLeader(leader, i)
		}
	case (m.leaderNode() < 0 || m.term.leads) && m.now-f.foreign > m.electionTimeout() && (i.Cluster != m.meta.Cluster || i.Applied >= m.log.applied):
		m.dissolve(leader)
	}
}

// seenLeader is a node in office this one can talk to, -1 for none. Of several it is the one that would survive.
func (m *Machine) seenLeader() int {
	best := -1
	m.others(func(id int, p *peer) {
		if m.visible(id) && p.info.Office && (best < 0 || stronger(p.info, m.peers[best].info, id < best)) {
			best = id
		}
	})
	return best
}

// stronger decides which of two leaders of different groups goes on (manual: split brain).
func stronger(a, b *info, tie bool) bool {
	switch {
	case a.Holds != b.Holds:
		return a.Holds
	case a.Quorum != b.Quorum:
		return a.Quorum > b.Quorum
	case a.Alive != b.Alive:
		return a.Alive > b.Alive
	case a.Tenure/1e9 != b.Tenure/1e9:
		return a.Tenure > b.Tenure
	}
	return tie
}

// meetLeader settles with the leader of another group who goes on. What they compare changes while they meet, so neither gives up before
// the other has said that it knows; if both would, the one with the lower number goes on.
func (m *Machine) meetLeader(leader int, i *info) {
	f := &m.founds
	yielding, before := f.yielding == i.Cluster, [...]uint64{f.yielding, f.beaten}
	switch {
	case i.Yielding == m.meta.Cluster && (!yielding || m.c.Self < leader):
		f.yielding, f.beaten = 0, i.Cluster
	case f.beaten == i.Cluster:
	case yielding && i.Beaten == m.meta.Cluster:
		m.dissolve(leader)
		return
	case !yielding && stronger(i, m.info(), leader < m.c.Self):
		f.yielding = i.Cluster
	default:
		return
	}
	if before != [...]uint64{f.yielding, f.beaten} {
		m.urgent = true
		m.out.Announce = m.out.Announce || f.beaten != 0 && m.desired.Hold // the other has told the network that it has the address
	}
}

// dissolve leaves a group because another one lives on.
func (m *Machine) dissolve(leader int) {
	i := m.peers[leader].info
	m.event(Warning, "We are in split brain, or were left out: resigning from our group and joining that of "+i.Name,
		fmt.Sprintf("The group %x with its %d decisions is set aside, the group is %x with %d.", m.meta.Cluster, m.rec.Seq, i.Cluster, i.Seq))
	m.becomeBlank(true)
	m.founds.incumbent, m.founds.yielding, m.founds.beaten = 0, 0, 0
}

// askIn asks the leader for a place, a few times a lease.
func (m *Machine) askIn(leader int) {
	p := &m.peers[leader]
	if m.now-p.asked < m.c.Lease/10 {
		return
	}
	p.asked = m.now
	m.send(leader, &envelope{Cluster: p.info.Cluster, Join: &join{RaftID: m.meta.RaftID}})
}

// heardJoin gives a node a place in which it learns before it votes.
func (m *Machine) heardJoin(from int, e *envelope) {
	id := e.Join.RaftID
	if !m.term.office || e.Cluster != m.meta.Cluster || nodeOf(id) != from || m.pendingConf() ||
		!m.visible(from) || m.peers[from].info.RaftID != id {
		return
	}
	if contains(m.log.conf.GetVoters(), id) || contains(m.log.conf.GetLearners(), id) {
		return
	}
	m.changeConf(change(raftpb.ConfChangeAddLearnerNode, id))
}

func change(t raftpb.ConfChangeType, id uint64) *raftpb.ConfChangeSingle {
	return &raftpb.ConfChangeSingle{Type: &t, NodeId: &id}
}

func (m *Machine) pendingConf() bool {
	return m.term.confAt != 0 && m.now-m.term.confAt < m.electionTimeout() || len(m.log.conf.GetVotersOutgoing()) > 0
}

func (m *Machine) changeConf(changes ...*raftpb.ConfChangeSingle) {
	if m.log.node.ProposeConfChange(&raftpb.ConfChangeV2{Changes: changes}) == nil {
		m.term.confAt = m.now
	}
}

// tendMembers is the leader's care for who belongs to the group.
func (m *Machine) tendMembers() {
	if !m.term.office || m.hand.giving() {
		return
	}
	m.others(m.tendMember)
	if m.rec.membership(m.c.Self) != Member && m.calls.once("member self", m.now, m.electionTimeout()) {
		m.write(entry{Kind: setMembership, Node: m.c.Self, Membership: Member})
	}
	if m.pendingConf() {
		return
	}
	if changes := m.wantedChanges(); len(changes) > 0 {
		m.changeConf(changes...)
	}
}

// tendMember has the log say what has become of a node.
func (m *Machine) tendMember(id int, p *peer) {
	want, now := m.rec.membership(id), m.now
	here := m.visible(id) && !p.info.Leaving
	switch {
	case here:
		want = Member
	case p.info != nil && (p.info.Leaving || p.info.Bye):
		if m.c.RemoveShutdown {
			want = RevokedShutdown
		}
	case p.info == nil && m.c.NoShowRemoval > 0 && now-m.started > m.c.NoShowRemoval:
		want = RevokedNoShow
	case p.info != nil && p.silent != 0 && m.c.LostRemoval > 0 && now-p.silent > m.c.LostRemoval:
		want = RevokedLost
	}
	if want != m.rec.membership(id) && m.calls.once(fmt.Sprint("member", id, want), now, m.electionTimeout()) {
		m.write(entry{Kind: setMembership, Node: id, Membership: want})
		m.tellMembership(id, p, want)
	}
	gone := slices.Contains(m.rec.Gone, id)
	if p.info == nil || gone == (p.info.Leaving || p.info.Bye) || !gone && !m.visible(id) && !p.info.Bye {
		return
	}
	kind := cameBack
	if !gone {
		kind = leftInOrder
	}
	if m.calls.once(fmt.Sprint("gone", id, kind), now, m.electionTimeout()) {
		m.write(entry{Kind: kind, Node: id})
	}
}

func (m *Machine) tellMembership(id int, p *peer, want Membership) {
	if want == Member {
		m.event(Log, fmt.Sprintf("Restoring cluster membership of node:%q", m.nameOf(id)))
		return
	}
	m.event(Log, fmt.Sprintf("revoking the membership of [%s] node:%q [node_id:%d]", p.state, m.nameOf(id), id), want.String())
}

// wantedChanges is the next change of Raft's configuration: learners that have learnt take the place of what their node was before,
// nodes that are no members go.
func (m *Machine) wantedChanges() []*raftpb.ConfChangeSingle {
	conf := m.log.conf
	for _, id := range conf.GetLearners() {
		if m.learnt(id) {
			return m.promotion(id)
		}
		if i := m.peers[nodeOf(id)].info; i == nil || i.RaftID != id {
			return []*raftpb.ConfChangeSingle{change(raftpb.ConfChangeRemoveNode, id)}
		}
	}
	var out []*raftpb.ConfChangeSingle
	drop := m.dropped()
	for _, id := range conf.GetVoters() {
		if slices.Contains(drop, nodeOf(id)) {
			out = append(out, change(raftpb.ConfChangeRemoveNode, id))
		}
	}
	return out
}

// promotion makes a learner a voter, in one step with the end of what its node was before.
func (m *Machine) promotion(id uint64) []*raftpb.ConfChangeSingle {
	changes := []*raftpb.ConfChangeSingle{change(raftpb.ConfChangeAddNode, id)}
	for _, old := range m.log.conf.GetVoters() {
		if nodeOf(old) == nodeOf(id) {
			changes = append(changes, change(raftpb.ConfChangeRemoveNode, old))
		}
	}
	return changes
}

// learnt reports whether a learner knows what has been committed.
func (m *Machine) learnt(id uint64) bool {
	node := nodeOf(id)
	if !m.visible(node) || m.peers[node].info.RaftID != id || m.peers[node].info.Leaving {
		return false
	}
	s := m.log.node.Status()
	p, ok := s.Progress[id]
	return ok && p.RecentActive && p.Match+1 >= s.GetCommit() && p.Match > 0
}

// dropped are the nodes whose votes are to go: those that are no members, and with half votes all that are away when a node leaves in
// good order and half of them stay.
func (m *Machine) dropped() (ids []int) {
	for _, id := range m.configured() {
		if id != m.c.Self && m.rec.membership(id) != Member {
			ids = append(ids, id)
		}
	}
	for _, id := range m.shrunk() {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// shrunk are the nodes that are away, or leave, where exactly half of an even cluster stays and that is enough.
func (m *Machine) shrunk() []int {
	members := m.members()
	if !m.c.HalfVotes || members%2 != 0 {
		return nil
	}
	var away []int
	leaving := false
	m.others(func(id int, p *peer) {
		leaving = leaving || m.visible(id) && p.info.Leaving
		if m.rec.membership(id) == Member && (!m.visible(id) || p.info.Leaving) {
			away = append(away, id)
		}
	})
	if leaving && 2*(members-len(away)) == members {
		return away
	}
	return nil
}

// settled are the nodes that may go: what had to be done while they are still here has been done.
func (m *Machine) settled() (ids []int) {
	drop := m.dropped()
	m.others(func(id int, p *peer) {
		if p.info == nil || !p.info.Leaving || !slices.Contains(m.rec.Gone, id) {
			return
		}
		if m.c.RemoveShutdown && m.rec.membership(id) == Member {
			return
		}
		if slices.Contains(drop, id) && contains(m.log.conf.GetVoters(), p.info.RaftID) {
			return
		}
		ids = append(ids, id)
	})
	return ids
}
