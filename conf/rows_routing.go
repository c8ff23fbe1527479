package conf

import "time"

func loadBalanceRows() []Param {
	return append(balanceRows(), preferenceRows()...)
}

func balanceRows() []Param {
	return []Param{
		boolean("load_balance_mode", Start, "on",
			"spread reads over the nodes by backend_weight",
			func(c *Config) *bool { return &c.LoadBalance.LoadBalanceMode }),
		boolean("statement_level_load_balance", Reload, "off",
			"choose the node for each read instead of once per session",
			func(c *Config) *bool { return &c.LoadBalance.StatementLevelLoadBalance }),
		boolean("ignore_leading_white_space", Reload, "on",
			"balance reads that begin with white space",
			func(c *Config) *bool { return &c.LoadBalance.IgnoreLeadingWhiteSpace }),
		boolean("allow_sql_comments", Session, "off",
			"balance and cache reads that begin with a comment",
			func(c *Config) *bool { return &c.LoadBalance.AllowSQLComments }),
		enum("disable_load_balance_on_write", Reload, onWrites(), "transaction",
			"which reads follow a write to the primary",
			func(c *Config) *DisableLoadBalanceOnWrite { return &c.LoadBalance.DisableLoadBalanceOnWrite }),
		{
			Name: "dml_adaptive_object_relationship_list", Type: TypeRelationships, Context: Reload, sep: ',', Unset: true,
			Doc: "for dml_adaptive: what else a write to an object changes",
			at:  func(c *Config, _ int) any { return &c.LoadBalance.DmlAdaptiveObjectRelationshipList },
		},
	}
}

func preferenceRows() []Param {
	return []Param{
		patterns("read_only_function_list", Reload, ',',
			"functions that do not write; if set, all others do",
			func(c *Config) *Patterns { return &c.LoadBalance.ReadOnlyFunctionList }),
		patterns("write_function_list", Reload, ',',
			"functions that write; with both lists empty the catalogue decides",
			func(c *Config) *Patterns { return &c.LoadBalance.WriteFunctionList }),
		patterns("primary_routing_query_pattern_list", Reload, ';',
			"statements that go to the primary",
			func(c *Config) *Patterns { return &c.LoadBalance.PrimaryRoutingQueryPatternList }),
		redirects("user_redirect_preference_list", Reload,
			"nodes for the reads of certain users",
			func(c *Config) *RedirectList { return &c.LoadBalance.UserRedirectPreferenceList }),
		redirects("database_redirect_preference_list", Reload,
			"nodes for reads in certain databases; beats the users' list",
			func(c *Config) *RedirectList { return &c.LoadBalance.DatabaseRedirectPreferenceList }),
		redirects("app_name_redirect_preference_list", Reload,
			"nodes for the reads of certain applications; beats both other lists",
			func(c *Config) *RedirectList { return &c.LoadBalance.AppNameRedirectPreferenceList }),
	}
}

func replicationRows() []Param {
	return []Param{
		boolean("replicate_select", Reload, "off",
			"send reads to all nodes",
			func(c *Config) *bool { return &c.Replication.ReplicateSelect }),
		boolean("insert_lock", Reload, "on",
			"lock a table with a SERIAL column before inserting",
			func(c *Config) *bool { return &c.Replication.InsertLock }),
		text("lobj_lock_table", Reload, "",
			"table to lock so that new large objects get the same number everywhere",
			func(c *Config) *string { return &c.Replication.LobjLockTable }),
		boolean("replication_stop_on_mismatch", Reload, "off",
			"detach the minority when nodes' answers differ in kind",
			func(c *Config) *bool { return &c.Replication.ReplicationStopOnMismatch }),
		boolean("failover_if_affected_tuples_mismatch", Reload, "off",
			"detach the minority when nodes changed a different number of rows",
			func(c *Config) *bool { return &c.Replication.FailoverIfAffectedTuplesMismatch }),
	}
}

func streamingRows() []Param {
	return []Param{
		duration("sr_check_period", Reload, "s", 0, "10",
			"time between measurements of the standbys' lag; 0 does not measure",
			func(c *Config) *time.Duration { return &c.StreamingCheck.SrCheckPeriod }),
		text("sr_check_user", Reload, "",
			"user who measures the lag and looks for the primary",
			func(c *Config) *string { return &c.StreamingCheck.SrCheckUser }),
		secret(text("sr_check_password", Reload, "",
			"that user's password; empty takes it from pool_passwd",
			func(c *Config) *string { return &c.StreamingCheck.SrCheckPassword })),
		text("sr_check_database", Reload, "postgres",
			"database that user connects to",
			func(c *Config) *string { return &c.StreamingCheck.SrCheckDatabase }),
		size("delay_threshold", Reload, "B", 0, maxLong, "0",
			"a standby further behind gets no balanced reads; 0 does not look",
			func(c *Config) *int64 { return &c.StreamingCheck.DelayThreshold }),
		duration("delay_threshold_by_time", Reload, "ms", 0, "0",
			"the same by time; delay_threshold is ignored then",
			func(c *Config) *time.Duration { return &c.StreamingCheck.DelayThresholdByTime }),
		boolean("prefer_lower_delay_standby", Reload, "off",
			"when a standby is too far behind take a better one, not the primary",
			func(c *Config) *bool { return &c.StreamingCheck.PreferLowerDelayStandby }),
		enum("log_standby_delay", Reload, standbyDelays(), "if_over_threshold",
			"when the standbys' lag is logged",
			func(c *Config) *LogStandbyDelay { return &c.StreamingCheck.LogStandbyDelay }),
	}
}

func queryCacheRows() []Param {
	return append(cacheRows(), cacheTableRows()...)
}

func cacheRows() []Param {
	return []Param{
		boolean("memory_cache_enabled", Start, "off",
			"keep results of reads (not built yet: acts as off)",
			func(c *Config) *bool { return &c.QueryCache.MemoryCacheEnabled }),
		enum("memqcache_method", Start, memqcacheMethods(), "shmem",
			"where results are kept",
			func(c *Config) *MemqcacheMethod { return &c.QueryCache.MemqcacheMethod }),
		text("memqcache_memcached_host", Start, "localhost",
			"host of memcached",
			func(c *Config) *string { return &c.QueryCache.MemqcacheMemcachedHost }),
		integer("memqcache_memcached_port", Start, 0, 65535, "11211",
			"port of memcached",
			func(c *Config) *int { return &c.QueryCache.MemqcacheMemcachedPort }),
		size("memqcache_total_size", Start, "B", 0, maxLong, "64MB",
			"memory for results",
			func(c *Config) *int64 { return &c.QueryCache.MemqcacheTotalSize }),
		integer("memqcache_max_num_cache", Start, 0, maxInt, "1000000",
			"most results kept",
			func(c *Config) *int { return &c.QueryCache.MemqcacheMaxNumCache }),
		duration("memqcache_expire", Start, "s", 0, "0",
			"life time of a result; 0 keeps it until a table changes",
			func(c *Config) *time.Duration { return &c.QueryCache.MemqcacheExpire }),
		size("memqcache_maxcache", Start, "B", 0, maxInt, "400kB",
			"largest result kept, at most memqcache_cache_block_size",
			func(c *Config) *int64 { return &c.QueryCache.MemqcacheMaxcache }),
		size("memqcache_cache_block_size", Start, "B", 512, maxInt, "1MB",
			"size of a block of that memory",
			func(c *Config) *int64 { return &c.QueryCache.MemqcacheCacheBlockSize }),
		text("memqcache_oiddir", Start, "/var/log/pgpool/oiddir",
			"directory that maps tables to results",
			func(c *Config) *string { return &c.QueryCache.MemqcacheOiddir }),
	}
}

func cacheTableRows() []Param {
	return []Param{
		boolean("memqcache_auto_cache_invalidation", Reload, "on",
			"drop the results of a table when it changes",
			func(c *Config) *bool { return &c.QueryCache.MemqcacheAutoCacheInvalidation }),
		unset(patterns("cache_safe_memqcache_table_list", Reload, ',',
			"views and unlogged tables whose results may be kept",
			func(c *Config) *Patterns { return &c.QueryCache.CacheSafeMemqcacheTableList })),
		unset(patterns("cache_unsafe_memqcache_table_list", Reload, ',',
			"tables whose results are never kept",
			func(c *Config) *Patterns { return &c.QueryCache.CacheUnsafeMemqcacheTableList })),
	}
}

func relationCacheRows() []Param {
	return []Param{
		within(maxSeconds, duration("relcache_expire", Start, "s", 0, "0",
			"life time of a catalogue look-up; 0 keeps it for five minutes",
			func(c *Config) *time.Duration { return &c.RelationCache.RelcacheExpire })),
		integer("relcache_size", Start, 0, maxInt, "256",
			"most catalogue look-ups kept",
			func(c *Config) *int { return &c.RelationCache.RelcacheSize }),
		boolean("enable_shared_relcache", Start, "on",
			"share catalogue look-ups between sessions",
			func(c *Config) *bool { return &c.RelationCache.EnableSharedRelcache }),
		enum("relcache_query_target", Reload, relcacheTargets(), "primary",
			"node that answers catalogue look-ups",
			func(c *Config) *RelcacheQueryTarget { return &c.RelationCache.RelcacheQueryTarget }),
		enum("check_temp_table", Reload, tempTables(), "catalog",
			"how temporary tables are recognised; on = catalog, off = none",
			func(c *Config) *CheckTempTable { return &c.RelationCache.CheckTempTable }),
		boolean("check_unlogged_table", Session, "on",
			"send reads of unlogged tables to the primary",
			func(c *Config) *bool { return &c.RelationCache.CheckUnloggedTable }),
	}
}
