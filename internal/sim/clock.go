package sim

import "time"

// clock is CLOCK_BOOTTIME of a host: it runs at a rate of its own, from the boot of the host on.
type clock struct {
	rate  float64
	boot  time.Duration // true time at which it stood at shift
	shift time.Duration
}

// at is what the clock shows at a true time.
func (c clock) at(t time.Duration) time.Duration {
	return c.shift + time.Duration(float64(t-c.boot)*c.rate)
}

// real is how much true time a span of this clock takes, rounded up.
func (c clock) real(d time.Duration) time.Duration {
	return time.Duration(float64(d)/c.rate) + 1
}
