package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A case of the witness is a directory of the file testdata/witness.txt: honest logs as servers and pgpool write them, changed by hand so
// that they tell of a breach, and what the witness must say.
func TestWitness(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("testdata", "witness.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, section := range strings.Split(string(text), "\n== ")[1:] {
		name, body, _ := strings.Cut(section, "\n")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			given, want, ok := strings.Cut(body, "\n----\n")
			if !ok {
				t.Fatal("no ---- line")
			}
			if got := verdict(t, given); strings.TrimSpace(got) != strings.TrimSpace(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// verdict reads a case: lines "node N", after which that server's log follows, "pgpool" with its log, "sent APP/S TIME [answered [SERVER]]" for what
// clients noted, and "frozen N FROM TO".
func verdict(t *testing.T, given string) string {
	t.Helper()
	servers, pool := map[int]string{}, ""
	sent := map[string]dispatch{}
	var e evidence
	into := func(string) {}
	for line := range strings.Lines(given) {
		words := strings.Fields(line)
		switch {
		case len(words) == 2 && words[0] == "node":
			node := number(t, words[1])
			into = func(line string) { servers[node] += line }
		case len(words) == 1 && words[0] == "pgpool":
			into = func(line string) { pool += line }
		case len(words) >= 3 && words[0] == "sent":
			d := dispatch{Sent: at(t, words[2]), Answered: len(words) > 3}
			if len(words) > 4 {
				d.By = words[4]
			}
			sent[words[1]] = d
		case len(words) == 4 && words[0] == "frozen":
			e.Freezes = append(e.Freezes, freeze{number(t, words[1]), at(t, words[2]), at(t, words[3])})
		default:
			into(line)
		}
	}
	for node := range len(servers) {
		log, err := readServerLog(strings.NewReader(servers[node]), node)
		if err != nil {
			t.Fatal(err)
		}
		e.Logs = append(e.Logs, log)
	}
	events, err := readPoolLog(strings.NewReader(pool))
	if err != nil {
		t.Fatal(err)
	}
	e.Condemned = condemnations(failovers(events, []int{5000, 5001, 5002}))
	e.Dispatch = func(app string, seq int) dispatch { return sent[fmt.Sprintf("%s/%d", app, seq)] }
	return testify(e).listed()
}

// listed is a testimony in lines.
func (t testimony) listed() string {
	text := fmt.Sprintf("%d statements, %d accepted, %d reigns\n", t.Statements, t.Accepted, t.Reigns)
	for _, l := range t.Overlaps {
		text += "overlap: " + l + "\n"
	}
	for _, l := range t.Stale {
		text += "stale: " + l + "\n"
	}
	if t.InTransit > 0 {
		text += fmt.Sprintf("%d in transit\n", t.InTransit)
	}
	for _, l := range t.Late {
		text += "late: " + l + "\n"
	}
	return text
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func at(t *testing.T, clock string) time.Time {
	t.Helper()
	moment, err := time.Parse(serverTime, "2026-11-21 "+clock+" UTC")
	if err != nil {
		t.Fatal(err)
	}
	return moment
}
