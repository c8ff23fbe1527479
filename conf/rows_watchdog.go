package conf

import (
	"slices"
	"time"
)

// watchdogNode is the place of hostnameN and its like; of a node that does not exist one nobody reads.
func (c *Config) watchdogNode(n int) *WatchdogNode {
	if n >= 0 && n < len(c.Watchdog.Nodes) {
		return &c.Watchdog.Nodes[n]
	}
	return &WatchdogNode{}
}

// heartbeatPeer is the place of heartbeat_*N; of a peer that does not exist one nobody reads.
func (c *Config) heartbeatPeer(n int) *HeartbeatPeer {
	if n >= 0 && n < len(c.Watchdog.Heartbeat) {
		return &c.Watchdog.Heartbeat[n]
	}
	return &HeartbeatPeer{}
}

func watchdogRows() []Param {
	rows := append(memberRows(), localWatchdogRows()...)
	return slices.Concat(rows, channelRows(), stateRows(), virtualIPRows(), quorumRows())
}

func memberRows() []Param {
	const f = FamilyWatchdog
	return []Param{
		boolean("use_watchdog", Start, "off",
			"be one of a group of pgpool nodes; needs the file pgpool_node_id",
			func(c *Config) *bool { return &c.Watchdog.UseWatchdog }),
		within(253, numbered(f, text("hostname", Start, "", "host of pgpool node N", nil),
			func(c *Config, n int) *string { return &c.watchdogNode(n).Hostname })),
		numbered(f, integer("pgpool_port", Start, 1024, 65535, "0", "client port of pgpool node N", nil),
			func(c *Config, n int) *int { return &c.watchdogNode(n).PgpoolPort }),
		numbered(f, integer("wd_port", Start, 1024, 65535, "0",
			"watchdog port of pgpool node N; the node exists when it is set", nil),
			func(c *Config, n int) *int { return &c.watchdogNode(n).WdPort }),
	}
}

func localWatchdogRows() []Param {
	return []Param{
		text("wd_listen_address", Start, "",
			"address to listen on for other nodes instead of the own hostnameN",
			func(c *Config) *string { return &c.Watchdog.WdListenAddress }),
		zeroAllowed(integer("wd_listen_port", Start, 1024, 65535, "0",
			"port to listen on for other nodes; 0 takes the own wd_portN",
			func(c *Config) *int { return &c.Watchdog.WdListenPort })),
		integer("wd_priority", Start, 0, maxInt, "1",
			"the node with the highest one becomes the leader",
			func(c *Config) *int { return &c.Watchdog.WdPriority }),
		secret(within(1024, text("wd_authkey", Start, "",
			"secret all nodes share",
			func(c *Config) *string { return &c.Watchdog.WdAuthkey }))),
		text("wd_ipc_socket_dir", Start, "/tmp",
			"directory of the socket for local programs",
			func(c *Config) *string { return &c.Watchdog.WdIpcSocketDir }),
		list("trusted_servers", Start, ',', "",
			"hosts that must answer, else this node counts as cut off",
			func(c *Config) *[]string { return &c.Watchdog.TrustedServers }),
		text("trusted_server_command", Reload, "ping -q -c3 %h",
			"command that asks such a host, %h",
			func(c *Config) *string { return &c.Watchdog.TrustedServerCommand }),
		list("wd_monitoring_interfaces_list", Start, ',', "",
			"network interfaces of which one must be up; any = all but loopback",
			func(c *Config) *[]string { return &c.Watchdog.WdMonitoringInterfacesList }),
	}
}

// channelRows are about the connections between nodes.
func channelRows() []Param {
	return []Param{
		ours(boolean("wd_ssl", Start, "off",
			"encrypt connections between pgpool nodes; each proves itself by a certificate",
			func(c *Config) *bool { return &c.Watchdog.WdSSL })),
		ours(path("wd_ssl_cert", Start, "",
			"this node's certificate, naming its hostnameN",
			func(c *Config) *string { return &c.Watchdog.WdSSLCert })),
		ours(path("wd_ssl_key", Start, "",
			"private key of wd_ssl_cert",
			func(c *Config) *string { return &c.Watchdog.WdSSLKey })),
		ours(path("wd_ssl_ca_cert", Start, "",
			"authority that signed the certificates of all nodes",
			func(c *Config) *string { return &c.Watchdog.WdSSLCACert })),
	}
}

// stateRows are about what a node remembers and how long the leader may lead without being heard.
func stateRows() []Param {
	return []Param{
		ours(zeroAllowed(duration("wd_lease_time", Start, "s", 3, "0",
			"time within which a cut-off leader gives up; 0 = deadtime, 3 to 10 s",
			func(c *Config) *time.Duration { return &c.Watchdog.WdLeaseTime }))),
		ours(path("wd_state_directory", Start, "",
			"directory of the node's memory; empty = /var/lib/pgpool/wd_ and the wd_portN",
			func(c *Config) *string { return &c.Watchdog.WdStateDirectory })),
		ours(boolean("wd_state_on_tmpfs", Start, "off",
			"accept a wd_state_directory that a restart of the host wipes",
			func(c *Config) *bool { return &c.Watchdog.WdStateOnTmpfs })),
	}
}

func virtualIPRows() []Param {
	return append(addressRows(), commandRows()...)
}

func addressRows() []Param {
	return []Param{
		text("delegate_ip", Start, "",
			"virtual address the leader holds",
			func(c *Config) *string { return &c.Watchdog.DelegateIP }),
		ours(text("delegate_device", Start, "",
			"device that takes delegate_ip without a command; empties if_up_cmd unless set",
			func(c *Config) *string { return &c.Watchdog.DelegateDevice })),
		ours(zeroAllowed(integer("delegate_prefix", Start, 1, 128, "0",
			"bits of delegate_ip's network when if_up_cmd is empty; 0 = 32, IPv6 128",
			func(c *Config) *int { return &c.Watchdog.DelegatePrefix }))),
		text("if_cmd_path", Start, "/sbin",
			"directory of if_up_cmd and if_down_cmd",
			func(c *Config) *string { return &c.Watchdog.IfCmdPath }),
		text("if_up_cmd", Start, "/usr/bin/sudo /sbin/ip addr add $_IP_$/24 dev eth0 label eth0:0",
			"command that takes the virtual address, $_IP_$",
			func(c *Config) *string { return &c.Watchdog.IfUpCmd }),
		text("if_down_cmd", Start, "/usr/bin/sudo /sbin/ip addr del $_IP_$/24 dev eth0",
			"command that gives up the virtual address, $_IP_$",
			func(c *Config) *string { return &c.Watchdog.IfDownCmd }),
		text("arping_path", Start, "/usr/sbin",
			"directory of arping_cmd",
			func(c *Config) *string { return &c.Watchdog.ArpingPath }),
		text("arping_cmd", Start, "/usr/bin/sudo /usr/sbin/arping -U $_IP_$ -w 1 -I eth0",
			"command that announces the virtual address, $_IP_$",
			func(c *Config) *string { return &c.Watchdog.ArpingCmd }),
		text("ping_path", Start, "/bin",
			"directory of ping",
			func(c *Config) *string { return &c.Watchdog.PingPath }),
	}
}

func commandRows() []Param {
	return []Param{
		boolean("clear_memqcache_on_escalation", Reload, "on",
			"empty the query cache when becoming the leader",
			func(c *Config) *bool { return &c.Watchdog.ClearMemqcacheOnEscalation }),
		text("wd_escalation_command", Reload, "",
			"command run when becoming the leader",
			func(c *Config) *string { return &c.Watchdog.WdEscalationCommand }),
		text("wd_de_escalation_command", Reload, "",
			"command run when no longer being the leader",
			func(c *Config) *string { return &c.Watchdog.WdDeEscalationCommand }),
		ours(duration("wd_command_timeout", Start, "s", 1, "30",
			"time after which a command about the virtual address is ended",
			func(c *Config) *time.Duration { return &c.Watchdog.WdCommandTimeout })),
	}
}

func quorumRows() []Param {
	return []Param{
		boolean("failover_when_quorum_exists", Start, "on",
			"detach nodes only while most pgpool nodes see each other",
			func(c *Config) *bool { return &c.Watchdog.FailoverWhenQuorumExists }),
		boolean("failover_require_consensus", Start, "on",
			"detach a node only when most pgpool nodes ask for it",
			func(c *Config) *bool { return &c.Watchdog.FailoverRequireConsensus }),
		boolean("allow_multiple_failover_requests_from_node", Start, "off",
			"count repeated requests of one pgpool node as further votes",
			func(c *Config) *bool { return &c.Watchdog.AllowMultipleFailoverRequestsFromNode }),
		boolean("enable_consensus_with_half_votes", Start, "off",
			"half of the votes is enough",
			func(c *Config) *bool { return &c.Watchdog.EnableConsensusWithHalfVotes }),
		boolean("wd_remove_shutdown_nodes", Reload, "off",
			"a node that was stopped is no longer a member",
			func(c *Config) *bool { return &c.Watchdog.WdRemoveShutdownNodes }),
		duration("wd_lost_node_removal_timeout", Reload, "s", 0, "0",
			"a lost node is no longer a member after this time; 0 always is",
			func(c *Config) *time.Duration { return &c.Watchdog.WdLostNodeRemovalTimeout }),
		duration("wd_no_show_node_removal_timeout", Reload, "s", 0, "0",
			"a node never seen is no longer a member after this time; 0 always is",
			func(c *Config) *time.Duration { return &c.Watchdog.WdNoShowNodeRemovalTimeout }),
	}
}

func lifecheckRows() []Param {
	return append(append([]Param{
		enum("wd_lifecheck_method", Start, lifecheckMethods(), "heartbeat",
			"how pgpool nodes watch each other",
			func(c *Config) *LifecheckMethod { return &c.Watchdog.WdLifecheckMethod }),
		duration("wd_interval", Start, "s", 0, "10",
			"time between life checks; 0 acts as 1",
			func(c *Config) *time.Duration { return &c.Watchdog.WdInterval }),
	}, heartbeatRows()...), lifecheckQueryRows()...)
}

func heartbeatRows() []Param {
	const f = FamilyHeartbeat
	lists := func(name, doc string, at func(c *Config, n int) *[]string) Param {
		return numbered(f, list(name, Start, ';', "", doc, nil), at)
	}
	return []Param{
		within(14, lists("heartbeat_device", "network device for heartbeats to node N, separated by ;",
			func(c *Config, n int) *[]string { return &c.heartbeatPeer(n).Devices })),
		lists("heartbeat_hostname", "host that gets heartbeats for node N, separated by ;",
			func(c *Config, n int) *[]string { return &c.heartbeatPeer(n).Hostnames }),
		numbered(f, integer("heartbeat_port", Start, 1024, 65535, "0",
			"UDP port of node N for heartbeats; the peer exists when it is set", nil),
			func(c *Config, n int) *int { return &c.heartbeatPeer(n).Port }),
		list("wd_heartbeat_listen_addresses", Start, ';', "",
			"addresses to receive on instead of the own heartbeat_hostnameN; * = all",
			func(c *Config) *[]string { return &c.Watchdog.WdHeartbeatListenAddresses }),
		integer("wd_heartbeat_listen_port", Start, 0, 65535, "0",
			"port to receive on; 0 takes the own heartbeat_portN",
			func(c *Config) *int { return &c.Watchdog.WdHeartbeatListenPort }),
		duration("wd_heartbeat_keepalive", Start, "s", 1, "2",
			"time between heartbeats",
			func(c *Config) *time.Duration { return &c.Watchdog.WdHeartbeatKeepalive }),
		duration("wd_heartbeat_deadtime", Start, "s", 1, "30",
			"silence after which a node counts as dead",
			func(c *Config) *time.Duration { return &c.Watchdog.WdHeartbeatDeadtime }),
	}
}

func lifecheckQueryRows() []Param {
	return []Param{
		integer("wd_life_point", Start, 0, maxInt, "3",
			"query method: failures after which a node counts as dead; 0 acts as 1",
			func(c *Config) *int { return &c.Watchdog.WdLifePoint }),
		text("wd_lifecheck_query", Start, "SELECT 1",
			"query method: statement sent",
			func(c *Config) *string { return &c.Watchdog.WdLifecheckQuery }),
		text("wd_lifecheck_dbname", Reload, "template1",
			"query method: database to connect to",
			func(c *Config) *string { return &c.Watchdog.WdLifecheckDbname }),
		text("wd_lifecheck_user", Reload, "",
			"query method: user who connects",
			func(c *Config) *string { return &c.Watchdog.WdLifecheckUser }),
		secret(text("wd_lifecheck_password", Reload, "",
			"query method: that user's password, not an md5 hash",
			func(c *Config) *string { return &c.Watchdog.WdLifecheckPassword })),
	}
}
