package failover

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"gopgpool/cluster"
)

// Act is what the coordinator has to do on the servers next, where no script does it (auto_failover). Each ends with a finding (Acted),
// which Decide answers with the next one:
//
//	(primary lost) ----> weigh --somebody can take over--> stop --> elect --heir, committed--> promote --> (published)
//	                       ^ |                                       ^  |                        |  ^
//	                       | +-nobody: again                 again --+  | nobody                 +--+ failed: again
//	                       |                                            v
//	                       +--nobody, for a while------------------> restore --the old primary serves again--> (published)
//	                       ^                                            |
//	                       +------------------failed--------------------+
//
//	(switchover) --> drain --> stop --> elect (the target, with all WAL) --> promote --> (published)
//	                   |         |        | it lacks some
//	                   |         +--------+--> restore
//	                   +--time is up--> (given up, nothing has changed)
type Act uint8

// Acts.
const (
	NoAct Act = iota
	ActWeigh
	ActStop
	ActElect
	ActPromote
	ActDrain
	ActRestore
)

// Acted tells what came of an Act: a request of the coordinator to itself.
type Acted struct {
	Step   int // of the Episode it belongs to
	Err    error
	Roles  RolesSeen             // weigh, elect: who says that he is the primary
	States []cluster.ServerState // weigh, elect
	Last   cluster.PrimaryGauge  // weigh, elect: what the lost primary said last, as this pgpool knows
	End    cluster.LSN           // stop: end of the WAL of a server that was shut down cleanly
	Bounds cluster.Bounds        // promote
}

func (Acted) request() {}

// restoreAfter is how long nobody could be promoted before the old primary is started again; targetPatience the same for the target of a
// switchover, which is connected and has little to receive. stopPatience is how long a server that could be stopped, but was not, is tried again.
const (
	restoreAfter   = 5 * time.Second
	targetPatience = 3 * time.Second
	stopPatience   = time.Second
)

// unaided reports whether no script promotes.
func (p *Policy) unaided(v *cluster.View) bool {
	return p.WithoutScripts() && v.Mode == cluster.ModeStreaming
}

// turn makes an act the next one; what is under way of another one is worth nothing.
func (e *Episode) turn(a Act, now time.Time) {
	e.Act, e.Since = a, now
	e.Step++
}

// acted goes on after an act.
func acted(v *cluster.View, m Memory, r Acted, p Policy, now time.Time) Plan {
	e := &m.Open
	if e.Op == cluster.OpNone || e.Act == NoAct || r.Step != e.Step {
		return Plan{Memory: m}
	}
	if e.calledOff(v, &p) {
		e.turn(NoAct, now)
		return Plan{Memory: m, Reasons: []Reason{{Kind: NotElected, Node: cluster.NoNode, New: "auto_failover is off, or failover_command is set"}}}
	}
	switch e.Act {
	case ActDrain:
		return drained(v, m, r, p, now)
	case ActStop:
		return stopped(v, m, r, p, now)
	case ActWeigh, ActElect:
		return weighed(v, m, r, p, now)
	case ActPromote:
		return promoted(v, m, r, p, now)
	case ActRestore:
		return restored(v, m, r, p, now)
	case NoAct:
	}
	panic(fmt.Sprintf("failover: no such act: %d", e.Act))
}

// calledOff reports whether an administrator has turned auto_failover off before anybody was chosen. A primary is still looked for: whom
// he promotes is taken. A switchover is finished: it has taken the old primary out of use.
func (e *Episode) calledOff(v *cluster.View, p *Policy) bool {
	return !p.unaided(v) && !e.Planned && !e.Sound && e.Search == UntilFound && e.Heir == cluster.NoNode &&
		(e.Act == ActWeigh || e.Act == ActElect || e.Act == ActRestore)
}

// again begins anew what somebody else has begun: another leader, or this pgpool before it was started. Since then the old primary may have been
// started by hand, so it is stopped once more before anybody is promoted beside it.
func (e *Episode) again(now time.Time) {
	next := e.Act
	if next == ActPromote {
		next = ActStop
	}
	if next != NoAct {
		e.turn(next, now)
	}
}

// goOn publishes how far an operation has come, so that another leader goes on from there.
func (plan Plan) goOn(v *cluster.View) Plan {
	if plan.View == nil {
		plan.View = edit(v)
	}
	progress(plan.View, &plan.Memory.Open)
	return plan
}

// stopped goes on when the old primary has been stopped, or cannot be. Nothing reaches it through pgpool any more, so the failover goes on
// in either case; a switchover does not.
func stopped(v *cluster.View, m Memory, r Acted, p Policy, now time.Time) Plan {
	e := &m.Open
	plan := Plan{Memory: m}
	why := Reason{Kind: ServerStopped, Node: e.doomed()}
	switch {
	case r.Err == nil:
	case errors.Is(r.Err, cluster.ErrOldTerm) && (!e.Planned || e.Heir != cluster.NoNode):
		plan.Reasons = plan.Memory.Open.refused(Reason{Kind: ServerNotStopped, Node: e.doomed(), New: r.Err.Error()})
		return plan
	case e.Planned && e.Heir == cluster.NoNode: // else the heir may have been promoted already
		plan.Reasons = []Reason{{Kind: ServerNotStopped, Node: e.doomed(), New: r.Err.Error()}}
		plan.Memory.Open.Because = r.Err.Error()
		plan.Memory.Open.turn(ActRestore, now)
		return plan.goOn(v)
	case !errors.Is(r.Err, cluster.ErrNeedsAgent) && now.Sub(e.Since) < stopPatience:
		return plan
	default:
		why = Reason{Kind: ServerNotStopped, Node: e.doomed(), New: r.Err.Error()}
	}
	next := &plan.Memory.Open
	if next.Doomed == cluster.NoNode {
		next.End = r.End
	}
	next.Stopped, next.Doomed = true, cluster.NoNode
	next.turn(ActElect, now)
	plan.Reasons = []Reason{why}
	return plan.goOn(v)
}

// weighed chooses the successor. Somebody who was promoted meanwhile by other hands is taken.
func weighed(v *cluster.View, m Memory, r Acted, p Policy, now time.Time) Plan {
	seen := gather(v, m, r.Roles)
	plan := Plan{Memory: seen.memory}
	e := &plan.Memory.Open
	if !r.Last.Measured.IsZero() && r.Last.Node == e.OldPrimary {
		e.Last = r.Last
	}
	if found, why := seen.successor(v, e); found != cluster.NoNode && !plan.Memory.outdoneBy(v, r.States, found, e.OldPrimary) {
		plan.Reasons = why
		return plan.end(v, found, p, now)
	}
	if e.mayStillServe() {
		switch {
		case stillPrimary(v, r.States, e.OldPrimary):
			return plan.reinstate(v, p, now)
		case now.Sub(e.Since) < restoreAfter:
			return plan
		}
	}
	heir, against := elect(v, election{
		states: r.States, last: e.Last, old: e.OldPrimary, target: e.target(), end: e.End, settled: e.Heir,
		whole:  e.Sound,
		maxLag: cluster.LSN(p.MaxLagOnFailover), avoid: plan.Memory.strays(v), patient: now.Sub(e.Since) < restoreAfter,
		descends: e.GivenUp != cluster.NoNode,
	})
	switch {
	case heir == cluster.NoNode:
		return plan.nobody(v, r, against, p, now)
	case e.Act == ActWeigh:
		e.turn(ActStop, now)
	default:
		e.Heir = heir
		e.turn(ActPromote, now)
		plan.Reasons = []Reason{{Kind: Elected, Node: heir, Old: positionOf(r.States, heir)}}
	}
	e.Refused = ""
	return plan.goOn(v)
}

// nobody goes on where nobody can be promoted. As long as nobody was told to, the old primary may serve again: it has all that was
// acknowledged.
func (plan Plan) nobody(v *cluster.View, r Acted, against string, p Policy, now time.Time) Plan {
	e := &plan.Memory.Open
	plan.Reasons = e.refused(Reason{Kind: NotElected, Node: cluster.NoNode, New: against})
	patience := restoreAfter
	if e.Planned {
		patience = targetPatience
	}
	switch {
	case e.Heir == cluster.NoNode && v.Nodes[e.OldPrimary].Detached && v.Main() == cluster.NoNode:
		return plan.end(v, cluster.NoNode, p, now) // an administrator has taken out the last node: nothing comes back that is waited for
	case e.Heir != cluster.NoNode, v.Nodes[e.OldPrimary].Detached: // who was taken out stays out
	case stillPrimary(v, r.States, e.OldPrimary):
		return plan.reinstate(v, p, now)
	case e.hopeless(v, r.States): // somebody has made a standby of it: nobody is left to wait for
		return plan.end(v, cluster.NoNode, p, now)
	case now.Sub(e.Since) >= patience && !another(r.States, e.OldPrimary, e.Last):
		e.Because = against
		e.turn(ActRestore, now)
		return plan.goOn(v)
	}
	return plan
}

// mayStillServe reports whether the old primary of a switchover that has failed could not be stopped, nor started again, and nobody was
// told to take over: it has not failed, so it is waited for before anybody is promoted beside it.
func (e *Episode) mayStillServe() bool {
	return e.Sound && !e.Planned && !e.Stopped && e.Heir == cluster.NoNode && e.GivenUp == cluster.NoNode
}

// refused tells why nothing goes on, unless that was told last.
func (e *Episode) refused(why Reason) []Reason {
	if e.Refused == why.New {
		return nil
	}
	e.Refused = why.New
	return []Reason{why}
}

// promoted goes on when the heir accepts writes. One that could not be promoted is told so again: nobody knows whether it obeys after all,
// and two of them must not.
func promoted(v *cluster.View, m Memory, r Acted, p Policy, now time.Time) Plan {
	plan := Plan{Memory: m}
	e := &plan.Memory.Open
	if r.Err != nil {
		plan.Reasons = e.refused(Reason{Kind: NotPromoted, Node: e.Heir, New: r.Err.Error()})
		return plan
	}
	e.Bounds, e.Raised = r.Bounds, true
	return plan.end(v, e.Heir, p, now)
}

// restored goes on when the old primary was started again.
func restored(v *cluster.View, m Memory, r Acted, p Policy, now time.Time) Plan {
	plan := Plan{Memory: m}
	e := &plan.Memory.Open
	switch standby := isStandby(r.States, e.OldPrimary); { // somebody may have made it one
	case r.Err != nil:
		plan.Reasons = []Reason{{Kind: NotRestored, Node: e.OldPrimary, New: r.Err.Error()}}
	case standby && e.hopeless(v, r.States):
		return plan.end(v, cluster.NoNode, p, now)
	case !standby:
		return plan.reinstate(v, p, now)
	}
	plan.View = edit(v)
	e.unplan(plan.View)
	e.End = 0 // nobody can go back to it, so who has the most is enough
	e.turn(ActWeigh, now)
	return plan.goOn(v)
}

// reinstate has the old primary serve again. What was committed there is there.
func (plan Plan) reinstate(v *cluster.View, p Policy, now time.Time) Plan {
	e := &plan.Memory.Open
	next := edit(v)
	n := &next.Nodes[e.OldPrimary]
	n.Status, n.LastStatusChange, n.Detached = cluster.StatusWaiting, now, false
	n.Epoch++
	e.Failed = slices.DeleteFunc(slices.Clone(e.Failed), func(id cluster.NodeID) bool { return id == e.OldPrimary })
	plan.Memory = plan.Memory.forget(e.OldPrimary)
	plan.Reasons = append(plan.Reasons, Reason{Kind: Reinstated, Node: plan.Memory.Open.OldPrimary})
	return plan.end(next, plan.Memory.Open.OldPrimary, p, now)
}

// doomed is the server that is to be stopped.
func (e *Episode) doomed() cluster.NodeID {
	if e.Doomed != cluster.NoNode {
		return e.Doomed
	}
	return e.OldPrimary
}

// target is who must become the primary, NoNode where the best is looked for.
func (e *Episode) target() cluster.NodeID {
	if e.Planned {
		return e.Target
	}
	return cluster.NoNode
}

// overtaken has the acts of an operation follow what has happened to further nodes meanwhile.
func (e *Episode) overtaken(v, next *cluster.View, out []cluster.NodeID, p *Policy, now time.Time) {
	switch {
	case next.Main() == cluster.NoNode && !e.awaits(v, p):
		e.Act = NoAct
	case e.Act == NoAct:
		if e.Lost && p.unaided(v) && slices.Contains(out, v.Primary) {
			e.turn(ActWeigh, now)
		}
		return
	case slices.Contains(out, v.Primary): // while it drains
		e.Because = fmt.Sprintf("node %d, the primary, was lost", v.Primary)
		e.unplan(next)
		e.turn(ActWeigh, now)
	case (e.Act == ActPromote || e.Act == ActStop) && slices.Contains(out, e.Heir):
		e.Doomed, e.GivenUp, e.Heir = e.Heir, e.Heir, cluster.NoNode
		e.Because = fmt.Sprintf("node %d, which was being promoted, was lost", e.Doomed)
		e.unplan(next)
		e.turn(ActStop, now)
	case e.Planned && slices.Contains(out, e.Target):
		e.Because = fmt.Sprintf("node %d, which was to be the primary, was lost", e.Target)
		if e.Act == ActDrain {
			e.turn(ActDrain, now) // ends with that finding
			return
		}
		e.unplan(next)
		if e.Act != ActStop {
			e.turn(ActElect, now)
		}
	case e.Act == ActWeigh || e.Act == ActElect:
		e.turn(e.Act, now)
	}
}

// awaits reports whether the old primary is waited for, and started, though nobody else is left. It has all that was acknowledged.
func (e *Episode) awaits(v *cluster.View, p *Policy) bool { return e.Lost && p.unaided(v) }

// hopeless reports whether the old primary is a standby now, and nobody but it is in use.
func (e *Episode) hopeless(v *cluster.View, states []cluster.ServerState) bool {
	for i := range v.Nodes {
		if id := cluster.NodeID(i); v.Live(id) && id != e.OldPrimary {
			return false
		}
	}
	return isStandby(states, e.OldPrimary)
}

// unplan makes a failover of a switchover that cannot be finished.
func (e *Episode) unplan(next *cluster.View) {
	if !e.Planned {
		return
	}
	e.Planned = false
	next.Draining = false
	next.Switchover = phase(next.Switchover, cluster.SwitchoverFailed, e.Because)
}

// close notes in the View that ends an operation what it was for sessions, and how a switchover has ended.
func (plan *Plan) close(v, next *cluster.View, e *Episode, primary cluster.NodeID, p Policy) {
	next.Draining = false
	if e.Planned {
		to, why := cluster.SwitchoverDone, ""
		if primary != e.Target {
			to, why = cluster.SwitchoverFailed, orWords(e.Because, "it was overtaken")
			plan.Reasons = append(plan.Reasons, Reason{Kind: SwitchoverFailed, Node: e.Target, New: why})
		} else {
			plan.Reasons = append(plan.Reasons, Reason{Kind: SwitchoverDone, Node: primary})
		}
		next.Switchover = phase(next.Switchover, to, why)
	}
	if !e.Lost || primary == cluster.NoNode {
		return
	}
	next.Crossing = nil
	if e.OldPrimary != cluster.NoNode && e.Reign != 0 {
		next.Crossing = &cluster.Crossing{
			From: e.OldPrimary, FromEpoch: e.Reign, To: primary, ToEpoch: next.Nodes[primary].Epoch, Bounds: e.Bounds,
			GivenUp: e.GivenUp,
		}
	}
	if e.Raised && p.AfterPromotionCommand != "" {
		plan.After = &Command{
			Kind: AfterPromotionCommand, Node: e.OldPrimary, OldPrimary: e.OldPrimary, OldMain: e.OldMain, NewMain: primary,
		}
	}
}
