package conf

import "time"

// backend is the place of backend_*N; of a node that does not exist one nobody reads.
func (c *Config) backend(n int) *Backend {
	if n >= 0 && n < len(c.Backends) {
		return &c.Backends[n]
	}
	return &Backend{}
}

func backendRows() []Param {
	const f = FamilyBackend
	return []Param{
		numbered(f, Param{
			Name: "backend_hostname", Type: TypeString, Context: Reload,
			Doc: "host of the server; a leading / names a socket directory, empty is /tmp",
		}, func(c *Config, n int) *string { return &c.backend(n).Hostname }),
		numbered(f, Param{
			Name: "backend_port", Type: TypeInt, Context: Reload, Min: 1024, Max: 65535, Default: "0",
			Doc: "port of the server; the node exists when it is set",
		}, func(c *Config, n int) *int { return &c.backend(n).Port }),
		numbered(f, Param{
			Name: "backend_weight", Type: TypeReal, Context: Reload, Max: 100000000, Default: "0",
			Doc: "share of the balanced reads; 0, the default, gets none",
		}, func(c *Config, n int) *float64 { return &c.backend(n).Weight }),
		numbered(f, Param{
			Name: "backend_data_directory", Type: TypeString, Context: Reload,
			Doc: "data directory of the server, for recovery and failover scripts",
		}, func(c *Config, n int) *string { return &c.backend(n).DataDirectory }),
		numbered(f, Param{
			Name: "backend_application_name", Type: TypeString, Context: Reload, Max: 62,
			Doc: "application_name by which the standby streams",
		}, func(c *Config, n int) *string { return &c.backend(n).ApplicationName }),
		numbered(f, Param{
			Name: "backend_flag", Type: TypeFlags, Context: Reload, sep: '|', Default: "ALLOW_TO_FAILOVER",
			Doc: "whether the node may be detached, whether it is always the primary",
		}, func(c *Config, n int) *BackendFlag { return &c.backend(n).Flag }),
	}
}

// health is the place of a health-check parameter: of all nodes, or of one that has values of its own.
func (c *Config) health(n int) *NodeHealthCheck {
	if n == noIndex {
		return &c.HealthCheck.Global
	}
	if h, ok := c.HealthCheck.Nodes[n]; ok {
		return h
	}
	h := c.HealthCheck.Global
	return &h
}

func healthRows() []Param {
	const f = FamilyHealthCheck
	seconds := func(name, def, doc string, at func(c *Config, n int) *time.Duration) Param {
		return numbered(f, duration(name, Reload, "s", 0, def, doc, nil), at)
	}
	texts := func(name, def, doc string, at func(c *Config, n int) *string) Param {
		return numbered(f, text(name, Reload, def, doc, nil), at)
	}
	return []Param{
		seconds("health_check_period", "0", "time between checks of a node; 0 does not check",
			func(c *Config, n int) *time.Duration { return &c.health(n).Period }),
		seconds("health_check_timeout", "20", "time one attempt may take; 0 means for ever",
			func(c *Config, n int) *time.Duration { return &c.health(n).Timeout }),
		texts("health_check_user", "", "user who logs in to check",
			func(c *Config, n int) *string { return &c.health(n).User }),
		secret(texts("health_check_password", "", "that user's password; empty takes it from pool_passwd",
			func(c *Config, n int) *string { return &c.health(n).Password })),
		texts("health_check_database", "postgres", "database that user connects to",
			func(c *Config, n int) *string { return &c.health(n).Database }),
		numbered(f, integer("health_check_max_retries", Reload, 0, maxInt, "0",
			"further attempts before the node counts as failed", nil),
			func(c *Config, n int) *int { return &c.health(n).MaxRetries }),
		seconds("health_check_retry_delay", "1", "pause between these attempts",
			func(c *Config, n int) *time.Duration { return &c.health(n).RetryDelay }),
		numbered(f, duration("connect_timeout", Reload, "ms", 0, "10000",
			"time a TCP connection to a server may take; 0 means for ever", nil),
			func(c *Config, n int) *time.Duration { return &c.health(n).ConnectTimeout }),
		boolean("health_check_test", Start, "off",
			"for tests: let work_dir/backend_down_request name nodes that fail",
			func(c *Config) *bool { return &c.HealthCheck.HealthCheckTest }),
	}
}

func failoverRows() []Param {
	return []Param{
		text("failover_command", Reload, "",
			"shell command run when a node was detached",
			func(c *Config) *string { return &c.Failover.FailoverCommand }),
		text("failback_command", Reload, "",
			"shell command run when a node was attached",
			func(c *Config) *string { return &c.Failover.FailbackCommand }),
		text("follow_primary_command", Reload, "",
			"shell command run for each other node after the primary changed",
			func(c *Config) *string { return &c.Failover.FollowPrimaryCommand }),
		boolean("failover_on_backend_error", Reload, "on",
			"detach a node when a session cannot reach it",
			func(c *Config) *bool { return &c.Failover.FailoverOnBackendError }),
		boolean("failover_on_backend_shutdown", Reload, "off",
			"detach a node when it says that it shuts down",
			func(c *Config) *bool { return &c.Failover.FailoverOnBackendShutdown }),
		duration("search_primary_node_timeout", Reload, "s", 0, "300",
			"how long to look for a primary; 0 means for ever",
			func(c *Config) *time.Duration { return &c.Failover.SearchPrimaryNodeTimeout }),
		boolean("detach_false_primary", Reload, "off",
			"detach a primary that the standbys do not follow",
			func(c *Config) *bool { return &c.Failover.DetachFalsePrimary }),
		boolean("auto_failback", Reload, "off",
			"attach a detached standby again once it streams",
			func(c *Config) *bool { return &c.Failover.AutoFailback }),
		duration("auto_failback_interval", Reload, "s", 0, "60",
			"least time between two such attachments of a node",
			func(c *Config) *time.Duration { return &c.Failover.AutoFailbackInterval }),
	}
}

func recoveryRows() []Param {
	return []Param{
		text("recovery_user", Reload, "",
			"superuser who recovers nodes",
			func(c *Config) *string { return &c.Recovery.RecoveryUser }),
		secret(text("recovery_password", Reload, "",
			"that user's password, not an md5 hash; empty takes it from pool_passwd",
			func(c *Config) *string { return &c.Recovery.RecoveryPassword })),
		text("recovery_database", Reload, "postgres",
			"database with the pgpool_recovery extension",
			func(c *Config) *string { return &c.Recovery.RecoveryDatabase }),
		text("recovery_1st_stage_command", Reload, "",
			"script in the data directory that copies the primary to a new node",
			func(c *Config) *string { return &c.Recovery.Recovery1stStageCommand }),
		text("recovery_2nd_stage_command", Reload, "",
			"script run while no client is connected, in the replicating modes",
			func(c *Config) *string { return &c.Recovery.Recovery2ndStageCommand }),
		duration("recovery_timeout", Reload, "s", 0, "90",
			"wait for clients to leave and for the recovered server to start",
			func(c *Config) *time.Duration { return &c.Recovery.RecoveryTimeout }),
		duration("client_idle_limit_in_recovery", Session, "s", -1, "0",
			"disconnect clients idle for this long in stage 2; 0 never, -1 at once",
			func(c *Config) *time.Duration { return &c.Recovery.ClientIdleLimitInRecovery }),
	}
}
