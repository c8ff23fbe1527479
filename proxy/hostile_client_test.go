package proxy

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
	"time"

	"gopgpool/conf"
	"gopgpool/internal/fakepg"
	"gopgpool/pgwire"
)

// first is a first packet: its length, a code and what follows.
func first(length, code uint32, text string) []byte {
	out := binary.BigEndian.AppendUint32(nil, length)
	out = binary.BigEndian.AppendUint32(out, code)
	return append(out, text...)
}

// whole is first with the true length.
func whole(code uint32, text string) []byte { return first(uint32(8+len(text)), code, text) }

const (
	protocol3  = 3 << 16
	cancelCode = 80877102
	sslCode    = 80877103
	gssCode    = 80877104
)

// TestGarbageBeforeLogin sends first packets nobody can serve.
func TestGarbageBeforeLogin(t *testing.T) {
	cases := []struct {
		name string
		send []byte
		code string // of the FATAL error; "" is an end without a word
		shut bool   // the client closes its side behind it
	}{
		{"nothing", nil, "", true},
		{"two bytes", []byte{0, 0}, "", true},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), "08P01", false},
		{"TLS without SSLRequest", []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), "08P01", false},
		{"length 0", first(0, protocol3, ""), "08P01", false},
		{"length 4", first(4, protocol3, ""), "08P01", false},
		{"length 7", first(7, protocol3, ""), "08P01", false},
		{"length 8 and no more", first(8, protocol3, ""), "08P01", false},
		{"length 10005", first(10005, protocol3, "user\x00u\x00\x00"), "08P01", false},
		{"length 2^31-1", first(1<<31-1, protocol3, "user\x00u\x00\x00"), "08P01", false},
		{"length -1", first(1<<32-1, protocol3, "user\x00u\x00\x00"), "08P01", false},
		{"64 kB of garbage", []byte(strings.Repeat("\xff\xfe\xfd", 22000)), "08P01", false},
		{"protocol 0.0", whole(0, ""), "0A000", false},
		{"protocol 4.0", whole(4<<16, "user\x00u\x00\x00"), "0A000", false},
		{"no terminator", whole(protocol3, "user\x00u\x00"), "08P01", false},
		{"a name without a value", whole(protocol3, "user\x00u\x00database\x00"), "08P01", false},
		{"more behind the terminator", whole(protocol3, "user\x00u\x00\x00more"), "08P01", false},
		{"no user", whole(protocol3, "database\x00d\x00\x00"), "28000", false},
		{"half a packet", first(100, protocol3, "user\x00u"), "", true},
		{"statements behind SSLRequest", append(whole(sslCode, ""), whole(protocol3, "user\x00u\x00\x00")...), "08P01", false},
		{"a cancel request without a key", whole(cancelCode, ""), "08P01", false},
		{"a cancel request with half a pid", whole(cancelCode, "\x00\x00"), "08P01", false},
		{"a cancel request with a key too long", whole(cancelCode, strings.Repeat("k", 4+257)), "08P01", false},
		{"a cancel request for nobody", whole(cancelCode, "\x00\x00\x00\x01key!"), "", false},
		{"half a cancel request", first(16, cancelCode, "\x00\x00"), "", true},
	}
	p := newTestProxy(t, setup{world: world()})
	beside := p.bystander(t)
	for _, h := range cases {
		t.Run(h.name, func(t *testing.T) {
			c := p.dial(t)
			c.Send(h.send)
			if h.shut {
				c.CloseWrite()
			}
			if h.code == "" {
				c.ExpectEnd()
			} else {
				c.ExpectFatal(h.code)
			}
			await(t, "the socket is closed", func() bool { return p.sockets() == 1 })
			beside.check(t)
		})
	}
	if n := len(p.fakes[0].Conns()); n != 1 {
		t.Errorf("the server saw %d connections", n)
	}
	beside.c.Bye()
}

// TestOldProtocol tells a client of protocol 2 in its own words that it is not served.
func TestOldProtocol(t *testing.T) {
	p := newTestProxy(t, setup{world: world()})
	c := p.dial(t)
	c.Send(whole(2<<16, strings.Repeat("\x00", 288)))
	if got, want := c.Rest(), "EFATAL:  unsupported frontend protocol 2.0"; !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "\n\x00") {
		t.Errorf("got %q", got)
	}
}

// TestNegotiationRequests declines encryption, and does not go on for ever.
func TestNegotiationRequests(t *testing.T) {
	p := newTestProxy(t, setup{world: world()})
	c := p.dial(t)
	for _, code := range []uint32{sslCode, gssCode} {
		c.Send(whole(code, ""))
		if b := c.Byte(); b != 'N' {
			t.Fatalf("answered %q", b)
		}
	}
	c.Send(pgwire.AppendStartup(nil, "u", "db", nil))
	c.Login()
	c.Bye()
	c = p.dial(t)
	for range maxFirstPackets {
		c.Send(whole(gssCode, ""))
		if b := c.Byte(); b != 'N' {
			t.Fatalf("answered %q", b)
		}
	}
	c.ExpectFatal("08P01")
}

// TestHostileMessages sends messages nobody can serve in a session: it ends with an error, the server connection stays good.
func TestHostileMessages(t *testing.T) {
	cases := []struct {
		name string
		send []byte
	}{
		{"type y", body('y', "what")},
		{"type 0", make([]byte, 100)},
		{"a password", body('p', "secret\x00")},
		{"length 0", frame('Q', 0, "")},
		{"length 1", frame('Q', 1, "")},
		{"length 2", frame('S', 2, "")},
		{"length 3", frame('P', 3, "")},
		{"length above 1 GB", frame('Q', 1<<30+1, "SELECT 1\x00")},
		{"length -1", frame('d', 1<<32-1, "data")},
		{"unknown type of 1 GB", frame('y', 1<<30-1, strings.Repeat("x", 100000))},
		{"Describe of 100 kB", body('D', "S"+strings.Repeat("n", 100000)+"\x00")},
		{"garbage", []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")},
	}
	p := newTestProxy(t, setup{world: world()})
	beside := p.bystander(t)
	for _, h := range cases {
		t.Run(h.name, func(t *testing.T) {
			p.log.reset()
			c := p.connect(t, "victim")
			c.Send(h.send)
			c.ExpectFatal("08P01")
			awaitVictim(t, p)
			if events := p.log.events(); len(events) != 1 {
				t.Errorf("%d log lines:\n%s", len(events), p.log)
			}
			beside.check(t)
		})
	}
	beside.c.Bye()
	if n := len(p.fakes[0].Conns()); n > 2+len(cases) {
		t.Errorf("%d connections to the server for %d sessions", n, len(cases))
	}
}

// TestLikeTheServer compares what odd but permitted sequences bring through the proxy with what the server itself answers.
func TestLikeTheServer(t *testing.T) {
	t.Run("one node", func(t *testing.T) { likeTheServer(t, 1) })
	t.Run("three nodes", func(t *testing.T) { likeTheServer(t, 3) })
}

func likeTheServer(t *testing.T, nodes int) {
	long := strings.Repeat(" ", 2*bufferSize)
	p := newTestProxy(t, setup{world: world(), nodes: nodes, conf: "statement_level_load_balance = on\n"})
	for _, f := range p.fakes {
		f.Set(long+one, fakepg.One())
		f.Set("SELECT fails", fakepg.Answer{Error: fakepg.Failure("42703", "no such column")})
		f.Set("SET fails", fakepg.Answer{Error: fakepg.Failure("22023", "no such setting")})
		f.Set(";", fakepg.Answer{})
	}
	query := func(sql string) []byte { return pgwire.AppendQuery(nil, sql) }
	parse := func(name, sql string) []byte { return pgwire.AppendParse(nil, name, sql) }
	bind := pgwire.AppendBind(nil, "", "")
	execute := pgwire.AppendExecute(nil, "")
	sync := pgwire.AppendSimple(nil, pgwire.Sync)
	flush := pgwire.AppendSimple(nil, pgwire.Flush)
	cases := []struct {
		name  string
		send  []byte
		ready int // how many ReadyForQuery come; 0: the session ends
	}{
		{"COPY messages without COPY", slices.Concat(body('d', "data"), body('c', ""), body('f', "no\x00"), query(one)), 1},
		{"CopyData of 1 MB without COPY", slices.Concat(body('d', strings.Repeat("x", 1<<20)), query(one)), 1},
		{"Sync alone", sync, 1},
		{"Flush alone", slices.Concat(flush, query(one)), 1},
		{"Query in a batch", slices.Concat(parse("", one), bind, execute, query(one), sync), 2},
		{"Query in a batch that fails at Parse", slices.Concat(parse("", "SELECT fails"), query(one), sync, query(one)), 2},
		{"Query in a batch that fails at Execute", slices.Concat(parse("", "SET fails"), bind, execute, query(one), sync, query(one)), 2},
		{"a long Query", query(long + one), 1},
		{"a long Query in a batch", slices.Concat(parse("", one), bind, execute, query(long+one), sync), 2},
		{"a long Query in a batch that fails", slices.Concat(parse("", "SELECT fails"), query(long+one), sync, query(one)), 2},
		{"a long Parse", slices.Concat(parse("", long+one), bind, execute, sync), 1},
		{"a long Parse of a name in use", slices.Concat(
			parse("n", one), sync, parse("n", long+one), sync,
			pgwire.AppendBind(nil, "", "n"), execute, sync, pgwire.AppendClose(nil, 'S', "n"), sync), 4},
		{"a Parse of a name in use", slices.Concat(
			parse("m", one), parse("m", victimQ), sync, pgwire.AppendBind(nil, "", "m"), execute, pgwire.AppendClose(nil, 'S', "m"), sync), 2},
		{"Bind without its values", slices.Concat(parse("", one), body('B', "\x00\x00"), sync, query(one)), 2},
		{"a Bind of 100 kB", slices.Concat(parse("", one), body('B', "\x00\x00\x00\x00\x00\x01\x00\x01\x86\xa0"+strings.Repeat("v", 100000)+"\x00\x00"), execute, sync), 1},
		{"Bind of what is not there", slices.Concat(pgwire.AppendBind(nil, "p", "none"), pgwire.AppendExecute(nil, "p"), sync), 1},
		{"Execute of what is not there", slices.Concat(pgwire.AppendExecute(nil, "none"), sync, query(one)), 2},
		{"Describe of what is not there", slices.Concat(body('D', "Snone\x00"), sync, body('D', "Pnone\x00"), sync, query(one)), 3},
		{"Close of what is not there", slices.Concat(body('C', "Snone\x00"), body('C', "Pnone\x00"), sync), 1},
		{"a pipeline", slices.Concat(extended(one), extended("SELECT fails"), extended(one), query(one), extended(manyRows)), 5},
		{"a pipeline of 300 batches", slices.Repeat(extended(one), 300), 300},
		{"a batch of 300 statements", slices.Concat(slices.Repeat(slices.Concat(parse("", one), bind, execute), 300), sync), 1},
		{"COPY", slices.Concat(query(copyIn), body('d', "1\n"), body('c', ""), query(one)), 2},
		{"COPY with large data", slices.Concat(query(copyIn), body('d', strings.Repeat("x", 300000)), body('c', ""), query(one)), 2},
		{"COPY with a Query inside", slices.Concat(query(copyIn), body('d', "1\n"), query(one), query(one)), 0},
		{"COPY with a long Query inside", slices.Concat(query(copyIn), body('d', "1\n"), query(long+one), query(one)), 0},
		{"COPY with Sync and Flush inside", slices.Concat(query(copyIn), sync, body('d', "1\n"), flush, body('c', ""), query(one)), 2},
		{"COPY that the client gives up", slices.Concat(query(copyIn), body('f', "no\x00"), body('d', "late"), query(one)), 2},
		{"empty statements", slices.Concat(query(""), query(";"), parse("", ""), bind, execute, sync), 3},
		{"text behind the terminator", slices.Concat(body('Q', "SELECT 1\x00SELECT 2\x00"), query(one)), 2},
		{"Query without text", slices.Concat(body('Q', ""), query(one)), 2},
		{"Query without a terminator", slices.Concat(body('Q', "SELECT 1"), query(one)), 2},
		{"Parse without text", slices.Concat(body('P', ""), sync, query(one)), 2},
		{"Parse without a terminator", slices.Concat(body('P', "name\x00SELECT 1"), sync, query(one)), 2},
		{"Parse of 100 kB without a name", slices.Concat(body('P', strings.Repeat("n", 100000)), sync, query(one)), 2},
		{"Bind without text", slices.Concat(body('B', ""), sync, query(one)), 2},
		{"Bind with a portal only", slices.Concat(body('B', "portal\x00"), sync, query(one)), 2},
		{"Bind of 100 kB without a name", slices.Concat(body('B', strings.Repeat("n", 100000)), sync, query(one)), 2},
		{"Describe without text", slices.Concat(body('D', ""), sync, query(one)), 2},
		{"Describe of nothing", slices.Concat(body('D', "X\x00"), sync, query(one)), 2},
		{"Describe without a terminator", slices.Concat(body('D', "Sname"), sync, query(one)), 2},
		{"Execute without text", slices.Concat(body('E', ""), sync, query(one)), 2},
		{"Execute without a count", slices.Concat(body('E', "\x00"), sync, query(one)), 2},
		{"Execute with half a count", slices.Concat(body('E', "\x00\x00\x00"), sync, query(one)), 2},
		{"Execute with more", slices.Concat(body('E', "\x00\x00\x00\x00\x00\x00"), sync, query(one)), 2},
		{"Close without text", slices.Concat(body('C', ""), sync, query(one)), 2},
		{"Close of nothing", slices.Concat(body('C', "X\x00"), sync, query(one)), 2},
		{"Close with more", slices.Concat(body('C', "Sname\x00more"), sync, query(one)), 2},
	}
	for _, h := range cases {
		t.Run(h.name, func(t *testing.T) {
			ask := func(port int) string {
				c := fakepg.Connect(t, port, "victim", "db")
				c.Send(h.send)
				var all []fakepg.Message
				for range h.ready {
					all = append(all, c.UntilReady()...)
				}
				if h.ready == 0 {
					all, _ = c.UntilEnd()
					return fakepg.Transcript(all)
				}
				c.Send(pgwire.AppendQuery(nil, victimQ)) // the session is in step
				all = append(all, c.UntilReady()...)
				c.Bye()
				return fakepg.Transcript(all)
			}
			direct, through := ask(p.fakes[0].Port()), ask(p.port)
			if direct != through {
				t.Errorf("the server answers\n%s\n\nthrough the proxy it is\n%s", shorten(direct), shorten(through))
			}
		})
	}
}

// shorten cuts long lines.
func shorten(text string) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if len(l) > 120 {
			lines[i] = l[:120] + "..."
		}
	}
	if n := len(lines); n > 60 {
		lines = append(lines[:30], lines[n-30:]...)
	}
	return strings.Join(lines, "\n")
}

// TestByteByByte is a client so slow that every byte comes alone.
func TestByteByByte(t *testing.T) {
	p := newTestProxy(t, setup{world: world()})
	c := p.dial(t)
	for _, b := range slices.Concat(whole(sslCode, ""), []byte{}) {
		c.Send([]byte{b})
	}
	if b := c.Byte(); b != 'N' {
		t.Fatalf("answered %q", b)
	}
	for _, b := range pgwire.AppendStartup(nil, "victim", "db", nil) {
		c.Send([]byte{b})
	}
	c.Login()
	for _, b := range slices.Concat(extended(one), pgwire.AppendQuery(nil, one)) {
		c.Send([]byte{b})
	}
	c.UntilReady()
	if got := c.UntilReady(); len(got) != 4 {
		t.Errorf("got %s", fakepg.Transcript(got))
	}
	c.Bye()
}

const passwordHBA = "host all all 127.0.0.1/32 password\n"

// TestAuthenticationTimeout ends clients that do not get on with their login, however they waste the time.
func TestAuthenticationTimeout(t *testing.T) {
	p := newTestProxy(t, setup{
		world: world(), hba: "host all bystander 127.0.0.1/32 trust\n" + passwordHBA, passwd: "victim:TEXTsecret\nbystander:TEXTx\n",
		tweak: func(c *conf.Config) { c.Auth.AuthenticationTimeout = 300 * time.Millisecond },
	})
	startup := pgwire.AppendStartup(nil, "victim", "db", nil)
	cases := []struct {
		name string
		send []byte
		drip bool
	}{
		{"says nothing", nil, false},
		{"half a startup packet", startup[:10], false},
		{"SSLRequest and nothing else", whole(sslCode, ""), false},
		{"a startup packet byte by byte", startup, true},
		{"no password", startup, false},
		{"half a password", append(slices.Clone(startup), frame('p', 11, "sec")...), false},
		{"a password byte by byte", append(slices.Clone(startup), body('p', strings.Repeat("x", 1000))...), true},
	}
	for _, h := range cases {
		t.Run(h.name, func(t *testing.T) {
			p.log.reset()
			c := p.dial(t)
			if h.drip {
				drip(p, c, h.send)
			} else {
				c.Send(h.send)
			}
			c.UntilEnd()
			await(t, "the socket is closed", func() bool { return p.sockets() == 0 })
			if events := p.log.events(); len(events) != 1 || !strings.Contains(events[0], "authentication") {
				t.Errorf("log:\n%s", p.log)
			}
			if n := len(p.fakes[0].Conns()); n != 0 {
				t.Errorf("the server saw %d connections", n)
			}
		})
	}
	p.authenticateWithin(2 * time.Second) // in which the bystander is sure to log in
	beside := p.bystander(t)              // logged in: no limit any more
	c := p.dial(t)
	c.ExpectEnd()
	beside.check(t)
	beside.c.Bye()
}

// drip sends one byte at each tick until all is sent or the proxy has had enough.
func drip(p *testProxy, c *fakepg.Client, b []byte) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for i := range b {
		<-tick.C
		if p.sockets() == 0 {
			return
		}
		c.Send(b[i : i+1])
	}
}

// TestHostilePassword sends what is no password.
func TestHostilePassword(t *testing.T) {
	p := newTestProxy(t, setup{world: world(), hba: passwordHBA, passwd: "victim:TEXTsecret\n"})
	startup := pgwire.AppendStartup(nil, "victim", "db", nil)
	cases := []struct {
		name string
		send []byte
		code string
	}{
		{"a wrong one", body('p', "wrong\x00"), "28P01"},
		{"an empty one", body('p', "\x00"), "28P01"},
		{"without a terminator", body('p', "secret"), "08P01"},
		{"without text", body('p', ""), "08P01"},
		{"of 100 kB", body('p', strings.Repeat("x", 100000)+"\x00"), "08P01"},
		{"that claims 1 GB", frame('p', 1<<30, "secret"), "08P01"},
		{"of length 0", frame('p', 0, ""), "08P01"},
		{"a statement instead", pgwire.AppendQuery(nil, one), "08P01"},
		{"Terminate instead", pgwire.AppendSimple(nil, pgwire.Terminate), ""},
	}
	for _, h := range cases {
		t.Run(h.name, func(t *testing.T) {
			p.log.reset()
			c := p.dial(t)
			c.Send(startup)
			if m := c.Next(); m.Type != pgwire.Authentication {
				t.Fatalf("got %s", fakepg.Show(m))
			}
			c.Send(h.send)
			if h.code == "" {
				c.ExpectEnd()
			} else {
				c.ExpectFatal(h.code)
			}
			await(t, "the socket is closed", func() bool { return p.sockets() == 0 })
			if events := p.log.events(); len(events) != 1 && h.code != "" {
				t.Errorf("log:\n%s", p.log)
			}
		})
	}
	if n := len(p.fakes[0].Conns()); n != 0 {
		t.Errorf("the server saw %d connections", n)
	}
}
