package main

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gopgpool/agent"
	"gopgpool/cluster"
	"gopgpool/internal/pgcluster"
	"gopgpool/logging"
	"gopgpool/replication"
)

// logBuffer is a log that several write.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestOldPrimaryIsBackWithoutAHand kills a primary, promotes its standby, and has this process, which is on the host of both, make a
// standby of it again: by a rewind, and by a base backup where it cannot be rewound.
func TestOldPrimaryIsBackWithoutAHand(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, hints, want string }{
		{"rewind", "on", "(rewind), it is to stream from node 1"},
		{"base backup", "off", "(base backup), it is to stream from node 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c := pgcluster.StartTest(t, pgcluster.Options{Nodes: 2, Config: map[string]string{"wal_log_hints": tc.hints}})
			log := &logBuffer{}
			store := cluster.NewStore(twoNodes(c, 0))
			k := keeperOf(t, c, store, log)
			if err := c.Nodes[0].Exec(t.Context(), "CREATE TABLE t ()"); err != nil {
				t.Fatal(err)
			}
			if err := c.WaitReplayed(t.Context(), c.Nodes[0]); err != nil {
				t.Fatal(err)
			}
			if err := c.Nodes[0].Kill(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := k.Promote(t.Context(), store.Current(), 1, 1, cluster.PrimaryGauge{}); err != nil {
				t.Fatal(err)
			}
			store.Publish(twoNodes(c, 1, 0))
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			err := pgcluster.Poll(ctx, "node 0 is up", func() (bool, error) { return store.Current().Live(0), nil })
			if err != nil {
				t.Fatalf("%v\n%s", err, log)
			}
			if !strings.Contains(log.String(), tc.want) {
				t.Errorf("no %q in\n%s", tc.want, log)
			}
			if err := c.Nodes[0].WaitStreaming(ctx, c.Nodes[1]); err != nil {
				t.Error(err)
			}
		})
	}
}

// twoNodes is a View of a cluster with a primary; those that are down are so.
func twoNodes(c *pgcluster.Cluster, primary cluster.NodeID, down ...cluster.NodeID) *cluster.View {
	v := &cluster.View{Mode: cluster.ModeStreaming, Primary: primary}
	for i, n := range c.Nodes {
		id := cluster.NodeID(i)
		node := cluster.Node{ID: id, Host: n.Host, Port: n.Port, DataDirectory: n.DataDir, ApplicationName: n.Name, Status: cluster.StatusUp}
		if slices.Contains(down, id) {
			node.Status = cluster.StatusDown
		}
		v.Nodes = append(v.Nodes, node)
	}
	return v
}

// keeperOf runs a keeper that acts on the servers of c itself, until the test ends.
func keeperOf(t *testing.T, c *pgcluster.Cluster, store *cluster.Store, log *logBuffer) *replication.Keeper {
	logger := logging.To(log, logging.Warning)
	locals := map[string]*agent.Local{}
	for _, n := range c.Nodes {
		locals[n.DataDir] = &agent.Local{DataDirectory: n.DataDir, BinDirectory: c.BinDir, Log: logger}
	}
	k := replication.New(replication.Parts{
		Store: store, Log: logger,
		Settings: func() replication.Settings {
			return replication.Settings{Active: true, Account: replication.Account{User: "postgres", Database: "postgres"}}
		},
		Office:   func() (cluster.Term, bool) { return 1, true },
		Host:     func(n cluster.Node) (replication.Host, error) { return locals[n.DataDirectory], nil },
		Password: func(string, string) (string, error) { return "", nil },
		Attach: func(id cluster.NodeID, v *cluster.View) {
			next := *v
			next.Nodes = slices.Clone(v.Nodes)
			next.Nodes[id].Status = cluster.StatusWaiting
			store.Publish(&next)
		},
		Detach: func(id cluster.NodeID, _ *cluster.View) { t.Errorf("node %d is taken out", id) },
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return k
}
