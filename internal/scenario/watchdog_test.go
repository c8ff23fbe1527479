package scenario

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"gopgpool/internal/site"
)

const virtualIP = "192.168.137.150"

// trio is the example as it is meant: a pgpool on each of the three servers, and a virtual address.
type trio struct {
	*example
	t *testing.T // of the step
}

// TestThreePgpools is the documented example in full: three pgpools decide together, and one of them has the virtual address.
func TestThreePgpools(t *testing.T) {
	if os.Getenv("GOPGPOOL_WD") == "" {
		t.Skip("left to make wd and make scenario")
	}
	s := &trio{example: newExample(t, "root", "server1", "server2", "server3"), t: t}
	s.address, s.ip = virtualIP, virtualIP
	for _, step := range []struct {
		name string
		do   func(*trio)
	}{
		{"first start", (*trio).firstStart},
		{"build standbys", (*trio).standbys},
		{"change of the leader", (*trio).changeLeader},
		{"lose the primary", (*trio).losePrimary},
		{"one pgpool cannot reach the primary", (*trio).quarantine},
		{"no quorum", (*trio).noQuorum},
	} {
		played := false
		t.Run(step.name, func(t *testing.T) {
			s.t = t
			step.do(s)
			played = true
		})
		if !played {
			break // the next one begins where this one was to end
		}
	}
}

// firstStart: the primary runs on server1, server2 and server3 are empty. All pgpools agree that they are down.
func (s *trio) firstStart() {
	s.startPrimary(s.t)
	settings := site.Profile().With(site.VIPSettings(virtualIP, "enp0s8", 24), site.Settings{
		"use_watchdog": "on", "wd_authkey": "a key for all", "wd_state_directory": site.StateDir, "wd_ipc_socket_dir": "/run/pgpool",
	})
	for id, p := range s.pgpools {
		for name, value := range map[string]string{
			"hostname": p.Host.Name, "wd_port": "9000", "pgpool_port": "9999", "heartbeat_hostname": p.Host.Name, "heartbeat_port": "9694",
		} {
			settings[fmt.Sprintf("%s%d", name, id)] = value
		}
	}
	s.configure(s.t, settings)
	for _, p := range s.pgpools {
		p.Spawn(s.t)
	}
	for _, p := range s.pgpools {
		p.AwaitLog(s.t, 40*time.Second, 0, "successfully started")
	}
	s.lead(s.holder(40 * time.Second))
	s.everywhere(20*time.Second, "0 up primary, 1 down standby, 2 down standby")
}

// lead makes a pgpool the one whose log and commands are looked at.
func (s *trio) lead(id int) int {
	s.pgpool = s.pgpools[id]
	return id
}

// holder waits until one host alone has the virtual address.
func (s *trio) holder(limit time.Duration, among ...int) (id int) {
	s.t.Helper()
	s.Await(s.t, fmt.Sprintf("one of %v has the virtual address", among), limit, func() (string, bool) {
		holders := s.holders()
		if len(holders) == 1 {
			id = holders[0]
		}
		return fmt.Sprint(holders), len(holders) == 1 && (len(among) == 0 || slices.Contains(among, id))
	})
	return id
}

func (s *trio) holders() (ids []int) {
	s.t.Helper()
	for id, h := range s.servers {
		if s.Run(s.t, h, "root", "ip -o addr show to "+virtualIP) != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// everywhere waits until the virtual address and each running pgpool show the same.
func (s *trio) everywhere(limit time.Duration, want string) {
	s.t.Helper()
	s.awaitNodes(s.t, limit, want)
	s.Await(s.t, "all pgpools show that", 2*time.Second, func() (string, bool) {
		for _, p := range s.pgpools {
			if p.Running() {
				if got := s.at(p); got != want {
					return p.Host.Name + ": " + got, false
				}
			}
		}
		return "", true
	})
}

// at is what one pgpool itself shows.
func (s *trio) at(p *site.Pgpool) string {
	s.t.Helper()
	out, said, status := s.Shell(s.t, s.client, "postgres",
		"PGCONNECT_TIMEOUT=5 psql -X -q -A -P footer=off -w -h "+p.Host.Name+" -p 9999 -U pgpool -d postgres -c 'SHOW pool_nodes'")
	if status != 0 {
		return said
	}
	return site.Brief(site.Rows(out), "node_id", "status", "role")
}

func (s *trio) standbys() {
	s.recover(s.t, 1)
	s.recover(s.t, 2)
	s.everywhere(15*time.Second, "0 up primary, 1 up standby, 2 up standby")
}

// info is pcp_watchdog_info through the virtual address.
func (s *trio) info() site.WatchdogInfo {
	s.t.Helper()
	info, err := site.ParseWatchdogInfo(s.pcp(s.t, "watchdog_info"))
	if err != nil {
		s.t.Log(err)
	}
	return info
}

// sees waits for the states of all pgpools, as the holder of the virtual address sees them.
func (s *trio) sees(limit time.Duration, want ...string) {
	s.t.Helper()
	s.Await(s.t, "the states are "+strings.Join(want, ", "), limit, func() (string, bool) {
		info := s.info()
		var got []string
		for _, p := range s.pgpools {
			got = append(got, info.State(p.Host.Name))
		}
		return strings.Join(got, ", "), slices.Equal(got, want)
	})
}

// inOrder are the states of a cluster with that leader, and exceptions.
func inOrder(leader int, but map[int]string) []string {
	all := []string{"7 STANDBY", "7 STANDBY", "7 STANDBY"}
	all[leader] = "4 LEADER"
	for id, state := range but {
		all[id] = state
	}
	return all
}

// changeLeader: the leader is stopped and comes back, then loses its power.
func (s *trio) changeLeader() {
	first := s.holder(5 * time.Second)
	s.sees(10*time.Second, inOrder(first, nil)...)
	info := s.info()
	name := s.servers[first].Name
	if info.Summary != "3 3 YES" || info.Leader != name || info.Nodes[0].Host != name || info.Nodes[0].Name != name+":9999 Linux "+name {
		s.t.Errorf("pcp_watchdog_info: %+v", info)
	}
	s.pgpools[first].Stop(s.t)
	second := s.holder(15*time.Second, (first+1)%3, (first+2)%3)
	s.sees(10*time.Second, inOrder(second, map[int]string{first: "10 SHUTDOWN"})...)
	if info := s.info(); info.Summary != "3 3 YES" || info.Nodes[0].Host != s.servers[second].Name {
		s.t.Errorf("pcp_watchdog_info of the next leader: %+v", info)
	}
	if _, err := s.psql(s.t.Context(), "postgres", "SELECT 1"); err != nil {
		s.t.Error(err)
	}
	s.start1(first)
	s.sees(10*time.Second, inOrder(second, nil)...)

	// Only pgpool is killed: the server beside it may be the primary. What a loss of power does is in package wdtest.
	s.pgpools[second].Kill(s.t)
	third := s.holder(15*time.Second, first, 3-first-second)
	s.sees(15*time.Second, inOrder(third, map[int]string{second: "8 LOST"})...)
	s.start1(second)
	s.sees(10*time.Second, inOrder(third, nil)...)
	s.lead(third)
	s.everywhere(15*time.Second, "0 up primary, 1 up standby, 2 up standby")
}

// start1 starts one pgpool.
func (s *trio) start1(id int) {
	s.t.Helper()
	p := s.pgpools[id]
	mark := p.Mark(s.t)
	p.Spawn(s.t)
	p.AwaitLog(s.t, 30*time.Second, mark, "successfully started")
}

// losePrimary: the pgpools agree on it, and the leader alone runs the commands.
func (s *trio) losePrimary() {
	s.lead(s.holder(5 * time.Second))
	for _, p := range s.pgpools {
		s.forget(p)
	}
	mark := s.pgpool.Mark(s.t)
	s.databases[0].Stop(s.t, "immediate")
	s.everywhere(40*time.Second, "0 down standby, 1 up primary, 2 up standby")
	s.awaitCommands(s.t, 10*time.Second,
		"failover 0 server1 "+data+" 1 server2 0 0 "+data,
		"follow_primary 0 server1 "+data+" 1 0 server2 0 "+data,
		"follow_primary 2 server3 "+data+" 1 0 server2 0 "+data)
	s.pgpool.LogSays(s.t, mark, "we have got the consensus to perform the failover", "find_primary_node: primary node is 1")
	for _, p := range s.pgpools {
		if got := s.forget(p); p != s.pgpool && len(got) > 0 {
			s.t.Errorf("%s, which does not lead, called %v", p.Host.Name, got)
		}
	}
	s.expectRecovery(s.t, map[int]string{1: "f", 2: "t"})
	s.awaitStreaming(s.t, 1, "repl server3 192.168.137.103 streaming async")
	s.expectWritesOn(s.t, 1)
	s.recover(s.t, 0)
	s.everywhere(15*time.Second, "0 up standby, 1 up primary, 2 up standby")
}

// forget returns the commands of a pgpool that were not looked at, and takes them for looked at.
func (s *trio) forget(p *site.Pgpool) []string {
	s.t.Helper()
	was := s.pgpool
	defer func() { s.pgpool = was }()
	s.pgpool = p
	return s.commands(s.t)
}

// quarantine: one pgpool that does not lead cannot reach the primary. Nobody else minds; when it can again, all is as before.
func (s *trio) quarantine() {
	leader := s.holder(5 * time.Second)
	alone := (leader + 1) % 3
	if alone == 1 {
		alone = (leader + 2) % 3 // on the primary's host there is no network in between
	}
	block := "from " + s.servers[alone].Address().String() + " ipproto tcp dport 5432"
	mark := s.pgpools[leader].Mark(s.t)
	s.Drop(s.t, s.servers[1], block)
	s.Await(s.t, "the primary is in quarantine there", 30*time.Second, func() (string, bool) {
		got := s.at(s.pgpools[alone])
		return got, strings.Contains(got, "1 quarantine")
	})
	s.pgpools[leader].LogSays(s.t, mark, "failover requires the majority vote, waiting for consensus")
	for id, p := range s.pgpools {
		if id != alone && s.at(p) != "0 up standby, 1 up primary, 2 up standby" {
			s.t.Errorf("%s shows %s", p.Host.Name, s.at(p))
		}
	}
	s.Undrop(s.t, s.servers[1], block)
	s.everywhere(30*time.Second, "0 up standby, 1 up primary, 2 up standby")
}

// noQuorum: with one pgpool left nothing is promoted, and nobody has the virtual address.
func (s *trio) noQuorum() {
	leader := s.holder(5 * time.Second)
	last := s.pgpools[(leader+2)%3]
	for _, p := range s.pgpools {
		s.forget(p)
		if p != last {
			p.Stop(s.t)
		}
	}
	s.Await(s.t, "nobody has the virtual address", 15*time.Second, func() (string, bool) {
		holders := s.holders()
		return fmt.Sprint(holders), len(holders) == 0
	})
	s.databases[1].Stop(s.t, "immediate")
	s.Await(s.t, "the primary is in quarantine", 30*time.Second, func() (string, bool) {
		got := s.at(last)
		return got, strings.Contains(got, "1 quarantine")
	})
	if got := s.forget(last); len(got) > 0 {
		s.t.Errorf("without a quorum it called %v", got)
	}
	s.expectRecovery(s.t, map[int]string{0: "t", 2: "t"})
	s.databases[1].Start(s.t)
	for id, p := range s.pgpools {
		if p != last {
			s.start1(id)
		}
	}
	s.lead(s.holder(20 * time.Second))
	s.everywhere(30*time.Second, "0 up standby, 1 up primary, 2 up standby")
}
