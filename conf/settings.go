package conf

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Difference is a setting that two pgpool nodes of a cluster have differently.
type Difference struct {
	Name          string
	Local, Remote string
}

// Texts are the words the leader logs about a joining node of that name as a WARNING (manual: watchdog, configuration consistency).
func (d Difference) Texts(node string) (message, detail string) {
	return fmt.Sprintf("configurations value for \"%s\" on node \"%s\" is different", d.Name, node),
		fmt.Sprintf("it is \"%s\" here and \"%s\" there", d.Local, d.Remote)
}

// CompareClusterSettings compares two nodes' ClusterSettings and returns what differs, in order of the names. A name only one of them
// has is left out: the other node is of another version, or has fewer backends, which differs by its number.
func CompareClusterSettings(local, remote map[string]string) []Difference {
	var out []Difference
	for _, name := range slices.Sorted(maps.Keys(local)) {
		if there, ok := remote[name]; ok && there != local[name] {
			out = append(out, Difference{Name: name, Local: local[name], Remote: there})
		}
	}
	return out
}

const (
	comparedNumbers = `num_init_children listen_backlog_multiplier child_life_time connection_life_time child_max_connections
		client_idle_limit max_pool health_check_timeout health_check_period health_check_max_retries health_check_retry_delay
		recovery_timeout search_primary_node_timeout client_idle_limit_in_recovery`
	comparedBooleans = `replication_mode enable_pool_hba load_balance_mode replication_stop_on_mismatch allow_clear_text_frontend_auth
		failover_if_affected_tuples_mismatch failover_on_backend_error replicate_select connection_cache insert_lock
		memory_cache_enabled clear_memqcache_on_escalation failover_when_quorum_exists failover_require_consensus
		allow_multiple_failover_requests_from_node`
	// comparedByUs is what Pgpool-II does not compare although the cluster needs it to be equal.
	comparedByUs = `enable_consensus_with_half_votes`
)

// ClusterSettings is what should be equal on all pgpool nodes, by name: numbers in the parameter's base unit, ON and OFF, and the
// backends. No secrets are among it. The names that are no parameters count nodes.
func (c *Config) ClusterSettings() map[string]string {
	out := make(map[string]string)
	for _, name := range strings.Fields(comparedNumbers) {
		out[name] = c.raw(params().byName[name], noIndex)
	}
	for _, name := range strings.Fields(comparedBooleans + " " + comparedByUs) {
		out[name] = strings.ToUpper(c.show(params().byName[name], noIndex))
	}
	backends := 0
	for i := range c.Backends {
		b := &c.Backends[i]
		if !b.Exists() {
			continue
		}
		backends++
		out[backendName("backend_hostname", i)] = foldHost(b.Hostname)
		out[backendName("backend_port", i)] = itoa(b.Port)
	}
	out["number of backends"] = itoa(backends)
	out["number of watchdog nodes"] = itoa(len(c.Watchdog.Nodes))
	out["backend_clustering_mode"] = c.BackendClusteringMode.String()
	out["delegate_ip"] = foldAddress(c.Watchdog.DelegateIP)
	out["wd_lease_time"] = strconv.FormatInt(int64(c.Watchdog.Lease().Seconds()), 10)
	return out
}

// foldHost is a host name without regard to case; names of files keep theirs.
func foldHost(host string) string {
	if strings.HasPrefix(host, "/") {
		return host
	}
	return strings.ToLower(host)
}

// foldAddress is the usual form of an address, of which IPv6 has several.
func foldAddress(text string) string {
	if ip, err := netip.ParseAddr(text); err == nil {
		return ip.String()
	}
	return text
}
