package sim

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"gopgpool/watchdog/machine"
)

// seedsOfTest is how many seeds a test run takes; make sim takes many more.
const seedsOfTest = 200

// Runs exchange crypto/rand's reader: no test here is parallel.

func TestSeeds(t *testing.T) {
	seeds := uint64(seedsOfTest)
	if text := os.Getenv("SIM_SEEDS"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("SIM_SEEDS: %v", err)
		}
		seeds = n
	}
	var total Stats
	for seed := uint64(1); seed <= seeds; seed++ {
		r := Run(NewPlan(seed), Shipped, Mutant{}, nil)
		total.Add(r.Stats)
		if r.Violation != nil {
			t.Fatalf("seed %d %v\n%s%v\nagain: make sim SIMFLAGS='-seed %d -v'", seed, r.Violation, Tail(r.Plan, Shipped, Mutant{}, 30), &r.Plan, seed)
		}
	}
	var text bytes.Buffer
	total.Write(&text)
	t.Log(text.String())
}

func TestMutantsAreCaught(t *testing.T) {
	for _, m := range Mutants() {
		t.Run(m.Name, func(t *testing.T) {
			seed, v := Hunt(m, Shipped, 300)
			if v == nil {
				t.Fatal("not caught in 300 seeds")
			}
			t.Logf("caught by seed %d, %v", seed, v)
		})
	}
}

// TestRunsReplay demands that a run is a function of its plan.
func TestRunsReplay(t *testing.T) {
	for seed := uint64(1); seed <= 10; seed++ {
		a := Run(NewPlan(seed), Shipped, Mutant{}, nil)
		b := Run(NewPlan(seed), Shipped, Mutant{}, new(bytes.Buffer))
		if a.Digest != b.Digest || fmt.Sprint(a.Violation) != fmt.Sprint(b.Violation) {
			t.Errorf("seed %d: %x %v, and again: %x %v", seed, a.Digest, a.Violation, b.Digest, b.Violation)
		}
	}
}

// naive is a machine without any idea of the others.
type naive struct{ told bool }

func naiveMachine(machine.Config, machine.Image, time.Duration) (Machine, error) {
	return &naive{}, nil
}

func (n *naive) Tick(time.Duration)                {}
func (n *naive) Step(time.Duration, machine.Input) {}
func (n *naive) State() machine.State              { return machine.StateLeader }

func (n *naive) Take() (machine.Output, bool) {
	told := n.told
	n.told = true
	return machine.Output{Address: machine.Desired{Hold: true, Until: 1 << 60}}, !told
}

func (n *naive) Status(time.Duration) machine.Status {
	return machine.Status{Standing: machine.Leads, Term: 1}
}

func TestJudgeSeesTwoHolders(t *testing.T) {
	plan := NewPlan(1)
	plan.NoAddress, plan.HalfVotes = false, false
	if v := Run(plan, naiveMachine, Mutant{}, nil).Violation; v == nil {
		t.Fatal("a cluster in which everybody holds the address passes")
	}
}

func TestShrink(t *testing.T) {
	plan := NewPlan(1)
	for i := range 20 {
		plan.Acts = append(plan.Acts, Act{At: time.Duration(i), Verb: Flap})
	}
	plan.Acts[7].Verb, plan.Acts[13].Verb = Kill, Wipe
	small := Shrink(plan, func(p Plan) bool { return p.has(Kill) && p.has(Wipe) }, 200)
	if len(small.Acts) != 2 {
		t.Errorf("%d acts are left of which 2 matter", len(small.Acts))
	}
}
