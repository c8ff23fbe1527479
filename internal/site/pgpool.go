package site

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gopgpool/internal/hosts"
)

// Pgpool is a pgpool on a host, ours or another one. It may be started again after it has ended.
type Pgpool struct {
	Host *hosts.Host
	User string   // who runs it
	Argv []string // the program and its arguments
	Log  string   // where its output goes, that of all its lives

	site    *Site
	mu      sync.Mutex // guards what follows
	process *process
}

// process is one life of a pgpool.
type process struct {
	cmd    *exec.Cmd
	began  time.Time
	ended  chan struct{} // closed after err was set
	ending atomic.Bool   // it was told to
	err    error
}

// NewPgpool is a pgpool to be; nothing is started.
func (s *Site) NewPgpool(h *hosts.Host, user, log string, argv ...string) *Pgpool {
	p := &Pgpool{Host: h, User: user, Argv: argv, Log: log, site: s}
	s.Keep(h, log, 80)
	s.owner.Cleanup(p.sweep)
	return p
}

// Spawn starts it and does not wait until it is ready.
func (p *Pgpool) Spawn(tb testing.TB) {
	tb.Helper()
	log, err := p.Host.Append(p.User, p.Log)
	Must(tb, err)
	defer log.Close()
	cmd, err := p.Host.Command(context.Background(), p.User, p.Argv[0], p.Argv[1:]...)
	Must(tb, err)
	cmd.Stdout, cmd.Stderr = log, log
	Must(tb, p.Host.Start(cmd))
	life := &process{cmd: cmd, began: time.Now(), ended: make(chan struct{})}
	go life.wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.process = life
}

func (l *process) wait() {
	defer close(l.ended)
	l.err = l.cmd.Wait()
}

// Start starts it and waits until it says that it is ready.
func (p *Pgpool) Start(tb testing.TB) {
	tb.Helper()
	mark := p.Mark(tb)
	p.Spawn(tb)
	p.AwaitLog(tb, 40*time.Second, mark, "successfully started")
}

func (p *Pgpool) life() *process {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.process
}

// Running tells whether it was started and has not ended.
func (p *Pgpool) Running() bool {
	l := p.life()
	if l == nil {
		return false
	}
	select {
	case <-l.ended:
		return false
	default:
		return true
	}
}

// PID is its process number as this process sees it; 0 if it was never started.
func (p *Pgpool) PID() int {
	if l := p.life(); l != nil {
		return l.cmd.Process.Pid
	}
	return 0
}

// Age is how long ago it was started last.
func (p *Pgpool) Age() time.Duration { return time.Since(p.life().began) }

// Ending tells whether it was told to end since it was started last, by [Pgpool.Signal] or [Pgpool.SignalAll].
func (p *Pgpool) Ending() bool { return p.life().ending.Load() }

// Signal sends a signal to its main process.
func (p *Pgpool) Signal(tb testing.TB, sig syscall.Signal) {
	tb.Helper()
	p.note(sig)
	Must(tb, p.life().cmd.Process.Signal(sig))
}

// SignalAll sends a signal to all processes of it.
func (p *Pgpool) SignalAll(tb testing.TB, sig syscall.Signal) {
	tb.Helper()
	p.note(sig)
	Must(tb, syscall.Kill(-p.PID(), sig)) // commands of a host lead a group
}

func (p *Pgpool) note(sig syscall.Signal) {
	switch sig {
	case syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGKILL:
		p.life().ending.Store(true)
	}
}

// Kill ends all processes of it at once, and waits until they are gone.
func (p *Pgpool) Kill(tb testing.TB) {
	tb.Helper()
	p.SignalAll(tb, syscall.SIGKILL)
	p.AwaitEnd(tb, 10*time.Second)
}

// Freeze stops all processes of it, until Thaw.
func (p *Pgpool) Freeze(tb testing.TB) { p.SignalAll(tb, syscall.SIGSTOP) }

// Thaw undoes Freeze.
func (p *Pgpool) Thaw(tb testing.TB) { p.SignalAll(tb, syscall.SIGCONT) }

// Stop stops it as a service does, and expects that it ends without an error. One that does not run is stopped already.
func (p *Pgpool) Stop(tb testing.TB) {
	tb.Helper()
	if !p.Running() {
		return
	}
	p.Signal(tb, syscall.SIGINT)
	if end := p.AwaitEnd(tb, 20*time.Second); end != "" {
		tb.Errorf("%s: pgpool: %s", p.Host.Name, end)
	}
}

// AwaitEnd waits until it has ended by itself and tells how: "" without an error, else for instance "exit status 3".
func (p *Pgpool) AwaitEnd(tb testing.TB, limit time.Duration) string {
	tb.Helper()
	l := p.life()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-l.ended:
	case <-timer.C:
		tb.Fatalf("%s: pgpool does not end", p.Host.Name)
	}
	if l.err != nil {
		return l.err.Error()
	}
	return ""
}

// sweep ends what a test has left.
func (p *Pgpool) sweep() {
	if !p.Running() {
		return
	}
	if err := syscall.Kill(-p.PID(), syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		p.site.owner.Error(err)
	}
	<-p.life().ended
}

// LogText is what it has said in all its lives.
func (p *Pgpool) LogText(tb testing.TB) string {
	tb.Helper()
	text, err := p.Host.ReadFile(p.Log)
	if errors.Is(err, syscall.ENOENT) {
		return ""
	}
	Must(tb, err)
	return string(text)
}

// Mark is where its log ends now.
func (p *Pgpool) Mark(tb testing.TB) int { return len(p.LogText(tb)) }

// AwaitLog waits until its log behind mark has the texts, one after the other. It ends when pgpool does.
func (p *Pgpool) AwaitLog(tb testing.TB, limit time.Duration, mark int, texts ...string) {
	tb.Helper()
	what := p.Host.Name + ": " + strings.Join(texts, "; ")
	began := time.Now()
	missing := ""
	Wait(tb.Context(), limit, func() (string, bool) {
		running := p.Running()
		missing = firstMissing(p.LogText(tb)[mark:], texts)
		return "", missing == "" || !running
	})
	if missing != "" {
		tb.Fatalf("waited %.1f s in vain for %q; pgpool runs: %v; its log:\n%s", time.Since(began).Seconds(), missing, p.Running(),
			Tail(p.LogText(tb)[mark:], 25))
	}
	tb.Logf("%6.1f s until %s", time.Since(began).Seconds(), what)
}

// firstMissing is the first text that log does not have behind the one before, or "".
func firstMissing(log string, texts []string) string {
	for _, text := range texts {
		_, after, found := strings.Cut(log, text)
		if !found {
			return text
		}
		log = after
	}
	return ""
}

// LogSays expects texts in the log behind mark, in any order. Lines come a while after what they tell.
func (p *Pgpool) LogSays(tb testing.TB, mark int, texts ...string) {
	tb.Helper()
	const while = 20 * time.Second
	for _, text := range texts {
		if _, ok := Wait(tb.Context(), while, func() (string, bool) { return "", strings.Contains(p.LogText(tb)[mark:], text) }); !ok {
			tb.Errorf("%s: pgpool's log does not say %q", p.Host.Name, text)
		}
	}
}
