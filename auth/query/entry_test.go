package query

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"gopgpool/auth"
	"gopgpool/cluster"
)

func TestRolesOfEveryKind(t *testing.T) {
	n := shared.Cluster(t).Nodes[0]
	noConnections(t, n)
	b := newBed(t, viewOf(0, n))
	const odd = `Ö "x"; DROP TABLE y; -- '$1\`
	role(t, n, "kind_scram", "LOGIN PASSWORD 'a'")
	do(t, n, "SET password_encryption = 'md5'; CREATE ROLE kind_md5 LOGIN PASSWORD 'a'")
	t.Cleanup(func() { do(t, n, "DROP ROLE kind_md5") })
	role(t, n, "kind_future", "LOGIN PASSWORD 'a' VALID UNTIL '2100-01-01'")
	role(t, n, "kind_for_ever", "LOGIN PASSWORD 'a' VALID UNTIL 'infinity'")
	role(t, n, "kind_expired", "LOGIN PASSWORD 'a' VALID UNTIL '2001-01-01'")
	role(t, n, "kind_nologin", "NOLOGIN PASSWORD 'a'")
	role(t, n, "kind_bare", "LOGIN")
	role(t, n, odd, "LOGIN PASSWORD 'a'")
	role(t, n, strings.Repeat("l", 63), "LOGIN PASSWORD 'a'")
	for _, c := range []struct {
		user string
		kind auth.EntryKind
		why  Why
	}{
		{user: "kind_scram", kind: auth.EntrySCRAM},
		{user: "kind_md5", kind: auth.EntryMD5},
		{user: "kind_future", kind: auth.EntrySCRAM},
		{user: "kind_for_ever", kind: auth.EntrySCRAM},
		{user: odd, kind: auth.EntrySCRAM},
		{user: strings.Repeat("l", 63), kind: auth.EntrySCRAM},
		{user: "kind_expired", why: WhyNoPassword},
		{user: "kind_bare", why: WhyNoPassword},
		{user: "kind_nologin", why: WhyNoRow},
		{user: "nobody", why: WhyNoRow},
		{user: "KIND_SCRAM", why: WhyNoRow},
		{user: "' OR '1'='1", why: WhyNoRow},
		{user: "%", why: WhyNoRow},
		// The server cuts names: a longer one must not be taken for the role it is cut to.
		{user: strings.Repeat("l", 64), why: WhyOtherName},
		{user: "\xff\xfe", why: WhyFailed}, // no text in the server's encoding
		{user: "postgres", why: WhySelf},
		{user: "", why: WhyNoRow},
	} {
		got, err := b.Entry(t.Context(), "postgres", c.user)
		if whyOf(err) != c.why || got.Kind() != c.kind {
			t.Errorf("%q: %v, %v; want %v, %v", c.user, got, err, c.kind, c.why)
		}
	}
	if got := connections(t, n, ""); got != "1" {
		t.Errorf("%s connections for questions one after another", got)
	}
}

func TestAnswersAreNotRemembered(t *testing.T) {
	n := shared.Cluster(t).Nodes[0]
	b := newBed(t, viewOf(0, n))
	role(t, n, "fresh", "LOGIN PASSWORD 'a'")
	ask := func(user string) Why {
		_, err := b.Entry(t.Context(), "postgres", user)
		return whyOf(err)
	}
	steps := []struct {
		change, user string
		want         Why
	}{
		{"SELECT", "fresh", 0},
		{"ALTER ROLE fresh VALID UNTIL '2001-01-01'", "fresh", WhyNoPassword},
		{"ALTER ROLE fresh VALID UNTIL 'infinity'", "fresh", 0},
		{"ALTER ROLE fresh NOLOGIN", "fresh", WhyNoRow},
		{"ALTER ROLE fresh LOGIN", "fresh", 0},
		{"ALTER ROLE fresh RENAME TO fresher", "fresh", WhyNoRow},
		{"ALTER ROLE fresher PASSWORD NULL", "fresher", WhyNoPassword},
		{"ALTER ROLE fresher PASSWORD 'b'", "fresher", 0},
		{"DROP ROLE fresher", "fresher", WhyNoRow},
	}
	for _, s := range steps {
		do(t, n, s.change)
		if got := ask(s.user); got != s.want {
			t.Errorf("after %s: %v, want %v", s.change, got, s.want)
		}
	}
}

func TestQueriesOfAdministrators(t *testing.T) {
	n := shared.Cluster(t).Nodes[0]
	b := newBed(t, viewOf(0, n))
	role(t, n, "adm", "LOGIN PASSWORD 'a'")
	do(t, n, "CREATE TABLE public.accounts (name text, secret text)",
		"INSERT INTO public.accounts VALUES ('plain', 'letmein'), ('aes', 'AESx'), ('text', 'TEXTx'), ('twice', 'a'), ('twice', 'b')",
		"CREATE FUNCTION public.raising(text, OUT text, OUT text) LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$")
	t.Cleanup(func() { do(t, n, "DROP TABLE public.accounts", "DROP FUNCTION public.raising") })
	for _, c := range []struct {
		query, user string
		kind        auth.EntryKind
		clear       string
		why         Why
	}{
		{query: "SELECT usename, passwd FROM pg_shadow WHERE usename=$1", user: "adm", kind: auth.EntrySCRAM},
		{query: "SELECT name, secret FROM public.accounts WHERE name = $1", user: "plain", kind: auth.EntryPlain, clear: "letmein"},
		{query: "SELECT name, secret FROM public.accounts WHERE name = $1", user: "aes", kind: auth.EntryPlain, clear: "AESx"},
		{query: "SELECT name, secret FROM public.accounts WHERE name = $1", user: "text", kind: auth.EntryPlain, clear: "TEXTx"},
		{query: "SELECT name, secret FROM public.accounts WHERE name = $1", user: "twice", why: WhyShape},
		{query: "SELECT name, secret FROM accounts WHERE name = $1", user: "plain", why: WhyFailed}, // search_path is ours
		{query: "SELECT $1::text, 'x', 'y'", user: "adm", why: WhyShape},
		{query: "SELECT $1::text", user: "adm", why: WhyShape},
		{query: "SELECT 'somebody', 'x' WHERE $1 <> ''", user: "adm", why: WhyOtherName},
		{query: "SELECT $1::text, repeat('x', 100) FROM generate_series(1, 200000)", user: "adm", why: WhyShape},
		{query: "SELECT $1::text, repeat('x', 2000000)", user: "adm", why: 255}, // longer than any password
		{query: "SELECT 'adm', 'x'", user: "adm", why: WhyFailed},
		{query: "SELECT * FROM public.raising($1)", user: "adm", why: WhyFailed},
		{query: "SELEC", user: "adm", why: WhyFailed},
		{query: "", user: "adm", why: WhyFailed},
		{query: "SELECT $1::text, 'x'; SELECT 1", user: "adm", why: WhyFailed},
		{query: "DO ''", user: "adm", why: WhyFailed},
		{query: "COPY pg_class TO STDOUT", user: "adm", why: WhyFailed},
		{query: "SELECT $1::text, pg_terminate_backend(pg_backend_pid())::text", user: "adm", why: 255},
	} {
		b.set(func(s *Settings) { s.Query = c.query })
		got, err := b.Entry(t.Context(), "postgres", c.user)
		clear, _ := got.Clear()
		if whyOf(err) != c.why || got.Kind() != c.kind || clear != c.clear {
			t.Errorf("%s: %v, %v; want %v, %v", c.query, got, err, c.kind, c.why)
		}
	}
	b.set(func(s *Settings) { s.Query = defaultQuery })
	if _, err := b.Entry(t.Context(), "postgres", "adm"); err != nil {
		t.Error(err)
	}
}

// TestSearchPathIsOurs is the case of a database whose owner wants to answer himself.
func TestSearchPathIsOurs(t *testing.T) {
	n := shared.Cluster(t).Nodes[0]
	b := newBed(t, viewOf(0, n))
	role(t, n, "victim", "LOGIN PASSWORD 'a'")
	do(t, n, "CREATE DATABASE trap")
	t.Cleanup(func() { b.Forget("trap"); do(t, n, "DROP DATABASE trap WITH (FORCE)") })
	c, err := n.Connect(t.Context(), "dbname=trap")
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Exec(t.Context(), `CREATE SCHEMA evil;
		CREATE VIEW evil.pg_authid AS SELECT 'victim'::name AS rolname, 'mine' AS rolpassword, NULL::timestamptz AS rolvaliduntil, true AS rolcanlogin;
		ALTER DATABASE trap SET search_path = evil, pg_catalog; ALTER ROLE postgres IN DATABASE trap SET search_path = evil, pg_catalog`)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close(t.Context())
	e, err := b.Entry(t.Context(), "trap", "victim")
	if err != nil || e.Kind() != auth.EntrySCRAM {
		t.Errorf("%v, %v", e, err)
	}
}

func TestDatabases(t *testing.T) {
	n := shared.Cluster(t).Nodes[0]
	b := newBed(t, viewOf(0, n))
	role(t, n, "dbuser", "LOGIN PASSWORD 'a'")
	do(t, n, "CREATE DATABASE closed WITH ALLOW_CONNECTIONS false")
	t.Cleanup(func() { do(t, n, "DROP DATABASE closed") })
	for _, c := range []struct {
		database, authDB string
		why              Why
	}{
		{"postgres", "", 0},
		{"template1", "", 0},
		{"no_such_db", "", WhyNoDatabase},
		{"closed", "", WhyNoDatabase},
		{`"; '`, "", WhyNoDatabase},
		{"no_such_db", "postgres", 0},
		{"postgres", "no_such_db", 255},
	} {
		b.set(func(s *Settings) { s.Entries.Database = c.authDB })
		if _, err := b.Entry(t.Context(), c.database, "dbuser"); whyOf(err) != c.why {
			t.Errorf("%q, auth_dbname %q: %v", c.database, c.authDB, err)
		}
	}
}

func TestAccounts(t *testing.T) {
	n := shared.Cluster(t).Nodes[0]
	b := newBed(t, viewOf(0, n))
	role(t, n, "poor", "LOGIN PASSWORD 'poor'")
	role(t, n, "asked", "LOGIN PASSWORD 'a'")
	for _, c := range []struct {
		user, password string
		why            Why
	}{
		{"", "", WhyOff},
		{"postgres", superPassword, 0},
		{"postgres", "wrong", 255},
		{"postgres", "", 255},
		{"postgres", "hashed", 255},
		{"poor", "poor", WhyFailed}, // may not read pg_authid
		{"no_such_role", "x", 255},
		{"postgres", superPassword, 0},
	} {
		b.set(func(s *Settings) { s.Entries = Account{User: c.user, Password: c.password, Database: "postgres"} })
		_, err := b.Entry(t.Context(), "postgres", "asked")
		if whyOf(err) != c.why {
			t.Errorf("%q with %q: %v", c.user, c.password, err)
		}
		if err != nil && (strings.Contains(err.Error(), superPassword) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("not for a log: %v", err)
		}
	}
}

func TestLeastPrivilege(t *testing.T) {
	n := shared.Cluster(t).Nodes[0]
	b := newBed(t, viewOf(0, n))
	role(t, n, "pgpool_auth", "LOGIN PASSWORD 'p'")
	role(t, n, "lp_user", "LOGIN PASSWORD 'a'")
	role(t, n, "lp_expired", "LOGIN PASSWORD 'a' VALID UNTIL '2001-01-01'")
	role(t, n, "lp_super", "SUPERUSER LOGIN PASSWORD 'a'")
	do(t, n, leastPrivilege)
	t.Cleanup(func() { do(t, n, "DROP SCHEMA pgpool CASCADE") })
	b.set(func(s *Settings) {
		s.Entries = Account{User: "pgpool_auth", Password: "p", Database: "postgres"}
		s.Query = "SELECT * FROM pgpool.user_lookup($1)"
	})
	for user, want := range map[string]Why{"lp_user": 0, "lp_expired": WhyNoPassword, "lp_super": WhyNoRow, "nobody": WhyNoRow} {
		if _, err := b.Entry(t.Context(), "x", user); whyOf(err) != want {
			t.Errorf("%s: %v", user, err)
		}
	}
}

// leastPrivilege is the set-up of the manual: auth_user may call one function and nothing else.
const leastPrivilege = `CREATE SCHEMA pgpool;
REVOKE ALL ON SCHEMA pgpool FROM PUBLIC;
GRANT USAGE ON SCHEMA pgpool TO pgpool_auth;
CREATE FUNCTION pgpool.user_lookup(IN username text, OUT name text, OUT password text) RETURNS SETOF record
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
	SELECT rolname::text, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END
	FROM pg_catalog.pg_authid WHERE rolname = username AND rolcanlogin AND NOT rolsuper AND NOT rolreplication
$$;
REVOKE ALL ON FUNCTION pgpool.user_lookup(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pgpool.user_lookup(text) TO pgpool_auth`

func TestManyLoginsAtOnce(t *testing.T) {
	n := shared.Cluster(t).Nodes[0]
	noConnections(t, n)
	b := newBed(t, viewOf(0, n))
	role(t, n, "crowd", "LOGIN PASSWORD 'a'")
	var wg sync.WaitGroup
	errs := make(chan error, 100)
	for range 100 {
		wg.Go(func() {
			_, err := b.Entry(t.Context(), "postgres", "crowd")
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if got := connections(t, n, ""); got != "1" && got != "2" {
		t.Errorf("%s connections", got)
	}
}

func TestSlowQueries(t *testing.T) {
	n := shared.Cluster(t).Nodes[0]
	b := newBed(t, viewOf(0, n))
	sleeping := func() bool {
		return connections(t, n, "") != "0" && value(t, n, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") != "0"
	}
	b.set(func(s *Settings) { s.Query = "SELECT $1::text, pg_sleep(600)::text" })
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the client has left")
	go func() {
		eventually(t, "the query runs", sleeping)
		cancel(gone)
	}()
	if _, err := b.Entry(ctx, "postgres", "u"); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
	eventually(t, "the query was cancelled on the server", func() bool { return !sleeping() })

	b.set(func(s *Settings) { s.Timeout = 100 * time.Millisecond })
	if _, err := b.Entry(t.Context(), "postgres", "u"); err == nil {
		t.Error("no error after the time-out")
	}
	// A queue behind slow queries keeps its time too.
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, err := b.Entry(t.Context(), "postgres", "u"); err == nil {
				t.Error("no error in the queue")
			}
		})
	}
	wg.Wait()
	eventually(t, "nothing is left on the server", func() bool { return !sleeping() })
}

func TestIdleConnectionsGo(t *testing.T) {
	n := shared.Cluster(t).Nodes[0]
	b := newBed(t, viewOf(0, n), func(b *bed) { b.keep = 50 * time.Millisecond })
	_, _ = b.Entry(t.Context(), "postgres", "u")
	eventually(t, "the connection is closed", func() bool { return connections(t, n, "") == "0" })
	_, _ = b.Entry(t.Context(), "postgres", "u")
}

func TestForgottenDatabaseCanBeDropped(t *testing.T) {
	n := shared.Cluster(t).Nodes[0]
	b := newBed(t, viewOf(0, n))
	do(t, n, "CREATE DATABASE droppable")
	if _, err := b.Entry(t.Context(), "droppable", "nobody"); whyOf(err) != WhyNoRow {
		t.Fatal(err)
	}
	if got := connections(t, n, "droppable"); got != "1" {
		t.Fatalf("%s connections", got)
	}
	b.Forget("droppable")
	do(t, n, "DROP DATABASE droppable")
	if _, err := b.Entry(t.Context(), "droppable", "nobody"); whyOf(err) != WhyNoDatabase {
		t.Error(err)
	}
}

// TestConnectionsAreBounded asks in more databases than there may be connections.
func TestConnectionsAreBounded(t *testing.T) {
	n := shared.Cluster(t).Nodes[0]
	b := newBed(t, viewOf(0, n), func(b *bed) { b.places = make(chan struct{}, 2) })
	names := []string{"many_a", "many_b", "many_c", "many_d"}
	for _, name := range names {
		do(t, n, "CREATE DATABASE "+name)
		t.Cleanup(func() { b.Forget(name); do(t, n, "DROP DATABASE "+name+" WITH (FORCE)") })
	}
	var wg sync.WaitGroup
	for range 5 {
		for _, name := range names {
			wg.Go(func() {
				if _, err := b.Entry(t.Context(), name, "nobody"); whyOf(err) != WhyNoRow {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	eventually(t, "no more than two are left", func() bool { return connections(t, n, "many_") <= "2" })
}

func TestAfterTheEnd(t *testing.T) {
	n := shared.Cluster(t).Nodes[0]
	store := cluster.NewStore(viewOf(0, n))
	a, err := New(Parts{
		Store: store, Password: func(_, param string) (string, error) { return param, nil },
		Settings: func() Settings {
			return Settings{Entries: Account{User: "postgres", Password: superPassword}, Query: "SELECT $1::text, pg_sleep(600)::text"}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- a.Run(ctx) }()
	var wg sync.WaitGroup
	for range 5 { // two run, three wait
		wg.Go(func() {
			if _, err := a.Entry(t.Context(), "postgres", "u"); !errors.Is(err, errClosed) {
				t.Errorf("%v", err)
			}
		})
	}
	eventually(t, "the query runs", func() bool {
		return value(t, n, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "2"
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	wg.Wait()
	if _, err := a.Entry(t.Context(), "postgres", "u"); !errors.Is(err, errClosed) {
		t.Errorf("%v", err)
	}
	noGoroutine(t)
	eventually(t, "the server noticed", func() bool { return connections(t, n, "") == "0" })
}
