package site

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gopgpool/internal/hosts"
	"gopgpool/internal/pgcluster"
)

// Where the pgpools of a cluster have their files.
const (
	EtcDir     = "/etc/pgpool-II"
	PgpoolLog  = "/var/log/pgpool/pgpool.log"
	StateDir   = "/var/lib/pgpool" // on a disk, as a watchdog's memory must be
	ClusterPCP = "pcp's own"       // the password of the pcp user pgpool
)

// Ports of a cluster.
const (
	PgpoolPort    = 9999
	PCPPort       = 9898
	WatchdogPort  = 9000
	HeartbeatPort = 9694
)

// ClusterOptions describe a watchdog's cluster. The zero value is three pgpools on server1 to server3, a client and one PostgreSQL
// server on a host of its own, with [Profile].
type ClusterOptions struct {
	Pgpools []string     // the names of their hosts
	First   netip.Prefix // the first one's address; the others follow
	Device  string       // default eth0
	VIP     netip.Addr
	Servers int      // PostgreSQL servers: a primary, and standbys that follow it. Default 1
	Beside  bool     // the servers are on the pgpools' hosts, not on hosts of their own
	Config  []string // further lines of the servers' postgresql.conf
	// LaterConfig are lines that come into force when all servers run.
	LaterConfig []string
	Second      string // if not empty, a device of every pgpool's host on a second network, 10.0.2.0/24, for heartbeats as well
	// Settings come over those of the profile, NodeSettings over both for one pgpool.
	Settings     Settings
	NodeSettings func(id int) Settings
	Shares       []hosts.Share
	Path         []string // further directories of programs on the hosts
	Programs     []string // further programs of ours, names below cmd
}

func (o ClusterOptions) withDefaults() ClusterOptions {
	if len(o.Pgpools) == 0 {
		o.Pgpools = []string{"server1", "server2", "server3"}
	}
	if !o.First.IsValid() {
		o.First = netip.MustParsePrefix("192.168.137.101/24")
	}
	if o.Device == "" {
		o.Device = "eth0"
	}
	if !o.VIP.IsValid() {
		o.VIP = netip.MustParseAddr("192.168.137.150")
	}
	if o.Servers == 0 {
		o.Servers = 1
	}
	if o.NodeSettings == nil {
		o.NodeSettings = func(int) Settings { return nil }
	}
	return o
}

// Cluster is several pgpools with a virtual address between them. Index in Pgpools is pgpool_node_id.
type Cluster struct {
	*Site
	Pgpools []*Pgpool
	Servers []*Server
	Client  *hosts.Host
	VIP     netip.Addr
	Device  string

	opts ClusterOptions
}

// NewCluster makes the hosts and starts the servers; the pgpools are configured and not started.
func NewCluster(tb testing.TB, opts ClusterOptions) *Cluster {
	tb.Helper()
	opts = opts.withDefaults()
	shares, path := Programs(tb, opts.Programs...)
	c := &Cluster{VIP: opts.VIP, Device: opts.Device, opts: opts}
	c.Site = New(tb, hosts.Options{Hosts: c.specs(tb), Shares: slices.Concat(shares, opts.Shares), Path: append(opts.Path, path...)})
	c.Client = c.Host("client")
	c.startServers(tb)
	for id, name := range opts.Pgpools {
		p := c.NewPgpool(c.Host(name), "root", PgpoolLog, "pgpool", "-D", "-n", "-f", EtcDir+"/pgpool.conf", "-F", EtcDir+"/pcp.conf")
		c.Pgpools = append(c.Pgpools, p)
		c.Configure(tb, id, nil)
	}
	for _, h := range c.Hosts() {
		text := fmt.Sprintf("*:9898:pgpool:%s\n", ClusterPCP)
		Must(tb, h.WriteFile("root", "/root/.pcppass", text, 0o600))
		Must(tb, h.WriteFile("postgres", "/var/lib/postgresql/.pcppass", text, 0o600))
	}
	return c
}

// specs are the hosts: those of the pgpools first, then client and the servers.
func (c *Cluster) specs(tb testing.TB) []hosts.Spec {
	specs := LAN(c.opts.Device, c.opts.First, c.opts.Pgpools...)
	for i := range specs {
		disk := tb.TempDir()
		Must(tb, os.Chmod(disk, 0o755))
		specs[i].Shares = []hosts.Share{{Source: disk, Target: StateDir, Writable: true}}
		if c.opts.Second != "" {
			specs[i].Devices = append(specs[i].Devices, hosts.Device{Name: c.opts.Second, Network: "second", Address: secondAddress(i)})
		}
	}
	others := []string{"client"}
	for i := range c.opts.Servers {
		if name := c.serverHost(i); !slices.Contains(c.opts.Pgpools, name) {
			others = append(others, name)
		}
	}
	next := specs[len(specs)-1].Devices[0].Address
	return append(specs, LAN(c.opts.Device, netip.PrefixFrom(next.Addr().Next(), next.Bits()), others...)...)
}

// serverHost is the name of a server's host.
func (c *Cluster) serverHost(i int) string {
	if c.opts.Beside {
		return c.opts.Pgpools[i]
	}
	return fmt.Sprintf("db%d", i)
}

func secondAddress(id int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 2, byte(1 + id)}), 24)
}

// startServers makes a primary and standbys that trust everybody on the network.
func (c *Cluster) startServers(tb testing.TB) {
	for i := range c.opts.Servers {
		p := c.NewServer(c.Host(c.serverHost(i)), "/var/lib/pgsql/data")
		if i == 0 {
			settings := []string{"wal_log_hints = on", "shared_buffers = 32MB", "max_connections = 300", "cluster_name = '" + p.Host.Name + "'"}
			p.Init(tb, "-A trust", append(settings, c.opts.Config...), []string{"host all all samenet trust", "host replication all samenet trust"})
		} else {
			p.Copy(tb, c.Servers[0])
		}
		p.Start(tb)
		c.Servers = append(c.Servers, p)
	}
	for _, p := range c.Servers {
		if len(c.opts.LaterConfig) > 0 {
			c.AppendTo(tb, p.Host, "postgres", p.Data+"/postgresql.conf", c.opts.LaterConfig...)
			c.Run(tb, p.Host, "postgres", "pg_ctl -D "+p.Data+" reload")
		}
	}
}

// Configure writes the files of one pgpool anew, with further settings.
func (c *Cluster) Configure(tb testing.TB, id int, more Settings) {
	tb.Helper()
	text := c.base().With(Profile(), c.Members(), Backends(c.Servers...), VIPSettings(c.VIP.String(), c.Device, c.opts.First.Bits()),
		c.opts.Settings, c.opts.NodeSettings(id), more).Text()
	for name, text := range map[string]string{
		"pgpool.conf": text, "pgpool_node_id": fmt.Sprintf("%d\n", id), "pool_passwd": "",
		"pcp.conf": "pgpool:" + pgcluster.MD5Hex(ClusterPCP) + "\n",
	} {
		Must(tb, c.Pgpools[id].Host.WriteFile("root", EtcDir+"/"+name, text, 0o600))
	}
	c.Run(tb, c.Pgpools[id].Host, "root", "mkdir -p /run/pgpool /var/log/pgpool")
}

func (c *Cluster) base() Settings {
	return Settings{
		"use_watchdog": "on", "wd_authkey": "a key for all", "wd_state_directory": StateDir, "wd_ipc_socket_dir": "/run/pgpool",
		"listen_addresses": "*", "port": fmt.Sprint(PgpoolPort), "unix_socket_directories": "/run/pgpool",
		"pcp_listen_addresses": "*", "pcp_port": fmt.Sprint(PCPPort), "pcp_socket_dir": "/run/pgpool",
		"pid_file_name": "/run/pgpool/pgpool.pid", "work_dir": "/var/log/pgpool", "log_line_prefix": "%m: %a pid %p: ",
		"backend_clustering_mode": "streaming_replication", "num_init_children": "100",
		"sr_check_user": "postgres", "sr_check_database": "postgres",
		"health_check_user": "postgres", "health_check_database": "postgres", "wd_lifecheck_user": "postgres",
	}
}

// Members are hostnameN and its like of all pgpools.
func (c *Cluster) Members() Settings {
	s := Settings{}
	for id, name := range c.opts.Pgpools {
		set := func(name, value string) { s[fmt.Sprintf("%s%d", name, id)] = value }
		set("hostname", name)
		set("wd_port", fmt.Sprint(WatchdogPort))
		set("pgpool_port", fmt.Sprint(PgpoolPort))
		set("heartbeat_port", fmt.Sprint(HeartbeatPort))
		if c.opts.Second == "" {
			set("heartbeat_hostname", name)
			continue
		}
		set("heartbeat_hostname", c.Host(name).Address().String()+";"+secondAddress(id).Addr().String())
		set("heartbeat_device", c.Device+";"+c.opts.Second)
	}
	return s
}

// Start starts pgpools, one after the other without waiting, then waits until each is ready. Without ids it is all of them.
func (c *Cluster) Start(tb testing.TB, ids ...int) {
	tb.Helper()
	if len(ids) == 0 {
		for id := range c.Pgpools {
			ids = append(ids, id)
		}
	}
	marks := make([]int, len(c.Pgpools))
	for _, id := range ids {
		marks[id] = c.Pgpools[id].Mark(tb)
		c.Pgpools[id].Spawn(tb)
	}
	for _, id := range ids {
		c.Pgpools[id].AwaitLog(tb, 40*time.Second, marks[id], "successfully started")
	}
}

// PgpoolHosts are the hosts of the pgpools, in the order of their numbers.
func (c *Cluster) PgpoolHosts() (all []*hosts.Host) {
	for _, p := range c.Pgpools {
		all = append(all, p.Host)
	}
	return all
}

// Holders are the numbers of the pgpools whose hosts have the virtual address now, looked up one after the other.
func (c *Cluster) Holders(tb testing.TB) (ids []int) {
	tb.Helper()
	for id, p := range c.Pgpools {
		if out := c.Run(tb, p.Host, "root", "ip -o addr show to "+c.VIP.String()); out != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// AwaitHolder waits until one host alone has the virtual address, and returns which pgpool's it is.
func (c *Cluster) AwaitHolder(tb testing.TB, limit time.Duration, among ...int) (id int) {
	tb.Helper()
	c.Await(tb, fmt.Sprintf("one of %v holds the virtual address", among), limit, func() (string, bool) {
		ids := c.Holders(tb)
		if len(ids) == 1 {
			id = ids[0]
		}
		return fmt.Sprint(ids), len(ids) == 1 && (len(among) == 0 || slices.Contains(among, id))
	})
	return id
}

// Psql runs a statement from a host through a pgpool, named by its host or address, and returns the rows and what went wrong.
func (c *Cluster) Psql(tb testing.TB, from *hosts.Host, to, sql string) (rows []map[string]string, said string) {
	tb.Helper()
	stdout, stderr, status := c.Shell(tb, from, "postgres", fmt.Sprintf(
		"PGCONNECT_TIMEOUT=5 psql -X -q -A -P footer=off -w -h %s -p %d -U postgres -d postgres -c %q", to, PgpoolPort, sql))
	if status != 0 {
		return nil, strings.TrimSpace(stderr)
	}
	return Rows(stdout), ""
}

// PoolNodes is SHOW pool_nodes in short: number, status and role of each server; or what went wrong.
func (c *Cluster) PoolNodes(tb testing.TB, to string) string {
	tb.Helper()
	rows, said := c.Psql(tb, c.Client, to, "SHOW pool_nodes")
	if said != "" {
		return said
	}
	return Brief(rows, "node_id", "status", "role")
}

// AwaitPoolNodes waits until these pgpools, or all, show the servers like that.
func (c *Cluster) AwaitPoolNodes(tb testing.TB, limit time.Duration, want string, ids ...int) {
	tb.Helper()
	if len(ids) == 0 {
		for id := range c.Pgpools {
			ids = append(ids, id)
		}
	}
	c.Await(tb, fmt.Sprintf("pgpools %v show %s", ids, want), limit, func() (string, bool) {
		var seen []string
		ok := true
		for _, id := range ids {
			got := c.PoolNodes(tb, c.Pgpools[id].Host.Name)
			seen, ok = append(seen, got), ok && got == want
		}
		return strings.Join(seen, "\n"), ok
	})
}

// PCP runs a pcp program on the client's host against a pgpool, named by its host or address, and returns what it says.
func (c *Cluster) PCP(tb testing.TB, to, program string, arguments ...string) string {
	tb.Helper()
	stdout, stderr, _ := c.Shell(tb, c.Client, "postgres", fmt.Sprintf("pcp_%s -w -h %s -p %d -U pgpool %s", program, to, PCPPort,
		strings.Join(arguments, " ")))
	return strings.TrimSpace(stdout + stderr)
}
