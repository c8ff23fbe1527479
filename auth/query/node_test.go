package query

import (
	"slices"
	"testing"

	"gopgpool/cluster"
)

func TestCandidates(t *testing.T) {
	t.Parallel()
	const up, down, waiting = cluster.StatusUp, cluster.StatusDown, cluster.StatusWaiting
	for name, c := range map[string]struct {
		mode    cluster.Mode
		primary cluster.NodeID
		status  []cluster.Status
		stray   int
		want    []cluster.NodeID
	}{
		"primary first":      {cluster.ModeStreaming, 1, []cluster.Status{up, up, waiting}, -1, []cluster.NodeID{1, 0, 2}},
		"no primary":         {cluster.ModeStreaming, cluster.NoNode, []cluster.Status{down, up, up}, -1, []cluster.NodeID{1, 2}},
		"primary down":       {cluster.ModeStreaming, 0, []cluster.Status{down, up}, -1, []cluster.NodeID{1}},
		"stray left out":     {cluster.ModeStreaming, cluster.NoNode, []cluster.Status{up, up}, 0, []cluster.NodeID{1}},
		"nobody":             {cluster.ModeStreaming, cluster.NoNode, []cluster.Status{down, cluster.StatusQuarantine}, -1, nil},
		"raw: the one used":  {cluster.ModeRaw, cluster.NoNode, []cluster.Status{down, up, up}, -1, []cluster.NodeID{1}},
		"raw: none is left":  {cluster.ModeRaw, cluster.NoNode, []cluster.Status{down, down}, -1, nil},
		"unused is no node":  {cluster.ModeStreaming, 1, []cluster.Status{cluster.StatusUnused, up}, -1, []cluster.NodeID{1}},
		"waiting is a node":  {cluster.ModeStreaming, 0, []cluster.Status{waiting}, -1, []cluster.NodeID{0}},
		"empty view, no one": {cluster.ModeStreaming, cluster.NoNode, nil, -1, nil},
	} {
		v := &cluster.View{Mode: c.mode, Primary: c.primary}
		for i, s := range c.status {
			v.Nodes = append(v.Nodes, cluster.Node{ID: cluster.NodeID(i), Status: s, Stray: i == c.stray})
		}
		var got []cluster.NodeID
		for _, n := range candidates(v) {
			got = append(got, n.ID)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestHome(t *testing.T) {
	t.Parallel()
	n := cluster.Node{Host: "a", Port: 1, Status: cluster.StatusUp, Epoch: 5, Fenced: 5}
	for name, c := range map[string]struct {
		change             func(*cluster.Node)
		current, condemned bool
	}{
		"as it was":       {func(*cluster.Node) {}, true, false},
		"promoted":        {func(n *cluster.Node) { n.Epoch++ }, false, false},
		"down":            {func(n *cluster.Node) { n.Status = cluster.StatusDown }, false, true},
		"down and back":   {func(n *cluster.Node) { n.Epoch, n.Fenced = 7, 6 }, false, true},
		"another address": {func(n *cluster.Node) { n.Port++ }, false, false},
	} {
		after := n
		c.change(&after)
		v := &cluster.View{Nodes: []cluster.Node{after}}
		h := homeOf(n)
		if h.current(v) != c.current || h.condemned(v) != c.condemned {
			t.Errorf("%s: current %v, condemned %v", name, h.current(v), h.condemned(v))
		}
	}
	if homeOf(n).current(&cluster.View{}) || !homeOf(n).condemned(&cluster.View{}) {
		t.Error("a node that is not there any more")
	}
}
