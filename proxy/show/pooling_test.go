package show

import (
	"slices"
	"testing"
	"time"

	"gopgpool/cluster"
)

func TestPoolSessions(t *testing.T) {
	r := PoolSessions([]Session{
		{
			PID: 7, Database: "d", User: "u", ClientHost: "10.0.0.1", ClientPort: "5", Mode: "transaction", State: SessionIdleInTransaction,
			Pin: "temporary tables", Nodes: []cluster.NodeID{0, 2}, Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local),
		},
		{PID: 8, ClientHost: "[local]", Mode: "session", State: SessionLogin},
	})
	want := [][]string{
		{"7", "d", "u", "10.0.0.1:5", "transaction", "idle in transaction", "temporary tables", "0,2", "2026-01-02 03:04:05"},
		{"8", "", "", "[local]", "session", "login", "", "", ""},
	}
	for i := range want {
		if len(r.Columns) != len(want[i]) || !slices.Equal(r.Rows[i], want[i]) {
			t.Errorf("%q, want %q", r.Rows[i], want[i])
		}
	}
	states := []SessionState{SessionLogin, SessionIdle, SessionIdleInTransaction, SessionActive, SessionWaiting, SessionHeld, SessionPaused}
	var names []string
	for _, s := range states {
		names = append(names, s.String())
	}
	if want := []string{"login", "idle", "idle in transaction", "active", "waiting", "held", "paused"}; !slices.Equal(names, want) {
		t.Errorf("states %q, want %q", names, want)
	}
}

func TestPoolQueues(t *testing.T) {
	r := PoolQueues([]Queue{{
		Database: "d", User: "u", Mode: "statement", Node: 1, ClientsActive: 2, ClientsWaiting: 3, ClientsPaused: 4, ServersActive: 5,
		ServersIdle: 6, ServersLogin: 7, MaxWait: 8*time.Second + 9*time.Microsecond, Size: 20, Paused: true,
	}})
	want := []string{"d", "u", "statement", "1", "2", "3", "4", "5", "6", "7", "8", "9", "20", "1"}
	if len(r.Columns) != len(want) || !slices.Equal(r.Rows[0], want) || r.Tag != "SELECT 1" {
		t.Errorf("%q %q, want %q", r.Rows[0], r.Tag, want)
	}
}
