package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
	"time"
)

// interrupt is pgpool's fast stop.
const interrupt = syscall.SIGINT

// options are the command line.
type options struct {
	pgpool, pcpDir  string
	peer            bool
	rounds          int
	clients, idlers int
	think           time.Duration
	runs            *regexp.Regexp
	rows            *regexp.Regexp
	outage          time.Duration
	quick           bool
	out             string
	keep            string
	inside          bool
}

func main() {
	// The kernel ties our children's lives to the thread that started them: main's, which lasts.
	runtime.LockOSThread()
	opts, err := parseOptions(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = start(opts)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "ha:", err)
		os.Exit(1)
	}
}

func parseOptions(args []string) (options, error) {
	var o options
	var runs, rows string
	f := flag.NewFlagSet("ha", flag.ContinueOnError)
	f.StringVar(&o.pgpool, "pgpool", filepath.Join("bin", "pgpool"), "the pgpool under test")
	f.StringVar(&o.pcpDir, "pcp", "", "directory of pcp_attach_node and pcp_detach_node (default bin, else where PATH finds them)")
	f.BoolVar(&o.peer, "peer", false, "measure Pgpool-II at /usr/sbin/pgpool instead, without judgement of what its clients feel")
	f.IntVar(&o.rounds, "rounds", 20, "kills in each run")
	f.IntVar(&o.clients, "clients", 64, "writing clients, and as many reading ones")
	f.IntVar(&o.idlers, "idlers", 8, "idle clients that hold settings and a prepared statement over all rounds")
	f.DurationVar(&o.think, "think", 20*time.Millisecond, "a client's pause between two statements")
	f.StringVar(&runs, "runs", "", "only runs whose name matches: primary, synchronous, standby, matrix")
	f.StringVar(&rows, "rows", "", "only rows of the matrix whose name matches")
	f.DurationVar(&o.outage, "outage", time.Second, "the median outage that is allowed after the loss of the primary")
	f.BoolVar(&o.quick, "quick", false, "2 rounds, 16 clients, every fault of the matrix once")
	f.StringVar(&o.out, "out", "", "directory for the results (default docs/ha for a whole run of 20 rounds, else none)")
	f.StringVar(&o.keep, "keep", "", "copy the logs to this directory when something was found")
	f.BoolVar(&o.inside, "inside", false, "internal: the namespaces are there")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	given := map[string]bool{}
	f.Visit(func(one *flag.Flag) { given[one.Name] = true })
	return o.complete(given, runs, rows)
}

// complete fills in what depends on other options.
func (o options) complete(given map[string]bool, runs, rows string) (options, error) {
	var err error
	if o.runs, err = regexp.Compile(runs); err != nil {
		return o, err
	}
	if o.rows, err = regexp.Compile(rows); err != nil {
		return o, err
	}
	if o.quick && !given["rounds"] {
		o.rounds = 2
	}
	if o.quick && !given["clients"] {
		o.clients = 16
	}
	if o.rounds < 1 || o.clients < 1 || o.idlers < 0 || o.think < 0 {
		return o, errors.New("-rounds and -clients are at least 1, -idlers and -think not negative")
	}
	if o.peer && !given["pgpool"] {
		o.pgpool = "/usr/sbin/pgpool"
	}
	whole := runs == "" && rows == "" && o.rounds >= 20 && o.clients >= 64 && !o.peer
	if whole && !given["out"] { // a part must not replace the whole
		o.out = filepath.Join("docs", "ha")
	}
	if o.pcpDir == "" {
		o.pcpDir = findPrograms(o.peer)
	}
	for _, path := range []*string{&o.pgpool, &o.pcpDir} { // both are started in other directories
		if *path, err = filepath.Abs(*path); err != nil {
			return o, err
		}
	}
	return o, nil
}

// findPrograms is the directory of the PCP programs: ours, unless a peer is measured.
func findPrograms(peer bool) string {
	const name = "pcp_attach_node"
	if _, err := os.Stat(filepath.Join("bin", name)); err == nil && !peer {
		return "bin"
	}
	if path, err := exec.LookPath(name); err == nil {
		return filepath.Dir(path)
	}
	return "bin"
}

// start does the work, as root in a process with namespaces of its own.
func start(o options) error {
	if _, err := exec.LookPath(o.pgpool); err != nil {
		return fmt.Errorf("the pgpool under test: %w (make build)", err)
	}
	if os.Geteuid() == 0 && !o.inside {
		return startInside()
	}
	if o.inside {
		if err := furnishNamespace(); err != nil {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// A reader of our output that leaves ("| head") must not end us with everything still running. Ignoring the signal would
	// be inherited by the children; being told of it is not.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return perform(ctx, o)
}

// perform makes all runs and writes what they found.
func perform(ctx context.Context, o options) error {
	r := report{Started: time.Now(), Options: describe(o)}
	for _, one := range plan(o) {
		result, err := one.do(ctx, o)
		if err != nil {
			return fmt.Errorf("%s: %w", one.name, err)
		}
		r.Runs = append(r.Runs, result)
		result.print(os.Stdout)
	}
	r.Findings = r.findings()
	if o.out != "" {
		if err := r.write(o.out); err != nil {
			return err
		}
		fmt.Printf("written to %s: results.json, results.md\n", o.out)
	}
	if n := len(r.Findings); n > 0 && !o.peer {
		return fmt.Errorf("%d findings", n)
	}
	return nil
}

// plan is the runs that are wanted, in order.
func plan(o options) []run {
	var wanted []run
	for _, one := range []run{
		{"primary", primaryRun(false)},
		{"synchronous", primaryRun(true)},
		{"standby", standbyRun},
		{"matrix", matrixRun},
		{"switchover-session", switchoverRun("session")},
		{"switchover-transaction", switchoverRun("transaction")},
		{"auto", autoRun(false)},
		{"autosync", autoRun(true)},
		{"patroni", ordealRun},
		{"commit-session", commitRun("commit-session", "session", false)},
		{"commit-transaction", commitRun("commit-transaction", "transaction", false)},
		{"commitsync-session", commitRun("commitsync-session", "session", true)},
		{"commitsync-transaction", commitRun("commitsync-transaction", "transaction", true)},
	} {
		if o.runs.MatchString(one.name) {
			wanted = append(wanted, one)
		}
	}
	return wanted
}

// run is one of the parts of the proof.
type run struct {
	name string
	do   func(context.Context, options) (runResult, error)
}
