package scenario

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gopgpool/internal/pgcluster"
)

// TestRejoinAsTheOthersLogIn: servers that let nobody in without a password, standbys that have it in a file, and a pgpool that is not told
// whom standbys stream as. The old primary comes back as the others log in; where that does not help it is left starting and the log says
// why, and it comes back when pgpool is told.
func TestRejoinAsTheOthersLogIn(t *testing.T) {
	t.Parallel()
	const secret = "quiet"
	c := pgcluster.StartTest(t, pgcluster.Options{Nodes: 2, Auth: "scram-sha-256", Password: "loud"})
	p := &pair{Cluster: c, t: t}
	passfile := filepath.Join(c.Dir, "streams")
	must(t, c.WriteFile("streams", "*:*:*:repl:"+secret+"\n", 0o600))
	must(t, c.Nodes[0].Exec(t.Context(), "CREATE ROLE repl REPLICATION LOGIN PASSWORD '"+secret+"'"))
	info := fmt.Sprintf("host=%s port=%d user=repl passfile=%s sslmode=prefer application_name=%s", c.Nodes[0].Host, c.Nodes[0].Port, passfile, c.Nodes[1].Name)
	must(t, c.Nodes[1].Exec(t.Context(), "ALTER SYSTEM SET primary_conninfo = '"+info+"'"))
	must(t, c.Nodes[1].Exec(t.Context(), "SELECT pg_reload_conf()"))
	const streams = "SELECT string_agg(usename || ' ' || state, ',') FROM pg_stat_replication"
	p.is(t, 0, streams, "repl streaming")
	pool, err := c.StartPgpool(t.Context(), pgcluster.PgpoolOptions{
		Binary: pgcluster.BuildProgram(t, filepath.Join(t.TempDir(), "bin"), "pgpool"),
		Conf: map[string]string{
			"auto_failover": "on", "recovery_user": "postgres", "health_check_period": "1", "health_check_timeout": "10", "sr_check_period": "1",
		},
	})
	must(t, err)
	p.pgpool = pool
	t.Cleanup(func() {
		if text, _ := pool.LogText(); t.Failed() {
			t.Log(text)
		}
	})
	p.nodes(t, "up primary, up standby")

	must(t, c.Nodes[0].Kill(t.Context()))
	p.nodes(t, "up standby, up primary")
	p.is(t, 1, streams, "repl streaming")
	if got := p.on(t, 0, "SHOW primary_conninfo"); !strings.Contains(got, "user=repl") || !strings.Contains(got, "passfile="+passfile) ||
		!strings.Contains(got, "sslmode=prefer") {
		t.Errorf("primary_conninfo is %s", got)
	}

	t.Log("the file is gone from the host of the next one")
	must(t, os.Remove(passfile))
	p.busy(t, 0)
	must(t, c.Nodes[1].Kill(t.Context()))
	p.logs(t, `node 1 is still starting after \d+s: FATAL: could not connect to the primary server: .*no password supplied.*passfile "`+passfile+
		`|node 1: it is set to stream from the primary and does not for long`) // it has all already if nothing was written meanwhile
	p.silent(t, "it does not start")
	must(t, pool.Rewrite(map[string]string{"replication_user": "repl", "replication_password": secret}))
	must(t, pool.Signal(syscall.SIGHUP))
	p.logs(t, `node 1: it is starting and does not get its WAL.*what is done: as it is|as somebody else than replication_user; what is done: repoint`)
	p.nodes(t, "up primary, up standby")
	p.is(t, 0, streams, "repl streaming")
	text, err := pool.LogText()
	must(t, err)
	if strings.Contains(text, secret) || strings.Contains(text, "base backup") {
		t.Error("the log holds a password, or a base backup was made")
	}
}

// busy writes at a server when it is the primary, so that what was copied of it is never all, until the test ends.
func (p *pair) busy(t *testing.T, id int) {
	ctx, cancel := context.WithCancel(t.Context())
	must(t, p.Nodes[1].Exec(ctx, "CREATE TABLE busy (s text)"))
	var writer sync.WaitGroup
	writer.Go(func() {
		tick := time.NewTicker(writeEvery)
		defer tick.Stop()
		for ; ctx.Err() == nil; <-tick.C {
			_ = p.Nodes[id].Exec(ctx, "INSERT INTO busy SELECT repeat('x', 100) FROM generate_series(1, 100)") // it is a standby yet
		}
	})
	t.Cleanup(func() {
		cancel()
		writer.Wait()
	})
}
