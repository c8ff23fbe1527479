package web

import (
	"fmt"
	"time"

	"gopgpool/cluster"
)

// Facts are what answers are judged by: a snapshot, taken for one request.
type Facts struct {
	View     *cluster.View
	Gauges   *cluster.Gauges
	Needs    cluster.Needs // nil: this pgpool does not act on the servers
	Now      time.Time
	Started  bool          // the start is over
	Stopping bool          // no new client is let in any more
	Waiting  int           // sessions whose statement is held until there is a primary
	Held     time.Duration // how long a loop has not turned, of the one with the longest
	// Fresh is how old a measured delay may be; 0: delays are not measured.
	Fresh    time.Duration
	Watchdog *Watchdog // nil: use_watchdog is off
}

// Watchdog is what this pgpool knows of the watchdog cluster.
type Watchdog struct {
	State     string        // of this node, as pcp_watchdog_info names it
	Quorum    string        // as pcp_watchdog_info words it
	Leads     bool          // it decides for all, by a majority
	HasVIP    bool          // delegate_ip is set
	HoldsVIP  bool          // and is here
	LeaseLeft time.Duration // of the leader: for so long nobody else can be one; 0: none
	Alive     int           // standbys that have joined the leader
	Members   int           // nodes that count for the quorum
	Required  int           // how many of them must be alive
}

// Verdict is the answer to one question. Reason is why not, "" if OK.
type Verdict struct {
	OK     bool
	Reason string
}

func yes() Verdict                          { return Verdict{OK: true} }
func no(why string, args ...any) Verdict    { return Verdict{Reason: fmt.Sprintf(why, args...)} }
func (v Verdict) or(other Verdict) Verdict  { return pick(v.OK, v, other) }
func (v Verdict) and(other Verdict) Verdict { return pick(v.OK, other, v) }

func pick(first bool, a, b Verdict) Verdict {
	if first {
		return a
	}
	return b
}

// stuck is how long a loop may be held up before /liveness says that the process should be restarted.
const stuck = 5 * time.Second

// Liveness: the loops turn.
func (f *Facts) Liveness() Verdict {
	if f.Held > stuck {
		return no("an event loop has not turned for %v", f.Held.Round(time.Second))
	}
	return yes()
}

// Readiness: new clients are let in, and get an answer soon. While a failover is running they do: what needs the primary is held.
func (f *Facts) Readiness() Verdict {
	switch v := f.View; {
	case !f.Started:
		return no("pgpool is starting")
	case f.Stopping:
		return no("pgpool is stopping")
	case v.Main() == cluster.NoNode && !v.Seeking && v.Op == cluster.OpNone:
		return no("no node is up")
	}
	return f.Liveness()
}

// Health: a node is up and, where the mode has a primary, one is known.
func (f *Facts) Health() Verdict {
	if f.View.Main() == cluster.NoNode {
		return no("no node is up")
	}
	ready := f.Readiness()
	if f.View.Mode.HasPrimary() {
		return ready.and(f.writer())
	}
	return ready
}

// Primary: what writes is sent to a live primary now or, in a mode without one, to a live node.
func (f *Facts) Primary() Verdict { return f.Readiness().and(f.writer()) }

func (f *Facts) writer() Verdict {
	switch v := f.View; {
	case v.Seeking:
		return no("the primary is being sought")
	case v.Main() == cluster.NoNode:
		return no("no node is up")
	case v.Mode.HasPrimary() && !v.Live(v.Primary):
		return no("no primary is known")
	}
	return yes()
}

// ReadOnly: what only reads is answered by some node.
func (f *Facts) ReadOnly() Verdict {
	if f.View.Main() == cluster.NoNode {
		return no("no node is up")
	}
	return f.Readiness()
}

// Replica: a standby is up and no later than lag. Among several reasons why not it tells the last node's.
func (f *Facts) Replica(lag Lag) Verdict {
	found := no("there is no standby")
	for i := range f.View.Nodes {
		if id := cluster.NodeID(i); f.View.Nodes[i].Status != cluster.StatusUnused && f.standby(id) {
			found = found.or(f.NodeReplica(id, lag))
		}
	}
	return f.Readiness().and(found)
}

func (f *Facts) standby(id cluster.NodeID) bool {
	n := &f.View.Nodes[id]
	return id != f.View.Primary && (n.Role == cluster.RoleStandby || n.Role == cluster.RoleReplica)
}

// known reports whether the configuration has the node.
func (f *Facts) known(id cluster.NodeID) bool {
	return id >= 0 && int(id) < len(f.View.Nodes) && f.View.Nodes[id].Status != cluster.StatusUnused
}

// Node: statements are sent to the node. It must be known.
func (f *Facts) Node(id cluster.NodeID) Verdict {
	if n := &f.View.Nodes[id]; !n.Status.Live() {
		return no("node %d has the status %v", id, n.Status)
	}
	return yes()
}

// NodePrimary: the node is the primary and takes writes. It must be known.
func (f *Facts) NodePrimary(id cluster.NodeID) Verdict {
	up := f.Node(id).and(f.writer())
	if up.OK && f.View.Writer() != id {
		return no("node %d is a %v", id, f.View.Nodes[id].Role)
	}
	return up
}

// NodeReplica: the node is a standby, answers, and is no later than lag. It must be known.
func (f *Facts) NodeReplica(id cluster.NodeID, lag Lag) Verdict {
	g := f.Gauges.Of(id)
	switch up := f.Node(id); {
	case !up.OK:
		return up
	case !f.standby(id):
		return no("node %d is no standby", id)
	case g.Probed && !g.Reachable:
		return no("node %d does not answer", id)
	case !lag.Asked:
		return yes()
	case f.Fresh == 0:
		return no("delays are not measured: sr_check_period is 0")
	case !f.measured(&g):
		return no("how late node %d is was not measured lately", id)
	}
	return within(id, &g, lag)
}

// measured reports whether how late a node is was measured lately. What was measured before says nothing of now.
func (f *Facts) measured(g *cluster.NodeGauge) bool {
	return f.Fresh > 0 && !g.Measured.IsZero() && f.Now.Sub(g.Measured) <= f.Fresh
}

func within(id cluster.NodeID, g *cluster.NodeGauge, lag Lag) Verdict {
	switch {
	case !lag.ByTime && g.Lag > lag.Bytes:
		return no("node %d is %d bytes late", id, uint64(g.Lag))
	case !lag.ByTime:
		return yes()
	case !g.HasLagTime:
		return no("no delay in time is known of node %d: it is measured with delay_threshold_by_time", id)
	case g.LagTime > lag.Time:
		return no("node %d is %v late", id, g.LagTime)
	}
	return yes()
}

// Leader: this pgpool leads the watchdog cluster and, if there is an address to hold, holds it.
func (f *Facts) Leader() Verdict {
	switch w := f.Watchdog; {
	case w == nil:
		return no("use_watchdog is off")
	case !w.Leads:
		return no("this pgpool is a %s of the watchdog cluster", w.State)
	case w.HasVIP && !w.HoldsVIP:
		return no("the delegate IP is not here")
	}
	return yes()
}
