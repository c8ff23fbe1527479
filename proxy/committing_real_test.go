package proxy

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/internal/fakepg"
	"gopgpool/internal/pgcluster"
	"gopgpool/pgwire"
	"gopgpool/proxy/meter"
)

// nextID is the id that a server will give to the next transaction or, in recovery, that none it knows of has reached.
const nextID = `SELECT x + ((age('3'::xid)::bigint + 3 - x) & 4294967295) FROM (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS x) s`

// realWriter commits one row after the other, until told to stop or cut off.
type realWriter struct {
	id    int
	c     *fakepg.Client
	fates []fate // of the rows
	last  string // the last error
}

// step sends a message and reads the answer; it returns the error in it and whether the session goes on.
func (w *realWriter) step(send []byte) (e pgwire.Fields, failed, alive bool) {
	w.c.Send(send)
	for {
		m, err := w.c.TryNext()
		switch {
		case err != nil:
			return e, true, false
		case m.Type == pgwire.ErrorResponse:
			e, failed = pgwire.ReadFields([]byte(m.Body)), true
		case m.Type == pgwire.ReadyForQuery:
			return e, failed, true
		}
	}
}

// insert writes a row in a transaction and tells what became of it.
func (w *realWriter) insert() (f fate, alive bool) {
	row := fmt.Sprintf("INSERT INTO written VALUES (%d, %d)", w.id, len(w.fates))
	commit := pgwire.AppendQuery(nil, "COMMIT")
	if w.id%2 == 1 {
		commit = synced(run("COMMIT"))
	}
	for _, send := range [][]byte{pgwire.AppendQuery(nil, "BEGIN"), pgwire.AppendQuery(nil, row), commit} {
		e, failed, alive := w.step(send)
		if !failed {
			continue
		}
		w.last = e.Code + " " + e.Message + ": " + e.Detail
		switch {
		case strings.Contains(e.Detail, maybe):
			return unsaid, alive
		case strings.Contains(e.Detail, none):
			return undone, alive
		}
		return unsaid, alive
	}
	return done, true
}

// realPair are a primary and its synchronous standby behind a proxy.
type realPair struct {
	*testProxy
	t         *testing.T
	old, heir *pgcluster.Node
	all       sync.WaitGroup
	writers   []*realWriter
}

func (r *realPair) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *realPair) value(n *pgcluster.Node, sql string) string {
	r.t.Helper()
	v, err := n.Value(r.t.Context(), sql)
	r.must(err)
	return v
}

func (r *realPair) nextID() cluster.XID {
	r.t.Helper()
	n, err := strconv.ParseUint(r.value(r.heir, nextID), 10, 64)
	r.must(err)
	return cluster.XID(n)
}

// write has further writers write rows until one is not committed, or over holds.
func (r *realPair) write(n int, over func() bool) {
	for range n {
		w := &realWriter{id: len(r.writers), c: r.connect(r.t, "postgres")}
		r.writers = append(r.writers, w)
		r.all.Go(func() {
			for alive := true; alive && (len(w.fates) == 0 || !over()); {
				var f fate
				f, alive = w.insert()
				w.fates = append(w.fates, f)
			}
			w.c.Close()
		})
	}
}

// committing counts the sessions that wait for the answer to a COMMIT and know their transaction's id.
func (r *realPair) committing() int {
	n := 0
	r.onLoops(func(h *home) {
		for s := range h.sessions {
			if b := s.find(0); b != nil && b.outstanding() > 0 && s.commits != nil && s.commits.done {
				n++
			}
		}
	})
	return n
}

// TestRealCommitOutcome kills the primary while clients commit, half of them with their COMMIT on the way to a synchronous standby and half
// of them before that, and holds what they are told against what the standby has when it is promoted.
func TestRealCommitOutcome(t *testing.T) {
	if testing.Short() {
		t.Skip("left out with -short: starts two servers and kills one")
	}
	const half = 20
	ctx := t.Context()
	c := pgcluster.StartTest(t, pgcluster.Options{Nodes: 2})
	r := &realPair{t: t, old: c.Nodes[0], heir: c.Nodes[1]}
	r.must(r.old.Exec(ctx, "CREATE DATABASE db"))
	r.testProxy = newTestProxy(t, setup{
		conf:    "auto_failover = on\nload_balance_mode = off\nmax_pool = 1\n",
		tweak:   func(c *conf.Config) { c.Pool.NumInitChildren = 2*half + 4 },
		servers: func(testing.TB) []int { return []int{r.old.Port, r.heir.Port} },
	})
	table := r.connect(t, "postgres")
	ok(t, table, "CREATE TABLE written (writer int, row int)")
	table.Bye()
	r.must(r.heir.WaitStreaming(ctx, r.old))
	r.must(r.old.Exec(ctx, "ALTER SYSTEM SET synchronous_standby_names = '*'"))
	r.must(r.old.Reload())
	await(t, "the standby is synchronous", func() bool { return r.value(r.old, "SELECT sync_state FROM pg_stat_replication") == "sync" })

	var stop atomic.Bool
	r.write(half, stop.Load)
	await(t, "rows are written", func() bool { return r.value(r.heir, "SELECT pg_last_xact_replay_timestamp() IS NOT NULL") == "t" })
	r.must(r.heir.Pause())
	await(t, "the first half waits for the standby", func() bool { return r.committing() == half })
	await(t, "the server has its COMMITs", func() bool {
		return r.value(r.old, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'") == strconv.Itoa(half)
	})
	await(t, "its WAL is on the way", func() bool {
		return r.value(r.old, "SELECT sent_lsn = pg_current_wal_flush_lsn() FROM pg_stat_replication") == "t"
	})
	sender, err := strconv.Atoi(r.value(r.old, "SELECT pid FROM pg_stat_replication"))
	r.must(err)
	r.must(syscall.Kill(sender, syscall.SIGSTOP))
	r.write(half, stop.Load)
	await(t, "the second half waits", func() bool { return r.committing() == 2*half })
	stop.Store(true)
	r.must(r.old.Kill(ctx))
	r.publish(t, condemn)
	r.must(r.heir.Resume())
	r.must(pgcluster.Poll(ctx, "all is replayed", func() (bool, error) {
		const sql = "SELECT pg_last_wal_replay_lsn() = pg_last_wal_receive_lsn() AND NOT EXISTS (SELECT FROM pg_stat_wal_receiver)"
		return r.value(r.heir, sql) == "t", nil
	}))
	b := cluster.Bounds{Before: r.nextID()}
	r.must(r.heir.Promote(ctx))
	b.After = r.nextID()
	r.publish(t, inherit(1, b))
	r.all.Wait()
	r.compare()
	if n := r.outcomes(); n[meter.Committed] != half || n[meter.RolledBack] != half || n[meter.Unknown] != 0 {
		t.Errorf("found out: %d committed, %d rolled back, %d unknown; bounds %v", n[meter.Committed], n[meter.RolledBack], n[meter.Unknown], b)
	}
}

// compare holds what the writers were told against what is there.
func (r *realPair) compare() {
	r.t.Helper()
	there := written(r.t, r.heir)
	told := make(map[fate]int)
	for _, w := range r.writers {
		for row, f := range w.fates {
			told[f]++
			times := there[[2]int{w.id, row}]
			if times > 1 || f == done && times != 1 || f == undone && times != 0 {
				r.t.Errorf("writer %d row %d: told %d (%s), it is there %d times", w.id, row, f, w.last, times)
			}
		}
	}
	r.t.Logf("told of %d rows that they are there, of %d that they are not, of %d nothing", told[done], told[undone], told[unsaid])
}

// written counts the rows in the table.
func written(t *testing.T, n *pgcluster.Node) map[[2]int]int {
	t.Helper()
	conn, err := n.Connect(t.Context(), "dbname=db")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	rows, err := conn.Query(t.Context(), "SELECT writer, row FROM written")
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[[2]int]int)
	var writer, row int
	if _, err := pgx.ForEachRow(rows, []any{&writer, &row}, func() error { out[[2]int{writer, row}]++; return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}
