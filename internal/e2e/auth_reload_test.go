package e2e

import (
	"net"
	"strconv"
	"testing"

	"gopgpool/internal/pgcluster"
)

// What a reload has changed of backend_sslmode counts for every statement from then on, also where connections opened before lie in the pool
// or belong to sessions that do not need them at the moment.
func TestReloadOfServerTLS(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"session", "transaction"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			p := start(t, map[string]string{"backend_sslmode": "prefer", "pool_mode": mode})
			conn, other := connect(t, p), connect(t, p)
			value(t, conn, where)
			exec(t, other, "BEGIN")
			value(t, other, where)
			connect(t, p).Close(t.Context()) // leaves a connection in the pool
			reload(t, p, map[string]string{"backend_sslmode": "require"})
			eventually(t, "who has no TLS is not asked", func() bool { return loginState(t, p) == "08001" })
			eventually(t, "a session from before has no connection any more", func() bool { // the reload may still be at it
				_, err := conn.Exec(t.Context(), "SELECT 1")
				if err != nil && sqlState(err) != "08001" {
					t.Fatal(err)
				}
				return err != nil
			})
			value(t, other, where) // a transaction ends where it began
			reload(t, p, map[string]string{"backend_sslmode": "prefer"})
			eventually(t, "who has no TLS is asked again", func() bool { return loginState(t, p) == "" })
		})
	}
}

// Parameters about who may try to log in follow a reload.
func TestReloadOfAuthParameters(t *testing.T) {
	t.Parallel()
	p := startWith(t, pgcluster.PgpoolOptions{Conf: map[string]string{"max_startups_per_address": "0"}, HBA: "host all all all nonsense\n"})
	become := func(what, want string, conf map[string]string) {
		t.Helper()
		reload(t, p, conf)
		eventually(t, what, func() bool { return loginState(t, p) == want })
	}
	silent, err := new(net.Dialer).DialContext(t.Context(), "tcp", net.JoinHostPort(p.Host, strconv.Itoa(p.Port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	become("one connection that says nothing is the bound", "53300", map[string]string{"max_startups_per_address": "1"})
	become("there is no bound", "", map[string]string{"max_startups_per_address": "0"})
	become("headers are due", "08P01", map[string]string{"proxy_protocol_networks": "127.0.0.1, ::1"})
	become("headers are not due", "", map[string]string{"proxy_protocol_networks": ""})
	become("without rules that can be read nobody gets in", "28000", map[string]string{"enable_pool_hba": "on"})
}
