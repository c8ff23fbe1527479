package web

import (
	"fmt"
	"testing"
	"time"

	"gopgpool/cluster"
)

// view is one with nodes 0 and 1; change changes it further.
func view(g cluster.Generation, primary cluster.NodeID, zero, one cluster.Status, change func(*cluster.View)) *cluster.View {
	v := &cluster.View{Generation: g, Mode: cluster.ModeStreaming, Primary: primary, Nodes: []cluster.Node{
		{ID: 0, Host: "a", Port: 1, Weight: 1, Status: zero, Role: cluster.RoleStandby},
		{ID: 1, Host: "b", Port: 2, Weight: 1, Status: one, Role: cluster.RoleStandby},
	}}
	if primary != cluster.NoNode {
		v.Nodes[primary].Role = cluster.RolePrimary
	}
	if change != nil {
		change(v)
	}
	return v
}

func seeking(v *cluster.View) { v.Seeking, v.Op = true, cluster.OpFailover }

func switching(run int, phase cluster.SwitchoverPhase) func(*cluster.View) {
	return func(v *cluster.View) {
		v.Switchover = &cluster.Switchover{Run: run, To: 1, Phase: phase}
		if phase < cluster.SwitchoverDone {
			v.Op = cluster.OpSwitchover
		}
	}
}

// Each View comes one second after the one before.
func TestChangesAreCounted(t *testing.T) {
	t.Parallel()
	const up, down, quarantine = cluster.StatusUp, cluster.StatusDown, cluster.StatusQuarantine
	first := view(1, 0, up, up, nil)
	for _, c := range []struct {
		name  string
		views []*cluster.View
		want  string
	}{
		{"nothing", nil, "[] back 0 promotions 0 done 0 failed 0 missing 0s"},
		{
			"a standby is lost and comes back",
			[]*cluster.View{view(2, 0, up, down, nil), view(3, 0, up, up, nil)},
			"[standby 1] back 1 promotions 0 done 0 failed 0 missing 0s",
		},
		{"the primary is lost, another is promoted", []*cluster.View{view(2, -1, down, up, func(v *cluster.View) {
			seeking(v)
			v.Nodes[0].Role = cluster.RoleStandby
		}), view(3, 1, down, up, nil), view(4, 1, down, up, nil)}, "[primary 1] back 0 promotions 1 done 0 failed 0 missing 1s"},
		{
			"the same primary is found again",
			[]*cluster.View{view(2, -1, up, up, seeking), view(3, 0, up, up, nil)},
			"[] back 0 promotions 0 done 0 failed 0 missing 1s",
		},
		{
			"it stays missing",
			[]*cluster.View{view(2, -1, up, up, nil), view(3, -1, up, up, nil), view(4, -1, up, up, nil)},
			"[] back 0 promotions 0 done 0 failed 0 missing 3s",
		},
		{
			"a View seen twice",
			[]*cluster.View{view(2, 0, up, down, nil), view(2, 0, up, down, nil), first},
			"[standby 1] back 0 promotions 0 done 0 failed 0 missing 0s",
		},
		{"quarantine", []*cluster.View{view(2, 0, up, quarantine, nil)}, "[quarantine 1] back 0 promotions 0 done 0 failed 0 missing 0s"},
		{
			"an administrator",
			[]*cluster.View{view(2, 0, up, down, func(v *cluster.View) { v.Nodes[1].Detached = true })},
			"[operator 1] back 0 promotions 0 done 0 failed 0 missing 0s",
		},
		{"reload without the node", []*cluster.View{view(2, 0, up, cluster.StatusUnused, nil)}, "[] back 0 promotions 0 done 0 failed 0 missing 0s"},
		{"a switchover", []*cluster.View{
			view(2, 0, up, up, switching(1, cluster.SwitchoverDraining)), view(3, -1, down, up, func(v *cluster.View) {
				switching(1, cluster.SwitchoverStopping)(v)
				v.Seeking = true
			}), view(4, 1, down, up, switching(1, cluster.SwitchoverDone)), view(5, 1, up, up, switching(1, cluster.SwitchoverDone)),
		}, "[] back 1 promotions 1 done 1 failed 0 missing 1s"},
		{"one that fails, twice", []*cluster.View{
			view(2, 0, up, up, switching(1, cluster.SwitchoverFailed)), view(3, 0, up, up, switching(1, cluster.SwitchoverFailed)),
			view(4, 0, up, up, switching(2, cluster.SwitchoverDraining)), view(5, 0, up, up, switching(2, cluster.SwitchoverFailed)),
		}, "[] back 0 promotions 0 done 0 failed 2 missing 0s"},
	} {
		now := start
		changes := newChanges(first, now)
		for _, v := range c.views {
			now = now.Add(time.Second)
			changes.see(v, now)
		}
		if got := told(changes.read(now.Add(time.Second))); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

func told(h history) string {
	var kinds []string
	for _, k := range failoverKinds() {
		if n := h.failovers[k]; n > 0 {
			kinds = append(kinds, fmt.Sprint(k, " ", n))
		}
	}
	return fmt.Sprintf("%v back %d promotions %d done %d failed %d missing %v",
		kinds, h.failbacks, h.promotions, h.switchovers[true], h.switchovers[false], h.missing)
}
