package machine

import (
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// Leases that differ between nodes: somebody changes wd_lease_time, or wd_heartbeat_deadtime, node by node.
func TestSuccessorWaitsForTheLongerLease(t *testing.T) {
	w := newWorld(t, 3, func(id int, c *Config) {
		if id == 0 {
			c.Lease = 10 * time.Second
		}
	})
	w.start(0, 1, 2)
	w.until("leader", 20*time.Second, w.settled(0))
	w.run(10 * time.Second)
	for _, o := range []int{1, 2} {
		w.cut[[2]int{0, o}], w.cut[[2]int{o, 0}] = true, true
	}
	for i := 0; i < 2000; i++ {
		w.now += 10 * time.Millisecond
		for id, m := range w.nodes {
			m.Tick(w.now)
			w.take(id)
		}
		if h := w.holders(); len(h) > 1 {
			t.Fatalf("held by %v %d0 ms after the cut: %v", h, i, w.held)
		}
	}
}

// A vote of an earlier term comes late, between two of this one.
func TestLateVoteForgetsNobody(t *testing.T) {
	vote := func(term uint64) *raftpb.Message {
		typ := raftpb.MsgVoteResp
		return &raftpb.Message{Type: &typ, Term: &term}
	}
	now := time.Hour
	q := quiet{answered: now - time.Minute}
	q.voted(1, vote(6), time.Second, now)
	q.voted(2, vote(5), time.Minute, now)
	q.voted(3, vote(6), time.Minute, now)
	if free := q.free(6, 10*time.Second); free != now+9*time.Second {
		t.Errorf("free %v from now, node 1 answered a leader one second ago", free-now)
	}
}
