package failover

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gopgpool/cluster"
)

const allPlaceholders = "d=%d h=%h p=%p D=%D m=%m H=%H M=%M P=%P r=%r R=%R N=%N S=%S"

func TestExpand(t *testing.T) {
	v := &cluster.View{Mode: cluster.ModeStreaming, Primary: cluster.NoNode, Nodes: []cluster.Node{
		{ID: 0, Host: "alpha", Port: 5432, DataDirectory: "/data/0", Status: cluster.StatusDown},
		{ID: 1, Host: "/tmp", Port: 5433, Status: cluster.StatusUp},
		{ID: 2, Host: "gamma", Port: 5434, DataDirectory: "/data/2", Status: cluster.StatusUp},
	}}
	none := &cluster.View{Nodes: []cluster.Node{v.Nodes[0]}}
	primaryLost := Command{Kind: FailoverCommand, OldPrimary: 0, OldMain: 0, NewMain: cluster.NoNode}
	for _, c := range []struct {
		name     string
		v        *cluster.View
		cmd      Command
		template string
		want     string
	}{
		{
			"failover of the primary", v, primaryLost, allPlaceholders,
			`d= 0 h=alpha p= 5432 D=/data/0 m= 1 H=/tmp M=0 P=0 r=5433 R="" N=alpha S=5432`,
		},
		{
			"nobody is left", none, primaryLost, allPlaceholders,
			`d= 0 h=alpha p= 5432 D=/data/0 m= -1 H="" M=0 P=0 r="" R="" N=alpha S=5432`,
		},
		{
			"no primary was known", v,
			Command{Kind: FailoverCommand, OldPrimary: -1, OldMain: 0, NewMain: -1},
			allPlaceholders,
			`d= 0 h=alpha p= 5432 D=/data/0 m= 1 H=/tmp M=0 P=-1 r=5433 R="" N="" S=""`,
		},
		{
			"switchover", v,
			Command{Kind: FailoverCommand, OldPrimary: 0, NewMain: 2},
			allPlaceholders,
			`d= 0 h=alpha p= 5432 D=/data/0 m= 2 H=gamma M=0 P=0 r=5434 R=/data/2 N=alpha S=5432`,
		},
		{"switchover to a node that died", none, Command{Kind: FailoverCommand, NewMain: 0}, "%m", " -1"},
		{"a stray primary is avoided", v, Command{Kind: FailoverCommand, NewMain: -1, Avoid: []cluster.NodeID{1}}, "%m", " 2"},
		{"all are strays", v, Command{Kind: FailoverCommand, NewMain: -1, Avoid: []cluster.NodeID{1, 2}}, "%m", " 1"},
		{
			"failback", v,
			Command{Kind: FailbackCommand, Node: 2, OldPrimary: 1, OldMain: 1, NewMain: -1},
			allPlaceholders,
			`d= 2 h=gamma p= 5434 D=/data/2 m= 1 H=/tmp M=1 P=1 r=5433 R="" N=/tmp S=5433`,
		},
		{"failback without a primary", v, Command{Kind: FailbackCommand, Node: 2, OldPrimary: -1, NewMain: -1}, "%P %S", "1 5433"},
		{
			"follow", v, (&Follow{OldPrimary: 0, NewPrimary: 2}).command(1), allPlaceholders,
			`d= 1 h=/tmp p= 5433 D= m= 2 H=gamma M=0 P=0 r=5434 R=/data/2 N=alpha S=5432`,
		},
		{"two words", v, primaryLost, "--id=%d", "--id= 0"},
		{"percent", v, primaryLost, "100%% %%d", "100% %d"},
		{"unknown vanish", v, primaryLost, "a%zb% c", "abc"},
		{"percent at the end", v, primaryLost, "a%", "a"},
		{"nothing", v, primaryLost, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.cmd.Expand(c.template, c.v); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
}

func FuzzExpand(f *testing.F) {
	f.Add(allPlaceholders, 0, 1)
	f.Add("%", -1, 500)
	v, _ := First(cluster.ModeStreaming, backends(2), nil, start)
	f.Fuzz(func(_ *testing.T, template string, node, other int) {
		c := Command{
			Kind: FailoverCommand, Node: cluster.NodeID(node), OldPrimary: cluster.NodeID(other),
			OldMain: cluster.NodeID(other), NewMain: cluster.NodeID(other),
		}
		_ = c.Expand(template, v)
	})
}

// capture keeps what commands print.
type capture struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (c *capture) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.Write(p)
}

func (*capture) Close() error { return nil }

func (c *capture) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.String()
}

func newTestShell() (*shell, *capture) {
	c := &capture{}
	return newShell(func() io.WriteCloser { return c }), c
}

func TestShell(t *testing.T) {
	t.Setenv("FAILOVER_TEST", "inherited")
	s, out := newTestShell()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.run(t.Context(), `echo "$FAILOVER_TEST $(pwd)"; echo complaint >&2`); err != nil {
		t.Error(err)
	}
	var exit *exec.ExitError
	if err := s.run(t.Context(), "exit 3"); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("exit 3: %v", err)
	}
	s.close()
	if want := "inherited " + dir + "\ncomplaint\n"; out.String() != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

// A script that leaves something running in the background, as pg_ctl does, has ended when it has ended.
func TestShellDoesNotWaitForTheBackground(t *testing.T) {
	s, out := newTestShell()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := s.run(t.Context(), "mkfifo "+fifo+"; (read x <"+fifo+"; echo late $x) & echo soon"); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "late") {
		t.Errorf("got %q: the shell waited", out)
	}
	if err := os.WriteFile(fifo, []byte("word\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.readers.Wait()
	if out.String() != "soon\nlate word\n" {
		t.Errorf("got %q", out)
	}
	s.close()
}

func TestShellEndsWithItsContext(t *testing.T) {
	for name, script := range map[string]string{
		"obeys":    "echo $$; sleep 1000; echo never",
		"child":    "echo $$; sh -c 'sleep 1000; exit 0'; echo never",
		"stubborn": "trap '' TERM; echo $$; while :; do sleep 1000; done",
	} {
		t.Run(name, func(t *testing.T) {
			s, out := newTestShell()
			s.patience = 50 * time.Millisecond
			ctx, cancel := context.WithCancelCause(t.Context())
			stopped := errors.New("stopped")
			var wg sync.WaitGroup
			var err error
			wg.Go(func() { err = s.run(ctx, script) })
			waitFor(t, func() bool { return strings.HasSuffix(out.String(), "\n") })
			cancel(stopped)
			wg.Wait()
			if !errors.Is(err, stopped) {
				t.Errorf("error %v", err)
			}
			s.close()
			group, _ := strconv.Atoi(strings.TrimSpace(out.String()))
			waitFor(t, func() bool { return !groupLives(group) })
		})
	}
}

// The shell obeys SIGTERM at once; the script it has started gets the time to clean up.
func TestShellIsPatientWithScripts(t *testing.T) {
	s, out := newTestShell()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = s.run(ctx, `sh -c 'trap "sleep 0.3; echo cleaned; exit" TERM; echo up; while :; do sleep 0.05; done'; echo never`)
	})
	waitFor(t, func() bool { return out.String() == "up\n" })
	cancel()
	wg.Wait()
	s.close()
	if got := out.String(); !strings.HasSuffix(got, "cleaned\n") { // a shell may say that its child was terminated
		t.Errorf("output %q", got)
	}
}

// A daemon the script has started keeps the script's output open: nobody waits for it at the end.
func TestShellClose(t *testing.T) {
	s, out := newTestShell()
	if err := s.run(t.Context(), "sleep 1000 & echo $!"); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return strings.HasSuffix(out.String(), "\n") })
	s.close()
	pid, err := strconv.Atoi(strings.TrimSpace(out.String()))
	if err != nil {
		t.Fatal(err)
	}
	if p, err := os.FindProcess(pid); err == nil {
		_ = p.Kill()
	}
}

// waitFor waits for a condition outside of our control.
func waitFor(t *testing.T, cond func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("waited in vain")
		}
	}
}
