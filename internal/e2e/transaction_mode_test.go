package e2e

import (
	"context"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"gopgpool/internal/pgcluster"
)

// sharing starts a pgpool of one node whose sessions share a few connections.
func sharing(t *testing.T, size string, more ...string) *pgcluster.Pgpool {
	t.Helper()
	conf := map[string]string{"pool_mode": "transaction", "default_pool_size": size, "load_balance_mode": "off", "query_wait_timeout": "60s"}
	for i := 0; i+1 < len(more); i += 2 {
		conf[more[i]] = more[i+1]
	}
	return start(t, conf)
}

// sessions are n clients of a pgpool.
func sessions(t *testing.T, p *pgcluster.Pgpool, n int, words ...string) (all []*pgx.Conn) {
	t.Helper()
	for range n {
		all = append(all, connect(t, p, append([]string{simple}, words...)...))
	}
	return all
}

// serverPID is the process that serves a session now.
func serverPID(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	return value(t, conn, "SELECT pg_backend_pid()::text")
}

// Three sessions on one server connection: each finds the settings it has made, and none of the others'.
func TestSettingsFollowTheirSession(t *testing.T) {
	t.Parallel()
	p := sharing(t, "1")
	all := sessions(t, p, 3)
	for i, c := range all {
		exec(t, c, "SET search_path TO s"+string(rune('a'+i)))
		exec(t, c, "SET application_name TO 'app"+string(rune('a'+i))+"'")
	}
	exec(t, all[2], "RESET ALL")
	for i, want := range []string{"sa appa", "sb appb", `"$user", public `} {
		if got := value(t, all[i], "SELECT current_setting('search_path') || ' ' || current_setting('application_name')"); got != want {
			t.Errorf("session %d: %q, want %q", i, got, want)
		}
	}
	exec(t, all[0], "BEGIN; SET search_path TO other")
	exec(t, all[0], "ROLLBACK")
	if got := value(t, all[0], "SHOW search_path"); got != "sa" {
		t.Errorf("after a rollback: %q", got)
	}
	if a, b := serverPID(t, all[0]), serverPID(t, all[1]); a != b {
		t.Errorf("two server processes: %s, %s", a, b)
	}
}

// The parameters of the startup packet are the session's, and what RESET goes back to.
func TestStartupParametersFollowTheirSession(t *testing.T) {
	t.Parallel()
	p := sharing(t, "1")
	a := connect(t, p, simple, "application_name=one options='-c work_mem=7MB -c search_path=x,y'")
	b := connect(t, p, simple, "application_name=two timezone=Asia/Tokyo")
	if a.PgConn().ParameterStatus("application_name") != "one" || b.PgConn().ParameterStatus("TimeZone") != "Asia/Tokyo" {
		t.Errorf("reported at the login: %q, %q", a.PgConn().ParameterStatus("application_name"), b.PgConn().ParameterStatus("TimeZone"))
	}
	settings := "SELECT current_setting('application_name') || ' ' || current_setting('work_mem') || ' ' || current_setting('search_path') || ' ' || current_setting('timezone')"
	const wantA, wantB = "one 7MB x,y", "two 4MB"
	for range 2 {
		if got := value(t, a, settings); !strings.HasPrefix(got, wantA) {
			t.Errorf("%q, want %q", got, wantA)
		}
		if got := value(t, b, settings); !strings.HasPrefix(got, wantB) || !strings.HasSuffix(got, "Asia/Tokyo") {
			t.Errorf("%q, want %q", got, wantB)
		}
		exec(t, a, "SET application_name TO 'three'")
		exec(t, a, "SET work_mem TO '9MB'")
		exec(t, a, "RESET ALL")
		exec(t, b, "SET timezone TO 'UTC'")
		exec(t, b, "RESET timezone")
	}
	if _, err := p.Connect(t.Context(), "options='-c no_such=1'"); err == nil || !strings.Contains(err.Error(), "no_such") {
		t.Errorf("an unknown parameter: %v", err)
	}
	if a.PgConn().ParameterStatus("application_name") != "one" {
		t.Errorf("reported: %q", a.PgConn().ParameterStatus("application_name"))
	}
}

// State that cannot be moved keeps a session on its connection for as long as it lasts.
func TestPinsLastAsLongAsTheirCause(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, pin, look, want, unpin string }{
		{"temp table", "CREATE TEMP TABLE pinned AS SELECT 7 AS x", "SELECT x::text FROM pinned", "7", "DROP TABLE pinned"},
		{"advisory lock", "SELECT pg_advisory_lock(4711)", "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()", "1", "SELECT pg_advisory_unlock(4711)"},
		{"cursor", "DECLARE pinned CURSOR WITH HOLD FOR SELECT 8::text", "FETCH pinned", "8", "CLOSE pinned"},
		{"DO", "DO $$ BEGIN CREATE TEMP TABLE pinned AS SELECT 9 AS x; END $$", "SELECT x::text FROM pinned", "9", "DISCARD TEMP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := sharing(t, "2")
			all := sessions(t, p, 2)
			exec(t, all[0], c.pin)
			exec(t, all[1], "BEGIN")
			other := serverPID(t, all[1])
			if got := value(t, all[0], c.look); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
			own := serverPID(t, all[0])
			if other == own {
				t.Error("one server process for both")
			}
			exec(t, all[0], c.unpin)
			exec(t, all[1], "COMMIT")
			// Now both are free: two more sessions in transactions need both.
			more := sessions(t, p, 2)
			for _, m := range more {
				exec(t, m, "BEGIN")
				exec(t, m, "SELECT 1")
			}
			for _, m := range more {
				exec(t, m, "COMMIT")
			}
		})
	}
}

// What a function has set is the session's from then on, and nobody else's.
func TestSettingsOfFunctionsAreAdopted(t *testing.T) {
	t.Parallel()
	p := sharing(t, "1")
	all := sessions(t, p, 2)
	exec(t, all[0], "DO $$ BEGIN PERFORM set_config('search_path', 'hidden, public', false); END $$")
	exec(t, all[0], "SELECT set_config('my.own', 'it''s ' || E'\\\\' || ' mine', false)")
	if got := value(t, all[1], "SHOW search_path"); got != `"$user", public` {
		t.Errorf("the other session: %q", got)
	}
	if got := value(t, all[0], "SELECT current_setting('search_path') || current_setting('my.own')"); got != `hidden, publicit's \ mine` {
		t.Errorf("the session: %q", got)
	}
}

// A client that vanishes in the middle of a transaction leaves nothing behind.
func TestVanishedSessionsLeaveNothing(t *testing.T) {
	t.Parallel()
	p := sharing(t, "1")
	for range 3 {
		c, err := p.Connect(t.Context(), simple)
		if err != nil {
			t.Fatal(err)
		}
		exec(t, c, "SET work_mem TO '9MB'")
		exec(t, c, "BEGIN")
		exec(t, c, "CREATE TEMP TABLE left_behind (x int)")
		c.PgConn().Conn().Close()
		next := connect(t, p, simple)
		if got := value(t, next, "SELECT current_setting('work_mem') || pg_my_temp_schema()::int"); got != "4MB0" {
			t.Errorf("%q", got)
		}
		next.Close(context.Background())
	}
}

// LISTEN and NOTIFY: notifications reach the sessions that listen though none has a server connection, and transactions count.
func TestListenWithoutAConnection(t *testing.T) {
	t.Parallel()
	p := sharing(t, "2")
	all := sessions(t, p, 3)
	a, b, sender := all[0], all[1], all[2]
	exec(t, a, "LISTEN one")
	exec(t, b, "BEGIN")
	exec(t, b, "LISTEN one")
	exec(t, b, "SAVEPOINT s")
	exec(t, b, "LISTEN two")
	exec(t, b, "ROLLBACK TO s")
	exec(t, b, "COMMIT")
	exec(t, sender, "BEGIN")
	exec(t, sender, "NOTIFY two, 'nobody listens'")
	for i := range 3 {
		exec(t, sender, "SELECT pg_notify('one', $1)", strconv.Itoa(i))
	}
	exec(t, sender, "COMMIT")
	for _, c := range []*pgx.Conn{a, b} {
		for i := range 3 {
			n, err := c.WaitForNotification(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if n.Channel != "one" || n.Payload != strconv.Itoa(i) || n.PID != sender.PgConn().PID() {
				t.Errorf("notification %+v, want %d from %d", n, i, sender.PgConn().PID())
			}
		}
	}
	exec(t, a, "UNLISTEN *")
	exec(t, b, "NOTIFY one, 'own'")
	exec(t, a, "SELECT 1")
	n, err := b.WaitForNotification(t.Context())
	if err != nil || n.Payload != "own" || n.PID != b.PgConn().PID() {
		t.Errorf("its own notification: %+v, %v", n, err)
	}
	if got := onServer(t, 0, "SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'pgpool LISTEN'"); got != "1" {
		t.Errorf("%s listener connections", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := a.WaitForNotification(ctx); err == nil {
		t.Errorf("after UNLISTEN: %+v", n)
	}
}

// What nextval has left is found again by the session as long as nobody else has used the connection, and never by another session.
func TestSequenceValuesStayTheirSessions(t *testing.T) {
	t.Parallel()
	p := sharing(t, "1")
	all := sessions(t, p, 2)
	exec(t, all[0], "CREATE SEQUENCE e2e_values")
	defer onServer(t, 0, "DROP SEQUENCE e2e_values")
	exec(t, all[0], "SELECT nextval('e2e_values')")
	if got := value(t, all[0], "SELECT currval('e2e_values')::text"); got != "1" {
		t.Errorf("currval: %s", got)
	}
	exec(t, all[0], "DISCARD ALL")
	exec(t, all[0], "SELECT nextval('e2e_values')")
	if _, err := all[1].Exec(t.Context(), "SELECT lastval()"); err == nil || !strings.Contains(err.Error(), "55000") {
		t.Errorf("lastval of another session: %v", err)
	}
	all[1].Close(context.Background()) // it has asked once, and keeps its connection for it
	if _, err := all[0].Exec(t.Context(), "SELECT currval('e2e_values')"); err == nil || !strings.Contains(err.Error(), "55000") {
		t.Errorf("currval after another session: %v", err)
	}
}

// The pid of BackendKeyData is no server's, and understood all the same.
func TestSignalsBySharedPID(t *testing.T) {
	t.Parallel()
	p := sharing(t, "2")
	victim := connect(t, p, simple)
	running := make(chan error, 1)
	go func() {
		_, err := victim.Exec(context.Background(), "SELECT pg_sleep(60)")
		running <- err
	}()
	asker := connect(t, p)
	pid := int64(victim.PgConn().PID())
	eventually(t, "the statement is cancelled", func() bool {
		var ok bool
		if err := asker.QueryRow(t.Context(), "SELECT pg_cancel_backend($1)", pid).Scan(&ok); err != nil || !ok {
			t.Fatal(ok, err)
		}
		select {
		case err := <-running:
			if sqlState(err) != "57014" {
				t.Fatal(err)
			}
			return true
		default:
			return false
		}
	})
	simpleAsker := connect(t, p, simple)
	if got := value(t, simpleAsker, "SELECT pg_terminate_backend("+strconv.Itoa(int(pid))+")::text"); got == "true" {
		t.Error("a cast makes it another statement, which the server answers")
	}
	var ok bool
	if err := simpleAsker.QueryRow(t.Context(), "SELECT pg_terminate_backend("+strconv.Itoa(int(pid))+")").Scan(&ok); err != nil || !ok {
		t.Error(ok, err)
	}
	eventually(t, "the session ends", func() bool { return victim.Ping(t.Context()) != nil })
}

// A connection that has idled for server_check_delay is tried before it is used, and one that fails is replaced without the client's noticing.
func TestServerCheck(t *testing.T) {
	t.Parallel()
	p := sharing(t, "1", "server_check_delay", "0", "server_check_query", "SELECT 47114711", "log_per_node_statement", "on")
	all := sessions(t, p, 2)
	exec(t, all[0], "SELECT 1")
	pid := serverPID(t, all[1])
	onServer(t, 0, "SELECT pg_terminate_backend("+pid+")::text")
	if got := serverPID(t, all[0]); got == pid {
		t.Errorf("still served by %s", pid)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := p.WaitLog(ctx, regexp.MustCompile("47114711")); err != nil {
		t.Errorf("no check in the log: %v", err)
	}
}

// What a transaction sets back goes to what the session began with, also when the next transaction follows on the same connection.
func TestResetInATransactionGoesToTheStartupParameters(t *testing.T) {
	t.Parallel()
	p := sharing(t, "1")
	c := connect(t, p, simple, "application_name=mine options='-c work_mem=7MB'")
	exec(t, c, "BEGIN")
	exec(t, c, "SET LOCAL application_name TO DEFAULT")
	if got := value(t, c, "SHOW application_name"); got != "mine" {
		t.Errorf("SET LOCAL ... TO DEFAULT: %q", got)
	}
	exec(t, c, "RESET work_mem")
	exec(t, c, "COMMIT AND CHAIN")
	if got := value(t, c, "SHOW work_mem"); got != "7MB" {
		t.Errorf("in the next transaction: %q", got)
	}
	exec(t, c, "RESET application_name") // is answered
	exec(t, c, "ROLLBACK")
	if got := value(t, c, "SHOW work_mem"); got != "7MB" {
		t.Errorf("when that is rolled back: %q", got)
	}
}

// What a prepared statement leaves, or asks for, counts where it is executed: by its name, inside another statement, in a longer string.
func TestPinsOfPreparedStatements(t *testing.T) {
	t.Parallel()
	p := sharing(t, "1")
	for _, execute := range []string{"EXECUTE locking", "EXPLAIN ANALYZE EXECUTE locking", "CREATE TABLE locked AS EXECUTE locking", "SELECT 1; EXECUTE locking"} {
		c := connect(t, p, simple)
		exec(t, c, "PREPARE locking AS SELECT pg_advisory_lock(4712)::text")
		exec(t, c, execute)
		if got := value(t, c, "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"); got != "1" {
			t.Errorf("%s: %s locks", execute, got)
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
		other := connect(t, p, simple)
		if got := value(t, other, "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"); got != "0" {
			t.Errorf("%s: %s locks in the next session", execute, got)
		}
	}
	owner, other := connect(t, p, simple), connect(t, p, simple)
	exec(t, other, "PREPARE last AS SELECT lastval()")
	exec(t, owner, "CREATE SEQUENCE of_prepared")
	for _, execute := range []string{"EXECUTE last", "EXPLAIN ANALYZE EXECUTE last", "SELECT 1; EXECUTE last"} {
		exec(t, owner, "SELECT nextval('of_prepared')")
		if _, err := other.Exec(t.Context(), execute); err == nil || !strings.Contains(err.Error(), "55000") {
			t.Errorf("%s: %v", execute, err)
		}
		exec(t, other, "DISCARD SEQUENCES")
	}
}

// A statement never runs as somebody else because the role it is to run as is gone.
func TestNothingRunsWithoutItsRole(t *testing.T) {
	t.Parallel()
	p := sharing(t, "1")
	all := sessions(t, p, 2)
	for _, sql := range []string{"CREATE ROLE e2e_gone", "CREATE TABLE e2e_roles (who text)", "GRANT ALL ON e2e_roles TO e2e_gone"} {
		exec(t, all[1], sql)
	}
	defer onServer(t, 0, "DROP TABLE e2e_roles")
	exec(t, all[0], "SET ROLE e2e_gone")
	exec(t, all[0], "INSERT INTO e2e_roles SELECT current_user")
	exec(t, all[1], "REVOKE ALL ON e2e_roles FROM e2e_gone")
	exec(t, all[1], "DROP ROLE e2e_gone")
	for _, sql := range []string{"INSERT INTO e2e_roles SELECT current_user", "BEGIN", "INSERT INTO e2e_roles SELECT current_user", "COMMIT"} {
		if _, err := all[0].Exec(t.Context(), sql); strings.HasPrefix(sql, "INSERT") != (err != nil && strings.Contains(err.Error(), "22023")) {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if got := value(t, all[1], "SELECT string_agg(who, ',') FROM e2e_roles"); got != "e2e_gone" {
		t.Errorf("rows of %s", got)
	}
	exec(t, all[0], "RESET ROLE")
	exec(t, all[0], "SELECT 1")
}
