package conf

import "time"

// PoolMode is pool_mode: when a server connection may serve another client.
type PoolMode uint8

// The values of pool_mode.
const (
	PoolModeSession     PoolMode = iota + 1 // when the session ends
	PoolModeTransaction                     // when the transaction ends
	PoolModeStatement                       // the same, and transaction blocks are refused
)

func poolModes() []enumValue {
	return []enumValue{
		{name: "session", value: uint8(PoolModeSession)},
		{name: "transaction", value: uint8(PoolModeTransaction)},
		{name: "statement", value: uint8(PoolModeStatement)},
	}
}

func (m PoolMode) String() string { return enumName(m, poolModes()) }

// PinMode is pin_mode: what becomes of a statement whose effect cannot be moved to another server connection.
type PinMode uint8

// The values of pin_mode.
const (
	PinModePin   PinMode = iota + 1 // the session keeps its connection
	PinModeError                    // the statement is refused
)

func pinModes() []enumValue {
	return []enumValue{{name: "pin", value: uint8(PinModePin)}, {name: "error", value: uint8(PinModeError)}}
}

func (m PinMode) String() string { return enumName(m, pinModes()) }

// Pools is how server connections are shared between sessions: what pgpool.conf says for all databases and users. What holds
// for one database and user is [Config.Pooling]. The names are PgBouncer's.
type Pools struct {
	PoolMode                 PoolMode
	PoolFile                 string // absolute; "" = none
	DefaultPoolSize          int    // 0 = no bound
	MinPoolSize              int
	ReservePoolSize          int
	ReservePoolTimeout       time.Duration // 0 = the reserve is not used
	MaxDbConnections         int           // 0 = no bound
	MaxUserConnections       int           // 0 = no bound
	MaxDbClientConnections   int           // 0 = no bound
	MaxUserClientConnections int           // 0 = no bound
	QueryTimeout             time.Duration // 0 = off
	TransactionTimeout       time.Duration // 0 = off
	IdleTransactionTimeout   time.Duration // 0 = off
	ClientIdleTimeout        time.Duration // 0 = off
	ServerIdleTimeout        time.Duration // 0 = off
	ServerLifetime           time.Duration // 0 = a connection is used once
	ServerCheckDelay         time.Duration // 0 = before every use
	ServerCheckQuery         string        // "" = no check, "<empty>" = an empty query
	MaxPreparedStatements    int           // 0 = not followed
	IgnoreStartupParameters  []string
	AdminUsers               []string // empty: superusers of the servers
	PinMode                  PinMode
	SafeFunctionList         Patterns // functions that leave no state in the session
	UnsafeFunctionList       Patterns // functions that leave state which cannot be moved
}

// Pooling is what holds for the sessions of one database and user: pgpool.conf, the pool file's line for the database or its
// "*", and its line for the user, each over the one before. Counts of server connections are per backend node.
type Pooling struct {
	Mode PoolMode
	Pin  PinMode

	Size           int           // server connections of this database and user; 0 = no bound of its own
	MinSize        int           // kept open even when idle; at most Size
	ReserveSize    int           // more than Size, for clients that waited ReserveTimeout
	ReserveTimeout time.Duration // 0 = the reserve is not used

	MaxDBConnections   int // server connections of this database, all users; 0 = no bound
	MaxUserConnections int // server connections of this user, all databases; 0 = no bound
	MaxDBClients       int // client sessions of this database; 0 = no bound
	MaxUserClients     int // client sessions of this user; 0 = no bound

	QueryTimeout           time.Duration // longest statement; 0 = off
	TransactionTimeout     time.Duration // longest transaction, working or idle; 0 = off
	IdleTransactionTimeout time.Duration // longest silence of a client in a transaction; 0 = off
	ClientIdleTimeout      time.Duration // longest silence of a client outside a transaction; 0 = off
	QueryWaitTimeout       time.Duration // longest wait for a server connection; 0 = for ever

	ServerIdleTimeout time.Duration // an idle connection is closed after it; 0 = never
	ServerLifetime    time.Duration // an idle connection older than it is closed; 0 = never, see UsedOnce
	ServerCheckDelay  time.Duration // a connection idle for longer is tried before use; 0 = always
	ServerCheckQuery  string        // simple query that tries it; "" = it is not tried

	MaxPreparedStatements int // kept on a server connection; 0 = a session with prepared statements keeps its connection
}

// UsedOnce is the ServerLifetime that server_lifetime = 0 asks for: every connection that is given back is older.
const UsedOnce = time.Nanosecond

// emptyQuery is the server_check_query that asks for an empty query; EmptyCheck is what is sent for it.
const (
	emptyQuery = "<empty>"
	EmptyCheck = ";"
)

// defaultQueryWait is query_wait_timeout where server connections are shared and nothing is set.
const defaultQueryWait = 120 * time.Second

// Pooling answers what holds for the sessions of a database and user. It is cheap enough to be asked at every login.
func (c *Config) Pooling(database, user string) Pooling {
	onDatabase, onUser := c.poolFile.database(database), c.poolFile.users[user]
	mode := c.Pools.PoolMode
	for _, l := range []*poolLine{onDatabase, onUser} {
		if l.has("pool_mode") {
			mode = l.values.PoolMode
		}
	}
	p := c.pooling(mode)
	onDatabase.apply(&p)
	onUser.apply(&p)
	p.Mode = mode
	if p.Size > 0 {
		p.MinSize = min(p.MinSize, p.Size)
	}
	return p
}

// pooling is what pgpool.conf says alone. In session mode Pgpool-II's names count, and of PgBouncer's those that are set.
func (c *Config) pooling(mode PoolMode) Pooling {
	shared := mode != PoolModeSession
	var p Pooling
	for _, k := range poolKeys() {
		if shared || c.isSet(k.param) {
			k.set(&p, &c.Pools)
		}
	}
	p.Mode, p.Pin = mode, c.Pools.PinMode
	p.QueryWaitTimeout = c.Pool.QueryWaitTimeout
	if !shared {
		p.ClientIdleTimeout, p.ServerIdleTimeout = c.Pool.ClientIdleLimit, c.Pool.ConnectionLifeTime
		return p
	}
	if !c.isSet("query_wait_timeout") {
		p.QueryWaitTimeout = defaultQueryWait
	}
	if !c.isSet("client_idle_timeout") {
		p.ClientIdleTimeout = c.Pool.ClientIdleLimit
	}
	if !c.isSet("server_idle_timeout") && c.Pool.ConnectionLifeTime > 0 {
		p.ServerIdleTimeout = c.Pool.ConnectionLifeTime
	}
	return p
}

// isSet reports whether the file gives a parameter that is not numbered.
func (c *Config) isSet(name string) bool {
	_, ok := c.assigned[key{name, noIndex}]
	return ok
}
