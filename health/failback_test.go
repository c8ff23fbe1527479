package health

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
)

// failing is what mayFailBack looks at, of a node that is down.
type failing struct {
	v *cluster.View
	g cluster.NodeGauge
	s Settings
}

func TestMayFailBack(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*failing)
		last   time.Time
		want   bool
	}{
		{"down and streaming", func(*failing) {}, time.Time{}, true},
		{"off", func(c *failing) { c.s.AutoFailback = false }, time.Time{}, false},
		{"up", func(c *failing) { c.v.Nodes[1].Status = cluster.StatusUp }, time.Time{}, false},
		{"quarantined", func(c *failing) { c.v.Nodes[1].Status = cluster.StatusQuarantine }, time.Time{}, false},
		{"unused by the status file", func(c *failing) { c.v.Nodes[1].Status = cluster.StatusUnused }, time.Time{}, true},
		{"not configured", func(c *failing) { c.v.Nodes[1] = cluster.Node{ID: 1} }, time.Time{}, false},
		{"another mode", func(c *failing) { c.v.Mode = cluster.ModeLogical }, time.Time{}, false},
		{"catching up", func(c *failing) { c.g.ReplicationState = "catchup" }, time.Time{}, false},
		{"not known to stream", func(c *failing) { c.g.ReplicationState = "" }, time.Time{}, false},
		{"a failover runs", func(c *failing) { c.v.Op = cluster.OpFailover }, time.Time{}, false},
		{"the primary is sought", func(c *failing) { c.v.Seeking = true }, time.Time{}, false},
		{"no primary", func(c *failing) { c.v.Primary = cluster.NoNode }, time.Time{}, false},
		{"follow_primary_command runs", func(c *failing) { c.v.Following = true }, time.Time{}, false},
		{"just attached", func(*failing) {}, noon.Add(-59 * time.Second), false},
		{"attached long ago", func(*failing) {}, noon.Add(-60 * time.Second), true},
		{"no interval", func(c *failing) { c.s.AutoFailbackInterval = 0 }, noon, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := &failing{
				v: three(cluster.ModeStreaming), g: cluster.NodeGauge{ReplicationState: "streaming"},
				s: Settings{AutoFailback: true, AutoFailbackInterval: time.Minute},
			}
			c.v.Nodes[1].Status, c.v.Nodes[1].Port = cluster.StatusDown, 5432
			tc.change(c)
			if got := mayFailBack(c.v, 1, c.g, &c.s, tc.last, noon); got != tc.want {
				t.Errorf("%v, want %v", got, tc.want)
			}
		})
	}
}

func TestAutoFailback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, conf.NodeHealthCheck{Period: 10 * time.Second})
		w.settings.AutoFailback, w.settings.AutoFailbackInterval = true, time.Minute
		v := three(cluster.ModeStreaming)
		v.Nodes[1].Status, v.Nodes[1].Port = cluster.StatusDown, 5432
		w.store.Publish(v)
		w.start(t)
		streams := func(state string) {
			w.check.board.update(3, func(nodes []cluster.NodeGauge) { nodes[1].ReplicationState = state })
		}
		sleep(t.Context(), 15*time.Second) // cycles at 0, 10
		streams("streaming")
		w.set(func() { w.fails[1] = 1 })
		sleep(t.Context(), 10*time.Second) // at 20, and it does not let us in
		if got := w.verdicts(1); got != "" {
			t.Errorf("it did not let us in: %s", got)
		}
		sleep(t.Context(), 10*time.Second) // at 30
		if got := w.verdicts(1); got != "R" {
			t.Errorf("it streams: %s", got)
		}
		// Whoever decides was busy: it is asked again, after the interval.
		sleep(t.Context(), 59*time.Second) // up to 94
		if got := w.verdicts(1); got != "RR" {
			t.Errorf("after the interval: %s", got)
		}
		if s := w.stats(1); s.Skip != s.Total || s.Total != 10 || s.MaxDuration != 0 {
			t.Errorf("the cycles were not counted as skipped: %+v", s)
		}
		if n := strings.Count(w.lines.String(), "LOG:  request auto failback, node id:1\n"); n != 2 {
			t.Errorf("told %d times:\n%s", n, w.lines)
		}
	})
}
