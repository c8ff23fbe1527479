package health

import (
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/logging"
)

// measure brings the gauges up to date with one round. A delay that could not be measured keeps its last value, so that a
// standby known to be late does not pass for a good one; what the primary says of its standbys is emptied when it does not answer.
func measure(v *cluster.View, s *conf.StreamingCheck, nodes []cluster.NodeGauge, got []reading, now time.Time) {
	primary := ofPrimary(v, got)
	for i := range got {
		g, r := &nodes[i], &got[i]
		g.ReplicationState, g.SyncState = "", ""
		if r.asked {
			g.Probed, g.Reachable = true, r.err == nil
		}
		if r == primary {
			g.Lag, g.LagTime, g.HasLagTime, g.Measured = 0, 0, false, now
			continue
		}
		if primary == nil || v.Mode != cluster.ModeStreaming {
			continue
		}
		peer, streams := find(primary.peers, v.Nodes[i].ApplicationName)
		g.ReplicationState, g.SyncState = peer.State, peer.SyncState
		if !r.asked {
			continue // of a node that is down, auto_failback wants to know that much
		}
		byTime := s.DelayThresholdByTime > 0 && streams && primary.answer.Version >= 10
		if byTime {
			g.LagTime, g.Measured = peer.ReplayLag, now
		}
		g.HasLagTime = byTime
		if r.ok() {
			g.Lag, g.Measured = behind(primary.answer.LSN, r.answer.LSN), now
		}
	}
}

// ofPrimary is the answer of the primary in force, nil if it gave none or is none any more.
func ofPrimary(v *cluster.View, got []reading) *reading {
	if v.Primary < 0 || int(v.Primary) >= len(got) {
		return nil
	}
	if r := &got[v.Primary]; r.ok() && r.answer.Role == cluster.RolePrimary {
		return r
	}
	return nil
}

// saidBy is what the primary said of itself in one round, nil if nothing.
func saidBy(v *cluster.View, got []reading, now time.Time) *cluster.PrimaryGauge {
	r := ofPrimary(v, got)
	if r == nil {
		return nil
	}
	a := &r.answer
	return &cluster.PrimaryGauge{Node: v.Primary, LSN: a.LSN, Sync: a.Sync, Timeline: a.Timeline, Measured: now}
}

// forget empties what a primary has said of its standbys.
func forget(nodes []cluster.NodeGauge) {
	for i := range nodes {
		nodes[i].ReplicationState, nodes[i].SyncState = "", ""
	}
}

// behind is the distance of a standby's position. The primary was asked at the same time, so a standby may seem ahead.
func behind(primary, standby cluster.LSN) cluster.LSN {
	if standby >= primary {
		return 0
	}
	return primary - standby
}

// find looks a node's row of pg_stat_replication up. Of several rows with its name the one that streams counts: a base backup
// may run under the same name.
func find(peers []Peer, name string) (Peer, bool) {
	found, ok := Peer{}, false
	for _, p := range peers {
		if name != "" && p.ApplicationName == name && (!ok || p.State == "streaming") {
			found, ok = p, true
		}
	}
	return found, ok
}

// delays are the lines log_standby_delay wants about what was measured at now.
func delays(v *cluster.View, s *conf.StreamingCheck, nodes []cluster.NodeGauge, now time.Time) []logging.Event {
	var lines []logging.Event
	for i := range v.Nodes {
		id, g := cluster.NodeID(i), &nodes[i]
		if id == v.Primary || !g.Measured.Equal(now) || !tellDelay(s, g) {
			continue
		}
		if g.HasLagTime {
			lines = append(lines, logging.ReplicationDelayTime(id, v.Primary, g.LagTime))
		} else {
			lines = append(lines, logging.ReplicationDelayBytes(id, v.Primary, uint64(g.Lag)))
		}
	}
	return lines
}

func tellDelay(s *conf.StreamingCheck, g *cluster.NodeGauge) bool {
	delayed, over := g.Lag > 0, s.DelayThreshold > 0 && g.Lag > cluster.LSN(s.DelayThreshold)
	if g.HasLagTime {
		delayed, over = g.LagTime > 0, g.LagTime > s.DelayThresholdByTime
	}
	switch s.LogStandbyDelay {
	case conf.StandbyDelayAlways:
		return delayed
	case conf.StandbyDelayIfOverThreshold:
		return over
	case conf.StandbyDelayNone:
		return false
	default:
		panic("health: no such log_standby_delay: " + s.LogStandbyDelay.String())
	}
}
