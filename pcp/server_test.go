package pcp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestAuthentication(t *testing.T) {
	good := StoredDigest(testPassword)
	for _, tc := range []struct{ name, file, user, stored, message string }{
		{"right", testUser + ":" + good + "\n", testUser, good, ""},
		{"last line without a line feed", "x:y\n" + testUser + ":" + good, testUser, good, ""},
		{"carriage return", testUser + ":" + good + "\r\n", testUser, good, ""},
		{"second of two lines", testUser + ":" + StoredDigest("old") + "\n" + testUser + ":" + good + "\n", testUser, good, ""},
		{"first of two lines", testUser + ":" + good + "\n" + testUser + ":" + StoredDigest("new") + "\n", testUser, good, ""},
		{"wrong password", testUser + ":" + good + "\n", testUser, StoredDigest("x"), `authentication failed for user "pcpadm"`},
		{"unknown user", testUser + ":" + good + "\n", "nobody", good, `authentication failed for user "nobody"`},
		{"unknown user with the stand-in", testUser + ":" + good + "\n", "nobody", noDigest, `authentication failed for user "nobody"`},
		{"no user", ":" + good + "\n", "", good, `authentication failed for user ""`},
		{"comment", "#" + testUser + ":" + good + "\n", "#" + testUser, good, `authentication failed for user "#pcpadm"`},
		{"blank before the name", " " + testUser + ":" + good + "\n", testUser, good, `authentication failed for user "pcpadm"`},
		{"digest too long", testUser + ":" + strings.Repeat("0", 129), testUser, strings.Repeat("0", 129), `authentication failed for user "pcpadm"`},
		{"user too long", strings.Repeat("u", 128) + ":" + good, strings.Repeat("u", 128), good, "authentication failed"},
		{"longest user", strings.Repeat("u", 127) + ":" + good, strings.Repeat("u", 127), good, ""},
		{"empty file", "", testUser, good, `authentication failed for user "pcpadm"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := serve(t, newWorld())
			writeFile(t, s.password, tc.file)
			p := s.dial(t)
			got := p.ask(TypeAuthenticate, tc.user, Digest(tc.stored, tc.user, p.salt()))
			if tc.message == "" {
				if got.Type != ReplyAuthenticate || string(got.Payload) != "AuthenticationOK\x00" {
					t.Errorf("%c %q", got.Type, got.Payload)
				}
				return
			}
			p.refused(got, SeverityFatal, tc.message, badLogin)
			p.closed()
		})
	}
}

func TestPasswordFileIsReadAfresh(t *testing.T) {
	s := serve(t, newWorld())
	writeFile(t, s.password, "")
	p := s.dial(t)
	p.refused(p.ask(TypeAuthenticate, testUser, Digest(StoredDigest(testPassword), testUser, p.salt())),
		SeverityFatal, `authentication failed for user "pcpadm"`, badLogin)
	writeFile(t, s.password, testUser+":"+StoredDigest(testPassword)+"\n")
	s.dial(t).login()
}

func TestUnreadablePasswordFile(t *testing.T) {
	s := serve(t, newWorld())
	for _, tc := range []struct{ detail, path string }{
		{"no such file or directory", filepath.Join(t.TempDir(), "missing")},
		{"it is longer than a megabyte", s.password},
	} {
		writeFile(t, s.password, strings.Repeat("#\n", maxPasswordFile/2+1))
		if tc.path != s.password {
			if err := os.Rename(s.password, tc.path+".moved"); err != nil {
				t.Fatal(err)
			}
		}
		p := s.dial(t)
		p.refused(p.ask(TypeAuthenticate, testUser, Digest(StoredDigest(testPassword), testUser, p.salt())),
			SeverityFatal, "failed to authenticate PCP user", fmt.Sprintf("could not open %s. reason: %s", s.password, tc.detail))
		p.closed()
	}
}

// TestSaltServesOnce: an answer that was right once is worth nothing the next time, on another connection or on the same.
func TestSaltServesOnce(t *testing.T) {
	s := serve(t, newWorld())
	p := s.dial(t)
	answer := Digest(StoredDigest(testPassword), testUser, p.salt())
	if got := p.ask(TypeAuthenticate, testUser, answer); got.Type != ReplyAuthenticate {
		t.Fatalf("%c %q", got.Type, got.Payload)
	}
	p.refused(p.ask(TypeAuthenticate, testUser, answer), SeverityFatal, "authentication failed", badLogin)
	p.closed()

	p = s.dial(t)
	p.salt()
	p.refused(p.ask(TypeAuthenticate, testUser, answer), SeverityFatal, `authentication failed for user "pcpadm"`, badLogin)
	p.closed()

	p = s.dial(t)
	first := p.salt()
	if second := p.salt(); first == second {
		t.Error("the same salt twice")
	}
	p.refused(p.ask(TypeAuthenticate, testUser, Digest(StoredDigest(testPassword), testUser, first)),
		SeverityFatal, `authentication failed for user "pcpadm"`, badLogin)
}

// TestNothingBeforeAuthentication: every letter but three is refused alike, known or not, and does nothing.
func TestNothingBeforeAuthentication(t *testing.T) {
	w := newWorld()
	s := serve(t, w)
	for typ := range 256 {
		p := s.dial(t)
		p.send(AppendStrings(nil, byte(typ), "1"))
		switch byte(typ) {
		case TypeSalt:
			if got := p.next(); got.Type != ReplySalt {
				t.Errorf("%c %q", got.Type, got.Payload)
			}
			continue
		case TypeAuthenticate:
			p.refused(p.next(), SeverityFatal, "authentication failed", badLogin)
		case TypeTerminate:
		default:
			p.refused(p.next(), SeverityFatal, "authentication failed for new PCP connection", "connection not authorized")
		}
		p.closed()
	}
	s.stop()
	if len(w.calls) != 0 {
		t.Errorf("did %v", w.calls)
	}
}

// TestMalformedPackets: each is told and ends the connection, before authentication and after it.
func TestMalformedPackets(t *testing.T) {
	s := serve(t, newWorld())
	for _, tc := range []struct {
		name, in, detail string
	}{
		{"length 0", "L\x00\x00\x00\x00", "incorrect packet length (0)"},
		{"length 3", "L\x00\x00\x00\x03", "incorrect packet length (3)"},
		{"length 260", "L\x00\x00\x01\x04" + strings.Repeat("x", 256), "incorrect packet length (260)"},
		{"negative", "L\xff\xff\xff\xfe", "incorrect packet length (-2)"},
		{"two gigabytes", "L\x7f\xff\xff\xff", "incorrect packet length (2147483647)"},
		{"a web browser", "GET / HTTP/1.1\r\n\r\n", "incorrect packet length (1163141167)"},
		{"a PostgreSQL client", "\x00\x00\x00\x08\x04\xd2\x16\x2f", "incorrect packet length (2052)"},
	} {
		for _, p := range []*peer{s.dial(t), s.dial(t).login()} {
			p.send([]byte(tc.in))
			p.refused(p.next(), SeverityFatal, "invalid PCP packet", tc.detail)
			p.closed()
		}
	}
}

func TestHalfPacketThenEnd(t *testing.T) {
	s := serve(t, newWorld())
	for _, in := range []string{"L", "L\x00\x00\x00\x08", "L\x00\x00\x00\x08abc"} {
		p := s.dial(t).login()
		p.send([]byte(in))
		if err := p.Conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		p.closed()
	}
}

func TestAuthenticationTakesTooLong(t *testing.T) {
	s := serve(t, newWorld())
	s.set(func(x *Settings) { x.AuthenticationTimeout = time.Second }) // in which each has to say what it says, on a busy machine too
	p := s.dial(t).login()
	silent, half, salted := s.dial(t), s.dial(t), s.dial(t)
	half.send([]byte("R\x00"))
	salted.salt()
	for _, stranger := range []*peer{silent, half, salted} {
		stranger.closed()
	}
	if got := p.ask(TypeNodeCount); got.Type != ReplyNodeCount {
		t.Errorf("%c", got.Type)
	}
}

// TestStrangersAreBounded: the oldest gives way, and those who are known stay.
func TestStrangersAreBounded(t *testing.T) {
	s := serve(t, newWorld())
	known := s.dial(t).login()
	var strangers []*peer
	for range maxStrangers + 5 {
		p := s.dial(t)
		p.salt() // so that they are counted in this order
		strangers = append(strangers, p)
	}
	for _, p := range strangers[:5] {
		if _, err := p.in.Next(); err == nil {
			t.Error("an old stranger is still there")
		}
	}
	for _, p := range append(strangers[5:], known) {
		p.salt()
	}
}

// TestHangUp: who leaves is not waited for, but a recovery goes on.
func TestHangUp(t *testing.T) {
	w := newWorld()
	w.hold = make(chan struct{})
	s := serve(t, w)
	p := s.dial(t).login()
	p.send(AppendStrings(nil, TypeNodeInfo, "-1"))
	wait(t, w.began)
	_ = p.Close()
	if err := wait(t, w.ended); !errors.Is(err, errHungUp) {
		t.Errorf("ended with %v", err)
	}

	p = s.dial(t).login()
	p.send(AppendStrings(nil, TypeDetachGracefully, "1"))
	wait(t, w.began)
	_ = p.Close()
	if err := wait(t, w.ended); !errors.Is(err, errHungUp) {
		t.Errorf("ended with %v", err)
	}

	p = s.dial(t).login()
	p.send(AppendStrings(nil, TypeRecovery, "1"))
	wait(t, w.began)
	_ = p.Close()
	other := s.dial(t).login() // the server has had time to notice
	if got := other.ask(TypeNodeCount); got.Type != ReplyNodeCount {
		t.Errorf("%c", got.Type)
	}
	close(w.hold)
	if err := wait(t, w.ended); err != nil {
		t.Errorf("ended with %v", err)
	}
	s.stop()
	slices.Sort(w.calls) // resuming is not waited for
	if want := []string{"quiesce", "recover 1", "resume"}; !slices.Equal(w.calls, want) {
		t.Errorf("did %q", w.calls)
	}
}

// TestRequestBehindARunningOne waits for its turn.
func TestRequestBehindARunningOne(t *testing.T) {
	w := newWorld()
	w.hold = make(chan struct{})
	s := serve(t, w)
	p := s.dial(t).login()
	p.send(AppendStrings(AppendStrings(nil, TypeNodeInfo, "1"), TypeNodeCount))
	wait(t, w.began)
	other := s.dial(t).login()
	if got := other.ask(TypeNodeCount); got.Type != ReplyNodeCount { // a slow command blocks its own connection only
		t.Errorf("%c", got.Type)
	}
	close(w.hold)
	if err := wait(t, w.ended); err != nil {
		t.Errorf("ended with %v", err)
	}
	for _, want := range []byte{'i', 'i', 'i', 'l'} {
		if got := p.next(); got.Type != want {
			t.Errorf("%c, want %c", got.Type, want)
		}
	}
}

func TestStopEndsRunningCommands(t *testing.T) {
	w := newWorld()
	w.hold = make(chan struct{})
	s := serve(t, w)
	p := s.dial(t).login()
	p.send(AppendStrings(nil, TypeRecovery, "1"))
	wait(t, w.began)
	s.stop()
	if err := wait(t, w.ended); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	if _, err := net.Dial("tcp", s.addr); err == nil {
		t.Error("still listening")
	}
}

// TestStopIsTold: the log says why a command was given up.
func TestStopIsTold(t *testing.T) {
	w := newWorld()
	w.hold = make(chan struct{})
	s := serve(t, w)
	s.dial(t).login().send(AppendStrings(nil, TypeDetachGracefully, "1"))
	wait(t, w.began)
	s.stop()
	want := `pcp_child: FATAL:  terminating connection due to administrator command
pcp_child: DETAIL:  pgpool is stopping, the command was given up
`
	if got := s.log.String(); got != want {
		t.Errorf("log:\n%s", got)
	}
}

// TestClientThatDoesNotRead: a long reply is sent in parts, and the server is stopped in the middle of one.
func TestClientThatDoesNotRead(t *testing.T) {
	s := serve(t, longWorld{newWorld()})
	p := s.dial(t).login()
	p.send(AppendStrings(nil, TypeProcInfo, "0"))
	if got := p.next(); got.Type != ReplyProcInfo || !bytes.HasPrefix(got.Payload, []byte(TagArraySize)) {
		t.Errorf("%c %q", got.Type, got.Payload)
	}
	s.stop()
}

// longWorld has so many workers that the reply fits into no buffer of the kernel's.
type longWorld struct{ *world }

func (longWorld) Pools(context.Context) []Pool {
	pool := Pool{1, []string{strings.Repeat("x", 10_000)}}
	rows := make([]Pool, 5000)
	for i := range rows {
		rows[i] = pool
	}
	return rows
}

func TestLongReply(t *testing.T) {
	s := serve(t, longWorld{newWorld()})
	p := s.dial(t).login()
	p.send(AppendStrings(nil, TypeProcInfo, "0"))
	n := 0
	for {
		got := p.next()
		if string(got.Payload) == TagComplete+"\x00" {
			break
		}
		n++
	}
	if n != 5001 {
		t.Errorf("%d packets", n)
	}
}

// TestLog: errors are always told, and with log_pcp_processes who came and what was asked.
func TestLog(t *testing.T) {
	s := serve(t, newWorld())
	p := s.dial(t)
	p.ask(TypeAuthenticate, "no\nbody", Digest(noDigest, "no\nbody", p.salt()))
	p.closed()
	s.dial(t).login().ask(TypeNodeInfo, "9")
	s.stop()
	want := `pcp_child: FATAL:  authentication failed for user "no\nbody"
pcp_child: DETAIL:  username and/or password does not match
pcp_child: ERROR:  informing node info failed
pcp_child: DETAIL:  invalid node ID : 9
`
	if got := s.log.String(); got != want {
		t.Errorf("log:\n%s", got)
	}

	s = serve(t, newWorld())
	s.set(func(x *Settings) { x.LogProcesses = true })
	p = s.dial(t).login()
	p.ask(TypeNodeCount)
	p.send(AppendStrings(nil, TypeTerminate))
	p.closed()
	s.stop()
	want = `pcp_child: LOG:  new PCP connection received
pcp_child: LOG:  PCP command pcp_node_count begins
pcp_child: LOG:  PCP command pcp_node_count ends
pcp_child: LOG:  PCP connection ended
`
	if got := s.log.String(); got != want {
		t.Errorf("log:\n%s", got)
	}
}

func wait[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(limit):
		t.Fatal("nothing happens")
		panic("unreachable")
	}
}
