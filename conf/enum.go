package conf

import "strconv"

// An enum's value is the integer SHOW pool_status prints for it; its text is what the file and PGPOOL SHOW use.

// enumName is the one that prints enum values: unknown ones as their number, for tests and debuggers.
func enumName[E ~uint8](v E, names []enumValue) string {
	for _, n := range names {
		if n.value == uint8(v) {
			return n.name
		}
	}
	return strconv.Itoa(int(v))
}

// enumValue is one spelling of an enum. Several spellings may mean one value, the first is its text.
type enumValue struct {
	name   string
	value  uint8
	hidden bool // accepted, but not among the values the error text offers
}

// ClusteringMode is backend_clustering_mode; its numbers equal those of the cluster package.
type ClusteringMode uint8

// The clustering modes.
const (
	ModeStreamingReplication ClusteringMode = iota + 1
	ModeNativeReplication
	ModeLogicalReplication
	ModeRaw
	ModeSnapshotIsolation
)

func clusteringModes() []enumValue {
	return []enumValue{
		{name: "streaming_replication", value: uint8(ModeStreamingReplication)},
		{name: "native_replication", value: uint8(ModeNativeReplication)},
		{name: "logical_replication", value: uint8(ModeLogicalReplication)},
		{name: "raw", value: uint8(ModeRaw)},
		{name: "snapshot_isolation", value: uint8(ModeSnapshotIsolation)},
	}
}

func (m ClusteringMode) String() string { return enumName(m, clusteringModes()) }

// SSLMode is backend_sslmode, with libpq's meanings.
type SSLMode uint8

// The modes. SSLModeAuto, the default, is prefer with ssl = on (verify-ca where ssl_ca_cert is set) and disable without.
const (
	SSLModeAuto SSLMode = iota
	SSLModeDisable
	SSLModeAllow
	SSLModePrefer
	SSLModeRequire
	SSLModeVerifyCA
	SSLModeVerifyFull
)

func sslModes() []enumValue {
	return []enumValue{
		{name: "auto", value: uint8(SSLModeAuto)},
		{name: "disable", value: uint8(SSLModeDisable)},
		{name: "allow", value: uint8(SSLModeAllow)},
		{name: "prefer", value: uint8(SSLModePrefer)},
		{name: "require", value: uint8(SSLModeRequire)},
		{name: "verify-ca", value: uint8(SSLModeVerifyCA)},
		{name: "verify-full", value: uint8(SSLModeVerifyFull)},
	}
}

func (m SSLMode) String() string { return enumName(m, sslModes()) }

// ProtocolVersion is a version of TLS.
type ProtocolVersion uint8

// The versions. ProtocolAny sets no bound.
const (
	ProtocolAny ProtocolVersion = iota
	TLSv1
	TLSv11
	TLSv12
	TLSv13
)

func protocolVersions() []enumValue {
	return []enumValue{
		{name: "", value: uint8(ProtocolAny)},
		{name: "TLSv1", value: uint8(TLSv1)},
		{name: "TLSv1.1", value: uint8(TLSv11)},
		{name: "TLSv1.2", value: uint8(TLSv12)},
		{name: "TLSv1.3", value: uint8(TLSv13)},
	}
}

func (v ProtocolVersion) String() string { return enumName(v, protocolVersions()) }

// NodeInfoLayout is pcp_node_info_layout.
type NodeInfoLayout uint8

// The layouts of pcp_node_info's reply, named after the release whose tools read it.
const (
	NodeInfo47 NodeInfoLayout = iota + 1
	NodeInfo43
)

func nodeInfoLayouts() []enumValue {
	return []enumValue{{name: "4.7", value: uint8(NodeInfo47)}, {name: "4.3", value: uint8(NodeInfo43)}}
}

func (l NodeInfoLayout) String() string { return enumName(l, nodeInfoLayouts()) }

// ProcessManagementMode is process_management_mode.
type ProcessManagementMode uint8

// The values of process_management_mode.
const (
	ProcessStatic ProcessManagementMode = iota + 1
	ProcessDynamic
)

func processModes() []enumValue {
	return []enumValue{{name: "static", value: 1}, {name: "dynamic", value: 2}}
}

func (m ProcessManagementMode) String() string { return enumName(m, processModes()) }

// ProcessManagementStrategy is process_management_strategy.
type ProcessManagementStrategy uint8

// The values of process_management_strategy.
const (
	StrategyAggressive ProcessManagementStrategy = iota + 1
	StrategyGentle
	StrategyLazy
)

func processStrategies() []enumValue {
	return []enumValue{{name: "aggressive", value: 1}, {name: "gentle", value: 2}, {name: "lazy", value: 3}}
}

func (s ProcessManagementStrategy) String() string { return enumName(s, processStrategies()) }

// Level is a message level, of client_min_messages and log_min_messages. Numerically it is the order client_min_messages uses;
// for the log, LevelLog sorts between LevelError and LevelFatal, see Logged.
type Level uint8

// The message levels.
const (
	LevelDebug5  Level = 10
	LevelDebug4  Level = 11
	LevelDebug3  Level = 12
	LevelDebug2  Level = 13
	LevelDebug1  Level = 14
	LevelLog     Level = 15
	LevelInfo    Level = 17
	LevelNotice  Level = 18
	LevelWarning Level = 19
	LevelError   Level = 20
	LevelFatal   Level = 21
	LevelPanic   Level = 22
)

func levels() []enumValue {
	return []enumValue{
		{name: "debug5", value: uint8(LevelDebug5)},
		{name: "debug4", value: uint8(LevelDebug4)},
		{name: "debug3", value: uint8(LevelDebug3)},
		{name: "debug2", value: uint8(LevelDebug2)},
		{name: "debug1", value: uint8(LevelDebug1)},
		{name: "debug", value: uint8(LevelDebug2), hidden: true},
		{name: "log", value: uint8(LevelLog)},
		{name: "info", value: uint8(LevelInfo)},
		{name: "notice", value: uint8(LevelNotice)},
		{name: "warning", value: uint8(LevelWarning)},
		{name: "error", value: uint8(LevelError)},
		{name: "fatal", value: uint8(LevelFatal)},
		{name: "panic", value: uint8(LevelPanic)},
	}
}

func (l Level) String() string { return enumName(l, levels()) }

// Logged reports whether a message of level l is written under log_min_messages = least.
func (l Level) Logged(least Level) bool {
	switch {
	case l == LevelLog:
		return least == LevelLog || least < LevelFatal
	case least == LevelLog:
		return l >= LevelFatal
	default:
		return l >= least
	}
}

// ErrorVerbosity is log_error_verbosity.
type ErrorVerbosity uint8

// The values of log_error_verbosity.
const (
	VerbosityTerse ErrorVerbosity = iota
	VerbosityDefault
	VerbosityVerbose
)

func verbosities() []enumValue {
	return []enumValue{{name: "terse", value: 0}, {name: "default", value: 1}, {name: "verbose", value: 2}}
}

func (v ErrorVerbosity) String() string { return enumName(v, verbosities()) }

// BackendMessages is log_backend_messages.
type BackendMessages uint8

// The values of log_backend_messages.
const (
	BackendMessagesNone BackendMessages = iota + 1
	BackendMessagesTerse
	BackendMessagesVerbose
)

func backendMessages() []enumValue {
	return []enumValue{{name: "none", value: 1}, {name: "terse", value: 2}, {name: "verbose", value: 3}}
}

func (m BackendMessages) String() string { return enumName(m, backendMessages()) }

// LogStandbyDelay is log_standby_delay.
type LogStandbyDelay uint8

// The values of log_standby_delay.
const (
	StandbyDelayAlways LogStandbyDelay = iota + 1
	StandbyDelayIfOverThreshold
	StandbyDelayNone
)

func standbyDelays() []enumValue {
	return []enumValue{{name: "always", value: 1}, {name: "if_over_threshold", value: 2}, {name: "none", value: 3}}
}

func (d LogStandbyDelay) String() string { return enumName(d, standbyDelays()) }

// SyslogFacility is syslog_facility: 0 to 7 for LOCAL0 to LOCAL7.
type SyslogFacility uint8

func syslogFacilities() []enumValue {
	return []enumValue{
		{name: "LOCAL0", value: 0},
		{name: "LOCAL1", value: 1},
		{name: "LOCAL2", value: 2},
		{name: "LOCAL3", value: 3},
		{name: "LOCAL4", value: 4},
		{name: "LOCAL5", value: 5},
		{name: "LOCAL6", value: 6},
		{name: "LOCAL7", value: 7},
	}
}

func (f SyslogFacility) String() string { return enumName(f, syslogFacilities()) }

// LogFormat is log_format (ours).
type LogFormat uint8

// The values of log_format.
const (
	LogText LogFormat = iota + 1
	LogJSON
)

func logFormats() []enumValue {
	return []enumValue{{name: "text", value: 1}, {name: "json", value: 2}}
}

func (f LogFormat) String() string { return enumName(f, logFormats()) }

// DisableLoadBalanceOnWrite is disable_load_balance_on_write.
type DisableLoadBalanceOnWrite uint8

// The values of disable_load_balance_on_write.
const (
	OnWriteOff DisableLoadBalanceOnWrite = iota + 1
	OnWriteTransaction
	OnWriteTransTransaction
	OnWriteAlways
	OnWriteDmlAdaptive
)

func onWrites() []enumValue {
	return []enumValue{
		{name: "off", value: 1},
		{name: "transaction", value: 2},
		{name: "trans_transaction", value: 3},
		{name: "always", value: 4},
		{name: "dml_adaptive", value: 5},
	}
}

func (d DisableLoadBalanceOnWrite) String() string { return enumName(d, onWrites()) }

// CheckTempTable is check_temp_table. The old spellings on and off are values of their own, because SHOW tells them apart;
// see Effective.
type CheckTempTable uint8

// The values of check_temp_table.
const (
	TempTableCatalog CheckTempTable = iota + 1
	TempTableTrace
	TempTableNone
	TempTableOn
	TempTableOff
)

func tempTables() []enumValue {
	return []enumValue{
		{name: "catalog", value: 1},
		{name: "trace", value: 2},
		{name: "none", value: 3},
		{name: "on", value: 4},
		{name: "off", value: 5},
	}
}

func (t CheckTempTable) String() string { return enumName(t, tempTables()) }

// Effective replaces the old spellings by what they mean: on = catalog, off = none.
func (t CheckTempTable) Effective() CheckTempTable {
	switch t {
	case TempTableOn:
		return TempTableCatalog
	case TempTableOff:
		return TempTableNone
	default:
		return t
	}
}

// RelcacheQueryTarget is relcache_query_target.
type RelcacheQueryTarget uint8

// The values of relcache_query_target.
const (
	RelcachePrimary RelcacheQueryTarget = iota + 1
	RelcacheLoadBalanceNode
)

func relcacheTargets() []enumValue {
	return []enumValue{{name: "primary", value: 1}, {name: "load_balance_node", value: 2}}
}

func (t RelcacheQueryTarget) String() string { return enumName(t, relcacheTargets()) }

// LifecheckMethod is wd_lifecheck_method.
type LifecheckMethod uint8

// The values of wd_lifecheck_method.
const (
	LifecheckQuery LifecheckMethod = iota + 1
	LifecheckHeartbeat
	LifecheckExternal
)

func lifecheckMethods() []enumValue {
	return []enumValue{{name: "query", value: 1}, {name: "heartbeat", value: 2}, {name: "external", value: 3}}
}

func (m LifecheckMethod) String() string { return enumName(m, lifecheckMethods()) }

// MemqcacheMethod is memqcache_method.
type MemqcacheMethod uint8

// The values of memqcache_method.
const (
	MemqcacheShmem MemqcacheMethod = iota + 1
	MemqcacheMemcached
)

func memqcacheMethods() []enumValue {
	return []enumValue{{name: "shmem", value: 1}, {name: "memcached", value: 2}}
}

func (m MemqcacheMethod) String() string { return enumName(m, memqcacheMethods()) }
