package replication

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
	"gopgpool/tlsconf"
)

// Parts are what a Keeper is built from. All but TLS and Spared are required.
type Parts struct {
	Store    *cluster.Store
	Settings func() Settings // in force now
	// Office tells whether this pgpool acts on servers now, and under which term.
	Office func() (cluster.Term, bool)
	// Host finds who acts on a node's host; an error that is cluster.ErrNeedsAgent: nobody.
	Host func(n cluster.Node) (Host, error)
	// Spared is a node that somebody else is rebuilding: it is left alone; NoNode: there is none. nil: there never is.
	Spared func() cluster.NodeID
	// Attach reports that a node that is down follows the primary of v again. It must not block.
	Attach func(id cluster.NodeID, v *cluster.View)
	// Detach reports that a node has what the primary of v does not have and must not be read from. It must not block.
	Detach func(id cluster.NodeID, v *cluster.View)
	// Password finds the clear password of a user: the parameter's value where it is set, else the entry of pool_passwd.
	Password func(user, param string) (string, error)
	// TLS tells how to speak to a node at a host; nil is in plain text.
	TLS func(node cluster.NodeID, host string) tlsconf.Server
	Log logging.Logger
}

// Account is who logs in to servers. Password is as configured.
type Account struct{ User, Password, Database string }

// Settings are the parameters this package obeys.
type Settings struct {
	// Active: auto_failover is on and no script is configured. Without it servers are left alone.
	Active bool
	// Account is recovery_user with recovery_database; without a recovery_user it is sr_check_user. It should be a superuser; else it needs
	// pg_monitor, EXECUTE on pg_promote, pg_wal_replay_resume and pg_reload_conf, ALTER SYSTEM on what is set, and REPLICATION.
	Account Account
	// ReplicationUser and ReplicationPassword, as configured, are what standbys stream as; an empty user keeps what they have.
	ReplicationUser, ReplicationPassword string
	// Fencing is agent_fencing, Lease agent_lease_time.
	Fencing bool
	Lease   time.Duration
	// Others is how long another pgpool may go on acting after this one has begun to: with a watchdog wd_lease_time, else 0.
	Others time.Duration
}

// period is how long the keeper rests between two rounds, if nothing wakes it.
const period = time.Second

// Keeper acts on servers by SQL and through their hosts. Its methods may be called from any goroutine.
type Keeper struct {
	parts  Parts
	links  *links
	leases *leases
	wake   chan struct{}  // holds at most one token
	tasks  sync.WaitGroup // what Run has started

	mu       sync.Mutex
	known    map[cluster.NodeID]tidings // guarded by mu: what each node said last
	primary  cluster.NodeID             // guarded by mu: the last primary there was
	findings []Finding                  // guarded by mu; replaced, never changed
	needs    cluster.Needs              // guarded by mu: those published last; replaced, never changed

	// What follows is Run's goroutine's.
	reign   reign
	courses map[cluster.NodeID]*course
	quiet   map[cluster.NodeID]time.Time // since when a standby has not streamed
	starts  map[cluster.NodeID]*startClock
	history History
	past    uint64 // system identifier of history
	idle    map[leftover]int
	// strangers were told of last
	strangers []string
}

// reign is one office of this pgpool.
type reign struct {
	term cluster.Term
	ctx  context.Context // ends with it; nil: this pgpool does not act
	end  context.CancelFunc
}

// New makes a Keeper; it acts on its own while Run runs.
func New(p Parts) *Keeper {
	k := &Keeper{
		parts: p, leases: newLeases(time.Now), wake: make(chan struct{}, 1), known: map[cluster.NodeID]tidings{},
		primary: cluster.NoNode, courses: map[cluster.NodeID]*course{}, quiet: map[cluster.NodeID]time.Time{},
		starts: map[cluster.NodeID]*startClock{}, idle: map[leftover]int{},
	}
	k.links = newLinks(&k.parts)
	return k
}

// Run keeps all nodes streaming from the primary, and renews the leases of their agents, until ctx ends. What it has begun has ended when
// it returns.
func (k *Keeper) Run(ctx context.Context) error {
	defer k.links.drop(true)
	defer k.tasks.Wait()
	defer k.resign()
	k.noticed(k.parts.Store.Current())
	stop := k.parts.Store.Watch(k.noticed)
	defer stop()
	k.tasks.Go(func() { k.renewAll(ctx) })
	for ctx.Err() == nil {
		k.round(ctx)
		k.rest(ctx)
	}
	return nil
}

// noticed takes note of a View, on the goroutine of its writer.
func (k *Keeper) noticed(v *cluster.View) {
	if v.Primary != cluster.NoNode {
		k.mu.Lock()
		k.primary = v.Primary
		k.mu.Unlock()
	}
	k.Wake()
}

// Wake makes the keeper look now: after a reload.
func (k *Keeper) Wake() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *Keeper) rest(ctx context.Context) {
	t := time.NewTimer(period)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-k.wake:
	case <-t.C:
	}
}

// Findings returns what was found about the nodes in the last round, by node. The slice is not to be changed.
func (k *Keeper) Findings() []Finding {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.findings
}

// round gathers facts, and begins what they ask for.
func (k *Keeper) round(ctx context.Context) {
	s := k.parts.Settings()
	if !k.inOffice(ctx) || !s.Active {
		k.publish(nil)
		k.want(nil)
		return
	}
	v := k.parts.Store.Current()
	k.recall(v)
	if v.Mode != cluster.ModeStreaming || v.Op != cluster.OpNone || v.Seeking || v.Following || !v.Live(v.Primary) {
		return
	}
	f := k.gather(k.reign.ctx, v)
	if k.parts.Store.Current() != v || k.reign.ctx.Err() != nil {
		return // it is about what was
	}
	k.pardon(&f)
	k.treat(&f, Diagnose(&f))
	k.tidy(&f)
}

// inOffice notes when this pgpool begins and ceases to act on servers.
func (k *Keeper) inOffice(ctx context.Context) bool {
	term, acts := k.parts.Office()
	if k.reign.ctx != nil && (!acts || term != k.reign.term) {
		k.resign()
	}
	if !acts {
		return false
	}
	if k.reign.ctx == nil {
		k.reign.term = term
		k.reign.ctx, k.reign.end = context.WithCancel(ctx)
	}
	return true
}

// resign ends what was begun in an office.
func (k *Keeper) resign() {
	if k.reign.ctx != nil {
		k.reign.end()
		k.reign = reign{}
	}
	for _, c := range k.courses {
		c.cancel(nil)
	}
	clear(k.courses)
	clear(k.quiet)
	clear(k.starts)
	clear(k.idle)
}

// pardon renews the leases again of nodes that are no danger: the primary in force and standbys.
func (k *Keeper) pardon(f *Facts) {
	for i := range f.Nodes {
		if s := &f.Nodes[i].State; s.Err == nil && (s.InRecovery || s.Node == f.View.Primary) {
			k.leases.pardon(s.Node)
		}
	}
}

// gather asks all nodes, and the hosts of those that do not answer.
func (k *Keeper) gather(ctx context.Context, v *cluster.View) Facts {
	f := Facts{View: v, Nodes: make([]NodeFacts, len(v.Nodes))}
	var ids []cluster.NodeID
	for i := range v.Nodes {
		if v.Nodes[i].Port > 0 {
			ids = append(ids, v.Nodes[i].ID)
		} else {
			f.Nodes[i].State = cluster.ServerState{Node: v.Nodes[i].ID, Err: errUnused}
		}
	}
	now := time.Now()
	all := k.askAll(ctx, v, ids)
	primary := k.lastPrimary()
	for _, t := range all {
		id := t.state.Node
		f.Nodes[id] = NodeFacts{
			State: t.state, Version: t.version, Slots: t.slots, Silent: k.silent(&t.state, now), Misfit: misfit(&t, &primary),
		}
		if c := k.courses[id]; c != nil {
			f.Nodes[id].NoRewind, f.Nodes[id].NoStart = c.noRewind, c.noStart(time.Now())
		}
	}
	if k.parts.Spared != nil {
		if id := k.parts.Spared(); id != cluster.NoNode && int(id) < len(f.Nodes) { // it may be of a newer View
			f.Nodes[id].Spared = true
		}
	}
	k.askHosts(ctx, v, &f, ids)
	k.timeStarts(&f, now)
	f.History = k.historyOf(ctx, &f)
	return f
}

var errUnused = errors.New("the node is not in use")

// silent is how long a standby has not streamed.
func (k *Keeper) silent(s *cluster.ServerState, now time.Time) time.Duration {
	if s.Err != nil || !s.InRecovery || s.Streaming {
		delete(k.quiet, s.Node)
		return 0
	}
	since, ok := k.quiet[s.Node]
	if !ok {
		k.quiet[s.Node], since = now, now
	}
	return now.Sub(since)
}

// askHosts finds, all at once, who is at the hosts of servers that are not well, and asks about those that do not answer by SQL.
func (k *Keeper) askHosts(ctx context.Context, v *cluster.View, f *Facts, ids []cluster.NodeID) {
	ctx, cancel := context.WithTimeoutCause(ctx, surveyBound, errSilent)
	defer cancel()
	var wg sync.WaitGroup
	for _, id := range ids {
		at := &f.Nodes[id]
		well := at.State.Err == nil && (id == v.Primary || at.State.InRecovery && at.State.Streaming && v.Live(id))
		if well || v.Nodes[id].Detached {
			continue
		}
		wg.Go(func() {
			h, err := k.parts.Host(v.Nodes[id])
			at.Hosted = !errors.Is(err, cluster.ErrNeedsAgent)
			if at.ControlErr = err; err == nil && at.State.Err != nil {
				at.Control, at.ControlErr = h.Control(ctx)
			}
		})
	}
	wg.Wait()
}

// historyOf is the history of the primary's timeline, which never changes.
func (k *Keeper) historyOf(ctx context.Context, f *Facts) History {
	p := f.primary()
	if p == nil {
		return History{}
	}
	if k.history.Timeline == p.State.Timeline && k.past == p.State.SystemID {
		return k.history
	}
	bounded, cancel := context.WithTimeout(ctx, surveyBound)
	defer cancel()
	h, err := k.links.history(bounded, f.View.Nodes[p.State.Node], p.State.Timeline)
	if err != nil {
		return History{} // Diagnose says so where it matters
	}
	k.history, k.past = h, p.State.SystemID
	return h
}

// remember keeps what a node said.
func (k *Keeper) remember(id cluster.NodeID, t tidings) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if old, ok := k.known[id]; ok && t.state.SlotName == "" && !t.state.InRecovery {
		t.state.SlotName = old.state.SlotName
	}
	k.known[id] = t
}

// heard returns what a node said last; the zero value where it never did.
func (k *Keeper) heard(id cluster.NodeID) tidings {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.known[id]
}

// lastPrimary returns what the last primary said last; the zero value where it never did.
func (k *Keeper) lastPrimary() tidings {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.known[k.primary]
}

// standbysBut lists the names of the standbys in use that answered last, but for one node.
func (k *Keeper) standbysBut(v *cluster.View, id cluster.NodeID) []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var names []string
	for _, other := range slices.Sorted(maps.Keys(k.known)) {
		if s := k.known[other].state; other != id && v.Live(other) && s.InRecovery {
			names = append(names, s.ApplicationName)
		}
	}
	return names
}

// sameTimeline reports whether the lost primary is known to have been on a timeline.
func (k *Keeper) sameTimeline(t cluster.Timeline) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if g := k.parts.Store.Gauges(); g != nil && !g.Primary.Measured.IsZero() && g.Primary.Node == k.primary && g.Primary.Timeline != 0 {
		return g.Primary.Timeline == t
	}
	s := k.known[k.primary].state
	return k.primary != cluster.NoNode && !s.InRecovery && s.Timeline == t && t != 0
}

func (k *Keeper) publish(all []Finding) {
	k.mu.Lock()
	k.findings = all
	k.mu.Unlock()
}

func (k *Keeper) tell(id cluster.NodeID, s logging.Severity, format string, args ...any) {
	k.parts.Log.Log(logging.Event{Severity: s, Node: logging.OnNode(int(id)), Message: fmt.Sprintf(format, args...)})
}
