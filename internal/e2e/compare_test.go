package e2e

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"gopgpool/internal/pgcluster"
)

// peer is where Debian and Ubuntu install Pgpool-II.
const peer = "/usr/sbin/pgpool"

// startPeer starts Pgpool-II with the same pgpool.conf as one of ours.
func startPeer(t *testing.T, conf map[string]string) *pgcluster.Pgpool {
	t.Helper()
	if _, err := os.Stat(peer); errors.Is(err, fs.ErrNotExist) {
		t.Skipf("%s is not there: install pgpool2 to compare with it", peer)
	}
	dir := filepath.Join(shared.Cluster(t).Dir, "peer-"+t.Name())
	run, log := filepath.Join(dir, "run"), filepath.Join(dir, "log")
	return shared.Pgpool(t, pgcluster.PgpoolOptions{
		Binary: peer, Dir: dir, Conf: conf,
		// The names 4.3 has for them.
		ConfText: "socket_dir = '" + run + "'\nwd_ipc_socket_dir = '" + run + "'\nlogdir = '" + log + "'\n",
	})
}

// What Debian's Pgpool-II shows in a column we show in a column of that name, in the same order.
func TestPeerColumns(t *testing.T) {
	t.Parallel()
	conf := map[string]string{"num_init_children": "4"}
	theirs, ours := startPeer(t, conf), start(t, conf)
	for command := range columns {
		if command == "pool_watchdog" {
			continue // ours alone
		}
		want, got := psql(t, theirs, "SHOW "+command)[0], psql(t, ours, "SHOW "+command)[0]
		common := slices.DeleteFunc(slices.Clone(got), func(name string) bool { return !slices.Contains(want, name) })
		if !slices.Equal(common, want) {
			t.Errorf("SHOW %s: theirs %v, ours %v", command, want, got)
		}
	}
	items := psql(t, ours, "SHOW pool_status").column(t, "item")
	// What 4.7 calls otherwise.
	renamed := map[string]string{"socket_dir": "unix_socket_directories", "logdir": "work_dir", "delegate_IP": "delegate_ip"}
	for _, item := range psql(t, theirs, "SHOW pool_status").column(t, "item") {
		if other, ok := renamed[item]; ok {
			item = other
		}
		// A value with a newline makes a line without an item.
		if item != "" && !slices.Contains(items, item) {
			t.Errorf("SHOW pool_status has no %s", item)
		}
	}
}

// routed is a statement and the nodes it goes to with node 0 as primary and node 1 as load balance node; peer are those of
// Pgpool-II where it differs.
type routed struct {
	sql   string
	nodes string
	peer  string
}

// setupRouted makes what the statements name.
const setupRouted = `CREATE TABLE r (a int); CREATE UNLOGGED TABLE ru (a int); CREATE SEQUENCE rs; CREATE TABLE rs2 (a int);
	CREATE FUNCTION rvol() RETURNS int VOLATILE LANGUAGE sql AS 'SELECT 1';
	CREATE FUNCTION rstab() RETURNS int STABLE LANGUAGE sql AS 'SELECT 1'`

func destinations() []routed {
	return []routed{
		{"SELECT 1", "1", ""},
		{"SELECT now()", "1", ""},
		{"SELECT random()", "0", ""},
		{"SELECT nextval('rs')", "0", ""},
		{"SELECT version()", "1", ""},
		{"SELECT pg_is_in_recovery()", "0", ""},
		{"SELECT rvol()", "0", ""},
		{"SELECT rstab()", "1", ""},
		{"SELECT * FROM r", "1", ""},
		{"SELECT * FROM pg_class LIMIT 1", "0", ""},
		{"SELECT table_name FROM information_schema.tables LIMIT 1", "1", ""},
		{"SELECT * FROM r FOR UPDATE", "0", ""},
		{"SELECT a INTO r_into FROM r", "0", ""},
		{"DROP TABLE r_into", "0", ""},
		{"VALUES (1)", "0", ""},
		{"/*c*/ SELECT 1", "0", ""},
		{"(SELECT 1)", "1", ""},
		{"TABLE r", "1", ""},
		{"WITH x AS (SELECT 1) SELECT * FROM x", "1", ""},
		{"WITH x AS (INSERT INTO r VALUES (1) RETURNING a) SELECT * FROM x", "0", ""},
		{"INSERT INTO r VALUES (2)", "0", ""},
		{"UPDATE r SET a = 3", "0", ""},
		{"DELETE FROM r WHERE a = 7", "0", ""},
		{"DO $$ BEGIN NULL; END $$", "0", ""},
		{"SELECT 1; SELECT 2", "0", ""},
		{"SELECT * FROM ru", "0", ""},
		{"CREATE TEMP TABLE rt (a int)", "0", ""},
		{"SELECT * FROM rt", "0", ""},
		{"EXPLAIN SELECT 1", "0", ""},
		{"SHOW work_mem", "1", ""},
		{"SET work_mem TO '5MB'", "0,1", ""},
		{"RESET work_mem", "0,1", ""},
		{"RESET ALL", "0,1", ""},
		{"SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", "0", ""},
		// 4.3 asks for a first letter S, W or T here too.
		{"PREPARE rp AS SELECT 1", "1", "0"},
		{"EXECUTE rp", "1", "0"},
		{"DEALLOCATE rp", "1", "0"},
		{"PREPARE rw AS INSERT INTO r VALUES (1)", "0", ""},
		{"EXECUTE rw", "0", ""},
		{"DEALLOCATE rw", "0", ""},
		{"DEALLOCATE ALL", "0,1", ""},
		{"LISTEN r", "0", ""},
		{"NOTIFY r", "0", ""},
		{"UNLISTEN r", "0", ""},
		{"VACUUM r", "0", ""},
		{"ANALYZE r", "0", ""},
		{"CHECKPOINT", "0", ""},
		{"COMMIT", "0", ""},
		{"SELEKT 1", "0", ""},
		// A transaction with a write.
		{"BEGIN", "0,1", ""},
		{"SELECT 2", "1", ""},
		{"SAVEPOINT s", "0,1", ""},
		{"SELECT 3", "0", ""},
		{"INSERT INTO r VALUES (4)", "0", ""},
		{"SELECT 4", "0", ""},
		{"LOCK r IN ACCESS SHARE MODE", "0,1", ""},
		{"LOCK r IN EXCLUSIVE MODE", "0", ""},
		{"DECLARE c CURSOR FOR SELECT * FROM r", "0", ""},
		{"FETCH c", "0", ""},
		{"CLOSE c", "0", ""},
		{"SET CONSTRAINTS ALL DEFERRED", "0", ""},
		{"COMMIT", "0,1", ""},
		{"SELECT 5", "1", ""},
		// One that only reads, which is one node's here.
		{"BEGIN READ ONLY", "0,1", ""},
		{"SELECT 6", "1", ""},
		{"EXPLAIN SELECT 6", "1", "0"},
		{"SET LOCAL work_mem TO '6MB'", "1", "0,1"},
		{"SELECT 6", "1", "0"},
		{"END", "1", "0,1"},
		// One in which settings are made.
		{"BEGIN", "0,1", ""},
		{"SET LOCAL work_mem TO '6MB'", "0,1", ""},
		{"SELECT 7", "0", ""},
		{"ROLLBACK", "0,1", ""},
		{"BEGIN ISOLATION LEVEL REPEATABLE READ", "0,1", ""},
		{"SELECT 8", "1", ""},
		{"ABORT", "0,1", ""},
		{"DISCARD ALL", "0,1", ""},
	}
}

// TestPeerDestinations runs the same statements through Pgpool-II and through us and compares the nodes: theirs as its log tells
// them, ours as PGPOOL EXPLAIN ROUTE does right before.
func TestPeerDestinations(t *testing.T) {
	t.Parallel()
	conf := map[string]string{
		"num_init_children": "4", "log_per_node_statement": "on", "backend_weight0": "0", "backend_weight2": "0", "log_line_prefix": "",
	}
	theirs, ours := startPeer(t, conf), start(t, conf)
	run := func(p *pgcluster.Pgpool, database string, nodes func(conn *pgx.Conn, sql string, run func()) string) []string {
		onServer(t, 0, "CREATE DATABASE "+database+" TEMPLATE template0")
		setup, err := shared.Cluster(t).Nodes[0].Connect(t.Context(), "dbname="+database, simple)
		if err != nil {
			t.Fatal(err)
		}
		exec(t, setup, setupRouted)
		setup.Close(t.Context())
		replayed(t)
		conn := connect(t, p, "dbname="+database, simple)
		var out []string
		for _, r := range destinations() {
			out = append(out, nodes(conn, r.sql, func() {
				if _, err := conn.Exec(t.Context(), r.sql); err != nil && sqlState(err) != "42601" {
					t.Fatalf("%s: %v", r.sql, err)
				}
			}))
		}
		return out
	}
	want := run(theirs, "e2e_peer_theirs", func(_ *pgx.Conn, sql string, run func()) string { return loggedNodes(t, theirs, sql, run) })
	got := run(ours, "e2e_peer_ours", func(conn *pgx.Conn, sql string, run func()) string {
		defer run()
		return explained(t, conn, sql)
	})
	for i, r := range destinations() {
		if peer := r.nodes; r.peer == "" && want[i] != peer || r.peer != "" && want[i] != r.peer {
			t.Errorf("Pgpool-II sends %q to %s, the list says %s", r.sql, want[i], r.nodes)
		}
		if got[i] != r.nodes {
			t.Errorf("we send %q to %s, the list says %s, Pgpool-II to %s", r.sql, got[i], r.nodes, want[i])
		}
	}
}

var nodeInLog = regexp.MustCompile(`DB node id: (\d+) backend pid: \d+ statement: (.*)`)

// loggedNodes tells where log_per_node_statement says a statement went.
func loggedNodes(t *testing.T, p *pgcluster.Pgpool, sql string, run func()) string {
	t.Helper()
	before, err := p.LogText()
	if err != nil {
		t.Fatal(err)
	}
	run()
	var nodes []string
	eventually(t, "the log tells of "+sql, func() bool {
		text, err := p.LogText()
		if err != nil {
			t.Fatal(err)
		}
		nodes = nil
		for _, m := range nodeInLog.FindAllStringSubmatch(text[len(before):], -1) {
			if strings.TrimSpace(m[2]) == sql && !slices.Contains(nodes, m[1]) {
				nodes = append(nodes, m[1])
			}
		}
		return len(nodes) > 0
	})
	slices.Sort(nodes)
	return strings.Join(nodes, ",")
}

// explained asks us where a statement would go now.
func explained(t *testing.T, conn *pgx.Conn, sql string) string {
	t.Helper()
	rows, err := conn.Query(t.Context(), "PGPOOL EXPLAIN ROUTE "+sql)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var nodes []string
	for rows.Next() {
		nodes = append(nodes, string(rows.RawValues()[0]))
	}
	if err := rows.Err(); err != nil {
		t.Errorf("EXPLAIN ROUTE %s: %v", sql, err)
	}
	slices.Sort(nodes)
	return strings.Join(nodes, ",")
}
