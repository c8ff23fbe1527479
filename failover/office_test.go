package failover

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
)

// What was decided here alone is cut off when others have decided the same in another way.
func TestDecidedWhileAlone(t *testing.T) {
	inCouncil(t, 3, 2, func(t *testing.T, c *council) {
		c.begin()
		synctest.Wait()
		time.Sleep(time.Second)
		m := c.members[2]
		c.set(func() { m.cut = true })
		c.elect()
		synctest.Wait()
		for _, who := range []*member{m, c.members[0]} {
			for _, r := range []Request{Detach{Nodes: []cluster.NodeID{1}, Origin: ByOperator}, Attach{Node: 1, Origin: ByOperator}} {
				if err := who.Submit(r); err != nil {
					t.Fatal(err)
				}
				if err := who.Settle(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		here := m.store.Current()
		log := c.written()
		m.Decided(uint64(len(log)), log[len(log)-1])
		synctest.Wait()
		v := m.store.Current()
		if columns(v) != columns(c.members[0].store.Current()) {
			t.Errorf("shows %s", brief(v))
		}
		if v.Nodes[1].Fenced <= here.Nodes[1].Epoch {
			t.Errorf("node 1 was attached by somebody else: epoch %d fenced %d after %d", v.Nodes[1].Epoch, v.Nodes[1].Fenced, here.Nodes[1].Epoch)
		}
		if v.Nodes[0].Epoch != here.Nodes[0].Epoch {
			t.Error("node 0 has not changed, and its connections are gone")
		}
	})
}

// Before it is known who decides nothing is: orders are refused, the newest round of roles waits, findings are made again.
func TestLoading(t *testing.T) {
	inCouncil(t, 1, 2, func(t *testing.T, c *council) {
		m := c.members[0]
		c.start(m)
		v := m.store.Current()
		m.finds(1)
		m.Used(1)
		for range 3 {
			m.Report(m.Seek(t.Context(), v))
		}
		if err := m.Submit(Detach{Nodes: []cluster.NodeID{1}, Origin: ByOperator}); err == nil {
			t.Error("an order was taken")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if err := m.Settle(ctx); err == nil {
			t.Error("settled though nothing was decided")
		}
		cancel()
		m.Report(BackendsReloaded{Backends: backends(3)})
		synctest.Wait()
		if got := brief(m.store.Current()); got != "0:waiting primary, 1:waiting standby, 2:down standby" {
			t.Errorf("shows %q", got)
		}
		c.elect()
		if err := m.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := brief(m.store.Current()); got != "0:waiting primary, 1:waiting standby, 2:down standby" {
			t.Errorf("shows %q", got)
		}
	})
}

// A leader that was started with -D and finds nobody begins with what it knows itself.
func TestFreshLeader(t *testing.T) {
	inCouncil(t, 1, 2, func(t *testing.T, c *council) {
		m := c.members[0]
		c.start(m)
		m.Decided(9, decisionOf(viewOf(0, "up 8", "down 9/9"), &Memory{}, nil, nil, 41).encode())
		c.set(func() { c.leader = 0 })
		m.Hold(Office{Standing: StandingLeads, Term: 3, Fresh: false})
		synctest.Wait()
		if got := brief(m.store.Current()); got != "0:up primary, 1:down standby" {
			t.Errorf("shows %q", got)
		}
		time.Sleep(time.Second)
		log := c.written()
		d, err := parseDecision(log[len(log)-1])
		if err != nil || d.Number != 42 || len(log) != 1 {
			t.Errorf("%d decisions, the last has number %d, %v: want one after 41", len(log), d.Number, err)
		}
	})
}

// With -D what was decided before is forgotten.
func TestDiscardedStatus(t *testing.T) {
	inCouncil(t, 1, 2, func(t *testing.T, c *council) {
		m := c.members[0]
		c.start(m)
		m.Decided(9, decisionOf(viewOf(1, "down 9/9", "up 8"), &Memory{}, nil, nil, 41).encode())
		c.set(func() { c.leader = 0 })
		m.Hold(Office{Standing: StandingLeads, Term: 3, Fresh: true})
		time.Sleep(time.Second)
		if got := brief(m.store.Current()); got != "0:waiting primary, 1:waiting standby" {
			t.Errorf("shows %q", got)
		}
		log := c.written()
		if d, err := parseDecision(log[len(log)-1]); err != nil || d.Number != 42 || d.Primary != 0 {
			t.Errorf("decision %+v, %v", d, err)
		}
	})
}

// unwilling is a consensus that fails in its own ways.
type unwilling struct {
	*member
	fail  int
	calls int
}

func (u *unwilling) Commit(ctx context.Context, decision []byte) error {
	u.mu.Lock()
	u.calls++
	fails := u.calls <= u.fail
	u.mu.Unlock()
	if fails {
		return errors.New("no space left on device")
	}
	return u.member.Commit(ctx, decision)
}

// A decision that cannot be written is tried again, without haste, and nothing is begun because of it before.
func TestCommitFails(t *testing.T) {
	inCouncil(t, 1, 3, func(t *testing.T, c *council) {
		m := c.members[0]
		u := &unwilling{member: m, fail: 6}
		m.parts.Consensus = u
		c.begin()
		time.Sleep(1100 * time.Millisecond)
		m.finds(0)
		time.Sleep(time.Second)
		if ran := c.done(); len(ran) > 0 {
			t.Errorf("%q though nothing was written", ran)
		}
		time.Sleep(10 * time.Second)
		if got := brief(m.store.Current()); got != "0:down standby, 1:waiting primary, 2:waiting standby" {
			t.Errorf("shows %q", got)
		}
		if n := strings.Count(m.lines.String(), "could not be written"); n != 1 {
			t.Errorf("%d lines\n%s", n, m.lines)
		}
		c.set(func() {
			if u.calls > 12 {
				t.Errorf("%d attempts", u.calls)
			}
		})
	})
}

// The status file has what was agreed, and nothing of quarantine.
func TestStatusFileOfAFollower(t *testing.T) {
	inCouncil(t, 3, 3, func(t *testing.T, c *council) {
		c.begin()
		time.Sleep(time.Second)
		m := c.members[1]
		file := func() string {
			data, err := os.ReadFile(m.path)
			if err != nil {
				t.Fatal(err)
			}
			return strings.ReplaceAll(string(data), "\n", " ")
		}
		m.finds(2)
		time.Sleep(time.Second)
		m.finds(2)
		time.Sleep(time.Second)
		if got := m.store.Current().Nodes[2].Status; got != cluster.StatusQuarantine || file() != "up up up " {
			t.Errorf("node 2 is in %v, file %q", got, file())
		}
		if err := m.Submit(Detach{Nodes: []cluster.NodeID{1}, Origin: ByOperator}); err != nil {
			t.Fatal(err)
		}
		if err := m.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := file(); got != "up down up " {
			t.Errorf("file %q", got)
		}
	})
}

// What cannot be read changes nothing and is told; backends that are others elsewhere are told once.
func TestStrangeDecisions(t *testing.T) {
	inCouncil(t, 1, 2, func(t *testing.T, c *council) {
		m := c.members[0]
		c.start(m)
		m.Hold(Office{Standing: StandingFollows, Term: 1, Leader: "the leader"})
		m.Decided(1, []byte("nonsense"))
		synctest.Wait()
		d := decisionOf(viewOf(1, "up 8", "up 9"), &Memory{}, nil, nil, 41)
		d.Nodes[1].Port = 7777
		for i := range uint64(3) {
			d.Number++
			m.Decided(2+i, d.encode())
			synctest.Wait()
		}
		m.out.Flush(time.Minute)
		text := m.lines.String()
		if strings.Count(text, "WARNING:  a decision of the watchdog cluster cannot be read\n") != 1 {
			t.Errorf("want a line about the decision in\n%s", text)
		}
		if strings.Count(text, "on the leader of the watchdog cluster") != 1 {
			t.Errorf("want one line about node 1, whose port is another one, in\n%s", text)
		}
		c.set(func() {
			if v := m.store.Current(); v.Primary != 1 || m.carried != 4 {
				t.Errorf("primary %d, carried %d", v.Primary, m.carried)
			}
		})
	})
}

// In a mode without primaries followers see the same, too.
func TestCouncilInRawMode(t *testing.T) {
	inCouncil(t, 3, 2, func(t *testing.T, c *council) {
		for _, m := range c.members {
			v, _ := First(cluster.ModeRaw, backends(2), nil, start)
			m.store.Publish(v)
			m.peers.basis.Store(v)
		}
		c.set(func() { c.policy.Failover = conf.Failover{FailoverCommand: "note%d"} })
		c.begin()
		time.Sleep(time.Second)
		c.members[1].finds(0)
		c.members[2].finds(0)
		time.Sleep(time.Second)
		for _, m := range c.members {
			if got := brief(m.store.Current()); got != "0:down replica, 1:waiting main" {
				t.Errorf("pgpool %d shows %q", m.id, got)
			}
		}
		if ran := c.done(); strings.Join(ran, "") != "pgpool 0 runs note 0" {
			t.Errorf("ran %q", ran)
		}
	})
}

// deposed says of itself that it does not lead, before anybody tells so.
type deposed struct {
	*member
	lost bool
}

func (u *deposed) Commit(ctx context.Context, decision []byte) error {
	u.mu.Lock()
	lost := u.lost
	u.mu.Unlock()
	if lost {
		return ErrNotLeader
	}
	return u.member.Commit(ctx, decision)
}

// A leader that learns that it is none gives up what it has begun; what it does next depends on the office it is told.
func TestLeaderLearnsThatItIsNone(t *testing.T) {
	inCouncil(t, 1, 3, func(t *testing.T, c *council) {
		m := c.members[0]
		u := &deposed{member: m}
		m.parts.Consensus = u
		c.begin()
		time.Sleep(time.Second)
		c.set(func() { u.lost = true })
		m.finds(0)
		time.Sleep(time.Minute)
		if ran := c.done(); len(ran) > 0 || m.InProgress() == cluster.OpNone {
			t.Errorf("ran %q, shows %s", ran, brief(m.store.Current()))
		}
		c.set(func() { u.lost = false })
		m.Hold(Office{Standing: StandingLeads, Term: 1})
		time.Sleep(time.Second)
		// It begins with what was written last; the health check finds the primary dead once more.
		if got := brief(m.store.Current()); got != "0:waiting primary, 1:waiting standby, 2:waiting standby" {
			t.Errorf("shows %s", got)
		}
		m.finds(0)
		time.Sleep(time.Minute)
		if got := brief(m.store.Current()); got != "0:down standby, 1:waiting primary, 2:waiting standby" {
			t.Errorf("shows %s", got)
		}
	})
}

// A node that is alone and hears of an operation under way does not wait for its end: who is primary it asks the servers.
func TestAloneDuringAnOperation(t *testing.T) {
	inCouncil(t, 1, 3, func(t *testing.T, c *council) {
		m := c.members[0]
		c.start(m)
		m.Hold(Office{Standing: StandingAlone})
		v := viewOf(cluster.NoNode, "down 2/2", "up 1", "up 1")
		v.Op, v.Seeking = cluster.OpFailover, true
		open := begin(viewOf(0, "up 1", "up 1", "up 1"), cluster.OpFailover)
		open.Lost, open.Search = true, UntilFound
		m.Decided(1, decisionOf(v, &Memory{Open: open}, nil, nil, 1).encode())
		synctest.Wait()
		if got := brief(m.store.Current()); got != "0:down standby, 1:up standby, 2:up standby" {
			t.Errorf("shows %s", got)
		}
		c.set(func() { c.servers[1].role = cluster.RolePrimary })
		m.Report(m.Seek(t.Context(), m.store.Current()))
		synctest.Wait()
		if got := m.store.Current(); got.Primary != 1 {
			t.Errorf("shows %s", brief(got))
		}
	})
}

// A node keeps its office when the leader changes; the votes it has given are forgotten with the leader, and it is told once who leads.
func TestFollowerOfAnotherLeader(t *testing.T) {
	inCouncil(t, 3, 2, func(t *testing.T, c *council) {
		c.begin()
		time.Sleep(time.Second)
		m := c.members[2]
		for _, leader := range []string{"", "pgpool 0", "", "pgpool 1", "", "pgpool 1"} {
			m.Hold(Office{Standing: StandingFollows, Term: 1, Leader: leader})
			synctest.Wait()
		}
		m.out.Flush(time.Minute)
		text := m.lines.String()
		for _, leader := range []string{"pgpool 0", "pgpool 1"} {
			if n := strings.Count(text, "leader watchdog node \""+leader+"\" returned status"); n != 1 {
				t.Errorf("%d lines about %s in\n%s", n, leader, text)
			}
		}
	})
}
