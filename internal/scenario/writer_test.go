package scenario

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"gopgpool/internal/pgcluster"
)

// writer is a client that writes numbers, one after another, and notes those whose commit was acknowledged.
type writer struct {
	pgpool *pgcluster.Pgpool
	cancel context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex
	written  []int   // guarded by mu: acknowledged
	tolerant bool    // guarded by mu: errors are expected
	failures []error // guarded by mu: others
}

func startWriter(t *testing.T, p *pgcluster.Pgpool) *writer {
	ctx, cancel := context.WithCancel(context.Background())
	w := &writer{pgpool: p, cancel: cancel, done: make(chan struct{})}
	go w.run(ctx)
	t.Cleanup(func() { w.cancel(); <-w.done })
	return w
}

// writeEvery is the pause between two writes.
const writeEvery = 20 * time.Millisecond

func (w *writer) run(ctx context.Context) {
	defer close(w.done)
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			_ = conn.Close(context.Background())
		}
	}()
	tick := time.NewTicker(writeEvery)
	defer tick.Stop()
	for n := 1; ctx.Err() == nil; n++ {
		var err error
		if conn == nil {
			conn, err = w.pgpool.Connect(ctx)
		}
		if err == nil {
			_, err = conn.Exec(ctx, "INSERT INTO written VALUES ($1)", pgx.QueryExecModeExec, n)
		}
		w.note(ctx, n, err)
		if err != nil && conn != nil {
			_ = conn.Close(context.Background())
			conn = nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (w *writer) note(ctx context.Context, n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil:
		w.written = append(w.written, n)
	case ctx.Err() == nil && !w.tolerant:
		w.failures = append(w.failures, err)
	}
}

func (w *writer) mayFail(yes bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tolerant = yes
}

// acknowledged are the numbers whose commit was, in their order.
func (w *writer) acknowledged() []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.written)
}

// await waits until something more is acknowledged.
func (w *writer) await(t *testing.T) {
	t.Helper()
	before := len(w.acknowledged())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := pgcluster.Poll(ctx, "the writer goes on", func() (bool, error) { return len(w.acknowledged()) > before+1, nil }); err != nil {
		t.Fatal(err)
	}
}

// stop ends the writer, who must have met no error that was not expected.
func (w *writer) stop(t *testing.T) {
	t.Helper()
	w.cancel()
	<-w.done
	if err := errors.Join(w.failures...); err != nil {
		t.Error(err)
	}
}
