package replication

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
)

var errElsewhere = errors.New("it is on another host")

// alone makes a keeper of three nodes at whose hosts nobody is.
func alone(log *strings.Builder) *Keeper {
	v := &cluster.View{Mode: cluster.ModeStreaming, Primary: 1, Nodes: make([]cluster.Node, 3)}
	for i := range v.Nodes {
		v.Nodes[i] = cluster.Node{ID: cluster.NodeID(i), Port: 5432, Status: cluster.StatusUp}
	}
	v.Nodes[0].Status = cluster.StatusDown
	return New(Parts{
		Store: cluster.NewStore(v), Log: logging.To(log, logging.Warning), Settings: func() Settings { return Settings{} },
		Office: func() (cluster.Term, bool) { return 7, true },
		Host: func(n cluster.Node) (Host, error) {
			return nil, fmt.Errorf("node %d %w: %w", n.ID, cluster.ErrNeedsAgent, errElsewhere)
		},
	})
}

// What failover wanted to have done at a host where nobody is can be asked for, also while no round looks at the servers, until one does.
func TestWhatNobodyCouldDoIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		k := alone(&log)
		store := k.parts.Store
		if store.Needs() != nil {
			t.Errorf("needs before anybody looked: %v", store.Needs())
		}
		began := time.Now()
		if _, err := k.Stop(t.Context(), store.Current(), 0, 7, cluster.StopNow); !errors.Is(err, cluster.ErrNeedsAgent) {
			t.Fatal(err)
		}
		expect(t, store, cluster.Needs{0: {ToDo: "stop", Found: "it was the primary", Reason: "it is on another host", Since: began}})

		time.Sleep(time.Minute)
		if err := k.Start(t.Context(), store.Current(), 0, 7); !errors.Is(err, cluster.ErrNeedsAgent) {
			t.Fatal(err)
		}
		if got := store.Needs()[0]; got.ToDo != "start" || !got.Since.Equal(began) {
			t.Errorf("after it was to be started: %v", got)
		}

		primary := NodeFacts{State: cluster.ServerState{Node: 1, Timeline: 2}}
		f := Facts{View: store.Current(), Nodes: []NodeFacts{{}, primary, {}}}
		k.treat(&f, []Finding{
			{Node: 0, Kind: Stray, Remedy: Rewind, Needs: true, Why: "it runs as a primary", Nobody: "it is on another host"},
			{Node: 2, Kind: Unreachable, Needs: true, Why: "it does not answer", Nobody: "it is on another host"},
		})
		found := cluster.Needs{
			0: {ToDo: "rewind", Found: "it runs as a primary", Reason: "it is on another host", Since: began},
			2: {Found: "it does not answer", Reason: "it is on another host", Since: time.Now()},
		}
		expect(t, store, found)
		for _, line := range []string{
			"node 0 needs an agent: it runs as a primary; what is to be done: rewind", "node 2 needs an agent: it does not answer\n",
			"DETAIL:  it is on another host",
		} {
			if !strings.Contains(log.String(), line) {
				t.Errorf("the log does not say %q:\n%s", line, log.String())
			}
		}

		f.Nodes[1].State.Err = errSilent // nothing is found out
		k.treat(&f, nil)
		expect(t, store, found)
		f.Nodes[1].State.Err = nil
		k.treat(&f, []Finding{{Node: 0, Kind: Following}})
		expect(t, store, cluster.Needs{})
		k.round(t.Context()) // auto_failover is off now
		expect(t, store, nil)
	})
}

func expect(t *testing.T, s *cluster.Store, want cluster.Needs) {
	t.Helper()
	if got := s.Needs(); !reflect.DeepEqual(got, want) {
		t.Errorf("needs are %v, not %v", got, want)
	}
}

// Other failures of a host are no lack of somebody there.
func TestAnAgentThatDoesNotAnswerIsNoNeed(t *testing.T) {
	t.Parallel()
	if got := nobody(errElsewhere) + nobody(nil); got != "" {
		t.Errorf("nobody is there because of %q", got)
	}
	if got := nobody(cluster.ErrNeedsAgent); got != "needs an agent" {
		t.Errorf("a bare error is told as %q", got)
	}
	k := alone(&strings.Builder{})
	k.lacking(0, "stop", "it was the primary", errElsewhere)
	if n := k.parts.Store.Needs(); n != nil {
		t.Errorf("needs are %v", n)
	}
}

// TestNeedsOf: who is needed where, by what was found and what the agents say.
func TestNeedsOf(t *testing.T) {
	t.Parallel()
	const address = ":9997"
	refused, silent := errors.New("not let in"), errors.New("no answer")
	for name, c := range map[string]struct {
		agent   string // of node 0
		status  cluster.Status
		finding Finding // of node 0
		control error   // of its host
		faults  map[cluster.NodeID]string
		want    cluster.Needs
	}{
		"all is well": {agent: address, status: cluster.StatusUp, finding: Finding{Kind: Following}, want: cluster.Needs{}},
		"nobody is there": {
			finding: Finding{Kind: Stray, Remedy: Rewind, Needs: true, Why: "it is a primary", Nobody: "it is elsewhere"},
			want:    cluster.Needs{0: {ToDo: "rewind", Found: "it is a primary", Reason: "it is elsewhere"}},
		},
		"the agent of the primary does not obey": {
			agent: address, status: cluster.StatusUp, finding: Finding{Kind: Following}, faults: map[cluster.NodeID]string{1: refused.Error()},
			want: cluster.Needs{1: {Found: "its agent at :9998 does not obey", Reason: "not let in"}},
		},
		"the agent of a standby does not obey": {
			agent: address, status: cluster.StatusUp, finding: Finding{Kind: Following}, faults: map[cluster.NodeID]string{0: refused.Error()},
			want: cluster.Needs{0: {Found: "its agent at :9997 does not obey", Reason: "not let in"}},
		},
		"an agent that is configured no more": {
			status: cluster.StatusUp, finding: Finding{Kind: Following}, faults: map[cluster.NodeID]string{0: refused.Error()}, want: cluster.Needs{},
		},
		"a lost host": {
			agent: address, finding: Finding{Kind: Unreachable, Why: "neither answers"}, control: silent,
			want: cluster.Needs{0: {Found: "neither answers", Reason: "no answer"}},
		},
		"a lost host that was not found to be down yet": {
			agent: address, status: cluster.StatusUp, finding: Finding{Kind: Unreachable, Why: "neither answers"}, control: silent, want: cluster.Needs{},
		},
		"an agent without a data directory": {
			agent: address, finding: Finding{Kind: Unreachable, Why: "there is no data directory"}, want: cluster.Needs{},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &Facts{View: &cluster.View{Primary: 1, Nodes: []cluster.Node{
				{ID: 0, Port: 5432, Agent: c.agent, Status: c.status},
				{ID: 1, Port: 5432, Agent: ":9998", Status: cluster.StatusUp},
			}}, Nodes: []NodeFacts{{ControlErr: c.control}, {}}}
			if got := needsOf(f, []Finding{c.finding}, c.faults); !reflect.DeepEqual(got, c.want) {
				t.Errorf("needs are %v, not %v", got, c.want)
			}
		})
	}
}
