package sim

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"gopgpool/watchdog/machine"
)

// Stats counts what happened in runs.
type Stats struct {
	Runs         int
	Virtual      time.Duration
	Messages     int
	Lost         int
	Proposed     int
	Committed    int
	Refused      int
	Asked        int
	Executed     int
	Resets       int // logs set aside
	Late         int // addresses raised too late and deleted at once
	LateOverlaps int // that met another holder
	SplitHolders int // second holders in a partition of a cluster with half votes
	AnswerTime   time.Duration
	Kinds        map[string]int
	Faults       map[Verb]int
	Answers      map[machine.Result]int
	Together     []time.Duration // after the last fault
	TakeOver     map[Ending][]takeover
}

// takeover is how long it took until another node had the address.
type takeover struct{ Took, Lease time.Duration }

func newStats() Stats {
	return Stats{
		Kinds: make(map[string]int), Faults: make(map[Verb]int), Answers: make(map[machine.Result]int),
		TakeOver: make(map[Ending][]takeover),
	}
}

func (s *Stats) finish(w *World) {
	s.Runs, s.Virtual = 1, w.now
	s.Kinds[w.plan.Kind()]++
}

// Add adds what other runs have counted.
func (s *Stats) Add(o Stats) {
	if s.Kinds == nil {
		*s = newStats()
	}
	s.Runs += o.Runs
	s.Virtual += o.Virtual
	s.Messages += o.Messages
	s.Lost += o.Lost
	s.Proposed += o.Proposed
	s.Committed += o.Committed
	s.Refused += o.Refused
	s.Asked += o.Asked
	s.Executed += o.Executed
	s.Resets += o.Resets
	s.Late += o.Late
	s.LateOverlaps += o.LateOverlaps
	s.SplitHolders += o.SplitHolders
	s.AnswerTime = max(s.AnswerTime, o.AnswerTime)
	sum(s.Kinds, o.Kinds)
	sum(s.Faults, o.Faults)
	sum(s.Answers, o.Answers)
	s.Together = append(s.Together, o.Together...)
	for e, t := range o.TakeOver {
		s.TakeOver[e] = append(s.TakeOver[e], t...)
	}
}

func sum[K comparable](to, from map[K]int) {
	for k, n := range from {
		to[k] += n
	}
}

// Write prints the sums.
func (s *Stats) Write(out io.Writer) {
	fmt.Fprintf(out, "%d runs, %.1f h of virtual time, %d messages (%d lost)\n", s.Runs, s.Virtual.Hours(), s.Messages, s.Lost)
	fmt.Fprintf(out, "decisions: %d proposed, %d committed, %d refused; requests: %d asked, %d executed, answers %v, slowest %.1fs\n",
		s.Proposed, s.Committed, s.Refused, s.Asked, s.Executed, s.Answers, s.AnswerTime.Seconds())
	fmt.Fprintf(out, "logs set aside: %d; addresses raised late and deleted at once: %d, beside another holder: %d; "+
		"second holders in partitions with half votes: %d\n", s.Resets, s.Late, s.LateOverlaps, s.SplitHolders)
	writeCounts(out, "clusters", s.Kinds)
	writeCounts(out, "faults", s.Faults)
	slices.Sort(s.Together)
	fmt.Fprintf(out, "together again after the last fault: %s\n", spread(s.Together))
	for _, e := range slices.Sorted(maps.Keys(s.TakeOver)) {
		s.writeTakeOver(out, e)
	}
}

func (s *Stats) writeTakeOver(out io.Writer, e Ending) {
	var took, beyond []time.Duration
	for _, t := range s.TakeOver[e] {
		took, beyond = append(took, t.Took), append(beyond, t.Took-t.Lease)
	}
	slices.Sort(took)
	slices.Sort(beyond)
	fmt.Fprintf(out, "takeover, %s: %s; minus the lease: %s\n", e, spread(took), spread(beyond))
}

func writeCounts[K ~string](out io.Writer, title string, counts map[K]int) {
	fmt.Fprintf(out, "%s:", title)
	for i, k := range slices.Sorted(maps.Keys(counts)) {
		if i > 0 {
			fmt.Fprint(out, ";")
		}
		fmt.Fprintf(out, " %s %d", k, counts[k])
	}
	fmt.Fprintln(out)
}

// spread describes sorted durations.
func spread(d []time.Duration) string {
	if len(d) == 0 {
		return "never"
	}
	at := func(percent int) float64 { return d[(len(d)-1)*percent/100].Seconds() }
	return fmt.Sprintf("%d times, median %.2fs, 90%% %.2fs, 99%% %.2fs, most %.2fs", len(d), at(50), at(90), at(99), at(100))
}
