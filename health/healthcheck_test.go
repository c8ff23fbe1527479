package health

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gopgpool/auth"
	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/logging"
)

// world is three servers to check, each with a way to fail. Only the bubble's goroutines use it.
type world struct {
	mu       sync.Mutex
	fails    map[cluster.NodeID]int  // attempts still to fail; negative = all
	silent   map[cluster.NodeID]bool // attempts hang until their context ends
	err      error                   // of an attempt that fails
	settings Settings
	findings []Finding

	store *cluster.Store
	check *Check
	lines *bytes.Buffer
}

func newWorld(t *testing.T, c conf.NodeHealthCheck) *world {
	t.Helper()
	w := &world{
		fails: map[cluster.NodeID]int{}, silent: map[cluster.NodeID]bool{}, lines: &bytes.Buffer{},
		err:      errors.New("refused"),
		settings: Settings{HealthCheck: conf.HealthCheck{Global: c}},
		store:    cluster.NewStore(three(cluster.ModeStreaming)),
	}
	cfg := logging.Default()
	cfg.Writer, cfg.LinePrefix, cfg.MinMessages = w.lines, "", logging.Debug5
	out, err := logging.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	prober, err := NewProber(func(string, string) (auth.Entry, error) { return auth.Entry{}, nil }, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.check = NewCheck(w.store, NewBoard(w.store), prober, w.current, w.report, "", out.Logger())
	w.check.probe = w.probe
	return w
}

func (w *world) current() Settings {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.settings
}

func (w *world) report(f Finding) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.findings = append(w.findings, f)
}

func (w *world) probe(ctx context.Context, n cluster.Node, _ Login) error {
	w.mu.Lock()
	left, silent, err := w.fails[n.ID], w.silent[n.ID], w.err
	if left > 0 {
		w.fails[n.ID]--
	}
	w.mu.Unlock()
	switch {
	case silent:
		<-ctx.Done()
		return ctx.Err()
	case left != 0:
		return err
	}
	return nil
}

// run lets the check work for d of virtual time.
func (w *world) run(t *testing.T, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := w.check.Run(ctx); err != nil {
		t.Error(err)
	}
}

func (w *world) stats(id cluster.NodeID) cluster.HealthStats {
	return w.store.Gauges().Of(id).HealthCheck
}

func TestHealthCheckRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, conf.NodeHealthCheck{Period: 10 * time.Second, MaxRetries: 2, RetryDelay: time.Second})
		w.fails[1], w.fails[2] = 1, -1
		// Rounds at 0 s, then 10 s after the end of the round before: node 2 needs 2 s for its retries.
		w.run(t, 15*time.Second)
		for id, want := range map[cluster.NodeID]cluster.HealthStats{
			0: {Total: 2, Success: 2},
			1: {Total: 2, Success: 2, Retry: 1, MaxRetry: 1, MaxDuration: time.Second, TotalDuration: time.Second},
			2: {
				Total: 2, Fail: 2, Retry: 4, MaxRetry: 2, MaxDuration: 2 * time.Second, MinDuration: 2 * time.Second,
				TotalDuration: 4 * time.Second,
			},
		} {
			got := w.stats(id)
			if got.Last.IsZero() || got.LastSuccess.IsZero() != (id == 2) || got.LastFailure.IsZero() == (id == 2) {
				t.Errorf("node %d: times %+v", id, got)
			}
			got.Last, got.LastSuccess, got.LastFailure = time.Time{}, time.Time{}, time.Time{}
			if got != want {
				t.Errorf("node %d: %+v, want %+v", id, got, want)
			}
		}
		for _, line := range []string{
			"LOG:  health check retrying on DB node: 1 (round:1)\n", "LOG:  health check retrying on DB node: 1 succeeded\n",
			"LOG:  health check retrying on DB node: 2 (round:2)\n", "LOG:  health check failed on node 2 (timeout:0)\n",
			"DETAIL:  refused\n",
		} {
			if !strings.Contains(w.lines.String(), line) {
				t.Errorf("the log lacks %q", line)
			}
		}
		failed := 0
		for _, f := range w.findings {
			if f.Err != nil {
				failed++
				if f.Node != 2 || f.TimedOut || f.Retries != 2 || f.Seen != w.store.Current() {
					t.Errorf("finding %+v", f)
				}
			}
		}
		if failed != 2 || len(w.findings) != 6 {
			t.Errorf("%d findings, %d of a failure", len(w.findings), failed)
		}
	})
}

func TestHealthCheckTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, conf.NodeHealthCheck{Period: time.Hour, Timeout: 20 * time.Second, RetryDelay: time.Second})
		w.silent[1] = true
		w.run(t, time.Minute)
		// The second attempt, at once, confirms what one slow answer does not prove.
		s := w.stats(1)
		if s.Fail != 1 || s.Retry != 1 || s.MaxDuration != 40*time.Second {
			t.Errorf("%+v", s)
		}
		if !strings.Contains(w.lines.String(), "health check failed on node 1 (timeout:1)") {
			t.Errorf("log:\n%s", w.lines)
		}
	})
}

func TestHealthCheckStopsWithinAnAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, conf.NodeHealthCheck{Period: time.Hour, Timeout: time.Hour})
		w.silent[1] = true
		w.run(t, time.Minute)
		if s := w.stats(1); s.Total != 0 {
			t.Errorf("the end of the daemon was counted as a failure: %+v", s)
		}
	})
}

func TestHealthCheckSkipsAndSpares(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, conf.NodeHealthCheck{Period: time.Hour})
		v := three(cluster.ModeStreaming)
		v.Nodes[0].Status = cluster.StatusDown
		v.Nodes[1].DisallowFailover = true
		v.Nodes[2].Status = cluster.StatusQuarantine
		w.store.Publish(v)
		w.fails[1], w.fails[2] = -1, -1
		w.run(t, time.Minute)
		if s := w.stats(0); s.Total != 1 || s.Skip != 1 || s.LastSkip.IsZero() || s.Last.IsZero() || s.Success != 0 {
			t.Errorf("skipped: %+v", s)
		}
		if s := w.stats(1); s.Total != 1 || s.Fail != 0 || !s.LastFailure.IsZero() {
			t.Errorf("spared: %+v", s)
		}
		if s := w.stats(2); s.Fail != 1 {
			t.Errorf("quarantined: %+v", s)
		}
		for _, line := range []string{
			"health check failed on node 1 but failover is disallowed for the node", "health check failed on quarantine node 2",
		} {
			if !strings.Contains(w.lines.String(), line) {
				t.Errorf("the log lacks %q", line)
			}
		}
	})
}

func TestHealthCheckReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, conf.NodeHealthCheck{})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- w.check.Run(ctx) }()
		synctest.Wait()
		if s := w.stats(0); s.Total != 0 {
			t.Errorf("checked though off: %+v", s)
		}
		// A reload turns the check on, for one node with values of its own, and adds a node.
		w.mu.Lock()
		w.settings.HealthCheck = conf.HealthCheck{
			Global: conf.NodeHealthCheck{Period: 10 * time.Second},
			Nodes:  map[int]*conf.NodeHealthCheck{1: {Period: time.Second}},
		}
		w.mu.Unlock()
		v := three(cluster.ModeStreaming)
		v.Nodes = append(v.Nodes, cluster.Node{ID: 3, Status: cluster.StatusUp})
		w.check.Wake()
		synctest.Wait()
		w.store.Publish(v)                              // failover comes to it after the reload
		<-time.After(10*time.Second - time.Millisecond) // virtual time
		synctest.Wait()
		for id, want := range []uint64{1, 10, 1, 1} {
			if got := w.stats(cluster.NodeID(id)).Total; got != want {
				t.Errorf("node %d: %d checks, want %d", id, got, want)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestDownRequested(t *testing.T) {
	path := filepath.Join(t.TempDir(), "backend_down_request")
	h := &Check{downFile: path, log: logging.Logger{}}
	if h.downRequested(0) {
		t.Error("no file asks for a failure")
	}
	if err := os.WriteFile(path, []byte("1\tdown\nx\tdown\n2\tup\n3 down\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for id, want := range []bool{false, true, false, false} {
		if got := h.downRequested(cluster.NodeID(id)); got != want {
			t.Errorf("node %d: %v", id, got)
		}
	}
	if err := h.attempt(t.Context(), cluster.Node{ID: 1}, conf.NodeHealthCheck{}, true); !errors.Is(err, errDownRequested) {
		t.Errorf("attempt: %v", err)
	}
}

func TestTally(t *testing.T) {
	var s cluster.HealthStats
	add := func(o outcome, ms int) { s = tally(s, o, noon, noon.Add(time.Duration(ms)*time.Millisecond)) }
	add(outcome{skipped: true}, 0)
	add(outcome{}, 7)
	add(outcome{retries: 2}, 3)
	add(outcome{failed: true, retries: 3}, 20)
	add(outcome{failed: true, spared: true}, 5)
	want := cluster.HealthStats{
		Total: 5, Success: 2, Fail: 1, Skip: 1, Retry: 5, MaxRetry: 3,
		MaxDuration: 20 * time.Millisecond, MinDuration: 3 * time.Millisecond, TotalDuration: 35 * time.Millisecond,
		Last: noon.Add(5 * time.Millisecond), LastSuccess: noon.Add(3 * time.Millisecond), LastSkip: noon,
		LastFailure: noon.Add(20 * time.Millisecond),
	}
	if s != want {
		t.Errorf("got  %+v\nwant %+v", s, want)
	}
}
