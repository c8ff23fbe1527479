package main

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gopgpool/internal/terminal/pty"
)

// The password is asked for on the terminal, without echo, and the terminal echoes again whatever ends the question.
func TestPromptOnTerminal(t *testing.T) {
	t.Parallel()
	s := startServer(t, "tcp", "127.0.0.1:0", captured())
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for typed, want := range map[string]struct {
		stdout string
		status int
	}{
		testPassword + "\n": {"2\n", 0},
		"wrong\n":           {"", 1},
		"sec\x03":           {"", 128 + int(syscall.SIGINT)},
	} {
		tt := pty.Open(t)
		watchdog := time.AfterFunc(time.Minute, func() { _ = tt.Person.Close() })
		var out strings.Builder
		cmd := exec.CommandContext(t.Context(), self)
		cmd.Args = []string{"pcp_node_count", "-W", "-h", "127.0.0.1", "-p", strconv.Itoa(s.port), "-U", testUser}
		cmd.Env = []string{testProgram + "=1", "GORACE=atexit_sleep_ms=0"}
		cmd.Stdout = &out
		tt.Attach(cmd)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		tt.Await(t, "Password: ")
		tt.Type(t, typed)
		if seen := tt.Await(t, "\n"); strings.Contains(seen, "s") {
			t.Errorf("%q is seen as %q", typed, seen)
		}
		var exit *exec.ExitError
		if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if code := cmd.ProcessState.ExitCode(); out.String() != want.stdout || code != want.status {
			t.Errorf("%q: exit %d, %q", typed, code, out.String())
		}
		if !tt.Echoes(t) {
			t.Errorf("%q: the terminal does not echo any more", typed)
		}
		watchdog.Stop()
	}
}
