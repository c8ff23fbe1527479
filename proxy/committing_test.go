package proxy

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/internal/fakepg"
	"gopgpool/pgwire"
	"gopgpool/proxy/meter"
)

const (
	unaided     = "auto_failover = on\nload_balance_mode = off\n"
	askFate     = "SELECT pg_catalog.pg_xact_status('1000'::pg_catalog.xid8)"
	commitChain = "COMMIT AND CHAIN"
)

// fateful is a world whose transactions have the id 1000; what became of it is fate.
func fateful(fate string) fakepg.World {
	w := maps.Clone(effects())
	w[idQuestionText] = fakepg.Answer{Columns: []fakepg.Column{fakepg.TextColumn("pg_current_xact_id_if_assigned")}, Rows: [][]string{{"1000"}}, Tag: "SELECT 1"}
	w[askFate] = fakepg.Answer{Columns: []fakepg.Column{fakepg.TextColumn("pg_xact_status")}, Rows: [][]string{{fate}}, Tag: "SELECT 1"}
	return w
}

// inherit ends the search with a primary of which it is known what it has seen of the lost one.
func inherit(id cluster.NodeID, b cluster.Bounds) func(v *cluster.View) {
	return func(v *cluster.View) {
		crown(id)(v)
		v.Crossing = &cluster.Crossing{From: 0, FromEpoch: v.Nodes[0].Epoch, To: id, ToEpoch: v.Nodes[id].Epoch, Bounds: b}
	}
}

var seen = cluster.Bounds{Before: 2000, After: 3000}

// ends are the ways a client commits.
var ends = []struct {
	name  string
	send  []byte
	sql   string
	chain bool
}{
	{"simple", pgwire.AppendQuery(nil, "COMMIT"), "COMMIT", false},
	{"extended", synced(run("COMMIT")), "COMMIT", false},
	{"simple, chained", pgwire.AppendQuery(nil, commitChain), commitChain, true},
	{"extended, chained", synced(run(commitChain)), commitChain, true},
}

// losing is a session whose COMMIT has got as far as moment when its server falls silent.
func losing(t *testing.T, p *testProxy, send []byte, sql string, at fakepg.Moment) *fakepg.Client {
	t.Helper()
	p.unseen = true
	c := p.connect(t, "victim")
	ok(t, c, "BEGIN")
	ok(t, c, insert)
	p.fakes[0].Misbehave(fakepg.Fault{At: at, SQL: sql, User: "victim", Times: 1, Do: fakepg.Stall})
	c.Send(send)
	await(t, "the COMMIT runs", func() bool { return p.busyOn("victim", 0) && (sql == idQuestionText || p.idKnown("victim")) })
	return c
}

// idKnown reports whether the question for the transaction's id was answered.
func (p *testProxy) idKnown(user string) (known bool) {
	p.sessionOf(user, func(s *session) { known = s.commits != nil && s.commits.done })
	return known
}

// awaitAsked waits until a server is asked for the fate of the transaction.
func (p *testProxy) awaitAsked(node int) {
	p.tb.Helper()
	await(p.tb, "the question", func() bool {
		return slices.ContainsFunc(p.fakes[node].Conns(), func(c *fakepg.Conn) bool { return c.Has(askFate) })
	})
}

func (p *testProxy) inDoubt(user string) (doubt bool) {
	p.sessionOf(user, func(s *session) { doubt = s.doubt != nil })
	return doubt
}

func (p *testProxy) outcomes() (n [meter.Outcomes]uint64) {
	p.onLoops(func(h *home) {
		for i, k := range h.tally.Ends {
			n[i] += k
		}
	})
	return n
}

// TestCommitOutcome: a client whose COMMIT was under way when the primary was lost is told what the new one knows of it, and goes on.
func TestCommitOutcome(t *testing.T) {
	cases := []struct {
		name   string
		fate   string
		bounds cluster.Bounds
		want   meter.Outcome
	}{
		{"committed", "committed", seen, meter.Committed},
		{"aborted", "aborted", seen, meter.RolledBack},
		{"in progress", "in progress", seen, meter.Unknown},
		{"never seen", "committed", cluster.Bounds{Before: 500, After: 1000}, meter.RolledBack},
		{"perhaps seen", "committed", cluster.Bounds{Before: 1000, After: 1001}, meter.Unknown},
		{"no bounds", "committed", cluster.Bounds{}, meter.Unknown},
	}
	for _, mode := range []string{"session", "transaction"} {
		for _, c := range cases {
			for _, e := range ends {
				t.Run(mode+", "+c.name+", "+e.name, func(t *testing.T) {
					p := newTestProxy(t, setup{world: fateful(c.fate), nodes: 2, conf: unaided + "pool_mode = " + mode + "\n"})
					client := losing(t, p, e.send, e.sql, fakepg.Asked)
					p.publish(t, condemn)
					await(t, "the session is held", func() bool { return p.inDoubt("victim") && p.held("victim") })
					p.publish(t, inherit(1, c.bounds))
					p.judge(t, client, c.want, e.chain)
				})
			}
		}
	}
}

// judge reads the answer to a COMMIT and looks whether the session goes on as it should.
func (p *testProxy) judge(t *testing.T, c *fakepg.Client, want meter.Outcome, chain bool) {
	t.Helper()
	if n := p.outcomes(); want != meter.Unknown && (n[want] != 1 || n[meter.Unknown] != 0) {
		await(t, "the outcome is counted", func() bool { return p.outcomes()[want] == 1 })
	}
	if want == meter.Unknown {
		if e := c.ExpectFatal("08007"); !strings.Contains(e.Detail, maybe) {
			t.Errorf("got %+v", e)
		}
		return
	}
	got := c.UntilReady()
	status := got[len(got)-1].Body
	if want == meter.RolledBack {
		if e := errorsOf(got); len(e) != 1 || e[0].Code != "40001" || !strings.Contains(e[0].Detail, none) || status != "I" {
			t.Errorf("got %s", fakepg.Transcript(got))
		}
	} else if s := fakepg.Transcript(got); !strings.Contains(s, "C \"COMMIT\\x00\"") || len(errorsOf(got)) > 0 || chain != (status == "T") {
		t.Errorf("got %s", s)
	}
	inChain := chain && want == meter.Committed
	if inChain {
		ok(t, c, insert)
		ok(t, c, "COMMIT")
	}
	ok(t, c, "BEGIN")
	ok(t, c, insert)
	if inChain && !p.fakes[1].Last().Has("BEGIN") {
		t.Errorf("the chained transaction was not begun: %q", p.fakes[1].Last().Statements())
	}
	if got := fakepg.Transcript(c.Query("COMMIT")); !strings.HasSuffix(got, "Z \"I\"") {
		t.Errorf("got %s", got)
	}
	c.Bye()
}

// TestCommitQuestion: the id is asked for in front of the COMMIT of what has written, and of nothing else.
func TestCommitQuestion(t *testing.T) {
	for _, c := range []struct {
		name string
		conf string
		send []string
		want bool
	}{
		{"a write", unaided, []string{"BEGIN", insert, "COMMIT"}, true},
		{"chained", unaided, []string{"BEGIN", insert, commitChain, "ROLLBACK"}, true},
		{"a read", unaided, []string{"BEGIN", "SELECT 1", "COMMIT"}, false},
		{"a write that is rolled back", unaided, []string{"BEGIN", insert, "ROLLBACK"}, false},
		{"failed", unaided, []string{"BEGIN", insert, "FAILS", "COMMIT"}, false},
		{"outside a block", unaided, []string{insert, "COMMIT"}, false},
		{"with a script", unaided + "failover_command = 'true'\n", []string{"BEGIN", insert, "COMMIT"}, false},
		{"off", unaided + "commit_outcome = off\n", []string{"BEGIN", insert, "COMMIT"}, false},
		{"no auto_failover", "load_balance_mode = off\n", []string{"BEGIN", insert, "COMMIT"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newTestProxy(t, setup{world: fateful("committed"), nodes: 2, conf: c.conf})
			client := p.connect(t, "victim")
			for _, sql := range c.send {
				client.Query(sql)
			}
			if got := p.fakes[0].Last().Statements(); slices.Contains(got, idQuestionText) != c.want {
				t.Errorf("the server got %q", got)
			} else if c.want && got[slices.Index(got, idQuestionText)+1] != c.send[2] {
				t.Errorf("the question does not stand in front of the COMMIT: %q", got)
			}
			client.Bye()
		})
	}
}

// TestCommitQuestionUnanswered: without an id nothing can be found out, and the client is told at once.
func TestCommitQuestionUnanswered(t *testing.T) {
	for _, e := range ends {
		t.Run(e.name, func(t *testing.T) {
			p := newTestProxy(t, setup{world: fateful("committed"), nodes: 2, conf: unaided})
			c := losing(t, p, e.send, idQuestionText, fakepg.Asked)
			p.publish(t, condemn)
			p.judge(t, c, meter.Unknown, e.chain)
		})
	}
}

// TestCommitWroteNothing: no id was assigned, so that there was nothing to lose.
func TestCommitWroteNothing(t *testing.T) {
	null := []byte("D\x00\x00\x00\x0a\x00\x01\xff\xff\xff\xff")
	w := fateful("committed")
	w[idQuestionText] = fakepg.Answer{Columns: []fakepg.Column{fakepg.TextColumn("x")}, Tag: "SELECT 1"}
	for _, c := range []struct {
		begin string
		want  meter.Outcome
	}{{"BEGIN", meter.Committed}, {"BEGIN ISOLATION LEVEL SERIALIZABLE", meter.RolledBack}} {
		t.Run(c.begin, func(t *testing.T) {
			w[c.begin] = fakepg.Answer{Tag: "BEGIN", Begins: true}
			p := newTestProxy(t, setup{world: w, nodes: 2, conf: unaided})
			p.unseen = true
			p.fakes[0].Misbehave(fakepg.Fault{At: fakepg.Described, SQL: idQuestionText, Do: fakepg.Say(null)})
			p.fakes[0].Misbehave(fakepg.Fault{At: fakepg.Asked, SQL: "COMMIT", User: "victim", Times: 1, Do: fakepg.Stall})
			client := p.connect(t, "victim")
			ok(t, client, c.begin)
			ok(t, client, insert)
			client.Send(pgwire.AppendQuery(nil, "COMMIT"))
			await(t, "the COMMIT runs", func() bool { return p.idKnown("victim") })
			p.publish(t, condemn)
			got := client.UntilReady() // nobody has to be asked
			if e := errorsOf(got); c.want == meter.Committed && len(e) > 0 || c.want == meter.RolledBack && (len(e) != 1 || e[0].Code != "40001") {
				t.Errorf("got %s", fakepg.Transcript(got))
			}
			p.publish(t, crown(1))
			ok(t, client, insert)
			client.Bye()
		})
	}
}

// TestCommitAtStandby: a transaction that has been at a standby alone has written nothing.
func TestCommitAtStandby(t *testing.T) {
	p := newTestProxy(t, setup{world: fateful("committed"), nodes: 2, conf: onStandby + "auto_failover = on\n"})
	p.unseen = true
	p.fakes[1].Misbehave(fakepg.Fault{At: fakepg.Asked, SQL: "COMMIT", User: "victim", Times: 1, Do: fakepg.Stall})
	c := p.connect(t, "victim")
	ok(t, c, "BEGIN")
	ok(t, c, "SELECT 1")
	c.Send(pgwire.AppendQuery(nil, "COMMIT"))
	await(t, "the COMMIT runs", func() bool { return p.busyOn("victim", 1) })
	p.publish(t, func(v *cluster.View) {
		n := &v.Nodes[1]
		n.Status, n.Epoch = cluster.StatusDown, n.Epoch+1
		n.Fenced = n.Epoch
	})
	if got := c.UntilReady(); len(errorsOf(got)) > 0 {
		t.Errorf("got %s", fakepg.Transcript(got))
	}
	ok(t, c, "SELECT 1")
	c.Bye()
}

// TestCommitUnderWayElsewhere: what is in the middle of a batch, or more than a COMMIT, stays unknown.
func TestCommitUnderWayElsewhere(t *testing.T) {
	for _, c := range []struct {
		name   string
		before []string
		send   []byte
		stall  string
	}{
		{"in the middle of a batch", []string{"BEGIN"}, synced(run(insert), run("COMMIT")), "COMMIT"},
		{"several statements", []string{"BEGIN"}, pgwire.AppendQuery(nil, insertCommit), insertCommit},
		{"PREPARE TRANSACTION", []string{"BEGIN", insert}, pgwire.AppendQuery(nil, prepare2PC), prepare2PC},
		{"COMMIT PREPARED", nil, pgwire.AppendQuery(nil, commit2PC), commit2PC},
		{"a write outside a block", nil, pgwire.AppendQuery(nil, insert), insert},
		{"a read only, as far as its text tells", []string{"BEGIN", "SELECT 1"}, pgwire.AppendQuery(nil, "COMMIT"), "COMMIT"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newTestProxy(t, setup{world: fateful("committed"), nodes: 2, conf: unaided})
			p.unseen = true
			client := p.connect(t, "victim")
			for _, sql := range c.before {
				ok(t, client, sql)
			}
			p.fakes[0].Misbehave(fakepg.Fault{At: fakepg.Asked, SQL: c.stall, User: "victim", Times: 1, Do: fakepg.Stall})
			client.Send(c.send)
			await(t, "the statement runs", func() bool { return p.busyOn("victim", 0) && p.fakes[0].Last().Has(c.stall) })
			p.publish(t, condemn)
			p.publish(t, inherit(1, seen))
			p.judge(t, client, meter.Unknown, false)
		})
	}
}

// TestCommitHeld: a session that waits for the outcome of its COMMIT is no trap.
func TestCommitHeld(t *testing.T) {
	hold := func(t *testing.T, tweak func(*conf.Config)) (*testProxy, *fakepg.Client) {
		p := newTestProxy(t, setup{world: fateful("committed"), nodes: 3, conf: unaided, tweak: tweak})
		c := losing(t, p, pgwire.AppendQuery(nil, "COMMIT"), "COMMIT", fakepg.Asked)
		p.publish(t, condemn)
		return p, c
	}
	await := func(t *testing.T, p *testProxy) {
		t.Helper()
		await(t, "the session is held", func() bool { return p.inDoubt("victim") && p.held("victim") })
	}
	t.Run("the client vanishes", func(t *testing.T) {
		p, c := hold(t, nil)
		await(t, p)
		c.Close()
		p.rest()
	})
	t.Run("the client cancels", func(t *testing.T) {
		p, c := hold(t, nil)
		await(t, p)
		p.dial(t).Send(pgwire.AppendCancel(nil, pgwire.Cancel{PID: c.PID, Key: c.Key}))
		p.judge(t, c, meter.Unknown, false)
	})
	t.Run("nobody comes", func(t *testing.T) {
		p, c := hold(t, func(c *conf.Config) { c.Failover.HoldTimeout = 20 * time.Millisecond })
		p.judge(t, c, meter.Unknown, false)
	})
	t.Run("the next one is lost, too", func(t *testing.T) {
		p, c := hold(t, nil)
		await(t, p)
		p.fakes[1].Misbehave(fakepg.Fault{At: fakepg.Asked, SQL: askFate, Do: fakepg.Stall})
		p.publish(t, inherit(1, seen))
		p.awaitAsked(1)
		p.publish(t, func(v *cluster.View) {
			n := &v.Nodes[1]
			n.Status, n.Epoch = cluster.StatusDown, n.Epoch+1
			n.Fenced, v.Primary, v.Seeking = n.Epoch, cluster.NoNode, true
		})
		p.publish(t, crown(2))
		p.judge(t, c, meter.Unknown, false)
	})
	t.Run("somebody else was chosen", func(t *testing.T) {
		p, c := hold(t, nil)
		await(t, p)
		p.publish(t, crown(1))
		p.judge(t, c, meter.Unknown, false)
	})
	t.Run("the lost one served again", func(t *testing.T) {
		p, c := hold(t, nil)
		await(t, p)
		p.serves(0, time.Now().Add(time.Hour))
		p.publish(t, inherit(1, seen))
		p.judge(t, c, meter.Unknown, false)
	})
	t.Run("the proxy stops", func(t *testing.T) {
		p, c := hold(t, nil)
		await(t, p)
		p.stop()
		if out, _ := c.UntilEnd(); len(errorsOf(out)) > 1 {
			t.Errorf("got %s", fakepg.Transcript(out))
		}
	})
}

// TestCommitServerEnds: the last word of a server process while COMMIT runs does not hide what has become of it.
func TestCommitServerEnds(t *testing.T) {
	for _, code := range []string{"57P01", "57P02"} {
		t.Run(code, func(t *testing.T) {
			p := newTestProxy(t, setup{world: fateful("committed"), nodes: 2, conf: unaided})
			p.unseen = true
			c := p.connect(t, "victim")
			ok(t, c, "BEGIN")
			ok(t, c, insert)
			last := pgwire.AppendError(nil, pgwire.Fields{Severity: "FATAL", Code: code, Message: "terminating connection"})
			p.fakes[0].Misbehave(fakepg.Fault{At: fakepg.Asked, SQL: "COMMIT", Times: 1, Do: fakepg.SayAndDrop(last)})
			p.fakes[0].Misbehave(fakepg.Fault{At: fakepg.Started, Do: fakepg.Drop})
			c.Send(pgwire.AppendQuery(nil, "COMMIT"))
			await(t, "the session is held", func() bool { return p.inDoubt("victim") })
			p.publish(t, condemn)
			p.publish(t, inherit(1, seen))
			p.judge(t, c, meter.Committed, false)
		})
	}
}

// TestCommitNotRun: the server ends before it comes to the COMMIT, for its postmaster is gone, which nobody has noticed yet.
func TestCommitNotRun(t *testing.T) {
	for _, e := range ends {
		t.Run(e.name, func(t *testing.T) {
			p := newTestProxy(t, setup{world: fateful("committed"), nodes: 2, conf: unaided})
			p.unseen = true
			c := p.connect(t, "victim")
			ok(t, c, "BEGIN")
			ok(t, c, insert)
			last := pgwire.AppendError(nil, pgwire.Fields{
				Severity: "FATAL", Code: "57P01", Message: "terminating connection due to unexpected postmaster exit", Routine: "secure_read",
			})
			p.fakes[0].Misbehave(fakepg.Fault{At: fakepg.Asked, SQL: idQuestionText, Times: 1, Do: fakepg.SayAndDrop(last)})
			p.fakes[0].Misbehave(fakepg.Fault{At: fakepg.Started, Do: fakepg.Drop})
			c.Send(e.send)
			got := c.UntilReady()
			if es := errorsOf(got); len(es) != 1 || es[0].Code != "40001" || got[len(got)-1].Body != "I" {
				t.Errorf("got %s", fakepg.Transcript(got))
			}
			p.publish(t, condemn)
			p.publish(t, crown(1))
			ok(t, c, insert)
			c.Bye()
		})
	}
}

// TestCommitSameServer: the server that was lost is the primary still.
func TestCommitSameServer(t *testing.T) {
	for _, c := range []struct {
		name, fate string
		older      bool // there is a connection from before
		want       meter.Outcome
	}{
		{"rolled back", "aborted", false, meter.RolledBack},
		{"committed, says a new connection", "committed", false, meter.Unknown},
		{"committed, says an older connection", "committed", true, meter.Committed},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newTestProxy(t, setup{world: fateful(c.fate), nodes: 2, conf: unaided + "pool_mode = transaction\n"})
			var other *fakepg.Client
			victim := p.connect(t, "victim")
			ok(t, victim, "BEGIN")
			ok(t, victim, insert)
			if c.older {
				other = p.connect(t, "victim")
				ok(t, other, insert)
			}
			p.fakes[0].Misbehave(fakepg.Fault{At: fakepg.Asked, SQL: "COMMIT", Times: 1, Do: fakepg.Reset})
			victim.Send(pgwire.AppendQuery(nil, "COMMIT"))
			p.judge(t, victim, c.want, false)
			if other != nil {
				other.Bye()
			}
		})
	}
	t.Run("at work", func(t *testing.T) {
		p := newTestProxy(t, setup{world: fateful("in progress"), nodes: 2, conf: unaided})
		c := p.connect(t, "victim")
		ok(t, c, "BEGIN")
		ok(t, c, insert)
		p.fakes[0].Misbehave(fakepg.Fault{At: fakepg.Asked, SQL: "COMMIT", Times: 1, Do: fakepg.Reset})
		c.Send(pgwire.AppendQuery(nil, "COMMIT"))
		p.awaitAsked(0)
		p.fakes[0].Set(askFate, fateful("aborted")[askFate])
		p.judge(t, c, meter.RolledBack, false)
	})
}

// TestCommitQuestionFails: the transaction is rolled back with the question, and the client hears of it.
func TestCommitQuestionFails(t *testing.T) {
	for _, e := range ends {
		t.Run(e.name, func(t *testing.T) {
			w := fateful("committed")
			w[idQuestionText] = fakepg.Answer{Error: fakepg.Failure("57014", "canceling statement due to user request")}
			p := newTestProxy(t, setup{world: w, nodes: 1, conf: unaided})
			p.fakes[0].Set(commitChain, fakepg.Answer{Tag: "ROLLBACK", Ends: true})
			c := p.connect(t, "victim")
			ok(t, c, "BEGIN")
			ok(t, c, insert)
			c.Send(e.send)
			got := c.UntilReady()
			if es := errorsOf(got); len(es) != 1 || es[0].Code != "57014" || got[len(got)-1].Body != "I" || strings.Contains(fakepg.Transcript(got), "C \"") {
				t.Errorf("got %s", fakepg.Transcript(got))
			}
			ok(t, c, insert)
			c.Bye()
		})
	}
	t.Run("not allowed", func(t *testing.T) {
		w := fateful("committed")
		w[idQuestionText] = fakepg.Answer{Error: fakepg.Failure("42501", "permission denied")}
		p := newTestProxy(t, setup{world: w, nodes: 1, conf: unaided})
		c := p.connect(t, "victim")
		for i, want := range []string{"40001", ""} {
			ok(t, c, "BEGIN")
			ok(t, c, insert)
			if got := strings.Join(fakepg.Errors(c.Query("COMMIT")), ""); got != want {
				t.Errorf("commit %d got %q", i, got)
			}
		}
		c.Bye()
	})
}

// TestCommitThenStateLost: a session that has lost more than the answer to its COMMIT gets the answer, and ends.
func TestCommitThenStateLost(t *testing.T) {
	p := newTestProxy(t, setup{world: fateful("committed"), nodes: 2, conf: unaided})
	p.unseen = true
	c := p.connect(t, "victim")
	ok(t, c, "CREATE TEMP TABLE x (a int)")
	ok(t, c, "BEGIN")
	ok(t, c, insert)
	p.fakes[0].Misbehave(fakepg.Fault{At: fakepg.Asked, SQL: "COMMIT", User: "victim", Times: 1, Do: fakepg.Stall})
	c.Send(pgwire.AppendQuery(nil, "COMMIT"))
	await(t, "the COMMIT runs", func() bool { return p.idKnown("victim") })
	p.publish(t, condemn)
	p.publish(t, inherit(1, seen))
	if got := fakepg.Transcript(c.UntilReady()); !strings.Contains(got, "COMMIT") {
		t.Errorf("got %s", got)
	}
	if e := c.ExpectFatal("08006"); !strings.Contains(e.Detail, "cannot be moved") {
		t.Errorf("got %+v", e)
	}
}

// TestCommitSettings: a session goes on with the settings that the outcome leaves it.
func TestCommitSettings(t *testing.T) {
	for _, mode := range []string{"session", "transaction"} {
		for _, fate := range []string{"committed", "aborted"} {
			t.Run(mode+" "+fate, func(t *testing.T) {
				p := newTestProxy(t, setup{world: fateful(fate), nodes: 2, conf: unaided + "pool_mode = " + mode + "\n"})
				p.unseen = true
				c := p.connect(t, "victim")
				ok(t, c, "PREPARE a AS SELECT 1")
				ok(t, c, "BEGIN")
				ok(t, c, "SET work_mem TO '5MB'")
				ok(t, c, insert)
				p.fakes[0].Misbehave(fakepg.Fault{At: fakepg.Asked, SQL: "COMMIT", User: "victim", Times: 1, Do: fakepg.Stall})
				c.Send(pgwire.AppendQuery(nil, "COMMIT"))
				await(t, "the COMMIT runs", func() bool { return p.idKnown("victim") })
				p.publish(t, condemn)
				p.publish(t, inherit(1, seen))
				c.UntilReady()
				if mode == "session" && fate == "aborted" { // the client has been told of a value that is taken back
					c.ExpectFatal("08006")
					return
				}
				ok(t, c, insert)
				if has := p.fakes[1].Last().Has("SET work_mem TO '5MB'"); has != (fate == "committed") {
					t.Errorf("the new primary got %q", p.fakes[1].Last().Statements())
				}
				c.Bye()
			})
		}
	}
}
