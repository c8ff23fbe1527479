package conf

import "time"

// sharingRows are the parameters whose names and meaning are PgBouncer's.
func sharingRows() []Param {
	var rows []Param
	for _, r := range [][]Param{poolModeRows(), poolSizeRows(), poolTimeRows(), pinRows()} {
		for _, p := range r {
			rows = append(rows, ours(p))
		}
	}
	return rows
}

func poolModeRows() []Param {
	return []Param{
		enum("pool_mode", Reload, poolModes(), "session",
			"when a server connection may serve another client; for new sessions",
			func(c *Config) *PoolMode { return &c.Pools.PoolMode }),
		path("pool_file", Reload, "",
			"file with settings of single databases and users; empty means none",
			func(c *Config) *string { return &c.Pools.PoolFile }),
		list("ignore_startup_parameters", Reload, ',', "",
			"parameters in a client's startup packet that are dropped silently",
			func(c *Config) *[]string { return &c.Pools.IgnoreStartupParameters }),
		integer("max_prepared_statements", Reload, 0, maxInt, "200",
			"prepared statements kept per server connection; 0 pins the session",
			func(c *Config) *int { return &c.Pools.MaxPreparedStatements }),
		list("admin_users", Reload, ',', "",
			"users who may pause, resume, reconnect, kill; empty: superusers",
			func(c *Config) *[]string { return &c.Pools.AdminUsers }),
	}
}

func poolSizeRows() []Param {
	return []Param{
		integer("default_pool_size", Reload, 0, maxInt, "20",
			"server connections per database and user and node; 0 sets no bound",
			func(c *Config) *int { return &c.Pools.DefaultPoolSize }),
		integer("min_pool_size", Reload, 0, maxInt, "0",
			"server connections kept open per database and user and node",
			func(c *Config) *int { return &c.Pools.MinPoolSize }),
		integer("reserve_pool_size", Reload, 0, maxInt, "0",
			"more of them for clients that waited reserve_pool_timeout",
			func(c *Config) *int { return &c.Pools.ReservePoolSize }),
		duration("reserve_pool_timeout", Reload, "s", 0, "5",
			"wait after which the reserve may be used; 0 leaves it unused",
			func(c *Config) *time.Duration { return &c.Pools.ReservePoolTimeout }),
		integer("max_db_connections", Reload, 0, maxInt, "0",
			"server connections per database and node; 0 sets no bound",
			func(c *Config) *int { return &c.Pools.MaxDbConnections }),
		integer("max_user_connections", Reload, 0, maxInt, "0",
			"server connections per user and node; 0 sets no bound",
			func(c *Config) *int { return &c.Pools.MaxUserConnections }),
		integer("max_db_client_connections", Reload, 0, maxInt, "0",
			"client sessions per database; 0 sets no bound",
			func(c *Config) *int { return &c.Pools.MaxDbClientConnections }),
		integer("max_user_client_connections", Reload, 0, maxInt, "0",
			"client sessions per user; 0 sets no bound",
			func(c *Config) *int { return &c.Pools.MaxUserClientConnections }),
	}
}

func poolTimeRows() []Param {
	return []Param{
		duration("query_timeout", Reload, "s", 0, "0",
			"cancel a statement that runs for longer; 0 never does",
			func(c *Config) *time.Duration { return &c.Pools.QueryTimeout }),
		duration("transaction_timeout", Reload, "s", 0, "0",
			"disconnect a client whose transaction takes longer; 0 never does",
			func(c *Config) *time.Duration { return &c.Pools.TransactionTimeout }),
		duration("idle_transaction_timeout", Reload, "s", 0, "0",
			"disconnect a client idle in a transaction for longer; 0 never does",
			func(c *Config) *time.Duration { return &c.Pools.IdleTransactionTimeout }),
		duration("client_idle_timeout", Reload, "s", 0, "0",
			"client_idle_limit where connections are shared; unset: that one",
			func(c *Config) *time.Duration { return &c.Pools.ClientIdleTimeout }),
		duration("server_idle_timeout", Reload, "s", 0, "600",
			"connection_life_time where connections are shared; 0 never closes",
			func(c *Config) *time.Duration { return &c.Pools.ServerIdleTimeout }),
		duration("server_lifetime", Reload, "s", 0, "3600",
			"close an unused server connection that is older; 0 uses it once",
			func(c *Config) *time.Duration { return &c.Pools.ServerLifetime }),
		duration("server_check_delay", Reload, "s", 0, "30",
			"try a server connection before use that was idle for longer",
			func(c *Config) *time.Duration { return &c.Pools.ServerCheckDelay }),
		text("server_check_query", Reload, "select 1",
			"query that tries it; empty tries nothing, <empty> sends an empty one",
			func(c *Config) *string { return &c.Pools.ServerCheckQuery }),
	}
}

func pinRows() []Param {
	return []Param{
		enum("pin_mode", Reload, pinModes(), "pin",
			"keep the connection of a session with immovable state, or refuse that",
			func(c *Config) *PinMode { return &c.Pools.PinMode }),
		patterns("safe_function_list", Reload, ',',
			"functions of users that leave no state in the session",
			func(c *Config) *Patterns { return &c.Pools.SafeFunctionList }),
		patterns("unsafe_function_list", Reload, ',',
			"functions that leave state in the session which cannot be moved",
			func(c *Config) *Patterns { return &c.Pools.UnsafeFunctionList }),
	}
}
