package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"time"
)

// idleCheck is how often the idle collector looks whether the process has gone quiet.
const idleCheck = 15 * time.Second

// collectWhenIdle runs the garbage collector once whenever the process has become quiet. A session's stack grows during its
// login, and only a collection shrinks it again; a process that allocates nothing, as ours does on the warm path, would
// never collect by itself.
func collectWhenIdle(ctx context.Context) error {
	tick := time.NewTicker(idleCheck)
	defer tick.Stop()
	var quiet quietness
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			if quiet.look(m.NumGC, m.Mallocs) {
				debug.FreeOSMemory()
				runtime.ReadMemStats(&m)
				quiet.collected(m.NumGC, m.Mallocs)
			}
		}
	}
}

// busyMallocs is how many allocations between two looks make a process busy.
const busyMallocs = 10000

// quietness decides when to collect: something was allocated since the last collection, but not much just now.
type quietness struct {
	gcs     uint32
	mallocs uint64 // at the last look
	since   uint64 // at the last collection
}

// look takes the counters of the runtime and reports whether to collect now.
func (q *quietness) look(gcs uint32, mallocs uint64) bool {
	calm := gcs == q.gcs && mallocs-q.mallocs < busyMallocs
	work := mallocs-q.since >= busyMallocs
	q.gcs, q.mallocs = gcs, mallocs
	return calm && work
}

func (q *quietness) collected(gcs uint32, mallocs uint64) {
	q.gcs, q.mallocs, q.since = gcs, mallocs, mallocs
}
