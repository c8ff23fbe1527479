package wdtest

import (
	"encoding/binary"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gopgpool/internal/hosts"
	"gopgpool/internal/site"
)

// TestTwoPaths: heartbeats take two networks. One of them is enough; without any the peer is lost although all else reaches it.
//
// That a sender or a receiver that failed is started again is left to the tests of package pulse.
func TestTwoPaths(t *testing.T) {
	long(t)
	c := newCluster(t, site.ClusterOptions{Second: "eth1"})
	c.Start(t)
	leader := c.AwaitHolder(t, 15*time.Second)
	other := (leader + 1) % 3
	peer := c.Pgpools[other].Host
	all := states(3, leader, nil)
	c.AwaitStates(t, 10*time.Second, c.Pgpools[leader].Host.Name, all...)
	c.Pgpools[leader].AwaitLog(t, 15*time.Second, 0, "watchdog: lifecheck started")
	for _, device := range []string{"eth0", "eth1"} {
		// Two peers, a packet a second each.
		if n := heartbeats(t, peer, device, 3*time.Second); n < 4 || n > 10 {
			t.Errorf("%d heartbeats on %s within 3 s", n, device)
		}
	}
	w := watch(t, c)
	mark := c.Pgpools[leader].Mark(t)
	quiet := func(why string, d time.Duration) {
		t.Helper()
		pass(t, d)
		if log := c.Pgpools[leader].LogText(t)[mark:]; strings.Contains(log, "is lost") || strings.Contains(log, "NODE DEAD") {
			t.Fatalf("%s: a node is lost:\n%s", why, log)
		}
	}
	site.Must(t, peer.Unplug("eth1"))
	quiet("one network is gone", 9*time.Second)
	site.Must(t, peer.Plug("eth1"))
	deaf(t, c, peer, "eth0", true)
	quiet("no heartbeat on the other one", 9*time.Second)

	deaf(t, c, peer, "eth1", true)
	for _, id := range []int{leader, 3 - leader - other} {
		deaf(t, c, c.Pgpools[id].Host, "eth0", true)
		deaf(t, c, c.Pgpools[id].Host, "eth1", true)
	}
	c.Pgpools[leader].AwaitLog(t, 10*time.Second, mark, "No heartbeat signal from node")
	c.Pgpools[leader].AwaitLog(t, 5*time.Second, mark, "is lost", "REPORTED BY LIFECHECK")
	for _, h := range c.PgpoolHosts() {
		deaf(t, c, h, "eth0", false)
		deaf(t, c, h, "eth1", false)
	}
	c.Pgpools[leader].AwaitLog(t, 10*time.Second, mark, "Heartbeat signal found")
	leader = c.AwaitHolder(t, 15*time.Second)
	c.AwaitStates(t, 15*time.Second, c.Pgpools[leader].Host.Name, states(3, leader, nil)...)
	served(t, c, w, 10*time.Second)
	t.Log(stop(t, w).Holders())
}

// states are those of a cluster in order, with the exceptions.
func states(nodes, leader int, but map[int]string) (all []string) {
	for id := range nodes {
		s := "7 STANDBY"
		if id == leader {
			s = "4 LEADER"
		}
		if other, ok := but[id]; ok {
			s = other
		}
		all = append(all, s)
	}
	return all
}

// pass lets time pass in which nothing is to happen.
func pass(t *testing.T, d time.Duration) {
	t.Helper()
	end := time.Now().Add(d)
	site.Wait(t.Context(), d+time.Second, func() (string, bool) { return "", time.Now().After(end) })
}

// deaf lets heartbeats vanish that come in on a device of the host, and nothing else; or lets them in again.
func deaf(t *testing.T, c *site.Cluster, h *hosts.Host, device string, on bool) {
	t.Helper()
	change := c.Undrop
	if on {
		change = c.Drop
	}
	change(t, h, fmt.Sprintf("iif %s ipproto udp dport %d", device, site.HeartbeatPort))
}

// heartbeats counts those that come in on a device of the host.
func heartbeats(t *testing.T, h *hosts.Host, device string, d time.Duration) (n int) {
	t.Helper()
	var socket *os.File
	err := h.Within(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(htons(unix.ETH_P_IP)))
		if err != nil {
			return err
		}
		socket = os.NewFile(uintptr(fd), "capture")
		index, err := os.ReadFile("/sys/class/net/" + device + "/ifindex")
		if err != nil {
			return err
		}
		var i int
		if _, err := fmt.Sscan(string(index), &i); err != nil {
			return err
		}
		return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: i})
	})
	site.Must(t, err)
	defer socket.Close()
	site.Must(t, socket.SetReadDeadline(time.Now().Add(d)))
	own := h.Address().AsSlice()
	buf := make([]byte, 2000)
	for {
		k, err := socket.Read(buf)
		if err != nil {
			return n
		}
		head := int(buf[0]&15) * 4
		udp := k > head+8 && buf[9] == unix.IPPROTO_UDP && binary.BigEndian.Uint16(buf[head+2:]) == site.HeartbeatPort
		if udp && string(buf[12:16]) != string(own) && buf[15] != own[3]-100 {
			n++
		}
	}
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// TestSelfChecks: a node that sees nothing of the world leaves; one that sees a little stays.
func TestSelfChecks(t *testing.T) {
	long(t)
	b := &bench{t: t, Cluster: newCluster(t, site.ClusterOptions{Settings: site.Settings{
		"trusted_servers": "hostA,hostB", "trusted_server_command": "test ! -e /run/pgpool/no-%h", "wd_monitoring_interfaces_list": "eth0",
	}})}
	b.Start(t)
	leader := b.order(nil, healLimit)
	p := b.Pgpools[leader]
	p.AwaitLog(t, 15*time.Second, 0, "watchdog: lifecheck started")
	w := watch(t, b.Cluster)
	mark := p.Mark(t)
	b.Run(t, p.Host, "root", "touch /run/pgpool/no-hostA")
	pass(t, 4*time.Second)
	if _, seen := b.inOrder(); seen != "" {
		t.Errorf("one of two trusted servers is gone: %s", seen)
	}
	b.Run(t, p.Host, "root", "touch /run/pgpool/no-hostB")
	p.AwaitLog(t, 10*time.Second, mark, "failed to connect to any trusted servers")
	if end := p.AwaitEnd(t, 15*time.Second); end == "" {
		t.Error("a node without trusted servers ended without an error")
	}
	b.Run(t, p.Host, "root", "rm /run/pgpool/no-host*")
	b.AwaitHolder(t, 10*time.Second, (leader+1)%3, (leader+2)%3)
	b.Start(t, leader)
	leader = b.order(w, healLimit)

	p = b.Pgpools[leader]
	mark = p.Mark(t)
	b.Run(t, p.Host, "root", "ip link set eth0 down")
	if end := p.AwaitEnd(t, 15*time.Second); end == "" {
		t.Error("a node without network ended without an error")
	}
	p.LogSays(t, mark, "network event has occurred and all monitored interfaces are down", "system has lost the network")
	b.AwaitHolder(t, 10*time.Second, (leader+1)%3, (leader+2)%3)
	b.Run(t, p.Host, "root", "ip link set eth0 up")
	b.Start(t, leader)
	b.order(w, healLimit)
	t.Log(stop(t, w).Holders())
}

// recorder is a script that stands for the commands that move the address.
const recorder = site.EtcDir + "/record.sh"

const recorded = "/var/log/pgpool/recorded"

// TestRecordedCommands: the commands are called once at each change, with the address in the place of $_IP_$ and no shell in between.
func TestRecordedCommands(t *testing.T) {
	long(t)
	c := newCluster(t, site.ClusterOptions{Settings: site.Settings{
		"if_up_cmd": recorder + " up $_IP_$ a;b", "if_down_cmd": recorder + " down $_IP_$", "arping_cmd": recorder + " arping $_IP_$",
	}})
	for _, h := range c.PgpoolHosts() {
		site.Must(t, h.WriteFile("root", recorder, "#!/bin/sh\necho \"$*\" >>"+recorded+"\n", 0o755))
		site.Must(t, h.WriteFile("root", recorded, "", 0o644))
	}
	calls := func(id int) string {
		t.Helper()
		return strings.ReplaceAll(c.Run(t, c.Pgpools[id].Host, "root", "cat "+recorded), "\n", ", ")
	}
	const up = "up 192.168.137.150 a;b, arping 192.168.137.150"
	await := func(id int, want string) {
		t.Helper()
		c.Await(t, fmt.Sprintf("%s called %s", c.Pgpools[id].Host.Name, want), 15*time.Second, func() (string, bool) {
			got := calls(id)
			return got, got == want
		})
	}
	c.Start(t, 0)
	c.Start(t, 1, 2)
	leader := -1
	c.Await(t, "a leader calls", 15*time.Second, func() (string, bool) {
		for id := range c.Pgpools {
			if calls(id) != "" {
				leader = id
			}
		}
		return "", leader >= 0
	})
	await(leader, up)
	c.Pgpools[leader].Stop(t)
	await(leader, up+", down 192.168.137.150")
	next := -1
	c.Await(t, "the next leader calls", 15*time.Second, func() (string, bool) {
		for id := range c.Pgpools {
			if id != leader && calls(id) != "" {
				next = id
			}
		}
		return "", next >= 0
	})
	await(next, up)
	c.Start(t, leader)
	pass(t, lease)
	if got := calls(leader); got != up+", down 192.168.137.150" {
		t.Errorf("the old leader called: %s", got)
	}
	if got := calls(next); got != up {
		t.Errorf("the new leader called: %s", got)
	}
	if got := calls(3 - leader - next); got != "" {
		t.Errorf("a standby called: %s", got)
	}
}

// TestQueryMethod: nodes ask each other by SELECT 1.
func TestQueryMethod(t *testing.T) {
	long(t)
	c := newCluster(t, site.ClusterOptions{Settings: site.Settings{"wd_lifecheck_method": "query", "wd_lifecheck_dbname": "postgres"}})
	c.Start(t)
	leader := c.AwaitHolder(t, 15*time.Second)
	p, frozen := c.Pgpools[leader], (leader+1)%3
	p.AwaitLog(t, 20*time.Second, 0, "watchdog: lifecheck started")
	mark := p.Mark(t)
	c.Pgpools[frozen].Freeze(t)
	p.AwaitLog(t, 20*time.Second, mark, "unable to connect to node")
	c.AwaitStates(t, 5*time.Second, p.Host.Name, states(3, leader, map[int]string{frozen: "8 LOST"})...)
	c.Pgpools[frozen].Thaw(t)
}

// TestAuthenticationKey: a node with another key is turned away and ends; nobody else notices.
func TestAuthenticationKey(t *testing.T) {
	long(t)
	c := newCluster(t, site.ClusterOptions{Programs: []string{"wd_cli"}, NodeSettings: func(id int) site.Settings {
		if id == 2 {
			return site.Settings{"wd_authkey": "another key"}
		}
		return nil
	}})
	c.Start(t, 0, 1)
	leader := c.AwaitHolder(t, 15*time.Second)
	marks := []int{c.Pgpools[0].Mark(t), c.Pgpools[1].Mark(t)}
	c.Pgpools[2].Spawn(t)
	if end := c.Pgpools[2].AwaitEnd(t, 20*time.Second); end == "" {
		t.Error("a node with another key ended without an error")
	}
	c.Pgpools[2].LogSays(t, 0, "wd_authkey")
	if log := c.Pgpools[0].LogText(t)[marks[0]:] + c.Pgpools[1].LogText(t)[marks[1]:]; !strings.Contains(log, "authentication failed") {
		t.Error("nobody tells that authentication failed")
	}
	if ids := c.Holders(t); len(ids) != 1 || ids[0] != leader {
		t.Errorf("held by %v, not %d", ids, leader)
	}
	for _, tc := range []struct {
		key  string
		want int
	}{{"", 1}, {"-k wrong", 1}, {"-k 'a key for all'", 0}} {
		out, said, status := c.Shell(t, c.Pgpools[0].Host, "root", site.OurDir+"/bin/wd_cli -i -a -v -s /run/pgpool -p 9000 "+tc.key)
		if status != tc.want {
			t.Errorf("wd_cli %s: status %d\n%s%s", tc.key, status, out, said)
		}
	}
}

// TestSharedState: what one node is told about servers, all show within a second.
func TestSharedState(t *testing.T) {
	long(t)
	b := &bench{t: t, Cluster: newCluster(t, site.ClusterOptions{Servers: 2})}
	b.Start(t)
	leader := b.order(nil, healLimit)
	const whole = "0 up primary, 1 up standby"
	b.AwaitPoolNodes(t, 15*time.Second, whole)
	for id, p := range b.Pgpools {
		b.PCP(t, p.Host.Name, "detach_node", "-n", "1")
		b.sameWithin(time.Second, "0 up primary, 1 down standby")
		b.PCP(t, b.Pgpools[(id+1)%3].Host.Name, "attach_node", "-n", "1")
		b.sameWithin(time.Second, whole)
	}
	said := b.PCP(t, b.Pgpools[b.standby(leader)].Host.Name, "watchdog_info", "-v")
	for _, want := range []string{"Total Nodes", "Quorum state", "QUORUM EXIST", "Delegate IP", b.VIP.String(), "Node priority", "Status Name"} {
		if !strings.Contains(said, want) {
			t.Errorf("pcp_watchdog_info -v says nothing of %s:\n%s", want, said)
		}
	}
}

// sameWithin waits until all pgpools show the same of the servers. psql takes time too, and a test more than that.
func (b *bench) sameWithin(d time.Duration, want string) {
	b.t.Helper()
	began := time.Now()
	b.AwaitPoolNodes(b.t, 10*time.Second, want)
	if took := time.Since(began); took > d+time.Second {
		b.t.Errorf("it took %.1f s until all show %s", took.Seconds(), want)
	}
}

// TestWhoLeads: the one with the highest priority, then the one that was started first.
func TestWhoLeads(t *testing.T) {
	long(t)
	for _, tc := range []struct {
		name     string
		priority map[int]string
		next     int
	}{
		{"started first", nil, 2},
		{"priority", map[int]string{1: "5"}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCluster(t, site.ClusterOptions{NodeSettings: func(id int) site.Settings {
				if p, ok := tc.priority[id]; ok {
					return site.Settings{"wd_priority": p}
				}
				return nil
			}})
			// The first one alone is no quorum: it founds the cluster with the second one, and leads.
			c.Pgpools[0].Spawn(t)
			pass(t, 1500*time.Millisecond)
			c.Pgpools[2].Spawn(t)
			first := c.AwaitHolder(t, 20*time.Second)
			if first != 0 {
				t.Errorf("node %d leads, not the one that was started first", first)
			}
			pass(t, 1500*time.Millisecond)
			c.Start(t, 1)
			c.AwaitStates(t, 15*time.Second, c.Pgpools[0].Host.Name, states(3, 0, nil)...)
			c.Pgpools[0].Signal(t, syscall.SIGINT)
			c.AwaitHolder(t, 10*time.Second, tc.next)
		})
	}
}
