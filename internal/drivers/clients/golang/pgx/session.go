package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	. "gopgpool-drivers/check"
)

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
