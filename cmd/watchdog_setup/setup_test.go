package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gopgpool/conf"
	"gopgpool/internal/pgcluster"
	"gopgpool/watchdog/ipc"
)

func TestOptions(t *testing.T) {
	t.Parallel()
	base := options{pgpools: 3, basePort: 50000, mode: "s", servers: 2, pgBasePort: 51000}
	with := func(change func(*options)) options {
		o := base
		change(&o)
		return o
	}
	for _, tc := range []struct {
		args, env string
		want      options
		err       string
	}{
		{args: "", want: base},
		{args: "-wn 2", want: with(func(o *options) { o.pgpools = 2 })},
		{env: "W_NUM_PGPOOL=5", want: with(func(o *options) { o.pgpools = 5 })},
		{env: "W_BASE_PORT=7000", want: with(func(o *options) { o.basePort, o.pgBasePort = 7000, 8000 })},
		{args: "-wp 7000", env: "W_BASE_PORT=6000", want: with(func(o *options) { o.basePort, o.pgBasePort = 7000, 8000 })},
		{args: "-p 7000", want: with(func(o *options) { o.basePort, o.pgBasePort = 7000, 8000 })},
		{args: "-wp 7000 -pg 6000 -n 4", want: with(func(o *options) { o.basePort, o.pgBasePort, o.servers = 7000, 6000, 4 })},
		{args: "-m n -d --no-stop", want: with(func(o *options) { o.mode, o.debug, o.keepUp = "n", true, true })},
		{args: "-vip 10.0.0.9 -dev eth0", want: with(func(o *options) { o.vip, o.device = "10.0.0.9", "eth0" })},
		{args: "-m r", err: "native replication mode is not built"},
		{args: "-m i", err: "snapshot isolation mode is not built"},
		{args: "-m l", err: "wrong usage"},
		{args: "-m", err: "wrong usage"},
		{args: "--help", err: "wrong usage"},
		{args: "word", err: "wrong usage"},
		{args: "-wn 1", err: "must be greater than 1"},
		{args: "-wn 129", err: "at most 128"},
		{args: "-n 0", err: "not a positive number"},
		{args: "-wp many", err: "not a positive number"},
		{env: "W_NUM_PGPOOL=x", err: "W_NUM_PGPOOL x: not a positive number"},
		{args: "-wp 65530", err: "exceed 65535"},
		{args: "-wp 7000 -pg 7011", err: "overlap"},
		{args: "-vip 10.0.0.9", err: "belong together"},
	} {
		name, value, _ := strings.Cut(tc.env, "=")
		got, err := parseOptions(strings.Fields(tc.args), func(asked string) string {
			if asked == name {
				return value
			}
			return ""
		})
		switch {
		case tc.err != "":
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%q %s: error %v, want %q", tc.args, tc.env, err, tc.err)
			}
		case err != nil || got != tc.want:
			t.Errorf("%q %s: %+v, %v", tc.args, tc.env, got, err)
		}
	}
}

func TestUsageNamesEveryOption(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"-wn ", "-wp ", "-p ", "-m ", "-n ", "-pg ", "--no-stop", "-d ", "-vip ", "-dev "} {
		if strings.Count(usage, "\n  "+name) != 1 {
			t.Errorf("%q is not explained", name)
		}
	}
}

// directory is one that the servers' user may enter, which those of t.TempDir are not.
func directory(t *testing.T) string {
	t.Helper()
	if _, err := pgcluster.FindBinaries(""); err != nil && os.Getenv(pgcluster.RequireEnv) == "" {
		t.Skip(err)
	}
	dir, err := os.MkdirTemp("", "watchdog_setup-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o777); err != nil { // the servers put their sockets there
		t.Fatal(err)
	}
	return dir
}

// The files are those of a group; the scripts start and stop everything.
func TestSetUp(t *testing.T) {
	t.Setenv("GORACE", "atexit_sleep_ms=0") // programs with the race detector wait for a second at their end otherwise
	dir := directory(t)
	programs, place := filepath.Join(dir, "programs"), filepath.Join(dir, "group")
	program := pgcluster.BuildProgram(t, programs, "watchdog_setup")
	for _, name := range []string{"pgpool", "pgpool_setup"} {
		pgcluster.BuildProgram(t, programs, name)
	}
	if err := os.Mkdir(place, 0o755); err != nil {
		t.Fatal(err)
	}
	const pgpools, servers = 3, 1
	port := pgcluster.FreePorts(t, pgpools*portsPerPgpool+servers)
	serverPort := port + pgpools*portsPerPgpool
	cmd := exec.Command(program, "-wn", fmt.Sprint(pgpools), "-n", fmt.Sprint(servers), "-wp", fmt.Sprint(port), "-pg", fmt.Sprint(serverPort))
	cmd.Dir, cmd.Env = place, append(os.Environ(), "PGSOCKET_DIR="+dir)
	runCommand(t, cmd)

	key := ""
	for id := range pgpools {
		w := loaded(t, place, id)
		switch {
		case w.NodeID != id || w.WdPriority != pgpools-id || len(w.Nodes) != pgpools || len(w.Heartbeat) != pgpools || w.DelegateIP != "":
			t.Errorf("pgpool %d: %+v", id, w)
		case w.WdAuthkey == "" || (key != "" && w.WdAuthkey != key):
			t.Errorf("pgpool %d: wd_authkey %q after %q", id, w.WdAuthkey, key)
		}
		key = w.WdAuthkey
		for n := range w.Nodes {
			p := port + n*portsPerPgpool
			if w.Nodes[n] != (conf.WatchdogNode{Hostname: "localhost", PgpoolPort: p, WdPort: p + 2}) || w.Heartbeat[n].Port != p+3 {
				t.Errorf("pgpool %d about %d: %+v, %+v", id, n, w.Nodes[n], w.Heartbeat[n])
			}
		}
		if owner, state := stat(t, place, id, "etc"), stat(t, place, id, "watchdog"); owner != state {
			t.Errorf("pgpool %d: the state belongs to %s, the files to %s", id, state, owner)
		}
	}
	again := exec.Command(program)
	again.Dir = place
	if out, err := again.CombinedOutput(); err == nil || !bytes.Contains(out, []byte("must be empty")) {
		t.Errorf("in a directory that is not empty: %v, %s", err, out)
	}
	startAndStop(t, place, port, pgpools, serverPort)
}

// startAndStop runs the group.
func startAndStop(t *testing.T, place string, port, pgpools, serverPort int) {
	t.Helper()
	watching := watchdogIsBuilt()
	if !watching {
		t.Log("this build has no watchdog: the scripts are tested with pgpools that do not watch each other")
		switchOff(t, place, pgpools)
	}
	t.Cleanup(func() { _ = exec.Command(filepath.Join(place, "shutdownall")).Run() }) // when it fails half-way
	runCommand(t, exec.Command(filepath.Join(place, "startall")))
	bin, err := pgcluster.FindBinaries("")
	if err != nil {
		t.Fatal(err)
	}
	for id := range pgpools {
		conn := fmt.Sprintf("host=localhost port=%d dbname=test user=%s", port+id*portsPerPgpool, pgcluster.DefaultAccount())
		out := ""
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := pgcluster.Poll(ctx, "the server is up", func() (bool, error) { // it is waited for until a session has used it, and was checked
			out = runCommand(t, exec.Command(filepath.Join(bin, "psql"), "-XqAt", "-d", conn, "-c", "SHOW pool_nodes"))
			return strings.Count(out, fmt.Sprintf("|localhost|%d|up|up|", serverPort)) == 1 && strings.Count(out, "\n") == 1, nil
		})
		if err != nil {
			t.Errorf("pgpool %d: %v: %s", id, err, out)
		}
	}
	if watching {
		oneLeads(t, place, pgpools)
	}
	runCommand(t, exec.Command(filepath.Join(place, "shutdownall")))
	for _, left := range []string{"pgpool0/data0/postmaster.pid", "pgpool1/run/pgpool.pid"} {
		if _, err := os.Stat(filepath.Join(place, left)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is there after shutdownall", left)
		}
	}
}

// switchOff makes single pgpools of the group.
func switchOff(t *testing.T, place string, pgpools int) {
	t.Helper()
	for id := range pgpools {
		file, err := os.OpenFile(filepath.Join(place, fmt.Sprintf("pgpool%d/etc/pgpool.conf", id)), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = file.WriteString("use_watchdog = off\n")
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func watchdogIsBuilt() bool {
	c := conf.Default()
	c.Watchdog.UseWatchdog = true
	return !slices.ContainsFunc(c.NotBuilt(), func(p conf.Problem) bool { return p.Name == "use_watchdog" })
}

// oneLeads waits until each pgpool says that the first one leads, as its priority is the highest, and the others follow.
func oneLeads(t *testing.T, place string, pgpools int) {
	t.Helper()
	for id := range pgpools {
		w := loaded(t, place, id)
		client := ipc.NewClient(w.WdIpcSocketDir, w.Nodes[id].WdPort, w.WdAuthkey)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var state ipc.Cluster
		err := pgcluster.Poll(ctx, "one leads", func() (bool, error) {
			var err error
			state, _, err = client.Nodes(ctx, ipc.AllNodes)
			followers := 0
			for _, n := range state.Nodes {
				if n.StateName == "STANDBY" && n.ID > 0 {
					followers++
				}
			}
			return state.Quorum == ipc.QuorumExists && followers == pgpools-1, err
		})
		if err != nil {
			t.Fatalf("pgpool %d: %v, %+v", id, err, state)
		}
	}
}

// loaded is the watchdog's part of a configuration that must be right.
func loaded(t *testing.T, place string, id int) *conf.Watchdog {
	t.Helper()
	c, problems := conf.Load(filepath.Join(place, fmt.Sprintf("pgpool%d/etc/pgpool.conf", id)))
	for _, p := range problems {
		t.Errorf("pgpool %d: %v", id, p)
	}
	if c == nil {
		t.FailNow()
	}
	for i := range c.Backends {
		if want := filepath.Join(place, fmt.Sprintf("pgpool0/data%d", i)); c.Backends[i].DataDirectory != want {
			t.Errorf("pgpool %d: server %d in %s", id, i, c.Backends[i].DataDirectory)
		}
	}
	return &c.Watchdog
}

func stat(t *testing.T, place string, id int, name string) string {
	t.Helper()
	return strings.TrimSpace(runCommand(t, exec.Command("stat", "-c", "%U", filepath.Join(place, fmt.Sprintf("pgpool%d", id), name))))
}

func runCommand(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

// -vip has the leader hold an address.
func TestVirtualAddress(t *testing.T) {
	t.Parallel()
	s := &setup{options: options{pgpools: 2, basePort: 50000, servers: 1}}
	if text := s.conf(0); strings.Contains(text, "delegate") {
		t.Errorf("an address nobody asked for:\n%s", text)
	}
	s.vip, s.device = "10.0.0.9", "eth0"
	if text := s.conf(1); !strings.Contains(text, "delegate_ip = '10.0.0.9'\ndelegate_device = 'eth0'\n") {
		t.Errorf("no address:\n%s", text)
	}
}
