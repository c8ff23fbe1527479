package wdha

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gopgpool/internal/site"
)

// TestOneWriter does every harm and writes the table.
func TestOneWriter(t *testing.T) {
	long(t)
	var all []result
	for _, synchronous := range []bool{false, true} {
		name := map[bool]string{false: "asynchronous", true: "synchronous"}[synchronous]
		t.Run(name, func(t *testing.T) {
			t.Run("beside", func(t *testing.T) {
				all = append(all, tryAll(t, layout{"beside", true, synchronous}, append(besides(), shuffled(t)...))...)
			})
			t.Run("apart", func(t *testing.T) {
				all = append(all, tryAll(t, layout{"apart", false, synchronous}, aparts())...)
			})
		})
	}
	text := table(all)
	t.Log("\n" + text)
	if name := os.Getenv(resultsEnv); name != "" {
		site.Must(t, os.WriteFile(name, []byte(text), 0o644))
	}
}

// tryAll does harm after harm; after one that the cluster did not recover from a new cluster is made.
func tryAll(t *testing.T, l layout, trials []trial) (all []result) {
	var b *bench
	for _, tr := range trials {
		r := result{layout: l, name: tr.name, breaches: []string{"it was not finished"}}
		ran, whole := false, false
		if b == nil {
			b = newBench(t, l) // ends with this test, not with the trial
		}
		t.Run(tr.name, func(t *testing.T) {
			ran = true
			r, whole = b.try(t, tr)
		})
		if !ran {
			continue // it was not asked for
		}
		all = append(all, r)
		if !whole {
			b.abandon(t)
			b = nil
		}
	}
	return all
}

// abandon ends the pgpools and agents of a cluster that is not used any more.
func (b *bench) abandon(t *testing.T) {
	if b == nil {
		return
	}
	for _, p := range append(b.agents, b.Pgpools...) {
		if p.Running() {
			p.SignalAll(t, syscall.SIGKILL)
			p.AwaitEnd(t, 10*time.Second)
		}
	}
}

// blow is one of the random harms, and what undoes it.
type blow struct {
	name     string
	do, undo func(b *bench, s state)
}

// blows are done to the host of a node, whose number stands for the primary's.
func blows() []blow {
	none := func(*bench, state) {}
	return []blow{
		{"cut off", isolate, heal},
		{"not heard", mute, unblock},
		{"deaf", deafen, undeafen},
		{"frozen", freeze, unfreeze},
		{"server killed", func(b *bench, s state) { b.killServer(s.primary) }, none},
		{"pgpool killed", func(b *bench, s state) { b.Pgpools[s.primary].SignalAll(b.t, syscall.SIGKILL) }, none},
		{"agent killed and started", func(b *bench, s state) {
			b.agents[s.primary].Kill(b.t)
			b.agents[s.primary].Spawn(b.t)
		}, none},
	}
}

// shuffled are rounds of random harm: one blow to one host, a second one to another, both undone. Only what holds always is judged.
func shuffled(t *testing.T) (all []trial) {
	t.Helper()
	seed, rounds := number(t, seedEnv, 1), number(t, roundsEnv, 3)
	dice := rand.New(rand.NewPCG(uint64(seed), 0))
	for i := range rounds {
		kinds := blows()
		one, other := kinds[dice.IntN(len(kinds))], kinds[dice.IntN(len(kinds))]
		first := dice.IntN(3)
		second := (first + 1 + dice.IntN(2)) % 3
		wait, hold := time.Duration(dice.Int64N(int64(2*lease))), time.Duration(dice.Int64N(int64(leaseEnd+5*time.Second)))
		// Numbers count from the primary, so that it is hit as often as others whoever it is.
		at := func(s state, n int) state { return state{s.leader, (s.primary + n) % 3} }
		var hit state
		all = append(all, trial{
			name: fmt.Sprintf("seed %d, round %d: primary+%d %s, after %s primary+%d %s, for %s", seed, i+1, first, one.name, wait.Round(time.Millisecond),
				second, other.name, hold.Round(time.Millisecond)),
			then: free, do: func(b *bench, s state) {
				hit = s
				one.do(b, at(s, first))
				b.linger(wait)
				other.do(b, at(s, second))
				b.linger(hold)
			}, mend: func(b *bench, _ state) {
				one.undo(b, at(hit, first))
				other.undo(b, at(hit, second))
			},
		})
	}
	return all
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

// table is the results as a document.
func table(all []result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# One writer at a time, under partitions\n\n"+
		"Written by `make wdha`: three pgpools with a watchdog, three servers with agents, `agent_fencing = on`, `agent_lease_time = %.0f`,\n"+
		"`wd_lease_time = 3`, `health_check_period = 1`. Clients write through the virtual address, through each pgpool from its own host, and directly\n"+
		"to each server from its own host.\n\n"+
		"*No writer* is the time from the last write sent that the old primary acknowledged, on any way, to the first one of the next; *VIP silent* the longest\n"+
		"time without a write through the virtual address, the mending included; *old one until* is when, after the harm, the old primary acknowledged its last\n"+
		"write. *lost*: acknowledged rows that are not there at the end, which only commits that wait for no standby may be.\n\n"+
		"| commits | hosts | harm | no writer | VIP silent | old one until | writes by pgpools | directly | errors at the VIP | at pgpools | lost | in order | breaches |\n"+
		"|---|---|---|--:|--:|---|--:|--:|---|---|--:|--:|---|\n", lease.Seconds())
	for _, r := range all {
		commits := map[bool]string{false: "asynchronous", true: "synchronous"}[r.layout.sync]
		breaches := strings.Join(r.breaches, "; ")
		if breaches == "" {
			breaches = "0"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %d | %d | %s | %s | %d | %s | %s |\n", commits, r.layout.name, r.name, r.gap, seconds(r.silent),
			r.until, r.pooled, r.directly, r.errors, r.locally, r.lost, seconds(r.healed), breaches)
	}
	return b.String()
}

func TestTable(t *testing.T) {
	t.Parallel()
	got := table([]result{{layout: layout{"apart", false, true}, name: "x", gap: "1.00 s", until: "-", errors: "none", locally: "none", pooled: 7}})
	if want := "| synchronous | apart | x | 1.00 s | 0.00 s | - | 7 | 0 | none | none | 0 | 0.00 s | 0 |"; !strings.Contains(got, want) {
		t.Errorf("no %q in\n%s", want, got)
	}
}
