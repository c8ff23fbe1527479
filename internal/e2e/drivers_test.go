package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"gopgpool/internal/pgcluster"
)

func pool(t *testing.T, p *pgcluster.Pgpool, conns int) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(p.ConnString())
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = int32(conns)
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// Sixteen goroutines move money between accounts through a pool and a balanced proxy; what they see in a transaction adds up,
// and so does the end.
func TestPgxPool(t *testing.T) {
	t.Parallel()
	p := start(t, map[string]string{"statement_level_load_balance": "on"})
	db := pool(t, p, 8)
	tab := name(t, "acc")
	if _, err := db.Exec(t.Context(), "CREATE TABLE "+tab+" (id int PRIMARY KEY, amount int)"); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(t.Context(), "INSERT INTO "+tab+" SELECT i, 100 FROM generate_series(0, 9) i"); err != nil {
		t.Fatal(err)
	}
	replayed(t)
	var wg sync.WaitGroup
	for worker := range 16 {
		wg.Go(func() {
			for i := range 8 {
				if err := transfer(t.Context(), db, tab, (worker+i)%10, (worker*3+i*7+1)%10); err != nil {
					t.Error(err)
					return
				}
				var n int
				if err := db.QueryRow(t.Context(), "SELECT count(*) FROM "+tab+" WHERE id < $1", 10).Scan(&n); err != nil || n != 10 {
					t.Errorf("%d accounts, %v", n, err)
				}
			}
		})
	}
	wg.Wait()
	if sum := onServer(t, 0, "SELECT sum(amount) FROM "+tab); sum != "1000" {
		t.Errorf("sum %s", sum)
	}
}

func transfer(ctx context.Context, db *pgxpool.Pool, tab string, from, to int) error {
	if from == to {
		return nil
	}
	return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		for _, id := range []int{min(from, to), max(from, to)} { // in this order, or two of them deadlock
			amount := 1
			if id == from {
				amount = -1
			}
			if _, err := tx.Exec(ctx, "UPDATE "+tab+" SET amount = amount + $1 WHERE id = $2", amount, id); err != nil {
				return err
			}
		}
		var a, b int
		return tx.QueryRow(ctx, "SELECT max(amount) FILTER (WHERE id = $1), max(amount) FILTER (WHERE id = $2) FROM "+tab, from, to).Scan(&a, &b)
	})
}

func TestPgxBatchAndCopy(t *testing.T) {
	t.Parallel()
	conn := connect(t, start(t, map[string]string{"statement_level_load_balance": "on"}))
	tab := name(t, "b")
	exec(t, conn, "CREATE TABLE "+tab+" (a int PRIMARY KEY, b text)")
	const n = 20000
	copied, err := conn.CopyFrom(t.Context(), pgx.Identifier{tab}, []string{"a", "b"}, pgx.CopyFromSlice(n, func(i int) ([]any, error) {
		return []any{i, strings.Repeat("x", i%100)}, nil
	}))
	if err != nil || copied != n {
		t.Fatalf("%d rows, %v", copied, err)
	}
	broken := errors.New("out of rows")
	_, err = conn.CopyFrom(t.Context(), pgx.Identifier{tab}, []string{"a", "b"}, pgx.CopyFromFunc(func() ([]any, error) { return nil, broken }))
	if sqlState(err) != "57014" && !errors.Is(err, broken) {
		t.Errorf("a copy given up: %v", err)
	}
	batch := &pgx.Batch{}
	for i := range 300 {
		batch.Queue("SELECT b FROM "+tab+" WHERE a = $1", i)
		batch.Queue("UPDATE "+tab+" SET b = $2 WHERE a = $1", i, fmt.Sprint("new ", i))
		batch.Queue("SELECT b FROM "+tab+" WHERE a = $1", i).QueryRow(func(row pgx.Row) error {
			var b string
			if err := row.Scan(&b); err != nil || b != fmt.Sprint("new ", i) {
				return fmt.Errorf("row %d: %q, %w", i, b, err)
			}
			return nil
		})
	}
	if err := conn.SendBatch(t.Context(), batch).Close(); err != nil {
		t.Fatal(err)
	}
	failing := &pgx.Batch{}
	failing.Queue("UPDATE " + tab + " SET b = 'never' WHERE a = 1")
	failing.Queue("INSERT INTO " + tab + " VALUES (1, 'twice')")
	if err := conn.SendBatch(t.Context(), failing).Close(); sqlState(err) != "23505" {
		t.Errorf("a failing batch: %v", err)
	}
	replayed(t)
	if got := value(t, conn, "SELECT b FROM "+tab+" WHERE a = 1"); got != "new 1" {
		t.Errorf("after the failing batch: %q", got)
	}
}

// pgx caches prepared statements; they are used on whichever node the read goes to.
func TestPgxPreparedCache(t *testing.T) {
	t.Parallel()
	conn := connect(t, start(t, map[string]string{"statement_level_load_balance": "on"}))
	tab := name(t, "p")
	exec(t, conn, "CREATE TABLE "+tab+" (a int)")
	exec(t, conn, "INSERT INTO "+tab+" VALUES (1)")
	replayed(t)
	for i := range 200 {
		var got int
		sql := fmt.Sprintf("SELECT a + $1 + %d FROM %s", i%20, tab)
		if err := conn.QueryRow(t.Context(), sql, i).Scan(&got); err != nil || got != 1+i+i%20 {
			t.Fatalf("%s with %d: %d, %v", sql, i, got, err)
		}
	}
	if err := conn.DeallocateAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		var got int
		if err := conn.QueryRow(t.Context(), fmt.Sprintf("SELECT a + $1 + %d FROM %s", i, tab), i).Scan(&got); err != nil {
			t.Fatal(err)
		}
	}
	// Nested transactions are savepoints; reads after writes see them.
	err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
		err := pgx.BeginFunc(t.Context(), tx, func(inner pgx.Tx) error {
			if _, err := inner.Exec(t.Context(), "INSERT INTO "+tab+" VALUES (2)"); err != nil {
				return err
			}
			return errors.New("undo")
		})
		var n int
		if err := tx.QueryRow(t.Context(), "SELECT count(*) FROM "+tab).Scan(&n); err != nil || n != 1 {
			return fmt.Errorf("%d rows after the savepoint, %w", n, err)
		}
		if err == nil || err.Error() != "undo" {
			return err
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestPgxListen(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	listener, speaker := connect(t, p), connect(t, p)
	exec(t, listener, "LISTEN e2e_channel")
	for i := range 5 {
		exec(t, speaker, "SELECT pg_notify('e2e_channel', $1)", fmt.Sprint(i))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		n, err := listener.WaitForNotification(ctx)
		cancel()
		if err != nil || n.Payload != fmt.Sprint(i) {
			t.Fatalf("%v, %v", n, err)
		}
		value(t, listener, "SELECT 'between'")
	}
}

// psql: its own queries of the catalog, \copy both ways, a file in one transaction.
func TestPsql(t *testing.T) {
	t.Parallel()
	p := start(t, map[string]string{"statement_level_load_balance": "on"})
	tab, dir := name(t, "q"), t.TempDir()
	file := filepath.Join(dir, "rows.csv")
	if err := os.WriteFile(file, []byte("1,one\n2,two\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	psql(t, p, fmt.Sprintf("CREATE TABLE %[1]s (a int PRIMARY KEY, b text);\n\\copy %[1]s from '%[2]s' csv\n", tab, file))
	replayed(t)
	if rows := psql(t, p, "SELECT * FROM "+tab+" ORDER BY a"); fmt.Sprint(rows) != "[[a b] [1 one] [2 two]]" {
		t.Errorf("%v", rows)
	}
	if rows := psql(t, p, "\\d "+tab+"\n\\echo done"); !strings.Contains(fmt.Sprint(rows), "PRIMARY KEY") {
		t.Errorf("\\d: %v", rows)
	}
	psql(t, p, fmt.Sprintf("\\copy (SELECT a FROM %s ORDER BY a) to '%s'\n", tab, file+".out"))
	if got, err := os.ReadFile(file + ".out"); err != nil || string(got) != "1\n2\n" {
		t.Errorf("\\copy to: %q, %v", got, err)
	}
	script := filepath.Join(dir, "script.sql")
	sql := fmt.Sprintf("INSERT INTO %[1]s VALUES (3, 'three');\nSELECT count(*) FROM %[1]s;\nINSERT INTO %[1]s VALUES (1, 'twice');\n", tab)
	if err := os.WriteFile(script, []byte(sql), 0o644); err != nil {
		t.Fatal(err)
	}
	output, err := shared.Cluster(t).Command(t.Context(), "psql", "-X", "-1", "-f", script, "-v", "ON_ERROR_STOP=1", "-d", p.ConnString()).CombinedOutput()
	if err == nil || !strings.Contains(string(output), "duplicate key") {
		t.Errorf("psql -1: %v\n%s", err, output)
	}
	if n := onServer(t, 0, "SELECT count(*) FROM "+tab); n != "2" {
		t.Errorf("%s rows after a transaction that failed", n)
	}
}
