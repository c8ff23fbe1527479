package proxy

import (
	"strings"
	"sync/atomic"
	"testing"

	"gopgpool/cluster"
	"gopgpool/internal/fakepg"
	"gopgpool/pgwire"
)

// TestPanicOfASession has a bug of ours end one session: it is told in the log, everything the session held is given up, and
// the others go on.
func TestPanicOfASession(t *testing.T) {
	var armed atomic.Bool
	p := newTestProxy(t, setup{world: world(), panics: true, nodes: 2, nodeUsed: func(cluster.NodeID) {
		if armed.Load() {
			panic("a bug")
		}
	}})
	beside := p.bystander(t)
	for range 20 { // more than there are slots and places
		armed.Store(true)
		c := p.start(t, "victim")
		c.ExpectEnd()
		armed.Store(false)
		beside.check(t)
		awaitVictim(t, p)
	}
	if n := strings.Count(p.log.String(), "a bug"); n != 20 {
		t.Errorf("%d panics in the log:\n%s", n, p.log)
	}
	c := p.connect(t, "victim")
	c.Bye()
	beside.c.Bye()
}

// TestUnfinishedFrameIsNotReused has a server leave part of a message before the client goes: the next one must not read it.
func TestUnfinishedFrameIsNotReused(t *testing.T) {
	notice := pgwire.AppendNotice(nil, pgwire.Fields{Severity: "NOTICE", Code: "00000", Message: strings.Repeat("n", 100)})
	for _, used := range []bool{false, true} {
		for _, n := range []int{1, 4, 5, 50} {
			p := newTestProxy(t, setup{world: world()})
			f := p.fakes[0]
			c := p.connect(t, "victim")
			conn := serverOf(t, p, c)
			if used {
				c.Query(one)
			}
			conn.Inject(notice[:n])
			await(t, "the proxy has it", func() (has bool) {
				p.sessionOf("victim", func(s *session) {
					for _, b := range s.backends {
						has = has || b.skip > 0 || b.r < b.w
					}
				})
				return has
			})
			c.Bye()
			f.Await("the connection is closed", conn.Over)
			again := p.connect(t, "victim")
			if got := again.Query(one); len(got) != 4 {
				t.Errorf("%d bytes: the next session got %s", n, fakepg.Transcript(got))
			}
			again.Bye()
		}
	}
}

// TestHostileReset has a server misbehave when its session is over: the connection is closed, once.
func TestHostileReset(t *testing.T) {
	cases := []struct {
		name string
		at   fakepg.Moment
		do   func(*fakepg.Conn) bool
	}{
		{"closes", fakepg.Asked, fakepg.Drop},
		{"resets", fakepg.Asked, fakepg.Reset},
		{"garbage", fakepg.Asked, fakepg.SayAndStall([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))},
		{"length 0", fakepg.Asked, fakepg.SayAndStall(frame('C', 0, ""))},
		{"a ReadyForQuery alone", fakepg.Asked, fakepg.SayAndStall(pgwire.AppendReady(nil, 'I'))},
		{"an unexpected message", fakepg.Asked, fakepg.SayAndStall(authRequest(0, ""))},
		{"a row", fakepg.Asked, fakepg.Say(pgwire.AppendDataRow(nil, []string{"x"}))},
		{"an error", fakepg.Asked, func(c *fakepg.Conn) bool {
			c.Send(pgwire.AppendError(nil, *fakepg.Failure("XX000", "cannot discard")))
			return true
		}},
		{"FATAL", fakepg.Asked, fakepg.SayAndDrop(fatal("57P01", "gone"))},
		{"a transaction is open", fakepg.Completed, fakepg.SayAndStall(pgwire.AppendReady(nil, 'T'))},
		{"a ReadyForQuery too many", fakepg.Answered, fakepg.SayAndStall(pgwire.AppendReady(nil, 'I'))},
		{"part of a message behind it", fakepg.Answered, fakepg.SayAndStall([]byte{'N', 0})},
		{"a row behind it", fakepg.Completed, fakepg.SayAndStall(append(pgwire.AppendReady(nil, 'I'), rowOf(100)...))},
	}
	p := newTestProxy(t, setup{world: world()})
	p.unseen = true
	beside := p.bystander(t)
	for _, h := range cases {
		t.Run(h.name, func(t *testing.T) {
			f := p.fakes[0]
			f.Misbehave(fakepg.Fault{At: h.at, SQL: "DISCARD ALL", User: "victim", Times: 1, Do: h.do})
			defer f.Behave()
			c := p.connect(t, "victim")
			conn := serverOf(t, p, c)
			c.Query(one)
			c.Bye()
			awaitVictim(t, p)
			if h.name != "a row" { // which harms nobody
				await(t, "the connection is given up", func() bool { return p.idleCount() == 0 && p.pool.Count(0) == 1 })
			}
			heard := len(conn.Received())
			again := p.connect(t, "victim")
			if got := again.Query(one); len(got) != 4 {
				t.Errorf("the next session got %s", fakepg.Transcript(got))
			}
			if h.name != "a row" && len(conn.Received()) != heard {
				t.Error("the connection was used again")
			}
			again.Bye()
			awaitVictim(t, p)
			p.pool.CloseIdle(idleOf("victim"))
			beside.check(t)
		})
	}
	beside.c.Bye()
}

// TestIdleConnectionSpeaks has a connection in the pool receive something: it is of no use any more.
func TestIdleConnectionSpeaks(t *testing.T) {
	p := newTestProxy(t, setup{world: world()})
	for _, say := range [][]byte{
		pgwire.AppendReady(nil, 'I'), fatal("57P01", "gone"), {0}, pgwire.AppendNotice(nil, pgwire.Fields{Message: "n"}),
	} {
		c := p.connect(t, "victim")
		conn := serverOf(t, p, c)
		c.Query(one)
		c.Bye()
		await(t, "the connection idles", func() bool { return p.idleCount() == 1 })
		conn.Inject(say)
		await(t, "it is given up", func() bool { return p.idleCount() == 0 && p.pool.Count(0) == 0 })
		p.fakes[0].Await("it is closed", conn.Over)
	}
}

// hostileStatements would crash PostgreSQL's parser, or take it very long.
func hostileStatements() map[string]string {
	return map[string]string{
		"50,000 terms":       "SELECT 1" + strings.Repeat("+1", 50000),
		"20,000 terms":       "SELECT 1" + strings.Repeat("+1", 20000),
		"50,000 brackets":    "SELECT " + strings.Repeat("(", 50000) + "1" + strings.Repeat(")", 50000),
		"unclosed brackets":  "SELECT " + strings.Repeat("(", 30000),
		"50,000 NOT":         "SELECT " + strings.Repeat("NOT ", 12000) + "true",
		"CASE in CASE":       "SELECT " + strings.Repeat("CASE WHEN true THEN ", 2000) + "1" + strings.Repeat(" END", 2000),
		"subselects":         strings.Repeat("SELECT * FROM (", 4000) + "SELECT 1" + strings.Repeat(") a", 4000),
		"unions":             "SELECT 1" + strings.Repeat(" UNION SELECT 1", 4000),
		"joins":              "SELECT * FROM a" + strings.Repeat(" JOIN a ON true", 4000),
		"array subscripts":   "SELECT a" + strings.Repeat("[1]", 20000),
		"casts":              "SELECT 1" + strings.Repeat("::int", 12000),
		"dots":               "SELECT a" + strings.Repeat(".a", 30000),
		"minus signs":        "SELECT " + strings.Repeat("- ", 30000) + "1",
		"nested comments":    strings.Repeat("/*", 30000) + strings.Repeat("*/", 30000) + "SELECT 1",
		"unclosed comment":   "SELECT 1 /*" + strings.Repeat("*", 60000),
		"unclosed quote":     "SELECT '" + strings.Repeat("''", 30000),
		"dollar quotes":      "SELECT " + strings.Repeat("$a$", 20001),
		"semicolons":         strings.Repeat(";", 60000),
		"many statements":    strings.Repeat("SELECT 1;", 7000),
		"bytes above ASCII":  "SELECT '" + strings.Repeat("\xff\xfe", 30000) + "'",
		"control characters": "SELECT " + strings.Repeat("\x01\x02\x7f", 20000),
		"1 MB of blanks":     strings.Repeat(" ", 1<<20) + "SELECT 1",
		"10 MB":              "SELECT '" + strings.Repeat("x", 10<<20) + "'",
		"a long name":        "SELECT " + strings.Repeat("n", 60000),
		"an unclosed name":   `SELECT "` + strings.Repeat(`""`, 30000),
		"PREPARE in PREPARE": strings.Repeat("PREPARE a AS ", 4000) + "SELECT 1",
		"EXPLAIN of EXPLAIN": strings.Repeat("EXPLAIN ", 7000) + "SELECT 1",
		"a cursor's depth":   "DECLARE c CURSOR FOR SELECT 1" + strings.Repeat("||1", 20000),
		"values":             "INSERT INTO t VALUES " + strings.Repeat("(1,'a'),", 7000) + "(1,'a')",
		"PGPOOL":             "PGPOOL EXPLAIN ROUTE SELECT 1" + strings.Repeat("+1", 30000),
		"SHOW":               "SHOW pool_" + strings.Repeat("x", 60000),
	}
}

// TestHostileStatements sends them through the whole proxy: the process lives, the server or the proxy answers, the session is
// in step afterwards.
func TestHostileStatements(t *testing.T) {
	p := newTestProxy(t, setup{world: world(), nodes: 2})
	beside := p.bystander(t)
	c := p.connect(t, "victim")
	for name, sql := range hostileStatements() {
		t.Run(name, func(t *testing.T) {
			if got := c.Query(sql); len(got) < 2 && name != "semicolons" {
				t.Errorf("simple: %s", shorten(fakepg.Transcript(got)))
			}
			c.Send(extended(sql))
			c.UntilReady()
			if got := c.Query(one); len(got) != 4 {
				t.Errorf("afterwards: %s", shorten(fakepg.Transcript(got)))
			}
			beside.check(t)
		})
	}
	c.Bye()
	beside.c.Bye()
}
