package agent

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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
// small steps, so that it cannot be over unseen: they are no longer because there is much else in the process table.
func caught(t *testing.T, program, argument string, ok func(processes int) (bool, error)) func() (bool, error) {
	var known []process
	return func() (bool, error) {
		if known = family(known); len(known) == 0 {
			known = called(program, argument)
		}
		for _, p := range known {
			check(t, p.signal(syscall.SIGSTOP))
		}
		if len(known) == 0 {
			return false, nil
		}
		there, err := ok(len(known))
		for _, p := range known {
			if !there {
				check(t, p.signal(syscall.SIGCONT))
			}
		}
		return there, err
	}
}

// family are those processes that are still there, and their children.
func family(known []process) (all []process) {
	add := func(pid int) {
		if p, ok := readProcess(pid); ok && !slices.ContainsFunc(all, func(one process) bool { return one.pid == pid }) {
			all = append(all, p)
		}
	}
	for _, p := range known {
		if p.alive() {
			add(p.pid)
		}
		children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", p.pid, p.pid)) // it may be gone
		for _, text := range strings.Fields(string(children)) {
			if pid, err := strconv.Atoi(text); err == nil {
				add(pid)
			}
		}
	}
	return all
}

// called are the processes of a program that have an argument.
func called(program, argument string) (all []process) {
	for _, p := range processes() {
		line, err := os.ReadFile("/proc/" + itoa(p.pid) + "/cmdline")
		name, rest, _ := bytes.Cut(line, []byte{0})
		if err == nil && filepath.Base(string(name)) == program && bytes.Contains(rest, []byte(argument)) {
			all = append(all, p)
		}
	}
	return all
}

// signalled sends a signal to the processes of a program that have an argument, and returns how many there are.
func signalled(t *testing.T, program, argument string, sig syscall.Signal) (found int) {
	t.Helper()
	all := called(program, argument)
	for _, p := range all {
		check(t, p.signal(sig))
	}
	return len(all)
}
