package main

import (
	"slices"
	"time"
)

// gap is a time in which no write was acknowledged.
type gap struct{ From, To time.Time }

func (g gap) length() time.Duration { return g.To.Sub(g.From) }

// longestGap is the outage: the longest time between two acknowledgements following each other, of all writers together, the later of
// which came after the harm. An outage that goes on lasts until the end of what was seen. The second result tells whether there is one.
func longestGap(attempts []attempt, harm, end time.Time) (longest gap, ok bool) {
	var acks []time.Time
	for _, a := range attempts {
		if a.Role == writer && a.Outcome == acknowledged {
			acks = append(acks, a.Done)
		}
	}
	if len(acks) == 0 {
		return gap{}, false
	}
	acks = append(acks, end)
	slices.SortFunc(acks, time.Time.Compare)
	for i := 1; i < len(acks); i++ {
		g := gap{acks[i-1], acks[i]}
		if g.To.After(harm) && g.length() > longest.length() {
			longest, ok = g, true
		}
	}
	return longest, ok
}

// phases are the steps of a failover, each measured from the harm; 0 where the step was not seen.
type phases struct {
	Detected time.Duration `json:"detected"`  // pgpool took up the request
	Fenced   time.Duration `json:"fenced"`    // nobody can send on old connections any more
	Command  time.Duration `json:"command"`   // failover_command started
	Promoted time.Duration `json:"promoted"`  // the new primary's server said it was ready
	Found    time.Duration `json:"found"`     // pgpool named it as the primary
	FirstAck time.Duration `json:"first_ack"` // the end of the outage
}

// stepsSince measures a failover. ready are the times at which the new primary's server ended its recovery.
func stepsSince(harm time.Time, f failoverSeen, ready []time.Time, outage gap) phases {
	since := func(t time.Time) time.Duration {
		if t.IsZero() || t.Before(harm) {
			return 0
		}
		return t.Sub(harm)
	}
	p := phases{
		Detected: since(f.Detected), Fenced: since(f.Fenced), Command: since(f.Command), Found: since(f.Found), FirstAck: since(outage.To),
	}
	for _, t := range ready {
		if t.After(harm) {
			p.Promoted = since(t)
			break
		}
	}
	return p
}

// spread of a set of durations.
type spread struct {
	Median time.Duration `json:"median"`
	Min    time.Duration `json:"min"`
	Max    time.Duration `json:"max"`
}

func spreadOf(all []time.Duration) spread {
	if len(all) == 0 {
		return spread{}
	}
	sorted := slices.Sorted(slices.Values(all))
	n := len(sorted)
	return spread{Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Min: sorted[0], Max: sorted[n-1]}
}
