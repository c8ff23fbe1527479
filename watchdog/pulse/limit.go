package pulse

import (
	"fmt"
	"sync"
	"time"

	"gopgpool/logging"
)

const (
	linesBurst    = 5
	linesInterval = 30 * time.Second // for one more line
)

// limiter keeps strangers and broken paths from filling the log.
type limiter struct {
	mu      sync.Mutex // guards all below
	left    int
	since   time.Time // left is of this moment
	skipped int
}

// allow reports whether one more line may be written, and how many were not since the last one.
func (l *limiter) allow(now time.Time) (ok bool, skipped int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since.IsZero() {
		l.left, l.since = linesBurst, now
	}
	if n := int(now.Sub(l.since) / linesInterval); n > 0 {
		l.left = min(linesBurst, l.left+n)
		l.since = l.since.Add(time.Duration(n) * linesInterval)
	}
	if l.left == 0 {
		l.skipped++
		return false, 0
	}
	l.left--
	skipped, l.skipped = l.skipped, 0
	return true, skipped
}

// limited logs e unless l says there were too many.
func limited(log logging.Logger, l *limiter, e logging.Event) {
	ok, skipped := l.allow(time.Now())
	if !ok {
		return
	}
	if skipped > 0 {
		e.Detail = fmt.Sprintf("%s (%d lines like this one were left out)", e.Detail, skipped)
	}
	log.Log(e)
}
