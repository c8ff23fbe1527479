package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestParseLine(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		line string
		want result
		is   bool
	}{
		{"connect ok 15; refused", result{"connect", ok, "15; refused"}, true},
		{"notices ok", result{"notices", ok, ""}, true},
		{"binary n/a text only", result{"binary", missing, "text only"}, true},
		{" copy_in failed  late ", result{"copy_in", failed, "late"}, true},
		{"Traceback (most recent call last):", result{}, false},
		{"connect", result{}, false},
		{"", result{}, false},
		{"connect okay", result{}, false},
	} {
		got, is := parseLine(tc.line)
		if got != tc.want || is != tc.is {
			t.Errorf("%q: %v, %t", tc.line, got, is)
		}
	}
}

func TestCompareAndExplain(t *testing.T) {
	t.Parallel()
	direct := results{{"connect", ok, "15"}, {"replan", ok, "SQLSTATE 0A000"}, {"pool", ok, ""}, {"copy", missing, "no"}}
	through := results{{"connect", ok, "15"}, {"replan", ok, "columns 2"}, {"copy", missing, "no"}, {"neighbours", failed, "x"}}
	found := compare("session 3", "pgx-exec", direct, through)
	if got := fmt.Sprint(checksOf(found)); got != "[replan pool neighbours]" {
		t.Fatalf("differences: %s", got)
	}
	list, err := parseExplanations("# comment\n\nsession_3 pgx* replan /^ok columns 2$/ healed\n* pq replan /./ never\n~ * pq many /./ by chance\n")
	if err != nil {
		t.Fatal(err)
	}
	unused := explain(found, list)
	if len(unused) != 1 || unused[0].reason != "never" {
		t.Errorf("unused: %v", unused)
	}
	if got := fmt.Sprint(checksOf(unexplained(found))); got != "[pool neighbours]" || found[0].reason != "healed" {
		t.Errorf("unexplained: %s, %q", got, found[0].reason)
	}
	if found[1].through.status != failed {
		t.Errorf("a missing line: %v", found[1].through)
	}
}

func checksOf(found []difference) (checks []string) {
	for _, d := range found {
		checks = append(checks, d.through.check)
	}
	return checks
}

func TestExplanationsAreRefused(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"session pgx replan", "session pgx replan /x/", "[ pgx replan /x/ y", "session pgx replan /(/ y", "a b c d e"} {
		if _, err := parseExplanations(line); err == nil {
			t.Errorf("accepted: %s", line)
		}
	}
}

func TestExplainedIsReadable(t *testing.T) {
	t.Parallel()
	list, err := parseExplanations(explainedText)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, one := range settings() {
		names[one.name] = true
	}
	for _, e := range list {
		if !strings.ContainsAny(e.setting, "*?[") && !names[strings.ReplaceAll(e.setting, "_", " ")] {
			t.Errorf("no such setting: %s", e.setting)
		}
	}
}

// A client that hangs, or dies, fails the check it is at; the others are run all the same.
func TestClientThatEndsEarly(t *testing.T) {
	t.Parallel()
	script := `for c in ${*:-a b c}; do case $c in b) exit 3;; esac; echo $c ok fine; done; echo noise`
	p := program{driver: driver{argv: []string{"/bin/sh", "-c", script, "sh"}}, env: os.Environ(), patience: patienceInTests, tell: func(string) {}}
	got, err := p.runAll(t.Context(), nil, []string{"a", "b", "c"})
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprint(got); text != "[a ok fine b failed client ended early: exit status 3 c ok fine]" {
		t.Error(text)
	}
	p.driver.argv[2] = `echo a ok; sleep 60`
	p.patience = patienceInTests / 10 // time enough to say the first word
	if got, err = p.runAll(t.Context(), nil, []string{"a", "b"}); err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprint(got); !strings.HasPrefix(text, "[a ok b failed client silent") {
		t.Error(text)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	m := &matrix{
		settings: settings()[:3],
		drivers:  []driver{{name: "pgx", about: "pgx"}, {name: "pq", about: "lib/pq"}},
		versions: []string{"5", ""},
		lines: map[string]map[string]results{
			"direct":    {"pgx": {{"connect", ok, "a|b"}}, "pq": {{"connect", ok, ""}, {"copy_out", missing, "x"}}},
			"session 1": {"pgx": {{"connect", ok, "a|b"}}, "pq": {{"connect", ok, ""}, {"copy_out", missing, "x"}}},
			"session 3": {"pgx": {{"connect", ok, "c"}}, "pq": {{"connect", ok, ""}, {"copy_out", missing, "x"}}},
		},
	}
	found := m.differences()
	explain(found, []explanation{{setting: "*", driver: "*", check: "*", through: anything, reason: "because"}})
	const want = `| driver | what | version | direct | session 1 | session 3 |
|---|---|---|---|---|---|
| pgx | pgx | 5 | 1 ok | same | 1 differ |
| pq | lib/pq |  | 1 ok, 1 n/a | same | same |

| check | pgx | pq |
|---|---|---|
| connect | ok* | ok |
| copy_out | – | – |

| differs in | driver: check | directly | through pgpool | reason |
|---|---|---|---|---|
| session 3 | pgx: connect | ok: a\|b | ok: c | because |
`
	if got := m.table(found); got != want {
		t.Errorf("got\n%s", got)
	}
}

var anything = regexp.MustCompile("")

const patienceInTests = 20 * time.Second
