package pool

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"gopgpool/loop"
)

// An idle connection is chosen by who used it last, then by its settings, then by how long it has idled.
func TestPreference(t *testing.T) {
	onVirtual(t, 10, func(b *bed) {
		b.do(func(t *loop.Task) {
			pl := b.p.Place(key("db", "user"), Bounds{Size: 5})
			names := map[*Conn]string{}
			var all []*Conn
			for i := range 3 {
				c, _ := b.lease(t, &Ask{Place: pl, Owner: uint64(i + 1), Print: uint64(i / 2)})
				names[c] = fmt.Sprint("of session ", i+1)
				all = append(all, c)
			}
			for _, c := range all {
				b.p.Return(c)
				t.Sleep(time.Second)
			}
			for _, tc := range []struct {
				a    Ask
				want string
			}{
				{Ask{Owner: 1, Print: 1}, "of session 1"},
				{Ask{Owner: 2}, "of session 2"},
				{Ask{Owner: 9, Print: 0}, "of session 2"}, // the same settings, used later than that of session 1
				{Ask{Owner: 9, Print: 1}, "of session 3"},
				{Ask{Owner: 9, Print: 5}, "of session 3"}, // used last
			} {
				tc.a.Place = pl
				c, err := b.p.Lease(t, &tc.a)
				if err != nil || names[c] != tc.want {
					b.Errorf("%+v: %q, %v; want %q", tc.a, names[c], err, tc.want)
				}
				since := c.IdleSince
				b.p.Return(c)
				b.p.mu.Lock() // as if it had not been leased
				c.IdleSince = since
				pl.idle = connList{}
				for _, c := range all {
					pl.idle.push(c)
				}
				b.p.mu.Unlock()
			}
		})
	})
}

// First come, first served; who gave up is passed over, and nobody overtakes those who wait.
func TestOrder(t *testing.T) {
	onVirtual(t, 10, func(b *bed) {
		place := b.p.Place(key("db", "user"), Bounds{Size: 1})
		var got []int
		var done []chan struct{}
		session := func(id int, f func(t *loop.Task, a *Ask)) {
			done = append(done, b.task(0, func(t *loop.Task) {
				a := &Ask{Place: place, Owner: uint64(id)}
				t.Sleep(time.Duration(id) * time.Millisecond)
				f(t, a)
				c, err := b.lease(t, a)
				if err != nil {
					got = append(got, -id)
					return
				}
				got = append(got, id)
				t.Sleep(100 * time.Millisecond)
				b.p.Return(c)
			}))
		}
		plain := func(*loop.Task, *Ask) {}
		session(0, plain)
		session(1, plain)
		session(2, func(t *loop.Task, a *Ask) {
			a.Cancelled = func() bool { return true }
			b.task(0, func(o *loop.Task) { o.Sleep(50 * time.Millisecond); t.Wake() })
		})
		session(3, plain)
		session(4, func(_ *loop.Task, a *Ask) { a.NoWait = true })
		session(120, plain)
		for _, d := range done {
			<-d
		}
		if want := []int{0, -4, -2, 1, 3, 120}; !slices.Equal(got, want) {
			t.Errorf("served %v, want %v", got, want)
		}
		s := b.p.Stats()[0]
		if s.Opened != 1 || s.Waits != 4 || s.Leases != 6 || s.Idle != 1 || s.Waiting != 0 || s.WaitTime != (99+50+197+180)*time.Millisecond {
			t.Errorf("%+v", s)
		}
	})
}

// holder leases one connection of a place until it is told to return it.
func (b *bed) holder(pl *Place) (giveBack func()) {
	ready, release := make(chan struct{}), make(chan *loop.Task, 1)
	done := b.task(0, func(t *loop.Task) {
		c, err := b.lease(t, &Ask{Place: pl})
		if err != nil {
			b.Error(err)
		}
		release <- t
		close(ready)
		t.Wait(time.Time{})
		b.p.Return(c)
	})
	<-ready
	t := <-release
	return func() {
		b.loops[0].Post(t.Wake)
		<-done
	}
}

func TestWaiting(t *testing.T) {
	onVirtual(t, 10, func(b *bed) {
		pl := b.p.Place(key("db", "user"), Bounds{Size: 1, WaitTimeout: 12 * time.Second})
		giveBack := b.holder(pl)
		b.do(func(t *loop.Task) {
			began := t.Now()
			var told []time.Duration
			a := &Ask{Place: pl, Waiting: func() { told = append(told, t.Now().Sub(began)) }}
			_, err := b.p.Lease(t, a)
			if !errors.Is(err, ErrWaitTimeout) || t.Now().Sub(began) != 12*time.Second {
				b.Errorf("%v after %v", err, t.Now().Sub(began))
			}
			if !slices.Equal(told, []time.Duration{WaitNotice}) {
				b.Errorf("told after %v", told)
			}
			a.NoWait = true
			if _, err := b.p.Lease(t, a); !errors.Is(err, ErrBusy) {
				b.Error(err)
			}
			a.NoWait = false
			a.Watched = []loop.Interest{{Conn: b.wire(t), Read: true}}
			_ = b.last.Close() // the client
			if _, err := b.p.Lease(t, a); !errors.Is(err, loop.ErrStopped) {
				b.Error(err)
			}
			b.check(t.Now())
		})
		giveBack()
	})
}

// A panic of the callback leaves nobody in the queue.
func TestPanicWhileWaiting(t *testing.T) {
	onVirtual(t, 10, func(b *bed) {
		pl := b.p.Place(key("db", "user"), Bounds{Size: 1})
		giveBack := b.holder(pl)
		b.do(func(t *loop.Task) {
			defer func() { _ = recover() }()
			_, _ = b.p.Lease(t, &Ask{Place: pl, Waiting: func() { panic("bug") }})
		})
		giveBack()
		b.check(time.Now())
		if s := b.p.Stats()[0]; s.Waiting != 0 || s.Idle != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// The wake-ups of a task that waits for its turn are kept for its own waits.
func TestWakeUpsAreKept(t *testing.T) {
	onVirtual(t, 10, func(b *bed) {
		pl := b.p.Place(key("db", "user"), Bounds{Size: 1})
		giveBack := b.holder(pl)
		done := b.task(0, func(t *loop.Task) {
			b.task(0, func(*loop.Task) { t.Wake() })
			c, err := b.p.Lease(t, &Ask{Place: pl})
			if err != nil {
				b.Error(err)
				return
			}
			if got := t.Wait(t.Now().Add(time.Second)); got != loop.Woken {
				b.Errorf("the wake-up is lost: %v", got)
			}
			b.p.Return(c)
		})
		time.Sleep(time.Second)
		giveBack()
		<-done
	})
}

// The reserve is open to one who has waited long enough, and not before.
func TestReserve(t *testing.T) {
	onVirtual(t, 10, func(b *bed) {
		pl := b.p.Place(key("db", "user"), Bounds{Size: 1, Reserve: 1, ReserveAfter: 3 * time.Second, WaitTimeout: 10 * time.Second})
		giveBack := b.holder(pl)
		b.do(func(t *loop.Task) {
			began := t.Now()
			first, err := b.lease(t, &Ask{Place: pl})
			if err != nil || t.Now().Sub(began) != 3*time.Second {
				b.Errorf("%v after %v", err, t.Now().Sub(began))
			}
			if _, err := b.lease(t, &Ask{Place: pl}); !errors.Is(err, ErrWaitTimeout) {
				b.Error(err)
			}
			b.p.Return(first)
		})
		giveBack()
		if s := b.p.Stats()[0]; s.Idle != 2 {
			t.Errorf("%+v", s)
		}
	})
}

// nextval leaves something with the connection: its session can have it again as long as nobody has used it.
func TestExactly(t *testing.T) {
	onVirtual(t, 10, func(b *bed) {
		b.do(func(t *loop.Task) {
			pl := b.p.Place(key("db", "user"), Bounds{Size: 2})
			mine := &Ask{Place: pl, Owner: 1}
			c, _ := b.lease(t, mine)
			mine.Exactly, mine.Serial = c, c.Serial
			if _, err := b.p.Lease(t, mine); !errors.Is(err, ErrUsed) {
				b.Errorf("leased twice: %v", err)
			}
			b.p.Return(c)
			got, err := b.p.Lease(t, mine)
			if got != c || err != nil {
				b.Fatalf("%p, %v; want %p", got, err, c)
			}
			mine.Serial = c.Serial
			b.p.Return(c)
			other := &Ask{Place: pl, Owner: 2}
			got, _ = b.lease(t, other)
			b.p.Return(got)
			if _, err := b.p.Lease(t, mine); got != c || !errors.Is(err, ErrUsed) {
				b.Errorf("another has used it: %v", err)
			}
			again := &Ask{Place: pl, Owner: 1}
			c, _ = b.lease(t, again)
			mine.Exactly, mine.Serial = c, c.Serial
			b.p.Return(c)
			b.p.CloseIdle(func(*Conn) bool { return true })
			if _, err := b.p.Lease(t, mine); !errors.Is(err, ErrUsed) {
				b.Errorf("it is closed: %v", err)
			}
		})
	})
}

// A connection that has ended or idles with something unread, or whose node has changed its role, is not leased: its place is.
func TestUseless(t *testing.T) {
	onVirtual(t, 10, func(b *bed) {
		b.do(func(t *loop.Task) {
			a := &Ask{Place: b.p.Place(key("db", "user"), Bounds{Size: 1})}
			for _, spoil := range []func(c *Conn){
				func(*Conn) { _ = b.last.Close() },
				func(*Conn) { _, _ = b.last.(interface{ Write([]byte) (int, error) }).Write([]byte("E")) },
				func(*Conn) { b.raiseEpoch() },
			} {
				c, err := b.lease(t, a)
				if err != nil {
					b.Fatal(err)
				}
				b.p.Return(c)
				spoil(c)
				t.Sleep(time.Millisecond)
				got, err := b.p.Lease(t, a)
				if got != nil || err != nil {
					b.Fatalf("%p, %v", got, err)
				}
				b.p.Unreserve(a.Place.Key())
				b.check(t.Now())
			}
			c, _ := b.lease(t, a)
			b.raiseEpoch()
			b.p.Return(c)
			if s := b.p.Stats()[0]; s.Idle != 0 || s.Closed != 4 || !c.Wire.Closed() {
				b.Errorf("%+v", s)
			}
		})
	})
}

func (b *bed) raiseEpoch() {
	v := *b.store.Current()
	v.Generation++
	v.Nodes = slices.Clone(v.Nodes)
	v.Nodes[0].Epoch++
	b.store.Publish(&v)
}

// server_check_delay: what has idled for long is to be checked.
func TestMustCheck(t *testing.T) {
	onVirtual(t, 10, func(b *bed) {
		b.do(func(t *loop.Task) {
			a := &Ask{Place: b.p.Place(key("db", "user"), Bounds{Size: 1, CheckQuery: "SELECT 1", CheckDelay: 30 * time.Second})}
			for _, tc := range []struct {
				idled time.Duration
				want  bool
			}{{0, false}, {29 * time.Second, false}, {30 * time.Second, true}, {0, false}} {
				c, _ := b.lease(t, a)
				b.p.Return(c)
				t.Sleep(tc.idled)
				c, _ = b.lease(t, a)
				if c.MustCheck != tc.want {
					b.Errorf("after %v: must check %v", tc.idled, c.MustCheck)
				}
				b.p.Return(c)
			}
		})
	})
}

// An answer that fills the buffer to the last byte leaves doubt whether there is more, which is no reason to close the connection.
func TestAnswerFillsBuffer(t *testing.T) {
	onReal(t, 10, 1, func(b *bed) {
		b.do(func(t *loop.Task) {
			a := &Ask{Place: b.p.Place(key("db", "user"), Bounds{})}
			c, _ := b.lease(t, a)
			if _, err := unix.Write(int(b.last.(far)), []byte("answer")); err != nil {
				b.Fatal(err)
			}
			t.Wait(time.Time{}, loop.Interest{Conn: c.Wire, Read: true})
			if n, err := c.Wire.Read(make([]byte, 6)); n != 6 || err != nil || !c.Wire.Readable() {
				b.Fatalf("%d, %v, readable %v", n, err, c.Wire.Readable())
			}
			b.p.Return(c)
			if got, _ := b.lease(t, a); got != c {
				b.Error("the connection was closed")
			}
			b.p.Return(c)
		})
	})
}
