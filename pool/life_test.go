package pool

import (
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"gopgpool/loop"
)

// fill leases and returns n connections of a place at once.
func (b *bed) fill(t *loop.Task, pl *Place, n int) {
	var all []*Conn
	for range n {
		c, err := b.lease(t, &Ask{Place: pl})
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, c)
	}
	for _, c := range all {
		b.p.Return(c)
	}
}

func (b *bed) stats(pl *Place) PoolStats {
	for _, s := range b.p.Stats() {
		if s.Key == pl.Key() {
			return s
		}
	}
	return PoolStats{}
}

// server_idle_timeout closes down to min_pool_size, server_lifetime beyond it, and not all at once.
func TestIdleAndLifetime(t *testing.T) {
	onVirtual(t, 100, func(b *bed) {
		b.do(func(t *loop.Task) {
			dice := 0.0
			b.p.dice = func() float64 { dice += 0.1; return dice }
			pl := b.p.Place(key("db", "user"), Bounds{Size: 9, Min: 3, IdleTime: time.Minute, Lifetime: time.Hour})
			b.fill(t, pl, 5)
			t.Sleep(59 * time.Second)
			if n := b.stats(pl).Idle; n != 5 {
				b.Errorf("%d idle before their time", n)
			}
			t.Sleep(3 * time.Second)
			if n := b.stats(pl).Idle; n != 3 {
				b.Errorf("%d idle after server_idle_timeout", n)
			}
			var left []int
			t.Sleep(53 * time.Minute)
			for range 6 {
				t.Sleep(time.Minute)
				left = append(left, b.stats(pl).Idle)
			}
			if left[0] != 3 || left[5] != 0 || len(slices.Compact(left)) < 3 {
				b.Errorf("minute by minute there were %v", left)
			}
			c, _ := b.lease(t, &Ask{Place: pl})
			t.Sleep(2 * time.Hour)
			b.p.Return(c)
			if s := b.stats(pl); s.Idle != 0 || !c.Wire.Closed() {
				b.Errorf("one too old idles: %+v", s)
			}
		})
	})
}

// min_pool_size: what lacks is told once a login has left what it takes, and only as far as there is room.
func TestMin(t *testing.T) {
	onVirtual(t, 4, func(b *bed) {
		b.do(func(t *loop.Task) {
			pl := b.p.Place(key("db", "user"), Bounds{Size: 9, Min: 3, IdleTime: time.Minute})
			if n := len(b.p.Lacking()); n != 0 {
				b.Errorf("%d lack before a login", n)
			}
			b.p.Keep(pl, "credential")
			b.fill(t, pl, 1)
			lack := b.p.Lacking()
			if len(lack) != 1 || lack[0].Place != pl || lack[0].N != 2 || b.p.Kept(pl) != "credential" {
				b.Fatalf("%+v", lack)
			}
			for b.p.ReserveSpare(pl) {
				b.p.Return(b.open(t, pl))
			}
			if s := b.stats(pl); s.Idle != 3 || len(b.p.Lacking()) != 0 {
				b.Errorf("%+v", s)
			}
			other := b.p.Place(key("db", "other"), Bounds{Size: 9, Min: 3})
			b.p.Keep(other, "credential")
			if lack := b.p.Lacking(); len(lack) != 1 || lack[0].N != 1 {
				b.Errorf("a full node: %+v", lack)
			}
		})
	})
}

// A full node makes room by closing what idles: first what its pool can do without, and rather any than that somebody waits.
func TestRoomIsMade(t *testing.T) {
	onVirtual(t, 4, func(b *bed) {
		b.do(func(t *loop.Task) {
			wanted := b.p.Place(key("db", "wanted"), Bounds{Min: 2})
			spare := b.p.Place(key("db", "spare"), Bounds{})
			b.fill(t, wanted, 2)
			t.Sleep(time.Second)
			b.fill(t, spare, 2)
			third := &Ask{Place: b.p.Place(key("db", "third"), Bounds{})}
			var held []*Conn
			for i, want := range [][2]int{{2, 1}, {2, 0}, {1, 0}, {0, 0}} {
				c, err := b.lease(t, third)
				if err != nil {
					b.Fatal(err)
				}
				held = append(held, c)
				if got := [2]int{b.stats(wanted).Idle, b.stats(spare).Idle}; got != want {
					b.Errorf("with %d leased: %v left, want %v", i+1, got, want)
				}
				b.check(t.Now())
			}
			for _, c := range held {
				b.p.Return(c)
			}
		})
	})
}

// max_db_connections and max_user_connections count all pools of the node: what idles elsewhere under the same bound makes room.
func TestSharedBounds(t *testing.T) {
	onVirtual(t, 100, func(b *bed) {
		b.do(func(t *loop.Task) {
			bounds := Bounds{MaxDB: 2, MaxUser: 3}
			lease := func(db, user string) *Conn {
				c, err := b.lease(t, &Ask{Place: b.p.Place(key(db, user), bounds), NoWait: true})
				if err != nil && !errors.Is(err, ErrBusy) {
					b.Error(err)
				}
				b.check(t.Now())
				return c
			}
			a1, a2 := lease("a", "u"), lease("a", "v")
			if lease("a", "w") != nil {
				b.Error("a third connection to the database")
			}
			b1, c1 := lease("b", "u"), lease("c", "u")
			if lease("d", "u") != nil {
				b.Error("a fourth connection of the user")
			}
			b.p.Return(a2)
			a3 := lease("a", "w") // in the place of a2
			if a3 == nil || !a2.Wire.Closed() {
				b.Error("an idle connection has not made room")
			}
			b.p.Return(b1)
			d1 := lease("d", "u")
			if d1 == nil || !b1.Wire.Closed() {
				b.Error("an idle connection has not made room")
			}
			for _, c := range []*Conn{a1, a3, c1, d1} {
				if c != nil {
					b.p.Return(c)
				}
			}
			second := b.p.Place(Key{Node: 1, Database: "a", User: "u"}, bounds)
			b.fill(t, second, 2) // another node has bounds of its own
			b.check(t.Now())
		})
	})
}

// A busy pool does not keep the node for itself: one who has waited much longer than its own first gets a place.
func TestBusyPoolGivesWay(t *testing.T) {
	onVirtual(t, 2, func(b *bed) {
		busy := b.p.Place(key("busy", "user"), Bounds{Size: 5})
		done := b.busy(busy, 10, time.Now().Add(10*time.Second))
		b.do(func(t *loop.Task) {
			t.Sleep(time.Second)
			began := t.Now()
			c, err := b.lease(t, &Ask{Place: b.p.Place(key("calm", "user"), Bounds{Size: 5})})
			if waited := t.Now().Sub(began); err != nil || waited < seniority || waited > 2*seniority {
				b.Errorf("%v after %v", err, waited)
			}
			b.p.Return(c)
		})
		for _, d := range done {
			<-d
		}
		if s := b.stats(busy); s.Opened > 4 {
			t.Errorf("connections went to and fro: %+v", s)
		}
	})
}

// Of very many places those nobody uses are forgotten at once.
func TestManyPlaces(t *testing.T) {
	b := newBed(t, 10)
	for i := range maxPlaces + 1 {
		b.p.Place(key("db", strconv.Itoa(i)), Bounds{})
	}
	b.p.sweep(time.Now())
	if n := len(b.p.Stats()); n != 0 || len(b.p.nodes[0].dbs)+len(b.p.nodes[0].users) != 0 {
		t.Errorf("%d places remembered, counts of %d databases and %d users", n, len(b.p.nodes[0].dbs), len(b.p.nodes[0].users))
	}
}

// busy has n sessions use the place without a pause until then.
func (b *bed) busy(pl *Place, n int, until time.Time) (done []chan struct{}) {
	for range n {
		done = append(done, b.task(0, func(t *loop.Task) {
			a := &Ask{Place: pl}
			for t.Now().Before(until) {
				c, err := b.lease(t, a)
				if err != nil {
					b.Error(err)
					return
				}
				t.Sleep(5 * time.Millisecond)
				b.p.Return(c)
				b.check(t.Now())
			}
		}))
	}
	return done
}

// Two busy pools, one full under the bound of the database, one under that of the user, leave one room under both in the end.
func TestBusyPoolsUnderTwoBounds(t *testing.T) {
	onVirtual(t, 100, func(b *bed) {
		bounds := Bounds{MaxDB: 1, MaxUser: 1, WaitTimeout: 5 * time.Second}
		until := time.Now().Add(3 * time.Second)
		done := b.busy(b.p.Place(key("a", "v"), bounds), 5, until)
		time.Sleep(2 * time.Millisecond) // so that never both are between two sessions
		done = append(done, b.busy(b.p.Place(key("b", "u"), bounds), 5, until)...)
		time.Sleep(time.Second)
		b.do(func(t *loop.Task) {
			began := t.Now()
			c, err := b.lease(t, &Ask{Place: b.p.Place(key("a", "u"), bounds)})
			if waited := t.Now().Sub(began); err != nil || waited > time.Second {
				b.Errorf("%v after %v", err, waited)
			}
			b.p.Return(c)
		})
		for _, d := range done {
			<-d
		}
	})
}

// One who waits for a database that is taken for long does not keep others from the rest of the node.
func TestLongWaitHoldsNobodyUp(t *testing.T) {
	onVirtual(t, 2, func(b *bed) {
		bounds := Bounds{MaxDB: 1}
		giveBack := b.holder(b.p.Place(key("a", "u"), bounds))
		waits := b.task(0, func(t *loop.Task) {
			c, err := b.lease(t, &Ask{Place: b.p.Place(key("a", "v"), bounds)})
			if err != nil {
				b.Error(err)
				return
			}
			b.p.Return(c)
		})
		busy := b.p.Place(key("b", "u"), Bounds{WaitTimeout: time.Second})
		for _, d := range b.busy(busy, 5, time.Now().Add(5*time.Second)) {
			<-d
		}
		if s := b.stats(busy); s.Opened != 1 || s.Leases < 990 {
			t.Errorf("%+v", s)
		}
		giveBack()
		<-waits
	})
}

// Smaller bounds after a reload: what is too much is closed when it is returned, and larger ones let the waiting in.
func TestBoundsChange(t *testing.T) {
	onVirtual(t, 100, func(b *bed) {
		pl := b.p.Place(key("db", "user"), Bounds{Size: 1})
		giveBack := b.holder(pl)
		var second func()
		done := make(chan struct{})
		go func() { second = b.holder(pl); close(done) }()
		time.Sleep(time.Second)
		b.p.SetBounds(func(Key) Bounds { return Bounds{Size: 2} })
		<-done
		b.p.SetBounds(func(Key) Bounds { return Bounds{Size: 1} })
		giveBack()
		second()
		if s := b.stats(pl); s.Idle != 1 || s.Closed != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// A place nobody uses is forgotten; a session that kept it can go on using it.
func TestPlaceIsForgotten(t *testing.T) {
	onVirtual(t, 100, func(b *bed) {
		b.do(func(t *loop.Task) {
			bounds := Bounds{Size: 1, IdleTime: time.Second}
			pl := b.p.Place(key("db", "user"), bounds)
			b.fill(t, pl, 1)
			t.Sleep(placeRest + 5*time.Second)
			if n := len(b.p.Stats()); n != 0 {
				b.Errorf("%d places remembered", n)
			}
			b.fill(t, pl, 1)
			if s := b.stats(pl); s.Idle != 1 || s.Bounds != bounds {
				b.Errorf("%+v", s)
			}
			t.Sleep(placeRest + 5*time.Second)
			now := b.p.Place(key("db", "user"), bounds)
			b.fill(t, pl, 1)
			if s := b.stats(pl); now == pl || s.Idle != 1 || now.idle.n != 1 {
				b.Errorf("two places of one key: %+v", b.p.Stats())
			}
			if all := b.p.Totals()[0]; all.Opened != 3 || all.Closed != 2 || all.Leases < 3 {
				b.Errorf("of all places of the node: %+v", all)
			}
		})
	})
}
