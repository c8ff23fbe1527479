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

func source(up, standby *pgcluster.Node) cluster.Source {
	return cluster.Source{
		Host: up.Host, Port: up.Port, User: "postgres", Password: password, Database: "postgres", SlotName: standby.Slot(),
		ApplicationName: standby.Name,
	}
}

func makeSlot(t *testing.T, at, of *pgcluster.Node) {
	t.Helper()
	check(t, at.Exec(t.Context(), `SELECT pg_create_physical_replication_slot($1, true)
		WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = $1)`, of.Slot()))
}

// streams waits until n streams from up.
func streams(t *testing.T, ctx context.Context, n, up *pgcluster.Node) {
	t.Helper()
	check(t, pgcluster.Poll(ctx, n.Name+" streams", func() (bool, error) {
		v, err := up.Value(ctx, "SELECT count(*) FROM pg_stat_replication WHERE application_name = $1 AND state = 'streaming'", n.Name)
		return v == "1", err
	}))
}

// diverge has the standby promoted while the old primary, which is killed, has more WAL than it.
func (w *week) diverge(t *testing.T) {
	t.Helper()
	old, heir, ctx := w.c.Nodes[0], w.c.Nodes[1], w.ctx
	_, err := w.locals[1].Stop(ctx, 7, cluster.StopFast)
	check(t, err)
	check(t, old.Exec(ctx, "INSERT INTO t SELECT generate_series(1001, 2000)"))
	p := w.locals[0].mustPlace(t)
	for _, one := range p.gang().all {
		check(t, one.signal(syscall.SIGKILL))
	}
	if w.locals[0].Promote(ctx, 7) == nil {
		t.Fatal("a primary that does not run is none")
	}
	check(t, w.locals[1].Start(ctx, 7))
	check(t, w.locals[1].Promote(ctx, 7))
	check(t, w.locals[1].Promote(ctx, 7)) // it is one
	check(t, heir.Exec(ctx, "INSERT INTO t VALUES (0)"))
	check(t, heir.Exec(ctx, "CHECKPOINT"))
	makeSlot(t, heir, old)
}

func (w *week) rewind(t *testing.T) {
	w.diverge(t)
	old, heir, l, ctx := w.c.Nodes[0], w.c.Nodes[1], w.locals[0], w.ctx
	src := source(heir, old)
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
	_, err = l.Stop(ctx, 7, cluster.StopFast)
	check(t, err)
	check(t, l.Rewind(ctx, 7, src)) // nothing to do
}

// interruptedRewind: marked, never started, not rewound again, mended by a base backup.
func (w *week) interruptedRewind(t *testing.T) {
	old, heir, l, ctx := w.c.Nodes[0], w.c.Nodes[1], w.locals[0], w.ctx
	src := source(heir, old)
	p := l.mustPlace(t)
	s := &site{Local: l, place: p}
	check(t, p.owner.as(s.keep)) // moved aside, nothing else: it is put back
	check(t, l.Start(ctx, 7))
	_, err := l.Stop(ctx, 7, cluster.StopFast)
	check(t, err)

	short, cancel := context.WithCancel(ctx)
	cancel()
	info, err := s.leading(ctx, src)
	check(t, err)
	if err := s.rewindNow(short, info, src); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
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

// TestBaseBackupAsTheOthersLogIn: a server that has nothing of its own is copied, and streams later, by the others' password file.
func TestBaseBackupAsTheOthersLogIn(t *testing.T) {
	c := pgcluster.StartTest(t, pgcluster.Options{Nodes: 1, Auth: "scram-sha-256", Password: password})
	up, ctx := c.Nodes[0], limited(t, 3*time.Minute)
	p, err := locate(up.DataDir)
	check(t, err)
	l := &Local{DataDirectory: filepath.Join(up.DataDir, "..", "fresh"), BinDirectory: c.BinDir, Log: logging.To(testWriter{t}, logging.Log), noSync: true}
	file := filepath.Join(filepath.Dir(p.data), "passfile")
	src := cluster.Source{Host: up.Host, Port: up.Port, Login: "user=postgres passfile=" + file + " sslmode=disable"}
	if err := l.BaseBackup(ctx, 1, src); err == nil || !strings.Contains(err.Error(), "no password supplied") {
		t.Fatal(err)
	}
	if got := *l.lacks.Load(); got != `passfile "`+file+`" of its primary_conninfo: no such file or directory` {
		t.Error(got)
	}
	escape := strings.NewReplacer(`\`, `\\`, `:`, `\:`)
	check(t, p.owner.as(func() error {
		return os.WriteFile(file, []byte("*:*:*:postgres:"+escape.Replace(password)+"\n"), 0o600)
	}))
	check(t, l.BaseBackup(ctx, 1, src))
	text, err := os.ReadFile(filepath.Join(l.DataDirectory, autoConfName))
	check(t, err)
	if !strings.Contains(string(text), "user=postgres passfile="+file+" sslmode=disable") || strings.Contains(string(text), "secret") {
		t.Errorf("%s", text)
	}
	if got := *l.lacks.Load(); got != "" {
		t.Error(got)
	}
}
