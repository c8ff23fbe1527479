package replication

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/internal/pgcluster"
	"gopgpool/logging"
	"gopgpool/replication/conninfo"
)

// world is a cluster of real servers with a keeper.
type world struct {
	t      *testing.T
	c      *pgcluster.Cluster
	store  *cluster.Store
	keeper *Keeper

	mu       sync.Mutex
	lines    strings.Builder // guarded by mu: the log
	settings Settings        // guarded by mu
	attached []cluster.NodeID
	password string // guarded by mu: that of the account
	hosted   bool   // guarded by mu: somebody is at the hosts
	retired  bool   // guarded by mu: another pgpool acts
	did      []string
}

func (w *world) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lines.Write(b)
}

func (w *world) log() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lines.String()
}

// newWorld starts servers and a keeper that does not run yet.
func newWorld(t *testing.T, opts pgcluster.Options) *world {
	t.Helper()
	w := &world{t: t, c: pgcluster.StartTest(t, opts), hosted: true}
	w.settings = Settings{Active: true, Account: Account{User: "postgres", Database: "postgres"}, Lease: time.Second}
	w.store = cluster.NewStore(w.view(0))
	w.keeper = New(Parts{
		Store: w.store, Log: logging.To(w, logging.Warning),
		Settings: func() Settings { w.mu.Lock(); defer w.mu.Unlock(); return w.settings },
		Office:   func() (cluster.Term, bool) { w.mu.Lock(); defer w.mu.Unlock(); return 7, !w.retired },
		Host:     w.host,
		Attach:   w.attach,
		Detach:   func(cluster.NodeID, *cluster.View) {},
		Password: func(_, param string) (string, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.password + param, nil
		},
	})
	t.Cleanup(func() {
		w.keeper.links.drop(true)
		if t.Failed() {
			t.Log(w.log())
		}
	})
	return w
}

// view has one primary; all others are up but for those that are down.
func (w *world) view(primary cluster.NodeID, down ...cluster.NodeID) *cluster.View {
	v := &cluster.View{Mode: cluster.ModeStreaming, Primary: primary}
	for _, n := range w.c.Nodes {
		node := cluster.Node{ID: cluster.NodeID(n.ID), Host: n.Host, Port: n.Port, Status: cluster.StatusUp, Role: cluster.RoleStandby}
		if slices.Contains(down, node.ID) {
			node.Status = cluster.StatusDown
		}
		v.Nodes = append(v.Nodes, node)
	}
	if primary != cluster.NoNode {
		v.Nodes[primary].Role = cluster.RolePrimary
		v.Nodes[primary].Epoch = 1
	}
	return v
}

func (w *world) publish(v *cluster.View) {
	v.Generation = w.store.Current().Generation + 1
	w.store.Publish(v)
}

// attach takes a node in, as failover would.
func (w *world) attach(id cluster.NodeID, seen *cluster.View) {
	w.mu.Lock()
	w.attached = append(w.attached, id)
	w.mu.Unlock()
	v := *seen
	v.Nodes = slices.Clone(seen.Nodes)
	v.Nodes[id].Status = cluster.StatusWaiting
	go w.publish(&v)
}

// run starts the keeper.
func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.keeper.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
}

// await waits for a condition that SQL, or anything else, tells.
func (w *world) await(what string, cond func() (bool, error)) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Minute) // servers are copied and started meanwhile
	defer cancel()
	if err := pgcluster.Poll(ctx, what, cond); err != nil {
		w.t.Fatal(err)
	}
}

// finds waits for a finding.
func (w *world) finds(id cluster.NodeID, k Kind) {
	w.t.Helper()
	w.await(fmt.Sprintf("node %d %v", id, k), func() (bool, error) {
		return slices.ContainsFunc(w.keeper.Findings(), func(f Finding) bool { return f.Node == id && f.Kind == k }), nil
	})
}

// logged waits for a line.
func (w *world) logged(text string) {
	w.t.Helper()
	w.await("the log says "+text, func() (bool, error) { return strings.Contains(w.log(), text), nil })
}

func (w *world) exec(id int, sql string) {
	w.t.Helper()
	if err := w.c.Nodes[id].Exec(w.t.Context(), sql); err != nil {
		w.t.Fatalf("node %d: %s: %v", id, sql, err)
	}
}

func (w *world) value(id int, sql string) string {
	w.t.Helper()
	s, err := w.c.Nodes[id].Value(w.t.Context(), sql)
	if err != nil {
		w.t.Fatalf("node %d: %s: %v", id, sql, err)
	}
	return s
}

// promote does what failover does: it elects nobody, and publishes the new primary.
func (w *world) promote(id cluster.NodeID, down ...cluster.NodeID) cluster.Bounds {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	b, err := w.keeper.Promote(ctx, w.store.Current(), id, 7, w.store.Gauges().Primary)
	if err != nil {
		w.t.Fatal(err)
	}
	w.publish(w.view(id, down...))
	return b
}

func (w *world) survey(ids ...cluster.NodeID) []cluster.ServerState {
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Second)
	defer cancel()
	return w.keeper.Survey(ctx, w.store.Current(), ids)
}

// answered surveys servers that all can answer: one that has to wait for a processor longer than a survey waits for it is asked again.
func (w *world) answered(ids ...cluster.NodeID) (all []cluster.ServerState) {
	w.t.Helper()
	w.await("all servers answer", func() (bool, error) {
		all = w.survey(ids...)
		return !slices.ContainsFunc(all, func(s cluster.ServerState) bool { return errors.Is(s.Err, errSilent) }), nil
	})
	return all
}

// hand is somebody at a server's host: it does what an agent would by the test's own means.
type hand struct {
	w *world
	n *pgcluster.Node
}

func (w *world) host(n cluster.Node) (Host, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.hosted {
		return nil, cluster.ErrNeedsAgent
	}
	return hand{w, w.c.Nodes[n.ID]}, nil
}

func (h hand) note(what string) {
	h.w.mu.Lock()
	defer h.w.mu.Unlock()
	h.w.did = append(h.w.did, fmt.Sprintf("%s %d", what, h.n.ID))
}

func (h hand) Control(ctx context.Context) (cluster.Control, error) {
	c := cluster.Control{Running: h.n.Running(), Standby: h.n.IsStandby(), Since: time.Now()}
	out, err := h.w.c.Command(ctx, "pg_controldata", h.n.DataDir).Output()
	if err != nil {
		return c, err
	}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch name {
		case "Database cluster state":
			c.State = value
		case "Database system identifier":
			_, err = fmt.Sscan(value, &c.SystemID)
		case "Latest checkpoint's TimeLineID":
			_, err = fmt.Sscan(value, &c.Timeline)
		case "Latest checkpoint location":
			c.Checkpoint, err = cluster.ParseLSN(value)
			c.Checkpoint += 120 // the record's length
		}
		if err != nil {
			return c, err
		}
	}
	return c, nil
}

func (h hand) Start(ctx context.Context, _ cluster.Term) error {
	h.note("start")
	if h.n.Running() {
		return nil
	}
	return h.n.Start(ctx)
}

func (h hand) Stop(ctx context.Context, _ cluster.Term, m cluster.StopMode) (cluster.LSN, error) {
	h.note("stop")
	if m == cluster.StopFast {
		return 0, h.n.Stop(ctx, pgcluster.Fast)
	}
	if h.n.Running() {
		return 0, h.n.Kill(ctx)
	}
	return 0, h.n.Sweep(ctx)
}

func (h hand) Promote(ctx context.Context, _ cluster.Term) error {
	h.note("promote")
	return h.n.Promote(ctx)
}

func (h hand) Standby(ctx context.Context, _ cluster.Term, s cluster.Source) error {
	h.note("standby")
	return h.settings(s)
}

// settings writes what makes the stopped server a standby.
func (h hand) settings(s cluster.Source) error {
	var info conninfo.Info
	if err := info.Follow(s); err != nil {
		return err
	}
	text := fmt.Sprintf("primary_conninfo = '%s'\nprimary_slot_name = '%s'\n", info.String(), s.SlotName)
	auto := filepath.Join(h.n.DataDir, "postgresql.auto.conf")
	return errors.Join(os.WriteFile(auto, []byte(text), 0o600), h.signal())
}

func (h hand) signal() error {
	info, err := os.Stat(h.n.DataDir)
	if err != nil {
		return err
	}
	name := filepath.Join(h.n.DataDir, "standby.signal")
	return errors.Join(os.WriteFile(name, nil, 0o600), os.Chown(name, owner(info), -1))
}

func (h hand) Rewind(ctx context.Context, _ cluster.Term, s cluster.Source) error {
	h.note("rewind")
	if err := h.n.Rewind(ctx, h.source(s)); err != nil {
		return err
	}
	return errors.Join(h.n.Stop(ctx, pgcluster.Fast), h.settings(s))
}

func (h hand) BaseBackup(ctx context.Context, _ cluster.Term, s cluster.Source) error {
	h.note("base backup")
	if err := h.n.Rebuild(ctx, h.source(s)); err != nil {
		return err
	}
	return errors.Join(h.n.Stop(ctx, pgcluster.Fast), h.settings(s))
}

func (h hand) source(s cluster.Source) *pgcluster.Node {
	i := slices.IndexFunc(h.w.c.Nodes, func(n *pgcluster.Node) bool { return n.Port == s.Port })
	return h.w.c.Nodes[i]
}

func (h hand) Renew(context.Context, cluster.Term) error { return nil }
