package failover

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/logging"
)

// council is an honest world of several pgpool nodes: a log that loses nothing once it is committed, one leader at a time among those
// who can talk to most of the others, and the servers all of them look at.
type council struct {
	t *testing.T

	mu        sync.Mutex
	changed   chan struct{} // closed and replaced when something changes
	members   []*member
	servers   []server
	log       [][]byte
	leader    int // -1 none
	term      uint64
	votes     map[string]*box
	barred    map[int]bool // have resigned
	ran       []string
	consensus bool // failover_require_consensus

	policy     Policy
	commitTime time.Duration
	command    time.Duration // how long a command takes
	promoting  time.Duration // how long a promotion takes after that
	atOnce     bool          // a promotion begins with its command, not with its end
	fencing    time.Duration
	writes     int // of the log
}

// box has the votes for one thing.
type box struct {
	by    map[int]bool
	first time.Time
}

// member is a pgpool node of a council.
type member struct {
	*Coordinator
	*council
	id       int
	store    *cluster.Store
	lines    *written
	out      *logging.Output
	told     int // bytes of lines that were looked at
	stop     func()
	cut      bool // nobody hears it
	dead     bool
	blind    map[cluster.NodeID]bool // servers it cannot reach
	heard    uint64                  // of the log
	carried  uint64
	standing Standing
}

// written is what was written, for another goroutine.
type written struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// newCouncil has n pgpool nodes and as many servers as backends, 0 is the primary.
func newCouncil(t *testing.T, n, servers int) *council {
	c := &council{
		t: t, changed: make(chan struct{}), servers: make([]server, servers), leader: -1, votes: map[string]*box{},
		barred: map[int]bool{}, consensus: true, commitTime: 5 * time.Millisecond,
	}
	for i := range c.servers {
		c.servers[i].role = cluster.RoleStandby
	}
	c.servers[0].role = cluster.RolePrimary
	c.policy = Policy{WhenQuorumExists: true, Failover: conf.Failover{
		FailoverCommand: promoteMain, SearchPrimaryNodeTimeout: 30 * time.Second, FailoverOnBackendError: true,
	}}
	for i := range n {
		c.members = append(c.members, c.newMember(i, servers))
	}
	return c
}

func (c *council) newMember(id, servers int) *member {
	v, _ := First(cluster.ModeStreaming, backends(servers), nil, time.Now())
	v.Primary = 0
	assignRoles(v)
	m := &member{
		council: c, id: id, store: cluster.NewStore(v), lines: &written{}, blind: map[cluster.NodeID]bool{}, standing: StandingLoading,
	}
	cfg := logging.Default()
	cfg.Writer, cfg.LinePrefix = m.lines, ""
	out, err := logging.New(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	m.out = out
	m.Coordinator = NewCoordinator(Parts{
		Store: m.store, StatusFile: filepath.Join(c.t.TempDir(), StatusFileName), Log: out.Logger(), Policy: c.policyNow,
		Seeker: m, Fencer: m, Confirmer: m, Consensus: m,
	})
	m.Coordinator.run = m.runCommand
	return m
}

func (c *council) policyNow() Policy {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.policy
}

func (c *council) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	c.changeLocked()
}

// written are the decisions, done what the nodes have run.
func (c *council) written() [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.log)
}

func (c *council) done() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.ran)
}

func (c *council) changeLocked() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// begin starts all coordinators, and has them elect.
func (c *council) begin() {
	for _, m := range c.members {
		c.start(m)
	}
	c.elect()
}

func (c *council) start(m *member) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := m.Run(ctx); err != nil {
			c.t.Errorf("pgpool %d: %v", m.id, err)
		}
	})
	m.stop = func() { cancel(); wg.Wait() }
}

func (c *council) end() {
	for _, m := range c.members {
		c.set(func() { m.dead = true })
		m.stop()
	}
}

// heard are the nodes that can talk to each other.
func (c *council) heardLocked() []*member {
	var all []*member
	for _, m := range c.members {
		if !m.dead && !m.cut {
			all = append(all, m)
		}
	}
	return all
}

// elect gives everybody the office that is due: the lowest of the majority leads, if the last leader does not.
func (c *council) elect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.changeLocked()
	heard := c.heardLocked()
	majority := len(heard) > len(c.members)/2
	lead := func(id int) bool {
		return majority && !c.barred[id] && slices.ContainsFunc(heard, func(m *member) bool { return m.id == id })
	}
	if c.leader < 0 || !lead(c.leader) {
		c.leader = -1
		for _, m := range heard {
			if c.leader < 0 && lead(m.id) {
				c.leader = m.id
			}
		}
		c.term++
		clear(c.votes)
	}
	for _, m := range c.members {
		if m.dead {
			continue
		}
		o := Office{Standing: StandingFollows, Term: c.term, Leader: fmt.Sprintf("pgpool %d", c.leader)}
		switch {
		case m.cut || c.leader < 0:
			o = Office{Standing: StandingAlone}
		case m.id == c.leader:
			o.Standing = StandingLeads
		}
		if n := uint64(len(c.log)); o.Standing != StandingAlone && n > m.heard {
			m.heard = n
			m.Decided(n, c.log[n-1])
		}
		m.standing = o.Standing
		m.Hold(o)
	}
}

func (m *member) leadsLocked() bool { return m.leader == m.id && !m.dead && !m.cut }

// waitFor waits until f is true, or ctx ends. f is called with the lock held.
func (c *council) waitFor(ctx context.Context, f func() bool) error {
	for {
		c.mu.Lock()
		ok, changed := f(), c.changed
		c.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Commit is late, or hangs until the node learns that it does not lead.
func (m *member) Commit(ctx context.Context, decision []byte) error {
	m.mu.Lock()
	d, term := m.commitTime, m.term
	m.mu.Unlock()
	pause(ctx, d)
	if err := m.waitFor(ctx, func() bool { return m.leadsLocked() || m.term != term || m.dead }); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.leadsLocked() || m.term != term {
		return fmt.Errorf("%w: pgpool %d does", ErrNotLeader, m.leader)
	}
	m.council.log = append(m.council.log, decision)
	m.writes++
	for _, other := range m.heardLocked() {
		other.heard = uint64(len(m.council.log))
		other.Decided(uint64(len(m.council.log)), decision)
	}
	m.changeLocked()
	return nil
}

func (m *member) Await(ctx context.Context) error {
	m.mu.Lock()
	last := uint64(len(m.council.log))
	m.mu.Unlock()
	return m.waitFor(ctx, func() bool {
		for _, other := range m.members {
			if other != m && !other.dead && other.carried < last {
				return false
			}
		}
		return true
	})
}

func (m *member) Carried(seq uint64) { m.set(func() { m.carried = max(m.carried, seq) }) }

func (m *member) Resign(why string) {
	m.set(func() {
		m.barred[m.id] = true
		m.council.ran = append(m.council.ran, fmt.Sprintf("pgpool %d resigns: %s", m.id, why))
	})
	m.elect()
}

// Ask counts votes as the manual has it.
func (m *member) Ask(ctx context.Context, a Ask) (Answer, error) {
	m.mu.Lock()
	leader := m.leader
	if m.cut || m.dead || leader < 0 || m.members[leader].dead || m.members[leader].cut {
		m.mu.Unlock()
		return Answer{Result: ResultNoLeader}, nil
	}
	if !a.Confirmed && m.consensus {
		b := m.council.votes[a.Key]
		if b == nil || time.Since(b.first) > 15*time.Second {
			b = &box{by: map[int]bool{}, first: time.Now()}
			m.council.votes[a.Key] = b
		}
		again := b.by[m.id]
		b.by[m.id] = true
		if n := len(b.by); n <= len(m.members)/2 {
			m.mu.Unlock()
			if again {
				return Answer{Result: ResultMayFail, Votes: n}, nil
			}
			for _, other := range m.members {
				other.Resend()
			}
			return Answer{Result: ResultBuilding, Votes: n}, nil
		}
		delete(m.council.votes, a.Key)
	}
	term := m.term
	m.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	var lost sync.WaitGroup
	lost.Go(func() { // who has asked learns at once that nobody will answer
		_ = m.waitFor(ctx, func() bool { return m.term != term })
		cancel()
	})
	reply := m.members[leader].Execute(ctx, a.Request)
	cancel()
	lost.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.term != term {
		return Answer{Result: ResultNoLeader}, nil
	}
	return Answer{Result: ResultDone, Reply: reply}, nil
}

// Seek answers as the servers do that this node can reach.
func (m *member) Seek(_ context.Context, v *cluster.View) RolesSeen {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := RolesSeen{Seen: v, Roles: make([]cluster.Role, len(v.Nodes)), Gone: make([]bool, len(v.Nodes))}
	for i := range m.servers {
		s := &m.servers[i]
		if !s.becomes.IsZero() && !time.Now().Before(s.becomes) {
			s.role, s.becomes = cluster.RolePrimary, time.Time{}
		}
		if id := cluster.NodeID(i); v.Live(id) && !m.blind[id] {
			r.Gone[i] = s.dead
			if !s.dead {
				r.Roles[i] = s.role
			}
		}
	}
	return r
}

func (m *member) Fence(ctx context.Context, _ *cluster.View) error {
	m.mu.Lock()
	d := m.fencing
	m.mu.Unlock()
	pause(ctx, d)
	return ctx.Err()
}

func (m *member) Confirm(cluster.NodeID) {}

// mustBeWritten checks that a leader runs a command only when nobody can lose what it is run for.
func (m *member) mustBeWritten(text string, target, failed cluster.NodeID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.leadsLocked() || m.standing != StandingLeads {
		return
	}
	d, err := parseDecision(m.council.log[len(m.council.log)-1])
	if err != nil {
		m.t.Fatal(err)
	}
	for _, cmd := range d.Commands {
		if cmd.Begun && cmd.Node == failed && (cmd.NewMain == target || !d.view(m.store.Current()).Live(cmd.NewMain)) {
			return
		}
	}
	m.t.Errorf("pgpool %d runs %q, and the last decision is %s", m.id, text, m.council.log[len(m.council.log)-1])
}

func (m *member) runCommand(ctx context.Context, text string) error {
	m.set(func() { m.council.ran = append(m.council.ran, fmt.Sprintf("pgpool %d runs %s", m.id, text)) })
	m.mu.Lock()
	d, atOnce := m.council.command, m.atOnce
	m.mu.Unlock()
	var target, failed, was int
	promotes := false
	if _, err := fmt.Sscanf(text, "promote %d failed %d was%d", &target, &failed, &was); err == nil {
		promotes = failed == was && target >= 0
		m.mustBeWritten(text, cluster.NodeID(target), cluster.NodeID(failed))
	}
	promote := func() {
		m.set(func() {
			if s := &m.servers[target]; promotes && s.becomes.IsZero() && s.role != cluster.RolePrimary {
				s.becomes = time.Now().Add(m.promoting)
			}
		})
	}
	if atOnce && promotes {
		promote()
	}
	pause(ctx, d)
	if ctx.Err() != nil {
		m.set(func() {
			m.council.ran = append(m.council.ran, fmt.Sprintf("pgpool %d ends %s: %v", m.id, text, context.Cause(ctx)))
		})
		return context.Cause(ctx)
	}
	if !atOnce && promotes {
		promote()
	}
	return nil
}

// finds has a node's health check find servers dead.
func (m *member) finds(ids ...cluster.NodeID) {
	m.Report(Detach{Nodes: ids, Origin: ByHealthCheck, Seen: m.store.Current()})
}

// brief is what SHOW pool_nodes tells.
func brief(v *cluster.View) string {
	parts := make([]string, len(v.Nodes))
	for i := range v.Nodes {
		parts[i] = fmt.Sprintf("%d:%s %s", i, v.Nodes[i].Status, v.Nodes[i].Role)
	}
	s := strings.Join(parts, ", ")
	if v.Op != cluster.OpNone {
		s += ", " + v.Op.String()
	}
	if v.Seeking {
		s += ", seeking"
	}
	if v.Following {
		s += ", following"
	}
	return s
}

// columns are the rows of SHOW pool_nodes with their times.
func columns(v *cluster.View) string {
	s := brief(v)
	for i := range v.Nodes {
		s += v.Nodes[i].LastStatusChange.UTC().Format(time.RFC3339Nano)
	}
	return s
}

func inCouncil(t *testing.T, n, servers int, f func(t *testing.T, c *council)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newCouncil(t, n, servers)
		defer c.end()
		f(t, c)
	})
}
