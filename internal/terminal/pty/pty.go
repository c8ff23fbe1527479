package pty

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Terminal is a pseudo terminal: what the program has as its own, and the side of the person before it.
type Terminal struct{ Program, Person *os.File }

// Open makes a terminal, which lasts as long as the test and gives up with an error after a while.
func Open(t *testing.T) Terminal {
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
	return Terminal{program, person}
}

// Attach makes the terminal a command's own: its stdin, and where its signals come from.
func (tt Terminal) Attach(cmd *exec.Cmd) {
	cmd.Stdin = tt.Program
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
}

// Echoes reports whether what is typed is seen.
func (tt Terminal) Echoes(t *testing.T) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(tt.Program.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// Await reads what the person sees until it ends with text.
func (tt Terminal) Await(t *testing.T, text string) string {
	t.Helper()
	var seen []byte
	for b := make([]byte, 1); !bytes.HasSuffix(seen, []byte(text)); {
		if _, err := tt.Person.Read(b); err != nil {
			t.Fatalf("%q, then %v", seen, err)
		}
		seen = append(seen, b[0])
	}
	return string(seen)
}

// Type waits until the terminal does not echo, as a question may stand before that, and types.
func (tt Terminal) Type(t *testing.T, text string) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for tt.Echoes(t) {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the terminal echoes what is typed")
		}
	}
	if _, err := tt.Person.WriteString(text); err != nil {
		t.Fatal(err)
	}
}
