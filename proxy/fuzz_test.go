package proxy

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gopgpool/internal/fakepg"
	"gopgpool/pgwire"
)

// The fuzz targets put foreign bytes before a whole proxy: whatever comes, the session ends when its peers have gone, nothing
// panics, and nothing is left behind.

// fuzzServer answers like a server, until its script says otherwise.
type fuzzServer struct {
	listener net.Listener
	running  sync.WaitGroup
	script   atomic.Pointer[script]
}

// script is what a server says at one point instead of the truth. Then it closes.
type script struct {
	when byte // 0: never; 1: instead of the first word; 2: after AuthenticationOk; 3: after the login; 4: to the first message; 5: to the last of an answer
	say  []byte
}

func newFuzzServer(tb testing.TB) *fuzzServer {
	tb.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := &fuzzServer{listener: l}
	s.script.Store(&script{})
	s.running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.running.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(time.Minute))
				s.serve(c, bufio.NewReader(c), *s.script.Load())
			})
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		s.running.Wait()
	})
	return s
}

func (s *fuzzServer) serve(c net.Conn, in *bufio.Reader, sc script) {
	head := make([]byte, 8)
	if _, err := io.ReadFull(in, head); err != nil || binary.BigEndian.Uint32(head[4:]) == cancelCode {
		return
	}
	if _, err := io.CopyN(io.Discard, in, int64(binary.BigEndian.Uint32(head))-8); err != nil || sc.strikes(c, 1) {
		return
	}
	_, _ = c.Write(pgwire.AppendAuthentication(nil, 0, nil))
	if sc.strikes(c, 2) {
		return
	}
	_, _ = c.Write(slices.Concat(pgwire.AppendParameterStatus(nil, "TimeZone", "UTC"), pgwire.AppendBackendKeyData(nil, 7, []byte("key!")), pgwire.AppendReady(nil, 'I')))
	answers := canned{
		row: slices.Concat(pgwire.AppendRowDescription(nil, []string{"c"}), pgwire.AppendDataRow(nil, rowZero[:]), pgwire.AppendTag(nil, "SELECT 1"), pgwire.AppendReady(nil, 'I')),
	}
	answers.catalogue, answers.describe = answers.row, pgwire.AppendRowDescription(nil, []string{"c"})
	for first := true; ; first = false { // the first question is one of the proxy's
		frame := make([]byte, 5)
		if _, err := io.ReadFull(in, frame); err != nil {
			return
		}
		typ, size, _, err := pgwire.Header(frame)
		if err != nil {
			return
		}
		frame = append(frame, make([]byte, min(size-5, 16<<20))...)
		if _, err := io.ReadFull(in, frame[5:]); err != nil {
			return
		}
		if !first && (sc.strikes(c, 4) || typ == pgwire.Sync && sc.strikes(c, 5)) {
			return
		}
		out := []byte{}
		if typ != pgwire.Describe || size > 6 {
			out = answers.to(nil, typ, frame[5:])
		}
		if _, err := c.Write(out); err != nil || first && sc.strikes(c, 3) {
			return
		}
	}
}

func (sc *script) strikes(c net.Conn, now byte) bool {
	if sc.when%6 != now {
		return false
	}
	_, _ = c.Write(sc.say)
	return true
}

// fuzzed is a proxy for a fuzz target. After each input everything has to be at rest.
func fuzzed(f *testing.F) (*testProxy, *fuzzServer) {
	f.Helper()
	var s *fuzzServer
	p := newTestProxy(f, setup{conf: "log_min_messages = panic\n", servers: func(tb testing.TB) []int {
		s = newFuzzServer(tb)
		return []int{s.listener.Addr().(*net.TCPAddr).Port}
	}})
	return p, s
}

// settle waits until the input's sessions are over and looks at what is left.
func (p *testProxy) settle(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(awaitTimeout)
	tick := time.NewTicker(100 * time.Microsecond)
	defer tick.Stop()
	for p.admitted.busy() > 0 || p.sockets() > 0 || p.sessionCount() > 0 {
		if time.Now().After(deadline) {
			t.Fatal("a session does not end")
		}
		<-tick.C
	}
	p.reports.check(t)
	if n, idle := p.pool.Count(0), p.idleCount(); n < idle || n > idle {
		await(t, "the pool agrees with itself", func() bool { return p.pool.Count(0) == p.idleCount() })
	}
}

func FuzzClientBytes(f *testing.F) {
	p, _ := fuzzed(f)
	sync := pgwire.AppendSimple(nil, pgwire.Sync)
	for _, seed := range [][]byte{
		pgwire.AppendQuery(nil, one), extended(one), append(extended(one), pgwire.AppendQuery(nil, "BEGIN")...),
		slices.Concat(pgwire.AppendParse(nil, "a", one), pgwire.AppendBind(nil, "p", "a"), pgwire.AppendExecute(nil, "p"), pgwire.AppendClose(nil, 'S', "a"), sync),
		slices.Concat(pgwire.AppendQuery(nil, "BEGIN"), extended("SAVEPOINT a"), pgwire.AppendQuery(nil, "ROLLBACK TO a"), extended("COMMIT")),
		slices.Concat(pgwire.AppendQuery(nil, "COPY t FROM STDIN"), body('d', "x"), body('c', "")),
		slices.Concat(pgwire.AppendQuery(nil, "SHOW pool_nodes"), extended("SHOW pool_version"), extended("PGPOOL SET log_statement TO on")),
		slices.Concat(extended("BEGIN"), extended("SET a TO 1"), extended("PREPARE x AS SELECT 1"), extended("EXECUTE x"), extended("DEALLOCATE ALL"), extended("COMMIT AND CHAIN")),
		body('F', "\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00"), frame('Q', 1<<29, strings.Repeat("x", 70000)), frame('B', 3, ""), body('p', "x"),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c := fakepg.Dial(t, p.port)
		c.Send(pgwire.AppendStartup(nil, "fuzz", "db", nil))
		c.Login()
		c.Send(b)
		c.CloseWrite()
		_ = c.Rest()
		c.Close()
		p.settle(t)
	})
}

func FuzzFirstBytes(f *testing.F) {
	p, _ := fuzzed(f)
	for _, seed := range [][]byte{
		pgwire.AppendStartup(nil, "u", "d", []pgwire.Param{{Name: "options", Value: "-c a=b"}, {Name: "replication", Value: "database"}}),
		whole(sslCode, ""), append(whole(gssCode, ""), whole(sslCode, "")...), whole(cancelCode, "\x00\x00\x00\x07key!"),
		whole(3<<16|9999, "user\x00u\x00_pq_.x\x001\x00\x00"), whole(2<<16, ""), []byte("GET / HTTP/1.1\r\n\r\n"),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c := fakepg.Dial(t, p.port)
		c.Send(b)
		c.CloseWrite()
		_ = c.Rest()
		c.Close()
		p.settle(t)
		p.pool.CloseIdle(everyConn)
	})
}

func FuzzServerBytes(f *testing.F) {
	p, s := fuzzed(f)
	notice := pgwire.AppendNotice(nil, pgwire.Fields{Severity: "NOTICE", Message: "m"})
	for when := byte(1); when < 6; when++ {
		for _, seed := range [][]byte{
			nil, pgwire.AppendReady(nil, 'I'), notice, fatal("57P01", "gone"), authRequest(10, "SCRAM-SHA-256\x00\x00"), authRequest(5, "salt"),
			slices.Concat(pgwire.AppendRowDescription(nil, []string{"c"}), pgwire.AppendDataRow(nil, rowZero[:]), pgwire.AppendTag(nil, "SELECT 1"), pgwire.AppendReady(nil, 'T')),
			slices.Concat(pgwire.AppendSimple(nil, '1'), pgwire.AppendSimple(nil, '2'), pgwire.AppendSimple(nil, 'n'), pgwire.AppendTag(nil, "SET"), pgwire.AppendReady(nil, 'E')),
			slices.Concat(body('G', "\x00\x00\x00"), pgwire.AppendReady(nil, 'I')), slices.Concat(body('W', "\x00\x00\x00"), body('d', "x")),
			slices.Concat(body('H', "\x00\x00\x00"), body('d', "x"), body('c', ""), pgwire.AppendTag(nil, "COPY 1"), pgwire.AppendReady(nil, 'I')),
			slices.Concat(pgwire.AppendError(nil, pgwire.Fields{Severity: "ERROR", Code: "42601", Message: "m"}), pgwire.AppendReady(nil, 'I'), pgwire.AppendReady(nil, 'I')),
			frame('D', 100, "x"), frame('E', 1<<30, "SERROR\x00"), frame('Z', 3, ""), body('A', "\x00\x00\x00\x01c\x00p\x00"), body('S', "a\x00b\x00"),
		} {
			f.Add(when, seed)
		}
	}
	questions := [][]byte{
		pgwire.AppendQuery(nil, one), extended(one), append(extended(one), pgwire.AppendQuery(nil, victimQ)...),
		append(pgwire.AppendQuery(nil, "BEGIN"), extended(one)...), pgwire.AppendQuery(nil, "SELECT f(a) FROM t"),
		append(pgwire.AppendQuery(nil, "SET a TO 1"), body('d', "copy")...),
	}
	f.Fuzz(func(t *testing.T, when byte, b []byte) {
		s.script.Store(&script{when, b})
		c := fakepg.Dial(t, p.port)
		c.Send(pgwire.AppendStartup(nil, "fuzz", "db", nil))
		c.Send(questions[int(when/6)%len(questions)])
		for ready := 0; ready < 2; { // that of the login, that of an answer, or the end of everything
			m, err := c.TryNext()
			if err != nil {
				break
			}
			if m.Type == pgwire.ReadyForQuery {
				ready++
			}
		}
		c.CloseWrite()
		_ = c.Rest()
		c.Close()
		p.settle(t)
		p.pool.CloseIdle(everyConn)
	})
}
