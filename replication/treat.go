package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
)

// Pauses between two attempts at the same node.
const (
	firstPause = time.Second
	lastPause  = time.Minute
)

// course is what is being done about one node.
type course struct {
	finding Finding
	primary cluster.NodeID // the primary it is about
	epoch   cluster.Epoch  // of the primary
	cancel  context.CancelCauseFunc
	remedy  *remedy       // the last one that was begun; nil: there was none
	done    chan struct{} // closed when the remedy has ended; nil: none is under way
	err     error         // of the remedy; readable once done is closed
	tries   int
	next    time.Time // not before
	told    string    // the failure that was logged last
	// noRewind: its host said that it cannot be rewound to this primary.
	noRewind bool
	// failedStarts counts the starts that failed; rebuilt: one of them was that of a base backup, so another one would not help.
	failedStarts int
	firstFailed  time.Time
	rewound      bool
	rebuilt      bool
}

const (
	// enoughStarts is after how many failed starts a server is rebuilt, and enoughTime how long after the first: what has nothing to do with its
	// files, like a port that is in use, is given the time to go away. One that was rewound has had its chance with the first.
	enoughStarts = 2
	enoughTime   = time.Minute
)

// noStart reports whether only a base backup may help a server to start.
func (c *course) noStart(now time.Time) bool {
	return c.failedStarts >= enoughStarts && !c.rebuilt && (c.rewound || now.Sub(c.firstFailed) >= enoughTime)
}

// running reports whether a remedy is under way.
func (c *course) running() bool { return c.done != nil }

// treat publishes findings, tells of those that are new, and begins their remedies.
func (k *Keeper) treat(f *Facts, all []Finding) {
	now := time.Now()
	seen := map[cluster.NodeID]bool{}
	for i := range all {
		seen[all[i].Node] = true
		c := k.courseOf(f, all[i].Node)
		k.settle(c, now)
		if c.vain(&f.Nodes[all[i].Node]) {
			c.cancel(errLeft)
		}
		k.compare(c, &all[i], now)
		if c.due(now) {
			k.begin(f, c, now)
		}
	}
	for id, c := range k.courses {
		if !seen[id] {
			c.cancel(nil)
			delete(k.courses, id)
		}
	}
	k.publish(all)
	if f.primary() != nil { // else nothing was found out
		k.want(needsOf(f, all, k.leases.faults()))
		k.warnOfStrangers(f)
	}
}

// courseOf is a node's course under the primary in force.
func (k *Keeper) courseOf(f *Facts, id cluster.NodeID) *course {
	p := &f.View.Nodes[f.View.Primary]
	c := k.courses[id]
	if c == nil || c.primary != p.ID || c.epoch != p.Epoch {
		old := c
		c = &course{primary: p.ID, epoch: p.Epoch, cancel: func(error) {}}
		if old != nil {
			old.cancel(nil)
			c.finding = old.finding
			if old.running() { // one remedy at a time: what was begun under another primary ends first
				c.done, c.cancel = old.done, old.cancel
				c.finding.Remedy = None
			}
		}
		k.courses[id] = c
	}
	return c
}

// settle takes note of a remedy that has ended.
func (k *Keeper) settle(c *course, now time.Time) {
	if !c.running() {
		return
	}
	select {
	case <-c.done:
	default:
		return
	}
	c.done = nil
	c.cancel(nil)
	wait := min(firstPause<<min(c.tries, 10), lastPause)
	c.tries++
	c.next = now.Add(wait)
	switch err := c.err; {
	case err == nil:
		c.told = ""
	case errors.Is(err, errLeft): // what is found next tells why
		c.finding.Err = err
	case errors.Is(err, cluster.ErrCannotRewind):
		c.noRewind, c.next = true, now
		k.failed(c, err)
	case errors.Is(err, errNoStart):
		if c.failedStarts == 0 {
			c.firstFailed = now
		}
		c.failedStarts++
		if c.finding.Remedy == Rewind {
			c.failedStarts, c.rewound = enoughStarts, true
		}
		c.rebuilt = c.rebuilt || c.finding.Remedy == BaseBackup
		k.failed(c, err)
	default:
		k.failed(c, err)
	}
}

// failed tells of a remedy's failure, if it is another than before.
func (k *Keeper) failed(c *course, err error) {
	c.finding.Err = err
	if text := err.Error(); text != c.told {
		c.told = text
		k.tell(c.finding.Node, logging.Warning, "node %d: %v failed: %s", c.finding.Node, c.finding.Remedy, text)
	}
}

// compare takes a new finding over and tells of it where it is another.
func (k *Keeper) compare(c *course, n *Finding, now time.Time) {
	old := c.finding
	same := old.Kind == n.Kind && old.Needs == n.Needs && (old.Remedy == n.Remedy || n.Needs)
	n.Since = now
	if same {
		n.Since, n.Err = old.Since, old.Err
	}
	if c.running() {
		n.Remedy = old.Remedy
		c.finding.Why = n.Why
		return
	}
	c.finding = *n
	if same {
		return
	}
	if n.Remedy == None || k.report(n.Remedy) != nil {
		c.tries, c.told = 0, ""
	}
	c.next = now
	k.announce(&old, n)
}

// announce tells of a finding that is new.
func (k *Keeper) announce(old, n *Finding) {
	switch {
	case n.Needs:
		k.needed(n)
	case n.Remedy != None:
		k.tell(n.Node, logging.Log, "node %d: %s; what is done: %v", n.Node, n.Why, n.Remedy)
	case n.Kind == Following && old.Kind == 0, n.Kind == Connecting, n.Kind == Starting:
	case n.Kind == Following:
		k.tell(n.Node, logging.Log, "node %d: %s", n.Node, n.Why)
	default:
		k.tell(n.Node, logging.Warning, "node %d: %s", n.Node, n.Why)
	}
}

// needed tells that something is left undone because nobody is at the node's host.
func (k *Keeper) needed(n *Finding) {
	text := fmt.Sprintf("node %d needs an agent: %s", n.Node, n.Why)
	if n.Remedy != None {
		text += fmt.Sprintf("; what is to be done: %v", n.Remedy)
	}
	k.parts.Log.Log(logging.Event{Severity: logging.Warning, Node: logging.OnNode(n.Node), Message: text, Detail: n.Nobody})
}

// due reports whether the remedy is to begin.
func (c *course) due(now time.Time) bool {
	return !c.running() && c.finding.Remedy != None && !c.finding.Needs && !now.Before(c.next)
}

// begin has the remedy done on a goroutine of its own, within the office of this pgpool.
func (k *Keeper) begin(f *Facts, c *course, now time.Time) {
	id := c.finding.Node
	if report := k.report(c.finding.Remedy); report != nil {
		c.next = now.Add(min(firstPause<<min(c.tries, 10), lastPause))
		c.tries++
		report(id, f.View)
		return
	}
	ctx, cancel := context.WithCancelCause(k.reign.ctx)
	r := &remedy{k: k, f: f, node: f.View.Nodes[id], term: k.reign.term, primary: f.View.Nodes[f.View.Primary], try: c.tries}
	done := make(chan struct{})
	c.cancel, c.remedy, c.done, c.err = cancel, r, done, nil
	what := c.finding.Remedy
	k.tasks.Go(func() {
		defer k.Wake()
		defer close(done)
		c.err = r.apply(ctx, what)
	})
}

// report is how a remedy is applied that only failover can; nil: it is another one.
func (k *Keeper) report(r Remedy) func(cluster.NodeID, *cluster.View) {
	switch r {
	case Attach:
		return k.parts.Attach
	case Detach:
		return k.parts.Detach
	case None, Repoint, AsItIs, Rewind, BaseBackup, Start:
	}
	return nil
}

// recall ends remedies whose primary is no more, or whose node an administrator has taken out.
func (k *Keeper) recall(v *cluster.View) {
	for id, c := range k.courses {
		gone := int(id) >= len(v.Nodes) || v.Nodes[id].Detached || v.Nodes[id].Port == 0
		if gone || v.Primary != c.primary || v.Nodes[c.primary].Epoch != c.epoch {
			c.cancel(nil)
		}
	}
}
