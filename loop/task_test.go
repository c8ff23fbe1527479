package loop

import (
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestWaitOrder(t *testing.T) {
	onEngines(t, func(w *world) {
		_, done := w.connected("session", func(t *Task, c *Conn) {
			past, met := t.Now().Add(-time.Second), Interest{Conn: c, Write: true}
			for _, tt := range []struct {
				name      string
				wake      bool
				until     time.Time
				interests []Interest
				want      Cause
			}{
				{"deadline over", false, past, nil, Timeout},
				{"deadline now", false, t.Now(), nil, Timeout},
				{"interest before deadline", false, past, []Interest{met}, Ready},
				{"wake-up before interest", true, past, []Interest{met}, Woken},
				{"and only once", false, past, []Interest{met}, Ready},
				{"second of two", false, past, []Interest{{Conn: c, Read: true, HangUp: true}, met}, Ready},
				{"nothing wanted", false, past, []Interest{{Conn: c}}, Timeout},
			} {
				if tt.wake {
					t.Wake()
				}
				if got := t.Wait(tt.until, tt.interests...); got != tt.want {
					w.Errorf("%s: %d, want %d", tt.name, got, tt.want)
				}
			}
			t.Wake()
			t.Stop()
			if got := t.Wait(past, met); got != Stopped || !t.Stopped() {
				w.Errorf("stop before all: %d", got)
			}
		})
		<-done
	})
}

// A deadline may be moved and taken back at will: what counts is the last one.
func TestTimers(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		name  string
		waits []time.Duration // each but the last is ended by a wake-up after 1 s; 0: no deadline
		want  time.Duration   // when the last is over
	}{
		{"left alone", []time.Duration{5 * s}, 5 * s},
		{"later", []time.Duration{5 * s, 9 * s}, 9 * s},
		{"later twice", []time.Duration{5 * s, 9 * s, 20 * s}, 20 * s},
		{"earlier", []time.Duration{9 * s, 5 * s}, 5 * s},
		{"later, then earlier", []time.Duration{5 * s, 20 * s, 7 * s}, 7 * s},
		{"disarmed, then later", []time.Duration{5 * s, 0, 20 * s}, 20 * s},
		{"disarmed past its time", []time.Duration{2 * s, 0, 0, 0, 20 * s}, 20 * s},
		{"disarmed, then earlier", []time.Duration{9 * s, 0, 5 * s}, 5 * s},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onVirtual(t, func(w *world) {
				begin := time.Now()
				tasks := make(chan *Task, 1)
				done := w.start("sleeper", func(t *Task) {
					tasks <- t
					for i, d := range tt.waits {
						var until time.Time
						if d > 0 {
							until = begin.Add(d)
						}
						want := Woken
						if i == len(tt.waits)-1 {
							want = Timeout
						}
						if got := t.Wait(until); got != want {
							w.Errorf("wait %d: %d, want %d", i, got, want)
						}
					}
				})
				task := <-tasks
				for range len(tt.waits) - 1 {
					<-time.After(s)
					w.do(task.Wake)
				}
				<-done
				if got := time.Since(begin); got != tt.want {
					w.Errorf("over after %v, want %v", got, tt.want)
				}
			})
		})
	}
}

// Many tasks with deadlines of all kinds are due on time and in order.
func TestManyTimers(t *testing.T) {
	onVirtual(t, func(w *world) {
		const n = 1000
		begin := time.Now()
		last := time.Duration(0)
		var wg sync.WaitGroup
		wg.Add(n)
		for i := range n {
			d := time.Duration(i*7919%n) * time.Millisecond
			w.l.GoFrom("sleeper", func(t *Task) {
				defer wg.Done()
				if got := t.Wait(begin.Add(time.Hour - d)); got != Woken { // so all are moved, in all directions
					w.Errorf("wait: %d", got)
				}
				t.Sleep(d)
				if got := t.Now().Sub(begin); got != d || got < last {
					w.Errorf("slept until %v instead of %v, after one until %v", got, d, last)
				}
				last = d
			})
		}
		w.settled()
		w.do(func() {
			if len(w.l.timers) != n || w.l.Tasks() != n {
				w.Errorf("%d timers, %d tasks of %d", len(w.l.timers), w.l.Tasks(), n)
			}
			for t := range w.l.tasks {
				t.Wake()
			}
		})
		wg.Wait()
	})
}

func TestSleep(t *testing.T) {
	onEngines(t, func(w *world) {
		const d = 10 * time.Millisecond
		done := w.start("sleeper", func(t *Task) {
			begin := t.Now()
			t.Wake()
			t.Sleep(d)
			if took := t.Now().Sub(begin); took < d || w.exact && took != d {
				w.Errorf("slept %v", took)
			}
			if got := t.Wait(time.Time{}); got != Woken {
				w.Errorf("the wake-up was lost: %d", got)
			}
		})
		<-done
	})
}

// No wake-up is lost, whoever sends it and whenever: each is awaited before the next, so the loop falls asleep in between.
func TestPostStress(t *testing.T) {
	onEngines(t, func(w *world) {
		const senders, each = 8, 2000
		count := 0
		var wg sync.WaitGroup
		for range senders {
			wg.Go(func() {
				ran := make(chan struct{})
				for range each {
					if !w.l.Post(func() { count++; ran <- struct{}{} }) {
						w.Error("refused")
						return
					}
					<-ran
				}
			})
		}
		wg.Wait()
		w.do(func() {
			if count != senders*each {
				w.Errorf("%d posts ran of %d", count, senders*each)
			}
		})
	})
}

func TestWakeStress(t *testing.T) {
	onEngines(t, func(w *world) {
		const tasks, each = 50, 200
		var wg sync.WaitGroup
		for range tasks {
			woken := make(chan *Task)
			done := w.start("sleeper", func(t *Task) {
				woken <- t
				for range each {
					if got := t.Wait(time.Time{}); got != Woken {
						w.Errorf("wait: %d", got)
						return
					}
					woken <- t
				}
			})
			wg.Go(func() {
				for range each {
					w.l.Post((<-woken).Wake)
				}
				<-woken
				<-done
			})
		}
		wg.Wait()
	})
}

// Posts run in the order of a sender, also those from the loop itself.
func TestPostOrder(t *testing.T) {
	onEngines(t, func(w *world) {
		var got []int
		done := make(chan struct{})
		w.l.Post(func() {
			got = append(got, 1)
			w.l.Post(func() { got = append(got, 3) })
			w.l.Post(func() { got = append(got, 4); close(done) })
			got = append(got, 2)
		})
		<-done
		for i, n := range got {
			if n != i+1 {
				w.Errorf("order: %v", got)
			}
		}
	})
}

// endless is a socket whose peer floods and swallows without limit.
type endless struct{ bytestream }

func (endless) read(b []byte) (int, error)  { return len(b), nil }
func (endless) write(b []byte) (int, error) { return len(b), nil }

// Sessions whose peers never make them wait leave others their turns, and not after more than a bounded number of bytes.
func TestFairness(t *testing.T) {
	for _, tt := range []struct {
		name string
		move func(c *Conn, b []byte) (int, error)
	}{
		{"reader", (*Conn).Read},
		{"writer", (*Conn).Write},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onEngines(t, func(w *world) {
				moved, most := 0, 0
				flood := func(t *Task, c *Conn) {
					c.stream = endless{c.stream}
					b := make([]byte, 1000)
					for !t.Stopped() {
						n, _ := tt.move(c, b)
						moved += n
					}
					c.stream = c.stream.(endless).bytestream
				}
				tasks := make(chan *Task, 1)
				_, flooded := w.connected("flood", func(t *Task, c *Conn) {
					tasks <- t
					flood(t, c)
				})
				flooder := <-tasks
				const rounds = 100
				p, done := w.connected("victim", func(t *Task, c *Conn) {
					b := make([]byte, 1)
					for range rounds {
						before := moved
						t.Yield() // one turn of everybody
						most = max(most, moved-before)
						if _, err := c.Read(b); err != nil {
							w.Error(err)
							return
						}
						_, _ = c.Write(b)
					}
				})
				b := make([]byte, 1)
				for range rounds {
					_, _ = p.Write(b)
					if _, err := p.Read(b); err != nil {
						w.Error(err)
						break
					}
				}
				<-done
				w.do(flooder.Stop)
				<-flooded
				if moved == 0 || most > bytesPerTurn+1000 {
					w.Errorf("the flooder moved %d bytes, up to %d a turn", moved, most)
				}
			})
		})
	}
}

// Tasks that only yield do not keep arrivals, posts and timers from being seen.
func TestYieldersStarveNobody(t *testing.T) {
	onEngines(t, func(w *world) {
		var over atomic.Bool
		for range 10 {
			w.start("yields", func(t *Task) {
				for !over.Load() {
					t.Yield()
				}
			})
		}
		p, done := w.connected("victim", func(_ *Task, c *Conn) {
			if _, err := c.Read(make([]byte, 1)); err != nil {
				w.Error(err)
			}
			if !w.exact { // virtual time stands still while they yield
				_ = c.SetReadDeadline(w.l.Now().Add(time.Millisecond))
				_, err := c.Read(make([]byte, 1))
				w.isErr("read", err, os.ErrDeadlineExceeded)
			}
		})
		w.do(func() {})
		_, _ = p.Write([]byte("x"))
		<-done
		over.Store(true)
	})
}

func explode(what string) { panic(what) }

// A panic ends the one task, is reported with its stack, and its connections are closed; everything else goes on.
func TestPanics(t *testing.T) {
	onEngines(t, func(w *world) {
		other, otherDone := w.connected("other", echo)
		ask := func() {
			w.Helper()
			_, _ = other.Write([]byte("x"))
			if _, err := other.Read(make([]byte, 1)); err != nil {
				w.Errorf("the other session: %v", err)
			}
		}
		p, done := w.connected("bomb", func(_ *Task, c *Conn) {
			_, _ = c.Read(make([]byte, 1))
			explode("bang")
		})
		ask()
		_, _ = p.Write([]byte("x"))
		<-done
		if _, err := p.Read(make([]byte, 1)); err == nil {
			w.Error("the connection is still open")
		}
		ask()
		w.panicked("bomb: bang", "loop.explode(", "task_test.go")

		w.l.Post(func() { explode("posted bang") })
		ask()
		w.panicked("posted function: posted bang", "loop.explode(")

		p, done = w.connected("parks", func(_ *Task, c *Conn) {
			c.Park(func(c *Conn) {
				c.Close()
				explode("event bang")
			})
		})
		<-done
		_, _ = p.Write([]byte("x"))
		_, _ = p.Read(make([]byte, 1))
		ask()
		w.panicked("connection event: event bang", "loop.explode(")
		_ = other.CloseWrite()
		<-otherDone
	})
}

// Using another task's coroutine would corrupt both, so it is a panic of the culprit.
func TestWaitInForeignName(t *testing.T) {
	onEngines(t, func(w *world) {
		conns := make(chan *Conn, 1)
		p, done := w.connected("owner", func(t *Task, c *Conn) {
			conns <- c
			echo(t, c)
		})
		c := <-conns
		w.settled()
		<-w.start("thief", func(*Task) { _, _ = c.Read(make([]byte, 1)) })
		w.panicked("thief: ", "task owner")
		w.l.Post(func() { _, _ = c.Read(make([]byte, 1)) })
		w.settled()
		w.panicked("posted function: ", "task owner")
		_, _ = p.Write([]byte("x"))
		_, err := p.Read(make([]byte, 1))
		w.isErr("the owner goes on", err, nil)
		_ = p.CloseWrite()
		<-done

		other, err := w.loop(8, nil)
		if err != nil {
			w.Fatal(err)
		}
		defer other.end()
		_, done = w.connected("mover", func(_ *Task, c *Conn) { (&Task{loop: other}).Take(c) })
		<-done
		w.panicked("mover: ", "another loop")
	})
}
