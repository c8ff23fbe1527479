package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gopgpool/conf"
	"gopgpool/internal/pgcluster"
	"gopgpool/logging"
)

// The test binary is the program under test when this variable is set; it says which daemon build makes.
const testDaemon = "PGPOOL_TEST_DAEMON"

func TestMain(m *testing.M) {
	if os.Getenv(testDaemon) != "" {
		p := &program{
			args: os.Args, environ: os.Environ(), stdout: os.Stdout, stderr: os.Stderr,
			load: conf.Load, build: buildForTest,
		}
		os.Exit(p.main())
	}
	os.Exit(m.Run())
}

// buildForTest makes a daemon that logs what it is told to do, or fails in one of several ways.
func buildForTest(o Options, _ *conf.Config, out *logging.Output) (*daemon, error) {
	log := out.Logger()
	say := func(text string) func() {
		return func() { log.Log(logging.Event{Severity: logging.Log, Message: text}) }
	}
	d := &daemon{log: log, reload: say("test: reload"), rotate: say("test: rotate"), close: say("test: close")}
	run := untilDone
	switch os.Getenv(testDaemon) {
	case "build fails":
		return nil, errors.New("no port for you")
	case "part fails":
		run = func(context.Context) error { return errors.New("out of luck") }
		d.ready = make(chan struct{})
	case "smart waits":
		d.drain = untilEnd
	case "crash":
		run = func(context.Context) error { panic("crash") }
	}
	d.parts = []part{{"main", run}}
	if o.Debug {
		say("test: debug " + strconv.FormatBool(log.Enabled(logging.Debug1)))()
	}
	return d, nil
}

func untilEnd(ctx context.Context) { <-ctx.Done() }

// installation is a directory with a pgpool.conf.
type installation struct {
	t           *testing.T
	dir, daemon string
}

func install(t *testing.T, daemon, parameters string) *installation {
	in := &installation{t: t, dir: t.TempDir(), daemon: daemon}
	in.write("pgpool.conf", "pid_file_name = 'pgpool.pid'\nlog_line_prefix = ''\n"+parameters)
	return in
}

func (in *installation) path(name string) string { return filepath.Join(in.dir, name) }

func (in *installation) write(name, text string) {
	in.t.Helper()
	if err := os.WriteFile(in.path(name), []byte(text), 0o600); err != nil {
		in.t.Fatal(err)
	}
}

// command is the program with the given arguments, in the directory of the installation.
func (in *installation) command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], append([]string{"-f", "pgpool.conf"}, args...)...)
	cmd.Dir = in.dir
	cmd.Env = append(os.Environ(), testDaemon+"="+in.daemon, "GORACE=atexit_sleep_ms=0")
	return cmd
}

// programTime is how long a program under test may take for everything: what it hangs in is told before the whole test is given up.
const programTime = 2 * time.Minute

// run waits for the command and returns its exit code, standard output and standard error.
func (in *installation) run(args ...string) (code int, stdout, stderr string) {
	in.t.Helper()
	cmd := in.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	ctx, cancel := context.WithTimeout(context.Background(), programTime)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	defer stop()
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		in.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// foreground is a daemon started with -n whose log the test reads.
type foreground struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines *bufio.Reader
}

func (in *installation) foreground(args ...string) *foreground {
	in.t.Helper()
	cmd := in.command(append([]string{"-n"}, args...)...)
	pipe, err := cmd.StderrPipe()
	if err != nil {
		in.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		in.t.Fatal(err)
	}
	f := &foreground{in.t, cmd, bufio.NewReader(pipe)}
	guard := time.AfterFunc(programTime, func() { _ = cmd.Process.Kill() })
	in.t.Cleanup(func() {
		guard.Stop()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return f
}

// expect reads the log up to a line that contains text.
func (f *foreground) expect(text string) {
	f.t.Helper()
	var seen strings.Builder
	for {
		line, err := f.lines.ReadString('\n')
		seen.WriteString(line)
		if strings.Contains(line, text) {
			return
		}
		if err != nil {
			f.t.Fatalf("no %q in the log:\n%s", text, seen.String())
		}
	}
}

func (f *foreground) signal(sig os.Signal) {
	f.t.Helper()
	if err := f.cmd.Process.Signal(sig); err != nil {
		f.t.Fatal(err)
	}
}

// exit waits for the end and returns the exit code.
func (f *foreground) exit() int {
	_, _ = io.Copy(io.Discard, f.lines)
	_ = f.cmd.Wait()
	return f.cmd.ProcessState.ExitCode()
}

func TestProgramForeground(t *testing.T) {
	in := install(t, "ok", "")
	f := in.foreground("-d")
	f.expect("LOG:  test: debug true")
	f.expect("LOG:  pgpool-II successfully started. version 4.7.2 (gopgpool ")
	if text, err := os.ReadFile(in.path("pgpool.pid")); err != nil || string(text) != fmt.Sprintf("%d\x00", f.cmd.Process.Pid) {
		t.Errorf("pid file %q, %v", text, err)
	}
	f.signal(syscall.SIGHUP)
	f.expect("test: reload")
	if code, _, stderr := in.run("reload"); code != exitOK || stderr != "" {
		t.Errorf("reload: %d, %q", code, stderr)
	}
	f.expect("test: reload")
	f.signal(syscall.SIGUSR1)
	f.expect("test: rotate")

	code, _, stderr := in.run("-n")
	if want := fmt.Sprintf("ERROR: pid file found. is another pgpool(%d) is running?\n", f.cmd.Process.Pid); code != exitUsage || stderr != want {
		t.Errorf("second daemon: %d, %q", code, stderr)
	}
	f.signal(syscall.SIGTERM)
	f.expect("LOG:  received smart shutdown request")
	f.expect("test: close")
	f.expect("LOG:  shutdown complete")
	if code := f.exit(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(in.path("pgpool.pid")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("pid file: %v", err)
	}
}

func TestProgramFasterStopOvertakes(t *testing.T) {
	in := install(t, "smart waits", "")
	f := in.foreground()
	f.expect("successfully started")
	f.signal(syscall.SIGTERM)
	f.expect("received smart shutdown request")
	done := make(chan int)
	go func() {
		code, _, _ := in.run("-m", "fast", "stop")
		done <- code
	}()
	f.expect("received fast shutdown request")
	if code := f.exit(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if code := <-done; code != exitOK {
		t.Errorf("stop: exit code %d", code)
	}
}

// awaitStopped stops a detached daemon at the end of the test.
func (in *installation) awaitStopped() {
	in.t.Helper()
	code, _, stderr := in.run("stop", "-m", "f")
	if code != exitOK || !strings.HasPrefix(stderr, "LOG:  stop request sent to pgpool (pid: ") || !strings.HasSuffix(stderr, "done.\n") {
		in.t.Errorf("stop: %d, %q", code, stderr)
	}
}

func TestProgramDetaches(t *testing.T) {
	in := install(t, "ok", "logging_collector = on\nlog_directory = 'log'\nlog_filename = 'x.log'\n")
	in.write("pgpool.conf", "pid_file_name = 'pgpool.pid'\nlogging_collector = on\nlog_filename = 'x.log'\nlog_directory = '"+in.path("log")+"'\nlog_line_prefix = ''\n")
	inherited, err := os.Open(in.path("pgpool.conf")) // the daemon must not keep what its caller had open
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = inherited.Close() }()
	cmd := in.command()
	cmd.ExtraFiles = []*os.File{inherited, inherited, inherited}
	if out, err := cmd.CombinedOutput(); err != nil || len(out) != 0 {
		t.Fatalf("start: %v, %q", err, out)
	}
	defer in.awaitStopped()
	pid, err := readPidFile(in.path("pgpool.pid"))
	if err != nil {
		t.Fatal(err)
	}
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("session %d, %v", sid, err)
	}
	proc := fmt.Sprintf("/proc/%d/", pid)
	if cwd, err := os.Readlink(proc + "cwd"); err != nil || cwd != "/" {
		t.Errorf("working directory %q, %v", cwd, err)
	}
	fds, err := os.ReadDir(proc + "fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		to, _ := os.Readlink(proc + "fd/" + fd.Name())
		if n, _ := strconv.Atoi(fd.Name()); n < 3 && to != os.DevNull {
			t.Errorf("descriptor %d is %s", n, to)
		}
		if strings.HasSuffix(to, "pgpool.conf") || strings.HasPrefix(to, "pipe:") {
			t.Errorf("descriptor %s is %s", fd.Name(), to)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), programTime)
	defer cancel()
	err = pgcluster.Poll(ctx, "the log tells of the start", func() (bool, error) { // lines are written by a goroutine of their own
		log, err := os.ReadFile(in.path("log/x.log"))
		return strings.Contains(string(log), "successfully started"), err
	})
	if err != nil {
		t.Error(err)
	}
}

// "the parent's exit status" tells what became of the daemon, and its reason is seen.
func TestProgramStartFails(t *testing.T) {
	for _, tt := range []struct {
		name, daemon, parameters, want string
		code                           int
	}{
		{"configuration", "ok", "port = many\n", "FATAL:  ", exitFatal},
		{"mode not built", "ok", "backend_clustering_mode = snapshot_isolation\n", "is not built yet", exitFatal},
		{"pid file", "ok", "pid_file_name = 'no/such/dir/pid'\n", `FATAL:  could not open pid file "`, exitFatal},
		{"build", "build fails", "", "FATAL:  no port for you\n", exitFatal},
		{"part", "part fails", "", "FATAL:  main: out of luck\n", exitFatal},
		{"collector", "ok", "logging_collector = on\nlog_directory = '/dev/null/x'\n", "FATAL:  could not create log directory", exitFatal},
	} {
		for _, args := range [][]string{{"-n"}, {}} {
			t.Run(tt.name+strings.Join(args, ""), func(t *testing.T) {
				in := install(t, tt.daemon, tt.parameters)
				code, _, stderr := in.run(args...)
				if code != tt.code || strings.Count(stderr, tt.want) != 1 {
					t.Errorf("exit code %d, %q", code, stderr)
				}
				if _, err := os.Stat(in.path("pgpool.pid")); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("pid file: %v", err)
				}
			})
		}
	}
}

// A crash leaves its traceback in the log file.
func TestProgramCrashIsLogged(t *testing.T) {
	in := install(t, "crash", "")
	in.write("pgpool.conf", "pid_file_name = 'pgpool.pid'\nlogging_collector = on\nlog_filename = 'x.log'\nlog_directory = '"+in.dir+"'\n")
	if code, _, _ := in.run("-n"); code == exitOK {
		t.Error("exit code 0")
	}
	if log, err := os.ReadFile(in.path("x.log")); err != nil || !strings.Contains(string(log), "panic: crash") {
		t.Errorf("log %q, %v", log, err)
	}
}

func TestProgramBogusPidFile(t *testing.T) {
	in := install(t, "build fails", "")
	for _, args := range [][]string{{"-n"}, {}} {
		in.write("pgpool.pid", strconv.Itoa(endedProcess(t))+"\x00")
		_, _, stderr := in.run(args...)
		if strings.Count(stderr, "NOTICE: pid file found but it seems bogus. Trying to start pgpool anyway...\n") != 1 {
			t.Errorf("got %q", stderr)
		}
	}
	in.write("pgpool.pid", "")
	if code, _, stderr := in.run("-n"); code != exitFatal || !strings.Contains(stderr, "could not read pid file") {
		t.Errorf("empty: %d, %q", code, stderr)
	}
}

func TestProgramStopAndReloadFail(t *testing.T) {
	in := install(t, "ok", "")
	for _, tt := range []struct {
		command, want string
		code          int
	}{
		{"stop", "FATAL:  could not read pid file", exitFatal},
		{"reload", "FATAL:  could not read pid file", exitUsage},
	} {
		if code, _, stderr := in.run(tt.command); code != tt.code || !strings.HasPrefix(stderr, tt.want) {
			t.Errorf("%s: %d, %q", tt.command, code, stderr)
		}
	}
	in.write("pgpool.conf", "port = many\n") // "an invalid pgpool.conf also makes stop and reload fail"
	for _, command := range []string{"stop", "reload"} {
		if code, _, stderr := in.run(command); code != exitFatal || !strings.Contains(stderr, "FATAL:  ") {
			t.Errorf("%s: %d, %q", command, code, stderr)
		}
	}
}

func TestProgramTexts(t *testing.T) {
	in := install(t, "ok", "")
	for _, tt := range []struct {
		arg, want string
		code      int
	}{
		{"-v", "pgpool-II version 4.7.2 (gopgpool " + version + ")\n", exitOK},
		{"-h", "\nUsage:\n", exitOK},
		{"-?", "\nUsage:\n", exitOK},
		{"-c", ": invalid option -- 'c'\n", exitUsage},
		{"start", "\nUsage:\n", exitUsage},
	} {
		code, stdout, stderr := in.run(tt.arg)
		if code != tt.code || stdout != "" || !strings.Contains(stderr, tt.want) {
			t.Errorf("%s: %d, %q, %q", tt.arg, code, stdout, stderr)
		}
	}
}

// TestProgramTestWatchdog: the directory of the watchdog's memory is looked at, not made.
func TestProgramTestWatchdog(t *testing.T) {
	text := "use_watchdog = on\nwd_authkey = 'k'\nwd_state_on_tmpfs = on\nwd_state_directory = 'wd'\n"
	for i, host := range []string{"h", "i"} {
		text += fmt.Sprintf("hostname%d = '%s'\nwd_port%d = 9000\npgpool_port%d = 9999\nheartbeat_hostname%d = '%s'\nheartbeat_port%d = 9694\n",
			i, host, i, i, i, host, i)
	}
	in := install(t, "ok", text)
	in.write("pgpool_node_id", "0\n")
	if _, stdout, _ := in.run("-t", "-F", "pcp.conf"); !strings.Contains(stdout, in.path("wd")+": ok\n") {
		t.Errorf("nothing about wd_state_directory in\n%s", stdout)
	}
	if _, err := os.Stat(in.path("wd")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("it was made:", err)
	}
	in.write("wd", "a file")
	if err := os.Chmod(in.path("wd"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, stdout, _ := in.run("-t", "-F", "pcp.conf"); !strings.Contains(stdout, `WARNING: wd_state_directory "`+in.path("wd")+`": `) {
		t.Errorf("no warning in\n%s", stdout)
	}
}

func TestProgramTest(t *testing.T) {
	good := "local all all trust\n"
	for _, tt := range []struct {
		name, conf, hba string
		code            int
		want            []string
	}{
		{"good", "enable_pool_hba = on\n", good, exitOK, []string{"pool_hba.conf: ok\n", "pool_hba.conf:1: local all all trust\n", "pgpool would start\n"}},
		{
			"secrets", "enable_pool_hba = on\n", "\nlocal all +g ldap ldapserver=h ldapbasedn=b ldapbindpasswd=hush # c\n", exitOK,
			[]string{"pool_hba.conf:2: local all +g ldap ldapserver=h ldapbasedn=b ldapbindpasswd=****** ldapsearchattribute=uid\n"},
		},
		{"hba not used", "", "nonsense\n", exitOK, []string{"not used, enable_pool_hba is off\n"}},
		{"bad hba", "enable_pool_hba = on\n", "nonsense\n", exitFatal, []string{"ERROR: ", "pgpool would not start\n"}},
		{"bad value", "port = many\n", good, exitFatal, []string{"ERROR: ", "pgpool.conf:3", "pgpool would not start\n"}},
		{"unknown name", "prot = 1\n", good, exitOK, []string{"WARNING: ", "prot", "pgpool would start\n"}},
		{
			"key of agents is missing", "backend_hostname0 = 'h'\nbackend_port0 = 5432\nbackend_agent0 = ':9997'\nagent_key_file = '/no/such/key'\n",
			good, exitOK,
			[]string{"WARNING: agents: agent_key_file: open /no/such/key: no such file", "pgpool would start\n"},
		},
		{
			"no server for the agent", "agent_data_directory = '/no/such/data'\n", good, exitOK,
			[]string{"WARNING: agents: neither agent_key_file nor agent_ssl_cert is set\n", "WARNING: agent_data_directory: no data directory of PostgreSQL: "},
		},
		{"no directory for the pid file", "pid_file_name = '/no/such/pid'\n", good, exitFatal, []string{`ERROR: could not open pid file "/no/such/pid"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := install(t, "ok", tt.conf)
			in.write("pool_hba.conf", tt.hba)
			code, stdout, stderr := in.run("-t", "-a", "pool_hba.conf", "-F", "pcp.conf")
			if code != tt.code || stderr != "" {
				t.Errorf("exit code %d, %q", code, stderr)
			}
			for _, want := range tt.want {
				if !strings.Contains(stdout, want) {
					t.Errorf("no %q in\n%s", want, stdout)
				}
			}
		})
	}
}
