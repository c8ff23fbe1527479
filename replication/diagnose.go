package replication

import (
	"fmt"
	"time"

	"gopgpool/cluster"
)

// Kind is what was found about a node.
type Kind uint8

// Kinds of findings.
const (
	Following   Kind = iota + 1 // it streams, directly or not, from the primary
	Connecting                  // it is set to, and does not yet
	Stuck                       // it is set to for long, and does not
	Starting                    // a standby that runs and does not accept connections yet
	Elsewhere                   // it streams from somebody else, or from nobody
	Diverged                    // a standby that replayed WAL which the primary does not have
	Stray                       // an old primary that runs as one
	Stopped                     // an old primary that does not run
	Crashed                     // a standby that does not run and was not shut down
	Halted                      // a standby that somebody has shut down
	Unfinished                  // a rewind or base backup of it has not ended
	Usurper                     // it runs as a primary, and not because a failover left it behind
	Newer                       // its timeline is none of the primary's past
	Foreign                     // a server of another cluster
	Silent                      // it runs and does not answer us
	Unreachable                 // nobody knows anything of it
	Unknowable                  // the primary does not tell the history of its timeline
	Local                       // the primary's address means another host there
)

var kindNames = [...]string{
	"", "following", "connecting", "stuck", "starting", "elsewhere", "diverged", "stray", "stopped", "crashed", "halted", "unfinished", "usurper",
	"newer", "foreign", "silent", "unreachable", "unknowable", "local",
}

func (k Kind) String() string { return kindNames[k] }

// Remedy is what is to be done about a finding.
type Remedy uint8

// Remedies. All but Attach, Detach and Repoint are done by the node's host.
const (
	None       Remedy = iota
	Attach            // report that it may be taken in again
	Detach            // report that it must not be read from
	Repoint           // set primary_conninfo, with its slot, and reload
	AsItIs            // stop it if it runs, make it a standby, start it
	Rewind            // stop it if it runs, rewind it, start it
	BaseBackup        // stop it if it runs, rebuild it, start it
	Start             // start it
)

var remedyNames = [...]string{"none", "attach", "detach", "repoint", "as it is", "rewind", "base backup", "start"}

func (r Remedy) String() string { return remedyNames[r] }

// byHost reports whether the remedy takes somebody at the node's host.
func (r Remedy) byHost() bool { return r >= AsItIs }

// Finding is the diagnosis of one node.
type Finding struct {
	Node   cluster.NodeID
	Kind   Kind
	Remedy Remedy
	// Needs: the remedy takes an agent and there is none, so it is not applied; or the node is down, and without one nobody can tell why.
	// Nobody is why nobody is at its host.
	Needs  bool
	Nobody string
	// Why is the finding in words; it holds no password.
	Why string
	// Err is why the remedy has failed so far, and Since when the node was found so; neither is Diagnose's.
	Err   error
	Since time.Time
}

// patience is how long a standby that does not stream, on the primary's timeline and from somebody we do not know by that address, may
// take to stream again: it may be the primary by another name.
const patience = 5 * time.Second

// stuck is how long a standby may take to stream from where it is set to.
const stuck = 30 * time.Second

// Diagnose says about each node but the primary what is wrong with it and what to do. It is pure. Nodes an administrator has detached
// or is rebuilding are passed over, and all of them while failover is at work or the primary does not answer.
func Diagnose(f *Facts) []Finding {
	v := f.View
	if v.Mode != cluster.ModeStreaming || v.Op != cluster.OpNone || v.Seeking || v.Following {
		return nil
	}
	p := f.primary()
	if p == nil {
		return nil
	}
	var all []Finding
	for i := range v.Nodes {
		n := &v.Nodes[i]
		if n.ID == v.Primary || n.Port == 0 || n.Detached || i >= len(f.Nodes) || f.Nodes[i].Spared {
			continue
		}
		d := diagnosis{f: f, n: n, at: &f.Nodes[i], primary: p}
		finding := d.look()
		finding.Node = n.ID
		finding.Needs = !d.at.Hosted && (finding.Remedy.byHost() || finding.Kind == Unreachable && !v.Live(n.ID))
		finding.Nobody = nobody(d.at.ControlErr)
		all = append(all, finding)
	}
	return all
}

// diagnosis is the look at one node.
type diagnosis struct {
	f       *Facts
	n       *cluster.Node
	at      *NodeFacts
	primary *NodeFacts
}

func (d *diagnosis) is(k Kind, r Remedy, format string, args ...any) Finding {
	return Finding{Kind: k, Remedy: r, Why: fmt.Sprintf(format, args...)}
}

func (d *diagnosis) look() Finding {
	s, c := &d.at.State, &d.at.Control
	switch {
	case s.Err == nil && s.SystemID != d.primary.State.SystemID:
		return d.foreign(s.SystemID)
	case s.Err == nil && s.InRecovery:
		return d.standby()
	case s.Err == nil:
		return d.stray()
	case !d.at.Hosted:
		return d.is(Unreachable, None, "it does not answer, and nobody is at its host: %v", s.Err)
	case d.at.ControlErr != nil:
		return d.is(Unreachable, None, "neither its server answers (%v) nor its agent (%v)", s.Err, d.at.ControlErr)
	case c.Running && c.Starting && c.Standby && !d.f.View.Live(d.n.ID):
		return d.starting()
	case c.Running:
		return d.is(Silent, None, "it runs and does not answer: %v", s.Err)
	case d.f.View.Live(d.n.ID):
		return d.is(Silent, None, "it does not run, and was not found to be down yet")
	case c.Broken:
		return d.is(Unfinished, BaseBackup, "a rewind or base backup of it was not finished")
	case c.State == "":
		return d.is(Unreachable, None, "there is no data directory; once a standby runs there it is attached")
	case c.SystemID != d.primary.State.SystemID:
		return d.foreign(c.SystemID)
	}
	return d.stopped()
}

func (d *diagnosis) foreign(id uint64) Finding {
	return d.is(Foreign, None, "its system identifier is %d, the primary's %d: it is a server of another cluster",
		id, d.primary.State.SystemID)
}

// standby looks at a server in recovery.
func (d *diagnosis) standby() Finding {
	s, p := &d.at.State, &d.primary.State
	if s.Timeline > p.Timeline {
		return d.is(Newer, None, "it is on timeline %d, the primary on %d: somebody else has promoted a server", s.Timeline, p.Timeline)
	}
	if s.Timeline < p.Timeline && d.f.History.Timeline == p.Timeline {
		end, ok := d.f.History.fork(s.Timeline)
		if !ok {
			return d.left(Newer, "it is on timeline %d, which is none of the primary's past", s.Timeline)
		}
		if s.Replayed > end {
			return d.diverged(end)
		}
	}
	switch {
	case d.at.Misfit != nil:
		return d.is(Stuck, None, "%v", d.at.Misfit)
	case d.follows(d.n.ID, len(d.f.Nodes)):
		return d.following()
	}
	return d.notFollowing()
}

func (d *diagnosis) diverged(end cluster.LSN) Finding {
	s := &d.at.State
	r := d.rebuild()
	if d.f.View.Live(d.n.ID) {
		r = Detach
	}
	return d.is(Diverged, r, "it replayed timeline %d up to %v, which the primary left at %v", s.Timeline, s.Replayed, end)
}

// rebuild is how a server is given the primary's past.
func (d *diagnosis) rebuild() Remedy {
	if d.at.NoRewind {
		return BaseBackup
	}
	return Rewind
}

// follows reports whether a node streams what the primary writes, directly or through others, at most depth of them.
func (d *diagnosis) follows(id cluster.NodeID, depth int) bool {
	s := &d.f.Nodes[id].State
	if depth == 0 || s.Err != nil || !s.InRecovery || !s.Streaming || s.Timeline != d.primary.State.Timeline ||
		s.SystemID != d.primary.State.SystemID {
		return false
	}
	up := d.f.upstream(id)
	return up == cluster.NoNode || up == d.f.View.Primary || d.follows(up, depth-1)
}

func (d *diagnosis) following() Finding {
	if d.n.Status == cluster.StatusDown && d.fromTheFormer() {
		return d.repoint("it streams from node %d, which was the primary when it went down", d.f.View.Crossing.From)
	}
	if d.n.Status == cluster.StatusDown {
		return d.is(Following, Attach, "it follows the primary, and is down")
	}
	return d.is(Following, None, "it follows the primary")
}

// fromTheFormer reports whether a node streams from the one whose place the primary took: that was the primary for it too, and is a standby
// again by now. Who is put behind another standby on purpose is up. A primary that serves again has taken nobody's place.
func (d *diagnosis) fromTheFormer() bool {
	x := d.f.View.Crossing
	return x != nil && x.To == d.f.View.Primary && x.From != x.To && x.From == d.f.upstream(d.n.ID)
}

// notFollowing tells a standby that will stream by itself from one that must be repointed.
func (d *diagnosis) notFollowing() Finding {
	s, v := &d.at.State, d.f.View
	up := d.f.upstream(d.n.ID)
	switch {
	case up == v.Primary && d.lacksSlot():
		return d.repoint("its replication slot %q is not there at the primary", s.SlotName)
	case up == v.Primary && s.ReplayPaused:
		return d.is(Stuck, None, "its replay is paused, so it cannot follow the primary (pg_wal_replay_resume)")
	case up == v.Primary && d.at.Silent >= stuck && d.at.Unled:
		return d.repoint("it is set to stream from the primary as somebody else than replication_user")
	case up == v.Primary && d.at.Silent >= stuck:
		return d.is(Stuck, None, "it is set to stream from the primary and does not for long: its log says why"+
			" (pg_hba.conf of the primary, the password, WAL that is removed already)")
	case up == v.Primary:
		return d.is(Connecting, None, "it is set to stream from the primary and does not")
	case up == cluster.NoNode && s.Timeline == d.primary.State.Timeline && d.at.Silent < patience:
		return d.is(Connecting, None, "it does not stream")
	case up == cluster.NoNode && s.Streaming:
		return d.repoint("it streams from %s:%d, which is not the primary", s.UpstreamHost, s.UpstreamPort)
	case up == cluster.NoNode:
		return d.repoint("it streams from nobody")
	case v.Live(up) && d.f.Nodes[up].State.Err != nil:
		return d.is(Connecting, None, "it is set to stream from node %d, which does not answer", up)
	case d.follows(up, len(d.f.Nodes)) || d.mends(up):
		return d.is(Connecting, None, "it is set to stream from node %d, which is a standby too", up)
	}
	return d.repoint("it is set to stream from node %d, which is not the primary", up)
}

// mends reports whether a standby is going to follow the primary without a host's help, so that those behind it will too. A circle of
// standbys is not.
func (d *diagnosis) mends(id cluster.NodeID) bool {
	for range d.f.Nodes {
		s, p := &d.f.Nodes[id].State, &d.primary.State
		if s.Err != nil || !s.InRecovery || s.SystemID != p.SystemID || s.Timeline > p.Timeline || !d.f.View.Live(id) {
			return false
		}
		if end, ok := d.f.History.fork(s.Timeline); ok && s.Replayed > end {
			return false
		}
		up := d.f.upstream(id)
		switch {
		case up == d.n.ID:
			return false
		case up == cluster.NoNode || d.f.Nodes[up].State.Err != nil || !d.f.Nodes[up].State.InRecovery:
			return true
		}
		id = up
	}
	return false
}

func (d *diagnosis) lacksSlot() bool {
	name := d.at.State.SlotName
	if name == "" {
		return false
	}
	for _, s := range d.primary.Slots {
		if s.Name == name {
			return false
		}
	}
	return true
}

// repoint has a standby stream from the primary.
func (d *diagnosis) repoint(format string, args ...any) Finding {
	if d.blind() {
		return d.is(Local, None, "the primary's backend_hostname %q means another host there", d.f.View.Nodes[d.f.View.Primary].Host)
	}
	return d.is(Elsewhere, Repoint, format, args...)
}

// blind reports whether the node would look for the primary on its own host, by the name we know it by.
func (d *diagnosis) blind() bool {
	return local(d.f.View.Nodes[d.f.View.Primary].Host) && !local(d.n.Host)
}

// stray looks at a server that runs as a primary.
func (d *diagnosis) stray() Finding {
	s, p := &d.at.State, &d.primary.State
	switch {
	case d.n.AlwaysPrimary || d.f.View.Live(d.n.ID):
		return d.is(Usurper, None, "it runs as a primary on timeline %d and was not found to be down", s.Timeline)
	case s.Timeline >= p.Timeline:
		return d.left(Usurper, "it runs as a primary on timeline %d, the primary in force on %d: somebody else has promoted it",
			s.Timeline, p.Timeline)
	case d.f.History.Timeline != p.Timeline:
		return d.is(Unknowable, None, "the primary does not tell the history of its timeline %d", p.Timeline)
	}
	end, ok := d.f.History.fork(s.Timeline)
	switch {
	case !ok:
		return d.left(Usurper, "it runs as a primary on timeline %d, which is none of the primary's past", s.Timeline)
	case d.blind():
		return d.repoint("")
	case s.Received <= end:
		return d.is(Stray, AsItIs, "it runs as a primary on timeline %d and wrote nothing that the primary lacks", s.Timeline)
	}
	return d.is(Stray, d.rebuild(), "it runs as a primary and wrote timeline %d up to %v, which the primary left at %v",
		s.Timeline, s.Received, end)
}

// left is about a server whose past is not the primary's. Only where we took the primary from it ourselves is it rebuilt: two servers
// that were promoted one after the other can have the same timeline's number, which a rewind would take for the same timeline.
func (d *diagnosis) left(k Kind, format string, args ...any) Finding {
	x := d.f.View.Crossing
	if x == nil || x.From != d.n.ID && x.GivenUp != d.n.ID || x.To != d.f.View.Primary || d.f.View.Live(d.n.ID) {
		return d.is(k, None, format, args...)
	}
	if d.blind() {
		return d.repoint("")
	}
	return d.is(Stray, BaseBackup, format, args...)
}

// States of pg_controldata.
const (
	shutDown           = "shut down"
	shutDownInRecovery = "shut down in recovery"
	inArchiveRecovery  = "in archive recovery"
)

// stopped looks at the files of a server that does not run.
func (d *diagnosis) stopped() Finding {
	c, p := &d.at.Control, &d.primary.State
	switch {
	case d.blind():
		return d.repoint("")
	case d.at.NoStart:
		return d.is(Stopped, BaseBackup, "it was made a standby and does not start")
	case c.State == shutDownInRecovery:
		return d.is(Halted, None, "somebody has shut it down; once it is started again it is attached")
	case c.State == inArchiveRecovery && c.Standby:
		return d.is(Crashed, Start, "it does not run and was not shut down")
	case c.Standby:
		return d.is(Stopped, AsItIs, "it was made a standby and does not run")
	case c.Timeline >= p.Timeline:
		return d.left(Newer, "it does not run and was a primary on timeline %d, the primary in force is on %d", c.Timeline, p.Timeline)
	case d.f.History.Timeline != p.Timeline:
		return d.is(Unknowable, None, "the primary does not tell the history of its timeline %d", p.Timeline)
	}
	end, ok := d.f.History.fork(c.Timeline)
	switch {
	case !ok:
		return d.left(Newer, "it does not run and was a primary on timeline %d, which is none of the primary's past", c.Timeline)
	case c.State == shutDown && c.Checkpoint <= end:
		return d.is(Stopped, AsItIs, "it was shut down and wrote nothing that the primary lacks")
	case c.State == shutDown:
		return d.is(Stopped, d.rebuild(), "it was shut down at %v, and the primary left timeline %d at %v", c.Checkpoint, c.Timeline, end)
	}
	return d.is(Stopped, d.rebuild(), "it does not run and was not shut down, so that it may have what the primary lacks")
}
