package machine

import (
	"fmt"
	"slices"
	"time"
)

// display is what administrators see: the states of the nodes, drawn from what Raft does, with the lines they search for.
type display struct {
	ticks, ledAt int // observed time, and when there last was a leader
	state        State
	standing     Standing
	leader       int // told in the log
	quorum       Quorum
	alive        int
	joined       bool // as a standby, and the log was told
	led          bool // shown as the leader when the quorum was told last
	served       bool
	fresh        bool
	reason       string
	seen         Desired
}

func newDisplay() display {
	return display{state: StateDead, leader: -1, quorum: QuorumNoLeader}
}

// unseen reports whether a desire has changed since it was asked the last time.
func (d *display) unseen(now Desired) bool {
	changed := d.seen != now
	d.seen = now
	return changed
}

// display brings what is shown up to what is.
func (m *Machine) display() {
	d := &m.view
	standing := m.standing()
	if standing != Loading && !d.served {
		d.served = true
		d.fresh = m.c.Fresh && !m.anybodyServed()
	}
	if standing == Follows {
		d.fresh = false // somebody has led since the cold start, whose decisions are in force
	}
	d.standing = standing
	m.others(m.displayPeer)
	m.show(m.wantedState())
	if follows := standing == Follows && d.state == StateStandby; follows != d.joined {
		d.joined = follows
		if follows {
			m.event(Log, "successfully joined the watchdog cluster as standby node",
				fmt.Sprintf("our join coordinator request is accepted by cluster leader node %q", m.nameOf(m.shownLeader())))
		}
	}
	m.tellLeader()
	m.tellQuorum()
}

func (m *Machine) anybodyServed() bool {
	return slices.ContainsFunc(m.configured(), func(id int) bool {
		return id != m.c.Self && m.visible(id) && m.peers[id].info.Served
	})
}

// standing is what this node may decide.
func (m *Machine) standing() Standing {
	d := &m.view
	leader := m.leaderNode()
	switch {
	case m.term.office:
		d.ledAt = d.ticks
		return Leads
	case leader >= 0 && leader != m.c.Self && m.rec.Office.Node == leader && m.rec.Office.Term == m.log.node.BasicStatus().GetTerm():
		d.ledAt = d.ticks
		return Follows
	case !d.served && (m.now-m.started <= m.c.Loading || m.now-m.started <= 2*m.c.Loading && (m.inTransit() || m.cause() != noCause)):
		return Loading // or about to be a cluster
	case m.leaderless() > 2*m.electionTimeout():
		return Alone
	case d.standing == Leads:
		return Follows
	}
	return d.standing
}

// shownLeader is who is shown as the leader, -1 for nobody. Without quorum that is the preferred of those who see each other; he
// neither holds the address nor decides for others.
func (m *Machine) shownLeader() int {
	switch m.view.standing {
	case Leads:
		return m.c.Self
	case Follows:
		if leader := m.leaderNode(); leader >= 0 && m.rec.Office.Node == leader {
			return leader
		}
	case Alone:
		if !m.isolated() {
			return m.preferred(m.side())
		}
	case Loading:
	}
	return -1
}

// isolated reports whether a leader is there that drops what this node says.
func (m *Machine) isolated() bool {
	return slices.ContainsFunc(m.configured(), func(id int) bool {
		return id != m.c.Self && m.visible(id) && m.peers[id].info.Office && m.refuses(id)
	})
}

func (m *Machine) wantedState() State {
	if m.hand.gone {
		return StateShutdown
	}
	switch leader := m.shownLeader(); {
	case leader == m.c.Self:
		return StateLeader
	case leader >= 0:
		return StateStandby
	case m.view.standing == Alone:
		return StateIsolated
	}
	if len(m.side()) == 1 {
		if m.view.served {
			return StateJoining
		}
		return StateLoading
	}
	if n := m.log.node; n != nil {
		switch s := n.BasicStatus(); {
		case s.RaftState != 0 && s.Lead == 0:
			return StateStanding
		case s.GetVote() != 0 && s.GetVote() != m.meta.RaftID && s.Lead == 0 && m.view.state == StateInitializing:
			return StateParticipating
		}
	}
	if m.view.state == StateStanding || m.view.state == StateParticipating {
		return m.view.state
	}
	return StateInitializing
}

// next are the states a state may change into (manual: transitions of the local node).
var nextStates = map[State][]State{
	StateDead:          {StateLoading},
	StateLoading:       {StateInitializing, StateJoining, StateShutdown},
	StateJoining:       {StateInitializing, StateIsolated, StateShutdown},
	StateInitializing:  {StateStandby, StateLeader, StateParticipating, StateStanding, StateJoining, StateShutdown},
	StateStanding:      {StateLeader, StateParticipating, StateJoining, StateIsolated, StateShutdown},
	StateParticipating: {StateInitializing, StateStanding, StateJoining, StateShutdown},
	StateLeader:        {StateJoining, StateShutdown},
	StateStandby:       {StateJoining, StateShutdown},
	StateIsolated:      {StateJoining, StateShutdown},
	StateShutdown:      {},
}

// path is the way from one state to another, without the first.
func path(from, to State) []State {
	came := map[State]State{from: from}
	queue := []State{from}
	for len(queue) > 0 && queue[0] != to {
		for _, s := range nextStates[queue[0]] {
			if _, ok := came[s]; !ok {
				came[s] = queue[0]
				queue = append(queue, s)
			}
		}
		queue = queue[1:]
	}
	if len(queue) == 0 {
		return []State{to}
	}
	var way []State
	for s := to; s != from; s = came[s] {
		way = append(way, s)
	}
	slices.Reverse(way)
	return way
}

// show changes the shown state, by way of those that lie between.
func (m *Machine) show(to State) {
	for _, s := range path(m.view.state, to) {
		if s == m.view.state {
			return
		}
		m.event(Log, fmt.Sprintf("watchdog node state changed from [%s] to [%s]", m.view.state, s))
		m.entered(s)
		m.view.state = s
		m.urgent = true
	}
}

func (m *Machine) entered(s State) {
	switch s {
	case StateLeader:
		if len(m.side()) == 1 {
			m.event(Log, "I am the only alive node in the watchdog cluster", "", "skipping stand for coordinator state")
		}
		m.event(Log, "I am announcing my self as leader/coordinator watchdog node")
		if m.view.standing == Leads {
			m.event(Log, "I am the cluster leader node", "our declare coordinator message is accepted by all nodes")
		} else {
			m.event(Log, "I am the cluster leader node but we do not have enough nodes in cluster", "waiting for the quorum to start escalation process")
		}
	case StateStandby, StateDead, StateLoading, StateJoining, StateInitializing, StateParticipating, StateStanding, StateLost, StateTrouble,
		StateShutdown, StateAddSent, StateIsolated:
	}
}

// tellLeader logs who leads, when that changes.
func (m *Machine) tellLeader() {
	d := &m.view
	leader := m.shownLeader()
	if leader == d.leader {
		return
	}
	old := d.leader
	d.leader = leader
	m.urgent = true
	if old >= 0 && old != m.c.Self {
		m.event(Log, fmt.Sprintf("removing the remote node %q from watchdog cluster leader", m.nameOf(old)))
		if leader < 0 {
			m.event(Log, fmt.Sprintf("We have lost the cluster leader node %q", m.nameOf(old)))
			m.event(Log, "watchdog cluster has lost the coordinator node")
		}
	}
	if leader >= 0 && leader != m.c.Self {
		m.event(Log, fmt.Sprintf("setting the remote node %q as watchdog cluster leader", m.nameOf(leader)))
	}
}

// tellQuorum logs when most nodes are there, or no longer are.
func (m *Machine) tellQuorum() {
	d := &m.view
	d.alive = 0
	leads := m.shownLeader() == m.c.Self
	if leads {
		d.alive = m.alive()
	}
	q := m.quorum()
	if q == d.quorum {
		return
	}
	old := d.quorum
	d.quorum = q
	m.urgent = true
	led := d.led
	d.led = leads
	switch {
	case led && q < QuorumOnEdge && old >= QuorumOnEdge && !m.hand.leaving && (leads || m.leaderNode() < 0):
		m.event(Log, "We have lost the quorum")
	case !leads:
	case q >= QuorumOnEdge && old < QuorumOnEdge:
		m.event(Log, "quorum found")
	}
}

// displayPeer keeps the shown state of another node.
func (m *Machine) displayPeer(id int, p *peer) {
	was := p.state
	switch {
	case p.info == nil:
		p.state = StateDead
	case p.info.Bye:
		p.state = StateShutdown
	case p.dead, !p.linked, m.now-p.heard > m.c.Lease:
		p.state = StateLost
	default:
		p.state = p.info.State
	}
	if !p.state.Active() && p.silent == 0 {
		p.silent = m.now
	}
	if p.state.Active() {
		p.silent = 0
	}
	if p.state != was {
		m.tellPeer(id, p, was)
	}
}

func (m *Machine) tellPeer(id int, p *peer, was State) {
	name := m.nameOf(id)
	switch {
	case p.state == StateShutdown:
		m.event(Log, fmt.Sprintf("remote node %q is shutting down", name))
	case p.state == StateLost:
		if !p.linked {
			m.event(Log, fmt.Sprintf("remote node %q is not reachable", name), "marking the node as lost")
		}
		why := "MISSING BEACON REPLIES"
		if p.dead {
			why = "REPORTED BY LIFECHECK"
		} else if !p.linked {
			why = "NOT REACHABLE"
		}
		m.event(Log, fmt.Sprintf("remote node %q is lost", name), why+": "+p.why)
	case was == StateLost && p.state.Active():
		m.out.Announce = m.out.Announce || m.desired.Hold // it may have told the network that it has the address
		m.event(Log, fmt.Sprintf("remote node %q became reachable again", name), "requesting the node info")
	}
	if m.shownLeader() != m.c.Self {
		return
	}
	if p.state == StateStandby {
		m.event(Log, fmt.Sprintf("adding watchdog node %q to the standby list", name))
	} else if was == StateStandby {
		m.event(Log, fmt.Sprintf("removing watchdog node %q from the standby list", name))
	}
}

func (m *Machine) nameOf(id int) string {
	switch {
	case id == m.c.Self:
		return m.c.Name
	case id >= 0 && id < len(m.peers) && m.peers[id].info != nil:
		return m.peers[id].info.Name
	}
	return "Not_Set"
}

// State is what this node shows of itself.
func (m *Machine) State() State { return m.view.state }

// Status is the machine as seen from outside.
func (m *Machine) Status(now time.Duration) Status {
	m.clock(now)
	members := m.members()
	s := Status{
		Standing: m.view.standing, Leader: m.shownLeader(), Quorum: m.quorum(), Members: members, Required: required(members, m.c.HalfVotes),
		Escalated: m.desired.Hold, Reason: m.view.reason, Seq: m.rec.Seq, Fresh: m.view.fresh, Nodes: make([]NodeStatus, len(m.c.Nodes)),
		Alive: m.view.alive, Cluster: m.meta.Cluster, Epoch: m.meta.Epoch,
	}
	if m.log.node != nil {
		s.Term = m.log.node.BasicStatus().GetTerm()
	}
	if m.term.leads {
		s.LeaseEnd = m.lease.end
	}
	if p := m.peerAt(s.Leader); p != nil && p.info != nil {
		s.Alive = p.info.Alive
	}
	for id := range m.c.Nodes {
		s.Nodes[id] = m.nodeStatus(id)
	}
	return s
}

func (m *Machine) nodeStatus(id int) NodeStatus {
	n := NodeStatus{Name: m.nameOf(id), Membership: m.rec.membership(id), Role: "none"}
	if id == m.c.Self {
		n.State, n.Priority, n.Heard, n.Carried = m.view.state, m.c.Priority, m.now, m.carried
		n.Role = m.role(m.meta.RaftID)
		return n
	}
	p := &m.peers[id]
	n.State, n.Heard = p.state, p.heard
	if p.info != nil {
		n.Priority, n.Carried, n.Role = p.info.Priority, p.info.Carried, m.role(p.info.RaftID)
		n.Follows = m.follows(id)
	}
	return n
}

func (m *Machine) role(id uint64) string {
	switch {
	case m.log.node == nil:
	case contains(m.log.conf.GetVoters(), id):
		return "voter"
	case contains(m.log.conf.GetLearners(), id):
		return "learner"
	}
	return "none"
}
