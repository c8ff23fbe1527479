package syncguard

import (
	"fmt"
	"slices"

	"gopgpool/cluster"
)

// again is how many looks in a row a standby must have streamed and caught up before it is waited for again.
const again = 3

// nearby is how far behind such a standby may be: commits wait while it makes up for it.
const nearby cluster.LSN = 16 << 20

// Rule is what the machine obeys.
type Rule struct {
	Count  int  // sync_standby_keepalive_count
	Weaken bool // sync_standby_guard; else it only goes back to what was remembered
}

// machine counts what was seen of each standby and decides what follows. It is pure but for its counts, which a new one begins anew: what
// must outlive it stands on the server (Look.Remembered) and in the View (Node.Unfit).
type machine struct {
	primary  cluster.NodeID
	epoch    cluster.Epoch // of the primary
	before   cluster.LSN   // where the primary wrote at the last look; 0: there was none
	standbys []standby
	force    parsed      // in force at the last look
	since    cluster.LSN // where the primary wrote once force had come into effect; 0: it has not so far
}

// standby is what was seen of one.
type standby struct {
	member
	streams, answers bool
	misses           int         // looks in a row in which it was lost
	good             int         // looks in a row in which it streamed and had caught up
	flush            cluster.LSN // as last seen
	sync             string      // sync_state
}

// Plan is what follows from a look, in the order in which it is to be done; what fails ends it.
type Plan struct {
	Remember string           // keep this on the server
	Bar      []cluster.NodeID // record that they must not be promoted
	Set      bool             // put Names in force
	Names    string
	Back     bool             // Names is what an administrator had set
	Clear    []cluster.NodeID // record that they may be promoted
	Forget   bool             // what was kept on the server is in force, or overruled by an administrator
	Notes    []Note
}

// forget has the machine begin anew: with another primary or office nothing that was counted counts.
func (m *machine) forget() { *m = machine{primary: cluster.NoNode} }

// interrupted notes a look that failed: what must be seen several times in a row is seen anew.
func (m *machine) interrupted() {
	m.before = 0
	for i := range m.standbys {
		m.standbys[i].good = 0
	}
}

// step takes a look and says what follows. v is the View in force when it was taken.
func (m *machine) step(v *cluster.View, l *Look, r Rule) (Plan, error) {
	force, err := parse(l.InForce)
	if err != nil {
		return Plan{}, err
	}
	full, plan, err := intended(force, l)
	if err != nil {
		return Plan{}, err
	}
	if p := &v.Nodes[v.Primary]; m.primary != p.ID || m.epoch != p.Epoch {
		m.forget()
		m.primary, m.epoch = p.ID, p.Epoch
	}
	plan.Notes = append(plan.Notes, m.count(members(v, full.SyncNames, l.Peers), l, r)...)
	m.enforce(force, l)
	m.before = l.LSN
	if len(m.standbys) == 0 {
		// It names nobody but the primary itself, so there is nobody to wait for. It is kept for another one.
		seen := *l
		seen.Remembered = ""
		l, full = &seen, force
	}
	wanted := m.wanted(force, full, r)
	switch {
	case !wanted.same(force):
		plan.change(v, force, full, wanted, m.foresees(force, wanted))
	case !force.same(full):
		plan.renew(v, force, full)
	}
	if len(plan.Bar) == 0 && !plan.Set { // what is changed now is looked at next time
		m.release(v, l, force, full, &plan)
	}
	return plan, nil
}

// intended is the setting that is to be in force as long as all its standbys live. An administrator who has set something else since
// is right.
func intended(force parsed, l *Look) (full parsed, plan Plan, err error) {
	if l.Remembered == "" {
		return force, plan, nil
	}
	if full, err = parse(l.Remembered); err != nil || full.same(force) || force.weakens(full) {
		return full, plan, err
	}
	plan.Forget = true
	plan.Notes = []Note{{Kind: Overruled, From: l.Remembered, To: l.InForce}}
	return force, plan, nil
}

// count brings the counts of the members up to date.
func (m *machine) count(now []member, l *Look, r Rule) (notes []Note) {
	standbys := make([]standby, len(now))
	for i, who := range now {
		s := standby{member: who}
		if at := slices.IndexFunc(m.standbys, func(o standby) bool { return o.member == who }); at >= 0 {
			s = m.standbys[at]
		}
		if note := s.see(l, m.before, r); note != nil {
			notes = append(notes, *note)
		}
		standbys[i] = s
	}
	m.standbys = standbys
	return notes
}

// see counts one look at a standby. before is where the primary wrote at the last one.
func (s *standby) see(l *Look, before cluster.LSN, r Rule) *Note {
	row, _ := l.row(s.name)
	answered, missed := s.answers, s.misses
	// It moves if it has all that was there at the last look, or more than it had then.
	moves := before == 0 || row.Flush >= before || row.Flush > s.flush
	wasStreaming := s.streams
	s.streams, s.answers = row.State == streaming && moves, l.answers(s.node)
	s.flush, s.sync = row.Flush, row.Sync
	switch {
	case s.streams && before > 0 && s.flush >= before && s.flush+nearby >= l.LSN:
		s.good++
	default:
		s.good = 0
	}
	if s.streams || s.answers || row.State == catchup && moves {
		s.misses = 0
	} else {
		s.misses++
	}
	switch {
	case !r.Weaken && s.node == cluster.NoNode: // nothing follows, and that a name is no node's is told elsewhere
	case s.misses > 0 && s.misses <= r.Count:
		return &Note{Kind: Missed, Node: s.node, Name: s.name, Times: s.misses, Of: r.Count}
	case missed > 0 && s.misses == 0:
		return &Note{Kind: Seen, Node: s.node, Name: s.name, Times: missed}
	case s.answers && !s.streams && (wasStreaming || !answered):
		return &Note{Kind: AnswersOnly, Node: s.node, Name: s.name}
	}
	return nil
}

// enforce notes whether the setting in force has come into effect: commits wait, and as many standbys as it wants are synchronous.
func (m *machine) enforce(force parsed, l *Look) {
	if !force.same(m.force) {
		m.since = 0
	}
	m.force = force
	if m.since != 0 {
		return
	}
	effective := 0
	for _, p := range l.Peers {
		if force.Has(p.Name) && p.State == streaming && synchronous(p.Sync) {
			effective++
		}
	}
	if force.Empty() || l.Obeyed && effective >= force.Num {
		m.since = l.After
	}
}

// synchronous reports whether the primary takes a standby for one that commits may wait for.
func synchronous(state string) bool {
	return state == "sync" || state == "quorum" || state == "potential"
}

// wanted is the setting that should be in force.
func (m *machine) wanted(force, full parsed, r Rule) parsed {
	var rest []member
	for i := range m.standbys {
		s := &m.standbys[i]
		out := !force.Has(s.name)
		if !out && s.misses < r.Count || out && s.good >= again {
			rest = append(rest, s.member)
		}
	}
	wanted := full.reduce(rest)
	if !wanted.strengthens(force) && !(r.Weaken && m.lost(force, r)) {
		return force
	}
	return wanted
}

// lost reports whether one that commits may wait for is lost. A setting that cannot be met for another reason is an administrator's.
func (m *machine) lost(force parsed, r Rule) bool {
	return slices.ContainsFunc(m.standbys, func(s standby) bool { return force.Has(s.name) && s.misses >= r.Count })
}

// strengthens reports whether commits wait for all that other has them wait for, and for more.
func (p parsed) strengthens(other parsed) bool {
	return p.Num > other.Num && !slices.ContainsFunc(other.Names, func(n string) bool { return !p.Has(n) })
}

// foresees reports whether a pgpool that does not know yet that wanted is in force, and chooses a successor by force, finds one that has
// what was acknowledged all the same: more of those it must ask than may lack it. FIRST 1 (a) asks a alone, whom FIRST 2 (a, b, c) may do without.
func (m *machine) foresees(force, wanted parsed) bool {
	named := func(p parsed) (n int) {
		for i := range m.standbys {
			if p.Has(m.standbys[i].name) {
				n++
			}
		}
		return n
	}
	return named(force)-force.Num+1 > named(wanted)-wanted.Num
}

// change plans another setting. Before it is weakened all who are named are barred, those too that stay named: what was acknowledged so far
// may be on those that are lost alone. Where commits are to wait for nobody all nodes are, for then nobody is sure to have them. A setting
// that is only strengthened needs that where it is not foreseen by those who do not know of it yet.
func (plan *Plan) change(v *cluster.View, force, full, wanted parsed, foreseen bool) {
	plan.Set, plan.Names = true, wanted.text
	plan.Back = wanted.same(full)
	if plan.Back {
		plan.Names = full.text
	}
	stronger := wanted.strengthens(force)
	if stronger && foreseen {
		return
	}
	if !stronger && force.same(full) {
		plan.Remember, plan.Forget = full.text, false
	}
	for i := range v.Nodes {
		n := &v.Nodes[i]
		if n.ID != v.Primary && n.Status != cluster.StatusUnused && !n.Unfit && (full.Has(n.ApplicationName) || wanted.Empty()) {
			plan.Bar = append(plan.Bar, n.ID)
		}
	}
}

// renew bars whom nobody waits for, where that was not kept: a pgpool without a watchdog has begun anew.
func (plan *Plan) renew(v *cluster.View, force, full parsed) {
	for i := range v.Nodes {
		n := &v.Nodes[i]
		left := full.Has(n.ApplicationName) && !force.Has(n.ApplicationName)
		if n.ID != v.Primary && n.Status != cluster.StatusUnused && !n.Unfit && (left || force.Empty()) {
			plan.Bar = append(plan.Bar, n.ID)
		}
	}
}

// release finds the nodes that may be promoted again: they stream, and with them enough standbys have all that was written before they
// were waited for. One that nobody waits for may be when all is as an administrator wants it.
func (m *machine) release(v *cluster.View, l *Look, force, full parsed, plan *Plan) {
	have, unfit := 0, 0
	for _, p := range l.Peers {
		if force.Has(p.Name) && synchronous(p.Sync) && m.has(p) {
			have++
		}
	}
	for i := range v.Nodes {
		n := &v.Nodes[i]
		if !n.Unfit {
			continue
		}
		unfit++
		row, _ := l.row(n.ApplicationName)
		waited := force.Has(n.ApplicationName) && synchronous(row.Sync)
		if !waited {
			waited = force.same(full) && !full.Has(n.ApplicationName)
		}
		if n.ID == v.Primary || waited && l.Known && have >= force.Num && n.ApplicationName != "" && m.has(row) {
			plan.Clear = append(plan.Clear, n.ID)
		}
	}
	if force.same(full) && l.Remembered != "" && unfit == len(plan.Clear) {
		plan.Forget = true
	}
}

// has reports whether a standby has all that was written before the setting in force came into effect.
func (m *machine) has(p Peer) bool { return m.since != 0 && p.State == streaming && p.Flush >= m.since }

// Note is something worth a line in the log.
type Note struct {
	Kind      NoteKind
	Node      cluster.NodeID
	Name      string
	Times, Of int
	From, To  string
}

// NoteKind is what a Note is about.
type NoteKind uint8

// Kinds of notes.
const (
	Missed      NoteKind = iota + 1 // a standby neither answers nor streams, Times of Of in a row
	Seen                            // one that was missed is there again
	AnswersOnly                     // a standby answers and does not stream
	Overruled                       // an administrator has set something else meanwhile
)

func (n Note) String() string {
	who := fmt.Sprintf("standby %q", n.Name)
	if n.Node != cluster.NoNode {
		who = fmt.Sprintf("node %d (%s)", n.Node, n.Name)
	}
	switch n.Kind {
	case Missed:
		return fmt.Sprintf("synchronous standby lost: %s neither answers nor streams, %d time(s) of %d", who, n.Times, n.Of)
	case Seen:
		return fmt.Sprintf("synchronous standby is back: %s, after %d time(s)", who, n.Times)
	case AnswersOnly:
		return fmt.Sprintf("synchronous standby does not stream: %s answers, so it is waited for", who)
	case Overruled:
		return fmt.Sprintf("synchronous_standby_names was set to %q by somebody else: %q is not gone back to", n.To, n.From)
	}
	panic("syncguard: no such note")
}
