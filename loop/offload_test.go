package loop

import (
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestOffload(t *testing.T) {
	onEngines(t, func(w *world) {
		release := make(chan struct{})
		got := ""
		tasks := make(chan *Task, 1)
		done := w.start("offloads", func(t *Task) {
			tasks <- t
			t.Offload(func() {
				<-release
				got = "result"
			})
			if got != "result" || t.Loop().current != t {
				w.Errorf("offload returned early, or elsewhere: %q", got)
			}
			if c := t.Wait(time.Time{}); c != Woken {
				w.Errorf("the wake-up during the offload was lost: %d", c)
			}
		})
		task := <-tasks
		w.do(task.Wake)
		p, echoed := w.connected("other", echo) // the loop serves others meanwhile
		_, _ = p.Write([]byte("x"))
		if _, err := p.Read(make([]byte, 1)); err != nil {
			w.Error(err)
		}
		_ = p.CloseWrite()
		<-echoed
		close(release)
		<-done
	})
}

func TestOffloadManyAtOnce(t *testing.T) {
	onEngines(t, func(w *world) {
		const n = 500
		var all sync.WaitGroup // of the functions: none waits for the end of another
		all.Add(n)
		var tasks []<-chan struct{}
		sum := 0
		for i := range n {
			tasks = append(tasks, w.start("offloads", func(t *Task) {
				x := 0
				t.Offload(func() {
					all.Done()
					all.Wait()
					x = i
				})
				sum += x
			}))
		}
		for _, done := range tasks {
			<-done
		}
		if want := n * (n - 1) / 2; sum != want {
			w.Errorf("sum %d, want %d", sum, want)
		}
	})
}

// What an offloaded function should have found out must not be taken for found when it panics: the task panics too.
func TestOffloadPanics(t *testing.T) {
	for _, tt := range []struct {
		name  string
		f     func()
		texts []string
	}{
		{"panic", func() { explode("off bang") }, []string{"offloads: off bang", "loop.explode(", "offloaded by", "Task).Offload"}},
		{"exit", runtime.Goexit, []string{"offloads: runtime.Goexit", "Task).Offload"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onEngines(t, func(w *world) {
				deferred := false
				<-w.start("offloads", func(t *Task) {
					defer func() { deferred = true }()
					t.Offload(tt.f)
					w.Error("the task went on")
				})
				w.panicked(tt.texts...)
				if !deferred {
					w.Error("the task was not unwound")
				}
			})
		})
	}
}

// A stopped task still waits for its function, which may use the task's variables, and ends in order.
func TestOffloadDuringStop(t *testing.T) {
	onEngines(t, func(w *world) {
		begun, release := make(chan struct{}), make(chan struct{})
		x := 0
		done := w.start("offloads", func(t *Task) {
			t.Offload(func() {
				close(begun)
				<-release
				x = 1
			})
			if x != 1 || !t.Stopped() {
				w.Errorf("offload returned early: %d, stopped %v", x, t.Stopped())
			}
			t.Offload(func() { x = 2 }) // and another one, to clean up
			if x != 2 {
				w.Errorf("offload of a stopped task returned early: %d", x)
			}
			if got := t.Wait(time.Time{}); got != Stopped {
				w.Errorf("wait: %d", got)
			}
		})
		<-begun
		w.beginStop()
		close(release)
		<-done
	})
}

// A function that does not end keeps the loop from ending for a bounded time only.
func TestOffloadThatNeverEnds(t *testing.T) {
	defer noLeak(t)()
	l, err := New(3, newReports())
	if err != nil {
		t.Fatal(err)
	}
	l.grace = time.Millisecond
	w := &world{T: t, engine: epollEngine(), l: l, ran: make(chan error, 1)}
	w.run()
	begun, release := make(chan struct{}), make(chan struct{})
	var left *Task
	p, _ := w.connected("hangs", func(t *Task, _ *Conn) {
		left = t
		t.Offload(func() {
			close(begun)
			<-release
		})
		w.Error("the task went on")
	})
	<-begun
	if err := w.stop(); err == nil || !strings.Contains(err.Error(), `"hangs"`) {
		t.Errorf("Run: %v", err)
	}
	if _, err := p.Read(make([]byte, 1)); err == nil {
		t.Error("its connection is still open")
	}
	close(release)
	l.offloads.Wait()
	l.resume(left, left.unwind) // what the daemon's end would do
}
