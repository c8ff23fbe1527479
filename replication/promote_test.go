package replication

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"gopgpool/cluster"
	"gopgpool/internal/pgcluster"
)

// TestSurveyAndPromotions loses a primary with four standbys, and promotes each of them, which know nothing of each other then.
func TestSurveyAndPromotions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pgcluster.Options{Nodes: 5, Slots: true})
	w.exec(0, "CREATE TABLE t AS SELECT 1 AS i")
	w.exec(0, "CREATE ROLE watcher LOGIN IN ROLE pg_monitor")
	w.replayed()
	w.surveyed()
	ids, conns := w.begun(9)
	w.replayed()
	for _, sql := range []string{"ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()"} {
		w.exec(4, sql)
	}
	w.exec(2, "SELECT pg_wal_replay_pause()")
	w.exec(0, "INSERT INTO t VALUES (2)")
	before := w.answered(0, 1, 2, 3, 4)
	w.await("it is received", func() (bool, error) {
		s := w.survey(2)[0]
		return s.Err == nil && s.Received >= before[0].Received && s.ReplayPaused, nil
	})
	w.keeper.noticed(w.store.Current())
	if err := w.c.Nodes[0].Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range conns {
		_ = c.Close(context.Background()) // it is dead
	}
	t.Run("survey", func(*testing.T) { w.surveyedWithout(before) })
	t.Run("transactions", func(*testing.T) { w.promotedKnowing(ids) })
	t.Run("out of office", func(*testing.T) {
		w.mu.Lock()
		w.retired = true
		w.mu.Unlock()
		if _, err := w.keeper.Promote(w.t.Context(), w.store.Current(), 3, 7, cluster.PrimaryGauge{}); !errors.Is(err, errNoOffice) {
			t.Errorf("promoted by who does not act any more: %v", err)
		}
		if err := w.keeper.Start(w.t.Context(), w.store.Current(), 3, 7); !errors.Is(err, errNoOffice) {
			t.Errorf("started by who does not act any more: %v", err)
		}
		if s := w.answered(3)[0]; s.Err != nil || !s.InRecovery {
			t.Error("its host has promoted it")
		}
		w.mu.Lock()
		w.retired = false
		w.mu.Unlock()
	})
	t.Run("paused", func(*testing.T) {
		w.promote(2, 0)
		if got := w.value(2, "SELECT max(i) FROM t"); got != "2" {
			t.Errorf("the newest row is %q", got)
		}
		w.logged("replay was paused on node 2")
	})
	t.Run("synchronous", func(*testing.T) { w.promotedSynchronous() })
	t.Run("by its host", func(*testing.T) {
		w.mu.Lock()
		w.settings.Account.User = "watcher"
		w.mu.Unlock()
		if b := w.promote(3, 0); b != (cluster.Bounds{}) {
			t.Errorf("bounds %+v", b)
		}
		w.logged("permission denied for function pg_promote")
	})
}

func (w *world) replayed() {
	w.t.Helper()
	if err := w.c.WaitReplayed(w.t.Context(), w.c.Nodes[0]); err != nil {
		w.t.Fatal(err)
	}
}

// surveyed compares what servers tell with what they are.
func (w *world) surveyed() {
	w.t.Helper()
	at, err := cluster.ParseLSN(w.value(0, "SELECT pg_current_wal_lsn()"))
	if err != nil {
		w.t.Fatal(err)
	}
	var states []cluster.ServerState
	w.await("all tell that they have what was written", func() (bool, error) { // the primary may write by itself meanwhile
		states = w.answered(2, 0, 1)
		behind := slices.ContainsFunc(states, func(s cluster.ServerState) bool { return s.Err == nil && s.Received < at })
		return !behind && states[2].Replayed == states[2].Received, nil
	})
	for i, id := range []cluster.NodeID{2, 0, 1} {
		s := states[i]
		if s.Node != id || s.Err != nil || s.Timeline != 1 || s.SystemID != states[0].SystemID || s.SystemID == 0 || s.NextXID < 700 {
			w.t.Errorf("node %d: %+v", id, s)
		}
		if s.InRecovery != (id != 0) {
			w.t.Errorf("node %d: in recovery is %v", id, s.InRecovery)
		}
	}
	s, primary := states[2], w.c.Nodes[0]
	if !s.Streaming || s.UpstreamHost != primary.Host || s.UpstreamPort != primary.Port || s.SlotName != "server1" ||
		s.ApplicationName != "server1" || s.ReplayPaused {
		w.t.Errorf("standby: %+v", s)
	}
}

// surveyedWithout asks when the primary is gone: its standbys tell what they have though their receivers are gone, also after a restart,
// and a server that is silent is waited for no longer than the bound.
func (w *world) surveyedWithout(before []cluster.ServerState) {
	if err := w.c.Nodes[1].Restart(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	if err := w.c.Nodes[3].Pause(); err != nil {
		w.t.Fatal(err)
	}
	began := time.Now()
	after := w.survey(0, 1, 3)
	if took := time.Since(began); took > surveyBound+2*time.Second {
		w.t.Errorf("the survey took %v", took)
	}
	if after[0].Err == nil || after[2].Err == nil {
		w.t.Errorf("dead and frozen servers answer: %v, %v", after[0].Err, after[2].Err)
	}
	if s := w.answered(1)[0]; s.Err != nil || s.Received < before[1].Received || s.Timeline != 1 || s.Streaming {
		w.t.Errorf("before %+v, after %+v", before[1], s)
	}
	if err := w.c.Nodes[3].Resume(); err != nil {
		w.t.Fatal(err)
	}
}

// begun begins transactions at the primary that write and do not end, and returns their ids.
func (w *world) begun(n int) (ids []uint64, conns []*pgx.Conn) {
	for range n {
		conn, err := w.c.Nodes[0].Connect(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		conns = append(conns, conn)
		if _, err := conn.Exec(w.t.Context(), "BEGIN; INSERT INTO t VALUES (0)"); err != nil {
			w.t.Fatal(err)
		}
		id := uint64(0)
		if err := conn.QueryRow(w.t.Context(), "SELECT txid_current()::bigint").Scan(&id); err != nil {
			w.t.Fatal(err)
		}
		ids = append(ids, id)
	}
	w.exec(0, "SELECT pg_switch_wal()") // all of them are in what is sent
	return ids, conns
}

// promotedKnowing promotes a standby that met transactions which never ended: they are below both bounds, and so is the one that was
// committed last; the first of the new primary is not.
func (w *world) promotedKnowing(ids []uint64) {
	began := time.Now()
	b := w.promote(1, 0)
	w.t.Logf("promoted in %v: %+v, transactions %v", time.Since(began), b, ids)
	if took := time.Since(began); took > 3*time.Second { // 60 ms where nothing else runs
		w.t.Errorf("the promotion took %v", took)
	}
	if last := cluster.XID(slices.Max(ids)); b.Before <= last || b.Before != b.After {
		w.t.Errorf("bounds %+v, the last transaction without an end was %d", b, last)
	}
	w.exec(1, "INSERT INTO t VALUES (3)")
	if got := w.value(1, "SELECT max(xmin::text::bigint) FROM t"); got != strconv.FormatUint(uint64(b.After), 10) {
		w.t.Errorf("the first transaction of the new primary is %s, want %d", got, b.After)
	}
	again, err := w.keeper.Promote(w.t.Context(), w.store.Current(), 1, 8, w.store.Gauges().Primary)
	if err != nil || again != (cluster.Bounds{}) {
		w.t.Errorf("promoting a primary: %+v, %v", again, err)
	}
}

// promotedSynchronous promotes one that waits for standbys none of which is there: commits wait for nobody, and what was wanted is
// remembered on the server.
func (w *world) promotedSynchronous() {
	w.keeper.mu.Lock()
	clear(w.keeper.known)
	w.keeper.mu.Unlock()
	w.promote(4, 0)
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	if err := w.c.Nodes[4].Exec(ctx, "CREATE TABLE u ()"); err != nil {
		w.t.Fatal(err)
	}
	if got := w.value(4, "SELECT current_setting('"+remembered+"', true)"); got != "*" {
		w.t.Errorf("remembered is %q", got)
	}
}

// TestAReloadDoesNotDelayThePromotion: where synchronous_standby_names is cleared first, the standby is not told to promote while it tries its
// lost primary again, because it would wait for wal_retrieve_retry_interval (5 s) then.
func TestAReloadDoesNotDelayThePromotion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, pgcluster.Options{Nodes: 4})
	standbys := []int{1, 2, 3} // which signal comes first is a matter of luck
	for _, id := range standbys {
		w.exec(id, "ALTER SYSTEM SET wal_retrieve_retry_interval = '15s'")
		w.exec(id, "ALTER SYSTEM SET synchronous_standby_names = '*'")
		w.exec(id, "SELECT pg_reload_conf()")
	}
	if err := w.c.Nodes[0].Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.hangUp(w.c.Nodes[0])
	for _, id := range standbys {
		w.await("the standby waits for its primary", func() (bool, error) { return w.value(id, restsSQL) == "1", nil })
		w.keeper.mu.Lock()
		clear(w.keeper.known) // of other standbys, which would count
		w.keeper.mu.Unlock()
		began := time.Now()
		w.promote(cluster.NodeID(id), 0)
		if d := time.Since(began); d > 8*time.Second {
			t.Errorf("node %d: it took %v", id, d)
		}
		if got := w.value(id, "SHOW synchronous_standby_names"); got != "" {
			t.Errorf("node %d: synchronous_standby_names is %q", id, got)
		}
	}
}

// hangUp stands in for a server that is dead: who connects is kept for a moment, and told nothing.
func (w *world) hangUp(n *pgcluster.Node) {
	w.t.Helper()
	var config net.ListenConfig
	network, address := "tcp", net.JoinHostPort(n.Host, strconv.Itoa(n.Port))
	if strings.HasPrefix(n.Host, "/") {
		network, address = "unix", filepath.Join(n.Host, fmt.Sprintf(".s.PGSQL.%d", n.Port))
		if err := os.Remove(address); err != nil && !errors.Is(err, os.ErrNotExist) {
			w.t.Fatal(err)
		}
	}
	l, err := config.Listen(w.t.Context(), network, address)
	if err != nil {
		w.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			time.AfterFunc(150*time.Millisecond, func() { _ = c.Close() })
		}
	}()
	w.t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
}
