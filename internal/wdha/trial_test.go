package wdha

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"gopgpool/internal/hosts"
	"gopgpool/internal/site"
)

// outcome is what becomes of the office of the writer while harm lasts.
type outcome int

const (
	promotes outcome = iota // another server takes over
	stays                   // the primary stays the primary, and clients at the virtual address are served
	nobody                  // nobody writes until the harm is mended
	settles                 // either of the first two
	free                    // nothing is expected
)

// place is where leader and primary are, where they share hosts.
type place int

const (
	anywhere place = iota
	together
	apart
)

// trial is harm to a cluster in order, and its mending.
type trial struct {
	name  string
	where place
	do    func(b *bench, s state)
	then  outcome
	lasts time.Duration // how long the harm lasts after its outcome was seen
	mend  func(b *bench, s state)
	// fenced: the old primary cannot be reached, so its agent stops it in time.
	fenced bool
}

// result is a row of the table.
type result struct {
	layout   layout
	name     string
	gap      string        // time without a writer
	silent   time.Duration // longest time without a write through the virtual address
	until    string        // when the old primary took its last write
	pooled   int           // writes acknowledged through pgpools
	directly int           // past them
	errors   string        // of clients at the virtual address
	locally  string        // of clients of the pgpools
	lost     int           // acknowledged, and not there; only where commits do not wait for standbys
	healed   time.Duration // from the mending until all was in order
	breaches []string
}

// engaged is a trial under way.
type engaged struct {
	*bench
	trial
	state
	crew     *crew
	first    int           // the first client's number
	began    time.Duration // when harm was done
	mended   time.Duration
	timeline string // of the primary before
	r        result
}

func (e *engaged) breach(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	e.r.breaches = append(e.r.breaches, text)
	e.t.Errorf("%s: %s", e.name, text)
}

// try does one harm and judges what was seen. It is false where the cluster is not in order afterwards.
func (b *bench) try(t *testing.T, tr trial) (r result, ok bool) {
	t.Helper()
	b.t, b.thaws = t, nil
	s, ok := b.order(healLimit)
	if !ok {
		t.FailNow()
	}
	if tr.where != anywhere {
		s = b.arrange(s, tr.where == together)
	}
	e := &engaged{bench: b, trial: tr, state: s, first: b.hired + 1, r: result{layout: b.layout, name: tr.name}}
	e.crew = b.hire()
	dismissed := false
	defer func() {
		if !dismissed {
			e.crew.dismiss()
		}
	}()
	e.writes(healLimit)
	b.linger(time.Second)
	e.timeline = e.crew.wrote(byVIP).timeline
	e.began = b.now()
	tr.do(b, s)
	e.outcome()
	b.linger(tr.lasts)
	e.mended = b.now()
	if tr.mend != nil {
		tr.mend(b, s)
	}
	after, ok := b.order(healLimit)
	e.r.healed = b.now() - e.mended
	if ok {
		e.writes(healLimit)
	} else {
		e.breach("not in order %s after mending", healLimit)
	}
	notes := e.crew.dismiss()
	dismissed = true
	e.judge(notes, after, ok)
	return e.r, ok
}

// writes waits until a write through the virtual address succeeds that was sent after now.
func (e *engaged) writes(limit time.Duration) {
	e.t.Helper()
	now := e.now()
	if seen, ok := site.Wait(e.t.Context(), limit, func() (string, bool) {
		n := e.crew.wrote(byVIP)
		return n.String(), n.sent > now
	}); !ok {
		e.breach("no write through the virtual address within %s; the last: %s", limit, seen)
	}
}

// outcome waits for what is to become of the primary.
func (e *engaged) outcome() {
	e.t.Helper()
	old := e.Servers[e.primary].Host.Name
	switch e.then {
	case promotes:
		began := time.Now()
		seen, ok := site.Wait(e.t.Context(), promoteLimit, func() (string, bool) {
			n := e.crew.wrote(byVIP)
			return n.String(), n.server != old && n.sent > e.began
		})
		if !ok {
			e.breach("nobody took over within %s; the last write: %s", promoteLimit, seen)
		}
		e.t.Logf("%6.1f s until another server takes writes", time.Since(began).Seconds())
	case stays, settles:
		e.linger(leaseEnd)
		e.writes(promoteLimit)
	case nobody:
		e.linger(leaseEnd + time.Second)
	case free:
	}
	if e.fenced && !e.gone(e.primary, leaseEnd) {
		e.breach("the cut-off primary still takes connections")
	}
}

// judge reads what clients wrote down, and the rows.
func (e *engaged) judge(notes []note, after state, inOrder bool) {
	e.t.Helper()
	old := e.Servers[e.primary].Host.Name
	kept, lates, took := late(notes, e.thaws)
	reigns := reignsOf(kept)
	for _, o := range overlaps(reigns) {
		e.breach("two writers: %s", o)
	}
	e.count(notes, reigns)
	e.r.until = "-"
	if last := lastBy(kept, old, e.began); e.then != stays && last > 0 {
		e.r.until = seconds(last - e.began)
		if e.fenced && e.then != settles && last-e.began > leaseEnd && e.onTimeline(kept, old, last) {
			e.breach("the cut-off primary took a write %s after it was cut off", last-e.began)
		}
	}
	if len(e.thaws) > 0 {
		e.r.until = fmt.Sprintf("%d until %s after the thaw", len(lates), seconds(took))
	}
	if e.then == nobody {
		if last := lastWrite(kept, e.mended); last-e.began > leaseEnd {
			e.breach("a write was acknowledged %s after the harm", last-e.began)
		}
	}
	if e.then == stays && after.primary != e.primary {
		e.breach("node %d was promoted", after.primary)
	}
	if inOrder {
		e.judgeRows(notes, after)
	}
}

// onTimeline tells whether a server's last write was still of the reign in which harm was done.
func (e *engaged) onTimeline(notes []note, server string, done time.Duration) bool {
	for _, n := range notes {
		if n.acked() && n.server == server && n.done == done {
			return n.timeline == e.timeline
		}
	}
	return false
}

// lastWrite is when the last write was acknowledged before a time.
func lastWrite(notes []note, before time.Duration) (last time.Duration) {
	for _, n := range notes {
		if n.acked() && n.done < before {
			last = max(last, n.done)
		}
	}
	return last
}

func (e *engaged) count(notes []note, reigns []reign) {
	for _, n := range notes {
		switch {
		case !n.acked():
		case n.way == direct:
			e.r.directly++
		default:
			e.r.pooled++
		}
	}
	e.r.gap = "-"
	if gap, ok := handover(reigns, e.began); ok {
		e.r.gap = seconds(gap)
	}
	e.r.silent = silence(notes, e.began, e.now(), byVIP)
	e.r.errors, e.r.locally = codes(notes, byVIP), codes(notes, byPool)
	for _, r := range reigns {
		e.t.Logf("%s wrote %d rows on timeline %s from %.3f to %.3f s after the harm", r.server, r.writes, r.timeline,
			(r.first.done - e.began).Seconds(), (r.end - e.began).Seconds())
	}
}

// judgeRows compares the notes with the rows.
func (e *engaged) judgeRows(notes []note, after state) {
	e.t.Helper()
	rows, err := e.found(after.primary, e.first)
	e.must(err)
	f := fatesOf(notes, rows)
	if e.r.lost = len(f.lost); e.sync && len(f.lost) > 0 {
		e.breach("%d acknowledged rows are lost, the first: %s", len(f.lost), f.lost[0])
	}
	for _, text := range append(f.twice, f.ghosts...) {
		e.breach("%s", text)
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// isolate is the primary's host cut off from all others; heal undoes everything that was done to networks.
func isolate(b *bench, s state) { b.must(b.Servers[s.primary].Host.Cut()) }
func heal(b *bench, _ state)    { b.must(b.Heal()) }

// freeze stops every process of the primary's host, its agent included.
func freeze(b *bench, s state) { b.must(b.Servers[s.primary].Host.Freeze()) }

func unfreeze(b *bench, s state) {
	h := b.Servers[s.primary].Host
	b.thaws = append(b.thaws, thaw{h.Name, b.now()})
	b.must(h.Thaw())
}

// mute has nothing that the primary's host sends arrive, deafen nothing that is sent to it.
func mute(b *bench, s state) {
	h := b.Servers[s.primary].Host
	for _, other := range b.others(h) {
		b.must(h.BlockTo(other))
	}
}

func deafen(b *bench, s state) {
	h := b.Servers[s.primary].Host
	for _, other := range b.others(h) {
		b.must(other.BlockTo(h))
	}
}

func unblock(b *bench, s state) {
	h := b.Servers[s.primary].Host
	for _, other := range b.others(h) {
		b.must(h.UnblockTo(other))
	}
}

func undeafen(b *bench, s state) {
	h := b.Servers[s.primary].Host
	for _, other := range b.others(h) {
		b.must(other.UnblockTo(h))
	}
}

// powerOn switches a host on again; its server was not started with it.
func powerOn(b *bench, s state) { b.must(b.Servers[s.primary].Host.PowerOn(b.t.Context())) }

// besides are the trials where each host has a pgpool, a server and an agent.
func besides() []trial {
	return []trial{
		{name: "primary's host cut off, the leader elsewhere", where: apart, do: isolate, mend: heal, lasts: 2 * time.Second, fenced: true},
		{name: "primary's host cut off with the leader", where: together, do: isolate, mend: heal, lasts: 2 * time.Second, fenced: true},
		{
			name: "primary's host cut off with the leader, its agent killed and started", where: together, mend: heal, fenced: true,
			do: func(b *bench, s state) {
				isolate(b, s)
				b.linger(lease - 2*time.Second)
				b.agents[s.primary].Kill(b.t)
				b.agents[s.primary].Spawn(b.t)
			},
		},
		{name: "primary's host is not heard", where: together, do: mute, mend: unblock, lasts: 2 * time.Second, fenced: true},
		{name: "primary's host hears nobody", where: apart, do: deafen, mend: undeafen, lasts: 2 * time.Second, fenced: true},
		{name: "every host alone", do: everyoneAlone, mend: heal, then: nobody, fenced: true},
		{
			name: "primary's host frozen with the leader, later thawed", where: together, lasts: 2 * time.Second,
			do: freeze, mend: unfreeze,
		},
		{
			name: "power off of the primary's host with the leader", where: together, mend: powerOn,
			do: func(b *bench, s state) { b.must(b.Servers[s.primary].Host.PowerOff(b.t.Context())) },
		},
		{
			name: "primary's host cut off, the leader is killed while it waits for the lease, and started", where: apart, mend: heal, fenced: true,
			do: func(b *bench, s state) {
				mark := b.Pgpools[s.leader].Mark(b.t)
				isolate(b, s)
				b.killLeaderAt(s, mark, "its lease to run out")
				b.Pgpools[s.leader].Spawn(b.t) // there is no quorum without it
			},
		},
		{
			name: "primary's host cut off, the leader is killed while it waits for the lease: no quorum", where: apart, mend: heal, fenced: true,
			then: nobody, do: func(b *bench, s state) {
				mark := b.Pgpools[s.leader].Mark(b.t)
				isolate(b, s)
				b.killLeaderAt(s, mark, "its lease to run out")
			},
		},
		{name: "primary killed, the leader when it has chosen the next one", where: apart, then: settles, do: func(b *bench, s state) {
			mark := b.Pgpools[s.leader].Mark(b.t)
			b.killServer(s.primary)
			b.killLeaderAt(s, mark, "is promoted (")
		}},
		{name: "switchover, the leader is killed while it drains", where: apart, then: settles, do: func(b *bench, s state) {
			b.killInSwitchover(s, true)
		}},
		{name: "switchover, the leader is killed when the old primary is stopped", where: apart, then: settles, do: func(b *bench, s state) {
			b.killInSwitchover(s, false)
		}},
	}
}

// aparts are those where pgpools and servers are on hosts of their own.
func aparts() []trial {
	return []trial{
		{name: "primary's server cut off", do: isolate, mend: heal, lasts: 2 * time.Second, fenced: true},
		{name: "leader cut off from all servers, not from pgpools", then: settles, do: func(b *bench, s state) {
			for _, p := range b.Servers {
				b.must(b.Pgpools[s.leader].Host.Block(p.Host))
			}
		}, mend: func(b *bench, s state) {
			for _, p := range b.Servers {
				b.must(b.Pgpools[s.leader].Host.Unblock(p.Host))
			}
		}},
		{name: "leader cut off from the primary alone", then: settles, do: func(b *bench, s state) {
			b.must(b.Pgpools[s.leader].Host.Block(b.Servers[s.primary].Host))
		}, mend: func(b *bench, s state) {
			b.must(b.Pgpools[s.leader].Host.Unblock(b.Servers[s.primary].Host))
		}},
		{name: "primary and one pgpool cut off", lasts: 2 * time.Second, fenced: true, mend: heal, do: func(b *bench, s state) {
			b.must(b.Partition([]*hosts.Host{b.Servers[s.primary].Host, b.Pgpools[s.leader].Host}))
		}},
	}
}

func everyoneAlone(b *bench, _ state) {
	var groups [][]*hosts.Host
	for _, h := range b.PgpoolHosts() {
		groups = append(groups, []*hosts.Host{h})
	}
	b.must(b.Partition(groups...))
}

// killLeaderAt kills the leader once its log says something.
func (b *bench) killLeaderAt(s state, mark int, text string) {
	b.t.Helper()
	p := b.Pgpools[s.leader]
	for deadline := b.now() + 30*time.Second; b.now() < deadline; rest(b.t.Context(), 5*time.Millisecond) {
		if log := p.LogText(b.t)[mark:]; strings.Contains(log, text) {
			p.Kill(b.t)
			b.t.Logf("the leader was killed when it had said %q", text)
			return
		}
	}
	b.t.Errorf("the leader did not say %q:\n%s", text, site.Tail(p.LogText(b.t)[mark:], 20))
}
