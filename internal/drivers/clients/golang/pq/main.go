// Command pq is the checklist with lib/pq through database/sql. BINARY_PARAMETERS is its setting of that name.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/lib/pq"

	. "gopgpool-drivers/check"
)

func main() {
	Main("github.com/lib/pq", []Check{
		{Name: "connect", Run: connect},
		{Name: "parameters", Run: parameters},
		{Name: "prepared", Run: prepared},
		{Name: "replan", Run: replan},
		{Name: "pipeline", Run: lacks("lib/pq has no pipeline mode")},
		{Name: "pipeline_error", Run: lacks("lib/pq has no pipeline mode")},
		{Name: "batch", Run: batch},
		{Name: "binary", Run: binary},
		{Name: "copy_in", Run: copyIn},
		{Name: "copy_out", Run: lacks("lib/pq does not read COPY TO STDOUT")},
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
		{Name: "pool", Run: pool},
	})
}

// lacks is a check of what lib/pq does not have.
func lacks(what string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return Missing(what) }
}

func settings(words ...string) string {
	words = append([]string{"application_name=matrix", "sslmode=disable"}, words...)
	if binary := os.Getenv("BINARY_PARAMETERS"); binary != "" {
		words = append(words, "binary_parameters="+binary)
	}
	return strings.Join(words, " ")
}

func database(words ...string) *sql.DB {
	db, err := sql.Open("postgres", settings(words...))
	Must(err)
	return db
}

// open is one connection; close ends it with its pool.
func open(ctx context.Context, words ...string) (conn *sql.Conn, closeAll func()) {
	db := database(words...)
	conn, err := db.Conn(ctx)
	Must(err)
	return conn, func() {
		_ = conn.Close()
		_ = db.Close()
	}
}

type queryer interface {
	QueryRowContext(context.Context, string, ...any) *sql.Row
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}

func exec(ctx context.Context, conn queryer, text string, args ...any) int64 {
	r, err := conn.ExecContext(ctx, text, args...)
	Must(err, text)
	n, err := r.RowsAffected()
	Must(err)
	return n
}

func value[T any](ctx context.Context, conn queryer, text string, args ...any) (v T) {
	Must(conn.QueryRowContext(ctx, text, args...).Scan(&v), text)
	return v
}

func state(err error) string {
	var server *pq.Error
	if errors.As(err, &server) {
		return string(server.Code)
	}
	return fmt.Sprint(err)
}

func refused(ctx context.Context, conn queryer, want, text string, args ...any) *pq.Error {
	_, err := conn.ExecContext(ctx, text, args...)
	Same(state(err), want, text)
	var server *pq.Error
	errors.As(err, &server)
	return server
}

func connect(ctx context.Context) (string, error) {
	conn, done := open(ctx, "statement_timeout=54321", "timezone=Asia/Tokyo", "options='-c work_mem=7MB'", "search_path=pg_catalog")
	defer done()
	Same(value[string](ctx, conn, "SHOW application_name"), "matrix")
	Same(value[string](ctx, conn, "SHOW statement_timeout"), "54321ms")
	Same(value[string](ctx, conn, "SHOW work_mem"), "7MB")
	Same(value[string](ctx, conn, "SHOW search_path"), "pg_catalog")
	Same(value[string](ctx, conn, "SHOW timezone"), "Asia/Tokyo")
	var seen []string
	for _, word := range []string{"dbname=no_such_database", "password=wrong", "user=no_such_user"} {
		db := database(word)
		seen = append(seen, state(db.PingContext(ctx)))
		_ = db.Close()
	}
	return strings.Join(seen, " "), nil
}

func parameters(ctx context.Context) (string, error) {
	conn, done := open(ctx)
	defer done()
	when := time.Date(2024, 2, 29, 12, 30, 1, 123456000, time.UTC)
	var (
		i    int32
		b    int64
		f    float64
		t    string
		null sql.NullInt32
		yes  bool
		raw  []byte
		list pq.Int64Array
		ts   time.Time
	)
	row := conn.QueryRowContext(ctx, "SELECT $1::int, $2::int8, $3::float8, $4::text, $5::int, $6::bool, $7::bytea, $8::int[], $9::timestamptz",
		1, int64(-1<<40), 1.5, `O'Reilly \ ä`, nil, true, []byte{0, 255}, pq.Array([]int64{1, 2, 3}), when)
	Must(row.Scan(&i, &b, &f, &t, &null, &yes, &raw, &list, &ts))
	Same([]any{i, b, f, t, null.Valid, yes, raw, []int64(list), ts.UTC()},
		[]any{int32(1), int64(-1 << 40), 1.5, `O'Reilly \ ä`, false, true, []byte{0, 255}, []int64{1, 2, 3}, when})
	return "9 types", nil
}

func prepared(ctx context.Context) (string, error) {
	conn, done := open(ctx)
	defer done()
	exec(ctx, conn, "CREATE TABLE prepared (a int PRIMARY KEY, b text)")
	put, err := conn.PrepareContext(ctx, "INSERT INTO prepared VALUES ($1, $2)")
	Must(err)
	get, err := conn.PrepareContext(ctx, "SELECT b FROM prepared WHERE a = $1")
	Must(err)
	for i := range 100 {
		_, err := put.ExecContext(ctx, i, fmt.Sprint("row ", i))
		Must(err)
		var b string
		Must(get.QueryRowContext(ctx, i).Scan(&b))
		Same(b, fmt.Sprint("row ", i))
	}
	Must(put.Close())
	Must(get.Close())
	return "200 executions of two statements", nil
}

func replan(ctx context.Context) (string, error) {
	conn, done := open(ctx)
	defer done()
	exec(ctx, conn, "CREATE TABLE replan (a int)")
	exec(ctx, conn, "INSERT INTO replan VALUES (1)")
	star, err := conn.PrepareContext(ctx, "SELECT * FROM replan")
	Must(err)
	for range 3 {
		var a int
		Must(star.QueryRowContext(ctx).Scan(&a))
	}
	exec(ctx, conn, "ALTER TABLE replan ADD b int DEFAULT 2")
	rows, err := star.QueryContext(ctx)
	if err != nil {
		return "SQLSTATE " + state(err), nil
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		columns, err := rows.Columns()
		Must(err)
		n = len(columns)
	}
	if rows.Err() != nil {
		return "SQLSTATE " + state(rows.Err()), nil
	}
	return fmt.Sprint("columns ", n), nil
}

func batch(ctx context.Context) (string, error) {
	conn, done := open(ctx)
	defer done()
	exec(ctx, conn, "CREATE TABLE batch (a int PRIMARY KEY); INSERT INTO batch VALUES (1); INSERT INTO batch VALUES (2)")
	refused(ctx, conn, "23505", "INSERT INTO batch VALUES (5000); INSERT INTO batch VALUES (1); INSERT INTO batch VALUES (5001)")
	Same(value[int](ctx, conn, "SELECT max(a) FROM batch"), 2)
	rows, err := conn.QueryContext(ctx, "SELECT 1; SELECT 2 WHERE false; SELECT 3 UNION ALL SELECT 4")
	Must(err)
	defer rows.Close()
	var got []int
	for {
		for rows.Next() {
			var i int
			Must(rows.Scan(&i))
			got = append(got, i)
		}
		if !rows.NextResultSet() {
			break
		}
	}
	Must(rows.Err())
	Same(got, []int{1, 3, 4})
	for _, empty := range []string{"", ";"} {
		_, err := conn.ExecContext(ctx, empty)
		Must(err)
	}
	return "three statements in one, a failing one undone whole, empty ones", nil
}

func binary(ctx context.Context) (string, error) {
	if os.Getenv("BINARY_PARAMETERS") == "" {
		return Missing("text only without binary_parameters")
	}
	conn, done := open(ctx)
	defer done()
	Same(value[[]byte](ctx, conn, "SELECT $1::bytea || $2::bytea", []byte{0, 1}, []byte{255}), []byte{0, 1, 255})
	Same(value[int64](ctx, conn, "SELECT $1::int8 + $2", int64(1)<<40, 1), int64(1)<<40+1)
	return "bytea, int8", nil
}

func copyInto(ctx context.Context, conn *sql.Conn, table string, n int, row func(i int) []any) error {
	tx, err := conn.BeginTx(ctx, nil)
	Must(err)
	stmt, err := tx.PrepareContext(ctx, "COPY "+table+" (a, b) FROM STDIN")
	Must(err)
	for i := range n {
		if _, err := stmt.ExecContext(ctx, row(i)...); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	if _, err = stmt.ExecContext(ctx); err != nil {
		_ = stmt.Close()
		_ = tx.Rollback()
		return err
	}
	Must(stmt.Close())
	return tx.Commit()
}

func copyIn(ctx context.Context) (string, error) {
	conn, done := open(ctx)
	defer done()
	exec(ctx, conn, "CREATE TABLE copy_in (a int, b text)")
	Must(copyInto(ctx, conn, "copy_in", 20000, func(i int) []any { return []any{i, fmt.Sprint("line ", i)} }))
	Same(value[int](ctx, conn, "SELECT count(*) FROM copy_in"), 20000)
	return "20000 rows", nil
}

func copyFail(ctx context.Context) (string, error) {
	conn, done := open(ctx)
	defer done()
	exec(ctx, conn, "CREATE TABLE copy_fail (a int PRIMARY KEY, b text)")
	var seen []string
	for _, bad := range []any{"x", 1} {
		err := copyInto(ctx, conn, "copy_fail", 30, func(i int) []any {
			if i == 20 {
				return []any{bad, ""}
			}
			return []any{i, ""}
		})
		seen = append(seen, state(err))
		Same(value[int](ctx, conn, "SELECT count(*) FROM copy_fail"), 0)
	}
	tx, err := conn.BeginTx(ctx, nil)
	Must(err)
	stmt, err := tx.PrepareContext(ctx, "COPY copy_fail (a, b) FROM STDIN")
	Must(err)
	_, err = stmt.ExecContext(ctx, 1, "")
	Must(err)
	given := fmt.Sprint("given up: ", tx.Rollback()) // in the middle of the copy
	other, closeOther := open(ctx)
	defer closeOther()
	Same(value[int](ctx, other, "SELECT count(*) FROM copy_fail"), 0)
	return strings.Join(append(seen, given), " "), nil
}

func cursor(ctx context.Context) (string, error) {
	conn, done := open(ctx)
	defer done()
	tx, err := conn.BeginTx(ctx, nil)
	Must(err)
	exec(ctx, tx, "DECLARE big SCROLL CURSOR FOR SELECT i FROM generate_series(1, 1000) i")
	sum, n := 0, 1
	for n > 0 {
		rows, err := tx.QueryContext(ctx, "FETCH 100 FROM big")
		Must(err)
		for n = 0; rows.Next(); n++ {
			var i int
			Must(rows.Scan(&i))
			sum += i
		}
		Must(rows.Err())
	}
	Same(sum, 500500)
	Same(value[int](ctx, tx, "FETCH ABSOLUTE 42 FROM big"), 42)
	Must(tx.Commit())
	refused(ctx, conn, "34000", "FETCH 1 FROM big")
	return "1000 rows by 100, scrolled, by SQL", nil
}

func cursorHold(ctx context.Context) (string, error) {
	conn, done := open(ctx)
	defer done()
	tx, err := conn.BeginTx(ctx, nil)
	Must(err)
	exec(ctx, tx, "DECLARE held CURSOR WITH HOLD FOR SELECT i FROM generate_series(1, 100) i")
	Same(value[int](ctx, tx, "FETCH 1 FROM held"), 1)
	Must(tx.Commit())
	Same(value[int](ctx, conn, "FETCH 1 FROM held"), 2)
	exec(ctx, conn, "CREATE TABLE cursor_hold (a int)")
	Same(value[int](ctx, conn, "FETCH 1 FROM held"), 3)
	exec(ctx, conn, "CLOSE held")
	refused(ctx, conn, "34000", "FETCH 1 FROM held")
	return "over COMMIT, by SQL", nil
}

func cancel(ctx context.Context) (string, error) {
	db := database()
	defer db.Close()
	db.SetMaxOpenConns(1)
	for range 2 {
		short, stop := context.WithTimeout(ctx, 300*time.Millisecond)
		_, err := db.ExecContext(short, "SELECT pg_sleep($1)", 30)
		stop()
		if got := state(err); got != "57014" && !errors.Is(err, context.DeadlineExceeded) {
			return "", fmt.Errorf("cancelled: %s", got)
		}
		Same(value[int](ctx, db, "SELECT 1"), 1)
	}
	return "by the context's end", nil
}

func notify(ctx context.Context) (string, error) {
	listener := pq.NewListener(settings("host="+os.Getenv("PGHOST")), 50*time.Millisecond, time.Second, nil)
	defer listener.Close()
	Must(listener.Listen("ch"))
	Must(listener.Listen("Other ch"))
	Must(listener.Ping())
	sender, done := open(ctx)
	defer done()
	exec(ctx, sender, "BEGIN")
	exec(ctx, sender, "NOTIFY ch, 'one'")
	exec(ctx, sender, "SELECT pg_notify('Other ch', $1)", "two")
	exec(ctx, sender, "COMMIT")
	exec(ctx, sender, "BEGIN")
	exec(ctx, sender, "NOTIFY ch, 'never'")
	exec(ctx, sender, "ROLLBACK")
	exec(ctx, sender, "NOTIFY ch, 'three'")
	var got []string
	for len(got) < 3 {
		select {
		case n := <-listener.Notify:
			got = append(got, n.Channel+":"+n.Extra)
		case <-time.After(10 * time.Second):
			return "", fmt.Errorf("only %v", got)
		}
	}
	Same(got, []string{"ch:one", "Other ch:two", "ch:three"})
	Must(listener.UnlistenAll())
	exec(ctx, sender, "NOTIFY ch, 'late'")
	Must(listener.Ping())
	select {
	case n := <-listener.Notify:
		return "", fmt.Errorf("%s after UNLISTEN", n.Extra)
	case <-time.After(100 * time.Millisecond):
	}
	return "two channels, none after UNLISTEN", nil
}
