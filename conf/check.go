package conf

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// crossCheck is a rule about several parameters. It is not applied while one of them has a value that could not be taken.
type crossCheck struct {
	names []string // the first is where the problem is reported
	test  func(c *Config) (text, hint string)
}

// check applies all rules to a whole configuration.
func (l *loader) check(c *Config) {
	l.readNodeID(c)
	for _, r := range slices.Concat(errorChecks(), nodeChecks(), watchdogErrors()) {
		l.apply(c, r, Error)
	}
	for _, r := range slices.Concat(warningChecks(), poolingWarnings(), watchdogWarnings(), autoFailoverWarnings()) {
		l.apply(c, r, Warning)
	}
	l.strayNodes(c)
}

func (l *loader) apply(c *Config, r crossCheck, s Severity) {
	for _, n := range r.names {
		if l.bad[n] {
			return
		}
	}
	text, hint := r.test(c)
	if text == "" {
		return
	}
	p := Problem{Severity: s, Name: r.names[0], Text: text, Hint: hint}
	if a, ok := c.assigned[key{r.names[0], noIndex}]; ok {
		p.File, p.Line, p.Value = a.file, a.line, a.text
	}
	l.report(p)
}

func errorChecks() []crossCheck {
	return []crossCheck{
		{
			[]string{"min_spare_children", "max_spare_children", "process_management_mode"},
			func(c *Config) (string, string) {
				if c.Pool.ProcessManagementMode != ProcessDynamic || c.Pool.MinSpareChildren < c.Pool.MaxSpareChildren {
					return "", ""
				}
				return "invalid configuration, min_spare_children must be less than max_spare_children",
					fmt.Sprintf("they are %d and %d", c.Pool.MinSpareChildren, c.Pool.MaxSpareChildren)
			},
		},
		{
			[]string{"max_spare_children", "num_init_children", "process_management_mode"},
			func(c *Config) (string, string) {
				if c.Pool.ProcessManagementMode != ProcessDynamic || c.Pool.MaxSpareChildren <= c.Pool.NumInitChildren {
					return "", ""
				}
				return "invalid configuration, max_spare_children must not be greater than num_init_children",
					fmt.Sprintf("they are %d and %d", c.Pool.MaxSpareChildren, c.Pool.NumInitChildren)
			},
		},
		{
			[]string{"replication_mode", "failover_when_quorum_exists"},
			func(c *Config) (string, string) {
				if !c.ReplicationMode || !c.Watchdog.FailoverWhenQuorumExists {
					return "", ""
				}
				return "invalid configuration, failover_when_quorum_exists is not allowed in native replication mode",
					"set failover_when_quorum_exists = off, or remove replication_mode"
			},
		},
		{
			[]string{"memqcache_maxcache", "memqcache_cache_block_size", "memqcache_method"},
			func(c *Config) (string, string) {
				q := &c.QueryCache
				if q.MemqcacheMethod != MemqcacheShmem || q.MemqcacheMaxcache <= q.MemqcacheCacheBlockSize {
					return "", ""
				}
				return "invalid configuration, memqcache_maxcache must not be greater than memqcache_cache_block_size",
					fmt.Sprintf("they are %d and %d bytes", q.MemqcacheMaxcache, q.MemqcacheCacheBlockSize)
			},
		},
		{
			[]string{"memqcache_total_size", "memqcache_cache_block_size", "memqcache_method"},
			func(c *Config) (string, string) {
				q := &c.QueryCache
				if q.MemqcacheMethod != MemqcacheShmem || q.MemqcacheTotalSize >= q.MemqcacheCacheBlockSize {
					return "", ""
				}
				return "invalid configuration, memqcache_total_size must not be less than memqcache_cache_block_size",
					fmt.Sprintf("they are %d and %d bytes", q.MemqcacheTotalSize, q.MemqcacheCacheBlockSize)
			},
		},
	}
}

// nodeChecks are the rules about numbered parameters.
func nodeChecks() []crossCheck {
	return []crossCheck{
		{[]string{"recovery_1st_stage_command", "recovery_2nd_stage_command", "backend_data_directory", "backend_port"}, checkDataDirectories},
		{[]string{"backend_agent", "backend_hostname", "backend_port"}, checkAgents},
	}
}

// checkAgents refuses two nodes with one agent: it looks after one server, so what is ordered for one of them would be done to the other.
func checkAgents(c *Config) (text, hint string) {
	seen := make(map[string]int)
	for i := range c.Backends {
		b := &c.Backends[i]
		if !b.Exists() || b.Agent == "" {
			continue
		}
		at := strings.ToLower(b.Agent)
		if strings.HasPrefix(at, ":") {
			at = strings.ToLower(b.Hostname) + at
		}
		if j, there := seen[at]; there {
			return fmt.Sprintf("invalid configuration, %s and %s name the same agent", backendName("backend_agent", j), backendName("backend_agent", i)),
				"an agent looks after one server; another one on the same host needs another agent_port"
		}
		seen[at] = i
	}
	return "", ""
}

func checkDataDirectories(c *Config) (text, hint string) {
	if c.Recovery.Recovery1stStageCommand == "" && c.Recovery.Recovery2ndStageCommand == "" {
		return "", ""
	}
	for i := range c.Backends {
		if b := &c.Backends[i]; b.Exists() && b.DataDirectory == "" {
			return "invalid configuration, recovery needs the data directory of every backend",
				backendName("backend_data_directory", i) + " is not defined"
		}
	}
	return "", ""
}

func warningChecks() []crossCheck {
	return []crossCheck{
		{
			[]string{"memory_cache_enabled"},
			func(c *Config) (string, string) {
				if !c.QueryCache.MemoryCacheEnabled {
					return "", ""
				}
				return "memory_cache_enabled is not built yet and acts as off", ""
			},
		},
		{
			[]string{"reserved_connections", "num_init_children"},
			func(c *Config) (string, string) {
				if c.Pool.ReservedConnections == 0 || c.Pool.ReservedConnections < c.Pool.NumInitChildren {
					return "", ""
				}
				return "reserved_connections leaves no session to clients", "it should be less than num_init_children"
			},
		},
		{
			[]string{"max_client_conn", "num_init_children"},
			func(c *Config) (string, string) {
				if c.Pool.MaxClientConn == 0 || c.Pool.MaxClientConn >= c.Pool.NumInitChildren {
					return "", ""
				}
				return "max_client_conn is less than num_init_children, which will not be reached", ""
			},
		},
	}
}

// strayNodes warns of numbered parameters that belong to no node because its port is missing.
func (l *loader) strayNodes(c *Config) {
	ports := map[Family]string{FamilyBackend: "backend_port", FamilyWatchdog: "wd_port", FamilyHeartbeat: "heartbeat_port"}
	told := make(map[key]bool)
	for _, a := range c.assigned.inOrder() {
		port, ok := ports[params().byName[a.name].Family]
		k := key{port, a.index}
		if _, set := c.assigned[k]; !ok || set || told[k] {
			continue
		}
		told[k] = true
		l.report(Problem{
			Severity: Warning, File: a.file, Line: a.line, Name: displayName(a.key), Value: a.text,
			Text: fmt.Sprintf("%s is ignored", displayName(a.key)), Hint: displayName(k) + " is not set",
		})
	}
}

// NotBuilt lists what the configuration asks for and this program cannot do yet. The daemon refuses to start on an Error: it
// must never be taken for something it is not.
func (c *Config) NotBuilt() []Problem {
	var out []Problem
	add := func(name, value, hint string) {
		p := Problem{Severity: Error, Name: name, Value: value, Text: name + " = " + value + " is not built yet", Hint: hint}
		if a, ok := c.assigned[key{name, noIndex}]; ok {
			p.File, p.Line = a.file, a.line
		}
		out = append(out, p)
	}
	switch c.BackendClusteringMode {
	case ModeStreamingReplication, ModeRaw:
	case ModeNativeReplication, ModeLogicalReplication, ModeSnapshotIsolation:
		add("backend_clustering_mode", c.BackendClusteringMode.String(), "built are streaming_replication and raw")
	}
	slices.SortStableFunc(out, func(a, b Problem) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
