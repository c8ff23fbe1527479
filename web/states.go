package web

import (
	"strconv"

	"gopgpool/cluster"
)

// This file fills in the metrics of nodes, cluster and watchdog.

func statuses() []string {
	var all []string
	for s := cluster.StatusWaiting; s <= cluster.StatusQuarantine; s++ {
		all = append(all, s.String())
	}
	return all
}

func roles() []string {
	var all []string
	for r := cluster.RoleUnknown; r <= cluster.RoleReplica; r++ {
		all = append(all, r.String())
	}
	return all
}

func operations() []string {
	var all []string
	for op := cluster.OpNone; op <= cluster.OpSwitchover; op++ {
		all = append(all, op.String())
	}
	return all
}

func (o sink) nodes(f *Facts) {
	total := f.View.TotalWeight()
	for i := range f.View.Nodes {
		id := cluster.NodeID(i)
		if !f.known(id) {
			continue
		}
		n, node := &f.View.Nodes[i], nodeLabel(id)
		o.put("node_info", 1, node, valid(n.Host), strconv.Itoa(n.Port))
		o.put("node_up", truth(n.Status.Live()), node)
		o.one("node_status", n.Status.String(), statuses(), node)
		o.one("node_role", n.Role.String(), roles(), node)
		if total > 0 {
			o.put("node_weight_ratio", n.Weight/total, node)
		}
		o.put("node_status_change_timestamp_seconds", stamp(n.LastStatusChange), node)
		if f.Needs != nil {
			_, needs := f.Needs[id]
			o.put("node_needs_agent", truth(needs), node)
		}
		o.gauges(f, id, node)
	}
}

func (o sink) gauges(f *Facts, id cluster.NodeID, node string) {
	g := f.Gauges.Of(id)
	up := f.View.Live(id) // nobody asks the others
	if up && g.Probed {
		o.put("node_reachable", truth(g.Reachable), node)
	}
	if up && f.measured(&g) {
		o.put("replication_lag_bytes", float64(g.Lag), node)
		if g.HasLagTime {
			o.put("replication_lag_seconds", g.LagTime.Seconds(), node)
		}
	}
	if !g.Measured.IsZero() {
		o.put("replication_measured_timestamp_seconds", stamp(g.Measured), node)
	}
	h := &g.HealthCheck
	o.put("health_checks_total", float64(h.Success), node, "success")
	o.put("health_checks_total", float64(h.Fail), node, "fail")
	o.put("health_checks_total", float64(h.Skip), node, "skip")
	o.put("health_check_retries_total", float64(h.Retry), node)
	o.put("health_check_duration_seconds_total", h.TotalDuration.Seconds(), node)
	o.put("health_check_last_success_timestamp_seconds", stamp(h.LastSuccess), node)
}

func (o sink) cluster(f *Facts, h history) {
	v := f.View
	primary := cluster.NoNode
	if f.writer().OK {
		primary = v.Writer()
	}
	o.put("view_generation", float64(v.Generation))
	o.put("primary_node", float64(primary))
	o.one("operation", v.Op.String(), operations())
	o.put("draining", truth(v.Draining))
	for kind, n := range h.failovers {
		o.put("failovers_total", float64(n), kind)
	}
	o.put("failbacks_total", float64(h.failbacks))
	o.put("last_failover_timestamp_seconds", stamp(h.lost))
	o.put("primary_changes_total", float64(h.promotions))
	o.put("last_primary_change_timestamp_seconds", stamp(h.promoted))
	o.put("primary_missing_seconds_total", h.missing.Seconds())
	o.put("switchovers_total", float64(h.switchovers[true]), "done")
	o.put("switchovers_total", float64(h.switchovers[false]), "failed")
}

func (o sink) watchdog(w *Watchdog) {
	o.put("watchdog_state", 1, w.State)
	o.put("watchdog_leader", truth(w.Leads))
	o.put("watchdog_quorum", 1, w.Quorum)
	o.put("watchdog_members", float64(w.Members))
	o.put("watchdog_required_members", float64(w.Required))
	o.put("watchdog_alive_standbys", float64(w.Alive))
	o.put("watchdog_lease_left_seconds", w.LeaseLeft.Seconds())
	if w.HasVIP {
		o.put("watchdog_vip_held", truth(w.HoldsVIP))
	}
}
