package main

import (
	"strings"
	"testing"
	"time"
)

// Where pgpool promotes by itself, old connections are out of use when it has stopped the old primary, or has chosen another one.
func TestFailoverWithoutScripts(t *testing.T) {
	t.Parallel()
	line := func(ms, text string) string {
		return `{"time":"2026-11-21T10:00:01.` + ms + `Z","level":"LOG","message":"` + text + `"}` + "\n"
	}
	begun := line("011", "=== Starting degeneration. shutdown host 127.0.0.1(5000) ===")
	end := line("300", "failover: set new primary node: 1") + line("301", "=== Failover done. shutdown host 127.0.0.1(5000) ===")
	at := func(ms int) time.Time { return time.Date(2026, 11, 21, 10, 0, 1, ms*1e6, time.UTC) }
	for _, tc := range []struct {
		name, log              string
		fenced, command, found time.Time
	}{
		{
			"stopped", begun + line("040", "auto_failover: the server of node 0, the old primary, is stopped") +
				line("050", "auto_failover: node 1 is promoted (0/3000060)") + end, at(40), at(50), at(300),
		},
		{
			"not stopped", begun + line("045", "auto_failover: the server of node 0, the old primary, could not be stopped") +
				line("050", "auto_failover: node 1 is promoted (0/3000060)") + end, at(45), at(50), at(300),
		},
		{"nobody says so", begun + line("020", "auto_failover: nobody is promoted") + end, at(300), time.Time{}, at(300)},
	} {
		events, err := readPoolLog(strings.NewReader(tc.log))
		if err != nil {
			t.Fatal(err)
		}
		all := failovers(events, []int{5000, 5001, 5002})
		if len(all) != 1 {
			t.Fatalf("%s: %+v", tc.name, all)
		}
		if f := all[0]; !f.Fenced.Equal(tc.fenced) || !f.Command.Equal(tc.command) || !f.Found.Equal(tc.found) || f.Primary != 1 || f.Done.IsZero() {
			t.Errorf("%s: %+v", tc.name, f)
		}
	}
}

func TestUnfitNodes(t *testing.T) {
	t.Parallel()
	say := func(node int, text string) poolEvent { return poolEvent{Node: node, Message: text} }
	got := unfit([]poolEvent{
		say(0, "node 0 is not to be promoted: it lacks what is acknowledged from now on"),
		say(1, "node 1 is not to be promoted: it lacks what is acknowledged from now on"),
		say(0, "node 0 may be promoted again"),
	})
	if len(got) != 1 || !got[1] {
		t.Errorf("%v", got)
	}
}
