package replication

import (
	"strings"
	"testing"

	"gopgpool/cluster"
	"gopgpool/internal/pgcluster"
)

// TestAStandbyThatIsSetTooLow: a standby that has stopped to replay because its primary may have more connections would shut down if that were
// resumed. It is not offered as a successor, and goes on to serve reads.
func TestAStandbyThatIsSetTooLow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pgcluster.Options{Nodes: 2})
	both := []cluster.NodeID{0, 1}
	w.keeper.noticed(w.store.Current())
	for _, s := range w.keeper.Survey(t.Context(), w.store.Current(), both) {
		if s.Err != nil {
			t.Fatalf("node %d: %v", s.Node, s.Err)
		}
	}
	w.exec(0, "ALTER SYSTEM SET max_connections = 1000")
	primary := w.c.Nodes[0]
	if err := primary.Stop(t.Context(), pgcluster.Fast); err != nil {
		t.Fatal(err)
	}
	if err := primary.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	var said cluster.ServerState
	w.await("node 1 is no successor", func() (bool, error) {
		said = w.keeper.Survey(t.Context(), w.store.Current(), both)[1]
		return said.Err != nil && strings.Contains(said.Err.Error(), "its replay is paused and max_connections = "), nil
	})
	w.run()
	w.finds(1, Stuck)
	// An administrator's pause is none of that.
	if err := misfit(&tidings{state: cluster.ServerState{InRecovery: true, ReplayPaused: true}, limits: []uint64{5}}, &tidings{limits: []uint64{5}}); err != nil {
		t.Error(err)
	}
}
