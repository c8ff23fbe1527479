package syncguard

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/internal/pgcluster"
)

var shared = pgcluster.NewShared(pgcluster.Options{Nodes: 1, Config: map[string]string{"synchronous_standby_names": "a, b", "synchronous_commit": "local"}})

func TestMain(m *testing.M) { os.Exit(shared.Main(m)) }

// realSession is a session of a real server.
type realSession struct{ *pgconn.PgConn }

func (s realSession) Rows(ctx context.Context, sql string) ([][][]byte, error) {
	r, err := s.Exec(ctx, sql).ReadAll()
	if err != nil || len(r) == 0 {
		return nil, err
	}
	return r[0].Rows, nil
}

func (s realSession) Close() { _ = s.PgConn.Close(context.Background()) }

func realOpen(t *testing.T, user string) realSession {
	t.Helper()
	c, err := pgconn.Connect(t.Context(), shared.Cluster(t).Nodes[0].ConnString("user="+user))
	if err != nil {
		t.Fatal(err)
	}
	s := realSession{c}
	t.Cleanup(s.Close)
	return s
}

// TestSettings weakens the setting of a real server and goes back to what an administrator had set, in his file or by ALTER SYSTEM.
func TestSettings(t *testing.T) {
	s := realOpen(t, "postgres")
	auto := "SELECT count(*) FROM pg_file_settings WHERE sourcefile LIKE '%/postgresql.auto.conf'"
	for _, step := range []struct{ weaker, full, left string }{
		{"", "a, b", "0"}, // it stands in his file, so nothing of ours stays
		{`FIRST 1 ("a\b'c")`, "b", "1"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		ok(t, remember(ctx, s, step.full))
		ok(t, put(ctx, s, step.weaker, false))
		fresh := realOpen(t, "postgres")
		l, err := ask(ctx, fresh)
		ok(t, err)
		if l.InForce != step.weaker || l.Remembered != step.full || l.LSN == 0 || l.After < l.LSN || len(l.Peers) != 0 {
			t.Errorf("seen %+v", l)
		}
		ok(t, put(ctx, s, step.full, true))
		ok(t, unremember(ctx, s))
		l, err = ask(ctx, realOpen(t, "postgres"))
		ok(t, err)
		if l.InForce != step.full || l.Remembered != "" {
			t.Errorf("seen afterwards %+v", l)
		}
		rows, err := s.Rows(ctx, auto)
		ok(t, err)
		if got := string(rows[0][0]); got != step.left {
			t.Errorf("%s lines are left in postgresql.auto.conf", got)
		}
	}
}

// TestObeyed: a checkpointer that has nothing to do shows that it obeys, and so does a commit that waits.
func TestObeyed(t *testing.T) {
	s, waiting := realOpen(t, "postgres"), realOpen(t, "postgres")
	obeyed := func() (bool, error) {
		l, err := ask(t.Context(), s)
		return l.Obeyed, err
	}
	ok(t, pgcluster.Poll(t.Context(), "the checkpointer is at leisure", obeyed))
	done := make(chan error, 1)
	go func() {
		_, err := waiting.Rows(t.Context(), "SET synchronous_commit = on; SELECT pg_logical_emit_message(true, 'a commit', '')")
		done <- err
	}()
	const waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
	ok(t, pgcluster.Poll(t.Context(), "a commit waits", func() (bool, error) {
		n, err := value(t.Context(), s, waits)
		return n == "1", err
	}))
	if o, err := obeyed(); err != nil || !o {
		t.Errorf("a commit waits, obeyed is %v: %v", o, err)
	}
	_, err := s.Rows(t.Context(), "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
	ok(t, err)
	ok(t, <-done)
}

// TestRights has users ask and change who may not, or may by what was granted to them.
func TestRights(t *testing.T) {
	s := realOpen(t, "postgres")
	for _, sql := range []string{
		"CREATE ROLE nobody LOGIN", "CREATE ROLE guard LOGIN IN ROLE pg_monitor",
		"GRANT ALTER SYSTEM ON PARAMETER synchronous_standby_names, " + Remembered + " TO guard",
		"GRANT EXECUTE ON FUNCTION pg_reload_conf() TO guard",
	} {
		_, err := s.Rows(t.Context(), sql)
		ok(t, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := remember(ctx, realOpen(t, "nobody"), "a"); err == nil || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("nobody remembers: %v", err)
	}
	g := realOpen(t, "guard")
	ok(t, remember(ctx, g, "a"))
	ok(t, put(ctx, g, "c", false))
	ok(t, put(ctx, g, "a, b", true)) // it may not read the files, so ALTER SYSTEM it is
	ok(t, unremember(ctx, g))
}

// TestBlind: without pg_monitor nobody can tell who streams.
func TestBlind(t *testing.T) {
	if _, err := peer([][]byte{[]byte("a"), nil, nil, nil}); err == nil || !strings.Contains(err.Error(), "pg_monitor") {
		t.Errorf("got %v", err)
	}
}

// TestOverruled: a setting that stays whatever is written is told of.
func TestOverruled(t *testing.T) {
	s := realOpen(t, "postgres")
	_, err := s.Rows(t.Context(), "SET synchronous_commit = local")
	ok(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := awaitForce(ctx, s, "never"); err == nil || !strings.Contains(err.Error(), "command line") {
		t.Errorf("got %v", err)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
