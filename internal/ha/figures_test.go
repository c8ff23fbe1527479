package main

import (
	"strings"
	"testing"
	"time"
)

func TestLongestGap(t *testing.T) {
	t.Parallel()
	ack := func(done int) attempt { return try(writer, "", done-1, done, nil) }
	attempts := []attempt{
		ack(-3000), ack(-10), ack(5), ack(700), // answered in this order whatever the order of notes
		ack(900),
		try(reader, "", 100, 300, nil), // reads end no outage
		{Role: writer, Done: noon.Add(400 * 1e6), Outcome: unknown, Fault: lostConnection(atWork)}, // nor do errors
	}
	attempts[0], attempts[3] = attempts[3], attempts[0]
	g, ok := longestGap(attempts, noon, noon.Add(time.Second))
	if want := 695 * time.Millisecond; !ok || g.length() != want || !g.To.Equal(noon.Add(700*time.Millisecond)) {
		t.Errorf("%v %s to %s, want %s", ok, g.length(), g.To, want)
	}
	if g, ok := longestGap(attempts, noon, noon.Add(20*time.Second)); !ok || g.length() != 19100*time.Millisecond {
		t.Errorf("an outage that does not end lasts %s", g.length())
	}
	if _, ok := longestGap(attempts[5:], noon, noon.Add(time.Second)); ok {
		t.Error("there is a gap without a write")
	}
}

func TestSpread(t *testing.T) {
	t.Parallel()
	if got, want := spreadOf([]time.Duration{9, 1, 4}), (spread{4, 1, 9}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
	if got, want := spreadOf([]time.Duration{9, 1, 4, 6}), (spread{5, 1, 9}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
	if got := spreadOf(nil); got != (spread{}) {
		t.Errorf("%v", got)
	}
}

// Lines of ours and of Debian's Pgpool-II 4.3.5, which puts the end of a failover behind words without a newline.
const poolLogs = `{"time":"2026-11-21T10:00:01.010Z","level":"LOG","message":"received degenerate backend request for node_id: 0 from pid [9]","node":0}
{"time":"2026-11-21T10:00:01.011Z","level":"LOG","message":"=== Starting degeneration. shutdown host 127.0.0.1(5000) ==="}
{"time":"2026-11-21T10:00:01.012Z","level":"LOG","message":"=== Starting degeneration. shutdown host 127.0.0.1(5002) ==="}
{"time":"2026-11-21T10:00:01.020Z","level":"LOG","message":"execute command: /promote"}
waiting for server to promote.... done
{"time":"2026-11-21T10:00:01.200Z","level":"LOG","message":"failover: set new primary node: 1"}
{"time":"2026-11-21T10:00:01.201Z","level":"LOG","message":"=== Failover done. shutdown host 127.0.0.1(5000) ==="}
2026-11-21 10:00:05.010: child pid 7: LOG:  received degenerate backend request for node_id: 1 from pid [7]
2026-11-21 10:00:05.011: main pid 5: LOG:  starting degeneration. shutdown host 127.0.0.1(5001)
2026-11-21 10:00:05.012: main pid 5: LOG:  failover: set new primary node: -1
failover done. shutdown host 127.0.0.1(5001)2026-11-21 10:00:05.013: main pid 5: LOG:  failover done. shutdown host 127.0.0.1(5001)
`

func TestFailoversOfALog(t *testing.T) {
	t.Parallel()
	events, err := readPoolLog(strings.NewReader(poolLogs))
	if err != nil {
		t.Fatal(err)
	}
	all := failovers(events, []int{5000, 5001, 5002})
	if len(all) != 2 {
		t.Fatalf("%d failovers: %+v", len(all), all)
	}
	first, second := all[0], all[1]
	if clock(first.Detected) != "10:00:01.010" || clock(first.Fenced) != "10:00:01.020" || clock(first.Done) != "10:00:01.201" ||
		first.Primary != 1 || len(first.Nodes) != 2 {
		t.Errorf("%+v", first)
	}
	if second.Primary != -1 || second.Command != (time.Time{}) || second.Fenced.IsZero() || second.Done.IsZero() {
		t.Errorf("%+v", second)
	}
	if _, err := involving(all, 1, first.Begun); err != nil {
		t.Error(err)
	}
	if _, err := involving(all, 0, second.Begun); err == nil {
		t.Error("a failover of a node before the harm is taken for its consequence")
	}
	if got := len(condemnations(all)); got != 3 { // two of the first, one of the second
		t.Errorf("%d condemnations", got)
	}
}

// A node that is condemned while the failover before it is still looking for a primary was not out of use when that one was.
func TestCondemnedDuringAFailover(t *testing.T) {
	t.Parallel()
	const log = `{"time":"2026-11-21T10:00:01.011Z","level":"LOG","message":"=== Starting degeneration. shutdown host 127.0.0.1(5000) ==="}
{"time":"2026-11-21T10:00:01.020Z","level":"LOG","message":"execute command: /promote 0"}
{"time":"2026-11-21T10:00:02.011Z","level":"LOG","message":"=== Starting degeneration. shutdown host 127.0.0.1(5001) ==="}
{"time":"2026-11-21T10:00:02.020Z","level":"LOG","message":"execute command: /promote 1"}
{"time":"2026-11-21T10:00:02.200Z","level":"LOG","message":"failover: set new primary node: 2"}
{"time":"2026-11-21T10:00:02.201Z","level":"LOG","message":"=== Failover done. shutdown host 127.0.0.1(5000) ==="}
{"time":"2026-11-21T10:00:02.202Z","level":"LOG","message":"=== Failover done. shutdown host 127.0.0.1(5001) ==="}
`
	events, err := readPoolLog(strings.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	all := failovers(events, []int{5000, 5001, 5002})
	if len(all) != 2 {
		t.Fatalf("%+v", all)
	}
	for i, want := range []string{"10:00:01.020 10:00:02.201", "10:00:02.020 10:00:02.202"} {
		if got := clock(all[i].Fenced) + " " + clock(all[i].Done); got != want || all[i].Primary != 2 {
			t.Errorf("failover %d: fenced, done %s, primary %d, want %s, 2", i, got, all[i].Primary, want)
		}
	}
}
