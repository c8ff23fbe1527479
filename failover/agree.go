package failover

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"gopgpool/cluster"
)

// agreement is what a coordinator knows that decides together with others. All of it is Run's but the two pointers.
type agreement struct {
	basis    atomic.Pointer[cluster.View] // what decisions are about, see adopt; stored by Run
	standing atomic.Pointer[Office]       // the office in force; stored by Run

	first  *cluster.View // what this node has begun with
	office Office
	// era counts what was given up: what was begun in an earlier one is nobody's any more.
	era  int
	last *decision // the last one known to be committed
	// fresh: since this office began no decision was adopted; joined: that this node follows has been told.
	fresh, joined bool
	leader        string                  // whom this node follows, or has followed until nobody led
	strange       map[cluster.NodeID]bool // whose address differs from that of the decision: it is told once

	marked map[cluster.NodeID]time.Time // in quarantine, since when
	cause  map[cluster.NodeID]Detach    // what they are in quarantine for
	votes  map[string]*vote
	asks   []func(context.Context) // to be begun

	lonely []cluster.NodeID // taken out by failovers without quorum since this node is alone

	// Of the leader.
	number     uint64         // of the last decision made
	dirty      bool           // there is something to be committed
	committing bool           // a Commit is under way
	recall     func(error)    // ends it
	late       []Reason       // to be told when the end of the operation is committed
	acks       []chan<- bool  // who waits for the next Commit
	acking     []chan<- bool  // who waits for the one under way
	running    *sharedCommand // the command under way
	followed   *Follow        // the last run of follow_primary_command
	retried    bool           // the last Commit failed: it is told once

	// Of a follower.
	began         *cluster.View // when the operation under way began; nil while there is none
	seq, fencing  uint64        // what was adopted last; what the sessions are being told, 0 for nothing
	adopted       uint64        // number of the decision adopted last
	carriedNumber uint64        // number of the last one that was carried out
	usedAsked     map[cluster.NodeID]time.Time
}

func (p *agreement) init(first *cluster.View) {
	p.first = first
	p.basis.Store(first)
	p.office.Standing = StandingLoading
	p.standing.Store(&Office{Standing: StandingLoading})
	p.strange, p.votes = make(map[cluster.NodeID]bool), make(map[string]*vote)
	p.marked, p.cause = make(map[cluster.NodeID]time.Time), make(map[cluster.NodeID]Detach)
	p.usedAsked = make(map[cluster.NodeID]time.Time)
}

func (p *agreement) setOffice(o Office) {
	p.office = o
	p.standing.Store(&o)
}

// close stops the timers of votes.
func (p *agreement) close() { p.forgetVotes() }

// Hold tells what this node may decide from now on. It returns at once.
func (c *Coordinator) Hold(o Office) { c.inbox.put(held{o}) }

// Decided brings a committed decision. All of them are to be told in their order, but it is enough to tell the last of several. It
// returns at once; Consensus.Carried answers when the decision holds here.
func (c *Coordinator) Decided(seq uint64, data []byte) { c.inbox.put(decided{seq: seq, data: data}) }

// Resend has the requests about nodes in quarantine repeated, because votes are being collected. It returns at once.
func (c *Coordinator) Resend() { c.inbox.put(resend{}) }

// notice is a request that the coordinator, or the consensus, tells itself. It is never held up by an operation.
type notice interface {
	Request
	apply(c *Coordinator)
}

type (
	held    struct{ Office }
	decided struct {
		seq  uint64
		data []byte
	}
	resend struct{}
	// answered is what came of an Ask.
	answered struct {
		key    string
		era    int
		answer Answer
		err    error
	}
	// committed is what came of a Commit.
	committed struct {
		era      int
		decision *decision
		err      error
	}
	// carried tells that sessions know what was adopted, or that they take long.
	carried struct {
		seq, number uint64
		err         error
	}
	// expired tells that a vote has waited for others long enough.
	expired struct {
		key string
		era int
	}
	// released is a node in quarantine that answers again, or that an administrator wants back.
	released struct{ node cluster.NodeID }
	// awaited wants to know when a decision holds here; false: this node does not follow any more.
	awaited struct {
		number uint64
		done   chan bool
	}
	// granted is a request the nodes have agreed to. Its Seen has the epochs of the basis.
	granted struct {
		Request
		*waiter // nil: nobody waits
	}
)

// waiter waits for the end of a request.
type waiter struct {
	begun atomic.Bool // it is being decided; before, it waits for the end of an operation
	// done has room for the answer: what was decided cannot be lost any more; false: this node does not lead.
	done chan bool
}

func (held) request()      {}
func (decided) request()   {}
func (resend) request()    {}
func (answered) request()  {}
func (committed) request() {}
func (carried) request()   {}
func (expired) request()   {}
func (released) request()  {}
func (awaited) request()   {}
func (settle) request()    {}

// due reports whether a request can be decided in this office.
func (c *Coordinator) due(r Request) bool {
	p := &c.peers
	switch r := r.(type) {
	case settle:
		return c.settled()
	case awaited:
		return p.carriedNumber >= r.number || p.office.Standing != StandingFollows
	case RolesSeen:
		return c.parts.Consensus == nil || p.office.Standing != StandingLoading
	}
	return true
}

// dropOldRoles leaves only the newest of the rounds of roles that wait for an office.
func (c *Coordinator) dropOldRoles() {
	newest := -1
	for i, r := range c.waiting {
		if same[RolesSeen](r) {
			newest = i
		}
	}
	for i := newest - 1; i >= 0; i-- {
		if same[RolesSeen](c.waiting[i]) {
			c.waiting = slices.Delete(c.waiting, i, i+1)
		}
	}
}

// dispatch decides about a request, or brings it before the leader.
func (c *Coordinator) dispatch(r Request) {
	switch r := r.(type) {
	case settle:
		c.saveChanges()
		r.done <- c.settledAt()
		return
	case notice:
		r.apply(c)
		return
	}
	if c.parts.Consensus == nil {
		c.carryOut(r)
		return
	}
	r = inShared(r, c.store.Current(), c.view())
	switch c.peers.office.Standing {
	case StandingLeads:
		c.lead(r)
	case StandingFollows:
		c.bringForward(r)
	case StandingAlone:
		c.decideAlone(r)
	case StandingLoading:
		switch r := r.(type) {
		case BackendsReloaded:
			c.reconfigure(r)
		case granted:
			c.drop(r)
		}
	}
}

// lead decides for all nodes. What was found out here is one vote among others.
func (c *Coordinator) lead(r Request) {
	switch r := r.(type) {
	case granted:
		if r.waiter != nil {
			r.begun.Store(true)
			c.peers.acks = append(c.peers.acks, r.done)
		}
		c.carryOut(r.Request)
	case Detach:
		if r.Origin.finds() {
			c.vote(r)
			return
		}
		c.carryOut(r)
	default:
		c.carryOut(r)
	}
}

// finds reports whether a node cannot be taken out for this cause without the others' consent (manual: failover consensus).
func (o Origin) finds() bool {
	return o == ByHealthCheck || o == ByBackendError || o == ByBackendShutdown
}

// bringForward has the leader decide. The roles the servers tell are judged by the leader, who hears of them itself.
func (c *Coordinator) bringForward(r Request) {
	switch r := r.(type) {
	case BackendsReloaded:
		c.reconfigure(r)
	case Detach:
		if r.Origin.finds() {
			c.vote(r)
			return
		}
		c.order(r)
	case Attach, Promote, Switchover, CallOff, Bar:
		c.order(r)
	case NodeUsed:
		c.tellUsed(r)
	case granted:
		c.drop(r)
	}
}

// decideAlone decides for this node only, until the nodes meet again. The servers tell who is primary; nobody is promoted for that.
func (c *Coordinator) decideAlone(r Request) {
	p := c.policy()
	switch r := r.(type) {
	case Detach:
		switch {
		case !r.Origin.finds():
			c.tell(Reason{Kind: AloneOrder, Node: cluster.NoNode})
			c.carryOut(r)
		case p.WhenQuorumExists:
			c.isolateFound(r)
		default:
			c.tell(Reason{Kind: AloneFailover, Node: cluster.NoNode})
			c.carryOut(r)
			c.lonely(r)
		}
	case Attach, Promote:
		c.tell(Reason{Kind: AloneOrder, Node: cluster.NoNode})
		c.carryOut(r)
	case RolesSeen:
		p.FailoverCommand, p.FollowPrimaryCommand, p.DetachFalsePrimary = "", "", false
		c.carryOutUnder(r, p)
	case granted:
		c.drop(r)
	default:
		c.carryOut(r)
	}
}

// drop tells that a request came too late.
func (c *Coordinator) drop(r granted) {
	if r.waiter != nil {
		r.done <- false
	}
	c.tell(Reason{Kind: GrantDropped, Node: cluster.NoNode})
}

// reconfigure takes over this node's own configuration of the backends, and decides nothing.
func (c *Coordinator) reconfigure(r BackendsReloaded) {
	next, why := reconfigured(c.view(), r.Backends, c.now())
	assignRoles(next)
	c.publish(next)
	c.unsaved, c.forced = true, true
	c.tell(why...)
}

// publish puts a View into force. Together with others it is the basis that is decided about, and what holds here only is added.
func (c *Coordinator) publish(next *cluster.View) {
	if c.parts.Consensus == nil {
		c.store.Publish(next)
		return
	}
	from := c.peers.basis.Load()
	c.replaceBasis(from, next)
	c.peers.dirty = c.peers.dirty || c.peers.office.Standing == StandingLeads
}

// replaceBasis puts another basis into force; fork is the last one that it and the one in force have in common.
func (c *Coordinator) replaceBasis(fork, to *cluster.View) {
	p, from := &c.peers, c.peers.basis.Load()
	for id := range p.marked {
		if !to.Live(id) || nodeOf(from, id).Epoch != to.Nodes[id].Epoch {
			p.unmark(id)
		}
	}
	p.basis.Store(to)
	c.store.Publish(adopt(c.store.Current(), from, fork, to, p.marked))
	p.dropStaleVotes(to)
}

var errDeposed = errors.New("this node does not lead any more")
