package ipc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"gopgpool/logging"
)

// place is a directory whose name is short enough for a socket.
func place(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ipc-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// start runs a server until the test ends.
func start(t *testing.T, w Watchdog, change func(*Server)) (dir string) {
	t.Helper()
	dir = place(t)
	s, err := New(Config{Dir: dir, Port: 9000, Key: func() string { return "sesame" }}, w, logging.Logger{})
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(s)
	}
	run(t, s)
	return dir
}

// run runs s; stop ends it and waits.
func run(t *testing.T, s *Server) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("Run does not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

func dial(t *testing.T, dir string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", SocketPath(dir, 9000))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	return conn
}

func TestClientAndServer(t *testing.T) {
	t.Parallel()
	w := &world{}
	dir := start(t, w, nil)
	c := NewClient(dir, 9000, "sesame")
	state, document, err := c.Nodes(t.Context(), AllNodes)
	if err != nil || string(document) != allNodes || len(state.Nodes) != 3 {
		t.Errorf("%+v, %s, %v", state, document, err)
	}
	if _, document, err := c.Nodes(t.Context(), 2); err != nil || string(document) != one(node2) {
		t.Errorf("%s, %v", document, err)
	}
	for name, want := range map[string]any{"WDState": 7, "Escalated": true, "a long": int64(1 << 40), "a string": "x\"\n"} {
		if got, err := c.Variable(t.Context(), name); err != nil || got != want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if err := c.StatusChange(t.Context(), 2, true, `said "no"`); err != nil {
		t.Error(err)
	}
	if err := c.StatusChange(t.Context(), 1, false, ""); err != nil {
		t.Error(err)
	}
	if want := []string{`2 dead=true "said \"no\""`, `1 dead=false ""`}; !reflect.DeepEqual(w.all(), want) {
		t.Errorf("%q", w.all())
	}
}

func TestClientIsRefused(t *testing.T) {
	t.Parallel()
	dir := start(t, &world{}, nil)
	var refused *RefusedError
	_, _, err := NewClient(dir, 9000, "wrong").Nodes(t.Context(), AllNodes)
	if !errors.As(err, &refused) || refused.Reply != ReplyBad || refused.Message != "authentication failed: invalid KEY" {
		t.Errorf("wrong key: %v", err)
	}
	if err := NewClient(dir, 9000, "sesame").StatusChange(t.Context(), 5, true, ""); !errors.As(err, &refused) ||
		refused.Message != "invalid Node ID in the event" {
		t.Errorf("unknown node: %v", err)
	}
	if _, _, err := NewClient(dir, 9001, "").Nodes(t.Context(), AllNodes); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no server: %v", err)
	}
}

func TestClientDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	dir := place(t)
	s, err := New(Config{Dir: dir, Port: 9000}, &world{}, logging.Logger{}) // it does not run
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := NewClient(dir, 9000, "").Nodes(ctx, AllNodes); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func TestReplyThatIsNone(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		reply string
		want  error
	}{
		{"", ErrNoReply},
		{"7\x00\x00", io.ErrUnexpectedEOF},
		{"7\xff\xff\xff\xff", errTooLong},
		{"7\x00\x00\x00\x02xx", ErrNotJSON},
		{"7\x00\x00\x00\x02{}", ErrIncomplete},
		{"5\x00\x00\x00\x00", &RefusedError{Reply: ReplyTransition}},
	} {
		dir := place(t)
		l, err := net.Listen("unix", SocketPath(dir, 9000))
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = readMessage(conn, maxRequest)
			_, _ = io.WriteString(conn, tt.reply)
			_ = conn.Close()
		}()
		_, _, err = NewClient(dir, 9000, "").Nodes(t.Context(), AllNodes)
		if !errors.Is(err, tt.want) && !reflect.DeepEqual(err, tt.want) {
			t.Errorf("%q: %v, want %v", tt.reply, err, tt.want)
		}
		_ = l.Close()
		<-done
	}
}

func TestSocketFile(t *testing.T) {
	t.Parallel()
	dir := place(t)
	path := SocketPath(dir, 9000)
	if want := dir + "/.s.PGPOOLWD_CMD.9000"; path != want {
		t.Errorf("path %s", path)
	}
	// A process that was killed left its socket.
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	_ = left.Close()

	var log bytes.Buffer
	config := Config{Dir: dir, Port: 9000}
	s, err := New(config, &world{}, logging.To(&log, logging.Debug1))
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, s)
	if line := `INFO:  IPC socket path: "` + path + `"`; !strings.Contains(log.String(), line) {
		t.Errorf("the log lacks %q:\n%s", line, &log)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info, err)
	}
	if _, err := New(config, &world{}, logging.Logger{}); !errors.Is(err, ErrInUse) {
		t.Errorf("a second server: %v", err)
	}
	if _, _, err := NewClient(dir, 9000, "").Nodes(t.Context(), 0); err != nil {
		t.Errorf("after the second server: %v", err)
	}
	stop()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

func TestForeignFileIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := place(t)
	if err := os.WriteFile(SocketPath(dir, 9000), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Dir: dir, Port: 9000}, &world{}, logging.Logger{}); err == nil {
		t.Error("no error")
	}
	if text, err := os.ReadFile(SocketPath(dir, 9000)); err != nil || string(text) != "precious" {
		t.Errorf("%q, %v", text, err)
	}
	for _, dir := range []string{dir + "/nowhere", "/tmp/" + strings.Repeat("long/", 20)} {
		if _, err := New(Config{Dir: dir, Port: 9000}, &world{}, logging.Logger{}); err == nil {
			t.Errorf("no error for %s", dir)
		}
	}
}

// A client that says nothing, half of something or too much is sent away, and the others are served.
func TestHostileClients(t *testing.T) {
	t.Parallel()
	dir := start(t, &world{}, func(s *Server) { s.patience = time.Second })
	var silent []net.Conn
	for range maxConnections + 5 {
		conn := dial(t, dir)
		if _, err := io.WriteString(conn, "3\x00\x00"); err != nil {
			t.Fatal(err)
		}
		silent = append(silent, conn)
	}
	if _, _, err := NewClient(dir, 9000, "sesame").Nodes(t.Context(), 0); err != nil {
		t.Errorf("an honest client: %v", err)
	}
	for i, conn := range silent {
		if reply, err := io.ReadAll(conn); err != nil || len(reply) > 0 {
			t.Errorf("silent client %d: %q, %v", i, reply, err)
		}
	}
	long := dial(t, dir)
	_, _ = io.WriteString(long, "3\x7f\xff\xff\xff")
	reply, err := io.ReadAll(long)
	if want := appendMessage(nil, ReplyBad, bad("authentication failed: invalid data").data); err != nil || !bytes.Equal(reply, want) {
		t.Errorf("a long request: %q, %v", reply, err)
	}
}

// Run ends although clients are connected.
func TestEndWithClients(t *testing.T) {
	t.Parallel()
	dir := place(t)
	s, err := New(Config{Dir: dir, Port: 9000}, &world{}, logging.Logger{})
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, s)
	var conns []net.Conn
	for range maxConnections + 2 {
		conns = append(conns, dial(t, dir))
	}
	if _, err := conns[0].Write([]byte("3\x00\x00\x00\x0c{\"NodeID\":0}")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conns[0]); err != nil { // it is served, so others are in their places
		t.Fatal(err)
	}
	began := time.Now()
	stop()
	if took := time.Since(began); took > connectionTime/2 {
		t.Errorf("ending took %v", took)
	}
}

func TestManyClients(t *testing.T) {
	t.Parallel()
	w := &world{}
	dir := start(t, w, nil)
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() {
			c := NewClient(dir, 9000, "sesame")
			if err := c.StatusChange(t.Context(), i%3, true, fmt.Sprint(i)); err != nil {
				t.Error(err)
			}
			if _, _, err := c.Nodes(t.Context(), AllNodes); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := len(w.all()); n != 60 {
		t.Errorf("%d verdicts arrived", n)
	}
}
