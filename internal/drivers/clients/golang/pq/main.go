// Command pq is the checklist with lib/pq through database/sql. BINARY_PARAMETERS is its setting of that name.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
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

func transactions(ctx context.Context) (string, error) {
	conn, done := open(ctx)
	defer done()
	other, closeOther := open(ctx)
	defer closeOther()
	const count = "SELECT count(*) FROM transactions"
	exec(ctx, other, "CREATE TABLE transactions (a int)")
	tx, err := conn.BeginTx(ctx, nil)
	Must(err)
	exec(ctx, tx, "INSERT INTO transactions VALUES ($1)", 1)
	Same(value[int](ctx, other, count), 0)
	Must(tx.Commit())
	Same(value[int](ctx, other, count), 1)
	tx, err = conn.BeginTx(ctx, nil)
	Must(err)
	exec(ctx, tx, "INSERT INTO transactions VALUES ($1)", 2)
	Must(tx.Rollback())
	Same(value[int](ctx, other, count), 1)
	tx, err = conn.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable, ReadOnly: true})
	Must(err)
	Same(value[string](ctx, tx, "SHOW transaction_isolation"), "serializable")
	refused(ctx, tx, "25006", "INSERT INTO transactions VALUES (3)")
	failed := fmt.Sprint(tx.Commit())
	tx, err = conn.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	Must(err)
	Same(value[int](ctx, tx, count), 1)
	exec(ctx, other, "INSERT INTO transactions VALUES (4)")
	Same(value[int](ctx, tx, count), 1)
	Must(tx.Commit())
	Same(value[int](ctx, conn, count), 2)
	return "25006, snapshots kept; COMMIT: " + failed, nil
}

func savepoints(ctx context.Context) (string, error) {
	conn, done := open(ctx)
	defer done()
	exec(ctx, conn, "CREATE TABLE savepoints (a int PRIMARY KEY)")
	tx, err := conn.BeginTx(ctx, nil)
	Must(err)
	exec(ctx, tx, "SET application_name = 'outer'")
	exec(ctx, tx, "SAVEPOINT s1")
	exec(ctx, tx, "SET application_name = 'inner'")
	exec(ctx, tx, "INSERT INTO savepoints VALUES ($1)", 1)
	refused(ctx, tx, "23505", "INSERT INTO savepoints VALUES ($1)", 1)
	refused(ctx, tx, "25P02", "SELECT 1")
	exec(ctx, tx, "ROLLBACK TO s1")
	Same(value[string](ctx, tx, "SHOW application_name"), "outer")
	exec(ctx, tx, "INSERT INTO savepoints VALUES (2)")
	exec(ctx, tx, "RELEASE s1")
	refused(ctx, tx, "3B001", "ROLLBACK TO s1")
	Must(tx.Rollback())
	Same(value[string](ctx, conn, "SHOW application_name"), "matrix")
	return "23505, 25P02, 3B001, settings undone", nil
}

func errorsCheck(ctx context.Context) (string, error) {
	conn, done := open(ctx)
	defer done()
	var last *pq.Error
	for _, c := range []struct{ sql, state string }{
		{"SELEC 1", "42601"},
		{"SELECT * FROM no_such_table", "42P01"},
		{"SELECT 1 / 0", "22012"},
		{"SELECT 'x'::int", "22P02"},
		{"DO $$BEGIN RAISE EXCEPTION 'mine' USING ERRCODE = 'MY123', DETAIL = 'd', HINT = 'h'; END$$", "MY123"},
	} {
		last = refused(ctx, conn, c.state, c.sql)
		Same(value[int](ctx, conn, "SELECT 1"), 1)
		Same(value[int](ctx, conn, "SELECT $1::int", 1), 1)
	}
	Same([]string{last.Message, last.Detail, last.Hint}, []string{"mine", "d", "h"})
	return "5 of them; pg_terminate_backend of pg_backend_pid(): " + terminated(ctx, conn), nil
}

// terminated tells what becomes of a session whose server process is ended; the driver does not tell the pid it was given at login.
func terminated(ctx context.Context, conn *sql.Conn) string {
	victim, closeVictim := open(ctx)
	defer closeVictim()
	pid := value[int](ctx, victim, "SELECT pg_backend_pid()")
	var hit bool
	if err := conn.QueryRowContext(ctx, "SELECT pg_terminate_backend($1)", pid).Scan(&hit); err != nil {
		return "the killer's own"
	}
	Same(hit, true, "pg_terminate_backend")
	for range 50 {
		if _, err := victim.ExecContext(ctx, "SELECT 1"); err != nil {
			return "ended"
		}
		time.Sleep(20 * time.Millisecond)
	}
	return "lives on"
}

func bigRows(ctx context.Context) (string, error) {
	conn, done := open(ctx)
	defer done()
	Same(value[int](ctx, conn, "SELECT length($1::text)", strings.Repeat("x", Big)), Big)
	Same(len(value[[]byte](ctx, conn, "SELECT convert_to(repeat('y', $1), 'UTF8')", Big)), Big)
	rows, err := conn.QueryContext(ctx, "SELECT repeat('z', 100000) FROM generate_series(1, 100) i")
	Must(err)
	defer rows.Close()
	n, size := 0, 0
	for ; rows.Next(); n++ {
		var z string
		Must(rows.Scan(&z))
		size += len(z)
	}
	Must(rows.Err())
	Same([]int{n, size}, []int{100, 10000000})
	return "8 MB there and back, 100 rows of 100 kB", nil
}

func many(ctx context.Context) (string, error) {
	conn, done := open(ctx)
	defer done()
	exec(ctx, conn, "CREATE TABLE many (a int PRIMARY KEY, b int)")
	for i := range 300 {
		exec(ctx, conn, fmt.Sprintf("INSERT INTO many VALUES (%d, $1)", i), 2*i)
		Same(value[int](ctx, conn, fmt.Sprintf("SELECT b FROM many WHERE a = %d", i)), 2*i)
	}
	for range 30 {
		one, closeOne := open(ctx)
		Same(value[int](ctx, one, "SELECT count(*) FROM many"), 300)
		closeOne()
	}
	return "600 statements, 30 connections", nil
}

func timeouts(ctx context.Context) (string, error) {
	conn, done := open(ctx, "statement_timeout=200")
	defer done()
	refused(ctx, conn, "57014", "SELECT pg_sleep(30)")
	exec(ctx, conn, "SET statement_timeout = 0")
	exec(ctx, conn, "SELECT pg_sleep(0.3)")
	return "statement_timeout at login", nil
}

func session(ctx context.Context) (string, error) {
	conn, done := open(ctx)
	defer done()
	other, closeOther := open(ctx)
	defer closeOther()
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
	exec(ctx, conn, "DISCARD ALL")
	Same(value[string](ctx, conn, "SHOW search_path"), `"$user", public`)
	Same(value[string](ctx, conn, "SHOW work_mem"), "4MB")
	refused(ctx, conn, "42P01", "SELECT b FROM mine")
	refused(ctx, conn, "55000", "SELECT lastval()")
	return "settings, temporary table, sequence, advisory lock; DISCARD ALL", nil
}

func notices(ctx context.Context) (string, error) {
	base, err := pq.NewConnector(settings())
	Must(err)
	var got []string
	db := sql.OpenDB(pq.ConnectorWithNoticeHandler(base, func(n *pq.Error) { got = append(got, n.Severity+" "+n.Message) }))
	defer db.Close()
	exec(ctx, db, "DO $$BEGIN FOR i IN 1..40 LOOP RAISE NOTICE 'n%', i; END LOOP; RAISE WARNING 'w'; END$$")
	Same([]any{len(got), got[0], got[len(got)-1]}, []any{41, "NOTICE n1", "WARNING w"})
	return "41 in order", nil
}

func pool(ctx context.Context) (string, error) {
	db := database()
	defer db.Close()
	db.SetMaxOpenConns(4)
	exec(ctx, db, "CREATE TABLE pool (a int)")
	put, err := db.PrepareContext(ctx, "INSERT INTO pool VALUES ($1)")
	Must(err)
	errs := make([]error, 8)
	var wg sync.WaitGroup
	for k := range errs {
		wg.Go(func() {
			for i := range 20 {
				if errs[k] = move(ctx, db, put, k*100+i, i%2 == 1); errs[k] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	Must(errors.Join(errs...))
	Same(value[int](ctx, db, "SELECT count(*) FROM pool"), 80)
	return "database/sql with 4 connections for 8 goroutines", nil
}

func move(ctx context.Context, db *sql.DB, put *sql.Stmt, v int, commit bool) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it has nothing to do
	if _, err := tx.ExecContext(ctx, "SET LOCAL work_mem = '9MB'"); err != nil {
		return err
	}
	if _, err := tx.StmtContext(ctx, put).ExecContext(ctx, v); err != nil {
		return err
	}
	if !commit {
		return nil
	}
	return tx.Commit()
}
