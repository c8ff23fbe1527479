package web

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// ask sends a request on a connection of its own.
func (s *served) ask(t *testing.T, method, path string) (*http.Response, string) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.address+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := (&http.Client{Transport: transport, Timeout: 20 * time.Second}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func TestRequests(t *testing.T) {
	t.Parallel()
	s := serve(t, maxConns)
	for _, c := range []struct {
		method, path string
		status       int
		body         string // part of it; "" is no body
	}{
		{"GET", "/health", 200, `"status":"ok"`},
		{"HEAD", "/health", 200, ""},
		{"OPTIONS", "/health", 200, ""},
		{"HEAD", "/nodes/0/replica", 503, ""},
		{"OPTIONS", "/nodes/0/replica", 503, ""},
		{"POST", "/health", 405, `"error"`},
		{"DELETE", "/nodes/1", 405, `"error"`},
		{"PUT", "/nothing", 405, `"error"`},
		{"GET", "/", 404, `"error"`},
		{"GET", "/nothing", 404, `"error"`},
		{"GET", "/health/", 404, `"error"`},
		{"GET", "//health", 404, `"error"`},
		{"GET", "/Health", 404, `"error"`},
		{"GET", "/nodes/2", 404, `"error"`},
		{"GET", "/nodes/-1", 404, `"error"`},
		{"GET", "/nodes/x", 404, `"error"`},
		{"GET", "/nodes/99999999999999999999", 404, `"error"`},
		{"GET", "/nodes/1/", 404, `"error"`},
		{"GET", "/nodes/1/master", 404, `"error"`},
		{"GET", "/nodes/1/replica/", 404, `"error"`},
		{"GET", "/nodes/", 404, `"error"`},
		{"GET", "/nodes", 200, `"node_id":1`},
		{"GET", "/nodes/1", 200, `"answer":"ok"`},
		{"GET", "/nodes/1/primary", 503, `"reason":"node 1 is a standby"`},
		{"GET", "/replica?lag=1MB", 200, `"lag_bytes":4096`},
		{"GET", "/replica?lag=1kB", 503, "node 1 is 4096 bytes late"},
		{"GET", "/replica?lag=much", 400, "lag must be"},
		{"GET", "/nodes/1/replica?lag=%00", 400, "lag must be"},
		{"GET", "/replica?lag=%zz", 400, "lag must be"},
		{"GET", "/replica?lag=1MB;", 400, "lag must be"},
		{"GET", "/read-write", 200, `"primary":0`},
		{"GET", "/status", 200, `"watchdog":{"state":"LEADER"`},
		{"GET", "/status", 200, `"held_sessions":1`},
		{"GET", "/leader", 200, `"vip_held":true`},
		{"GET", "/metrics", 200, "pgpool_node_up{"},
		{"HEAD", "/metrics", 200, ""},
		{"OPTIONS", "/metrics", 200, ""},
	} {
		res, body := s.ask(t, c.method, c.path)
		if res.StatusCode != c.status || !strings.Contains(body, c.body) || c.body == "" && body != "" {
			t.Errorf("%s %s: %d %s", c.method, c.path, res.StatusCode, body)
		}
		if c.path != "/metrics" && c.method == "GET" && !json.Valid([]byte(body)) {
			t.Errorf("%s is no JSON", body)
		}
		if allow := res.Header.Get("Allow"); c.status == 405 && allow == "" {
			t.Errorf("%s %s: nothing is said of what is allowed", c.method, c.path)
		}
	}
}

// What clients say that is no HTTP, or too much of it, is answered and over.
func TestOddClients(t *testing.T) {
	t.Parallel()
	s := serve(t, maxConns)
	for name, c := range map[string]struct{ send, want string }{
		"HTTP/0.9":        {"GET /health\r\n\r\n", "HTTP/1.1 400"},
		"garbage":         {"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", "HTTP/1.1 400"},
		"PostgreSQL":      {"\x00\x00\x00\x08\x04\xd2\x16\x2f\r\n\r\n", "HTTP/1.1 400"},
		"no host":         {"GET /health HTTP/1.1\r\n\r\n", "HTTP/1.1 400"},
		"HTTP/1.0":        {"GET /liveness HTTP/1.0\r\n\r\n", "HTTP/1.0 200"},
		"HTTP/2":          {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/1.1 405"},
		"huge headers":    {"GET /health HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", "HTTP/1.1 431"},
		"huge line":       {"GET /" + strings.Repeat("x", 64<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 431"},
		"a body":          {"GET /liveness HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 200"},
		"an endless body": {"GET /liveness HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\nhello", "HTTP/1.1 200"},
		"two lengths":     {"GET /liveness HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "HTTP/1.1 400"},
		"asterisk":        {"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 404"},
		"CONNECT":         {"CONNECT a:1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 405"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp4", s.address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(conn, c.send) // it may hang up in the middle
			line, err := bufio.NewReader(conn).ReadString('\n')
			if err != nil || !strings.HasPrefix(line, c.want) {
				t.Errorf("got %q, %v, want %s", line, err, c.want)
			}
		})
	}
}

// Who opens connections and says nothing, or only half of something, keeps nobody else from being answered.
func TestIdlersMakeRoom(t *testing.T) {
	t.Parallel()
	const most = 4
	s := serve(t, most)
	var conns []net.Conn
	for i := range 10 * most {
		conn, err := net.Dial("tcp4", s.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
		if i%2 == 0 {
			_, _ = io.WriteString(conn, "GET /health HTTP/1.1\r\nHost: a\r\nX-Slow: ")
		}
		if i%8 != 7 {
			continue
		}
		if res, body := s.ask(t, "GET", "/health"); res.StatusCode != 200 {
			t.Errorf("after %d connections: %d %s", i, res.StatusCode, body)
		}
		if n := s.count(); n > most {
			t.Errorf("%d connections", n)
		}
	}
	if err := conns[0].SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := conns[0].Read(make([]byte, 1)); err == nil {
		t.Errorf("the oldest connection was told %d bytes instead of being closed", n)
	}
}

// A request that is being answered is not cut for a new connection; without any other the new one is.
func TestBusyConnectionsStay(t *testing.T) {
	t.Parallel()
	b := &bound{most: 1}
	first, other := net.Pipe()
	defer other.Close()
	c := b.admit(first)
	done := b.serving(withConn(t.Context(), c))
	second, far := net.Pipe()
	defer far.Close()
	if b.admit(second) != nil {
		t.Error("there was room for another one")
	}
	if _, err := far.Write([]byte("x")); err == nil {
		t.Error("the new connection is open")
	}
	done()
	third, end := net.Pipe()
	defer end.Close()
	if b.admit(third) == nil {
		t.Error("there was no room")
	}
	if _, err := other.Write([]byte("x")); err == nil {
		t.Error("the idle connection is open")
	}
	_ = c.Close() // once more
	for len(b.open) > 0 {
		_ = b.open[0].Close()
	}
	b.all.Wait()
}

// A bug of ours ends one answer, and is in the log.
func TestPanicIsTold(t *testing.T) {
	t.Parallel()
	s := serve(t, maxConns)
	s.Server.parts.Held = func() []time.Duration { panic("a bug") }
	conn, err := net.Dial("tcp4", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
	if _, err := io.ReadAll(conn); err != nil {
		t.Error(err)
	}
	if text := s.log.String(); !strings.Contains(text, "internal error in an HTTP request") || !strings.Contains(text, "a bug") {
		t.Errorf("the log has %s", text)
	}
}

// Clients that ask for much and read nothing hold nobody up.
func TestSlowReaders(t *testing.T) {
	t.Parallel()
	const most = 4
	s := serve(t, most)
	s.databases = 300
	ask := strings.Repeat("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", 200)
	for range most {
		conn, err := net.Dial("tcp4", s.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, ask)
	}
	for _, path := range []string{"/health", "/metrics", "/health"} {
		if res, body := s.ask(t, "GET", path); res.StatusCode != 200 {
			t.Errorf("%s: %d %.200s", path, res.StatusCode, body)
		}
	}
}
