package e2e

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
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
