package hosts

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// parentEnv has the test binary make hosts, tell it, and wait to be killed.
const parentEnv = "GOPGPOOL_HOSTS_PARENT"

func TestMain(m *testing.M) {
	RunHelper()
	if os.Getenv(parentEnv) != "" {
		os.Exit(beParent())
	}
	os.Exit(m.Run())
}

// patience bounds the wait for a condition.
const patience = time.Minute

// eventually waits until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !ok() {
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

func address(text string) netip.Prefix { return netip.MustParsePrefix(text) }

func specs(names ...string) (all []Spec) {
	for i, name := range names {
		all = append(all, Spec{Name: name, Devices: []Device{{Address: address(fmt.Sprintf("192.168.137.%d/24", 101+i))}}})
	}
	return all
}

func start(t *testing.T, names ...string) *World {
	t.Helper()
	return StartTest(t, Options{Hosts: specs(names...), Users: []string{"nobody", "daemon"}})
}

func run(t *testing.T, h *Host, user, command string) string {
	t.Helper()
	out, err := h.Run(t.Context(), user, command)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// status runs a command and returns its exit status.
func status(t *testing.T, h *Host, user, command string) string {
	t.Helper()
	out := run(t, h, user, "( "+command+" ) >/tmp/out.$$ 2>&1 </dev/null; echo $?; cat /tmp/out.$$ >&2")
	code, _, _ := strings.Cut(out, "\n")
	return code
}

// echo answers what it is sent, on the host, until the test ends.
func echo(t *testing.T, h *Host, port int) {
	t.Helper()
	var l net.Listener
	err := h.Within(func() (err error) {
		l, err = net.Listen("tcp4", fmt.Sprintf(":%d", port))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
}

// reaches tells whether a packet from one host finds its way to another and back soon; eventually bears with one that is slow.
func reaches(t *testing.T, from *Host, to string, port int) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	conn, err := from.Dial(ctx, "tcp4", fmt.Sprintf("%s:%d", to, port))
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// said sends a line and tells whether it comes back in time.
func said(t *testing.T, conn net.Conn, within time.Duration) bool {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintln(conn, "hello"); err != nil {
		return false
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && line == "hello\n"
}

// inNamespace lists the processes of this machine that are in the process namespace of a file below /proc.
func inNamespace(t *testing.T, namespace string) (pids []string) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/ns/pid")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == namespace {
			pids = append(pids, strings.Split(link, "/")[2])
		}
	}
	return pids
}
