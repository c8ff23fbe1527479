package wdtest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gopgpool/internal/site"
	"gopgpool/internal/vipwatch"
)

// twoNodes is the manual's walk through a watchdog of two nodes.
func twoNodes(settings site.Settings) site.ClusterOptions {
	return site.ClusterOptions{
		Pgpools: []string{"osspc16", "osspc20"}, First: netip.MustParsePrefix("133.137.177.16/24"),
		VIP:      netip.MustParseAddr("133.137.177.143"),
		Settings: site.Settings{"enable_consensus_with_half_votes": "on", "log_min_messages": "info", "trusted_servers": ""}.With(settings),
	}
}

// walk is a walk under way.
type walk struct {
	*site.Cluster
	t      *testing.T // of the step
	o16    *site.Pgpool
	o20    *site.Pgpool
	marked map[*site.Pgpool]int
}

func newWalk(t *testing.T, settings site.Settings) *walk {
	c := newCluster(t, twoNodes(settings))
	return &walk{Cluster: c, t: t, o16: c.Pgpools[0], o20: c.Pgpools[1], marked: map[*site.Pgpool]int{}}
}

// spawn starts a pgpool; says is about its log from here on.
func (w *walk) spawn(p *site.Pgpool) {
	w.t.Helper()
	w.mark(p)
	p.Spawn(w.t)
}

func (w *walk) mark(p *site.Pgpool) { w.marked[p] = p.Mark(w.t) }

// says waits for texts in a log, in that order.
func (w *walk) says(p *site.Pgpool, limit time.Duration, texts ...string) {
	w.t.Helper()
	p.AwaitLog(w.t, limit, w.marked[p], texts...)
}

// sees waits for what pcp_watchdog_info says at a node: the first line's numbers and escalation, and the states of both nodes.
func (w *walk) sees(p *site.Pgpool, summary string, states ...string) {
	w.t.Helper()
	w.AwaitStates(w.t, 15*time.Second, p.Host.Name, states...)
	w.Await(w.t, p.Host.Name+" says "+summary, 10*time.Second, func() (string, bool) {
		info, err := w.WatchdogInfo(w.t, p.Host.Name)
		return fmt.Sprintf("%s, %v", info.Summary, err), err == nil && info.Summary == summary
	})
}

// list is psql -l through the virtual address.
func (w *walk) list() {
	w.t.Helper()
	out, said, status := w.Shell(w.t, w.Client, "postgres", fmt.Sprintf("PGCONNECT_TIMEOUT=5 psql -h %s -p 9999 -U postgres -w -l", w.VIP))
	if status != 0 || !strings.Contains(out, "template1") {
		w.t.Errorf("psql -l: status %d, %s%s", status, out, said)
	}
}

// pinged waits for an answer of the virtual address to a ping that was sent from now on.
func (w *walk) pinged(watch *vipwatch.Watch, limit time.Duration) {
	w.t.Helper()
	now := watch.Now()
	w.Await(w.t, "the virtual address answers a ping", limit, func() (string, bool) {
		return "", slices.ContainsFunc(watch.Peek().Pings, func(a vipwatch.Attempt) bool { return a.Began > now && a.Err == "" })
	})
}

// nobodyHolds expects that the address is nowhere for a while longer than a node needs to raise it.
func (w *walk) nobodyHolds() {
	w.t.Helper()
	end := time.Now().Add(2 * time.Second)
	site.Wait(w.t.Context(), 5*time.Second, func() (string, bool) {
		if ids := w.Holders(w.t); len(ids) > 0 {
			w.t.Fatalf("held by %v", ids)
		}
		return "", time.Now().After(end)
	})
}

func TestWalkThrough(t *testing.T) {
	long(t)
	w := newWalk(t, nil)
	watched := watch(t, w.Cluster)
	for _, step := range []struct {
		name string
		do   func(*walk, *vipwatch.Watch)
	}{
		{"1 and 2: the first node", (*walk).firstNode},
		{"3 to 6: the second node", (*walk).secondNode},
		{"7 to 10: the leader is stopped", (*walk).stopFirst},
		{"11: it comes back", (*walk).firstBack},
		{"12: the leader is killed", (*walk).killSecond},
	} {
		played := false
		t.Run(step.name, func(t *testing.T) {
			w.t = t
			step.do(w, watched)
			played = true
		})
		if !played {
			break // the next one begins where this one was to end
		}
	}
	t.Log(stop(t, watched).Holders())
}

func (w *walk) firstNode(*vipwatch.Watch) {
	w.spawn(w.o16)
	w.says(w.o16, 20*time.Second, "I am announcing my self as leader/coordinator watchdog node", "I am the cluster leader node",
		"Starting escalation process", "escalation process started with PID:", "watchdog: escalation started")
	w.o16.LogSays(w.t, 0, "our declare coordinator message is accepted by all nodes")
	w.says(w.o16, 20*time.Second, "watchdog process is initialized")
	w.says(w.o16, 20*time.Second, `successfully acquired the delegate IP:"133.137.177.143"`)
	out := w.Run(w.t, w.o16.Host, "root", "ip addr show eth0")
	if !strings.Contains(out, "133.137.177.143/24") || !strings.Contains(out, "eth0:0") {
		w.t.Errorf("ip addr show eth0: %s", out)
	}
}

func (w *walk) secondNode(watch *vipwatch.Watch) {
	w.says(w.o16, 20*time.Second, "successfully started")
	w.spawn(w.o20)
	w.says(w.o20, 10*time.Second, "watchdog cluster is configured with 1 remote nodes", "watchdog remote node:0 on osspc16:9000",
		"interface monitoring is disabled in watchdog", ".s.PGPOOLWD_CMD.9000", "watchdog node state changed from [DEAD] to [LOADING]",
		"new outbound connection to osspc16:9000", "watchdog node state changed from [LOADING] to [INITIALIZING]",
		"watchdog node state changed from [INITIALIZING] to [STANDBY]", "successfully joined the watchdog cluster as standby node",
		`our join coordinator request is accepted by cluster leader node "osspc16:9999 Linux osspc16"`, "watchdog process is initialized")
	w.pinged(watch, 5*time.Second)
	if ids := w.Holders(w.t); !slices.Equal(ids, []int{0}) {
		w.t.Errorf("held by %v", ids)
	}
	w.list()
	w.sees(w.o16, "2 2 YES", "4 LEADER", "7 STANDBY")
	w.sees(w.o20, "2 2 NO", "4 LEADER", "7 STANDBY")
}

// stopFirst: the leader hands over before it goes, so the other one is not alone when it becomes the leader, and does not say so.
func (w *walk) stopFirst(watch *vipwatch.Watch) {
	w.says(w.o20, 20*time.Second, "successfully started")
	w.mark(w.o20)
	began := watch.Now()
	w.Run(w.t, w.o16.Host, "root", "pgpool -f "+site.EtcDir+"/pgpool.conf -m fast stop")
	if end := w.o16.AwaitEnd(w.t, 10*time.Second); end != "" {
		w.t.Errorf("osspc16 ended with %s", end)
	}
	w.says(w.o20, 10*time.Second, "watchdog node state changed from [STANDBY] to [JOINING]",
		"watchdog node state changed from [JOINING] to [INITIALIZING]", "] to [LEADER]",
		"I am announcing my self as leader/coordinator watchdog node", "I am the cluster leader node", "watchdog: escalation started")
	w.says(w.o20, 10*time.Second, "watchdog escalation process with pid: ", "exit with SUCCESS.")
	for _, text := range []string{
		`remote node "osspc16:9999 Linux osspc16" is shutting down`, "watchdog cluster has lost the coordinator node",
	} {
		w.says(w.o20, time.Second, text)
	}
	w.pinged(watch, 15*time.Second)
	r := watch.Peek()
	outage, _ := vipwatch.Outage(r.Pings, began, r.Lasted)
	if w.t.Logf("no ping was answered for %.2f s", outage.Seconds()); outage > 15*time.Second {
		w.t.Error("too long")
	}
	if ids := w.Holders(w.t); !slices.Equal(ids, []int{1}) {
		w.t.Errorf("held by %v", ids)
	}
	w.list()
	w.sees(w.o20, "2 2 YES", "10 SHUTDOWN", "4 LEADER")
}

func (w *walk) firstBack(*vipwatch.Watch) {
	w.spawn(w.o16)
	w.says(w.o16, 15*time.Second, "successfully joined the watchdog cluster as standby node")
	w.says(w.o16, 15*time.Second, "successfully started")
	w.sees(w.o20, "2 2 YES", "7 STANDBY", "4 LEADER")
	if ids := w.Holders(w.t); !slices.Equal(ids, []int{1}) {
		w.t.Errorf("held by %v", ids)
	}
}

// killSecond: the host of the leader that is killed loses the address by itself, before the other one raises it.
func (w *walk) killSecond(watch *vipwatch.Watch) {
	began := watch.Now()
	w.o20.SignalAll(w.t, syscall.SIGKILL)
	w.o20.AwaitEnd(w.t, 5*time.Second)
	w.Await(w.t, "osspc16 serves at the address", 15*time.Second, func() (string, bool) {
		r := watch.Peek()
		_, host, ok := r.Takeover(began)
		return r.Holders(), ok && host == "osspc16"
	})
	took, _, _ := watch.Peek().Takeover(began)
	w.t.Logf("taken over in %.2f s", took.Seconds())
	w.list()
	w.sees(w.o16, "2 2 YES", "4 LEADER", "8 LOST")
}

// TestWalkWithoutHalfVotes: one of two nodes is not enough.
func TestWalkWithoutHalfVotes(t *testing.T) {
	long(t)
	w := newWalk(t, site.Settings{"enable_consensus_with_half_votes": "off"})
	w.spawn(w.o16)
	w.says(w.o16, 20*time.Second, "we do not have enough nodes in cluster")
	w.nobodyHolds()
	w.spawn(w.o20)
	w.AwaitHolder(t, 15*time.Second)
	w.says(w.o16, 10*time.Second, "successfully started")
	w.says(w.o20, 10*time.Second, "successfully started")
	leader := w.AwaitHolder(t, 5*time.Second)
	w.Pgpools[leader].Stop(t)
	survivor := w.Pgpools[1-leader]
	states := []string{"10 SHUTDOWN", "10 SHUTDOWN"}
	states[1-leader] = "4 LEADER"
	w.sees(survivor, "2 2 NO", states...)
	w.nobodyHolds()
	if said := w.PCP(t, survivor.Host.Name, "watchdog_info", "-v"); !strings.Contains(said, "QUORUM ABSENT") {
		t.Errorf("pcp_watchdog_info -v: %s", said)
	}
}

// TestWalkWithCommands: the address is the business of the escalation commands alone.
func TestWalkWithCommands(t *testing.T) {
	long(t)
	w := newWalk(t, nil)
	for id := range w.Pgpools {
		w.Configure(t, id, site.Settings{
			"delegate_ip": "", "if_up_cmd": "", "if_down_cmd": "", "arping_cmd": "",
			"wd_escalation_command":    fmt.Sprintf("/sbin/ip addr add %s/24 dev eth0 label eth0:0", w.VIP),
			"wd_de_escalation_command": fmt.Sprintf("/sbin/ip addr del %s/24 dev eth0", w.VIP),
		})
	}
	w.Start(t)
	leader := w.AwaitHolder(t, 15*time.Second)
	w.Pgpools[leader].Stop(t)
	w.AwaitHolder(t, 10*time.Second, 1-leader)
	w.Pgpools[1-leader].Stop(t)
	if ids := w.Holders(t); len(ids) > 0 {
		t.Errorf("held by %v after the end of both", ids)
	}
}
