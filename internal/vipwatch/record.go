package vipwatch

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Record is what was seen. All times are since the watch began.
type Record struct {
	Selects []Attempt // in the order of their beginning
	Pings   []Attempt
	Held    []Holding
	Answers []Answer // in the order of their arrival
	// Looks is how often the addresses of a host were looked at, Late how many of these looks were more than 40 ms after the one before,
	// as on a machine with other work, and Coarsest the longest such time.
	Looks, Late int
	Coarsest    time.Duration
	Lasted      time.Duration
}

// Attempt is one ping or one SELECT.
type Attempt struct {
	Began, Ended time.Duration
	Err          string // "" for success
}

// Holding is a time in which a host had the address in every look.
type Holding struct {
	Host string
	// First is when the first look that found the address had ended, Last when the last one began: it was surely held from First to
	// Last, and perhaps for the time between two looks longer on both sides.
	First, Last time.Duration
	Over        bool // a look did not find it any more
}

// Answer is a packet by which a host said that it has the address.
type Answer struct {
	At           time.Duration
	Host         string // "" for a hardware address that no host has
	Announcement bool   // nobody had asked
	Question     uint32 // the number of ours that it answers; 0 if somebody else had asked
}

// Overlap is a time in which two hosts had the address.
type Overlap struct {
	A, B     string
	From, To time.Duration
}

func (o Overlap) String() string {
	return fmt.Sprintf("%s and %s from %s to %s", o.A, o.B, o.From.Round(time.Millisecond), o.To.Round(time.Millisecond))
}

// Overlaps are the times in which two hosts surely had the address.
func (r Record) Overlaps() (all []Overlap) {
	for i, a := range r.Held {
		for _, b := range r.Held[i+1:] {
			from, to := max(a.First, b.First), min(a.Last, b.Last)
			if a.Host != b.Host && from <= to {
				all = append(all, Overlap{a.Host, b.Host, from, to})
			}
		}
	}
	return all
}

// Disputes are the answers to one question of ours who has the address that came from two hosts. When they were read does not matter: a
// busy machine reads those to two questions at once.
func (r Record) Disputes() (all []Overlap) {
	last := map[uint32]Answer{}
	for _, a := range r.Answers {
		if a.Question == 0 {
			continue
		}
		if before, ok := last[a.Question]; ok && before.Host != a.Host {
			all = append(all, Overlap{before.Host, a.Host, before.At, a.At})
		}
		last[a.Question] = a
	}
	return all
}

// HolderAt is the host that had the address last at a moment; "" for none yet.
func (r Record) HolderAt(at time.Duration) (host string) {
	latest := time.Duration(-1)
	for _, h := range r.Held {
		if h.First <= at && h.First > latest {
			latest, host = h.First, h.Host
		}
	}
	return host
}

// Takeover is the time from a fault to the first SELECT that succeeded after another host than before had taken the address; the host
// is that one. ok is false if none took it, or no SELECT succeeded.
func (r Record) Takeover(fault time.Duration) (took time.Duration, host string, ok bool) {
	before := r.HolderAt(fault)
	var next *Holding
	for i, h := range r.Held {
		if h.First > fault && h.Host != before && (next == nil || h.First < next.First) {
			next = &r.Held[i]
		}
	}
	if next == nil {
		return 0, "", false
	}
	first := time.Duration(-1)
	for _, a := range r.Selects {
		if a.Err == "" && a.Ended >= next.First && (first < 0 || a.Ended < first) {
			first = a.Ended
		}
	}
	if first < 0 {
		return 0, next.Host, false
	}
	return first - fault, next.Host, true
}

// Outage is the longest time between two successes of which the second is after from, and when it began. A time in which nothing
// succeeds until the end counts.
func Outage(attempts []Attempt, from, end time.Duration) (length, began time.Duration) {
	var successes []time.Duration
	for _, a := range attempts {
		if a.Err == "" {
			successes = append(successes, a.Ended)
		}
	}
	slices.Sort(successes)
	last := time.Duration(0)
	for _, s := range append(successes, end) {
		if s > from && s-last > length {
			length, began = s-last, last
		}
		last = max(last, s)
	}
	return length, began
}

// Holders tells who had the address when, for people.
func (r Record) Holders() string {
	held := slices.Clone(r.Held)
	slices.SortFunc(held, func(a, b Holding) int { return int(a.First - b.First) })
	var all []string
	for _, h := range held {
		all = append(all, fmt.Sprintf("%s %.2f-%.2f s", h.Host, h.First.Seconds(), h.Last.Seconds()))
	}
	return strings.Join(all, ", ")
}

// Failures counts attempts that failed, by what they said, for people.
func Failures(attempts []Attempt) string {
	counts := map[string]int{}
	var order []string
	for _, a := range attempts {
		if a.Err == "" {
			continue
		}
		if counts[a.Err] == 0 {
			order = append(order, a.Err)
		}
		counts[a.Err]++
	}
	var all []string
	for _, err := range order {
		all = append(all, fmt.Sprintf("%d times %s", counts[err], err))
	}
	return strings.Join(all, "\n")
}
