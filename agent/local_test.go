package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/internal/pgcluster"
	"gopgpool/logging"
)

// These tests act on real servers: what is promised of processes and files can only be seen there.

func TestMain(m *testing.M) { os.Exit(m.Run()) }

// pair starts a primary with n standbys and returns an agent for each.
func pair(t *testing.T, opts pgcluster.Options) (*pgcluster.Cluster, []*Local) {
	t.Helper()
	c := pgcluster.StartTest(t, opts)
	var locals []*Local
	for _, n := range c.Nodes {
		l := &Local{DataDirectory: n.DataDir, BinDirectory: c.BinDir, Log: logging.To(testWriter{t}, logging.Log)}
		t.Cleanup(func() { // servers that the agent has started are nobody's children
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			if _, err := l.Stop(ctx, 1<<40, cluster.StopNow); err != nil {
				t.Error(err)
			}
		})
		locals = append(locals, l)
	}
	return c, locals
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

func limited(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func control(t *testing.T, l *Local) cluster.Control {
	t.Helper()
	c, err := l.Control(t.Context())
	check(t, err)
	return c
}

func TestStartStopControl(t *testing.T) {
	c, locals := pair(t, pgcluster.Options{Nodes: 2})
	primary, standby := locals[0], locals[1]
	ctx := limited(t, time.Minute)

	before := control(t, primary)
	if !before.Running || before.PID != c.Nodes[0].Pids()[0] || before.State != stateProduction || before.Standby || before.Broken {
		t.Fatalf("%+v", before)
	}
	if s := control(t, standby); !s.Running || !s.Standby || s.SystemID != before.SystemID {
		t.Fatalf("%+v", s)
	}

	// What the standby has received of a clean shutdown is what Stop returns, to the byte.
	check(t, c.Nodes[0].Exec(ctx, "CREATE TABLE t AS SELECT generate_series(1, 1000)"))
	end, err := primary.Stop(ctx, 5, cluster.StopFast)
	check(t, err)
	got, err := c.Nodes[1].Value(ctx, "SELECT pg_last_wal_receive_lsn()::text")
	check(t, err)
	if got != end.String() || end == 0 {
		t.Fatalf("the standby has %s, Stop says %s", got, end)
	}
	if after := control(t, primary); after.Running || after.Orphans || after.State != stateShutDown || after.Checkpoint != end {
		t.Fatalf("%+v", after)
	}

	// An older term is refused from now on, also by a new process.
	other := &Local{DataDirectory: primary.DataDirectory, BinDirectory: primary.BinDirectory}
	if err := other.Start(ctx, 4); !errors.Is(err, cluster.ErrOldTerm) {
		t.Fatal(err)
	}
	check(t, primary.Start(ctx, 5))
	if v, err := c.Nodes[0].Value(ctx, "SELECT count(*) FROM t"); err != nil || v != "1000" {
		t.Fatal(v, err)
	}
	check(t, primary.Start(ctx, 5)) // it runs already

	end, err = standby.Stop(ctx, 5, cluster.StopFast)
	if err != nil || end != 0 {
		t.Fatal(end, err)
	}
	check(t, standby.Start(ctx, 6))
	if s := control(t, standby); !s.Running || !s.Standby {
		t.Fatalf("%+v", s)
	}
}

func TestStopNowFrozenAndOrphans(t *testing.T) {
	c, locals := pair(t, pgcluster.Options{Nodes: 1})
	l, n := locals[0], c.Nodes[0]
	ctx := limited(t, time.Minute)
	check(t, n.Pause())
	began := time.Now()
	if _, err := l.Stop(ctx, 1, cluster.StopNow); err != nil {
		t.Fatal(err)
	}
	t.Log("frozen server stopped after", time.Since(began))
	if s := control(t, l); s.Running || s.Orphans {
		t.Fatalf("%+v", s)
	}

	// A first process that is killed leaves others, here a frozen one that cannot notice.
	check(t, l.Start(ctx, 1))
	s := control(t, l)
	var frozen int
	p, err := locate(l.DataDirectory)
	check(t, err)
	for _, one := range p.gang().all {
		if one.pid != s.PID {
			frozen = one.pid
			check(t, syscall.Kill(one.pid, syscall.SIGSTOP))
		}
	}
	check(t, syscall.Kill(s.PID, syscall.SIGKILL))
	check(t, poll(ctx, func() (bool, error) { return !control(t, l).Running, nil }))
	if s := control(t, l); !s.Orphans || frozen == 0 {
		t.Fatalf("%+v", s)
	}
	check(t, l.Start(ctx, 1))
	if _, ok := readProcess(frozen); ok {
		t.Fatal("an orphan is left")
	}
}

func TestStalePidFile(t *testing.T) {
	c, locals := pair(t, pgcluster.Options{Nodes: 1})
	l, n := locals[0], c.Nodes[0]
	ctx := limited(t, time.Minute)
	check(t, n.Kill(ctx))
	// The number in postmaster.pid belongs to another process of the same user now.
	p, err := locate(l.DataDirectory)
	check(t, err)
	other := sleeper(t, &p)
	path := filepath.Join(n.DataDir, "postmaster.pid")
	text, err := os.ReadFile(path)
	check(t, err)
	_, rest, _ := strings.Cut(string(text), "\n")
	check(t, os.WriteFile(path, []byte(other+"\n"+rest), 0o600))
	if s := control(t, l); s.Running || s.Orphans {
		t.Fatalf("%+v", s)
	}
	if _, err := l.Stop(ctx, 1, cluster.StopNow); err != nil {
		t.Fatal(err)
	}
	check(t, l.Start(ctx, 1))
	if err := syscall.Kill(atoi(t, other), 0); err != nil {
		t.Fatal("the other process was killed")
	}
}
