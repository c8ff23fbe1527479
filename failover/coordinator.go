package failover

import (
	"bytes"
	"context"
	"sync"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/logging"
)

// Seeker asks the servers for their roles; health fits.
type Seeker interface {
	// Seek asks all live nodes of v at once, each for a bounded time, and returns when all have answered or ctx ends.
	Seek(ctx context.Context, v *cluster.View) RolesSeen
}

// Fencer makes sure that a View has arrived everywhere; proxy fits.
type Fencer interface {
	// Fence returns when nobody can send anything on a connection below the Fenced epoch of its node in v or a later View.
	Fence(ctx context.Context, v *cluster.View) error
}

// Confirmer has a node checked at once, outside its period; health fits. What is found comes as a request.
type Confirmer interface{ Confirm(cluster.NodeID) }

// Policy is what the coordinator obeys.
type Policy struct {
	conf.Failover
	// Checked, index = NodeID: the node has a health check (health_check_period > 0).
	Checked []bool
}

// Parts are what a Coordinator is built from. All are required.
type Parts struct {
	Store      *cluster.Store
	StatusFile string
	Policy     func() Policy // in force now
	Seeker     Seeker
	Fencer     Fencer
	Confirmer  Confirmer
	Log        logging.Logger
}

// Coordinator takes requests one after another, decides, and publishes what follows. It alone writes the View of its Store.
type Coordinator struct {
	parts Parts
	store *cluster.Store
	path  string // of the status file
	log   logging.Logger
	now   func() time.Time

	mu      sync.Mutex
	inbox   []Request                     // guarded by mu
	pending [cluster.MaxNodes / 64]uint64 // guarded by mu: nodes with a NodeUsed in the inbox

	wake chan struct{} // holds at most one token: the inbox is not empty

	// Owned by Run.
	memory Memory
	saved  []byte // what the status file holds
	told   string // the complaints of the last round of roles, so that the next one does not repeat them
}

// NewCoordinator makes the coordinator of a store, whose first View came from First.
func NewCoordinator(p Parts) *Coordinator {
	return &Coordinator{parts: p, store: p.Store, path: p.StatusFile, log: p.Log, now: time.Now, wake: make(chan struct{}, 1)}
}

// Report puts a request into the inbox and returns at once. It may be called from any goroutine, before Run too.
func (c *Coordinator) Report(r Request) {
	c.mu.Lock()
	if u, ok := r.(NodeUsed); ok && !c.firstUseLocked(u.Node) {
		c.mu.Unlock()
		return
	}
	c.inbox = append(c.inbox, r)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// firstUseLocked reports whether the node has no NodeUsed waiting yet, and remembers that it has one now.
func (c *Coordinator) firstUseLocked(id cluster.NodeID) bool {
	if id < 0 || id >= cluster.MaxNodes {
		return false
	}
	word, bit := &c.pending[id/64], uint64(1)<<(id%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// Used tells that a session uses a node. It costs one load unless the node is waiting.
func (c *Coordinator) Used(id cluster.NodeID) {
	v := c.store.Current()
	if id >= 0 && int(id) < len(v.Nodes) && v.Nodes[id].Status == cluster.StatusWaiting {
		c.Report(NodeUsed{Node: id})
	}
}

// settle asks to be told when the requests before it have been carried out.
type settle struct{ done chan struct{} }

func (settle) request() {}

// Settle waits until everything reported before has been decided and published. Run must be running.
func (c *Coordinator) Settle(ctx context.Context) error {
	s := settle{done: make(chan struct{})}
	c.Report(s)
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Submit asks for what an operator wants and tells at once whether it is refused (*Refusal). It returns when the request is queued;
// Settle waits for its end.
func (c *Coordinator) Submit(r Request) error {
	c.Report(r)
	return nil
}

// Run decides about requests until ctx ends. It writes the status file when it begins, after each change, and when it ends.
func (c *Coordinator) Run(ctx context.Context) error {
	c.save(c.store.Current(), true)
	for {
		for _, r := range c.take() {
			c.carryOut(r)
		}
		select {
		case <-ctx.Done():
			c.save(c.store.Current(), true)
			return nil
		case <-c.wake:
		}
	}
}

// take empties the inbox.
func (c *Coordinator) take() []Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.inbox
	c.inbox = nil
	clear(c.pending[:])
	return all
}

func (c *Coordinator) carryOut(r Request) {
	if s, ok := r.(settle); ok {
		close(s.done)
		return
	}
	_, reload := r.(BackendsReloaded)
	_, roles := r.(RolesSeen)
	plan := Decide(c.store.Current(), c.memory, r, c.now())
	c.memory = plan.Memory
	if plan.View != nil {
		if plan.Save {
			c.save(plan.View, reload)
		}
		c.store.Publish(plan.View)
	}
	if roles && !c.news(plan) {
		return
	}
	for _, r := range plan.Reasons {
		c.log.Log(r.Event(c.store.Current().Generation))
	}
}

// news reports whether a round of roles found something else than the one before.
func (c *Coordinator) news(plan Plan) bool {
	text := ""
	for _, r := range plan.Reasons {
		text += r.String()
	}
	repeated := plan.View == nil && text == c.told
	c.told = text
	return !repeated
}

// save writes the status file if its content changed, or always. Where all nodes are down the last useful content stays.
func (c *Coordinator) save(v *cluster.View, always bool) {
	data := FormatStatus(v)
	if !always && bytes.Equal(data, c.saved) {
		return
	}
	if v.Main() == cluster.NoNode {
		c.log.Log(Reason{Kind: StatusKept, Node: cluster.NoNode}.Event(v.Generation))
		return
	}
	if err := writeStatus(c.path, data); err != nil {
		c.log.Log(Reason{Kind: StatusNotSaved, Node: cluster.NoNode, Old: c.path, New: err.Error()}.Event(v.Generation))
		return
	}
	c.saved = data
}
