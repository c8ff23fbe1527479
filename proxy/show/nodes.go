package show

import (
	"strconv"
	"time"

	"gopgpool/cluster"
)

// Live is what a node said of itself when the statement arrived: columns pg_status and pg_role of pool_nodes.
type Live struct {
	Status string // "up", "down", or "unknown" where health checks of the node are off
	Role   string // "primary", "standby", "main", "replica" or "unknown"
}

// Nodes is what SHOW pool_nodes is made of.
type Nodes struct {
	View   *cluster.View
	Gauges *cluster.Gauges
	// Live has the answers of the probes, index = NodeID. Nodes beyond its end are unknown.
	Live []Live
	// Stats are the counters, index = NodeID, see Counters.Snapshot. Nodes beyond its end have none.
	Stats []BackendStat
	// LoadBalanceNode is the node chosen for the asking session, NoNode before a choice.
	LoadBalanceNode cluster.NodeID
}

// PoolNodes answers SHOW pool_nodes: one row for each backend slot up to the highest one configured.
func PoolNodes(in Nodes) Result {
	columns := []string{
		"node_id", "hostname", "port", "status", "pg_status", "lb_weight", "role", "pg_role", "select_cnt",
		"load_balance_node", "replication_delay", "replication_state", "replication_sync_state", "last_status_change",
	}
	total := in.View.TotalWeight()
	rows := make([][]string, 0, len(in.View.Nodes))
	for i := range in.View.Nodes {
		n := &in.View.Nodes[i]
		id := cluster.NodeID(i)
		live, gauge := in.live(id), in.Gauges.Of(id)
		rows = append(rows, []string{
			strconv.Itoa(i), n.Host, strconv.Itoa(n.Port), n.Status.String(), live.Status,
			share(n.Weight, total), n.Role.String(), live.Role, number(statOf(in.Stats, id).Select),
			strconv.FormatBool(id == in.LoadBalanceNode), delay(gauge, id == in.View.Primary),
			gauge.ReplicationState, gauge.SyncState, clock(n.LastStatusChange),
		})
	}
	return table(columns, rows)
}

func (in *Nodes) live(id cluster.NodeID) Live {
	if int(id) >= len(in.Live) {
		return Live{Status: "unknown", Role: "unknown"}
	}
	return in.Live[id]
}

// share is a weight as a part of the sum of all, the form of lb_weight.
func share(weight, total float64) string {
	if total <= 0 {
		return "0.000000"
	}
	return strconv.FormatFloat(weight/total, 'f', 6, 64)
}

// delay words replication_delay: bytes, or seconds where the delay is measured by time. Like Pgpool-II it says "second" below
// two seconds.
func delay(g cluster.NodeGauge, primary bool) string {
	switch {
	case primary:
		return "0"
	case !g.HasLagTime:
		return number(uint64(g.Lag))
	case g.LagTime < 2*time.Second:
		return strconv.FormatFloat(g.LagTime.Seconds(), 'f', 6, 64) + " second"
	default:
		return strconv.FormatFloat(g.LagTime.Seconds(), 'f', 6, 64) + " seconds"
	}
}

// PoolHealthCheckStats answers SHOW pool_health_check_stats.
func PoolHealthCheckStats(view *cluster.View, gauges *cluster.Gauges) Result {
	columns := []string{
		"node_id", "hostname", "port", "status", "role", "last_status_change", "total_count", "success_count",
		"fail_count", "skip_count", "retry_count", "average_retry_count", "max_retry_count", "max_duration",
		"min_duration", "average_duration", "last_health_check", "last_successful_health_check",
		"last_skip_health_check", "last_failed_health_check",
	}
	rows := make([][]string, 0, len(view.Nodes))
	for i := range view.Nodes {
		s := gauges.Of(cluster.NodeID(i)).HealthCheck
		// Skipped rounds probe nothing, so they count in no average.
		probed := s.Total - s.Skip
		rows = append(rows, append(nodeHead(view, i), clock(view.Nodes[i].LastStatusChange),
			number(s.Total), number(s.Success), number(s.Fail), number(s.Skip), number(s.Retry),
			mean(float64(s.Retry), probed), number(s.MaxRetry),
			millis(s.MaxDuration), millis(s.MinDuration),
			mean(float64(s.TotalDuration)/float64(time.Millisecond), probed),
			clock(s.Last), clock(s.LastSuccess), clock(s.LastSkip), clock(s.LastFailure)))
	}
	return table(columns, rows)
}

// PoolBackendStats answers SHOW pool_backend_stats. Stats come from Counters.Snapshot, index = NodeID.
func PoolBackendStats(view *cluster.View, stats []BackendStat) Result {
	columns := []string{
		"node_id", "hostname", "port", "status", "role", "select_cnt", "insert_cnt", "update_cnt", "delete_cnt",
		"ddl_cnt", "other_cnt", "panic_cnt", "fatal_cnt", "error_cnt",
	}
	rows := make([][]string, 0, len(view.Nodes))
	for i := range view.Nodes {
		s := statOf(stats, cluster.NodeID(i))
		rows = append(rows, append(nodeHead(view, i),
			number(s.Select), number(s.Insert), number(s.Update), number(s.Delete),
			number(s.DDL), number(s.Other), number(s.Panic), number(s.Fatal), number(s.Error)))
	}
	return table(columns, rows)
}

// nodeHead is node_id, hostname, port, status, role: the first columns of both statistics.
func nodeHead(view *cluster.View, i int) []string {
	n := &view.Nodes[i]
	return []string{strconv.Itoa(i), n.Host, strconv.Itoa(n.Port), n.Status.String(), n.Role.String()}
}

// mean is sum/n as %f, zero where nothing was counted.
func mean(sum float64, n uint64) string {
	if n == 0 {
		return "0.000000"
	}
	return strconv.FormatFloat(sum/float64(n), 'f', 6, 64)
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
