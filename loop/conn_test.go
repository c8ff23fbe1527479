package loop

import (
	"bytes"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// pattern is n bytes in which a lost or doubled piece shows.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

func echo(_ *Task, c *Conn) { _, _ = io.Copy(c, struct{ io.Reader }{c}) }

func TestEcho(t *testing.T) {
	onEngines(t, func(w *world) {
		p, done := w.connected("echo", echo)
		want := pattern(50 * room)
		go func() {
			_, _ = p.Write(want)
			_ = p.CloseWrite()
		}()
		got, err := io.ReadAll(p)
		w.isErr("read", err, nil)
		if !bytes.Equal(got, want) {
			w.Errorf("%d bytes came back otherwise than the %d sent", len(got), len(want))
		}
		<-done
	})
}

// A write blocks while the peer does not read, others run meanwhile, and every byte arrives once, in order.
func TestWriteBlocks(t *testing.T) {
	onEngines(t, func(w *world) {
		want := pattern(100 * room)
		p, done := w.connected("writer", func(_ *Task, c *Conn) {
			n, err := c.Write(want)
			if n != len(want) || err != nil {
				w.Errorf("wrote %d of %d, %v", n, len(want), err)
			}
			c.Close()
		})
		w.settled()
		select {
		case <-done:
			w.Error("the write did not wait for its reader")
		default:
		}
		got, err := io.ReadAll(p)
		w.isErr("read", err, nil)
		if !bytes.Equal(got, want) {
			w.Errorf("%d bytes arrived otherwise than the %d sent", len(got), len(want))
		}
		<-done
	})
}

// A peer that has ended its side still gets what is written to it; its end shows as a hang-up before the data is read.
func TestHalfClosedPeer(t *testing.T) {
	onEngines(t, func(w *world) {
		p, done := w.connected("session", func(t *Task, c *Conn) {
			if got := t.Wait(time.Time{}, Interest{Conn: c, HangUp: true}); got != Ready || !c.HungUp() || !c.Readable() {
				w.Errorf("wait: %d, hung up %v, readable %v", got, c.HungUp(), c.Readable())
			}
			b := make([]byte, 4)
			for _, want := range []string{"last", "wo"} {
				if n, err := c.Read(b); string(b[:n]) != want || err != nil {
					w.Errorf("read %q, %v", b[:n], err)
				}
			}
			for range 2 {
				if got := t.Wait(time.Time{}, Interest{Conn: c, Read: true}); got != Ready {
					w.Errorf("wait: %d", got)
				}
				_, err := c.Read(b)
				w.isErr("end", err, io.EOF)
			}
			_, err := c.Write(pattern(20 * room))
			w.isErr("write", err, nil)
			c.Close()
		})
		_, err := p.Write([]byte("lastwo"))
		w.isErr("write", err, nil)
		w.isErr("close", p.CloseWrite(), nil)
		got, err := io.ReadAll(p)
		if len(got) != 20*room || err != nil {
			w.Errorf("%d bytes, %v", len(got), err)
		}
		<-done
	})
}

func TestPeerGone(t *testing.T) {
	onEngines(t, func(w *world) {
		p, done := w.connected("writer", func(_ *Task, c *Conn) {
			n, err := c.Write(pattern(100 * room))
			if n == 100*room || err == nil {
				w.Errorf("wrote %d to nobody, %v", n, err)
			}
		})
		w.settled()
		_ = p.Close()
		<-done
	})
}

func TestTryWhatIsThere(t *testing.T) {
	onEngines(t, func(w *world) {
		looked := make(chan struct{})
		p, done := w.connected("session", func(t *Task, c *Conn) {
			b := make([]byte, 3)
			if n, err := c.TryRead(b); n != 0 || err != nil {
				w.Errorf("nothing there: %d, %v", n, err)
			}
			close(looked)
			if n, err := c.Read(nil); n != 0 || err != nil {
				w.Errorf("read of nothing: %d, %v", n, err)
			}
			if got := t.Wait(time.Time{}, Interest{Conn: c, Read: true}); got != Ready {
				w.Errorf("wait: %d", got)
			}
			// A buffer filled to the brim may have left something: only the short read tells.
			for _, step := range []struct {
				want     string
				readable bool
			}{{"abc", true}, {"de", false}, {"", false}} {
				n, err := c.TryRead(b)
				if string(b[:n]) != step.want || err != nil || c.Readable() != step.readable {
					w.Errorf("%q, %v, readable %v; want %q, %v", b[:n], err, c.Readable(), step.want, step.readable)
				}
			}
			full := pattern(100 * room)
			n, err := c.TryWrite(full)
			if n == 0 || n == len(full) || err != nil {
				w.Errorf("wrote %d of %d, %v", n, len(full), err)
			}
			if n, err := c.TryWrite(full); n != 0 || err != nil {
				w.Errorf("wrote %d where nothing fits, %v", n, err)
			}
		})
		<-looked
		_, err := p.Write([]byte("abcde"))
		w.isErr("write", err, nil)
		<-done
	})
}

// What was read before its event came is not reported again.
func TestReadAheadOfTheEvent(t *testing.T) {
	onEngines(t, func(w *world) {
		ends := make(chan far, 1)
		p, done := w.connected("session", func(t *Task, c *Conn) {
			_, _ = (<-ends).Write([]byte("x")) // fits
			b := make([]byte, 10)
			if n, err := c.TryRead(b); n != 1 || err != nil {
				w.Errorf("%d, %v", n, err)
			}
			for range 3 {
				t.Yield()
			}
			if c.Readable() {
				w.Error("readable")
			}
		})
		ends <- p
		<-done
	})
}

func TestClosedConn(t *testing.T) {
	onEngines(t, func(w *world) {
		_, done := w.connected("session", func(t *Task, c *Conn) {
			if c.LocalAddr() == nil || c.RemoteAddr() == nil || c.Owner() != t || c.Closed() {
				w.Errorf("open: %v %v %v %v", c.LocalAddr(), c.RemoteAddr(), c.Owner(), c.Closed())
			}
			w.isErr("close", c.Close(), nil)
			w.isErr("second close", c.Close(), nil)
			if c.LocalAddr() != nil || c.RemoteAddr() != nil || c.Owner() != nil || !c.Closed() || !c.Readable() {
				w.Errorf("closed: %v %v %v %v", c.LocalAddr(), c.RemoteAddr(), c.Owner(), c.Closed())
			}
			for what, f := range map[string]func() (int, error){
				"read":      func() (int, error) { return c.Read(make([]byte, 1)) },
				"write":     func() (int, error) { return c.Write(make([]byte, 1)) },
				"try read":  func() (int, error) { return c.TryRead(make([]byte, 1)) },
				"try write": func() (int, error) { return c.TryWrite(make([]byte, 1)) },
			} {
				_, err := f()
				w.isErr(what, err, net.ErrClosed)
			}
			for _, i := range []Interest{{Conn: c, Read: true}, {Conn: c, Write: true}, {Conn: c, HangUp: true}} {
				if got := t.Wait(time.Time{}, i); got != Ready {
					w.Errorf("wait %+v: %d", i, got)
				}
			}
			if l := c.Release(); l.FD != -1 {
				w.Errorf("released descriptor %d of a closed connection", l.FD)
			}
			t.Take(c)
			if c.Owner() != nil || len(t.conns) != 0 {
				w.Error("a closed connection was taken")
			}
		})
		<-done
	})
}

// Whatever else runs on the loop may close a connection; its owner hears of it.
func TestClosedByAnother(t *testing.T) {
	onEngines(t, func(w *world) {
		conns := make(chan *Conn, 1)
		_, done := w.connected("session", func(_ *Task, c *Conn) {
			conns <- c
			_, err := c.Read(make([]byte, 1))
			w.isErr("read", err, net.ErrClosed)
		})
		c := <-conns
		w.settled()
		w.do(func() { c.Close() })
		<-done
	})
}

func TestDeadlines(t *testing.T) {
	const d = 20 * time.Millisecond
	for _, tt := range []struct {
		name string
		set  func(c *Conn, at time.Time) error
		do   func(c *Conn) error
	}{
		{"read", (*Conn).SetReadDeadline, func(c *Conn) error { _, err := c.Read(make([]byte, 1)); return err }},
		{"read, both set", (*Conn).SetDeadline, func(c *Conn) error { _, err := c.Read(make([]byte, 1)); return err }},
		{"write", (*Conn).SetWriteDeadline, func(c *Conn) error { _, err := c.Write(make([]byte, 100*room)); return err }},
		{"write, both set", (*Conn).SetDeadline, func(c *Conn) error { _, err := c.Write(make([]byte, 100*room)); return err }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onEngines(t, func(w *world) {
				_, done := w.connected("session", func(t *Task, c *Conn) {
					begin := t.Now()
					for i := range 3 {
						w.isErr("set", tt.set(c, begin.Add(d*time.Duration(i+1))), nil)
						w.isErr("do", tt.do(c), os.ErrDeadlineExceeded)
						took := t.Now().Sub(begin)
						if least := d * time.Duration(i+1); took < least || w.exact && took != least {
							w.Errorf("took %v instead of %v", took, least)
						}
					}
					// Over is over, even if something could be done.
					c.readable, c.writable = true, true
					w.isErr("do", tt.do(c), os.ErrDeadlineExceeded)
				})
				<-done
			})
		})
	}
}

func TestDeadlineTakenBack(t *testing.T) {
	onVirtual(t, func(w *world) {
		p, done := w.connected("session", func(t *Task, c *Conn) {
			_ = c.SetDeadline(t.Now().Add(-time.Second))
			_, err := c.Read(make([]byte, 1))
			w.isErr("read", err, os.ErrDeadlineExceeded)
			_ = c.SetDeadline(time.Time{})
			begin := t.Now()
			n, err := c.Read(make([]byte, 1))
			if n != 1 || err != nil || t.Now().Sub(begin) != time.Hour {
				w.Errorf("%d, %v after %v", n, err, t.Now().Sub(begin))
			}
		})
		<-time.After(time.Hour)
		_, _ = p.Write([]byte("x"))
		<-done
	})
}

// A wake-up that comes while a task reads is kept for its own next Wait.
func TestReadKeepsWakeUps(t *testing.T) {
	onEngines(t, func(w *world) {
		tasks := make(chan *Task, 1)
		p, done := w.connected("session", func(t *Task, c *Conn) {
			tasks <- t
			n, err := c.Read(make([]byte, 1))
			if n != 1 || err != nil {
				w.Errorf("%d, %v", n, err)
			}
			if got := t.Wait(time.Time{}); got != Woken {
				w.Errorf("wait: %d", got)
			}
		})
		task := <-tasks
		w.settled()
		w.do(task.Wake)
		w.settled()
		_, _ = p.Write([]byte("x"))
		<-done
	})
}

// Readable may be in doubt after a read that filled its buffer; Unread is not.
func TestUnread(t *testing.T) {
	onEngines(t, func(w *world) {
		p, done := w.connected("session", func(t *Task, c *Conn) {
			for _, left := range []bool{true, false} {
				t.Wait(time.Time{}, Interest{Conn: c, Read: true})
				if n, err := c.TryRead(make([]byte, 3)); n != 3 || err != nil || !c.Readable() {
					w.Errorf("%d, %v, readable %v", n, err, c.Readable())
				}
				if c.Unread() != left || c.Readable() != left {
					w.Errorf("unread %v, want %v", c.Unread(), left)
				}
			}
			c.Close()
			if !c.Unread() {
				w.Error("a closed connection has nothing to tell")
			}
		})
		_, _ = p.Write([]byte("answer"))
		<-done
	})
}

func TestPark(t *testing.T) {
	onEngines(t, func(w *world) {
		var (
			parked *Conn
			events []string
			wrote  = make(chan struct{})
			seen   = make(chan struct{}, 1)
		)
		onEvent := func(c *Conn) {
			events = append(events, "event")
			if c.Owner() != nil || !c.Readable() {
				w.Error("event of a connection that is owned or unreadable")
			}
			seen <- struct{}{}
		}
		p, done := w.connected("first", func(t *Task, c *Conn) {
			// A read that fills its buffer leaves the flag set though nothing is there: no event may come of it.
			t.Wait(time.Time{}, Interest{Conn: c, Read: true})
			if n, err := c.Read(make([]byte, 3)); n != 3 || err != nil || !c.Readable() {
				w.Errorf("%d, %v, readable %v", n, err, c.Readable())
			}
			parked = c
			c.Park(onEvent)
			if c.Owner() != nil || c.Readable() {
				w.Errorf("parked: owner %v, readable %v", c.Owner(), c.Readable())
			}
		})
		_, _ = p.Write([]byte("abc"))
		<-done
		w.settled()
		w.do(func() {
			if len(events) != 0 || parked.Closed() {
				w.Errorf("events without a cause: %v, closed %v", events, parked.Closed())
			}
		})
		_, _ = p.Write([]byte("news"))
		<-seen

		// What arrived before Park is an event too, after Park has returned.
		done = w.start("second", func(t *Task) {
			t.Take(parked)
			if parked.Owner() != t {
				w.Error("not taken")
			}
			if got := t.Wait(time.Time{}, Interest{Conn: parked, Read: true}); got != Ready {
				w.Errorf("wait: %d", got)
			}
			parked.Park(onEvent)
			events = append(events, "parked")
			close(wrote)
		})
		<-wrote
		<-seen
		<-done
		w.do(func() {
			if len(events) != 3 || events[1] != "parked" {
				w.Errorf("events: %v", events)
			}
			parked.Close()
			parked.Park(onEvent)
		})
		w.settled()
	})
}

// Tasks that end close what they own; a connection that is parked at the end of the loop is closed with it.
func TestConnsOfTheDead(t *testing.T) {
	onEngines(t, func(w *world) {
		p, done := w.connected("leaves it open", func(*Task, *Conn) {})
		<-done
		_, err := p.Read(make([]byte, 1))
		w.isErr("after the task", err, io.EOF)
		p, done = w.connected("parks it", func(_ *Task, c *Conn) { c.Park(nil) })
		<-done
		w.settled()
		w.cancel()
		_, err = p.Read(make([]byte, 1))
		w.isErr("after the loop", err, io.EOF)
	})
}
