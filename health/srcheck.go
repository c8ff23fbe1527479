package health

import (
	"context"
	"errors"
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
	// Upstream, index = NodeID: the node a standby streams from; NoNode where that is not known or was not asked.
	Upstream []cluster.NodeID
}

const (
	// answerBound is how long a server may take to log us in and to answer.
	answerBound = 5 * time.Second
	// connectBound stands in for connect_timeout = 0: a round must end.
	connectBound = 10 * time.Second
)

// ReplicationCheck asks the nodes for their roles and positions: every second while the primary is searched, then every
// sr_check_period. It keeps one connection per node open between rounds.
type ReplicationCheck struct {
	store    *cluster.Store
	board    *Board
	prober   *Prober
	settings func() Settings
	report   func(Roles)
	log      logging.Logger
	wake     chan struct{} // holds at most one token
	ready    chan struct{} // closed after the first round

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
	stop := c.store.Watch(func(v *cluster.View) {
		if v.Primary == cluster.NoNode {
			c.Wake()
		}
	})
	defer stop()
	for first := true; ctx.Err() == nil; first = false {
		v, s, now := c.store.Current(), c.settings(), time.Now()
		c.searchClock(v, &s, now)
		step := pace(v, &s, c.searched, now)
		if step.ask {
			c.round(ctx, v, &s, step.searching)
		}
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

func (c *ReplicationCheck) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-c.wake:
	case <-t.C:
	}
}

// round asks all live nodes at once, publishes what was measured and reports the roles.
func (c *ReplicationCheck) round(ctx context.Context, v *cluster.View, s *Settings, searching bool) {
	got := c.askAll(ctx, v, s, searching)
	if ctx.Err() != nil {
		return
	}
	now := time.Now()
	var measured []cluster.NodeGauge
	c.board.update(len(v.Nodes), func(nodes []cluster.NodeGauge) {
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
	err    error
}

func (r *reading) ok() bool { return r.asked && r.err == nil }

// askAll asks the live nodes, each on a goroutine of its own that has ended when it returns. While the primary is searched, the
// others are waited for only a moment longer once one node has said it is the primary: a silent host must not delay the start.
func (c *ReplicationCheck) askAll(ctx context.Context, v *cluster.View, s *Settings, searching bool) []reading {
	const grace = time.Second
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if login := s.srLogin(); login != c.login {
		c.closeAll()
		c.login = login
	}
	for len(c.conns) < len(v.Nodes) {
		c.conns = append(c.conns, nil)
		c.failing = append(c.failing, false)
	}
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
		wg.Go(func() { answers <- c.askNode(ctx, v, i) })
	}
	for range asked {
		r := <-answers
		got[r.node] = r
		if searching && r.ok() && r.answer.Role == cluster.RolePrimary {
			defer time.AfterFunc(grace, cancel).Stop()
		}
	}
	wg.Wait()
	return got
}

// askNode asks over the node's open connection, or a new one where there is none or it has died since the last round.
func (c *ReplicationCheck) askNode(ctx context.Context, v *cluster.View, i int) reading {
	bound := c.login.ConnectTimeout
	if bound <= 0 {
		bound = connectBound
	}
	ctx, cancel := context.WithTimeout(ctx, bound+answerBound)
	defer cancel()
	if c.conns[i] != nil {
		if r := c.askOpen(ctx, v, i); r.err == nil || !c.conns[i].dead() {
			return r
		}
		c.drop(i)
	}
	conn, err := c.prober.Connect(ctx, v.Nodes[i], c.login, srParams())
	if err != nil {
		return reading{node: i, asked: true, err: err}
	}
	c.conns[i] = conn
	r := c.askOpen(ctx, v, i)
	if conn.dead() {
		c.drop(i)
	}
	return r
}

func (c *ReplicationCheck) askOpen(ctx context.Context, v *cluster.View, i int) reading {
	r := reading{node: i, asked: true}
	r.answer, r.err = c.conns[i].Position(ctx)
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
		failed := got[i].asked && got[i].err != nil && !errors.Is(got[i].err, context.Canceled)
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
	r := Roles{Seen: v, Roles: make([]cluster.Role, len(got)), Gone: make([]bool, len(got))}
	for i := range got {
		if got[i].ok() {
			r.Roles[i] = got[i].answer.Role
		}
		r.Gone[i] = gone(got[i].err)
	}
	return r
}
