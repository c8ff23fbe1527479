package recovery

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/logging"
)

// world is what a Recoverer lives in: the View, the clients, and what attaches nodes. The servers are real.
type world struct {
	store *cluster.Store
	r     *Recoverer
	out   *logging.Output
	lines *bytes.Buffer // the log; read it after out.Flush, while nothing runs

	mu       sync.Mutex // guards what follows
	settings Settings
	attached []cluster.NodeID
	resumed  int
	// quiesce is what Quiesce does; nil: nobody is connected.
	quiesce func(ctx context.Context) error
}

// newWorld makes one of the given nodes, of which the first is the primary.
func newWorld(t *testing.T, all ...cluster.Node) *world {
	t.Helper()
	w := &world{
		lines:    &bytes.Buffer{},
		store:    cluster.NewStore(&cluster.View{Mode: cluster.ModeStreaming, Nodes: all}),
		settings: settings(conf.ModeStreamingReplication, "recovery_1st_stage", "recovery_2nd_stage"),
	}
	w.settings.RecoveryTimeout = 20 * time.Second
	cfg := logging.Default()
	cfg.Writer, cfg.LinePrefix = w.lines, ""
	out, err := logging.New(cfg)
	check(t, err)
	w.out = out
	w.r = New(Parts{
		Store: w.store, Clients: w, Attacher: w, Log: out.Logger(),
		Password: func(string, string) (string, error) { return "", nil },
		Settings: func() Settings {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.settings
		},
	})
	w.r.pause = 20 * time.Millisecond
	return w
}

func (w *world) set(change func(*Settings)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.settings)
}

// change publishes another View.
func (w *world) change(edit func(*cluster.View)) {
	v := *w.store.Current()
	v.Nodes = slices.Clone(v.Nodes)
	edit(&v)
	w.store.Publish(&v)
}

func (w *world) Attach(_ context.Context, id cluster.NodeID) error {
	if now := w.r.Recovering(); now != id { // who repairs servers must leave it alone
		return errors.New("another node is told to be recovered")
	}
	w.change(func(v *cluster.View) { v.Nodes[id].Status = cluster.StatusWaiting })
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attached = append(w.attached, id)
	return nil
}

func (w *world) Quiesce(ctx context.Context) (resume func(), err error) {
	w.mu.Lock()
	f := w.quiesce
	w.mu.Unlock()
	if f != nil {
		err = f(ctx)
	}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.resumed++
	}, err
}

// took are the nodes attached since it was asked last.
func (w *world) took() []cluster.NodeID {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := w.attached
	w.attached = nil
	return ids
}

// patience bounds what starts servers or copies them, however slow the disk is.
const patience = 3 * time.Minute

// recovers recovers a node that must be recovered and attached.
func (w *world) recovers(t *testing.T, id cluster.NodeID) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.r.Recover(ctx, id); err != nil {
		t.Fatal(err)
	}
	if got := w.took(); !slices.Equal(got, []cluster.NodeID{id}) {
		t.Errorf("nodes %v were attached, want %d", got, id)
	}
}

// fails tries to recover a node, which must fail without attaching anything.
func (w *world) fails(ctx context.Context, t *testing.T, id cluster.NodeID) *Error {
	t.Helper()
	err := w.r.Recover(ctx, id)
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("recovering node %d: %v, want an Error", id, err)
	}
	if got := w.took(); got != nil {
		t.Errorf("nodes %v were attached by a recovery that failed", got)
	}
	return e
}
