package agent

import (
	"bytes"
	"crypto/tls"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// sleeper is a process of the server's user that is no server, and its number.
func sleeper(t *testing.T, p *place) int {
	t.Helper()
	cmd := exec.Command("sleep", "300")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.owner.credential()}
	check(t, cmd.Start())
	t.Cleanup(func() {
		check(t, cmd.Process.Kill())
		_ = cmd.Wait() // killed
	})
	return cmd.Process.Pid
}

func itoa(n int) string { return strconv.Itoa(n) }

func ptr[T any](v T) *T { return &v }

// mixed trusts as one and shows itself as another.
func mixed(trust, own Credentials) *tls.Config {
	c := trust.tls.Clone()
	c.Certificates = own.tls.Certificates
	return c
}

// caught stops a program that has an argument as soon as ok holds, which is given the number of its processes. Until then it goes on in
// small steps, so that it cannot be over unseen.
func caught(t *testing.T, program, argument string, ok func(processes int) (bool, error)) func() (bool, error) {
	return func() (bool, error) {
		n := signalled(t, program, argument, syscall.SIGSTOP)
		if n == 0 {
			return false, nil
		}
		there, err := ok(n)
		if !there {
			signalled(t, program, argument, syscall.SIGCONT)
		}
		return there, err
	}
}

// signalled sends a signal to the processes of a program that have an argument, 0 for none, and returns how many there are.
func signalled(t *testing.T, program, argument string, sig syscall.Signal) (found int) {
	t.Helper()
	for _, p := range processes() {
		line, err := os.ReadFile("/proc/" + itoa(p.pid) + "/cmdline")
		name, rest, _ := bytes.Cut(line, []byte{0})
		if err == nil && filepath.Base(string(name)) == program && bytes.Contains(rest, []byte(argument)) {
			check(t, p.signal(sig))
			found++
		}
	}
	return found
}
