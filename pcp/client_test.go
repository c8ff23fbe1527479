package pcp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"gopgpool/conf"
)

func (s *served) client(t *testing.T) *Client {
	t.Helper()
	c, err := Dial(t.Context(), "tcp", s.addr, ClientOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.Authenticate(t.Context(), testUser, testPassword); err != nil {
		t.Fatal(err)
	}
	return c
}

// What our server sends our client reads, in both layouts of nodes.
func TestClientReadsRows(t *testing.T) {
	s := serve(t, newWorld())
	c, ctx := s.client(t), t.Context()
	if n, err := c.NodeCount(ctx); n != 2 || err != nil {
		t.Errorf("%d nodes, %v", n, err)
	}
	want := []NodeInfo{
		{
			Host: "127.0.0.1", Port: 15432, Status: 2, BackendStatus: "up", Weight: 0.5, Role: 2, BackendRole: "primary",
			LastStatusChange: time.Unix(1795198404, 0),
		},
		{
			Host: "127.0.0.1", Port: 15433, Status: 2, BackendStatus: "up", Weight: 0.5, Role: 3, BackendRole: "standby",
			ReplicationState: "streaming", SyncState: "async", LastStatusChange: time.Unix(1795198404, 0),
		},
	}
	for _, layout := range []conf.NodeInfoLayout{conf.NodeInfo47, conf.NodeInfo43} {
		s.set(func(x *Settings) { x.NodeInfo = layout })
		if rows, err := c.NodeInfo(ctx, AllNodes); !reflect.DeepEqual(rows, want) || err != nil {
			t.Errorf("layout %v: %+v, %v", layout, rows, err)
		}
	}
	h, err := c.HealthCheckStats(ctx, 1)
	if h.Total != 12 || h.MaxDuration != 29 || h.AverageDuration != 7.583333 || h.LastFailure != "" || h.LastCheck == "" || err != nil {
		t.Errorf("%+v, %v", h, err)
	}
	if pids, err := c.Processes(ctx); !reflect.DeepEqual(pids, []int{17256, 17257, 17258}) || err != nil {
		t.Errorf("%v, %v", pids, err)
	}
	rows, err := c.ProcessInfo(ctx, AllProcesses)
	if err != nil || len(rows) != 2 || rows[0].PID != 20004 || rows[0].Statement != "DISCARD ALL" || rows[1].Database != "" ||
		!rows[1].HasClient {
		t.Errorf("%+v, %v", rows, err)
	}
	parameters, err := c.PoolStatus(ctx)
	if want := []Parameter{{"backend_clustering_mode", "1", "clustering mode"}, {"port", "9999", "port"}}; !reflect.DeepEqual(parameters, want) {
		t.Errorf("%v, %v", parameters, err)
	}
	if _, err := c.WatchdogInfo(ctx, AllWatchdogNodes); !errors.Is(err, ErrBadResponse) {
		t.Errorf("a document without keys: %v", err)
	}
}

// An ERROR leaves the connection usable; behind a FATAL it is lost.
func TestClientActions(t *testing.T) {
	w := newWorld()
	w.cache = true
	c, ctx := serve(t, w).client(t), t.Context()
	for _, err := range []error{
		c.Attach(ctx, 1), c.Detach(ctx, 1, false), c.Detach(ctx, 1, true), c.Promote(ctx, 1, false, false), c.Promote(ctx, 1, true, true),
		c.Recover(ctx, 1), c.Reload(ctx, false), c.RotateLog(ctx, true), c.InvalidateQueryCache(ctx), c.Stop(ctx, StopFast, true),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	var refused *ServerError
	if err := c.Attach(ctx, 128); !errors.As(err, &refused) || refused.Fatal() {
		t.Errorf("%v", err)
	}
	if n, err := c.NodeCount(ctx); n != 2 || err != nil {
		t.Errorf("behind an ERROR: %v", err)
	}
	w.mu.Lock()
	got := strings.Join(w.calls, ", ")
	w.mu.Unlock()
	const want = "attach 1, detach 1, quiesce, detach 1 and settle, resume, promote 1, quiesce, promote 1 switchover and settle, resume, " +
		"recover 1, reload, elsewhere LOGROTATE_CLUSTER, rotate, invalidate, elsewhere SHUTDOWN_CLUSTER, stop f"
	if got != want {
		t.Errorf("calls\n%s\nwant\n%s", got, want)
	}
	if err := c.Promote(ctx, 0, false, false); !errors.As(err, &refused) || !refused.Fatal() {
		t.Errorf("%v", err)
	}
	if _, err := c.NodeCount(ctx); !errors.Is(err, ErrConnectionLost) {
		t.Errorf("behind a FATAL: %v", err)
	}
}

func TestClientIsRefused(t *testing.T) {
	s := serve(t, newWorld())
	for user, want := range map[string]string{
		testUser:                 "FATAL:  authentication failed for user \"pcpadm\"\nDETAIL:  username and/or password does not match",
		strings.Repeat("u", 128): ErrUserTooLong.Error(),
	} {
		c, err := Dial(t.Context(), "tcp", s.addr, ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Authenticate(t.Context(), user, "wrong"); err == nil || err.Error() != want {
			t.Errorf("%v", err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A context that ends frees whoever waits for a server that does not answer.
func TestClientContext(t *testing.T) {
	w := newWorld()
	w.hold, w.began, w.ended = make(chan struct{}), make(chan struct{}, 1), make(chan error, 1)
	c := serve(t, w).client(t)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		<-w.began
		cancel(cause)
	}()
	if err := c.Recover(ctx, 1); !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
	close(w.hold)
	if err := <-w.ended; err != nil {
		t.Errorf("what had begun was not finished: %v", err)
	}
}

// told runs f with a client whose server says reply to whatever is asked, and hangs up.
func told(t *testing.T, reply string, f func(*Client)) {
	t.Helper()
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = NewReader(theirs, MaxRequest).Next()
		_, _ = io.WriteString(theirs, reply)
		_ = theirs.Close()
	}()
	c := NewClient(ours, ClientOptions{})
	f(c)
	_ = c.Close()
	<-done
}

func TestClientMeetsNonsense(t *testing.T) {
	packet := func(typ byte, fields ...string) string { return string(AppendStrings(nil, typ, fields...)) }
	nodes := func(c *Client) error { _, err := c.NodeInfo(t.Context(), AllNodes); return err }
	count := func(c *Client) error { _, err := c.NodeCount(t.Context()); return err }
	pids := func(c *Client) error { _, err := c.Processes(t.Context()); return err }
	login := func(c *Client) error { return c.Authenticate(t.Context(), "u", "p") }
	for _, tc := range []struct {
		name, reply string
		do          func(*Client) error
		want        string
	}{
		{"nothing", "", count, "unable to read data from socket."},
		{"half a packet", "l\x00\x00\x00\x16Comm", count, "unable to read data from socket."},
		{"endless", "l\x7f\xff\xff\xff", count, "invalid PCP packet: incorrect packet length (2147483647)"},
		{"another letter", packet('x'), count, `invalid PCP packet type ="x"`},
		{"no text", packet('l'), count, "bad response from server"},
		{"no success", packet('l', "Nope"), count, `bad response from server: "Nope"`},
		{"no number", packet('l', TagComplete), count, "bad response from server: fields are missing"},
		{"bad number", packet('l', TagComplete, "x"), count, `bad response from server: node count is "x"`},
		{"bad error", packet('E', "x"), count, "bad response from server: pcp: malformed error packet"},
		{"too few processes", packet('n', TagComplete, "2", "7"), pids, "bad response from server: 1 processes of 2"},
		{"record of old", packet('i', TagComplete, "h", "1"), nodes, `bad response from server: "CommandComplete"`},
		{"short row", packet('i', TagArraySize, "1") + packet('i', TagNodeInfo, "h"), nodes, "bad response from server: node information of 1 fields"},
		{"another row", packet('i', TagArraySize, "1") + packet('i', "X"), nodes, `bad response from server: "X"`},
		{"no end", packet('i', TagArraySize, "0"), nodes, "unable to read data from socket."},
		{"short salt", "m\x00\x00\x00\x07abc", login, "bad response from server: a salt of 3 bytes"},
	} {
		told(t, tc.reply, func(c *Client) {
			if err := tc.do(c); err == nil || err.Error() != tc.want {
				t.Errorf("%s: %v, want %s", tc.name, err, tc.want)
			}
		})
	}
}

func FuzzClient(f *testing.F) {
	for _, reply := range []string{
		"l\x00\x00\x00\x16CommandComplete\x002\x00", "E\x00\x00\x00\x0eSERROR\x00Mx\x00\x00",
		"i\x00\x00\x00\x10ArraySize\x001\x00i\x00\x00\x00\x0dNodeInfo\x00i\x00\x00\x00\x14CommandComplete\x00",
		"w\x00\x00\x00\x18CommandComplete\x00{}\x00\x00",
	} {
		f.Add(reply)
	}
	f.Fuzz(func(t *testing.T, reply string) {
		ctx := t.Context()
		for i, do := range []func(*Client) error{
			func(c *Client) error { _, err := c.NodeCount(ctx); return err },
			func(c *Client) error { _, err := c.NodeInfo(ctx, 0); return err },
			func(c *Client) error { _, err := c.HealthCheckStats(ctx, 0); return err },
			func(c *Client) error { _, err := c.Processes(ctx); return err },
			func(c *Client) error { _, err := c.ProcessInfo(ctx, 0); return err },
			func(c *Client) error { _, err := c.PoolStatus(ctx); return err },
			func(c *Client) error { _, err := c.WatchdogInfo(ctx, 0); return err },
			func(c *Client) error { return c.Authenticate(ctx, "u", "p") },
		} {
			told(t, reply, func(c *Client) {
				if err := do(c); err != nil && fmt.Sprint(err) == "" {
					t.Errorf("%d: an error without a text", i)
				}
			})
		}
	})
}
