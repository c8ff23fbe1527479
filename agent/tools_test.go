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

// freeze stops the program that has an argument, and reports whether there is one.
func freeze(t *testing.T, program, argument string) (found bool) {
	t.Helper()
	for _, p := range processes() {
		line, err := os.ReadFile("/proc/" + itoa(p.pid) + "/cmdline")
		name, rest, _ := bytes.Cut(line, []byte{0})
		if err == nil && filepath.Base(string(name)) == program && bytes.Contains(rest, []byte(argument)) {
			check(t, p.signal(syscall.SIGSTOP))
			found = true
		}
	}
	return found
}
