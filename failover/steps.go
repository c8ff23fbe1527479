package failover

import (
	"context"
	"errors"
	"sync"
	"time"

	"gopgpool/cluster"
)

const (
	// fenceBound is how long the sessions may take to let go of lost connections.
	fenceBound = 10 * time.Second
	// At first the search asks often, because a script has just promoted somebody; later it asks each second.
	hurried     = 2 * time.Second
	hurriedWait = 100 * time.Millisecond
	patientWait = time.Second
	// lostCause is how long a failover_command goes on when the node it is to promote has failed meanwhile: it may hang on it.
	lostCause = 3 * time.Second
)

var errTargetLost = errors.New("the node it was to promote has failed")

// step is one thing of a plan that takes time. Exactly one of its fields is set.
type step struct {
	fence   bool
	command *Command
	begun   bool // the nodes know that command runs
	follow  *Follow
	resume  bool // look once whether what another leader has begun is done already
}

// search is the search for a primary, as far as it is a matter of time.
type search struct {
	began time.Time // zero: no round was made since the last failover_command
	next  time.Time // of the next round
	timer *time.Timer
}

// enqueue notes what is left to be done of a plan. A fence that has not begun waits for this View, too.
func (c *Coordinator) enqueue(plan *Plan) {
	fenced := false
	for i := range c.todo {
		fenced = fenced || c.todo[i].fence
	}
	if plan.Fence && !fenced {
		c.todo = append(c.todo, step{fence: true})
	}
	for i := range plan.Commands {
		c.todo = append(c.todo, step{command: &plan.Commands[i]})
	}
	if plan.Follow != nil {
		c.peers.followed = plan.Follow
		c.todo = append(c.todo, step{follow: plan.Follow})
	}
}

// proceed begins the next step, if none is under way and all nodes can know what was decided so far.
func (c *Coordinator) proceed(ctx context.Context, tasks *sync.WaitGroup) {
	for c.exchange(ctx, tasks) && !c.busy && ctx.Err() == nil {
		switch {
		case len(c.todo) > 0:
			next := c.todo[0]
			c.todo = c.todo[1:]
			c.begin(ctx, next, tasks)
		case c.memory.Open.Op == cluster.OpNone:
			c.runAfter(ctx, tasks)
			return
		case c.memory.Open.Act != NoAct:
			if !c.act(ctx, tasks) {
				return
			}
		case c.memory.Open.Search == NoSearch || c.nobodyLeft():
			c.carryOut(Sought{Over: true})
		case !c.seek(ctx, tasks):
			return
		}
		c.decideAll()
	}
}

// searching reports whether nothing but a primary is missing.
func (c *Coordinator) searching() bool {
	return c.memory.Open.Search == UntilFound && len(c.todo) == 0 && !c.search.began.IsZero()
}

func (c *Coordinator) nobodyLeft() bool { return c.view().Main() == cluster.NoNode }

func (c *Coordinator) begin(ctx context.Context, s step, tasks *sync.WaitGroup) {
	switch {
	case s.fence:
		c.start(tasks, func() func() { return c.fence(ctx) })
	case s.resume:
		era, v := c.peers.era, c.view()
		c.start(tasks, func() func() { return c.lookBefore(ctx, era, v) })
	case s.command != nil:
		c.saveChanges()
		if !c.announced(s) {
			return
		}
		c.command(ctx, *s.command, tasks)
	case s.follow != nil:
		c.saveChanges()
		c.follow(ctx, s.follow, tasks)
	}
}

// start does work on a goroutine of its own. What it returns is done by Run's.
func (c *Coordinator) start(tasks *sync.WaitGroup, work func() func()) {
	c.busy = true
	tasks.Go(func() { c.ended <- work() })
}

func (c *Coordinator) fence(ctx context.Context) func() {
	bounded, cancel := context.WithTimeout(ctx, fenceBound)
	defer cancel()
	var others sync.WaitGroup
	others.Go(func() { c.awaitOthers(ctx) })
	err := c.parts.Fencer.Fence(bounded, c.store.Current())
	others.Wait()
	return func() {
		if err != nil && ctx.Err() == nil {
			c.tell(Reason{Kind: FenceLate, Node: cluster.NoNode, New: err.Error()})
		}
	}
}

// command runs a command that is configured.
func (c *Coordinator) command(ctx context.Context, cmd Command, tasks *sync.WaitGroup) {
	p, v := c.policy(), c.view()
	c.search.began = time.Time{}
	template := cmd.Kind.Template(&p)
	if template == "" {
		return
	}
	c.memory.Open.told(cmd, v)
	text := cmd.Expand(template, v)
	c.tell(Reason{Kind: Executing, Node: cmd.Node, New: text})
	ctx, cancel := context.WithCancelCause(ctx)
	c.current = commandRun{promotes: cmd.promotes(v), cancel: cancel}
	c.peers.running = &sharedCommand{Command: cmd, Begun: true}
	c.start(tasks, func() func() {
		err := c.run(ctx, text)
		return func() {
			c.current.end()
			c.commandEnded()
			c.tell(outcome(cmd, err))
		}
	})
}

// commandRun is the command under way.
type commandRun struct {
	promotes cluster.NodeID // whom it was told to promote, NoNode for nobody
	cancel   context.CancelCauseFunc
	timer    *time.Timer // ends it; nil while it may go on
}

// judge has a command ended that promotes a node which has failed.
func (r *commandRun) judge(v *cluster.View) {
	if r.cancel == nil || r.promotes == cluster.NoNode || r.timer != nil || v.Live(r.promotes) {
		return
	}
	cancel := r.cancel
	r.timer = time.AfterFunc(lostCause, func() { cancel(errTargetLost) })
}

func (r *commandRun) end() {
	r.cancel(nil)
	if r.timer != nil {
		r.timer.Stop()
	}
	*r = commandRun{}
}

func outcome(cmd Command, err error) Reason {
	why := Reason{Kind: CommandEnded, Node: cmd.Node, Old: cmd.Kind.String()}
	if err != nil {
		why.Kind, why.New = CommandFailed, err.Error()
	}
	return why
}

// seek begins a round of the search. It is false where the next one is not due.
func (c *Coordinator) seek(ctx context.Context, tasks *sync.WaitGroup) bool {
	now, once := c.now(), c.memory.Open.Search == LookOnce
	if c.search.began.IsZero() {
		c.search.began, c.search.next = now, now
		if !once {
			c.tell(Reason{Kind: SearchBegins, Node: cluster.NoNode})
		}
	}
	if wait := c.search.next.Sub(now); wait > 0 {
		c.search.timer.Reset(wait)
		return false
	}
	limit := c.policy().SearchPrimaryNodeTimeout
	over := once || limit > 0 && now.Sub(c.search.began) >= limit
	c.search.next = now.Add(patientWait)
	if now.Sub(c.search.began) < hurried {
		c.search.next = now.Add(hurriedWait)
	}
	era, v := c.peers.era, c.view()
	c.start(tasks, func() func() {
		seen := c.parts.Seeker.Seek(ctx, v)
		return func() {
			if era == c.peers.era {
				c.sought(Sought{Roles: seen, Over: over})
			}
		}
	})
	return true
}

// sought takes the answers of a round, unless something has come up meanwhile that must be carried out first. After an operation
// that needed no primary they are judged like those of any other round.
func (c *Coordinator) sought(s Sought) {
	if len(c.todo) > 0 {
		return
	}
	known := c.view().Primary != cluster.NoNode
	c.carryOut(s)
	if known && c.memory.Open.Op == cluster.OpNone {
		c.carryOut(s.Roles)
	}
}
