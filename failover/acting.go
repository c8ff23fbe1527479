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
	surveyBound  = 2 * time.Second
	stopBound    = 10 * time.Minute // the lease of an agent that cannot be reached is waited for
	promoteBound = 60 * time.Second
	startBound   = 60 * time.Second
)

var (
	errDrainTimeout = errors.New("transactions at the primary have not ended within switchover_timeout; SHOW pool_sessions tells whose")
	errOvertaken    = errors.New("something else is to be done now")
)

// acting is the act under way. It is Run's.
type acting struct {
	step   int
	cancel context.CancelCauseFunc // nil: none is under way
	next   time.Time               // the act is not begun again before
	began  time.Time               // the first attempt
	void   bool                    // what comes of it is worth nothing
	after  []Command               // after_promotion_command, to be run

	resigned time.Time // because no server answered

	recalled cluster.PrimaryGauge // what was seen of the primary before this start; written before Run's loop
}

// judge ends an act that is not the one to be done any more.
func (a *acting) judge(e *Episode) {
	if a.cancel != nil && (e.Op == cluster.OpNone || e.Step != a.step) {
		a.cancel(errOvertaken)
		a.void, a.step = true, 0
	}
}

// act begins the act that is the next one. It is false where it is not due: it was tried just now.
func (c *Coordinator) act(ctx context.Context, tasks *sync.WaitGroup) bool {
	e, now := c.memory.Open, c.now()
	if e.Step != c.acting.step {
		c.acting.step, c.acting.next, c.acting.began = e.Step, now, now
	}
	if wait := c.acting.next.Sub(now); wait > 0 {
		c.search.timer.Reset(wait)
		return false
	}
	pause := patientWait
	if now.Sub(c.acting.began) < hurried {
		pause = hurriedWait
	}
	c.saveChanges()
	c.keep()
	era, v, term := c.peers.era, c.view(), c.orderTerm()
	ctx, cancel := context.WithCancelCause(ctx)
	c.acting.cancel, c.acting.void = cancel, false
	c.start(tasks, func() func() {
		found := c.perform(ctx, &e, v, term)
		return func() {
			cancel(nil)
			c.acting.cancel = nil
			c.acting.next = c.now().Add(pause)
			if era == c.peers.era && !c.acting.void {
				c.carryOut(found)
				c.resignBlind(&e, &found)
			}
		}
	})
	return true
}

// resignAgain is how long a leader that wanted to resign, and found nobody to follow it, goes on.
const resignAgain = 10 * time.Second

// resignBlind has somebody else lead where this node reaches no server, and the others do not agree that all of them are lost: standbys are
// in quarantine here alone.
func (c *Coordinator) resignBlind(e *Episode, r *Acted) {
	p := &c.peers
	if c.parts.Consensus == nil || p.office.Standing != StandingLeads || e.Act != ActWeigh && e.Act != ActElect ||
		c.now().Sub(c.acting.resigned) < resignAgain {
		return
	}
	alone := false
	for i := range r.States {
		s := &r.States[i]
		if s.Err == nil {
			return
		}
		_, marked := p.marked[s.Node]
		alone = alone || marked && s.Node != e.OldPrimary
	}
	if !alone {
		return
	}
	c.acting.resigned = c.now()
	why := Reason{Kind: ResignsBlind, Node: cluster.NoNode}
	c.tell(why)
	p.asks = append(p.asks, func(context.Context) { c.parts.Consensus.Resign(why.String()) })
}

// perform does an act and returns what came of it. It is called from a goroutine of its own.
func (c *Coordinator) perform(ctx context.Context, e *Episode, v *cluster.View, term cluster.Term) Acted {
	r := Acted{Step: e.Step}
	actor := c.parts.Actor
	switch e.Act {
	case ActDrain:
		if e.Because == "" { // else it is given up
			r.Err = c.drainFor(ctx, e, v)
		}
	case ActStop:
		mode := cluster.StopNow
		if e.Planned {
			mode = cluster.StopFast
		}
		bounded, cancel := context.WithTimeout(ctx, stopBound)
		defer cancel()
		r.End, r.Err = actor.Stop(bounded, v, e.doomed(), term, mode)
	case ActWeigh, ActElect:
		c.survey(ctx, v, &r)
		r.Last = c.lastOf(e)
	case ActPromote:
		bounded, cancel := context.WithTimeout(ctx, promoteBound)
		defer cancel()
		r.Bounds, r.Err = actor.Promote(bounded, v, e.Heir, term, c.lastOf(e))
	case ActRestore:
		bounded, cancel := context.WithTimeout(ctx, startBound)
		defer cancel()
		if r.Err = actor.Start(bounded, v, e.OldPrimary, term); r.Err == nil {
			r.States = actor.Survey(bounded, v, []cluster.NodeID{e.OldPrimary})
		}
	case NoAct:
	}
	return r
}

// lastOf is what was seen of the old primary last: in this run, when the operation was weighed, or before this start. It is called from a
// goroutine of its own.
func (c *Coordinator) lastOf(e *Episode) cluster.PrimaryGauge {
	seen := c.store.Gauges().Primary
	for _, g := range []cluster.PrimaryGauge{seen, e.Last, c.acting.recalled} {
		if !g.Measured.IsZero() && g.Node == e.OldPrimary {
			return g
		}
	}
	return seen
}

// survey asks the standbys, the old primary, which may be there again, and who else is out of use.
func (c *Coordinator) survey(ctx context.Context, v *cluster.View, r *Acted) {
	ctx, cancel := context.WithTimeout(ctx, surveyBound)
	defer cancel()
	var nodes []cluster.NodeID
	for i := range v.Nodes {
		if id := cluster.NodeID(i); v.Nodes[i].Port != 0 { // one that is down may have been promoted by hand
			nodes = append(nodes, id)
		}
	}
	r.States = c.parts.Actor.Survey(ctx, v, nodes)
	r.Roles = rolesOf(v, r.States)
}

// rolesOf is a survey as a round of asking for roles.
func rolesOf(v *cluster.View, states []cluster.ServerState) RolesSeen {
	n := len(v.Nodes)
	seen := RolesSeen{
		Seen: v, Roles: make([]cluster.Role, n), Gone: make([]bool, n), Timelines: make([]cluster.Timeline, n),
		Upstream: make([]cluster.NodeID, n),
	}
	for i := range seen.Upstream {
		seen.Upstream[i] = cluster.NoNode
	}
	for i := range states {
		s := &states[i]
		if s.Err != nil || outOfRange(s.Node) || int(s.Node) >= n {
			continue
		}
		seen.Roles[s.Node] = cluster.RolePrimary
		if s.InRecovery {
			seen.Roles[s.Node] = cluster.RoleStandby
		} else {
			seen.Timelines[s.Node] = s.Timeline
		}
	}
	return seen
}

// drainFor is drainAll where the switchover has a chance: somebody can stop the old primary, and its successor streams.
func (c *Coordinator) drainFor(ctx context.Context, e *Episode, v *cluster.View) error {
	bounded, cancel := context.WithTimeout(ctx, surveyBound)
	defer cancel()
	if err := c.parts.Actor.Able(bounded, v, v.Primary, c.orderTerm()); err != nil {
		return err
	}
	switch s := c.parts.Actor.Survey(bounded, v, []cluster.NodeID{e.Target}); {
	case len(s) != 1:
		panic("failover: a survey without an answer")
	case s[0].Err != nil:
		return fmt.Errorf("node %d: %w", e.Target, s[0].Err)
	default:
		if err := unready(&s[0]); err != nil {
			return err
		}
	}
	return c.drainAll(ctx)
}

// backlog is how much a standby may have to replay when it is to take over in a switchover: clients wait meanwhile.
const backlog cluster.LSN = 64 << 20

// unready tells why a standby could not take over soon.
func unready(s *cluster.ServerState) error {
	switch {
	case !s.InRecovery || !s.Streaming:
		return fmt.Errorf("node %d does not stream from anybody", s.Node)
	case s.ReplayPaused:
		return fmt.Errorf("replay is paused on node %d", s.Node)
	case s.Replayed != 0 && s.Received > s.Replayed && s.Received-s.Replayed > backlog:
		return fmt.Errorf("node %d has %d bytes of WAL to replay", s.Node, s.Received-s.Replayed)
	}
	return nil
}

// drainAll returns when nobody has a transaction at the primary any more, on no pgpool.
func (c *Coordinator) drainAll(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.policy().SwitchoverTimeout, errDrainTimeout)
	defer cancel()
	var others error
	var wait sync.WaitGroup
	if c.parts.Consensus != nil {
		wait.Go(func() { others = c.parts.Consensus.Await(ctx) })
	}
	err := c.parts.Drainer.Drain(ctx, c.store.Current())
	wait.Wait()
	switch {
	case ctx.Err() != nil && (err != nil || others != nil):
		return context.Cause(ctx)
	case err != nil:
		return err
	}
	return others
}

// runAfter runs the commands that come after a promotion, beside everything else. What comes of them is only told.
func (c *Coordinator) runAfter(ctx context.Context, tasks *sync.WaitGroup) {
	for _, cmd := range c.acting.after {
		p, v := c.policy(), c.view()
		text := cmd.Expand(cmd.Kind.Template(&p), v)
		c.tell(Reason{Kind: Executing, Node: cmd.NewMain, New: text})
		tasks.Go(func() { c.tell(outcome(cmd, c.run(ctx, text))) })
	}
	c.acting.after = nil
}
