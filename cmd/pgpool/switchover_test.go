package main

import (
	"slices"
	"testing"

	"gopgpool/cluster"
)

// TestSwitchoverWatch: what is told late of a switchover that had begun before is not taken for the next one's, and each phase counts once.
func TestSwitchoverWatch(t *testing.T) {
	t.Parallel()
	at := func(gen cluster.Generation, run int, p cluster.SwitchoverPhase) *cluster.View {
		return &cluster.View{Generation: gen, Switchover: &cluster.Switchover{Run: run, To: 1, Phase: p}}
	}
	store := cluster.NewStore(at(1, 4, cluster.SwitchoverPromoting))
	w := watchSwitchover(store)
	defer w.stop()
	for i, v := range []*cluster.View{
		at(2, 4, cluster.SwitchoverDone), at(3, 5, cluster.SwitchoverDraining), at(4, 5, cluster.SwitchoverDraining),
		at(5, 5, cluster.SwitchoverStopping),
	} {
		store.Publish(v)
		if i == 0 && len(w.take()) > 0 {
			t.Error("the end of the one before is told")
		}
	}
	var phases []cluster.SwitchoverPhase
	for _, s := range w.take() {
		phases = append(phases, s.Phase)
	}
	if want := []cluster.SwitchoverPhase{cluster.SwitchoverDraining, cluster.SwitchoverStopping}; !slices.Equal(phases, want) {
		t.Errorf("phases %v, want %v", phases, want)
	}
}
