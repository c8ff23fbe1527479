package syncguard

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gopgpool/cluster"
)

// world is a primary, node 0, and its standbys, as far as the guard sees them.
type world struct {
	names, remembered string
	effective         string // what the processes of the primary obey: a reload comes to them a look later
	waits             bool   // commits wait, for whom effective says
	busy              bool   // the checkpointer, which has them wait or not
	lsn               cluster.LSN
	acked             cluster.LSN // end of the last commit a client was told about
	standbys          []*fakeStandby
	view              *cluster.View
	rule              Rule
	unknown           bool     // other pgpools may not know what is in force
	forgetful         bool     // they learn of changes late
	stale             []string // what they may take to be in force instead
	machine           machine
}

type fakeStandby struct {
	name                       string
	node                       cluster.NodeID
	streams, answers, catching bool
	frozen                     bool // the primary believes that it streams
	flush                      cluster.LSN
}

func newWorld(names string, standbys ...string) *world {
	w := &world{names: names, effective: names, waits: names != "", lsn: 100, rule: Rule{Count: 2, Weaken: true}}
	w.view = &cluster.View{Mode: cluster.ModeStreaming, Nodes: []cluster.Node{{ApplicationName: "p", Status: cluster.StatusUp, Port: 1}}}
	for i, name := range standbys {
		s := &fakeStandby{name: strings.TrimPrefix(name, "-"), node: cluster.NoNode, streams: true, answers: true, flush: 100}
		if !strings.HasPrefix(name, "-") { // a name that is no node's
			s.node = cluster.NodeID(len(w.view.Nodes))
			w.view.Nodes = append(w.view.Nodes, cluster.Node{ID: s.node, ApplicationName: s.name, Status: cluster.StatusUp, Port: i + 2})
		}
		w.standbys = append(w.standbys, s)
	}
	w.machine.forget()
	return w
}

func (w *world) standby(name string) *fakeStandby {
	i := slices.IndexFunc(w.standbys, func(s *fakeStandby) bool { return s.name == name })
	return w.standbys[i]
}

func must(text string) cluster.SyncNames {
	s, err := cluster.ParseSyncNames(text)
	if err != nil {
		panic(err)
	}
	return s
}

// write adds WAL, which those that stream receive; clients are told if those the setting wants have it.
func (w *world) write(n cluster.LSN) {
	w.lsn += n
	for _, s := range w.standbys {
		if s.streams && !s.catching && !s.frozen {
			s.flush = w.lsn
		}
	}
	w.acknowledge()
}

// acknowledge tells clients of the commits that enough of the named have.
func (w *world) acknowledge() {
	s := must(w.effective)
	switch {
	case !w.waits:
		w.acked = w.lsn
		return
	case s.Empty():
		return
	}
	var have []cluster.LSN
	for _, x := range w.standbys {
		if x.streams && !x.catching && s.Has(x.name) {
			have = append(have, x.flush)
		}
	}
	if len(have) < s.Num {
		return
	}
	// The server takes the first that are named; any of those that stream may have been them.
	slices.Sort(have)
	w.acked = max(w.acked, have[len(have)-s.Num])
}

func (w *world) look() *Look {
	l := &Look{InForce: w.names, Remembered: w.remembered, LSN: w.lsn, After: w.lsn, Obeyed: !w.busy, Answers: make([]bool, len(w.view.Nodes)), Known: !w.unknown && len(w.stale) == 0}
	s := must(w.effective)
	for _, x := range w.standbys {
		if x.node != cluster.NoNode {
			l.Answers[x.node] = x.answers && !x.frozen
		}
		if !x.streams {
			continue
		}
		p := Peer{Name: x.name, State: streaming, Sync: "async", Flush: x.flush}
		switch {
		case x.catching:
			p.State = catchup
		case s.Has(x.name) && s.Method == cluster.SyncAny:
			p.Sync = "quorum"
		case s.Has(x.name):
			p.Sync = "sync"
		}
		l.Peers = append(l.Peers, p)
	}
	return l
}

// reload comes to all processes, to the checkpointer when it has time.
func (w *world) reload(names string) {
	w.effective = names
	if !w.busy {
		w.waits = !must(names).Empty()
	}
}

// step is one look; the plan is carried out as far as its first steps of the given number, all with -1.
func (w *world) step(steps int) (Plan, error) {
	plan, err := w.machine.step(w.view, w.look(), w.rule)
	if err != nil {
		return plan, err
	}
	w.reload(w.names)
	do := func(f func()) {
		if steps != 0 {
			f()
			steps--
		}
	}
	if plan.Remember != "" {
		do(func() { w.remembered = plan.Remember })
	}
	for _, id := range plan.Bar {
		do(func() { w.view.Nodes[id].Unfit = true })
	}
	if plan.Set {
		do(func() {
			if w.forgetful {
				w.stale = append(w.stale, w.names)
			}
			w.names = plan.Names
		})
	}
	for _, id := range plan.Clear {
		do(func() { w.view.Nodes[id].Unfit = false })
	}
	if plan.Forget {
		do(func() { w.remembered = "" })
	}
	if must(w.names).Empty() { // what waits goes on at once
		w.reload("")
	}
	w.acknowledge()
	return plan, nil
}

func (p Plan) String() string {
	var b strings.Builder
	for _, n := range p.Notes {
		fmt.Fprintf(&b, "  # %s\n", n)
	}
	if p.Remember != "" {
		fmt.Fprintf(&b, "  remember %s\n", p.Remember)
	}
	for _, id := range p.Bar {
		fmt.Fprintf(&b, "  bar %d\n", id)
	}
	if p.Set {
		back := ""
		if p.Back {
			back = ", all is as it was"
		}
		fmt.Fprintf(&b, "  set '%s'%s\n", p.Names, back)
	}
	for _, id := range p.Clear {
		fmt.Fprintf(&b, "  clear %d\n", id)
	}
	if p.Forget {
		b.WriteString("  forget\n")
	}
	return b.String()
}

// obey carries out a line of a scenario and returns what is to stand below it.
func (w *world) obey(line string) string {
	f := strings.Fields(line)
	switch f[0] {
	case "look":
		var out strings.Builder
		for range number(f, 1) {
			plan, err := w.step(-1)
			if err != nil {
				return "  error " + err.Error() + "\n"
			}
			out.WriteString(plan.String())
		}
		return out.String()
	case "write":
		w.write(cluster.LSN(number(f, 1)))
	case "down":
		*w.standby(f[1]) = fakeStandby{name: f[1], node: w.standby(f[1]).node, flush: w.standby(f[1]).flush}
	case "up":
		s := w.standby(f[1])
		s.streams, s.answers, s.frozen, s.catching = true, true, false, false
		s.flush = w.lsn
	case "freeze":
		w.standby(f[1]).frozen = true
	case "catchup", "quiet", "deaf":
		s := w.standby(f[1])
		s.streams, s.answers, s.catching = f[0] != "deaf", f[0] != "quiet", f[0] == "catchup"
	case "names":
		w.names = strings.TrimSpace(strings.TrimPrefix(line, "names"))
		w.reload(w.names)
	case "busy", "idle":
		w.busy = f[0] == "busy"
		w.reload(w.effective)
	case "remember":
		w.remembered = f[1]
	case "guard":
		w.rule.Weaken = f[1] == "on"
	case "restart":
		w.machine.forget()
	case "unknown", "known":
		w.unknown = f[0] == "unknown"
	case "forgotten":
		for i := range w.view.Nodes {
			w.view.Nodes[i].Unfit = false
		}
	case "failed":
		w.machine.interrupted()
	default:
		panic("no such line: " + line)
	}
	return ""
}

func number(f []string, i int) int {
	if len(f) <= i {
		return 1
	}
	n, err := strconv.Atoi(f[i])
	if err != nil {
		panic(err)
	}
	return n
}
