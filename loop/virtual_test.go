package loop

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// Time stands still while anybody works and passes at once when everybody waits.
func TestVirtualTime(t *testing.T) {
	onVirtual(t, func(w *world) {
		begin := time.Now()
		p, done := w.connected("session", func(t *Task, c *Conn) {
			b := make([]byte, 1)
			for range 1000 {
				if _, err := c.Read(b); err != nil {
					w.Error(err)
				}
				_, _ = c.Write(b)
			}
			if !t.Now().Equal(begin) {
				w.Errorf("%v passed during work", t.Now().Sub(begin))
			}
			t.Sleep(1000 * time.Hour)
		})
		b := make([]byte, 1)
		for range 1000 {
			_, _ = p.Write(b)
			_, _ = p.Read(b)
		}
		if !time.Now().Equal(begin) {
			w.Errorf("%v passed during work", time.Since(begin))
		}
		<-done
		if got := time.Since(begin); got != 1000*time.Hour {
			w.Errorf("slept %v", got)
		}
	})
}

// A loop in which nothing goes on counts as blocked, so synctest.Wait returns when all consequences are drawn.
func TestVirtualLoopIsDurablyBlocked(t *testing.T) {
	onVirtual(t, func(w *world) {
		got := ""
		p, _ := w.connected("session", func(_ *Task, c *Conn) {
			b := make([]byte, 10)
			for {
				n, err := c.Read(b)
				if err != nil {
					return
				}
				got += string(b[:n])
			}
		})
		for _, want := range []string{"a", "ab", "abc"} {
			_, _ = p.Write([]byte(want[len(want)-1:]))
			synctest.Wait()
			if got != want {
				w.Errorf("%q, want %q", got, want)
			}
		}
	})
}

// The far end is a net.Conn with deadlines and a bounded buffer.
func TestPeerDeadlines(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(p *Peer, at time.Time) error
		do   func(p *Peer) (int, error)
		n    int
	}{
		{"read", (*Peer).SetReadDeadline, func(p *Peer) (int, error) { return p.Read(make([]byte, 1)) }, 0},
		{"read, both set", (*Peer).SetDeadline, func(p *Peer) (int, error) { return p.Read(make([]byte, 1)) }, 0},
		{"write", (*Peer).SetWriteDeadline, func(p *Peer) (int, error) { return p.Write(make([]byte, 10)) }, 4},
		{"write, both set", (*Peer).SetDeadline, func(p *Peer) (int, error) { return p.Write(make([]byte, 10)) }, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onVirtual(t, func(w *world) {
				_, p := w.l.Pipe(4)
				begin := time.Now()
				for i, at := range []time.Duration{time.Second, time.Second, 3 * time.Second} {
					_ = tt.set(p, begin.Add(at))
					n, err := tt.do(p)
					w.isErr("do", err, os.ErrDeadlineExceeded)
					if i == 0 && n != tt.n || i > 0 && n != 0 || time.Since(begin) != at {
						w.Errorf("step %d: %d bytes after %v", i, n, time.Since(begin))
					}
				}
				// A deadline moved while somebody waits holds for that wait.
				_ = tt.set(p, time.Time{})
				time.AfterFunc(time.Hour, func() { _ = tt.set(p, time.Now()) })
				_, err := tt.do(p)
				w.isErr("do", err, os.ErrDeadlineExceeded)
				time.AfterFunc(time.Hour, func() { _ = p.Close() })
				_ = tt.set(p, time.Time{})
				_, err = tt.do(p)
				w.isErr("close", err, net.ErrClosed)
				w.isErr("second close", p.Close(), net.ErrClosed)
			})
		})
	}
}

func TestPeerOfClosedConn(t *testing.T) {
	onVirtual(t, func(w *world) {
		c, p := w.l.Pipe(8)
		_, err := c.TryWrite([]byte("rest"))
		w.isErr("write", err, nil)
		w.do(func() { c.Close() })
		got, err := io.ReadAll(p)
		if string(got) != "rest" || err != nil {
			w.Errorf("%q, %v", got, err)
		}
		_, err = p.Write([]byte("x"))
		w.isErr("write", err, unix.EPIPE)
		if p.LocalAddr().Network() != "unix" || p.RemoteAddr().Network() != "unix" {
			w.Errorf("addresses %v, %v", p.LocalAddr(), p.RemoteAddr())
		}
		_ = p.CloseWrite()
		_, err = p.Write([]byte("x"))
		w.isErr("write after the end", err, net.ErrClosed)
	})
}

func TestVirtualDial(t *testing.T) {
	addr := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 5432}
	for _, tt := range []struct {
		name    string
		onDial  func(net.Addr, *Peer) error
		want    string
		timeout bool
		after   time.Duration
	}{
		{name: "nobody there", want: "connect 192.0.2.1:5432: connection refused"},
		{name: "refused", onDial: func(net.Addr, *Peer) error { return unix.EHOSTUNREACH }, want: "connect 192.0.2.1:5432: no route to host"},
		{
			name: "silent", onDial: func(net.Addr, *Peer) error { return os.ErrDeadlineExceeded },
			want: "connect 192.0.2.1:5432: i/o timeout", timeout: true, after: time.Minute,
		},
		{name: "answers", onDial: func(a net.Addr, p *Peer) error {
			go func() {
				_, _ = p.Write([]byte("hello from " + a.String()))
				_ = p.Close()
			}()
			return nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onVirtual(t, func(w *world) {
				if tt.onDial != nil {
					w.do(func() { w.l.OnDial(tt.onDial) })
				}
				<-w.start("client", func(t *Task) {
					begin := t.Now()
					c, err := t.Dial(addr, begin.Add(time.Minute))
					if took := t.Now().Sub(begin); took != tt.after {
						w.Errorf("took %v", took)
					}
					if tt.want != "" {
						var de *DialError
						if !errors.As(err, &de) || err.Error() != tt.want || de.Timeout() != tt.timeout {
							w.Errorf("%v", err)
						}
						return
					}
					if err != nil || c.FD() != -1 {
						w.Error(err)
						return
					}
					b := make([]byte, 100)
					n, err := c.Read(b)
					if string(b[:n]) != "hello from 192.0.2.1:5432" || err != nil {
						w.Errorf("%q, %v", b[:n], err)
					}
					if l := c.Release(); l.FD != -1 || !c.Closed() {
						w.Errorf("released %d", l.FD)
					}
					if _, err := t.Adopt(0); !errors.Is(err, errEngine) {
						w.Errorf("adopted: %v", err)
					}
				})
				w.do(func() { w.l.OnDial(func(net.Addr, *Peer) error { return os.ErrDeadlineExceeded }) })
				done := w.start("stopped", func(t *Task) {
					if _, err := t.Dial(addr, time.Time{}); !errors.Is(err, ErrStopped) {
						w.Errorf("stopped: %v", err)
					}
				})
				w.cancel()
				<-done
			})
		})
	}
}

func TestPipeOnEpoll(t *testing.T) {
	onEpoll(t, func(w *world) {
		<-w.start("task", func(*Task) { w.l.Pipe(1) })
		w.panicked("task: loop: a loop on epoll has no pipes")
	})
}
