package pool

import (
	"testing"

	"gopgpool/loop"
)

func benchmarkLease(b *testing.B, idle, print int) {
	onReal(b, 1000, 1, func(bed *bed) {
		bed.do(func(t *loop.Task) {
			a := &Ask{Place: bed.p.Place(key("db", "user"), Bounds{Size: 1000}), Owner: 1}
			var all []*Conn
			for range idle {
				c, _ := bed.lease(t, a)
				c.State.Owner = 7
				all = append(all, c)
			}
			for _, c := range all {
				bed.p.Return(c)
			}
			a.Print = uint64(print)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				c, err := bed.p.Lease(t, a)
				if err != nil || c == nil {
					b.Fatal(err)
				}
				bed.p.Return(c)
			}
			b.StopTimer()
		})
	})
}

// The usual case: a connection idles. No allocation, no system call.
func BenchmarkLeaseIdle(b *testing.B) { benchmarkLease(b, 1, 0) }

// Twenty idle, none of which was the session's or has its settings.
func BenchmarkLeaseAmong20(b *testing.B) { benchmarkLease(b, 20, 5) }

// Sessions on one loop that outnumber the connections: each return hands the connection to the first who waits.
func BenchmarkHandOver(b *testing.B) {
	onReal(b, 1000, 1, func(bed *bed) { bed.handOver(b, 8, 2) })
}

// The same with sessions on two loops: connections move.
func BenchmarkHandOverTwoLoops(b *testing.B) {
	onReal(b, 1000, 2, func(bed *bed) { bed.handOver(b, 8, 2) })
}

func (b *bed) handOver(bm *testing.B, sessions, size int) {
	var done []chan struct{}
	bm.ReportAllocs()
	bm.ResetTimer()
	for i := range sessions {
		done = append(done, b.task(i%len(b.loops), func(t *loop.Task) {
			a := &Ask{Place: b.p.Place(key("db", "user"), Bounds{Size: size}), Owner: uint64(i + 1)}
			for range bm.N / sessions {
				c, err := b.lease(t, a)
				if err != nil {
					bm.Error(err)
					return
				}
				t.Yield()
				b.p.Return(c)
			}
		}))
	}
	for _, d := range done {
		<-d
	}
	bm.StopTimer()
}
