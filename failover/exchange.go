package failover

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"gopgpool/cluster"
)

const (
	// othersBound is how long the pgpool nodes that follow are waited for: one that does not answer holds nothing up any longer.
	othersBound = 2 * time.Second
	// commitAgain is the pause after a Commit that failed though this node leads.
	commitAgain = 500 * time.Millisecond
)

// exchange begins what is to be asked of the other nodes or told to them. It is false as long as something that was decided is not
// committed: nothing may be begun because of it.
func (c *Coordinator) exchange(ctx context.Context, tasks *sync.WaitGroup) bool {
	if c.parts.Consensus == nil {
		return true
	}
	p := &c.peers
	for _, ask := range p.asks {
		tasks.Go(func() { ask(ctx) })
	}
	p.asks = nil
	c.carry(ctx, tasks)
	if p.office.Standing != StandingLeads {
		return true
	}
	if !p.dirty && !p.committing {
		p.acknowledge(true)
		return true
	}
	if !p.committing {
		c.commit(ctx, tasks)
	}
	return false
}

// commit has written what was decided so far. What is decided meanwhile waits for its end, so that many changes are few decisions.
func (c *Coordinator) commit(ctx context.Context, tasks *sync.WaitGroup) {
	p := &c.peers
	if p.last != nil {
		p.number = max(p.number, p.last.Number)
	}
	p.number++
	d := decisionOf(c.view(), &c.memory, c.unfinished(), p.followed, p.number)
	p.dirty, p.committing = false, true
	p.acking, p.acks = p.acks, nil
	ctx, cancel := context.WithCancelCause(ctx)
	p.recall = cancel
	era, data := p.era, d.encode()
	tasks.Go(func() {
		err := c.parts.Consensus.Commit(ctx, data)
		if err != nil && !errors.Is(err, ErrNotLeader) {
			pause(ctx, commitAgain)
		}
		cancel(nil)
		c.inbox.put(committed{era: era, decision: d, err: err})
	})
}

// acknowledge answers those who wait for a Commit.
func (p *agreement) acknowledge(ok bool) {
	for _, done := range p.acking {
		done <- ok
	}
	p.acking = nil
	if ok && p.dirty {
		return
	}
	for _, done := range p.acks {
		done <- ok
	}
	p.acks = nil
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// apply goes on after a Commit. A node that may not decide has nothing to carry on with, until it is told what it is.
func (r committed) apply(c *Coordinator) {
	p := &c.peers
	if r.era != p.era {
		return
	}
	p.committing, p.recall = false, nil
	switch {
	case errors.Is(r.err, ErrNotLeader):
		c.giveUp()
		p.setOffice(Office{Standing: StandingFollows, Term: p.office.Term})
		p.fresh, p.joined = true, false
	case r.err != nil:
		p.dirty = true
		p.acks, p.acking = append(p.acking, p.acks...), nil
		if !p.retried {
			c.tell(Reason{Kind: NotCommitted, Node: cluster.NoNode, New: r.err.Error()})
		}
		p.retried = true
	default:
		p.last, p.retried = r.decision, false
		p.acknowledge(true)
		if !p.dirty {
			c.tell(p.late...)
			p.late = nil
		}
	}
}

// awaitOthers waits, for a bounded time, until all nodes that follow have fenced their own sessions. It is called from a goroutine of
// its own.
func (c *Coordinator) awaitOthers(ctx context.Context) {
	if c.parts.Consensus == nil || c.peers.standing.Load().Standing != StandingLeads {
		return
	}
	bounded, cancel := context.WithTimeoutCause(ctx, othersBound, fmt.Errorf("no answer within %v", othersBound))
	defer cancel()
	if err := c.parts.Consensus.Await(bounded); err != nil && ctx.Err() == nil {
		if bounded.Err() != nil {
			err = context.Cause(bounded)
		}
		c.tell(Reason{Kind: OthersLate, Node: cluster.NoNode, New: err.Error()})
	}
}

// carry makes sure that the sessions know what was adopted, and tells the leader when they do.
func (c *Coordinator) carry(ctx context.Context, tasks *sync.WaitGroup) {
	p := &c.peers
	if p.seq == 0 || p.fencing != 0 {
		return
	}
	seq, number, v := p.seq, p.adopted, c.store.Current()
	p.seq, p.fencing = 0, seq
	tasks.Go(func() {
		err := c.carryHere(ctx, v)
		if err == nil {
			c.parts.Consensus.Carried(seq)
		}
		c.inbox.put(carried{seq: seq, number: number, err: err})
	})
}

// carryHere returns when the sessions know what was adopted, and have ended their transactions at a primary that is to be drained.
func (c *Coordinator) carryHere(ctx context.Context, v *cluster.View) error {
	bounded, cancel := context.WithTimeout(ctx, fenceBound)
	defer cancel()
	if err := c.parts.Fencer.Fence(bounded, v); err != nil || !v.Draining || c.parts.Drainer == nil {
		return err
	}
	return c.drainWhile(ctx, v)
}

// drainWhile has the sessions here end their transactions at the primary of v, as long as that is what was decided.
func (c *Coordinator) drainWhile(ctx context.Context, v *cluster.View) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.policy().SwitchoverTimeout, errDrainTimeout)
	defer cancel()
	stop := c.store.Watch(func(next *cluster.View) {
		if !next.Draining {
			cancel()
		}
	})
	defer stop()
	if !c.store.Current().Draining {
		cancel()
	}
	return c.parts.Drainer.Drain(ctx, v)
}

func (r carried) apply(c *Coordinator) {
	p := &c.peers
	p.fencing = 0
	p.carriedNumber = r.number
	if r.err != nil && !errors.Is(r.err, errDrainTimeout) && !errors.Is(r.err, context.Canceled) {
		c.tell(Reason{Kind: FenceLate, Node: cluster.NoNode, New: r.err.Error()})
	}
}

// apply adopts a decision. A leader has made it itself.
func (r decided) apply(c *Coordinator) {
	p := &c.peers
	d, err := parseDecision(r.data)
	if err != nil {
		c.tell(Reason{Kind: DecisionUnread, Node: cluster.NoNode, New: err.Error()})
		return
	}
	if p.office.Standing == StandingLeads {
		if p.last == nil || d.Number >= p.last.Number {
			p.last = d
		}
		return
	}
	if p.office.Standing == StandingAlone && c.memory.Open.Op != cluster.OpNone {
		c.giveUp() // others have decided, so nothing that was begun here is worth going on with
	}
	before := p.last
	p.last = d
	c.tellStrangers(d)
	from := c.view()
	fork, to := from, d.view(from)
	if p.office.Standing == StandingAlone {
		to = orphan(to)
	}
	if before != nil {
		fork = before.view(from)
	}
	over := before != nil && before.Op != cluster.OpNone && d.Op == cluster.OpNone
	if p.began == nil {
		p.began = from
	}
	if p.fresh || before == nil || over {
		clear(p.marked)
		clear(p.cause)
	}
	if p.office.Standing == StandingFollows && (over || !p.joined) {
		c.tellSynced(p.began, d, !p.joined)
	}
	if d.Op == cluster.OpNone {
		p.began = nil
	}
	p.fresh = false
	c.replaceBasis(fork, to)
	c.recall(d)
	clear(p.usedAsked)
	c.unsaved = true
	p.seq, p.adopted = r.seq, d.Number
}

// tellStrangers warns of backends that are others here than where was decided.
func (c *Coordinator) tellStrangers(d *decision) {
	v := c.view()
	ids := d.strangers(v)
	now := make(map[cluster.NodeID]bool, len(ids))
	for _, id := range ids {
		now[id] = true
		if c.peers.strange[id] {
			continue
		}
		there := "nothing"
		if int(id) < len(d.Nodes) && d.Nodes[id].Port != 0 {
			there = fmt.Sprintf("%s(%d)", d.Nodes[id].Host, d.Nodes[id].Port)
		}
		c.tell(Reason{Kind: Stranger, Node: id, Old: place(v, id), New: there})
	}
	c.peers.strange = now
}

// tellSynced tells that this node takes over what the leader has decided, because it follows it now, or because an operation is over.
func (c *Coordinator) tellSynced(from *cluster.View, d *decision, joins bool) {
	c.peers.joined = true
	why := []Reason{{Kind: LeaderFailover, Node: cluster.NoNode}}
	if joins {
		why[0].Kind = JoinedStandby
	}
	if leader := c.peers.office.Leader; leader != "" {
		why = append(why, Reason{Kind: LeaderStatus, Node: cluster.NoNode, Old: leader, Count: len(d.Nodes)})
	}
	to := d.view(from)
	for i := range to.Nodes {
		id := cluster.NodeID(i)
		switch was, is := from.Live(id), to.Live(id); {
		case was && !is:
			why = append(why, Reason{Kind: SetDown, Node: id})
		case !was && is:
			why = append(why, Reason{Kind: SetUp, Node: id})
		}
	}
	c.tell(why...)
}
