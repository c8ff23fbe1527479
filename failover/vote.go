package failover

import (
	"context"
	"fmt"
	"slices"
	"time"

	"gopgpool/cluster"
)

const (
	// askBound is how long the leader's answer is waited for.
	askBound = 15 * time.Second
	// voteAgain is how often sessions, of which each may find the same, have a vote repeated. A health check has a period of its own.
	voteAgain = time.Second
	// leastExpiry is how long a vote waits for others, unless Policy says more.
	leastExpiry = 15 * time.Second
)

// vote is what this node has asked the others about nodes it has lost.
type vote struct {
	finding  Detach
	epochs   []cluster.Epoch // of its nodes in the basis
	asking   bool
	asked    time.Time
	got      int         // votes so far
	patience *time.Timer // of a leader that has lost the primary
}

// vote brings a finding before the leader, which this node itself may be, unless it comes to nothing already.
func (c *Coordinator) vote(r Detach) {
	out := c.screened(r)
	if len(out) == 0 {
		return
	}
	r.Nodes = out
	c.ballot(r, r.Origin == ByHealthCheck)
}

// screened are the nodes that a finding condemns. What else follows from it is done.
func (c *Coordinator) screened(r Detach) []cluster.NodeID {
	plan, out := screen(c.view(), c.memory, r, c.policy(), c.now())
	c.memory = plan.Memory
	for _, why := range plan.Reasons {
		if why.Kind != DetachAsked {
			c.tell(why)
		}
	}
	for _, id := range plan.Confirm {
		c.parts.Confirmer.Confirm(id)
	}
	return out
}

// ballot asks, unless that was done just now.
func (c *Coordinator) ballot(r Detach, again bool) {
	p, now := &c.peers, c.now()
	r.Seen = c.view()
	w := wire(r)
	key := w.key()
	v := p.votes[key]
	if v == nil {
		v = &vote{finding: r, epochs: w.Epochs}
		p.votes[key] = v
	}
	if v.asking || !again && !v.asked.IsZero() && now.Sub(v.asked) < voteAgain {
		return
	}
	v.asking, v.asked = true, now
	era, request := p.era, w.ask()
	p.asks = append(p.asks, func(ctx context.Context) {
		answer, err := c.ask(ctx, request)
		c.inbox.put(answered{key: key, era: era, answer: answer, err: err})
	})
}

func (c *Coordinator) ask(ctx context.Context, a Ask) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, askBound)
	defer cancel()
	return c.parts.Consensus.Ask(ctx, a)
}

// apply draws the conclusion from an answer (manual: failover consensus).
func (r answered) apply(c *Coordinator) {
	p := &c.peers
	v := p.votes[r.key]
	if v == nil || r.era != p.era {
		return
	}
	v.asking, v.got = false, r.answer.Votes
	tell := func(k Kind, words string) {
		for _, id := range v.finding.Nodes {
			c.tell(Reason{Kind: k, Node: id, Old: words, New: pid(c.policy()), Cause: v.finding.cause()})
		}
	}
	switch r.answer.Result {
	case ResultDone:
		p.dropVote(r.key)
		if reply := parseReply(r.answer.Reply); reply.Elsewhere || reply.refusal() != nil {
			tell(VoteCanceled, reply.words())
			return
		}
		tell(VoteHandled, "")
	case ResultNoQuorum:
		c.quarantine(v, "watchdog does not holds the quorum")
	case ResultBuilding:
		tell(VoteBuilding, "")
		c.bePatient(r.key, v)
	case ResultMayFail:
		c.quarantine(v, "watchdog is taking time to build consensus")
		c.bePatient(r.key, v)
	case ResultNoLeader, ResultError:
		p.dropVote(r.key)
		words := "no watchdog node leads"
		switch {
		case r.err != nil:
			words = r.err.Error()
		case r.answer.Result == ResultError:
			words = "the watchdog cluster has rejected the request"
		}
		tell(VoteCanceled, words)
	}
}

func (r *wireReply) words() string {
	switch {
	case r.Elsewhere:
		return "the leader has changed"
	case r.Refused:
		return r.Message
	}
	return r.Error
}

// bePatient has a leader that has lost the primary look again when the vote has expired.
func (c *Coordinator) bePatient(key string, v *vote) {
	p := &c.peers
	if p.office.Standing != StandingLeads || v.patience != nil || !slices.Contains(v.finding.Nodes, c.view().Primary) {
		return
	}
	era := p.era
	v.patience = time.AfterFunc(max(leastExpiry, c.policy().VoteExpiry), func() { c.inbox.put(expired{key: key, era: era}) })
}

// apply has somebody else lead where this node alone sees the primary dead.
func (r expired) apply(c *Coordinator) {
	p := &c.peers
	v := p.votes[r.key]
	if v == nil || r.era != p.era {
		return
	}
	p.dropVote(r.key)
	if _, alone := p.marked[c.view().Primary]; !alone || !slices.Contains(v.finding.Nodes, c.view().Primary) {
		return
	}
	why := Reason{Kind: Resigns, Node: c.view().Primary, Count: v.got}
	c.tell(why)
	p.asks = append(p.asks, func(context.Context) { c.parts.Consensus.Resign(why.String()) })
}

func (p *agreement) dropVote(key string) {
	if v := p.votes[key]; v != nil && v.patience != nil {
		v.patience.Stop()
	}
	delete(p.votes, key)
}

func (p *agreement) forgetVotes() {
	for key := range p.votes {
		p.dropVote(key)
	}
}

// dropStaleVotes drops those about nodes that are what they were no more.
func (p *agreement) dropStaleVotes(v *cluster.View) {
	for key, vote := range p.votes {
		for i, id := range vote.finding.Nodes {
			if !v.Live(id) || v.Nodes[id].Epoch != vote.epochs[i] {
				p.dropVote(key)
				break
			}
		}
	}
}

// order brings before the leader what needs no votes and nobody waits for.
func (c *Coordinator) order(r Request) {
	w := wire(r)
	a := w.order()
	c.peers.asks = append(c.peers.asks, func(ctx context.Context) {
		if err := orderError(c.ask(ctx, a)); err != nil {
			c.tell(Reason{Kind: OrderFailed, Node: cluster.NoNode, Old: a.Key, New: err.Error()})
		}
	})
}

// tellUsed tells the leader that a waiting node is used, once in a while until the decision says so.
func (c *Coordinator) tellUsed(r NodeUsed) {
	p, now := &c.peers, c.now()
	if nodeOf(c.view(), r.Node).Status != cluster.StatusWaiting || now.Sub(p.usedAsked[r.Node]) < voteAgain {
		return
	}
	p.usedAsked[r.Node] = now
	w := wire(r)
	a := w.order()
	p.asks = append(p.asks, func(ctx context.Context) {
		_, _ = c.ask(ctx, a) // it is told again with the next use
	})
}

// orderError is what comes of an order: nil where the leader has taken it.
func orderError(a Answer, err error) error {
	switch {
	case err != nil:
		return noLeader(err.Error())
	case a.Result == ResultDone:
		reply := parseReply(a.Reply)
		if reply.Elsewhere {
			return noLeader(reply.words())
		}
		return reply.refusal()
	case a.Result == ResultNoLeader:
		return noLeader("No watchdog node leads at the moment.")
	case a.Result == ResultNoQuorum:
		return noLeader("Most of the watchdog nodes are missing.")
	}
	return &Refusal{Message: "the request is canceled by other pgpool", Detail: fmt.Sprintf("answer %d of the watchdog", a.Result)}
}

func noLeader(detail string) error {
	return &noLeaderError{Refusal{Message: noLeaderText, Detail: detail}}
}

const noLeaderText = "the request was not answered by the leader of the watchdog cluster, try again"

// noLeaderError is a refusal because nobody leads, or that is not known: it is worth another try.
type noLeaderError struct{ Refusal }

func (e *noLeaderError) Error() string { return e.Refusal.Error() }
func (e *noLeaderError) Unwrap() error { return &e.Refusal }
