package replication

import (
	"errors"
	"slices"
	"testing"

	"gopgpool/cluster"
)

func TestStrangersOf(t *testing.T) {
	t.Parallel()
	standby := func(name string) NodeFacts {
		return NodeFacts{State: cluster.ServerState{InRecovery: true, ApplicationName: name}}
	}
	silent := NodeFacts{State: cluster.ServerState{Err: errors.New("no answer")}}
	for name, c := range map[string]struct {
		setting      string
		own          string // backend_application_name0
		configured   string // backend_application_name2
		one, another NodeFacts
		want         []string
		known        bool
	}{
		"commits wait for nobody":                       {"", "", "", standby("b"), standby("c"), nil, true},
		"all standbys, and the primary's name is known": {"ANY 1 (a, b, c)", "A", "", standby("b"), standby("c"), nil, true},
		"all standbys, and the primary's name is not":   {"ANY 1 (a, b, c)", "", "", standby("b"), standby("c"), []string{"a"}, true},
		"two of three, and the primary's name is not":   {"FIRST 2 (a, b, c)", "", "", standby("b"), standby("c"), nil, true},
		"only a standby elsewhere":                      {"x", "a", "", standby("b"), standby("c"), []string{"x"}, true},
		"whoever streams":                               {"*", "", "", standby("walreceiver"), standby("walreceiver"), nil, true},
		"one does not answer":                           {"ANY 1 (b, c)", "", "", standby("b"), silent, nil, false},
		"one does not answer, its name is configured":   {"ANY 1 (b, c)", "", "c", standby("b"), silent, nil, true},
		"no setting that can be read":                   {"ANY (", "", "", standby("b"), standby("c"), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &Facts{View: &cluster.View{Primary: 0, Nodes: []cluster.Node{
				{ID: 0, Port: 5432, Status: cluster.StatusUp, ApplicationName: c.own},
				{ID: 1, Port: 5432, Status: cluster.StatusUp},
				{ID: 2, Port: 5432, Status: cluster.StatusUp, ApplicationName: c.configured},
				{ID: 3}, // a gap
			}}, Nodes: []NodeFacts{{State: cluster.ServerState{Timeline: 1, SyncNames: c.setting}}, c.one, c.another, {}}}
			if got, known := strangersOf(f); !slices.Equal(got, c.want) || known != c.known {
				t.Errorf("%q, %t instead of %q, %t", got, known, c.want, c.known)
			}
		})
	}
	if _, known := strangersOf(&Facts{View: &cluster.View{Primary: cluster.NoNode}}); known {
		t.Error("known without a primary")
	}
}
