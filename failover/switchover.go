package failover

import (
	"fmt"
	"slices"
	"time"

	"gopgpool/cluster"
)

// Switchover asks for a standby to become the primary without an error for any client. How it goes on is told by View.Switchover.
type Switchover struct{ Node cluster.NodeID }

// Bar asks that a node must not be promoted (Unfit), or may be again.
type Bar struct {
	Node  cluster.NodeID
	Unfit bool
}

// CallOff gives up a switchover that waits for transactions to end: that with this number (View.Switchover).
type CallOff struct{ Run int }

func (CallOff) request()    {}
func (Switchover) request() {}
func (Bar) request()        {}

// switchover begins a planned change of the primary: nothing that begins a transaction at the primary is sent any more.
func switchover(v *cluster.View, m Memory, r Switchover, p Policy, now time.Time) Plan {
	plan := Plan{Memory: m}
	if why := refuseSwitchover(v, r.Node, &p); why != nil {
		plan.Reasons = []Reason{{Kind: PromoteRefused, Node: r.Node, Old: why.Message, Cause: why.Detail}}
		return plan
	}
	next, e := edit(v), begin(v, cluster.OpSwitchover)
	e.Planned, e.Target = true, r.Node
	e.turn(ActDrain, now)
	run := 1
	if v.Switchover != nil {
		run = v.Switchover.Run + 1
	}
	next.Switchover = &cluster.Switchover{Run: run, To: r.Node, Phase: cluster.SwitchoverDraining}
	next.Op, next.Draining = e.Op, true
	plan.View, plan.Memory.Open = next, e
	plan.Reasons = []Reason{{Kind: SwitchoverBegins, Node: r.Node, Others: []cluster.NodeID{v.Primary}}}
	return plan
}

func refuseSwitchover(v *cluster.View, id cluster.NodeID, p *Policy) *Refusal {
	refuse := func(format string, args ...any) *Refusal {
		return &Refusal{Message: "could not process switchover request", Detail: fmt.Sprintf(format, args...)}
	}
	if why := refusePromote(v, Promote{Node: id, Switchover: true}); why != nil {
		return why
	}
	switch {
	case !p.WithoutScripts():
		return refuse("auto_failover is off, or failover_command is set")
	case v.Nodes[v.Primary].DisallowFailover:
		return refuse("failover is disallowed on node %d, the primary", v.Primary)
	case v.Nodes[id].Unfit:
		return refuse("node %d %s", id, lacks(&v.Nodes[id]))
	}
	return nil
}

// lacks says why a node that is barred is not promoted.
func lacks(n *cluster.Node) string {
	const away = "lacks what was acknowledged while it was away"
	if n.ApplicationName == "" {
		return fmt.Sprintf("%s; that it has caught up is not seen while backend_application_name%d is empty", away, n.ID)
	}
	return away
}

// drained goes on when no transaction is open at the old primary any more: it is taken out of use and stopped.
func drained(v *cluster.View, m Memory, r Acted, p Policy, now time.Time) Plan {
	plan := Plan{Memory: m}
	e := &plan.Memory.Open
	switch {
	case e.Because != "" || !v.Live(e.Target):
		return plan.abandon(v, orWords(e.Because, fmt.Sprintf("node %d is not up", e.Target)), p, now)
	case r.Err != nil:
		return plan.abandon(v, r.Err.Error(), p, now)
	}
	next := edit(v)
	condemn(&next.Nodes[v.Primary], now)
	e.Reign = next.Nodes[v.Primary].Epoch
	plan.Reasons = []Reason{{Kind: Degenerating, Node: v.Primary, Old: place(v, v.Primary)}}
	e.Failed = slices.Concat(e.Failed, []cluster.NodeID{v.Primary})
	e.Lost, e.Sound, e.Search = true, true, UntilFound
	e.turn(ActStop, now)
	next.Primary, next.Seeking, next.Draining = cluster.NoNode, true, false
	assignRoles(next)
	plan.View, plan.Save, plan.Fence = next, true, true
	return plan.goOn(v)
}

// abandon gives a switchover up before anything was done.
func (plan Plan) abandon(v *cluster.View, why string, p Policy, now time.Time) Plan {
	plan.Memory.Open.Because = why
	return plan.end(v, v.Primary, p, now)
}

func orWords(words, otherwise string) string {
	if words != "" {
		return words
	}
	return otherwise
}

// callOff ends a switchover before anything was done.
func callOff(v *cluster.View, m Memory, r CallOff, p Policy, now time.Time) Plan {
	plan := Plan{Memory: m}
	if refuseCallOff(v, r.Run) != nil || m.Open.Act != ActDrain {
		return plan
	}
	return plan.abandon(v, "it was cancelled", p, now)
}

func refuseCallOff(v *cluster.View, run int) *Refusal {
	if v.Draining && v.Switchover != nil && v.Switchover.Run == run {
		return nil
	}
	return &Refusal{Message: "could not cancel the switchover", Detail: "It does not wait for transactions to end any more."}
}

// progress notes in a View how far a planned switchover has come.
func progress(v *cluster.View, e *Episode) {
	if !e.Planned {
		return
	}
	switch e.Act {
	case ActStop:
		v.Switchover = phase(v.Switchover, cluster.SwitchoverStopping, "")
	case ActPromote:
		v.Switchover = phase(v.Switchover, cluster.SwitchoverPromoting, "")
	case NoAct, ActWeigh, ActElect, ActDrain, ActRestore:
	}
}

// phase is a switchover one step further. One that has ended stays as it is.
func phase(s *cluster.Switchover, to cluster.SwitchoverPhase, why string) *cluster.Switchover {
	if s == nil || s.Phase >= cluster.SwitchoverDone {
		return s
	}
	next := *s
	next.Phase, next.Why = to, why
	return &next
}

// bar notes whether a node may be promoted.
func bar(v *cluster.View, m Memory, r Bar) Plan {
	if outOfRange(r.Node) || int(r.Node) >= len(v.Nodes) || v.Nodes[r.Node].Port == 0 || v.Nodes[r.Node].Unfit == r.Unfit {
		return Plan{Memory: m}
	}
	next := edit(v)
	next.Nodes[r.Node].Unfit = r.Unfit
	kind := NowFit
	if r.Unfit {
		kind = NowUnfit
	}
	return Plan{View: next, Memory: m, Reasons: []Reason{{Kind: kind, Node: r.Node}}, Save: true}
}
