// Command pgx is the checklist with pgx. EXEC_MODE is its default query execution mode, as in a connection string.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	. "gopgpool-drivers/check"
)

func main() {
	Main("github.com/jackc/pgx/v5", []Check{
		{Name: "connect", Run: connect},
		{Name: "parameters", Run: parameters},
		{Name: "prepared", Run: prepared},
		{Name: "replan", Run: replan},
		{Name: "pipeline", Run: pipeline},
		{Name: "pipeline_error", Run: pipelineError},
		{Name: "batch", Run: batch},
		{Name: "binary", Run: binary},
		{Name: "copy_in", Run: copyIn},
		{Name: "copy_out", Run: copyOut},
		{Name: "copy_fail", Run: copyFail},
		{Name: "cursor", Run: cursor},
		{Name: "cursor_hold", Run: cursorHold},
		{Name: "cancel", Run: cancel},
		{Name: "notify", Run: notify},
		{Name: "transactions", Run: transactions},
		{Name: "savepoints", Run: savepoints},
		{Name: "errors", Run: errorsCheck},
		{Name: "big_rows", Run: bigRows},
		{Name: "many", Run: many},
		{Name: "timeouts", Run: timeouts},
		{Name: "session", Run: session},
		{Name: "notices", Run: notices},
		{Name: "large_objects", Run: largeObjects},
		{Name: "pool", Run: pool},
	})
}

func settings(words ...string) string {
	return strings.Join(append(words, "application_name=matrix", "default_query_exec_mode="+os.Getenv("EXEC_MODE")), " ")
}

func open(ctx context.Context, words ...string) *pgx.Conn {
	conn, err := pgx.Connect(ctx, settings(words...))
	Must(err)
	return conn
}

func exec(ctx context.Context, conn *pgx.Conn, sql string, args ...any) int64 {
	tag, err := conn.Exec(ctx, sql, args...)
	Must(err, sql)
	return tag.RowsAffected()
}

// value is the first column of the first row.
func value[T any](ctx context.Context, conn interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}, sql string, args ...any,
) (v T) {
	Must(conn.QueryRow(ctx, sql, args...).Scan(&v), sql)
	return v
}

func state(err error) string {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return server.Code
	}
	return fmt.Sprint(err)
}

func refused(ctx context.Context, conn *pgx.Conn, want, sql string, args ...any) *pgconn.PgError {
	_, err := conn.Exec(ctx, sql, args...)
	Same(state(err), want, sql)
	var server *pgconn.PgError
	errors.As(err, &server)
	return server
}

func connect(ctx context.Context) (string, error) {
	conn := open(ctx, "statement_timeout=54321", "timezone=Asia/Tokyo", "options='-c work_mem=7MB'")
	defer conn.Close(ctx)
	Same(value[string](ctx, conn, "SHOW application_name"), "matrix")
	Same(value[string](ctx, conn, "SHOW statement_timeout"), "54321ms")
	Same(value[string](ctx, conn, "SHOW work_mem"), "7MB")
	Same(conn.PgConn().ParameterStatus("TimeZone"), "Asia/Tokyo")
	exec(ctx, conn, "SET timezone = 'UTC'")
	Same(conn.PgConn().ParameterStatus("TimeZone"), "UTC")
	var seen []string
	for _, word := range []string{"dbname=no_such_database", "password=wrong", "user=no_such_user"} {
		_, err := pgx.Connect(ctx, settings(word))
		seen = append(seen, state(err))
	}
	return strings.Join(seen, " "), nil
}

func parameters(ctx context.Context) (string, error) {
	conn := open(ctx)
	defer conn.Close(ctx)
	when := time.Date(2024, 2, 29, 12, 30, 1, 123456000, time.UTC)
	var (
		i    int32
		b    int64
		f    float64
		t    string
		null *int32
		yes  bool
		raw  []byte
		list []int32
		ts   time.Time
		num  pgtype.Numeric
	)
	row := conn.QueryRow(ctx, "SELECT $1::int, $2::int8, $3::float8, $4::text, $5::int, $6::bool, $7::bytea, $8::int[], $9::timestamptz, $10::numeric",
		int32(1), int64(-1<<40), 1.5, `O'Reilly \ ä`, nil, true, []byte{0, 255}, []int32{1, 2, 3}, when, pgtype.Numeric{Int: nil, NaN: true, Valid: true})
	Must(row.Scan(&i, &b, &f, &t, &null, &yes, &raw, &list, &ts, &num))
	Same([]any{i, b, f, t, null, yes, raw, list, ts.UTC(), num.NaN},
		[]any{int32(1), int64(-1 << 40), 1.5, `O'Reilly \ ä`, (*int32)(nil), true, []byte{0, 255}, []int32{1, 2, 3}, when, true})
	return "10 types", nil
}

func prepared(ctx context.Context) (string, error) {
	conn := open(ctx)
	defer conn.Close(ctx)
	exec(ctx, conn, "CREATE TABLE prepared (a int PRIMARY KEY, b text)")
	_, err := conn.Prepare(ctx, "get", "SELECT b FROM prepared WHERE a = $1")
	Must(err)
	for i := range 100 {
		Same(exec(ctx, conn, "INSERT INTO prepared VALUES ($1, $2)", i, fmt.Sprint("row ", i)), int64(1))
		Same(value[string](ctx, conn, "get", i), fmt.Sprint("row ", i))
	}
	for range 2 {
		for i := range 600 { // more than the cache holds
			Same(value[int](ctx, conn, fmt.Sprintf("SELECT $1::int + %d", i), i), 2*i)
		}
	}
	Must(conn.Deallocate(ctx, "get"))
	Must(conn.DeallocateAll(ctx))
	Same(value[int](ctx, conn, "SELECT 7"), 7)
	return "200 executions, 600 statements twice, DeallocateAll", nil
}

func replan(ctx context.Context) (string, error) {
	conn := open(ctx)
	defer conn.Close(ctx)
	exec(ctx, conn, "CREATE TABLE replan (a int)")
	exec(ctx, conn, "INSERT INTO replan VALUES (1)")
	for range 3 {
		Same(value[int](ctx, conn, "SELECT * FROM replan"), 1)
	}
	exec(ctx, conn, "ALTER TABLE replan ADD b int DEFAULT 2")
	rows, err := conn.Query(ctx, "SELECT * FROM replan")
	Must(err)
	n := 0
	for rows.Next() {
		n = len(rows.RawValues())
	}
	if rows.Err() != nil {
		return "SQLSTATE " + state(rows.Err()), nil
	}
	return fmt.Sprint("columns ", n), nil
}

func pipeline(ctx context.Context) (string, error) {
	conn := open(ctx)
	defer conn.Close(ctx)
	exec(ctx, conn, "CREATE TABLE pipeline (a int PRIMARY KEY)")
	pg := conn.PgConn()
	_, err := pg.Prepare(ctx, "put", "INSERT INTO pipeline VALUES ($1)", nil)
	Must(err)
	p := pg.StartPipeline(ctx)
	const n = 300
	for i := range n {
		p.SendQueryPrepared("put", [][]byte{fmt.Append(nil, i)}, nil, nil)
		p.SendQueryParams("SELECT $1::int", [][]byte{fmt.Append(nil, i)}, nil, nil, nil)
		if i%100 == 99 {
			Must(p.Sync())
		}
	}
	p.SendPrepare("late", "SELECT count(*) FROM pipeline", nil)
	p.SendFlushRequest()
	Must(p.Flush())
	results, syncs := 0, 0
	for syncs < 3 || results < 2*n {
		got, err := p.GetResults()
		Must(err)
		switch r := got.(type) {
		case *pgconn.ResultReader:
			_, err := r.Close()
			Must(err)
			results++
		case *pgconn.PipelineSync:
			syncs++
		}
	}
	got, err := p.GetResults() // of the flush: no Sync was sent
	Must(err)
	described, is := got.(*pgconn.StatementDescription)
	Same(is, true, "a description after the flush")
	Same(len(described.Fields), 1)
	p.SendQueryPrepared("late", nil, nil, nil)
	Must(p.Sync())
	Must(p.Close())
	Same(value[int](ctx, conn, "SELECT count(*) FROM pipeline"), n)
	return "600 statements in 3 syncs, a description by Flush", nil
}

func pipelineError(ctx context.Context) (string, error) {
	conn := open(ctx)
	defer conn.Close(ctx)
	exec(ctx, conn, "CREATE TABLE pipeline_error (a int PRIMARY KEY)")
	p := conn.PgConn().StartPipeline(ctx)
	for _, part := range [][]string{{"1", "2"}, {"3", "1", "4"}, {"5"}, {"x"}, {"6"}} {
		for _, v := range part {
			p.SendQueryParams("INSERT INTO pipeline_error VALUES ($1)", [][]byte{[]byte(v)}, nil, nil, nil)
		}
		Must(p.Sync())
	}
	var seen []string
	for syncs := 0; syncs < 5; {
		got, err := p.GetResults()
		if err != nil {
			seen = append(seen, state(err))
			continue
		}
		switch r := got.(type) {
		case *pgconn.ResultReader:
			tag, err := r.Close()
			if err != nil {
				seen = append(seen, state(err))
			} else {
				seen = append(seen, tag.String())
			}
		case *pgconn.PipelineSync:
			syncs++
			seen = append(seen, "sync")
		}
	}
	Must(p.Close())
	Same(value[int](ctx, conn, "SELECT sum(a) FROM pipeline_error"), 1+2+5+6)
	return strings.Join(seen, ", "), nil
}

func batch(ctx context.Context) (string, error) {
	conn := open(ctx)
	defer conn.Close(ctx)
	exec(ctx, conn, "CREATE TABLE batch (a int PRIMARY KEY)")
	b := &pgx.Batch{}
	for i := range 200 {
		b.Queue("INSERT INTO batch VALUES ($1)", i)
		b.Queue("SELECT count(*) FROM batch").QueryRow(func(row pgx.Row) error {
			var n int
			if err := row.Scan(&n); err != nil || n != i+1 {
				return fmt.Errorf("%d rows after %d, %w", n, i+1, err)
			}
			return nil
		})
	}
	Must(conn.SendBatch(ctx, b).Close())
	failing := &pgx.Batch{}
	failing.Queue("INSERT INTO batch VALUES (1000)")
	failing.Queue("INSERT INTO batch VALUES (1)")
	failing.Queue("INSERT INTO batch VALUES (1001)")
	Same(state(conn.SendBatch(ctx, failing).Close()), "23505")
	Same(value[int](ctx, conn, "SELECT max(a) FROM batch"), 199)
	tx, err := conn.Begin(ctx)
	Must(err)
	inside := &pgx.Batch{}
	inside.Queue("DELETE FROM batch")
	inside.Queue("SELECT count(*) FROM batch").QueryRow(func(row pgx.Row) error { var n int; return row.Scan(&n) })
	Must(tx.SendBatch(ctx, inside).Close())
	Must(tx.Rollback(ctx))
	Same(value[int](ctx, conn, "SELECT count(*) FROM batch"), 200)
	return "400 statements, a failing one undone whole, one rolled back", nil
}

func binary(ctx context.Context) (string, error) {
	conn := open(ctx)
	defer conn.Close(ctx)
	r := conn.PgConn().ExecParams(ctx, "SELECT $1::int4 + 1, 'x'::text, 1.5::float8", [][]byte{{0, 0, 0, 41}}, nil, []int16{1}, []int16{1, 0, 1}).Read()
	Must(r.Err)
	Same(fmt.Sprintf("%x %s %x", r.Rows[0][0], r.Rows[0][1], r.Rows[0][2]), "0000002a x 3ff8000000000000")
	return "int4, text, float8 in mixed formats", nil
}

func copyIn(ctx context.Context) (string, error) {
	conn := open(ctx)
	defer conn.Close(ctx)
	exec(ctx, conn, "CREATE TABLE copy_in (a int, b text)")
	n, err := conn.CopyFrom(ctx, pgx.Identifier{"copy_in"}, []string{"a", "b"}, pgx.CopyFromSlice(20000, func(i int) ([]any, error) {
		return []any{i, fmt.Sprint("line ", i)}, nil
	}))
	Must(err)
	Same(n, int64(20000))
	tag, err := conn.PgConn().CopyFrom(ctx, strings.NewReader(strings.Repeat("1,csv\n", 100)), "COPY copy_in FROM STDIN (FORMAT csv)")
	Must(err)
	Same(tag.RowsAffected(), int64(100))
	Same(value[int](ctx, conn, "SELECT count(*) FROM copy_in"), 20100)
	return "20000 rows in binary, 100 in csv", nil
}

func copyOut(ctx context.Context) (string, error) {
	conn := open(ctx)
	defer conn.Close(ctx)
	var out bytes.Buffer
	_, err := conn.PgConn().CopyTo(ctx, &out, "COPY (SELECT i, repeat('x', 100) FROM generate_series(1, 20000) i) TO STDOUT")
	Must(err)
	Same(bytes.Count(out.Bytes(), []byte("\n")), 20000)
	return "20000 rows", nil
}

// breaks gives some data and then an error.
type breaks struct{ data io.Reader }

func (b *breaks) Read(p []byte) (int, error) {
	n, err := b.data.Read(p)
	if err == io.EOF {
		err = errors.New("disk gone")
	}
	return n, err
}

func copyFail(ctx context.Context) (string, error) {
	conn := open(ctx)
	defer conn.Close(ctx)
	exec(ctx, conn, "CREATE TABLE copy_fail (a int PRIMARY KEY)")
	var seen []string
	for _, source := range []io.Reader{
		&breaks{strings.NewReader("1\n2\n")},
		strings.NewReader("1\nx\n" + strings.Repeat("3\n", 100000)),
		strings.NewReader("1\n1\n" + strings.Repeat("3\n", 100000)),
	} {
		_, err := conn.PgConn().CopyFrom(ctx, source, "COPY copy_fail FROM STDIN")
		seen = append(seen, state(err))
	}
	_, err := conn.PgConn().CopyTo(ctx, io.Discard, "COPY (SELECT 10 / (5 - i) FROM generate_series(1, 10) i) TO STDOUT")
	seen = append(seen, state(err))
	Same(value[int](ctx, conn, "SELECT count(*) FROM copy_fail"), 0)
	return strings.Join(seen, " "), nil
}

func cursor(ctx context.Context) (string, error) {
	conn := open(ctx)
	defer conn.Close(ctx)
	tx, err := conn.Begin(ctx)
	Must(err)
	_, err = tx.Exec(ctx, "DECLARE big SCROLL CURSOR FOR SELECT i FROM generate_series(1, 1000) i")
	Must(err)
	sum := 0
	for {
		rows, err := tx.Query(ctx, "FETCH 100 FROM big")
		Must(err)
		part, err := pgx.CollectRows(rows, pgx.RowTo[int])
		Must(err)
		if len(part) == 0 {
			break
		}
		for _, i := range part {
			sum += i
		}
	}
	Same(sum, 500500)
	Same(value[int](ctx, tx, "FETCH ABSOLUTE 42 FROM big"), 42)
	Must(tx.Commit(ctx))
	_, err = conn.Exec(ctx, "FETCH 1 FROM big")
	Same(state(err), "34000")
	return "1000 rows by 100, scrolled, by SQL", nil
}

func cursorHold(ctx context.Context) (string, error) {
	conn := open(ctx)
	defer conn.Close(ctx)
	tx, err := conn.Begin(ctx)
	Must(err)
	_, err = tx.Exec(ctx, "DECLARE held CURSOR WITH HOLD FOR SELECT i FROM generate_series(1, 100) i")
	Must(err)
	Same(value[int](ctx, tx, "FETCH 1 FROM held"), 1)
	Must(tx.Commit(ctx))
	Same(value[int](ctx, conn, "FETCH 1 FROM held"), 2)
	exec(ctx, conn, "CREATE TABLE cursor_hold (a int)")
	Same(value[int](ctx, conn, "FETCH 1 FROM held"), 3)
	exec(ctx, conn, "CLOSE held")
	refused(ctx, conn, "34000", "FETCH 1 FROM held")
	return "over COMMIT, by SQL", nil
}

func cancel(ctx context.Context) (string, error) {
	conn := open(ctx)
	defer conn.Close(ctx)
	for _, sql := range []string{"SELECT pg_sleep(30)", "BEGIN", "SELECT pg_sleep(30)"} {
		if sql == "BEGIN" {
			exec(ctx, conn, sql)
			continue
		}
		timer := time.AfterFunc(300*time.Millisecond, func() { _ = conn.PgConn().CancelRequest(ctx) })
		refused(ctx, conn, "57014", sql)
		timer.Stop()
	}
	refused(ctx, conn, "25P02", "SELECT 1")
	exec(ctx, conn, "ROLLBACK")
	Same(value[int](ctx, conn, "SELECT 1"), 1)
	return "57014, in a transaction 25P02 after it", nil
}

func notify(ctx context.Context) (string, error) {
	listener, sender := open(ctx), open(ctx)
	defer listener.Close(ctx)
	defer sender.Close(ctx)
	exec(ctx, listener, "LISTEN ch")
	exec(ctx, listener, `LISTEN "Other ch"`)
	var got []string
	hear := func() {
		n, err := listener.WaitForNotification(ctx)
		Must(err)
		got = append(got, n.Channel+":"+n.Payload)
	}
	exec(ctx, sender, "BEGIN")
	exec(ctx, sender, "NOTIFY ch, 'one'")
	exec(ctx, sender, "SELECT pg_notify('Other ch', $1)", "two")
	exec(ctx, sender, "COMMIT")
	exec(ctx, sender, "BEGIN")
	exec(ctx, sender, "NOTIFY ch, 'never'")
	exec(ctx, sender, "ROLLBACK")
	exec(ctx, sender, "NOTIFY ch, 'three'")
	hear()
	hear()
	hear()
	exec(ctx, listener, "NOTIFY ch, 'own'")
	hear()
	Same(got, []string{"ch:one", "Other ch:two", "ch:three", "ch:own"})
	exec(ctx, listener, "UNLISTEN *")
	exec(ctx, sender, "NOTIFY ch, 'late'")
	exec(ctx, listener, "SELECT 1")
	short, stop := context.WithTimeout(ctx, 200*time.Millisecond)
	defer stop()
	_, err := listener.WaitForNotification(short)
	Same(errors.Is(err, context.DeadlineExceeded), true, "silence after UNLISTEN")
	return "two channels, own one, none after UNLISTEN", nil
}

func transactions(ctx context.Context) (string, error) {
	conn, other := open(ctx), open(ctx)
	defer conn.Close(ctx)
	defer other.Close(ctx)
	const count = "SELECT count(*) FROM transactions"
	exec(ctx, other, "CREATE TABLE transactions (a int)")
	tx, err := conn.Begin(ctx)
	Must(err)
	_, err = tx.Exec(ctx, "INSERT INTO transactions VALUES ($1)", 1)
	Must(err)
	Same(string(conn.PgConn().TxStatus()), "T")
	Same(value[int](ctx, other, count), 0)
	Must(tx.Commit(ctx))
	Same(value[int](ctx, other, count), 1)
	tx, err = conn.Begin(ctx)
	Must(err)
	_, err = tx.Exec(ctx, "INSERT INTO transactions VALUES ($1)", 2)
	Must(err)
	Must(tx.Rollback(ctx))
	Same(value[int](ctx, other, count), 1)
	tx, err = conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.Serializable, AccessMode: pgx.ReadOnly, DeferrableMode: pgx.Deferrable})
	Must(err)
	Same(value[string](ctx, tx, "SHOW transaction_isolation"), "serializable")
	_, err = tx.Exec(ctx, "INSERT INTO transactions VALUES (3)")
	Same(state(err), "25006")
	Same(errors.Is(tx.Commit(ctx), pgx.ErrTxCommitRollback), true, "COMMIT of a failed transaction")
	tx, err = conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	Must(err)
	Same(value[int](ctx, tx, count), 1)
	exec(ctx, other, "INSERT INTO transactions VALUES (4)")
	Same(value[int](ctx, tx, count), 1)
	Must(tx.Commit(ctx))
	Same(value[int](ctx, conn, count), 2)
	return "25006, snapshots kept", nil
}

func savepoints(ctx context.Context) (string, error) {
	conn := open(ctx)
	defer conn.Close(ctx)
	exec(ctx, conn, "CREATE TABLE savepoints (a int PRIMARY KEY)")
	tx, err := conn.Begin(ctx)
	Must(err)
	_, err = tx.Exec(ctx, "SET application_name = 'outer'")
	Must(err)
	var seen []string
	for range 2 {
		err = pgx.BeginFunc(ctx, tx, func(inner pgx.Tx) error {
			if _, err := inner.Exec(ctx, "SET application_name = 'inner'"); err != nil {
				return err
			}
			_, err := inner.Exec(ctx, "INSERT INTO savepoints VALUES ($1), ($1)", 1)
			return err
		})
		seen = append(seen, state(err))
		Same(value[string](ctx, tx, "SHOW application_name"), "outer")
	}
	Must(pgx.BeginFunc(ctx, tx, func(inner pgx.Tx) error {
		return pgx.BeginFunc(ctx, inner, func(innermost pgx.Tx) error {
			_, err := innermost.Exec(ctx, "INSERT INTO savepoints VALUES (2)")
			return err
		})
	}))
	Same(value[int](ctx, tx, "SELECT sum(a) FROM savepoints"), 2)
	Must(tx.Rollback(ctx))
	Same(value[string](ctx, conn, "SHOW application_name"), "matrix")
	Same(value[int](ctx, conn, "SELECT count(*) FROM savepoints"), 0)
	return strings.Join(seen, " ") + ", nested, settings undone", nil
}

func errorsCheck(ctx context.Context) (string, error) {
	conn := open(ctx)
	defer conn.Close(ctx)
	var last *pgconn.PgError
	for _, c := range []struct{ sql, state string }{
		{"SELEC 1", "42601"},
		{"SELECT * FROM no_such_table", "42P01"},
		{"SELECT 1 / 0", "22012"},
		{"SELECT 'x'::int", "22P02"},
		{"DO $$BEGIN RAISE EXCEPTION 'mine' USING ERRCODE = 'MY123', DETAIL = 'd', HINT = 'h'; END$$", "MY123"},
	} {
		for range 2 {
			last = refused(ctx, conn, c.state, c.sql)
			Same(value[int](ctx, conn, "SELECT 1"), 1)
		}
	}
	Same([]string{last.Message, last.Detail, last.Hint}, []string{"mine", "d", "h"})
	victim, killer := open(ctx), open(ctx)
	defer victim.Close(ctx)
	defer killer.Close(ctx)
	Same(value[bool](ctx, killer, "SELECT pg_terminate_backend($1)", int32(victim.PgConn().PID())), true, "pg_terminate_backend")
	err := UntilCut(func() error { _, err := victim.Exec(ctx, "SELECT 1"); return err })
	return "5 of them, twice; pg_terminate_backend of the driver's pid: " + state(err), nil
}

func bigRows(ctx context.Context) (string, error) {
	conn := open(ctx)
	defer conn.Close(ctx)
	Same(value[int](ctx, conn, "SELECT length($1::text)", strings.Repeat("x", Big)), Big)
	Same(len(value[[]byte](ctx, conn, "SELECT convert_to(repeat('y', $1), 'UTF8')", Big)), Big)
	rows, err := conn.Query(ctx, "SELECT repeat('z', 100000) FROM generate_series(1, 100) i")
	Must(err)
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	Must(err)
	Same([]int{len(got), len(strings.Join(got, ""))}, []int{100, 10000000})
	return "8 MB there and back, 100 rows of 100 kB", nil
}

func many(ctx context.Context) (string, error) {
	conn := open(ctx)
	defer conn.Close(ctx)
	exec(ctx, conn, "CREATE TABLE many (a int PRIMARY KEY, b int)")
	for i := range 300 {
		exec(ctx, conn, fmt.Sprintf("INSERT INTO many VALUES (%d, $1)", i), 2*i)
		Same(value[int](ctx, conn, fmt.Sprintf("SELECT b FROM many WHERE a = %d", i)), 2*i)
	}
	for range 30 {
		one := open(ctx)
		Same(value[int](ctx, one, "SELECT count(*) FROM many"), 300)
		Must(one.Close(ctx))
	}
	return "600 statements, 30 connections", nil
}

func timeouts(ctx context.Context) (string, error) {
	conn := open(ctx, "statement_timeout=200")
	refused(ctx, conn, "57014", "SELECT pg_sleep(30)")
	exec(ctx, conn, "SET statement_timeout = 0")
	short, stop := context.WithTimeout(ctx, 300*time.Millisecond)
	defer stop()
	_, err := conn.Exec(short, "SELECT pg_sleep(30)")
	Same(errors.Is(err, context.DeadlineExceeded), true, "the context's end")
	Same(conn.IsClosed(), true, "closed")
	return "statement_timeout at login, context", nil
}

func session(ctx context.Context) (string, error) {
	conn, other := open(ctx), open(ctx)
	defer conn.Close(ctx)
	defer other.Close(ctx)
	exec(ctx, conn, "SET search_path = pg_catalog, public")
	exec(ctx, conn, "SELECT set_config('work_mem', $1, false)", "5MB")
	exec(ctx, conn, "CREATE TEMP TABLE mine (a serial, b int)")
	exec(ctx, conn, "INSERT INTO mine (b) VALUES (7)")
	exec(ctx, conn, "CREATE SEQUENCE public.session_seq START 40")
	exec(ctx, conn, "SELECT nextval('public.session_seq')")
	exec(ctx, conn, "SELECT pg_advisory_lock($1)", 4711)
	Same(value[bool](ctx, other, "SELECT pg_try_advisory_lock(4711)"), false)
	for range 3 {
		Same(value[string](ctx, conn, "SHOW search_path"), "pg_catalog, public")
		Same(value[string](ctx, conn, "SHOW work_mem"), "5MB")
		Same(value[int](ctx, conn, "SELECT b FROM mine"), 7)
		Same(value[int](ctx, conn, "SELECT currval('public.session_seq') + lastval()"), 80)
	}
	Same(value[bool](ctx, conn, "SELECT pg_advisory_unlock(4711)"), true)
	Same(value[bool](ctx, other, "SELECT pg_try_advisory_lock(4711)"), true)
	_, err := conn.PgConn().Exec(ctx, "DISCARD ALL").ReadAll()
	Must(err)
	Must(conn.DeallocateAll(ctx)) // forget what DISCARD has dropped
	Same(value[string](ctx, conn, "SHOW search_path"), `"$user", public`)
	Same(value[string](ctx, conn, "SHOW work_mem"), "4MB")
	refused(ctx, conn, "42P01", "SELECT b FROM mine")
	refused(ctx, conn, "55000", "SELECT lastval()")
	return "settings, temporary table, sequence, advisory lock; DISCARD ALL", nil
}

func notices(ctx context.Context) (string, error) {
	config, err := pgx.ParseConfig(settings())
	Must(err)
	var got []string
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { got = append(got, n.Severity+" "+n.Message) }
	conn, err := pgx.ConnectConfig(ctx, config)
	Must(err)
	defer conn.Close(ctx)
	exec(ctx, conn, "DO $$BEGIN FOR i IN 1..40 LOOP RAISE NOTICE 'n%', i; END LOOP; RAISE WARNING 'w'; END$$")
	Same([]any{len(got), got[0], got[len(got)-1]}, []any{41, "NOTICE n1", "WARNING w"})
	return "41 in order", nil
}

func largeObjects(ctx context.Context) (string, error) {
	conn := open(ctx)
	defer conn.Close(ctx)
	var oid uint32
	Must(pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) (err error) {
		los := tx.LargeObjects()
		if oid, err = los.Create(ctx, 0); err != nil {
			return err
		}
		o, err := los.Open(ctx, oid, pgx.LargeObjectModeWrite)
		if err != nil {
			return err
		}
		_, err = o.Write(bytes.Repeat([]byte{0, 1}, 200000))
		return err
	}))
	Must(pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		los := tx.LargeObjects()
		o, err := los.Open(ctx, oid, pgx.LargeObjectModeRead)
		if err != nil {
			return err
		}
		if _, err := o.Seek(399999, io.SeekStart); err != nil {
			return err
		}
		rest, err := io.ReadAll(o)
		if err != nil || !bytes.Equal(rest, []byte{1}) {
			return fmt.Errorf("%x, %w", rest, err)
		}
		return los.Unlink(ctx, oid)
	}))
	return "400 kB by functions", nil
}

func pool(ctx context.Context) (string, error) {
	config, err := pgxpool.ParseConfig(settings("pool_max_conns=4"))
	Must(err)
	p, err := pgxpool.NewWithConfig(ctx, config)
	Must(err)
	defer p.Close()
	_, err = p.Exec(ctx, "CREATE TABLE pool (a int)")
	Must(err)
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for k := range errs {
		wg.Go(func() {
			for i := range 20 {
				undo := errors.New("undone")
				err := pgx.BeginFunc(ctx, p, func(tx pgx.Tx) error {
					if _, err := tx.Exec(ctx, "SET LOCAL work_mem = '9MB'"); err != nil {
						return err
					}
					if _, err := tx.Exec(ctx, "INSERT INTO pool VALUES ($1)", k*100+i); err != nil {
						return err
					}
					if i%2 == 0 {
						return undo
					}
					return nil
				})
				if err != nil && !errors.Is(err, undo) {
					errs[k] = err
					return
				}
				var memory string
				if err := p.QueryRow(ctx, "SHOW work_mem").Scan(&memory); err != nil || memory != "4MB" {
					errs[k] = fmt.Errorf("%s %w", memory, err)
					return
				}
			}
		})
	}
	wg.Wait()
	Must(errors.Join(errs...))
	Same(value[int](ctx, p, "SELECT count(*) FROM pool"), 80)
	return "pgxpool of 4 for 8 goroutines", nil
}
