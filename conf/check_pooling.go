package conf

import "fmt"

// poolingWarnings are about parameters of Pgpool-II and PgBouncer that mean the same thing, and sizes that cannot be reached.
func poolingWarnings() []crossCheck {
	return []crossCheck{
		twoNames("client_idle_timeout", "client_idle_limit"),
		twoNames("server_idle_timeout", "connection_life_time"),
		{
			[]string{"min_pool_size", "default_pool_size"},
			func(c *Config) (string, string) {
				if c.Pools.DefaultPoolSize == 0 || c.Pools.MinPoolSize <= c.Pools.DefaultPoolSize {
					return "", ""
				}
				return "min_pool_size is greater than default_pool_size, which will not be exceeded", ""
			},
		},
		{
			[]string{"default_pool_size", "num_init_children", "max_pool"},
			func(c *Config) (string, string) {
				most := c.Pool.NumInitChildren * c.Pool.MaxPool
				if !c.isSet("default_pool_size") || c.Pools.DefaultPoolSize <= most {
					return "", ""
				}
				return "default_pool_size will not be reached",
					fmt.Sprintf("num_init_children * max_pool allows %d server connections per node", most)
			},
		},
		{
			[]string{"max_prepared_statements", "pin_mode"},
			func(c *Config) (string, string) {
				if c.Pools.MaxPreparedStatements != 0 || c.Pools.PinMode != PinModeError {
					return "", ""
				}
				return "max_prepared_statements = 0 with pin_mode = error refuses all prepared statements where connections are shared", ""
			},
		},
	}
}

// twoNames warns when two names of one idea are set to different values: each mode obeys its own. Pgpool-II's default of 0 is no
// wish: it stands in many files because samples had it.
func twoNames(bouncer, pgpool string) crossCheck {
	return crossCheck{
		[]string{bouncer, pgpool},
		func(c *Config) (string, string) {
			p, q := params().byName[bouncer], params().byName[pgpool]
			if !c.isSet(bouncer) || c.show(q, noIndex) == "0" || c.show(p, noIndex) == c.show(q, noIndex) {
				return "", ""
			}
			return fmt.Sprintf("%s and %s are set to different values", bouncer, pgpool),
				fmt.Sprintf("pool_mode = session obeys %s, the other modes %s", pgpool, bouncer)
		},
	}
}
