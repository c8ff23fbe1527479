package loop

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Whatever a task waits in ends with the loop.
func TestStop(t *testing.T) {
	for _, tt := range []struct {
		name string
		wait func(w *world, t *Task, c *Conn)
	}{
		{"wait", func(w *world, t *Task, _ *Conn) {
			for range 3 {
				if got := t.Wait(time.Time{}); got != Stopped {
					w.Errorf("wait: %d", got)
				}
			}
		}},
		{"read", func(w *world, _ *Task, c *Conn) {
			_, err := c.Read(make([]byte, 1))
			w.isErr("read", err, ErrStopped)
		}},
		{"write", func(w *world, _ *Task, c *Conn) {
			n, err := c.Write(make([]byte, 100*room))
			w.isErr("write", err, ErrStopped)
			if n == 0 {
				w.Error("nothing was written before the stop")
			}
		}},
		{"sleep", func(w *world, t *Task, _ *Conn) {
			begin := t.Now()
			t.Sleep(time.Hour)
			t.Sleep(time.Hour)
			if took := t.Now().Sub(begin); took > time.Minute {
				w.Errorf("slept %v", took)
			}
		}},
		{"yield", func(_ *world, t *Task, _ *Conn) {
			for !t.Stopped() {
				t.Yield()
			}
		}},
		{"last words", func(w *world, t *Task, c *Conn) {
			t.Wait(time.Time{})
			_, err := c.Write([]byte("bye")) // goes out, as nothing has to be waited for
			w.isErr("write", err, nil)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onEngines(t, func(w *world) {
				in := make(chan struct{})
				_, done := w.connected(tt.name, func(t *Task, c *Conn) {
					w.l.Post(func() { close(in) })
					tt.wait(w, t, c)
					if !t.Stopped() {
						w.Error("not stopped")
					}
				})
				<-in
				w.cancel()
				<-done
			})
		})
	}
}

// Stop is for one task; others go on.
func TestStopOne(t *testing.T) {
	onEngines(t, func(w *world) {
		tasks := make(chan *Task, 1)
		done := w.start("victim", func(t *Task) {
			tasks <- t
			t.Wait(time.Time{})
		})
		p, echoed := w.connected("other", echo)
		task := <-tasks
		w.do(task.Stop)
		<-done
		w.do(task.Stop) // of no consequence
		w.do(task.Wake)
		_, _ = p.Write([]byte("x"))
		_, err := p.Read(make([]byte, 1))
		w.isErr("read", err, nil)
		_ = p.CloseWrite()
		<-echoed
	})
}

// A task that begins while the loop shuts down is asked to end from the start.
func TestTasksBegunWhileStopping(t *testing.T) {
	onEngines(t, func(w *world) {
		release := make(chan struct{})
		done := w.start("first", func(t *Task) {
			t.Wait(time.Time{})
			second := make(chan struct{})
			t.Loop().Go("second", func(t *Task) {
				if got := t.Wait(time.Time{}); got != Stopped {
					w.Errorf("wait: %d", got)
				}
				close(second)
			})
			t.Offload(func() { <-second; <-release })
		})
		w.cancel()
		close(release)
		<-done
	})
}

// The stubborn wait on and on: others still have their turns, and after a while the loop ends without them.
func TestStubbornTask(t *testing.T) {
	onVirtual(t, func(w *world) {
		deferred, turns := false, 0
		w.start("stubborn", func(t *Task) {
			defer func() { deferred = true }()
			for {
				t.Wait(time.Time{})
			}
		})
		w.start("sleeps", func(t *Task) {
			defer func() { turns++ }()
			t.Offload(func() { <-time.After(time.Second) }) // time passes only if the stubborn one lets it
		})
		begin := time.Now()
		err := w.stop()
		if err == nil || !strings.Contains(err.Error(), `1 tasks did not end in 5s, first "stubborn"`) {
			w.Errorf("Run: %v", err)
		}
		if took := time.Since(begin); took < shutdownGrace || took > shutdownGrace+time.Second {
			w.Errorf("the end took %v", took)
		}
		if !deferred || turns != 1 {
			w.Errorf("unwound: %v; the other ended: %d", deferred, turns)
		}
	})
}

// Post after the end is refused, and what was accepted runs, however close to the end it came.
func TestPostAroundTheEnd(t *testing.T) {
	onEngines(t, func(w *world) {
		const senders = 4
		accepted, ran, late := make([]int, senders), 0, 0
		var wg, warm sync.WaitGroup
		warm.Add(senders)
		for s := range senders {
			wg.Go(func() {
				for i := 0; ; i++ {
					if i == 10 {
						warm.Done()
					}
					begun := make(chan struct{})
					if !w.l.Post(func() { ran++ }) {
						return
					}
					accepted[s]++
					if !w.l.GoFrom("late", func(t *Task) {
						if t.Stopped() {
							late++
						}
						close(begun)
					}) {
						return
					}
					<-begun
				}
			})
		}
		warm.Wait()
		w.isErr("Run", w.stop(), nil)
		wg.Wait()
		sum := 0
		for _, n := range accepted {
			sum += n
		}
		if ran != sum {
			w.Errorf("%d posts ran of %d that were accepted", ran, sum)
		}
		w.Logf("%d posts, %d tasks begun while stopping", sum, late)
		if w.l.Post(func() { w.Error("ran after the end") }) || w.l.GoFrom("x", func(*Task) { w.Error("ran after the end") }) {
			w.Error("accepted after the end")
		}
		if w.l.Tasks() != 0 {
			w.Errorf("%d tasks", w.l.Tasks())
		}
		if task := w.l.Go("x", func(*Task) { w.Error("ran after the end") }); !task.done || w.l.Tasks() != 0 {
			w.Errorf("a task began after the end, %d tasks", w.l.Tasks())
		}
	})
}

// What is posted by the last task still runs, and what it begins ends in its own time.
func TestPostByTheLastTask(t *testing.T) {
	onEngines(t, func(w *world) {
		finished := false
		w.start("last", func(t *Task) {
			t.Wait(time.Time{})
			w.l.Post(func() {
				w.l.Go("really the last", func(t *Task) {
					t.Offload(func() {})
					t.Yield()
					finished = true
				})
			})
		})
		w.isErr("Run", w.stop(), nil)
		if !finished {
			w.Error("it was cut off")
		}
	})
}

func TestRunWithEndedContext(t *testing.T) {
	for _, e := range []engine{epollEngine(), virtualEngine()} {
		l, err := e.loop(0, nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		ran := false
		l.GoFrom("task", func(t *Task) { ran = t.Wait(time.Time{}) == Stopped })
		if err := l.Run(ctx); err != nil || !ran {
			t.Errorf("%s: %v, ran %v", e.name, err, ran)
		}
	}
}

// Thousands of sessions come and go in waves, each in its own way, and leave nothing behind.
func TestThousandsOfSessions(t *testing.T) {
	onEngines(t, func(w *world) {
		const waves, each = 10, 500
		for range waves {
			var wg sync.WaitGroup
			for i := range each {
				wg.Add(1)
				w.l.GoFrom("session", func(t *Task) {
					defer wg.Done()
					w.session(t, i, &wg)
				})
			}
			wg.Wait()
		}
		w.settled()
		w.do(func() {
			if w.l.Tasks() != 0 || len(w.l.tasks) != 0 || len(w.l.timers) != 0 {
				w.Errorf("%d tasks, %d timers", w.l.Tasks(), len(w.l.timers))
			}
			switch p := w.l.poll.(type) {
			case *epoll:
				if used := len(p.slots) - 1 - len(p.free); used != 0 || len(p.slots) > 2*each {
					w.Errorf("%d slots of %d in use", used, len(p.slots))
				}
			case *virtual:
				if len(p.conns) != 0 || len(p.queue) != 0 {
					w.Errorf("%d connections, %d in the queue", len(p.conns), len(p.queue))
				}
			}
		})
	})
}

// session is one of several lives, chosen by i.
func (w *world) session(t *Task, i int, wg *sync.WaitGroup) {
	c, p, err := w.pair(t)
	if err != nil {
		w.Error(err)
		return
	}
	wg.Add(1)
	go w.farSide(p, wg)
	_ = c.SetDeadline(t.Now().Add(time.Hour)) // leaves an entry in the heap
	b := make([]byte, 4)
	n, err := c.Read(b)
	if err != nil || n == 0 {
		w.Errorf("read %d, %v", n, err)
	}
	switch i % 4 {
	case 0:
		c.Close()
	case 1: // left open
	case 2:
		c.Park(func(c *Conn) { c.Close() })
	case 3:
		t.Offload(func() {})
	}
}

// farSide speaks and goes away.
func (w *world) farSide(p net.Conn, wg *sync.WaitGroup) {
	defer wg.Done()
	defer p.Close()
	_, _ = p.Write([]byte("ping"))
}
