package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"gopgpool/internal/pgcluster"
)

// keepalive are the times of the pair: a lost server is found in keepaliveCount looks.
const (
	keepaliveTime  = time.Second
	keepaliveCount = 4
)

// pair is a primary and its one synchronous standby, guarded by a pgpool that needs no script.
type pair struct {
	*pgcluster.Cluster
	t      *testing.T // of the whole
	pgpool *pgcluster.Pgpool
	after  string // file that after_promotion_command writes to
	seen   int    // bytes of the log that have been looked at
	writer *writer
}

// TestTwoServersWithoutScripts: one server and its synchronous standby. A lost standby stops no writes, a lost primary is replaced; beyond
// that the way back is found, the old primary returns, and a standby that lacks what was acknowledged is not promoted.
func TestTwoServersWithoutScripts(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	for _, step := range []struct {
		name string
		do   func(*pair, *testing.T)
	}{
		{"start", (*pair).start},
		{"a single miss", (*pair).missOnce},
		{"the standby fails", (*pair).loseStandby},
		{"the primary fails meanwhile", (*pair).losePrimaryAlone},
		{"the standby returns", (*pair).standbyReturns},
		{"the primary fails", (*pair).losePrimary},
		{"the old primary returns", (*pair).oldPrimaryReturns},
	} {
		played := false
		began := time.Now()
		t.Run(step.name, func(t *testing.T) {
			step.do(p, t)
			played = !t.Failed()
		})
		t.Logf("%s took %v", step.name, time.Since(began).Round(10*time.Millisecond))
		if !played {
			text, _ := p.pgpool.LogText()
			t.Log(text)
			break // the next one begins where this one was to end
		}
	}
}

func newPair(t *testing.T) *pair {
	c := pgcluster.StartTest(t, pgcluster.Options{Nodes: 2})
	p := &pair{Cluster: c, t: t, after: filepath.Join(c.Dir, "after_promotion")}
	for _, n := range c.Nodes {
		must(t, n.Exec(t.Context(), "ALTER SYSTEM SET synchronous_standby_names = '*'"))
		must(t, n.Exec(t.Context(), "SELECT pg_reload_conf()"))
	}
	pool, err := c.StartPgpool(t.Context(), pgcluster.PgpoolOptions{
		Binary: pgcluster.BuildProgram(t, filepath.Join(t.TempDir(), "bin"), "pgpool"),
		Conf: map[string]string{
			"auto_failover": "on", "recovery_user": "postgres", "sync_standby_guard": "on",
			"sync_standby_keepalive_time":  fmt.Sprint(int(keepaliveTime / time.Second)),
			"sync_standby_keepalive_count": fmt.Sprint(10 * keepaliveCount), // so that a single miss is one on a slow machine, too
			"after_promotion_command":      "echo %d %m >> " + p.after,
			"health_check_period":          "1", "health_check_timeout": "10", "health_check_max_retries": "1", "health_check_retry_delay": "1",
			"sr_check_period": "1", "log_line_prefix": "%m: ",
		},
	})
	must(t, err)
	p.pgpool = pool
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until waits for a condition.
func (p *pair) until(t *testing.T, what string, cond func(ctx context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := pgcluster.Poll(ctx, what, func() (bool, error) { return cond(ctx), nil }); err != nil {
		t.Fatal(err)
	}
}

// logs waits until the log has a match behind what was found last.
func (p *pair) logs(t *testing.T, pattern string) string {
	t.Helper()
	re, found := regexp.MustCompile(pattern), ""
	p.until(t, "pgpool logs "+pattern, func(context.Context) bool {
		text, err := p.pgpool.LogText()
		must(t, err)
		at := re.FindStringIndex(text[p.seen:])
		if at == nil {
			return false
		}
		found = text[p.seen:][at[0]:at[1]]
		p.seen += at[1]
		return true
	})
	return found
}

// silent tells that the log has no match behind what was found last.
func (p *pair) silent(t *testing.T, pattern string) {
	t.Helper()
	text, err := p.pgpool.LogText()
	must(t, err)
	if found := regexp.MustCompile(pattern).FindString(text[p.seen:]); found != "" {
		t.Errorf("pgpool logs %q", found)
	}
}

func (p *pair) on(t *testing.T, id int, sql string) string {
	t.Helper()
	v, err := p.Nodes[id].Value(t.Context(), sql)
	must(t, err)
	return v
}

// is waits until a server answers so.
func (p *pair) is(t *testing.T, id int, sql, want string) {
	t.Helper()
	p.until(t, fmt.Sprintf("%s says %q to %s", p.Nodes[id].Name, want, sql), func(ctx context.Context) bool {
		v, err := p.Nodes[id].Value(ctx, sql)
		return err == nil && v == want
	})
}

// besides repeats statements on one of the servers, which is not harmed meanwhile.
func (p *pair) besides(t *testing.T, id int, sql string) *worker {
	t.Helper()
	conn, err := p.Nodes[id].Connect(t.Context(), "default_query_exec_mode=simple_protocol")
	must(t, err)
	return besides(t, conn, sql)
}

const (
	syncNames = "SHOW synchronous_standby_names"
	syncState = "SELECT string_agg(state || ' ' || sync_state, ',') FROM pg_stat_replication"
)

// start: the primary has its synchronous standby.
func (p *pair) start(t *testing.T) {
	p.is(t, 0, syncState, "streaming sync")
	conn, err := p.pgpool.Connect(t.Context())
	must(t, err)
	defer conn.Close(t.Context())
	for _, sql := range []string{"CREATE TABLE written (n int PRIMARY KEY)", "CREATE TABLE beside (n int)"} {
		_, err = conn.Exec(t.Context(), sql)
		must(t, err)
	}
	p.writer = startWriter(p.t, p.pgpool)
	p.writer.await(t)
}

// missOnce: a single missed beat followed by success triggers nothing.
func (p *pair) missOnce(t *testing.T) {
	must(t, p.Nodes[1].Pause())
	p.logs(t, `synchronous standby lost: node 1 \(\w+\) neither answers nor streams, 1 time\(s\) of 40`)
	must(t, p.Nodes[1].Resume())
	p.logs(t, `synchronous standby is back: node 1`)
	p.silent(t, `changes to asynchronous`)
	p.writer.await(t)
}

// loseStandby: after the fourth miss in a row the server waits for nobody any more, and the writer who was blocked goes on.
func (p *pair) loseStandby(t *testing.T) {
	must(t, p.pgpool.Rewrite(map[string]string{"sync_standby_keepalive_count": fmt.Sprint(keepaliveCount)}))
	must(t, p.pgpool.Signal(syscall.SIGHUP))
	p.logs(t, `parameter "sync_standby_keepalive_count" changed`)
	besides := p.besides(t, 0, "SET synchronous_commit = local; INSERT INTO beside VALUES (1)")
	stopped := time.Now()
	must(t, p.Nodes[1].Stop(t.Context(), pgcluster.Fast))
	for n := range keepaliveCount {
		p.logs(t, fmt.Sprintf(`neither answers nor streams, %d time\(s\) of 4`, n+1))
	}
	p.logs(t, `replication changes to asynchronous`)
	if got := p.on(t, 0, syncNames); got != "" {
		t.Errorf("synchronous_standby_names is %q", got)
	}
	p.writer.await(t)
	took := time.Since(stopped)
	besides.end(t)
	if took < (keepaliveCount-1)*keepaliveTime || took > (keepaliveCount+1)*keepaliveTime+2*time.Second+besides.late {
		t.Errorf("writes were blocked for %v", took)
	}
}

// losePrimaryAlone: the standby that was left out comes back just when the primary fails. It lacks what was acknowledged, so it is not
// promoted, though pgpool has begun anew meanwhile, and the primary serves again when it is back.
func (p *pair) losePrimaryAlone(t *testing.T) {
	p.writer.mayFail(true)
	must(t, p.pgpool.Rewrite(map[string]string{"sync_standby_keepalive_time": "60"})) // it does not find the way back so soon
	_, err := p.pgpool.Stop(t.Context(), syscall.SIGINT)
	must(t, err)
	must(t, p.pgpool.Start(t.Context()))
	p.writer.await(t)
	must(t, p.Nodes[1].Start(t.Context()))
	p.nodes(t, "up primary, up standby")
	must(t, p.Nodes[0].Stop(t.Context(), pgcluster.Immediate))
	p.logs(t, `nobody is promoted.*\n?.*node 1: it lacks what was acknowledged`)
	if got := p.on(t, 1, "SELECT pg_is_in_recovery()"); got != "t" {
		t.Errorf("pg_is_in_recovery of the standby is %s", got)
	}
	if err := p.Nodes[0].Start(t.Context()); err != nil && !p.Nodes[0].Running() {
		t.Log(err) // pgpool itself may have started it
	}
	p.nodes(t, "up primary, up standby")
	p.writer.await(t)
}

// standbyReturns: it is waited for again when it has caught up, and may be promoted from then on.
func (p *pair) standbyReturns(t *testing.T) {
	p.writer.mayFail(false)
	must(t, p.pgpool.Rewrite(map[string]string{"sync_standby_keepalive_time": fmt.Sprint(int(keepaliveTime / time.Second))}))
	must(t, p.pgpool.Signal(syscall.SIGHUP))
	p.logs(t, `replication changes back to synchronous`)
	p.is(t, 0, syncNames, "*")
	p.is(t, 0, syncState, "streaming sync")
	p.logs(t, `node 1 may be promoted again`)
	p.is(t, 0, "SELECT coalesce(current_setting('pgpool.synchronous_standby_names', true), '')", "")
	p.writer.await(t)
}

// losePrimary: the standby is promoted, the command behind it runs once, and clients go on through pgpool.
func (p *pair) losePrimary(t *testing.T) {
	p.writer.mayFail(true)
	besides := p.besides(t, 1, "SELECT 1")
	stopped := time.Now()
	must(t, p.Nodes[0].Stop(t.Context(), pgcluster.Fast))
	p.is(t, 1, "SELECT pg_is_in_recovery()", "f")
	p.writer.await(t)
	took := time.Since(stopped)
	besides.end(t)
	if took > (keepaliveCount+1)*keepaliveTime+5*time.Second+besides.late {
		t.Errorf("the failover took %v", took)
	}
	p.until(t, "after_promotion_command has run", func(context.Context) bool {
		text, err := os.ReadFile(p.after)
		return err == nil && string(text) == "0 1\n"
	})
}

// oldPrimaryReturns: it is a standby now, synchronous as the other one was. Nothing that was acknowledged is lost, and nothing ran twice.
func (p *pair) oldPrimaryReturns(t *testing.T) {
	p.writer.mayFail(false)
	p.nodes(t, "up standby, up primary")
	p.is(t, 1, syncState, "streaming sync")
	p.is(t, 1, syncNames, "*")
	p.writer.await(t)
	p.writer.stop(t)
	if text, err := os.ReadFile(p.after); err != nil || string(text) != "0 1\n" {
		t.Errorf("after_promotion_command has written %q, %v", text, err)
	}
	conn, err := p.Nodes[1].Connect(t.Context())
	must(t, err)
	defer conn.Close(t.Context())
	missing := 0
	acknowledged := p.writer.acknowledged()
	must(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM unnest($1::int[]) n WHERE n NOT IN (SELECT n FROM written)", acknowledged).Scan(&missing))
	if missing > 0 || len(acknowledged) < 50 {
		t.Errorf("%d of %d acknowledged rows are missing", missing, len(acknowledged))
	}
}

// nodes waits until SHOW pool_nodes shows the nodes so.
func (p *pair) nodes(t *testing.T, want string) {
	t.Helper()
	got := ""
	p.until(t, "SHOW pool_nodes shows "+want, func(ctx context.Context) bool {
		conn, err := p.pgpool.Connect(ctx)
		if err != nil {
			return false
		}
		defer conn.Close(ctx)
		rows, err := conn.Query(ctx, "SHOW pool_nodes", pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			return false
		}
		all, err := pgx.CollectRows(rows, pgx.RowToMap)
		var nodes []string
		for _, n := range all {
			nodes = append(nodes, fmt.Sprint(n["status"], " ", n["role"]))
		}
		got = strings.Join(nodes, ", ")
		return err == nil && got == want
	})
}
