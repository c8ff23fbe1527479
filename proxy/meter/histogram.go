package meter

import "time"

// Histogram counts times in buckets that do not overlap: the last one takes what is longer than all Bounds.
type Histogram struct {
	Counts [nBounds + 1]uint64
	Sum    time.Duration
}

const nBounds = 16

// bound is the upper end of a bucket.
func bound(i int) time.Duration {
	return [nBounds]time.Duration{
		250 * time.Microsecond, 500 * time.Microsecond,
		time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond,
		10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
		100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
		time.Second, 2500 * time.Millisecond, 5 * time.Second,
		10 * time.Second, 30 * time.Second,
	}[i]
}

// Bounds are the upper ends of all buckets but the last.
func Bounds() []time.Duration {
	out := make([]time.Duration, nBounds)
	for i := range out {
		out[i] = bound(i)
	}
	return out
}

// Observe counts one time. Negative ones count as none.
func (h *Histogram) Observe(d time.Duration) {
	d = max(d, 0)
	i := 0
	for i < nBounds && d > bound(i) {
		i++
	}
	h.Counts[i]++
	h.Sum += d
}

// Count is how many were observed.
func (h *Histogram) Count() (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

func (h *Histogram) add(o *Histogram) {
	for i, c := range o.Counts {
		h.Counts[i] += c
	}
	h.Sum += o.Sum
}
