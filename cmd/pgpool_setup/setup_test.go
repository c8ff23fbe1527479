package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gopgpool/internal/pgcluster"
)

func TestOptions(t *testing.T) {
	t.Parallel()
	base := options{nodes: 2, basePort: 11000, pgBasePort: 11002}
	with := func(change func(*options)) options {
		o := base
		change(&o)
		return o
	}
	for _, tc := range []struct {
		args string
		want options
		err  string
	}{
		{args: "", want: base},
		{args: "-m s", want: base},
		{args: "-m n", want: with(func(o *options) { o.raw = true })},
		{args: "-p 7000", want: with(func(o *options) { o.basePort, o.pgBasePort = 7000, 7002 })},
		{args: "-p 7000 -pg 8000 -n 3", want: with(func(o *options) { o.basePort, o.pgBasePort, o.nodes = 7000, 8000, 3 })},
		{args: "-s -r -d -t -e --no-stop", want: with(func(o *options) {
			o.slots, o.rewind, o.debug, o.testHook, o.noServers, o.keepUp = true, true, true, true, true, true
		})},
		{args: "-no-stop", want: with(func(o *options) { o.keepUp = true })},
		{args: "-m r", err: "native replication mode is not built"},
		{args: "-m i", err: "snapshot isolation mode is not built"},
		{args: "-m l", err: "logical replication mode is not built"},
		{args: "-m y", err: "slony mode is not built"},
		{args: "-m x", err: "wrong usage"},
		{args: "-m", err: "wrong usage"},
		{args: "-h", err: "wrong usage"},
		{args: "word", err: "wrong usage"},
		{args: "-c", err: "no sample scripts"},
		{args: "-n 0", err: "not a positive number"},
		{args: "-n 129", err: "at most 128"},
		{args: "-p many", err: "not a positive number"},
		{args: "-p 65535", err: "exceed 65535"},
		{args: "-p 7000 -pg 6999", err: "overlap"},
	} {
		got, err := parseOptions(strings.Fields(tc.args), func(string) string { return "" })
		if tc.err != "" {
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%q: error %v, want %q", tc.args, err, tc.err)
			}
			continue
		}
		if err != nil || got != tc.want {
			t.Errorf("%q: %+v, %v", tc.args, got, err)
		}
	}
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	env := map[string]string{"USE_REPLICATION_SLOT": "true", "USE_PG_REWIND": "true", "ENABLE_TEST": "true"}
	o, err := parseOptions(nil, func(name string) string { return env[name] })
	if err != nil || !o.slots || !o.rewind || !o.testHook {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestUsageNamesEveryOption(t *testing.T) {
	t.Parallel()
	_, err := parseOptions([]string{"-?"}, os.Getenv)
	if !errors.Is(err, errUsage) {
		t.Fatalf("error %v", err)
	}
	for _, name := range []string{"-m ", "-n ", "-p ", "-pg ", "--no-stop", "-d ", "-s ", "-r ", "-e ", "-t "} {
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
	dir, err := os.MkdirTemp("", "pgpool_setup-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// -e writes everything but the servers.
func TestLayout(t *testing.T) {
	dir := directory(t)
	t.Setenv("PGSOCKET_DIR", dir)
	var out bytes.Buffer
	o, err := parseOptions(strings.Fields("-e -n 3 -p 11000 -pg 12000 -s -t"), os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	s := &setup{options: o, dir: dir, program: "/bin/true", out: &out}
	if err := s.make(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"startall", "shutdownall", "pgpool_reload", "etc/failover.sh"} {
		text := read(t, dir, name)
		if strings.Contains(text, "@DIR@") || strings.Contains(text, "@PG") {
			t.Errorf("%s: a word was not filled in:\n%s", name, text)
		}
		if msg, err := exec.Command("sh", "-n", filepath.Join(dir, name)).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", name, err, msg)
		}
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode()&0o111 == 0 {
			t.Errorf("%s cannot be run", name)
		}
	}
	for name, want := range map[string]string{
		"etc/pgpool.conf":   "backend_port2 = '12002'\n",
		"etc/pool_hba.conf": "host all all 127.0.0.1/32 trust\n",
		"etc/pcp.conf":      pgcluster.DefaultAccount() + ":" + pgcluster.MD5Hex(pgcluster.DefaultAccount()) + "\n",
		"etc/pool_passwd":   "",
		"bashrc.ports":      "export PGPOOL_PORT=11000\nexport PCP_PORT=11001\nexport PCPPASSFILE=",
		"README.port":       "#1 port is 12000\n#2 port is 12001\n#3 port is 12002\npgpool port is 11000\npcp port is 11001\n",
		"pcppass":           "localhost:11001:",
	} {
		if text := read(t, dir, name); !strings.Contains(text, want) {
			t.Errorf("%s lacks %q:\n%s", name, want, text)
		}
	}
	if text := read(t, dir, "etc/pgpool.conf"); !strings.Contains(text, "health_check_test = 'on'") {
		t.Error("-t did not set health_check_test")
	}
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// The whole of it: set up, left running, used, a node copied by basebackup.sh, shut down, started again.
func TestSetUpAndUse(t *testing.T) {
	t.Setenv("GORACE", "atexit_sleep_ms=0") // programs with the race detector wait for a second at their end otherwise
	dir := directory(t)
	programs := filepath.Join(dir, "programs")
	program := pgcluster.BuildProgram(t, programs, "pgpool_setup")
	if built := pgcluster.BuildProgram(t, programs, "pgpool"); filepath.Dir(built) != filepath.Dir(program) {
		t.Fatalf("%s is not beside %s", built, program)
	}
	ports := pgcluster.FreePorts(t, 5)
	place := filepath.Join(dir, "cluster")
	if err := os.Mkdir(place, 0o755); err != nil {
		t.Fatal(err)
	}
	setup := exec.Command(program, "-n", "3", "-s", "-r", "-p", fmt.Sprint(ports), "--no-stop")
	setup.Dir, setup.Env = place, append(os.Environ(), "PGSOCKET_DIR="+dir)
	if err := os.Chmod(dir, 0o777); err != nil { // the servers put their sockets there
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = exec.Command(filepath.Join(place, "shutdownall")).Run() }) // when it fails half-way
	runCommand(t, setup)

	psql := func(port int, sql string) string {
		t.Helper()
		bin, err := pgcluster.FindBinaries("")
		if err != nil {
			t.Fatal(err)
		}
		conn := fmt.Sprintf("host=localhost port=%d dbname=test user=%s", port, pgcluster.DefaultAccount())
		return strings.TrimSpace(runCommand(t, exec.Command(filepath.Join(bin, "psql"), "-XqAt", "-d", conn, "-c", sql)))
	}
	if got := strings.Count(psql(ports, "SHOW pool_nodes"), "|localhost|"); got != 3 {
		t.Errorf("SHOW pool_nodes has %d lines", got)
	}
	psql(ports, "CREATE TABLE kept AS SELECT 7 AS a")

	// Node 2 is lost and made again as the recovery of a node would do it.
	data := func(i int) string { return filepath.Join(place, fmt.Sprintf("data%d", i)) }
	asServers(t, "pg_ctl", "-s", "-w", "-m", "immediate", "-D", data(2), "stop")
	source, target := fmt.Sprint(ports+2), fmt.Sprint(ports+4)
	asServers(t, filepath.Join(data(0), "basebackup.sh"), data(0), "localhost", data(2), source, "2", target, "localhost")
	asServers(t, filepath.Join(data(0), "pgpool_remote_start"), "localhost", data(2))
	if got := psql(ports+4, "SELECT pg_is_in_recovery(), current_setting('cluster_name'), a FROM kept"); got != "t|server2|7" {
		t.Errorf("node 2 after its recovery: %q", got)
	}

	runCommand(t, exec.Command(filepath.Join(place, "pgpool_reload")))
	runCommand(t, exec.Command(filepath.Join(place, "shutdownall")))
	for i := range 3 {
		if _, err := os.Stat(filepath.Join(data(i), "postmaster.pid")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("server %d runs after shutdownall", i)
		}
	}
	runCommand(t, exec.Command(filepath.Join(place, "startall")))
	if got := psql(ports, "SELECT a FROM kept"); got != "7" {
		t.Errorf("after startall: %q", got)
	}
	runCommand(t, exec.Command(filepath.Join(place, "shutdownall")))
}

func runCommand(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	return string(out)
}

// asServers runs a command as the user of the servers.
func asServers(t *testing.T, program string, args ...string) {
	t.Helper()
	if !filepath.IsAbs(program) {
		bin, err := pgcluster.FindBinaries("")
		if err != nil {
			t.Fatal(err)
		}
		program = filepath.Join(bin, program)
	}
	cmd := exec.Command(program, args...)
	if os.Geteuid() == 0 {
		cmd = exec.Command("runuser", append([]string{"-u", pgcluster.DefaultAccount(), "--", program}, args...)...)
	}
	cmd.Dir = "/"
	runCommand(t, cmd)
}
