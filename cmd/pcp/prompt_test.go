package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo terminal: what the program has as its own, and the side of the person before it.
type terminal struct{ program, person *os.File }

func openTerminal(t *testing.T) terminal {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = person.Close() })
	fd := int(person.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Close() })
	return terminal{program, person}
}

func (tt terminal) echoes(t *testing.T) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(tt.program.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// await reads what the person sees until it ends with text.
func (tt terminal) await(t *testing.T, text string) string {
	t.Helper()
	var seen []byte
	for b := make([]byte, 1); !bytes.HasSuffix(seen, []byte(text)); {
		if _, err := tt.person.Read(b); err != nil {
			t.Fatalf("%q, then %v", seen, err)
		}
		seen = append(seen, b[0])
	}
	return string(seen)
}

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
		tt := openTerminal(t)
		watchdog := time.AfterFunc(20*time.Second, func() { _ = tt.person.Close() })
		var out strings.Builder
		cmd := exec.CommandContext(t.Context(), self)
		cmd.Args = []string{"pcp_node_count", "-W", "-h", "127.0.0.1", "-p", strconv.Itoa(s.port), "-U", testUser}
		cmd.Env = []string{testProgram + "=1", "GORACE=atexit_sleep_ms=0"}
		cmd.Stdin, cmd.Stdout = tt.program, &out
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		tt.await(t, "Password: ")
		tick := time.NewTicker(time.Millisecond)
		for tt.echoes(t) { // the question stands before the echo is off
			select {
			case <-tick.C:
			case <-t.Context().Done():
				t.Fatal(t.Context().Err())
			}
		}
		tick.Stop()
		if _, err := tt.person.WriteString(typed); err != nil {
			t.Fatal(err)
		}
		if seen := tt.await(t, "\n"); strings.Contains(seen, "s") {
			t.Errorf("%q is seen as %q", typed, seen)
		}
		var exit *exec.ExitError
		if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if code := cmd.ProcessState.ExitCode(); out.String() != want.stdout || code != want.status {
			t.Errorf("%q: exit %d, %q", typed, code, out.String())
		}
		if !tt.echoes(t) {
			t.Errorf("%q: the terminal does not echo any more", typed)
		}
		watchdog.Stop()
	}
}
