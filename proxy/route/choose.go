package route

import (
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
)

// Choice is a load balance node and why it was taken.
type Choice struct {
	Node   cluster.NodeID // NoNode when no node is live, or when it is the primary that is being sought
	Reason Reason
}

// Choose takes a load balance node: once per session, or for each statement with statement_level_load_balance. Of in
// it reads View, Gauges, Policy, Preference and Dice.
func Choose(in *Input) Choice {
	v := in.View
	writer := v.Writer()
	switch {
	case v.Main() == cluster.NoNode && !v.Seeking:
		return Choice{cluster.NoNode, Reason{Code: ReasonNoNode}}
	case !v.Mode.HasPrimary():
		return Choice{writer, Reason{Code: ReasonMainNode}}
	case !in.Policy.loadBalance:
		return Choice{writer, Reason{Code: ReasonBalancingOff}}
	}
	c := redirected(in, writer)
	if in.Policy.preferLower {
		if lag, late := tooLate(in, writer, c.Node); late {
			return lowestDelay(in, writer, c.Node, lag)
		}
	}
	return c
}

// redirected follows the suggestion of the redirect lists, if any, with the dice for what they leave open. The part of
// [0,1) that is left after comparing the dice with a share is stretched to [0,1) again, so one number does for both.
func redirected(in *Input, writer cluster.NodeID) Choice {
	s, list := in.Preference.resolve(in.View)
	r := in.Dice
	switch {
	case s.kind == 0:
		return weighted(in, r, cluster.NoNode)
	case s.kind == conf.RedirectStandby && r < s.weight:
		return weighted(in, r/s.weight, writer).because(ReasonRedirectStandby, list)
	case s.kind == conf.RedirectStandby:
		return Choice{Node: writer}.because(ReasonRedirectRest, list)
	case r < s.weight || preferredLate(in, writer, s.node):
		return Choice{Node: s.node}.because(ReasonRedirect, list)
	}
	return weighted(in, (r-s.weight)/(1-s.weight), s.node).because(ReasonRedirectRest, list)
}

func (c Choice) because(code ReasonCode, list int) Choice {
	c.Reason = Reason{Code: code, List: uint8(list), Node: c.Node}
	return c
}

// preferredLate keeps a late standby as the choice whatever the dice says: Choose replaces it by the least late one.
func preferredLate(in *Input, writer, n cluster.NodeID) bool {
	if !in.Policy.preferLower {
		return false
	}
	_, late := tooLate(in, writer, n)
	return late
}

// weighted picks among the live nodes but one, each in proportion to its backend_weight. With nothing to pick from it
// is the main node. A primary on which nothing may begin is not picked from.
func weighted(in *Input, r float64, except cluster.NodeID) Choice {
	closed := cluster.NoNode
	if in.closing() {
		closed = in.View.Writer()
	}
	return pick(in.View, r, func(id cluster.NodeID) bool { return id != except && id != closed })
}

func pick(v *cluster.View, r float64, allowed func(cluster.NodeID) bool) Choice {
	total, last := 0.0, cluster.NoNode
	for i := range v.Nodes {
		if id := cluster.NodeID(i); v.Live(id) && v.Nodes[i].Weight > 0 && allowed(id) {
			total += v.Nodes[i].Weight
			last = id
		}
	}
	if last == cluster.NoNode {
		return Choice{v.Main(), Reason{Code: ReasonNoWeight, Node: v.Main()}}
	}
	r *= total
	for i := range v.Nodes {
		id := cluster.NodeID(i)
		if !v.Live(id) || v.Nodes[i].Weight <= 0 || !allowed(id) {
			continue
		}
		if r < v.Nodes[i].Weight || id == last {
			return Choice{id, Reason{Code: ReasonDice, Node: id}}
		}
		r -= v.Nodes[i].Weight
	}
	panic("route: weighted choice found no node")
}

// lag is a standby's delay in the unit its threshold is compared in.
type lag struct {
	amount int64 // bytes, or nanoseconds
	byTime bool
}

// lagOf returns a node's delay and whether it exceeds the threshold that applies. delay_threshold_by_time wins where
// the servers report a time.
func lagOf(in *Input, n cluster.NodeID) (l lag, over bool) {
	p := in.Policy
	if in.Gauges == nil || int(n) >= len(in.Gauges.Nodes) {
		return lag{}, false
	}
	g := &in.Gauges.Nodes[n]
	if p.thresholdTime > 0 && g.HasLagTime {
		return lag{int64(g.LagTime), true}, g.LagTime > p.thresholdTime
	}
	return lag{amount: int64(g.Lag)}, p.threshold > 0 && g.Lag > p.threshold
}

// tooLate is the delay test of streaming replication; the primary is never late.
func tooLate(in *Input, writer, n cluster.NodeID) (lag, bool) {
	if n == writer || in.View.Mode != cluster.ModeStreaming {
		return lag{}, false
	}
	return lagOf(in, n)
}

// lowestDelay picks, in place of the late node, among the standbys that lag least and are within the threshold; the
// primary if there is none.
func lowestDelay(in *Input, writer, late cluster.NodeID, by lag) Choice {
	least, found := lag{}, false
	eligible := func(id cluster.NodeID) (lag, bool) {
		if id == writer || !in.View.Live(id) || in.View.Nodes[id].Weight <= 0 {
			return lag{}, false
		}
		l, over := lagOf(in, id)
		return l, !over
	}
	for i := range in.View.Nodes {
		if l, ok := eligible(cluster.NodeID(i)); ok && (!found || l.amount < least.amount) {
			least, found = l, true
		}
	}
	if !found {
		return Choice{writer, lagReason(ReasonAllLag, late, by)}
	}
	c := pick(in.View, in.Dice, func(id cluster.NodeID) bool {
		l, ok := eligible(id)
		return ok && l.amount == least.amount
	})
	c.Reason = lagReason(ReasonLowestDelay, late, by)
	c.Reason.Other = c.Node
	return c
}

func lagReason(code ReasonCode, n cluster.NodeID, l lag) Reason {
	r := Reason{Code: code, Node: n}
	if l.byTime {
		r.LagTime = time.Duration(l.amount)
	} else {
		r.Lag = cluster.LSN(l.amount)
	}
	return r
}
