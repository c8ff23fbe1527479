package conf

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// badWatchdog is what Pgpool-II says of most that keeps a watchdog from starting.
const badWatchdog = "invalid watchdog configuration"

// onlyInUse makes a rule that is silent without use_watchdog.
func onlyInUse(test func(c *Config) (text, hint string), names ...string) crossCheck {
	return crossCheck{names, func(c *Config) (string, string) {
		if !c.Watchdog.UseWatchdog {
			return "", ""
		}
		return test(c)
	}}
}

// watchdogErrors keep the program from starting.
func watchdogErrors() []crossCheck {
	return []crossCheck{
		onlyInUse(checkLocalNode, "use_watchdog", "hostname", "wd_port", "pgpool_port", "port"),
		onlyInUse(checkNodes, "use_watchdog", "hostname", "wd_port", "pgpool_port"),
		onlyInUse(checkHeartbeat, "use_watchdog", "wd_lifecheck_method", "heartbeat_hostname", "heartbeat_port"),
		onlyInUse(checkDelegateIP, "delegate_ip", "delegate_prefix", "hostname", "wd_port"),
		onlyInUse(checkDelegateDevice, "delegate_ip"),
		onlyInUse(checkNodeTLS, "wd_ssl", "wd_ssl_cert", "wd_ssl_key", "wd_ssl_ca_cert"),
		onlyInUse(checkLifecheckPassword, "wd_lifecheck_method"),
	}
}

func checkLocalNode(c *Config) (text, hint string) {
	w := &c.Watchdog
	if w.NodeID == noIndex {
		return "", "" // a missing id was reported already
	}
	local := w.local()
	switch {
	case local.WdPort == 0:
		return badWatchdog, fmt.Sprintf("no watchdog configuration for local pgpool node, pgpool node id: %d ", w.NodeID)
	case w.count() == 1:
		return badWatchdog + ". other pgpools setting is not defined", "a watchdog cluster has two nodes at least"
	case local.PgpoolPort != 0 && local.PgpoolPort != c.Connections.Port:
		return badWatchdog, fmt.Sprintf("%s is %d and port is %d; they must be equal",
			backendName("pgpool_port", w.NodeID), local.PgpoolPort, c.Connections.Port)
	}
	return "", ""
}

// checkNodes finds nodes that lack something, and nodes that are the same.
func checkNodes(c *Config) (text, hint string) {
	nodes := c.Watchdog.Nodes
	for i, n := range nodes {
		switch {
		case n.WdPort == 0:
			continue
		case n.Hostname == "":
			return badWatchdog, backendName("hostname", i) + " is not defined"
		case n.PgpoolPort == 0:
			return badWatchdog, backendName("pgpool_port", i) + " is not defined"
		}
		for j, m := range nodes[:i] {
			if strings.EqualFold(n.Hostname, m.Hostname) && (n.WdPort == m.WdPort || n.PgpoolPort == m.PgpoolPort) {
				return badWatchdog, fmt.Sprintf("pgpool nodes %d and %d have the same host and port", j, i)
			}
		}
	}
	return "", ""
}

func checkHeartbeat(c *Config) (text, hint string) {
	if c.Watchdog.WdLifecheckMethod != LifecheckHeartbeat {
		return "", ""
	}
	for i := range c.Watchdog.Heartbeat {
		if h := &c.Watchdog.Heartbeat[i]; h.Port != 0 && len(h.Hostnames) == 0 {
			return badWatchdog, backendName("heartbeat_hostname", i) + " is not defined"
		}
	}
	return "", ""
}

func checkDelegateIP(c *Config) (text, hint string) {
	w := &c.Watchdog
	if w.DelegateIP == "" {
		return "", ""
	}
	ip, err := netip.ParseAddr(w.DelegateIP)
	text = fmt.Sprintf("invalid value for parameter \"delegate_ip\": \"%s\"", w.DelegateIP)
	switch {
	case err != nil || ip.Zone() != "":
		return text, "it must be an IPv4 or IPv6 address, without a network's bits"
	case ip.IsUnspecified() || ip.IsMulticast():
		return text, "no host can hold that address"
	case w.DelegatePrefix > ip.BitLen():
		return "invalid value for parameter \"delegate_prefix\"", fmt.Sprintf("%s has %d bits", ip, ip.BitLen())
	}
	for i, n := range w.Nodes {
		if own, err := netip.ParseAddr(n.Hostname); err == nil && own.Unmap() == ip.Unmap() {
			return text, "it is the address of pgpool node " + itoa(i) + " itself"
		}
	}
	return "", ""
}

func checkDelegateDevice(c *Config) (text, hint string) {
	w := &c.Watchdog
	if w.DelegateIP == "" || strings.TrimSpace(w.IfUpCmd) != "" || w.DelegateDevice != "" {
		return "", ""
	}
	return "delegate_ip needs a network device", "set delegate_device, or if_up_cmd and if_down_cmd"
}

func checkNodeTLS(c *Config) (text, hint string) {
	w := &c.Watchdog
	if !w.WdSSL || w.WdSSLCert != "" && w.WdSSLKey != "" && w.WdSSLCACert != "" {
		return "", ""
	}
	return badWatchdog, "wd_ssl needs wd_ssl_cert, wd_ssl_key and wd_ssl_ca_cert"
}

func checkLifecheckPassword(c *Config) (text, hint string) {
	const md5Hex = 32
	digits, ok := strings.CutPrefix(c.Watchdog.WdLifecheckPassword, "md5")
	if c.Watchdog.WdLifecheckMethod != LifecheckQuery || !ok || len(digits) != md5Hex || strings.Trim(digits, "0123456789abcdef") != "" {
		return "", ""
	}
	return badWatchdog, "wd_lifecheck_password must not be an md5 hash"
}

// watchdogWarnings are about settings that work, and hardly as meant.
func watchdogWarnings() []crossCheck {
	return []crossCheck{
		onlyInUse(warnGaps, "use_watchdog", "wd_port"),
		onlyInUse(warnHalfVotes, "use_watchdog", "wd_port", "enable_consensus_with_half_votes"),
		onlyInUse(warnConsensus, "failover_when_quorum_exists", "failover_require_consensus"),
		onlyInUse(warnNoKey, "wd_authkey", "wd_ssl"),
		onlyInUse(warnLoopback, "use_watchdog", "hostname", "wd_port"),
		onlyInUse(warnLease, "wd_lease_time", "wd_heartbeat_deadtime", "wd_lifecheck_method"),
		onlyInUse(warnKeepalive, "wd_heartbeat_keepalive", "wd_heartbeat_deadtime", "wd_lifecheck_method"),
		onlyInUse(warnHeartbeatPeers, "use_watchdog", "wd_port", "heartbeat_port", "wd_lifecheck_method"),
		onlyInUse(warnHeartbeatDevices, "use_watchdog", "heartbeat_hostname", "heartbeat_device", "heartbeat_port", "wd_lifecheck_method"),
		onlyInUse(warnLifecheckUser, "wd_lifecheck_method"),
	}
}

func warnGaps(c *Config) (text, hint string) {
	i := slices.IndexFunc(c.Watchdog.Nodes, func(n WatchdogNode) bool { return n.WdPort == 0 })
	if i < 0 {
		return "", ""
	}
	return fmt.Sprintf("the numbers of pgpool nodes have a gap: %s is not set", backendName("wd_port", i)), "number them without gaps, on all nodes alike"
}

func warnHalfVotes(c *Config) (text, hint string) {
	const two = 2
	if c.Watchdog.count() != two || c.Watchdog.EnableConsensusWithHalfVotes {
		return "", ""
	}
	return "one of two pgpool nodes alone has no quorum: it holds no virtual address and decides no failover",
		"enable_consensus_with_half_votes = on lets it go on alone, or add a third node"
}

func warnConsensus(c *Config) (text, hint string) {
	w := &c.Watchdog
	if _, set := c.assigned[key{"failover_require_consensus", noIndex}]; !set || !w.FailoverRequireConsensus || w.FailoverWhenQuorumExists {
		return "", "" // the default is on
	}
	return "failover_require_consensus has no effect while failover_when_quorum_exists is off", ""
}

func warnNoKey(c *Config) (text, hint string) {
	if c.Watchdog.WdAuthkey != "" || c.Watchdog.WdSSL {
		return "", ""
	}
	return "wd_authkey is not set: whoever reaches the watchdog's port can act as a pgpool node", "set the same wd_authkey on all nodes, or wd_ssl"
}

func warnLoopback(c *Config) (text, hint string) {
	here, elsewhere := noIndex, false
	for i, n := range c.Watchdog.Nodes {
		switch {
		case n.WdPort == 0:
		case isLoopback(n.Hostname):
			here = i
		default:
			elsewhere = true
		}
	}
	if here == noIndex || !elsewhere {
		return "", ""
	}
	return fmt.Sprintf("%s is this host only, and there are nodes on others", backendName("hostname", here)), "name a host that all nodes reach"
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// warnLease: a longer lease stays safe, since a new leader waits for the old one's end, but all of its time is takeover time.
func warnLease(c *Config) (text, hint string) {
	w := &c.Watchdog
	if w.WdLifecheckMethod != LifecheckHeartbeat || w.WdLeaseTime <= w.WdHeartbeatDeadtime {
		return "", ""
	}
	return fmt.Sprintf("wd_lease_time is longer than wd_heartbeat_deadtime: a takeover takes %s, although the loss is known after %s",
		w.WdLeaseTime, w.WdHeartbeatDeadtime), ""
}

func warnKeepalive(c *Config) (text, hint string) {
	w := &c.Watchdog
	if w.WdLifecheckMethod != LifecheckHeartbeat || w.WdHeartbeatKeepalive < w.WdHeartbeatDeadtime {
		return "", ""
	}
	return "wd_heartbeat_keepalive is not less than wd_heartbeat_deadtime: nodes count as dead between two heartbeats",
		"wd_heartbeat_deadtime should be several times as long"
}

func warnHeartbeatPeers(c *Config) (text, hint string) {
	w := &c.Watchdog
	if w.WdLifecheckMethod != LifecheckHeartbeat {
		return "", ""
	}
	for i := range max(len(w.Nodes), len(w.Heartbeat)) {
		node, peer := i < len(w.Nodes) && w.Nodes[i].WdPort != 0, i < len(w.Heartbeat) && w.Heartbeat[i].Port != 0
		switch {
		case node && !peer:
			return fmt.Sprintf("pgpool node %d gets no heartbeats: %s is not set", i, backendName("heartbeat_port", i)), ""
		case peer && !node:
			return fmt.Sprintf("heartbeats to pgpool node %d are not sent: %s is not set", i, backendName("wd_port", i)), ""
		}
	}
	return "", ""
}

func warnHeartbeatDevices(c *Config) (text, hint string) {
	if c.Watchdog.WdLifecheckMethod != LifecheckHeartbeat {
		return "", ""
	}
	for i := range c.Watchdog.Heartbeat {
		if h := &c.Watchdog.Heartbeat[i]; len(h.Devices) > len(h.Hostnames) {
			return fmt.Sprintf("%s has more elements than %s", backendName("heartbeat_device", i), backendName("heartbeat_hostname", i)),
				"the first device belongs to the first host, and so on"
		}
	}
	return "", ""
}

func warnLifecheckUser(c *Config) (text, hint string) {
	if c.Watchdog.WdLifecheckMethod != LifecheckQuery || c.Watchdog.WdLifecheckUser != "" {
		return "", ""
	}
	return "wd_lifecheck_method is query and wd_lifecheck_user is not set: every check fails", ""
}
