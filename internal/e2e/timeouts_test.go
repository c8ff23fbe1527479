package e2e

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"gopgpool/internal/pgcluster"
)

// spared is a session that has run these statements. One that a limit hits meanwhile, with that code, as it does on a slow machine, is
// replaced.
func spared(t *testing.T, p *pgcluster.Pgpool, code string, statements ...string) (conn *pgx.Conn) {
	t.Helper()
	eventually(t, "a session is ready within the limit", func() bool {
		var err error
		if conn, err = p.Connect(t.Context(), simple); err == nil {
			t.Cleanup(func() { conn.Close(context.Background()) })
		}
		for i := 0; err == nil && i < len(statements); i++ {
			_, err = conn.Exec(t.Context(), statements[i])
		}
		if err != nil && sqlState(err) != code {
			t.Fatal(err)
		}
		return err == nil
	})
	return conn
}

// The limits on what a client may take its time for end the session, with PostgreSQL's code for it, and leave nothing running.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	for _, mode := range poolModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			for _, c := range []struct {
				limit, sql, code string
				inTransaction    bool
			}{
				{limit: "query_timeout", sql: "SELECT pg_sleep(120) /* e2e query_timeout " + mode + " */", code: "57014"},
				{limit: "transaction_timeout", sql: "SELECT pg_sleep(120) /* e2e transaction_timeout " + mode + " */", code: "25P04", inTransaction: true},
				{limit: "idle_transaction_timeout", code: "25P03", inTransaction: true},
				{limit: "client_idle_timeout", code: "57P05"},
			} {
				t.Run(c.limit, func(t *testing.T) {
					if mode == "session" && c.limit == "client_idle_timeout" {
						return // has client_idle_limit instead
					}
					t.Parallel()
					p := start(t, map[string]string{"pool_mode": mode, c.limit: "1"})
					var before []string
					if c.inTransaction {
						before = []string{"BEGIN", "SELECT 1"}
					}
					conn := spared(t, p, c.code, before...)
					if c.sql == "" {
						if _, err := conn.PgConn().ReceiveMessage(t.Context()); sqlState(err) != c.code {
							t.Errorf("an idle client is told %v", err)
						}
						return
					}
					if _, err := conn.Exec(t.Context(), c.sql, pgx.QueryExecModeSimpleProtocol); sqlState(err) != c.code {
						t.Errorf("the client is told %v", err)
					}
					eventually(t, "the statement ends on the server", func() bool { return !running(t, 0, "e2e "+c.limit+" "+mode) })
				})
			}
		})
	}
}

// query_wait_timeout: a statement that waits longer for a server connection ends its session.
func TestQueryWaitTimeout(t *testing.T) {
	t.Parallel()
	p := start(t, map[string]string{
		"pool_mode": "transaction", "default_pool_size": "1", "query_wait_timeout": "1", "backend_weight1": "0", "backend_weight2": "0",
	})
	late := spared(t, p, "53300")
	holder := spared(t, p, "53300", "BEGIN", "SELECT 1")
	if _, err := late.Exec(t.Context(), "SELECT 1"); sqlState(err) != "53300" {
		t.Errorf("the client is told %v", err)
	}
	exec(t, holder, "COMMIT")
	spared(t, p, "53300", "SELECT 1")
}
