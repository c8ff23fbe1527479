package agent

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"gopgpool/cluster"
)

const hiddenEnv = "AGENT_TEST_LISTENS_AT"

// listenHidden is a process that listens, until its standard input ends.
func listenHidden(at string) {
	l, err := net.Listen("unix", at)
	if err != nil {
		panic(err)
	}
	defer l.Close()
	fmt.Println("it listens")
	_, _ = bufio.NewReader(os.Stdin).ReadByte() // its end is all that is waited for
}

// TestHiddenServer: the data directory of a server in another PID namespace is left alone, and the server is not taken for stopped.
func TestHiddenServer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may make a PID namespace")
	}
	for _, c := range []struct {
		name   string
		flags  uintptr
		hidden bool
	}{{"in another namespace", syscall.CLONE_NEWPID, true}, {"another program in ours", 0, false}} {
		t.Run(c.name, func(t *testing.T) {
			dir, err := os.MkdirTemp("", "agent")
			check(t, err)
			t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
			data := filepath.Join(dir, "data")
			check(t, os.Mkdir(data, 0o700))
			check(t, os.Chown(dir, 65534, 65534))
			check(t, os.Chown(data, 65534, 65534))
			pid := filepath.Join(data, "postmaster.pid")
			check(t, os.WriteFile(pid, fmt.Appendf(nil, "1\n%s\n1700000000\n24711\n%s\n\n  1 2\nready   \n", data, dir), 0o600))
			check(t, os.Chown(pid, 65534, 65534))
			l := &Local{DataDirectory: data}
			if _, err := l.Control(t.Context()); errors.Is(err, errHidden) {
				t.Errorf("nobody listens: %v", err)
			}
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), hiddenEnv+"="+filepath.Join(dir, ".s.PGSQL.24711"))
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: c.flags}
			in, err := cmd.StdinPipe()
			check(t, err)
			out, err := cmd.StdoutPipe()
			check(t, err)
			check(t, cmd.Start())
			_, err = bufio.NewReader(out).ReadString('\n')
			check(t, err)
			_, err = l.Control(t.Context())
			if errors.Is(err, errHidden) != c.hidden {
				t.Errorf("control: %v", err)
			}
			if _, err = l.Stop(t.Context(), 1, cluster.StopNow); errors.Is(err, errHidden) != c.hidden || c.hidden == (err == nil) {
				t.Errorf("stop: %v", err)
			}
			if _, err := os.Stat(pid); c.hidden && err != nil {
				t.Error(err)
			}
			check(t, in.Close())
			check(t, cmd.Wait())
		})
	}
}
