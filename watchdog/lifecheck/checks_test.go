package lifecheck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gopgpool/internal/hosts"
	"gopgpool/logging"
)

func TestMain(m *testing.M) {
	hosts.RunHelper()
	code := m.Run()
	if n := lingering(); n != "" && code == 0 {
		fmt.Println("goroutines left behind:\n" + n)
		code = 1
	}
	os.Exit(code)
}

// lingering shows goroutines of this package that are still there after a while.
func lingering() string {
	stacks := make([]byte, 1<<20)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		all := string(stacks[:runtime.Stack(stacks, true)])
		_, others, _ := strings.Cut(all, "\n\n") // the first is ours
		if !strings.Contains(others, "gopgpool/watchdog/lifecheck") {
			return ""
		}
		runtime.Gosched()
		timer := time.NewTimer(10 * time.Millisecond)
		<-timer.C
	}
	return string(stacks[:runtime.Stack(stacks, true)])
}

// patience is how long something may take that happens at once, where other programs keep the machine busy.
const patience = time.Minute

// record takes what checks report and log.
type record struct {
	mu       sync.Mutex
	findings []Finding
	verdicts []Verdict
	log      bytes.Buffer
}

func (r *record) found(f Finding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.findings = append(r.findings, f)
}

func (r *record) judged(v Verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verdicts = append(r.verdicts, v)
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(p)
}

func (r *record) logged() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

func (r *record) count() (findings, verdicts int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.findings), len(r.verdicts)
}

// await waits for a condition.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(patience); !holds(); <-poll.C {
		if time.Now().After(end) {
			t.Fatal("this did not happen: " + what)
		}
	}
}

// finding waits for the n-th finding, from 1.
func (r *record) finding(t *testing.T, n int) Finding {
	t.Helper()
	await(t, fmt.Sprintf("finding %d", n), func() bool { f, _ := r.count(); return f >= n })
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.findings[n-1]
}

// start runs checks for the length of a test, faster than they are.
func start(t *testing.T, c Config, prepare ...func(*Checks)) (*Checks, *record) {
	t.Helper()
	r := &record{}
	if c.Verdict == nil {
		c.Verdict = r.judged
	}
	k := NewChecks(c, r.found, logging.To(r, logging.Debug1))
	k.second = 5 * time.Millisecond
	k.hasten(c.Interval)
	for _, f := range prepare {
		f(k)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("checks do not end")
		}
	})
	return k, r
}

// hasten allows shorter intervals than a user may set.
func (k *Checks) hasten(interval time.Duration) {
	c := *k.config.Load()
	c.Interval = interval
	k.config.Store(&c)
}

const often = 20 * time.Millisecond

func TestTrustedServers(t *testing.T) {
	dir := t.TempDir()
	mark := func(host string) string { return filepath.Join(dir, host) }
	_, r := start(t, Config{Interval: often, TrustedServers: []string{"a", "b"}, TrustedServerCommand: "test -e " + dir + "/%h"})
	if f := r.finding(t, 1); f != (Finding{Self: CutOff, Message: "trusted server is unreachable"}) {
		t.Errorf("%+v", f)
	}
	for _, line := range []string{
		"watchdog: lifecheck started", `watchdog failed to ping host: "a"`, `watchdog failed to ping host: "b"`,
		"watchdog lifecheck, failed to connect to any trusted servers", "interface monitoring is disabled in watchdog",
		"0 watchdog nodes are configured for lifecheck",
	} {
		if !strings.Contains(r.logged(), line) {
			t.Errorf("%q was not logged:\n%s", line, r.logged())
		}
	}
	if err := os.WriteFile(mark("b"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if f := r.finding(t, 2); f.Self != CutOff || !f.Well {
		t.Errorf("%+v", f)
	}
	if err := errors.Join(os.WriteFile(mark("a"), nil, 0o600), os.Remove(mark("b"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(mark("a")); err != nil {
		t.Fatal(err)
	}
	if f := r.finding(t, 3); f.Self != CutOff || f.Well {
		t.Errorf("%+v", f)
	}
}

// A trusted server is not asked before all nodes have been seen, nor with the external method.
func TestTrustedServersNotAsked(t *testing.T) {
	for name, c := range map[string]Config{
		"not started": {Ready: func() bool { return false }},
		"external":    {Method: External},
	} {
		t.Run(name, func(t *testing.T) {
			c.Interval, c.TrustedServers, c.TrustedServerCommand = often, []string{"a"}, "exit 1"
			_, r := start(t, c)
			want := "lifecheck has not started yet"
			if c.Method == External {
				want = "interface monitoring is disabled"
			}
			await(t, want, func() bool { return strings.Contains(r.logged(), want) })
			if n, _ := r.count(); n > 0 {
				t.Errorf("%+v", r.findings)
			}
		})
	}
}

func TestAskTrusted(t *testing.T) {
	ctx := t.Context()
	begin := time.Now()
	if failures := askTrusted(ctx, []string{"sleep 60", "true"}, "%h", time.Minute); failures != nil {
		t.Errorf("one success: %v", failures)
	}
	if time.Since(begin) > 30*time.Second {
		t.Error("a slow command was waited for")
	}
	var failures []error
	for bound := 50 * time.Millisecond; bound < 30*time.Second; bound *= 2 {
		failures = askTrusted(ctx, []string{"sleep 60", "exit 3"}, "%h; exit 3", bound)
		if len(failures) != 2 || !errors.Is(failures[1], errCommandTime) { // else a shell takes longer to start here
			break
		}
	}
	if len(failures) != 2 || !errors.Is(failures[0], errCommandTime) || failures[1].Error() != "exit status 3" {
		t.Errorf("too slow: %v", failures)
	}
}

// What a command starts ends with it.
func TestCommandEnds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- runShell(ctx, "sleep 600 & echo $! > "+file+".new; mv "+file+".new "+file+"; wait") }()
	pid := 0
	await(t, "the command runs", func() bool {
		text, err := os.ReadFile(file)
		if err != nil {
			return false
		}
		_, err = fmt.Sscan(string(text), &pid)
		return err == nil
	})
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	await(t, "the child is gone", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(stat), ") Z ") || syscall.Kill(pid, 0) != nil
	})
}

func TestExpandHost(t *testing.T) {
	for template, want := range map[string]string{
		"ping -q -c3 %h": "ping -q -c3 host", "": "", "%": "", "%h%h": "hosthost", "100%% %x%h%": "100% host", "%%h": "%h", "%H": "",
	} {
		if got := expandHost(template, "host"); got != want {
			t.Errorf("%q: got %q, want %q", template, got, want)
		}
	}
}

// port is a client port that behaves in one of several ways.
type port struct {
	address string
	mu      sync.Mutex
	behave  func(net.Conn)
	serving sync.WaitGroup
}

func openPort(t *testing.T, address string, behave func(net.Conn)) *port {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	p := &port{address: l.Addr().String(), behave: behave}
	ended := make(chan struct{})
	p.serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.serving.Go(func() {
				defer conn.Close()
				p.mu.Lock()
				behave := p.behave
				p.mu.Unlock()
				behave(conn)
				select {
				case <-ended:
				default:
				}
			})
		}
	})
	t.Cleanup(func() {
		close(ended)
		_ = l.Close()
		p.serving.Wait()
	})
	return p
}

func (p *port) set(behave func(net.Conn)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.behave = behave
}

func answers(c net.Conn) {
	request := make([]byte, len(sslRequest))
	if _, err := c.Read(request); err == nil && bytes.Equal(request, sslRequest[:]) {
		_, _ = c.Write([]byte("N"))
	}
}

// silent waits until the peer gives up.
func silent(c net.Conn) {
	buffer := make([]byte, 64)
	for {
		if _, err := c.Read(buffer); err != nil {
			return
		}
	}
}

func TestAskListener(t *testing.T) {
	ctx := t.Context()
	for name, row := range map[string]struct {
		behave func(net.Conn)
		bound  time.Duration
		well   bool
	}{
		"answers":     {answers, patience, true},
		"silent":      {silent, 300 * time.Millisecond, false},
		"hangs up":    {func(net.Conn) {}, patience, true},
		"resets":      {func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }, patience, true},
		"is too busy": {func(c net.Conn) { _, _ = c.Write([]byte("E...")) }, patience, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := openPort(t, "127.0.0.1:0", row.behave)
			if err := askListener(ctx, p.address, row.bound); (err == nil) != row.well {
				t.Error(err)
			}
		})
	}
	if err := askListener(ctx, "127.0.0.1:21399", patience); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestListener(t *testing.T) {
	counted := func(asked chan<- struct{}, behave func(net.Conn)) func(net.Conn) {
		return func(c net.Conn) { asked <- struct{}{}; behave(c) }
	}
	inVain, answered := make(chan struct{}, 100), make(chan struct{}, 100)
	p := openPort(t, "127.0.0.1:0", counted(inVain, silent)) // it waits for the watchdog, which is no trouble
	_, r := start(t, Config{Interval: often, Listener: p.address}, func(k *Checks) { k.listenerTime = 300 * time.Millisecond })
	for range listenerFailures + 3 {
		<-inVain
	}
	p.set(counted(answered, answers))
	for range 3 {
		<-answered
	}
	if n, _ := r.count(); n > 0 {
		t.Errorf("%+v", r.findings)
	}
	p.set(silent)
	if f := r.finding(t, 1); f.Self != Sick || f.Well || !strings.HasPrefix(f.Message, "own client port "+p.address+" does not answer") {
		t.Errorf("%+v", f)
	}
	p.set(answers)
	if f := r.finding(t, 2); f != (Finding{Self: Sick, Well: true, Message: "own client port answers again"}) {
		t.Errorf("%+v", f)
	}
}

// A single failure, or two, are no trouble.
func TestListenerFailsNowAndThen(t *testing.T) {
	var asked atomic.Int64
	_, r := start(t, Config{Interval: often, Listener: "127.0.0.1:1"}, func(k *Checks) {
		k.listener = func(context.Context, string, time.Duration) error {
			if asked.Add(1)%listenerFailures == 1 {
				return nil
			}
			return os.ErrDeadlineExceeded
		}
	})
	await(t, "twenty questions", func() bool { return asked.Load() > 20 })
	if n, _ := r.count(); n > 0 {
		t.Errorf("%+v", r.findings)
	}
}
