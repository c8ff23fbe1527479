package health

import (
	"context"
	"sync"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
)

// Roles is what one round of asking found. It has the fields of failover's request of that kind.
type Roles struct {
	Seen  *cluster.View  // the View in force when the nodes were asked
	Roles []cluster.Role // index = NodeID; unknown for a node that was not asked or did not answer
	Gone  []bool         // index = NodeID; nothing listens at the node's address
	// Timelines, index = NodeID: of the primaries; 0 where that is not known.
	Timelines []cluster.Timeline
	// Upstream, index = NodeID: the node a standby streams from; NoNode where that is not known or was not asked.
	Upstream []cluster.NodeID
}

const (
	// roundBound is how long a server may take to log us in and to answer.
	roundBound = 5 * time.Second
	// roundGrace is how long the others are waited for once the primary has answered, so that a silent host delays neither the start
	// nor what is measured on the others; searchGrace the same while the primary is searched.
	roundGrace  = 2 * time.Second
	searchGrace = time.Second
)

// ReplicationCheck asks the nodes for their roles and positions: every second while the primary is searched, then every
// sr_check_period. It keeps one connection per node open between rounds. It rests while failover is at work.
type ReplicationCheck struct {
	store    *cluster.Store
	board    *Board
	prober   *Prober
	settings func() Settings
	report   func(Roles)
	log      logging.Logger
	wake     chan struct{} // holds at most one token
	ready    chan struct{} // closed after the first round

	mu    sync.Mutex
	seen  *cluster.View      // guarded by mu; the last View changed has looked at
	abort context.CancelFunc // guarded by mu; ends the round under way

	// Owned by Run; during a round each node's goroutine owns the element of its node.
	conns    []*Conn
	login    Login     // the account of conns
	failing  []bool    // the last round failed on the node: it is told once
	searched time.Time // when the search that is under way began; zero while a primary is known
	given    bool      // the search has been given up: it is told once
}

// NewReplicationCheck makes the check. Settings are taken anew for each round; report must not block.
func NewReplicationCheck(
	store *cluster.Store, board *Board, prober *Prober, settings func() Settings, report func(Roles), log logging.Logger,
) *ReplicationCheck {
	return &ReplicationCheck{
		store: store, board: board, prober: prober, settings: settings, report: report, log: log,
		wake: make(chan struct{}, 1), ready: make(chan struct{}),
	}
}

// Ready is closed when the first round of asking is over and has been reported, or when there is nothing to ask for. A proxy that
// waits for it (and for failover to have settled) serves its first clients with a primary, where there is one; if there is none it
// serves them anyway, and the search goes on.
func (c *ReplicationCheck) Ready() <-chan struct{} { return c.ready }

// Wake makes the check look at its settings now: after a reload.
func (c *ReplicationCheck) Wake() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run asks until ctx ends, and closes its connections.
func (c *ReplicationCheck) Run(ctx context.Context) error {
	defer c.closeAll()
	c.seen = c.store.Current()
	stop := c.store.Watch(c.changed)
	defer stop()
	for first := true; ctx.Err() == nil; first = false {
		round, cancel := context.WithCancel(ctx)
		v, s, now := c.begin(cancel), c.settings(), time.Now()
		c.searchClock(v, &s, now)
		step := pace(v, &s, c.searched, now)
		if step.ask {
			c.round(round, v, &s, step.searching)
		}
		cancel()
		if !step.keep {
			c.closeAll()
		}
		if first {
			close(c.ready)
		}
		c.pause(ctx, step.wait)
	}
	return nil
}

// begin takes the View for a round, which abort ends if failover sets to work meanwhile.
func (c *ReplicationCheck) begin(abort context.CancelFunc) *cluster.View {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.abort = abort
	return c.store.Current()
}

// changed looks at a View just published, on the goroutine of its writer.
func (c *ReplicationCheck) changed(v *cluster.View) {
	c.mu.Lock()
	before := c.seen
	c.seen = v
	if resting(v) && c.abort != nil {
		c.abort()
	}
	c.mu.Unlock()
	if v.Primary != before.Primary {
		// What the last primary said of its standbys is over. auto_failback must not see it.
		c.board.update(len(v.Nodes), forget)
	}
	if !resting(v) && (resting(before) || v.Primary == cluster.NoNode) {
		c.Wake()
	}
}

func (c *ReplicationCheck) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-c.wake:
	case <-t.C:
	}
}

// round asks all live nodes at once, publishes what was measured and reports the roles. A round that was ended early says nothing.
func (c *ReplicationCheck) round(ctx context.Context, v *cluster.View, s *Settings, searching bool) {
	got := c.askAll(ctx, v, s, searching)
	if ctx.Err() != nil {
		return
	}
	now := time.Now()
	var measured []cluster.NodeGauge
	c.board.record(len(v.Nodes), saidBy(v, got, now), func(nodes []cluster.NodeGauge) {
		measure(v, &s.Streaming, nodes, got, now)
		measured = nodes
	})
	for _, e := range delays(v, &s.Streaming, measured, now) {
		c.log.Log(e)
	}
	c.tellFailures(got)
	c.report(rolesOf(v, got))
}

// reading is the outcome of asking one node.
type reading struct {
	node   int
	asked  bool
	answer Answer
	peers  []Peer // of the primary
	// upstream is the node a standby streams from, NoNode where nobody asked or it did not tell.
	upstream cluster.NodeID
	err      error
}

func (r *reading) ok() bool { return r.asked && r.err == nil }

// askAll asks the live nodes, each on a goroutine of its own that has ended when it returns.
func (c *ReplicationCheck) askAll(parent context.Context, v *cluster.View, s *Settings, searching bool) []reading {
	ctx, cancel := context.WithTimeout(parent, roundBound)
	defer cancel()
	c.prepare(len(v.Nodes), s)
	got := make([]reading, len(v.Nodes))
	answers := make(chan reading)
	var wg sync.WaitGroup
	asked := 0
	for i := range v.Nodes {
		if !v.Nodes[i].Status.Live() {
			c.drop(i)
			continue
		}
		asked++
		wg.Go(func() { answers <- c.askNode(ctx, v, i, s.DetachFalsePrimary) })
	}
	grace := roundGrace
	if searching {
		grace = searchGrace
	}
	for range asked {
		r := <-answers
		if r.err != nil && ctx.Err() != nil && parent.Err() == nil {
			r.err = &Error{Node: cluster.NodeID(r.node), Trouble: Silent, Err: errSilent}
		}
		got[r.node] = r
		if r.ok() && r.answer.Role == cluster.RolePrimary {
			defer time.AfterFunc(grace, cancel).Stop()
		}
	}
	wg.Wait()
	return got
}

// prepare makes room for n nodes. Connections of another account are closed.
func (c *ReplicationCheck) prepare(n int, s *Settings) {
	if login := s.srLogin(); login != c.login {
		c.closeAll()
		c.login = login
	}
	for len(c.conns) < n {
		c.conns = append(c.conns, nil)
		c.failing = append(c.failing, false)
	}
}

// askNode asks over the node's open connection, or a new one where there is none, it has died since the last round, or the node is
// spoken to in another way since a reload.
func (c *ReplicationCheck) askNode(ctx context.Context, v *cluster.View, i int, upstream bool) reading {
	if c.conns[i] != nil && c.conns[i].server != c.prober.server(v.Nodes[i]) {
		c.drop(i)
	}
	if c.conns[i] != nil {
		if r := c.askOpen(ctx, v, i, upstream); r.err == nil || !c.conns[i].dead() {
			return r
		}
		c.drop(i)
	}
	conn, err := c.prober.Connect(ctx, v.Nodes[i], c.login, srParams())
	if err != nil {
		return reading{node: i, asked: true, err: err}
	}
	c.conns[i] = conn
	r := c.askOpen(ctx, v, i, upstream)
	if conn.dead() {
		c.drop(i)
	}
	return r
}

func (c *ReplicationCheck) askOpen(ctx context.Context, v *cluster.View, i int, upstream bool) reading {
	r := reading{node: i, asked: true}
	r.answer, r.upstream, r.err = c.conns[i].tellsOf(ctx, v, upstream)
	if r.err == nil && r.answer.Role == cluster.RolePrimary && v.Primary == cluster.NodeID(i) {
		r.peers, r.err = c.conns[i].Peers(ctx)
	}
	return r
}

func (c *ReplicationCheck) drop(i int) {
	if c.conns[i] != nil {
		closeQuietly(c.conns[i])
		c.conns[i] = nil
	}
}

func (c *ReplicationCheck) closeAll() {
	for i := range c.conns {
		c.drop(i)
	}
}

// tellFailures logs a node that could not be asked, when that begins.
func (c *ReplicationCheck) tellFailures(got []reading) {
	for i := range got {
		failed := got[i].asked && got[i].err != nil
		if failed && !c.failing[i] {
			c.log.Log(logging.Event{
				Severity: logging.Warning, Node: logging.OnNode(i),
				Message: "Failed to check replication time lag",
				Detail:  got[i].err.Error(),
				Hint:    "Check sr_check_user, sr_check_password and sr_check_database, and whether the server is running.",
			})
		}
		c.failing[i] = failed
	}
}

// rolesOf are the roles of a round, in the form of a report.
func rolesOf(v *cluster.View, got []reading) Roles {
	r := Roles{
		Seen: v, Roles: make([]cluster.Role, len(got)), Gone: make([]bool, len(got)), Upstream: make([]cluster.NodeID, len(got)),
		Timelines: make([]cluster.Timeline, len(got)),
	}
	for i := range got {
		r.Upstream[i] = cluster.NoNode
		if got[i].ok() {
			r.Roles[i], r.Upstream[i], r.Timelines[i] = got[i].answer.Role, got[i].upstream, got[i].answer.Timeline
		}
		r.Gone[i] = gone(got[i].err)
	}
	return r
}
