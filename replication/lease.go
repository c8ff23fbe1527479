package replication

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
)

const (
	// renewEvery is how often leases are renewed, renewBound how long an agent may take to answer.
	renewEvery = time.Second
	renewBound = 2 * time.Second
)

// leases are those of the agents: an agent with agent_fencing stops its server when nobody renews.
type leases struct {
	now func() time.Time

	mu        sync.Mutex
	term      cluster.Term                 // guarded by mu: under which this pgpool acts, 0 while it does not
	since     time.Time                    // guarded by mu: when that began; others may have renewed before
	renewed   map[cluster.NodeID]time.Time // guarded by mu: when the last attempt ended that may have arrived
	busy      map[cluster.NodeID]bool      // guarded by mu: an attempt is under way
	condemned map[cluster.NodeID]bool      // guarded by mu: not renewed
	contacts  map[cluster.NodeID]contact   // guarded by mu
}

// contact is how the last renewal ended, as it was told.
type contact struct {
	told  time.Time // zero: nothing was so far
	fault string    // "": the agent obeys
}

func newLeases(now func() time.Time) *leases {
	return &leases{
		now: now, since: now(), renewed: map[cluster.NodeID]time.Time{},
		busy: map[cluster.NodeID]bool{}, condemned: map[cluster.NodeID]bool{}, contacts: map[cluster.NodeID]contact{},
	}
}

// acts notes that this pgpool acts under a term, 0 for not.
func (l *leases) acts(term cluster.Term) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if term != l.term {
		l.term, l.since = term, l.now()
	}
}

func (l *leases) condemn(id cluster.NodeID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.condemned[id] = true
}

func (l *leases) pardon(id cluster.NodeID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.condemned, id)
}

// over is when an agent that heard nothing since must have stopped its server. An attempt under way may arrive yet, and so may one of
// whoever acted before: he goes on for as long as others after this pgpool has begun.
func (l *leases) over(id cluster.NodeID, lease, others time.Duration) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := l.since
	if others > 0 {
		last = last.Add(others + renewBound)
	}
	if t := l.renewed[id]; t.After(last) {
		last = t
	}
	if l.busy[id] {
		last = l.now().Add(renewBound)
	}
	return last.Add(lease + fenceMargin)
}

// begins reports whether a node's lease is to be renewed now, and notes that it is.
func (l *leases) begins(id cluster.NodeID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.condemned[id] || l.busy[id] {
		return false
	}
	l.busy[id] = true
	return true
}

// ended notes the end of an attempt. Whether it failed makes no difference: the agent may have heard it.
func (l *leases) ended(id cluster.NodeID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.busy[id], l.renewed[id] = false, l.now()
}

// retellAfter is how long another reason why an agent does not obey is not worth a line.
const retellAfter = time.Minute

// news reports whether the end of a renewal is worth telling: that the agent obeys, or why it does not, unless that was told.
func (l *leases) news(id cluster.NodeID, err error) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	old, fault, now := l.contacts[id], "", l.now()
	if err != nil {
		fault = err.Error()
	}
	switch {
	case old.told.IsZero(), (fault == "") != (old.fault == ""):
	case fault == old.fault, now.Sub(old.told) < retellAfter:
		return false
	}
	l.contacts[id] = contact{told: now, fault: fault}
	return true
}

// faults tells of the agents that do not obey why.
func (l *leases) faults() map[cluster.NodeID]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := map[cluster.NodeID]string{}
	for id, c := range l.contacts {
		if c.fault != "" {
			all[id] = c.fault
		}
	}
	return all
}

// attempted notes a renewal beside those of renewAll.
func (l *leases) attempted(id cluster.NodeID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewed[id] = l.now()
}

// renewAll renews the leases of all agents each second while this pgpool acts, until ctx ends.
func (k *Keeper) renewAll(ctx context.Context) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		term, acts := k.parts.Office()
		if acts {
			k.leases.acts(term)
			k.renew(ctx, k.parts.Store.Current(), term)
		} else {
			k.leases.acts(0)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// renew renews the leases of all agents but those of condemned nodes, each on a goroutine of its own.
func (k *Keeper) renew(ctx context.Context, v *cluster.View, term cluster.Term) {
	for i := range v.Nodes {
		n := v.Nodes[i]
		if n.Agent == "" || n.Port == 0 || !k.leases.begins(n.ID) {
			continue
		}
		h, err := k.parts.Host(n)
		if err != nil {
			k.leases.ended(n.ID)
			k.contacted(n, err)
			continue
		}
		k.tasks.Go(func() {
			defer k.leases.ended(n.ID)
			bounded, cancel := context.WithTimeout(ctx, renewBound)
			defer cancel()
			if err := h.Renew(bounded, term); ctx.Err() == nil {
				k.contacted(n, err)
			}
		})
	}
}

// contacted tells of an agent that obeys, or does not: it is better known before it is needed.
func (k *Keeper) contacted(n cluster.Node, err error) {
	if !k.leases.news(n.ID, err) {
		return
	}
	e := logging.Event{
		Severity: logging.Log, Node: logging.OnNode(int(n.ID)), Message: fmt.Sprintf("node %d: its agent at %s obeys", n.ID, n.Agent),
	}
	if err != nil {
		e.Severity, e.Message = logging.Warning, fmt.Sprintf("node %d: its agent at %s does not obey", n.ID, n.Agent)
		e.Detail, e.Hint = err.Error(), "Where agent_fencing is on in its file it stops a primary when agent_lease_time has passed."
		if errors.Is(err, cluster.ErrOldTerm) {
			e.Hint = "If the pgpool that had this term is gone for good: stop the pgpools, remove the agents' files DATADIR.pgpool/term, start them."
		}
	}
	k.parts.Log.Log(e)
}

// reassure has the agent of a server that is about to become the primary begin its lease anew. While no pgpool led nobody renewed it, and it
// would stop the server as soon as that is a primary. An agent counts contact from its answer before, so it is asked twice.
func (k *Keeper) reassure(ctx context.Context, n cluster.Node, term cluster.Term) {
	if n.Agent == "" {
		return
	}
	h, err := k.parts.Host(n)
	if err == nil {
		bounded, cancel := context.WithTimeout(ctx, renewBound)
		defer cancel()
		defer k.leases.attempted(n.ID)
		if err = h.Renew(bounded, term); err == nil {
			err = h.Renew(bounded, term)
		}
	}
	if err != nil {
		k.tell(n.ID, logging.Warning, "node %d: its agent, which may stop it because of that, does not answer: %v", n.ID, err)
	}
}
