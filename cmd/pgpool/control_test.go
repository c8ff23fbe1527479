package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gopgpool/logging"
)

// startChild starts a program that is ended and reaped with the test.
func startChild(t *testing.T, command ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func testControl() (*control, *bytes.Buffer) {
	var b bytes.Buffer
	return &control{log: logging.To(&b, logging.Log), stderr: &b, tick: time.Millisecond, kill: syscall.Kill}, &b
}

func pidFileOf(t *testing.T, pid int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pgpool.pid")
	if err := writePidFile(path, pid); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestStopEndsAProcess(t *testing.T) {
	for mode, sig := range map[StopMode]syscall.Signal{
		StopSmart: syscall.SIGTERM, StopFast: syscall.SIGINT, StopImmediate: syscall.SIGQUIT,
	} {
		cmd := exec.Command("sleep", "100")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		reaped := make(chan error, 1)
		go func() { reaped <- cmd.Wait() }()
		path := pidFileOf(t, cmd.Process.Pid)
		c, out := testControl()
		if err := c.stop(path, mode); err != nil {
			t.Fatal(err)
		}
		if err := <-reaped; err == nil {
			t.Error("the process ended by itself")
		}
		if st := cmd.ProcessState.Sys().(syscall.WaitStatus); st.Signal() != sig {
			t.Errorf("mode %d: ended by %v, want %v", mode, st.Signal(), sig)
		}
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("pid file is still there: %v", err)
		}
		if !strings.HasPrefix(out.String(), "LOG:  stop request sent to pgpool (pid: ") || !strings.HasSuffix(out.String(), "done.\n") {
			t.Errorf("output %q", out)
		}
	}
}

// killScript is a process that takes note of signals and goes after some of them.
type killScript struct {
	sent []syscall.Signal
	last int // the call that finds the process gone
}

func (k *killScript) kill(_ int, sig syscall.Signal) error {
	k.sent = append(k.sent, sig)
	if len(k.sent) == k.last {
		return syscall.ESRCH
	}
	return nil
}

func TestStopAsksAgain(t *testing.T) {
	c, out := testControl()
	k := &killScript{last: 12}
	c.kill = k.kill
	if err := c.stop(pidFileOf(t, 77), StopFast); err != nil {
		t.Fatal(err)
	}
	for i, sig := range k.sent { // the first, and then every fifth second
		want := syscall.Signal(0)
		if i%stopResend == 0 {
			want = syscall.SIGINT
		}
		if sig != want {
			t.Errorf("signal %d: %v, want %v", i, sig, want)
		}
	}
	want := "LOG:  stop request sent to pgpool (pid: 77). waiting for termination...\n..........done.\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

func TestStopAndReloadFail(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none")
	gone := pidFileOf(t, endedProcess(t))
	for _, tt := range []struct {
		name, want string
		do         func(*control) error
		is         error
	}{
		{"stop without a pid file", "could not read pid file: ", func(c *control) error { return c.stop(missing, StopSmart) }, fs.ErrNotExist},
		{"stop without a process", "could not stop process with pid: ", func(c *control) error { return c.stop(gone, StopSmart) }, syscall.ESRCH},
		{"reload without a pid file", "could not read pid file: ", func(c *control) error { return c.reload(missing) }, fs.ErrNotExist},
		{"reload without a process", "could not reload configuration file pid: ", func(c *control) error { return c.reload(gone) }, syscall.ESRCH},
	} {
		c, _ := testControl()
		if err := tt.do(c); !errors.Is(err, tt.is) || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestReloadSendsHUP(t *testing.T) {
	c, _ := testControl()
	k := &killScript{}
	c.kill = k.kill
	if err := c.reload(pidFileOf(t, 77)); err != nil {
		t.Fatal(err)
	}
	if len(k.sent) != 1 || k.sent[0] != syscall.SIGHUP {
		t.Errorf("sent %v", k.sent)
	}
}
