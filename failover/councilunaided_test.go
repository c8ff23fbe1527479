package failover

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
)

// actors is what the members of a council do on the servers: late, and not always. obeyed is the highest term of each server's agent.
type actors struct {
	*council
	obeyed   []cluster.Term
	delay    time.Duration
	flaky    int // one of so many acts fails; 0: none
	g        *rand.Rand
	faults   []string
	acts     []string
	received []cluster.LSN           // what the servers have; nil: at random
	atWork   map[cluster.NodeID]bool // could not be stopped: nothing reaches them through pgpool any more
}

type memberActor struct {
	*actors
	m *member
}

// inFlight is how much later an order may arrive than its sender has given it up.
const inFlight = 100 * time.Millisecond

// do has an act arrive after a while. One whose sender gives it up may arrive all the same. effect is called with the lock held.
func (a memberActor) do(ctx context.Context, id cluster.NodeID, what string, effect func() error) error {
	a.mu.Lock()
	d, fails := a.delay, a.flaky > 0 && a.g.IntN(a.flaky) == 0
	arrives, blind := a.g.IntN(2) == 0, a.m.blind[id]
	a.mu.Unlock()
	if blind {
		return errors.New("no route to host")
	}
	done := make(chan error, 1)
	go func() {
		pause(ctx, d)
		if ctx.Err() != nil {
			if !arrives {
				return
			}
			time.Sleep(inFlight)
		}
		a.council.set(func() {
			a.acts = append(a.acts, fmt.Sprintf("pgpool %d: %s %d", a.m.id, what, id))
			if fails {
				done <- errors.New("no answer")
				return
			}
			done <- effect()
		})
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// obey is what a server's agent says to an order.
func (a *actors) obey(id cluster.NodeID, term cluster.Term) error {
	if term < a.obeyed[id] {
		return cluster.ErrOldTerm
	}
	a.obeyed[id] = term
	return nil
}

func (a memberActor) Survey(_ context.Context, _ *cluster.View, nodes []cluster.NodeID) []cluster.ServerState {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []cluster.ServerState
	for _, id := range nodes {
		s := cluster.ServerState{Node: id, SystemID: 7, Timeline: 1, Received: cluster.LSN(a.g.IntN(100))}
		if a.received != nil {
			s.Received = a.received[id]
		}
		s.Streaming = true
		if a.servers[id].dead || a.m.blind[id] {
			s.Err = errors.New("no answer")
		}
		s.InRecovery = a.servers[id].role == cluster.RoleStandby
		out = append(out, s)
	}
	return out
}

func (a memberActor) Stop(
	ctx context.Context, _ *cluster.View, id cluster.NodeID, term cluster.Term, _ cluster.StopMode,
) (cluster.LSN, error) {
	err := a.do(ctx, id, "stop", func() error {
		if err := a.obey(id, term); err != nil {
			return err
		}
		delete(a.atWork, id)
		a.servers[id] = server{dead: true, role: cluster.RoleStandby} // is rebuilt before it is started again
		return nil
	})
	if err != nil && !errors.Is(err, cluster.ErrOldTerm) {
		a.council.set(func() { a.atWork[id] = true })
	}
	return 0, err
}

func (a memberActor) Able(context.Context, *cluster.View, cluster.NodeID, cluster.Term) error {
	return nil
}

// Promote is SQL: it knows no terms.
func (a memberActor) Promote(ctx context.Context, _ *cluster.View, id cluster.NodeID, _ cluster.Term, _ cluster.PrimaryGauge) (cluster.Bounds, error) {
	return cluster.Bounds{Before: 1, After: 1}, a.do(ctx, id, "promote", func() error {
		if a.servers[id].dead {
			return errors.New("connection refused")
		}
		for other := range a.servers {
			if s := a.servers[other]; cluster.NodeID(other) != id && !s.dead && s.role == cluster.RolePrimary && !a.atWork[cluster.NodeID(other)] {
				a.faults = append(a.faults, fmt.Sprintf("pgpool %d promotes %d while %d is a primary", a.m.id, id, other))
			}
		}
		a.servers[id].role = cluster.RolePrimary
		return nil
	})
}

func (a memberActor) Start(ctx context.Context, _ *cluster.View, id cluster.NodeID, term cluster.Term) error {
	return a.do(ctx, id, "start", func() error {
		if err := a.obey(id, term); err != nil {
			return err
		}
		a.servers[id].dead = false
		return nil
	})
}

func (a memberActor) Drain(ctx context.Context, _ *cluster.View) error {
	a.mu.Lock()
	d := a.delay
	a.mu.Unlock()
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// TestCouncilsWithoutScripts is TestCouncilsAtRandom with pgpool's own hands on the servers: leaders that change in the middle of
// an act never make two primaries, and when all is well again there is one.
func TestCouncilsWithoutScripts(t *testing.T) {
	seeds := 60
	if testing.Short() {
		seeds = 15
	}
	for seed := range seeds {
		if fault := randomActors(t, uint64(seed)); fault != "" {
			t.Fatalf("seed %d: %s", seed, fault)
		}
	}
}

func randomActors(t *testing.T, seed uint64) (fault string) {
	synctest.Test(t, func(t *testing.T) {
		g := rand.New(rand.NewPCG(seed, 4))
		c := newCouncil(t, 3, 2+g.IntN(3))
		defer c.end()
		a := &actors{council: c, obeyed: make([]cluster.Term, len(c.servers)), g: rand.New(rand.NewPCG(seed, 5)), delay: time.Millisecond, atWork: map[cluster.NodeID]bool{}}
		for _, m := range c.members {
			m.parts.Actor, m.parts.Drainer = memberActor{a, m}, memberActor{a, m}
		}
		c.policy.Failover = conf.Failover{AutoFailover: true, FailoverOnBackendError: true, SwitchoverTimeout: 3 * time.Second}
		c.begin()
		var did []string
		for range 15 {
			did = append(did, a.mishap(g))
			pause(t.Context(), time.Duration(g.IntN(3000))*time.Millisecond)
		}
		a.council.set(func() { a.delay, a.flaky = time.Millisecond, 0 })
		for id := range c.servers {
			a.revive(cluster.NodeID(id))
		}
		c.recover()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		c.mu.Lock()
		faults := a.faults
		c.mu.Unlock()
		if fault = c.disagreement(); fault == "" && len(faults) > 0 {
			fault = faults[0]
		}
		if fault != "" {
			fault = fmt.Sprintf("%s\nafter %q\nacts %q", fault, did, a.acts)
		}
	})
	return fault
}

// revive starts a dead server as the standby it was made.
func (a *actors) revive(id cluster.NodeID) {
	a.council.set(func() {
		if a.servers[id].dead {
			a.servers[id] = server{role: cluster.RoleStandby}
		}
	})
}

func (a *actors) mishap(g *rand.Rand) string {
	m, id := a.members[g.IntN(len(a.members))], cluster.NodeID(g.IntN(len(a.servers)))
	switch g.IntN(6) {
	case 0:
		a.council.set(func() {
			a.delay = []time.Duration{0, 50 * time.Millisecond, time.Second, 5 * time.Second}[g.IntN(4)]
			a.flaky = []int{0, 0, 4, 2}[g.IntN(4)]
		})
		return "slow acts"
	case 1:
		v := m.store.Current()
		if v.Primary == cluster.NoNode {
			return "nothing"
		}
		a.council.set(func() { a.servers[v.Primary] = server{dead: true, role: cluster.RoleStandby} })
		for _, other := range a.members {
			other.Report(Detach{Nodes: []cluster.NodeID{v.Primary}, Origin: ByHealthCheck, Seen: other.store.Current()})
		}
		return fmt.Sprintf("primary %d dies", v.Primary)
	case 2:
		go func() { _ = m.Submit(Switchover{Node: id}) }()
		return fmt.Sprintf("%d: switchover to %d", m.id, id)
	case 3:
		a.revive(id)
		m.Report(Attach{Node: id, Origin: ByAutoFailback, Seen: m.store.Current()})
		return fmt.Sprintf("%d: %d is back", m.id, id)
	}
	return a.council.mishap(g)
}

// Whom a leader was about to promote when it was deposed stays the heir, though others have more by now: the order may still arrive.
func TestAnotherLeaderKeepsTheHeir(t *testing.T) {
	inCouncil(t, 3, 3, func(t *testing.T, c *council) {
		a := &actors{
			council: c, obeyed: make([]cluster.Term, 3), g: rand.New(rand.NewPCG(1, 1)), atWork: map[cluster.NodeID]bool{},
			received: []cluster.LSN{200, 200, 100},
		}
		for _, m := range c.members {
			m.parts.Actor, m.parts.Drainer = memberActor{a, m}, memberActor{a, m}
		}
		c.policy.Failover = conf.Failover{AutoFailover: true, FailoverOnBackendError: true}
		c.begin()
		synctest.Wait()
		c.set(func() { c.servers[0] = server{dead: true, role: cluster.RoleStandby}; a.delay = time.Second })
		for _, m := range c.members {
			m.finds(0)
		}
		time.Sleep(1500 * time.Millisecond) // the old primary is stopped, node 1 is told to be the new one
		c.set(func() { a.received = []cluster.LSN{200, 200, 300}; c.barred[c.leader] = true })
		c.elect()
		time.Sleep(time.Minute)
		for _, m := range c.members {
			if v := m.store.Current(); v.Primary != 1 {
				t.Errorf("pgpool %d: %s", m.id, brief(v))
			}
		}
		if got := slices.Compact(slices.Clone(a.acts)); slices.Contains(got, "pgpool 1: promote 2") || !slices.Contains(got, "pgpool 1: stop 0") {
			t.Errorf("acts %q", a.acts)
		}
	})
}

// A leader that alone reaches no server lets somebody else promote.
func TestBlindLeaderResigns(t *testing.T) {
	inCouncil(t, 3, 3, func(t *testing.T, c *council) {
		a := &actors{
			council: c, obeyed: make([]cluster.Term, 3), g: rand.New(rand.NewPCG(1, 1)), atWork: map[cluster.NodeID]bool{},
			received: []cluster.LSN{200, 200, 100}, delay: time.Millisecond,
		}
		for _, m := range c.members {
			m.parts.Actor, m.parts.Drainer = memberActor{a, m}, memberActor{a, m}
		}
		c.policy.Failover = conf.Failover{AutoFailover: true, FailoverOnBackendError: true}
		c.begin()
		synctest.Wait()
		leader := c.members[c.leader]
		c.set(func() {
			c.servers[0] = server{dead: true, role: cluster.RoleStandby}
			leader.blind = map[cluster.NodeID]bool{0: true, 1: true, 2: true}
		})
		for _, m := range c.members {
			m.finds(0)
		}
		for range 3 { // as health checks do
			leader.finds(1)
			leader.finds(2)
			time.Sleep(5 * time.Second)
		}
		time.Sleep(time.Minute)
		if v := leader.store.Current(); v.Primary != 1 || c.leader == leader.id {
			t.Errorf("pgpool %d leads; %s; %q", c.leader, brief(v), c.ran)
		}
	})
}

// A node that is down already is left alone by whoever leads, when an order at any pgpool says so, until an order attaches it.
func TestKeptOutByAnotherPgpool(t *testing.T) {
	inCouncil(t, 3, 3, func(t *testing.T, c *council) {
		a := &actors{
			council: c, obeyed: make([]cluster.Term, 3), g: rand.New(rand.NewPCG(1, 1)), atWork: map[cluster.NodeID]bool{},
			delay: time.Millisecond,
		}
		for _, m := range c.members {
			m.parts.Actor, m.parts.Drainer = memberActor{a, m}, memberActor{a, m}
		}
		c.policy.Failover = conf.Failover{AutoFailover: true, FailoverOnBackendError: true}
		c.begin()
		synctest.Wait()
		c.set(func() { c.servers[2] = server{dead: true, role: cluster.RoleStandby} })
		for _, m := range c.members {
			m.finds(2)
		}
		time.Sleep(10 * time.Second)
		other := c.members[(c.leader+1)%len(c.members)]
		for _, order := range []Request{Detach{Nodes: []cluster.NodeID{2}, Origin: ByOperator}, Attach{Node: 2, Origin: ByRecovery}} {
			_, kept := order.(Detach)
			if v := c.members[c.leader].store.Current(); v.Nodes[2].Detached == kept || v.Nodes[2].Status != cluster.StatusDown {
				t.Fatalf("before: %s", brief(v))
			}
			if err := errors.Join(other.Submit(order), other.Settle(t.Context())); err != nil {
				t.Fatal(err)
			}
			for _, m := range c.members {
				synctest.Wait()
				if v := m.store.Current(); v.Nodes[2].Detached != kept || v.Live(2) == kept {
					t.Errorf("pgpool %d: kept out %v: %s", m.id, v.Nodes[2].Detached, brief(v))
				}
			}
		}
	})
}
