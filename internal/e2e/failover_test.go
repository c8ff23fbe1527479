package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/internal/pgcluster"
)

// This file is about what client sessions notice of a failover.

// promote is a failover_command that promotes the new main node when the primary is lost.
func promote(c *pgcluster.Cluster) string {
	return fmt.Sprintf(`[ %%d = %%P ] && %s/psql -X -h %%H -p %%r -U postgres -d postgres -c "SELECT pg_promote()"`, c.BinDir)
}

// cluster is three servers and a pgpool of one test, which may destroy them.
type cluster struct {
	*pgcluster.Cluster
	pool *pgcluster.Pgpool
}

func failing(t *testing.T, conf map[string]string) *cluster {
	t.Helper()
	c := pgcluster.StartTest(t, pgcluster.Options{Nodes: 3})
	all := map[string]string{
		"health_check_period": "1", "health_check_timeout": "10", "health_check_max_retries": "0", "sr_check_period": "1",
		"health_check_user": "postgres", "sr_check_user": "postgres",
		"failover_on_backend_error": "on", "failover_command": promote(c), "search_primary_node_timeout": "20",
		"backend_weight0": "0",
	}
	for k, v := range conf {
		all[k] = v
	}
	p := c.TestPgpool(t, pgcluster.PgpoolOptions{Binary: shared.Program(t, "pgpool"), Conf: all, Env: []string{"GORACE=atexit_sleep_ms=0"}})
	return &cluster{c, p}
}

// status is the status column of SHOW pool_nodes, by node.
func (c *cluster) status(t *testing.T) string {
	t.Helper()
	conn := connect(t, c.pool, simple)
	rows, err := conn.Query(t.Context(), "SHOW pool_nodes")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for rows.Next() {
		v, err := rows.Values()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%v %v", v[3], v[6]))
	}
	return strings.Join(out, ", ")
}

// TestSessionsSurviveTheLossOfThePrimary: what is between transactions moves, with its settings and prepared statements; what is
// in flight, or has state that cannot be moved, gets one error.
func TestSessionsSurviveTheLossOfThePrimary(t *testing.T) {
	t.Parallel()
	c := failing(t, nil)
	writer := connect(t, c.pool)
	exec(t, writer, "CREATE TABLE t (a int)")
	exec(t, writer, "SET application_name TO 'mover'")
	exec(t, writer, "SET work_mem TO '5MB'")
	if _, err := writer.Prepare(t.Context(), "ins", "INSERT INTO t VALUES ($1)"); err != nil {
		t.Fatal(err)
	}
	exec(t, writer, "ins", 1)
	exec(t, writer, "PREPARE sqlins AS INSERT INTO t VALUES ($1)")

	inBlock := connect(t, c.pool)
	exec(t, inBlock, "BEGIN")
	exec(t, inBlock, "INSERT INTO t VALUES (100)")
	temp := connect(t, c.pool)
	exec(t, temp, "CREATE TEMP TABLE mine (a int)")
	reader := connect(t, c.pool)
	if port := value(t, reader, where); nodeOfCluster(c, port) == 0 {
		t.Fatalf("a read went to the primary")
	}
	running := connect(t, c.pool, simple)
	ran := make(chan error, 1)
	go func() {
		_, err := running.Exec(context.Background(), "INSERT INTO t SELECT 200 FROM pg_sleep(60)")
		ran <- err
	}()
	eventually(t, "the long statement to run", func() bool {
		v, err := c.Nodes[0].Value(t.Context(), "SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND state = 'active' AND pid <> pg_backend_pid()")
		return err == nil && v == "1"
	})
	if err := c.WaitReplayed(t.Context(), c.Nodes[0]); err != nil {
		t.Fatal(err)
	}

	if err := c.Nodes[0].Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	exec(t, writer, "ins", 2)
	if got := value(t, writer, "SHOW work_mem"); got != "5MB" {
		t.Errorf("work_mem is %s", got)
	}
	exec(t, writer, "EXECUTE sqlins (3)")
	if got := value(t, writer, "SELECT string_agg(a::text, ' ' ORDER BY a) FROM (SELECT a FROM t FOR UPDATE) x"); got != "1 2 3" {
		t.Errorf("rows: %s", got)
	}
	value(t, reader, where)

	wantLost(t, "a running statement", <-ran, "may have taken effect")
	_, err := inBlock.Exec(t.Context(), "INSERT INTO t VALUES (101)")
	wantLost(t, "an open transaction", err, "the open transaction is lost")
	_, err = temp.Exec(t.Context(), "SELECT * FROM mine")
	wantLost(t, "a temporary table", err, "state there that cannot be moved")
	if s := c.status(t); !strings.HasPrefix(s, "down standby, ") || strings.Count(s, "primary") != 1 {
		t.Errorf("SHOW pool_nodes: %s", s)
	}
}

func nodeOfCluster(c *cluster, port string) int {
	for _, n := range c.Nodes {
		if fmt.Sprint(n.Port) == port {
			return n.ID
		}
	}
	return -1
}

func wantLost(t *testing.T, what string, err error, detail string) {
	t.Helper()
	var e *pgconn.PgError
	errors.As(err, &e)
	if state := sqlState(err); state != "08006" && state != "57P01" { // the latter is the server's own last word
		t.Errorf("%s: %v", what, err)
		return
	}
	if !strings.Contains(e.Detail, detail) {
		t.Errorf("%s: detail %q", what, e.Detail)
	}
}

// TestFastStopOfThePrimary: a server that says goodbye cuts no session that had nothing running.
func TestFastStopOfThePrimary(t *testing.T) {
	t.Parallel()
	c := failing(t, nil)
	var sessions []*pgx.Conn
	for range 4 {
		s := connect(t, c.pool)
		exec(t, s, "SET work_mem TO '6MB'")
		exec(t, s, "CREATE TABLE IF NOT EXISTS t (a int)")
		exec(t, s, "INSERT INTO t VALUES (1)")
		sessions = append(sessions, s)
	}
	if err := c.WaitReplayed(t.Context(), c.Nodes[0]); err != nil {
		t.Fatal(err)
	}
	if err := c.Nodes[0].Stop(t.Context(), pgcluster.Fast); err != nil {
		t.Fatal(err)
	}
	for _, s := range sessions {
		exec(t, s, "INSERT INTO t VALUES (2)")
		if got := value(t, s, "SHOW work_mem"); got != "6MB" {
			t.Errorf("work_mem is %s", got)
		}
	}
}

// TestTerminateBackend: an administrator who ends a server process means the session that uses it.
func TestTerminateBackend(t *testing.T) {
	t.Parallel()
	c := failing(t, nil)
	s := connect(t, c.pool)
	exec(t, s, "CREATE TABLE t (a int)")
	if err := c.Nodes[0].Exec(t.Context(), "SELECT pg_terminate_backend($1)", s.PgConn().PID()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the session to end", func() bool {
		_, err := s.Exec(t.Context(), "INSERT INTO t VALUES (1)")
		return err != nil
	})
	if got := c.status(t); !strings.HasPrefix(got, "up primary, ") {
		t.Errorf("SHOW pool_nodes: %s", got)
	}
}

// TestFrozenPrimary: a primary that answers nobody is found by the health check. Its connections still work, so they must be cut before
// another node is promoted; who reads elsewhere notices nothing.
func TestFrozenPrimary(t *testing.T) {
	t.Parallel()
	c := failing(t, map[string]string{"health_check_timeout": "3"})
	writer, reader := connect(t, c.pool), connect(t, c.pool)
	exec(t, writer, "CREATE TABLE t (a int)")
	exec(t, writer, "INSERT INTO t VALUES (1)")
	if err := c.WaitReplayed(t.Context(), c.Nodes[0]); err != nil {
		t.Fatal(err)
	}
	value(t, reader, where)
	if err := c.Nodes[0].Pause(); err != nil {
		t.Fatal(err)
	}
	answered := 0
	eventually(t, "the frozen primary is given up", func() bool {
		exec(t, reader, where)
		text, err := c.pool.LogText()
		if err != nil {
			t.Fatal(err)
		}
		given := strings.Contains(text, "=== Starting degeneration")
		if !given {
			answered++
		}
		return given
	})
	if answered < 3 {
		t.Errorf("a reader elsewhere was answered %d times while the primary was frozen and nobody knew", answered)
	}
	eventually(t, "another primary", func() bool {
		for _, n := range c.Nodes[1:] {
			if v, err := n.Value(t.Context(), "SELECT pg_is_in_recovery()::text"); err == nil && v == "false" {
				return true
			}
		}
		return false
	})
	exec(t, writer, "INSERT INTO t VALUES (2)")
	if err := c.Nodes[0].Resume(); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Nodes[0].Value(t.Context(), "SELECT count(*)::text FROM t"); err != nil || got != "1" {
		t.Errorf("the old primary has %s rows, %v", got, err)
	}
}

// TestNothingWaitsForAdministrators: neither a command that hangs nor connections that clog PCP keep a client from its work.
func TestNothingWaitsForAdministrators(t *testing.T) {
	t.Parallel()
	c := failing(t, map[string]string{"failover_command": "sleep 600"})
	writer := connect(t, c.pool)
	exec(t, writer, "CREATE TABLE t (a int)")
	for range 200 {
		conn, err := net.Dial("tcp", net.JoinHostPort(c.pool.Host, fmt.Sprint(c.pool.PCPPort)))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = conn.Write([]byte("M\x00\x00")) // half a request; the oldest have been sent away
	}
	if err := c.Nodes[2].Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := c.pool.WaitLog(ctx, regexp.MustCompile(`execute command: sleep 600`)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for i := range 50 {
		exec(t, writer, "INSERT INTO t VALUES ($1)", i)
		late := connect(t, c.pool, simple)
		value(t, late, where)
		late.Close(t.Context())
	}
	if took := time.Since(began); took > patience {
		t.Errorf("50 statements and logins took %v", took)
	}
}
