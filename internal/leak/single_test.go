package leak

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/internal/pgcluster"
)

// remains are statements that leave something behind on a connection, most of them whether their transaction commits or not.
var remains = []struct{ what, sql string }{
	{"setting", "SET work_mem = '1111kB'"},
	{"setting by function", "SELECT set_config('work_mem', '1112kB', false)"},
	{"setting in a function", "SELECT public.leak_set('work_mem', '1113kB')"},
	{"setting in DO", "DO $do$BEGIN SET work_mem = '1114kB'; END$do$"},
	{"setting in CALL", "CALL public.leak_call('SET work_mem = ''1115kB''')"},
	{"setting with a dot", "SET leak.mark = 'left'"},
	{"setting with a dot in DO", "DO $do$BEGIN SET leak.mark = 'left'; END$do$"},
	{"setting with a dot in a function", "SELECT public.leak_set('leak.mark', 'left')"},
	{"search_path", "SET search_path = leak_there"},
	{"role", "SET ROLE " + assumed},
	{"role in a function", "SELECT public.leak_set('role', '" + assumed + "')"},
	{"prepared statement", "PREPARE leak_left AS SELECT 1"},
	{"prepared statement in a function", "SELECT public.leak_do('PREPARE leak_left AS SELECT 1')"},
	{"prepared statement in DO", "DO $do$BEGIN EXECUTE 'PREPARE leak_left AS SELECT 1'; END$do$"},
	{"advisory lock", "SELECT pg_advisory_lock(1)"},
	{"advisory lock, shared", "SELECT pg_try_advisory_lock_shared(1, 2)"},
	{"advisory lock in a function", "SELECT public.leak_lock(1)"},
	{"advisory lock in DO", "DO $do$BEGIN PERFORM pg_advisory_lock(1); END$do$"},
	{"advisory lock in a subquery", "SELECT count(*) FROM (SELECT pg_advisory_lock(n) FROM generate_series(1, 3) n OFFSET 0) x"},
	{"LISTEN", "LISTEN leak_channel_left"},
	{"LISTEN in a function", "SELECT public.leak_do('LISTEN leak_channel_left')"},
	{"temporary table", "CREATE TEMP TABLE leak_left (n int)"},
	{"temporary table by SELECT INTO", "SELECT 1 AS n INTO TEMP leak_left"},
	{"temporary table by its schema", "CREATE TABLE pg_temp.leak_left (n int)"},
	{"temporary table in a function", "SELECT public.leak_do('CREATE TEMP TABLE leak_left (n int)')"},
	{"temporary view", "CREATE TEMP VIEW leak_left AS SELECT 1 AS n"},
	{"temporary view by what it reads", "CREATE TEMP TABLE leak_left0 (n int); CREATE VIEW leak_left AS SELECT * FROM leak_left0"},
	{"temporary sequence", "CREATE TEMP SEQUENCE leak_left"},
	{"held cursor", "BEGIN; DECLARE leak_left CURSOR WITH HOLD FOR SELECT 1; COMMIT"},
	{"held cursor in an implicit transaction", "DECLARE leak_left CURSOR WITH HOLD FOR SELECT 1; SELECT 1"},
	{"sequence", "SELECT nextval('public.leak_seq')"},
	{"sequence in a function", "SELECT public.leak_next()"},
	{"sequence by a default", "INSERT INTO public.leak_rows (session) VALUES (0)"},
	{"sequence by setval", "SELECT setval('public.leak_seq', nextval('public.leak_seq'))"},
}

// courses are what becomes of a statement's transaction. %s is the statement.
var courses = []struct {
	name  string
	steps []step
}{
	{"alone", []step{{sql: "%s"}}},
	{"committed", []step{{sql: "BEGIN"}, {sql: "%s"}, {sql: "COMMIT"}}},
	{"rolled back", []step{{sql: "BEGIN"}, {sql: "%s"}, {sql: "ROLLBACK"}}},
	{"rolled back to a savepoint", []step{{sql: "BEGIN"}, {sql: "SAVEPOINT a"}, {sql: "%s"}, {sql: "ROLLBACK TO a"}, {sql: "COMMIT"}}},
	{"in a transaction that fails", []step{{sql: "BEGIN"}, {sql: "%s"}, {sql: "SELECT 1/0", code: "22012"}, {sql: "COMMIT"}}},
	{"before a mistake in the same string", []step{{sql: "%s; SELECT 1/0", code: "22012"}}},
	{"in a transaction that stays open", []step{{sql: "BEGIN"}, {sql: "%s"}}},
}

// One server connection: what the first session leaves there is what the second one would see, whether the first is still there, and
// waits, or has gone.
func TestOneConnection(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: some hundred sessions one after the other")
	}
	for _, mode := range []string{"session", "transaction"} {
		t.Run(mode, func(t *testing.T) {
			s := newStageOf(t, mode, map[string]string{
				"default_pool_size": "1", "load_balance_mode": "off",
				"enable_pool_hba": "on", // a login must not need a server, whose only connection may be taken
			})
			for _, course := range courses {
				for _, left := range remains {
					if strings.HasPrefix(left.sql, "BEGIN") && course.name != "alone" {
						continue
					}
					t.Run(left.what+", "+course.name, func(t *testing.T) { s.handOver(t, left.sql, course.steps) })
				}
			}
		})
	}
}

// handOver lets one session leave something and the next one look, while the first is there if the connection is free, and again when
// it has gone.
func (s *stage) handOver(t *testing.T, sql string, course []step) {
	ctx, cancel := context.WithTimeout(t.Context(), stepPatience)
	defer cancel()
	defer s.renew(t)
	first := s.enter(ctx, t)
	for _, st := range course {
		st.sql = strings.ReplaceAll(st.sql, "%s", sql)
		if err := first.take(ctx, st); err != nil {
			t.Errorf("%s: %v", st, err)
		}
	}
	if s.mode != "session" {
		second := s.enter(ctx, t)
		looked := make(chan error, 1)
		go func() { looked <- second.lookClosely(ctx) }()
		if err := s.looksOrWaits(ctx, t, first, looked); err != nil {
			t.Errorf("the next session %v", err)
		}
		_ = second.conn.Conn().Close()
	}
	_ = first.conn.Conn().Close()
	last := s.enter(ctx, t)
	if err := last.lookClosely(ctx); err != nil {
		t.Errorf("the session after it %v", err)
	}
	_ = last.conn.Conn().Close()
}

// renew ends the connection of a failed test, so that the next one does not fail by it too, and waits until pgpool knows.
func (s *stage) renew(t *testing.T) {
	if !t.Failed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := pgcluster.Poll(ctx, "the connection has gone", func() (bool, error) {
		if err := s.Nodes[0].Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN "+ours); err != nil {
			return false, err
		}
		there, err := s.there(ctx)
		if err != nil || len(there) > 0 {
			return false, err
		}
		shown, err := s.shown(ctx)
		return len(shown) == 0, err
	})
	if err != nil {
		t.Error(err)
	}
}

// lookClosely is look, and sequences.
func (l *live) lookClosely(ctx context.Context) error {
	if err := l.look(ctx); err != nil {
		return err
	}
	if err := l.take(ctx, step{sql: "SELECT lastval()", code: "55000"}); err != nil {
		return fmt.Errorf("has a lastval(): %w", err)
	}
	return nil
}

func (s *stage) enter(ctx context.Context, t *testing.T) *live {
	t.Helper()
	l := &live{session: session{role: plainRole, number: 2}, stage: s, kept: map[string]string{}}
	if err := l.login(ctx); err != nil {
		t.Fatal(err)
	}
	return l
}

// looksOrWaits returns what the look gave. If pgpool says that it waits for the connection, the first session goes away.
func (s *stage) looksOrWaits(ctx context.Context, t *testing.T, first *live, looked <-chan error) error {
	t.Helper()
	const sure = 3 // a connection that is just coming back is waited for too
	seen, done := 0, false
	var result error
	err := pgcluster.Poll(ctx, "the next session has looked or waits", func() (bool, error) {
		select {
		case result = <-looked:
			done = true
			return true, nil
		default:
		}
		n, err := s.waiting(ctx)
		if n > 0 {
			seen++
		}
		return seen >= sure, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if done {
		return result
	}
	_ = first.conn.Conn().Close()
	return <-looked
}

// waiting is how many sessions wait for a server connection.
func (s *stage) waiting(ctx context.Context) (int, error) {
	conn, err := pgconn.Connect(ctx, s.pool.ConnString())
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.Background())
	results, err := conn.Exec(ctx, "SHOW pool_queues").ReadAll()
	if err != nil {
		return 0, err
	}
	total := 0
	for i, field := range results[0].FieldDescriptions {
		if field.Name != "cl_waiting" {
			continue
		}
		for _, row := range results[0].Rows {
			n, err := strconv.Atoi(string(row[i]))
			if err != nil {
				return 0, fmt.Errorf("SHOW pool_queues: %w", err)
			}
			total += n
		}
	}
	return total, nil
}
