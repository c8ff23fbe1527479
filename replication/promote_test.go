package replication

import (
	"context"
	"slices"
	"strconv"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/internal/pgcluster"
)

func TestSurveyTellsPositionsAndUpstream(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pgcluster.Options{Slots: true})
	w.exec(0, "CREATE TABLE t AS SELECT 1")
	w.await("all is replayed", func() (bool, error) { return true, w.c.WaitReplayed(t.Context(), w.c.Nodes[0]) })
	written := w.value(0, "SELECT pg_current_wal_lsn()")
	states := w.survey(2, 0, 1)
	for i, id := range []cluster.NodeID{2, 0, 1} {
		s := states[i]
		if s.Node != id || s.Err != nil || s.Timeline != 1 || s.SystemID != states[0].SystemID || s.SystemID == 0 || s.NextXID < 700 {
			t.Errorf("node %d: %+v", id, s)
		}
		if at, _ := cluster.ParseLSN(written); s.Received < at {
			t.Errorf("node %d: received %v, the primary wrote %v", id, s.Received, at)
		}
		if s.InRecovery != (id != 0) {
			t.Errorf("node %d: in recovery is %v", id, s.InRecovery)
		}
	}
	s, primary := states[2], w.c.Nodes[0]
	if !s.Streaming || s.UpstreamHost != primary.Host || s.UpstreamPort != primary.Port || s.SlotName != "server1" ||
		s.ApplicationName != "server1" || s.Replayed != s.Received || s.ReplayPaused {
		t.Errorf("standby: %+v", s)
	}
}

// TestSurveyAfterThePrimaryIsGone: its standbys tell what they have though their receivers are gone, also after a restart, and a server
// that is silent is waited for no longer than the bound.
func TestSurveyAfterThePrimaryIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pgcluster.Options{})
	w.exec(0, "CREATE TABLE t AS SELECT generate_series(1, 10000)")
	before := w.survey(1, 2)
	if err := w.c.Nodes[0].Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.c.Nodes[1].Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.c.Nodes[2].Pause(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	after := w.survey(0, 1, 2)
	if took := time.Since(began); took > surveyBound+time.Second/2 {
		t.Errorf("the survey took %v", took)
	}
	if after[0].Err == nil || after[2].Err == nil {
		t.Errorf("dead and frozen servers answer: %v, %v", after[0].Err, after[2].Err)
	}
	if after[1].Err != nil || after[1].Received < before[0].Received || after[1].Timeline != 1 || after[1].Streaming {
		t.Errorf("before %+v, after %+v", before[0], after[1])
	}
	if err := w.c.Nodes[2].Resume(); err != nil {
		t.Fatal(err)
	}
}

// TestPromoteKnowsWhichTransactionsWereLost: transactions at work when the primary is killed are below both bounds, though none of them
// has ended, and the next one is beyond.
func TestPromoteKnowsWhichTransactionsWereLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pgcluster.Options{Nodes: 2})
	w.exec(0, "CREATE TABLE t (i int)")
	var ids []uint64
	for range 9 {
		conn, err := w.c.Nodes[0].Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.Background())
		if _, err := conn.Exec(t.Context(), "BEGIN; INSERT INTO t VALUES (1)"); err != nil {
			t.Fatal(err)
		}
		id := uint64(0)
		if err := conn.QueryRow(t.Context(), "SELECT txid_current()::bigint").Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	w.exec(0, "SELECT pg_switch_wal()") // all of them are in what is sent
	if err := w.c.WaitReplayed(t.Context(), w.c.Nodes[0]); err != nil {
		t.Fatal(err)
	}
	w.survey(0, 1)
	w.keeper.noticed(w.store.Current())
	if err := w.c.Nodes[0].Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	b := w.promote(1, 0)
	t.Logf("promoted in %v: %+v, transactions %v", time.Since(began), b, ids)
	if took := time.Since(began); took > 2*time.Second { // 60 ms where nothing else runs
		t.Errorf("the promotion took %v", took)
	}
	last := cluster.XID(slices.Max(ids))
	if b.Before != last+1 || b.After != last+1 {
		t.Errorf("bounds %+v, the last transaction was %d", b, last)
	}
	w.exec(1, "INSERT INTO t VALUES (2)")
	if got := w.value(1, "SELECT max(xmin::text::bigint) FROM t"); got != strconv.FormatUint(uint64(b.After), 10) {
		t.Errorf("the first transaction of the new primary is %s, want %d", got, b.After)
	}
	again, err := w.keeper.Promote(t.Context(), w.store.Current(), 1, 8)
	if err != nil || again != (cluster.Bounds{}) {
		t.Errorf("promoting a primary: %+v, %v", again, err)
	}
}

// TestPromoteResumesReplay: a standby whose replay is paused replays all it has first, and says so.
func TestPromoteResumesReplay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pgcluster.Options{Nodes: 2})
	w.exec(1, "SELECT pg_wal_replay_pause()")
	w.exec(0, "CREATE TABLE t AS SELECT 1 AS i")
	w.await("it is received", func() (bool, error) {
		s := w.survey(0, 1)
		return s[1].Received >= s[0].Received && s[1].ReplayPaused, nil
	})
	if err := w.c.Nodes[0].Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.promote(1, 0)
	if got := w.value(1, "SELECT i FROM t"); got != "1" {
		t.Errorf("t is %q", got)
	}
	w.logged("replay was paused on node 1")
}

// TestPromoteByHost: where SQL may not, the host does, and nothing is said about transactions.
func TestPromoteByHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pgcluster.Options{Nodes: 2})
	w.exec(0, "CREATE ROLE watcher LOGIN IN ROLE pg_monitor")
	if err := w.c.WaitReplayed(t.Context(), w.c.Nodes[0]); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	w.settings.Account.User = "watcher"
	w.mu.Unlock()
	if b := w.promote(1, 0); b != (cluster.Bounds{}) {
		t.Errorf("bounds %+v", b)
	}
	w.logged("permission denied for function pg_promote")
}

// TestPromoteDoesNotHangOnStandbysThatAreGone: commits at the new primary wait for nobody, and what was wanted is remembered there.
func TestPromoteDoesNotHangOnStandbysThatAreGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pgcluster.Options{Nodes: 2, Config: map[string]string{"synchronous_standby_names": "*"}})
	w.survey(0, 1)
	if err := w.c.Nodes[0].Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.promote(1, 0)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := w.c.Nodes[1].Exec(ctx, "CREATE TABLE t ()"); err != nil {
		t.Fatal(err)
	}
	if got := w.value(1, "SELECT current_setting('"+remembered+"', true)"); got != "*" {
		t.Errorf("remembered is %q", got)
	}
}
