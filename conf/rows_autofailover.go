package conf

import "time"

// autoFailoverRows are about promotion without scripts, and what goes with it.
func autoFailoverRows() []Param {
	return []Param{
		ours(boolean("auto_failover", Reload, "off",
			"promote and rejoin servers without scripts where failover_command is empty",
			func(c *Config) *bool { return &c.Failover.AutoFailover })),
		ours(size("max_lag_on_failover", Reload, "B", 0, maxLong, "1MB",
			"a standby that lacks more WAL than this is not promoted; 0 is no bound",
			func(c *Config) *int64 { return &c.Failover.MaxLagOnFailover })),
		ours(duration("switchover_timeout", Reload, "s", 1, "10",
			"how long a planned switchover waits for transactions to end",
			func(c *Config) *time.Duration { return &c.Failover.SwitchoverTimeout })),
		ours(duration("failover_hold_timeout", Reload, "s", 0, "30",
			"how long a statement that was not sent waits for a primary",
			func(c *Config) *time.Duration { return &c.Failover.HoldTimeout })),
		ours(integer("failover_hold_sessions", Reload, 0, maxInt, "0",
			"how many sessions may wait for a primary at a time; 0 is no bound",
			func(c *Config) *int { return &c.Failover.HoldSessions })),
		ours(size("failover_hold_memory", Reload, "B", 0, maxLong, "64MB",
			"how many bytes of statements may wait for a primary; 0 is no bound",
			func(c *Config) *int64 { return &c.Failover.HoldMemory })),
		ours(integer("failover_release_rate", Reload, 0, maxInt, "5000",
			"how many held sessions a second go on to a new primary; 0 is no bound",
			func(c *Config) *int { return &c.Failover.ReleaseRate })),
		ours(boolean("rerun_lost_reads", Reload, "on",
			"run a read again elsewhere that was lost before it returned anything",
			func(c *Config) *bool { return &c.Failover.RerunLostReads })),
		ours(boolean("commit_outcome", Reload, "on",
			"with auto_failover: find out whether a COMMIT lost with its server was done",
			func(c *Config) *bool { return &c.Failover.CommitOutcome })),
		ours(text("after_promotion_command", Reload, "",
			"shell command run when a primary was promoted without a script",
			func(c *Config) *string { return &c.Failover.AfterPromotionCommand })),
		ours(text("replication_user", Reload, "",
			"user standbys stream as after auto_failover; empty keeps what they have",
			func(c *Config) *string { return &c.Failover.ReplicationUser })),
		ours(secret(text("replication_password", Reload, "",
			"that user's password; empty leaves it to .pgpass or pg_hba.conf of the servers",
			func(c *Config) *string { return &c.Failover.ReplicationPassword }))),
		ours(boolean("sync_standby_guard", Reload, "off",
			"let writes go on asynchronously when the synchronous standby is lost",
			func(c *Config) *bool { return &c.Failover.SyncStandbyGuard })),
		ours(duration("sync_standby_keepalive_time", Reload, "s", 1, "5",
			"time between two checks of the synchronous standby",
			func(c *Config) *time.Duration { return &c.Failover.SyncStandbyKeepaliveTime })),
		ours(integer("sync_standby_keepalive_count", Reload, 1, maxInt, "4",
			"failed checks in a row after which the synchronous standby is lost",
			func(c *Config) *int { return &c.Failover.SyncStandbyKeepaliveCount })),
	}
}

func agentRows() []Param {
	return []Param{
		ours(numbered(FamilyAgent, text("backend_agent", Reload, "",
			"host:port of the server's pgpool agent, :port on backend_hostname; empty: none", nil),
			func(c *Config, n int) *string { return &c.backend(n).Agent })),
		ours(list("agent_listen_addresses", Start, ',', "*",
			"addresses pgpool agent listens on",
			func(c *Config) *[]string { return &c.Agent.ListenAddresses })),
		ours(Param{
			Name: "agent_port", Type: TypeInt, Context: Start, Min: 1, Max: 65535, Default: "9997",
			Doc: "port pgpool agent listens on", at: scalar(func(c *Config) *int { return &c.Agent.Port }),
		}),
		ours(path("agent_key_file", Reload, "",
			"file with the key that pgpool and its agents share",
			func(c *Config) *string { return &c.Agent.KeyFile })),
		ours(path("agent_ssl_cert", Start, "",
			"certificate of this side of an agent's connection, PEM",
			func(c *Config) *string { return &c.Agent.SSLCert })),
		ours(path("agent_ssl_key", Start, "",
			"private key of agent_ssl_cert, PEM",
			func(c *Config) *string { return &c.Agent.SSLKey })),
		ours(path("agent_ssl_ca_cert", Start, "",
			"authorities the other side's certificate must come from, PEM",
			func(c *Config) *string { return &c.Agent.SSLCACert })),
		ours(path("agent_data_directory", Start, "",
			"data directory of the server pgpool agent looks after",
			func(c *Config) *string { return &c.Agent.DataDirectory })),
		ours(path("agent_bin_directory", Reload, "",
			"directory of pg_ctl, pg_rewind and pg_basebackup; empty finds it",
			func(c *Config) *string { return &c.Agent.BinDirectory })),
		ours(path("agent_state_file", Start, "",
			"where pgpool agent keeps the term it obeys; empty is beside the data directory",
			func(c *Config) *string { return &c.Agent.StateFile })),
		ours(boolean("agent_fencing", Reload, "off",
			"an agent without contact for agent_lease_time stops its primary",
			func(c *Config) *bool { return &c.Agent.Fencing })),
		ours(duration("agent_lease_time", Reload, "s", 3, "10",
			"time without contact after which agent_fencing stops the primary",
			func(c *Config) *time.Duration { return &c.Agent.LeaseTime })),
	}
}

func httpRows() []Param {
	return []Param{
		ours(list("http_listen_addresses", Start, ',', "localhost",
			"addresses that answer health checks and metrics over HTTP",
			func(c *Config) *[]string { return &c.HTTP.ListenAddresses })),
		ours(Param{
			Name: "http_port", Type: TypeInt, Context: Start, Min: 0, Max: 65535, Default: "0",
			Doc: "port for health checks and metrics over HTTP; 0 is off", at: scalar(func(c *Config) *int { return &c.HTTP.Port }),
		}),
	}
}
