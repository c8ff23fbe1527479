package machine

import (
	"slices"
	"time"

	"go.etcd.io/raft/v3"
)

// follow notices that this node has begun or ceased to lead its group, and has the leader do what is a leader's.
func (m *Machine) follow() {
	if m.log.node == nil {
		return
	}
	s := m.log.node.BasicStatus()
	leads := s.RaftState == raft.StateLeader
	if m.term.leads && (!leads || s.GetTerm() != m.term.term) {
		m.stepDown()
	}
	if leads && !m.term.leads {
		m.term = termState{leads: true, term: s.GetTerm(), resend: m.term.resend}
		m.term.free = m.quiet.free(s.GetTerm(), m.c.Lease)
		if m.founds.founded == m.meta.Cluster && m.now < m.founds.incumbent {
			m.term.free = m.now // the only lease that can run is this node's own
		}
		m.lease.end = 0
		m.urgent = true
	}
	if leads {
		m.takeOffice()
		m.renew(s.GetTerm())
	}
}

// renew asks a quorum whether this node still leads, ten times a lease. Before it is in office it does not: whoever leads only to offer it
// to somebody else shall not make his successor wait for a lease he never had.
func (m *Machine) renew(term uint64) {
	if !m.term.office || m.term.questioned && m.now < m.lastInfo+m.c.Lease/10 {
		return
	}
	if !m.stillAlone() {
		return
	}
	m.term.questioned, m.lastInfo = true, m.now
	m.log.node.ReadIndex(m.lease.ask(term, m.now))
}

// stillAlone reports whether a group of at most half of the nodes may go on. Its leader may be its own quorum, so that after a restart, or
// a pause in which the lease ran out, nothing tells it what the others have done meanwhile: it listens for a while, wants the life check's
// word that they are dead, and asks the network who has the address.
func (m *Machine) stillAlone() bool {
	t := &m.term
	runs := m.now < m.lease.end || m.lease.end == 0 && m.founds.looked == m.meta.Cluster
	if runs || 2*len(m.log.conf.GetVoters()) > len(m.c.Nodes) {
		t.lapsed = 0
		return true
	}
	if t.lapsed == 0 {
		t.lapsed = m.view.ticks
		m.founds.free, m.founds.taken, m.founds.probing = 0, 0, 0
	}
	if m.view.ticks-t.lapsed <= electionTicks || !m.othersGone() || m.c.VIP && !m.addressIsFree() {
		return false
	}
	t.lapsed, m.founds.looked = 0, m.meta.Cluster
	return true
}

// takeOffice makes a new leader the one who decides: after the node that is preferred had its chance. One in office is not displaced.
func (m *Machine) takeOffice() {
	t := &m.term
	if !contains(m.log.conf.GetVoters(), m.meta.RaftID) {
		if to := m.successor(); to >= 0 && (t.offered == 0 || m.now-t.offered > m.electionTimeout()) {
			t.tried = nil // it was elected while it is being removed: only a voter of the new configuration can end that
			m.transfer(to)
		}
		return
	}
	if t.office && !t.released && !m.rec.Office.Released || t.taking || m.hand.giving() || m.waitForOthers() || m.offer() {
		return
	}
	t.taking = m.write(entry{Kind: takeOffice, Node: m.c.Self, Lease: max(m.c.Lease, m.unsettled(m.rec.Office))})
}

// unsettled is how long the lease of an office may run on, by the clock of whoever is to wait for it; 0 if nobody holds the address by it.
func (m *Machine) unsettled(o office) time.Duration {
	if o.Released || o.Node == m.c.Self && o.Term != 0 && o.Term == m.cleared {
		return 0
	}
	return max(o.Lease, time.Second) // 0 is none that was ever written
}

// waitForOthers gives nodes that are started together the time to meet before one of them becomes the leader.
func (m *Machine) waitForOthers() bool {
	if m.view.served || m.now-m.started > max(m.electionTimeout(), time.Second) {
		return false
	}
	return slices.ContainsFunc(m.configured(), func(id int) bool { return !m.visible(id) || m.clusterOf(id) != m.meta.Cluster })
}

// offer lets a node lead that is preferred to this one. Who does not take it in time is not asked again in this term.
func (m *Machine) offer() bool {
	t := &m.term
	if t.offered != 0 && m.now-t.offered < m.electionTimeout() {
		return true
	}
	ids := slices.DeleteFunc(m.ableVoters(), func(id int) bool { return slices.Contains(t.tried, id) })
	best := m.preferred(ids)
	if best < 0 || best == m.c.Self {
		return false
	}
	m.transfer(best)
	return true
}

func (m *Machine) transfer(to int) {
	m.term.tried = append(m.term.tried, to)
	m.term.offered = m.now
	m.log.node.TransferLeader(m.peers[to].info.RaftID)
}

// tookOffice is called when the log says who is in office.
func (m *Machine) tookOffice(e *entry, before office) {
	if e.Node != m.c.Self || !m.term.leads || e.Term != m.term.term || e.Boot != m.boot {
		return
	}
	t := &m.term
	again := t.office
	t.office, t.released, t.taking, t.inOffice, t.tried = true, false, false, m.now, nil
	if !again {
		t.cleared = false
	}
	switch lease := m.unsettled(before); {
	case before.Node >= 0 && lease == 0:
		t.free = m.now // nobody else can have raised it since
	case lease > m.c.Lease:
		t.free += lease - m.c.Lease
	}
	m.hand.resigned = false
}

// stepDown is the end of leading: what was promised to be answered is, and the address is given up at once.
func (m *Machine) stepDown() {
	if !m.term.leads {
		return
	}
	if m.lease.end != 0 && m.lease.term == m.term.term {
		m.quiet.led = max(m.quiet.led, m.lease.end-m.c.Lease/10*9)
	}
	incumbent := m.term.office && m.lease.valid(m.term.term, m.now) && m.desired.Hold
	if incumbent {
		m.founds.incumbent = m.lease.end
	}
	m.term = termState{resend: m.term.resend}
	m.calls.lost(m)
	m.votes = votes{}
	m.urgent = true
}

// entitled reports whether this node may hold the address now, or why not.
func (m *Machine) entitled() (bool, string) {
	t := &m.term
	switch {
	case m.incumbentSide():
		return true, "half of the nodes go on, their new group is being founded"
	case m.founds.yielding != 0:
		return false, "the leader of the other half of the nodes goes on"
	case !t.leads:
		return false, "this node does not lead"
	case !t.office || t.released || m.rec.Office.Released:
		return false, "this node has been elected and is not in office yet"
	case m.hand.giving():
		return false, "this node is giving up leading"
	case m.quorumNow() < QuorumOnEdge:
		return false, "too few nodes have joined this one: no quorum"
	case !m.lease.valid(t.term, m.now):
		return false, "no quorum has answered in time: the lease is over"
	case !t.cleared && m.now < t.free:
		return false, "the lease of the former leader may not be over"
	}
	t.cleared, m.cleared = true, t.term
	return true, "this node leads, and a quorum says so"
}

// hold sets what the address is to be.
func (m *Machine) hold() {
	held := m.desired.Hold
	may, why := m.entitled()
	m.view.reason = why
	switch {
	case may && m.incumbentSide():
		m.desired = Desired{Hold: true, Until: m.founds.incumbent}
	case may:
		m.desired = Desired{Hold: true, Until: m.lease.end}
	case held:
		m.desired = Desired{Graceful: m.hand.giving() && m.lease.valid(m.term.term, m.now), Until: m.lease.end}
	case !m.hand.giving():
		m.desired.Graceful = false
	}
	if held != m.desired.Hold {
		m.urgent = true
	}
}

// quorumNow is the quorum as the leader counts it: the standbys that have joined, and at least those who have just answered.
func (m *Machine) quorumNow() Quorum {
	alive := 1 + m.alive()
	if m.lease.valid(m.term.term, m.now) {
		alive = max(alive, len(m.log.conf.GetVoters())/2+1)
	}
	return quorumOf(m.members(), alive, m.c.HalfVotes)
}

// quorum is what this node shows.
func (m *Machine) quorum() Quorum {
	leader := m.shownLeader()
	switch {
	case leader < 0:
		return QuorumNoLeader
	case leader != m.c.Self:
		if p := m.peerAt(leader); p != nil && p.info != nil && m.view.standing == Follows {
			return p.info.Quorum
		}
		return QuorumAbsent
	case m.view.standing != Leads || !m.lease.valid(m.term.term, m.now):
		return QuorumAbsent
	}
	return m.quorumNow()
}
