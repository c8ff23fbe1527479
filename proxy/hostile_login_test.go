package proxy

import (
	"encoding/binary"
	"strings"
	"testing"

	"gopgpool/internal/fakepg"
	"gopgpool/pgwire"
)

func authRequest(code uint32, data string) []byte {
	return pgwire.AppendAuthentication(nil, code, []byte(data))
}

// sasl offers SCRAM, then sends server messages of our making whatever the client says.
func sasl(messages ...string) func(*fakepg.Conn) bool {
	return func(c *fakepg.Conn) bool {
		c.Send(authRequest(10, "SCRAM-SHA-256\x00\x00"))
		for _, m := range messages {
			answer, err := c.ReadMessage()
			if err != nil {
				return false
			}
			nonce := ""
			if _, after, ok := strings.Cut(answer.Body, ",r="); ok {
				nonce = after
			}
			code := uint32(11)
			if strings.HasPrefix(m, "v=") {
				code = 12
			}
			c.Send(authRequest(code, strings.ReplaceAll(m, "{nonce}", nonce)))
		}
		return fakepg.Deaf(c)
	}
}

// TestHostileLogin lets a server misbehave while a client logs in through it.
func TestHostileLogin(t *testing.T) {
	notice := pgwire.AppendNotice(nil, pgwire.Fields{Severity: "NOTICE", Code: "00000", Message: "m"})
	garbage := []byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
	const salt = "W22ZaJ0SNY7soEsUEjb6gQ=="
	cases := []struct {
		name string
		at   fakepg.Moment
		do   func(*fakepg.Conn) bool
		code string
	}{
		{"closes at once", fakepg.Accepted, fakepg.Drop, "08001"},
		{"resets at once", fakepg.Accepted, fakepg.Reset, "08001"},
		{"closes before it asks", fakepg.Started, fakepg.Drop, "08001"},
		{"closes after it let in", fakepg.Admitted, fakepg.Drop, "08001"},
		{"garbage at once", fakepg.Accepted, fakepg.SayAndDrop(garbage), "08001"},
		{"garbage instead of a request", fakepg.Started, fakepg.SayAndDrop(garbage), "08001"},
		{"garbage after it let in", fakepg.Admitted, fakepg.SayAndDrop(garbage), "08001"},
		{"N as to SSLRequest", fakepg.Started, fakepg.SayAndDrop([]byte{'N'}), "08001"},
		{"length 0", fakepg.Started, fakepg.SayAndStall(frame('R', 0, "")), "08001"},
		{"length 3", fakepg.Started, fakepg.SayAndStall(frame('R', 3, "")), "08001"},
		{"length 2^31-1", fakepg.Admitted, fakepg.SayAndStall(frame('S', 1<<31-1, "")), "08001"},
		{"length -1", fakepg.Started, fakepg.SayAndStall(frame('E', 1<<32-1, "")), "08001"},
		{"a setting of 1 MB", fakepg.Admitted, fakepg.SayAndStall(body('S', "x\x00"+strings.Repeat("y", 1<<20)+"\x00")), "08001"},
		{"a request without a code", fakepg.Started, fakepg.SayAndStall(body('R', "")), "08001"},
		{"ready before it let in", fakepg.Started, fakepg.SayAndStall(pgwire.AppendReady(nil, 'I')), "08001"},
		{"a key that is none", fakepg.Admitted, fakepg.SayAndStall(body('K', "key")), "08001"},
		{"a setting without a value", fakepg.Admitted, fakepg.SayAndStall(body('S', "TimeZone")), "08001"},
		{"a row", fakepg.Admitted, fakepg.SayAndStall(pgwire.AppendDataRow(nil, []string{"x"})), "08001"},
		{"more behind ReadyForQuery", fakepg.Admitted, fakepg.SayAndStall(append(pgwire.AppendReady(nil, 'I'), notice...)), "08001"},
		{"notices without end at the start", fakepg.Started, fakepg.Flood(notice), "08001"},
		{"notices without end after it let in", fakepg.Admitted, fakepg.Flood(notice), "08001"},
		{"settings without end", fakepg.Admitted, fakepg.Flood(pgwire.AppendParameterStatus(nil, "TimeZone", "UTC")), "08001"},
		{"new settings without end", fakepg.Admitted, func(c *fakepg.Conn) bool {
			var out []byte
			for i := range 5000 {
				out = pgwire.AppendParameterStatus(out, "s"+itoa(i), "v")
			}
			return fakepg.SayAndStall(out)(c)
		}, "08001"},
		{"let in again and again", fakepg.Started, fakepg.Flood(authRequest(0, "")), "08001"},
		{"an error", fakepg.Started, fakepg.SayAndDrop(fatal("3D000", "no such database")), "3D000"},
		{"an error after it let in", fakepg.Admitted, fakepg.SayAndDrop(fatal("53300", "too many")), "53300"},
		{"a method nobody knows", fakepg.Started, fakepg.SayAndStall(authRequest(99, "")), "*"},
		{"GSS", fakepg.Started, fakepg.SayAndStall(authRequest(7, "")), "*"},
		{"SASL without a method", fakepg.Started, fakepg.SayAndStall(authRequest(10, "\x00")), "*"},
		{"md5 without a salt", fakepg.Started, fakepg.SayAndStall(authRequest(5, "")), "*"},
		{"passwords without end", fakepg.Started, fakepg.FloodFor(authRequest(3, ""), 100), "*"},
		{"SCRAM with a billion rounds", fakepg.Started, sasl("r={nonce}x,s=" + salt + ",i=1000000000"), "*"},
		{"SCRAM with no rounds", fakepg.Started, sasl("r={nonce}x,s=" + salt + ",i=0"), "*"},
		{"SCRAM with negative rounds", fakepg.Started, sasl("r={nonce}x,s=" + salt + ",i=-4096"), "*"},
		{"SCRAM with its own nonce", fakepg.Started, sasl("r=mine,s=" + salt + ",i=4096"), "*"},
		{"SCRAM with our nonce", fakepg.Started, sasl("r={nonce},s=" + salt + ",i=4096"), "*"},
		{"SCRAM without a salt", fakepg.Started, sasl("r={nonce}x,i=4096"), "*"},
		{"SCRAM with garbage", fakepg.Started, sasl("\x00\xff\xfe"), "*"},
		{"SCRAM of another password", fakepg.Started, sasl("r={nonce}x,s="+salt+",i=4096", "v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), "*"},
		{"SCRAM that starts again", fakepg.Started, sasl("r={nonce}x,s="+salt+",i=4096", "r={nonce}x,s="+salt+",i=4096"), "*"},
	}
	for _, mode := range []struct{ name, hba, passwd string }{
		{"the server decides", "", "victim:TEXTsecret\nbystander:TEXTsecret\n"},
		{"pool_passwd", "host all all 127.0.0.1/32 trust\n", "victim:TEXTsecret\nbystander:TEXTsecret\n"},
	} {
		t.Run(mode.name, func(t *testing.T) {
			p := newTestProxy(t, setup{world: world(), hba: mode.hba, passwd: mode.passwd})
			p.unseen = true
			beside := p.bystander(t)
			for _, h := range cases {
				if h.code == "*" && mode.hba == "" {
					continue // the client is asked in the server's name
				}
				t.Run(h.name, func(t *testing.T) {
					p.log.reset()
					f := p.fakes[0]
					f.Misbehave(fakepg.Fault{At: h.at, Times: 1, Do: h.do})
					defer f.Behave()
					c := p.start(t, "victim")
					checkRefused(t, c, h.code)
					awaitVictim(t, p)
					if n := p.pool.Count(0); n != 1+p.idleCount() {
						t.Errorf("pool counts %d connections, %d idle", n, p.idleCount())
					}
					beside.check(t)
				})
			}
			c := p.connect(t, "victim")
			if got := c.Query(one); len(got) != 4 {
				t.Errorf("the next session got %s", fakepg.Transcript(got))
			}
			c.Bye()
			beside.c.Bye()
		})
	}
}

// checkRefused reads to the end: an error with the code ("*" is any but XX000), not a login.
func checkRefused(t *testing.T, c *fakepg.Client, code string) {
	t.Helper()
	out, whole := c.UntilEnd()
	f := pgwire.Fields{}
	if len(out) > 0 {
		f = pgwire.ReadFields([]byte(out[len(out)-1].Body))
	}
	if !whole || f.Severity != "FATAL" || f.Code != code && (code != "*" || f.Code == "XX000" || len(f.Code) != 5) {
		t.Errorf("no FATAL %s, but\n%s", code, fakepg.Transcript(out))
	}
	for _, m := range out {
		if m.Type == pgwire.Authentication && binary.BigEndian.Uint32([]byte(m.Body)) == 0 {
			t.Error("the client was let in")
		}
	}
}
