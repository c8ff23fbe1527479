package pulse

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"gopgpool/internal/hosts"
	"gopgpool/logging"
)

// nodeEnv has the test binary be a node, with the configuration it holds.
const (
	nodeEnv     = "GOPGPOOL_PULSE_NODE"
	nodeProgram = "/var/pulse.test"
	nodePort    = 21180
)

func TestMain(m *testing.M) {
	hosts.RunHelper()
	if text := os.Getenv(nodeEnv); text != "" {
		os.Exit(beNode(text))
	}
	os.Exit(m.Run())
}

// beNode writes a line for every sign of life.
func beNode(text string) int {
	var c Config
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		fmt.Println(err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	p, err := New(c, func(id int, path string, _ time.Duration) { fmt.Println(id, path) }, logging.To(os.Stderr, logging.Debug1))
	if err == nil {
		p.restartInterval, p.bindInterval = quick, quick
		err = p.Run(ctx)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// hostNode is a node on a simulated host.
type hostNode struct {
	log logText

	mu    sync.Mutex // guards signs
	signs int
}

func (n *hostNode) hears(t *testing.T, when string) {
	t.Helper()
	count := func() int {
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.signs
	}
	from := count()
	eventually(t, "signs of life "+when, func() bool { return count() > from+3 })
}

func startOnHost(t *testing.T, h *hosts.Host, c Config) *hostNode {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd, err := h.Command(t.Context(), "root", nodeProgram)
	if err != nil {
		t.Fatal(err)
	}
	n := &hostNode{}
	cmd.Env = append(cmd.Env, nodeEnv+"="+string(text))
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, &n.log
	if err := h.Start(cmd); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	reading.Go(func() {
		for lines := bufio.NewScanner(r); lines.Scan(); {
			n.mu.Lock()
			n.signs++
			n.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed, as it shall be
		w.Close()
		reading.Wait()
	})
	return n
}

func hostAddress(i int) netip.Prefix {
	return netip.MustParsePrefix(fmt.Sprintf("192.168.143.%d/24", i+1))
}

// inDevice does something to the device of a host.
func inDevice(t *testing.T, h *hosts.Host, name string, do ...func(netlink.Link) error) {
	t.Helper()
	err := h.Within(func() error {
		link, err := netlink.LinkByName(name)
		for i := 0; err == nil && i < len(do); i++ {
			err = do[i](link)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestDevicesComeAndGo has nodes that send and receive through a device, which goes down, vanishes and comes back.
func TestDevicesComeAndGo(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	specs := []hosts.Spec{{Name: "a"}, {Name: "b"}}
	for i := range specs {
		specs[i].Devices = []hosts.Device{{Address: hostAddress(i)}}
	}
	world := hosts.StartTest(t, hosts.Options{Hosts: specs, Shares: []hosts.Share{{Source: program, Target: nodeProgram}}})
	var nodes []*hostNode
	for i := range specs {
		other := hostAddress(1 - i).Addr().String()
		nodes = append(nodes, startOnHost(t, world.Host(specs[i].Name), Config{
			Self: i, SelfHost: hostAddress(i).Addr().String(), SelfPgpoolPort: 9999, Key: testKey, Keepalive: quick,
			Paths:  []Path{{Node: 1 - i, Host: other, Port: nodePort, Device: "eth0"}},
			Listen: []Listener{{Address: "*", Port: nodePort, Device: "eth0"}},
			Known:  []NodeName{{Node: 1 - i, Host: other, PgpoolPort: 9999}},
		}))
	}
	a, b := nodes[0], nodes[1]
	a.hears(t, "of b at first")
	b.hears(t, "of a at first")
	host := world.Host("a")

	inDevice(t, host, "eth0", netlink.LinkSetDown)
	a.log.contains(t, "heartbeat sender to 192.168.143.2:21180 through eth0 failed and is started again")
	inDevice(t, host, "eth0", netlink.LinkSetUp)
	a.hears(t, "of b after the device was down")
	b.hears(t, "of a after the device was down")

	inDevice(t, host, "eth0", netlink.LinkSetDown, func(l netlink.Link) error { return netlink.LinkSetName(l, "away0") })
	a.log.contains(t, "heartbeat receiver on *:21180 of eth0 failed and is started again")
	inDevice(t, host, "away0", func(l netlink.Link) error { return netlink.LinkSetName(l, "eth0") }, netlink.LinkSetUp)
	a.hears(t, "of b after the device was gone")
	b.hears(t, "of a after the device was gone")
}
