package wdha

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gopgpool/internal/hosts"
	"gopgpool/internal/site"
)

const (
	// lease is agent_lease_time. A primary that is cut off takes no more writes when leaseEnd is over: contact was made up to a second
	// before it was cut off, and the agent needs time to stop it.
	lease    = 5 * time.Second
	leaseEnd = lease + 4*time.Second
	// healLimit is how long it may take after the last harm was mended until everything is in order.
	healLimit = 90 * time.Second
	// promoteLimit is how long a promotion may take: the failure is found, the lease waited for, and somebody chosen.
	promoteLimit = 60 * time.Second

	poolPort, serverPort, agentPort = "9999", "5432", "9997"

	agentConf = "/etc/pgpool-agent/pgpool.conf"
	agentLog  = "/var/log/pgpool-agent/agent.log"
	agentKey  = "a key that all agents and pgpools of this test share\n"
)

// layout is how pgpools and servers stand together.
type layout struct {
	name   string
	beside bool // a pgpool and a server share a host
	sync   bool // commits wait for a standby
}

// bench is a cluster to which harm is done, again and again.
type bench struct {
	*site.Cluster
	layout
	t      *testing.T // of the case that is being tried
	agents []*site.Pgpool
	began  time.Time
	hired  int    // clients so far
	thaws  []thaw // in this trial
}

// now counts from the beginning of the bench.
func (b *bench) now() time.Duration { return time.Since(b.began) }

func newBench(t *testing.T, l layout) *bench {
	t.Helper()
	settings := site.Settings{
		"auto_failover": "on", "recovery_user": "postgres", "replication_user": "postgres", "failover_hold_timeout": "20",
		"health_check_timeout": "2", "health_check_max_retries": "0", "connect_timeout": "2000",
		"agent_key_file": site.EtcDir + "/agent.key", "agent_fencing": "on", "agent_lease_time": strconv.Itoa(int(lease.Seconds())),
	}
	for i := range 3 {
		settings[fmt.Sprintf("backend_agent%d", i)] = ":" + agentPort
	}
	config := []string{
		"wal_receiver_timeout = 5s", "wal_sender_timeout = 5s", "wal_retrieve_retry_interval = 500ms", "wal_keep_size = 64MB",
		"restart_after_crash = on", "checkpoint_timeout = 1h", "tcp_keepalives_idle = 3",
	}
	opts := site.ClusterOptions{Servers: 3, Beside: l.beside, Settings: settings, Config: config}
	if l.sync {
		names := "server1, server2, server3"
		if !l.beside {
			names = "db0, db1, db2"
		}
		opts.LaterConfig = []string{"synchronous_standby_names = 'ANY 1 (" + names + ")'"}
	}
	b := &bench{Cluster: site.NewCluster(t, opts), layout: l, t: t, began: time.Now()}
	for _, p := range b.Pgpools {
		b.must(p.Host.WriteFile("root", site.EtcDir+"/agent.key", agentKey, 0o600))
	}
	b.Servers[0].SQL(t, "CREATE TABLE wdha_rows (client int, seq int)")
	for _, s := range b.Servers {
		b.agents = append(b.agents, b.newAgent(s))
	}
	b.Start(t)
	return b
}

// newAgent starts the agent of a server.
func (b *bench) newAgent(s *site.Server) *site.Pgpool {
	b.t.Helper()
	text := site.Settings{
		"agent_data_directory": s.Data, "agent_bin_directory": b.Bin, "agent_key_file": "/etc/pgpool-agent/agent.key", "agent_fencing": "on",
		"agent_lease_time": strconv.Itoa(int(lease.Seconds())), "agent_port": agentPort, "pid_file_name": "/var/log/pgpool-agent/pgpool.pid",
		"log_line_prefix": "%m: %a pid %p: ",
	}.Text()
	b.must(s.Host.WriteFile("postgres", agentConf, text, 0o600))
	b.must(s.Host.WriteFile("postgres", "/etc/pgpool-agent/agent.key", agentKey, 0o600))
	a := b.NewPgpool(s.Host, "postgres", agentLog, "pgpool", "-n", "-f", agentConf, "agent")
	a.Start(b.t)
	return a
}

func (b *bench) must(err error) {
	b.t.Helper()
	site.Must(b.t, err)
}

// askLimit bounds a question to a server or a pgpool.
const askLimit = 3 * time.Second

// ask runs a statement from a host and returns its rows, columns separated by blanks.
func (b *bench) ask(from *hosts.Host, address, sql string) (rows []string, err error) {
	ctx, cancel := context.WithTimeout(b.t.Context(), askLimit)
	defer cancel()
	conn, err := dial(ctx, from, address)
	if err != nil {
		return nil, err
	}
	defer func() {
		_ = conn.Close(ctx)
		<-conn.CleanupDone()
	}()
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	for _, r := range results {
		for _, row := range r.Rows {
			rows = append(rows, string(slices.Concat(slices.Collect(spaced(row))...)))
		}
	}
	return rows, nil
}

// spaced yields columns with blanks between them.
func spaced(row [][]byte) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for i, column := range row {
			if i > 0 && !yield([]byte(" ")) || !yield(column) {
				return
			}
		}
	}
}

// askServer asks a server on its own host.
func (b *bench) askServer(id int, sql string) ([]string, error) {
	h := b.Servers[id].Host
	return b.ask(h, net.JoinHostPort(h.Address().String(), serverPort), sql)
}

// shows is SHOW pool_nodes of a pgpool: status and role of each node.
func (b *bench) shows(id int) (string, error) {
	h := b.Pgpools[id].Host
	rows, err := b.ask(h, net.JoinHostPort(h.Address().String(), poolPort), "SHOW pool_nodes")
	if err != nil {
		return "", err
	}
	var short []string
	for _, row := range rows {
		f := strings.Fields(row) // node_id hostname port status pg_status lb_weight role ...
		if len(f) < 7 {
			return "", fmt.Errorf("SHOW pool_nodes: %q", row)
		}
		short = append(short, strings.Replace(f[3], "waiting", "up", 1)+" "+f[6])
	}
	return strings.Join(short, ", "), nil
}

// state is a cluster in order.
type state struct{ leader, primary int }

// order waits until the cluster is in order: one holder of the address, all pgpools show the same, and all servers stream from one.
// Pgpools and agents that have ended are started again, as a service manager does; servers are not.
func (b *bench) order(limit time.Duration) (s state, ok bool) {
	b.t.Helper()
	began := time.Now()
	seen, ok := site.Wait(b.t.Context(), limit, func() (seen string, ok bool) {
		b.revive()
		s, seen = b.inOrder()
		return seen, seen == ""
	})
	if !ok {
		b.t.Errorf("not in order after %s: %s", limit, seen)
		return s, false
	}
	b.t.Logf("%6.1f s until the cluster is in order: node %d is the primary, server%d leads", time.Since(began).Seconds(), s.primary, s.leader+1)
	return s, true
}

func (b *bench) revive() {
	b.t.Helper()
	for _, p := range slices.Concat(b.Pgpools, b.agents) {
		if !p.Running() {
			p.Spawn(b.t)
		}
	}
}

// inOrder tells what is not in order, or nothing.
func (b *bench) inOrder() (s state, wrong string) {
	s.primary = -1
	for id := range b.Servers {
		rows, err := b.askServer(id, "SELECT pg_is_in_recovery(), (SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming')")
		switch {
		case err != nil:
			return s, fmt.Sprintf("server of node %d: %v", id, err)
		case rows[0] == "t 0":
		case rows[0] == "f 2" && s.primary < 0:
			s.primary = id
		default:
			return s, fmt.Sprintf("server of node %d: %q, another primary is %d", id, rows[0], s.primary)
		}
	}
	want := make([]string, len(b.Servers))
	for id := range want {
		want[id] = "up standby"
		if id == s.primary {
			want[id] = "up primary"
		}
	}
	for id := range b.Pgpools {
		if got, err := b.shows(id); err != nil || got != strings.Join(want, ", ") {
			return s, fmt.Sprintf("server%d shows %s %v, node %d is the primary", id+1, got, err, s.primary)
		}
	}
	holders := b.Holders(b.t)
	if len(holders) != 1 {
		return s, fmt.Sprintf("holders: %v", holders)
	}
	s.leader = holders[0]
	return s, ""
}

// arrange has the primary and the leader on one host, or on different ones, by a planned switchover.
func (b *bench) arrange(s state, together bool) state {
	b.t.Helper()
	for end := b.now() + healLimit; b.now() < end; b.linger(time.Second) { // a standby that was away is barred for a while
		if !b.beside || (s.leader == s.primary) == together {
			return s
		}
		to := s.leader
		if !together {
			to = (s.leader + 1) % len(b.Servers)
		}
		if said := b.PCP(b.t, b.Pgpools[s.leader].Host.Name, "promote_node", "-s", strconv.Itoa(to)); strings.Contains(said, "ERROR") {
			b.t.Logf("switchover to node %d: %s", to, said)
		}
		var ok bool
		if s, ok = b.order(healLimit); !ok {
			b.t.FailNow()
		}
	}
	b.t.Fatalf("the primary is node %d, server%d leads", s.primary, s.leader+1)
	return s
}

// found counts the rows on a server.
func (b *bench) found(id, first int) (map[rowID]int, error) {
	rows, err := b.askServer(id, fmt.Sprintf("SELECT client, seq, count(*) FROM wdha_rows WHERE client >= %d GROUP BY 1, 2", first))
	if err != nil {
		return nil, err
	}
	all := map[rowID]int{}
	for _, row := range rows {
		var r rowID
		var n int
		if _, err := fmt.Sscan(row, &r.client, &r.seq, &n); err != nil {
			return nil, err
		}
		all[r] = n
	}
	return all, nil
}

// others are all hosts but one.
func (b *bench) others(h *hosts.Host) (all []*hosts.Host) {
	for _, other := range b.World.Hosts() {
		if other != h {
			all = append(all, other)
		}
	}
	return all
}

// linger lets harm last.
func (b *bench) linger(d time.Duration) { rest(b.t.Context(), d) }

// killServer ends all processes of a server at once, as when the machine kills them; its agent stays.
func (b *bench) killServer(id int) {
	b.t.Helper()
	s := b.Servers[id]
	_, _, _ = b.Shell(b.t, s.Host, "root", "P=$(head -1 "+s.Data+"/postmaster.pid) && kill -9 $P $(cat /proc/$P/task/*/children)")
}

// gone waits until a server takes no connections any more.
func (b *bench) gone(id int, limit time.Duration) bool {
	b.t.Helper()
	h := b.Servers[id].Host
	_, ok := site.Wait(b.t.Context(), limit, func() (string, bool) {
		ctx, cancel := context.WithTimeout(b.t.Context(), askLimit)
		defer cancel()
		conn, err := h.Dial(ctx, "tcp", net.JoinHostPort(h.Address().String(), serverPort))
		if err != nil {
			return err.Error(), errors.Is(err, syscall.ECONNREFUSED)
		}
		_ = conn.Close()
		return "it listens", false
	})
	return ok
}
