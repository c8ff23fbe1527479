package failover

import (
	"context"
	"slices"

	"gopgpool/cluster"
)

// apply takes an office. What was begun in the one before is given up.
func (h held) apply(c *Coordinator) {
	p, old := &c.peers, c.peers.office
	if old.Standing == h.Standing && old.Term == h.Term && old.Fresh == h.Fresh {
		c.renamed(h.Office)
		return
	}
	c.giveUp()
	p.setOffice(h.Office)
	p.fresh, p.joined, p.leader = true, false, h.Leader
	switch h.Standing {
	case StandingLeads:
		c.takeOffice(h.Fresh)
	case StandingAlone:
		if v := c.view(); v.Op != cluster.OpNone {
			c.memory.Vacant = c.memory.Vacant || v.Seeking
		}
		c.publish(orphan(c.view()))
		c.tell(Reason{Kind: AloneBegins, Node: cluster.NoNode})
	case StandingFollows:
		from := c.view()
		if old.Standing == StandingAlone && p.last != nil {
			c.bringAlong(from.Primary)
			c.retreat()
		}
		if p.last != nil && old.Standing != StandingLeads {
			c.tellSynced(from, p.last, true)
		}
	case StandingLoading:
	}
}

// renamed takes note of who leads. A node that follows keeps its office when the leader changes, but is synchronized anew.
func (c *Coordinator) renamed(o Office) {
	p := &c.peers
	p.setOffice(o)
	if o.Standing != StandingFollows || o.Leader == "" || o.Leader == p.leader {
		return
	}
	p.leader, p.fresh, p.joined = o.Leader, true, false
	p.forgetVotes()
	if p.last != nil {
		c.tellSynced(c.view(), p.last, true)
	}
}

// giveUp ends what this node has begun. Commands that run are ended, those that wait are not begun.
func (c *Coordinator) giveUp() {
	p := &c.peers
	p.era++
	c.todo, c.memory.Open = nil, Episode{}
	c.search = search{timer: c.search.timer}
	p.late, p.dirty, p.committing, p.running = nil, false, false, nil
	p.acknowledge(false)
	if p.recall != nil {
		p.recall(errDeposed)
		p.recall = nil
	}
	if c.current.cancel != nil {
		c.current.cancel(errDeposed)
	}
	if c.following.cancel != nil {
		c.following.cancel(errDeposed)
	}
	p.forgetVotes()
}

// retreat goes back to what all nodes have agreed to. Nothing stays of what was decided here alone.
func (c *Coordinator) retreat() {
	p := &c.peers
	clear(p.marked)
	clear(p.cause)
	to := p.last.view(c.view())
	c.replaceBasis(to, to)
	c.recall(p.last)
	c.unsaved = true
}

// recall takes over what a decision remembers; an operation under way is its leader's.
func (c *Coordinator) recall(d *decision) {
	m := d.remember()
	m.Doubted, m.Early, m.Open = c.memory.Doubted, c.memory.Early, Episode{}
	c.memory = m
}

// takeOffice begins to decide for all: with what was agreed last, or with what this node knows where nothing was. An operation that
// another leader has begun is finished.
func (c *Coordinator) takeOffice(fresh bool) {
	p := &c.peers
	clear(p.marked)
	clear(p.cause)
	stands := p.stands(c.view().Primary)
	p.lonely = nil
	switch d := p.last; {
	case d != nil && stands:
		to := orphan(c.view())
		c.replaceBasis(to, to)
	case d != nil && fresh:
		to := decisionOf(p.first, &Memory{}, nil, nil, 0).view(c.view())
		c.replaceBasis(to, to)
		c.memory = Memory{Doubted: c.memory.Doubted}
	case d != nil:
		to := d.view(c.view())
		to.Following = to.Following && d.Follow != nil
		c.replaceBasis(d.view(c.view()), to)
		c.recall(d)
		c.memory.Open = d.Memory.Open
		c.memory.Open.again(c.now())
		c.resume(d)
	default:
		to := orphan(c.view())
		c.replaceBasis(to, to)
	}
	if v := c.view(); !c.memory.Vacant && c.memory.Open.Op == cluster.OpNone {
		c.memory.Early = FirstSearch(v, c.policy().SearchPrimaryNodeTimeout, c.now()).Early
	}
	p.dirty, c.unsaved = true, true
	c.tell(Reason{Kind: LeaderData, Node: cluster.NoNode})
}

// resume notes what is left to be done of the operations another leader has begun.
func (c *Coordinator) resume(d *decision) {
	if d.Op != cluster.OpNone {
		c.tell(Reason{Kind: Resumed, Node: cluster.NoNode, Old: d.Op.String()})
		c.todo = append(c.todo, step{resume: true})
		for _, cmd := range d.Commands {
			c.todo = append(c.todo, step{command: &cmd.Command, begun: cmd.Begun})
		}
	}
	if d.Following && d.Follow != nil {
		again := *d.Follow
		c.memory.Run++ // the end of the run that was given up, which may have been this node's, is not the end of this one
		again.Run = c.memory.Run
		c.peers.followed = &again
		c.todo = append(c.todo, step{follow: &again})
	}
}

// lookBefore asks the servers once whether the operation has reached its end already.
func (c *Coordinator) lookBefore(ctx context.Context, era int, v *cluster.View) func() {
	seen := c.parts.Seeker.Seek(ctx, v)
	return func() {
		if era == c.peers.era && ctx.Err() == nil {
			c.resumed(Sought{Roles: seen})
		}
	}
}

// resumed drops the commands that are not to be run again: where a primary is there those that were to promote one, and where none was
// needed those that had begun. If none is there, the one that was to promote it is run once more with the arguments it had.
func (c *Coordinator) resumed(s Sought) {
	v := c.view()
	vacant := v.Mode.HasPrimary() && v.Primary == cluster.NoNode && c.memory.Open.Search == UntilFound
	if vacant {
		plan := Decide(v, c.memory, s, c.policy(), c.now())
		if plan.Memory.Open.Op != cluster.OpNone {
			c.memory = plan.Memory
			return
		}
	}
	c.todo = slices.DeleteFunc(c.todo, func(s step) bool {
		return s.command != nil && (s.begun || vacant && s.command.Kind == FailoverCommand && s.command.Node == s.command.OldPrimary)
	})
	if vacant && !slices.ContainsFunc(c.todo, func(s step) bool { return s.command != nil }) {
		follow := c.todo
		c.todo = nil
		c.carryOut(s)
		c.todo = append(follow, c.todo...)
	}
}

// announced reports whether all nodes can know that a command runs; else that is told first. From then on whom it is to promote is
// settled, so that another leader that runs it again promotes nobody else.
func (c *Coordinator) announced(s step) bool {
	p := c.policy()
	if c.parts.Consensus == nil || c.peers.office.Standing != StandingLeads || s.begun || s.command.Kind.Template(&p) == "" {
		return true
	}
	cmd, v := *s.command, c.view()
	cmd.NewMain = cmd.target(v)
	c.memory.Open.told(cmd, v)
	c.todo = slices.Insert(c.todo, 0, step{command: &cmd, begun: true})
	c.peers.dirty = true
	return false
}

// commandEnded notes that nobody has to run the command again.
func (c *Coordinator) commandEnded() {
	c.peers.running = nil
	c.peers.dirty = c.peers.dirty || c.peers.office.Standing == StandingLeads
}

// unfinished are the commands that another leader would have to look after.
func (c *Coordinator) unfinished() []sharedCommand {
	var all []sharedCommand
	if c.peers.running != nil {
		all = append(all, *c.peers.running)
	}
	for _, s := range c.todo {
		if s.command != nil {
			all = append(all, sharedCommand{Command: *s.command, Begun: s.begun})
		}
	}
	return all
}

// tellAtEnd tells how an operation ended, on a leader when that cannot be lost any more.
func (c *Coordinator) tellAtEnd(why []Reason) {
	if c.parts.Consensus != nil && c.peers.office.Standing == StandingLeads {
		c.peers.late = append(c.peers.late, why...)
		return
	}
	c.tell(why...)
}
