package scenario

import (
	"testing"
	"time"
)

// data is how a server appears in the arguments of the commands.
const data = "5432 " + dataDir

// TestThreeServers is the documented example of a cluster of three servers, with one pgpool on a host of its own.
//
// These parts of it belong to the watchdog: several pgpools with a leader and a virtual address (first start; change of the leader;
// the same state on all pgpools after a failover), votes on a failover, quarantine of a node that one pgpool alone cannot reach, and
// the loss of the quorum.
func TestThreeServers(t *testing.T) {
	s := newSite(t)
	for _, step := range []struct {
		name string
		do   func(*site, *testing.T)
	}{
		{"start", (*site).start},
		{"build standbys", (*site).buildStandbys},
		{"lose the primary", (*site).losePrimary},
		{"old primary comes back", (*site).oldPrimaryBack},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.do(s, t) }) {
			break
		}
	}
	s.stopPgpool(t)
}

// start: the primary runs on server1, server2 and server3 are empty.
func (s *site) start(t *testing.T) {
	s.startPrimary(t)
	s.configurePgpool(t)
	s.startPgpool(t)
	s.awaitNodes(t, 15*time.Second, "0 up primary, 1 down standby, 2 down standby")
}

// buildStandbys: an operator has pgpool make both standbys, while clients work.
func (s *site) buildStandbys(t *testing.T) {
	writer := s.work(t, "writing during recovery", s.connect(t, "postgres"), write("recovery"))
	reader := s.work(t, "reading during recovery", s.connect(t, "pgpool"), read)
	s.commands(t)
	s.recover(t, 1)
	s.recover(t, 2)
	s.awaitNodes(t, 15*time.Second, "0 up primary, 1 up standby, 2 up standby")
	s.awaitStreaming(t, 0, "repl server2 192.168.137.102 streaming async", "repl server3 192.168.137.103 streaming async")
	s.expectRecovery(t, map[int]string{0: "f", 1: "t", 2: "t"})
	s.expectColumns(t)
	writer.undisturbed(t, 2*time.Second)
	reader.undisturbed(t, 2*time.Second)
	if called := s.commands(t); len(called) > 0 {
		t.Errorf("commands called: %v", called)
	}
}

// expectColumns looks at the rest of SHOW pool_nodes.
func (s *site) expectColumns(t *testing.T) {
	var nodes []node
	s.await(t, "the standbys are seen streaming without delay", 10*time.Second, func() (string, bool) {
		var err error
		nodes, err = s.nodes(t.Context())
		must(t, err)
		ok := true
		for _, n := range nodes[1:] {
			ok = ok && n["replication_state"] == "streaming" && n["replication_sync_state"] == "async"
		}
		return "", ok
	})
	balancing := 0
	for i, n := range nodes {
		for column, want := range map[string]string{
			"hostname": serverName(i), "port": "5432", "lb_weight": "0.333333", "pg_status": "up", "pg_role": n["role"],
		} {
			if n[column] != want {
				t.Errorf("node %d: %s is %q, want %q", i, column, n[column], want)
			}
		}
		if n["load_balance_node"] == "true" {
			balancing++
		}
	}
	if balancing != 1 {
		t.Errorf("%d load_balance_nodes", balancing)
	}
}

// losePrimary: the server on server1 is stopped at once.
func (s *site) losePrimary(t *testing.T) {
	writer := s.work(t, "writing during failover", s.connect(t, "postgres"), write("failover"))
	mark := s.mark(t)
	began := time.Now()
	s.stopServer(t, 0, "immediate")
	s.awaitNodes(t, 40*time.Second, "0 down standby, 1 up primary, 2 up standby")
	t.Logf("%6.1f s from the loss to a cluster of two", time.Since(began).Seconds())
	s.awaitCommands(t, 10*time.Second,
		"failover 0 server1 "+data+" 1 server2 0 0 "+data,
		"follow_primary 0 server1 "+data+" 1 0 server2 0 "+data,
		"follow_primary 2 server3 "+data+" 1 0 server2 0 "+data)
	s.logSays(t, mark, "=== Starting degeneration. shutdown host server1(5432) ===", "find_primary_node: primary node is 1",
		"failover: set new primary node: 1", "=== Failover done. shutdown host server1(5432) ===",
		"=== Starting follow primary command for node 0 ===", "the server of node 0 does not run: passed over",
		"=== Starting follow primary command for node 2 ===", "=== Follow primary command for node 2 ended ===")
	s.expectRecovery(t, map[int]string{1: "f", 2: "t"})
	s.awaitStreaming(t, 1, "repl server3 192.168.137.103 streaming async")
	s.expectOrderOfChanges(t)
	writer.onlyInFlight(t)
	s.expectWritesOn(t, 1)
}

// expectOrderOfChanges: node 2 changed its state last, as it was rebuilt.
func (s *site) expectOrderOfChanges(t *testing.T) {
	nodes, err := s.nodes(t.Context())
	must(t, err)
	if nodes[2]["last_status_change"] < nodes[1]["last_status_change"] {
		t.Errorf("node 2 changed at %s, node 1 at %s", nodes[2]["last_status_change"], nodes[1]["last_status_change"])
	}
}

// expectWritesOn: new sessions write to a server.
func (s *site) expectWritesOn(t *testing.T, node int) {
	t.Helper()
	_, err := s.psql(t.Context(), "postgres", "INSERT INTO written SELECT max(n) + 1, 'new session' FROM written")
	must(t, err)
	if got := s.onServer(t, node, "SELECT count(*) > 0 FROM written WHERE session = 'new session'"); got != "t" {
		t.Errorf("%s does not have what was written", serverName(node))
	}
}

// oldPrimaryBack: the recovery scripts came to server2 with the base backup.
func (s *site) oldPrimaryBack(t *testing.T) {
	s.recover(t, 0)
	s.awaitNodes(t, 15*time.Second, "0 up standby, 1 up primary, 2 up standby")
	s.expectRecovery(t, map[int]string{0: "t", 1: "f", 2: "t"})
	s.awaitStreaming(t, 1, "repl server1 192.168.137.101 streaming async", "repl server3 192.168.137.103 streaming async")
}
