package web

import (
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
	"gopgpool/pool"
	"gopgpool/proxy/meter"
)

// world stands for the rest of the daemon.
type world struct {
	store     *cluster.Store
	stalled   atomic.Bool // a loop does not answer
	panics    atomic.Bool // the pool's figures meet a bug
	measures  atomic.Int32
	databases int
	watchdog  *Watchdog
	held      []time.Duration
	log       syncBuffer
}

// need1 is what is left undone at node 1.
var need1 = cluster.Need{
	Found: "it runs as a primary and wrote too much", ToDo: "rewind", Reason: "it is on another host and has no backend_agent", Since: start,
}

func newWorld() *world {
	v := view(3, 0, cluster.StatusUp, cluster.StatusUp, nil)
	w := &world{store: cluster.NewStore(v), databases: 2, held: []time.Duration{0, time.Millisecond}}
	w.store.PublishGauges(&cluster.Gauges{Nodes: []cluster.NodeGauge{
		{Probed: true, Reachable: true, Measured: time.Now()},
		{
			Probed: true, Reachable: true, Measured: time.Now(), Lag: 4096, LagTime: time.Second, HasLagTime: true, ReplicationState: "streaming",
			HealthCheck: cluster.HealthStats{Total: 5, Success: 3, Fail: 1, Skip: 1, Retry: 2, TotalDuration: time.Second, LastSuccess: start},
		},
	}})
	w.store.PublishNeeds(cluster.Needs{1: need1})
	w.watchdog = &Watchdog{State: "LEADER", Quorum: "QUORUM EXIST", Leads: true, HasVIP: true, HoldsVIP: true, LeaseLeft: 8 * time.Second, Alive: 2, Members: 3, Required: 2}
	return w
}

func (w *world) parts(listeners ...net.Listener) Parts {
	return Parts{
		Listeners: listeners, Store: w.store, Traffic: w, Pool: w, Started: func() bool { return true },
		Held: func() []time.Duration { return w.held }, Fresh: func() time.Duration { return time.Minute },
		Watchdog: func() *Watchdog { return w.watchdog }, Version: "1.2", Log: logging.To(&w.log, logging.Debug1),
	}
}

func (w *world) Accepting() bool { return true }

func (w *world) Held() (sessions int, bytes int64) { return 1, 99 }

// Measure has counted one of everything.
func (w *world) Measure(ctx context.Context) *meter.Reading {
	w.measures.Add(1)
	r := &meter.Reading{
		Loops:   []meter.Turning{{ID: 0, Answered: true, Tasks: 4}, {ID: 1, Answered: !w.stalled.Load()}},
		Reasons: make([]string, meter.Codes), Pins: make([]string, meter.Bits),
		Limits: meter.Limits{Clients: 3, MaxClients: 32, Shared: 1, MaxShared: 100, HeldSessions: 1, HeldBytes: 99},
	}
	if w.stalled.Load() {
		<-ctx.Done()
	}
	r.Reasons[3], r.Pins[0] = "dice", "temporary objects"
	r.Total.Answered(1, meter.Read, 3*time.Millisecond)
	r.Total.Answered(1, meter.Read, time.Hour)
	r.Total.Routed(1, 3)
	r.Total.Routed(1, 0)
	r.Total.ServerError(0, "23505")
	r.Total.Error("08006")
	r.Total.Pinned(1)
	r.Total.Holds.Waited.Observe(time.Second)
	for i := range w.databases {
		name := strings.Repeat("d", i+1)
		r.Sessions = append(r.Sessions, meter.Sessions{Database: name, State: "idle", N: 1000 - i})
	}
	r.Sessions = append(r.Sessions, meter.Sessions{State: "login", N: 1}, meter.Sessions{Database: "bad\xff", State: "idle", N: 5000},
		meter.Sessions{Database: "bad\xfe", State: "idle", N: 1})
	return r
}

func (w *world) Stats() []pool.PoolStats {
	if w.panics.Load() {
		panic("a bug")
	}
	return []pool.PoolStats{
		{Key: pool.Key{Node: 0, Database: "d", User: "u"}, Leased: 2, Idle: 1, Waiting: 3, Oldest: time.Second},
		{Key: pool.Key{Node: 0, Database: "d", User: "v"}, Leased: 5, Opening: 1, Oldest: 2 * time.Second},
		{Key: pool.Key{Node: 1, Database: "d", User: "v"}, Idle: 7},
	}
}

func (w *world) Totals() map[cluster.NodeID]pool.Totals {
	return map[cluster.NodeID]pool.Totals{0: {Leases: 9, Waits: 2, WaitTime: time.Second, Opened: 4, Closed: 1}}
}

// syncBuffer gathers log lines.
type syncBuffer struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// served is a server that answers on a loopback port for one test.
type served struct {
	*Server
	*world
	address string
}

// serve starts it; most bounds the connections. At the end it must come to rest.
func serve(t *testing.T, most int) *served {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld()
	s, err := New(w.parts(l))
	if err != nil {
		t.Fatal(err)
	}
	s.bound.most = most
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		run.Wait()
		if n := s.count(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
	return &served{s, w, l.Addr().String()}
}

func (s *Server) count() int {
	s.bound.mu.Lock()
	defer s.bound.mu.Unlock()
	return len(s.bound.open)
}
