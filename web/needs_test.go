package web

import (
	"encoding/json"
	"testing"

	"gopgpool/cluster"
)

// What is left undone because nobody is at a server's host is told with its node, and only there.
func TestNeedsOfANode(t *testing.T) {
	t.Parallel()
	f := &Facts{View: view(1, 0, cluster.StatusUp, cluster.StatusDown, nil), Gauges: &cluster.Gauges{}, Now: start, Started: true}
	f.Needs = cluster.Needs{1: need1}
	type needs struct {
		Needs map[string]string `json:"needs_agent"`
	}
	var all struct {
		Nodes []needs `json:"nodes"`
	}
	decode(t, f, "/health", &all)
	want := map[string]string{
		"found": need1.Found, "to_do": "rewind", "reason": need1.Reason, "since": "2026-01-01T12:00:00Z",
	}
	if len(all.Nodes) != 2 || all.Nodes[0].Needs != nil {
		t.Errorf("of both nodes it is told %v", all)
	}
	var one needs
	decode(t, f, "/nodes/1", &one)
	for name, text := range want {
		if one.Needs[name] != text || all.Nodes[1].Needs[name] != text {
			t.Errorf("%s is %q and %q, not %q", name, one.Needs[name], all.Nodes[1].Needs[name], text)
		}
	}
	f.Needs = cluster.Needs{1: {Found: "it does not answer"}}
	one = needs{}
	if decode(t, f, "/nodes/1", &one); len(one.Needs) != 3 {
		t.Errorf("where nobody knows what is to be done it is told %v", one.Needs)
	}
}

func decode(t *testing.T, f *Facts, path string, into any) {
	t.Helper()
	a := answer(f, path, func(string) string { return "" })
	if err := json.Unmarshal(a.body, into); err != nil {
		t.Fatalf("%s: %v in %s", path, err, a.body)
	}
}
