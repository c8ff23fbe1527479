package failover

import (
	"slices"
	"strings"
	"time"

	"gopgpool/cluster"
)

const (
	// doubtAgain is how long a node that was just checked on suspicion is not checked so again.
	doubtAgain = 250 * time.Millisecond
	// remindAgain is how often the log says that a node must not be taken out.
	remindAgain = 10 * time.Second
)

// verdict is what a request to detach comes to for one node.
type verdict uint8

const (
	passOver verdict = iota
	askFirst
	condemned
)

// detach takes nodes out of service (manual: failover).
func detach(v *cluster.View, m Memory, r Detach, p Policy, now time.Time) Plan {
	if next := keptOut(v, r, &p); next != nil {
		return Plan{View: next, Memory: m, Save: true, Reasons: []Reason{{Kind: DetachKept, Node: r.Nodes[0]}}}
	}
	plan, out := screen(v, m, r, p, now)
	if len(out) == 0 {
		return plan
	}
	plan = plan.takeOut(v, out, cluster.NoNode, &p, now)
	for _, id := range out {
		plan.View.Nodes[id].Detached = r.Origin == ByOperator
	}
	return plan
}

// keepable reports whether an order to detach a node that is down already has a meaning: nobody is to start, rebuild or attach it while an
// administrator works on its server. Without scripts of his we would.
func keepable(v *cluster.View, id cluster.NodeID, p *Policy) bool {
	return p.WithoutScripts() && v.Op == cluster.OpNone && nodeOf(v, id).Status == cluster.StatusDown
}

// keptOut is the View in which a node that is down stays so until an administrator attaches it; nil where that is not asked, or is so.
func keptOut(v *cluster.View, r Detach, p *Policy) *cluster.View {
	if r.Origin != ByOperator || len(r.Nodes) != 1 || !keepable(v, r.Nodes[0], p) || v.Nodes[r.Nodes[0]].Detached {
		return nil
	}
	next := edit(v)
	next.Nodes[r.Nodes[0]].Detached = true
	return next
}

// screen tells which of the nodes a request condemns; the plan has what else follows from it.
func screen(v *cluster.View, m Memory, r Detach, p Policy, now time.Time) (plan Plan, out []cluster.NodeID) {
	plan = Plan{Memory: m}
	for _, id := range slices.Compact(slices.Sorted(slices.Values(r.Nodes))) {
		what, why := judgeDetach(v, id, r, p)
		if what == condemned && r.Origin != ByOperator && m.early(v, now) {
			what, why.Kind = passOver, DetachEarly
		}
		if what == askFirst && !plan.Memory.doubt(id, doubtAgain, now) ||
			(why.Kind == DetachDisallowed || why.Kind == DetachEarly) && !plan.Memory.doubt(id, remindAgain, now) {
			continue
		}
		switch what {
		case passOver:
		case askFirst:
			plan.Confirm = append(plan.Confirm, id)
		case condemned:
			out = append(out, id)
		}
		plan.Reasons = append(plan.Reasons, why)
	}
	return plan, out
}

// doubt remembers that a node is under suspicion. It is false where that was so within a time.
func (m *Memory) doubt(id cluster.NodeID, within time.Duration, now time.Time) bool {
	doubted := make([]time.Time, max(len(m.Doubted), int(id)+1))
	copy(doubted, m.Doubted)
	if t := doubted[id]; !t.IsZero() && now.Sub(t) < within {
		return false
	}
	doubted[id] = now
	m.Doubted = doubted
	return true
}

func judgeDetach(v *cluster.View, id cluster.NodeID, r Detach, p Policy) (verdict, Reason) {
	tell := func(k Kind) Reason {
		return Reason{Kind: k, Node: id, New: pid(p), Old: r.Origin.String(), Finding: r.finding(), Cause: r.cause()}
	}
	switch {
	case id < 0 || int(id) >= len(v.Nodes):
		return passOver, tell(DetachUnknown)
	case outdated(v, id, r.Seen):
		return passOver, tell(Outdated)
	case !v.Nodes[id].Status.Live():
		why := tell(DetachInvalid)
		why.Old = statusNumber(v, id)
		return passOver, why
	case !wanted(r.Origin, p):
		return passOver, tell(DetachOff)
	case v.Nodes[id].DisallowFailover:
		return passOver, tell(DetachDisallowed)
	}
	switch weigh(r) {
	case passOver:
		return passOver, tell(DetachUnproved)
	case askFirst:
		return askFirst, tell(DetachDoubtful)
	}
	return condemned, tell(DetachAsked)
}

// finding is the kind of evidence, "" for an order.
func (r *Detach) finding() string {
	switch {
	case r.TimedOut:
		return TimedOut.String()
	case r.Evidence == Judged:
		return ""
	}
	return r.Evidence.String()
}

// cause says in words where a request comes from.
func (r *Detach) cause() string {
	words := []string{r.Origin.String()}
	if f := r.finding(); f != "" {
		words = append(words, f)
	}
	if r.Err != nil {
		words = append(words, r.Err.Error())
	}
	return strings.Join(words, ": ")
}

// outdated reports whether a finding speaks of what a node was before it last went down, came back, or changed its role.
func outdated(v *cluster.View, id cluster.NodeID, seen *cluster.View) bool {
	return seen != nil && (int(id) >= len(seen.Nodes) || seen.Nodes[id].Epoch != v.Nodes[id].Epoch)
}

// wanted reports whether the configuration wants a failover for this cause (manual: failover_on_backend_error,
// failover_on_backend_shutdown, detach_false_primary).
func wanted(o Origin, p Policy) bool {
	switch o {
	case ByBackendError:
		return p.FailoverOnBackendError
	case ByBackendShutdown:
		return p.FailoverOnBackendShutdown
	case ByFalsePrimary:
		return p.DetachFalsePrimary
	case ByHealthCheck, ByOperator, ByRecovery, ByAutoFailback:
	}
	return true
}

// weigh says what the evidence of a request is worth. A name that does not resolve is the resolver's trouble, and a server that
// answers is there. A health check has tried as often as it was told to, so its timeouts and broken connections count.
func weigh(r Detach) verdict {
	if r.Origin == ByOperator || r.Origin == ByBackendShutdown || r.Origin == ByFalsePrimary {
		return condemned
	}
	switch r.Evidence {
	case Unresolved, Answered:
		return passOver
	case Refused, Unreachable:
		return condemned
	case TimedOut, Broken, Judged:
	}
	if r.Origin == ByBackendError {
		return askFirst
	}
	return condemned
}

// takeOut condemns nodes and opens an episode, or adds to the one that is open. The View it makes is the fencing one: nothing may
// be sent on the old connections any more, and where the primary is among the nodes nothing may be written. heir is whom
// failover_command is to promote, NoNode for the main node.
func (plan Plan) takeOut(v *cluster.View, out []cluster.NodeID, heir cluster.NodeID, p *Policy, now time.Time) Plan {
	next, e := edit(v), plan.Memory.Open
	if e.Op == cluster.OpNone {
		e = begin(v, cluster.OpFailover)
	}
	plan.Reasons = append(plan.Reasons, Reason{Kind: FailoverBegins, Node: cluster.NoNode})
	var avoid []cluster.NodeID
	if e.Lost || slices.Contains(out, v.Primary) {
		avoid = plan.Memory.strays(v)
	}
	for _, id := range out {
		condemn(&next.Nodes[id], now)
		plan.Reasons = append(plan.Reasons, Reason{Kind: Degenerating, Node: id, Old: place(v, id)})
		plan.Commands = append(plan.Commands, Command{
			Kind: FailoverCommand, Node: id, OldPrimary: e.suspectedPrimary(id), OldMain: v.Main(), NewMain: heir,
			Avoid: avoid,
		})
	}
	e.Failed = slices.Concat(e.Failed, out)
	e.lose(v, next, out, p)
	e.overtaken(v, next, out, p, now)
	next.Op = e.Op
	assignRoles(next)
	if next.Main() == cluster.NoNode {
		plan.Reasons = append(plan.Reasons, Reason{Kind: NoMain, Node: cluster.NoNode})
	}
	plan.View, plan.Memory.Open, plan.Save, plan.Fence = next, e, true, true
	return plan
}

// told notes whom a command that is about to run is told to promote.
func (e *Episode) told(cmd Command, v *cluster.View) {
	if id := cmd.promotes(v); id != cluster.NoNode {
		e.Heir = id
	}
}

// suspectedPrimary is %P of failover_command. If the node that was to become the primary dies before it is, it counts as the
// primary, so that scripts, which promote where the failed node was the primary, promote another one.
func (e *Episode) suspectedPrimary(failed cluster.NodeID) cluster.NodeID {
	if e.Lost && (e.Heir == failed || e.Elect == failed) {
		return failed
	}
	return e.OldPrimary
}

// lose takes back the primary if it is among the condemned, and says how the next one is looked for. A node flagged ALWAYS_PRIMARY
// stays the primary even while it is down.
func (e *Episode) lose(v, next *cluster.View, out []cluster.NodeID, p *Policy) {
	switch {
	case !v.Mode.HasPrimary():
		// The commands may have to prepare the next main node: nobody uses it before.
		next.Seeking = v.Seeking || slices.Contains(out, v.Main())
	case alwaysPrimary(v) != cluster.NoNode:
		return
	case v.Primary != cluster.NoNode && slices.Contains(out, v.Primary):
		e.Lost, e.Search = true, UntilFound
		e.Reign = next.Nodes[v.Primary].Epoch
		next.Primary, next.Seeking = cluster.NoNode, true
	case v.Primary == cluster.NoNode && e.Search == NoSearch:
		e.Search = LookOnce
	}
	if slices.Contains(out, e.Elect) {
		e.Elect, e.Search, e.ByHand = cluster.NoNode, UntilFound, false
	}
	if next.Main() == cluster.NoNode && !e.awaits(v, p) {
		next.Seeking, e.Search = false, NoSearch
	}
}

// condemn takes a node down and cuts its connections.
func condemn(n *cluster.Node, now time.Time) {
	n.Status, n.LastStatusChange = cluster.StatusDown, now
	n.Epoch++
	n.Fenced = n.Epoch
}
