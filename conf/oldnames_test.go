package conf

import (
	"slices"
	"testing"
)

// TestOldNames: each name of an older release has its effect and a warning.
func TestOldNames(t *testing.T) {
	for _, tt := range []struct{ text, name, want string }{
		{"fail_over_on_backend_error = off", "failover_on_backend_error", "off"},
		{"delegate_IP = '10.0.0.9'", "delegate_ip", "10.0.0.9"},
		{"logdir = '/var/log/pgpool'", "work_dir", "/var/log/pgpool"},
		{"logdir = ''", "work_dir", "/tmp"},
		{"black_function_list = 'nextval,setval'", "write_function_list", "nextval,setval"},
		{"white_function_list = 'f'", "read_only_function_list", "f"},
		{"black_query_pattern_list = 'q'", "primary_routing_query_pattern_list", "q"},
		{"black_memqcache_table_list = 't'", "cache_unsafe_memqcache_table_list", "t"},
		{"white_memqcache_table_list = 't'", "cache_safe_memqcache_table_list", "t"},
		{"follow_master_command = 'x'", "follow_primary_command", "x"},
		{"socket_dir = '/run'", "unix_socket_directories", "/run"},
		{"wd_initial_node_showup_time = 5", "wd_no_show_node_removal_timeout", "5s"},
		{"ifconfig_path = '/x'", "if_cmd_path", "/x"},
		{"replication_mode = on failover_when_quorum_exists = off", "backend_clustering_mode", "native_replication"},
		{"master_slave_mode = on", "backend_clustering_mode", "streaming_replication"},
		{"master_slave_mode = on master_slave_sub_mode = 'stream'", "backend_clustering_mode", "streaming_replication"},
		{"master_slave_sub_mode = 'logical' master_slave_mode = on", "backend_clustering_mode", "logical_replication"},
		{"master_slave_mode = off master_slave_sub_mode = 'stream'", "backend_clustering_mode", "raw"},
		{"master_slave_mode = off backend_clustering_mode = streaming_replication", "backend_clustering_mode", "streaming_replication"},
		{"backend_socket_dir = '/run' backend_port0 = 5432 backend_hostname0 = ''", "backend_hostname0", "/run"},
		{"backend_socket_dir = '/run' backend_port0 = 5432 backend_hostname0 = 'h' backend_port1 = 5433", "backend_hostname0", "h"},
		{"logdir = '/old' work_dir = '/new'", "work_dir", "/new"},
		{"work_dir = '/new' logdir = '/old'", "work_dir", "/new"},
		{"logdir = '/old' logdir = '/older'", "work_dir", "/older"},
		{"debug_level = 1", "log_min_messages", "warning"},
		{"parallel_mode = on", "backend_clustering_mode", "streaming_replication"},
	} {
		c, problems := load(tt.text)
		if c == nil {
			t.Errorf("%s: refused: %v", tt.text, problems)
			continue
		}
		if len(problems) == 0 {
			t.Errorf("%s: no warning", tt.text)
		}
		if s, err := c.Show(tt.name); err != nil || s.Items[0].Value != tt.want {
			t.Errorf("%s: %s is %v, want %s", tt.text, tt.name, s.Items, tt.want)
		}
	}
	_, problems := load("delegate_IP = ''")
	wantProblem(t, problems, Warning, mainFile+":1: ", "delegate_IP is changed to delegate_ip")
}

func TestOldModesWithoutSuccessor(t *testing.T) {
	for _, text := range []string{
		"master_slave_mode = on master_slave_sub_mode = 'slony'",
		"master_slave_mode = perhaps",
	} {
		c, problems := load(text)
		if c != nil || !Refused(problems) {
			t.Errorf("%s: accepted", text)
		}
	}
}

// TestOldWatchdogBlock: the files of two nodes in the form of 4.1 give the same numbering.
func TestOldWatchdogBlock(t *testing.T) {
	common := "use_watchdog = on wd_port = 9000 wd_heartbeat_port = 9694\n"
	a := common + `wd_hostname = 'alpha' port = 9999
		other_pgpool_hostname0 = 'beta' other_pgpool_port0 = 9998 other_wd_port0 = 9001
		heartbeat_destination0 = 'beta' heartbeat_destination_port0 = 9695 heartbeat_device0 = 'eth0'
		heartbeat_destination1 = '192.168.9.2' heartbeat_device1 = 'eth1'`
	b := `use_watchdog = on wd_port = 9001 wd_hostname = 'beta' port = 9998
		other_pgpool_hostname0 = 'alpha' other_pgpool_port0 = 9999 other_wd_port0 = 9000
		heartbeat_destination0 = 'alpha' heartbeat_device0 = ''`
	nodes := []WatchdogNode{{"alpha", 9000, 9999}, {"beta", 9001, 9998}}

	c := mustLoad(t, a)
	if c.Watchdog.NodeID != 0 || !slices.Equal(c.Watchdog.Nodes, nodes) {
		t.Errorf("alpha: node %d of %v", c.Watchdog.NodeID, c.Watchdog.Nodes)
	}
	peer := c.Watchdog.Heartbeat[1]
	if peer.Port != 9695 || !slices.Equal(peer.Hostnames, []string{"beta", "192.168.9.2"}) || !slices.Equal(peer.Devices, []string{"eth0", "eth1"}) {
		t.Errorf("heartbeat to beta: %+v", peer)
	}
	if own := c.Watchdog.Heartbeat[0]; own.Port != 9694 || !slices.Equal(own.Hostnames, []string{"alpha"}) || own.Devices != nil {
		t.Errorf("own heartbeat: %+v", own)
	}

	c = mustLoad(t, b)
	if c.Watchdog.NodeID != 1 || !slices.Equal(c.Watchdog.Nodes, nodes) {
		t.Errorf("beta: node %d of %v", c.Watchdog.NodeID, c.Watchdog.Nodes)
	}
}

func TestOldWatchdogBlockBesideNumberedNodes(t *testing.T) {
	m := memory{
		mainFile:                     "use_watchdog = on " + numberedNodes(2) + " wd_port = 9005 wd_hostname = 'x'",
		"/etc/pgpool/pgpool_node_id": "0",
	}
	c, problems := loadWith(mainFile, m.read)
	wantProblem(t, problems, Warning, "wd_port is a parameter of an older release", "ignored because heartbeat_hostname0 is set")
	if c == nil || !slices.Equal(c.Watchdog.Nodes, []WatchdogNode{{"server1", 9000, 9999}, {"server2", 9000, 9999}}) {
		t.Errorf("%v", problems)
	}
}
