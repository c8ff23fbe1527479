package scenario

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// session is a client that stays connected through pgpool and works all the time.
type session struct {
	name  string
	work  string // a statement
	conn  *pgx.Conn
	stop  context.CancelFunc
	ended sync.WaitGroup
	done  atomic.Int64 // statements that succeeded

	// Read after end.
	errors []error
	gap    time.Duration // longest time between two statements' ends
}

// lastWritten numbers the rows that sessions write.
type writer struct{ last atomic.Int64 }

// connect opens a session of pgx on the client's machine.
func (s *site) connect(t *testing.T, user string) *pgx.Conn {
	t.Helper()
	conn, err := s.dial(t.Context(), user)
	must(t, err)
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func (s *site) dial(ctx context.Context, user string) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig("host=192.168.137.100 port=9999 dbname=postgres sslmode=disable default_query_exec_mode=simple_protocol")
	if err != nil {
		return nil, err
	}
	config.User, config.Password = user, passwords[user]
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		return s.client.Dial(ctx, network, address)
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return pgx.ConnectConfig(ctx, config)
}

// work starts a session that repeats a statement every 20 ms until end. "$n" in it is a new number each time.
func (s *site) work(t *testing.T, name string, conn *pgx.Conn, statement func(i int64) string) *session {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &session{name: name, conn: conn, stop: cancel}
	t.Cleanup(cancel)
	w.ended.Go(func() { w.run(ctx, statement) })
	s.await(t, name+" works", 10*time.Second, func() (string, bool) { return "", w.done.Load() > 0 })
	return w
}

func (w *session) run(ctx context.Context, statement func(i int64) string) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	last := time.Now()
	for i := int64(1); ; i++ {
		// A statement is not broken off: that would look like a failure of pgpool's.
		_, err := w.conn.Exec(context.Background(), statement(i))
		now := time.Now()
		w.gap, last = max(w.gap, now.Sub(last)), now
		if err != nil {
			w.errors = append(w.errors, err)
		} else {
			w.done.Add(1)
		}
		if w.conn.IsClosed() {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// end stops the session after its statement.
func (w *session) end(t *testing.T) {
	t.Helper()
	w.stop()
	w.ended.Wait()
	t.Logf("session %s: %d statements, longest gap %d ms, %d errors", w.name, w.done.Load(), w.gap.Milliseconds(), len(w.errors))
}

// undisturbed ends the session, which must not have noticed anything.
func (w *session) undisturbed(t *testing.T, gap time.Duration) {
	t.Helper()
	w.end(t)
	if len(w.errors) > 0 {
		t.Errorf("session %s: %v", w.name, w.errors[0])
	}
	if w.gap > gap {
		t.Errorf("session %s stood still for %s", w.name, w.gap)
	}
}

// onlyInFlight ends the session: at most one statement was lost, with an error that says so, and the work went on.
func (w *session) onlyInFlight(t *testing.T) {
	t.Helper()
	w.end(t)
	if len(w.errors) > 1 {
		t.Errorf("session %s: %d errors, first %v, last %v", w.name, len(w.errors), w.errors[0], w.errors[len(w.errors)-1])
	}
	for _, err := range w.errors {
		var pgErr *pgconn.PgError
		if !errors.As(err, &pgErr) || (pgErr.Code != "57P01" && pgErr.Code != "08006") {
			t.Errorf("session %s: %v", w.name, err)
		}
	}
}

// write is an INSERT of a row of its own.
func write(name string) func(i int64) string {
	return func(i int64) string {
		return fmt.Sprintf("INSERT INTO written (n, session) SELECT coalesce(max(n), 0) + 1, '%s' FROM written", name)
	}
}

func read(int64) string { return "SELECT count(*) FROM pg_class" }
