package failover

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gopgpool/cluster"
)

func TestStandbyDies(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.begin()
		began := time.Now()
		w.lose(2)
		w.settled()
		w.wantView("0:primary 1, 1:standby 1, 2:down 2/2")
		w.wantCommands("promote 0 failed 2 was0")
		if w.asked != 0 || time.Since(began) > 0 {
			t.Errorf("%d rounds of asking, %v: want no search", w.asked, time.Since(began))
		}
	})
}

func TestFollow(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		w.policy.FollowPrimaryCommand = "follow%d behind%m was%P"
		w.command = time.Second
		w.begin()
		w.lose(3)
		w.settled()
		w.lose(0)
		v := w.settled()
		w.wantView("0:down 2/2, 1:primary 2, 2:down 2/2, 3:down 2/2, following")
		if v.Op != cluster.OpNone {
			t.Errorf("operation %v: settled, so none", v.Op)
		}
		time.Sleep(1500 * time.Millisecond) // node 2 is being rebuilt, node 3 has its turn next
		if err := w.Submit(Attach{Node: 3, Origin: ByOperator}); err != nil {
			t.Error(err)
		}
		w.settled()
		w.wantView("0:down 2/2, 1:primary 2, 2:down 2/2, 3:standby 3/2, following")
		time.Sleep(10 * time.Second)
		w.wantView("0:down 2/2, 1:primary 2, 2:down 2/2, 3:standby 3/2")
		w.wantCommands("promote 0 failed 3 was0; promote 1 failed 0 was0; follow 0 behind 1 was0; follow 2 behind 1 was0")
		w.wantLines(
			"LOG:  starting follow degeneration. shutdown host h(5434)", "LOG:  failover: 1 follow backends have been degenerated",
			"LOG:  === Starting follow primary command for node 2 ===", "LOG:  === Follow primary command for node 2 ended ===",
		)
	})
}

// A primary lost during the run is searched for like any other, and the run begins again behind the new one.
func TestPrimaryDiesWhileFollowing(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		w.policy.FollowPrimaryCommand = "follow%d behind%m"
		w.begin()
		w.lose(0)
		w.settled()
		for _, id := range []cluster.NodeID{2, 3} {
			w.Report(Attach{Node: id, Origin: ByOperator})
		}
		w.settled()
		time.Sleep(time.Second) // the first run has ended
		w.set(func() { w.command = time.Minute; w.ran = nil })
		w.lose(2)
		time.Sleep(2 * time.Minute)
		w.lose(1)
		time.Sleep(59 * time.Second)
		w.set(func() { w.command = 0 })
		w.settled()
		time.Sleep(time.Minute)
		w.wantView("0:down 2/2, 1:down 3/3, 2:down 4/4, 3:primary 4/2")
		w.wantCommands("promote 1 failed 2 was1; promote 3 failed 1 was1; follow 0 behind 3; follow 1 behind 3; follow 2 behind 3")
	})
}

// Without the primary of the run the remaining nodes are left alone: a script would rebuild them from a server that is gone.
func TestLastPrimaryDiesWhileFollowing(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.policy.FollowPrimaryCommand = "follow%d behind%m"
		w.command = 10 * time.Second
		w.begin()
		w.lose(0)
		w.settled()
		time.Sleep(5 * time.Second) // node 0 is being rebuilt, node 2 has its turn next
		w.lose(1)
		time.Sleep(time.Minute)
		w.wantView("0:down 2/2, 1:down 3/3, 2:down 2/2")
		w.wantCommands("promote 1 failed 0 was0; follow 0 behind 1; promote -1 failed 1 was1")
		w.wantLines("WARNING:  follow_primary_command is not run for node 2, node 1 is no longer the primary")
	})
}

func TestFollowIsReplaced(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.policy.FollowPrimaryCommand = "follow%d behind%m"
		w.begin()
		w.lose(0)
		w.settled()
		w.set(func() { w.command = time.Hour })
		w.Report(Attach{Node: 2, Origin: ByOperator})
		w.settled()
		if err := w.Submit(Promote{Node: 2}); err != nil {
			t.Fatal(err)
		}
		w.settled()
		w.wantView("0:down 2/2, 1:down 3/3, 2:primary 4/2, following")
		time.Sleep(time.Minute)
		w.wantView("0:down 2/2, 1:down 3/3, 2:primary 4/2, following")
		time.Sleep(3 * time.Hour)
		w.wantView("0:down 2/2, 1:down 3/3, 2:primary 4/2")
	})
}

func TestAttach(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		w.policy.FailbackCommand = "back%d main%m old%M primary%P"
		w.begin()
		w.lose(1)
		w.settled()
		w.set(func() { w.servers[1].dead = false; w.ran = nil })
		if err := w.Submit(Attach{Node: 1, Origin: ByOperator}); err != nil {
			t.Fatal(err)
		}
		w.settled()
		w.wantView("0:primary 1, 1:standby 3/2")
		w.wantCommands("back 1 main 0 old0 primary0")
		w.wantLines("LOG:  === Starting fail back. reconnect host h(5433) ===", "LOG:  === Failback done. reconnect host h(5433) ===")
	})
}

func TestOldPrimaryComesBackAsPrimary(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		w.begin()
		w.lose(0)
		w.settled()
		w.set(func() { w.servers[0].dead = false })
		w.Report(Attach{Node: 0, Origin: ByOperator})
		v := w.settled()
		w.wantView("0:standby 3/2, 1:primary 2")
		if v.Writer() != 1 {
			t.Errorf("writer %d", v.Writer())
		}
		w.wantLines("WARNING:  nodes 0, 1 say they are primary, node 1 is taken, nothing is written to the others")
	})
}

// An old primary that was attached again says that it is one in the first round of the next search, before the new one is promoted.
// It holds other data: it is neither promoted nor taken.
func TestStrayPrimaryIsNotTaken(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.begin()
		w.lose(0)
		w.settled()
		w.set(func() { w.servers[0].dead = false; w.promoting = time.Second })
		w.Report(Attach{Node: 0, Origin: ByOperator})
		w.settled()
		w.lose(1)
		w.settled()
		w.wantView("0:standby 3/2, 1:down 3/3, 2:primary 2")
		w.wantCommands("promote 1 failed 0 was0; promote 2 failed 1 was1")
	})
}

// A node that fails while the servers are being asked has its command before the operation ends.
func TestNodeDiesDuringARound(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.seeking = time.Second
		w.begin()
		w.lose(0)
		time.Sleep(500 * time.Millisecond)
		w.set(func() { w.command = time.Minute })
		w.lose(2)
		time.Sleep(30 * time.Second)
		w.wantView("0:down 2/2, 1:standby 1, 2:down 2/2, failover, seeking")
		w.settled()
		w.wantView("0:down 2/2, 1:primary 2, 2:down 2/2")
		w.wantCommands("promote 1 failed 0 was0; promote 1 failed 2 was0")
	})
}

func TestAttachDuringTheSearch(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		w.promoting = time.Hour // the script does not manage
		w.begin()
		w.lose(0)
		time.Sleep(5 * time.Second)
		w.set(func() { w.servers[0].dead = false })
		w.Report(Attach{Node: 0, Origin: ByAutoFailback}) // waits
		time.Sleep(5 * time.Second)
		w.wantView("0:down 2/2, 1:standby 1, failover, seeking")
		w.set(func() { w.servers[1].role = cluster.RolePrimary })
		w.settled()
		w.wantView("0:standby 3/2, 1:primary 2")
	})
}

func TestOperatorBringsThePrimary(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		w.policy.FailoverCommand = ""
		w.begin()
		w.lose(0)
		time.Sleep(5 * time.Second)
		w.set(func() { w.servers[0].dead = false })
		if err := w.Submit(Attach{Node: 0, Origin: ByOperator}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		w.settled()
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("took %v", took)
		}
		w.wantView("0:primary 4/2, 1:standby 1")
	})
}

func TestSwitchover(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.begin()
		if err := w.Submit(Promote{Node: 2, Switchover: true}); err != nil {
			t.Fatal(err)
		}
		w.settled()
		w.wantView("0:down 2/2, 1:standby 1, 2:primary 2")
		w.wantCommands("promote 2 failed 0 was0")
	})
}

func TestPromoteByName(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.fencing = time.Second
		w.begin()
		if err := w.Submit(Promote{Node: 1}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		w.wantView("0:down 2/2, 1:standby 1, 2:down 2/2, promote node operation, seeking")
		if w.InProgress() != cluster.OpPromote {
			t.Errorf("in progress: %v", w.InProgress())
		}
		w.settled()
		w.wantView("0:down 2/2, 1:primary 2, 2:down 2/2")
		w.wantCommands("")
		w.wantLines("LOG:  === Promotion done. promoted host h(5433) ===")
	})
}

// Servers that change roles by themselves: the old primary is fenced before the new one is written to.
func TestPromotedByHand(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		w.fencing = time.Second
		w.begin()
		w.Report(w.Seek(t.Context(), w.store.Current()))
		w.settled()
		w.set(func() { w.servers[0].role, w.servers[1].role = cluster.RoleStandby, cluster.RolePrimary })
		w.Report(w.Seek(t.Context(), w.store.Current()))
		synctest.Wait()
		w.wantView("0:standby 2/2, 1:standby 1, failover, seeking")
		w.settled()
		w.wantView("0:standby 2/2, 1:primary 2")
		w.wantCommands("")
	})
}

func TestFenceIsBounded(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		w.fencing = time.Hour
		w.begin()
		began := time.Now()
		w.lose(0)
		w.settled()
		w.wantView("0:down 2/2, 1:primary 2")
		if took := time.Since(began); took != fenceBound {
			t.Errorf("took %v", took)
		}
		w.wantLines("DETAIL:  context deadline exceeded")
	})
}

func TestHungCommandDelaysNobody(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.command = time.Hour
		w.begin()
		w.lose(2)
		synctest.Wait()
		w.Used(1)
		synctest.Wait()
		if s := w.store.Current().Nodes[1].Status; s != cluster.StatusUp {
			t.Errorf("node 1 is %v", s)
		}
		w.Report(Detach{Nodes: []cluster.NodeID{2}, Origin: ByHealthCheck, Seen: w.store.Current()})
		synctest.Wait()
	})
}

func TestDoubtsAreConfirmedOnce(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		w.begin()
		doubt := Detach{
			Nodes: []cluster.NodeID{1}, Origin: ByBackendError, Seen: w.store.Current(), Evidence: Broken, Err: errors.New("EOF"),
		}
		for range 50 {
			w.Report(doubt)
			synctest.Wait()
		}
		time.Sleep(doubtAgain)
		doubt.Evidence = TimedOut
		w.Report(doubt)
		w.settled()
		w.wantView("0:primary 1, 1:standby 1")
		if !slices.Equal(w.confirmed, []cluster.NodeID{1, 1}) {
			t.Errorf("confirmed %v", w.confirmed)
		}
	})
}

// What waits is bounded, and a strong finding is not lost behind a weak one.
func TestInbox(t *testing.T) {
	b := inbox{wake: make(chan struct{}, 1)}
	v, _ := First(cluster.ModeStreaming, backends(2), nil, time.Time{})
	about := func(id cluster.NodeID, e Evidence) Detach {
		return Detach{Nodes: []cluster.NodeID{id}, Origin: ByBackendError, Seen: v, Evidence: e}
	}
	for range 100 {
		b.put(about(0, TimedOut))
		b.put(about(0, Refused))
		b.put(about(0, Broken))
		b.put(about(1, Broken))
		b.put(RolesSeen{Seen: v})
		b.put(NodeUsed{Node: 1})
		b.put(Attach{Node: 1, Origin: ByAutoFailback})
		b.put(BackendsReloaded{})
	}
	got := b.take()
	if len(got) != 6 {
		t.Fatalf("%d requests wait: %v", len(got), got)
	}
	if d := got[0].(Detach); d.Evidence != Refused {
		t.Errorf("kept %v", d.Evidence)
	}
	newer := *v
	newer.Generation++
	newer.Nodes = slices.Clone(v.Nodes)
	newer.Nodes[0].Epoch++
	b.put(about(0, Refused))
	late := about(0, Broken)
	late.Seen = &newer
	b.put(late)
	if got = b.take(); len(got) != 1 || got[0].(Detach).Seen != &newer {
		t.Errorf("an outdated finding hides a new one: %+v", got)
	}
	for range maxInbox {
		b.put(Promote{Node: 1})
	}
	if b.put(Promote{Node: 1}) {
		t.Error("the inbox has no bound")
	}
}

// Orders that wait for the end of an operation are bounded, too; failures of nodes never are refused for that.
func TestWaitingIsBounded(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.command = time.Hour
		w.begin()
		w.lose(2)
		synctest.Wait()
		refused := false
		for range maxInbox + 1 {
			refused = w.Submit(Promote{Node: 1}) != nil
			synctest.Wait()
		}
		if !refused {
			t.Error("no bound")
		}
		w.lose(1)
		synctest.Wait()
		w.wantView("0:primary 1, 1:down 2/2, 2:down 2/2, failover")
	})
}

// A script that hangs on a node that has died, too, does not keep the next one from being promoted.
func TestHungCommandIsEndedWithItsTarget(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.command = time.Hour
		w.begin()
		began := time.Now()
		w.lose(0)
		synctest.Wait()
		w.set(func() { w.command = 0 })
		time.Sleep(time.Second)
		w.lose(1)
		w.settled()
		w.wantView("0:down 2/2, 1:down 2/2, 2:primary 2")
		w.wantCommands("promote 1 failed 0 was0; promote 2 failed 1 was1")
		w.wantLines("WARNING:  failover_command for node 0 has failed", "DETAIL:  the node it was to promote has failed")
		if took := time.Since(began); took != time.Second+lostCause {
			t.Errorf("took %v", took)
		}
	})
}

func TestRefusals(t *testing.T) {
	v, _ := First(cluster.ModeStreaming, backends(4), nil, time.Time{})
	v.Primary, v.Nodes[1].Status, v.Nodes[2].Status, v.Nodes[3].DisallowFailover = 0, cluster.StatusDown, cluster.StatusUnused, true
	raw, _ := First(cluster.ModeRaw, backends(2), nil, time.Time{})
	detach := func(id cluster.NodeID) Request { return Detach{Nodes: []cluster.NodeID{id}, Origin: ByOperator} }
	attach := func(id cluster.NodeID) Request { return Attach{Node: id, Origin: ByOperator} }
	p := Policy{PID: 77}
	for _, c := range []struct {
		v    *cluster.View
		r    Request
		want string
	}{
		{v, attach(-1), "invalid failback request, node id: -1 is out of range. node id must be between [0 and 128]"},
		{v, attach(128), "invalid failback request, node id: 128 is out of range. node id must be between [0 and 128]"},
		{v, attach(0), ""},
		{v, attach(9), ""},
		{v, attach(1), ""},
		{raw, attach(1), "invalid failback request, node id : 1 status: [1] not valid for failback"},
		{v, detach(0), ""},
		{v, detach(1), "invalid degenerate backend request, node id : 1 status: [3] is not valid for failover"},
		{v, detach(2), "invalid degenerate backend request, node id : 2 status: [0] is not valid for failover"},
		{v, detach(100), "invalid degenerate backend request, node id : 100 status: [0] is not valid for failover"},
		{v, detach(128), "invalid degenerate backend request, node id: 128 is out of range. node id must be between [0 and 128]"},
		{
			v, detach(3),
			"degenerate backend request for node_id: 3 from pid [77] is canceled because failover is disallowed on the node",
		},
		{v, Promote{Node: 9}, "could not process promote request: node id 9 is not valid"},
		{v, Promote{Node: 1}, "could not process promote request: node id 1 is not valid, its status is down"},
		{
			raw, Promote{Node: 1}, "FATAL invalid pgpool mode for process promote request: " +
				"not in streaming replication mode, can't promote node id 1",
		},
		{
			v,
			Promote{Node: 0},
			"FATAL invalid promote request: specified node is already primary node, can't promote node id 0",
		},
		{v, Promote{Node: 3}, ""},
	} {
		got := ""
		if why := refuse(c.v, c.r, &p); why != nil {
			got = why.Error()
			if why.Fatal {
				got = "FATAL " + got
			}
		}
		if got != c.want {
			t.Errorf("%+v:\n got %q\nwant %q", c.r, got, c.want)
		}
	}
}

// What is reported while the daemon stops is given up, but nobody waits for ever.
func TestStopInTheMiddle(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.command, w.fencing = time.Hour, time.Hour
		w.policy.FollowPrimaryCommand = "x"
		w.begin()
		w.lose(0)
		time.Sleep(time.Minute)
		w.stop()
		if got := w.commands(); !strings.HasPrefix(got, "promote 1") {
			t.Errorf("commands %q", got)
		}
		w.begin()
	})
}

// What waits for the end of the search must not keep an administrator from ending it: with search_primary_node_timeout = 0 it has
// no other end.
func TestNothingStandsInTheWayOfThePrimary(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.policy.FailoverCommand, w.policy.SearchPrimaryNodeTimeout = "", 0
		w.begin()
		w.lose(2)
		w.settled()
		w.lose(0)
		time.Sleep(time.Second)
		late, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := w.Settle(late); err == nil {
			t.Fatal("settled without a primary")
		}
		w.set(func() { w.servers[0].dead, w.servers[2].dead = false, false })
		w.Report(Attach{Node: 2, Origin: ByRecovery})
		for _, r := range []Request{Detach{Nodes: []cluster.NodeID{1}, Origin: ByOperator}, Attach{Node: 0, Origin: ByOperator}} {
			if err := w.Submit(r); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)
		w.wantView("0:primary 4/2, 1:down 2/2, 2:standby 3/2")
	})
}

// About one node requests are carried out in their order.
func TestJoinsInOrder(t *testing.T) {
	attach, detach := Attach{Node: 1, Origin: ByOperator}, Detach{Nodes: []cluster.NodeID{1}, Origin: ByOperator}
	for _, tc := range []struct {
		name      string
		r         Request
		before    []Request
		searching bool
		want      bool
	}{
		{"detach", detach, nil, false, true},
		{"detach behind an attach", detach, []Request{attach}, false, false},
		{"detach behind an attach of another node", detach, []Request{Attach{Node: 2}}, false, true},
		{"a finding", Detach{Nodes: []cluster.NodeID{1}, Origin: ByHealthCheck}, []Request{attach}, false, true},
		{"attach", attach, nil, false, false},
		{"attach during the search", attach, nil, true, true},
		{"attach behind a recovery", attach, []Request{Attach{Node: 1, Origin: ByRecovery}}, true, false},
		{"attach behind one who waits", attach, []Request{settle{}}, true, true},
		{"auto failback", Attach{Node: 1, Origin: ByAutoFailback}, nil, true, false},
		{"promote", Promote{Node: 1}, []Request{Promote{Node: 2, Switchover: true}}, true, true},
		{"promote behind a switchover to the same node", Promote{Node: 1}, []Request{Promote{Node: 1, Switchover: true}}, true, false},
		{"switchover", Promote{Node: 1, Switchover: true}, nil, true, false},
		{"settle", settle{}, nil, true, false},
	} {
		if got := joins(tc.r, tc.before, tc.searching); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// The round at the end of an attach finds that the primary is none any more: the search for another one is a new one.
func TestSearchBehindALook(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		w.begin()
		w.lose(1)
		w.settled()
		w.set(func() { w.servers[0].role, w.servers[1].dead = cluster.RoleStandby, false })
		w.Report(Attach{Node: 1, Origin: ByOperator})
		w.settled()
		w.wantView("0:standby 2/2, 1:standby 3/2")
		w.wantLines("LOG:  find_primary_node_repeatedly: waiting for finding a primary node", "DETAIL:  expired after 30 seconds")
	})
}
