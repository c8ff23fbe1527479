package sim

import (
	"strings"
	"time"

	"gopgpool/watchdog/machine"
)

// judge knows what must hold and what has been seen.
type judge struct {
	w *World

	voters     int // mask of those the last leader had
	votersTerm uint64
	leaders    map[reign]int
	apart      int           // pairs that cannot talk
	lastApart  time.Duration // when some could not last
	moved      bool          // an address came or went since the last look
	alone      []time.Duration
	supported  []bool
	texts      map[place]string  // what is decided
	seqs       map[deed]uint64   // and where it stands
	highest    map[uint64]uint64 // by cluster
	never      map[string]bool   // proposals that were refused for good
	asks       map[string][]voice
	pending    map[uint64]time.Duration
	lateSince  time.Duration
}

// place is where a decision stands. What is known when a new cluster is founded is carried over, and from then on it is on its own.
type place struct{ cluster, seq uint64 }

// deed is a decision of a cluster.
type deed struct {
	cluster uint64
	text    string
}

// reign is a term of a cluster's Raft.
type reign struct{ cluster, term uint64 }

// voice is a node that asked for something.
type voice struct {
	node int
	at   time.Duration
}

func newJudge(w *World) judge {
	return judge{
		w: w, leaders: make(map[reign]int), texts: make(map[place]string), seqs: make(map[deed]uint64), highest: make(map[uint64]uint64), never: make(map[string]bool),
		asks: make(map[string][]voice), pending: make(map[uint64]time.Duration), lastApart: -time.Hour,
		alone: make([]time.Duration, w.plan.Nodes), supported: make([]bool, w.plan.Nodes),
	}
}

// after looks at what must hold after every step.
func (j *judge) after() {
	if j.moved {
		j.moved = false
		j.holders()
	}
}

// address notes that an address came or went.
func (j *judge) address() { j.moved = true }

// holders demands that at most one node has the address.
func (j *judge) holders() {
	var who []int
	late := false
	for _, n := range j.w.nodes {
		if n.kernel.holds {
			who = append(who, n.id)
			late = late || n.kernel.late
		}
	}
	switch {
	case len(who) < 2:
		j.lateSince = 0
	case late:
		if j.lateSince == 0 {
			j.w.stats.LateOverlaps++
			j.lateSince = j.w.now
			j.w.after(lateBound*11/10, j.lateEnds)
		}
	case j.w.plan.halves() && (j.apart > 0 || j.w.now-j.lastApart < j.healing()):
		j.w.stats.SplitHolders++
	default:
		j.w.fail("nodes %v have the address", who)
	}
}

// lateEnds demands that an address raised by a call that was held up goes as soon as the process runs.
func (j *judge) lateEnds() {
	since := j.lateSince
	for _, n := range j.w.nodes {
		k := &n.kernel
		if since != 0 && j.w.now-since >= lateBound && k.holds && k.late && n.proc != nil && !n.proc.frozen && n.proc.thawed <= since {
			j.w.fail("node %d keeps an address that it has raised too late", n.id)
		}
	}
}

// healing is how long after a partition half of a cluster may go on as before.
func (j *judge) healing() time.Duration {
	return (j.w.plan.Deadtime + j.w.plan.Lease) * 21 / 20
}

// changed looks at who can talk to whom, after anything about that has changed.
func (j *judge) changed() {
	before := j.apart
	j.apart = 0
	for a := range j.w.nodes {
		for b := range a {
			if !j.talk(a, b) {
				j.apart++
			}
		}
	}
	if before > 0 || j.apart > 0 {
		j.lastApart = j.w.now
	}
	for id := range j.w.nodes {
		supported := 2*j.support(id) > j.w.plan.Nodes
		if j.supported[id] != supported {
			j.supported[id], j.alone[id] = supported, j.w.now
		}
	}
}

func (j *judge) talk(a, b int) bool {
	w := j.w
	return w.cut[a][b] == 0 && w.cut[b][a] == 0 && w.slander[a][b] == 0 && w.slander[b][a] == 0
}

// support is how many nodes can confirm that a node leads.
func (j *judge) support(id int) (n int) {
	w := j.w
	for _, o := range w.nodes {
		p := o.proc
		if p != nil && (o.id == id || !p.frozen && w.cut[o.id][id] == 0 && w.cut[id][o.id] == 0 && !p.pulse.told[id]) {
			n++
		}
	}
	return n
}

// ticked looks at a process that has told its machine the time.
func (j *judge) ticked(p *process) {
	s, w := p.status, j.w
	if s.Term < p.term && s.Term != 0 { // 0: in no group, on the way to another
		w.fail("the term of node %d falls from %d to %d", p.n.id, p.term, s.Term)
	}
	p.term = max(p.term, s.Term)
	p.n.voter = p.n.voter || len(s.Nodes) > p.n.id && s.Nodes[p.n.id].Role == "voter"
	j.leads(p.n.id, &s)
	j.noteVoters(&s)
	j.unsupported(p.n)
	j.slow(p)
}

// leads demands that nobody else leads in the same term.
func (j *judge) leads(id int, s *machine.Status) {
	if s.Standing != machine.Leads {
		return
	}
	r := reign{s.Cluster, s.Term}
	if other, ok := j.leaders[r]; ok && other != id {
		j.w.fail("nodes %d and %d lead in term %d", other, id, s.Term)
	}
	j.leaders[r] = id
}

// noteVoters looks whom a leader has as voters.
func (j *judge) noteVoters(s *machine.Status) {
	if s.Standing != machine.Leads || s.Term < j.votersTerm && !j.w.plan.forks() {
		return
	}
	j.voters, j.votersTerm = 0, s.Term
	for id, n := range s.Nodes {
		if n.Role == "voter" {
			j.voters |= 1 << id
		}
	}
}

// unsupported demands that the address is gone a lease after the last moment in which a quorum could confirm its holder.
func (j *judge) unsupported(n *node) {
	p := &j.w.plan
	if n.kernel.holds && !n.kernel.late && !j.supported[n.id] && !p.halves() && !p.shrinks() && !p.has(WipeMost) &&
		j.w.now-j.alone[n.id] > p.Lease*20/19 {
		j.w.fail("node %d has the address, and no quorum since %.3fs", n.id, j.alone[n.id].Seconds())
	}
}

// slow demands that a process leaves in time.
func (j *judge) slow(p *process) {
	if p.leaving == 0 || p.n.disk.full || p.n.disk.slow {
		return
	}
	since := max(p.leaving, p.thawed)
	if j.w.now-since > 3*time.Second+j.w.plan.DeEscalation+j.w.plan.Escalation {
		j.w.fail("node %d was told to leave at %.3fs and is still there", p.n.id, p.leaving.Seconds())
	}
}

// reset notes that a node sets its log aside.
func (j *judge) reset(p *process) {
	p.w.trace(p.n.id, "   sets its log aside")
	p.term, p.n.term, p.office.anew = 0, 0, true
	j.w.stats.Resets++
}

// decided demands that all nodes see the same decisions, each node in their order.
func (j *judge) decided(p *process, seq uint64, text string) {
	w := j.w
	if j.never[text] {
		w.fail("node %d sees %q as decision %d, which was refused", p.n.id, text, seq)
	}
	if seq <= p.office.last && !p.office.anew {
		w.fail("node %d sees decision %d after %d", p.n.id, seq, p.office.last)
	}
	j.stands(p, seq, text)
}

// era is within what decisions must agree: everywhere, and where decisions may be lost, within the cluster a node is in.
func (j *judge) era(p *process) uint64 {
	if !j.w.plan.forks() {
		return 0
	}
	return p.m.Status(p.now()).Cluster
}

// stands notes that a decision holds, as one of the nodes sees it.
func (j *judge) stands(p *process, seq uint64, text string) {
	cluster := j.era(p)
	if other, ok := j.texts[place{cluster, seq}]; ok && other != text {
		j.w.fail("node %d sees %q as decision %d, which is %q", p.n.id, text, seq, other)
	}
	if other, ok := j.seqs[deed{cluster, text}]; ok && other != seq {
		j.w.fail("node %d sees %q as decision %d, which is number %d", p.n.id, text, seq, other)
	}
	j.texts[place{cluster, seq}], j.seqs[deed{cluster, text}] = text, seq
	j.highest[cluster] = max(j.highest[cluster], seq)
}

// committed notes that a proposer was told that its decision holds.
func (j *judge) committed(p *process, seq uint64, text string) {
	j.w.stats.Committed++
	if j.never[text] {
		j.w.fail("%q of node %d was refused and is committed", text, p.n.id)
	}
	j.stands(p, seq, text)
}

func (j *judge) refused(p *process, text string) {
	j.w.stats.Refused++
	for d := range j.seqs {
		if d.text == text {
			j.w.fail("node %d is told that %q never will be, but it is", p.n.id, text)
		}
	}
	j.never[text] = true
}

func (j *judge) asked(p *process, key string, number uint64) {
	j.w.stats.Asked++
	j.asks[key] = append(j.asks[key], voice{p.n.id, j.w.now})
	j.pending[number] = j.w.now
}

func (j *judge) answered(p *process, number uint64) {
	if waited := j.w.now - j.pending[number]; !p.frozen {
		j.w.stats.AnswerTime = max(j.w.stats.AnswerTime, waited)
	}
	delete(j.pending, number)
}

// execute demands that nothing is carried out that so many nodes did not ask for.
func (j *judge) execute(p *process, e machine.Execute) {
	j.w.stats.Executed++
	key, confirmed := cutConfirmed(string(e.Request))
	voices := map[int]bool{}
	count := 0
	for _, v := range j.asks[key] {
		if j.w.now-v.at < 2*15*time.Second {
			voices[v.node] = true
			count++
		}
	}
	plan := &j.w.plan
	if !plan.Repeat {
		count = len(voices)
	}
	need := plan.Nodes/2 + 1
	if plan.HalfVotes && plan.Nodes%2 == 0 {
		need = plan.Nodes / 2
	}
	if !confirmed && plan.Require && plan.WhenQuorum && !plan.shrinks() && !plan.forks() && count < need {
		j.w.fail("node %d executes %q, for which %d nodes have asked", p.n.id, e.Request, count)
	}
}

// cutConfirmed takes a request apart.
func cutConfirmed(request string) (key string, confirmed bool) {
	key, last, _ := strings.Cut(request, "|")
	return key, last == "true"
}
