package main

import (
	"testing"
	"time"
)

func TestWaitsOfWhatOverlaps(t *testing.T) {
	t.Parallel()
	at := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Millisecond) }
	refusedLogin := try(writer, "", 10, 5000, lostConnection(atLogin))
	all := []attempt{
		try(writer, "", -900, -1, nil),   // over before
		try(writer, "", 2000, 9000, nil), // sent afterwards
		try(writer, "", -10, 1500, nil),  // held
		try(writer, "", 500, 1700, nil),  // held
		try(reader, "", 100, 103, nil),   // went on
		try(reader, "", 1999, 2005, nil), // at the very end
		try(reader, "", -500, 3000, nil), // all the time
		refusedLogin,                     // no statement
	}
	w := waitsOf(overlapping(all, at(0), at(2000)))
	if w.All.Count != 5 || w.Writes.Count != 2 || w.Writes.Max != 1510*time.Millisecond || w.All.Max != 3500*time.Millisecond {
		t.Errorf("%+v", w)
	}
}

func TestQuantiles(t *testing.T) {
	t.Parallel()
	var all []time.Duration
	for n := range 200 {
		all = append(all, time.Duration(200-n)*time.Millisecond)
	}
	q := quantilesOf(all)
	if q.P99 != 198*time.Millisecond || q.Max != 200*time.Millisecond || q.Count != 200 {
		t.Errorf("%+v", q)
	}
	if q := quantilesOf(all[:1]); q.P99 != q.Max {
		t.Errorf("of one: %+v", q)
	}
	if q := quantilesOf(nil); q != (quantiles{}) {
		t.Errorf("of none: %+v", q)
	}
}

func TestAbortedSwitchoverIsFound(t *testing.T) {
	t.Parallel()
	got := brokenBy(flawless([]attempt{
		try(writer, "", 0, 900, nil), try(idler, "", 0, 1, lostConnection(atRest)), try(reader, "", 0, 1, lostConnection(atLogin)),
		try(reader, "", 0, 1, &fault{Wrong: true}),
	}))
	if len(got) != 3 {
		t.Errorf("%q", got)
	}
}
