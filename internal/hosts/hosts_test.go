package hosts

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

func TestHostsAreApart(t *testing.T) {
	w := start(t, "server1", "server2")
	one, two := w.Host("server1"), w.Host("server2")
	for _, h := range w.Hosts() {
		if got := run(t, h, "root", "hostname; cat /etc/hostname"); got != h.Name+"\n"+h.Name {
			t.Errorf("host name %q, want %q", got, h.Name)
		}
	}
	// The same path and the same port are two things.
	for _, dir := range []string{"/tmp", "/run", "/var/run", "/var/lib", "/etc", "/home", "/dev/shm"} {
		file := dir + "/there"
		run(t, one, "root", "echo 1 >"+file)
		if got := status(t, two, "root", "test -e "+file); got != "1" {
			t.Errorf("%s of server1 is on server2", file)
		}
		if _, err := os.Stat(file); err == nil {
			t.Errorf("%s of server1 is on this machine", file)
		}
	}
	if got := status(t, one, "root", "touch /usr/there"); got == "0" {
		t.Error("/usr can be written")
	}
	echo(t, one, 5432)
	echo(t, two, 5432)
	if c, err := net.DialTimeout("tcp", "192.168.137.101:5432", 100*time.Millisecond); err == nil {
		if said(t, c, 100*time.Millisecond) { // somebody else's address it may be
			t.Error("a host can be reached from this machine")
		}
		c.Close()
	}
	if out := run(t, one, "root", "ls /proc | grep -c '^[0-9]'"); len(out) > 1 {
		t.Errorf("%s processes on a fresh host", out)
	}
	if got := run(t, one, "nobody", "id -un; pwd"); got != "nobody\n/nonexistent" {
		t.Errorf("as nobody: %q", got)
	}
}

func TestNamesLeadToHosts(t *testing.T) {
	w := start(t, "server1", "server2")
	echo(t, w.Host("server2"), 7)
	eventually(t, "server2 is reached by its name", func() bool {
		return reaches(t, w.Host("server1"), "server2", 7) && reaches(t, w.Host("server2"), "localhost", 7)
	})
	if got := run(t, w.Host("server1"), "root", "getent hosts server2"); !strings.HasPrefix(got, "192.168.137.102 ") {
		t.Errorf("getent: %q", got)
	}
}

func TestCutAndHeal(t *testing.T) {
	w := start(t, "a", "b", "c")
	a, b, c := w.Host("a"), w.Host("b"), w.Host("c")
	for _, h := range w.Hosts() {
		echo(t, h, 7)
	}
	conn, err := a.Dial(t.Context(), "tcp4", "b:7")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	check := func(what string, want string) {
		t.Helper()
		for _, p := range [][2]*Host{{a, b}, {b, a}, {a, c}, {b, c}} {
			switch pair := p[0].Name + p[1].Name; {
			case slices.Contains(strings.Fields(want), pair):
				eventually(t, what+": "+pair, func() bool { return reaches(t, p[0], p[1].Name, 7) })
			case reaches(t, p[0], p[1].Name, 7):
				t.Errorf("%s: %s reach each other", what, pair)
			}
		}
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check("at first", "ab ba ac bc")
	do(b.Cut())
	check("b cut off", "ac")
	if said(t, conn, 200*time.Millisecond) {
		t.Error("a connection to a host that is cut off still works")
	}
	do(b.Heal())
	check("healed", "ab ba ac bc")
	eventually(t, "the old connection comes back", func() bool { return said(t, conn, time.Second) })
	do(a.Block(b))
	check("a and b blocked", "ac bc")
	do(a.Unblock(b))
	check("unblocked", "ab ba ac bc")
	do(w.Partition([]*Host{a, b}, []*Host{c}))
	check("c apart", "ab ba")
	do(w.Heal())
	check("healed again", "ab ba ac bc")
	do(c.Unplug("eth0"))
	check("c without its cable", "ab ba")
	if carrier := run(t, c, "root", "cat /sys/class/net/eth0/carrier"); carrier != "0" {
		t.Errorf("carrier %s without a cable", carrier)
	}
	do(c.Plug("eth0"))
	eventually(t, "c is back", func() bool { return reaches(t, a, "c", 7) })
	if err := c.Unplug("eth7"); err == nil {
		t.Error("a device that does not exist was unplugged")
	}
}

func TestTwoPaths(t *testing.T) {
	var all []Spec
	for i, name := range []string{"a", "b"} {
		all = append(all, Spec{Name: name, Devices: []Device{
			{Name: "enp0s8", Network: "lan", Address: address(fmt.Sprintf("192.168.137.%d/24", 101+i))},
			{Name: "hb0", Network: "heartbeat", Address: address(fmt.Sprintf("10.1.1.%d/30", 1+i))},
		}})
	}
	w := StartTest(t, Options{Hosts: all})
	echo(t, w.Host("b"), 7)
	if err := w.Host("b").Unplug("enp0s8"); err != nil {
		t.Fatal(err)
	}
	if reaches(t, w.Host("a"), "192.168.137.102", 7) {
		t.Error("the first path is still there")
	}
	eventually(t, "the second path is left", func() bool { return reaches(t, w.Host("a"), "10.1.1.2", 7) })
	if got := run(t, w.Host("a"), "root", "getent hosts b-hb0"); !strings.HasPrefix(got, "10.1.1.2 ") {
		t.Errorf("getent: %q", got)
	}
}

// daemon starts a process on the host that answers on a port, with a child of its own.
func daemon(t *testing.T, h *Host) {
	t.Helper()
	run(t, h, "nobody", "setsid sh -c 'while :; do sleep 1000; done' >/dev/null 2>&1 </dev/null &")
	// Two processes could be those that start it.
	eventually(t, "the daemon runs", func() bool {
		const asleep = "grep -lsE '^Uid:.'$(id -u nobody) /proc/[0-9]*/status | xargs grep -ls '^Name:.sleep' || true"
		return run(t, h, "root", asleep) != "" && processes(t, h) == 2
	})
}

func processes(t *testing.T, h *Host) int {
	t.Helper()
	a, err := h.ask(order{})
	if err != nil {
		t.Fatal(err)
	}
	return a.Processes
}

func TestFreeze(t *testing.T) {
	w := start(t, "a", "b")
	a, b := w.Host("a"), w.Host("b")
	daemon(t, b)
	if err := b.Freeze(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all have stopped", func() bool { return states(t, b) == "T T" })
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := a.Run(ctx, "root", "ssh b true"); err == nil {
		t.Error("ssh to a frozen host worked")
	}
	eventually(t, "the kernel of a frozen host answers", func() bool { return reaches(t, a, "b", sshPort) })
	if err := b.Thaw(); err != nil {
		t.Fatal(err)
	}
	run(t, a, "root", "ssh b true")
	eventually(t, "all run again", func() bool { return states(t, b) == "S S" })
}

// states are those of the daemon's processes.
func states(t *testing.T, h *Host) string {
	t.Helper()
	return strings.Join(strings.Fields(run(t, h, "root",
		"grep -lE '^Uid:.'$(id -u nobody) /proc/[0-9]*/status | xargs sed -n 's/^State:.\\(.\\).*/\\1/p'")), " ")
}

func TestPowerLoss(t *testing.T) {
	w := start(t, "a", "b")
	a, b := w.Host("a"), w.Host("b")
	daemon(t, b)
	run(t, b, "root", "touch /tmp/gone /var/lib/kept")
	addAddress(t, b, "192.168.137.150/24")
	eventually(t, "the added address is there", func() bool { return reaches(t, a, "192.168.137.150", sshPort) })
	if err := b.PowerOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := processes(t, b); n != 0 {
		t.Errorf("%d processes without power", n)
	}
	if reaches(t, a, "b", sshPort) {
		t.Error("a host without power answers")
	}
	if err := b.PowerOn(t.Context()); err != nil {
		t.Fatal(err)
	}
	run(t, a, "root", "ssh b true")
	if got := run(t, b, "root", "ls /tmp /var/lib"); got != "/tmp:\n\n/var/lib:\nkept" {
		t.Errorf("after the power came back: %q", got)
	}
	if reaches(t, a, "192.168.137.150", sshPort) {
		t.Error("an added address outlives the power")
	}
}

// addAddress gives the host another address, as the holder of a virtual one does.
func addAddress(t *testing.T, h *Host, text string) {
	t.Helper()
	inside, err := netlink.NewHandleAt(netns.NsHandle(h.net.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	if err := configure(inside, Device{Name: "eth0", Address: address(text)}); err != nil {
		t.Fatal(err)
	}
}

func TestManyWorldsAtOnce(t *testing.T) {
	for i := range 3 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			w := start(t, "server1", "server2")
			run(t, w.Host("server2"), "root", fmt.Sprintf("echo %d >/etc/which", i))
			if got := run(t, w.Host("server1"), "root", "ssh server2 cat /etc/which"); got != fmt.Sprint(i) {
				t.Errorf("server2 of world %s instead of %d", got, i)
			}
		})
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	before := outside(t)
	w := start(t, "a", "b")
	h := w.Host("a")
	daemon(t, h)
	namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", h.helper.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(inNamespace(t, namespace)); n < 3 {
		t.Fatalf("%d processes on the host: the test sees nothing", n)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if left := inNamespace(t, namespace); len(left) > 0 {
		t.Errorf("processes left: %v", left)
	}
	if after := outside(t); after != before {
		t.Errorf("this machine has changed:\n%s\nwas\n%s", after, before)
	}
	w.hosts, w.handle, w.switches = nil, nil, nil // closed
}

// outside is what hosts might leave on this machine.
func outside(t *testing.T) string {
	t.Helper()
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, i := range interfaces {
		names = append(names, i.Name)
	}
	named, err := filepath.Glob("/run/netns/*")
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(names, named) + "\n" + string(mounts)
}

func beParent() int {
	w, err := New(context.Background(), Options{Hosts: specs("a", "b")})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	h := w.Host("a")
	if _, err := h.Run(context.Background(), "root", "setsid sleep 1000 >/dev/null 2>&1 </dev/null &"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", h.helper.Process.Pid))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(namespace)
	select {}
}

func TestNothingOutlivesTheProcess(t *testing.T) {
	_ = start(t, "only") // skips where there can be no hosts
	before := outside(t)
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), parentEnv+"=1")
	parent.Stderr = os.Stderr
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	namespace, err := bufio.NewReader(out).ReadString('\n')
	namespace = strings.TrimSpace(namespace)
	if err == nil && len(inNamespace(t, namespace)) < 2 {
		t.Error("the test does not see the processes of the host")
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // killed
	if err != nil {
		t.Fatalf("the parent made no hosts: %v", err)
	}
	eventually(t, "the host's processes end", func() bool { return len(inNamespace(t, namespace)) == 0 })
	if after := outside(t); after != before {
		t.Errorf("this machine has changed:\n%s\nwas\n%s", after, before)
	}
}

func TestWithoutRights(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, whose rights it takes away")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run", "^TestNamesLeadToHosts$", "-test.v")
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, RequireEnv) }), "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = (account{uid: 65534, gid: 65534}).attr()
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "need root") {
		t.Errorf("not skipped: %v\n%s", err, out)
	}
	cmd = exec.Command("/proc/self/exe", "-test.run", "^TestNamesLeadToHosts$")
	cmd.Env = append(os.Environ(), RequireEnv+"=1", "GORACE=atexit_sleep_ms=0")
	cmd.SysProcAttr = (account{uid: 65534, gid: 65534}).attr()
	if out, err := cmd.CombinedOutput(); err == nil {
		t.Errorf("not failed although hosts are required\n%s", out)
	}
}
