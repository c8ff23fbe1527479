package machine

import (
	"slices"
	"time"
)

// handover is a leader that lets somebody else lead, and a node that leaves.
type handover struct {
	leaving  bool
	resigned bool // does not want to lead before somebody else did
	gone     bool // has said goodbye
	told     bool // that it has left, once
	stage    stage
	began    time.Duration // of the stage
	asked    time.Duration // when leaving began
}

// stage of a handover.
type stage uint8

const (
	keeping   stage = iota
	releasing       // the address is being given up
	recording       // the log is to say so
	passing         // somebody else is asked to lead
)

const (
	recordTime = 500 * time.Millisecond  // how long a successor's wait may be saved at the cost of this node's stop
	leaveTime  = 2500 * time.Millisecond // how long a stop may take when nobody answers
)

func (h *handover) giving() bool { return h.stage != keeping }

func (m *Machine) leave() {
	if !m.hand.leaving {
		m.hand.leaving, m.hand.asked, m.urgent = true, m.now, true
		m.event(Log, "Watchdog is shutting down")
	}
}

// resign has another node lead, because this one alone sees the primary dead.
func (m *Machine) resign(why string) {
	if m.term.office && !m.hand.giving() && m.successor() >= 0 {
		m.event(Log, why)
		m.hand.resigned = true
		m.give()
	}
}

func (m *Machine) give() { m.hand.stage, m.hand.began, m.term.tried = releasing, m.now, nil }

// successor is who is to lead next, -1 for nobody.
func (m *Machine) successor() int {
	ids := slices.DeleteFunc(m.ableVoters(), func(id int) bool { return id == m.c.Self || slices.Contains(m.term.tried, id) })
	return m.preferred(ids)
}

// handOver moves a handover on.
func (m *Machine) handOver() {
	h := &m.hand
	if !h.giving() && m.term.leads && (h.leaving || m.term.office && m.sick != "" && m.successor() >= 0) {
		m.give()
	}
	if h.giving() && !m.term.leads {
		h.stage = keeping
	}
	switch h.stage {
	case releasing:
		if !m.term.taking && !m.desired.Hold && (!m.address.Held && !m.address.Busy || !m.lease.valid(m.term.term, m.now)) {
			m.recordRelease()
		}
	case recording:
		if m.rec.Office.Released || m.now-h.began > recordTime {
			h.stage, h.began = passing, m.now
		}
	case passing:
		m.pass()
	case keeping:
	}
	if h.leaving && (!h.giving() || m.now-h.asked > leaveTime && !m.address.Held && !m.address.Busy) {
		m.goodbye()
	}
}

// recordRelease has the log say that nobody holds the address, if that is known.
func (m *Machine) recordRelease() {
	m.hand.stage, m.hand.began = passing, m.now
	if m.term.office && m.term.cleared && m.write(entry{Kind: releaseAddress, Node: m.c.Self}) {
		m.hand.stage = recording
		m.term.released = true // from here on a successor may raise it at once: not again before the log says that we are in office
	}
}

// pass offers leading to one node after the other. A node that stays leads on.
func (m *Machine) pass() {
	t := &m.term
	if t.offered >= m.hand.began && m.now-t.offered < min(m.electionTimeout(), time.Second) {
		return
	}
	if to := m.successor(); to >= 0 {
		m.transfer(to)
		return
	}
	m.hand.stage = keeping
	t.tried = nil
	if m.hand.leaving {
		m.stopGroup() // nobody is there to take over
	}
}

// goodbye waits until the node is not needed any more, then has it exit.
func (m *Machine) goodbye() {
	h := &m.hand
	leader := m.seenLeader()
	stays := slices.ContainsFunc(m.configured(), func(id int) bool { return id != m.c.Self && m.visible(id) && !m.peers[id].info.Leaving })
	waits := stays && m.now-h.asked < leaveTime && m.meta.Cluster != 0
	if !h.gone && (!waits || leader >= 0 && slices.Contains(m.peers[leader].info.Settled, m.c.Self)) {
		h.gone, m.urgent = true, true
		return
	}
	if h.gone && !h.told {
		h.told, m.out.Left = true, true
	}
}
