package failover

import (
	"strings"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
)

var start = time.Date(2026, 11, 20, 18, 13, 24, 0, time.UTC)

func backends(n int) []conf.Backend {
	out := make([]conf.Backend, n)
	for i := range out {
		out[i] = conf.Backend{Hostname: "h", Port: 5432 + i, Weight: 1}
	}
	return out
}

func texts(why []Reason) string {
	var s []string
	for _, r := range why {
		s = append(s, r.String())
	}
	return strings.Join(s, "\n")
}

func TestFirst(t *testing.T) {
	b := backends(4)
	b[2] = conf.Backend{}
	v, why := First(cluster.ModeStreaming, b, nil, start)
	wantStatus := []cluster.Status{cluster.StatusWaiting, cluster.StatusWaiting, cluster.StatusUnused, cluster.StatusWaiting}
	for i, s := range wantStatus {
		if n := v.Nodes[i]; n.Status != s || n.ID != cluster.NodeID(i) || n.LastStatusChange != start {
			t.Errorf("node %d: %+v", i, n)
		}
	}
	if v.Primary != cluster.NoNode || v.Nodes[0].Role != cluster.RoleStandby || len(why) != 0 {
		t.Errorf("primary %d, role %v, reasons %q", v.Primary, v.Nodes[0].Role, texts(why))
	}

	marks := []Mark{{Status: cluster.StatusUp}, {Status: cluster.StatusWaiting, Line: "what"}, {Status: cluster.StatusDown}}
	v, why = First(cluster.ModeStreaming, backends(4), marks, start)
	wantStatus = []cluster.Status{cluster.StatusUp, cluster.StatusWaiting, cluster.StatusDown, cluster.StatusUnused}
	for i, s := range wantStatus {
		if v.Nodes[i].Status != s {
			t.Errorf("with file, node %d: %v, want %v", i, v.Nodes[i].Status, s)
		}
	}
	want := "reading status file: 0 th backend is set to up status\n" +
		"invalid data in status file, ignoring...\n" +
		"reading status file: 2 th backend is set to down status\n" +
		"reading status file: 3 th backend is set to unused status"
	if texts(why) != want {
		t.Errorf("reasons:\n%s", texts(why))
	}

	b = backends(2)
	b[1].Flag.AlwaysPrimary = true
	if v, _ = First(cluster.ModeStreaming, b, nil, start); v.Primary != 1 || v.Nodes[1].Role != cluster.RolePrimary {
		t.Errorf("ALWAYS_PRIMARY: primary %d", v.Primary)
	}

	v, _ = First(cluster.ModeRaw, b, nil, start)
	if v.Primary != cluster.NoNode || v.Nodes[0].Role != cluster.RoleMain || v.Nodes[1].Role != cluster.RoleReplica {
		t.Errorf("raw: primary %d, roles %v, %v", v.Primary, v.Nodes[0].Role, v.Nodes[1].Role)
	}
}

// TestRoles walks through rounds of answers. In a round each letter is what a node says: P primary, S standby, . nothing,
// x refused the connection. After the arrow: the primary, then the nodes' epochs.
func TestRoles(t *testing.T) {
	for _, c := range []struct {
		name   string
		mode   cluster.Mode
		rounds []string
	}{
		{"found", cluster.ModeStreaming, []string{"PSS > 0 111", "PSS > 0 111"}},
		{"found late", cluster.ModeStreaming, []string{"..S > -1 111", ".SS > -1 111", "SPS > 1 121"}},
		{"lowest of several", cluster.ModeStreaming, []string{"SPP > 1 111"}},
		{"a stray primary does not take over", cluster.ModeStreaming, []string{"PSP > 0 111", ".SP > 0 111", "xSP > 0 111"}},
		{"silence changes nothing", cluster.ModeStreaming, []string{"PSS > 0 111", ".SS > 0 111", "... > 0 111"}},
		{
			"promoted after the primary was stopped", cluster.ModeStreaming,
			[]string{"PSS > 0 111", "xSS > 0 111", "xPS > 1 221", "PPS > 1 221", "SPS > 1 221"},
		},
		{"promoted before the primary was stopped", cluster.ModeStreaming, []string{"PSS > 0 111", "PPS > 0 111", "xPS > 1 221"}},
		{"promoted while the primary is silent", cluster.ModeStreaming, []string{"PSS > 0 111", ".PS > 0 111", "xPS > 1 221"}},
		{"two promoted", cluster.ModeStreaming, []string{"PSS > 0 111", "xPP > 0 111", "xPS > 1 221"}},
		{"switchover", cluster.ModeStreaming, []string{"PSS > 0 111", "SPS > 1 221"}},
		{"demoted, nobody follows", cluster.ModeStreaming, []string{"PSS > 0 111", "SSS > -1 211", "SSP > 2 212"}},
		{"promoted again after a failback", cluster.ModeStreaming, []string{"PS > 0 11", "SP > 1 22", "PS > 0 33"}},
		{"logical: all are writable, the lowest stays", cluster.ModeLogical, []string{"PPP > 0 111", ".PP > 0 111"}},
		{"raw has no primary", cluster.ModeRaw, []string{"PSS > -1 111"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, _ := First(c.mode, backends(strings.Index(c.rounds[0], " ")), nil, start)
			var m Memory
			for _, round := range c.rounds {
				said, want, _ := strings.Cut(round, " > ")
				v, m = round1(v, m, seen(v, said))
				if got := shape(v); got != want {
					t.Fatalf("after %s: %s, want %s", said, got, want)
				}
			}
		})
	}
}

// round1 takes in one round as the coordinator does: a search takes its answers, too.
func round1(v *cluster.View, m Memory, r RolesSeen) (*cluster.View, Memory) {
	at := start.Add(time.Minute)
	for _, q := range []Request{r, Sought{Roles: r}} {
		p := Decide(v, m, q, Policy{}, at)
		m = p.Memory
		if p.View != nil {
			v = p.View
		}
	}
	return v, m
}

func seen(v *cluster.View, said string) RolesSeen {
	r := RolesSeen{Seen: v, Roles: make([]cluster.Role, len(said)), Gone: make([]bool, len(said))}
	for i := range said {
		switch said[i] {
		case 'P':
			r.Roles[i] = cluster.RolePrimary
		case 'S':
			r.Roles[i] = cluster.RoleStandby
		case 'x':
			r.Gone[i] = true
		}
	}
	return r
}

func shape(v *cluster.View) string {
	s := "-1 "
	if v.Primary >= 0 {
		s = string(rune('0'+v.Primary)) + " "
	}
	for i := range v.Nodes {
		s += string(rune('0' + v.Nodes[i].Epoch))
	}
	return s
}

func TestRolesOutdatedAnswer(t *testing.T) {
	old, _ := First(cluster.ModeStreaming, backends(2), nil, start)
	v := Decide(old, Memory{}, seen(old, "PS"), Policy{}, start).View
	v, _ = round1(v, Memory{}, seen(v, "SP"))
	if v.Primary != 1 {
		t.Fatalf("primary %d", v.Primary)
	}
	// This answer was given before the switch.
	if p := Decide(v, Memory{}, seen(old, "PS"), Policy{}, start); p.View != nil {
		t.Errorf("an old answer changed the primary to %d", p.View.Primary)
	}
}

func TestRolesIgnoresDetachedNode(t *testing.T) {
	marks := []Mark{{Status: cluster.StatusDown}, {Status: cluster.StatusUp}, {Status: cluster.StatusUp}}
	v, _ := First(cluster.ModeStreaming, backends(3), marks, start)
	if p := Decide(v, Memory{}, seen(v, "PSP"), Policy{}, start); p.View == nil || p.View.Primary != 2 {
		t.Errorf("plan %+v", p)
	}
}

func TestRolesAlwaysPrimary(t *testing.T) {
	b := backends(2)
	b[0].Flag.AlwaysPrimary = true
	v, _ := First(cluster.ModeStreaming, b, nil, start)
	if p := Decide(v, Memory{}, seen(v, "SP"), Policy{}, start); p.View != nil {
		t.Errorf("primary changed to %d", p.View.Primary)
	}
}

func TestRolesReasons(t *testing.T) {
	v, _ := First(cluster.ModeStreaming, backends(3), nil, start)
	p := Decide(v, Memory{}, seen(v, "SPP"), Policy{}, start)
	want := "nodes 1, 2 say they are primary, node 1 is taken, nothing is written to the others\n" +
		"find_primary_node: primary node is 1\nfind_primary_node: standby node is 0"
	if texts(p.Reasons) != want {
		t.Errorf("reasons:\n%s", texts(p.Reasons))
	}
}

func TestNodeUsed(t *testing.T) {
	v, _ := First(cluster.ModeStreaming, backends(2), nil, start)
	later := start.Add(time.Hour)
	p := Decide(v, Memory{}, NodeUsed{Node: 1}, Policy{}, later)
	if p.View == nil || !p.Save || p.View.Nodes[1].Status != cluster.StatusUp || p.View.Nodes[1].LastStatusChange != later {
		t.Fatalf("plan %+v", p)
	}
	if v.Nodes[1].Status != cluster.StatusWaiting {
		t.Error("the old View was changed")
	}
	for _, id := range []cluster.NodeID{1, -1, 2, 500} {
		if p := Decide(p.View, Memory{}, NodeUsed{Node: id}, Policy{}, later); p.View != nil {
			t.Errorf("node %d: a new View", id)
		}
	}
}

func TestReload(t *testing.T) {
	b := backends(2)
	v, _ := First(cluster.ModeStreaming, b, []Mark{{Status: cluster.StatusUp}, {Status: cluster.StatusDown}}, start)
	next := backends(4)
	next[0] = conf.Backend{
		Hostname: "elsewhere", Port: 1, Weight: 2.5, DataDirectory: "/new", ApplicationName: "a",
		Flag: conf.BackendFlag{DisallowFailover: true},
	}
	next[1].DataDirectory = "/new"
	next[2] = conf.Backend{}
	p := Decide(v, Memory{}, BackendsReloaded{Backends: next}, Policy{}, start.Add(time.Hour))
	n := p.View.Nodes
	if n[0].Host != "h" || n[0].Port != 5432 || n[0].Weight != 2.5 || n[0].DataDirectory != "" || n[0].ApplicationName != "a" ||
		!n[0].DisallowFailover || n[0].Status != cluster.StatusUp || n[0].Epoch != v.Nodes[0].Epoch {
		t.Errorf("node 0: %+v", n[0])
	}
	if n[1].DataDirectory != "/new" || n[1].Status != cluster.StatusDown {
		t.Errorf("node 1: %+v", n[1])
	}
	if n[2].Status != cluster.StatusUnused {
		t.Errorf("node 2: %+v", n[2])
	}
	if n[3].Status != cluster.StatusDown || n[3].Port != 5435 || n[3].Weight != 1 || n[3].Role != cluster.RoleStandby {
		t.Errorf("node 3: %+v", n[3])
	}
	want := "backend_hostname and backend_port of node 0 cannot be changed from h:5432 to elsewhere:1 without a restart\n" +
		"initializing pool configuration: backend weight for backend:0 changed from 1.000000 to 2.500000\n" +
		"node 3 has been added and is down, attach it to use it"
	if texts(p.Reasons) != want {
		t.Errorf("reasons:\n%s", texts(p.Reasons))
	}

	next[1].Flag.AlwaysPrimary = true
	if p = Decide(p.View, Memory{}, BackendsReloaded{Backends: next}, Policy{}, start); p.View.Primary != 1 {
		t.Errorf("ALWAYS_PRIMARY by reload: primary %d", p.View.Primary)
	}
}

// The fields of log_format = json: node, generation, and what a request was caused by.
func TestReasonFields(t *testing.T) {
	v, _ := First(cluster.ModeStreaming, backends(2), nil, start)
	for want, r := range map[string]Request{
		"health check: timeout":             Detach{Nodes: []cluster.NodeID{1}, Origin: ByHealthCheck, TimedOut: true},
		"backend error: connection refused": Detach{Nodes: []cluster.NodeID{1}, Origin: ByBackendError, Evidence: Refused},
		"administrator":                     Detach{Nodes: []cluster.NodeID{1}, Origin: ByOperator},
	} {
		p := Policy{PID: 7}
		p.FailoverOnBackendError = true
		e := Decide(v, Memory{}, r, p, start).Reasons[0].Event(3)
		if e.Reason != want || e.Node.ID() != 1 || e.Gen != 3 {
			t.Errorf("%+v", e)
		}
	}
}

func TestReasonsAreWorded(t *testing.T) {
	for k := StatusRead; k <= lastKind; k++ {
		r := Reason{Kind: k, Node: 1, Old: "a", New: "b", Others: []cluster.NodeID{2}}
		if e := r.Event(7); e.Message == "" || e.Severity == 0 || e.Gen != 7 {
			t.Errorf("kind %d: %+v", k, e)
		}
	}
}

// ALWAYS_PRIMARY moved to another node by a reload: it takes over when nobody can write to the one in force any more.
func TestReloadMovesThePrimary(t *testing.T) {
	b := backends(2)
	v, _ := First(cluster.ModeStreaming, b, nil, start)
	v.Primary = 0
	b[1].Flag.AlwaysPrimary = true
	p := Decide(v, Memory{}, BackendsReloaded{Backends: b}, Policy{}, start)
	if got := describe(p.View); got != "0:standby 2/2, 1:standby 1, failover, seeking" || !p.Fence || p.View.Writer() != cluster.NoNode {
		t.Errorf("fence %v, %s", p.Fence, got)
	}
	p = Decide(p.View, p.Memory, Sought{Over: true}, Policy{}, start)
	if got := describe(p.View); got != "0:standby 2/2, 1:primary 2" || p.Follow != nil {
		t.Errorf("follow %v, %s", p.Follow, got)
	}
}

// TestEarly: before the first primary is found nobody is detached by itself, for failover_command would be told that there is none (%P =
// -1) and scripts promote then.
func TestEarly(t *testing.T) {
	v, _ := First(cluster.ModeStreaming, backends(3), nil, start)
	lost := Detach{Nodes: []cluster.NodeID{1}, Origin: ByHealthCheck, Seen: v, Evidence: Refused}
	m := FirstSearch(v, time.Minute, start)
	for _, c := range []struct {
		name string
		m    Memory
		r    Request
		at   time.Duration
		want bool // a node goes
	}{
		{"health check", m, lost, time.Second, false},
		{"a session", m, Detach{Nodes: []cluster.NodeID{1}, Origin: ByBackendError, Seen: v, Evidence: Refused}, time.Second, false},
		{"administrator", m, Detach{Nodes: []cluster.NodeID{1}, Origin: ByOperator}, time.Second, true},
		{"search_primary_node_timeout is over", m, lost, time.Minute, true},
		{"without search_primary_node_timeout", FirstSearch(v, 0, start), lost, 1000 * time.Hour, false},
		{"no search", Memory{}, lost, time.Second, true},
	} {
		plan := Decide(v, c.m, c.r, Policy{Failover: conf.Failover{FailoverOnBackendError: true}}, start.Add(c.at))
		if got := plan.View != nil; got != c.want {
			t.Errorf("%s: a node goes %v, want %v: %v", c.name, got, c.want, plan.Reasons)
		}
		if !c.want && (len(plan.Reasons) != 1 || plan.Reasons[0].Kind != DetachEarly) {
			t.Errorf("%s: %v", c.name, plan.Reasons)
		}
	}
	found := Decide(v, m, RolesSeen{Seen: v, Roles: []cluster.Role{cluster.RolePrimary, 0, 0}, Gone: make([]bool, 3)}, Policy{}, start)
	late := Decide(found.View, found.Memory, Detach{Nodes: []cluster.NodeID{0}, Origin: ByHealthCheck, Seen: found.View, Evidence: Refused}, Policy{}, start.Add(time.Second))
	if late.View == nil || late.Memory.early(late.View, start.Add(2*time.Second)) {
		t.Errorf("once a primary was known its loss counts, and the search behind it is no first one: %v", late.Reasons)
	}
	if m := FirstSearch(&cluster.View{Mode: cluster.ModeRaw, Primary: cluster.NoNode}, time.Minute, start); !m.Early.IsZero() {
		t.Error("a mode without a primary searches for none")
	}
}

// TestStraysAreNotWrittenTo: where the search ends without a primary the main node stands in for reads, but not for writes if it says it
// is a primary that was not taken.
func TestStraysAreNotWrittenTo(t *testing.T) {
	v, _ := First(cluster.ModeStreaming, backends(3), nil, start)
	m := Memory{}
	step := func(r Request) {
		t.Helper()
		plan := Decide(v, m, r, Policy{Failover: conf.Failover{FailoverOnBackendError: true}}, start)
		m = plan.Memory
		if plan.View != nil {
			v = plan.View
		}
	}
	says := func(roles ...cluster.Role) RolesSeen {
		return RolesSeen{Seen: v, Roles: roles, Gone: make([]bool, len(roles))}
	}
	const P, S, none = cluster.RolePrimary, cluster.RoleStandby, cluster.RoleUnknown
	step(says(P, P, S))
	if v.Primary != 0 || v.Nodes[1].Stray || v.Writer() != 0 {
		t.Fatalf("node 0 is the primary: %+v", v)
	}
	step(Detach{Nodes: []cluster.NodeID{0}, Origin: ByBackendError, Seen: v, Evidence: Refused})
	if v.Writer() != cluster.NoNode {
		t.Errorf("while it is sought %d takes writes", v.Writer())
	}
	step(Sought{Roles: says(none, P, S), Over: true})
	if v.Primary != cluster.NoNode || !v.Nodes[1].Stray || v.Writer() != 2 {
		t.Errorf("no primary was found, %d takes writes: %+v", v.Writer(), v)
	}
	step(Detach{Nodes: []cluster.NodeID{2}, Origin: ByOperator})
	step(Sought{Roles: says(none, P, none), Over: true})
	if v.Writer() != cluster.NoNode {
		t.Errorf("only a stray is left, %d takes writes", v.Writer())
	}
	step(Promote{Node: 1})
	step(Sought{Roles: says(none, P, none), Over: true})
	if v.Primary != 1 || v.Nodes[1].Stray || v.Writer() != 1 {
		t.Errorf("an administrator has taken it: %+v", v)
	}
}

// A node that was the primary by its flag alone, and is down, is none when the flag goes: another one may be found.
func TestReloadTakesTheFlagAway(t *testing.T) {
	b := backends(2)
	b[0].Flag.AlwaysPrimary = true
	v, _ := First(cluster.ModeStreaming, b, []Mark{{Status: cluster.StatusDown}, {Status: cluster.StatusUp}}, start)
	p := Decide(v, Memory{}, BackendsReloaded{Backends: backends(2)}, Policy{}, start)
	if p.View.Primary != cluster.NoNode {
		t.Errorf("primary %d", p.View.Primary)
	}
	seen := RolesSeen{Seen: p.View, Roles: []cluster.Role{0, cluster.RolePrimary}}
	if p = Decide(p.View, p.Memory, seen, Policy{}, start); describe(p.View) != "0:down 1, 1:primary 2" {
		t.Errorf("then %s", describe(p.View))
	}
}

// TestNewestTimeline: an old primary that was started again beside its successor is not taken.
func TestNewestTimeline(t *testing.T) {
	v, _ := First(cluster.ModeStreaming, backends(3), nil, start)
	const P, S = cluster.RolePrimary, cluster.RoleStandby
	for _, c := range []struct {
		timelines []cluster.Timeline
		want      cluster.NodeID
	}{
		{[]cluster.Timeline{1, 2, 0}, 1},
		{[]cluster.Timeline{2, 1, 0}, 0},
		{[]cluster.Timeline{3, 3, 0}, 0},
		{[]cluster.Timeline{0, 1, 0}, 1},
		{nil, 0},
	} {
		r := RolesSeen{Seen: v, Roles: []cluster.Role{P, P, S}, Gone: make([]bool, 3), Timelines: c.timelines}
		if got := Decide(v, Memory{}, r, Policy{}, start).View.Primary; got != c.want {
			t.Errorf("timelines %v: node %d, want %d", c.timelines, got, c.want)
		}
	}
}

// TestDetachOfANodeThatIsDown: where pgpool acts on servers, an administrator must be able to say that it shall not, though the node is down.
func TestDetachOfANodeThatIsDown(t *testing.T) {
	v, _ := First(cluster.ModeStreaming, backends(3), nil, time.Time{})
	v.Primary, v.Nodes[1].Status = 0, cluster.StatusDown
	out := Detach{Nodes: []cluster.NodeID{1}, Origin: ByOperator}
	unaided := Policy{Failover: conf.Failover{AutoFailover: true}}
	if why := refuse(v, out, &unaided); why != nil {
		t.Fatal(why)
	}
	plan := decide(v, Memory{}, out, unaided, time.Time{})
	if plan.View == nil || !plan.View.Nodes[1].Detached || plan.View.Op != cluster.OpNone || len(plan.Commands) > 0 || !plan.Save {
		t.Fatalf("%+v", plan)
	}
	if got := texts(plan.Reasons); !strings.Contains(got, "node 1 stays down until it is attached") {
		t.Error(got)
	}
	if again := decide(plan.View, Memory{}, out, unaided, time.Time{}); again.View != nil || len(again.Commands) > 0 {
		t.Errorf("once more: %+v", again)
	}
	found := Detach{Nodes: []cluster.NodeID{1}, Origin: ByHealthCheck}
	if plan := decide(v, Memory{}, found, unaided, time.Time{}); plan.View != nil {
		t.Errorf("a finding: %+v", plan.View)
	}
	if back := decide(plan.View, Memory{}, Attach{Node: 1, Origin: ByOperator}, unaided, time.Time{}); back.View.Nodes[1].Detached {
		t.Error("it is attached and still left alone")
	}
	busy := *v
	busy.Op = cluster.OpFailover
	for name, c := range map[string]struct {
		v *cluster.View
		p Policy
	}{"with scripts": {v, Policy{}}, "during a failover": {&busy, unaided}} {
		if why := refuse(c.v, out, &c.p); why == nil {
			t.Error(name, "it is not refused")
		}
	}
}
