package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/internal/pgcluster"
)

// scram makes the servers ask for a password, so that what a standby connects with is real.
func scram() pgcluster.Options {
	return pgcluster.Options{Nodes: 2, Auth: "scram-sha-256", Password: `it's "a" \secret`, Slots: true}
}

func source(c *pgcluster.Cluster, n, standby *pgcluster.Node) cluster.Source {
	_ = c
	return cluster.Source{
		Host: n.Host, Port: n.Port, User: "postgres", Password: `it's "a" \secret`, Database: "postgres", SlotName: standby.Slot(),
		ApplicationName: standby.Name,
	}
}

func makeSlot(t *testing.T, at, of *pgcluster.Node) {
	t.Helper()
	check(t, at.Exec(t.Context(), `SELECT pg_create_physical_replication_slot($1, true)
		WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)`, of.Slot()))
}

// streams waits until n has everything up has.
func streams(t *testing.T, ctx context.Context, n, up *pgcluster.Node) {
	t.Helper()
	check(t, pgcluster.Poll(ctx, n.Name+" streams", func() (bool, error) {
		v, err := up.Value(ctx, "SELECT count(*) FROM pg_stat_replication WHERE application_name = $1 AND state = 'streaming'", n.Name)
		return v == "1", err
	}))
}

// diverge has the standby promoted while the old primary, which is killed, has more WAL than it.
func diverge(t *testing.T, ctx context.Context, c *pgcluster.Cluster, locals []*Local) {
	t.Helper()
	old, heir := c.Nodes[0], c.Nodes[1]
	check(t, old.Exec(ctx, "CREATE TABLE t AS SELECT 1 AS a"))
	check(t, c.WaitReplayed(ctx, old))
	check(t, heir.Stop(ctx, pgcluster.Fast))
	check(t, old.Exec(ctx, "INSERT INTO t SELECT generate_series(2, 1000)"))
	check(t, old.Kill(ctx))
	check(t, heir.Start(ctx))
	check(t, locals[1].Promote(ctx, 7))
	check(t, locals[1].Promote(ctx, 7)) // it is one
	check(t, heir.Exec(ctx, "INSERT INTO t VALUES (0)"))
	check(t, heir.Exec(ctx, "CHECKPOINT"))
	makeSlot(t, heir, old)
}

func TestRewindAndInterruptedRewind(t *testing.T) {
	c, locals := pair(t, scram())
	old, heir, l := c.Nodes[0], c.Nodes[1], locals[0]
	ctx := limited(t, time.Minute)
	diverge(t, ctx, c, locals)
	src := source(c, heir, old)
	src.Timeline = 2

	wrong := src
	wrong.Password = "no"
	if err := l.Rewind(ctx, 7, wrong); err == nil || errors.Is(err, cluster.ErrCannotRewind) || strings.Contains(err.Error(), src.Password) {
		t.Fatal(err)
	}
	if control(t, l).Broken {
		t.Fatal("nothing was changed")
	}
	check(t, l.Rewind(ctx, 7, src))
	if s := control(t, l); s.Broken || !s.Standby {
		t.Fatalf("%+v", s)
	}
	check(t, l.Start(ctx, 7))
	streams(t, ctx, old, heir)
	if v, err := old.Value(ctx, "SELECT current_setting('port')"); err != nil || v != itoa(old.Port) {
		t.Fatal("configuration of another host", v, err)
	}
	if err := l.Rewind(ctx, 7, src); !errors.Is(err, errRuns) {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(old.DataDir, autoConfName))
	if check(t, err); info.Mode().Perm() != 0o600 {
		t.Fatal(info.Mode())
	}

	// Interrupted: marked, never started, not rewound again, mended by a base backup.
	_, err = l.Stop(ctx, 7, cluster.StopFast)
	check(t, err)
	p, err := locate(l.DataDirectory)
	check(t, err)
	s := &site{Local: l, place: p}
	check(t, p.owner.as(func() error { return errors.Join(s.keep(), writeMark(p.mark())) }))
	if s := control(t, l); !s.Broken {
		t.Fatalf("%+v", s)
	}
	if err := l.Start(ctx, 7); !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	if err := l.Rewind(ctx, 7, src); !errors.Is(err, cluster.ErrCannotRewind) {
		t.Fatal(err)
	}
	check(t, l.BaseBackup(ctx, 7, src))
	if s := control(t, l); s.Broken || !s.Standby {
		t.Fatalf("%+v", s)
	}
	check(t, l.Start(ctx, 7))
	streams(t, ctx, old, heir)
}

func TestBaseBackupAndInterruptedBaseBackup(t *testing.T) {
	c, locals := pair(t, scram())
	up, n, l := c.Nodes[0], c.Nodes[1], locals[1]
	ctx := limited(t, time.Minute)
	src := source(c, up, n)
	check(t, up.Exec(ctx, "CREATE TABLE t AS SELECT repeat('x', 1000) AS a, i FROM generate_series(1, 20000) i"))
	if err := l.BaseBackup(ctx, 3, src); !errors.Is(err, errRuns) {
		t.Fatal(err)
	}
	_, err := l.Stop(ctx, 3, cluster.StopFast)
	check(t, err)
	before := control(t, l)
	check(t, os.WriteFile(filepath.Join(n.DataDir, "ours.crt"), []byte("of this host"), 0o600))

	// Cancelled while the copy is being received: the old directory is as it was, and nothing is left of the new one.
	p, err := locate(l.DataDirectory)
	check(t, err)
	short, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- l.BaseBackup(short, 3, src) }()
	check(t, poll(ctx, func() (bool, error) { return p.exists(filepath.Join(p.besides("new"), "PG_VERSION")) }))
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if there, _ := p.exists(p.besides("new")); there {
		t.Fatal("a half copy is left")
	}
	after := control(t, l)
	if after.Since = before.Since; after != before {
		t.Fatalf("%+v, %+v", before, after)
	}

	check(t, l.BaseBackup(ctx, 3, src))
	check(t, l.Start(ctx, 3))
	streams(t, ctx, n, up)
	if text, err := os.ReadFile(filepath.Join(n.DataDir, "ours.crt")); err != nil || string(text) != "of this host" {
		t.Fatal(string(text), err)
	}
	if there, _ := p.exists(p.besides("old")); there {
		t.Fatal("the old directory is left")
	}

	// The directory is lost altogether.
	_, err = l.Stop(ctx, 3, cluster.StopNow)
	check(t, err)
	check(t, os.RemoveAll(n.DataDir))
	if s := control(t, l); s.State != "" || s.Running {
		t.Fatalf("%+v", s)
	}
	check(t, l.BaseBackup(ctx, 3, src))
	if s := control(t, l); !s.Standby || s.SystemID != before.SystemID {
		t.Fatalf("%+v", s)
	}
}
