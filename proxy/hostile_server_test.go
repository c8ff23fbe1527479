package proxy

import (
	"slices"
	"strings"
	"testing"

	"gopgpool/internal/fakepg"
	"gopgpool/pgwire"
)

// The statements of these tests.
const (
	one      = "SELECT 1"
	victimQ  = "SELECT 1 AS victim"
	copyIn   = "COPY t FROM STDIN"
	setName  = "SET application_name = 'x'"
	manyRows = "SELECT generate_series(1,1000)"
)

func world() fakepg.World {
	rows := make([][]string, 1000)
	for i := range rows {
		rows[i] = []string{strings.Repeat("x", 100)}
	}
	return fakepg.World{
		one: fakepg.One(),
		victimQ: {
			Columns: []fakepg.Column{fakepg.TextColumn("victim")}, Rows: [][]string{{strings.Repeat("v", 400)}}, Tag: "SELECT 1",
		},
		manyRows: {Columns: []fakepg.Column{fakepg.TextColumn("n")}, Rows: rows, Tag: "SELECT 1000"},
		copyIn:   {CopyIn: true, Tag: "COPY 0"},
		setName:  {Tag: "SET", Set: &pgwire.Param{Name: "application_name", Value: "x"}},
		"INSERT INTO t VALUES (1)": {
			Tag: "INSERT 0 1",
		},
	}
}

func body(typ byte, text string) []byte { return pgwire.AppendBody(nil, typ, []byte(text)) }

// frame is a message whose length is a lie.
func frame(typ byte, length uint32, text string) []byte {
	return append([]byte{typ, byte(length >> 24), byte(length >> 16), byte(length >> 8), byte(length)}, text...)
}

func extended(sql string) []byte {
	return slices.Concat(
		pgwire.AppendParse(nil, "", sql), pgwire.AppendBind(nil, "", ""), body(pgwire.Describe, "P\x00"),
		pgwire.AppendExecute(nil, ""), pgwire.AppendSimple(nil, pgwire.Sync))
}

func fatal(code, text string) []byte {
	return pgwire.AppendError(nil, pgwire.Fields{Severity: "FATAL", Code: code, Message: text})
}

// hostileServer is a misbehaviour while a statement runs, and what becomes of the client's session.
type hostileServer struct {
	name string
	at   fakepg.Moment
	do   func(*fakepg.Conn) bool
	code string // of the FATAL error the client gets; "" lets the session go on
	torn bool   // the client's stream may end within a message: there is no place for an error
}

// midStatement are the misbehaviours of a server that has been asked something.
func midStatement() []hostileServer {
	garbage := []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is no protocol of ours at all")
	row := rowOf(4 * inspected) // too long to be held back until it is whole
	almost := row[:len(row)-3]  // less is missing than an error message has
	return []hostileServer{
		{"closes before it answers", fakepg.Asked, fakepg.Drop, "08006", false},
		{"resets before it answers", fakepg.Asked, fakepg.Reset, "08006", false},
		{"closes after the description", fakepg.Described, fakepg.Drop, "08006", false},
		{"closes within a row", fakepg.HalfRow, fakepg.Drop, "08006", false},
		{"closes within a long row", fakepg.Described, fakepg.SayAndDrop(row[:2*inspected]), "08006", true},
		{"closes at the end of a long row", fakepg.Described, fakepg.SayAndDrop(almost), "08006", true},
		{"resets within a row", fakepg.HalfRow, fakepg.Reset, "08006", false},
		{"closes after the rows", fakepg.Rows, fakepg.Drop, "08006", false},
		{"closes before it is ready", fakepg.Completed, fakepg.Drop, "08006", false},
		{"closes after it was ready", fakepg.Answered, fakepg.Drop, "", false},
		{"garbage instead of an answer", fakepg.Asked, fakepg.SayAndStall(garbage), "08006", false},
		{"garbage after the rows", fakepg.Rows, fakepg.SayAndStall(garbage), "08006", false},
		{"zeros", fakepg.Asked, fakepg.SayAndStall(make([]byte, 1000)), "08006", false},
		{"length 0", fakepg.Asked, fakepg.SayAndStall(frame('D', 0, "")), "08006", false},
		{"length 3", fakepg.Rows, fakepg.SayAndStall(frame('D', 3, "")), "08006", false},
		{"length 2^31-1", fakepg.Asked, fakepg.SayAndStall(frame('D', 1<<31-1, "row")), "08006", false},
		{"length -1", fakepg.Rows, fakepg.SayAndStall(frame('D', 1<<32-1, "row")), "08006", false},
		{"an error of 2^31-1", fakepg.Asked, fakepg.SayAndStall(frame('E', 1<<31-1, "SERROR\x00")), "08006", false},
		{"part of a header, then closes", fakepg.Asked, fakepg.SayAndDrop([]byte{'T', 0, 0}), "08006", false},
		{"part of an error, then closes", fakepg.Asked, fakepg.SayAndDrop(frame('E', 100, "SERROR\x00")), "08006", false},
		{"asks for a password", fakepg.Asked, fakepg.SayAndStall(pgwire.AppendAuthentication(nil, 3, nil)), "08006", false},
		{"a second key", fakepg.Asked, fakepg.SayAndStall(pgwire.AppendBackendKeyData(nil, 1, []byte("1234"))), "08006", false},
		{"a ReadyForQuery too short", fakepg.Asked, fakepg.SayAndStall(pgwire.AppendSimple(nil, 'Z')), "08006", false},
		{"a ReadyForQuery too long", fakepg.Asked, fakepg.SayAndStall(body('Z', "II")), "08006", false},
		{"a ReadyForQuery of a megabyte", fakepg.Asked, fakepg.SayAndStall(body('Z', strings.Repeat("I", 1<<20))), "08006", false},
		{"a ReadyForQuery too many", fakepg.Answered, fakepg.SayAndStall(pgwire.AppendReady(nil, 'I')), "", false},
		{"ParameterStatus without a value", fakepg.Asked, fakepg.SayAndStall(body('S', "application_name")), "08006", false},
		{"message types nobody knows", fakepg.Asked, fakepg.SayAndStall(body('?', "what")), "08006", false},
		{"a FATAL error, then closes", fakepg.Asked, fakepg.SayAndDrop(fatal("57P01", "gone")), "57P01", false},
		{"a FATAL error within the answer", fakepg.Rows, fakepg.SayAndDrop(fatal("57P01", "gone")), "57P01", false},
		{"a FATAL error while idle", fakepg.Answered, fakepg.SayAndDrop(fatal("57P01", "gone")), "57P01", false},
		{"a PANIC", fakepg.Asked, fakepg.SayAndDrop(pgwire.AppendError(nil, pgwire.Fields{Severity: "PANIC", Code: "XX000", Message: "gone"})), "XX000", false},
		{"a notice", fakepg.Asked, fakepg.Say(pgwire.AppendNotice(nil, pgwire.Fields{Severity: "NOTICE", Code: "00000", Message: "m"})), "", false},
		{"notices while idle", fakepg.Answered, fakepg.FloodFor(pgwire.AppendNotice(nil, pgwire.Fields{Severity: "NOTICE", Message: strings.Repeat("n", 1000)}), 2000), "", false},
		{"a huge notice", fakepg.Asked, fakepg.Say(pgwire.AppendNotice(nil, pgwire.Fields{Severity: "NOTICE", Message: strings.Repeat("n", 1<<20)})), "", false},
		{"settings while idle", fakepg.Answered, fakepg.FloodFor(pgwire.AppendParameterStatus(nil, "TimeZone", "UTC"), 2000), "", false},
		{"notifications while idle", fakepg.Answered, fakepg.FloodFor(body('A', "\x00\x00\x00\x01channel\x00payload\x00"), 2000), "", false},
	}
}

// TestHostileServer lets a server misbehave while a client's statement runs: the client is told, its connection is not used
// again, and nobody else notices.
func TestHostileServer(t *testing.T) {
	p := newTestProxy(t, setup{world: world()})
	p.unseen = true
	beside := p.bystander(t)
	for _, h := range midStatement() {
		for _, protocol := range []struct {
			name string
			ask  []byte
		}{{"simple", pgwire.AppendQuery(nil, victimQ)}, {"extended", extended(victimQ)}} {
			t.Run(h.name+"/"+protocol.name, func(t *testing.T) {
				p.log.reset()
				f := p.fakes[0]
				f.Misbehave(fakepg.Fault{At: h.at, SQL: atSync(h.at, protocol.name), User: "victim", Times: 1, Do: h.do})
				defer f.Behave()
				c := p.connect(t, "victim")
				conn := serverOf(t, p, c)
				c.Send(protocol.ask)
				if h.code == "" {
					if got := c.UntilReady(); len(fakepg.Errors(got)) > 0 {
						t.Errorf("got %s", fakepg.Transcript(got))
					}
					c.Close()
				} else {
					checkHostile(t, p, c, &h)
				}
				beside.check(t)
				awaitVictim(t, p)
				f.Behave()
				heard := len(conn.Received())
				again := p.connect(t, "victim")
				if got := again.Query(one); len(fakepg.Errors(got)) > 0 {
					t.Errorf("the next session got %s", fakepg.Transcript(got))
				}
				if h.code != "" && len(conn.Received()) != heard {
					t.Error("the connection was used again")
				}
				again.Bye()
				awaitVictim(t, p)
			})
		}
	}
	beside.c.Bye()
}

// serverOf is the fake primary's end of a session.
func serverOf(t *testing.T, p *testProxy, c *fakepg.Client) *fakepg.Conn {
	t.Helper()
	for _, conn := range p.fakes[0].Conns() {
		if conn.PID() == c.PID {
			return conn
		}
	}
	t.Fatalf("no connection has pid %d", c.PID)
	return nil
}

// atSync is the statement a fault waits for: the ReadyForQuery of an extended batch belongs to none.
func atSync(at fakepg.Moment, protocol string) string {
	if at == fakepg.Answered && protocol == "extended" {
		return ""
	}
	return victimQ
}

func checkHostile(t *testing.T, p *testProxy, c *fakepg.Client, h *hostileServer) {
	t.Helper()
	out, whole := c.UntilEnd()
	for _, m := range out {
		if m.Type == pgwire.DataRow && !strings.HasSuffix(m.Body, strings.Repeat("v", 400)) {
			t.Errorf("a row of %d bytes: %q", len(m.Body), m.Body)
		}
	}
	if h.torn {
		if whole {
			t.Errorf("the half row became %s", fakepg.Transcript(out))
		}
	} else {
		last := pgwire.Fields{}
		if len(out) > 0 && out[len(out)-1].Type == pgwire.ErrorResponse {
			last = pgwire.ReadFields([]byte(out[len(out)-1].Body))
		}
		if !whole || last.Code != h.code || last.Severity != "FATAL" && last.Severity != "PANIC" {
			t.Errorf("no FATAL %s at the end, whole messages %v, but\n%s", h.code, whole, fakepg.Transcript(out))
		}
	}
	awaitVictim(t, p)
	if events := p.log.events(); len(events) != 1 && h.code == "08006" || len(events) > 1 {
		t.Errorf("%d log lines:\n%s", len(events), p.log)
	}
}

// awaitVictim waits until the victim's session is over.
func awaitVictim(t *testing.T, p *testProxy) {
	t.Helper()
	await(t, "the victim's session ends", func() bool { return !p.sessionOf("victim", func(*session) {}) && p.sockets() == 1 })
}

// TestHostileIdle lets a server misbehave towards a session that has run nothing: it has nothing at stake and goes on.
func TestHostileIdle(t *testing.T) {
	cases := []struct {
		name string
		say  []byte
		cut  bool
		code string // of the end of the session; "" lets it go on, on another connection
	}{
		{"a ReadyForQuery", pgwire.AppendReady(nil, 'I'), false, ""},
		{"a row", pgwire.AppendDataRow(nil, []string{"x"}), false, ""},
		{"length 0", frame('D', 0, ""), false, ""},
		{"length -1", frame('N', 1<<32-1, ""), false, ""},
		{"garbage", []byte("GET / HTTP/1.1\r\n\r\n"), false, ""},
		{"settings without a value", body('S', "TimeZone"), false, ""},
		{"the end", nil, true, ""},
		{"a FATAL error and the end", fatal("57P01", "terminating connection"), true, "57P01"},
		{"a FATAL error without an end", fatal("57P01", "terminating connection"), false, "57P01"},
	}
	p := newTestProxy(t, setup{world: world()})
	beside := p.bystander(t)
	for _, h := range cases {
		t.Run(h.name, func(t *testing.T) {
			f := p.fakes[0]
			c := p.connect(t, "victim")
			conn := serverOf(t, p, c)
			if h.say != nil {
				conn.Inject(h.say)
			}
			if h.cut {
				conn.Cut()
			}
			f.Await("the connection is given up", func() bool { return conn.Over() })
			if h.code == "" {
				if got := c.Query(one); len(fakepg.Errors(got)) > 0 {
					t.Errorf("the session got %s", fakepg.Transcript(got))
				}
				if f.Last() == conn {
					t.Error("no new connection")
				}
				c.Bye()
			} else {
				c.ExpectFatal(h.code)
			}
			awaitVictim(t, p)
			beside.check(t)
			p.pool.CloseIdle(idleOf("victim"))
		})
	}
	beside.c.Bye()
}
