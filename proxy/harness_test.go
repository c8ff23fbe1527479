package proxy

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gopgpool/auth"
	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/internal/fakepg"
	"gopgpool/logging"
	"gopgpool/loop"
	"gopgpool/pgwire"
	"gopgpool/pool"
	"gopgpool/proxy/show"
)

// setup describes a proxy in front of fake servers. The zero value is one primary, one loop, no authentication.
type setup struct {
	nodes    int                // default 1; the first is the primary, the others are standbys
	loops    int                // default 1
	world    fakepg.World       // of all servers
	conf     string             // further lines of pgpool.conf
	tweak    func(*conf.Config) // for what the file cannot say, such as times below a second
	hba      string             // pool_hba.conf; "" turns enable_pool_hba off
	passwd   string             // pool_passwd
	nodeUsed func(cluster.NodeID)
	panics   bool                   // a panic of a session is what the test is about
	servers  func(testing.TB) []int // starts others instead of fake ones and tells their ports

	switchover func(context.Context, cluster.NodeID, func(cluster.Switchover)) error
}

// testProxy is a proxy in this process, joined as cmd/pgpool joins it, with fake servers behind it.
type testProxy struct {
	*Server
	tb    testing.TB
	fakes []*fakepg.Server
	ports []int // of the servers
	log   *logBuffer
	port  int

	reports *panicReporter
	expects bool // panics
	unseen  bool // some fake server does not look whether its client has gone
	stop    context.CancelFunc
	ended   sync.WaitGroup
}

// newTestProxy starts one. At the end of the test, after its clients were closed, everything must come to rest: no session, no
// leased connection, and once it has stopped no goroutine and no descriptor.
func newTestProxy(tb testing.TB, o setup) *testProxy {
	tb.Helper()
	goroutines, descriptors := ours(), openFiles(tb)
	tb.Cleanup(func() { // after the fake servers' own
		await(tb, "goroutines end", func() bool { return len(ours()) <= len(goroutines) })
		await(tb, "descriptors are closed", func() bool { return len(openFiles(tb)) <= len(descriptors) })
	})
	p := &testProxy{tb: tb, log: &logBuffer{}, expects: o.panics}
	if o.servers != nil {
		p.ports = o.servers(tb)
	} else {
		p.startFakes(&o)
	}
	cfg := p.config(&o)
	log := logging.To(p.log, logging.Severity(cfg.Logging.LogMinMessages))
	p.reports = &panicReporter{log: log}
	loops, err := loop.NewGroup(max(o.loops, 1), p.reports)
	if err != nil {
		tb.Fatal(err)
	}
	store := cluster.NewStore(viewOf(cfg))
	parts := Parts{
		Config: conf.NewLive(cfg), Store: store, Pool: pool.New(store, pool.Limits{}), Loops: loops, Log: log, Version: "test", PID: 1000,
		NodeUsed: func(cluster.NodeID) {},
		Probe:    func(_ context.Context, v *cluster.View) []show.Live { return make([]show.Live, len(v.Nodes)) },
	}
	parts.Switchover = o.switchover
	if o.nodeUsed != nil {
		parts.NodeUsed = o.nodeUsed
	}
	p.openAuth(&parts, &o)
	p.Server = NewServer(parts)
	p.Listen(p.listen())
	p.run(loops.Run, parts.Pool.Run, p.Run)
	tb.Cleanup(p.close)
	return p
}

func (p *testProxy) startFakes(o *setup) {
	for range max(o.nodes, 1) {
		f := fakepg.Start(p.tb, o.world)
		p.fakes, p.ports = append(p.fakes, f), append(p.ports, f.Port())
	}
}

func (p *testProxy) config(o *setup) *conf.Config {
	p.tb.Helper()
	text := "backend_clustering_mode = 'streaming_replication'\nenable_pool_hba = off\npool_passwd = ''\nnum_init_children = 8\nmax_pool = 2\n" +
		"rerun_lost_reads = off\n" // most tests are about what a loss is
	for i, port := range p.ports {
		text += fmt.Sprintf("backend_hostname%d = '127.0.0.1'\nbackend_port%d = %d\nbackend_weight%d = 1\n", i, i, port, i)
	}
	if o.hba != "" {
		text += "enable_pool_hba = on\n"
	}
	path := filepath.Join(p.tb.TempDir(), "pgpool.conf")
	if err := os.WriteFile(path, []byte(text+o.conf), 0o600); err != nil {
		p.tb.Fatal(err)
	}
	cfg, problems := conf.Load(path)
	if conf.Refused(problems) {
		p.tb.Fatal(problems)
	}
	if o.tweak != nil {
		o.tweak(cfg)
	}
	return cfg
}

func viewOf(cfg *conf.Config) *cluster.View {
	v := &cluster.View{Generation: 1, Mode: cluster.ModeStreaming, Primary: 0}
	for i, b := range cfg.Backends {
		n := cluster.Node{
			ID: cluster.NodeID(i), Host: b.Hostname, Port: b.Port, Weight: b.Weight,
			Status: cluster.StatusUp, Role: cluster.RoleStandby, Epoch: 1,
		}
		if i == 0 {
			n.Role = cluster.RolePrimary
		}
		v.Nodes = append(v.Nodes, n)
	}
	return v
}

func (p *testProxy) openAuth(parts *Parts, o *setup) {
	p.tb.Helper()
	dir := p.tb.TempDir()
	if o.hba != "" {
		rules, errs := auth.ParseHBA("pool_hba.conf", []byte(o.hba), auth.Files{Read: os.ReadFile}, auth.HBAOptions{})
		if len(errs) > 0 {
			p.tb.Fatal(errs)
		}
		parts.Rules = rules
	}
	if o.passwd != "" {
		path := filepath.Join(dir, "pool_passwd")
		if err := os.WriteFile(path, []byte(o.passwd), 0o600); err != nil {
			p.tb.Fatal(err)
		}
		file, _, err := auth.OpenPasswordFile(path, auth.Key{})
		if err != nil {
			p.tb.Fatal(err)
		}
		parts.Passwords = file
	}
}

// listen opens a listening socket on a free port.
func (p *testProxy) listen() int {
	p.tb.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		p.tb.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		p.tb.Fatal(err)
	}
	if err := unix.Listen(fd, 1024); err != nil {
		p.tb.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		p.tb.Fatal(err)
	}
	p.port = sa.(*unix.SockaddrInet4).Port
	return fd
}

func (p *testProxy) run(parts ...func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	for _, part := range parts {
		p.ended.Go(func() {
			if err := part(ctx); err != nil {
				p.tb.Errorf("a part ended: %v", err)
			}
		})
	}
}

// close checks that all is at rest and stops the proxy.
func (p *testProxy) close() {
	p.rest()
	if !p.expects {
		p.reports.check(p.tb)
	}
	p.pool.CloseIdle(everyConn)
	for i, f := range p.fakes {
		if !p.unseen {
			f.Await(fmt.Sprintf("connections to node %d are closed", i), func() bool { return f.Open() == 0 })
		}
		if n := p.pool.Count(cluster.NodeID(i)); n != 0 {
			p.tb.Errorf("pool counts %d connections to node %d when all are closed", n, i)
		}
	}
	p.stop()
	p.ended.Wait()
}

// rest waits until no session is left and looks whether anything of one is.
func (p *testProxy) rest() {
	p.tb.Helper()
	await(p.tb, "sessions end", func() bool { return p.admitted.busy() == 0 && p.sockets() == 0 && p.sessionCount() == 0 })
	p.keys.mu.Lock()
	if n := len(p.keys.byPID); n != 0 {
		p.tb.Errorf("%d cancel keys are left", n)
	}
	p.keys.mu.Unlock()
	for i := range p.fakes { // two looks: the pool may sweep one away in between
		await(p.tb, fmt.Sprintf("all connections to node %d that the pool counts are idle", i), func() bool {
			idle := 0
			p.pool.EachIdle(func(c *pool.Conn) {
				if c.Key.Node == cluster.NodeID(i) {
					idle++
				}
			})
			return p.pool.Count(cluster.NodeID(i)) == idle
		})
	}
}

func (p *testProxy) sockets() int {
	p.admitted.mu.Lock()
	defer p.admitted.mu.Unlock()
	return p.admitted.sockets
}

// onLoops runs f on every loop and waits for it.
func (p *testProxy) onLoops(f func(*home)) {
	for _, h := range p.homes {
		done := make(chan struct{})
		if h.loop.Post(func() { f(h); close(done) }) {
			<-done
		}
	}
}

func (p *testProxy) sessionCount() int {
	n := 0
	p.onLoops(func(h *home) { n += len(h.sessions) })
	return n
}

// sessionOf calls f with the session of a user, on its loop.
func (p *testProxy) sessionOf(user string, f func(*session)) (found bool) {
	p.onLoops(func(h *home) {
		for s := range h.sessions {
			if s.startup != nil && s.startup.User == user {
				f(s)
				found = true
			}
		}
	})
	return found
}

// authenticateWithin bounds the logins of those who connect from now on.
func (p *testProxy) authenticateWithin(limit time.Duration) {
	cfg := *p.current.Load().cfg
	cfg.Auth.AuthenticationTimeout = limit
	p.Configure(&cfg)
}

// idleCount is the number of idle connections in the pool.
func (p *testProxy) idleCount() int {
	n := 0
	p.pool.EachIdle(func(*pool.Conn) { n++ })
	return n
}

// connect logs a client in.
func (p *testProxy) connect(tb testing.TB, user string) *fakepg.Client {
	tb.Helper()
	return fakepg.Connect(tb, p.port, user, "db")
}

// dial connects and says nothing.
func (p *testProxy) dial(tb testing.TB) *fakepg.Client {
	tb.Helper()
	return fakepg.Dial(tb, p.port)
}

// start connects and sends a startup packet.
func (p *testProxy) start(tb testing.TB, user string) *fakepg.Client {
	tb.Helper()
	c := p.dial(tb)
	c.Send(pgwire.AppendStartup(nil, user, "db", nil))
	return c
}

// bystander is a session that must not notice anything.
type bystander struct {
	c *fakepg.Client
}

func (p *testProxy) bystander(tb testing.TB) *bystander {
	tb.Helper()
	b := &bystander{p.connect(tb, "bystander")}
	b.check(tb)
	return b
}

// check runs a statement in the bystander's session.
func (b *bystander) check(tb testing.TB) {
	tb.Helper()
	want := "T \"\\x00\\x01?column?"
	if got := fakepg.Transcript(b.c.Query("SELECT 1")); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "Z \"I\"") {
		tb.Errorf("a session beside got %s", got)
	}
}

// awaitTimeout bounds every wait: what has not happened by then hangs.
const awaitTimeout = 30 * time.Second

// await waits for a condition nobody tells about.
func await(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(awaitTimeout)
	for !cond() {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			tb.Fatalf("%s: not within %v\n%s", what, awaitTimeout, buf[:runtime.Stack(buf, true)])
		}
		<-tick.C
	}
}

// ours are the goroutines with code of this module, tests excepted.
func ours() []string {
	buf := make([]byte, 4<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var out []string
	for block := range strings.SplitSeq(string(buf), "\n\n") {
		if strings.Contains(block, "\ngopgpool/") && !strings.Contains(block, "testing.tRunner") {
			out = append(out, block)
		}
	}
	return out
}

// openFiles are the open descriptors.
func openFiles(tb testing.TB) []string {
	tb.Helper()
	warm, err := net.Listen("tcp4", "127.0.0.1:0") // the runtime's own poller appears with the first socket
	if err != nil {
		tb.Fatal(err)
	}
	_ = warm.Close()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		tb.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			out = append(out, to)
		}
	}
	return out
}

// panicReporter gathers the panics of tasks.
type panicReporter struct {
	log logging.Logger

	mu     sync.Mutex
	panics []string // guarded by mu
}

func (r *panicReporter) TaskPanicked(task string, value any, stack []byte) {
	LogPanic(r.log, task, value, stack)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.panics = append(r.panics, fmt.Sprintf("panic in a %s: %v\n%s", task, value, stack))
}

// check fails the test if a task has panicked.
func (r *panicReporter) check(tb testing.TB) {
	tb.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, text := range r.panics {
		tb.Error(text)
	}
	r.panics = nil
}

// Stalled is no failure: the machine may be busy with other things.
func (r *panicReporter) Stalled(int, string, time.Duration, []byte) {}

// logBuffer gathers log lines.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// events are the first lines of the events from LOG up.
func (b *logBuffer) events() []string {
	var out []string
	for line := range strings.Lines(b.String()) {
		for _, severity := range []string{"LOG:", "WARNING:", "ERROR:", "FATAL:", "PANIC:"} {
			if strings.HasPrefix(line, severity) {
				out = append(out, strings.TrimSpace(line))
			}
		}
	}
	return out
}

func (b *logBuffer) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text.Reset()
}

// idleOf matches the idle connections of a user.
func idleOf(user string) func(*pool.Conn) bool {
	return func(c *pool.Conn) bool { return c.Key.User == user }
}

func everyConn(*pool.Conn) bool { return true }
