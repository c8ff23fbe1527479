package chaos

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestJudge shows the judges doctored evidence: each rule is broken once.
func TestJudge(t *testing.T) {
	t0 := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(client int, ms int, o outcome, server string, lsn uint64, f *fault) attempt {
		sent := t0.Add(time.Duration(ms) * time.Millisecond)
		a := attempt{Client: client, Kind: "simple", Seqs: []int{1}, Sent: sent, Done: sent.Add(time.Millisecond), Outcome: o, Fault: f}
		if server != "" {
			a.At = place{server, "00000001", lsn}
		}
		return a
	}
	here := place{"a", "00000001", 5 << 20}
	row := func(clients ...int) map[rowID]int {
		m := map[rowID]int{}
		for _, c := range clients {
			m[rowID{c, 1}]++
		}
		return m
	}
	final := func(clients ...int) map[rowID]place {
		m := map[rowID]place{}
		for _, c := range clients {
			m[rowID{c, 1}] = here
		}
		return m
	}
	denied := &fault{Code: "08006", Message: "unable to read data", Detail: "EOF; the statement that was running has had no effect"}
	pair := at(1, 0, unknown, "", 0, nil)
	pair.Seqs = []int{1, 2}
	tests := []struct {
		name string
		e    evidence
		want string // empty: nothing is wrong
	}{
		{"all is well", evidence{Attempts: []attempt{at(1, 0, acknowledged, "a", 5<<20, nil)}, Rows: []map[rowID]int{row(1)}, Final: final(1)}, ""},
		{"a denied effect", evidence{Attempts: []attempt{at(1, 0, outcomeOf(denied, true), "", 0, denied)}, Rows: []map[rowID]int{row(1)}}, "was refused and is there"},
		{"twice", evidence{Attempts: []attempt{at(1, 0, acknowledged, "a", 1, nil)}, Rows: []map[rowID]int{row(1, 1)}, Final: final(1)}, "is there 2 times"},
		{"never sent", evidence{Rows: []map[rowID]int{row(1)}}, "was never sent"},
		{"torn", evidence{Attempts: []attempt{pair}, Rows: []map[rowID]int{row(1)}}, "torn"},
		{
			"lost before the end of its timeline",
			evidence{
				Attempts: []attempt{at(1, 0, acknowledged, "a", 1<<20, nil), at(2, 1, acknowledged, "a", 1<<20, nil)},
				Final:    final(2), Ends: map[string]uint64{"00000001": 4 << 20},
			},
			"acknowledged and gone",
		},
		{
			"lost with its server",
			evidence{
				Attempts: []attempt{at(1, 0, acknowledged, "a", 4<<20, nil), at(2, 1, acknowledged, "a", 1<<20, nil)},
				Final:    final(2), Ends: map[string]uint64{"00000001": 4 << 20},
			},
			"",
		},
		{
			"lost though its server lives",
			evidence{Attempts: []attempt{at(1, 0, acknowledged, "a", 9<<20, nil), at(2, 1, acknowledged, "a", 1<<20, nil)}, Final: final(2)},
			"acknowledged and gone",
		},
		{
			"lost with a branch of the same name",
			evidence{
				Attempts: []attempt{at(1, 0, acknowledged, "a", 4<<20, nil), at(2, 1, acknowledged, "a", 6<<20, nil)},
				Final:    final(2), Begins: map[string]uint64{"00000001": 5 << 20},
			},
			"",
		},
		{
			"lost behind the beginning of its branch",
			evidence{
				Attempts: []attempt{at(1, 0, acknowledged, "a", 6<<20, nil), at(2, 1, acknowledged, "a", 6<<20, nil)},
				Final:    final(2), Begins: map[string]uint64{"00000001": 5 << 20},
			},
			"acknowledged and gone",
		},
		{"two writers", evidence{Attempts: []attempt{
			at(1, 0, acknowledged, "a", 1, nil), at(2, 10, acknowledged, "b", 1, nil), at(3, 20, acknowledged, "a", 1, nil),
		}, Final: final(1, 2, 3)}, "two writers"},
		{"two failovers", evidence{Attempts: []attempt{
			at(1, 0, acknowledged, "a", 1, nil), at(2, 10, acknowledged, "b", 1, nil), at(3, 20, acknowledged, "a", 1, nil),
		}, Final: final(1, 2, 3), Switches: []change{{t0.Add(5 * time.Millisecond), "b"}, {t0.Add(15 * time.Millisecond), "a"}}}, ""},
		{"two failovers, one told late", evidence{Attempts: []attempt{
			at(1, 0, acknowledged, "a", 1, nil), at(2, 10, acknowledged, "b", 1, nil), at(3, 20, acknowledged, "a", 1, nil),
		}, Final: final(1, 2, 3), Switches: []change{{t0.Add(5 * time.Millisecond), "b"}, {t0.Add(25 * time.Millisecond), "a"}}}, ""},
		{"one failover, and another one later", evidence{Attempts: []attempt{
			at(1, 0, acknowledged, "a", 1, nil), at(2, 10, acknowledged, "b", 1, nil), at(3, 20, acknowledged, "a", 1, nil),
		}, Final: final(1, 2, 3), Switches: []change{{t0.Add(5 * time.Millisecond), "b"}, {t0.Add(25 * time.Millisecond), "c"}}}, "two writers"},
		{"no reason", evidence{Attempts: []attempt{at(1, 0, unknown, "", 0, &fault{Message: "EOF"})}}, "no reason given"},
		{"pgpool was away", evidence{
			Attempts: []attempt{at(1, 0, unknown, "", 0, &fault{Message: "EOF"})}, Absent: []span{{t0, t0.Add(time.Second)}},
		}, ""},
		{"improper", evidence{Attempts: []attempt{at(1, 0, unknown, "", 0, &fault{Code: "XX000"})}}, "improper error"},
		{"not told", evidence{Attempts: []attempt{at(1, 0, unknown, "", 0, &fault{Code: "57P01"})}}, "not told"},
		{"hung", evidence{Attempts: []attempt{at(1, 0, unknown, "", 0, &fault{Hung: true})}}, "no answer"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := strings.Join(judge(test.e).Breaches, "\n")
			if test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// A switch is that another node takes what is written, whichever line tells of it.
func TestSwitches(t *testing.T) {
	t0 := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	events := []event{}
	for i, text := range []string{
		"find_primary_node: primary node is 0", "failover: set new primary node: 1", // before the round
		"failover: set new primary node: 1", "find_primary_node: primary node is 1",
		"failover: set new primary node: -1", "failover: set new primary node: 1", // there was none
		"failover: set new primary node: 2", "find_primary_node: standby node is 0", "failover: set new main node: 0",
		"node 0 is the primary now instead of node 2", "node 1 says it is a primary, but node 0 is: it is a false primary",
		"find_primary_node: primary node is 2",
		"failover: set new primary node: -1", "failover: set new main node: -1", // nobody is left
		"failover: set new primary node: -1", "failover: set new main node: 1", "find_primary_node: primary node is 1", // it was attached
	} {
		events = append(events, event{Time: t0.Add(time.Duration(i) * time.Second), Message: text})
	}
	want := []change{{t0.Add(6 * time.Second), "server2"}, {t0.Add(9 * time.Second), "server0"}, {t0.Add(11 * time.Second), "server2"}, {t0.Add(15 * time.Second), "server1"}}
	if got := switches(events, t0.Add(2*time.Second)); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
