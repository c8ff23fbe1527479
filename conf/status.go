package conf

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Runtime is what SHOW pool_status tells besides the configuration.
type Runtime struct {
	BackendStatus   []string // by node, as in SHOW pool_nodes; missing ones count as unused
	StandbyDelay    []int64  // by node
	CacheStatsStart time.Time
	CacheHits       uint64
	CacheMisses     uint64
}

// PoolStatus answers SHOW pool_status: items in the order of Pgpool-II 4.7, then our own parameters.
func (c *Config) PoolStatus(r Runtime) []Item {
	var items []Item
	for _, name := range strings.Fields(statusBeforeNodes) {
		items = append(items, c.statusItem(name))
	}
	items = append(items, c.statusWatchdog()...)
	for _, name := range strings.Fields(statusAfterNodes) {
		items = append(items, c.statusCache(name, r))
	}
	items = append(items, c.statusBackends(r)...)
	for i := range params().rows {
		if p := &params().rows[i]; p.Ours && !p.Secret && p.Family == NotNumbered {
			items = append(items, c.statusItem(p.Name))
		}
	}
	return items
}

const statusBeforeNodes = `backend_clustering_mode
	listen_addresses port unix_socket_directories unix_socket_group unix_socket_permissions pcp_listen_addresses pcp_port
	pcp_socket_dir enable_pool_hba pool_passwd authentication_timeout allow_clear_text_frontend_auth
	ssl ssl_key ssl_cert ssl_ca_cert ssl_ca_cert_dir ssl_crl_file ssl_ciphers ssl_prefer_server_ciphers ssl_ecdh_curve
	ssl_dh_params_file ssl_passphrase_command
	listen_backlog_multiplier serialize_accept reserved_connections max_pool process_management_mode
	process_management_strategy num_init_children min_spare_children max_spare_children child_life_time
	child_max_connections connection_life_time client_idle_limit
	log_destination log_line_prefix log_error_verbosity client_min_messages log_min_messages log_connections
	log_disconnections log_pcp_processes log_hostname log_statement log_per_node_statement notice_per_node_statement
	log_client_messages log_backend_messages log_standby_delay syslog_facility syslog_ident
	pid_file_name work_dir
	connection_cache reset_query_list
	replicate_select insert_lock lobj_lock_table replication_stop_on_mismatch failover_if_affected_tuples_mismatch
	load_balance_mode ignore_leading_white_space read_only_function_list write_function_list
	primary_routing_query_pattern_list disable_load_balance_on_write dml_adaptive_object_relationship_list
	statement_level_load_balance
	sr_check_period sr_check_user sr_check_database delay_threshold delay_threshold_by_time prefer_lower_delay_standby
	follow_primary_command
	user_redirect_preference_list database_redirect_preference_list app_name_redirect_preference_list allow_sql_comments
	health_check_period health_check_timeout health_check_user health_check_database health_check_max_retries
	health_check_retry_delay connect_timeout
	failover_command failback_command failover_on_backend_error failover_on_backend_shutdown detach_false_primary
	auto_failback auto_failback_interval
	recovery_user recovery_database recovery_1st_stage_command recovery_2nd_stage_command recovery_timeout
	search_primary_node_timeout client_idle_limit_in_recovery
	relcache_expire relcache_size check_temp_table check_unlogged_table enable_shared_relcache relcache_query_target
	use_watchdog wd_ipc_socket_dir wd_lifecheck_method clear_memqcache_on_escalation wd_escalation_command
	wd_de_escalation_command trusted_servers trusted_server_command delegate_ip wd_priority wd_interval ping_path
	if_cmd_path if_up_cmd if_down_cmd arping_path arping_cmd wd_heartbeat_keepalive wd_heartbeat_deadtime wd_life_point
	wd_lifecheck_query wd_lifecheck_dbname wd_lifecheck_user`

const statusAfterNodes = `wd_monitoring_interfaces_list
	memory_cache_enabled memqcache_method memqcache_memcached_host memqcache_memcached_port memqcache_total_size
	memqcache_max_num_cache memqcache_expire memqcache_auto_cache_invalidation memqcache_maxcache
	memqcache_cache_block_size memqcache_cache_oiddir memqcache_stats_start_time memqcache_no_cache_hits
	memqcache_cache_hits cache_safe_memqcache_table_list cache_unsafe_memqcache_table_list`

func (c *Config) statusItem(name string) Item {
	p := params().byName[name]
	return Item{Name: name, Value: c.raw(p, noIndex), Description: p.Doc}
}

func (c *Config) statusNumbered(name string, n int) Item {
	p := params().byName[name]
	return Item{Name: displayName(key{name, n}), Value: c.raw(p, n), Description: p.Doc}
}

func (c *Config) statusWatchdog() []Item {
	var items []Item
	for _, n := range c.shownIndexes(FamilyWatchdog) {
		for _, name := range []string{"hostname", "pgpool_port", "wd_port"} {
			items = append(items, c.statusNumbered(name, n))
		}
	}
	for _, n := range c.shownIndexes(FamilyHeartbeat) {
		for _, name := range []string{"heartbeat_hostname", "heartbeat_device", "heartbeat_port"} {
			items = append(items, c.statusNumbered(name, n))
		}
	}
	return items
}

// statusCache is an item of the query cache, where some are no parameters.
func (c *Config) statusCache(name string, r Runtime) Item {
	switch name {
	case "memqcache_cache_oiddir":
		i := c.statusItem("memqcache_oiddir")
		i.Name = name
		return i
	case "memqcache_stats_start_time":
		return Item{name, r.CacheStatsStart.Format(time.ANSIC), "since when hits and misses are counted"}
	case "memqcache_no_cache_hits":
		return Item{name, strconv.FormatUint(r.CacheMisses, 10), "reads not answered from the query cache"}
	case "memqcache_cache_hits":
		return Item{name, strconv.FormatUint(r.CacheHits, 10), "reads answered from the query cache"}
	}
	return c.statusItem(name)
}

func (c *Config) statusBackends(r Runtime) []Item {
	sum := 0.0
	for i := range c.Backends {
		sum += c.Backends[i].Weight
	}
	var items []Item
	for _, n := range c.shownIndexes(FamilyBackend) {
		share := 0.0
		if sum > 0 {
			share = c.Backends[n].Weight / sum
		}
		weight := c.statusNumbered("backend_weight", n)
		weight.Value = fmt.Sprintf("%f", share)
		status, delay := "unused", int64(0)
		if n < len(r.BackendStatus) {
			status = r.BackendStatus[n]
		}
		if n < len(r.StandbyDelay) {
			delay = r.StandbyDelay[n]
		}
		items = append(items,
			c.statusNumbered("backend_hostname", n),
			c.statusNumbered("backend_port", n),
			weight,
			c.statusNumbered("backend_data_directory", n),
			Item{backendName("backend_status", n), status, "state of the node"},
			Item{backendName("standby_delay", n), strconv.FormatInt(delay, 10), "how far the standby is behind the primary"},
			c.statusNumbered("backend_flag", n),
			c.statusNumbered("backend_application_name", n),
		)
	}
	return items
}
