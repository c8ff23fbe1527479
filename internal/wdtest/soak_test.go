package wdtest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gopgpool/internal/hosts"
	"gopgpool/internal/site"
)

// act is harm to one node, or to a network.
type act struct {
	name string
	do   func(b *bench, id int, dice *rand.Rand)
	undo func(b *bench, id int)
}

func acts() []act {
	host := func(f func(*hosts.Host) error) func(*bench, int, *rand.Rand) {
		return func(b *bench, id int, _ *rand.Rand) { b.must(f(b.Pgpools[id].Host)) }
	}
	back := func(f func(*hosts.Host) error) func(*bench, int) {
		return func(b *bench, id int) { b.must(f(b.Pgpools[id].Host)) }
	}
	signal := func(sig syscall.Signal) func(*bench, int, *rand.Rand) {
		return func(b *bench, id int, _ *rand.Rand) { b.Pgpools[id].SignalAll(b.t, sig) }
	}
	return []act{
		{"stop", func(b *bench, id int, _ *rand.Rand) { b.Pgpools[id].Signal(b.t, syscall.SIGINT) }, nil},
		{"kill", signal(syscall.SIGKILL), nil},
		{"freeze", signal(syscall.SIGSTOP), func(b *bench, id int) { b.Pgpools[id].Thaw(b.t) }},
		{"hang", host((*hosts.Host).Freeze), back((*hosts.Host).Thaw)},
		{
			"unplug", func(b *bench, id int, _ *rand.Rand) { b.must(b.Pgpools[id].Host.Unplug(b.Device)) },
			func(b *bench, id int) { b.must(b.Pgpools[id].Host.Plug(b.Device)) },
		},
		{"cut", host((*hosts.Host).Cut), back((*hosts.Host).Heal)},
		{
			"mute", func(b *bench, id int, _ *rand.Rand) { b.oneWay(id, (*hosts.Host).BlockTo, nil) },
			func(b *bench, id int) { b.oneWay(id, (*hosts.Host).UnblockTo, nil) },
		},
		{
			"deafen", func(b *bench, id int, _ *rand.Rand) { b.oneWay(id, nil, (*hosts.Host).BlockTo) },
			func(b *bench, id int) { b.oneWay(id, nil, (*hosts.Host).UnblockTo) },
		},
		{"power off", func(b *bench, id int, _ *rand.Rand) { b.powerLoss(id, 1) }, func(b *bench, id int) {
			b.must(b.Pgpools[id].Host.PowerOn(b.t.Context()))
		}},
		{"partition", partition, func(b *bench, _ int) { b.must(b.Heal()) }},
		{
			"part from neighbour",
			func(b *bench, id int, _ *rand.Rand) { b.must(b.Pgpools[id].Host.Block(b.Pgpools[b.standby(id)].Host)) },
			func(b *bench, id int) { b.must(b.Pgpools[id].Host.Unblock(b.Pgpools[b.standby(id)].Host)) },
		},
		{
			"hide the trusted server",
			func(b *bench, id int, _ *rand.Rand) { b.Run(b.t, b.Pgpools[id].Host, "root", "touch "+trustedMark) },
			func(b *bench, id int) { b.Run(b.t, b.Pgpools[id].Host, "root", "rm -f "+trustedMark) },
		},
	}
}

// partition puts every pgpool's host on one of two networks; nobody else is on the second one.
func partition(b *bench, _ int, dice *rand.Rand) {
	var apart []*hosts.Host
	for _, h := range b.PgpoolHosts() {
		if dice.IntN(2) == 0 {
			apart = append(apart, h)
		}
	}
	b.must(b.Partition(apart))
}

// soak is random harm for a long time.
type soak struct {
	*bench
	dice       *rand.Rand
	violations []string
	slowest    time.Duration // to be in order after mending
	counts     map[string]int
	vitals     map[int][]vital // by process
}

// vital is what a process needs at one moment.
type vital struct {
	node              int
	age               time.Duration
	rss, fds, threads int // RSS in kB
}

func number(t *testing.T, env string, otherwise int) int {
	t.Helper()
	text := os.Getenv(env)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	site.Must(t, err)
	return n
}

// TestSoak does random harm: at least SOAK_FAULTS times and for SOAK_MINUTES.
func TestSoak(t *testing.T) {
	if os.Getenv("SOAK_FAULTS") == "" {
		t.Skip("left to make soak")
	}
	faults, minutes := number(t, "SOAK_FAULTS", 200), number(t, "SOAK_MINUTES", 30)
	nodes, seed := number(t, "SOAK_NODES", 3), number(t, "SOAK_SEED", 1)
	s := &soak{
		bench: newBench(t, nodes, trusted()), dice: rand.New(rand.NewPCG(uint64(seed), 0)), counts: map[string]int{}, vitals: map[int][]vital{},
	}
	began, end := time.Now(), time.Now().Add(time.Duration(minutes)*time.Minute)
	done := 0
	for ; (done < faults || time.Now().Before(end)) && !t.Failed(); done++ {
		s.round(t, done)
		if left := faults - done; left > 0 {
			s.linger(min(max(time.Until(end)/time.Duration(left)-10*time.Second, 0), 10*time.Second))
		}
	}
	text := s.report(done, nodes, seed, time.Since(began))
	t.Log("\n" + text)
	if name := os.Getenv("SOAK_REPORT"); name != "" {
		site.Must(t, os.WriteFile(name, []byte(text), 0o644))
	}
	for _, v := range s.violations {
		t.Error(v)
	}
}

// round does harm once or twice at a time, mends it, and looks whether all is well. It ends the test when the cluster does not recover.
func (s *soak) round(t *testing.T, n int) {
	s.t = t
	s.order(nil, healLimit) // a node that was cut off may find that out and end when all seems to be well again
	s.watch = watch(t, s.Cluster)
	first, second := s.choose(), s.choose()
	undo := first.do(s)
	story := first.String()
	s.linger(s.while())
	if s.dice.IntN(3) == 0 && second.id != first.id && s.Pgpools[second.id].Running() && second.act.name != first.act.name &&
		!overlapping(first, second) {
		undo = append(undo, second.do(s)...)
		story += ", " + second.String()
		s.linger(s.while())
	}
	for _, f := range undo {
		f()
	}
	mended := time.Now()
	for _, p := range s.Pgpools {
		if p.Running() && p.Ending() {
			p.AwaitEnd(t, 20*time.Second)
		}
	}
	seen, ok := site.Wait(t.Context(), healLimit, func() (string, bool) {
		s.revive()
		leader, seen := s.inOrder()
		return seen, leader >= 0
	})
	took := time.Since(mended)
	s.slowest = max(s.slowest, took)
	if !ok {
		s.violate(n, story, "not in order %s after mending: %s", healLimit, seen)
		t.Errorf("round %d, %s: the cluster does not recover: %s", n, story, seen)
	}
	served(t, s.Cluster, s.watch, healLimit)
	s.judgeRound(n, story)
	t.Logf("round %d: %s; in order after %.1f s", n, story, took.Seconds())
}

// blow is an act that was chosen.
type blow struct {
	act act
	id  int
}

func (s *soak) choose() blow {
	all := acts()
	return blow{all[s.dice.IntN(len(all))], s.dice.IntN(len(s.Pgpools))}
}

func (x blow) String() string { return fmt.Sprintf("%s server%d", x.act.name, x.id+1) }

func (x blow) do(s *soak) (undo []func()) {
	s.counts[x.act.name]++
	x.act.do(s.bench, x.id, s.dice)
	if x.act.undo != nil {
		undo = append(undo, func() { x.act.undo(s.bench, x.id) })
	}
	return undo
}

// overlapping is for two acts of which one would undo the other, or that change the same thing.
func overlapping(a, b blow) bool {
	blocks := []string{"mute", "deafen", "part from neighbour"}
	ports := []string{"cut", "partition", "power off"}
	return slices.Contains(blocks, a.act.name) && slices.Contains(blocks, b.act.name) ||
		slices.Contains(ports, a.act.name) && slices.Contains(ports, b.act.name)
}

// while is how long harm lasts: mostly about the time of a lease, for that is where mistakes are.
func (s *soak) while() time.Duration {
	return 100*time.Millisecond + time.Duration(s.dice.Int64N(int64(2*lease)))
}

func (s *soak) violate(n int, story, format string, args ...any) {
	s.violations = append(s.violations, fmt.Sprintf("round %d, %s: ", n, story)+fmt.Sprintf(format, args...))
}

func (s *soak) judgeRound(n int, story string) {
	s.t.Helper()
	r, err := s.watch.Stop()
	site.Must(s.t, err)
	if len(s.Pgpools)%2 == 1 {
		for _, o := range r.Overlaps() {
			s.violate(n, story, "two holders: %s; %s", o, r.Holders())
		}
		for _, o := range r.Disputes() {
			s.violate(n, story, "two answers: %s", o)
		}
	}
	shown := s.shown()
	for i, got := range shown {
		if got != shown[0] {
			s.violate(n, story, "server%d shows %q, server1 %q", i+1, got, shown[0])
		}
	}
	for id, p := range s.Pgpools {
		s.examine(id, p)
	}
}

// shown is SHOW pool_nodes of every pgpool. One that finds only now that it was cut off ends, and is asked when it is back.
func (s *soak) shown() (texts []string) {
	site.Wait(s.t.Context(), healLimit, func() (string, bool) {
		texts = nil
		for _, p := range s.Pgpools {
			text := s.PoolNodes(s.t, p.Host.Name)
			if strings.Contains(text, "Connection refused") {
				s.revive()
				return text, false
			}
			texts = append(texts, text)
		}
		return "", true
	})
	return texts
}

// examine notes what a pgpool needs.
func (s *soak) examine(id int, p *site.Pgpool) {
	s.t.Helper()
	dir := fmt.Sprintf("/proc/%d", p.PID())
	status, err := os.ReadFile(dir + "/status")
	fds, err2 := os.ReadDir(dir + "/fd")
	if err != nil || err2 != nil {
		return // it ended by itself just now
	}
	v := vital{node: id, age: p.Age(), fds: len(fds)}
	for line := range strings.Lines(string(status)) {
		f := strings.Fields(line)
		switch {
		case len(f) > 1 && f[0] == "VmRSS:":
			v.rss, _ = strconv.Atoi(f[1]) // 0 stands out
		case len(f) > 1 && f[0] == "Threads:":
			v.threads, _ = strconv.Atoi(f[1])
		}
	}
	s.vitals[p.PID()] = append(s.vitals[p.PID()], v)
}

// report is the soak as a document. Processes that were killed all the time say little about growth; the oldest ones do.
func (s *soak) report(done, nodes, seed int, lasted time.Duration) string {
	s.growth(nodes)
	var b strings.Builder
	fmt.Fprintf(&b, "# Random harm to a watchdog\n\nWritten by `make soak`: %d nodes, seed %d, %d rounds in %.0f minutes. After each round the slowest return to order took %.1f s.\n\n"+
		"Violations (two holders, two answers to ARP, no order within %s, different SHOW pool_nodes): %d\n\n",
		nodes, seed, done, lasted.Minutes(), s.slowest.Seconds(), healLimit, len(s.violations))
	for _, v := range s.violations {
		fmt.Fprintf(&b, "- %s\n", v)
	}
	b.WriteString("\n| harm | times |\n|---|---|\n")
	for _, a := range acts() {
		fmt.Fprintf(&b, "| %s | %d |\n", a.name, s.counts[a.name])
	}
	b.WriteString("\n| process of | age | RSS at first | RSS at last | files | threads |\n|---|---|---|---|---|---|\n")
	for _, all := range s.oldest(2 * nodes) {
		first, last := all[0], all[len(all)-1]
		fmt.Fprintf(&b, "| server%d | %.0f s | %d MB | %d MB | %d to %d | %d to %d |\n", last.node+1, last.age.Seconds(), first.rss>>10, last.rss>>10,
			first.fds, last.fds, first.threads, last.threads)
	}
	return b.String()
}

// growth finds processes that need more and more. Clients come and go, so the least of the last looks counts.
func (s *soak) growth(nodes int) {
	const looks = 5
	for _, all := range s.oldest(2 * nodes) {
		first, last := all[0], all[len(all)-1]
		for _, v := range all[max(len(all)-looks, 0):] {
			last.rss, last.fds = min(last.rss, v.rss), min(last.fds, v.fds)
		}
		if last.age > 3*time.Minute && (last.rss > first.rss*2 || last.fds > first.fds+20) {
			s.violations = append(s.violations, fmt.Sprintf("server%d grows: %+v to at least %+v", last.node+1, first, last))
		}
	}
}

// oldest are the histories of the processes that lived longest.
func (s *soak) oldest(n int) (all [][]vital) {
	for _, history := range s.vitals {
		all = append(all, history)
	}
	slices.SortFunc(all, func(a, b []vital) int { return int(b[len(b)-1].age - a[len(a)-1].age) })
	return all[:min(n, len(all))]
}
