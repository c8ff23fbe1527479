package failover

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
)

type running struct {
	*Coordinator
	store *cluster.Store
	path  string
	out   *logging.Output
	lines *bytes.Buffer
	stop  func()
}

func run(t *testing.T, n int) *running {
	t.Helper()
	v, _ := First(cluster.ModeStreaming, backends(n), nil, start)
	r := &running{store: cluster.NewStore(v), path: filepath.Join(t.TempDir(), StatusFileName), lines: &bytes.Buffer{}}
	cfg := logging.Default()
	cfg.Writer, cfg.LinePrefix = r.lines, ""
	cfg.MinMessages = logging.Debug5
	out, err := logging.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.out = out
	r.Coordinator = NewCoordinator(Parts{
		Store: r.store, StatusFile: r.path, Log: out.Logger(), Policy: func() Policy { return Policy{} },
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	r.stop = func() { cancel(); wg.Wait() }
	t.Cleanup(r.stop)
	return r
}

func (r *running) settle(t *testing.T) *cluster.View {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := r.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	return r.store.Current()
}

func (r *running) file(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(r.path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(data), "\n", " ")
}

func TestCoordinator(t *testing.T) {
	r := run(t, 2)
	r.settle(t)
	if got := r.file(t); got != "up up " {
		t.Errorf("status file at start: %q", got)
	}
	first := r.store.Current()
	r.Used(1)
	r.Used(1)
	r.Report(seen(first, "PS"))
	v := r.settle(t)
	if v.Primary != 0 || v.Nodes[1].Status != cluster.StatusUp || v.Nodes[0].Status != cluster.StatusWaiting {
		t.Errorf("view %+v", v)
	}
	if v.Generation != first.Generation+2 {
		t.Errorf("generation %d after %d and two changes", v.Generation, first.Generation)
	}
	r.Used(1) // up already
	if again := r.settle(t); again != v {
		t.Error("a View was published though nothing changed")
	}

	r.Report(BackendsReloaded{Backends: backends(3)})
	r.settle(t)
	if got := r.file(t); got != "up up down " {
		t.Errorf("status file after a reload: %q", got)
	}
}

func TestCoordinatorStops(t *testing.T) {
	r := run(t, 1)
	r.settle(t)
	if err := os.Remove(r.path); err != nil {
		t.Fatal(err)
	}
	r.stop()
	if got := r.file(t); got != "up " {
		t.Errorf("status file at the end: %q", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Settle(ctx); err == nil {
		t.Error("Settle returned though nobody runs")
	}
}

// What is on disk already is not written again when it ends: a stop would wait for a slow disk.
func TestCoordinatorStopsWithoutWriting(t *testing.T) {
	r := run(t, 1)
	r.settle(t)
	before, err := os.Stat(r.path)
	if err != nil {
		t.Fatal(err)
	}
	r.stop()
	if after, err := os.Stat(r.path); err != nil || !os.SameFile(before, after) {
		t.Errorf("%v: it was written once more", err)
	}
}

func TestCoordinatorKeepsLastUsefulFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), StatusFileName)
	write(t, path, "up\ndown\n")
	v, _ := First(cluster.ModeStreaming, backends(2), []Mark{{Status: cluster.StatusDown}, {Status: cluster.StatusDown}}, start)
	c := NewCoordinator(Parts{Store: cluster.NewStore(v), StatusFile: path})
	c.save(v, true)
	if data, err := os.ReadFile(path); err != nil || string(data) != "up\ndown\n" {
		t.Errorf("file %q, %v", data, err)
	}
}

func TestCoordinatorRepeatsNothing(t *testing.T) {
	r := run(t, 2)
	v := r.settle(t)
	for range 3 {
		r.Report(seen(v, "PP"))
		v = r.settle(t)
	}
	r.out.Flush(time.Minute)
	if n := strings.Count(r.lines.String(), "say they are primary"); n != 2 {
		t.Errorf("%d lines about several primaries, want one with the choice and one standing\n%s", n, r.lines)
	}
}

func TestReportFromManyGoroutines(t *testing.T) {
	r := run(t, 64)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for id := range cluster.NodeID(64) {
				r.Used(id)
			}
		})
	}
	wg.Wait()
	for i, n := range r.settle(t).Nodes {
		if n.Status != cluster.StatusUp {
			t.Errorf("node %d: %v", i, n.Status)
		}
	}
}

func BenchmarkUsed(b *testing.B) {
	v, _ := First(cluster.ModeStreaming, backends(1), []Mark{{Status: cluster.StatusUp}}, start)
	c := NewCoordinator(Parts{Store: cluster.NewStore(v)})
	b.ReportAllocs()
	for b.Loop() {
		c.Used(0)
	}
}
