package proxy

import (
	"strings"
	"testing"

	"gopgpool/cluster"
	"gopgpool/proxy/meter"
)

// reign is a View after the primary 0, whose connections were of epoch 3, gave way to node 1.
func reign(edit func(v *cluster.View)) *cluster.View {
	v := &cluster.View{Mode: cluster.ModeStreaming, Primary: 1, Nodes: []cluster.Node{
		{ID: 0, Status: cluster.StatusDown, Epoch: 4}, {ID: 1, Status: cluster.StatusUp, Epoch: 7},
	}}
	v.Crossing = &cluster.Crossing{From: 0, FromEpoch: 4, To: 1, ToEpoch: 7, Bounds: cluster.Bounds{Before: 100, After: 200}}
	if edit != nil {
		edit(v)
	}
	return v
}

// still is a View in which node 0 is the primary as it was.
func still(edit func(v *cluster.View)) *cluster.View {
	return reign(func(v *cluster.View) {
		v.Primary, v.Crossing = 0, nil
		v.Nodes[0].Status, v.Nodes[0].Epoch = cluster.StatusUp, 3
		if edit != nil {
			edit(v)
		}
	})
}

func crossing(edit func(x *cluster.Crossing)) *cluster.View {
	return reign(func(v *cluster.View) { edit(v.Crossing) })
}

// TestOutcomeAtOnce is what a lost connection itself has told of its COMMIT.
func TestOutcomeAtOnce(t *testing.T) {
	for _, c := range []struct {
		name string
		lost lostCommit
		open bool
		want meter.Outcome
	}{
		{"at a standby", lostCommit{standby: true}, false, meter.Committed},
		{"the server ended before", lostCommit{asked: true, unrun: true}, false, meter.RolledBack},
		{"not asked", lostCommit{}, false, meter.Unknown},
		{"not answered", lostCommit{asked: true}, false, meter.Unknown},
		{"nothing written", lostCommit{asked: true, answered: true, none: true}, false, meter.Committed},
		{"nothing written, and ended by the server", lostCommit{asked: true, answered: true, none: true, refused: true}, false, meter.RolledBack},
		{"nothing written, a cursor WITH HOLD", lostCommit{asked: true, answered: true, none: true, keeps: true}, false, meter.Unknown},
		{"nothing written, serializable", lostCommit{asked: true, answered: true, none: true, serializable: true}, false, meter.RolledBack},
		{"an id", lostCommit{asked: true, answered: true, xid: 5}, true, 0},
	} {
		if f := c.lost.atOnce(); f.open != c.open || !f.open && f.outcome != c.want {
			t.Errorf("%s: %+v", c.name, f)
		}
	}
}

// TestOutcomeWitness is whom a session asks under a View.
func TestOutcomeWitness(t *testing.T) {
	const nobody = cluster.NoNode
	for _, c := range []struct {
		name string
		xid  cluster.XID
		view *cluster.View
		ask  cluster.NodeID
		same bool
		open bool
		want meter.Outcome
	}{
		{"below the bound", 99, reign(nil), 1, false, true, 0},
		{"at the bound", 100, reign(nil), 1, false, false, meter.Unknown},
		{"between", 199, reign(nil), 1, false, false, meter.Unknown},
		{"never seen", 200, reign(nil), 1, false, false, meter.RolledBack},
		{"no bounds", 99, crossing(func(x *cluster.Crossing) { x.Bounds = cluster.Bounds{} }), 1, false, false, meter.Unknown},
		{"no bounds, first id", 0, crossing(func(x *cluster.Crossing) { x.Bounds = cluster.Bounds{} }), 1, false, false, meter.Unknown},
		{"bounds that make no sense", 150, crossing(func(x *cluster.Crossing) { x.Bounds = cluster.Bounds{Before: 200, After: 100} }), 1, false, false, meter.Unknown},
		{"bounds that meet", 99, crossing(func(x *cluster.Crossing) { x.Bounds = cluster.Bounds{Before: 100, After: 100} }), 1, false, true, 0},
		{"bounds that meet, at them", 100, crossing(func(x *cluster.Crossing) { x.Bounds = cluster.Bounds{Before: 100, After: 100} }), 1, false, false, meter.RolledBack},
		{"a later reign of the lost node", 99, crossing(func(x *cluster.Crossing) { x.FromEpoch = 6 }), nobody, false, false, meter.Unknown},
		{"an earlier reign", 99, crossing(func(x *cluster.Crossing) { x.FromEpoch = 3 }), nobody, false, false, meter.Unknown},
		{"another node's reign", 99, crossing(func(x *cluster.Crossing) { x.From = 1 }), nobody, false, false, meter.Unknown},
		{"lost once more", 99, reign(func(v *cluster.View) { v.Seeking, v.Primary = true, nobody }), nobody, false, false, meter.Unknown},
		{"a third primary", 99, reign(func(v *cluster.View) { v.Primary = 0 }), nobody, false, false, meter.Unknown},
		{"the heir in a later reign", 99, reign(func(v *cluster.View) { v.Nodes[1].Epoch = 9 }), nobody, false, false, meter.Unknown},
		{"the heir is down", 99, reign(func(v *cluster.View) { v.Nodes[1].Status = cluster.StatusDown }), nobody, false, false, meter.Unknown},
		{"reinstated", 250, reign(func(v *cluster.View) {
			v.Primary, v.Nodes[0].Status, v.Nodes[0].Epoch = 0, cluster.StatusUp, 5
			v.Crossing.To, v.Crossing.ToEpoch = 0, 5
		}), 0, true, true, 0},
		{"seeking", 99, still(func(v *cluster.View) { v.Seeking, v.Primary = true, nobody }), nobody, false, true, 0},
		{"no primary", 99, still(func(v *cluster.View) { v.Primary = nobody }), nobody, false, true, 0},
		{"not decided about", 99, still(nil), 0, true, true, 0},
		{"came back", 99, still(func(v *cluster.View) { v.Nodes[0].Epoch = 5 }), nobody, false, false, meter.Unknown},
		{"somebody else, nobody knows how", 99, still(func(v *cluster.View) { v.Primary = 1 }), nobody, false, false, meter.Unknown},
	} {
		lost := lostCommit{node: 0, epoch: 3, asked: true, answered: true, xid: c.xid}
		w, f := lost.look(c.view)
		if f.open != c.open || !f.open && (f.outcome != c.want || f.why == "") || f.open && (w.node != c.ask || w.same != c.same) {
			t.Errorf("%s: %+v, %+v", c.name, w, f)
		}
	}
}

// TestOutcomeBelieved is what the answer of a server is worth.
func TestOutcomeBelieved(t *testing.T) {
	heir, same := witness{1, false}, witness{0, true}
	for _, c := range []struct {
		name    string
		witness witness
		says    testimony
		revived bool
		open    bool
		want    meter.Outcome
	}{
		{"committed", heir, testimony{status: "committed"}, false, false, meter.Committed},
		{"committed, but the lost one served again", heir, testimony{status: "committed"}, true, false, meter.Unknown},
		{"aborted", heir, testimony{status: "aborted"}, false, false, meter.RolledBack},
		{"aborted, and the lost one served again", heir, testimony{status: "aborted"}, true, false, meter.RolledBack},
		{"in progress", heir, testimony{status: "in progress"}, false, false, meter.Unknown},
		{"too old", heir, testimony{}, false, false, meter.Unknown},
		{"nonsense", heir, testimony{status: "perhaps"}, false, false, meter.Unknown},
		{"the same, on a new connection", same, testimony{status: "committed"}, true, false, meter.Unknown},
		{"the same, on an older connection", same, testimony{status: "committed", older: true}, true, false, meter.Committed},
		{"the same, warned of its end", same, testimony{status: "committed", older: true}, false, false, meter.Unknown},
		{"the same, aborted", same, testimony{status: "aborted"}, true, false, meter.RolledBack},
		{"the same, at work", same, testimony{status: "in progress"}, true, true, 0},
		{"the same, too old", same, testimony{older: true}, true, false, meter.Unknown},
	} {
		lost := lostCommit{revived: c.revived, warned: strings.Contains(c.name, "warned")}
		if f := lost.believe(c.witness, c.says); f.open != c.open || !f.open && (f.outcome != c.want || f.why == "") {
			t.Errorf("%s: %+v", c.name, f)
		}
	}
}
