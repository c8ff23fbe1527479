package conf

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// numberedNodes is n pgpool nodes in today's form, with a key so that nothing is warned of.
func numberedNodes(n int) string {
	b := "wd_authkey = 'k' enable_consensus_with_half_votes = on "
	for i := range n {
		b += fmt.Sprintf("hostname%d = 'server%d' wd_port%d = 9000 pgpool_port%d = 9999 heartbeat_hostname%d = 'server%d' heartbeat_port%d = 9694 ",
			i, i+1, i, i, i, i+1, i)
	}
	return b
}

// loadNode reads a text as the main file of a pgpool node.
func loadNode(id int, text string) (*Config, []Problem) {
	return loadWith(mainFile, memory{mainFile: text, "/etc/pgpool/pgpool_node_id": itoa(id) + "\n"}.read)
}

// TestWatchdogChecks: each setting alone added to a cluster that is in order.
func TestWatchdogChecks(t *testing.T) {
	const device = " delegate_device = 'eth0' "
	for _, tt := range []struct {
		nodes int
		text  string
		want  string // of an error; with a leading ? of a warning; empty = no problem at all
	}{
		{3, "", ""},
		{2, "", ""},
		{3, "delegate_ip = '10.0.0.9'" + device, ""},
		{3, "delegate_ip = '2001:db8::9' delegate_prefix = 64" + device, ""},
		{3, "delegate_ip = '10.0.0.9' if_up_cmd = '/root/up.sh $_IP_$' if_down_cmd = 'x' arping_cmd = 'true'", ""},

		{1, "", "invalid watchdog configuration. other pgpools setting is not defined"},
		{0, "", "no watchdog configuration for local pgpool node, pgpool node id: 0 "},
		{3, "hostname1 = ''", "hostname1 is not defined"},
		{3, "wd_port3 = 9000 hostname3 = 'x'", "pgpool_port3 is not defined"},
		{3, "pgpool_port0 = 9998", "pgpool_port0 is 9998 and port is 9999; they must be equal"},
		{3, "port = 9998", "pgpool_port0 is 9999 and port is 9998"},
		{3, "pgpool_port1 = 9998", ""},
		{3, "hostname2 = 'SERVER2'", "pgpool nodes 1 and 2 have the same host and port"},
		{3, "hostname2 = 'server2' wd_port2 = 9001", "pgpool nodes 1 and 2 have the same host and port"},
		{3, "hostname2 = 'server2' wd_port2 = 9001 pgpool_port2 = 9998", ""},
		{3, "heartbeat_hostname1 = ''", "heartbeat_hostname1 is not defined"},
		{3, "delegate_ip = 'vip.example.com'" + device, "it must be an IPv4 or IPv6 address"},
		{3, "delegate_ip = '10.0.0.9/24'" + device, "it must be an IPv4 or IPv6 address"},
		{3, "delegate_ip = 'fe80::1%eth0'" + device, "it must be an IPv4 or IPv6 address"},
		{3, "delegate_ip = '0.0.0.0'" + device, "no host can hold that address"},
		{3, "delegate_ip = '224.0.0.1'" + device, "no host can hold that address"},
		{3, "delegate_ip = '10.0.0.9' delegate_prefix = 33" + device, "10.0.0.9 has 32 bits"},
		{3, "delegate_ip = '10.0.0.2' hostname1 = '10.0.0.2'" + device, "it is the address of pgpool node 1 itself"},
		{3, "delegate_ip = '10.0.0.9' if_up_cmd = ' '", "delegate_ip needs a network device"},
		{3, "wd_ssl = on wd_ssl_cert = 'c' wd_ssl_key = 'k'", "wd_ssl needs wd_ssl_cert, wd_ssl_key and wd_ssl_ca_cert"},
		{3, "wd_ssl = on wd_ssl_cert = 'c' wd_ssl_key = 'k' wd_ssl_ca_cert = 'a'", ""},
		{
			3, "wd_lifecheck_method = query wd_lifecheck_user = 'u' wd_lifecheck_password = 'md50123456789abcdef0123456789abcdef'",
			"wd_lifecheck_password must not be an md5 hash",
		},
		{3, "wd_lifecheck_method = query wd_lifecheck_user = 'u' wd_lifecheck_password = 'md5'", ""},
		{3, "wd_lease_time = 2", "2 is outside the valid range"},

		{3, "wd_port4 = 9000 hostname4 = 'x' pgpool_port4 = 9999 heartbeat_port4 = 9694 heartbeat_hostname4 = 'x'", "?have a gap: wd_port3 is not set"},
		{2, "enable_consensus_with_half_votes = off", "?one of two pgpool nodes alone has no quorum"},
		{3, "enable_consensus_with_half_votes = off", ""},
		{3, "failover_when_quorum_exists = off", ""},
		{3, "failover_when_quorum_exists = off failover_require_consensus = on", "?failover_require_consensus has no effect"},
		{3, "wd_authkey = ''", "?wd_authkey is not set"},
		{3, "wd_authkey = '' wd_ssl = on wd_ssl_cert = 'c' wd_ssl_key = 'k' wd_ssl_ca_cert = 'a'", ""},
		{3, "hostname0 = 'localhost'", "?hostname0 is this host only"},
		{2, "hostname0 = '127.0.1.1' hostname1 = '127.0.1.2'", ""},
		{3, "wd_heartbeat_deadtime = 5 wd_lease_time = 6", "?a takeover takes 6s, although the loss is known after 5s"},
		{3, "wd_heartbeat_deadtime = 5 wd_lease_time = 5", ""},
		{3, "wd_heartbeat_deadtime = 2 wd_heartbeat_keepalive = 1", ""},
		{3, "wd_heartbeat_deadtime = 2", "?nodes count as dead between two heartbeats"},
		{3, "wd_heartbeat_deadtime = 2 wd_lifecheck_method = external", ""},
		{3, "wd_port3 = 9000 hostname3 = 'x' pgpool_port3 = 9999", "?pgpool node 3 gets no heartbeats"},
		{3, "heartbeat_port3 = 9694 heartbeat_hostname3 = 'x'", "?heartbeats to pgpool node 3 are not sent"},
		{3, "heartbeat_device1 = 'eth0;eth1'", "?heartbeat_device1 has more elements than heartbeat_hostname1"},
		{3, "delegate_ip = '10.0.0.9' if_up_cmd = 'up'" + device, ""},
		{3, "wd_lifecheck_method = query", "?wd_lifecheck_user is not set: every check fails"},
	} {
		t.Run(tt.text, func(t *testing.T) {
			text := numberedNodes(tt.nodes) + tt.text
			c, problems := loadNode(0, "use_watchdog = on "+text)
			warning, isWarning := strings.CutPrefix(tt.want, "?")
			switch {
			case isWarning:
				wantProblem(t, problems, Warning, warning)
			case tt.want != "":
				wantProblem(t, problems, Error, tt.want)
			case len(problems) > 0:
				t.Errorf("problems: %v", problems)
			}
			if refused := tt.want != "" && !isWarning; (c == nil) != refused {
				t.Errorf("refused: %v, want %v: %v", c == nil, refused, problems)
			}
			if tt.want == "" || strings.Contains(tt.want, "range") {
				return
			}
			if c, problems := loadNode(0, text); c == nil || slices.ContainsFunc(problems, func(p Problem) bool { return strings.Contains(p.String(), warning) }) {
				t.Errorf("told with the watchdog off: %v", problems)
			}
		})
	}
}

func TestLease(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"":                           10 * time.Second,
		"wd_heartbeat_deadtime = 5":  5 * time.Second,
		"wd_heartbeat_deadtime = 1":  3 * time.Second,
		"wd_heartbeat_deadtime = 60": 10 * time.Second,
		"wd_lease_time = 3":          3 * time.Second,
		"wd_lease_time = '1min'":     time.Minute,
	} {
		if got := mustLoad(t, text).Watchdog.Lease(); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestStateDirectory(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "/var/lib/pgpool/wd_9000",
		"wd_port0 = 9001":              "/var/lib/pgpool/wd_9001",
		"wd_state_directory = '/data'": "/data",
		"wd_state_directory = 'state'": "/etc/pgpool/state",
	} {
		c, problems := loadNode(0, "use_watchdog = on "+numberedNodes(2)+text)
		if c == nil {
			t.Fatal(problems)
		}
		if got := c.Watchdog.StateDirectory(); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// TestDelegateDevice: a device stands for the commands that are not set, and SHOW tells so.
func TestDelegateDevice(t *testing.T) {
	for _, tt := range []struct{ text, up, down, arping string }{
		{"delegate_device = 'ens3'", "", "", ""},
		{"delegate_device = 'ens3' if_up_cmd = 'u' if_down_cmd = 'd' arping_cmd = 'a'", "u", "d", "a"},
		{"delegate_device = 'ens3' if_up_cmd = ''", "", "", ""},
		{"delegate_device = 'ens3' arping_cmd = 'a'", "", "", "a"},
		{"delegate_device = '' if_up_cmd = 'u' if_down_cmd = 'd' arping_cmd = 'a'", "u", "d", "a"},
	} {
		c := mustLoad(t, tt.text)
		for name, want := range map[string]string{"if_up_cmd": tt.up, "if_down_cmd": tt.down, "arping_cmd": tt.arping} {
			s, err := c.Show(name)
			if err != nil || s.Items[0].Value != want {
				t.Errorf("%s: %s is %v, want %q", tt.text, name, s.Items, want)
			}
		}
		if w := &c.Watchdog; w.IfUpCmd != tt.up || w.IfDownCmd != tt.down || w.ArpingCmd != tt.arping {
			t.Errorf("%s: %q %q %q", tt.text, w.IfUpCmd, w.IfDownCmd, w.ArpingCmd)
		}
	}
	standard := Default().Watchdog
	if w := mustLoad(t, "delegate_device = 'ens3' if_up_cmd = 'u'").Watchdog; w.IfDownCmd != standard.IfDownCmd || w.ArpingCmd != standard.ArpingCmd {
		t.Errorf("beside an own if_up_cmd: %q, %q", w.IfDownCmd, w.ArpingCmd)
	}
}

// TestWatchdogReload: what the running watchdog does not act on needs a restart.
func TestWatchdogReload(t *testing.T) {
	before := "use_watchdog = on " + numberedNodes(2)
	m := memory{mainFile: before, "/etc/pgpool/pgpool_node_id": "0"}
	c, problems := loadWith(mainFile, m.read)
	if c == nil {
		t.Fatal(problems)
	}
	for text, want := range map[string]string{
		"hostname1 = 'x'":                         "hostname1 server2>x restart",
		"wd_port1 = 9001":                         "wd_port1 9000>9001 restart",
		"pgpool_port1 = 9001":                     "pgpool_port1 9999>9001 restart",
		"wd_authkey = 'other'":                    "wd_authkey *****>***** restart",
		"heartbeat_hostname1 = 'x'":               "heartbeat_hostname1 server2>x restart",
		"heartbeat_port1 = 9001":                  "heartbeat_port1 9694>9001 restart",
		"heartbeat_device1 = 'eth0'":              "heartbeat_device1 >eth0 restart",
		"wd_lease_time = 5":                       "wd_lease_time 0>5s restart",
		"wd_priority = 5":                         "wd_priority 1>5 restart",
		"trusted_servers = 'a'":                   "trusted_servers >a restart",
		"trusted_server_command = 'true'":         "trusted_server_command ping -q -c3 %h>true",
		"wd_escalation_command = 'a'":             "wd_escalation_command >a",
		"wd_de_escalation_command = 'a'":          "wd_de_escalation_command >a",
		"wd_command_timeout = 5":                  "wd_command_timeout 30s>5s restart",
		"wd_remove_shutdown_nodes = on":           "wd_remove_shutdown_nodes off>on",
		"wd_lost_node_removal_timeout = 5":        "wd_lost_node_removal_timeout 0>5s",
		"wd_no_show_node_removal_timeout = 5":     "wd_no_show_node_removal_timeout 0>5s",
		"wd_lifecheck_user = 'a'":                 "wd_lifecheck_user >a",
		"enable_consensus_with_half_votes = off ": "enable_consensus_with_half_votes on>off restart",
	} {
		m[mainFile] = before + text
		next, changes, problems := c.reloadWith(mainFile, m.read)
		if got := changeTexts(changes); Refused(problems) || !slices.Equal(got, []string{want}) {
			t.Errorf("%s: changes %q, want %q; %v", text, got, want, problems)
		}
		if strings.HasSuffix(want, "restart") && !reflect.DeepEqual(next.Watchdog, c.Watchdog) {
			t.Errorf("%s: changed at once: %+v", text, next.Watchdog)
		}
	}
	m[mainFile] = before + "hostname2 = 'new' wd_port2 = 9000 pgpool_port2 = 9999"
	if next, changes, _ := c.reloadWith(mainFile, m.read); len(next.Watchdog.Nodes) != 2 || len(changes) != 3 || !changes[0].NeedsRestart {
		t.Errorf("another node: %v, %+v", changes, next.Watchdog.Nodes)
	}
}

// TestOldClusterFiles reads each node's own file of a cluster in the form of 3.4 to 4.1 and expects one list on all of them, and each
// host to find itself in it. The directories are the clusters of the manuals' examples; the files in them are named after the hosts.
func TestOldClusterFiles(t *testing.T) {
	for cluster, hosts := range map[string][]string{
		"two-nodes":      {"osspc16", "osspc20"},
		"three-servers":  {"server1", "server2", "server3"},
		"two-networks":   {"alpha", "beta", "gamma"},
		"one-host-ports": {"127.0.0.1-9000", "127.0.0.1-9002", "127.0.0.1-10000"},
	} {
		t.Run(cluster, func(t *testing.T) {
			var first *Config
			for id, host := range hosts {
				c := loadOldFile(t, filepath.Join("testdata/watchdog", cluster, host+".conf"))
				if first == nil {
					first = c
				}
				w := &c.Watchdog
				if w.NodeID != id || !w.NumberedByRank || len(w.Nodes) != len(hosts) {
					t.Errorf("%s: node %d of %v", host, w.NodeID, w.Nodes)
				}
				if !slices.Equal(w.Nodes, first.Watchdog.Nodes) || w.NodesHash() != first.Watchdog.NodesHash() || w.NodesHash() == "" {
					t.Errorf("%s: %v (%s), %s has %v", host, w.Nodes, w.NodesHash(), hosts[0], first.Watchdog.Nodes)
				}
				if d := CompareClusterSettings(first.ClusterSettings(), c.ClusterSettings()); d != nil {
					t.Errorf("%s: %v", host, d)
				}
				if !slices.Equal(w.WdHeartbeatListenAddresses, []string{"*"}) || len(w.Heartbeat) != len(hosts) {
					t.Errorf("%s: listens to %q for %v", host, w.WdHeartbeatListenAddresses, w.Heartbeat)
				}
			}
		})
	}
}

func loadOldFile(t *testing.T, name string) *Config {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	c, problems := load(string(text))
	if c == nil {
		t.Fatalf("%s: %v", name, problems)
	}
	return c
}

// TestOldClusterFileMeaning: what a file of each cluster is taken for.
func TestOldClusterFileMeaning(t *testing.T) {
	w := loadOldFile(t, "testdata/watchdog/two-nodes/osspc20.conf").Watchdog
	if w.DelegateIP != "133.137.177.143" || !strings.HasPrefix(w.NodesHash(), "osspc16:9000 osspc20:9000 (") ||
		!reflect.DeepEqual(w.Nodes, []WatchdogNode{{"osspc16", 9000, 9999}, {"osspc20", 9000, 9999}}) ||
		!reflect.DeepEqual(w.Heartbeat, []HeartbeatPeer{{Hostnames: []string{"osspc16"}, Port: 9694}, {Hostnames: []string{"osspc20"}, Port: 9694}}) {
		t.Errorf("two nodes: %+v", w)
	}
	w = loadOldFile(t, "testdata/watchdog/two-networks/alpha.conf").Watchdog
	want := []HeartbeatPeer{
		{Hostnames: []string{"alpha"}, Port: 9694},
		{Hostnames: []string{"10.0.2.2", "beta"}, Port: 9694, Devices: []string{"eth1"}}, // the device belongs to the second link
		{Hostnames: []string{"gamma", "10.0.2.3"}, Port: 9695, Devices: []string{"eth0", "eth1"}},
	}
	if !reflect.DeepEqual(w.Heartbeat, want) {
		t.Errorf("two networks:\n got %+v\nwant %+v", w.Heartbeat, want)
	}
	w = loadOldFile(t, "testdata/watchdog/one-host-ports/127.0.0.1-10000.conf").Watchdog
	if !reflect.DeepEqual(w.Nodes, []WatchdogNode{{"127.0.0.1", 9000, 9999}, {"127.0.0.1", 9002, 9998}, {"127.0.0.1", 10000, 9997}}) {
		t.Errorf("ports are no numbers: %+v", w.Nodes)
	}
}

func TestNodesHash(t *testing.T) {
	const a = "use_watchdog = on wd_hostname = 'a' other_pgpool_hostname0 = 'b' "
	hash := func(text string) string { return mustLoad(t, text).Watchdog.NodesHash() }
	same, other := hash("use_watchdog = on wd_hostname = 'B' other_pgpool_hostname3 = 'A' other_pgpool_port3 = 9998 other_wd_port3 = 9000"),
		[]string{hash(a + "other_wd_port0 = 9001"), hash(a + "other_pgpool_hostname1 = 'c'"), hash(a + "other_pgpool_hostname0 = 'b.example.com'")}
	if h := hash(a); h != same || slices.Contains(other, h) {
		t.Errorf("%s, %s, %s", h, same, other)
	}
	c, problems := loadNode(0, "use_watchdog = on "+numberedNodes(3))
	if c == nil || c.Watchdog.NodesHash() != "" {
		t.Errorf("numbered in the file: %v", problems)
	}
	many := a
	for i := range 100 {
		many += fmt.Sprintf(" other_pgpool_hostname%d = 'a-long-name-of-host-%d'", i+1, i)
	}
	if long, longer := hash(many), hash(many+" other_pgpool_hostname101 = 'z'"); len(long) > 400 || long == longer {
		t.Errorf("many nodes: %s and %s", long, longer)
	}
	m := memory{mainFile: a}
	c = mustLoad(t, a)
	next, _, _ := c.reloadWith(mainFile, m.read)
	if next.Watchdog.NodesHash() != hash(a) {
		t.Error("lost by a reload")
	}
}

// TestOldFileOddities: what a file of an older release may have besides.
func TestOldFileOddities(t *testing.T) {
	const a = "use_watchdog = on wd_hostname = 'a' other_pgpool_hostname0 = 'b' "
	for _, tt := range []struct {
		text     string
		severity Severity
		want     string
	}{
		{a + "other_pgpool_hostname1 = ''", Warning, "other_pgpool_hostname1 is a parameter of an older release: it is empty and ignored"},
		{a + "other_pgpool_hostname1 = 'A'", Warning, "it is this node itself and ignored"},
		{"use_watchdog = on wd_hostname = 'a'", Error, "other pgpools setting is not defined"},
		{"use_watchdog = on wd_hostname = '' other_pgpool_hostname0 = 'b'", Error, "hostname0 is not defined"},
		{a + "other_pgpool_hostname1 = 'c' heartbeat_destination0 = '10.0.0.1'", Warning, "it belongs to no other node and is ignored"},
	} {
		_, problems := load(tt.text)
		wantProblem(t, problems, tt.severity, tt.want)
	}
	if c, problems := load("use_watchdog = off wd_hostname = '' heartbeat_destination0 = 'host0_ip1' heartbeat_device0 = ''"); c == nil {
		t.Errorf("a sample without a watchdog: %v", problems)
	}
	c, problems := loadNode(1, a)
	wantProblem(t, problems, Warning, "pgpool_node_id is ignored: by the parameters of older releases this is node 0")
	if c == nil || c.Watchdog.NodeID != 0 {
		t.Error("the number must not come from two places")
	}
}

func TestCompareClusterSettings(t *testing.T) {
	base := numberedNodes(2) + "backend_hostname0 = 'Db' backend_port0 = 5432 "
	local := mustLoad(t, base).ClusterSettings()
	for _, tt := range []struct{ text, want string }{
		{"backend_hostname0 = 'dB'", "[]"},
		{"wd_priority = 7 log_connections = on health_check_period0 = 7", "[]"},
		{"wd_heartbeat_deadtime = 20", "[]"},
		{"delegate_ip = ''", "[]"},
		{"num_init_children = 100", "[{num_init_children 32 100}]"},
		{"health_check_timeout = 1min", "[{health_check_timeout 20 60}]"},
		{"load_balance_mode = off", "[{load_balance_mode ON OFF}]"},
		{"failover_require_consensus = off", "[{failover_require_consensus ON OFF}]"},
		{"enable_consensus_with_half_votes = off", "[{enable_consensus_with_half_votes ON OFF}]"},
		{"backend_hostname0 = 'other'", "[{backend_hostname0 db other}]"},
		{"backend_port0 = 5433", "[{backend_port0 5432 5433}]"},
		{"backend_port1 = 5433", "[{number of backends 1 2}]"},
		{"hostname2 = 'c' wd_port2 = 9000", "[{number of watchdog nodes 2 3}]"},
		{"delegate_ip = '10.0.0.9'", "[{delegate_ip  10.0.0.9}]"},
		{"wd_lease_time = 5", "[{wd_lease_time 10 5}]"},
		{"backend_clustering_mode = raw", "[{backend_clustering_mode streaming_replication raw}]"},
	} {
		remote := mustLoad(t, base+tt.text).ClusterSettings()
		if got := fmt.Sprint(CompareClusterSettings(local, remote)); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.text, got, tt.want)
		}
	}
	if got := CompareClusterSettings(local, nil); got != nil {
		t.Errorf("against a node that tells nothing: %v", got)
	}
	const all = 14 + 15 + 2 + 2 + 4
	if len(local) != all {
		t.Errorf("%d settings, want %d", len(local), all)
	}
	message, detail := Difference{"max_pool", "4", "8"}.Texts("server2:9999 Linux server2")
	if message != `configurations value for "max_pool" on node "server2:9999 Linux server2" is different` || detail != `it is "4" here and "8" there` {
		t.Errorf("%s / %s", message, detail)
	}
}

// TestOldFilesOfAnyCluster draws clusters and the order in which their files name the others: the numbers must not depend on it.
func TestOldFilesOfAnyCluster(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		nodes := drawNodes(rng)
		want := ""
		for self := range nodes {
			c, problems := load(oldFile(rng, nodes, self))
			if c == nil {
				t.Fatalf("%v: %v", nodes, problems)
			}
			w := &c.Watchdog
			if want == "" {
				want = w.NodesHash()
			}
			if w.NodesHash() != want || w.Nodes[w.NodeID] != nodes[self] {
				t.Fatalf("%v: node %v is %d of %v, want %s", nodes, nodes[self], w.NodeID, w.Nodes, want)
			}
			for id, n := range w.Nodes {
				if h := w.Heartbeat[id]; h.Hostnames[0] != n.Hostname || h.Port != 9694+slices.Index(nodes, n) {
					t.Fatalf("%v: heartbeats to %v go to %+v", nodes, n, h)
				}
			}
		}
	}
}

func drawNodes(rng *rand.Rand) []WatchdogNode {
	var nodes []WatchdogNode
	for i := range 2 + rng.IntN(4) {
		nodes = append(nodes, WatchdogNode{Hostname: fmt.Sprintf("host%d", rng.IntN(12)), WdPort: 9990 + 7*i, PgpoolPort: 5000 + rng.IntN(9)*10 + i})
	}
	for i := range nodes { // one node for a host: heartbeats have no other way to tell whose they are
		for slices.ContainsFunc(nodes[:i], func(n WatchdogNode) bool { return n.Hostname == nodes[i].Hostname }) {
			nodes[i].Hostname += "x"
		}
	}
	return nodes
}

// oldFile is one node's own file in the form of 4.1, with the others in any order.
func oldFile(rng *rand.Rand, nodes []WatchdogNode, self int) string {
	var b strings.Builder
	own := nodes[self]
	fmt.Fprintf(&b, "use_watchdog = on port = %d wd_hostname = '%s' wd_port = %d wd_heartbeat_port = %d\n",
		own.PgpoolPort, own.Hostname, own.WdPort, 9694+self)
	links := rng.Perm(len(nodes))
	for k, other := range rng.Perm(len(nodes)) {
		if other == self {
			continue
		}
		n := nodes[other]
		fmt.Fprintf(&b, "other_wd_port%d = %d other_pgpool_hostname%d = '%s' other_pgpool_port%d = %d\n", k, n.WdPort, k, n.Hostname, k, n.PgpoolPort)
		fmt.Fprintf(&b, "heartbeat_destination%d = '%s' heartbeat_destination_port%d = %d\n", links[k], n.Hostname, links[k], 9694+other)
	}
	return b.String()
}

// TestAtLeastOne: a check without a pause or without a life would be none.
func TestAtLeastOne(t *testing.T) {
	if w := mustLoad(t, "wd_interval = 0 wd_life_point = 0").Watchdog; w.WdInterval != time.Second || w.WdLifePoint != 1 {
		t.Errorf("%s, %d", w.WdInterval, w.WdLifePoint)
	}
}
