package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// noon is when the harm of these tests is done; fenced is when the lost node is out of use.
var (
	noon   = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	fenced = noon.Add(50 * time.Millisecond)
)

// try is an attempt that was sent and answered some milliseconds after noon.
func try(r role, node string, sent, done int, f *fault) attempt {
	ms := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Millisecond) }
	return attempt{Client: 1, Role: r, Seq: 1, Sent: ms(sent), Done: ms(done), Node: node, Fault: f}
}

func lostConnection(m moment) *fault {
	return &fault{During: m, Code: "08006", Severity: "FATAL", Message: "connection lost", Detail: "it may have taken effect", Cut: true}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	primaryLost := harm{At: noon, Fenced: fenced, Nodes: []string{"server0"}, Primary: true}
	standbyLost := harm{At: noon, Fenced: fenced, Nodes: []string{"server2"}}
	allLost := harm{At: noon, Fenced: fenced, Nodes: []string{"server0", "server1", "server2"}, Primary: true, NoneLeft: true}
	for _, tc := range []struct {
		name string
		harm harm
		a    attempt
		want []string
	}{
		{"in flight", primaryLost, try(writer, "", -1, 20, lostConnection(atWork)), nil},
		{"sent before anybody knew", primaryLost, try(writer, "", 30, 60, lostConnection(atWork)), nil},
		{"sent when it was known", primaryLost, try(writer, "", 60, 90, lostConnection(atWork)), []string{ruleInFlight}},
		{"before the harm", primaryLost, try(writer, "", -90, -60, lostConnection(atWork)), []string{ruleInFlight}},
		{"at login", primaryLost, try(reader, "", 10, 20, lostConnection(atLogin)), []string{ruleInFlight}},
		{"at set-up", primaryLost, try(idler, "", 10, 20, lostConnection(atSetup)), []string{ruleInFlight}},
		{"cut at rest", primaryLost, try(idler, "", 10, 20, lostConnection(atRest)), []string{ruleIdle}},
		{"no reason given", primaryLost, try(writer, "", -1, 20, &fault{Message: "unexpected EOF", Cut: true}), []string{ruleProper}},
		{"the wrong reason", primaryLost, try(writer, "", -1, 20, &fault{Code: "XX000", Message: "oops"}), []string{ruleProper}},
		{"nothing said about the effect", primaryLost, try(writer, "", -1, 20, &fault{Code: "57P01", Message: "terminating"}), []string{ruleTells}},
		{"no answer", primaryLost, try(writer, "", -1, 40000, &fault{Hung: true}), []string{ruleAnswer}},
		{"false answer", primaryLost, try(reader, "server0", -1, 20, &fault{Wrong: true, Message: "two"}), []string{ruleTruth}},
		{"reader on a standby", primaryLost, try(reader, "server1", -1, 20, lostConnection(atWork)), []string{ruleOthers}},
		{"reader on the primary", primaryLost, try(reader, "server0", -1, 20, lostConnection(atWork)), nil},
		{"writer while a standby is lost", standbyLost, try(writer, "", -1, 20, lostConnection(atWork)), []string{ruleOthers}},
		{"reader on another standby", standbyLost, try(reader, "server1", -1, 20, lostConnection(atWork)), []string{ruleOthers}},
		{"reader on the lost standby", standbyLost, try(reader, "server2", -1, 20, lostConnection(atWork)), nil},
		{"nobody is left", allLost, try(writer, "", 900, 910, lostConnection(atLogin)), nil},
		{"nobody is left, no reason", allLost, try(writer, "", 900, 910, &fault{During: atLogin, Message: "EOF"}), []string{ruleProper}},
		{"acknowledged", primaryLost, try(writer, "", 60, 900, nil), nil},
	} {
		got := brokenBy(judge(tc.harm, notes{Attempts: []attempt{tc.a}}, rules{}))
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// Where pgpool promotes by itself, lost reads are run again, and what is unknown is told as such.
func TestJudgeUnaided(t *testing.T) {
	t.Parallel()
	told := func(code, detail string) *fault {
		return &fault{During: atWork, Code: code, Message: "lost", Detail: detail, Cut: true}
	}
	write := func(o outcome, f *fault) attempt {
		a := try(writer, "server0", -1, 20, f)
		a.Outcome = o
		return a
	}
	h := harm{At: noon, Fenced: fenced, Nodes: []string{"server0"}, Primary: true}
	for _, tc := range []struct {
		name string
		a    attempt
		want []string
	}{
		{"unknown", write(unknown, told(unresolved, maybeEffect)), nil},
		{"rolled back", write(refused, told(rolledBack, noEffect)), nil},
		{"an open transaction", write(refused, told("57P01", noEffect)), nil},
		{"unknown under another name", write(unknown, told("08006", maybeEffect)), []string{ruleUnknown}},
		{"a lost read", try(reader, "server0", -1, 20, told("08006", maybeEffect)), []string{ruleReads}},
		{"a look", try(idler, "server0", -1, 20, told("57P01", noEffect)), []string{ruleReads}},
		{"an answer", write(acknowledged, nil), nil},
		{"unknown, but sent when it was known", try(writer, "", 60, 90, told(unresolved, maybeEffect)), []string{ruleInFlight}},
	} {
		got := brokenBy(judge(h, notes{Attempts: []attempt{tc.a}}, rules{Unaided: true}))
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

func brokenBy(all []complaint) []string {
	var rules []string
	for _, c := range all {
		rules = append(rules, c.Rule)
	}
	return rules
}

func TestOneErrorForEachSession(t *testing.T) {
	t.Parallel()
	h := harm{At: noon, Fenced: fenced, Primary: true}
	again := notes{Attempts: []attempt{
		try(writer, "", -1, 20, lostConnection(atWork)), try(writer, "", 21, 30, lostConnection(atWork)), try(writer, "", 31, 40, lostConnection(atWork)),
	}}
	if got := brokenBy(judge(h, again, rules{})); !slices.Equal(got, []string{ruleOnce}) {
		t.Errorf("%q", got)
	}
}

func TestStalls(t *testing.T) {
	t.Parallel()
	h := harm{At: noon, Fenced: fenced, Nodes: []string{"server2"}}
	slow := notes{Slowest: []attempt{
		try(reader, "server2", 0, 3000, nil), // needed it
		try(reader, "server1", 0, 3000, nil),
		try(writer, "", 0, 3000, nil),
		try(writer, "", 0, 900, nil),
	}}
	got := brokenBy(judge(h, slow, rules{Patience: time.Second}))
	if want := []string{ruleStall, ruleStall}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestRowFates(t *testing.T) {
	t.Parallel()
	row := func(seq int, o outcome, f *fault) attempt {
		return attempt{Role: writer, Client: 3, Seq: seq, Outcome: o, Fault: f}
	}
	attempts := []attempt{
		row(1, acknowledged, nil),
		row(2, acknowledged, nil),
		row(3, unknown, lostConnection(atWork)),
		row(4, unknown, lostConnection(atWork)),
		row(5, refused, lostConnection(atWork)),
		row(6, refused, lostConnection(atWork)),
		row(6, refused, lostConnection(atLogin)), // says nothing about the row
		row(7, acknowledged, nil),
		{Role: reader, Client: 3, Seq: 99},
	}
	rows := map[rowID]int{{3, 1}: 1, {3, 3}: 1, {3, 5}: 1, {3, 7}: 2, {4, 1}: 1}
	f := rowFates(attempts, rows)
	got := fmt.Sprint(f.Acknowledged, f.Unknown, f.Survived, f.Lost, f.Twice, f.Ghosts)
	const want = "3 2 1 [row 3/2] [row 3/7 is there 2 times] [row 3/5 was refused row 4/1 was never sent]"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestOutcomeOf(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		code       string
		committing bool
		want       outcome
	}{
		{"08006", true, unknown},
		{"08007", true, unknown},
		{"57P01", true, unknown},
		{"", true, unknown},
		{"XX000", true, unknown},
		{"40003", true, unknown},
		{"25006", true, refused},
		{"40001", true, refused},
		{"08006", false, refused},
		{"", false, refused},
	} {
		if got := outcomeOf(&fault{Code: tc.code}, tc.committing); got != tc.want {
			t.Errorf("%q committing %t: %d, want %d", tc.code, tc.committing, got, tc.want)
		}
	}
	if got := outcomeOf(&fault{Code: "08006", Detail: "EOF; the statement that was running has had no effect"}, true); got != refused {
		t.Errorf("pgpool's word is not taken: %d", got)
	}
}

func TestSummaryCountsByRule(t *testing.T) {
	t.Parallel()
	got := summary([]complaint{{"a", "first"}, {"b", "x"}, {"b", "y"}})
	want := []string{"2 × b; first: x", "1 × a; first: first"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestRunFindings(t *testing.T) {
	t.Parallel()
	good := func() runResult {
		return runResult{
			Name: "primary", Rounds: []roundResult{{Outage: 400 * time.Millisecond}, {Outage: 600 * time.Millisecond}},
			Testimony: testimony{Accepted: 10},
		}
	}
	for _, tc := range []struct {
		name  string
		spoil func(*runResult)
		want  string // in the one finding; empty for none
	}{
		{"nothing", func(*runResult) {}, ""},
		{"lost rows where standbys are asynchronous", func(r *runResult) { r.Fates.Lost = []string{"row 1/1"} }, ""},
		{"lost rows where one is synchronous", func(r *runResult) { r.Lossless, r.Fates.Lost = true, []string{"row 1/1"} }, "is lost"},
		{"row twice", func(r *runResult) { r.Fates.Twice = []string{"row 1/1"} }, "twice"},
		{"ghost", func(r *runResult) { r.Fates.Ghosts = []string{"row 1/1"} }, "must not be"},
		{"overlap", func(r *runResult) { r.Testimony.Overlaps = []string{"x"} }, "at one time"},
		{"old connection", func(r *runResult) { r.Testimony.Stale = []string{"x"} }, "opened before"},
		{"late", func(r *runResult) { r.Testimony.Late = []string{"x"} }, ""},
		{"blind witness", func(r *runResult) { r.Testimony.Accepted = 0 }, "show no write"},
		{"wrong answer", func(r *runResult) { r.Answers = &outcomes{Wrong: []string{"x"}} }, "wrong answer"},
		{"slow", func(r *runResult) { r.Rounds[1].Outage = 2 * time.Second }, "median outage"},
		{"complaint", func(r *runResult) { r.Rounds[0].complain(complaint{"rule", "text"}) }, "rule"},
	} {
		r := good()
		tc.spoil(&r)
		r.sum(options{outage: time.Second})
		got := strings.Join(r.Findings, "\n")
		if (tc.want == "") != (got == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}
