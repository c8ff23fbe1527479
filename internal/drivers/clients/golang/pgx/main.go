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
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

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
