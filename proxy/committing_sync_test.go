package proxy

import (
	"context"
	"strings"
	"sync"
	"testing"

	"gopgpool/conf"
	"gopgpool/internal/fakepg"
	"gopgpool/internal/pgcluster"
	"gopgpool/pgwire"
)

// TestRealCommitUnreplicated: an administrator ends a session whose COMMIT waits for a synchronous standby that is not there. The
// transaction is committed on the primary alone, and would be lost with it, so the client must not be told that it is committed.
func TestRealCommitUnreplicated(t *testing.T) {
	if testing.Short() {
		t.Skip("left out with -short: starts a server")
	}
	ctx := t.Context()
	c := pgcluster.StartTest(t, pgcluster.Options{Nodes: 1})
	n := c.Nodes[0]
	r := &realPair{t: t, old: n, heir: n}
	r.must(n.Exec(ctx, "CREATE DATABASE db"))
	r.testProxy = newTestProxy(t, setup{
		conf:    "auto_failover = on\nload_balance_mode = off\npool_mode = transaction\n",
		tweak:   func(c *conf.Config) { c.Pool.NumInitChildren = 8 },
		servers: func(testing.TB) []int { return []int{n.Port} },
	})
	victim, other := r.connect(t, "postgres"), r.connect(t, "postgres")
	ok(t, victim, "CREATE TABLE written (writer int, row int)")
	for _, client := range []*fakepg.Client{victim, other} { // so that there is a connection from before
		ok(t, client, "BEGIN")
		ok(t, client, "INSERT INTO written VALUES (0, 0)")
	}
	ok(t, other, "COMMIT")
	r.must(n.Exec(ctx, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'"))
	r.must(n.Reload())
	r.commitsWait()
	victim.Send(pgwire.AppendQuery(nil, "COMMIT"))
	await(t, "the COMMIT waits", func() bool { return r.value(n, waitingSQL) == "1" })
	r.must(n.Exec(ctx, endWaitingSQL))
	got, _ := victim.UntilEnd()
	t.Log(fakepg.Transcript(got))
	es := errorsOf(got)
	if len(es) != 1 || es[0].Code != "08007" {
		t.Errorf("got %s", fakepg.Transcript(got))
	}
	for _, m := range got {
		if m.Type == pgwire.CommandComplete {
			t.Error("it was told that the transaction is committed")
		}
	}
}

const (
	waitingSQL    = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
	endWaitingSQL = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
)

// commitsWait returns when commits wait for a standby that is not there. They do once the checkpointer has read the setting, whoever else has,
// and nothing but a commit shows it.
func (r *realPair) commitsWait() {
	r.t.Helper()
	ctx, end := context.WithCancel(r.t.Context())
	var trying sync.WaitGroup
	defer trying.Wait()
	defer end()
	trying.Go(func() {
		for r.old.Exec(ctx, "SELECT pg_logical_emit_message(true, 'a commit', '')") == nil {
		}
	})
	await(r.t, "commits wait", func() bool { return r.value(r.old, waitingSQL) == "1" })
	r.must(r.old.Exec(ctx, endWaitingSQL))
	await(r.t, "nobody waits any more", func() bool { return r.value(r.old, waitingSQL) == "0" })
}

// TestCommitHadMoreToDo: no id was assigned before the COMMIT, which would have done more than end the transaction: it sends what was notified,
// and runs the queries of cursors that outlive it.
func TestCommitHadMoreToDo(t *testing.T) {
	null := []byte("D\x00\x00\x00\x0a\x00\x01\xff\xff\xff\xff")
	const notify, declare = "NOTIFY jobs", "DECLARE c CURSOR WITH HOLD FOR SELECT put_row()"
	w := fateful("committed")
	w[idQuestionText] = fakepg.Answer{Columns: []fakepg.Column{fakepg.TextColumn("x")}, Tag: "SELECT 1"}
	w[notify], w[declare] = fakepg.Answer{Tag: "NOTIFY"}, fakepg.Answer{Tag: "DECLARE CURSOR"}
	last := pgwire.AppendError(nil, pgwire.Fields{
		Severity: "FATAL", Code: "57P01", Message: "terminating connection due to administrator command", Routine: "ProcessInterrupts",
	})
	for _, c := range []struct {
		sql, code string
		do        func(*fakepg.Conn) bool
	}{{notify, "40001", fakepg.SayAndDrop(last)}, {declare, "08007", fakepg.Drop}} {
		t.Run(c.sql, func(t *testing.T) {
			p := newTestProxy(t, setup{world: w, nodes: 2, conf: unaided})
			p.unseen = true
			p.fakes[0].Misbehave(fakepg.Fault{At: fakepg.Described, SQL: idQuestionText, Do: fakepg.Say(null)})
			p.fakes[0].Misbehave(fakepg.Fault{At: fakepg.Asked, SQL: "COMMIT", Times: 1, Do: c.do})
			client := p.connect(t, "victim")
			ok(t, client, "BEGIN")
			ok(t, client, c.sql)
			client.Send(pgwire.AppendQuery(nil, "COMMIT"))
			got, _ := client.UntilEnd()
			if es := errorsOf(got); len(es) == 0 || es[0].Code != c.code || strings.Contains(fakepg.Transcript(got), `C "COMMIT`) {
				t.Errorf("got %s", fakepg.Transcript(got))
			}
		})
	}
}
