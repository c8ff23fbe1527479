package proxy

import (
	"bytes"
	"encoding/binary"
	"net"
	"slices"
	"sync"
	"testing"

	"gopgpool/pgwire"
)

// The benchmarks drive one session over loopback sockets with a server and a client that allocate nothing, so that what is
// counted is the proxy's.

// readStatement is what pgbench -S asks.
const readStatement = "SELECT abalance FROM pgbench_accounts WHERE aid = 123456"

// cannedServer answers every statement alike, at once and without allocating. Catalogue questions get: an ordinary table.
type cannedServer struct {
	listener net.Listener
	running  sync.WaitGroup
	mu       sync.Mutex
	conns    []net.Conn // guarded by mu
}

func newCannedServer(tb testing.TB) *cannedServer {
	tb.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	s := &cannedServer{listener: l}
	s.running.Go(s.accept)
	tb.Cleanup(s.close)
	return s
}

func (s *cannedServer) port() int { return s.listener.Addr().(*net.TCPAddr).Port }

func (s *cannedServer) close() {
	_ = s.listener.Close()
	s.mu.Lock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
}

func (s *cannedServer) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns = append(s.conns, c)
		s.mu.Unlock()
		s.running.Go(func() { serveCanned(c) })
	}
}

// canned are its answers, by what is asked for. status is that of the transaction.
type canned struct {
	row, catalogue, describe []byte
	status                   byte
}

func serveCanned(c net.Conn) {
	in := make([]byte, 0, 1<<20)
	out := make([]byte, 0, 1<<20)
	columns := pgwire.AppendRowDescription(nil, []string{"abalance"})
	answers := canned{
		row: slices.Concat(columns, pgwire.AppendDataRow(nil, []string{"0"}), pgwire.AppendTag(nil, "SELECT 1"), pgwire.AppendReady(nil, 'I')),
		catalogue: slices.Concat(
			pgwire.AppendRowDescription(nil, []string{"a", "b", "c", "d", "e", "f", "g", "h"}),
			pgwire.AppendDataRow(nil, []string{"0", "t", "f", "f", "f", "f", "f", "f"}), pgwire.AppendTag(nil, "SELECT 1"), pgwire.AppendReady(nil, 'I')),
		describe: columns, status: 'I',
	}
	started := false
	for {
		n, err := c.Read(in[len(in):cap(in)])
		if err != nil {
			return
		}
		in = in[:len(in)+n]
		out = out[:0]
		if !started {
			size := int(binary.BigEndian.Uint32(in))
			in = in[:copy(in, in[size:])]
			started = true
			out = append(out, pgwire.AppendAuthentication(nil, 0, nil)...)
			out = append(out, pgwire.AppendReady(nil, 'I')...)
		}
		used := 0
		for {
			typ, size, ok, err := pgwire.Header(in[used:])
			if err != nil || !ok || size > len(in)-used {
				break
			}
			out = answers.to(out, typ, in[used+pgwire.HeaderSize:used+size])
			used += size
		}
		in = in[:copy(in, in[used:])]
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

func (a *canned) to(out []byte, typ byte, body []byte) []byte {
	switch typ {
	case pgwire.Query:
		if bytes.HasPrefix(body, []byte("SELECT 0, ")) {
			return append(out, a.catalogue...)
		}
		switch {
		case bytes.HasPrefix(body, []byte("BEGIN")):
			a.status = 'T'
		case bytes.HasPrefix(body, []byte("COMMIT")):
			a.status = 'I'
		}
		out = append(out, a.row...)
		out[len(out)-1] = a.status
		return out
	case pgwire.Parse:
		return pgwire.AppendSimple(out, pgwire.ParseComplete)
	case pgwire.Bind:
		return pgwire.AppendSimple(out, pgwire.BindComplete)
	case pgwire.Describe:
		if body[0] == 'S' {
			out = append(out, pgwire.ParameterDescription, 0, 0, 0, 6, 0, 0)
		}
		return append(out, a.describe...)
	case pgwire.Execute:
		return pgwire.AppendTag(pgwire.AppendDataRow(out, rowZero[:]), "SELECT 1")
	case pgwire.Close:
		return pgwire.AppendSimple(out, pgwire.CloseComplete)
	case pgwire.Sync:
		return pgwire.AppendReady(out, a.status)
	}
	return out
}

var rowZero = [1]string{"0"}

// benchClient sends a message and reads up to ReadyForQuery, without allocating.
type benchClient struct {
	tb  testing.TB
	tcp net.Conn
	in  []byte
}

// exchange sends b and waits for n ReadyForQuery, which end with the last byte that comes.
func (c *benchClient) exchange(b []byte, n int) {
	if _, err := c.tcp.Write(b); err != nil {
		c.tb.Fatal(err)
	}
	have := 0
	for n > 0 {
		k, err := c.tcp.Read(c.in[have:])
		if err != nil {
			c.tb.Fatal(err)
		}
		have += k
		used := 0
		for {
			typ, size, ok, err := pgwire.Header(c.in[used:have])
			if err != nil || typ == pgwire.ErrorResponse {
				c.tb.Fatalf("%v, %q", err, c.in[used:have])
			}
			if !ok || size > have-used {
				break
			}
			if typ == pgwire.ReadyForQuery {
				n--
			}
			used += size
		}
		have = copy(c.in, c.in[used:have])
	}
}

// benchSession is a client of a proxy in front of canned servers. The statements it is about have been routed before.
func benchSession(b *testing.B, nodes int, conf string) *benchClient {
	b.Helper()
	p := newTestProxy(b, setup{conf: conf, servers: func(tb testing.TB) (ports []int) {
		for range nodes {
			ports = append(ports, newCannedServer(tb).port())
		}
		return ports
	}})
	tcp, err := net.DialTCP("tcp4", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: p.port})
	if err != nil {
		b.Fatal(err)
	}
	c := &benchClient{tb: b, tcp: tcp, in: make([]byte, 1<<16)}
	b.Cleanup(func() { _ = tcp.Close() })
	c.exchange(pgwire.AppendStartup(nil, "bench", "db", nil), 1)
	return c
}

func runBench(b *testing.B, nodes int, ask ...[]byte) { runBenchWith(b, nodes, "", ask...) }

func runBenchWith(b *testing.B, nodes int, conf string, ask ...[]byte) {
	c := benchSession(b, nodes, "statement_level_load_balance = on\nlog_min_messages = error\n"+conf)
	for range 100 {
		for _, a := range ask {
			c.exchange(a, 1)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; b.Loop(); i++ {
		c.exchange(ask[i%len(ask)], 1)
	}
	b.StopTimer()
}

// BenchmarkWarmSimpleQuery is a statement whose shape is known, in the simple protocol, with analysis, look-up of its table
// and routing over one or three nodes. It allocates nothing.
func BenchmarkWarmSimpleQuery(b *testing.B) {
	first, second := pgwire.AppendQuery(nil, readStatement), pgwire.AppendQuery(nil, readStatement+"789;")
	b.Run("one node", func(b *testing.B) { runBench(b, 1, first, second) })
	b.Run("three nodes", func(b *testing.B) { runBench(b, 3, first, second) })
	b.Run("write", func(b *testing.B) {
		runBench(b, 3, pgwire.AppendQuery(nil, "UPDATE pgbench_accounts SET abalance = abalance + 42 WHERE aid = 7"))
	})
	b.Run("transaction", func(b *testing.B) {
		runBench(b, 3, pgwire.AppendQuery(nil, "BEGIN"), first, pgwire.AppendQuery(nil, "COMMIT"))
	})
}

// BenchmarkWarmCommit is a transaction that writes, without and with the question for its id.
func BenchmarkWarmCommit(b *testing.B) {
	ask := [][]byte{
		pgwire.AppendQuery(nil, "BEGIN"), pgwire.AppendQuery(nil, "UPDATE pgbench_accounts SET abalance = abalance + 42 WHERE aid = 7"),
		pgwire.AppendQuery(nil, "COMMIT"),
	}
	for _, way := range []struct{ name, conf string }{
		{"off", ""}, {"commit_outcome", "auto_failover = on\n"}, {"transaction mode", "auto_failover = on\npool_mode = transaction\n"},
	} {
		b.Run(way.name, func(b *testing.B) { runBenchWith(b, 3, way.conf, ask...) })
	}
}

// BenchmarkWarmExtended is the same with Parse, Bind, Describe, Execute, Sync of the unnamed statement.
func BenchmarkWarmExtended(b *testing.B) {
	b.Run("one node", func(b *testing.B) { runBench(b, 1, extended(readStatement), extended(readStatement+"789")) })
	b.Run("three nodes", func(b *testing.B) { runBench(b, 3, extended(readStatement), extended(readStatement+"789")) })
}

// BenchmarkWarmPrepared is Bind, Describe, Execute, Sync of a named statement.
func BenchmarkWarmPrepared(b *testing.B) {
	for _, way := range []struct {
		name  string
		nodes int
		conf  string
	}{{"1 nodes", 1, ""}, {"3 nodes", 3, ""}, {"transaction mode", 1, "pool_mode = transaction\n"}} {
		b.Run(way.name, func(b *testing.B) {
			c := benchSession(b, way.nodes, "statement_level_load_balance = on\nlog_min_messages = error\n"+way.conf)
			c.exchange(append(pgwire.AppendParse(nil, "s", readStatement), pgwire.AppendSimple(nil, pgwire.Sync)...), 1)
			ask := slices.Concat(pgwire.AppendBind(nil, "", "s"), body(pgwire.Describe, "P\x00"), pgwire.AppendExecute(nil, ""), pgwire.AppendSimple(nil, pgwire.Sync))
			for range 100 {
				c.exchange(ask, 1)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for b.Loop() {
				c.exchange(ask, 1)
			}
			b.StopTimer()
		})
	}
}
