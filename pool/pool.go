package pool

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"gopgpool/cluster"
	"gopgpool/tlsconf"
)

// Key says for whom a connection can be reused: it was opened with exactly these values.
type Key struct {
	Node     cluster.NodeID
	Database string
	User     string
	Params   string // the startup parameters in canonical form, see ParamsKey
}

// Limits are what the configuration sets for all pools, and for connections leased for a session. They may change at a reload.
type Limits struct {
	PerNode        int           // server connections per node, leased and idle (num_init_children × max_pool)
	Cache          bool          // connection_cache
	IdleTime       time.Duration // an idle connection is closed after this (connection_life_time, child_life_time); 0 = never
	MaxUses        int           // a connection is closed after serving this many sessions (child_max_connections); 0 = any number
	WaitTimeout    time.Duration // how long Reserve waits (query_wait_timeout); 0 = for ever
	ConnectTimeout time.Duration // of one connection attempt; 0 = the system's own
}

// Pool is the set of idle connections and the count of all. Its methods may be called from tasks of any loop.
type Pool struct {
	store *cluster.Store
	dice  func() float64                              // in [0,1); safe for concurrent use
	tls   func(cluster.NodeID, string) tlsconf.Server // nil: plain text

	mu       sync.Mutex
	limits   Limits                    // guarded by mu
	places   map[Key]*Place            // guarded by mu, as all of a Place is
	nodes    map[cluster.NodeID]*space // guarded by mu
	known    map[Key]*Remembered       // guarded by mu; Key.Node is not part of it
	held     map[string]int            // guarded by mu: databases whose connections are held back, see Hold
	paused   map[string]bool           // guarded by mu: databases paused, "" = all
	past     map[cluster.NodeID]counts // guarded by mu: of places that were forgotten
	closed   bool                      // guarded by mu
	claims   []claim                   // guarded by mu: of settleLocked
	claimers []*Place                  // guarded by mu: whose claims
	changed  chan struct{}
}

// New makes an empty pool.
func New(store *cluster.Store, limits Limits) *Pool {
	return &Pool{
		store:   store,
		dice:    rand.Float64,
		limits:  limits,
		places:  make(map[Key]*Place),
		nodes:   make(map[cluster.NodeID]*space),
		known:   make(map[Key]*Remembered),
		held:    make(map[string]int),
		paused:  make(map[string]bool),
		past:    make(map[cluster.NodeID]counts),
		changed: make(chan struct{}, 1),
	}
}

// Configure replaces the limits; they hold from the next decision on.
func (p *Pool) Configure(l Limits) {
	p.mu.Lock()
	p.limits = l
	var out outcome
	p.settleAllLocked(time.Now(), &out)
	p.mu.Unlock()
	out.carryOut(nil)
	p.poke()
}

// Limits returns the limits in force.
func (p *Pool) Limits() Limits {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.limits
}

// stale reports whether the node has been condemned, promoted or demoted since the connection was opened.
func (p *Pool) stale(c *Conn) bool {
	v := p.store.Current()
	return !v.Live(c.Key.Node) || v.Nodes[c.Key.Node].Epoch != c.Epoch
}

// Run closes idle connections whose time is over or whose node has gone, until ctx ends, then all of them.
func (p *Pool) Run(ctx context.Context) error {
	unwatch := p.store.Watch(func(*cluster.View) { p.poke() })
	defer unwatch()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			p.mu.Lock()
			p.closed = true
			p.mu.Unlock()
			p.CloseIdle(func(*Conn) bool { return true })
			return nil
		case <-tick.C:
		case <-p.changed:
		}
		p.sweep(time.Now())
	}
}

func (p *Pool) poke() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}
