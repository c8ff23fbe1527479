package wdtest

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"gopgpool/internal/hosts"
	"gopgpool/internal/site"
)

// trustedMark is a file on a pgpool's host; while it is there the trusted server does not answer that host.
const trustedMark = "/run/pgpool/no-answer"

// trustedScript asks whether the server on that host answers, in the place of ping.
const trustedScript = site.EtcDir + "/trusted.sh"

func trusted() site.Settings {
	return site.Settings{"trusted_servers": "db0", "trusted_server_command": trustedScript + " %h"}
}

const (
	gracefulLimit = time.Second
	killLimit     = lease + time.Second
	// A partition is noticed when the lease ends on one side and when its end is sure on the other.
	partitionLimit = lease + 2*time.Second
)

// odd is for faults that two of two nodes could not decide.
func odd(nodes int) bool { return nodes > 2 }

// halves is for partitions after which each side of a cluster with half votes may go on.
func halves(nodes int) bool { return nodes%2 == 0 }

// faults are all that is done to a cluster.
func faults() []fault {
	return []fault{
		{name: "graceful stop of the leader", do: stopLeader, limit: gracefulLimit},
		{name: "graceful stop of a standby", do: func(b *bench, leader int) { b.Pgpools[b.standby(leader)].Stop(b.t) }, then: stays},
		{name: "SIGKILL of the leader", do: func(b *bench, leader int) { b.Pgpools[leader].Kill(b.t) }, limit: killLimit},
		{
			name: "SIGKILL of the leader, whose memory is lost", limit: killLimit, do: func(b *bench, leader int) {
				b.Pgpools[leader].Kill(b.t)
				b.Run(b.t, b.Pgpools[leader].Host, "root", "rm -rf "+site.StateDir+"/*")
			},
		},
		{
			name: "SIGKILL of a standby", do: func(b *bench, leader int) { b.Pgpools[b.standby(leader)].Kill(b.t) }, then: stays,
		},
		{
			name: "SIGSTOP of the leader, later SIGCONT", limit: killLimit, linger: lease,
			do:   func(b *bench, leader int) { b.Pgpools[leader].Freeze(b.t) },
			mend: func(b *bench, leader int) { b.Pgpools[leader].Thaw(b.t); b.linger(lease) },
		},
		{
			name: "leader's host hangs", limit: killLimit, linger: lease,
			do:   func(b *bench, leader int) { b.must(b.Pgpools[leader].Host.Freeze()) },
			mend: func(b *bench, leader int) { b.must(b.Pgpools[leader].Host.Thaw()); b.linger(lease) },
		},
		{
			name: "leader's link down", limit: partitionLimit, linger: time.Second, split: halves,
			do:   func(b *bench, leader int) { b.must(b.Pgpools[leader].Host.Unplug(b.Device)) },
			mend: func(b *bench, leader int) { b.must(b.Pgpools[leader].Host.Plug(b.Device)) },
		},
		{
			name: "leader cut off, both ways", limit: partitionLimit, linger: lease, split: halves,
			do:   func(b *bench, leader int) { b.must(b.Pgpools[leader].Host.Cut()) },
			mend: func(b *bench, leader int) { b.must(b.Pgpools[leader].Host.Heal()) },
		},
		{
			name: "leader is not heard", limit: partitionLimit, linger: lease, split: halves, fits: odd,
			do:   func(b *bench, leader int) { b.oneWay(leader, (*hosts.Host).BlockTo, nil) },
			mend: func(b *bench, leader int) { b.oneWay(leader, (*hosts.Host).UnblockTo, nil) },
		},
		{
			name: "leader hears nobody", limit: partitionLimit, linger: lease, split: halves, fits: odd,
			do:   func(b *bench, leader int) { b.oneWay(leader, nil, (*hosts.Host).BlockTo) },
			mend: func(b *bench, leader int) { b.oneWay(leader, nil, (*hosts.Host).UnblockTo) },
		},
		{
			name: "every node alone", then: vanish, linger: lease, fits: odd,
			do: func(b *bench, _ int) {
				var groups [][]*hosts.Host
				for _, h := range b.PgpoolHosts() {
					groups = append(groups, []*hosts.Host{h})
				}
				b.must(b.Partition(groups...))
			},
			mend: func(b *bench, _ int) { b.must(b.Heal()) },
		},
		{
			name: "leader loses the trusted server", limit: killLimit + time.Second, // that long it may be until the next check
			do:   func(b *bench, leader int) { b.Run(b.t, b.Pgpools[leader].Host, "root", "touch "+trustedMark) },
			mend: func(b *bench, leader int) { b.Run(b.t, b.Pgpools[leader].Host, "root", "rm "+trustedMark) },
		},
		{name: "rolling restart", do: rollingRestart},
		{name: "power loss of the leader and all but one of the others", then: vanish, linger: lease, fits: odd, do: func(b *bench, leader int) {
			b.powerLoss(leader, len(b.Pgpools)-1)
		}, mend: (*bench).powerBack},
		{name: "power loss of the standbys", then: vanish, linger: lease, fits: odd, do: func(b *bench, leader int) {
			b.powerLoss(b.standby(leader), len(b.Pgpools)-1)
		}, mend: (*bench).powerBack},
		{
			name: "power loss of the leader", limit: killLimit,
			do: func(b *bench, leader int) { b.powerLoss(leader, 1) }, mend: (*bench).powerBack,
		},
	}
}

func stopLeader(b *bench, leader int) { b.Pgpools[leader].Stop(b.t) }

// standby is a node that does not lead.
func (b *bench) standby(leader int) int { return (leader + 1) % len(b.Pgpools) }

// oneWay changes what of a node's packets arrives: out to everybody, in from everybody.
func (b *bench) oneWay(id int, out, in func(from, to *hosts.Host) error) {
	b.t.Helper()
	h := b.Pgpools[id].Host
	for _, other := range b.everybody(id) {
		if out != nil {
			b.must(out(h, other))
		}
		if in != nil {
			b.must(in(other, h))
		}
	}
}

// rollingRestart stops and starts every node in turn, the first leader first; between two of them the cluster is in order.
func rollingRestart(b *bench, leader int) {
	for i := range b.Pgpools {
		id := (leader + i) % len(b.Pgpools)
		b.Pgpools[id].Stop(b.t)
		b.Start(b.t, id)
		b.order(b.watch, healLimit)
	}
}

// powerLoss switches off so many hosts at once, from one on. Their numbers go around.
func (b *bench) powerLoss(first, count int) {
	b.t.Helper()
	errs := make(chan error, count)
	for i := range count {
		go b.powerOff((first+i)%len(b.Pgpools), errs)
	}
	for range count {
		b.must(<-errs)
	}
}

func (b *bench) powerOff(id int, result chan<- error) {
	result <- b.Pgpools[id].Host.PowerOff(b.t.Context())
}

// powerBack switches on what is off.
func (b *bench) powerBack(int) {
	b.t.Helper()
	for _, p := range b.Pgpools {
		if !p.Running() {
			b.must(p.Host.PowerOn(b.t.Context()))
		}
	}
}

// TestQuickFaults is the part of TestFaults that runs with all other tests.
func TestQuickFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("left out with -short: a cluster of three is killed")
	}
	if os.Getenv(fullEnv) != "" {
		t.Skip("TestFaults does all of it")
	}
	b := newBench(t, 3, trusted())
	for _, f := range faults() {
		switch f.name {
		case "graceful stop of the leader", "SIGKILL of the leader", "leader cut off, both ways":
			if !t.Run(f.name, func(t *testing.T) { b.try(t, f) }) {
				return // the next one begins where this one was to end
			}
		}
	}
}

// TestFaults does every fault to clusters of three, two and five, and writes the table.
func TestFaults(t *testing.T) {
	long(t)
	var all []result
	for _, nodes := range []int{3, 2, 5} {
		t.Run(fmt.Sprintf("%d nodes", nodes), func(t *testing.T) {
			all = append(all, tryAll(t, nodes)...)
		})
	}
	text := table(all)
	t.Log("\n" + text)
	if name := os.Getenv(resultsEnv); name != "" {
		site.Must(t, os.WriteFile(name, []byte(text), 0o644))
	}
}

// tryAll does every fault; after one that the cluster did not recover from a new cluster is made.
func tryAll(t *testing.T, nodes int) (all []result) {
	var b *bench
	for _, f := range faults() {
		if f.fits != nil && !f.fits(nodes) {
			continue
		}
		r := result{nodes: nodes, fault: f.name, verdict: "the cluster did not get in order again"}
		if b == nil {
			b = newBench(t, nodes, trusted())
		}
		finished := false
		ok := t.Run(f.name, func(t *testing.T) {
			r = b.try(t, f)
			finished = true
		})
		if ok && !finished {
			continue // it was not asked for
		}
		if !finished {
			b.abandon(t)
			b = nil
		}
		all = append(all, r)
	}
	return all
}

// abandon ends the pgpools of a cluster that is not used any more.
func (b *bench) abandon(t *testing.T) {
	for _, p := range b.Pgpools {
		if p.Running() {
			p.SignalAll(t, syscall.SIGKILL)
			p.AwaitEnd(t, 10*time.Second)
		}
	}
}
