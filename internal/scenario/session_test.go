package scenario

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/internal/site"
)

// worker is a client that repeats something through pgpool, a short pause between, until it is ended.
type worker struct {
	name  string
	do    func() error
	stop  context.CancelFunc
	ended sync.WaitGroup
	done  atomic.Int64 // how often it succeeded
	tried atomic.Int64
	turns int // how often it waits for an answer each time

	// Read after end.
	errors []error
	gap    time.Duration // the longest time between two successes or failures
	late   time.Duration // how much longer than usual such times were, all together
}

// patience bounds the wait for a condition.
const patience = 3 * time.Minute

// usual is how long a statement and the pause behind it may take on a machine that is not held up.
const usual = 200 * time.Millisecond

// connect opens a session of pgx on the client's machine.
func (s *example) connect(t *testing.T, user string) *pgx.Conn {
	t.Helper()
	conn, err := s.dial(t.Context(), user)
	site.Must(t, err)
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func (s *example) dial(ctx context.Context, user string) (*pgx.Conn, error) {
	return s.dialTo(ctx, s.ip+" port=9999", user)
}

func (s *example) dialTo(ctx context.Context, address, user string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig("host=" + address + " dbname=postgres sslmode=disable default_query_exec_mode=simple_protocol")
	if err != nil {
		return nil, err
	}
	config.User, config.Password = user, passwords[user]
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		return s.client.Dial(ctx, network, address)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return pgx.ConnectConfig(ctx, config)
}

// balanced opens a session whose reads go to one of these nodes.
func (s *example) balanced(t *testing.T, nodes ...int) *pgx.Conn {
	t.Helper()
	for range 40 {
		conn := s.connect(t, "pgpool")
		rows, err := conn.Query(t.Context(), "SHOW pool_nodes")
		site.Must(t, err)
		found, err := pgx.CollectRows(rows, pgx.RowToMap)
		site.Must(t, err)
		for id, row := range found {
			if row["load_balance_node"] == "true" && slices.Contains(nodes, id) {
				return conn
			}
		}
		site.Must(t, conn.Close(t.Context()))
	}
	t.Fatalf("no session reads from %v", nodes)
	return nil
}

// repeat starts a worker.
func (s *example) repeat(t *testing.T, name string, do func() error) *worker {
	t.Helper()
	w := startWorker(t, name, do)
	s.Await(t, name+" works", patience, func() (string, bool) { return "", w.done.Load() > 0 })
	return w
}

func startWorker(t *testing.T, name string, do func() error) *worker {
	ctx, cancel := context.WithCancel(context.Background())
	w := &worker{name: name, do: do, stop: cancel, turns: 1}
	t.Cleanup(cancel)
	w.ended.Go(func() { w.run(ctx) })
	return w
}

// besides repeats a statement on one session with a server itself. What that is late is the machine's doing, not pgpool's.
func besides(t *testing.T, conn *pgx.Conn, sql string) *worker {
	t.Helper()
	w := startWorker(t, "besides", func() error { _, err := conn.Exec(context.Background(), sql); return err })
	t.Cleanup(func() {
		w.stop()
		w.ended.Wait()
		conn.Close(context.Background())
	})
	return w
}

// besides is that for one of the servers, which is not harmed meanwhile.
func (s *example) besides(t *testing.T, node int, sql string) *worker {
	t.Helper()
	conn, err := s.dialTo(t.Context(), s.servers[node].Address().String()+" port=5432", "postgres")
	site.Must(t, err)
	return besides(t, conn, sql)
}

func (w *worker) run(ctx context.Context) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	last := time.Now()
	for {
		err := w.do()
		now := time.Now()
		w.gap, w.late, last = max(w.gap, now.Sub(last)), w.late+max(now.Sub(last)-usual, 0), now
		if err != nil {
			w.errors = append(w.errors, err)
		} else {
			w.done.Add(1)
		}
		w.tried.Add(1)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// statement repeats a statement on one session. It is never broken off, as that would look like a failure of pgpool's. A session that
// was cut is replaced.
func (s *example) statement(t *testing.T, name string, conn *pgx.Conn, sql string) *worker {
	t.Helper()
	user := conn.Config().User
	w := s.repeat(t, name, func() error {
		if conn.IsClosed() {
			again, err := s.dial(context.Background(), user)
			if err != nil {
				return err
			}
			conn = again
		}
		_, err := conn.Exec(context.Background(), sql)
		return err
	})
	t.Cleanup(func() {
		w.stop()
		w.ended.Wait()
		conn.Close(context.Background())
	})
	return w
}

// later runs a statement beside the test; what is returned waits for it and tells how long it took.
func (s *example) later(t *testing.T, conn *pgx.Conn, sql string) func() (time.Duration, error) {
	ended := make(chan error, 1)
	var took time.Duration
	go func() {
		began := time.Now()
		_, err := conn.Exec(context.Background(), sql)
		took = time.Since(began)
		ended <- err
	}()
	wait := sync.OnceValues(func() (time.Duration, error) {
		err := <-ended
		return took, err
	})
	t.Cleanup(func() { _, _ = wait() }) // the error is the caller's
	return wait
}

// write repeats an INSERT.
func (s *example) write(t *testing.T, name string) *worker {
	t.Helper()
	return s.statement(t, name, s.connect(t, "postgres"), insert(name))
}

func insert(name string) string { return "INSERT INTO written VALUES ('" + name + "')" }

// read repeats a read that is balanced to one of these nodes.
func (s *example) read(t *testing.T, name string, nodes ...int) *worker {
	t.Helper()
	conn := s.balanced(t, nodes...)
	s.Await(t, fmt.Sprintf("%s is answered by one of nodes %v", name, nodes), patience, func() (address string, ok bool) {
		site.Must(t, conn.QueryRow(t.Context(), where).Scan(&address))
		return address, slices.ContainsFunc(nodes, func(id int) bool { return s.servers[id].Address().String() == address })
	})
	return s.statement(t, name, conn, where)
}

// where asks which server answers a read.
const where = "SELECT host(inet_server_addr())"

// arrive repeats a whole session: login, a write, logout.
func (s *example) arrive(t *testing.T, name string) *worker {
	t.Helper()
	w := s.repeat(t, name, func() error {
		conn, err := s.dial(context.Background(), "postgres")
		if err != nil {
			return err
		}
		_, err = conn.Exec(context.Background(), "INSERT INTO written VALUES ($1)", name)
		return errors.Join(err, conn.Close(context.Background()))
	})
	w.turns = 5 // the connection, the challenge, the proof, the write, the end
	return w
}

// proceed waits until the worker has succeeded some more times.
func (s *example) proceed(t *testing.T, w *worker) {
	t.Helper()
	goal := w.done.Load() + 5
	s.Await(t, w.name+" goes on", patience, func() (string, bool) {
		return fmt.Sprintf("%d of %d attempts succeeded", w.done.Load(), w.tried.Load()), w.done.Load() >= goal
	})
}

// end stops the worker after its statement.
func (w *worker) end(t *testing.T) {
	t.Helper()
	w.stop()
	w.ended.Wait()
	t.Logf("%s: %d successes, longest gap %d ms, %d errors", w.name, w.done.Load(), w.gap.Milliseconds(), len(w.errors))
}

// undisturbed ends workers, which must not have noticed anything but what besides has noticed, too.
func undisturbed(t *testing.T, besides *worker, all ...*worker) {
	t.Helper()
	for _, w := range append(all, besides) {
		w.end(t)
	}
	for _, w := range all {
		if len(w.errors) > 0 {
			t.Errorf("%s was disturbed:\n%s", w.name, w.summary())
		}
		if w.gap > 2*time.Second+time.Duration(w.turns)*besides.gap {
			t.Errorf("%s stood still for %s", w.name, w.gap)
		}
	}
}

// onlyInFlight waits until the worker goes on and ends it: at most one statement was lost, with an error that says so.
func (s *example) onlyInFlight(t *testing.T, w *worker) {
	t.Helper()
	s.proceed(t, w)
	w.end(t)
	lost := len(w.errors) <= 1
	for _, err := range w.errors {
		var pgErr *pgconn.PgError
		lost = lost && errors.As(err, &pgErr) && (pgErr.Code == "57P01" || pgErr.Code == "08006")
	}
	if !lost {
		t.Errorf("%s had more than one statement fail, or with another error than it should:\n%s", w.name, w.summary())
	}
}

// summary counts equal errors.
func (w *worker) summary() string {
	var b strings.Builder
	for i := 0; i < len(w.errors); {
		n := i + 1
		for n < len(w.errors) && w.errors[n].Error() == w.errors[i].Error() {
			n++
		}
		fmt.Fprintf(&b, "%d times %v\n", n-i, w.errors[i])
		i = n
	}
	return b.String()
}
