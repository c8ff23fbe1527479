package health

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gopgpool/cluster"
	"gopgpool/internal/fakepg"
	"gopgpool/pgwire"
)

func fakeNode(id int, s *fakepg.Server) cluster.Node {
	return cluster.Node{ID: cluster.NodeID(id), Host: "127.0.0.1", Port: s.Port(), Status: cluster.StatusUp, Epoch: 1}
}

// refusal is a server's error at login.
func refusal(code string) func(*fakepg.Conn) bool {
	return fakepg.SayAndDrop(pgwire.AppendError(nil, pgwire.Fields{Severity: "FATAL", Code: code, Message: "no"}))
}

// sayAndListen says something and is silent, but notices the end of the connection.
func sayAndListen(b []byte) func(*fakepg.Conn) bool {
	return func(c *fakepg.Conn) bool {
		c.Send(b)
		return fakepg.Deaf(c)
	}
}

// patience is how long a probe waits that is to end with a trouble: for silence a moment, for anything else until it comes.
func patience(want Trouble) time.Duration {
	if want == Silent {
		return 300 * time.Millisecond
	}
	return time.Minute
}

// TestOddServers logs in to servers that do what servers do not, at every moment of a login.
func TestOddServers(t *testing.T) {
	big := append([]byte{'S', 0x7f, 0xff, 0xff, 0xff}, make([]byte, 100)...)
	notices := pgwire.AppendNotice(nil, pgwire.Fields{Severity: "NOTICE", Code: "00000", Message: "again"})
	for _, tc := range []struct {
		name  string
		fault fakepg.Fault
		want  Trouble
	}{
		{"drops at once", fakepg.Fault{At: fakepg.Accepted, Do: fakepg.Drop}, Broken},
		{"resets at once", fakepg.Fault{At: fakepg.Accepted, Do: fakepg.Reset}, Broken},
		{"drops after the startup packet", fakepg.Fault{At: fakepg.Started, Do: fakepg.Drop}, Broken},
		{"resets after the startup packet", fakepg.Fault{At: fakepg.Started, Do: fakepg.Reset}, Broken},
		{"drops in the login", fakepg.Fault{At: fakepg.Admitted, Do: fakepg.Drop}, Broken},
		{"resets in the login", fakepg.Fault{At: fakepg.Admitted, Do: fakepg.Reset}, Broken},
		{"never says a word", fakepg.Fault{At: fakepg.Accepted, Do: fakepg.Deaf}, Silent},
		{"never answers", fakepg.Fault{At: fakepg.Started, Do: fakepg.Deaf}, Silent},
		{"half a login", fakepg.Fault{At: fakepg.Admitted, Do: fakepg.Deaf}, Silent},
		{"another protocol", fakepg.Fault{At: fakepg.Started, Do: fakepg.SayAndDrop([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))}, Broken},
		{"a message too long", fakepg.Fault{At: fakepg.Started, Do: sayAndListen(big)}, Broken},
		{"talks for ever", fakepg.Fault{At: fakepg.Started, Do: fakepg.Flood(notices)}, Silent},
		{"unknown authentication", fakepg.Fault{At: fakepg.Started, Do: sayAndListen(pgwire.AppendAuthentication(nil, 99, nil))}, Rejected},
		{"GSS only", fakepg.Fault{At: fakepg.Started, Do: sayAndListen(pgwire.AppendAuthentication(nil, 7, nil))}, Rejected},
		{"wrong password", fakepg.Fault{At: fakepg.Started, Do: refusal("28P01")}, Rejected},
		{"no such database", fakepg.Fault{At: fakepg.Started, Do: refusal("3D000")}, Rejected},
		{"too many connections", fakepg.Fault{At: fakepg.Started, Do: refusal("53300")}, Rejected},
		{"starting up", fakepg.Fault{At: fakepg.Started, Do: refusal("57P03")}, Broken},
		{"too many connections, after the password", fakepg.Fault{At: fakepg.Admitted, Do: refusal("53300")}, Rejected},
		{"shutting down, after the password", fakepg.Fault{At: fakepg.Admitted, Do: refusal("57P01")}, Broken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := fakepg.Start(t, nil)
			s.Misbehave(tc.fault)
			ctx, cancel := context.WithTimeout(t.Context(), patience(tc.want))
			defer cancel()
			err := newProber(t).login(ctx, fakeNode(0, s), Login{User: "u", Password: "secret", Database: "d"})
			if err == nil || troubleIn(err) != tc.want {
				t.Errorf("trouble %d, want %d: %v", troubleIn(err), tc.want, err)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells the password: %v", err)
			}
			s.Await("the end of the connection", func() bool { return s.Open() == 0 })
			if n := len(s.Conns()); n > 1 || len(s.Cancels()) > 0 {
				t.Errorf("%d connections, %d cancel requests for one probe", n, len(s.Cancels()))
			}
		})
	}
}

// drip is a server that says one byte of a good login every few milliseconds.
func drip(t *testing.T) cluster.Node {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	ok(t, err)
	good := pgwire.AppendAuthentication(nil, 0, nil)
	for range 1000 {
		good = pgwire.AppendParameterStatus(good, "application_name", "")
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				tick := time.NewTicker(10 * time.Millisecond)
				defer tick.Stop()
				for _, b := range good {
					<-tick.C
					if _, err := c.Write([]byte{b}); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); serving.Wait() })
	return cluster.Node{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, Status: cluster.StatusUp}
}

// TestDrippingServer never is silent for long: the deadline covers the whole login all the same.
func TestDrippingServer(t *testing.T) {
	t.Parallel()
	n, p := drip(t), newProber(t)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	err := p.login(ctx, n, Login{User: "u"})
	if took := time.Since(began); troubleIn(err) != Silent || took > 5*time.Second {
		t.Errorf("after %v: %v", took, err)
	}
}

// TestStatementBreaks has a server that goes while it is asked: nothing of the connection stays.
func TestStatementBreaks(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(*fakepg.Conn) bool
		want Trouble
	}{
		{"silent", fakepg.Deaf, Silent},
		{"drops", fakepg.Drop, Broken},
		{"resets", fakepg.Reset, Broken},
		{"shuts down", refusal("57P01"), Broken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := fakepg.Start(t, nil)
			s.Misbehave(fakepg.Fault{At: fakepg.Asked, Do: tc.do})
			c, err := newProber(t).Connect(t.Context(), fakeNode(0, s), Login{User: "u"}, nil)
			ok(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), patience(tc.want))
			defer cancel()
			_, err = c.Position(ctx)
			var e *Error
			if !errors.As(err, &e) || e.Trouble != tc.want || !c.dead() {
				t.Errorf("dead %v, %v", c.dead(), err)
			}
			failed := time.Now()
			s.Await("the end of the connection", func() bool { return s.Open() == 0 })
			if took := time.Since(failed); took > 5*time.Second || len(s.Cancels()) > 0 {
				t.Errorf("the connection ended after %v, %d cancel requests", took, len(s.Cancels()))
			}
		})
	}
}

// TestFullSocketQueue connects to a socket file whose queue is full: unlike TCP it says so at once, and it is waited for.
func TestFullSocketQueue(t *testing.T) {
	dir := t.TempDir()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	ok(t, err)
	defer unix.Close(fd)
	ok(t, unix.Bind(fd, &unix.SockaddrUnix{Name: dir + "/.s.PGSQL.1"}))
	ok(t, unix.Listen(fd, 1))
	var waiting []net.Conn
	defer func() {
		for _, c := range waiting {
			_ = c.Close()
		}
	}()
	for len(waiting) < 10 {
		c, err := new(net.Dialer).DialContext(t.Context(), "unix", dir+"/.s.PGSQL.1")
		if err != nil {
			break
		}
		waiting = append(waiting, c)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	err = newProber(t).login(ctx, cluster.Node{Host: dir, Port: 1}, Login{User: "u", ConnectTimeout: 100 * time.Millisecond})
	if troubleIn(err) != Silent || time.Since(began) < 100*time.Millisecond {
		t.Errorf("trouble %d after %v: %v", troubleIn(err), time.Since(began), err)
	}
	if n := len(waiting); n == 0 || n == 10 {
		t.Fatalf("the queue took %d", n)
	}
}
