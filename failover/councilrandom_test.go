package failover

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"gopgpool/cluster"
)

// TestCouncilsAtRandom cuts, crashes and heals pgpool nodes while servers die and administrators change things. When all is well
// again all nodes show the same, and nothing is left under way.
func TestCouncilsAtRandom(t *testing.T) {
	seeds := 100
	if testing.Short() {
		seeds = 15
	}
	for seed := range seeds {
		if fault := randomCouncil(t, uint64(seed)); fault != "" {
			t.Fatalf("seed %d: %s", seed, fault)
		}
	}
}

func randomCouncil(t *testing.T, seed uint64) (fault string) {
	synctest.Test(t, func(t *testing.T) {
		g := rand.New(rand.NewPCG(seed, 3))
		c := newCouncil(t, 3, 2+g.IntN(3))
		defer c.end()
		c.policy.SearchPrimaryNodeTimeout = 10 * time.Second
		if g.IntN(2) == 0 {
			c.policy.FollowPrimaryCommand = "follow%d"
		}
		c.begin()
		var did []string
		for range 15 {
			did = append(did, c.mishap(g))
			pause(t.Context(), time.Duration(g.IntN(3000))*time.Millisecond)
		}
		c.recover()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if fault = c.disagreement(); fault != "" {
			fault = fmt.Sprintf("%s\nafter %q\nran %q", fault, did, c.ran)
		}
	})
	return fault
}

// mishap is something that happens.
func (c *council) mishap(g *rand.Rand) string {
	m, id := c.members[g.IntN(len(c.members))], cluster.NodeID(g.IntN(len(c.servers)))
	quickly := func(r Request) {
		done := make(chan struct{})
		go func() { _ = m.Submit(r); close(done) }()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			c.t.Error("an order took more than 20 s")
			<-done
		}
	}
	switch g.IntN(12) {
	case 0, 1:
		c.set(func() { m.cut = true })
		c.elect()
		return fmt.Sprintf("cut %d", m.id)
	case 2, 3:
		c.set(func() { m.cut = false })
		c.elect()
		return fmt.Sprintf("heal %d", m.id)
	case 4:
		c.set(func() { clear(c.barred); c.barred[c.leader] = true })
		c.elect()
		return "another leader"
	case 5:
		c.set(func() {
			c.commitTime = []time.Duration{0, 5 * time.Millisecond, time.Second, 4 * time.Second}[g.IntN(4)]
			c.command = []time.Duration{0, 100 * time.Millisecond, 3 * time.Second}[g.IntN(3)]
			c.promoting = []time.Duration{0, time.Second, 8 * time.Second}[g.IntN(3)]
			c.fencing = []time.Duration{0, 100 * time.Millisecond, 3 * time.Second}[g.IntN(3)]
		})
		return "slow"
	case 6:
		quickly(Detach{Nodes: []cluster.NodeID{id}, Origin: ByOperator})
		return fmt.Sprintf("%d: detach %d", m.id, id)
	case 7:
		quickly(Attach{Node: id, Origin: ByOperator})
		return fmt.Sprintf("%d: attach %d", m.id, id)
	case 8:
		m.Well(id, m.store.Current())
		m.Used(id)
		return fmt.Sprintf("%d: well %d", m.id, id)
	case 9:
		for _, other := range c.members {
			other.Report(Detach{Nodes: []cluster.NodeID{id}, Origin: ByHealthCheck, Seen: other.store.Current()})
		}
		return fmt.Sprintf("all find %d", id)
	case 10:
		for range 2 {
			m.Report(Detach{Nodes: []cluster.NodeID{id}, Origin: ByHealthCheck, Seen: m.store.Current()})
			time.Sleep(100 * time.Millisecond)
		}
		return fmt.Sprintf("%d finds %d", m.id, id)
	}
	m.Report(m.Seek(c.t.Context(), m.store.Current()))
	return fmt.Sprintf("%d: roles", m.id)
}

// recover makes all well again.
func (c *council) recover() {
	c.set(func() {
		c.commitTime, c.command, c.promoting, c.fencing = time.Millisecond, time.Millisecond, time.Millisecond, time.Millisecond
		clear(c.barred)
		for _, m := range c.members {
			m.cut = false
		}
	})
	c.elect()
	time.Sleep(time.Minute)
	for range 2 { // the health checks go on
		for _, m := range c.members {
			v := m.store.Current()
			for id := range cluster.NodeID(len(v.Nodes)) {
				m.Well(id, v)
			}
		}
		time.Sleep(2 * time.Second)
	}
}

func (c *council) disagreement() string {
	first := c.members[0].store.Current()
	for _, m := range c.members {
		v := m.store.Current()
		switch {
		case columns(v) != columns(first):
			return fmt.Sprintf("pgpool 0 shows %s, pgpool %d %s", brief(first), m.id, brief(v))
		case v.Op != cluster.OpNone || v.Seeking || v.Following:
			return fmt.Sprintf("pgpool %d: %s", m.id, brief(v))
		}
		if err := m.Settle(c.t.Context()); err != nil {
			return err.Error()
		}
	}
	return ""
}
