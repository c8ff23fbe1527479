package pool

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"gopgpool/loop"
)

// plan is a random load on a pool.
type plan struct {
	perNode  int
	bounds   map[Key]Bounds
	keys     []Key
	sessions int
	rounds   int
}

func randomPlan(r *rand.Rand) *plan {
	pl := &plan{perNode: 2 + r.IntN(10), bounds: map[Key]Bounds{}, sessions: 2 + r.IntN(30), rounds: 30}
	maxDB, maxUser := map[string]int{}, map[string]int{}
	for range 1 + r.IntN(8) {
		k := key(fmt.Sprint("db", r.IntN(3)), fmt.Sprint("user", r.IntN(3)))
		if _, ok := pl.bounds[k]; ok {
			continue
		}
		if _, ok := maxDB[k.Database]; !ok {
			maxDB[k.Database] = r.IntN(6)
		}
		if _, ok := maxUser[k.User]; !ok {
			maxUser[k.User] = r.IntN(6)
		}
		pl.bounds[k] = Bounds{
			Size: r.IntN(5), Min: r.IntN(3), Reserve: r.IntN(3), ReserveAfter: time.Duration(r.IntN(3)) * 50 * time.Millisecond,
			MaxDB: maxDB[k.Database], MaxUser: maxUser[k.User],
			IdleTime: time.Duration(r.IntN(3)) * time.Second, Lifetime: time.Duration(r.IntN(3)) * 3 * time.Second,
		}
		pl.keys = append(pl.keys, k)
	}
	return pl
}

// session leases, works and returns at random, and gives up now and then in every way there is.
func (b *bed) session(t *loop.Task, r *rand.Rand, pl *plan, id uint64) (longest time.Duration) {
	k := pl.keys[r.IntN(len(pl.keys))]
	bounds := pl.bounds[k]
	impatient := r.IntN(8) == 0
	a := &Ask{Place: b.p.Place(k, bounds), Owner: id}
	for range pl.rounds {
		t.Sleep(time.Duration(r.IntN(40)) * time.Millisecond)
		a.Print = uint64(r.IntN(3))
		a.NoWait = r.IntN(10) == 0
		giveUp := t.Now().Add(time.Duration(r.IntN(200)) * time.Millisecond)
		a.Cancelled = nil
		if impatient {
			a.Cancelled = func() bool { return t.Now().After(giveUp) }
			b.task(int(id)%len(b.loops), func(o *loop.Task) {
				o.Sleep(giveUp.Sub(o.Now()) + time.Millisecond)
				t.Loop().Post(t.Wake)
			})
		}
		began := t.Now()
		c, end, err := b.anyLease(t, r, a)
		longest = max(longest, t.Now().Sub(began))
		if err != nil {
			if !errors.Is(err, ErrBusy) && !errors.Is(err, loop.ErrStopped) {
				b.Error(err)
			}
			continue
		}
		if c == nil {
			t.Sleep(time.Duration(r.IntN(5)) * time.Millisecond)
			if r.IntN(10) == 0 {
				b.p.Unreserve(k)
				continue
			}
			c = b.open(t, a.Place)
		}
		c.State.Owner, c.State.Print = id, a.Print
		t.Sleep(time.Duration(r.IntN(20)) * time.Millisecond)
		if b.virtual {
			b.check(t.Now())
		}
		switch r.IntN(20) {
		case 0:
			b.p.Discard(c)
		case 1:
			b.mu.Lock()
			far := b.last
			b.mu.Unlock()
			if b.virtual {
				_ = far.Close() // some connection ends
			}
			end(c)
		default:
			end(c)
		}
		if b.virtual {
			b.check(t.Now())
		}
	}
	return longest
}

// anyLease leases for a transaction, or now and then for a session.
func (b *bed) anyLease(t *loop.Task, r *rand.Rand, a *Ask) (c *Conn, end func(*Conn), err error) {
	if r.IntN(5) > 0 {
		c, err = b.p.Lease(t, a)
		return c, b.p.Return, err
	}
	if c = b.p.Idle(t, a.Place.Key()); c == nil {
		err = b.p.Reserve(t, a.Place.Key(), a.Cancelled)
	}
	return c, b.p.Release, err
}

// disturb does what administrators do.
func (b *bed) disturb(t *loop.Task, r *rand.Rand, until time.Time) {
	for t.Now().Before(until) {
		t.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
		db := fmt.Sprint("db", r.IntN(3))
		switch r.IntN(5) {
		case 0:
			b.p.Pause(db)
			t.Sleep(time.Duration(r.IntN(50)) * time.Millisecond)
			b.p.Resume(db)
		case 1:
			b.p.Reconnect(db)
		case 2:
			release := b.p.Hold(db)
			t.Sleep(time.Duration(r.IntN(20)) * time.Millisecond)
			release()
		case 3:
			b.p.CloseIdle(func(c *Conn) bool { return r.IntN(2) == 0 })
		case 4:
			b.p.Stats()
		}
	}
}

// Whatever the sessions do: the counts are right, no bound is exceeded, nobody waits for what is there, and everybody's turn comes.
func TestRandomLoad(t *testing.T) {
	seeds := 40
	if testing.Short() {
		seeds = 10
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			plan := randomPlan(r)
			onVirtual(t, plan.perNode, func(b *bed) {
				b.load(r, plan)
				for _, s := range b.p.Stats() {
					if s.Leased+s.Opening+s.Waiting > 0 {
						t.Errorf("left behind: %+v", s)
					}
				}
			})
		})
	}
}

// load runs the sessions of a plan, over all loops.
func (b *bed) load(r *rand.Rand, plan *plan) {
	var wait sync.WaitGroup
	began := time.Now()
	for id := range plan.sessions {
		mine := rand.New(rand.NewPCG(r.Uint64(), 2))
		done := b.task(id%len(b.loops), func(t *loop.Task) {
			if longest := b.session(t, mine, plan, uint64(id+1)); longest > 20*time.Second {
				b.Errorf("session %d waited %v", id, longest)
			}
		})
		wait.Go(func() { <-done })
	}
	mine := rand.New(rand.NewPCG(r.Uint64(), 2))
	done := b.task(0, func(t *loop.Task) { b.disturb(t, mine, began.Add(2*time.Second)) })
	wait.Wait()
	<-done
}
