package pcp

import "fmt"

// commandName is the program that sends a request, for the log.
func commandName(typ byte) string {
	switch typ {
	case TypeSet:
		return "set"
	case TypePoolStatus:
		return "pcp_pool_status"
	case TypeAttach:
		return "pcp_attach_node"
	case TypeDetach, TypeDetachGracefully:
		return "pcp_detach_node"
	case TypeInvalidateCache:
		return "pcp_invalidate_query_cache"
	case TypeHealthCheckStats:
		return "pcp_health_check_stats"
	case TypeNodeInfo:
		return "pcp_node_info"
	case TypePromote, TypePromoteGraceful:
		return "pcp_promote_node"
	case TypeNodeCount:
		return "pcp_node_count"
	case TypeProcCount:
		return "pcp_proc_count"
	case TypeRecovery:
		return "pcp_recovery_node"
	case TypeProcInfo:
		return "pcp_proc_info"
	case TypeStop, TypeStopCluster:
		return "pcp_stop_pgpool"
	case TypeRotateLog:
		return "pcp_log_rotate"
	case TypeWatchdogInfo:
		return "pcp_watchdog_info"
	case TypeReload:
		return "pcp_reload_config"
	default:
		return fmt.Sprintf("%q", string(rune(typ)))
	}
}
