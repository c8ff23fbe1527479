package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// rowID names a row: the client that wrote it and its number.
type rowID struct{ Client, Seq int }

// fates are what the rows at the end say about the attempts to write them.
type fates struct {
	Acknowledged int
	Unknown      int // the client could not tell
	Survived     int // of the unknown ones: the row is there
	Lost         []string
	Twice        []string
	Ghosts       []string // rows that were refused, or that nobody wrote
}

// rowFates compares the attempts to write with the rows found, which count how often each is there. lossy: the standby was
// asynchronous, so acknowledged rows from shortly before a harm may be missing; they are counted, nothing else is allowed.
func rowFates(attempts []attempt, rows map[rowID]int) fates {
	var f fates
	known := map[rowID]outcome{}
	for _, a := range attempts {
		if a.Role != writer || a.Fault != nil && a.Fault.During != atWork {
			continue
		}
		id := rowID{a.Client, a.Seq}
		if before, ok := known[id]; ok && before == acknowledged { // what failed then was what came after the row
			continue
		}
		known[id] = a.Outcome
	}
	for id, o := range known {
		n := rows[id]
		switch o {
		case acknowledged:
			f.Acknowledged++
			if n == 0 {
				f.Lost = append(f.Lost, id.String())
			}
		case unknown:
			f.Unknown++
			if n > 0 {
				f.Survived++
			}
		case refused:
			if n > 0 {
				f.Ghosts = append(f.Ghosts, id.String()+" was refused")
			}
		}
	}
	for id, n := range rows {
		if n > 1 {
			f.Twice = append(f.Twice, fmt.Sprintf("%s is there %d times", id, n))
		}
		if _, ok := known[id]; !ok {
			f.Ghosts = append(f.Ghosts, id.String()+" was never sent")
		}
	}
	for _, list := range [][]string{f.Lost, f.Twice, f.Ghosts} {
		slices.SortFunc(list, cmp.Compare)
	}
	return f
}

func (id rowID) String() string { return fmt.Sprintf("row %d/%d", id.Client, id.Seq) }

// dispatches tells what clients noted of each statement, by application_name and number.
func dispatches(attempts []attempt) func(app string, seq int) dispatch {
	type name struct {
		app string
		seq int
	}
	sent := map[name]dispatch{}
	for _, a := range attempts {
		if a.Fault != nil && a.Fault.During != atWork {
			continue
		}
		id := name{application(a.Role, a.Client), a.Seq}
		if _, ok := sent[id]; !ok {
			sent[id] = dispatch{Sent: a.Sent, Answered: a.Fault == nil, By: a.By}
		}
	}
	return func(app string, seq int) dispatch { return sent[name{app, seq}] }
}

// countBy counts things by a key and returns the keys in order of their counts, the most frequent first.
func countBy[T any](things []T, key func(T) string) ([]string, map[string]int) {
	counts := map[string]int{}
	for _, t := range things {
		counts[key(t)]++
	}
	keys := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	return keys, counts
}
