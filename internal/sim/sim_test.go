package sim

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"gopgpool/watchdog/machine"
)

// seeds is how many seeds a test run takes; make sim takes many more.
const seeds = "200"

// Runs exchange crypto/rand's reader: no test here is parallel.

// TestSeeds runs seeds, and the mutants, in child processes: a run has a single goroutine, so that they need no race detector. Some seeds
// are run twice, for a run is a function of its plan.
func TestSeeds(t *testing.T) {
	program := filepath.Join(t.TempDir(), "simulate")
	if out, err := exec.Command("go", "build", "-o", program, "./simulate").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, args := range [][]string{{"-seeds", seeds}, {"-seeds", "10", "-replay"}} {
		out, err := exec.Command(program, args...).CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Fatal(err)
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
