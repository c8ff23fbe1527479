package replication

import (
	"errors"
	"testing"

	"gopgpool/cluster"
)

// TestASilentServerKeepsItsIdentity: who does not answer is of the cluster it told last, so that its successor can be told from a stranger.
func TestASilentServerKeepsItsIdentity(t *testing.T) {
	t.Parallel()
	store := cluster.NewStore(&cluster.View{Nodes: []cluster.Node{{ID: 0, Host: "127.0.0.1", Port: 1}}})
	silent := errors.New("no password")
	k := New(Parts{
		Store: store, Settings: func() Settings { return Settings{} },
		Password: func(string, string) (string, error) { return "", silent },
	})
	for _, standby := range []bool{false, true} {
		k.remember(0, tidings{state: cluster.ServerState{SystemID: 5, Timeline: 3, InRecovery: standby}})
		got := k.Survey(t.Context(), store.Current(), []cluster.NodeID{0})[0]
		if !errors.Is(got.Err, silent) || got.SystemID != 5 || (got.Timeline == 3) == standby {
			t.Errorf("standby %v: %+v", standby, got)
		}
	}
}
