package vip

import (
	"math"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// kernelSlack is how much longer than its lifetime an address stays: the kernel looks in intervals. Measured: up to 0.7 s.
	kernelSlack = 700 * time.Millisecond
	// callSlack is granted to the call that sets a lifetime.
	callSlack = 20 * time.Millisecond
)

// Boottime reads CLOCK_BOOTTIME, which also runs while the machine sleeps.
func Boottime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("vip: CLOCK_BOOTTIME: " + err.Error())
	}
	return time.Duration(ts.Nano())
}

// lifetime is what an address may be given at now under a lease that ends at until, in whole seconds; 0 if there is not time for one.
// An address with a lifetime of 0 would be permanent: it is never set.
func lifetime(now, until time.Duration) int {
	left := until - now - kernelSlack - callSlack
	if left < time.Second {
		return 0
	}
	return int(min(left/time.Second, math.MaxInt32))
}

// outlives reports whether an address that was given a lifetime at now or before may be there when the lease ends.
func outlives(now, until time.Duration, seconds int) bool {
	return now+time.Duration(seconds)*time.Second+kernelSlack > until
}
