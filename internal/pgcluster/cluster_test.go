package pgcluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var shared = NewShared(Options{})

// The test binary is also the child whose end the guard must notice, and a pgpool that only answers and stops.
func TestMain(m *testing.M) {
	switch os.Getenv("PGCLUSTER_TEST_AS") {
	case "parent":
		beParent()
	case "pgpool":
		os.Exit(bePgpool())
	default:
		os.Exit(shared.Main(m))
	}
}

func TestPrimaryAndStandbys(t *testing.T) {
	t.Parallel()
	c := shared.Cluster(t)
	ctx := t.Context()
	primary := c.Nodes[0]
	if got := c.Primary(ctx); got != primary {
		t.Fatalf("primary is %v, want server0", got)
	}
	if err := primary.Exec(ctx, "CREATE TABLE replicated AS SELECT 42 AS answer"); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitReplayed(ctx, primary); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes {
		got, err := n.Value(ctx, "SELECT answer FROM replicated")
		if err != nil || got != "42" {
			t.Errorf("%s: %q, %v", n.Name, got, err)
		}
	}
	if _, err := c.Command(ctx, "psql", "-d", c.Nodes[1].ConnString(), "-c", "CREATE TABLE x()").Output(); err == nil {
		t.Error("a standby accepted a write")
	}
}

func TestKillStopPromoteFollow(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		opts Options
	}{
		{"kept WAL, trust", Options{}},
		{"slots and archive, scram", Options{Slots: true, Archive: true, Auth: "scram-sha-256", Password: `se'c\ret`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := StartTest(t, tc.opts)
			ctx := t.Context()
			old, heir, third := c.Nodes[0], c.Nodes[1], c.Nodes[2]
			check(t, c.WaitReplayed(ctx, old)) // else the third may have more than the heir, whom it cannot follow then
			pids := old.Pids()
			check(t, old.Kill(ctx))
			if alive := living(pids); len(alive) != 0 {
				t.Errorf("processes of a killed server live: %v", alive)
			}
			check(t, heir.Promote(ctx))
			check(t, third.Follow(ctx, heir))
			check(t, third.WaitStreaming(ctx, heir))
			check(t, old.Rebuild(ctx, heir))
			check(t, old.WaitStreaming(ctx, heir))
			check(t, heir.Exec(ctx, "CREATE TABLE after_failover()"))
			check(t, c.WaitReplayed(ctx, heir))
			check(t, third.Restart(ctx))
			check(t, third.WaitStreaming(ctx, heir))
			check(t, c.Stop(ctx))
			for _, n := range c.Nodes {
				if n.Running() {
					t.Errorf("%s runs after Stop", n.Name)
				}
			}
		})
	}
}

func TestPausedServerIsSilent(t *testing.T) {
	t.Parallel()
	c := StartTest(t, Options{Nodes: 1})
	n := c.Nodes[0]
	check(t, n.Pause())
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := n.Value(ctx, "SELECT 1"); err == nil {
		t.Error("a paused server answered")
	}
	check(t, n.Resume())
	if got, err := n.Value(t.Context(), "SELECT 1"); err != nil || got != "1" {
		t.Errorf("after Resume: %q, %v", got, err)
	}
	check(t, n.Pause()) // Close must cope with it
}

// startOutside restarts a node as somebody else would: detached, with its log written by the server.
func startOutside(ctx context.Context, n *Node) error {
	if err := n.Stop(ctx, Fast); err != nil {
		return err
	}
	c := n.cluster
	return c.spawner.complete(ctx, "pg_ctl", nil, c.program("pg_ctl"), "start", "-w", "-s", "-D", n.DataDir, "-l", n.Log)
}

func TestServerStartedBySomebodyElse(t *testing.T) {
	t.Parallel()
	c := StartTest(t, Options{Nodes: 1, Config: map[string]string{"logging_collector": "on"}})
	ctx, n := t.Context(), c.Nodes[0]
	check(t, startOutside(ctx, n))
	if !n.Running() || len(n.Pids()) < 3 {
		t.Fatalf("running: %t, processes %v", n.Running(), n.Pids())
	}
	if err := n.Exec(ctx, "SELECT no_such_thing"); err == nil {
		t.Error("no error")
	}
	soon, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	check(t, Poll(soon, "the log tells of the error", func() (bool, error) {
		log, err := os.ReadFile(n.Log)
		return strings.Contains(string(log), "no_such_thing"), err
	}))
	pids := n.Pids()
	check(t, n.Restart(ctx))
	// The one that writes the log ends when nobody holds the other end of its pipe any more, so after all others.
	check(t, Poll(soon, "no process of the stopped server lives", func() (bool, error) { return len(living(pids)) == 0, nil }))
	check(t, startOutside(ctx, n))
	check(t, n.Kill(ctx))
	if n.Running() {
		t.Error("it runs after it was killed")
	}
}

func TestRawServersAreIndependent(t *testing.T) {
	t.Parallel()
	c := StartTest(t, Options{Nodes: 2, Raw: true})
	check(t, c.Nodes[0].Exec(t.Context(), "CREATE TABLE here()"))
	check(t, c.Nodes[1].Exec(t.Context(), "CREATE TABLE here()"))
}

func TestAnyEncoding(t *testing.T) {
	t.Parallel()
	c := StartTest(t, Options{Nodes: 1, InitdbArgs: []string{"--no-locale", "-E", "SQL_ASCII"}})
	if got, err := c.Nodes[0].Value(t.Context(), "SHOW server_encoding"); err != nil || got != "SQL_ASCII" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	c := StartTest(t, Options{Nodes: 2})
	pids := append(c.Nodes[0].Pids(), c.Nodes[1].Pids()...)
	check(t, c.Close())
	if alive := living(pids); len(alive) != 0 {
		t.Errorf("processes live: %v", alive)
	}
	if _, err := os.Stat(c.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s: %v", c.Dir, err)
	}
	check(t, c.Close())
}

func TestStartTellsWhatTheServerSaid(t *testing.T) {
	t.Parallel()
	if _, err := FindBinaries(""); err != nil {
		t.Skip(err)
	}
	_, err := Start(t.Context(), Options{Nodes: 1, Config: map[string]string{"no_such_setting": "1"}})
	if err == nil || !strings.Contains(err.Error(), `unrecognized configuration parameter "no_such_setting"`) {
		t.Errorf("error: %v", err)
	}
}

// beParent starts a cluster, says where it is, and ends in the way it is told to.
func beParent() {
	c, err := Start(context.Background(), Options{Nodes: 2})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	if err := startOutside(context.Background(), c.Nodes[1]); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println(c.Dir)
	fmt.Println(strings.Trim(fmt.Sprint(append(c.Nodes[0].Pids(), c.Nodes[1].Pids()...)), "[]"))
	if os.Getenv("PGCLUSTER_TEST_END") == "panic" {
		panic("on purpose")
	}
	select {}
}

func TestNothingOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	if _, err := FindBinaries(""); err != nil {
		t.Skip(err)
	}
	for _, end := range []string{"panic", "SIGINT", "SIGKILL"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "PGCLUSTER_TEST_AS=parent", "PGCLUSTER_TEST_END="+end)
			out, err := cmd.StdoutPipe()
			check(t, err)
			check(t, cmd.Start())
			lines := bufio.NewScanner(out)
			lines.Scan()
			dir := lines.Text()
			lines.Scan()
			var pids []int
			for _, field := range strings.Fields(lines.Text()) {
				pid, err := strconv.Atoi(field)
				check(t, err)
				pids = append(pids, pid)
			}
			switch end {
			case "SIGINT":
				check(t, cmd.Process.Signal(syscall.SIGINT))
			case "SIGKILL":
				check(t, cmd.Process.Kill())
			}
			if err := cmd.Wait(); err == nil || len(pids) < 4 {
				t.Fatalf("the child ended by itself, %q, %v", dir, pids)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			check(t, Poll(ctx, "everything is gone", func() (bool, error) {
				_, err := os.Stat(dir)
				return errors.Is(err, os.ErrNotExist) && len(living(pids)) == 0, nil
			}))
		})
	}
}

// bePgpool answers the request for TLS on the configured port and ends with the code it is given.
func bePgpool() int {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt) // who sees that we serve may stop us
	conf, err := os.ReadFile(os.Args[3])
	if err != nil {
		return 3
	}
	port := regexp.MustCompile(`(?m)^port = '(\d+)'`).FindSubmatch(conf)
	l, err := net.Listen("tcp", "127.0.0.1:"+string(port[1]))
	if err != nil {
		return 3
	}
	go answerAll(l)
	fmt.Println("ready to serve")
	<-stop
	if text := os.Getenv("PGCLUSTER_TEST_LAST"); text != "" {
		fmt.Println(text)
	}
	return 0
}

func answerAll(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		if _, err := conn.Write([]byte("N")); err != nil {
			return
		}
		if err := conn.Close(); err != nil {
			return
		}
	}
}

func TestPgpool(t *testing.T) {
	t.Parallel()
	c := shared.Cluster(t)
	fake := PgpoolOptions{Binary: os.Args[0], Privileged: true, Env: []string{"PGCLUSTER_TEST_AS=pgpool"}}
	t.Run("starts, logs, stops", func(t *testing.T) {
		p := c.TestPgpool(t, fake)
		_, err := p.WaitLog(t.Context(), regexp.MustCompile("ready to serve"))
		check(t, err)
		code, err := p.Stop(t.Context(), syscall.SIGINT)
		if err != nil || code != 0 {
			t.Errorf("exit code %d, %v", code, err)
		}
	})
	t.Run("data race in the log", func(t *testing.T) {
		opts := fake
		opts.Env = append(opts.Env, "PGCLUSTER_TEST_LAST=WARNING: DATA RACE")
		p, err := c.StartPgpool(t.Context(), opts)
		check(t, err)
		if err := p.Close(t.Context()); !errors.Is(err, ErrDefect) {
			t.Errorf("Close: %v", err)
		}
	})
	t.Run("ends at start", func(t *testing.T) {
		_, err := c.StartPgpool(t.Context(), PgpoolOptions{Binary: "/bin/false"})
		if err == nil || !strings.Contains(err.Error(), "ended with status 1") {
			t.Errorf("error: %v", err)
		}
	})
	t.Run("value that cannot be written", func(t *testing.T) {
		_, err := c.NewPgpool(PgpoolOptions{Conf: map[string]string{"port": "1'"}})
		if err == nil {
			t.Error("no error")
		}
	})
}

func TestPortsAreReserved(t *testing.T) {
	t.Parallel()
	first, err := ReservePorts(50)
	check(t, err)
	defer func() { check(t, first.Close()) }()
	second, err := ReservePorts(50)
	check(t, err)
	defer func() { check(t, second.Close()) }()
	seen := map[int]bool{}
	for _, port := range append(first.Numbers, second.Numbers...) {
		if seen[port] {
			t.Errorf("port %d was given twice", port)
		}
		seen[port] = true
	}
	if _, ok := claimPort(first.Numbers[0]); ok {
		t.Error("a reserved port was claimed again")
	}
}

func TestFindBinariesSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	if _, err := FindBinaries(t.TempDir()); !errors.Is(err, ErrNoServer) {
		t.Errorf("error: %v", err)
	}
}

func TestMajorIn(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]int{
		"/usr/lib/postgresql/15/bin": 15, "/usr/lib/postgresql/9.6/bin": 9, "/usr/pgsql-17/bin": 17, "/usr/local/pgsql/bin": 0,
	} {
		if got := majorIn(path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
}

func TestUnreachableDirectory(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only a process of root changes its user")
	}
	if _, err := FindBinaries(""); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	check(t, os.Chmod(dir, 0o700))
	_, err := Start(t.Context(), Options{Nodes: 1, Dir: filepath.Join(dir, "below")})
	if err == nil || !strings.Contains(err.Error(), "may not enter") {
		t.Errorf("error: %v", err)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
