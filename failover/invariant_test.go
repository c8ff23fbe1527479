package failover

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
)

// TestInvariants plays random requests, findings from the past among them, and checks what must hold between any two Views.
func TestInvariants(t *testing.T) {
	seeds := 1000
	if testing.Short() {
		seeds = 300
	}
	for seed := range seeds {
		if fault := playRandom(uint64(seed), 60); fault != "" {
			t.Fatalf("seed %d: %s", seed, fault)
		}
	}
}

// gambler makes up requests.
type gambler struct {
	*rand.Rand
	past []*cluster.View
}

func playRandom(seed uint64, steps int) string {
	g := &gambler{Rand: rand.New(rand.NewPCG(seed, 1))}
	n, mode := 1+g.IntN(4), cluster.ModeStreaming
	if g.IntN(5) == 0 {
		mode = cluster.ModeRaw
	}
	v, _ := First(mode, backends(n), nil, start)
	p := Policy{Failover: conf.Failover{
		FailoverOnBackendError: true, FailoverOnBackendShutdown: g.IntN(2) == 0, DetachFalsePrimary: g.IntN(2) == 0,
		FailoverCommand: "x", SearchPrimaryNodeTimeout: time.Minute,
	}}
	if g.IntN(2) == 0 {
		p.FollowPrimaryCommand = "y"
	}
	var m Memory
	for step := range steps {
		g.past = append(g.past, v)
		r := g.request(n, m.Open.Op != cluster.OpNone)
		plan := Decide(v, m, r, p, start.Add(time.Duration(step)*time.Second))
		next := plan.View
		if next == nil {
			next = v
		}
		if fault := broken(v, next, &plan); fault != "" {
			return fmt.Sprintf("step %d, %T %+v: %s\nfrom %s\nto   %s", step, r, r, fault, describe(v), describe(next))
		}
		for _, cmd := range plan.Commands {
			plan.Memory.Open.told(cmd, next)
		}
		v, m = next, plan.Memory
	}
	return ""
}

func (g *gambler) request(n int, open bool) Request {
	id := cluster.NodeID(g.IntN(n))
	seen := g.past[len(g.past)-1-g.IntN(min(len(g.past), 4))]
	roles := RolesSeen{Seen: seen}
	for range n {
		roles.Roles = append(roles.Roles, []cluster.Role{0, cluster.RolePrimary, cluster.RoleStandby, cluster.RoleStandby}[g.IntN(4)])
		roles.Gone = append(roles.Gone, g.IntN(4) == 0)
		roles.Upstream = append(roles.Upstream, cluster.NodeID(g.IntN(n+1)-1))
	}
	if open && g.IntN(3) == 0 {
		return Sought{Roles: roles, Over: g.IntN(4) == 0}
	}
	if g.IntN(40) == 0 {
		b := backends(n)
		b[id].Flag.AlwaysPrimary = g.IntN(2) == 0
		return BackendsReloaded{Backends: b}
	}
	switch g.IntN(8) {
	case 0:
		return Detach{Nodes: []cluster.NodeID{id}, Origin: ByOperator}
	case 1, 2:
		return Detach{Nodes: []cluster.NodeID{id}, Origin: Origin(1 + g.IntN(3)), Seen: seen, Evidence: Evidence(g.IntN(7))}
	case 3:
		return Attach{Node: id, Origin: ByOperator}
	case 4:
		return Attach{Node: id, Origin: ByAutoFailback, Seen: seen}
	case 5:
		return Promote{Node: id, Switchover: g.IntN(2) == 0}
	case 6:
		return NodeUsed{Node: id}
	}
	return roles
}

// broken tells what must not be.
func broken(v, next *cluster.View, plan *Plan) string {
	for i := range next.Nodes {
		a, b := &v.Nodes[i], &next.Nodes[i]
		switch {
		case b.Epoch < a.Epoch || b.Fenced < a.Fenced || b.Fenced > b.Epoch:
			return fmt.Sprintf("epochs of node %d run backwards", i)
		case a.Status.Live() && !b.Status.Live() && (b.Fenced <= a.Epoch || !plan.Fence):
			return fmt.Sprintf("node %d went down without a fence", i)
		case !a.Status.Live() && b.Status.Live() && b.Epoch == a.Epoch:
			return fmt.Sprintf("node %d came back as it was", i)
		}
	}
	was, is := v.Primary, next.Primary
	writer, heir := v.Writer(), next.Writer()
	switch {
	case !v.Mode.HasPrimary() && writer != cluster.NoNode && heir != writer && (next.Nodes[writer].Fenced <= v.Nodes[writer].Epoch || !plan.Fence):
		return "writes go elsewhere without a fence"
	case !v.Mode.HasPrimary() && writer != cluster.NoNode && heir != writer && heir != cluster.NoNode:
		return "one main node follows another without a pause"
	case next.Seeking && next.Op == cluster.OpNone:
		return "a search without an operation"
	case next.Seeking && is != cluster.NoNode:
		return "a primary while one is searched for"
	case (plan.Memory.Open.Op == cluster.OpNone) != (next.Op == cluster.OpNone):
		return "the View and the memory disagree about the operation"
	case is != cluster.NoNode && !next.Live(is) && !next.Nodes[is].AlwaysPrimary && !v.Nodes[is].AlwaysPrimary:
		return "the primary is down"
	case was != cluster.NoNode && is != was && is != cluster.NoNode:
		return "one primary follows another without a pause"
	case v.Live(was) && is == cluster.NoNode && (next.Nodes[was].Fenced <= v.Nodes[was].Epoch || !plan.Fence):
		return "the primary was deposed without a fence"
	case was == cluster.NoNode && is != cluster.NoNode && v.Seeking && next.Nodes[is].Epoch == v.Nodes[is].Epoch:
		return "a promotion did not raise the epoch"
	case was == cluster.NoNode && is == cluster.NoNode && v.Seeking && !next.Seeking && next.Op != cluster.OpNone && next.Main() != cluster.NoNode:
		return "the search ended within its operation"
	}
	return ""
}
