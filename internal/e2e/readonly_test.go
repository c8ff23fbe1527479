package e2e

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// readOnlyWays are the ways a read-only transaction may come: the protocol, and who shares server connections.
func readOnlyWays(t *testing.T, conf map[string]string, test func(t *testing.T, connect func(words ...string) *pgx.Conn)) {
	for _, mode := range []string{"session", "transaction"} {
		settings := map[string]string{"pool_mode": mode}
		for name, value := range conf {
			settings[name] = value
		}
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			p := start(t, settings)
			protocols := map[string]string{"simple": simple, "extended": "default_query_exec_mode=exec"}
			if mode == "session" {
				protocols["prepared"] = "default_query_exec_mode=cache_statement"
			}
			for protocol, word := range protocols {
				t.Run(protocol, func(t *testing.T) {
					test(t, func(more ...string) *pgx.Conn { return connect(t, p, append(more, word)...) })
				})
			}
		})
	}
}

// A read-only transaction goes to one standby as a whole, whatever statement_level_load_balance says, and the primary hears
// nothing of it.
func TestReadOnlyTransactionIsWhole(t *testing.T) {
	t.Parallel()
	conf := map[string]string{"statement_level_load_balance": "on", "backend_weight0": "0"}
	begins := [][]string{
		{"BEGIN READ ONLY"},
		{"START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"},
		{"BEGIN", "SET TRANSACTION READ ONLY"},
		{"BEGIN", "SET transaction_read_only TO on"},
	}
	readOnlyWays(t, conf, func(t *testing.T, connect func(words ...string) *pgx.Conn) {
		app := name(t, "ro")
		conn := connect("application_name=" + app)
		seen := make(map[string]bool)
		const rounds, limit = 12, 60 // the second standby comes by chance
		for i := 0; i < rounds || i < limit && len(seen) < 2; i++ {
			begin := begins[i%len(begins)]
			for _, sql := range begin {
				exec(t, conn, sql)
			}
			exec(t, conn, "SET LOCAL work_mem = '1MB'")
			exec(t, conn, "SAVEPOINT a")
			first := value(t, conn, where)
			seen[first] = true
			exec(t, conn, "DECLARE c CURSOR FOR "+where)
			answers := []string{value(t, conn, "FETCH c"), value(t, conn, where), value(t, conn, "VALUES (inet_server_port()::text)")}
			exec(t, conn, "EXPLAIN ANALYZE SELECT 1")
			exec(t, conn, "ROLLBACK TO a")
			answers = append(answers, value(t, conn, where))
			for _, a := range answers {
				if a != first || nodeOf(t, a) == 0 {
					t.Errorf("%s: first on %s, then on %v", strings.Join(begin, "; "), first, answers)
				}
			}
			in := "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%' AND application_name = " + quoted(app)
			if onServer(t, 0, in) != "0" {
				t.Errorf("%s: the primary is in it", strings.Join(begin, "; "))
			}
			exec(t, conn, "COMMIT")
		}
		if len(seen) != 2 {
			t.Errorf("%d transactions on %v", limit, seen)
		}
	})
}

// What only the primary can answer is answered by it in a read-only transaction too, and errors are the server's.
func TestReadOnlyTransactionOnThePrimary(t *testing.T) {
	t.Parallel()
	readOnlyWays(t, map[string]string{"backend_weight0": "0"}, func(t *testing.T, connect func(words ...string) *pgx.Conn) {
		conn, tab := connect(), name(t, "t")
		exec(t, conn, "CREATE TABLE "+tab+" (a int)")
		exec(t, conn, "CREATE SEQUENCE "+tab+"_s")
		exec(t, conn, "CREATE UNLOGGED TABLE "+tab+"_u AS SELECT 7 AS a")
		exec(t, conn, "CREATE TEMP TABLE tmp (a int)")
		replayed(t)
		exec(t, conn, "BEGIN READ ONLY")
		if n := nodeOf(t, value(t, conn, where)); n == 0 {
			t.Error("read on the primary")
		}
		if v := value(t, conn, "SELECT a::text FROM "+tab+"_u"); v != "7" {
			t.Errorf("unlogged table: %s", v)
		}
		exec(t, conn, "DECLARE c CURSOR FOR SELECT a::text FROM "+tab+"_u")
		if v := value(t, conn, "FETCH c"); v != "7" {
			t.Errorf("cursor: %s", v)
		}
		exec(t, conn, "INSERT INTO tmp VALUES (1)")
		if v := value(t, conn, "SELECT count(*)::text FROM tmp"); v != "1" {
			t.Errorf("temporary table: %s rows", v)
		}
		exec(t, conn, "COMMIT")
		for _, sql := range []string{
			"INSERT INTO " + tab + " VALUES (1)", "SELECT nextval('" + tab + "_s')", "SELECT * FROM " + tab + " FOR UPDATE",
		} {
			exec(t, conn, "BEGIN READ ONLY")
			value(t, conn, where)
			if _, err := conn.Exec(t.Context(), sql); sqlState(err) != "25006" {
				t.Errorf("%s: %v", sql, err)
			}
			exec(t, conn, "ROLLBACK")
		}
		exec(t, conn, "BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY")
		if n := nodeOf(t, value(t, conn, where)); n != 0 {
			t.Errorf("serializable: on node %d", n)
		}
		exec(t, conn, "COMMIT")
	})
}

// Two nodes are two snapshots: a REPEATABLE READ transaction has one.
func TestRepeatableReadKeepsItsSnapshot(t *testing.T) {
	t.Parallel()
	readOnlyWays(t, map[string]string{"statement_level_load_balance": "on"}, func(t *testing.T, connect func(words ...string) *pgx.Conn) {
		conn, tab := connect(), name(t, "t")
		exec(t, conn, "CREATE TABLE "+tab+" AS SELECT 1 AS a")
		replayed(t)
		const rounds = 6
		for i := range rounds {
			exec(t, conn, []string{"BEGIN ISOLATION LEVEL REPEATABLE READ", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"}[i%2])
			before := value(t, conn, "SELECT count(*)::text FROM "+tab)
			onServer(t, 0, "INSERT INTO "+tab+" VALUES (2) RETURNING a") // the primary knows it at once
			for range 8 {
				if now := value(t, conn, "SELECT count(*)::text FROM "+tab); now != before {
					t.Fatalf("%s rows, then %s", before, now)
				}
			}
			exec(t, conn, "COMMIT")
		}
	})
}

// withoutKeys is a dump without the lines that hold a random key.
func withoutKeys(dump string) string {
	var b strings.Builder
	for line := range strings.Lines(dump) {
		if !strings.HasPrefix(line, `\restrict `) && !strings.HasPrefix(line, `\unrestrict `) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// pg_dump is a REPEATABLE READ, READ ONLY transaction that begins with the catalogs.
func TestDumpThroughPgpool(t *testing.T) {
	t.Parallel()
	p := start(t, map[string]string{"statement_level_load_balance": "on"})
	benchDatabase(t, p, "e2e_dump")
	c := shared.Cluster(t)
	dump := func(connString string) string {
		output, err := c.Command(t.Context(), "pg_dump", "-d", connString).CombinedOutput()
		if err != nil {
			t.Fatalf("pg_dump: %v\n%s", err, output)
		}
		return withoutKeys(string(output))
	}
	if through, direct := dump(p.ConnString("dbname=e2e_dump")), dump(c.Nodes[0].ConnString("dbname=e2e_dump")); through != direct {
		t.Errorf("a dump of %d bytes through pgpool, of %d from the server", len(through), len(direct))
	}
}

// The node that answers COMMIT AND CHAIN begins the next transaction with the settings of the last, whatever it has missed of that one.
func TestChainedReadOnlyTransactionKeepsItsSettings(t *testing.T) {
	t.Parallel()
	p := start(t, map[string]string{"statement_level_load_balance": "on", "backend_weight0": "0"})
	c := connect(t, p, simple)
	for _, sql := range []string{
		"BEGIN READ ONLY", "SELECT 1", "SET work_mem = '5MB'", "SAVEPOINT s", "SET work_mem = '6MB'", "SELECT count(*) FROM pg_class",
		"ROLLBACK TO s", "COMMIT AND CHAIN",
	} {
		exec(t, c, sql)
	}
	for _, sql := range []string{"SHOW work_mem", "SELECT min(current_setting('work_mem')) FROM pg_class"} {
		if got := value(t, c, sql); got != "5MB" {
			t.Errorf("%s: %s", sql, got)
		}
	}
}
