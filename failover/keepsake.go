package failover

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gopgpool/cluster"
)

// keepsakeName is the name of the file, beside the status file, in which a pgpool that decides alone keeps what another start needs to
// finish a failover without scripts: whom it was about to promote above all. With a watchdog the decisions of the nodes are that, and the
// file holds nothing but what the primary was seen to be.
const keepsakeName = "pgpool_failover"

// sharedTerms keeps the terms of watchdog clusters above those of a pgpool that decides alone: who gets a watchdog is obeyed at once.
const sharedTerms = cluster.Term(1) << 40

// keepsake is that file. It is Run's.
type keepsake struct {
	Term     cluster.Term    `json:"term"` // of this start
	Decision json.RawMessage `json:"decision,omitempty"`
	// Last is the primary as it was seen last. Its LSN is that of when something else had changed.
	Last *cluster.PrimaryGauge `json:"last,omitempty"`
	kept []byte                // what the file holds
	lost error                 // why it does not hold what it should
}

// orderTerm is by what servers' agents tell this office from earlier ones.
func (c *Coordinator) orderTerm() cluster.Term {
	term, _ := c.Office()
	return term
}

// Office tells under which term this pgpool acts on servers, and whether it does: alone always, else while it leads. It may be called
// from any goroutine.
func (c *Coordinator) Office() (term cluster.Term, acts bool) {
	if c.parts.Consensus != nil {
		o := c.peers.standing.Load()
		return sharedTerms + cluster.Term(o.Term), o.Standing == StandingLeads
	}
	t := cluster.Term(c.termNow.Load())
	return t, t != 0
}

func (c *Coordinator) keepsakePath() string { return filepath.Join(filepath.Dir(c.path), keepsakeName) }

// recallKeepsake takes up the failover that was under way when the process ended.
func (c *Coordinator) recallKeepsake() {
	if c.parts.Actor == nil {
		return
	}
	data, err := os.ReadFile(c.keepsakePath())
	if err == nil {
		err = json.Unmarshal(data, &c.keepsake)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.tell(Reason{Kind: KeepsakeLost, Node: cluster.NoNode, New: err.Error()})
	}
	if last := c.keepsake.Last; last != nil && (c.parts.Discard || outOfRange(last.Node)) {
		c.keepsake.Last = nil
	} else if last != nil {
		c.acting.recalled = *last
	}
	if c.parts.Consensus != nil {
		return
	}
	if c.keepsake.Term >= sharedTerms-1 { // never written so; the agents would obey nobody else ever after
		c.keepsake.Term = 0
	}
	c.keepsake.Term = max(c.keepsake.Term+1, cluster.Term(c.now().Unix()))
	c.termNow.Store(uint64(c.keepsake.Term))
	kept := c.keepsake.Decision
	c.keepsake.Decision = nil
	if len(kept) > 0 {
		c.takeUp(kept)
	}
	c.keep()
}

// takeUp takes over the marks on nodes and goes on with an operation. The status file has what else had become of the nodes.
func (c *Coordinator) takeUp(data []byte) {
	d, err := parseDecision(data)
	if err != nil {
		c.tell(Reason{Kind: KeepsakeLost, Node: cluster.NoNode, New: err.Error()})
		return
	}
	v, p := c.view(), c.policy()
	e := d.Memory.Open
	if len(d.Nodes) != len(v.Nodes) || len(d.strangers(v)) > 0 || !d.within(v) {
		c.tell(Reason{Kind: KeepsakeLost, Node: cluster.NoNode, New: "it is about other backends than those configured"})
		return
	}
	next := edit(v)
	for i := range next.Nodes {
		next.Nodes[i].Detached, next.Nodes[i].Unfit = d.Nodes[i].Out && !c.parts.Discard, d.Nodes[i].Unfit
	}
	defer func() { c.publish(next) }()
	if c.parts.Discard {
		return
	}
	if d.Primary != cluster.NoNode && e.Op == cluster.OpNone {
		c.memory.Was = slices.Clone(d.Memory.Was)
		if int(d.Primary) < len(c.memory.Was) {
			c.memory.Was[d.Primary] = cluster.RoleUnknown // it may be the first one again
		}
		c.memory.Last, c.memory.LastUntil = d.Primary, c.now().Add(comeback)
		next.Seeking = p.unaided(v) && v.Primary == cluster.NoNode // no standby is written to meanwhile
	}
	if !p.unaided(v) || !e.Lost || e.Act == NoAct || v.Primary != cluster.NoNode {
		return
	}
	next.Op, next.Seeking, next.Switchover, next.Crossing = e.Op, true, d.Switchover, d.Crossing
	for i := range next.Nodes {
		n := &next.Nodes[i]
		n.Epoch, n.Fenced = max(n.Epoch, d.Nodes[i].Epoch), d.Nodes[i].Fenced
		if d.Nodes[i].Status == cluster.StatusDown {
			n.Status = cluster.StatusDown
		}
	}
	assignRoles(next)
	e.again(c.now())
	c.memory.Open, c.memory.Vacant, c.memory.Early = e, true, c.now()
	c.tell(Reason{Kind: TakenUp, Node: cluster.NoNode, Old: e.Op.String()})
}

// comeback is how long the primary from before a restart may take to answer before it is taken for lost.
const comeback = 10 * time.Second

// marked reports whether nodes bear marks that a restart must not lose.
func marked(v *cluster.View) bool {
	return slices.ContainsFunc(v.Nodes, func(n cluster.Node) bool { return n.Unfit || n.Detached })
}

// keepLast has what is seen of the primary kept where it is news: after a restart nobody could tell any more whom its commits waited for.
func (c *Coordinator) keepLast() {
	g, old := c.store.Gauges().Primary, c.keepsake.Last
	if g.Measured.IsZero() || old != nil && old.Node == g.Node && old.Sync == g.Sync && old.Timeline == g.Timeline {
		return
	}
	c.keepsake.Last = &g
	c.keep()
}

// keep writes what another start needs, if it has changed.
func (c *Coordinator) keep() {
	p := c.policy()
	if c.parts.Actor == nil || !p.AutoFailover {
		c.keepsake.lost = nil
		return
	}
	k := keepsake{Term: c.keepsake.Term, Last: c.keepsake.Last}
	v := c.view()
	if e := &c.memory.Open; c.parts.Consensus == nil &&
		(v.Primary != cluster.NoNode || marked(v) || e.Op != cluster.OpNone && e.Act != NoAct && e.Lost) {
		k.Decision = decisionOf(v, &c.memory, nil, nil, 0).encode()
	}
	data := marshal(&k)
	if bytes.Equal(data, c.keepsake.kept) {
		c.keepsake.lost = nil
		return
	}
	err := writeStatus(c.keepsakePath(), data)
	if c.keepsake.lost = err; c.parts.Consensus != nil { // the decisions have what counts
		c.keepsake.lost = nil
	}
	if err != nil {
		c.tell(Reason{Kind: KeepsakeLost, Node: cluster.NoNode, New: err.Error()})
		return
	}
	c.keepsake.kept = data
}

// kept asks why another start would not know what this one does.
type kept struct{ done chan error }

func (kept) request() {}

// apply writes what could not be written before, too.
func (r kept) apply(c *Coordinator) {
	c.saveChanges()
	if c.keepsake.lost != nil {
		c.keep()
	}
	r.done <- c.keepsake.lost
}

// Kept tells why the next start of this pgpool, or another leader, would not know which nodes must not be promoted; nil: it would. What was
// asked for before has been decided: see Settle. Run must be running.
func (c *Coordinator) Kept(ctx context.Context) error {
	k := kept{done: make(chan error, 1)}
	if !c.inbox.put(k) {
		return errFull
	}
	select {
	case err := <-k.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
