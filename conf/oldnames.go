package conf

import (
	"fmt"
	"strconv"
	"strings"
)

// renamed maps names of older releases to those in use.
func renamed() map[string]string {
	return map[string]string{
		"fail_over_on_backend_error":  "failover_on_backend_error",
		"delegate_IP":                 "delegate_ip",
		"logdir":                      "work_dir",
		"black_function_list":         "write_function_list",
		"white_function_list":         "read_only_function_list",
		"black_query_pattern_list":    "primary_routing_query_pattern_list",
		"black_memqcache_table_list":  "cache_unsafe_memqcache_table_list",
		"white_memqcache_table_list":  "cache_safe_memqcache_table_list",
		"follow_master_command":       "follow_primary_command",
		"socket_dir":                  "unix_socket_directories",
		"wd_initial_node_showup_time": "wd_no_show_node_removal_timeout",
		"ifconfig_path":               "if_cmd_path",
		"enable_query_cache":          "memory_cache_enabled",
	}
}

// removed names parameters without a successor that takes their value, and what to look at instead.
func removed() map[string]string {
	return map[string]string{
		"pcp_timeout":              "",
		"print_timestamp":          "log_line_prefix with %t",
		"print_user":               "log_line_prefix with %u",
		"debug_level":              "log_min_messages",
		"allow_inet_domain_socket": "listen_addresses",
		"parallel_mode":            "",
		"system_db_hostname":       "",
		"system_db_port":           "",
		"system_db_dbname":         "",
		"system_db_schema":         "",
		"system_db_user":           "",
		"system_db_password":       "",
		"pgpool2_hostname":         "",
		"pool_conn_dbname":         "",
		"replication_timeout":      "",
		"replication_strict":       "",
		"num_reset_queries":        "",
	}
}

const (
	oldSocketDir = "backend_socket_dir"
	oldMaster    = "master_slave_mode"
	oldSubMode   = "master_slave_sub_mode"
)

func isOldName(name string) bool {
	if _, ok := renamed()[name]; ok {
		return true
	}
	if _, ok := removed()[name]; ok {
		return true
	}
	if _, ok := oldWatchdogName(name); ok {
		return true
	}
	return name == oldSocketDir || name == oldMaster || name == oldSubMode
}

// mapOldNames turns what older files say into assignments of today's names, telling each. A name in use beats an old one
// wherever it stands.
func (l *loader) mapOldNames() {
	var watchdog []assignment
	modes := make(map[string]assignment)
	for _, a := range l.old {
		switch {
		case renamed()[a.name] != "":
			l.mapRenamed(a, renamed()[a.name])
		case a.name == oldSocketDir:
			l.mapSocketDir(a)
		case a.name == oldMaster || a.name == oldSubMode:
			modes[a.name] = a
		case isOldWatchdog(a.name):
			watchdog = append(watchdog, a)
		default:
			l.warnOld(a, "it has no effect any more", removed()[a.name])
		}
	}
	l.mapMode(modes)
	l.mapWatchdog(watchdog)
}

func isOldWatchdog(name string) bool {
	_, ok := oldWatchdogName(name)
	return ok
}

// warnOld tells what becomes of an old name.
func (l *loader) warnOld(a assignment, what, instead string) {
	hint := ""
	if instead != "" {
		hint = "write " + instead + " instead"
	}
	l.report(Problem{
		Severity: Warning, File: a.file, Line: a.line, Name: a.name, Value: a.text,
		Text: fmt.Sprintf("%s is a parameter of an older release: %s", a.name, what), Hint: hint,
	})
}

func (l *loader) mapRenamed(a assignment, name string) {
	if a.name == "logdir" && a.text == "" {
		l.warnOld(a, "it is empty and ignored", name)
		return
	}
	l.substitute(a, key{name, noIndex}, a.text)
}

// substitute assigns the value of an old parameter to one of today's.
func (l *loader) substitute(a assignment, k key, text string) {
	if now, ok := l.assigned[k]; ok && !now.mapped {
		l.warnOld(a, displayName(k)+" is set and wins", "")
		return
	}
	l.report(Problem{
		Severity: Warning, File: a.file, Line: a.line, Name: a.name, Value: a.text,
		Text: fmt.Sprintf("%s is changed to %s", a.name, displayName(k)),
	})
	l.assigned[k] = assignment{key: k, text: text, file: a.file, line: a.line, mapped: true}
}

// mapSocketDir gives the directory to the backends without a host name.
func (l *loader) mapSocketDir(a assignment) {
	for n := range FamilyBackend.maxIndex() + 1 {
		if _, ok := l.assigned[key{"backend_port", n}]; !ok {
			continue
		}
		k := key{"backend_hostname", n}
		if host, ok := l.assigned[k]; !ok || host.text == "" {
			delete(l.assigned, k)
			l.substitute(a, k, a.text)
		}
	}
}

// mapMode derives backend_clustering_mode from the three parameters 4.1 had for it.
func (l *loader) mapMode(modes map[string]assignment) {
	replication, hasReplication := l.assigned[key{"replication_mode", noIndex}]
	master, hasMaster := modes[oldMaster]
	sub, hasSub := modes[oldSubMode]
	on, _ := boolValue(replication.text)
	masterOn, valid := boolValue(master.text)
	if hasMaster && !valid {
		l.reportValue(master, oldMaster, (&Param{Name: oldMaster}).invalid(master.text))
		return
	}
	switch {
	case hasReplication && on:
		l.setMode(replication, "native_replication")
	case hasMaster && masterOn:
		l.setMode(master, oldSubModes()[strings.ToLower(sub.text)])
	case hasMaster:
		l.setMode(master, "raw")
	}
	if hasSub && hasMaster && masterOn && oldSubModes()[strings.ToLower(sub.text)] == "" {
		l.reportValue(sub, oldSubMode, &valueError{
			text: fmt.Sprintf("there is no clustering mode for %s = '%s'", oldSubMode, sub.text),
			hint: "set backend_clustering_mode",
		})
	} else if hasSub {
		l.warnOld(sub, "it is read together with "+oldMaster, "backend_clustering_mode")
	}
}

// oldSubModes has an empty entry for what is invalid; no text means the old default.
func oldSubModes() map[string]string {
	return map[string]string{"": "streaming_replication", "stream": "streaming_replication", "logical": "logical_replication"}
}

func (l *loader) setMode(a assignment, mode string) {
	if mode == "" {
		return
	}
	k := key{"backend_clustering_mode", noIndex}
	if _, ok := l.assigned[k]; ok {
		l.warnOld(a, k.name+" is set and wins", "")
		return
	}
	l.warnOld(a, "it is taken as "+k.name+" = "+mode, k.name)
	l.assigned[k] = assignment{key: k, text: mode, file: a.file, line: a.line, mapped: true}
}

// oldWatchdogName splits a name of the per-node watchdog files of 4.1 into base and link number; the number is noIndex for
// the local node's own parameters.
func oldWatchdogName(name string) (k key, ok bool) {
	switch name {
	case "wd_hostname", "wd_port", "wd_heartbeat_port":
		return key{name, noIndex}, true
	}
	for _, base := range []string{
		"other_pgpool_hostname", "other_pgpool_port", "other_wd_port", "heartbeat_destination_port", "heartbeat_destination",
	} {
		rest, found := strings.CutPrefix(name, base)
		if !found {
			continue
		}
		n, err := strconv.ParseUint(rest, 10, 8)
		if err == nil {
			return key{base, int(n)}, true
		}
	}
	return key{}, false
}
