package health

import (
	"context"
	"fmt"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/logging"
)

// mayFailBack decides whether a node that is down may be attached without an administrator, if it lets us in (manual:
// auto_failback): the primary says that it streams, nothing else is being carried out, and the last attempt was long enough ago.
func mayFailBack(v *cluster.View, id cluster.NodeID, g cluster.NodeGauge, s *Settings, last, now time.Time) bool {
	n := &v.Nodes[id]
	return s.AutoFailback && v.Mode == cluster.ModeStreaming &&
		n.Port > 0 && (n.Status == cluster.StatusDown || n.Status == cluster.StatusUnused) &&
		v.Op == cluster.OpNone && !v.Following && !v.Seeking && v.Live(v.Primary) &&
		g.ReplicationState == "streaming" &&
		(last.IsZero() || now.Sub(last) >= s.AutoFailbackInterval)
}

// failBack reports a node that is down and well again.
func (w *watcher) failBack(ctx context.Context, v *cluster.View, c conf.NodeHealthCheck, s *Settings) {
	now := time.Now()
	if !mayFailBack(v, w.id, w.store.Gauges().Of(w.id), s, w.attached, now) {
		return
	}
	if w.attempt(ctx, v.Nodes[w.id], bounded(c), s.HealthCheck.HealthCheckTest) != nil {
		return
	}
	w.attached = now
	w.log.Log(logging.Event{Node: logging.OnNode(w.id), Message: fmt.Sprintf("request auto failback, node id:%d", w.id)})
	w.report(Finding{Node: w.id, Seen: v, Verdict: Returned})
}
