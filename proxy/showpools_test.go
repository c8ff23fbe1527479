package proxy

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gopgpool/cluster"
	"gopgpool/internal/fakepg"
	"gopgpool/pgwire"
)

// rowsBy runs a SHOW and returns its rows by one of the columns.
func rowsBy(tb testing.TB, c *fakepg.Client, sql string, column int) map[string][]string {
	tb.Helper()
	out := make(map[string][]string)
	for _, m := range c.Query(sql) {
		if m.Type != pgwire.DataRow {
			continue
		}
		var row []string
		for b := []byte(m.Body)[2:]; len(b) > 0; {
			n := int(binary.BigEndian.Uint32(b))
			row = append(row, string(b[4:4+n]))
			b = b[4+n:]
		}
		out[row[column]] = row
	}
	return out
}

// TestShowSessions: what each session does, and what it waits for.
func TestShowSessions(t *testing.T) {
	p := newTestProxy(t, setup{world: world(), nodes: 2, conf: onStandby})
	boss := p.admin(t)
	users := []string{"resting", "inside", "running", "held", "paused"}
	clients := make(map[string]*fakepg.Client)
	for _, u := range users {
		clients[u] = p.connect(t, u)
	}
	ok(t, clients["inside"], "BEGIN")
	release := make(chan struct{})
	p.fakes[0].Misbehave(fakepg.Fault{At: fakepg.Asked, SQL: insert, User: "running", Do: fakepg.Wait(release)})
	clients["running"].Send(pgwire.AppendQuery(nil, insert))
	await(t, "the statement runs", func() (runs bool) {
		p.sessionOf("running", func(s *session) { runs = s.owed > 0 })
		return runs
	})
	p.publish(t, func(v *cluster.View) { v.Primary, v.Seeking, v.Op = cluster.NoNode, true, cluster.OpFailover })
	clients["held"].Send(pgwire.AppendQuery(nil, insert))
	await(t, "the statement is held", func() bool { return p.standsAs("held") == heldBack })
	p.onLoops(func(*home) {
		if _, err := p.pauses.add("db"); err != nil {
			t.Error(err)
		}
	})
	clients["paused"].Send(pgwire.AppendQuery(nil, one))
	await(t, "the statement is held", func() bool { return p.standsAs("paused") == pausedHere })
	want := map[string]string{
		"resting": "idle", "inside": "idle in transaction", "running": "active", "held": "held", "paused": "paused", "postgres": "active",
	}
	rows := rowsBy(t, boss, "SHOW pool_sessions", 0)
	for user, state := range want {
		row := rows[fmt.Sprint(p.numberOf(user))]
		if len(row) != 9 || row[1] != "db" || row[2] != user || row[4] != "session" || row[5] != state || row[8] == "" {
			t.Errorf("%s: %q, want %s", user, row, state)
		}
	}
	p.publish(t, func(v *cluster.View) { v.Primary, v.Seeking, v.Op = 0, false, cluster.OpNone })
	ok(t, boss, "PGPOOL RESUME db")
	close(release)
	for _, u := range []string{"running", "held", "paused"} {
		clients[u].UntilReady()
	}
	for _, u := range users {
		clients[u].Bye()
	}
	boss.Bye()
}

// TestShowQueues: the pools, their connections and who waits for them.
func TestShowQueues(t *testing.T) {
	p := newTestProxy(t, setup{world: world(), conf: "num_init_children = 4\nmax_pool = 1\n"})
	boss, c := p.admin(t), p.connect(t, "victim")
	idle := p.connect(t, "victim")
	ok(t, idle, one)
	idle.Bye()
	await(t, "its connection idles", func() bool { return p.idleCount() == 1 })
	for _, protocol := range []string{"simple", "extended"} {
		boss.Send(pgwire.AppendQuery(nil, "SHOW pool_queues"))
		if protocol == "extended" {
			boss.UntilReady()
			boss.Send(extended("SHOW pool_queues"))
		}
		got := fakepg.Transcript(boss.UntilReady())
		for _, user := range []string{"postgres", "victim"} {
			if !strings.Contains(got, user) {
				t.Errorf("%s: no pool of %s in %s", protocol, user, got)
			}
		}
	}
	rows := rowsBy(t, boss, "SHOW pool_queues", 1)
	want := []string{"db", "victim", "session", "0", "1", "0", "0", "1", "1", "0", "0", "0", "0", "0"}
	if !slices.Equal(rows["victim"], want) {
		t.Errorf("%q, want %q", rows["victim"], want)
	}
	ok(t, boss, "PGPOOL PAUSE db")
	c.Send(pgwire.AppendQuery(nil, one))
	await(t, "the statement is held", func() bool { return p.standsAs("victim") == pausedHere })
	want = []string{"db", "victim", "session", "0", "0", "0", "1", "1", "0", "0", "0", "0", "0", "1"}
	if rows := rowsBy(t, boss, "SHOW pool_queues", 1); !slices.Equal(rows["victim"], want) {
		t.Errorf("%q, want %q", rows["victim"], want)
	}
	ok(t, boss, "PGPOOL RESUME db")
	c.UntilReady()
	c.Bye()
	boss.Bye()
}
