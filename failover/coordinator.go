package failover

import (
	"bytes"
	"context"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
)

// Seeker asks the servers for their roles; health fits.
type Seeker interface {
	// Seek asks all live nodes of v at once, each for a bounded time, and returns when all have answered or ctx ends; it may return
	// sooner when one says that it is the primary.
	Seek(ctx context.Context, v *cluster.View) RolesSeen
}

// Fencer makes sure that a View has arrived everywhere; proxy fits.
type Fencer interface {
	// Fence returns when nobody can send anything on a connection below the Fenced epoch of its node in v or a later View.
	Fence(ctx context.Context, v *cluster.View) error
}

// Confirmer has a node checked at once, outside its period, also where health checking is off; health fits. It must not block. What
// is found comes as a request.
type Confirmer interface{ Confirm(cluster.NodeID) }

// Parts are what a Coordinator is built from. All are required but Consensus.
type Parts struct {
	Store      *cluster.Store
	StatusFile string
	// Discard: the start is to know nothing of what was before (pgpool -D), but for who must not be promoted.
	Discard   bool
	Policy    func() Policy // in force now
	Seeker    Seeker
	Fencer    Fencer
	Confirmer Confirmer
	Log       logging.Logger
	// Actor does what auto_failover needs on the servers, Drainer waits for sessions; nil: there is no auto_failover.
	Actor   Actor
	Drainer Drainer
	// Consensus is what this node and others agree by; nil: it decides for good.
	Consensus Consensus
}

// Coordinator takes requests, decides, publishes what follows and carries it out. It alone writes the View of its Store.
type Coordinator struct {
	parts Parts
	store *cluster.Store
	path  string // of the status file
	log   logging.Logger
	now   func() time.Time
	inbox inbox
	shell *shell
	run   func(ctx context.Context, command string) error // the shell's

	termNow atomic.Uint64 // of a pgpool that decides alone; stored by Run

	// Owned by Run.
	memory   Memory
	waiting  []Request // in their order; those at its head wait for the end of the operation
	todo     []step    // what is left to be done of plans, in its order
	busy     bool      // a step is under way on a goroutine of its own
	ended    chan func()
	current  commandRun
	search   search
	acting   acting
	keepsake keepsake
	following
	saved   []byte // what the status file holds
	unsaved bool   // the View may say something else
	forced  bool   // write it even if not
	told    string // the complaints of the last round of roles, so that the next one does not repeat them
	peers   agreement
}

// NewCoordinator makes the coordinator of a store, whose first View came from First.
func NewCoordinator(p Parts) *Coordinator {
	c := &Coordinator{
		parts: p, store: p.Store, path: p.StatusFile, log: p.Log, now: time.Now,
		inbox: inbox{wake: make(chan struct{}, 1)}, ended: make(chan func(), 1),
	}
	c.peers.init(p.Store.Current())
	c.shell = newShell(func() io.WriteCloser { return p.Log.LineWriter() })
	c.run = c.shell.run
	return c
}

// Report puts a request into the inbox and returns at once. It may be called from any goroutine, before Run too.
func (c *Coordinator) Report(r Request) { c.inbox.put(r) }

// Used tells that a session uses a node. It costs one load unless the node is waiting.
func (c *Coordinator) Used(id cluster.NodeID) {
	v := c.store.Current()
	if id >= 0 && int(id) < len(v.Nodes) && v.Nodes[id].Status == cluster.StatusWaiting {
		c.Report(NodeUsed{Node: id})
	}
}

// InProgress is the operation being carried out. A run of follow_primary_command is none.
func (c *Coordinator) InProgress() cluster.Operation { return c.view().Op }

// view is what decisions are about: the View in force, or what the pgpool nodes share of it.
func (c *Coordinator) view() *cluster.View {
	if c.parts.Consensus == nil {
		return c.store.Current()
	}
	return c.peers.basis.Load()
}

func (c *Coordinator) policy() Policy {
	p := c.parts.Policy()
	p.PID = os.Getpid()
	if c.parts.Actor == nil || c.parts.Consensus != nil && c.peers.standing.Load().Standing == StandingAlone {
		p.AutoFailover = false // nobody is promoted by a minority
	}
	return p
}

// Run decides about requests and carries plans out until ctx ends: then commands are terminated, and what is left is given up. It
// writes the status file when it begins, after each change, and when it ends, if it is not there any more as it was written.
func (c *Coordinator) Run(ctx context.Context) error {
	c.save(c.view(), true)
	c.memory = FirstSearch(c.view(), c.policy().SearchPrimaryNodeTimeout, c.now())
	var tasks sync.WaitGroup
	c.search.timer = time.NewTimer(time.Hour)
	defer c.search.timer.Stop()
	c.recallKeepsake()
	for ctx.Err() == nil {
		c.decideAll()
		c.proceed(ctx, &tasks)
		c.saveChanges()
		c.exchange(ctx, &tasks)
		select {
		case <-ctx.Done():
		case <-c.inbox.wake:
		case <-c.search.timer.C:
		case apply := <-c.ended:
			c.busy = false
			apply()
		}
	}
	tasks.Wait()
	c.peers.close()
	c.shell.close()
	there, err := os.ReadFile(c.path)
	c.save(c.view(), err != nil || !bytes.Equal(there, c.saved)) // a stop does not wait for a slow disk without need
	return nil
}

// decideAll decides about all requests that need not wait for the end of the operation.
func (c *Coordinator) decideAll() {
	c.waiting = append(c.waiting, c.inbox.take()...)
	c.dropOldRoles()
	for {
		i := c.nextRequest()
		if i < 0 {
			c.inbox.hold(len(c.waiting))
			return
		}
		r := c.waiting[i]
		c.waiting = append(c.waiting[:i:i], c.waiting[i+1:]...)
		c.dispatch(r)
	}
}

// nextRequest is the first request that may be decided now, -1 for none.
func (c *Coordinator) nextRequest() int {
	for i, r := range c.waiting {
		if !c.due(r) {
			continue
		}
		if c.memory.Open.Op == cluster.OpNone || joins(r, c.waiting[:i], c.searching()) {
			return i
		}
	}
	return -1
}

// joins reports whether a request is decided while an operation is under way, before is what waits for the operation's end. The
// failure of further nodes always is. While a primary is searched for, an administrator may bring one: nothing that waits stands in
// his way but what was asked for about the same node, because the search may have no other end.
func joins(r Request, before []Request, searching bool) bool {
	switch r := r.(type) {
	case Detach:
		return r.Origin != ByOperator || !ordered(before, r.Nodes...)
	case NodeUsed, RolesSeen, BackendsReloaded, FollowEnded, Sought, Acted, CallOff, notice:
		return true
	case granted:
		return joins(r.Request, before, searching)
	case Attach:
		return searching && r.Origin == ByOperator && !ordered(before, r.Node)
	case Promote:
		return searching && !r.Switchover && !ordered(before, r.Node)
	}
	return false
}

// ordered reports whether something is asked for about one of the nodes.
func ordered(requests []Request, nodes ...cluster.NodeID) bool {
	return slices.ContainsFunc(requests, func(r Request) bool {
		if g, ok := r.(granted); ok {
			r = g.Request
		}
		switch r := r.(type) {
		case Attach:
			return slices.Contains(nodes, r.Node)
		case Promote:
			return slices.Contains(nodes, r.Node)
		case Detach:
			return slices.ContainsFunc(r.Nodes, func(id cluster.NodeID) bool { return slices.Contains(nodes, id) })
		}
		return false
	})
}

// carryOut decides about a request, publishes what follows, and notes what is left to be done.
func (c *Coordinator) carryOut(r Request) { c.carryOutUnder(r, c.policy()) }

func (c *Coordinator) carryOutUnder(r Request, p Policy) {
	_, reload := r.(BackendsReloaded)
	_, roles := r.(RolesSeen)
	before := c.memory.Open.Op
	plan := Decide(c.view(), c.memory, r, p, c.now())
	c.memory = plan.Memory
	c.acting.judge(&c.memory.Open)
	if c.memory.Open.Op == cluster.OpNone {
		c.search.began = time.Time{}
	}
	if plan.View != nil {
		c.publish(plan.View)
		c.current.judge(plan.View)
		c.unsaved = c.unsaved || plan.Save
		c.forced = c.forced || reload
	}
	if roles {
		c.keepLast()
	}
	switch {
	case roles && !c.news(plan):
	case before != cluster.OpNone && c.memory.Open.Op == cluster.OpNone:
		c.tellAtEnd(plan.Reasons)
	default:
		c.tell(plan.Reasons...)
	}
	for _, id := range plan.Confirm {
		c.parts.Confirmer.Confirm(id)
	}
	c.enqueue(&plan)
	if plan.After != nil {
		c.acting.after = append(c.acting.after, *plan.After)
	}
}

func (c *Coordinator) tell(why ...Reason) {
	gen := c.store.Current().Generation
	for _, r := range why {
		c.log.Log(r.Event(gen))
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

// saveChanges writes the status file if the View has changed. The disk may be slow, so a lost node is fenced first; but no command
// runs, and nobody is told of the end, before the change is on disk.
func (c *Coordinator) saveChanges() {
	if c.unsaved {
		c.save(c.view(), c.forced)
		c.keep()
	}
	c.unsaved, c.forced = false, false
}

// save writes the status file if its content changed, or always. Where all nodes are down the last useful content stays.
func (c *Coordinator) save(v *cluster.View, always bool) {
	data := FormatStatus(v)
	if !always && bytes.Equal(data, c.saved) {
		return
	}
	if v.Main() == cluster.NoNode {
		c.tell(Reason{Kind: StatusKept, Node: cluster.NoNode})
		return
	}
	if err := writeStatus(c.path, data); err != nil {
		c.tell(Reason{Kind: StatusNotSaved, Node: cluster.NoNode, Old: c.path, New: err.Error()})
		return
	}
	c.saved = data
}
