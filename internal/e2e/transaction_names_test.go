package e2e

import (
	"errors"
	"slices"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Who has said SET ROLE or SET SESSION AUTHORIZATION and then RESET ALL has his role still, and the next session has it not.
func TestResetAllLeavesTheRoleToItsSession(t *testing.T) {
	t.Parallel()
	p := sharing(t, "1")
	all := sessions(t, p, 2)
	exec(t, all[0], "CREATE ROLE left_by_reset")
	t.Cleanup(func() { _, _ = all[1].Exec(t.Context(), "DROP ROLE left_by_reset") })
	own := value(t, all[1], "SELECT current_user::text")
	for _, set := range []string{"SET ROLE left_by_reset", "SET SESSION AUTHORIZATION left_by_reset"} {
		exec(t, all[0], set)
		exec(t, all[0], "RESET ALL")
		if got := value(t, all[1], "SELECT current_user::text"); got != own {
			t.Errorf("%s; RESET ALL: the next session is %q", set, got)
		}
		if got := value(t, all[0], "SELECT current_user::text"); got != "left_by_reset" {
			t.Errorf("%s; RESET ALL: the session is %q", set, got)
		}
	}
	all[0].Close(t.Context())
}

// Statements that a function of one session has dropped are prepared again when another needs them; a string with such a call in it
// pins nobody.
func TestStatementsSurviveTheirHiddenEnd(t *testing.T) {
	t.Parallel()
	p := sharing(t, "1")
	all := sessions(t, p, 2)
	exec(t, all[0], "SELECT 1")
	if _, err := all[0].PgConn().Prepare(t.Context(), "kept", "SELECT 42::text", nil); err != nil {
		t.Fatal(err)
	}
	for _, end := range []string{"DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$", "SELECT 1; DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$", "DEALLOCATE ALL; SELECT 1"} {
		exec(t, all[1], end)
		r := all[0].PgConn().ExecPrepared(t.Context(), "kept", nil, nil, nil).Read()
		if r.Err != nil || len(r.Rows) != 1 || string(r.Rows[0][0]) != "42" {
			t.Errorf("after %s: %v", end, r.Err)
		}
	}
}

// Names that statements have on servers only are none of a client's, though it can read them.
func TestNamesOnServersAreNotTheClients(t *testing.T) {
	t.Parallel()
	p := sharing(t, "1")
	all := sessions(t, p, 2)
	if _, err := all[0].PgConn().Prepare(t.Context(), "kept", "SELECT 42::text", nil); err != nil {
		t.Fatal(err)
	}
	name := value(t, all[1], "SELECT name FROM pg_prepared_statements WHERE statement = 'SELECT 42::text'")
	refused := func(what string, err error, code string) {
		t.Helper()
		var e *pgconn.PgError
		if !errors.As(err, &e) || e.Code != code {
			t.Errorf("%s: %v, want %s", what, err, code)
		}
	}
	_, err := all[1].PgConn().Prepare(t.Context(), name, "SELECT 1", nil)
	refused("Parse", err, "42P05")
	refused("Bind", all[1].PgConn().ExecPrepared(t.Context(), name, nil, nil, nil).Read().Err, "26000")
	for _, c := range [][2]string{{"PREPARE " + name + " AS SELECT 1", "42P05"}, {"EXECUTE " + name, "26000"}, {"DEALLOCATE " + name, "26000"}} {
		_, err := all[1].Exec(t.Context(), c[0])
		refused(c[0], err, c[1])
		_, err = all[1].Exec(t.Context(), c[0], pgx.QueryExecModeExec)
		refused("extended: "+c[0], err, c[1])
	}
	if r := all[0].PgConn().ExecPrepared(t.Context(), "kept", nil, nil, nil).Read(); r.Err != nil {
		t.Error(r.Err)
	}
}

// A function called by the message for that may leave something even if it fails.
func TestFailedFunctionCallPins(t *testing.T) {
	t.Parallel()
	p := sharing(t, "1")
	all := sessions(t, p, 3)
	c, other, boss := all[0], all[1], all[2]
	exec(t, c, `CREATE OR REPLACE FUNCTION lock_and_fail() RETURNS int LANGUAGE plpgsql AS
		$$ BEGIN PERFORM pg_advisory_lock(4712); RAISE EXCEPTION 'no'; END $$`)
	oid, err := strconv.ParseUint(value(t, c, "SELECT 'lock_and_fail'::regproc::oid::text"), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	f := c.PgConn().Frontend()
	f.Send(&pgproto3.FunctionCall{Function: uint32(oid), ResultFormatCode: 1})
	if err := f.Flush(); err != nil {
		t.Fatal(err)
	}
	for failed := false; ; {
		m, err := f.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := m.(*pgproto3.ErrorResponse); ok {
			failed = e.Code == "P0001"
		}
		if _, ok := m.(*pgproto3.ReadyForQuery); ok {
			if !failed {
				t.Error("the function has not failed")
			}
			break
		}
	}
	if got := value(t, c, "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"); got != "1" {
		t.Errorf("%s locks", got)
	}
	done := make(chan error, 1)
	go func() {
		_, err := other.Exec(t.Context(), "SELECT 1")
		done <- err
	}()
	eventually(t, "another session waits for the connection with the lock", func() bool {
		select {
		case err := <-done:
			t.Fatalf("another session was not kept waiting: %v", err)
		default:
		}
		rows, err := boss.Query(t.Context(), "SHOW pool_queues")
		if err != nil {
			t.Fatal(err)
		}
		queues, err := pgx.CollectRows(rows, pgx.RowToMap)
		return err == nil && slices.ContainsFunc(queues, func(q map[string]any) bool { return q["cl_waiting"] == "1" })
	})
	c.Close(t.Context())
	if err := <-done; err != nil {
		t.Errorf("when the lock is gone: %v", err)
	}
}

// A function that has left nothing pins nobody, wherever in a statement it is called.
func TestHarmlessFunctionsDoNotPin(t *testing.T) {
	t.Parallel()
	p := sharing(t, "1", "query_wait_timeout", "10s")
	all := sessions(t, p, 2)
	exec(t, all[0], "CREATE OR REPLACE FUNCTION leaves_nothing() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$")
	for _, sql := range []string{
		"EXPLAIN ANALYZE SELECT leaves_nothing()", "COPY (SELECT leaves_nothing()) TO STDOUT", "SELECT 1; SELECT leaves_nothing()", "SELECT leaves_nothing()",
	} {
		if err := all[0].PgConn().Exec(t.Context(), sql).Close(); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		if _, err := all[1].Exec(t.Context(), "SELECT 1"); err != nil {
			t.Fatalf("after %s: %v", sql, err)
		}
	}
}

// Settings made in a batch that also begins or ends transactions: what has become of them is the session's, and nobody else's.
func TestSettingsOfBatchesWithTransactions(t *testing.T) {
	t.Parallel()
	p := sharing(t, "1")
	for _, c := range []struct {
		batch []string
		want  string
	}{
		{[]string{"SET work_mem = '5MB'", "BEGIN", "COMMIT", "SELECT 1/0"}, "5MB"},
		{[]string{"SET work_mem = '5MB'", "COMMIT", "SELECT 1/0"}, "5MB"},
		{[]string{"SET work_mem = '5MB'", "ROLLBACK"}, "4MB"},
		{[]string{"SET work_mem = '5MB'", "ROLLBACK", "SELECT 1/0"}, "4MB"},
		{[]string{"BEGIN", "SET work_mem = '5MB'", "COMMIT", "SET work_mem = '6MB'", "SELECT 1/0"}, "5MB"},
	} {
		all := sessions(t, p, 2)
		pipeline := all[0].PgConn().StartPipeline(t.Context())
		for _, sql := range c.batch {
			pipeline.SendQueryParams(sql, nil, nil, nil, nil)
		}
		_ = pipeline.Sync()
		_ = pipeline.Close() // some of the batches fail
		if got := value(t, all[1], "SHOW work_mem"); got != "4MB" {
			t.Errorf("%q: the next session has %s", c.batch, got)
		}
		if got := value(t, all[0], "SHOW work_mem"); got != c.want {
			t.Errorf("%q: the session has %s, want %s", c.batch, got, c.want)
		}
		for _, conn := range all {
			conn.Close(t.Context())
		}
	}
}
