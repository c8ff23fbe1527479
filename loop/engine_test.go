package loop

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// far is the other end of a connection on a loop.
type far interface {
	net.Conn
	CloseWrite() error
}

// engine is what a test that runs on both needs of each.
type engine struct {
	name string
	loop func(id int, r Reporter) (*Loop, error)
	// pair makes a connection owned by the task and its far end, with little room between them.
	pair func(t *Task) (*Conn, far, error)
	// exact: time passes only while everybody waits.
	exact bool
}

// room is about what goes under way between the ends of a pair.
const room = 4096

func epollEngine() engine {
	return engine{name: "epoll", loop: New, pair: func(t *Task) (*Conn, far, error) {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, nil, err
		}
		for _, fd := range fds {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, room); err != nil {
				return nil, nil, err
			}
		}
		f := os.NewFile(uintptr(fds[1]), "far")
		defer f.Close()
		n, err := net.FileConn(f)
		if err != nil {
			return nil, nil, err
		}
		c, err := t.Adopt(fds[0])
		return c, n.(*net.UnixConn), err
	}}
}

func virtualEngine() engine {
	return engine{
		name:  "virtual",
		exact: true,
		loop:  func(id int, r Reporter) (*Loop, error) { return NewVirtual(id, r), nil },
		pair: func(t *Task) (*Conn, far, error) {
			c, p := t.Loop().Pipe(room)
			t.Take(c)
			return c, p, nil
		},
	}
}

// reports is a Reporter that remembers.
type reports struct {
	mu     sync.Mutex
	panics []string // guarded by mu
	stalls chan string
}

func newReports() *reports { return &reports{stalls: make(chan string, 16)} }

func (r *reports) TaskPanicked(task string, value any, stack []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.panics = append(r.panics, fmt.Sprintf("%s: %v\n%s", task, value, stack))
}

func (r *reports) Stalled(loop int, task string, after time.Duration, stack []byte) {
	select {
	case r.stalls <- fmt.Sprintf("%d %s %v\n%s", loop, task, after, stack):
	default:
	}
}

// take returns the panics so far and forgets them.
func (r *reports) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.panics
	r.panics = nil
	return p
}

// world is a running loop, the test's own goroutine beside it.
type world struct {
	*testing.T
	engine
	l       *Loop
	reports *reports
	cancel  context.CancelFunc
	stopped bool
	ran     chan error

	mu   sync.Mutex
	fars []far // guarded by mu; closed at the end
}

// onEngines runs f on each engine with a loop that runs. When f has returned the loop is stopped, if f has not done so, and
// nothing may be left: no panic unlooked-at, no task, no goroutine, no descriptor.
func onEngines(t *testing.T, f func(w *world)) {
	t.Helper()
	t.Run("epoll", func(t *testing.T) { inWorld(t, epollEngine(), f) })
	t.Run("virtual", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { inWorld(t, virtualEngine(), f) })
	})
}

// onEpoll is onEngines for what only the kernel has.
func onEpoll(t *testing.T, f func(w *world)) {
	t.Helper()
	inWorld(t, epollEngine(), f)
}

// onVirtual is onEngines for what needs the virtual clock.
func onVirtual(t *testing.T, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { inWorld(t, virtualEngine(), f) })
}

func inWorld(t *testing.T, e engine, f func(w *world)) {
	if !e.exact { // a bubble has its own check
		defer noLeak(t)()
	}
	w := &world{T: t, engine: e, reports: newReports(), ran: make(chan error, 1)}
	l, err := e.loop(7, w.reports)
	if err != nil {
		t.Fatal(err)
	}
	w.l = l
	w.run()
	f(w)
	w.end()
	for _, p := range w.reports.take() {
		t.Errorf("panic: %s", p)
	}
	if n := l.Tasks(); n != 0 || len(l.tasks) != 0 || len(l.timers) != 0 {
		t.Errorf("%d tasks (%d in the map), %d timers are left", n, len(l.tasks), len(l.timers))
	}
}

// run starts the loop.
func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	go func() { w.ran <- w.l.Run(ctx) }()
}

// beginStop has the loop begin to stop, and returns when it has.
func (w *world) beginStop() {
	asked := w.start("is asked to stop", func(t *Task) { t.Wait(time.Time{}) })
	w.cancel()
	<-asked
}

// end stops the loop and expects an orderly end.
func (w *world) end() {
	w.Helper()
	if w.stopped {
		return
	}
	if err := w.stop(); err != nil {
		w.Errorf("Run: %v", err)
	}
}

// stop stops the loop and returns the error of Run.
func (w *world) stop() error {
	w.cancel()
	w.stopped = true
	err := <-w.ran
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.fars {
		_ = p.Close()
	}
	return err
}

// noLeak remembers the process's goroutines and descriptors; the returned function compares.
func noLeak(t *testing.T) func() {
	warmUp(t)
	goroutines, fds := runtime.NumGoroutine(), openFDs(t)
	return func() {
		for end := time.Now().Add(30 * time.Second); runtime.NumGoroutine() > goroutines && time.Now().Before(end); {
			runtime.Gosched() // those that have nothing left but to return
		}
		if n := runtime.NumGoroutine(); n > goroutines {
			buf := make([]byte, 1<<20)
			t.Errorf("%d goroutines, before %d\n%s", n, goroutines, buf[:runtime.Stack(buf, true)])
		}
		if n := openFDs(t); n > fds {
			t.Errorf("%d descriptors, before %d", n, fds)
		}
	}
}

// warmUp has Go's own poller open its descriptors.
func warmUp(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	w.Close()
}

func openFDs(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// start runs a task; the channel is closed when it has ended.
func (w *world) start(name string, fn func(t *Task)) <-chan struct{} {
	done := make(chan struct{})
	ok := w.l.GoFrom(name, func(t *Task) {
		defer close(done)
		fn(t)
	})
	if !ok {
		w.Error("the loop has ended already")
		close(done)
	}
	return done
}

// connected runs a task with a connection and returns the far end.
func (w *world) connected(name string, fn func(t *Task, c *Conn)) (far, <-chan struct{}) {
	w.Helper()
	ends := make(chan far, 1)
	done := w.start(name, func(t *Task) {
		c, p, err := w.pair(t)
		if err != nil {
			w.Error(err)
			close(ends)
			return
		}
		w.mu.Lock()
		w.fars = append(w.fars, p)
		w.mu.Unlock()
		ends <- p
		fn(t, c)
	})
	p, ok := <-ends
	if !ok {
		w.FailNow()
	}
	return p, done
}

// do runs f on the loop and waits for it.
func (w *world) do(f func()) {
	done := make(chan struct{})
	if !w.l.Post(func() { defer close(done); f() }) {
		w.Error("the loop has ended already")
		return
	}
	<-done
}

// settled waits until the loop has dealt with what has happened so far.
func (w *world) settled() {
	for range 3 {
		w.do(func() {})
	}
}

// panicked expects exactly one panic, and all of the texts in its report.
func (w *world) panicked(texts ...string) {
	w.Helper()
	w.settled()
	got := w.reports.take()
	if len(got) != 1 {
		w.Errorf("%d panics were reported: %q", len(got), got)
		return
	}
	for _, text := range texts {
		if !strings.Contains(got[0], text) {
			w.Errorf("the report lacks %q: %s", text, got[0])
		}
	}
}

// isErr reports an error other than the one wanted.
func (w *world) isErr(what string, err, want error) {
	w.Helper()
	if fmt.Sprint(err) != fmt.Sprint(want) {
		w.Errorf("%s: %v, want %v", what, err, want)
	}
}
