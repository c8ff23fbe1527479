package wdha

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// at is an acknowledged write; times are in milliseconds.
func at(way way, server, timeline string, sent, done int) note {
	return note{
		way: way, server: server, timeline: timeline,
		sent: time.Duration(sent) * time.Millisecond, done: time.Duration(done) * time.Millisecond,
	}
}

func TestOverlaps(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		notes []note
		want  string // part of what is found; empty: nothing
	}{
		{"one after the other", []note{at(byVIP, "a", "1", 0, 10), at(direct, "a", "1", 10, 20), at(byVIP, "b", "2", 30, 40)}, ""},
		{"an answer that comes late proves nothing", []note{
			at(byVIP, "a", "1", 0, 10), at(direct, "a", "1", 10, 90), at(byVIP, "b", "2", 30, 40), at(byVIP, "b", "2", 50, 60),
		}, ""},
		{"the old one writes on", []note{
			at(byVIP, "a", "1", 0, 10), at(byVIP, "b", "2", 30, 40), at(direct, "a", "1", 41, 50), at(byVIP, "b", "2", 60, 70),
		}, "a acknowledged client 0 (directly) row 0, sent 0.041 s"},
		{"both at once", []note{
			at(byVIP, "a", "1", 0, 10), at(byVIP, "b", "2", 11, 20), at(byVIP, "a", "1", 21, 30), at(byVIP, "b", "2", 31, 40),
		}, "b acknowledged"},
		{"errors prove nothing", []note{
			at(byVIP, "a", "1", 0, 10), at(byVIP, "b", "2", 30, 40), {way: direct, server: "a", sent: time.Second, done: time.Second, code: "25006"},
		}, ""},
		{"the same one again", []note{at(byVIP, "a", "1", 0, 10), at(byVIP, "b", "2", 30, 40), at(byVIP, "a", "3", 50, 60)}, ""},
		{"one that was lost at once, and another one on the same timeline", []note{
			at(byVIP, "a", "2", 0, 10), at(byVIP, "b", "2", 30, 40),
		}, ""},
	} {
		got := overlaps(reignsOf(tc.notes))
		if len(got) > 0 != (tc.want != "") || tc.want != "" && !strings.Contains(got[0], tc.want) {
			t.Errorf("%s: %q", tc.name, got)
		}
	}
}

func TestLate(t *testing.T) {
	t.Parallel()
	frozen := []thaw{{"a", time.Second}}
	notes := []note{
		at(direct, "a", "1", 0, 10), at(direct, "a", "1", 900, 1001), at(direct, "a", "1", 1100, 1200), at(byPool, "a", "1", 1100, 1200),
		at(direct, "b", "2", 1100, 1300), at(direct, "a", "1", 4100, 4200),
	}
	kept, after, took := late(notes, frozen)
	if len(kept) != 4 || len(after) != 2 || took != 200*time.Millisecond {
		t.Errorf("%v, %v, %v", kept, after, took)
	}
	if found := overlaps(reignsOf(append(kept, at(byVIP, "b", "2", 600, 700)))); len(found) == 0 {
		t.Error("writes through a pgpool at the thawed server, and writes after the allowance, were not found")
	}
	if kept, after, _ := late(notes, nil); len(kept) != len(notes) || after != nil {
		t.Error("nobody was frozen")
	}
}

func TestFates(t *testing.T) {
	t.Parallel()
	notes := []note{
		{client: 1, seq: 1},
		{client: 1, seq: 2},
		{client: 1, seq: 3, code: "08007"},
		{client: 1, seq: 4, code: "40001", harmless: true},
		{client: 1, seq: 5, code: "40001", harmless: true},
		{client: 1, seq: 6},
	}
	f := fatesOf(notes, map[rowID]int{{1, 1}: 1, {1, 3}: 1, {1, 4}: 1, {1, 6}: 2, {2, 1}: 1})
	if len(f.lost) != 1 || !strings.Contains(f.lost[0], "row 2") ||
		!slices.Equal(f.ghosts, []string{"row 1/4 was refused with 40001", "row 2/1 was sent by nobody"}) ||
		!slices.Equal(f.twice, []string{"row 1/6 is there 2 times"}) {
		t.Errorf("%+v", f)
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	notes := []note{
		at(byVIP, "a", "1", 0, 10), at(byVIP, "a", "1", 100, 200), at(direct, "a", "1", 300, 400), at(byVIP, "b", "2", 800, 1000),
		{way: byVIP, code: "08007"},
		{way: byVIP, code: "40001"},
		{way: byPool, code: "40001"},
		{way: direct, code: "25006"},
	}
	if got := silence(notes, 250*time.Millisecond, 1500*time.Millisecond, byVIP); got != 800*time.Millisecond {
		t.Error("silence", got)
	}
	if got := silence(notes, 0, 3*time.Second, byVIP, direct); got != 2*time.Second {
		t.Error("silence at the end", got)
	}
	if gap, ok := handover(reignsOf(notes), 250*time.Millisecond); !ok || gap != 700*time.Millisecond {
		t.Error("handover", gap, ok)
	}
	if _, ok := handover(reignsOf(notes[:3]), 0); ok {
		t.Error("nobody followed")
	}
	if got := codes(notes, byVIP, byPool); got != "2 × 40001, 1 × 08007" {
		t.Error(got)
	}
	if got := lastBy(notes, "a", 50*time.Millisecond); got != 400*time.Millisecond {
		t.Error(got)
	}
}
