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
	if p.office.Standing != StandingLeads || !p.dirty && !p.committing {
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
		p.fresh = true
	case r.err != nil:
		p.dirty = true
		if !p.retried {
			c.tell(Reason{Kind: NotCommitted, Node: cluster.NoNode, New: r.err.Error()})
		}
		p.retried = true
	default:
		p.last, p.retried = r.decision, false
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
		bounded, cancel := context.WithTimeout(ctx, fenceBound)
		defer cancel()
		err := c.parts.Fencer.Fence(bounded, v)
		if err == nil {
			c.parts.Consensus.Carried(seq)
		}
		c.inbox.put(carried{seq: seq, number: number, err: err})
	})
}

func (r carried) apply(c *Coordinator) {
	p := &c.peers
	p.fencing = 0
	p.carriedNumber = r.number
	if r.err != nil {
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
	before := p.last
	p.last = d
	c.tellStrangers(d)
	from := c.view()
	fork, to := from, d.view(from)
	if before != nil {
		fork = before.view(from)
	}
	if p.fresh || before == nil || before.Op != cluster.OpNone && d.Op == cluster.OpNone {
		clear(p.marked)
		clear(p.cause)
	}
	c.tell(synced(from, to, before, d, p.fresh, p.office.Leader)...)
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

// synced are the lines of a node that takes over what the leader has decided.
func synced(from, to *cluster.View, before, d *decision, fresh bool, leader string) []Reason {
	over := before != nil && before.Op != cluster.OpNone && d.Op == cluster.OpNone
	why := []Reason{{Kind: JoinedStandby, Node: cluster.NoNode}}
	switch {
	case !fresh && !over:
		return nil
	case !fresh:
		why[0].Kind = LeaderFailover
	}
	why = append(why, Reason{Kind: LeaderStatus, Node: cluster.NoNode, Old: leader, Count: len(d.Nodes)})
	for i := range to.Nodes {
		id := cluster.NodeID(i)
		switch was, is := from.Live(id), to.Live(id); {
		case was && !is:
			why = append(why, Reason{Kind: SetDown, Node: id})
		case !was && is:
			why = append(why, Reason{Kind: SetUp, Node: id})
		}
	}
	return why
}
