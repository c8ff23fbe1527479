package proxy

import (
	"testing"

	"gopgpool/internal/fakepg"
	"gopgpool/pgwire"
)

// onStandby sends all reads to node 1.
const onStandby = "backend_weight0 = 0\n"

// TestHostileStandby lets a standby misbehave under a session that reads there: a read that was not sent goes to the primary, one
// that was ends the session, and a standby with nothing at stake is given up without a word.
func TestHostileStandby(t *testing.T) {
	cases := []struct {
		name   string
		before string // statement that runs first
		at     fakepg.Moment
		do     func(*fakepg.Conn) bool
		idle   []byte // said after the first statement instead
		code   string // of the end of the session; "" lets it go on
	}{
		{"refuses the connection", "", fakepg.Accepted, fakepg.Reset, nil, ""},
		{"closes at login", "", fakepg.Started, fakepg.Drop, nil, ""},
		{"is starting up", "", fakepg.Started, fakepg.SayAndDrop(fatal("57P03", "the database system is starting up")), nil, ""},
		{"garbage at login", "", fakepg.Started, fakepg.SayAndDrop([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")), nil, ""},
		{"closes when asked", "", fakepg.Asked, fakepg.Drop, nil, "08006"},
		{"closes within a row", "", fakepg.Described, fakepg.SayAndDrop(rowOf(100)[:50]), nil, "08006"},
		{"closes within a long row", "", fakepg.Described, fakepg.SayAndDrop(rowOf(4 * inspected)[:2*inspected]), nil, "torn"},
		{"garbage when asked", "", fakepg.Asked, fakepg.SayAndStall([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")), nil, "08006"},
		{"a ReadyForQuery while idle", one, 0, nil, pgwire.AppendReady(nil, 'I'), ""},
		{"a row while idle", one, 0, nil, rowOf(10), ""},
		{"length 0 while idle", one, 0, nil, frame('D', 0, ""), ""},
		{"FATAL while idle", one, 0, nil, fatal("57P01", "gone"), ""},
		{"a notice while idle", one, 0, nil, pgwire.AppendNotice(nil, pgwire.Fields{Severity: "NOTICE", Message: "not for the client"}), ""},
		{"settings while idle", one, 0, nil, pgwire.AppendParameterStatus(nil, "TimeZone", "Mars"), ""},
	}
	for _, h := range cases {
		t.Run(h.name, func(t *testing.T) {
			p := newTestProxy(t, setup{world: world(), nodes: 2, conf: onStandby})
			p.unseen = true
			c := p.connect(t, "victim")
			standby := p.fakes[1]
			if h.before != "" {
				c.Query(h.before)
				conn := standby.Last()
				conn.Inject(h.idle)
				if h.idle[0] != 'N' && h.idle[0] != 'S' {
					standby.Await("it is given up", conn.Over)
				}
			} else {
				sql := ""
				if h.at >= fakepg.Asked {
					sql = victimQ
				}
				standby.Misbehave(fakepg.Fault{At: h.at, SQL: sql, Times: 1, Do: h.do})
			}
			c.Send(pgwire.AppendQuery(nil, victimQ))
			switch h.code {
			case "":
				got := c.UntilReady()
				if got[0].Type == pgwire.NoticeResponse && h.before == "" {
					got = got[1:] // a WARNING of ours
				}
				if len(got) != 4 || got[0].Type != pgwire.RowDescription {
					t.Errorf("got %s", fakepg.Transcript(got))
				}
				if got := c.Query("INSERT INTO t VALUES (1)"); len(got) != 2 {
					t.Errorf("a write got %s", fakepg.Transcript(got))
				}
				c.Bye()
			case "torn":
				if out, whole := c.UntilEnd(); whole {
					t.Errorf("got %s", fakepg.Transcript(out))
				}
			default:
				c.ExpectFatal(h.code)
			}
		})
	}
}

// TestStandbyLostInTransaction ends the session: what the transaction has seen there is gone.
func TestStandbyLostInTransaction(t *testing.T) {
	p := newTestProxy(t, setup{world: world(), nodes: 2, conf: onStandby})
	c := p.connect(t, "victim")
	c.Query("BEGIN")
	c.Query(one)
	conn := p.fakes[1].Last()
	if !conn.Has("BEGIN") || !conn.Has(one) {
		t.Fatalf("the standby got %q", conn.Statements())
	}
	conn.Cut()
	c.ExpectFatal("08006")
	if events := p.log.events(); len(events) != 1 {
		t.Errorf("log:\n%s", p.log)
	}
}

// TestCommitFailsOnStandby: COMMIT is told by the primary; a standby that does not get through with it is given up.
func TestCommitFailsOnStandby(t *testing.T) {
	p := newTestProxy(t, setup{world: world(), nodes: 2, conf: onStandby})
	c := p.connect(t, "victim")
	for range 3 {
		c.Query("BEGIN")
		c.Query(one) // on the standby
		c.Query("INSERT INTO t VALUES (1)")
		p.fakes[1].Misbehave(fakepg.Fault{At: fakepg.Asked, SQL: "COMMIT", Times: 1, Do: fakepg.Drop})
		got := fakepg.Transcript(c.Query("COMMIT"))
		if got != "C \"COMMIT\\x00\"\nZ \"I\"" {
			t.Fatalf("COMMIT got %s", got)
		}
		if got := c.Query(victimQ); len(got) != 4 {
			t.Fatalf("the next statement got %s", fakepg.Transcript(got))
		}
	}
	c.Bye()
}
