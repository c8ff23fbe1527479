package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gopgpool/internal/pgcluster"
	"gopgpool/logging"
	"gopgpool/watchdog/ipc"
)

var update = flag.Bool("update", false, "write testdata")

// world is a watchdog of three nodes; its life check may not speak of node 2.
type world struct {
	mu   sync.Mutex
	told []string
}

func (w *world) Cluster() ipc.Cluster {
	return ipc.Cluster{
		Remote: 2, MemberRemote: 2, RequiredForQuorum: 2, Quorum: ipc.QuorumExists, AliveRemote: 1, Escalated: true,
		LeaderName: "server1:9999 Linux server1", LeaderHost: "server1",
		Nodes: []ipc.Node{
			{ID: 1, State: 4, Name: "server1:9999 Linux server1", Host: "server1", WdPort: 9000, PgpoolPort: 9999, Priority: 1},
			{ID: 0, State: 7, Name: "server0:9999 Linux server0", Host: "server0", WdPort: 9000, PgpoolPort: 9999, Priority: 1},
			{ID: 2, Host: "server2", WdPort: 9001, PgpoolPort: 9999},
		},
	}
}

func (w *world) StatusChange(node int, dead bool, message string) error {
	if node == 2 {
		return errors.New("the watchdog has no such node")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, fmt.Sprintf("%d dead=%t %q", node, dead, message))
	return nil
}

func (*world) Variable(string) (any, bool) { return nil, false }

// take returns what the watchdog was told since the last call.
func (w *world) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	told := w.told
	w.told = nil
	return told
}

const port = 9000

// serve runs a server, and writes a configuration file for it, until the test ends.
func serve(t *testing.T) (w *world, dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "wd_cli-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w = &world{}
	s, err := ipc.New(ipc.Config{Dir: dir, Port: port, Key: func() string { return "sesame" }}, w, logging.Logger{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	conf := fmt.Sprintf("use_watchdog = on\nwd_ipc_socket_dir = '%s'\nwd_authkey = 'sesame'\n", dir)
	for i, p := range []int{8999, port, 9001} {
		conf += fmt.Sprintf("hostname%d = 'server%d'\nwd_port%d = %d\npgpool_port%d = 9999\nheartbeat_hostname%d = 'server%d'\n"+
			"heartbeat_port%d = 9694\n", i, i, i, p, i, i, i, i)
	}
	for name, text := range map[string]string{"pgpool.conf": conf, "pgpool_node_id": "1\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return w, dir
}

// commandLines are run by the tests; @DIR@ is the directory of the socket.
func commandLines() []string {
	const f = "-f @DIR@/pgpool.conf "
	return []string{
		"", "-n 1", f + "-i", f + "-i -a", f + "-i -a -v", f + "-i -n 0", f + "-i -n 2 -v", f + "-vi -n1", f + "--info --node-host=SERVER0",
		f + "-i -P 9000", f + "-i -P 9000 -H server0", f + "-i -N server0:9999~linux~SERVER0", f + "-i -n 0 -n 2", f + "-i -n 01",
		f + "-i --node-i 1", f + "-i -a -n 7", f + "-i word -n 0", f + "-i -m text -n 0", f + "-i -d -n 0", f + "-i -d",
		f + "-i -n 9", f + "-i -n 1 -H nohost", f + "-i -N nobody -P 1", f + "-i -n 99999999999", f + "-i -n 0 -P 0",
		f + "-i -n x", f + "-i -n -1", f + "-i -n 1x", f + "-i -P x", "-i -p x", "-i -p 80", "-i -p 1024", "-p 65536 -z",
		f + "-I ALIVE -n 0", f + "-I dead -P 9000", f + "-I Dead -H server0 -m because~of~this", f + "--inform=alive -d -n 0", f + "-I DEAD",
		f + "-I DEAD -n 2", f + "-I DEAD -n 9",
		f + "-I foo -n 1", f + "--inform -i", f + "-I DEAD -a", f + "-i -I DEAD", f + "-a -I DEAD -i", f + "-I", f + "-i -f",
		"-i -k sesame -s @DIR@ -p 9000 -n 0", f + "-k wrong -i -n 0", f + "-k wrong -I DEAD -n 0", f + "-s /nowhere -i -n 0", f + "-p 9001 -i",
		"-i -s @DIR@", "-i -f /nonexist", "-z", "--foo", "-i -q", "--i", "--v", "--=1", "--node=1 -i", "-i --verbose=3", "-V", "--version x",
	}
}

func arguments(line, dir string) []string {
	args := strings.Fields(strings.ReplaceAll(line, "@DIR@", dir))
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "~", " ")
	}
	return args
}

func TestCommandLines(t *testing.T) {
	t.Parallel()
	w, dir := serve(t)
	var got strings.Builder
	for _, line := range commandLines() {
		var out, errs bytes.Buffer
		i := &invocation{stdout: &out, stderr: &errs, pid: 77}
		status := i.run(t.Context(), append([]string{"wd_cli"}, arguments(line, dir)...))
		fmt.Fprintf(&got, "$ wd_cli %s\n%s", line, strings.ReplaceAll(out.String(), dir, "@DIR@"))
		for text := range strings.SplitSeq(strings.TrimSuffix(errs.String(), "\n"), "\n") {
			if errs.Len() > 0 {
				fmt.Fprintf(&got, "2> %s\n", strings.NewReplacer(dir, "@DIR@", version, "@VERSION@").Replace(text))
			}
		}
		for _, told := range w.take() {
			fmt.Fprintf(&got, "told %s\n", told)
		}
		fmt.Fprintf(&got, "status %d\n\n", status)
	}
	const golden = "testdata/commands.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("not as in %s (-update writes it):\n%s", golden, got.String())
	}
}

func TestHelpNamesEveryOption(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-?"}, {"-h"}, {"--help"}, {"--help", "-z"}} {
		var out, errs bytes.Buffer
		i := &invocation{stdout: &out, stderr: &errs}
		if status := i.run(t.Context(), append([]string{"wd_cli"}, args...)); status != 0 || out.Len() > 0 || errs.String() != helpText() {
			t.Errorf("%q: status %d, %s", args, status, &out)
		}
	}
	for _, name := range []string{
		"-i, --info ", "-I, --inform=", "-a, --all ", "-n, --node-id=", "-N, --node-name=", "-H, --node-host=", "-P, --node-port=",
		"-f, --config-file=", "-k, --auth-key=", "-s, --socket-dir=", "-p, --ipc-port=", "-m, --message=", "-v, --verbose ", "-V, --version ",
		"-d, --debug ", "-?, -h, --help ",
	} {
		if strings.Count(helpText(), "\n  "+name) != 1 {
			t.Errorf("%q is not explained", name)
		}
	}
}

// debian is Debian's wd_cli.
func debian(t *testing.T, program string) string {
	t.Helper()
	path := "/usr/sbin/" + program
	if _, err := os.Stat(path); err != nil {
		t.Skipf("the original is not here (apt-get install pgpool2): %v", err)
	}
	return path
}

// ranOriginal runs the original and tells what it printed, its pid left out.
func ranOriginal(t *testing.T, program string, args []string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Args[0], cmd.Stdout, cmd.Stderr = "wd_cli", &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), regexp.MustCompile(`pid \d+`).ReplaceAllString(errs.String(), "pid 77"), cmd.ProcessState.ExitCode()
}

// ranOurs is the same of ours, without the lines that only ours prints.
func ranOurs(t *testing.T, args []string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	status = (&invocation{stdout: &out, stderr: &errs, pid: 77}).run(t.Context(), append([]string{"wd_cli"}, args...))
	return out.String(), regexp.MustCompile(`(?m)^DETAIL: .*\n`).ReplaceAllString(errs.String(), ""), status
}

// Debian's program on our server prints what ours prints, byte by byte, and tells the watchdog the same.
func TestOriginalClientOnOurServer(t *testing.T) {
	t.Parallel()
	original := debian(t, "wd_cli")
	w, dir := serve(t)
	for _, line := range commandLines() {
		args := arguments(line, dir)
		switch {
		case strings.Contains(line, "-s "), // it crashes
			strings.Contains(line, "99999999999"),  // an overflow
			strings.Contains(line, "-I DEAD -n 2"), // it does not wait for the refusal
			strings.HasPrefix(line, "-V"), strings.HasPrefix(line, "--version"):
			continue
		}
		out, errs, status := ranOriginal(t, original, args)
		ourOut, ourErrs, ourStatus := ranOurs(t, args)
		if out != ourOut || errs != ourErrs {
			t.Errorf("%s:\n%s%sours:\n%s%s", line, out, errs, ourOut, ourErrs)
		}
		// Its status for a port out of range is 0, and 255 where the watchdog cannot be asked.
		if (status == 0) != (ourStatus == 0) && !strings.Contains(line, "-p ") {
			t.Errorf("%s: status %d, ours %d", line, status, ourStatus)
		}
		if told := told(t, w); len(told) > 2 || (len(told) == 2 && told[0] != told[1]) {
			t.Errorf("%s told %q", line, told)
		}
	}
}

// told waits for the original's report, which it does not wait for itself.
func told(t *testing.T, w *world) (all []string) {
	t.Helper()
	until(t, func() bool {
		all = append(all, w.take()...)
		return len(all)%2 == 0
	})
	return all
}

// until waits for something that happens soon.
func until(t *testing.T, happened func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !happened(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("it does not happen")
		}
	}
}

// Our program on Pgpool-II's server prints what the original prints there.
func TestOurClientOnOriginalServer(t *testing.T) {
	t.Parallel()
	original := debian(t, "wd_cli")
	dir := startOriginal(t, debian(t, "pgpool"))
	for _, line := range []string{
		"-i -n 1", "-i -v -n 1", "-i -n 5", "-i -H localhost -P 1", "-I ALIVE -n 1", "-I ALIVE -n 1 -m text", "-k wrong -i -n 0",
	} {
		args := append([]string{"-f", filepath.Join(dir, "pgpool.conf")}, strings.Fields(line)...)
		var out, errs, ourOut, ourErrs string
		var status, ourStatus int
		until(t, func() bool { // in its first seconds the watchdog goes through its states: both must be told of the same one
			out, errs, status = ranOriginal(t, original, args)
			ourOut, ourErrs, ourStatus = ranOurs(t, args)
			againOut, againErrs, again := ranOriginal(t, original, args)
			return out == againOut && errs == againErrs && status == again
		})
		if out != ourOut || errs != ourErrs || (status == 0) != (ourStatus == 0) {
			t.Errorf("%s:\n%s%s%d\nours:\n%s%s%d", line, out, errs, status, ourOut, ourErrs, ourStatus)
		}
	}
}

// startOriginal runs Pgpool-II with a watchdog of two nodes, of which the other one is never there, until the test ends.
func startOriginal(t *testing.T, program string) (dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "wd_cli-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := pgcluster.FreePorts(t, 7)
	conf := fmt.Sprintf(`listen_addresses = '127.0.0.1'
port = %d
pcp_port = %d
socket_dir = '%[8]s'
pcp_socket_dir = '%[8]s'
wd_ipc_socket_dir = '%[8]s'
pid_file_name = '%[8]s/pgpool.pid'
logdir = '%[8]s'
backend_clustering_mode = 'raw'
backend_hostname0 = '127.0.0.1'
backend_port0 = %[3]d
num_init_children = 1
use_watchdog = on
wd_lifecheck_method = 'external'
wd_authkey = 'sesame'
hostname0 = '127.0.0.1'
wd_port0 = %[4]d
pgpool_port0 = %[1]d
heartbeat_hostname0 = '127.0.0.1'
heartbeat_port0 = %[5]d
hostname1 = '127.0.0.1'
wd_port1 = %[6]d
pgpool_port1 = 9999
heartbeat_hostname1 = '127.0.0.1'
heartbeat_port1 = %[7]d
`, p, p+1, p+2, p+3, p+4, p+5, p+6, dir)
	for name, text := range map[string]string{
		"pgpool.conf": conf, "pgpool_node_id": "0\n", "pcp.conf": "", "pool_hba.conf": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program, "-n", "-f", dir+"/pgpool.conf", "-F", dir+"/pcp.conf", "-a", dir+"/pool_hba.conf")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }() // how it ends says nothing about ours
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT) // its shared memory would outlive a SIGKILL
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Error("the original does not end")
		}
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // its own group
		<-ended
	})
	until(t, func() bool {
		_, err := os.Stat(ipc.SocketPath(dir, p+3))
		return err == nil
	})
	return dir
}
