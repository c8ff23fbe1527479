package machine

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// votes are the requests that wait for more nodes to want the same (manual: failover_require_consensus). They are the leader's and are
// forgotten with its term.
type votes struct{ pending map[string]*ballotBox }

// maxVotes is how many things can be voted for at once. There are no more backends.
const maxVotes = 256

type ballotBox struct {
	first time.Duration
	by    map[int]int // node -> how often
	count int
}

// calls are questions under way.
type calls struct {
	proposals []uint64
	asks      map[uint64]int // number of ours -> the leader that was asked
	executing map[uint64]asker
	number    uint64
	done      map[string]time.Duration
}

type asker struct {
	node   int
	number uint64
	votes  int
}

// once is true at most once in a while for the same thing.
func (c *calls) once(what string, now, while time.Duration) bool {
	if at, ok := c.done[what]; ok && now-at < while {
		return false
	}
	if c.done == nil {
		c.done = make(map[string]time.Duration)
	}
	c.done[what] = now
	return true
}

func (m *Machine) propose(in Proposed) {
	if !m.term.office || !m.write(entry{Kind: decide, Number: in.Number, Decision: in.Decision}) {
		m.out.Proposals = append(m.out.Proposals, Outcome{Number: in.Number})
		return
	}
	m.calls.proposals = append(m.calls.proposals, in.Number)
}

// applied answers a proposal of ours.
func (c *calls) applied(m *Machine, number uint64, done bool) {
	if i := slices.Index(c.proposals, number); i >= 0 {
		c.proposals = slices.Delete(c.proposals, i, i+1)
		m.out.Proposals = append(m.out.Proposals, Outcome{Number: number, Seq: m.rec.Seq, Committed: done})
	}
}

// lost answers what cannot be answered any more, because this node no longer leads.
func (c *calls) lost(m *Machine) {
	for _, n := range c.proposals {
		m.out.Proposals = append(m.out.Proposals, Outcome{Number: n, Unknown: true})
	}
	c.proposals = nil
	for _, n := range slices.Sorted(maps.Keys(c.executing)) {
		m.replyTo(c.executing[n], Answer{Result: ResultNoLeader})
	}
	c.executing = nil
}

// ask brings a request of this node before the leader.
func (m *Machine) ask(in Asked) {
	leader := m.leaderInOffice()
	switch {
	case leader == m.c.Self:
		m.judgeRequest(asker{node: m.c.Self, number: in.Number}, in.Ask)
	case leader < 0 && m.view.standing == Alone:
		m.out.Answers = append(m.out.Answers, Answer{Number: in.Number, Result: ResultNoQuorum})
	case leader < 0 || !m.visible(leader):
		m.out.Answers = append(m.out.Answers, Answer{Number: in.Number, Result: ResultNoLeader})
	default:
		if m.calls.asks == nil {
			m.calls.asks = make(map[uint64]int)
		}
		m.calls.asks[in.Number] = leader
		m.send(leader, &envelope{Cluster: m.meta.Cluster, Ask: &askMsg{Number: in.Number, Ask: in.Ask}})
	}
}

// leaderInOffice is who may decide now, -1 for nobody.
func (m *Machine) leaderInOffice() int {
	switch m.view.standing {
	case Leads:
		return m.c.Self
	case Follows:
		return m.leaderNode()
	case Loading, Alone:
	}
	return -1
}

func (m *Machine) heardAsk(from int, a *askMsg) {
	if !m.visible(from) {
		return // judged dead, or not introduced
	}
	who := asker{node: from, number: a.Number}
	if a.Ask.Function != "" && m.calls.once("heard "+a.Ask.Key, m.now, time.Second) {
		m.event(Log, fmt.Sprintf("watchdog received the failover command from remote pgpool-II node %q", m.nameOf(from)),
			fmt.Sprintf("%.60s: %.100s", a.Ask.Function, a.Ask.Key))
		m.event(Log, fmt.Sprintf("watchdog is processing the failover command [%.60s] received from %s", a.Ask.Function, m.nameOf(from)))
	}
	if !m.term.office {
		m.replyTo(who, Answer{Result: ResultNoLeader})
		return
	}
	m.judgeRequest(who, a.Ask)
}

// judgeRequest decides whether a request is carried out (manual: the checks of failover in the watchdog cluster, in their order).
func (m *Machine) judgeRequest(who asker, a Ask) {
	quorum := m.quorumNow()
	switch {
	case !m.c.FailoverWhenQuorum || a.Confirmed:
		if a.Function != "" {
			m.event(Log, "The failover request does not need quorum to hold", "proceeding with the failover")
		}
		m.execute(who, a)
	case quorum < QuorumOnEdge:
		m.event(Log, "failover requires the quorum to hold, which is not present at the moment", "Rejecting the failover request")
		m.replyTo(who, Answer{Result: ResultNoQuorum})
	case !m.c.RequireConsensus:
		m.execute(who, a)
	default:
		m.vote(who, a)
	}
}

func (m *Machine) vote(who asker, a Ask) {
	if m.votes.pending == nil {
		m.votes.pending = make(map[string]*ballotBox)
	}
	box := m.votes.pending[a.Key]
	if box == nil && len(m.votes.pending) >= maxVotes {
		m.replyTo(who, Answer{Result: ResultMayFail})
		return
	}
	if box == nil || m.now-box.first > m.c.VoteExpiry {
		box = &ballotBox{first: m.now, by: make(map[int]int)}
		m.votes.pending[a.Key] = box
	}
	again := box.by[who.node] > 0
	box.by[who.node]++
	if !again || m.c.AllowMultiple {
		box.count++
	}
	who.votes = box.count
	need := required(m.members(), m.c.HalfVotes)
	switch {
	case box.count >= need:
		delete(m.votes.pending, a.Key)
		m.event(Log, "we have got the consensus to perform the failover", fmt.Sprintf("%d node(s) voted in the favor", box.count))
		m.execute(who, a)
	case again && !m.c.AllowMultiple:
		m.event(Log, fmt.Sprintf("Duplicate failover request from %q node", m.nameOf(who.node)), "request ignored")
		m.replyTo(who, Answer{Result: ResultMayFail, Votes: box.count})
	default:
		m.event(Log, "failover requires the majority vote, waiting for consensus", "failover request noted")
		m.term.resend++
		m.out.Resend, m.urgent = true, true
		m.replyTo(who, Answer{Result: ResultBuilding, Votes: box.count})
	}
}

func (m *Machine) execute(who asker, a Ask) {
	c := &m.calls
	c.number++
	if c.executing == nil {
		c.executing = make(map[uint64]asker)
	}
	c.executing[c.number] = who
	m.out.Execute = append(m.out.Execute, Execute{Number: c.number, From: who.node, Votes: who.votes, Request: a.Request})
}

func (m *Machine) executed(in Executed) {
	who, ok := m.calls.executing[in.Number]
	if !ok {
		return
	}
	delete(m.calls.executing, in.Number)
	m.replyTo(who, Answer{Result: ResultDone, Votes: who.votes, Reply: in.Reply})
}

func (m *Machine) replyTo(who asker, a Answer) {
	a.Number = who.number
	if who.node == m.c.Self {
		m.out.Answers = append(m.out.Answers, a)
		return
	}
	m.send(who.node, &envelope{Reply: &replyMsg{Number: who.number, Answer: a}})
}

// replied passes the leader's answer on.
func (c *calls) replied(m *Machine, from int, r *replyMsg) {
	if leader, ok := c.asks[r.Number]; !ok || leader != from {
		return
	}
	delete(c.asks, r.Number)
	r.Answer.Number = r.Number
	m.out.Answers = append(m.out.Answers, r.Answer)
}

// serve ends questions nobody will answer.
func (m *Machine) serve() {
	if len(m.calls.done) > 1000 {
		clear(m.calls.done)
	}
	for _, n := range slices.Sorted(maps.Keys(m.calls.asks)) {
		leader := m.calls.asks[n]
		if m.leaderInOffice() == leader && m.peers[leader].linked {
			continue
		}
		delete(m.calls.asks, n)
		m.out.Answers = append(m.out.Answers, Answer{Number: n, Result: ResultNoLeader})
	}
	if len(m.votes.pending) == 0 || !m.calls.once("expire votes", m.now, time.Second) {
		return
	}
	for key, box := range m.votes.pending {
		if m.now-box.first > m.c.VoteExpiry {
			delete(m.votes.pending, key)
		}
	}
}
