package pool

import (
	"context"
	"errors"
	"sync"
	"time"

	"gopgpool/cluster"
	"gopgpool/loop"
)

// Key says for whom a connection can be reused: it was opened with exactly these values.
type Key struct {
	Node     cluster.NodeID
	Database string
	User     string
	Params   string // the startup parameters in canonical form, see ParamsKey
}

// Limits are what the configuration sets. They may change at a reload.
type Limits struct {
	PerNode        int           // server connections per node, leased and idle (num_init_children × max_pool)
	Cache          bool          // connection_cache
	IdleTime       time.Duration // an idle connection is closed after this (connection_life_time, child_life_time); 0 = never
	MaxUses        int           // a connection is closed after serving this many sessions (child_max_connections); 0 = any number
	WaitTimeout    time.Duration // how long Reserve waits (query_wait_timeout); 0 = for ever
	ConnectTimeout time.Duration // of one connection attempt; 0 = the system's own
}

// ErrWaitTimeout is what Reserve returns after Limits.WaitTimeout.
var ErrWaitTimeout = errors.New("pool: no server connection became free in time")

// Pool is the set of idle connections and the count of all. Its methods may be called from tasks of any loop.
type Pool struct {
	store *cluster.Store

	mu      sync.Mutex
	limits  Limits                       // guarded by mu
	idle    map[Key][]*Conn              // guarded by mu; the last one is the one used last
	total   map[cluster.NodeID]int       // guarded by mu: leased, idle and being opened
	waiters map[cluster.NodeID][]*waiter // guarded by mu, first come first served
	known   map[Key]*Remembered          // guarded by mu; Key.Node is not part of it
	held    map[string]int               // guarded by mu: databases whose connections are held back, see Hold
	closed  bool                         // guarded by mu
	changed chan struct{}
}

type waiter struct {
	task    *loop.Task
	granted bool // guarded by Pool.mu
}

// New makes an empty pool.
func New(store *cluster.Store, limits Limits) *Pool {
	return &Pool{
		store:   store,
		limits:  limits,
		idle:    make(map[Key][]*Conn),
		total:   make(map[cluster.NodeID]int),
		waiters: make(map[cluster.NodeID][]*waiter),
		known:   make(map[Key]*Remembered),
		held:    make(map[string]int),
		changed: make(chan struct{}, 1),
	}
}

// Configure replaces the limits; they hold from the next decision on.
func (p *Pool) Configure(l Limits) {
	p.mu.Lock()
	p.limits = l
	p.mu.Unlock()
	p.poke()
}

// Limits returns the limits in force.
func (p *Pool) Limits() Limits {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.limits
}

// Idle leases an idle connection of the key to the task, nil if there is none. A connection opened under an older epoch of
// its node is closed instead of being returned.
func (p *Pool) Idle(t *loop.Task, key Key) *Conn {
	for {
		c := p.pop(key, t.Loop())
		if c == nil {
			return nil
		}
		if !c.bringTo(t) {
			p.lost(c)
			continue
		}
		if p.stale(c) || c.Wire.Readable() {
			p.Discard(c)
			continue
		}
		c.Uses++
		return c
	}
}

// stale reports whether the node has been condemned, promoted or demoted since the connection was opened.
func (p *Pool) stale(c *Conn) bool {
	v := p.store.Current()
	return !v.Live(c.Key.Node) || v.Nodes[c.Key.Node].Epoch != c.Epoch
}

// pop takes the connection used last, on this loop if possible.
func (p *Pool) pop(key Key, here *loop.Loop) *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[key]
	if len(list) == 0 {
		return nil
	}
	at := len(list) - 1
	for i := at; i >= 0; i-- {
		if list[i].home == here {
			at = i
			break
		}
	}
	return p.takeLocked(key, at)
}

func (p *Pool) takeLocked(key Key, at int) *Conn {
	list := p.idle[key]
	c := list[at]
	list = append(list[:at], list[at+1:]...)
	if len(list) == 0 {
		delete(p.idle, key)
	} else {
		list = list[:len(list):cap(list)]
		p.idle[key] = list
	}
	c.idle = false
	return c
}

// Reserve counts one connection to a node before it is opened. At the limit an idle connection of another key makes room;
// without one the task waits its turn, until Limits.WaitTimeout (ErrWaitTimeout), or until it is stopped or finds, when it is woken or
// something watched happens, that cancelled reports true (loop.ErrStopped); what is watched must mean that. Each Reserve is paid back by
// Discard of the connection or by Unreserve.
func (p *Pool) Reserve(t *loop.Task, node cluster.NodeID, cancelled func() bool, watched ...loop.Interest) error {
	p.mu.Lock()
	if p.total[node] < p.limits.PerNode && len(p.waiters[node]) == 0 {
		p.total[node]++
		p.mu.Unlock()
		return nil
	}
	if victim := p.oldestLocked(node); victim != nil {
		p.mu.Unlock() // its place is ours: the count stays
		victim.closeFromAnywhere()
		return nil
	}
	w := &waiter{task: t}
	p.waiters[node] = append(p.waiters[node], w)
	limit := p.limits.WaitTimeout
	p.mu.Unlock()
	var until time.Time
	if limit > 0 {
		until = t.Now().Add(limit)
	}
	return p.await(t, node, w, until, cancelled, watched)
}

func (p *Pool) await(
	t *loop.Task, node cluster.NodeID, w *waiter, until time.Time, cancelled func() bool, watched []loop.Interest,
) error {
	for {
		cause := t.Wait(until, watched...)
		p.mu.Lock()
		granted := w.granted
		var err error
		switch {
		case granted:
		case cause == loop.Timeout:
			err = ErrWaitTimeout
		case cause == loop.Stopped || cancelled != nil && cancelled():
			err = loop.ErrStopped
		}
		if err != nil {
			p.removeWaiterLocked(node, w)
		}
		p.mu.Unlock()
		if granted || err != nil {
			return err
		}
	}
}

func (p *Pool) removeWaiterLocked(node cluster.NodeID, w *waiter) {
	list := p.waiters[node]
	for i := range list {
		if list[i] == w {
			p.waiters[node] = append(list[:i], list[i+1:]...)
			return
		}
	}
}

// oldestLocked takes the idle connection of the node that has idled longest.
func (p *Pool) oldestLocked(node cluster.NodeID) *Conn {
	var key Key
	best := -1
	var since time.Time
	for k, list := range p.idle {
		if k.Node == node && (best < 0 || list[0].IdleSince.Before(since)) {
			key, best, since = k, 0, list[0].IdleSince
		}
	}
	if best < 0 {
		return nil
	}
	return p.takeLocked(key, best)
}

// Unreserve gives a reserved place back.
func (p *Pool) Unreserve(node cluster.NodeID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.freeLocked(node)
}

// freeLocked hands a place to the longest waiting task, or counts one less.
func (p *Pool) freeLocked(node cluster.NodeID) {
	list := p.waiters[node]
	if len(list) == 0 || p.total[node] > p.limits.PerNode {
		p.total[node]--
		return
	}
	w := list[0]
	p.waiters[node] = list[1:]
	w.granted = true
	w.task.Loop().Post(w.task.Wake)
}

// Release ends a lease in order: the connection is clean (reset) and idle from now on, or closed where the limits say so or
// somebody waits for a place with another key. The connection must not be used afterwards.
func (p *Pool) Release(c *Conn) {
	p.mu.Lock()
	l := p.limits
	_, held := p.held[c.Key.Database]
	keep := l.Cache && !p.closed && !held && (l.MaxUses == 0 || c.Uses < l.MaxUses) &&
		len(p.waiters[c.Key.Node]) == 0 && p.total[c.Key.Node] <= l.PerNode && cacheable(c.Key.Database)
	p.mu.Unlock()
	if !keep || c.Wire.Readable() || p.stale(c) {
		p.Discard(c)
		return
	}
	c.IdleSince = c.home.Now()
	c.Wire.Park(func(*loop.Conn) { p.spoiled(c) })
	p.mu.Lock()
	c.idle = true
	p.idle[c.Key] = append(p.idle[c.Key], c)
	p.mu.Unlock()
}

// cacheable reports false for the databases whose connections would stand in the way of CREATE DATABASE.
func cacheable(database string) bool { return database != "template0" && database != "template1" }

// spoiled is called on the home loop when something happens to an idle connection: whatever it is, it is of no use any more.
func (p *Pool) spoiled(c *Conn) {
	p.mu.Lock()
	list := p.idle[c.Key]
	for i := range list {
		if list[i] == c {
			p.takeLocked(c.Key, i)
			p.freeLocked(c.Key.Node)
			p.mu.Unlock()
			c.Wire.Close()
			return
		}
	}
	p.mu.Unlock() // somebody has just taken it, and will see for himself
}

// Discard ends a lease by closing the connection.
func (p *Pool) Discard(c *Conn) {
	c.Wire.Close()
	p.lost(c)
}

func (p *Pool) lost(c *Conn) { p.Unreserve(c.Key.Node) }

// Count tells how many connections a node has, leased, idle and being opened.
func (p *Pool) Count(node cluster.NodeID) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total[node]
}

// CloseIdle closes the idle connections for which match holds, wherever they are. It does not wait for the sockets.
func (p *Pool) CloseIdle(match func(*Conn) bool) {
	var out []*Conn
	p.mu.Lock()
	for key, list := range p.idle {
		for i := len(list) - 1; i >= 0; i-- {
			if match(list[i]) {
				out = append(out, p.takeLocked(key, i))
				list = p.idle[key]
			}
		}
	}
	for _, c := range out {
		p.freeLocked(c.Key.Node)
	}
	p.mu.Unlock()
	for _, c := range out {
		c.closeFromAnywhere()
	}
}

// EachIdle calls f with every idle connection; f must not keep it or call the pool.
func (p *Pool) EachIdle(f func(*Conn)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, list := range p.idle {
		for _, c := range list {
			f(c)
		}
	}
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

func (p *Pool) sweep(now time.Time) {
	l := p.Limits()
	p.CloseIdle(func(c *Conn) bool {
		return !l.Cache || p.stale(c) || l.IdleTime > 0 && now.Sub(c.IdleSince) >= l.IdleTime
	})
}

func (p *Pool) poke() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// Hold closes the idle connections to a database and keeps new ones from idling until the returned function is called, so that
// DROP DATABASE, ALTER DATABASE ... RENAME and CREATE DATABASE ... TEMPLATE find nobody in their way.
func (p *Pool) Hold(database string) (release func()) {
	p.mu.Lock()
	p.held[database]++
	p.mu.Unlock()
	p.CloseIdle(func(c *Conn) bool { return c.Key.Database == database })
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.held[database]--; p.held[database] == 0 {
			delete(p.held, database)
		}
	}
}
