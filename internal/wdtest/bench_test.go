package wdtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gopgpool/internal/hosts"
	"gopgpool/internal/site"
	"gopgpool/internal/vipwatch"
)

// lease is wd_lease_time of the profile.
const lease = 3 * time.Second

// healLimit is how long a cluster may take after the last harm has been mended until everybody is in order again.
const healLimit = 20 * time.Second

// fault is harm to a cluster in order, and its mending.
type fault struct {
	name string
	// do does harm; leader is who holds the address then.
	do func(b *bench, leader int)
	// then is what becomes of the address.
	then outcome
	// limit bounds the takeover where the address moves.
	limit time.Duration
	// linger is how long the harm lasts after its outcome was seen.
	linger time.Duration
	// mend undoes the harm; pgpools that have ended are started again afterwards.
	mend func(b *bench, leader int)
	// split is a declared partition of a cluster with half votes, in which both sides may have the address.
	split func(nodes int) bool
	// fits tells for how many nodes it makes sense; nil for all.
	fits func(nodes int) bool
}

// outcome is what becomes of the virtual address.
type outcome int

const (
	moves  outcome = iota // another host takes it
	stays                 // its holder keeps it
	vanish                // nobody has it until the harm is mended
)

// bench is a cluster to which harm is done, again and again.
type bench struct {
	*site.Cluster
	t     *testing.T // of the fault that is being tried
	watch *vipwatch.Watch
}

// result is a row of the table.
type result struct {
	nodes    int
	fault    string
	then     string
	takeover time.Duration // 0 for none
	outage   time.Duration // longest time without a successful SELECT
	silence  time.Duration // longest time without an answer to a ping
	overlaps int
	answers  int // disputes
	looks    int
	late     int
	hindered time.Duration // by the machine, until the takeover
	coarsest time.Duration
	verdict  string
}

func newBench(t *testing.T, nodes int, settings site.Settings) *bench {
	t.Helper()
	if nodes%2 == 0 {
		settings = site.Settings{"enable_consensus_with_half_votes": "on"}.With(settings)
	}
	b := &bench{t: t, Cluster: newCluster(t, site.ClusterOptions{Pgpools: names(nodes), Settings: settings})}
	for _, h := range b.PgpoolHosts() {
		b.must(h.WriteFile("root", trustedScript, "#!/bin/sh\ntest ! -e "+trustedMark+" && exec pg_isready -q -t 1 -h $1\n", 0o755))
	}
	b.Start(t)
	b.order(nil, healLimit+10*time.Second)
	return b
}

func names(nodes int) (all []string) {
	for i := range nodes {
		all = append(all, fmt.Sprintf("server%d", i+1))
	}
	return all
}

// order waits until the cluster is in order: one leader, the others its standbys, everybody agrees, one holder, and clients are served.
func (b *bench) order(w *vipwatch.Watch, limit time.Duration) (leader int) {
	b.t.Helper()
	var seen string
	b.Await(b.t, "the cluster is in order", limit, func() (string, bool) {
		b.revive()
		leader, seen = b.inOrder()
		return seen, leader >= 0
	})
	if w != nil {
		served(b.t, b.Cluster, w, healLimit)
	}
	return leader
}

// revive starts pgpools that have ended, as a service manager does: a node that finds itself cut off ends some time after.
func (b *bench) revive() {
	b.t.Helper()
	for _, p := range b.Pgpools {
		if !p.Running() {
			p.Spawn(b.t)
		}
	}
}

// inOrder is who leads and holds the address in a cluster in order, else -1 and what is wrong.
func (b *bench) inOrder() (leader int, seen string) {
	holders := b.Holders(b.t)
	if len(holders) != 1 {
		return -1, fmt.Sprintf("holders: %v", holders)
	}
	name := b.Pgpools[holders[0]].Host.Name
	for _, p := range b.Pgpools {
		info, err := b.WatchdogInfo(b.t, p.Host.Name)
		if err != nil {
			return -1, fmt.Sprintf("%s: %v", p.Host.Name, err)
		}
		for _, other := range b.Pgpools {
			want := "7 STANDBY"
			if other.Host.Name == name {
				want = "4 LEADER"
			}
			if got := info.State(other.Host.Name); got != want {
				return -1, fmt.Sprintf("%s sees %s in state %q, and %s holds the address", p.Host.Name, other.Host.Name, got, name)
			}
		}
	}
	return holders[0], ""
}

// try does one fault and judges what was seen.
func (b *bench) try(t *testing.T, f fault) (r result) {
	b.t = t
	leader := b.order(nil, healLimit)
	b.watch = watch(t, b.Cluster)
	served(t, b.Cluster, b.watch, healLimit)
	r = result{nodes: len(b.Pgpools), fault: f.name, verdict: "ok"}
	held := startHindrance(t)
	began := b.watch.Now()
	f.do(b, leader)
	b.awaitOutcome(f, leader, began)
	r.hindered = held.end()
	b.linger(f.linger)
	ended := b.watch.Now()
	if f.mend != nil {
		f.mend(b, leader)
	}
	b.order(b.watch, healLimit)
	b.judge(&r, f, began, ended)
	return r
}

// awaitOutcome waits for what is to become of the address. Whoever only waits for nothing to happen does so for a lease and a half.
func (b *bench) awaitOutcome(f fault, leader int, began time.Duration) {
	b.t.Helper()
	switch f.then {
	case moves:
		b.Await(b.t, "another host serves clients at the address", 4*lease, func() (string, bool) {
			r := b.watch.Peek()
			_, host, ok := r.Takeover(began)
			return host + "; " + r.Holders(), ok
		})
	case vanish:
		b.Await(b.t, "nobody has the address", 2*lease, func() (string, bool) {
			holders := b.Holders(b.t)
			return fmt.Sprint(holders), len(holders) == 0
		})
	case stays:
		b.linger(lease + lease/2)
	}
}

// linger lets harm last, for there is nothing to wait for where nothing is to happen.
func (b *bench) linger(d time.Duration) {
	end := b.watch.Now() + d
	site.Wait(b.t.Context(), d+time.Second, func() (string, bool) { return "", b.watch.Now() >= end })
}

// judge ends the watch.
func (b *bench) judge(r *result, f fault, began, ended time.Duration) {
	b.t.Helper()
	record, err := b.watch.Stop()
	site.Must(b.t, err)
	r.outage, _ = vipwatch.Outage(record.Selects, began, record.Lasted)
	r.silence, _ = vipwatch.Outage(record.Pings, began, record.Lasted)
	r.overlaps, r.answers, r.coarsest = len(record.Overlaps()), len(record.Disputes()), record.Coarsest
	r.looks, r.late = record.Looks, record.Late
	took, host, ok := record.Takeover(began)
	r.then = b.fate(f, record, began, ended)
	var wrong []string
	fail := func(format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf(format, args...))
		b.t.Errorf("%d nodes, %s: "+format, append([]any{r.nodes, f.name}, args...)...)
	}
	if f.then == moves {
		if r.takeover = took; !ok {
			fail("nobody took over")
		} else if f.limit > 0 && took > f.limit+r.hindered {
			fail("%s took over after %.2f s, later than %s, and the machine held it up for %s", host, took.Seconds(), f.limit, r.hindered)
		}
	}
	if f.then == stays && r.then != "stays" {
		fail("the address did not stay: %s", record.Holders())
	}
	if f.split == nil || !f.split(r.nodes) {
		for _, o := range record.Overlaps() {
			fail("two holders: %s", o)
		}
		for _, o := range record.Disputes() {
			fail("two hosts answer: %s", o)
		}
	}
	b.t.Logf("fault at %.2f s, mended at %.2f s; takeover %.2f s, longest without SELECT %.2f s, without ping %.2f s; held by %s; %s; held up by the machine for %s",
		began.Seconds(), ended.Seconds(), r.takeover.Seconds(), r.outage.Seconds(), r.silence.Seconds(), record.Holders(),
		strings.ReplaceAll(vipwatch.Failures(record.Selects), "\n", ", "), r.hindered)
	if len(wrong) > 0 {
		r.verdict = strings.Join(wrong, "; ")
	}
}

// fate is what became of the address until the harm was mended, in a word.
func (b *bench) fate(f fault, r vipwatch.Record, began, ended time.Duration) string {
	before, after := r.HolderAt(began), r.HolderAt(ended)
	kept := slices.ContainsFunc(r.Held, func(h vipwatch.Holding) bool {
		return h.Host == before && h.First <= began && (!h.Over || h.Last >= ended)
	})
	switch {
	case kept:
		return "stays"
	case f.then == vanish:
		return "nobody"
	}
	return before + " to " + after
}

// everybody is all hosts but one: other pgpools, the servers and the client.
func (b *bench) everybody(id int) (all []*hosts.Host) {
	for _, h := range b.World.Hosts() {
		if h != b.Pgpools[id].Host {
			all = append(all, h)
		}
	}
	return all
}

func (b *bench) must(err error) {
	b.t.Helper()
	site.Must(b.t, err)
}
