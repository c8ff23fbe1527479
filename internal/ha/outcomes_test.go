package main

import (
	"strings"
	"testing"
	"time"
)

// A commit is an attempt to write row 1/seq whose end was sent and answered some milliseconds after noon.
func commit(seq, sent, done int, o outcome, code string) attempt {
	a := try(writer, "", sent, done, nil)
	a.Seq, a.Outcome, a.Committing = seq, o, a.Sent
	if code != "" {
		a.Fault = &fault{During: atWork, Code: code, Message: "lost", Detail: "It has had no effect."}
	}
	return a
}

func TestAnswersAreHeldAgainstRows(t *testing.T) {
	t.Parallel()
	open := commit(1, -5, 30, refused, "40001") // its COMMIT was never sent
	open.Committing = time.Time{}
	for _, tc := range []struct {
		name     string
		a        attempt
		there    int // how often the row is there
		lossless bool
		want     string // figures
		wrong    string // in the one wrong answer; empty: none
	}{
		{"found to be committed", commit(1, -5, 300, acknowledged, ""), 1, false, "1 in flight, 1 0 0", ""},
		{"said to be committed, and is not", commit(1, -5, 300, acknowledged, ""), 0, false, "1 in flight, 1 0 0", "is not there"},
		{"answered by the old primary, which had not sent it on", commit(1, -5, 20, acknowledged, ""), 0, false, "1 in flight, 1 0 0", ""},
		{"the same where nothing may be lost", commit(1, -5, 20, acknowledged, ""), 0, true, "1 in flight, 1 0 0", "is not there"},
		{"answered before the loss, and lost", commit(1, -50, -40, acknowledged, ""), 0, true, "0 in flight, 0 0 0", "is not there"},
		{"answered before the loss", commit(1, -50, -40, acknowledged, ""), 1, true, "0 in flight, 0 0 0", ""},
		{"sent after it", commit(1, 100, 400, acknowledged, ""), 1, true, "0 in flight, 0 0 0", ""},
		{"rolled back", commit(1, -5, 300, refused, rolledBack), 0, true, "1 in flight, 0 1 0", ""},
		{"said to be rolled back, and is there", commit(1, -5, 300, refused, rolledBack), 1, false, "1 in flight, 0 1 0", "was said not to be"},
		{"said to be rolled back at once", commit(1, -5, 5, refused, rolledBack), 1, false, "1 in flight, 0 1 0", "was said not to be"},
		{"unknown and there", commit(1, -5, 300, unknown, unresolved), 1, true, "1 in flight, 0 0 1", ""},
		{"unknown and not there", commit(1, -5, 300, unknown, unresolved), 0, true, "1 in flight, 0 0 1", ""},
		{"twice", commit(1, -5, 300, unknown, unresolved), 2, true, "1 in flight, 0 0 1", "2 times"},
		{"the transaction was open", open, 1, true, "0 in flight, 0 0 0", ""},
	} {
		v := volley{Fenced: fenced, Hit: noon, End: noon.Add(10 * time.Millisecond), Attempts: []attempt{tc.a}}
		o := compareAnswers([]volley{v}, map[rowID]int{{1, 1}: tc.there}, tc.lossless)
		got := figuresOf(o)
		if got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
		if wrong := strings.Join(o.Wrong, "\n"); (tc.wrong == "") != (wrong == "") || !strings.Contains(wrong, tc.wrong) {
			t.Errorf("%s: wrong answers %q, want %q", tc.name, wrong, tc.wrong)
		}
	}
}

func figuresOf(all outcomes) string {
	o := all.Commits.add(all.Singles)
	return strings.Join([]string{digit(o.InFlight), " in flight, ", digit(o.Committed), " ", digit(o.RolledBack), " ", digit(o.Unknown)}, "")
}

func digit(n int) string { return string(rune('0' + n)) }

func TestOutcomesAreSummedUp(t *testing.T) {
	t.Parallel()
	block := commit(1, -5, 300, unknown, unresolved)
	block.Block = true
	v := volley{Fenced: fenced, Hit: noon, End: noon.Add(time.Millisecond), Attempts: []attempt{block, commit(2, -5, 300, acknowledged, "")}}
	o := compareAnswers([]volley{v}, map[rowID]int{{1, 1}: 1}, false)
	if o.Commits != (answers{InFlight: 1, Unknown: 1, UnknownThere: 1}) || o.Singles != (answers{InFlight: 1, Committed: 1}) {
		t.Errorf("%+v", o)
	}
	sum := o.add(outcomes{Kills: 2, Commits: answers{InFlight: 9, Unknown: 1}, Wrong: []string{"b"}})
	if sum.Kills != 3 || sum.Commits.InFlight != 10 || sum.Commits.share() != 20 || sum.Singles != o.Singles || len(sum.Wrong) != 2 {
		t.Errorf("%+v", sum)
	}
	if (answers{}).share() != 0 {
		t.Error("a share of nothing")
	}
}
