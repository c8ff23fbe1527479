package e2e

import (
	"context"
	"fmt"
	osexec "os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"gopgpool/internal/pgcluster"
)

// Operations verbs while clients work. Their names and meaning are those of PgBouncer's console.

// load is a pgbench that runs until check tells it to stop.
type load struct {
	cmd    *osexec.Cmd
	output strings.Builder
	ended  chan error
}

// begin starts a pgbench. Each client has its own thread: where one waits in a call that blocks, as pgbench does while it
// connects and prepares, the transaction of another has to go on to its end, or PAUSE would wait for both.
func begin(t *testing.T, c *pgcluster.Cluster, args ...string) *load {
	t.Helper()
	l := &load{ended: make(chan error, 1)}
	args = append([]string{"-n", "-c", fmt.Sprint(workers), "-j", fmt.Sprint(workers), "-T", "120"}, args...)
	l.cmd = c.Command(t.Context(), "pgbench", args...)
	l.cmd.Stdout, l.cmd.Stderr = &l.output, &l.output
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { l.ended <- l.cmd.Wait() }()
	return l
}

// goesOn waits until the clients have done some more.
func goesOn(t *testing.T, c *pgcluster.Cluster, db string) {
	t.Helper()
	conn, err := c.Nodes[0].Connect(t.Context(), "dbname="+db)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	const some = 300
	before := value(t, conn, "SELECT count(*)::text FROM pgbench_history")
	eventually(t, "pgbench goes on", func() bool {
		return value(t, conn, fmt.Sprintf("SELECT (count(*) >= %s + %d)::text FROM pgbench_history", before, some)) == "true"
	})
}

// workers is how many clients a load has.
const workers = 4

var failures = regexp.MustCompile(`number of failed transactions: (\d+)`)

// check ends the load, each client after its transaction: none of these may have failed, and none of the clients. The signal is that by
// which pgbench itself ends what -T bounds.
func (l *load) check(t *testing.T) {
	t.Helper()
	if err := l.cmd.Process.Signal(syscall.SIGALRM); err != nil {
		t.Errorf("pgbench: %v", err)
	}
	err := <-l.ended
	failed := failures.FindStringSubmatch(l.output.String())
	if err != nil || len(failed) != 2 || failed[1] != "0" || strings.Contains(l.output.String(), "aborted") {
		t.Errorf("pgbench: %v\n%s", err, l.output.String())
	}
}

// poolModes are the modes in which the verbs are tried.
var poolModes = []string{"session", "transaction"}

// openIn counts the transactions that are open on a node in a database.
func openIn(t *testing.T, c *pgcluster.Cluster, db string) string {
	t.Helper()
	n, err := c.Nodes[0].Value(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = '"+db+
		"' AND backend_type = 'client backend' AND (state <> 'idle' OR xact_start IS NOT NULL)")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestPauseUnderLoad: PAUSE returns when no transaction is open, nothing happens on the servers until RESUME, and clients only wait.
func TestPauseUnderLoad(t *testing.T) {
	t.Parallel()
	for _, mode := range poolModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			p := start(t, map[string]string{"pool_mode": mode})
			db := "e2e_pause_" + mode
			benchDatabase(t, p, db)
			boss := connect(t, p, simple)
			l := begin(t, shared.Cluster(t), "-M", "prepared", p.ConnString("dbname="+db))
			eventually(t, "pgbench works", func() bool { return openIn(t, shared.Cluster(t), db) != "0" })
			for range 3 {
				exec(t, boss, "PGPOOL PAUSE "+db)
				for range 5 {
					if n := openIn(t, shared.Cluster(t), db); n != "0" {
						t.Errorf("%s transactions are open while the database is paused", n)
					}
				}
				eventually(t, "a session is shown as paused", func() bool {
					return slices.Contains(psql(t, p, "SHOW pool_sessions").column(t, "state"), "paused")
				})
				exec(t, boss, "PGPOOL RESUME "+db)
				eventually(t, "pgbench goes on", func() bool { return openIn(t, shared.Cluster(t), db) != "0" })
			}
			goesOn(t, shared.Cluster(t), db)
			l.check(t)
		})
	}
}

// TestPauseForRestart: under PAUSE a server can be restarted; clients who work, and those who arrive meanwhile, only wait.
func TestPauseForRestart(t *testing.T) {
	t.Parallel()
	for _, mode := range poolModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			c := pgcluster.StartTest(t, pgcluster.Options{Nodes: 1})
			p := c.TestPgpool(t, pgcluster.PgpoolOptions{
				Binary: shared.Program(t, "pgpool"), Env: []string{"GORACE=atexit_sleep_ms=0"},
				Conf: map[string]string{"pool_mode": mode, "backend_flag0": "DISALLOW_TO_FAILOVER"},
			})
			for _, sql := range []string{"CREATE ROLE worker LOGIN", "GRANT pg_write_all_data, pg_read_all_data TO worker"} {
				if _, err := c.Nodes[0].Value(t.Context(), sql); err != nil {
					t.Fatal(err)
				}
			}
			if output, err := c.Command(t.Context(), "pgbench", "-i", "-q", p.ConnString("dbname=postgres")).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, output)
			}
			boss := connect(t, p, simple)
			const waits = "connect_timeout=0" // for the server, however long that takes
			steady := begin(t, c, "-M", "prepared", p.ConnString("dbname=postgres", waits))
			hasty := begin(t, c, "-C", p.ConnString("dbname=postgres", "user=worker", waits))
			for _, role := range []string{"postgres", "worker"} { // who has not begun does not know the signal that ends it either
				eventually(t, "pgbench works as "+role, func() bool {
					n, err := c.Nodes[0].Value(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE usename = '"+role+
						"' AND pid <> pg_backend_pid() AND query LIKE '%abalance%'")
					return err == nil && n != "0"
				})
			}
			exec(t, boss, "PGPOOL PAUSE")
			if err := c.Nodes[0].Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			exec(t, boss, "PGPOOL RESUME")
			goesOn(t, c, "postgres")
			steady.check(t)
			hasty.check(t)
		})
	}
}

// TestReconnectUnderLoad: all server connections of a database are replaced, and no client notices.
func TestReconnectUnderLoad(t *testing.T) {
	t.Parallel()
	for _, mode := range poolModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			p := start(t, map[string]string{"pool_mode": mode})
			db := "e2e_reconnect_" + mode
			benchDatabase(t, p, db)
			boss, idle, keeper := connect(t, p, simple), connect(t, p, simple, "dbname="+db), connect(t, p, simple, "dbname="+db)
			exec(t, idle, "SET work_mem = '5MB'")
			exec(t, keeper, "CREATE TEMP TABLE kept AS SELECT 7 AS a")
			l := begin(t, shared.Cluster(t), "-M", "prepared", p.ConnString("dbname="+db))
			eventually(t, "pgbench works", func() bool { return openIn(t, shared.Cluster(t), db) != "0" })
			now := onServer(t, 0, "SELECT clock_timestamp()")
			exec(t, boss, "PGPOOL RECONNECT "+db)
			eventually(t, "the connections are new", func() bool {
				return onServer(t, 0, "SELECT count(*) FROM pg_stat_activity WHERE datname = '"+db+"' AND backend_type = 'client backend' "+
					"AND backend_start < '"+now+"'") == "1" // that with the temporary table
			})
			if got := value(t, idle, "SHOW work_mem"); got != "5MB" {
				t.Errorf("work_mem is %s on the new connection", got)
			}
			if got := value(t, keeper, "SELECT a::text FROM kept"); got != "7" {
				t.Error(got)
			}
			exec(t, keeper, "DROP TABLE kept")
			goesOn(t, shared.Cluster(t), db)
			l.check(t)
		})
	}
}

// TestKillSession: KILL takes the number that SHOW pool_processes shows; what runs is cancelled on the server.
func TestKillSession(t *testing.T) {
	t.Parallel()
	for _, mode := range poolModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			p := start(t, map[string]string{"pool_mode": mode})
			role := "e2e_kill_" + mode
			onServer(t, 0, "CREATE ROLE "+role+" LOGIN")
			boss, busy, idle := connect(t, p, simple), connect(t, p, simple, "user="+role), connect(t, p, simple)
			mark := "e2e kill " + mode
			done := sleeping(t, busy, mark)
			number := psql(t, p, "SHOW pool_sessions").of(t, "pid", "username", role)
			if mode == "session" {
				if same := psql(t, p, "SHOW pool_processes").of(t, "pool_pid", "username", role); same != number {
					t.Errorf("pool_processes shows %s, pool_sessions %s", same, number)
				}
			}
			exec(t, boss, "PGPOOL KILL "+number)
			if err := <-done; sqlState(err) != "57P01" {
				t.Errorf("the client's error: %v", err)
			}
			eventually(t, "the statement ends on the server", func() bool { return !running(t, 0, mark) })
			if err := idle.Ping(t.Context()); err != nil {
				t.Errorf("another session: %v", err)
			}
			eventually(t, "the session is gone, KILL finds nobody", func() bool {
				_, err := boss.Exec(t.Context(), "PGPOOL KILL "+number)
				if err != nil && sqlState(err) != "42704" {
					t.Fatal(err)
				}
				return err != nil
			})
			if _, err := connect(t, p, simple, "user="+role).Exec(t.Context(), "PGPOOL PAUSE"); sqlState(err) != "42501" {
				t.Errorf("PAUSE by a user without rights: %v", err)
			}
		})
	}
}

// of is the value of a column in the row where another one has a value.
func (rows table) of(t *testing.T, column, where, is string) string {
	t.Helper()
	for i, v := range rows.column(t, where) {
		if v == is {
			return rows.column(t, column)[i]
		}
	}
	t.Fatalf("no row with %s = %s in %v", where, is, rows)
	return ""
}

// TestShowPooling: columns of what is ours to show, through simple and extended queries.
func TestShowPooling(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	for command, want := range map[string]string{
		"pool_sessions": "pid database username client mode state pin nodes since",
		"pool_queues": "database user pool_mode node_id cl_active cl_waiting cl_paused sv_active sv_idle sv_login maxwait maxwait_us " +
			"pool_size paused",
		"pool_hba":   "rule_number file_name line_number type database user_name address netmask auth_method options error",
		"pool_ident": "map_number file_name line_number map_name sys_name pg_username error",
	} {
		for _, word := range []string{simple, "default_query_exec_mode=cache_statement"} {
			rows, err := connect(t, p, word).Query(t.Context(), "SHOW "+command)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range rows.FieldDescriptions() {
				got = append(got, f.Name)
			}
			rows.Close()
			if text := strings.Join(got, " "); text != want || rows.Err() != nil {
				t.Errorf("%s: %s, %v, want %s", command, text, rows.Err(), want)
			}
		}
	}
}
