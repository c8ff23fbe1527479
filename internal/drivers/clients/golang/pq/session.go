package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/lib/pq"

	. "gopgpool-drivers/check"
)

// This file is the checks of transactions and of sessions as a whole.

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
