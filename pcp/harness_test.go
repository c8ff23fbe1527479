package pcp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/logging"
)

const (
	testUser     = "pcpadm"
	testPassword = "secret"
)

// limit bounds what a test waits for.
const limit = time.Minute

// world is a Control that remembers what it was asked for.
type world struct {
	view   *cluster.View
	gauges *cluster.Gauges
	probes []NodeProbe
	cache  bool // the query cache is on
	rotate error

	mu    sync.Mutex
	calls []string // guarded by mu

	// hold, if not nil, keeps Probe, Quiesce and Recover waiting until it is closed or their context ends.
	hold  chan struct{}
	began chan struct{} // gets a token when one of them begins
	ended chan error    // gets the cause of its end
}

func newWorld() *world {
	since := time.Unix(1795198404, 0)
	return &world{
		view: &cluster.View{
			Mode: cluster.ModeStreaming, Primary: 0,
			Nodes: []cluster.Node{
				{ID: 0, Host: "127.0.0.1", Port: 15432, Weight: 1, Status: cluster.StatusUp, Role: cluster.RolePrimary, LastStatusChange: since},
				{ID: 1, Host: "127.0.0.1", Port: 15433, Weight: 1, Status: cluster.StatusUp, Role: cluster.RoleStandby, LastStatusChange: since},
			},
		},
		gauges: &cluster.Gauges{Nodes: []cluster.NodeGauge{{}, {ReplicationState: "streaming", SyncState: "async"}}},
		probes: []NodeProbe{{"up", "primary"}, {"up", "standby"}},
		began:  make(chan struct{}, 1), ended: make(chan error, 1),
	}
}

func (w *world) called(what string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, what)
	return nil
}

func (w *world) wait(ctx context.Context) error {
	if w.hold == nil {
		return nil
	}
	w.began <- struct{}{}
	select {
	case <-w.hold:
	case <-ctx.Done():
	}
	cause := context.Cause(ctx) // once: who hears of the end may stop the server
	w.ended <- cause
	return cause
}

func (w *world) Attach(_ context.Context, id cluster.NodeID) error {
	if id >= cluster.MaxNodes {
		return &Error{Message: "invalid failback request, node id: " + strconv.Itoa(int(id)) +
			" is out of range. node id must be between [0 and 128]"}
	}
	return w.called("attach " + strconv.Itoa(int(id)))
}

func (w *world) CheckDetach(id cluster.NodeID) error {
	if !w.view.Live(id) {
		return &Error{Message: "invalid degenerate backend request, node id : " + strconv.Itoa(int(id)) +
			" status: [0] is not valid for failover"}
	}
	return nil
}

func (w *world) CheckPromote(id cluster.NodeID, _ bool) error {
	if id == w.view.Primary {
		return &Error{
			Fatal: true, Message: "invalid promote request",
			Detail: "specified node is already primary node, can't promote node id " + strconv.Itoa(int(id)),
		}
	}
	return nil
}

func (w *world) Quiesce(ctx context.Context) (func(), error) {
	_ = w.called("quiesce")
	return func() { _ = w.called("resume") }, w.wait(ctx)
}

func (w *world) Detach(_ context.Context, id cluster.NodeID, settled bool) error {
	return w.called("detach " + strconv.Itoa(int(id)) + map[bool]string{true: " and settle"}[settled])
}

func (w *world) Promote(_ context.Context, id cluster.NodeID, switchover, settled bool, progress func(string)) error {
	if err := w.CheckPromote(id, switchover); err != nil {
		return err
	}
	if switchover {
		progress("first phase")
		progress("second phase")
	}
	return w.called("promote " + strconv.Itoa(int(id)) + map[bool]string{true: " switchover"}[switchover] +
		map[bool]string{true: " and settle"}[settled])
}

func (w *world) Recover(ctx context.Context, id cluster.NodeID) error {
	if err := w.wait(ctx); err != nil {
		return err
	}
	return w.called("recover " + strconv.Itoa(int(id)))
}

func (w *world) Elsewhere(_ context.Context, c ClusterCommand, _ StopMode) error {
	return w.called("elsewhere " + string(c))
}

func (w *world) Stop(mode StopMode) error { return w.called("stop " + string(rune(mode))) }
func (w *world) Reload() error            { return w.called("reload") }

func (w *world) RotateLog() error {
	if w.rotate != nil {
		return w.rotate
	}
	return w.called("rotate")
}

func (w *world) InvalidateQueryCache() error {
	if !w.cache {
		return &Error{Message: "query cache is not enabled"}
	}
	return w.called("invalidate")
}

func (w *world) Cluster() (*cluster.View, *cluster.Gauges) { return w.view, w.gauges }

func (w *world) Probe(ctx context.Context, _ cluster.NodeID) []NodeProbe {
	_ = w.wait(ctx)
	return w.probes
}

func (w *world) HealthCheckStats() [][]string {
	return [][]string{
		{"0", "127.0.0.1"},
		{
			"1", "127.0.0.1", "15433", "up", "standby", "2026-11-20 18:13:24", "12", "12", "0", "0", "0", "0.000000", "0", "29", "2",
			"7.583333", "2026-11-20 18:13:57", "2026-11-20 18:13:57", "", "",
		},
	}
}

func (w *world) Processes(context.Context) []int { return []int{17256, 17257, 17258} }

func (w *world) Pools(context.Context) []Pool {
	return []Pool{
		{20004, []string{
			"2026-11-20 18:13:24 (4:33 before process restarting)", "2", "0", "0", "test", "postgres", "2026-11-20 18:13:30",
			"2026-11-20 18:13:33", "2026-11-20 18:13:33", "0", "3", "0", "2", "20072", "0", "Wait for connection", "0", "127.0.0.1",
			"33338", "DISCARD ALL",
		}},
		{20005, []string{
			"2026-11-20 18:12:35", "0", "0", "0", "", "", "", "", "", "0", "0", "0", "0", "0", "0", "Wait for connection", "0", "", "", "",
		}},
	}
}

func (w *world) PoolStatus(context.Context) []Parameter {
	return []Parameter{{"backend_clustering_mode", "1", "clustering mode"}, {"port", "9999", "port"}}
}

func (w *world) Watchdog(id int) (string, error) {
	switch id {
	case -1:
		return `{"RemoteNodeCount":1}`, nil
	default:
		return "", &Error{Message: "PCP: informing watchdog info failed", Detail: "watchdog is not enabled"}
	}
}

// served is a running server.
type served struct {
	addr     string
	log      *logText
	password string // path of pcp.conf
	set      func(func(*Settings))
	stop     func() // ends it and waits
}

func serve(t *testing.T, w Control) *served {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "pcp.conf")
	writeFile(t, file, "# comment\n"+testUser+":"+StoredDigest(testPassword)+"\n")
	var mu sync.Mutex
	settings := Settings{NodeInfo: conf.NodeInfo47}
	text := &logText{}
	c := logging.Default()
	c.Writer, c.LinePrefix = text, "%a: "
	out, err := logging.New(c)
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(Parts{
		Control: w, PasswordFile: file, Listeners: []net.Listener{l}, Log: out.Logger(),
		Settings: func() Settings { mu.Lock(); defer mu.Unlock(); return settings },
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(limit):
			t.Error("the server does not end")
		}
	})
	t.Cleanup(stop)
	set := func(change func(*Settings)) { mu.Lock(); defer mu.Unlock(); change(&settings) }
	return &served{addr: l.Addr().String(), log: text, password: file, set: set, stop: stop}
}

// logText is a log that is read while it is written.
type logText struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (l *logText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// peer is a client that says what it is told to.
type peer struct {
	t *testing.T
	net.Conn
	in *Reader
}

func (s *served) dial(t *testing.T) *peer {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	return &peer{t: t, Conn: conn, in: NewReader(conn, MaxReply)}
}

func (p *peer) send(data []byte) {
	p.t.Helper()
	if _, err := p.Write(data); err != nil {
		p.t.Fatal(err)
	}
}

// ask sends a request of strings and returns the next packet.
func (p *peer) ask(typ byte, fields ...string) Packet {
	p.t.Helper()
	p.send(AppendStrings(nil, typ, fields...))
	return p.next()
}

func (p *peer) next() Packet {
	p.t.Helper()
	got, err := p.in.Next()
	if err != nil {
		p.t.Fatal(err)
	}
	return Packet{got.Type, bytes.Clone(got.Payload)}
}

// closed waits for the server to close the connection.
func (p *peer) closed() {
	p.t.Helper()
	if got, err := p.in.Next(); !errors.Is(err, io.EOF) {
		p.t.Fatalf("not closed: %c %q, %v", got.Type, got.Payload, err)
	}
}

func (p *peer) salt() (salt [SaltSize]byte) {
	p.t.Helper()
	got := p.ask(TypeSalt)
	if got.Type != ReplySalt || len(got.Payload) != SaltSize {
		p.t.Fatalf("%c %q", got.Type, got.Payload)
	}
	return [SaltSize]byte(got.Payload)
}

// login authenticates.
func (p *peer) login() *peer {
	p.t.Helper()
	got := p.ask(TypeAuthenticate, testUser, Digest(StoredDigest(testPassword), testUser, p.salt()))
	if got.Type != ReplyAuthenticate || string(got.Payload) != AuthenticationOK+"\x00" {
		p.t.Fatalf("%c %q", got.Type, got.Payload)
	}
	return p
}

// refused reads an error packet and compares it.
func (p *peer) refused(got Packet, severity, message, detail string) {
	p.t.Helper()
	n, err := ParseNotice(got.Payload)
	if got.Type != ReplyError || err != nil || n.Severity != severity || n.Message != message || n.Detail != detail {
		p.t.Errorf("%c %+v, %v; want %s %q %q", got.Type, n, err, severity, message, detail)
	}
}
