package conf

import (
	"maps"
	"net/netip"
	"time"
)

// Config is a whole pgpool.conf: one section per part of the daemon. It is immutable once Load or Reload returned it, so
// sections may be copied and kept freely. File names that the manual calls relative to pgpool.conf are absolute here; SHOW
// prints them as written.
type Config struct {
	Path string // absolute name of the file it came from
	Dir  string // directory of Path

	BackendClusteringMode ClusteringMode
	ReplicationMode       bool // remnant without effect on the mode, see replication_mode

	Connections    Connections
	Pool           Pool
	Pools          Pools
	Backends       []Backend // index = node id; gaps have Port 0
	Auth           Auth
	SSL            SSL
	BackendTLS     BackendTLS
	Logging        Logging
	Files          Files
	LoadBalance    LoadBalance
	Replication    Replication
	StreamingCheck StreamingCheck
	HealthCheck    HealthCheck
	Failover       Failover
	Agent          Agent
	Recovery       Recovery
	Watchdog       Watchdog
	QueryCache     QueryCache
	RelationCache  RelationCache
	IO             IO
	HTTP           HTTP

	assigned assignments // what the file said, by parameter and index
	poolFile poolFile    // what pool_file names
}

// WithDebug is the configuration under the option -d: log_min_messages is at least debug1.
func (c *Config) WithDebug() *Config {
	if c.Logging.LogMinMessages <= LevelDebug1 {
		return c
	}
	next := *c
	next.Logging.LogMinMessages = LevelDebug1
	return &next
}

// Connections is where clients and administrators connect to.
type Connections struct {
	ListenAddresses       []string // "*" = all; empty = no TCP
	Port                  int
	UnixSocketDirectories []string
	UnixSocketGroup       string
	UnixSocketPermissions uint32 // mode bits
	PcpListenAddresses    []string
	PcpPort               int
	PcpSocketDir          []string
	PcpNodeInfoLayout     NodeInfoLayout
}

// Pool bounds client sessions and the server connections kept for them.
type Pool struct {
	NumInitChildren           int
	ListenBacklogMultiplier   int
	ReservedConnections       int
	SerializeAccept           bool
	ProcessManagementMode     ProcessManagementMode
	ProcessManagementStrategy ProcessManagementStrategy
	MinSpareChildren          int
	MaxSpareChildren          int
	MaxPool                   int
	ChildLifeTime             time.Duration // 0 = never
	ChildMaxConnections       int           // 0 = never
	ConnectionLifeTime        time.Duration // 0 = never
	ClientIdleLimit           time.Duration // 0 = off
	ConnectionCache           bool
	ResetQueryList            []string
	MaxClientConn             int           // ours; 0 = derived, see ClientBound
	QueryWaitTimeout          time.Duration // ours; 0 = off
}

// ClientBound is the number of client sockets that may be open at a time, queued ones included: max_client_conn, or when
// that is 0 num_init_children plus the listen queue Pgpool-II would have (num_init_children × listen_backlog_multiplier,
// at most 10000).
func (p *Pool) ClientBound() int {
	if p.MaxClientConn > 0 {
		return p.MaxClientConn
	}
	return p.NumInitChildren + Backlog(p.NumInitChildren, p.ListenBacklogMultiplier)
}

// Backlog is the length of the listen queue of a TCP socket.
func Backlog(children, multiplier int) int {
	const limit = 10000
	if multiplier > limit || children > limit || children*multiplier > limit {
		return limit
	}
	return children * multiplier
}

// Backend is one backend_*N group. A node exists when its port is set.
type Backend struct {
	Hostname        string // leading '/' = Unix socket directory; never empty for an existing node
	Port            int
	Weight          float64 // as written, not normalized
	DataDirectory   string
	ApplicationName string
	Flag            BackendFlag
	Agent           string // host:port of its agent, :port on Hostname; empty = none
}

// Exists tells a configured node from a gap in the numbering.
func (b *Backend) Exists() bool { return b.Port != 0 }

// BackendFlag is backend_flagN.
type BackendFlag struct {
	DisallowFailover bool
	AlwaysPrimary    bool
}

func (f BackendFlag) String() string {
	s := "ALLOW_TO_FAILOVER"
	if f.DisallowFailover {
		s = "DISALLOW_TO_FAILOVER"
	}
	if f.AlwaysPrimary {
		s += "|ALWAYS_PRIMARY"
	}
	return s
}

// Auth is how clients prove who they are.
type Auth struct {
	EnablePoolHba              bool
	PoolPasswd                 string        // absolute; "" = no password file
	AuthenticationTimeout      time.Duration // 0 = off
	AllowClearTextFrontendAuth bool
	AllowInsecureKeyFile       bool           // ours
	IdentFile                  string         // ours; absolute
	AuthUser                   string         // ours; "" = auth_query is off
	AuthQuery                  string         // ours
	AuthDbname                 string         // ours; "" = the client's database
	AuthDelay                  time.Duration  // ours; 0 = off
	MaxStartupsPerAddress      int            // ours; 0 = any number
	ProxyProtocolNetworks      []netip.Prefix // ours
}

// SSL is TLS towards clients and servers.
type SSL struct {
	SSL                    bool
	SSLKey                 string // absolute
	SSLCert                string // absolute
	SSLCaCert              string // absolute
	SSLCaCertDir           string
	SSLCrlFile             string // absolute
	SSLCiphers             string
	SSLPreferServerCiphers bool
	SSLEcdhCurve           string
	SSLDhParamsFile        string
	SSLPassphraseCommand   string
	SSLMinProtocolVersion  ProtocolVersion // ours
	SSLMaxProtocolVersion  ProtocolVersion // ours; ProtocolAny = the newest
}

// BackendTLS is TLS towards the servers (ours; libpq's names).
type BackendTLS struct {
	Global NodeTLS          // the index-free parameters
	Nodes  map[int]*NodeTLS // nodes with values of their own, complete; read-only
}

// For returns what holds for a node: nameN where it is given, else name.
func (b *BackendTLS) For(node int) NodeTLS {
	if n, ok := b.Nodes[node]; ok {
		return *n
	}
	return b.Global
}

// Equal reports whether the same holds for every node.
func (b *BackendTLS) Equal(other *BackendTLS) bool {
	return b.Global == other.Global && maps.EqualFunc(b.Nodes, other.Nodes, func(x, y *NodeTLS) bool { return *x == *y })
}

// NodeTLS is how connections to a server are encrypted, and what makes us believe that it is the right one.
type NodeTLS struct {
	Mode     SSLMode
	Cert     string // absolute; "" = none is shown to the server
	Key      string // absolute
	RootCert string // absolute; "" = ssl_ca_cert
	CRL      string // absolute; "" = none
}

// Logging is what is written to the log and told to clients.
type Logging struct {
	LogDestination         LogDestination
	LoggingCollector       bool
	LogDirectory           string
	LogFilename            string
	LogFileMode            uint32 // mode bits
	LogTruncateOnRotation  bool
	LogRotationAge         time.Duration // 0 = off
	LogRotationSize        int64         // bytes; 0 = off
	SyslogFacility         SyslogFacility
	SyslogIdent            string
	ClientMinMessages      Level
	LogMinMessages         Level
	LogErrorVerbosity      ErrorVerbosity
	LogLinePrefix          string
	LogStatement           bool
	LogPerNodeStatement    bool
	NoticePerNodeStatement bool
	LogClientMessages      bool
	LogBackendMessages     BackendMessages
	LogConnections         bool
	LogDisconnections      bool
	LogPcpProcesses        bool
	LogHostname            bool
	LogFormat              LogFormat // ours
}

// LogDestination is the set log_destination names.
type LogDestination struct {
	Stderr, Syslog bool
}

// Files are the places of files that belong to the whole process.
type Files struct {
	PidFileName string // absolute
	WorkDir     string
}

// LoadBalance is which node a statement goes to.
type LoadBalance struct {
	LoadBalanceMode                   bool
	IgnoreLeadingWhiteSpace           bool
	AllowSQLComments                  bool
	ReadOnlyFunctionList              Patterns
	WriteFunctionList                 Patterns
	PrimaryRoutingQueryPatternList    Patterns
	UserRedirectPreferenceList        RedirectList
	DatabaseRedirectPreferenceList    RedirectList
	AppNameRedirectPreferenceList     RedirectList
	DisableLoadBalanceOnWrite         DisableLoadBalanceOnWrite
	DmlAdaptiveObjectRelationshipList ObjectRelationships
	StatementLevelLoadBalance         bool
}

// Replication belongs to the modes in which we replicate the statements.
type Replication struct {
	ReplicateSelect                  bool
	InsertLock                       bool
	LobjLockTable                    string
	ReplicationStopOnMismatch        bool
	FailoverIfAffectedTuplesMismatch bool
}

// StreamingCheck is the check of replication lag, and the account the search for the primary uses.
type StreamingCheck struct {
	SrCheckPeriod           time.Duration // 0 = off
	SrCheckUser             string
	SrCheckPassword         string
	SrCheckDatabase         string
	DelayThreshold          int64         // bytes; 0 = off. Ignored while DelayThresholdByTime is set
	DelayThresholdByTime    time.Duration // 0 = off
	PreferLowerDelayStandby bool
	LogStandbyDelay         LogStandbyDelay
}

// HealthCheck holds the settings of all nodes' health checks.
type HealthCheck struct {
	Global          NodeHealthCheck          // the index-free parameters
	Nodes           map[int]*NodeHealthCheck // nodes with values of their own, complete; read-only
	HealthCheckTest bool
}

// For returns what holds for a node: nameN where it is given, else name.
func (h *HealthCheck) For(node int) NodeHealthCheck {
	if n, ok := h.Nodes[node]; ok {
		return *n
	}
	return h.Global
}

// NodeHealthCheck is how one node is probed.
type NodeHealthCheck struct {
	Period         time.Duration // 0 = no checks
	Timeout        time.Duration // 0 = none
	User           string
	Password       string
	Database       string // never empty
	MaxRetries     int
	RetryDelay     time.Duration
	ConnectTimeout time.Duration // 0 = none
}

// Failover is when a node is detached or attached, and what is run then.
type Failover struct {
	FailoverCommand           string
	FailbackCommand           string
	FollowPrimaryCommand      string
	FailoverOnBackendError    bool
	FailoverOnBackendShutdown bool
	SearchPrimaryNodeTimeout  time.Duration // 0 = for ever
	DetachFalsePrimary        bool
	AutoFailback              bool
	AutoFailbackInterval      time.Duration

	AutoFailover              bool          // ours, as all below
	MaxLagOnFailover          int64         // bytes; 0 = no bound
	SwitchoverTimeout         time.Duration // at least 1 s
	HoldTimeout               time.Duration
	HoldSessions              int   // 0 = no bound
	HoldMemory                int64 // bytes; 0 = no bound
	ReleaseRate               int   // sessions a second; 0 = no bound
	RerunLostReads            bool
	CommitOutcome             bool
	AfterPromotionCommand     string
	ReplicationUser           string
	ReplicationPassword       string
	SyncStandbyGuard          bool
	SyncStandbyKeepaliveTime  time.Duration
	SyncStandbyKeepaliveCount int
}

// WithoutScripts reports whether pgpool itself promotes and rejoins servers.
func (f *Failover) WithoutScripts() bool { return f.AutoFailover && f.FailoverCommand == "" }

// Agent is what pgpool and its agents need for each other.
type Agent struct {
	ListenAddresses                        []string // "*" = all
	Port                                   int
	KeyFile, SSLCert, SSLKey, SSLCACert    string // absolute file names or empty
	DataDirectory, BinDirectory, StateFile string // absolute file names or empty
	Fencing                                bool
	LeaseTime                              time.Duration // at least 3 s
}

// HTTP is where health and metrics are asked for.
type HTTP struct {
	ListenAddresses []string // "*" = all; empty = off
	Port            int      // 0 = off
}

// Recovery is online recovery.
type Recovery struct {
	RecoveryUser              string
	RecoveryPassword          string
	RecoveryDatabase          string // never empty
	Recovery1stStageCommand   string
	Recovery2ndStageCommand   string
	RecoveryTimeout           time.Duration
	ClientIdleLimitInRecovery time.Duration // 0 = no, negative = at once
}

// Watchdog is the group of pgpool nodes.
type Watchdog struct {
	UseWatchdog                           bool
	NodeID                                int             // local node, from the file pgpool_node_id; -1 when the watchdog is off
	NumberedByRank                        bool            // NodeID is no file's but a rank, see NodesHash
	Nodes                                 []WatchdogNode  // index = watchdog node id; gaps have WdPort 0
	Heartbeat                             []HeartbeatPeer // index = watchdog node id; gaps have Port 0
	WdListenAddress                       string
	WdListenPort                          int // 0 = own WdPort
	WdPriority                            int
	WdAuthkey                             string
	WdIpcSocketDir                        string
	WdSSL                                 bool
	WdSSLCert                             string        // absolute file name or empty
	WdSSLKey                              string        // absolute file name or empty
	WdSSLCACert                           string        // absolute file name or empty
	WdLeaseTime                           time.Duration // 0 = see Lease
	WdStateDirectory                      string        // empty = see StateDirectory
	WdStateOnTmpfs                        bool
	TrustedServers                        []string
	TrustedServerCommand                  string
	DelegateIP                            string
	DelegateDevice                        string
	DelegatePrefix                        int // 0 = the whole address
	IfCmdPath                             string
	IfUpCmd                               string
	IfDownCmd                             string
	ArpingPath                            string
	ArpingCmd                             string
	PingPath                              string
	ClearMemqcacheOnEscalation            bool
	WdEscalationCommand                   string
	WdDeEscalationCommand                 string
	WdCommandTimeout                      time.Duration
	FailoverWhenQuorumExists              bool
	FailoverRequireConsensus              bool
	AllowMultipleFailoverRequestsFromNode bool
	EnableConsensusWithHalfVotes          bool
	WdRemoveShutdownNodes                 bool
	WdLostNodeRemovalTimeout              time.Duration // 0 = never
	WdNoShowNodeRemovalTimeout            time.Duration // 0 = never
	WdLifecheckMethod                     LifecheckMethod
	WdMonitoringInterfacesList            []string
	WdInterval                            time.Duration
	WdHeartbeatListenAddresses            []string
	WdHeartbeatListenPort                 int // 0 = own heartbeat port
	WdHeartbeatKeepalive                  time.Duration
	WdHeartbeatDeadtime                   time.Duration
	WdLifePoint                           int
	WdLifecheckQuery                      string
	WdLifecheckDbname                     string
	WdLifecheckUser                       string
	WdLifecheckPassword                   string
}

// WatchdogNode is one hostnameN/wd_portN/pgpool_portN group.
type WatchdogNode struct {
	Hostname   string
	WdPort     int
	PgpoolPort int
}

// HeartbeatPeer is one heartbeat_*N group.
type HeartbeatPeer struct {
	Hostnames []string
	Port      int
	Devices   []string
}

// QueryCache is the cache of query results.
type QueryCache struct {
	MemoryCacheEnabled             bool
	MemqcacheMethod                MemqcacheMethod
	MemqcacheMemcachedHost         string
	MemqcacheMemcachedPort         int
	MemqcacheTotalSize             int64 // bytes
	MemqcacheMaxNumCache           int
	MemqcacheExpire                time.Duration // 0 = until invalidated
	MemqcacheAutoCacheInvalidation bool
	MemqcacheMaxcache              int64 // bytes
	MemqcacheCacheBlockSize        int64 // bytes
	MemqcacheOiddir                string
	CacheSafeMemqcacheTableList    Patterns
	CacheUnsafeMemqcacheTableList  Patterns
}

// RelationCache is how catalogue look-ups are made and kept.
type RelationCache struct {
	RelcacheExpire       time.Duration // 0 = process life time
	RelcacheSize         int
	EnableSharedRelcache bool
	RelcacheQueryTarget  RelcacheQueryTarget
	CheckTempTable       CheckTempTable
	CheckUnloggedTable   bool
}

// IO is ours: the event loops and the kernel's care for connections. It holds for both sides, clients and servers.
type IO struct {
	IoLoops        int // 0 = half the processors, at least 1
	TCPKeepalive   bool
	TCPKeepidle    time.Duration // 0 = the kernel's
	TCPKeepintvl   time.Duration // 0 = the kernel's
	TCPKeepcnt     int           // 0 = the kernel's
	TCPUserTimeout time.Duration // 0 = the kernel's
}

// SharedClients is how many clients that share their server connections are served at once: max_client_conn, or when that is 0
// num_init_children.
func (c *Config) SharedClients() int {
	if c.Pool.MaxClientConn > 0 {
		return c.Pool.MaxClientConn
	}
	return c.Pool.NumInitChildren
}
