package replication

import (
	"testing"

	"gopgpool/internal/pgcluster"
)

// TestARestartedStandbyHasMoreThanItTells: what a standby had received before it was started again is on its disk, and counted only when it
// was read. Here recovery_min_apply_delay keeps it from that; much WAL since the last restart point does the same for a while.
func TestARestartedStandbyHasMoreThanItTells(t *testing.T) {
	if testing.Short() {
		t.Skip("left out with -short: starts three servers")
	}
	w := newWorld(t, pgcluster.Options{})
	late, behind := w.c.Nodes[1], w.c.Nodes[2]
	w.exec(0, "CREATE TABLE acknowledged (n int)")
	w.exec(1, "ALTER SYSTEM SET recovery_min_apply_delay = '1h'")
	w.exec(1, "SELECT pg_reload_conf()")
	w.await("the delay holds", func() (bool, error) {
		v, err := late.Value(t.Context(), "SHOW recovery_min_apply_delay")
		return v == "1h", err
	})
	w.exec(0, "INSERT INTO acknowledged VALUES (1)")
	end := w.value(0, "SELECT pg_current_wal_lsn()")
	w.await("node 2 has it", func() (bool, error) {
		v, err := behind.Value(t.Context(), "SELECT pg_last_wal_replay_lsn() >= '"+end+"'")
		return v == "t", err
	})
	if err := behind.Pause(); err != nil {
		t.Fatal(err)
	}
	w.exec(0, "INSERT INTO acknowledged VALUES (2)")
	end = w.value(0, "SELECT pg_current_wal_lsn()")
	w.await("the other one has it", func() (bool, error) {
		v, err := late.Value(t.Context(), "SELECT pg_last_wal_receive_lsn() >= '"+end+"'")
		return v == "t", err
	})
	if s := w.answered(1)[0]; s.Err != nil || s.Unread {
		t.Errorf("before: %+v", s)
	}
	if err := w.c.Nodes[0].Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := late.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := late.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := behind.Resume(); err != nil {
		t.Fatal(err)
	}
	s := w.answered(1, 2)
	if s[0].Err != nil || s[1].Err != nil || !s[0].Unread || s[1].Unread {
		t.Errorf("the one that has more tells %+v, the other one %+v", s[0], s[1])
	}
	t.Logf("%v and %v, the primary ended at %s", s[0].Received, s[1].Received, end)
}
