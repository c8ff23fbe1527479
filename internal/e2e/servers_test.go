package e2e

import (
	"fmt"
	"strconv"
	"syscall"
	"testing"
)

// The tests of this file disturb the servers and run alone.

// Manual, delay_threshold: a standby that lags behind by more gets no reads.
func TestDelayThreshold(t *testing.T) {
	for _, tc := range []struct{ parameter, limit string }{{"delay_threshold", "1000"}, {"delay_threshold_by_time", "1"}} {
		t.Run(tc.parameter, func(t *testing.T) {
			p := start(t, map[string]string{
				"sr_check_period": "1", tc.parameter: tc.limit, "backend_weight0": "0", "statement_level_load_balance": "on",
			})
			conn := connect(t, p)
			eventually(t, "reads on a standby", func() bool { return nodeOf(t, value(t, conn, where)) != 0 })
			for node := 1; node <= 2; node++ {
				onServer(t, node, "SELECT pg_wal_replay_pause()")
				defer onServer(t, node, "SELECT pg_wal_replay_resume()")
			}
			tab := name(t, "d")
			onServer(t, 0, "CREATE TABLE "+tab+" AS SELECT generate_series(1, 1000) a")
			eventually(t, "reads on the primary", func() bool {
				onServer(t, 0, "INSERT INTO "+tab+" VALUES (0)")
				for range 5 {
					if nodeOf(t, value(t, conn, where)) != 0 {
						return false
					}
				}
				return true
			})
			for node := 1; node <= 2; node++ {
				onServer(t, node, "SELECT pg_wal_replay_resume()")
			}
			eventually(t, "reads on a standby again", func() bool { return nodeOf(t, value(t, conn, where)) != 0 })
		})
	}
}

// With one standby that lags and prefer_lower_delay_standby, the other one is chosen.
func TestPreferLowerDelayStandby(t *testing.T) {
	p := start(t, map[string]string{
		"sr_check_period": "1", "delay_threshold": "1000", "prefer_lower_delay_standby": "on", "backend_weight0": "0",
		"backend_weight2": "0.0001",
	})
	conn := connect(t, p)
	eventually(t, "reads on node 1", func() bool { return nodeOf(t, value(t, conn, where)) == 1 })
	onServer(t, 1, "SELECT pg_wal_replay_pause()")
	defer onServer(t, 1, "SELECT pg_wal_replay_resume()")
	onServer(t, 0, "CREATE TABLE "+name(t, "d")+" AS SELECT generate_series(1, 1000) a")
	eventually(t, "reads on node 2", func() bool { return nodeOf(t, value(t, conn, where)) == 2 })
}

// A server process that is killed takes the whole server down for a moment. Sessions that have nothing there do not notice, a
// session in the middle of a statement is told, and the server is used again when it is back.
func TestKilledServerProcess(t *testing.T) {
	p := start(t, map[string]string{
		"failover_on_backend_error": "off", "failover_on_backend_shutdown": "off", "rerun_lost_reads": "off",
		"app_name_redirect_preference_list": "on1:1,on2:2",
	})
	reader, elsewhere := connect(t, p, "application_name=on2"), connect(t, p, "application_name=on1")
	if nodeOf(t, value(t, reader, where)) != 2 || nodeOf(t, value(t, elsewhere, where)) != 1 {
		t.Fatal("the redirect list does not work")
	}
	pid, err := strconv.Atoi(onServer(t, 2, "SELECT pid FROM pg_stat_activity WHERE application_name = 'on2'"))
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() {
		_, err := reader.Exec(t.Context(), "SELECT count(*) FROM generate_series(1, 1000000000) /* e2e killed */")
		result <- err
	}()
	eventually(t, "the statement runs", func() bool {
		return onServer(t, 2, fmt.Sprintf("SELECT state = 'active' FROM pg_stat_activity WHERE pid = %d AND query LIKE '%%e2e killed%%'", pid)) == "t"
	})
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-result; sqlState(err) == "" {
		t.Errorf("the statement's error: %v", err)
	}
	if got := value(t, elsewhere, where); nodeOf(t, got) != 1 {
		t.Error("a session that had nothing to do with it has moved")
	}
	eventually(t, "the server is back and read from", func() bool {
		conn, err := p.Connect(t.Context(), "application_name=on2")
		if err != nil {
			return false
		}
		defer conn.Close(t.Context())
		var port string
		return conn.QueryRow(t.Context(), where).Scan(&port) == nil && nodeOf(t, port) == 2
	})
}

// Connections that were kept while their server restarted are not given to anybody.
func TestRestartedServer(t *testing.T) {
	p := start(t, map[string]string{
		"failover_on_backend_error": "off", "failover_on_backend_shutdown": "off", "backend_weight0": "0", "backend_weight2": "0",
	})
	for range 3 {
		if nodeOf(t, value(t, connect(t, p), where)) != 1 {
			t.Fatal("not on node 1")
		}
	}
	conn := connect(t, p)
	if nodeOf(t, value(t, conn, where)) != 1 {
		t.Fatal("not on node 1")
	}
	conn.Close(t.Context())
	c := shared.Cluster(t)
	if err := c.Nodes[1].Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if nodeOf(t, value(t, connect(t, p), where)) != 1 {
			t.Error("not on node 1 after its restart")
		}
	}
	if err := c.Nodes[1].WaitStreaming(t.Context(), c.Nodes[0]); err != nil {
		t.Fatal(err)
	}
}

// The primary restarts under idle sessions: each is told when it is next used, and a new one works at once.
func TestRestartedPrimary(t *testing.T) {
	p := start(t, map[string]string{"failover_on_backend_error": "off", "failover_on_backend_shutdown": "off"})
	used, kept := connect(t, p, simple), connect(t, p, simple)
	exec(t, used, "BEGIN")
	exec(t, used, "SELECT pg_sleep(0)")
	exec(t, kept, "SELECT pg_sleep(0)")
	kept.Close(t.Context())
	c := shared.Cluster(t)
	if err := c.Nodes[0].Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := used.Exec(t.Context(), "SELECT 1"); err == nil {
		t.Error("a transaction outlived its server")
	}
	exec(t, connect(t, p, simple), "SELECT pg_sleep(0)")
	for _, n := range c.Nodes[1:] {
		if err := n.WaitStreaming(t.Context(), c.Nodes[0]); err != nil {
			t.Fatal(err)
		}
	}
}
