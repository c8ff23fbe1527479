package e2e

import (
	"context"
	"testing"

	"gopgpool/internal/pgcluster"
)

// auth_query as the manual sets it up: auth_user may call one function.
const lookUpUsers = `
CREATE SCHEMA aq;
CREATE FUNCTION aq.user_lookup(IN username text, OUT name text, OUT password text) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
  SELECT rolname::text, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END
  FROM pg_authid WHERE rolname = username AND rolcanlogin AND NOT rolsuper AND NOT rolreplication
$$;
REVOKE ALL ON FUNCTION aq.user_lookup(text) FROM PUBLIC;
CREATE ROLE aq_asker LOGIN PASSWORD 'asks' IN ROLE ask_scram;
GRANT USAGE ON SCHEMA aq TO aq_asker;
GRANT EXECUTE ON FUNCTION aq.user_lookup(text) TO aq_asker;
CREATE ROLE aq_banned;
CREATE ROLE aq_banned_too IN ROLE aq_banned;
CREATE ROLE aq_user LOGIN PASSWORD 'secret' IN ROLE ask_scram;
CREATE ROLE aq_expired LOGIN PASSWORD 'secret' VALID UNTIL '2001-01-01' IN ROLE ask_scram;
CREATE ROLE aq_nologin PASSWORD 'secret' IN ROLE ask_scram;
CREATE ROLE aq_bare LOGIN IN ROLE ask_scram;
CREATE ROLE aq_super LOGIN SUPERUSER PASSWORD 'secret' IN ROLE ask_scram;
CREATE ROLE aq_bad LOGIN PASSWORD 'secret' IN ROLE ask_scram, aq_banned_too;
CREATE ROLE aq_late LOGIN PASSWORD 'secret' IN ROLE ask_scram;
`

// loginState is the code of the error with which a login ended, "" if it did not.
func loginState(t *testing.T, p *pgcluster.Pgpool, words ...string) string {
	t.Helper()
	conn, err := p.Connect(t.Context(), words...)
	if err == nil {
		defer func() { _ = conn.Close(t.Context()) }()
		_, err = conn.Exec(t.Context(), "SELECT 1")
	}
	if err != nil && sqlState(err) == "" {
		t.Fatal(err)
	}
	return sqlState(err)
}

func TestAuthQuery(t *testing.T) {
	createGroups(t)
	onServer(t, 0, lookUpUsers)
	t.Cleanup(func() {
		_ = shared.Cluster(t).Nodes[0].Exec(context.Background(), `DROP SCHEMA aq CASCADE; DROP ROLE aq_bad, aq_banned_too, aq_banned,
			aq_asker, aq_user, aq_expired, aq_nologin, aq_bare, aq_super, aq_late`)
	})
	replayed(t)
	p := startWith(t, pgcluster.PgpoolOptions{
		Conf: map[string]string{
			"enable_pool_hba": "on", "auth_user": "aq_asker", "auth_dbname": "postgres",
			"auth_query": "SELECT name, password FROM aq.user_lookup($1)",
		},
		HBA: "local all all trust\nhost all postgres all trust\nhost all +aq_banned all reject\nhost samerole aq_late all reject\n" +
			"host all all all scram-sha-256\n",
		Passwd: "aq_asker:TEXTasks\n",
	})
	for _, c := range []struct{ user, password, want string }{
		{"aq_user", "secret", ""},
		{"aq_user", "secret", ""}, // over the connection that is there by now
		{"aq_user", "Secret", "28P01"},
		{"aq_user", "", "28P01"},
		{"aq_nobody", "secret", "28P01"},
		{"aq_expired", "secret", "28P01"},
		{"aq_nologin", "secret", "28P01"},
		{"aq_bare", "secret", "28P01"},
		{"aq_super", "secret", "28P01"}, // the function does not tell
		{"aq_asker", "asks", ""},
		{"aq_asker", "secret", "28P01"},
		{"aq_bad", "secret", "28000"},
		{"aq_late", "secret", ""},
	} {
		if got := loginState(t, p, "user="+c.user, "password="+c.password); got != c.want {
			t.Errorf("%s with %q: %q, want %q", c.user, c.password, got, c.want)
		}
	}
	// What an administrator changes counts from the next login on; what is read then, a standby may have to know too.
	for _, c := range []struct{ change, password, want string }{
		{"ALTER ROLE aq_user PASSWORD 'other'", "secret", "28P01"},
		{"SELECT 1", "other", ""},
		{"ALTER ROLE aq_user VALID UNTIL '2001-01-01'", "other", "28P01"},
		{"ALTER ROLE aq_user VALID UNTIL 'infinity'", "other", ""},
		{"ALTER ROLE aq_user NOLOGIN", "other", "28P01"},
		{"ALTER ROLE aq_user LOGIN", "other", ""},
		{"GRANT aq_banned TO aq_user", "other", "28000"},
		{"REVOKE aq_banned FROM aq_user", "other", ""},
	} {
		onServer(t, 0, c.change)
		replayed(t)
		if got := loginState(t, p, "user=aq_user", "password="+c.password); got != c.want {
			t.Errorf("after %s: %q, want %q", c.change, got, c.want)
		}
	}
}
