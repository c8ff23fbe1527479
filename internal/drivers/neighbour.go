package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// neighbours are other sessions of the same database and role. In transaction mode they and the client take turns on the same
// server connections, and what each leaves there must not be seen by the client: settings of its own, statements prepared under the
// names the drivers use.
type neighbours struct {
	stop func()
	wg   sync.WaitGroup
	errs []error // one for each, read after wg
}

// settle starts n neighbours, who stay until leave.
func settle(ctx context.Context, at place, database string, n int) *neighbours {
	ctx, stop := context.WithCancel(ctx)
	ns := &neighbours{stop: stop, errs: make([]error, n)}
	for i := range n {
		ns.wg.Go(func() { ns.errs[i] = live(ctx, at, database, i) })
	}
	return ns
}

// leave ends them and returns the first thing that went wrong with one.
func (ns *neighbours) leave() error {
	ns.stop()
	ns.wg.Wait()
	for _, err := range ns.errs {
		if err != nil {
			return fmt.Errorf("a neighbour: %w", err)
		}
	}
	return nil
}

// driverNames are names that drivers give to their first prepared statements.
func driverNames() []string {
	return []string{"S_1", "S_2", "_pg3_0", "_pg3_1", "__asyncpg_stmt_1__", "__asyncpg_stmt_2__", "1", "2", "P0_0", "P0_1", "fetch"}
}

func live(ctx context.Context, at place, database string, number int) error {
	conn, err := at.connect(ctx, database)
	if err != nil {
		return unless(ctx, err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := furnish(ctx, conn, number); err != nil {
		return unless(ctx, err)
	}
	every := time.NewTicker(time.Duration(7+number) * time.Millisecond)
	defer every.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
		if err := visit(ctx, conn, number, i); err != nil {
			return unless(ctx, err)
		}
	}
}

// unless forgets an error that is nothing but the end of ctx.
func unless(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// furnish gives the neighbour's session its state.
func furnish(ctx context.Context, conn *pgx.Conn, number int) error {
	for _, sql := range []string{
		fmt.Sprintf("SET application_name = 'neighbour %d'", number), "SET timezone = 'Asia/Tokyo'", "SET datestyle = 'SQL, DMY'",
		fmt.Sprintf("SET work_mem = '%dMB'", 11+number), "SET search_path = pg_catalog", "SET extra_float_digits = -3",
		"SET bytea_output = escape", "SET standard_conforming_strings = off", "SET client_encoding = LATIN2",
	} {
		if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
			return err
		}
	}
	for _, name := range driverNames() {
		if _, err := conn.PgConn().Prepare(ctx, name, fmt.Sprintf("SELECT 'neighbour %d'::text, $1::text", number), nil); err != nil {
			return err
		}
	}
	return nil
}

// visit is one transaction of the neighbour, or some without a block.
func visit(ctx context.Context, conn *pgx.Conn, number, i int) error {
	if i%3 != 0 {
		return lookRound(ctx, conn, number, i)
	}
	if _, err := conn.PgConn().Exec(ctx, "BEGIN; SET LOCAL work_mem = '99MB'").ReadAll(); err != nil {
		return err
	}
	if err := lookRound(ctx, conn, number, i); err != nil {
		return err
	}
	_, err := conn.PgConn().Exec(ctx, "ROLLBACK").ReadAll()
	return err
}

// lookRound is what the neighbour does and must find: itself.
func lookRound(ctx context.Context, conn *pgx.Conn, number, i int) error {
	want := fmt.Sprintf("neighbour %d", number)
	names := driverNames()
	prepared := conn.PgConn().ExecPrepared(ctx, names[i%len(names)], [][]byte{[]byte("x")}, nil, nil).Read()
	if prepared.Err != nil {
		return prepared.Err
	}
	if got := string(prepared.Rows[0][0]); got != want {
		return fmt.Errorf("the statement of %s is that of %q", want, got)
	}
	shown, err := conn.PgConn().Exec(ctx, "SHOW application_name").ReadAll()
	if err != nil {
		return err
	}
	if got := string(shown[0].Rows[0][0]); got != want {
		return fmt.Errorf("%s is called %q", want, got)
	}
	return nil
}
