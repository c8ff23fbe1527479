package proxy

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/internal/fakepg"
	"gopgpool/pgwire"
)

// publish changes the View as failover would, and has it arrive everywhere.
func (p *testProxy) publish(tb testing.TB, edit func(v *cluster.View)) {
	tb.Helper()
	v := *p.store.Current()
	v.Nodes = slices.Clone(v.Nodes)
	edit(&v)
	p.store.Publish(&v)
	if err := p.Fence(tb.Context(), &v); err != nil {
		tb.Fatal(err)
	}
}

// condemn takes the primary out and begins the search for another.
func condemn(v *cluster.View) {
	n := &v.Nodes[0]
	n.Status, n.Role = cluster.StatusDown, cluster.RoleStandby
	n.Epoch++
	n.Fenced = n.Epoch
	v.Primary, v.Seeking, v.Op = cluster.NoNode, true, cluster.OpFailover
}

// crown ends the search.
func crown(id cluster.NodeID) func(v *cluster.View) {
	return func(v *cluster.View) {
		v.Nodes[id].Role = cluster.RolePrimary
		v.Nodes[id].Epoch++
		v.Primary, v.Seeking, v.Op = id, false, cluster.OpNone
	}
}

const repeatable = "BEGIN ISOLATION LEVEL REPEATABLE READ"

const insert = "INSERT INTO t VALUES (1)"

// stateful is a world in which statements that leave something behind succeed.
func stateful() fakepg.World {
	w := world()
	for _, sql := range []string{
		"SET work_mem TO '5MB'", "PREPARE a AS SELECT 1", "CREATE TEMP TABLE x (a int)", "LISTEN c", "UNLISTEN *", "DO 'BEGIN END'",
		"SET work_mem TO '5MB'; SET a.b TO 1", "DECLARE c CURSOR WITH HOLD FOR SELECT 1 FOR UPDATE", "DISCARD ALL",
	} {
		w[sql] = fakepg.Answer{Tag: strings.SplitN(sql, " ", 2)[0]}
	}
	w[repeatable] = fakepg.Answer{Tag: "BEGIN", Begins: true}
	for _, sql := range []string{"SELECT pg_advisory_lock(1)", "SELECT pg_advisory_xact_lock(1)"} {
		w[sql] = fakepg.One()
	}
	return w
}

// ok sends a statement and expects an answer without an error.
func ok(tb testing.TB, c *fakepg.Client, sql string) {
	tb.Helper()
	if got := c.Query(sql); len(fakepg.Errors(got)) > 0 {
		tb.Errorf("%s got %s", sql, fakepg.Transcript(got))
	}
}

// errorsOf are the errors among messages.
func errorsOf(messages []fakepg.Message) []pgwire.Fields {
	var out []pgwire.Fields
	for _, m := range messages {
		if m.Type == pgwire.ErrorResponse {
			out = append(out, pgwire.ReadFields([]byte(m.Body)))
		}
	}
	return out
}

// TestStatementsWaitForThePrimary: while the primary is sought, reads go on elsewhere and writes wait; then they run on the new one.
func TestStatementsWaitForThePrimary(t *testing.T) {
	for _, protocol := range []string{"simple", "extended"} {
		t.Run(protocol, func(t *testing.T) {
			p := newTestProxy(t, setup{world: stateful(), nodes: 3, conf: onStandby})
			c, reader := p.connect(t, "victim"), p.connect(t, "reader")
			ok(t, c, insert)
			ok(t, c, "SET work_mem TO '5MB'")
			p.publish(t, condemn)
			p.fakes[0].Await("connections to the lost node end", func() bool { return p.fakes[0].Open() == 0 })
			ok(t, reader, "SELECT 1")
			late := p.connect(t, "late") // logins need no primary
			ok(t, late, "SELECT 1")
			late.Bye()

			if protocol == "simple" {
				c.Send(pgwire.AppendQuery(nil, insert))
			} else {
				c.Send(extended(insert))
			}
			await(t, "the statement is held", func() bool { return p.held("victim") })
			ok(t, reader, "SELECT 1")
			p.publish(t, crown(2))
			if got := c.UntilReady(); len(fakepg.Errors(got)) > 0 {
				t.Errorf("got %s", fakepg.Transcript(got))
			}
			conn := p.fakes[2].Last()
			if !conn.Has("SET work_mem TO '5MB'") {
				t.Errorf("the new primary got %q", conn.Statements())
			}
			c.Bye()
			reader.Bye()
		})
	}
}

// held reports whether a user's session is in the middle of a message of its client.
func (p *testProxy) held(user string) bool {
	waits := false
	p.sessionOf(user, func(s *session) { waits = s.pumping })
	return waits
}

// TestWaitingEnds: a statement that waits in vain is refused, and the session goes on.
func TestWaitingEnds(t *testing.T) {
	p := newTestProxy(t, setup{world: stateful(), nodes: 2, conf: onStandby, tweak: func(c *conf.Config) { c.Failover.HoldTimeout = 20 * time.Millisecond }})
	c := p.connect(t, "victim")
	p.publish(t, condemn)
	for _, message := range [][]byte{pgwire.AppendQuery(nil, insert), extended(insert)} {
		c.Send(message)
		got := errorsOf(c.UntilReady())
		if len(got) != 1 || got[0].Code != "57P03" || got[0].Severity != "ERROR" {
			t.Errorf("got %v", got)
		}
		ok(t, c, "SELECT 1")
	}
	c.Bye()
}

// TestHeldClientLeaves: nobody waits for a client that has gone.
func TestHeldClientLeaves(t *testing.T) {
	p := newTestProxy(t, setup{world: stateful(), nodes: 2, conf: onStandby})
	c := p.connect(t, "victim")
	p.publish(t, condemn)
	c.Send(pgwire.AppendQuery(nil, insert))
	await(t, "the statement is held", func() bool { return p.held("victim") })
	c.Close()
	await(t, "the session ends", func() bool { return p.sessionCount() == 0 })
}

// TestFence: what runs on a condemned node is cut before Fence returns, though the server would go on.
func TestFence(t *testing.T) {
	cases := []struct {
		name   string
		before []string
		send   []byte // unanswered when the node is condemned
		detail string // of the error; "" lets the session go on
	}{
		{"idle", nil, nil, ""},
		{"idle after a write", []string{insert}, nil, ""},
		{"settings", []string{"SET work_mem TO '5MB'", "PREPARE a AS SELECT 1"}, nil, ""},
		{"an advisory lock", []string{"SELECT pg_advisory_lock(1)"}, nil, "cannot be moved"},
		{"an advisory lock of the transaction", []string{"BEGIN", "SELECT pg_advisory_xact_lock(1)", "COMMIT"}, nil, ""},
		{"a temporary table", []string{"CREATE TEMP TABLE x (a int)"}, nil, "cannot be moved"},
		{"a temporary table discarded", []string{"CREATE TEMP TABLE x (a int)", "DISCARD ALL"}, nil, ""},
		{"LISTEN", []string{"LISTEN c"}, nil, "cannot be moved"},
		{"UNLISTEN", []string{"LISTEN c", "UNLISTEN *"}, nil, ""},
		{"a cursor", []string{"BEGIN", "DECLARE c CURSOR WITH HOLD FOR SELECT 1 FOR UPDATE", "COMMIT"}, nil, "cannot be moved"},
		{"DO", []string{"DO 'BEGIN END'"}, nil, "cannot be moved"},
		{"several settings at once", []string{"SET work_mem TO '5MB'; SET a.b TO 1"}, nil, "cannot be moved"},
		{"a transaction", []string{"BEGIN", insert}, nil, "the open transaction is lost and has had no effect"},
		{"a write", nil, pgwire.AppendQuery(nil, insert), "may have taken effect"},
		{"a write in a batch", nil, extended(insert), "may have taken effect"},
		{"a write in a transaction", []string{"BEGIN"}, pgwire.AppendQuery(nil, insert), "the open transaction is lost and has had no effect"},
		{"COMMIT", []string{"BEGIN", insert}, pgwire.AppendQuery(nil, "COMMIT"), "may have taken effect"},
		{"ROLLBACK", []string{"BEGIN", insert}, pgwire.AppendQuery(nil, "ROLLBACK"), "had no effect"},
		{"a read", nil, pgwire.AppendQuery(nil, "SELECT 1"), "may have taken effect"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := newTestProxy(t, setup{world: stateful(), nodes: 2, conf: "load_balance_mode = off\n"})
			p.unseen = true
			client := p.connect(t, "victim")
			for _, sql := range c.before {
				ok(t, client, sql)
			}
			if c.send != nil {
				p.fakes[0].Misbehave(fakepg.Fault{At: fakepg.Asked, User: "victim", Times: 1, Do: fakepg.Stall})
				client.Send(c.send)
				await(t, "the statement runs", func() bool { return p.busyOn("victim", 0) })
			}
			p.publish(t, condemn)
			p.publish(t, crown(1))
			if c.detail == "" {
				ok(t, client, insert)
				client.Bye()
				return
			}
			out, whole := client.UntilEnd()
			if !whole || len(errorsOf(out)) != 1 {
				t.Fatalf("got %s", fakepg.Transcript(out))
			}
			e := errorsOf(out)[0]
			if e.Code != "08006" || e.Severity != "FATAL" || !strings.Contains(e.Detail, c.detail) {
				t.Errorf("got %+v", e)
			}
		})
	}
}

// busyOn reports whether a session waits for an answer of a node.
func (p *testProxy) busyOn(user string, node cluster.NodeID) bool {
	busy := false
	p.sessionOf(user, func(s *session) {
		if b := s.find(node); b != nil {
			busy = b.outstanding() > 0 && b.backlog() == 0
		}
	})
	return busy
}

// TestPromotedUnderATransaction: what runs on a standby that is promoted may finish; a transaction that has its snapshot there cannot
// go on to write on connections of two ages.
func TestPromotedUnderATransaction(t *testing.T) {
	p := newTestProxy(t, setup{world: stateful(), nodes: 2, conf: onStandby})
	c := p.connect(t, "victim")
	ok(t, c, repeatable)
	ok(t, c, "SELECT 1")
	p.publish(t, condemn)
	p.publish(t, crown(1))
	got := errorsOf(c.Query(insert))
	if len(got) != 1 || got[0].Code != "40001" || got[0].Severity != "ERROR" {
		t.Errorf("got %v", got)
	}
	if got := errorsOf(c.Query("SELECT 1")); len(got) != 1 || got[0].Code != "25P02" {
		t.Errorf("in the failed transaction: %v", got)
	}
	ok(t, c, "ROLLBACK")
	ok(t, c, insert)
	c.Bye()

	c = p.connect(t, "victim")
	ok(t, c, "BEGIN")
	ok(t, c, "SELECT 1")
	p.publish(t, func(v *cluster.View) { v.Nodes[1].Epoch++ })
	ok(t, c, "COMMIT")
	c.Bye()
}

// TestReadsMoveWithTheirTransaction: a READ COMMITTED transaction that has only read on the standby that is promoted goes on there, in
// either protocol, and writes.
func TestReadsMoveWithTheirTransaction(t *testing.T) { inModes(t, testReadsMove) }

func testReadsMove(t *testing.T, line string) {
	for _, protocol := range []string{"simple", "extended"} {
		t.Run(protocol, func(t *testing.T) {
			p := newTestProxy(t, setup{world: stateful(), nodes: 2, conf: onStandby + line})
			c := p.connect(t, "victim")
			send := func(sql string) {
				t.Helper()
				if protocol == "simple" {
					c.Send(pgwire.AppendQuery(nil, sql))
				} else {
					c.Send(extended(sql))
				}
				if got := c.UntilReady(); len(fakepg.Errors(got)) > 0 {
					t.Errorf("%s got %s", sql, fakepg.Transcript(got))
				}
			}
			for _, sql := range []string{"BEGIN", "SELECT 1"} {
				send(sql)
			}
			p.publish(t, condemn)
			p.publish(t, crown(1))
			for _, sql := range []string{insert, "SELECT 1", "COMMIT"} {
				send(sql)
			}
			if got := p.fakes[1].Last(); !got.Has(insert) || !got.Has("COMMIT") {
				t.Errorf("the new primary got %q", got.Statements())
			}
			c.Bye()
		})
	}
}

// TestQuiesce keeps new clients waiting until the last old one has left.
func TestQuiesce(t *testing.T) {
	p := newTestProxy(t, setup{world: stateful(), conf: "client_idle_limit_in_recovery = 0\n"})
	old := p.connect(t, "old")
	type outcome struct {
		resume func()
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		resume, err := p.Quiesce(t.Context())
		done <- outcome{resume, err}
	}()
	await(t, "clients are kept out", func() bool { return p.quiescing.Load() == 1 })
	late := p.start(t, "late")
	ok(t, old, "SELECT 1")
	select {
	case <-done:
		t.Fatal("somebody is connected")
	default:
	}
	old.Bye()
	o := <-done
	if o.err != nil {
		t.Fatal(o.err)
	}
	if p.sessionOf("late", func(*session) {}) {
		t.Error("the late client was let in")
	}
	o.resume()
	o.resume()
	late.UntilReady()
	ok(t, late, "SELECT 1")
	late.Bye()

	stays := p.connect(t, "stays")
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	resume, err := p.Quiesce(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a client that stays: %v", err)
	}
	resume()
	stays.Bye()
}

// TestIdleLimitInRecovery: idle clients are sent away while clients are kept out, at once or after their time.
func TestIdleLimitInRecovery(t *testing.T) {
	for _, limit := range []string{"-1", "1"} {
		t.Run(limit, func(t *testing.T) {
			p := newTestProxy(t, setup{world: stateful(), conf: "client_idle_limit_in_recovery = " + limit + "\n"})
			c := p.connect(t, "victim")
			ok(t, c, "SELECT 1")
			resume, err := p.Quiesce(t.Context())
			defer resume()
			if err != nil {
				t.Fatal(err)
			}
			c.ExpectFatal("57000")
		})
	}
}

// TestOpeningEndsWithTheNode: who is connecting to a silent node does not wait for it any longer than it is wanted, and the node gets
// reads again as soon as it is taken in.
func TestOpeningEndsWithTheNode(t *testing.T) {
	p := newTestProxy(t, setup{world: stateful(), nodes: 2, conf: onStandby})
	p.unseen = true
	c := p.connect(t, "victim")
	p.fakes[1].Misbehave(fakepg.Fault{At: fakepg.Started, User: "victim", Do: fakepg.Stall})
	c.Send(pgwire.AppendQuery(nil, "SELECT 1"))
	await(t, "the session connects to the silent node", func() bool {
		waits := false
		p.sessionOf("victim", func(s *session) { waits = s.opening != nil && s.opening.ID == 1 })
		return waits
	})
	p.publish(t, func(v *cluster.View) {
		n := &v.Nodes[1]
		n.Status = cluster.StatusDown
		n.Epoch++
		n.Fenced = n.Epoch
	})
	if got := c.UntilReady(); len(fakepg.Errors(got)) > 0 {
		t.Errorf("got %s", fakepg.Transcript(got))
	}
	if !p.fakes[0].Last().Has("SELECT 1") {
		t.Error("the read did not go to the primary")
	}
	p.fakes[1].Behave()
	p.publish(t, func(v *cluster.View) {
		v.Nodes[1].Status = cluster.StatusWaiting
		v.Nodes[1].Epoch++
	})
	c.Bye()
	c = p.connect(t, "victim")
	ok(t, c, "SELECT 1")
	if n := p.fakes[1].Last(); n == nil || !n.Has("SELECT 1") {
		t.Error("the next read did not go to the node taken in again")
	}
	c.Bye()
}

// TestOnlyStrays: nodes that hold other data than the lost primary are read and not written to, and the client is told why.
func TestOnlyStrays(t *testing.T) {
	p := newTestProxy(t, setup{world: stateful(), nodes: 2, conf: onStandby})
	c := p.connect(t, "victim")
	p.publish(t, condemn)
	p.publish(t, func(v *cluster.View) { v.Nodes[1].Stray, v.Seeking, v.Op = true, false, cluster.OpNone })
	ok(t, c, "SELECT 1")
	for _, message := range [][]byte{pgwire.AppendQuery(nil, insert), extended(insert)} {
		c.Send(message)
		got := errorsOf(c.UntilReady())
		if len(got) != 1 || got[0].Code != "57P03" || got[0].Severity != "ERROR" || !strings.Contains(got[0].Hint, "pcp_promote_node") {
			t.Errorf("got %v", got)
		}
	}
	if p.fakes[1].Last().Has(insert) {
		t.Error("it was written to")
	}
	late := p.connect(t, "late")
	ok(t, late, "SELECT 1")
	late.Bye()
	c.Bye()
}

// TestQuestionOnDeadConnection: a question of ours that finds its connection dead is put again on another one; the client's statement was
// not sent and need not fail.
func TestQuestionOnDeadConnection(t *testing.T) {
	w := stateful()
	w["SELECT f()"] = fakepg.One()
	p := newTestProxy(t, setup{world: w, nodes: 2, conf: onStandby})
	p.unseen = true
	c := p.connect(t, "victim")
	ok(t, c, insert)
	p.fakes[0].Misbehave(fakepg.Fault{At: fakepg.Asked, User: "victim", Times: 1, Do: fakepg.Drop})
	if got := errorsOf(c.Query("SELECT f()")); len(got) == 1 && got[0].Severity == "FATAL" {
		t.Errorf("got %v", got)
	}
	ok(t, c, insert)
	c.Bye()
}
