package e2e

import (
	"testing"

	"github.com/jackc/pgx/v5"
)

// The limits on what a client may take its time for end the session, with PostgreSQL's code for it, and leave nothing running.
func TestTimeouts(t *testing.T) {
	t.Parallel()
	for _, mode := range poolModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			for _, c := range []struct{ limit, begin, sql, code string }{
				{limit: "query_timeout", sql: "SELECT pg_sleep(120) /* e2e query_timeout " + mode + " */", code: "57014"},
				{limit: "transaction_timeout", begin: "BEGIN", sql: "SELECT pg_sleep(120) /* e2e transaction_timeout " + mode + " */", code: "25P04"},
				{limit: "idle_transaction_timeout", begin: "BEGIN", code: "25P03"},
				{limit: "client_idle_timeout", code: "57P05"},
			} {
				t.Run(c.limit, func(t *testing.T) {
					if mode == "session" && c.limit == "client_idle_timeout" {
						return // has client_idle_limit instead
					}
					t.Parallel()
					p := start(t, map[string]string{"pool_mode": mode, c.limit: "1"})
					conn := connect(t, p, simple)
					if c.begin != "" {
						exec(t, conn, c.begin)
						exec(t, conn, "SELECT 1")
					}
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
	holder, late := connect(t, p, simple), connect(t, p, simple)
	exec(t, holder, "BEGIN")
	exec(t, holder, "SELECT 1")
	if _, err := late.Exec(t.Context(), "SELECT 1"); sqlState(err) != "53300" {
		t.Errorf("the client is told %v", err)
	}
	exec(t, holder, "COMMIT")
	exec(t, connect(t, p, simple), "SELECT 1")
}
