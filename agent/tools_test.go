package agent

import (
	"crypto/tls"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
)

// sleeper is a process of the server's user that is no server, and its number.
func sleeper(t *testing.T, p *place) string {
	t.Helper()
	cmd := exec.Command("sleep", "300")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.owner.credential()}
	check(t, cmd.Start())
	t.Cleanup(func() {
		check(t, cmd.Process.Kill())
		_ = cmd.Wait() // killed
	})
	return strconv.Itoa(cmd.Process.Pid)
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	check(t, err)
	return n
}

func itoa(n int) string { return strconv.Itoa(n) }

func ptr[T any](v T) *T { return &v }

// mixed trusts as one and shows itself as another.
func mixed(trust, own Credentials) *tls.Config {
	c := trust.tls.Clone()
	c.Certificates = own.tls.Certificates
	return c
}
