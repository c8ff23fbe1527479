package loop

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// onLoopOf runs f as a task of a fresh loop on epoll and waits for it.
func onLoopOf(b *testing.B, f func(t *Task)) {
	b.Helper()
	b.ReportAllocs()
	l, err := New(0, nil)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.GoFrom("bench", func(t *Task) {
		defer cancel()
		f(t)
	})
	if err := l.Run(ctx); err != nil {
		b.Error(err)
	}
}

// BenchmarkSwitch is one resume with its yield, beside what a turn of the loop costs otherwise.
func BenchmarkSwitch(b *testing.B) {
	l := NewVirtual(0, nil)
	t := newTask(l, "bench", func(t *Task) {
		for !t.asked {
			t.Yield()
		}
	})
	l.tasks[t] = struct{}{}
	l.nTasks.Add(1)
	b.ReportAllocs()
	for b.Loop() {
		l.resume(t, t.next)
		t.queued, l.runq = false, l.runq[:0]
	}
	t.Stop()
	l.runReady()
}

// BenchmarkYield is a whole turn: poll, clock, resume, yield.
func BenchmarkYield(b *testing.B) {
	onLoopOf(b, func(t *Task) {
		for b.Loop() {
			t.Yield()
		}
	})
}

func BenchmarkWaitReady(b *testing.B) {
	onLoopOf(b, func(t *Task) {
		c, _ := benchPair(b, t, t)
		for b.Loop() {
			if t.Wait(time.Time{}, Interest{Conn: c, Read: true}, Interest{Conn: c, Write: true}) != Ready {
				b.Error("not ready")
			}
		}
	})
}

// BenchmarkDeadlineMoved is what a deadline that is pushed back at every statement costs.
func BenchmarkDeadlineMoved(b *testing.B) {
	l := NewVirtual(0, nil)
	now := time.Now()
	tasks := make([]Task, 1000)
	for i := range tasks {
		tasks[i].timer = timer{task: &tasks[i], index: -1}
		l.timers.set(&tasks[i].timer, now.Add(time.Duration(i)*time.Second))
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		l.timers.set(&tasks[i%1000].timer, now.Add(time.Hour+time.Duration(i)))
	}
}

// BenchmarkPingPong is a byte there and back over a socket pair between two tasks of one loop: four system calls on the
// sockets, two polls, two switches.
func BenchmarkPingPong(b *testing.B) {
	onLoopOf(b, func(t *Task) {
		l := t.Loop()
		other := l.Go("echo", func(*Task) {})
		c, p := benchPair(b, t, other)
		l.Go("echo", func(t *Task) {
			t.Take(p)
			buf := make([]byte, 16)
			for {
				n, err := p.Read(buf)
				if err != nil {
					return
				}
				_, _ = p.Write(buf[:n])
			}
		})
		buf := make([]byte, 16)
		for b.Loop() {
			_, _ = c.Write(buf[:1])
			if n, err := c.Read(buf); n != 1 || err != nil {
				b.Errorf("%d, %v", n, err)
				return
			}
		}
	})
}

// BenchmarkTLSPingPong is the same on TLS, both ends on the loop.
func BenchmarkTLSPingPong(b *testing.B) {
	wrap := wrapping(b)
	onLoopOf(b, func(t *Task) {
		l := t.Loop()
		other := l.Go("echo", func(*Task) {})
		c, p := benchPair(b, t, other)
		l.Go("echo", func(t *Task) {
			t.Take(p)
			if err := p.StartTLS(nil, func(n net.Conn) *tls.Conn { return wrap(n, true) }); err != nil {
				b.Error(err)
			}
			buf := make([]byte, 16)
			for {
				n, err := p.Read(buf)
				if err != nil {
					return
				}
				_, _ = p.Write(buf[:n])
			}
		})
		if err := c.StartTLS(nil, func(n net.Conn) *tls.Conn { return wrap(n, false) }); err != nil {
			b.Error(err)
		}
		buf := make([]byte, 16)
		for b.Loop() {
			_, _ = c.Write(buf[:1])
			if n, err := c.Read(buf); n != 1 || err != nil {
				b.Errorf("%d, %v", n, err)
				return
			}
		}
	})
}

func benchPair(b *testing.B, t, u *Task) (*Conn, *Conn) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	c, err := t.Adopt(fds[0])
	if err != nil {
		b.Error(err)
	}
	p, err := u.Adopt(fds[1])
	if err != nil {
		b.Error(err)
	}
	p.Park(nil)
	return c, p
}

// BenchmarkPostHere is a post from the loop itself.
func BenchmarkPostHere(b *testing.B) {
	onLoopOf(b, func(t *Task) {
		for b.Loop() {
			t.Loop().Post(t.Wake)
			t.Wait(time.Time{})
		}
	})
}

// BenchmarkOffload is the price of leaving the loop and coming back.
func BenchmarkOffload(b *testing.B) {
	onLoopOf(b, func(t *Task) {
		f := func() {}
		for b.Loop() {
			t.Offload(f)
		}
	})
}

// BenchmarkSession is the birth and death of a task.
func BenchmarkSession(b *testing.B) {
	onLoopOf(b, func(t *Task) {
		f := func(*Task) {}
		for b.Loop() {
			t.Loop().Go("session", f)
			t.Yield()
		}
	})
}
