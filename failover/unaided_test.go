package failover

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
)

// troupe does on the servers of a world what scripts do elsewhere.
type troupe struct {
	w *world

	mu       sync.Mutex
	states   []cluster.ServerState
	draining time.Duration // how long transactions take to end
	stopErr  error
	noStop   bool // it takes for ever
	unclean  bool // nobody knows where its WAL ends
	demoted  bool // whoever is started is a standby
	acts     []string
	promErr  error
	startErr error
	unable   error
	last     cluster.PrimaryGauge // what Promote was told
}

func (a *troupe) did(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.acts = append(a.acts, fmt.Sprintf(format, args...))
}

func (a *troupe) set(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

func (a *troupe) done() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.acts, "; ")
}

func (a *troupe) Survey(_ context.Context, _ *cluster.View, nodes []cluster.NodeID) []cluster.ServerState {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []cluster.ServerState
	for _, id := range nodes {
		s := a.states[id]
		s.Node = id
		a.w.set(func() {
			if a.w.servers[id].dead {
				s.Err = errors.New("connection refused")
			}
			s.InRecovery = a.w.servers[id].role == cluster.RoleStandby
		})
		out = append(out, s)
	}
	return out
}

func (a *troupe) Stop(ctx context.Context, _ *cluster.View, id cluster.NodeID, _ cluster.Term, mode cluster.StopMode) (cluster.LSN, error) {
	a.did("stop %d mode %d", id, mode)
	a.mu.Lock()
	err, forever := a.stopErr, a.noStop
	a.mu.Unlock()
	if forever {
		<-ctx.Done()
		return 0, context.Cause(ctx)
	}
	if err != nil {
		return 0, err
	}
	a.w.kill(id)
	if mode == cluster.StopFast && !a.unclean {
		return a.states[id].Received, nil
	}
	return 0, nil
}

func (a *troupe) Able(context.Context, *cluster.View, cluster.NodeID, cluster.Term) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.unable
}

func (a *troupe) Promote(_ context.Context, _ *cluster.View, id cluster.NodeID, _ cluster.Term, last cluster.PrimaryGauge) (cluster.Bounds, error) {
	a.did("promote %d", id)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = last
	if a.promErr != nil {
		return cluster.Bounds{}, a.promErr
	}
	a.w.set(func() { a.w.servers[id].role = cluster.RolePrimary })
	return cluster.Bounds{Before: 100, After: 110}, nil
}

func (a *troupe) Start(_ context.Context, _ *cluster.View, id cluster.NodeID, _ cluster.Term) error {
	a.did("start %d", id)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.startErr == nil {
		a.w.set(func() {
			a.w.servers[id].dead = false
			if a.demoted {
				a.w.servers[id].role = cluster.RoleStandby
			}
		})
	}
	return a.startErr
}

func (a *troupe) Drain(ctx context.Context, v *cluster.View) error {
	if !v.Draining {
		panic("drained without being told")
	}
	select {
	case <-time.After(a.draining):
		a.did("drained")
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// inTheatre is inWorld without scripts: the standbys have received what received says, the primary all of it.
func inTheatre(t *testing.T, f func(t *testing.T, w *world, a *troupe), received ...cluster.LSN) {
	t.Helper()
	inWorld(t, len(received), func(t *testing.T, w *world) {
		a := &troupe{w: w, states: make([]cluster.ServerState, len(received))}
		for i := range a.states {
			a.states[i] = cluster.ServerState{Received: received[i], Timeline: 1, SystemID: 7, ApplicationName: fmt.Sprintf("s%d", i), Streaming: true}
		}
		w.policy.Failover = conf.Failover{
			AutoFailover: true, FailoverOnBackendError: true, SwitchoverTimeout: 5 * time.Second, SearchPrimaryNodeTimeout: time.Minute,
		}
		w.parts.Actor, w.parts.Drainer = a, a
		f(t, w, a)
	})
}

func (a *troupe) want(t *testing.T, want string) {
	t.Helper()
	if got := a.done(); got != want {
		t.Errorf("done %q, want %q", got, want)
	}
}

// restart is another start of a pgpool that was stopped, with what the status file says; nil: there is none.
func (w *world) restart(marks []Mark) {
	v, _ := First(cluster.ModeStreaming, backends(len(w.servers)), marks, time.Now())
	w.store = cluster.NewStore(v)
	w.parts.Store = w.store
	run := w.Coordinator.run
	w.Coordinator = NewCoordinator(w.parts)
	w.Coordinator.run = run
	w.begin()
}

func TestMostAdvancedIsPromoted(t *testing.T) {
	inTheatre(t, func(t *testing.T, w *world, a *troupe) {
		w.policy.AfterPromotionCommand = "after %m was %d"
		w.begin()
		w.lose(0)
		v := w.settled()
		w.wantView("0:down 2/2, 1:standby 1, 2:primary 2")
		a.want(t, "stop 0 mode 1; promote 2")
		want := cluster.Crossing{From: 0, FromEpoch: 2, To: 2, ToEpoch: 2, Bounds: cluster.Bounds{Before: 100, After: 110}, GivenUp: cluster.NoNode}
		if v.Crossing == nil || *v.Crossing != want {
			t.Errorf("crossing %+v, want %+v", v.Crossing, want)
		}
		synctest.Wait()
		w.wantCommands("after  2 was  0")
		w.wantLines("LOG:  auto_failover: the server of node 0, the old primary, is stopped",
			"LOG:  auto_failover: node 2 is promoted (timeline 1, 0/C8)", "LOG:  failover: set new primary node: 2")
	}, 200, 100, 200)
}

// Nothing is stopped as long as nobody could take over. The old primary is started again, and taken when it answers.
func TestNobodyCanTakeOver(t *testing.T) {
	inTheatre(t, func(t *testing.T, w *world, a *troupe) {
		w.policy.MaxLagOnFailover = 50
		w.store.PublishGauges(&cluster.Gauges{Primary: cluster.PrimaryGauge{Node: 0, LSN: 200, Measured: time.Now()}})
		a.startErr = cluster.ErrNeedsAgent
		w.begin()
		w.lose(0)
		time.Sleep(12 * time.Second)
		w.wantView("0:down 2/2, 1:standby 1, failover, seeking")
		a.want(t, "start 0; start 0")
		w.wantLines("WARNING:  auto_failover: nobody is promoted",
			"DETAIL:  node 1, which has the most, lacks 100 bytes of WAL (max_lag_on_failover is 50)")
		w.set(func() { w.servers[0].dead = false })
		v := w.settled()
		w.wantView("0:primary 4/2, 1:standby 1")
		if v.Crossing == nil || v.Crossing.To != 0 {
			t.Errorf("crossing %+v", v.Crossing)
		}
		a.want(t, "start 0; start 0")
	}, 200, 100)
}

// A primary that an administrator has taken out is not used again because nobody else could be.
func TestDetachedPrimaryStaysOut(t *testing.T) {
	inTheatre(t, func(t *testing.T, w *world, a *troupe) {
		a.states[1].Err = errors.New("wrong password")
		w.begin()
		if err := w.Submit(Detach{Nodes: []cluster.NodeID{0}, Origin: ByOperator}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		w.wantView("0:down 2/2, 1:standby 1, failover, seeking")
		a.want(t, "")
		a.set(func() { a.states[1].Err = nil })
		w.settled()
		w.wantView("0:down 2/2, 1:primary 2")
	}, 200, 200)
}

// Who takes out the last node is not waited for: what he attaches afterwards is used.
func TestLastPrimaryIsDetached(t *testing.T) {
	inTheatre(t, func(t *testing.T, w *world, a *troupe) {
		w.begin()
		w.lose(1)
		w.settled()
		if err := w.Submit(Detach{Nodes: []cluster.NodeID{0}, Origin: ByOperator}); err != nil {
			t.Fatal(err)
		}
		w.settled()
		w.wantView("0:down 2/2, 1:down 2/2")
		if err := w.Submit(Attach{Node: 0, Origin: ByOperator}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		w.Report(w.Seek(t.Context(), w.store.Current()))
		if v := w.settled(); v.Primary != 0 {
			t.Errorf("the primary is %d", v.Primary)
		}
		a.want(t, "")
	}, 200, 200)
}

func TestSynchronousRule(t *testing.T) {
	for _, tt := range []struct {
		sync, want string
		dead       cluster.NodeID
	}{
		{"", "promote 1", 2},
		{"s1", "promote 1", 2},
		{"s2", "start 0", 2},
		{"ANY 1 (s1, s2)", "start 0", 2},
		{"FIRST 1 (s1, s2)", "start 0", 2},
		{"FIRST 2 (s1, s2)", "promote 1", 2},
		{"*", "start 0", 2},
		{"s1, elsewhere", "start 0", 2},
		{"FIRST 1 (", "start 0", 2},
	} {
		t.Run(tt.sync, func(t *testing.T) {
			inTheatre(t, func(t *testing.T, w *world, a *troupe) {
				w.store.PublishGauges(&cluster.Gauges{Primary: cluster.PrimaryGauge{Node: 0, LSN: 200, Sync: tt.sync, Measured: time.Now()}})
				w.kill(tt.dead)
				w.begin()
				w.lose(0)
				time.Sleep(10 * time.Second)
				if got := strings.TrimPrefix(a.done(), "stop 0 mode 1; "); got != tt.want {
					t.Errorf("done %q, want %q", got, tt.want)
				}
			}, 200, 200, 200)
		})
	}
}

func TestHeirIsLost(t *testing.T) {
	inTheatre(t, func(t *testing.T, w *world, a *troupe) {
		a.promErr = errors.New("it does not answer")
		w.begin()
		w.lose(0)
		time.Sleep(3500 * time.Millisecond)
		w.wantView("0:down 2/2, 1:standby 1, 2:standby 1, failover, seeking")
		a.set(func() { a.promErr, a.acts = nil, nil })
		w.lose(1)
		w.settled()
		v := w.settled()
		w.wantView("0:down 2/2, 1:down 2/2, 2:primary 2")
		if v.Crossing == nil || v.Crossing.GivenUp != 1 {
			t.Errorf("crossing %+v", v.Crossing)
		}
		a.want(t, "stop 1 mode 1; promote 2")
	}, 200, 200, 100)
}

// Whom somebody else has promoted is taken.
func TestPromotedByOtherHands(t *testing.T) {
	inTheatre(t, func(t *testing.T, w *world, a *troupe) {
		a.states[1].Err = errors.New("wrong password")
		w.begin()
		w.lose(0)
		time.Sleep(2 * time.Second)
		a.set(func() { a.states[1].Err = nil })
		w.set(func() { w.servers[1].role = cluster.RolePrimary })
		v := w.settled()
		w.wantView("0:down 2/2, 1:primary 2")
		a.want(t, "")
		if c := v.Crossing; c == nil || c.Bounds != (cluster.Bounds{}) {
			t.Errorf("crossing %+v: nothing is known of ids", c)
		}
	}, 200, 200)
}

func TestPlannedSwitchover(t *testing.T) {
	inTheatre(t, func(t *testing.T, w *world, a *troupe) {
		a.draining = time.Second
		w.begin()
		if err := w.Submit(Switchover{Node: 2}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if v := w.store.Current(); !v.Draining || v.Primary != 0 || v.Seeking {
			t.Errorf("view %+v: want draining, with the primary in office", v)
		}
		v := w.settled()
		w.wantView("0:down 2/2, 1:standby 1, 2:primary 2")
		a.want(t, "drained; stop 0 mode 0; promote 2")
		if v.Switchover == nil || *v.Switchover != (cluster.Switchover{Run: 1, To: 2, Phase: cluster.SwitchoverDone}) || v.Draining {
			t.Errorf("switchover %+v", v.Switchover)
		}
	}, 200, 200, 200)
}

func TestSwitchoverFails(t *testing.T) {
	for _, tt := range []struct {
		name, did, view, why string
		before               func(w *world, a *troupe)
		during               func(w *world)
	}{
		{
			"transactions go on", "", "0:primary 1, 1:standby 1, 2:standby 1", errDrainTimeout.Error(),
			func(_ *world, a *troupe) { a.draining = time.Minute }, nil,
		},
		{
			"the target is lost while it drains", "", "0:primary 1, 1:standby 1, 2:down 2/2", "node 2, which was to be the primary, was lost",
			func(_ *world, a *troupe) { a.draining = 2 * time.Second }, func(w *world) { w.lose(2) },
		},
		{
			"the primary is lost while it drains", "stop 0 mode 1; promote 1", "0:down 2/2, 1:primary 2, 2:standby 1", "node 0, the primary, was lost",
			func(_ *world, a *troupe) { a.draining = 2 * time.Second }, func(w *world) { w.lose(0) },
		},
		{
			"no agent", "drained; stop 0 mode 0; start 0", "0:primary 4/2, 1:standby 1, 2:standby 1", "needs an agent",
			func(_ *world, a *troupe) { a.stopErr = cluster.ErrNeedsAgent }, nil,
		},
		{
			"nobody could stop the primary", "", "0:primary 1, 1:standby 1, 2:standby 1", "needs an agent",
			func(_ *world, a *troupe) { a.unable = cluster.ErrNeedsAgent }, nil,
		},
		{
			"the target does not stream", "", "0:primary 1, 1:standby 1, 2:standby 1", "node 2 does not stream from anybody",
			func(_ *world, a *troupe) { a.states[2].Streaming = false }, nil,
		},
		{
			"the target is paused", "", "0:primary 1, 1:standby 1, 2:standby 1", "replay is paused on node 2",
			func(_ *world, a *troupe) { a.states[2].ReplayPaused = true }, nil,
		},
		{
			"the target is far behind", "", "0:primary 1, 1:standby 1, 2:standby 1", "node 2 has 67108865 bytes of WAL to replay",
			func(_ *world, a *troupe) { a.states[2].Received, a.states[2].Replayed = 100<<20+1, 36<<20 }, nil,
		},
		{
			"nobody at all is at its host", "drained; stop 0 mode 0; start 0", "0:primary 4/2, 1:standby 1, 2:standby 1", "needs an agent",
			func(_ *world, a *troupe) { a.stopErr, a.startErr = cluster.ErrNeedsAgent, cluster.ErrNeedsAgent }, nil,
		},
		{
			"the agent there obeys somebody else", "drained; stop 0 mode 0; start 0", "0:primary 4/2, 1:standby 1, 2:standby 1",
			cluster.ErrOldTerm.Error(), func(_ *world, a *troupe) { a.stopErr, a.startErr = cluster.ErrOldTerm, cluster.ErrOldTerm }, nil,
		},
		{
			"the target lacks some", "drained; stop 0 mode 0; start 0", "0:primary 4/2, 1:standby 1, 2:standby 1",
			"node 2 has received WAL up to 0/64, the primary ended at 0/C8", func(_ *world, a *troupe) { a.states[2].Received = 100 }, nil,
		},
		{
			"the primary is not shut down cleanly", "drained; stop 0 mode 0; start 0", "0:primary 4/2, 1:standby 1, 2:standby 1",
			"the primary was not shut down cleanly, so nobody knows whether node 2 has all of its WAL",
			func(_ *world, a *troupe) { a.unclean = true }, nil,
		},
		{
			"the old primary was made a standby", "drained; stop 0 mode 0; start 0; stop 0 mode 1; promote 1", "0:down 2/2, 1:primary 2, 2:standby 1",
			"node 2 has received WAL up to 0/64, the primary ended at 0/C8",
			func(_ *world, a *troupe) { a.states[2].Received, a.demoted = 100, true }, nil,
		},
		{
			"the target is lost while the primary is stopped", "drained; stop 0 mode 0; promote 1", "0:down 2/2, 1:primary 2, 2:down 2/2",
			"node 2, which was to be the primary, was lost", func(_ *world, a *troupe) { a.states[2].Received = 100 },
			func(w *world) { w.lose(2) },
		},
		{
			"the target is lost and nobody else has everything", "drained; stop 0 mode 0; start 0", "0:primary 4/2, 1:standby 1, 2:down 2/2",
			"node 2, which was to be the primary, was lost",
			func(_ *world, a *troupe) { a.states[1].Received, a.states[2].Received = 100, 100 }, func(w *world) { w.lose(2) },
		},
		{
			"the old primary cannot be started again", "drained; stop 0 mode 0; start 0; stop 0 mode 1; promote 1", "0:down 2/2, 1:primary 2, 2:down 2/2",
			"node 2, which was to be the primary, was lost", func(_ *world, a *troupe) {
				a.states[1].Received, a.states[2].Received, a.startErr = 100, 100, errors.New("its disk is broken")
			}, func(w *world) { w.lose(2) },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inTheatre(t, func(t *testing.T, w *world, a *troupe) {
				tt.before(w, a)
				w.begin()
				if err := w.Submit(Switchover{Node: 2}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				if tt.during != nil {
					tt.during(w)
				}
				v := w.settled()
				w.wantView(tt.view)
				a.want(t, tt.did)
				if s := v.Switchover; s == nil || s.Phase != cluster.SwitchoverFailed || s.Why != tt.why || v.Draining {
					t.Errorf("switchover %+v, want it failed because %q", s, tt.why)
				}
			}, 200, 200, 200)
		})
	}
}

func TestSwitchoverCalledOff(t *testing.T) {
	inTheatre(t, func(t *testing.T, w *world, a *troupe) {
		a.draining = time.Minute
		w.policy.SwitchoverTimeout = time.Hour
		w.begin()
		for run := 1; run <= 2; run++ {
			if err := w.Submit(Switchover{Node: 1}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if err := w.Submit(CallOff{Run: run + 1}); err == nil {
				t.Error("another one was called off")
			}
			if err := w.Submit(CallOff{Run: run}); err != nil {
				t.Error(err)
			}
			v := w.settled()
			w.wantView("0:primary 1, 1:standby 1")
			if s := v.Switchover; s.Run != run || s.Phase != cluster.SwitchoverFailed || s.Why != "it was cancelled" || v.Draining {
				t.Errorf("switchover %+v", s)
			}
		}
		a.want(t, "")
	}, 200, 200)
}

func TestSwitchoverRefused(t *testing.T) {
	inTheatre(t, func(t *testing.T, w *world, _ *troupe) {
		w.begin()
		refused := func(r Request, want string) {
			t.Helper()
			if err := w.Submit(r); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: %v, want %q", r, err, want)
			}
		}
		refused(Switchover{Node: 0}, "already primary")
		refused(Switchover{Node: 7}, "not valid")
		if err := w.Submit(Bar{Node: 1, Unfit: true}); err != nil {
			t.Fatal(err)
		}
		w.settled()
		refused(Promote{Node: 1, Switchover: true}, "lacks what was acknowledged")
		w.set(func() { w.policy.FailoverCommand = "script" })
		refused(Switchover{Node: 1}, "failover_command is set")
	}, 200, 200)
}

// Where nobody is left the old primary is waited for: it is started, or somebody else starts it, and serves again without a hand.
func TestAllAreLost(t *testing.T) {
	inTheatre(t, func(t *testing.T, w *world, a *troupe) {
		a.startErr = cluster.ErrNeedsAgent
		w.begin()
		w.lose(2)
		w.lose(0)
		w.lose(1)
		time.Sleep(20 * time.Second)
		if v := w.store.Current(); !v.Seeking {
			t.Error("nobody waits for a primary")
		}
		w.set(func() { w.servers[0].dead = false })
		w.settled()
		w.wantView("0:primary 4/2, 1:down 2/2, 2:down 2/2")
	}, 200, 100, 100)
}

// An old primary is not started beside a server that somebody has promoted by hand, though that one is out of use here.
func TestAllAreLostAndOneIsPromotedByHand(t *testing.T) {
	inTheatre(t, func(t *testing.T, w *world, a *troupe) {
		w.begin()
		w.lose(2)
		w.lose(0)
		w.lose(1)
		w.set(func() { w.servers[2].dead, w.servers[2].role = false, cluster.RolePrimary })
		time.Sleep(time.Minute)
		a.want(t, "")
	}, 200, 100, 100)
}

// An administrator who turns auto_failover off while nobody can be promoted has nobody promoted from then on. Whom he promotes is taken.
func TestTurnedOffInTheMiddle(t *testing.T) {
	inTheatre(t, func(t *testing.T, w *world, a *troupe) {
		w.policy.MaxLagOnFailover = 50
		w.store.PublishGauges(&cluster.Gauges{Primary: cluster.PrimaryGauge{Node: 0, LSN: 200, Measured: time.Now()}})
		w.begin()
		w.lose(0)
		time.Sleep(3 * time.Second)
		w.wantView("0:down 2/2, 1:standby 1, failover, seeking")
		w.set(func() { w.policy.AutoFailover = false })
		a.set(func() { a.states[1].Received = 200 })
		time.Sleep(20 * time.Second)
		w.wantView("0:down 2/2, 1:standby 1, failover, seeking")
		a.want(t, "")
		w.wantLines("DETAIL:  auto_failover is off, or failover_command is set")
		w.set(func() { w.servers[1].role = cluster.RolePrimary })
		w.settled()
		w.wantView("0:down 2/2, 1:primary 2")
	}, 200, 100)
}
