package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"gopgpool/internal/pgcluster"
	"gopgpool/pcp"
)

// promotion is failover_command: failed node, old primary, directory of the new main node.
const promotion = `#!/bin/sh
[ "$1" = "$2" ] || [ "$2" = -1 ] || exit 0
[ -n "$3" ] && %[1]s/pg_ctl promote -w -t 8 -D "$3"
`

// following is follow_primary_command: node, new primary, directory. A host's agent (stage.serve) does the work; the script waits for
// it and attaches the node.
const following = `#!/bin/sh
want=%[1]s/wanted/$1
echo "$2" > $want.new && mv $want.new $want
i=0
while [ -e $want ]; do
	i=$((i+1)); [ $i -gt 200 ] && exit 1
	sleep 0.1
done
[ -e %[1]s/wanted/failed.$1 ] && exit 1
PCPPASSFILE=%[1]s/pcppass %[2]s -h 127.0.0.1 -p %[3]d -U postgres -w -n "$1"
`

// tables: rows know where they were written.
var tables = []string{
	`CREATE TABLE chaos_rows (client int, seq int, server text DEFAULT current_setting('cluster_name'),
		timeline text DEFAULT substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8), lsn pg_lsn DEFAULT pg_current_wal_insert_lsn())`,
	"CREATE TABLE chaos_small (id int PRIMARY KEY, v text)",
	"INSERT INTO chaos_small VALUES (1, 'one')",
	`CREATE FUNCTION chaos_write(c int, s int) RETURNS TABLE (server text, timeline text, lsn pg_lsn) VOLATILE LANGUAGE sql AS
		$$INSERT INTO chaos_rows (client, seq) VALUES (c, s) RETURNING server, timeline, lsn$$`,
	`CREATE FUNCTION chaos_note(c int, s int) RETURNS int VOLATILE LANGUAGE plpgsql AS
		$$BEGIN INSERT INTO chaos_rows (client, seq) VALUES (c, s); RETURN s; END$$`,
	"CREATE OPERATOR @@@ (FUNCTION = chaos_note, LEFTARG = int, RIGHTARG = int)", // a write that nobody sees in the statement
}

// stage is the servers and the pgpool, and who works on them.
type stage struct {
	*pgcluster.Cluster
	t     *testing.T
	pool  *pgcluster.Pgpool
	own   sync.Mutex   // held by whoever stops and starts pgpool
	hosts []sync.Mutex // held by whoever starts or stops the server, index = node
	began time.Time

	mu     sync.Mutex // guards what follows
	absent []span     // pgpool was stopped
	story  []string   // what was done, in order
	rows   []map[rowID]int
}

func startStage(t *testing.T) *stage {
	c := pgcluster.StartTest(t, pgcluster.Options{Config: map[string]string{"max_connections": "300", "max_standby_streaming_delay": "500ms"}})
	s := &stage{Cluster: c, t: t, hosts: make([]sync.Mutex, len(c.Nodes)), began: time.Now()}
	bin := filepath.Join(c.Dir, "bin")
	program, attach := pgcluster.BuildProgram(t, bin, "pgpool"), pgcluster.BuildProgram(t, bin, "pcp")
	if err := os.Symlink(attach, filepath.Join(bin, "pcp_attach_node")); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	pcpPort := pgcluster.FreePort(t)
	for name, text := range map[string]string{
		"promote":     fmt.Sprintf(promotion, c.BinDir),
		"follow":      fmt.Sprintf(following, c.Dir, filepath.Join(bin, "pcp_attach_node"), pcpPort),
		"wanted/.dir": "", "pcppass": "*:*:postgres:postgres\n",
	} {
		mode := os.FileMode(0o755)
		if name == "pcppass" {
			mode = 0o600
		}
		if err := c.WriteFile(name, text, mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, sql := range tables {
		if err := c.Nodes[0].Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.WaitReplayed(t.Context(), c.Nodes[0]); err != nil {
		t.Fatal(err)
	}
	s.pool = c.TestPgpool(t, pgcluster.PgpoolOptions{Binary: program, PCPPort: pcpPort, Env: []string{"GORACE=atexit_sleep_ms=0"}, Conf: map[string]string{
		"num_init_children": "150", "max_pool": "2",
		"health_check_period": "1", "health_check_timeout": "2", "health_check_max_retries": "0", "connect_timeout": "2000",
		"failover_on_backend_error": "on", "sr_check_period": "1", "search_primary_node_timeout": "10", "recovery_timeout": "3",
		"failover_command":       filepath.Join(c.Dir, "promote") + " %d %P %R",
		"follow_primary_command": filepath.Join(c.Dir, "follow") + " %d %m %R",
		"log_format":             "json",
	}})
	return s
}

// tell notes what was done.
func (s *stage) tell(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.story = append(s.story, clock(time.Now())+" "+fmt.Sprintf(format, args...))
}

// serve is the agent on the servers' hosts: it does what follow_primary_command asks for.
func (s *stage) serve(ctx context.Context) {
	for ctx.Err() == nil {
		for _, n := range s.Nodes {
			s.serveNode(ctx, n)
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *stage) serveNode(ctx context.Context, n *pgcluster.Node) {
	want := filepath.Join(s.Dir, "wanted", strconv.Itoa(n.ID))
	text, err := os.ReadFile(want)
	if err != nil {
		return
	}
	up, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err == nil && (up < 0 || up >= len(s.Nodes) || up == n.ID) {
		err = fmt.Errorf("told to follow %d", up)
	}
	if err == nil {
		bounded, cancel := context.WithTimeout(ctx, 20*time.Second)
		err = s.subject(bounded, n, s.Nodes[up])
		cancel()
	}
	s.tell("agent: node %d follows %s: %v", n.ID, strings.TrimSpace(string(text)), err)
	failed := filepath.Join(s.Dir, "wanted", "failed."+strconv.Itoa(n.ID))
	if err != nil {
		err = os.WriteFile(failed, nil, 0o644)
	} else if err = os.Remove(failed); errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if now, e := os.ReadFile(want); err == nil && (e != nil || string(now) == string(text)) {
		_ = os.Remove(want) // gone already
	}
}

// subject makes n a standby of up, which must be a primary, by the least that does it.
func (s *stage) subject(ctx context.Context, n, up *pgcluster.Node) error {
	s.hosts[n.ID].Lock()
	defer s.hosts[n.ID].Unlock()
	if v, err := up.Value(ctx, "SELECT pg_is_in_recovery()"); err != nil || v != "f" {
		return fmt.Errorf("%s is no primary: %q %w", up.Name, v, errors.Join(err))
	}
	if err := n.Resume(); err != nil {
		return err
	}
	if n.Running() && s.follows(ctx, n, up) {
		return nil
	}
	s.collectFrom(ctx, n)
	if err := errors.Join(n.Stop(ctx, pgcluster.Immediate), n.Sweep(ctx)); err != nil {
		return err
	}
	if n.IsStandby() && n.Follow(ctx, up) == nil && n.Start(ctx) == nil && s.follows(ctx, n, up) {
		return nil
	}
	if err := errors.Join(n.Stop(ctx, pgcluster.Immediate), n.Sweep(ctx)); err != nil {
		return err
	}
	if err := n.Rebuild(ctx, up); err != nil {
		return err
	}
	return n.WaitStreaming(ctx, up)
}

// follows points a running standby to up and tells whether it gets as far as up soon.
func (s *stage) follows(ctx context.Context, n, up *pgcluster.Node) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	if v, err := n.Value(ctx, "SELECT pg_is_in_recovery()"); err != nil || v != "t" {
		return false
	}
	if n.Follow(ctx, up) != nil || n.WaitStreaming(ctx, up) != nil {
		return false
	}
	lsn, err := up.Value(ctx, "SELECT pg_current_wal_insert_lsn()")
	if err != nil {
		return false
	}
	return pgcluster.Poll(ctx, n.Name+" catches up", func() (bool, error) {
		done, err := n.Value(ctx, "SELECT coalesce(pg_last_wal_replay_lsn() >= $1::pg_lsn, false)", lsn)
		return done == "t", err
	}) == nil
}

// repair is what an operator does after a bad day: all servers run, one of them is the primary, the others follow it, and pgpool is
// told of those it has down.
func (s *stage) repair(ctx context.Context) (*pgcluster.Node, error) {
	for _, n := range s.Nodes {
		s.hosts[n.ID].Lock()
		err := n.Resume()
		if err == nil && !n.Running() {
			err = errors.Join(n.Sweep(ctx), n.Start(ctx))
		}
		s.hosts[n.ID].Unlock()
		if err != nil {
			s.tell("repair: %s does not start: %v", n.Name, err)
		}
	}
	s.collect(ctx)
	up, err := s.choose(ctx)
	if err != nil {
		return nil, err
	}
	s.tell("repair: %s is to be the primary", up.Name)
	for _, n := range s.Nodes {
		if n != up {
			if err := s.subject(ctx, n, up); err != nil {
				return nil, fmt.Errorf("repair: %w", err)
			}
		}
	}
	return up, s.WaitReplayed(ctx, up)
}

// choose finds the server whose data is kept: pgpool's primary, if it is one; else a primary, else the standby that has most.
func (s *stage) choose(ctx context.Context) (*pgcluster.Node, error) {
	if nodes, err := s.nodes(ctx); err == nil {
		for i, n := range nodes {
			if n.Role == rolePrimary && n.live() && s.isPrimary(ctx, s.Nodes[i]) {
				return s.Nodes[i], nil
			}
		}
	}
	var best *pgcluster.Node
	var most string
	for _, n := range s.Nodes {
		v, err := n.Value(ctx, `SELECT CASE WHEN pg_is_in_recovery() THEN 'a' ELSE 'b' END || lpad(coalesce((SELECT max(timeline) FROM chaos_rows), ''), 8, '0') ||
			lpad(pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, '0/0')::text, 20, '0')`)
		if err == nil && v > most {
			best, most = n, v
		}
	}
	if best == nil {
		return nil, errors.New("repair: no server runs")
	}
	if most[0] == 'a' {
		return best, best.Promote(ctx)
	}
	return best, nil
}

func (s *stage) isPrimary(ctx context.Context, n *pgcluster.Node) bool {
	v, err := n.Value(ctx, "SELECT pg_is_in_recovery()")
	return err == nil && v == "f"
}

// Numbers of pcp_node_info.
const (
	statusWaiting = 1
	statusUp      = 2
	statusDown    = 3
	rolePrimary   = 2
)

type node struct{ pcp.NodeInfo }

func (n node) live() bool { return n.Status == statusWaiting || n.Status == statusUp }

// nodes asks pgpool by pcp, which answers even if all servers are down.
func (s *stage) nodes(ctx context.Context) (all []node, err error) {
	err = s.pcp(ctx, func(ctx context.Context, c *pcp.Client) error {
		rows, err := c.NodeInfo(ctx, pcp.AllNodes)
		for _, r := range rows {
			all = append(all, node{r})
		}
		return err
	})
	return all, err
}

// pcp does something on a connection of its own.
func (s *stage) pcp(ctx context.Context, f func(context.Context, *pcp.Client) error) error {
	ctx, cancel := context.WithTimeout(ctx, 40*time.Second)
	defer cancel()
	c, err := pcp.Dial(ctx, "tcp", net.JoinHostPort(s.pool.Host, strconv.Itoa(s.pool.PCPPort)), pcp.ClientOptions{})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Authenticate(ctx, "postgres", "postgres"); err != nil {
		return err
	}
	return f(ctx, c)
}

// collect notes the rows of every server that answers.
func (s *stage) collect(ctx context.Context) {
	for _, n := range s.Nodes {
		s.collectFrom(ctx, n)
	}
}

func (s *stage) collectFrom(ctx context.Context, n *pgcluster.Node) {
	if !n.Running() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := n.Connect(ctx)
	if err != nil {
		return
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, "SELECT client, seq, count(*) FROM chaos_rows GROUP BY client, seq")
	if err != nil {
		return
	}
	seen := map[rowID]int{}
	var id rowID
	var count int
	if _, err := pgx.ForEachRow(rows, []any{&id.Client, &id.Seq, &count}, func() error { seen[id] = count; return nil }); err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows = append(s.rows, seen)
}

// stretch is a timeline of a server's history; End is 0 for the one it is on.
type stretch struct {
	Timeline string
	End      uint64
}

// bounds are where a history leaves its timelines, and where it enters them.
func bounds(history []stretch) (ends, begins map[string]uint64) {
	ends, begins = map[string]uint64{}, map[string]uint64{}
	for i, s := range history {
		if i > 0 {
			begins[s.Timeline] = history[i-1].End
		}
		if s.End > 0 {
			ends[s.Timeline] = s.End
		}
	}
	return ends, begins
}

// surviving are the rows of the primary and its history.
func (s *stage) surviving(ctx context.Context, up *pgcluster.Node) (map[rowID]place, []stretch, error) {
	conn, err := up.Connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, "SELECT client, seq, server, timeline, lsn::text FROM chaos_rows")
	if err != nil {
		return nil, nil, err
	}
	all := map[rowID]place{}
	var id rowID
	var p place
	var lsn string
	_, err = pgx.ForEachRow(rows, []any{&id.Client, &id.Seq, &p.Server, &p.Timeline, &lsn}, func() error {
		p.LSN = parseLSN(lsn)
		all[id] = p
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	var timeline, history string
	err = conn.QueryRow(ctx, "SELECT substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)").Scan(&timeline)
	if err == nil && timeline != "00000001" {
		err = conn.QueryRow(ctx, "SELECT pg_read_file('pg_wal/' || $1::text || '.history')", timeline).Scan(&history)
	}
	var timelines []stretch
	for line := range strings.Lines(history) {
		if f := strings.Fields(line); len(f) >= 2 {
			n, _ := strconv.Atoi(f[0])
			timelines = append(timelines, stretch{fmt.Sprintf("%08X", n), parseLSN(f[1])})
		}
	}
	return all, append(timelines, stretch{Timeline: timeline}), err
}

// event is a line of pgpool's log.
type event struct {
	Time    time.Time `json:"time"`
	Level   string    `json:"level"`
	Message string    `json:"message"`
	Detail  string    `json:"detail"`
}

// log reads what pgpool has written since.
func (s *stage) log(since time.Time) (events []event, err error) {
	f, err := os.Open(s.pool.Log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) == nil && !e.Time.Before(since) {
			events = append(events, e)
		}
	}
	return events, lines.Err()
}

// restart stops pgpool in the middle of everything and starts it.
func (s *stage) restart(ctx context.Context) error {
	s.own.Lock()
	defer s.own.Unlock()
	from := time.Now()
	code, err := s.pool.Stop(ctx, syscall.SIGINT)
	took := time.Since(from)
	if err == nil && code != 0 {
		err = fmt.Errorf("pgpool's exit code is %d", code)
	}
	if took > 8*time.Second {
		err = errors.Join(err, fmt.Errorf("a fast stop took %v", took))
	}
	err = errors.Join(err, s.pool.Start(ctx))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.absent = append(s.absent, span{from, time.Now().Add(200 * time.Millisecond)})
	return err
}

// descriptors is how many files pgpool has open.
func (s *stage) descriptors() int {
	all, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", s.pool.Pid())) // the only error is a bad pattern
	return len(all)
}
