package web

import "github.com/prometheus/client_golang/prometheus"

// kind is what sort of metric a family is.
type kind uint8

const (
	gauge kind = iota
	counter
	histogram
)

func (k kind) String() string { return [...]string{"gauge", "counter", "histogram"}[k] }

func (k kind) value() prometheus.ValueType {
	if k == counter {
		return prometheus.CounterValue
	}
	return prometheus.GaugeValue
}

// family is the description of one metric.
type family struct {
	name   string
	kind   kind
	help   string
	labels []string
}

func of(name string, k kind, help string, labels ...string) family {
	return family{"pgpool_" + name, k, help, labels}
}

// families are all metrics of ours, by subject. docs/metrics.md is made of them.
func families() []family {
	var all []family
	for _, part := range [][]family{
		processFamilies(), sessionFamilies(), poolFamilies(), statementFamilies(), holdFamilies(), nodeFamilies(), clusterFamilies(), watchdogFamilies(),
	} {
		all = append(all, part...)
	}
	return all
}

func processFamilies() []family {
	return []family{
		of("build_info", gauge, "Always 1; tells the version.", "version", "goversion"),
		of("ready", gauge, "1 while /readiness says so: new clients are let in."),
		of("loop_answered", gauge, "0 while an event loop is held up: its counters are those it told last, its sessions are missing.", "loop"),
		of("loop_tasks", gauge, "Tasks on an event loop, one for each client and a few more.", "loop"),
		of("loop_held_seconds", gauge, "How long the present turn of an event loop has lasted; 0 while it waits for work.", "loop"),
	}
}

func sessionFamilies() []family {
	return []family{
		of("sessions", gauge, "Client sessions by what they do, as SHOW pool_sessions has it. Sessions that have not logged in have no database.", "database", "state"),
		of("client_slots_used", gauge, "Places for clients in use: of sessions that keep their server connections, and of those that share them.", "mode"),
		of("client_slots", gauge, "Places for clients there are: num_init_children, and max_client_conn with shared connections.", "mode"),
		of("logins_total", counter, "Logins by how they ended; abandoned ones were given up by the client.", "result"),
		of("pinned_sessions", gauge, "Sessions that share connections and keep one now, by why; a session may have several reasons.", "reason"),
		of("pins_total", counter, "Times that a session came to keep a shared connection, by why.", "reason"),
		of("errors_total", counter, "Errors of pgpool itself to clients, by class of SQLSTATE.", "class"),
	}
}

func poolFamilies() []family {
	return []family{
		of("pool_connections", gauge, "Server connections by what they do: active (leased), idle, opening.", "database", "node", "state"),
		of("pool_waiting_clients", gauge, "Sessions that wait for a free server connection.", "database", "node"),
		of("pool_max_wait_seconds", gauge, "How long the first of the waiting sessions has waited.", "database", "node"),
		of("pool_leases_total", counter, "Server connections that sessions have asked the pool for.", "node"),
		of("pool_waits_total", counter, "Of those, the ones that had to wait.", "node"),
		of("pool_wait_seconds_total", counter, "Time that sessions have waited for server connections.", "node"),
		of("server_connections_opened_total", counter, "Connections to servers that were opened for clients.", "node"),
		of("server_connections_closed_total", counter, "Connections to servers that were opened for clients and are closed.", "node"),
	}
}

func statementFamilies() []family {
	return []family{
		of("query_duration_seconds", histogram, "Time from sending a statement to the end of its answer, by node and class: read, write, transaction, other. "+
			"What pgpool answers itself is not in it.", "node", "class"),
		of("routes_total", counter, "Statements sent to a node, by why there.", "node", "reason"),
		of("server_errors_total", counter, "Errors of servers, by class of SQLSTATE.", "node", "class"),
	}
}

func holdFamilies() []family {
	return []family{
		of("held_sessions", gauge, "Sessions whose statement waits for a node that can run it, a primary mostly."),
		of("held_bytes", gauge, "Bytes of the statements that wait."),
		of("holds_total", counter, "Statements that had to wait for a node that can run them."),
		of("holds_refused_total", counter, "Statements that were refused instead, for as many as may were waiting."),
		of("holds_expired_total", counter, "Statements that were refused after they had waited."),
		of("hold_duration_seconds", histogram, "How long statements have waited for a node that can run them."),
		of("reruns_total", counter, "Reads that were lost with their server and run again elsewhere."),
		of("commit_outcomes_total", counter, "COMMITs that were under way when their server was lost, by what the client was told.", "outcome"),
	}
}

func nodeFamilies() []family {
	return []family{
		of("node_info", gauge, "Always 1; tells the address of a node.", "node", "hostname", "port"),
		of("node_up", gauge, "1 if statements are sent to the node.", "node"),
		of("node_status", gauge, "1 for the status a node has, as SHOW pool_nodes has it.", "node", "status"),
		of("node_role", gauge, "1 for the role a node has.", "node", "role"),
		of("node_reachable", gauge, "1 if the node has answered the last probe. Missing of nodes that are not up: nobody asks them.", "node"),
		of("node_weight_ratio", gauge, "The node's share of the reads that are balanced.", "node"),
		of("node_status_change_timestamp_seconds", gauge, "When the node's status last changed.", "node"),
		of("node_needs_agent", gauge, "1 if something is left undone because nobody is at the server's host, or its agent does not obey; /nodes says what. "+
			"Told by the pgpool that acts on the servers (auto_failover).", "node"),
		of("replication_lag_bytes", gauge, "How much WAL of the primary a standby has not replayed. Missing of nodes that are not up, and where it is no longer known.", "node"),
		of("replication_lag_seconds", gauge, "How late a standby replays; measured with delay_threshold_by_time, and missing like the bytes.", "node"),
		of("replication_measured_timestamp_seconds", gauge, "When the delay was last measured.", "node"),
		of("health_checks_total", counter, "Health checks by result: success, fail, skip.", "node", "result"),
		of("health_check_retries_total", counter, "Retries of health checks.", "node"),
		of("health_check_duration_seconds_total", counter, "Time that health checks have taken.", "node"),
		of("health_check_last_success_timestamp_seconds", gauge, "When a health check last succeeded.", "node"),
	}
}

func clusterFamilies() []family {
	return []family{
		of("view_generation", gauge, "Rises with each decision about the nodes."),
		of("primary_node", gauge, "Number of the node that takes writes, -1 while there is none."),
		of("operation", gauge, "1 for what failover is carrying out: none, failover, failback, promote node operation, switchover.", "operation"),
		of("draining", gauge, "1 while a planned switchover lets transactions end before it begins."),
		of("failovers_total", counter, "Nodes that were given up, by the role they had; quarantine and operator tell of those that were not lost for certain, "+
			"and of those that an administrator took out.", "kind"),
		of("failbacks_total", counter, "Nodes that were taken in again."),
		of("last_failover_timestamp_seconds", gauge, "When a node was last given up; 0 never."),
		of("primary_changes_total", counter, "Times that another node became the primary."),
		of("last_primary_change_timestamp_seconds", gauge, "When another node last became the primary; 0 never."),
		of("primary_missing_seconds_total", counter, "Time in which no live primary was known."),
		of("switchovers_total", counter, "Planned switchovers by result: done, failed.", "result"),
	}
}

func watchdogFamilies() []family {
	return []family{
		of("watchdog_state", gauge, "1 for the state of this node in the watchdog cluster. Metrics of the watchdog are missing where it is off.", "state"),
		of("watchdog_leader", gauge, "1 if this node leads the watchdog cluster by a majority."),
		of("watchdog_quorum", gauge, "1 for the state of the quorum, as pcp_watchdog_info words it.", "quorum"),
		of("watchdog_members", gauge, "Nodes that count for the quorum."),
		of("watchdog_required_members", gauge, "How many of them must be alive."),
		of("watchdog_alive_standbys", gauge, "Standbys that have joined the leader."),
		of("watchdog_lease_left_seconds", gauge, "For how long nobody else can lead; 0 on all but the leader."),
		of("watchdog_vip_held", gauge, "1 if delegate_ip is on this node."),
	}
}
