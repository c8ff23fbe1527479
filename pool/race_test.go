package pool

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"gopgpool/loop"
)

// The same random loads on several loops of the kernel, between which connections move.
func TestRandomLoadOnManyLoops(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 3))
			plan := randomPlan(r)
			plan.rounds = 10
			onReal(t, plan.perNode, 3, func(b *bed) {
				b.load(r, plan)
				b.check(time.Now())
			})
		})
	}
}

// Two loops and one connection: every lease is handed over, mostly to the other loop, and none is lost.
func TestHandOverBetweenLoops(t *testing.T) {
	onReal(t, 1, 2, func(b *bed) {
		const rounds = 300
		done := make([]chan struct{}, 4)
		used := make([]int, len(done))
		for i := range done {
			done[i] = b.task(i%2, func(t *loop.Task) {
				a := &Ask{Place: b.p.Place(key("db", "user"), Bounds{Size: 1}), Owner: uint64(i + 1)}
				for used[i] < rounds {
					c, err := b.lease(t, a)
					if err != nil {
						b.Error(err)
						return
					}
					used[i]++
					t.Yield()
					b.p.Return(c)
				}
			})
		}
		for _, d := range done {
			<-d
		}
		s := b.p.Stats()[0]
		if s.Opened != 1 || s.Leases != uint64(rounds*len(done)) || s.Idle != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// A task that is stopped while it waits, or while its connection is on the way, leaves nothing behind.
func TestStopWhileWaiting(t *testing.T) {
	onReal(t, 1, 2, func(b *bed) {
		for range 50 {
			a := &Ask{Place: b.p.Place(key("db", "user"), Bounds{Size: 1})}
			holds := make(chan *loop.Task, 1)
			holder := b.task(0, func(t *loop.Task) {
				c, err := b.lease(t, a)
				if err != nil {
					b.Error(err)
					return
				}
				holds <- t
				t.Wait(time.Time{})
				b.p.Return(c)
			})
			h := <-holds
			other := &Ask{Place: a.Place}
			waiter := b.task(1, func(t *loop.Task) {
				b.loops[0].Post(func() {
					h.Wake()
					b.loops[1].Post(t.Stop)
				})
				if c, err := b.lease(t, other); err == nil {
					b.p.Return(c)
				}
			})
			<-holder
			<-waiter
		}
		b.check(time.Now())
		if n := b.p.Busy(""); n != 0 {
			t.Errorf("%d leased or being opened", n)
		}
	})
}
