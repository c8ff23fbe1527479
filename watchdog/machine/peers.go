package machine

import (
	"fmt"
	"slices"
	"time"
)

// peer is what is known of another node.
type peer struct {
	linked bool
	info   *info         // the last one, nil before the first
	heard  time.Duration // when it came, 0 never
	born   time.Duration // when its process started, by our clock
	dead   bool          // so the life check says
	why    string
	silent time.Duration // since when it cannot be talked to; 0: it can
	state  State         // as shown
	resend uint64
	asked  time.Duration // when it was asked for a place last
	beat   time.Duration // when its last heartbeat came, 0 never
}

func (m *Machine) linked(in Linked) {
	p := m.peerAt(in.Peer)
	if p == nil {
		return
	}
	p.linked = in.Up
	if !in.Up {
		p.why = in.Why
		if p.info != nil && m.log.node != nil {
			m.log.node.ReportUnreachable(p.info.RaftID)
		}
	}
	m.urgent = m.urgent || in.Up
}

func (m *Machine) peerAt(id int) *peer {
	if id < 0 || id >= len(m.peers) || id == m.c.Self || !m.c.Nodes[id].Exists() {
		return nil
	}
	return &m.peers[id]
}

func (m *Machine) judged(in Judged) {
	p := m.peerAt(in.Peer)
	if p == nil || p.dead == in.Dead {
		return
	}
	p.dead, p.why = in.Dead, in.Why
	m.urgent = true
}

// receive takes a message of an authenticated peer apart.
func (m *Machine) receive(in Received) {
	p := m.peerAt(in.From)
	if p == nil {
		return
	}
	e, err := decodeEnvelope(in.Payload)
	if err != nil || e.Info != nil && !m.believableInfo(e.Info) {
		if m.calls.once(fmt.Sprint("garbled", in.From), m.now, 10*time.Second) {
			m.event(Warning, fmt.Sprintf("message of watchdog node %d cannot be read", in.From))
		}
		return
	}
	switch {
	case e.Info != nil:
		m.heardInfo(in.From, p, e.Info)
	case e.Raft != nil:
		m.stepRaft(in.From, e)
	case e.Found != nil:
		m.heardFound(in.From, e.Found)
	case e.Join != nil:
		m.heardJoin(in.From, e)
	case e.Ask != nil:
		m.heardAsk(in.From, e.Ask)
	case e.Reply != nil:
		m.calls.replied(m, in.From, e.Reply)
	}
}

func (m *Machine) heardInfo(from int, p *peer, i *info) {
	first := p.info == nil
	p.born = m.now - max(i.Age, 0)
	p.info, p.heard = i, m.now
	if i.Resend > p.resend && from == m.shownLeader() {
		m.out.Resend = true
	}
	p.resend = i.Resend
	m.urgent = m.urgent || first
}

// visible reports whether a node can be talked to, and was heard of just now: three of its regular words may be missing. A leader that
// loses its quorum has missed an election timeout, which is a little more.
func (m *Machine) visible(id int) bool {
	if id == m.c.Self {
		return true
	}
	p := m.peerAt(id)
	return p != nil && p.linked && p.info != nil && !p.dead && !p.info.Bye && m.now-p.heard < m.c.Lease*3/10
}

// refuses reports whether a peer drops our messages.
func (m *Machine) refuses(id int) bool {
	return m.visible(id) && slices.Contains(m.peers[id].info.Refused, m.c.Self)
}

// side are the nodes this one can talk to, and itself.
func (m *Machine) side() (ids []int) {
	for _, id := range m.configured() {
		if m.visible(id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// standing order: who leads if it is free to choose (manual: wd_priority; then the earliest start).
func (m *Machine) preferred(ids []int) int {
	best := -1
	for _, id := range ids {
		if best < 0 || m.before(id, best) {
			best = id
		}
	}
	return best
}

func (m *Machine) before(a, b int) bool {
	if pa, pb := m.priority(a), m.priority(b); pa != pb {
		return pa > pb
	}
	if d := m.bornAt(a) - m.bornAt(b); d < -sameStart || d > sameStart {
		return d < 0
	}
	return a < b
}

// sameStart is how exactly start times can be compared.
const sameStart = 20 * time.Millisecond

func (m *Machine) priority(id int) int {
	if id != m.c.Self {
		return m.peers[id].info.Priority
	}
	if m.hand.resigned {
		return -1
	}
	return m.c.Priority
}

func (m *Machine) bornAt(id int) time.Duration {
	if id == m.c.Self {
		return m.started
	}
	return m.peers[id].born
}

// able reports whether a node could lead this group now.
func (m *Machine) able(id int) bool {
	if id == m.c.Self {
		return m.sick == "" && !m.hand.leaving
	}
	if !m.visible(id) {
		return false
	}
	i := m.peers[id].info
	return i.Cluster == m.meta.Cluster && !i.Leaving && !i.Sick && contains(m.log.conf.GetVoters(), i.RaftID)
}

// voters are the nodes that could lead this group now.
func (m *Machine) ableVoters() (ids []int) {
	for _, id := range m.configured() {
		if m.able(id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// leaderNode is who Raft says leads, -1 for nobody.
func (m *Machine) leaderNode() int {
	if m.log.node == nil {
		return -1
	}
	leader := nodeOf(m.log.node.BasicStatus().Lead)
	if leader != m.c.Self && m.view.ticks-m.log.contact > 2*electionTicks {
		return -1 // who has no vote does not notice by himself
	}
	return leader
}

// followers are the nodes that have joined this one, which leads.
func (m *Machine) follows(id int) bool {
	if !m.visible(id) {
		return false
	}
	i := m.peers[id].info
	return i.State == StateStandby && i.Leader == m.c.Self && i.Cluster == m.meta.Cluster
}

func (m *Machine) alive() int {
	n := 0
	m.others(func(id int, _ *peer) {
		if m.follows(id) && m.rec.membership(id) == Member {
			n++
		}
	})
	return n
}

// members counts the nodes that matter for the quorum. A gap in the numbering is one that never shows up.
func (m *Machine) members() int {
	n := 0
	for id := range m.c.Nodes {
		if m.rec.membership(id) == Member {
			n++
		}
	}
	return n
}

// inform tells everybody about this node: regularly, and at once when something has changed.
func (m *Machine) inform() {
	if m.unknown || !m.urgent && m.now < m.beat {
		return
	}
	m.urgent = false
	m.beat = m.now + m.c.Lease/10
	e := &envelope{Info: m.info()}
	m.others(func(id int, p *peer) {
		if p.linked {
			m.send(id, e)
		}
	})
}

// info is what this node says of itself.
func (m *Machine) info() *info {
	i := &info{
		Name: m.c.Name, State: m.view.state, Priority: m.priority(m.c.Self), Age: m.now - m.started, Sick: m.sick != "",
		Leaving: m.hand.leaving, Bye: m.hand.gone, Served: m.view.served,
		RaftID: m.meta.RaftID, Cluster: m.meta.Cluster, Epoch: m.meta.Epoch,
		Leader: m.shownLeader(), Quorum: m.quorum(), Alive: m.view.alive, Holds: m.desired.Hold, Seq: m.rec.Seq, Carried: m.carried,
		Members: m.rec.Members, Resend: m.term.resend,
		Yielding: m.founds.yielding, Beaten: m.founds.beaten,
	}
	if m.log.node != nil {
		i.Voters, i.Outgoing, i.Learners = m.log.conf.GetVoters(), m.log.conf.GetVotersOutgoing(), m.log.conf.GetLearners()
		i.Applied, i.Term = m.log.applied, m.log.node.BasicStatus().GetTerm()
	}
	if m.term.office && m.lease.valid(m.term.term, m.now) {
		i.Office, i.Tenure, i.Settled = true, m.now-m.term.inOffice, m.settled()
	}
	m.others(func(id int, p *peer) {
		if p.dead {
			i.Refused = append(i.Refused, id)
		}
	})
	return i
}
