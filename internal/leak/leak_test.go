package leak

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/internal/pgcluster"
)

func TestSessionMode(t *testing.T) { newStage(t, "session").storm(t) }

func TestTransactionMode(t *testing.T) { newStage(t, "transaction").storm(t) }

// setting is a number from the environment.
func setting(t *testing.T, name string, fallback int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return fallback
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// storm is the test: some sessions to begin with, so that pgpool is as large as it has to be; all of them; and what is left.
func (s *stage) storm(t *testing.T) {
	seed, total := setting(t, "LEAK_SEED", 1), setting(t, "LEAK_SESSIONS", 300)
	if only := setting(t, "LEAK_ONLY", 0); only > 0 {
		t.Log(draw(uint64(seed), only))
		s.run(t, seed, func(int) int { return only }, 20)
		return
	}
	warm := max(total/10, 100)
	t.Logf("%s mode, seed %d: %d sessions and %d before them, %d at once", s.mode, seed, total, warm, places)
	s.run(t, seed, func(i int) int { return total + i }, warm)
	s.quiet(t)
	before := s.settled(t, footprint{}, time.Minute)
	began := time.Now()
	s.run(t, seed, func(i int) int { return i }, total)
	t.Logf("%d sessions in %s", total, time.Since(began).Round(time.Second))
	if t.Failed() {
		return
	}
	s.quiet(t)
	s.nothingLeft(t)
	s.sameConnections(t)
	s.everyPlace(t)
	s.quiet(t)
	after := s.settled(t, before, 3*time.Minute)
	t.Logf("pgpool before: %s; after: %s", before, after)
	s.compare(t, before, after)
}

// most is how many failures are shown; then the rest is left out.
const most = 5

// run lets the sessions of those numbers live, so many at a time as there are places.
func (s *stage) run(t *testing.T, seed int, number func(int) int, count int) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	next := make(chan int)
	var mu sync.Mutex
	failures := 0 // guarded by mu
	failed := func(what session, err error) {
		mu.Lock()
		defer mu.Unlock()
		if failures++; failures > most || ctx.Err() != nil {
			return
		}
		t.Errorf("LEAK_SEED=%d LEAK_ONLY=%d: %v\n%s", seed, what.number, err, what)
		if failures == most {
			cancel(errors.New("enough"))
		}
	}
	var workers sync.WaitGroup
	for range places {
		workers.Go(func() {
			for n := range next {
				what := draw(uint64(seed), n)
				if err := s.live(ctx, what); err != nil {
					failed(what, err)
				}
			}
		})
	}
	for i := 1; i <= count && ctx.Err() == nil; i++ {
		next <- number(i)
	}
	close(next)
	workers.Wait()
}

// ours are the roles of the sessions, in SQL.
const ours = "('" + plainRole + "', '" + tunedRole + "', '" + superRole + "')"

// patience is how long pgpool may take to be done with sessions that have gone.
const patience = 90 * time.Second

// quiet waits until no session of ours does anything on any server.
func (s *stage) quiet(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, node := range s.Nodes {
		last := ""
		err := pgcluster.Poll(ctx, "the servers are quiet", func() (bool, error) {
			var err error
			last, err = node.Value(ctx, `SELECT string_agg(format('%s %s since %s: %s', pid, state, state_change, query), E'\n')
				FROM pg_stat_activity WHERE state <> 'idle' AND usename IN `+ours)
			return last == "", err
		})
		if err != nil {
			t.Fatalf("%s: %v\n%s", node.Name, err, last)
		}
	}
}

// nothingLeft looks for what outlived its session on the servers.
func (s *stage) nothingLeft(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for what, query := range map[string]string{
		"advisory locks":               "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory'",
		"prepared transactions":        "SELECT count(*)::text FROM pg_prepared_xacts",
		"rows of open transactions":    "SELECT count(*)::text FROM leak_rows WHERE id = -1",
		"temporary tables and views":   "SELECT count(*)::text FROM pg_class WHERE relpersistence = 't'",
		"connections above the bounds": fmt.Sprintf("SELECT greatest(0, count(*) - %d)::text FROM pg_stat_activity WHERE usename IN %s", s.bound(), ours),
	} {
		last := ""
		err := pgcluster.Poll(ctx, what+" are gone", func() (bool, error) {
			var err error
			last, err = s.Nodes[0].Value(ctx, query)
			return last == "0", err
		})
		if err != nil {
			t.Errorf("%s %s: %v", last, what, err)
		}
	}
}

// bound is how many connections to a server pgpool may have for the sessions' roles.
func (s *stage) bound() int {
	if s.mode == "session" {
		return 3 * (places + 10)
	}
	return 3 * poolSize // a pool for each role
}

// everyPlace has as many sessions in a transaction at once as there can be: a lost connection or place would be missed.
func (s *stage) everyPlace(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	count := places
	if s.mode != "session" {
		count = poolSize
	}
	for i := range count {
		conn, err := pgconn.Connect(ctx, s.pool.ConnString("user="+plainRole))
		if err != nil {
			t.Errorf("session %d of %d at once: %v", i+1, count, err)
			return
		}
		defer conn.Close(context.Background())
		if _, err := conn.Exec(ctx, "BEGIN; SELECT nextval('public.leak_seq')").ReadAll(); err != nil {
			t.Errorf("transaction %d of %d at once: %v", i+1, count, err)
			return
		}
	}
}

// sameConnections compares the connections pgpool shows with those the servers have.
func (s *stage) sameConnections(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var shown, there []string
	err := pgcluster.Poll(ctx, "pgpool and the servers agree on the connections", func() (bool, error) {
		var err error
		if shown, err = s.shown(ctx); err != nil {
			return false, err
		}
		there, err = s.there(ctx)
		return slices.Equal(shown, there), err
	})
	if err != nil {
		t.Errorf("%v: pgpool shows %v, the servers %v", err, shown, there)
	}
}

// shown are node and process of each connection in SHOW pool_pools, sorted.
func (s *stage) shown(ctx context.Context) ([]string, error) {
	conn, err := pgconn.Connect(ctx, s.pool.ConnString())
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.Background())
	results, err := conn.Exec(ctx, "SHOW pool_pools").ReadAll()
	if err != nil {
		return nil, err
	}
	column := map[string]int{}
	for i, field := range results[0].FieldDescriptions {
		column[field.Name] = i
	}
	var all []string
	for _, row := range results[0].Rows {
		pid, user := string(row[column["pool_backendpid"]]), string(row[column["username"]])
		if pid != "0" && pid != "" && slices.Contains([]string{plainRole, tunedRole, superRole}, user) {
			all = append(all, string(row[column["backend_id"]])+" "+pid)
		}
	}
	slices.Sort(all)
	return all, nil
}

// there is the same as the servers see it.
func (s *stage) there(ctx context.Context) ([]string, error) {
	var all []string
	for _, node := range s.Nodes {
		text, err := node.Value(ctx, "SELECT string_agg(pid::text, ' ') FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename IN "+ours)
		if err != nil {
			return nil, err
		}
		for pid := range strings.FieldsSeq(text) {
			all = append(all, fmt.Sprint(node.ID, " ", pid))
		}
	}
	slices.Sort(all)
	return all, nil
}

// settled waits until pgpool holds no more than before, at most a while, and returns what it holds; with no before until it has stopped
// to shrink.
func (s *stage) settled(t *testing.T, before footprint, atMost time.Duration) footprint {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), atMost)
	defer cancel()
	var last footprint
	calm := time.Now()
	err := pgcluster.Poll(ctx, "pgpool has settled", func() (bool, error) {
		now, err := s.footprint(ctx)
		if err != nil {
			return false, err
		}
		if now.memory < last.memory-last.memory/50 || now.descriptors != last.descriptors || last.memory == 0 {
			calm = time.Now()
			last = now
		}
		if before.memory > 0 {
			last = now
			return len(grown(before, now)) == 0, nil
		}
		return time.Since(calm) > calmFor, nil
	})
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	return last
}

// footprint is what pgpool holds beside its connections to servers, which it may keep.
func (s *stage) footprint(ctx context.Context) (footprint, error) {
	f, err := footprintOf(s.pool.Pid())
	if err != nil {
		return f, err
	}
	for _, node := range s.Nodes {
		text, err := node.Value(ctx, "SELECT count(*)::text FROM pg_stat_activity WHERE usename IN "+ours)
		if err != nil {
			return f, err
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			return f, err
		}
		f.descriptors -= n
	}
	return f, nil
}

// grown says what did not return to what it was. A health check may hold a connection at any moment, the collector and the race
// detector keep some memory, and a blocked system call may cost a thread.
func grown(before, after footprint) []string {
	var found []string
	if limit := before.memory + slack*(before.memory/5+8<<20); after.memory > limit {
		found = append(found, fmt.Sprintf("%d bytes of memory, more than %d", after.memory, limit))
	}
	if after.descriptors > before.descriptors+2 {
		found = append(found, fmt.Sprintf("%d descriptors", after.descriptors))
	}
	if after.threads > before.threads+4 {
		found = append(found, fmt.Sprintf("%d threads", after.threads))
	}
	return found
}

func (s *stage) compare(t *testing.T, before, after footprint) {
	t.Helper()
	for _, what := range grown(before, after) {
		t.Errorf("pgpool holds %s; before it was %s", what, before)
	}
}
