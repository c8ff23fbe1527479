package main

import (
	"fmt"
	"slices"
	"time"
)

// waits are how long clients waited for statements that overlapped a time, a planned switchover: of all of them, and of the writes alone,
// which are what is held.
type waits struct {
	All    quantiles `json:"all"`
	Writes quantiles `json:"writes"`
}

// quantiles of a set of durations.
type quantiles struct {
	Count  int           `json:"count"`
	Median time.Duration `json:"median"`
	P99    time.Duration `json:"p99"`
	Max    time.Duration `json:"max"`
}

func (q quantiles) String() string {
	return fmt.Sprintf("median %s p99 %s max %s of %d", ms(q.Median), ms(q.P99), ms(q.Max), q.Count)
}

// overlapping picks the attempts at work that began before a time was over and ended after it had begun.
func overlapping(attempts []attempt, from, to time.Time) []attempt {
	var some []attempt
	for _, a := range attempts {
		if (a.Fault == nil || a.Fault.During == atWork) && a.Sent.Before(to) && a.Done.After(from) {
			some = append(some, a)
		}
	}
	return some
}

// waitsOf measures what overlapping has picked.
func waitsOf(attempts []attempt) waits {
	var all, writes []time.Duration
	for _, a := range attempts {
		all = append(all, a.took())
		if a.Role == writer {
			writes = append(writes, a.took())
		}
	}
	return waits{quantilesOf(all), quantilesOf(writes)}
}

// quantilesOf takes the nearest rank: the p99 is the least duration that at least 99 of 100 do not exceed.
func quantilesOf(all []time.Duration) quantiles {
	n := len(all)
	if n == 0 {
		return quantiles{}
	}
	sorted := slices.Sorted(slices.Values(all))
	return quantiles{Count: n, Median: spreadOf(all).Median, P99: sorted[(99*n+99)/100-1], Max: sorted[n-1]}
}
