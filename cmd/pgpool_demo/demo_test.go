package main

import (
	"io"
	"strings"
	"testing"

	"gopgpool/internal/pgcluster"
)

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args string
		want options
		pcp  int
		bad  bool
	}{
		{args: "", want: options{port: 9999, nodes: 3}, pcp: 9898},
		{args: "-port 7000 -nodes 2 -pgport 7010 -check", want: options{port: 7000, nodes: 2, pgPort: 7010, check: true}, pcp: 7001},
		{args: "-port 7000 -pgport 7001", want: options{port: 7000, nodes: 3, pgPort: 7001}, pcp: 0},
		{args: "--port=0", want: options{nodes: 3}, pcp: 0},
		{args: "-nodes 0", bad: true},
		{args: "-port 70000", bad: true},
		{args: "word", bad: true},
	} {
		got, err := parseOptions(strings.Fields(tc.args), io.Discard)
		if tc.bad {
			if err == nil {
				t.Errorf("%q: accepted", tc.args)
			}
			continue
		}
		if err != nil || got != tc.want || got.pcpPort() != tc.pcp {
			t.Errorf("%q: %+v, PCP %d, %v", tc.args, got, got.pcpPort(), err)
		}
	}
}

func TestChecksCanFail(t *testing.T) {
	t.Parallel()
	const (
		up      = "0|h|1|up|up|0.5|primary|primary\n1|h|2|waiting|up|0.5|standby|standby"
		oneDown = "0|h|1|up|up|0.5|primary|primary\n1|h|2|down|up|0.5|standby|standby"
		nobody  = "0|h|1|up|up|0.5|standby|standby\n1|h|2|up|up|0.5|standby|standby"
	)
	c := &pgcluster.Cluster{Nodes: []*pgcluster.Node{{Port: 1}, {Port: 2}}}
	for _, tc := range []struct {
		name string
		err  error
		ok   bool
	}{
		{"two nodes", showsNodes(up, 2), true},
		{"a line is missing", showsNodes(up, 3), false},
		{"a node is down", showsNodes(oneDown, 2), false},
		{"no primary", showsNodes(nobody, 2), false},
		{"spread", spreads(c)("1\n2\n2"), true},
		{"one server only", spreads(c)("1\n1"), false},
		{"foreign port", spreads(c)("1\n3"), false},
		{"equal", equals("42")("42"), true},
		{"not equal", equals("42")("43"), false},
		{"output of a statement without rows", nothing("CREATE TABLE"), false},
	} {
		if (tc.err == nil) != tc.ok {
			t.Errorf("%s: %v", tc.name, tc.err)
		}
	}
}
