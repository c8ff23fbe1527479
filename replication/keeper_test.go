package replication

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gopgpool/cluster"
	"gopgpool/internal/pgcluster"
)

// TestStandbysFollowTheNewPrimary: a standby that streamed from the old primary streams from the new one with a slot made for it there,
// one behind another standby is left where it is, and the old primary is back without a hand, once somebody is at its host.
func TestStandbysFollowTheNewPrimary(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pgcluster.Options{Nodes: 4, Slots: true})
	nodes := w.c.Nodes
	if err := nodes[3].Follow(t.Context(), nodes[2]); err != nil { // cascading
		t.Fatal(err)
	}
	w.streams(3, 2)
	w.exec(0, "CREATE TABLE t (i int)")
	w.replayed()
	w.hosted = false
	w.run()
	for id := range cluster.NodeID(3) {
		w.finds(id+1, Following)
	}
	w.promote(1, 0)
	w.streams(2, 1)
	w.streams(3, 2)
	w.finds(0, Stray)
	w.exec(0, "CREATE TABLE lost ()")
	w.finds(3, Following)
	if _, err := w.keeper.Stop(t.Context(), w.store.Current(), 0, 7, cluster.StopNow); !errors.Is(err, cluster.ErrNeedsAgent) {
		t.Errorf("stopping without an agent: %v", err)
	}
	// It is said once; again only after a round in which it answered too late, which is another finding.
	told := w.findingsTold("node 0 needs an agent: ")
	if n := len(told); n == 0 || len(slices.Compact(slices.Clone(told))) != n || !slices.Contains(told, "it runs as a primary") {
		t.Errorf("it is said so: %q", told)
	}
	w.needs(0, true)
	w.mu.Lock()
	w.hosted = true
	w.mu.Unlock()
	w.takenIn(0)
	w.needs(0, false)
	w.exec(1, "INSERT INTO t VALUES (1)")
	if err := w.c.WaitReplayed(t.Context(), nodes[1]); err != nil {
		t.Fatal(err)
	}
	for id := range nodes {
		if got := w.value(id, "SELECT i FROM t"); got != "1" {
			t.Errorf("node %d has %q", id, got)
		}
	}
	if got := w.value(2, "SHOW primary_slot_name"); got != "server2" {
		t.Errorf("slot of node 2 is %q", got)
	}
	w.await("slots are used, those left over dropped", func() (bool, error) {
		active := w.value(1, "SELECT string_agg(slot_name, ',' ORDER BY slot_name) FROM pg_replication_slots WHERE active")
		left := w.value(0, "SELECT count(*) FROM pg_replication_slots WHERE slot_name IN ('server1', 'server2')")
		return active == "pgpool_node_0,server2" && left == "0", nil
	})
}

// findingsTold is how each line that says something begins to say why.
func (w *world) findingsTold(what string) (all []string) {
	for line := range strings.Lines(w.log()) {
		if _, why, ok := strings.Cut(line, what); ok {
			words := strings.Fields(why)
			all = append(all, strings.Join(words[:min(5, len(words))], " "))
		}
	}
	return all
}

// takenIn waits until a node is up.
func (w *world) takenIn(id cluster.NodeID) {
	w.t.Helper()
	w.await(fmt.Sprintf("node %d is taken in", id), func() (bool, error) { return w.store.Current().Live(id), nil })
}

// needs waits until it is told that a node needs an agent, or that none does.
func (w *world) needs(id cluster.NodeID, want bool) {
	w.t.Helper()
	w.await(fmt.Sprintf("node %d needs an agent: %v", id, want), func() (bool, error) {
		all := w.store.Needs()
		return all != nil && (len(all) > 0) == want && (all[id].Found != "") == want, nil
	})
}

// streams waits until a node receives WAL from another one.
func (w *world) streams(id, up int) {
	w.t.Helper()
	w.await(w.c.Nodes[id].Name+" streams from "+w.c.Nodes[up].Name, func() (bool, error) {
		const sql = "SELECT count(*) FROM pg_stat_replication WHERE application_name = $1 AND state = 'streaming'"
		count, err := w.c.Nodes[up].Value(w.t.Context(), sql, w.c.Nodes[id].Name)
		return count == "1", err
	})
}

// TestServersThatCannotBeRewoundAreRebuilt: one that was promoted beside the primary, so that both gave their timeline the same number.
func TestServersThatCannotBeRewoundAreRebuilt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pgcluster.Options{Nodes: 2})
	w.run()
	w.finds(1, Following)
	if err := w.c.Nodes[0].Stop(t.Context(), pgcluster.Immediate); err != nil {
		t.Fatal(err)
	}
	w.promote(1, 0)
	w.takenIn(0)

	t.Log("the old primary is promoted behind our back: nothing is done to it")
	w.exec(0, "SELECT pg_promote()")
	w.exec(0, "CREATE TABLE ours ()")
	w.finds(0, Usurper)
	w.publish(w.view(1, 0))
	w.await("it is down", func() (bool, error) { return !w.store.Current().Live(0), nil })
	w.finds(0, Usurper)

	t.Log("the primary is promoted after it, and has the same timeline's number")
	w.mu.Lock()
	w.did = nil
	w.mu.Unlock()
	v := w.view(1, 0)
	v.Crossing = &cluster.Crossing{From: 0, To: 1}
	w.publish(v)
	w.takenIn(0)
	if got := w.value(0, "SELECT to_regclass('ours') IS NULL"); got != "t" {
		t.Errorf("what it wrote is still there")
	}
}

// TestAWrongPasswordDoesNothing: servers that do not let us in are left alone, the log says so once, and it heals.
func TestAWrongPasswordDoesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pgcluster.Options{Nodes: 2, Auth: "scram-sha-256", Password: "right"})
	w.setPassword("right")
	w.run()
	w.finds(1, Following)
	w.setPassword("wrong")
	w.keeper.Wake()
	w.await("nobody is let in", func() (bool, error) { return w.survey(1)[0].Err != nil, nil })
	for _, s := range w.answered(0, 1) {
		if s.Err == nil || !strings.Contains(s.Err.Error(), "password authentication failed") {
			t.Errorf("node %d: %v", s.Node, s.Err)
		}
	}
	if _, err := w.keeper.Promote(t.Context(), w.store.Current(), 1, 7, w.store.Gauges().Primary); err != nil {
		t.Error(err) // the host can
	}
	if strings.Contains(w.log(), "wrong") || strings.Contains(w.log(), "right") {
		t.Error("the log holds a password")
	}
	w.setPassword("right")
	w.publish(w.view(1, 0))
	w.takenIn(0)
}

func (w *world) setPassword(p string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.password = p
}
