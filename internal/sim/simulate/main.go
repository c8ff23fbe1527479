// Command simulate runs the watchdog's simulation for many seeds: one child process per CPU, each a range of them.
//
//	simulate -seeds 10000          seeds 1 to 10000, and the mutants
//	simulate -seed 17 -v           one seed with a trace of all that happens
//	simulate -seed 17 -shrink      one failing seed with as few faults as possible
//	simulate -seeds 10 -replay     seeds 1 to 10 twice each: a run is a function of its plan
package main

import (
	"bytes"
	"encoding/gob"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"

	"gopgpool/internal/sim"
)

// huntSeeds is how many seeds a mutant may survive.
const huntSeeds = 300

func main() {
	seeds := flag.Int("seeds", 10000, "how many seeds")
	first := flag.Uint64("first", 1, "the first seed")
	seed := flag.Uint64("seed", 0, "run this seed only")
	verbose := flag.Bool("v", false, "with -seed: print all that happens")
	shrink := flag.Bool("shrink", false, "with -seed: look for a shorter plan that fails, and print its trace")
	mutant := flag.String("mutant", "", "run a mutant instead")
	mutants := flag.Bool("mutants", true, "after the seeds run the mutants, each until it is caught")
	jobs := flag.Int("jobs", runtime.NumCPU(), "child processes")
	goOn := flag.Int("failures", 10, "stop after so many failures")
	hunting := flag.Bool("hunt", false, "with -mutant: run seeds in this process until it is caught")
	replay := flag.Bool("replay", false, "run each seed twice and compare")
	child := flag.Bool("child", false, "run the seeds in this process and write the outcome in gob")
	flag.Parse()

	m, err := choose(*mutant)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	switch {
	case *seed != 0:
		err = one(*seed, m, *verbose, *shrink)
	case *hunting:
		err = huntOne(m)
	case *replay:
		err = replayed(*first, *seeds, m)
	case *child:
		err = gob.NewEncoder(os.Stdout).Encode(run(*first, *seeds, m, *goOn))
	default:
		err = all(*first, *seeds, *jobs, *goOn, *mutant, *mutants && *mutant == "")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func choose(name string) (sim.Mutant, error) {
	if name == "" {
		return sim.Mutant{}, nil
	}
	for _, m := range sim.Mutants() {
		if m.Name == name {
			return m, nil
		}
	}
	return sim.Mutant{}, fmt.Errorf("no mutant has the name %q", name)
}

// one shows one seed.
func one(seed uint64, m sim.Mutant, verbose, shrink bool) error {
	plan := sim.NewPlan(seed)
	if shrink {
		want := sim.Run(plan, sim.Shipped, m, nil).Violation
		plan = sim.Shrink(plan, func(p sim.Plan) bool { return want.Like(sim.Run(p, sim.Shipped, m, nil).Violation) }, 300)
	}
	fmt.Println(plan.String())
	var log io.Writer
	if verbose {
		log = os.Stdout
	}
	r := sim.Run(plan, sim.Shipped, m, log)
	if r.Violation != nil {
		return errors.New(r.Violation.String())
	}
	r.Stats.Write(os.Stdout)
	return nil
}

// replayed demands that runs of the same plan are the same, with and without a trace.
func replayed(first uint64, seeds int, m sim.Mutant) error {
	for s := first; s < first+uint64(seeds); s++ {
		a := sim.Run(sim.NewPlan(s), sim.Shipped, m, nil)
		b := sim.Run(sim.NewPlan(s), sim.Shipped, m, new(bytes.Buffer))
		if a.Digest != b.Digest || fmt.Sprint(a.Violation) != fmt.Sprint(b.Violation) {
			return fmt.Errorf("seed %d: %x %v, and again: %x %v", s, a.Digest, a.Violation, b.Digest, b.Violation)
		}
	}
	return nil
}

// outcome is what a child reports.
type outcome struct {
	Stats    sim.Stats
	Failures []failure
}

type failure struct {
	Seed uint64
	What string
	Tail string
}

func run(first uint64, seeds int, m sim.Mutant, most int) (o outcome) {
	for s := first; s < first+uint64(seeds) && len(o.Failures) < most; s++ {
		r := sim.Run(sim.NewPlan(s), sim.Shipped, m, nil)
		o.Stats.Add(r.Stats)
		if r.Violation == nil {
			continue
		}
		f := failure{Seed: s, What: r.Violation.String()}
		if m.Name == "" {
			f.Tail = sim.Tail(r.Plan, sim.Shipped, m, 40)
		}
		o.Failures = append(o.Failures, f)
	}
	return o
}

// all spreads the seeds over child processes.
func all(first uint64, seeds, jobs, most int, mutant string, mutants bool) error {
	began := time.Now()
	total, err := spread(first, seeds, jobs, most, mutant)
	if err != nil {
		return err
	}
	took := time.Since(began)
	fmt.Printf("%d seeds from %d in %.0f s, %.1f a second with %d processes\n", total.Stats.Runs, first, took.Seconds(),
		float64(total.Stats.Runs)/took.Seconds(), jobs)
	total.Stats.Write(os.Stdout)
	for _, f := range total.Failures {
		fmt.Printf("\nseed %d %s\n%s", f.Seed, f.What, f.Tail)
	}
	if n := len(total.Failures); n > 0 {
		return fmt.Errorf("%d seeds failed; again: simulate -seed %d -v", n, total.Failures[0].Seed)
	}
	if mutants {
		return hunt(jobs)
	}
	return nil
}

func spread(first uint64, seeds, jobs, most int, mutant string) (total outcome, err error) {
	parts, errs := make([]outcome, jobs), make([]error, jobs)
	var children sync.WaitGroup
	for i := range jobs {
		from, to := uint64(seeds*i/jobs), uint64(seeds*(i+1)/jobs)
		children.Go(func() { parts[i], errs[i] = startChild(first+from, int(to-from), most, mutant) })
	}
	children.Wait()
	for _, p := range parts {
		total.Stats.Add(p.Stats)
		total.Failures = append(total.Failures, p.Failures...)
	}
	return total, errors.Join(errs...)
}

func startChild(first uint64, seeds, most int, mutant string) (o outcome, err error) {
	c := exec.Command(os.Args[0], "-child", "-first", fmt.Sprint(first), "-seeds", fmt.Sprint(seeds), "-failures", fmt.Sprint(most),
		"-mutant", mutant)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return o, fmt.Errorf("seeds from %d: %w", first, err)
	}
	return o, gob.NewDecoder(bytes.NewReader(out)).Decode(&o)
}

// hunt demands that every mutant is caught. Each has a child of its own.
func hunt(jobs int) error {
	all := sim.Mutants()
	found, errs := make([]string, len(all)), make([]error, len(all))
	next := make(chan int)
	var hunters sync.WaitGroup
	for range jobs {
		hunters.Go(func() {
			for i := range next {
				found[i], errs[i] = huntInChild(all[i].Name)
			}
		})
	}
	for i := range all {
		next <- i
	}
	close(next)
	hunters.Wait()
	for _, line := range found {
		fmt.Print(line)
	}
	return errors.Join(errs...)
}

func huntInChild(name string) (string, error) {
	c := exec.Command(os.Args[0], "-hunt", "-mutant", name)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if err != nil {
		return "", fmt.Errorf("mutant %q: %w", name, err)
	}
	return string(out), nil
}

// huntOne runs a mutant until it is caught.
func huntOne(m sim.Mutant) error {
	seed, v := sim.Hunt(m, sim.Shipped, huntSeeds)
	if v == nil {
		return fmt.Errorf("the mutant %q was not caught in %d seeds", m.Name, huntSeeds)
	}
	what, _, _ := strings.Cut(v.String(), "\n")
	fmt.Printf("mutant %q: caught by seed %d %s\n", m.Name, seed, what)
	return nil
}
