package conf

import "strings"

// poolKey is one setting of a pool: its name in the pool file, the parameter that says it for all, and what it does.
type poolKey struct {
	name     string // in the pool file
	param    string // in pgpool.conf; its row reads the value
	database bool   // allowed on a line of [databases]
	user     bool   // allowed on a line of [users]
	set      func(p *Pooling, v *Pools)
}

// poolKeys are all of them. Those allowed nowhere only come from pgpool.conf.
func poolKeys() []poolKey {
	return append(poolSizeKeys(), poolTimeKeys()...)
}

func poolSizeKeys() []poolKey {
	return []poolKey{
		{"pool_mode", "pool_mode", true, true, func(p *Pooling, v *Pools) { p.Mode = v.PoolMode }},
		{"pin_mode", "pin_mode", true, true, func(p *Pooling, v *Pools) { p.Pin = v.PinMode }},
		{"pool_size", "default_pool_size", true, true, func(p *Pooling, v *Pools) { p.Size = v.DefaultPoolSize }},
		{"min_pool_size", "min_pool_size", true, false, func(p *Pooling, v *Pools) { p.MinSize = v.MinPoolSize }},
		{"reserve_pool_size", "reserve_pool_size", true, true, func(p *Pooling, v *Pools) {
			p.ReserveSize = v.ReservePoolSize
		}},
		{"reserve_pool_timeout", "reserve_pool_timeout", false, false, func(p *Pooling, v *Pools) {
			p.ReserveTimeout = v.ReservePoolTimeout
		}},
		{"max_db_connections", "max_db_connections", true, false, func(p *Pooling, v *Pools) {
			p.MaxDBConnections = v.MaxDbConnections
		}},
		{"max_user_connections", "max_user_connections", false, true, func(p *Pooling, v *Pools) {
			p.MaxUserConnections = v.MaxUserConnections
		}},
		{"max_db_client_connections", "max_db_client_connections", true, false, func(p *Pooling, v *Pools) {
			p.MaxDBClients = v.MaxDbClientConnections
		}},
		{"max_user_client_connections", "max_user_client_connections", false, true, func(p *Pooling, v *Pools) {
			p.MaxUserClients = v.MaxUserClientConnections
		}},
		{"max_prepared_statements", "max_prepared_statements", false, false, func(p *Pooling, v *Pools) {
			p.MaxPreparedStatements = v.MaxPreparedStatements
		}},
	}
}

func poolTimeKeys() []poolKey {
	return []poolKey{
		{"query_timeout", "query_timeout", false, true, func(p *Pooling, v *Pools) { p.QueryTimeout = v.QueryTimeout }},
		{"transaction_timeout", "transaction_timeout", false, true, func(p *Pooling, v *Pools) {
			p.TransactionTimeout = v.TransactionTimeout
		}},
		{"idle_transaction_timeout", "idle_transaction_timeout", false, true, func(p *Pooling, v *Pools) {
			p.IdleTransactionTimeout = v.IdleTransactionTimeout
		}},
		{"client_idle_timeout", "client_idle_timeout", false, true, func(p *Pooling, v *Pools) {
			p.ClientIdleTimeout = v.ClientIdleTimeout
		}},
		{"server_idle_timeout", "server_idle_timeout", false, false, func(p *Pooling, v *Pools) {
			p.ServerIdleTimeout = v.ServerIdleTimeout
		}},
		{"server_lifetime", "server_lifetime", true, false, setLifetime},
		{"server_check_delay", "server_check_delay", false, false, func(p *Pooling, v *Pools) {
			p.ServerCheckDelay = v.ServerCheckDelay
		}},
		{"server_check_query", "server_check_query", false, false, setCheck},
	}
}

func setLifetime(p *Pooling, v *Pools) {
	p.ServerLifetime = max(v.ServerLifetime, UsedOnce)
}

func setCheck(p *Pooling, v *Pools) {
	p.ServerCheckQuery = v.ServerCheckQuery
	if v.ServerCheckQuery == emptyQuery {
		p.ServerCheckQuery = EmptyCheck
	}
}

// findPoolKey finds a key by its name in the pool file.
func findPoolKey(name string) (poolKey, bool) {
	for _, k := range poolKeys() {
		if k.name == name {
			return k, true
		}
	}
	return poolKey{}, false
}

func (k *poolKey) allowedIn(section string) bool {
	return section == databasesSection && k.database || section == usersSection && k.user
}

// allowedKeys names the settings of a section.
func allowedKeys(section string) string {
	var names []string
	for _, k := range poolKeys() {
		if k.allowedIn(section) {
			names = append(names, k.name)
		}
	}
	return strings.Join(names, ", ")
}
