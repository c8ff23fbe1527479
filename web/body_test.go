package web

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"gopgpool/cluster"
)

// What was measured of a server that nobody asks any more, or too long ago, passes for nothing that is so now.
func TestWhatIsNoLongerKnownIsNotTold(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		status cluster.Status
		age    time.Duration
		json   string // fields of node 1
		metric string // of node 1
	}{
		{"up", cluster.StatusUp, time.Second, "answers lag_bytes lag_seconds", "node_reachable replication_lag_bytes replication_lag_seconds"},
		{"measured long ago", cluster.StatusUp, time.Hour, "answers", "node_reachable"},
		{"down", cluster.StatusDown, time.Second, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld()
			w.store.Publish(view(4, 0, cluster.StatusUp, c.status, nil))
			g := *w.store.Gauges()
			g.Nodes[1].Measured = time.Now().Add(-c.age)
			col := collectorOf(t, w)
			var node map[string]any
			if err := json.Unmarshal(answer(col.s.facts(), "/nodes/1", queryOf("")).body, &node); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"answers", "lag_bytes", "lag_seconds"} {
				if _, told := node[name]; told != strings.Contains(c.json, name) {
					t.Errorf("%s: told %v", name, told)
				}
			}
			text := scraped(t, col)
			for _, name := range []string{"node_reachable", "replication_lag_bytes", "replication_lag_seconds"} {
				if told := strings.Contains(text, "pgpool_"+name+`{node="1"}`); told != strings.Contains(c.metric, name) {
					t.Errorf("%s: told %v", name, told)
				}
			}
			if !strings.Contains(text, `pgpool_replication_measured_timestamp_seconds{node="1"}`) {
				t.Error("it is not told when it was measured")
			}
		})
	}
}
