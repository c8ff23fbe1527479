package logging

import (
	"fmt"
	"sync"
	"time"
)

// LimiterBurst is how many lines a Limiter lets through at once.
const LimiterBurst = 5

// Limiter keeps strangers and broken things from filling the log: LimiterBurst lines at once, then one per Interval. It may be used by
// several goroutines.
type Limiter struct {
	Interval time.Duration // for one more line; 0: ten seconds

	mu      sync.Mutex // guards all below
	left    int
	since   time.Time // left is of this moment
	skipped int
}

// Log writes e unless there were too many, and tells how many were left out before it.
func (l *Limiter) Log(log Logger, e Event) {
	ok, skipped := l.allow(time.Now())
	if !ok {
		return
	}
	if skipped > 0 {
		e.Detail = fmt.Sprintf("%s (%d lines like this one were left out)", e.Detail, skipped)
	}
	log.Log(e)
}

// allow reports whether one more line may be written, and how many were not since the last one.
func (l *Limiter) allow(now time.Time) (ok bool, skipped int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	interval := l.Interval
	if interval == 0 {
		interval = 10 * time.Second
	}
	if l.since.IsZero() {
		l.left, l.since = LimiterBurst, now
	}
	if n := int(now.Sub(l.since) / interval); n > 0 {
		l.left = min(LimiterBurst, l.left+n)
		l.since = l.since.Add(time.Duration(n) * interval)
	}
	if l.left == 0 {
		l.skipped++
		return false, 0
	}
	l.left--
	skipped, l.skipped = l.skipped, 0
	return true, skipped
}
