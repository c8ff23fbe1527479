package wdha

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// way is how a write reaches a server.
type way string

// Ways.
const (
	byVIP   way = "virtual address" // from a host of its own
	byPool  way = "pgpool"          // the one on the client's host, or beside
	direct  way = "directly"        // past pgpool, from the server's own host
	noFault     = ""
)

// note is what a client wrote down of one write. Times count from the beginning of the case.
type note struct {
	client, seq int
	way         way
	sent, done  time.Duration
	// server and timeline acknowledged it.
	server, timeline string
	// code is the SQLSTATE, or what else went wrong; empty: acknowledged.
	code string
	// harmless: the answer says that the write has had no effect.
	harmless bool
}

func (n note) acked() bool { return n.code == noFault }

func (n note) String() string {
	return fmt.Sprintf("client %d (%s) row %d, sent %.3f s, done %.3f s, timeline %s", n.client, n.way, n.seq, n.sent.Seconds(), n.done.Seconds(),
		n.timeline)
}

// reign is a server's time as the writer, from one promotion to the next.
type reign struct {
	server, timeline string
	writes           int
	// The server wrote before first.done and after last.sent, and acknowledged the last one at end.
	first, last note
	end         time.Duration
}

// reignsOf gathers acknowledged writes, in the order of the reigns' beginnings.
func reignsOf(notes []note) []reign {
	type name struct{ server, timeline string }
	all := map[name]*reign{}
	for _, n := range notes {
		if !n.acked() {
			continue
		}
		id := name{n.server, n.timeline}
		r := all[id]
		if r == nil {
			r = &reign{server: n.server, timeline: n.timeline, first: n, last: n}
			all[id] = r
		}
		r.writes++
		if n.done < r.first.done {
			r.first = n
		}
		if n.sent > r.last.sent {
			r.last = n
		}
		r.end = max(r.end, n.done)
	}
	var list []reign
	for _, r := range all {
		list = append(list, *r)
	}
	slices.SortFunc(list, func(a, b reign) int {
		return cmp.Or(cmp.Compare(a.first.done, b.first.done), cmp.Compare(a.server, b.server), cmp.Compare(a.timeline, b.timeline))
	})
	return list
}

// overlaps are reigns of different servers of which neither ended before the other began: each made a commit that came after one of the
// other's for certain. A commit lies between the sending of a write and its answer, so that is known without any tolerance.
func overlaps(reigns []reign) (found []string) {
	for i, a := range reigns {
		for _, b := range reigns[i+1:] {
			if a.server == b.server {
				continue
			}
			if b.first.done < a.last.sent && a.first.done < b.last.sent {
				found = append(found, fmt.Sprintf("%s acknowledged %s; %s acknowledged %s", b.server, b.first, a.server, a.last))
			}
		}
	}
	return found
}

// thaw is a server that stood still with its agent and goes on. Nobody can fence it before the agent runs again.
type thaw struct {
	server string
	at     time.Duration
}

// thawAllowance is how long a server may take direct writes after a thaw: until its agent has looked at the clock and stopped it.
const thawAllowance = 3 * time.Second

// late parts direct writes that a thawed server acknowledged before its agent could stop it from all others; took is the time from the
// thaw to the last of them.
func late(notes []note, thaws []thaw) (kept, late []note, took time.Duration) {
	for _, n := range notes {
		i := slices.IndexFunc(thaws, func(t thaw) bool {
			return n.acked() && n.way == direct && n.server == t.server && n.sent < t.at+thawAllowance && n.done > t.at
		})
		if i < 0 {
			kept = append(kept, n)
			continue
		}
		late, took = append(late, n), max(took, n.done-thaws[i].at)
	}
	return kept, late, took
}

// rowID names a row.
type rowID struct{ client, seq int }

func (id rowID) String() string { return fmt.Sprintf("row %d/%d", id.client, id.seq) }

// fates are what the rows at the end say about the writes.
type fates struct {
	lost   []string // acknowledged, and not there
	twice  []string
	ghosts []string // refused, or sent by nobody, and there
}

// fatesOf compares writes with the rows found, which count how often each is there.
func fatesOf(notes []note, rows map[rowID]int) (f fates) {
	sent := map[rowID]bool{}
	for _, n := range notes {
		id := rowID{n.client, n.seq}
		sent[id] = true
		switch count := rows[id]; {
		case n.acked() && count == 0:
			f.lost = append(f.lost, n.String())
		case n.harmless && count > 0:
			f.ghosts = append(f.ghosts, fmt.Sprintf("%s was refused with %s", id, n.code))
		}
	}
	for id, count := range rows {
		if count > 1 {
			f.twice = append(f.twice, fmt.Sprintf("%s is there %d times", id, count))
		}
		if !sent[id] {
			f.ghosts = append(f.ghosts, id.String()+" was sent by nobody")
		}
	}
	slices.Sort(f.twice)
	slices.Sort(f.ghosts)
	return f
}

// harmless are the SQLSTATEs after which a write must have had no effect: serialization_failure, which pgpool answers where a transaction
// is known to be rolled back, and those of servers and pgpools that take no writes.
func harmless(code string) bool {
	return slices.Contains([]string{"40001", "25006", "57P03"}, code)
}

// silence is the longest time between two acknowledged writes of which the second came after from. A time without any until the end counts.
func silence(notes []note, from, end time.Duration, ways ...way) (longest time.Duration) {
	var done []time.Duration
	for _, n := range notes {
		if n.acked() && slices.Contains(ways, n.way) {
			done = append(done, n.done)
		}
	}
	slices.Sort(done)
	last := time.Duration(0)
	for _, d := range append(done, end) {
		if d > from {
			longest = max(longest, d-last)
		}
		last = max(last, d)
	}
	return longest
}

// handover is how long nobody wrote between the last write of the reign in force at a time, from when that was sent, and the first of the next
// one; ok is false where nobody followed. An answer may come later: from a server that was frozen in between.
func handover(reigns []reign, at time.Duration) (gap time.Duration, ok bool) {
	for i := 1; i < len(reigns); i++ {
		if reigns[i].first.done > at && reigns[i].server != reigns[i-1].server {
			return reigns[i].first.done - reigns[i-1].last.sent, true
		}
	}
	return 0, false
}

// codes counts errors of some ways, the most frequent first.
func codes(notes []note, ways ...way) (text string) {
	counts := map[string]int{}
	for _, n := range notes {
		if !n.acked() && slices.Contains(ways, n.way) {
			counts[n.code]++
		}
	}
	keys := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	for i, k := range keys {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%d × %s", counts[k], k)
	}
	return cmp.Or(text, "none")
}

// lastBy is when a server last acknowledged a write of a kind that was sent after a time.
func lastBy(notes []note, server string, after time.Duration) (last time.Duration) {
	for _, n := range notes {
		if n.acked() && n.server == server && n.sent > after {
			last = max(last, n.done)
		}
	}
	return last
}
