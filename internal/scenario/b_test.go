package scenario

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"gopgpool/internal/site"
)

// data is how a server appears in the arguments of the commands.
const data = "5432 " + dataDir

// TestThreeServers is the documented example of a cluster of three servers, with one pgpool on a host of its own.
// [TestThreePgpools] is the example with a watchdog.
func TestThreeServers(t *testing.T) {
	t.Parallel()
	s := newExample(t, "postgres", "pgpool")
	for _, step := range []struct {
		name string
		do   func(*example, *testing.T)
	}{
		{"start", (*example).start},
		{"build standbys", (*example).buildStandbys},
		{"lose the primary", (*example).losePrimary},
		{"old primary comes back", (*example).oldPrimaryBack},
		{"refusals", (*example).refusals},
		{"lose a standby", (*example).loseStandby},
		{"freeze a standby", (*example).freezeStandby},
		{"cut off a standby", (*example).cutStandby},
		{"cut off the primary", (*example).cutPrimary},
		{"lose all servers", (*example).loseAll},
	} {
		if step.name == "freeze a standby" && testing.Short() {
			t.Log("left out for -short: standbys and the primary fall silent, all servers are lost")
			break
		}
		played := false
		t.Run(step.name, func(t *testing.T) {
			step.do(s, t)
			played = true
		})
		if !played {
			break // the next one begins where this one was to end
		}
	}
	s.pgpool.Stop(t)
}

// start: the primary runs on server1, server2 and server3 are empty.
func (s *example) start(t *testing.T) {
	s.startPrimary(t)
	s.configure(t, nil)
	s.pgpool.Start(t)
	s.awaitNodes(t, patience, "0 up primary, 1 down standby, 2 down standby")
	var called []string
	s.Await(t, "both commands were called", patience, func() (string, bool) { // which is a moment after the nodes are down
		called = append(called, s.commands(t)...)
		return strings.Join(called, "\n"), len(called) >= 2
	})
	slices.Sort(called)
	if want := []string{
		"failover 1 server2 " + data + " 0 server1 0 0 " + data, "failover 2 server3 " + data + " 0 server1 0 0 " + data,
	}; !slices.Equal(called, want) {
		t.Errorf("commands called: %v, want %v", called, want)
	}
}

// buildStandbys: an operator has pgpool make both standbys, while clients work.
func (s *example) buildStandbys(t *testing.T) {
	besides := s.besides(t, 0, insert("besides"))
	writer, reader, newcomer := s.write(t, "writer"), s.read(t, "reader", 0), s.arrive(t, "newcomer")
	s.recover(t, 1)
	s.recover(t, 2)
	s.awaitNodes(t, patience, "0 up primary, 1 up standby, 2 up standby")
	s.awaitStreaming(t, 0, "repl server2 192.168.137.102 streaming async", "repl server3 192.168.137.103 streaming async")
	s.expectRecovery(t, map[int]string{0: "f", 1: "t", 2: "t"})
	s.expectColumns(t)
	undisturbed(t, besides, writer, reader, newcomer)
	if called := s.commands(t); len(called) > 0 {
		t.Errorf("commands called: %v", called)
	}
}

// expectColumns looks at the rest of SHOW pool_nodes.
func (s *example) expectColumns(t *testing.T) {
	var nodes []map[string]string
	s.Await(t, "the standbys are seen streaming, and all nodes answer within the time they are given", patience, func() (string, bool) {
		var err error
		nodes, err = s.nodes(t.Context())
		site.Must(t, err)
		ok := true
		for _, n := range nodes[1:] {
			ok = ok && n["replication_state"] == "streaming" && n["replication_sync_state"] == "async"
		}
		for _, n := range nodes {
			ok = ok && n["pg_status"] != "down" && n["pg_role"] != "unknown"
		}
		return site.Brief(nodes, "replication_state", "replication_sync_state", "pg_status", "pg_role"), ok
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
func (s *example) losePrimary(t *testing.T) {
	writer, newcomer := s.write(t, "writer"), s.arrive(t, "newcomer")
	idle := s.connect(t, "postgres")
	_, err := idle.Exec(t.Context(), "SET application_name = 'kept'")
	site.Must(t, err)
	mark := s.pgpool.Mark(t)
	began := time.Now()
	s.databases[0].Stop(t, "immediate")
	s.awaitNodes(t, patience, "0 down standby, 1 up primary, 2 up standby")
	t.Logf("%6.1f s from the loss to a cluster of two", time.Since(began).Seconds())
	s.awaitCommands(t, patience,
		"failover 0 server1 "+data+" 1 server2 0 0 "+data,
		"follow_primary 0 server1 "+data+" 1 0 server2 0 "+data,
		"follow_primary 2 server3 "+data+" 1 0 server2 0 "+data)
	s.pgpool.LogSays(t, mark, "=== Starting degeneration. shutdown host server1(5432) ===", "find_primary_node: primary node is 1",
		"failover: set new primary node: 1", "=== Failover done. shutdown host server1(5432) ===",
		"=== Starting follow primary command for node 0 ===", "the server of node 0 does not run: passed over",
		"=== Starting follow primary command for node 2 ===", "=== Follow primary command for node 2 ended ===")
	s.expectRecovery(t, map[int]string{1: "f", 2: "t"})
	s.awaitStreaming(t, 1, "repl server3 192.168.137.103 streaming async")
	s.expectOrderOfChanges(t)
	s.onlyInFlight(t, writer)
	s.onlyInFlight(t, newcomer)
	s.expectKept(t, idle)
	s.expectWritesOn(t, 1)
}

// expectOrderOfChanges: node 2 changed its state last, as it was rebuilt.
func (s *example) expectOrderOfChanges(t *testing.T) {
	nodes, err := s.nodes(t.Context())
	site.Must(t, err)
	if nodes[2]["last_status_change"] < nodes[1]["last_status_change"] {
		t.Errorf("node 2 changed at %s, node 1 at %s", nodes[2]["last_status_change"], nodes[1]["last_status_change"])
	}
}

// expectKept: a session that was idle when the primary was lost writes to the new one, with its settings.
func (s *example) expectKept(t *testing.T, idle *pgx.Conn) {
	t.Helper()
	var name string
	err := idle.QueryRow(t.Context(), "INSERT INTO written VALUES (current_setting('application_name')) RETURNING session").Scan(&name)
	if err != nil || name != "kept" {
		t.Errorf("the session that was idle: application_name %q, %v", name, err)
	}
}

// expectWritesOn: new sessions write to a server.
func (s *example) expectWritesOn(t *testing.T, node int) {
	t.Helper()
	_, err := s.psql(t.Context(), "postgres", "INSERT INTO written VALUES ('new session')")
	site.Must(t, err)
	if got := s.onServer(t, node, "SELECT count(*) > 0 FROM written WHERE session = 'new session'"); got != "t" {
		t.Errorf("%s does not have what was written", serverName(node))
	}
}

// oldPrimaryBack: the recovery scripts came to server2 with the base backup.
func (s *example) oldPrimaryBack(t *testing.T) {
	s.recover(t, 0)
	s.awaitNodes(t, patience, "0 up standby, 1 up primary, 2 up standby")
	s.expectRecovery(t, map[int]string{0: "t", 1: "f", 2: "t"})
	s.awaitStreaming(t, 1, "repl server1 192.168.137.101 streaming async", "repl server3 192.168.137.103 streaming async")
}

// refusals: what online recovery does not do.
func (s *example) refusals(t *testing.T) {
	s.pcpSays(t, "primary server cannot be recovered by online recovery.", "recovery_node", "-n", "1")
	s.pcpSays(t, "node recovery failed, node id: 2 is alive", "recovery_node", "-n", "2")
	s.awaitNodes(t, patience, "0 up standby, 1 up primary, 2 up standby")
}

// loseStandby: a standby is stopped. Nothing is promoted, nobody follows, and only sessions that read from it notice.
func (s *example) loseStandby(t *testing.T) {
	besides := s.besides(t, 1, insert("besides"))
	writer, reader, affected := s.write(t, "writer"), s.read(t, "reader", 0, 1), s.read(t, "reader of server3", 2)
	s.databases[2].Stop(t, "fast")
	s.awaitNodes(t, patience, "0 up standby, 1 up primary, 2 down standby")
	s.awaitCommands(t, patience, "failover 2 server3 "+data+" 0 server1 0 1 "+data)
	s.expectRecovery(t, map[int]string{0: "t", 1: "f"})
	undisturbed(t, besides, writer, reader)
	s.onlyInFlight(t, affected)
	s.recover(t, 2)
	s.awaitNodes(t, patience, "0 up standby, 1 up primary, 2 up standby")
	if called := s.commands(t); len(called) > 0 {
		t.Errorf("commands called: %v", called)
	}
}

// cutStandby: server3 runs, but the network to it is gone, and nobody is told.
func (s *example) cutStandby(t *testing.T) { s.silentStandby(t, s.servers[2].Cut, s.servers[2].Heal) }

// freezeStandby: the machine of server3 hangs. Its kernel still takes connections.
func (s *example) freezeStandby(t *testing.T) {
	s.silentStandby(t, s.servers[2].Freeze, s.servers[2].Thaw)
}

// silentStandby: server3 does not answer any more. Time-outs of the health check detach it; whoever does not need it is not held up
// meanwhile, and who does no longer than the detection takes.
func (s *example) silentStandby(t *testing.T, begin, end func() error) {
	besides := s.besides(t, 1, insert("besides"))
	workers := []*worker{s.write(t, "writer"), s.read(t, "reader", 0, 1), s.arrive(t, "newcomer")}
	affected, late := s.read(t, "reader of server3", 2), s.balanced(t, 2)
	mark := s.pgpool.Mark(t)
	site.Must(t, begin())
	connecting := s.later(t, late, where)
	s.pgpool.AwaitLog(t, patience, mark, "=== Failover done. shutdown host server3(5432) ===")
	s.awaitNodes(t, patience, "0 up standby, 1 up primary, 2 down standby")
	s.pgpool.LogSays(t, mark, "health check retrying on DB node: 2 (round:1)", "health check failed on node 2 (timeout:1)")
	s.awaitCommands(t, patience, "failover 2 server3 "+data+" 0 server1 0 1 "+data)
	undisturbed(t, besides, workers...)
	s.onlyInFlight(t, affected)
	limit := 8*time.Second + besides.late
	if took, err := connecting(); err != nil || took > limit {
		t.Errorf("a session that had to connect to server3 stood still for %s: %v", took, err)
	}
	site.Must(t, end())
	s.awaitStreaming(t, 1, "repl server1 192.168.137.101 streaming async", "repl server3 192.168.137.103 streaming async")
	s.pcpSays(t, "pcp_attach_node -- Command Successful", "attach_node", "-n", "2")
	s.awaitNodes(t, patience, "0 up standby, 1 up primary, 2 up standby")
}

// cutPrimary: server2 is cut off and goes on believing that it is the primary. Whoever reads from server1 is not held up; writers lose
// what was under way. When server2 is back, nobody is sent there until it was recovered.
func (s *example) cutPrimary(t *testing.T) {
	besides := s.besides(t, 0, where)
	reader, writer, newcomer := s.read(t, "reader of server1", 0), s.write(t, "writer"), s.arrive(t, "newcomer")
	mark := s.pgpool.Mark(t)
	site.Must(t, s.servers[1].Cut())
	s.pgpool.AwaitLog(t, patience, mark, "=== Failover done. shutdown host server2(5432) ===")
	s.pgpool.AwaitLog(t, patience, mark, "=== Failback done. reconnect host server3(5432) ===")
	s.awaitNodes(t, patience, "0 up primary, 1 down standby, 2 up standby")
	s.pgpool.LogSays(t, mark, "health check failed on node 1 (timeout:1)", "failover: set new primary node: 0")
	s.awaitCommands(t, patience,
		"failover 1 server2 "+data+" 0 server1 0 1 "+data,
		"follow_primary 1 server2 "+data+" 0 1 server1 1 "+data,
		"follow_primary 2 server3 "+data+" 0 1 server1 1 "+data)
	undisturbed(t, besides, reader)
	s.onlyInFlight(t, writer)
	s.onlyInFlight(t, newcomer)
	site.Must(t, s.servers[1].Heal())
	s.expectRecovery(t, map[int]string{0: "f", 1: "f", 2: "t"})
	besides, newcomer = s.besides(t, 0, where), s.arrive(t, "newcomer")
	s.proceed(t, newcomer)
	undisturbed(t, besides, newcomer)
	if got := s.onServer(t, 1, "SELECT count(*) FROM written WHERE session = 'newcomer' AND at > now() - interval '2 s'"); got != "0" {
		t.Errorf("%s rows were written to the old primary", got)
	}
	s.awaitNodes(t, patience, "0 up primary, 1 down standby, 2 up standby")
	s.databases[1].Stop(t, "immediate")
	s.recover(t, 1)
	s.awaitNodes(t, patience, "0 up primary, 1 up standby, 2 up standby")
	s.awaitStreaming(t, 0, "repl server2 192.168.137.102 streaming async", "repl server3 192.168.137.103 streaming async")
}

// loseAll: one server after another is stopped, the primary last; then servers and pgpool are started again.
func (s *example) loseAll(t *testing.T) {
	s.commands(t)
	s.databases[2].Stop(t, "fast")
	s.awaitNodes(t, patience, "0 up primary, 1 up standby, 2 down standby")
	s.databases[1].Stop(t, "fast")
	s.awaitNodes(t, patience, "0 up primary, 1 down standby, 2 down standby")
	s.databases[0].Stop(t, "fast")
	s.Await(t, "clients are told that all nodes are down", patience, func() (string, bool) {
		lines, err := s.psql(t.Context(), "pgpool", "SELECT 1", "-v", "VERBOSITY=verbose")
		said := strings.Join(lines, "\n")
		return said, err != nil && strings.Contains(said, "pgpool is not accepting any new connections") &&
			strings.Contains(said, "all backend nodes are down, pgpool requires at least one valid node")
	})
	s.awaitCommands(t, patience,
		"failover 2 server3 "+data+" 0 server1 0 0 "+data, "failover 1 server2 "+data+" 0 server1 0 0 "+data,
		"failover 0 server1 "+data+" -1 - 0 0 - -")
	for node := range s.servers {
		s.databases[node].Start(t)
	}
	s.pgpool.Stop(t)
	s.pgpool.Start(t)
	s.awaitNodes(t, patience, "0 up primary, 1 up standby, 2 up standby")
	s.expectWritesOn(t, 0)
}
