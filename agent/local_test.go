package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
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

// The password has everything in it that quoting could stumble on.
const password = `it's "a" \secret`

func scram() pgcluster.Options {
	return pgcluster.Options{Nodes: 2, Auth: "scram-sha-256", Password: password, Slots: true}
}

// agents starts servers and returns an agent for each.
func agents(t *testing.T, opts pgcluster.Options) (*pgcluster.Cluster, []*Local) {
	t.Helper()
	c := pgcluster.StartTest(t, opts)
	var locals []*Local
	for _, n := range c.Nodes {
		l := &Local{DataDirectory: n.DataDir, BinDirectory: c.BinDir, Log: logging.To(testWriter{t}, logging.Log), noSync: true}
		t.Cleanup(func() { // servers that the agent has started are nobody's children
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
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

func (l *Local) mustPlace(t *testing.T) place {
	t.Helper()
	p, err := locate(l.DataDirectory)
	check(t, err)
	return p
}

// TestServersLife goes through everything that is done to a server, in the order of a bad week: one pair of servers serves all.
func TestServersLife(t *testing.T) {
	c, locals := agents(t, scram())
	w := &week{t: t, ctx: limited(t, 5*time.Minute), c: c, locals: locals}
	t.Run("start and stop", w.startAndStop)
	t.Run("words of a failed start", w.lastWords)
	t.Run("base backup", w.baseBackup)
	t.Run("frozen", w.frozen)
	t.Run("orphans", w.orphans)
	t.Run("number used again", w.numberUsedAgain)
	t.Run("rewind", w.rewind)
	t.Run("interrupted rewind", w.interruptedRewind)
	t.Run("fenced", w.fenced)
}

type week struct {
	t      *testing.T
	ctx    context.Context
	c      *pgcluster.Cluster
	locals []*Local
}

// lastWords: why a server does not start is told, and nothing that clients said to it before.
func (w *week) lastWords(t *testing.T) {
	l := w.locals[0]
	_, err := l.Stop(w.ctx, 5, cluster.StopFast)
	check(t, err)
	path := filepath.Join(l.DataDirectory, "postgresql.conf")
	whole, err := os.ReadFile(path)
	check(t, err)
	add := func(path, text string) {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
		check(t, err)
		_, err = f.WriteString(text)
		check(t, errors.Join(err, f.Close()))
	}
	add(filepath.Join(beside(l.DataDirectory), "server.log"), "LOG:  statement: ALTER ROLE r PASSWORD 'secret'\n")
	add(path, "\nnonsense = on\n")
	err = l.Start(w.ctx, 5)
	if !errors.Is(err, cluster.ErrEnded) || !strings.Contains(err.Error(), "nonsense") || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
	check(t, os.WriteFile(path, whole, 0o600))
	check(t, l.Start(w.ctx, 5))
}

func (w *week) startAndStop(t *testing.T) {
	c, ctx := w.c, w.ctx
	primary, standby := w.locals[0], w.locals[1]
	before := control(t, primary)
	if !before.Running || before.PID != c.Nodes[0].Pids()[0] || before.State != stateProduction || before.Standby || before.Broken {
		t.Fatalf("%+v", before)
	}
	if s := control(t, standby); !s.Running || !s.Standby || s.SystemID != before.SystemID {
		t.Fatalf("%+v", s)
	}

	// What the standby has received of a clean shutdown is what Stop returns, to the byte.
	check(t, c.Nodes[0].Exec(ctx, "CREATE TABLE t AS SELECT generate_series(1, 1000) AS a"))
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
}

// baseBackup begins and ends with the standby stopped, respectively at work.
func (w *week) baseBackup(t *testing.T) {
	up, n, l, ctx := w.c.Nodes[0], w.c.Nodes[1], w.locals[1], w.ctx
	src := source(up, n)
	check(t, up.Exec(ctx, "CREATE TABLE big AS SELECT repeat('x', 1000) AS a, i FROM generate_series(1, 20000) i"))
	if err := w.locals[0].BaseBackup(ctx, 5, src); !errors.Is(err, errRuns) {
		t.Fatal(err)
	}
	before := control(t, l)
	p := l.mustPlace(t)
	check(t, p.owner.as(func() error {
		return os.WriteFile(filepath.Join(n.DataDir, "ours.crt"), []byte("of this host"), 0o600)
	}))

	// Cancelled while the copy is being received: the old directory is as it was, and nothing is left of the new one.
	short, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	address, _ := serve(t, l, l, Credentials{key: testKey})
	far := remote(t, address, Credentials{key: testKey})
	go func() { ended <- far.BaseBackup(short, 5, src) }()
	check(t, poll(ctx, caught(t, "pg_basebackup", p.besides("new"), func(int) (bool, error) {
		return p.exists(filepath.Join(p.besides("new"), "PG_VERSION"))
	})))
	if err := w.again(l).Standby(ctx, 5, src); !errors.Is(err, cluster.ErrBusy) { // another process
		t.Fatal(err)
	}
	if err := l.Standby(ctx, 5, src); !errors.Is(err, cluster.ErrBusy) {
		t.Fatal(err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	check(t, poll(ctx, func() (bool, error) { // the agent ends what nobody waits for
		there, err := p.exists(p.besides("new"))
		return !there, err
	}))
	check(t, poll(ctx, func() (bool, error) { // and is free for others
		err := far.Renew(ctx, 5)
		return !l.turn.busy(), err
	}))
	after := control(t, l)
	if after.Since = before.Since; after != before {
		t.Fatalf("%+v, %+v", before, after)
	}

	w.killedInBaseBackup(t, src)
	check(t, l.BaseBackup(ctx, 5, src))
	if text, err := os.ReadFile(filepath.Join(n.DataDir, "ours.crt")); err != nil || string(text) != "of this host" {
		t.Fatal(string(text), err)
	}
	if there, _ := p.exists(p.besides("old")); there {
		t.Fatal("the old directory is left")
	}

	// The directory is lost altogether.
	check(t, os.RemoveAll(n.DataDir))
	if s := control(t, l); s.State != "" || s.Running {
		t.Fatalf("%+v", s)
	}
	check(t, Here(n.DataDir, n.Port))
	check(t, l.BaseBackup(ctx, 5, src))
	if s := control(t, l); !s.Standby || s.SystemID != before.SystemID {
		t.Fatalf("%+v", s)
	}
	check(t, n.Configure()) // nothing of this host was left to be taken over
	check(t, l.Start(ctx, 5))
	streams(t, ctx, n, up)
}

// again is another process that acts on the same server.
func (w *week) again(l *Local) *Local {
	return &Local{DataDirectory: l.DataDirectory, BinDirectory: l.BinDirectory, noSync: true}
}

func (w *week) frozen(t *testing.T) {
	l, ctx := w.locals[1], w.ctx
	p := l.mustPlace(t)
	for _, one := range p.gang().all {
		check(t, one.signal(syscall.SIGSTOP))
	}
	began := time.Now()
	if _, err := l.Stop(ctx, 5, cluster.StopNow); err != nil {
		t.Fatal(err)
	}
	t.Log("frozen server stopped after", time.Since(began))
	if s := control(t, l); s.Running || s.Orphans {
		t.Fatalf("%+v", s)
	}
}

// orphans: a first process that is killed leaves others, here a frozen one that cannot notice.
func (w *week) orphans(t *testing.T) {
	l, ctx := w.locals[1], w.ctx
	p := l.mustPlace(t)
	check(t, l.Start(ctx, 5))
	g := p.gang()
	var frozen process
	for _, one := range g.all {
		if one.pid != g.first.pid {
			frozen = one
			check(t, one.signal(syscall.SIGSTOP))
		}
	}
	check(t, g.first.signal(syscall.SIGKILL))
	check(t, poll(ctx, func() (bool, error) { return !control(t, l).Running, nil }))
	if s := control(t, l); !s.Orphans || frozen.pid == 0 {
		t.Fatalf("%+v", s)
	}
	check(t, l.Start(ctx, 5))
	if frozen.alive() {
		t.Fatal("an orphan is left")
	}
}

// numberUsedAgain: the number in postmaster.pid belongs to another process of the same user.
func (w *week) numberUsedAgain(t *testing.T) {
	n, l, ctx := w.c.Nodes[1], w.locals[1], w.ctx
	p := l.mustPlace(t)
	path := filepath.Join(n.DataDir, "postmaster.pid")
	text, err := os.ReadFile(path)
	check(t, err)
	_, err = l.Stop(ctx, 5, cluster.StopNow)
	check(t, err)
	other := sleeper(t, &p)
	_, rest, _ := strings.Cut(string(text), "\n")
	check(t, os.WriteFile(path, []byte(itoa(other)+"\n"+rest), 0o600))
	check(t, os.Chown(path, int(p.owner.uid), int(p.owner.gid)))
	lock := parsePidFile("1\n" + rest).socketLock()
	check(t, os.WriteFile(lock, []byte(itoa(other)+"\n"+rest), 0o600))
	check(t, os.Chown(lock, int(p.owner.uid), int(p.owner.gid)))
	if s := control(t, l); s.Running || s.Orphans {
		t.Fatalf("%+v", s)
	}
	if _, err := l.Stop(ctx, 5, cluster.StopNow); err != nil {
		t.Fatal(err)
	}
	check(t, l.Start(ctx, 5))
	if _, alive := readProcess(other); !alive {
		t.Fatal("the other process was killed")
	}
}

// fenced: a primary without contact is stopped, a standby is not.
func (w *week) fenced(t *testing.T) {
	for i, primary := range []bool{false, true} {
		l := w.locals[i]
		if l.primary() != primary {
			t.Fatalf("server %d: primary %t", i, !primary)
		}
		g := NewGuard(l, func() Fencing { return Fencing{On: true, Lease: time.Nanosecond} }, l.Log)
		p := l.mustPlace(t)
		term, err := os.ReadFile(p.besides("term"))
		check(t, err)
		check(t, os.WriteFile(p.besides("term"), []byte("not readable"), 0o600)) // who is obeyed makes no difference
		began := time.Now()
		g.settle(w.ctx)
		inTime := time.Since(began) < fenceGrace // later it need not be clean
		check(t, os.WriteFile(p.besides("term"), term, 0o600))
		s := control(t, l)
		if s.Running == primary || primary && inTime && s.State != stateShutDown {
			t.Fatalf("server %d: %+v", i, s)
		}
	}
}

// backupEnv makes this test program an agent that is in the middle of a base backup of the directory it names.
const backupEnv = "AGENT_TEST_BACKUP"

func TestMain(m *testing.M) {
	if dir := os.Getenv(backupEnv); dir != "" {
		var src cluster.Source
		if err := json.Unmarshal([]byte(os.Getenv(backupEnv+"_SOURCE")), &src); err != nil {
			panic(err)
		}
		l := &Local{DataDirectory: dir, noSync: true}
		fmt.Println(l.BaseBackup(context.Background(), 5, src))
		return
	}
	if at := os.Getenv(hiddenEnv); at != "" {
		listenHidden(at)
		return
	}
	os.Exit(m.Run())
}

// killedInBaseBackup: what an agent has started does not outlive it, but for the process that receives the WAL, which has nothing to fear
// before somebody acts on the server again.
func (w *week) killedInBaseBackup(t *testing.T, src cluster.Source) {
	text, err := json.Marshal(src)
	check(t, err)
	p := w.locals[1].mustPlace(t)
	cmd := exec.CommandContext(w.ctx, os.Args[0])
	cmd.Env = append(os.Environ(), backupEnv+"="+w.locals[1].DataDirectory, backupEnv+"_SOURCE="+string(text))
	cmd.Stderr = os.Stderr
	check(t, cmd.Start())
	check(t, poll(w.ctx, caught(t, "pg_basebackup", p.besides("new"), func(processes int) (bool, error) { return processes == 2, nil })))
	check(t, cmd.Process.Kill())
	_ = cmd.Wait() // killed
	left := func(most int) func() (bool, error) {
		return func() (bool, error) {
			return signalled(t, "pg_basebackup", p.besides("new"), syscall.SIGCONT) <= most, nil
		}
	}
	check(t, poll(w.ctx, left(1)))
	_, err = w.locals[1].Stop(w.ctx, 5, cluster.StopNow)
	check(t, err)
	check(t, poll(w.ctx, left(0)))
	if there, err := p.exists(p.besides("new")); there || err != nil {
		t.Error("what was received of it is left", err)
	}
}
