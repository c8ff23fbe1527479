package mesh

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"gopgpool/internal/hosts"
	"gopgpool/logging"
)

// nodeEnv has the test binary be a node, with the configuration it holds.
const (
	nodeEnv     = "GOPGPOOL_MESH_NODE"
	nodeProgram = "/var/mesh.test"
	nodeIdle    = 600 * time.Millisecond
)

func TestMain(m *testing.M) {
	hosts.RunHelper()
	if text := os.Getenv(nodeEnv); text != "" {
		os.Exit(beNode(text))
	}
	os.Exit(m.Run())
}

// nodeConfig is what differs between nodes.
type nodeConfig struct {
	Self  int
	Nodes []Endpoint
}

// printer is a Handler that writes one word per event.
type printer struct{}

func (printer) Linked(_ int, up bool, _ string) { fmt.Println("up", up) }
func (printer) Received(int, []byte)            {}
func (printer) Rejected(int, string)            { fmt.Println("rejected") }

func beNode(text string) int {
	var n nodeConfig
	if err := json.Unmarshal([]byte(text), &n); err != nil {
		fmt.Println(err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	c := Config{Self: n.Self, Nodes: n.Nodes, Name: "node", Key: testKey, Idle: nodeIdle}
	m, err := New(c, printer{}, logging.To(os.Stderr, logging.Log))
	if err == nil {
		err = m.Run(ctx)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// hostNode is a node on a simulated host, and what it told last.
type hostNode struct {
	mu    sync.Mutex // guards state
	state string
}

func (n *hostNode) is(state string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state == state
}

func startOnHost(t *testing.T, h *hosts.Host, c nodeConfig) *hostNode {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd, err := h.Command(t.Context(), "root", nodeProgram)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(cmd.Env, nodeEnv+"="+string(text))
	r, w := io.Pipe()
	cmd.Stdout = w
	if err := h.Start(cmd); err != nil {
		t.Fatal(err)
	}
	n := &hostNode{}
	var reading sync.WaitGroup
	reading.Go(func() {
		for lines := bufio.NewScanner(r); lines.Scan(); {
			n.mu.Lock()
			n.state = lines.Text()
			n.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may be frozen
		_ = cmd.Wait()         // killed, as it shall be
		w.Close()
		reading.Wait()
	})
	return n
}

// TestNetworkFailures cuts real networks between kernels: a loss is noticed, and what heals is found again, within seconds.
func TestNetworkFailures(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	specs := []hosts.Spec{{Name: "a"}, {Name: "b"}}
	var c nodeConfig
	for i := range specs {
		specs[i].Devices = []hosts.Device{{Address: hostAddress(i)}}
		c.Nodes = append(c.Nodes, Endpoint{Host: hostAddress(i).Addr().String(), WdPort: 21130, PgpoolPort: 9999})
	}
	world := hosts.StartTest(t, hosts.Options{Hosts: specs, Shares: []hosts.Share{{Source: filepath.Clean(program), Target: nodeProgram}}})
	a, b := world.Host("a"), world.Host("b")
	na := startOnHost(t, a, c)
	c.Self = 1
	nb := startOnHost(t, b, c)
	both := func(state string) func() bool { return func() bool { return na.is(state) && nb.is(state) } }
	eventually(t, "the nodes meet", both("up true"))
	for _, failure := range []struct {
		name       string
		cause, fix func() error
		frozen     bool // b cannot notice
	}{
		{"cable out", b.Cut, b.Heal, false},
		{"no way from a to b", func() error { return a.BlockTo(b) }, func() error { return a.UnblockTo(b) }, false},
		{"b is frozen", b.Freeze, b.Thaw, true},
	} {
		for try := 1; ; try++ { // a busy machine may be late, but not each time
			if err := failure.cause(); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			lost := both("up false")
			if failure.frozen {
				lost = func() bool { return na.is("up false") }
			}
			eventually(t, failure.name+": noticed", lost)
			noticed := time.Since(began)
			if err := failure.fix(); err != nil {
				t.Fatal(err)
			}
			began = time.Now()
			eventually(t, failure.name+": healed", both("up true"))
			healed := time.Since(began)
			t.Logf("%s: noticed after %v, healed after %v", failure.name, noticed, healed)
			if noticed <= 3*nodeIdle && healed <= 3*time.Second {
				break
			}
			if try == 5 {
				t.Fatalf("%s: noticed after %v, healed after %v", failure.name, noticed, healed)
			}
		}
	}
}

func hostAddress(i int) netip.Prefix {
	return netip.MustParsePrefix(fmt.Sprintf("192.168.142.%d/24", i+1))
}
