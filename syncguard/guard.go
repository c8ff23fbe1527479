package syncguard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
)

// Settings are the parameters this package obeys.
type Settings struct {
	On bool // sync_standby_guard
	// Restore: off or not, what was weakened is gone back to; a promotion without scripts weakens.
	Restore bool
	Every   time.Duration // sync_standby_keepalive_time
	Count   int           // sync_standby_keepalive_count
	// Told is how long other pgpool nodes may take to learn of another setting of the primary (sr_check_period).
	Told time.Duration
}

// Parts are what a Guard is built from. All are required.
type Parts struct {
	Store    *cluster.Store
	Settings func() Settings // in force now
	// Office reports whether this pgpool may act on servers, and in which term; without a watchdog it always may.
	Office  func() (cluster.Term, bool)
	Servers Servers
	// Bar records whether a node must not be promoted, and returns when all who could promote it are bound by that.
	Bar func(ctx context.Context, id cluster.NodeID, unfit bool) error
	// Recorded tells why what Bar has recorded would not outlive this pgpool; nil: it would.
	Recorded func(ctx context.Context) error
	Log      logging.Logger
}

// Guard looks after the synchronous standbys. Build it with New, then Run.
type Guard struct {
	parts Parts
	state atomic.Pointer[State]
	wake  chan struct{} // holds at most one token

	// Owned by Run.
	machine machine
	term    cluster.Term
	trouble string    // as told last
	force   string    // what was in force at the last look
	since   time.Time // when that was first seen
}

// State is what the guard saw and did last. It is never changed.
type State struct {
	Acting     bool           // it looks after the servers: it is on (or goes back to what was set), this pgpool acts, and there is a primary
	Primary    cluster.NodeID // NoNode where Acting is false
	InForce    string         // synchronous_standby_names
	Intended   string         // what an administrator has set
	Standbys   []StandbyState
	Measured   time.Time
	Trouble    string // why nothing could be seen or changed, empty if all is well
	Weakenings uint64 // how often the setting was weakened since the start
}

// Weak reports whether commits wait for fewer standbys than an administrator wants.
func (s *State) Weak() bool { return s.InForce != s.Intended }

// StandbyState is what was seen of a standby that the setting names.
type StandbyState struct {
	Node             cluster.NodeID // NoNode: a name that is no node's
	Name             string
	Streams, Answers bool
	Misses           int
	SyncState        string
}

// New makes a guard; nothing runs so far.
func New(p Parts) *Guard {
	g := &Guard{parts: p, wake: make(chan struct{}, 1)}
	g.machine.forget()
	g.state.Store(&State{Primary: cluster.NoNode})
	return g
}

// State may be called from any goroutine.
func (g *Guard) State() *State { return g.state.Load() }

// idleEvery is how often a guard that has nothing to do looks whether it has.
const idleEvery = time.Second

// Run looks every sync_standby_keepalive_time until ctx ends. What it does meanwhile it does to the end, bounded.
func (g *Guard) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		began, wait := time.Now(), idleEvery
		v, s := g.parts.Store.Current(), g.parts.Settings()
		if term, acts := g.parts.Office(); acts && s.due(v) {
			if term != g.term {
				g.machine.forget()
				g.term = term
			}
			g.look(ctx, v, s)
			wait = s.Every
		} else {
			g.rest()
		}
		g.pause(ctx, time.Until(began.Add(wait)))
	}
	return nil
}

// Wake makes the guard obey its settings now: after a reload.
func (g *Guard) Wake() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// due reports whether there is something to look after: a primary in force and no failover under way. A guard that is off looks as long as
// a node is barred, so that turning it off leaves none so, or as others may weaken the setting.
func (s *Settings) due(v *cluster.View) bool {
	if v.Mode != cluster.ModeStreaming || v.Op != cluster.OpNone || v.Seeking || v.Draining || !v.Live(v.Primary) {
		return false
	}
	return s.On || s.Restore || slices.ContainsFunc(v.Nodes, func(n cluster.Node) bool { return n.Unfit })
}

func (g *Guard) rest() {
	g.machine.forget()
	g.trouble, g.since = "", time.Time{}
	if g.State().Acting {
		g.state.Store(&State{Primary: cluster.NoNode, Weakenings: g.State().Weakenings})
	}
}

// look is one look at the servers and what follows from it.
func (g *Guard) look(ctx context.Context, v *cluster.View, s Settings) {
	seen, cancel := context.WithTimeout(ctx, s.Every)
	defer cancel()
	next := *g.State()
	next.Acting, next.Primary, next.Trouble = true, v.Primary, ""
	plan, l, err := g.see(seen, v, s)
	if err != nil {
		if ctx.Err() != nil {
			return
		}
		g.machine.interrupted()
		next.Trouble = fmt.Sprintf("the primary, node %d, cannot be asked about its standbys: %v", v.Primary, err)
		g.troubled(next.Trouble, "It is asked as recovery_user, where that is empty as sr_check_user.")
		g.state.Store(&next)
		return
	}
	next.Measured, next.InForce, next.Intended = time.Now(), l.InForce, l.InForce
	if l.Remembered != "" && !plan.Forget {
		next.Intended = l.Remembered
	}
	next.Standbys = g.machine.states()
	g.tell(plan.Notes)
	if err := g.carryOut(ctx, v, l, plan, &next); err != nil && ctx.Err() == nil {
		next.Trouble = err.Error()
		g.troubled(next.Trouble, "")
	} else if err == nil {
		g.trouble = ""
	}
	g.state.Store(&next)
}

// noticed is how long a checkpointer that has nothing else to do may take to read a setting that sessions have read.
const noticed = 500 * time.Millisecond

// see asks the primary, then its standbys, and decides.
func (g *Guard) see(ctx context.Context, v *cluster.View, s Settings) (Plan, *Look, error) {
	session, err := g.parts.Servers.Open(ctx, v.Nodes[v.Primary])
	if err != nil {
		return Plan{}, nil, err
	}
	l, err := ask(ctx, session)
	session.Close()
	if err != nil {
		return Plan{}, nil, err
	}
	if l.InForce != g.force || g.since.IsZero() {
		g.force, g.since = l.InForce, time.Now()
	}
	l.Known = time.Since(g.since) > s.Told
	l.Obeyed = l.Obeyed && time.Since(g.since) >= noticed
	l.Answers = g.ping(ctx, v, &l)
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), context.Canceled) {
		return Plan{}, nil, context.Cause(ctx)
	}
	plan, err := g.machine.step(v, &l, Rule{Count: s.Count, Weaken: s.On})
	return plan, &l, err
}

// ping opens a connection to each standby that is named, all at once.
func (g *Guard) ping(ctx context.Context, v *cluster.View, l *Look) []bool {
	answers := make([]bool, len(v.Nodes))
	names, err := parse(l.InForce)
	if l.Remembered != "" && err == nil {
		if full, wrong := parse(l.Remembered); wrong == nil {
			names = full
		}
	}
	var wg sync.WaitGroup
	for _, m := range members(v, names.SyncNames, nil) {
		if m.node != cluster.NoNode {
			wg.Go(func() { answers[m.node] = g.parts.Servers.Ping(ctx, v.Nodes[m.node]) == nil })
		}
	}
	wg.Wait()
	return answers
}

// changeBound bounds how long the servers may take for a change.
const changeBound = 10 * time.Second

// carryOut does what is planned, in the order that keeps every acknowledged commit: bars are committed before the server is weakened, and
// lifted after it was made strict again.
func (g *Guard) carryOut(ctx context.Context, v *cluster.View, l *Look, plan Plan, next *State) error {
	if plan.Remember == "" && !plan.Set && !plan.Forget && len(plan.Bar)+len(plan.Clear) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, changeBound)
	defer cancel()
	session, err := g.parts.Servers.Open(ctx, v.Nodes[v.Primary])
	if err != nil {
		return fmt.Errorf("connection to the primary, node %d: %w", v.Primary, err)
	}
	defer session.Close()
	if plan.Remember != "" {
		if err := remember(ctx, session, plan.Remember); err != nil {
			return fmt.Errorf("%s cannot be kept on the primary, node %d, so nothing is changed: %w", Remembered, v.Primary, err)
		}
	}
	if err := g.record(ctx, plan.Bar, true); err != nil {
		return err
	}
	if plan.Set && !plan.Back {
		if err := g.parts.Recorded(ctx); err != nil {
			return fmt.Errorf("it cannot be kept who must not be promoted, so synchronous_standby_names stays: %w", err)
		}
	}
	if plan.Set {
		if err := g.put(ctx, session, v, l, plan); err != nil {
			return err
		}
		next.InForce = plan.Names
		if !plan.Back && plan.Remember != "" {
			next.Intended = plan.Remember
			next.Weakenings++
		}
	}
	if err := g.record(ctx, plan.Clear, false); err != nil {
		return err
	}
	if plan.Forget {
		if err := unremember(ctx, session); err != nil {
			return fmt.Errorf("%s cannot be reset on the primary, node %d: %w", Remembered, v.Primary, err)
		}
	}
	return nil
}

// record has it recorded for nodes whether they must not be promoted.
func (g *Guard) record(ctx context.Context, nodes []cluster.NodeID, unfit bool) error {
	for _, id := range nodes {
		if err := g.parts.Bar(ctx, id, unfit); err != nil {
			if unfit {
				return fmt.Errorf("it cannot be recorded that node %d must not be promoted, so synchronous_standby_names stays: %w", id, err)
			}
			return fmt.Errorf("it cannot be recorded that node %d may be promoted: %w", id, err)
		}
	}
	return nil
}

// put changes the setting, unless this pgpool has lost its office meanwhile or the cluster has moved on.
func (g *Guard) put(ctx context.Context, session Session, v *cluster.View, l *Look, plan Plan) error {
	now := g.parts.Store.Current()
	if term, acts := g.parts.Office(); !acts || term != g.term || now.Primary != v.Primary || now.Op != cluster.OpNone {
		return errors.New("the primary or the office has changed meanwhile, so synchronous_standby_names stays")
	}
	if err := put(ctx, session, plan.Names, plan.Back); err != nil {
		return fmt.Errorf("synchronous_standby_names of the primary, node %d: %w", v.Primary, err)
	}
	g.parts.Log.Log(changed(v.Primary, l.InForce, plan))
	return nil
}

// changed is the line an administrator looks for.
func changed(primary cluster.NodeID, from string, plan Plan) logging.Event {
	e := logging.Event{
		Severity: logging.Warning, Node: logging.OnNode(primary),
		Message: "sync_standby_guard: replication changes to asynchronous: writes wait for no standby",
		Detail:  fmt.Sprintf("synchronous_standby_names of node %d is changed from %s to %s.", primary, quote(from), quote(plan.Names)),
	}
	switch {
	case plan.Back:
		e.Severity, e.Message = logging.Log, "sync_standby_guard: replication changes back to synchronous"
	case plan.Names != "":
		e.Message = "sync_standby_guard: writes wait for the synchronous standbys that are left"
	}
	return e
}

func (m *machine) states() []StandbyState {
	all := make([]StandbyState, len(m.standbys))
	for i, s := range m.standbys {
		all[i] = StandbyState{Node: s.node, Name: s.name, Streams: s.streams, Answers: s.answers, Misses: s.misses, SyncState: s.sync}
	}
	return all
}

func (g *Guard) tell(notes []Note) {
	for _, n := range notes {
		e := logging.Event{Severity: logging.Warning, Message: "sync_standby_guard: " + n.String(), Node: logging.OnNode(n.Node)}
		if n.Kind == Seen {
			e.Severity = logging.Log
		}
		g.parts.Log.Log(e)
	}
}

// troubled logs why nothing is done, when that begins or changes.
func (g *Guard) troubled(why, hint string) {
	if g.trouble != why {
		g.trouble = why
		g.parts.Log.Log(logging.Event{Severity: logging.Warning, Message: "sync_standby_guard: " + why, Hint: hint})
	}
}

func (g *Guard) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-t.C:
	case <-g.wake:
	case <-ctx.Done():
	}
}
