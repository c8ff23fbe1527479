// Command bench compares gopgpool with a direct connection, PgBouncer and Pgpool-II by pgbench: throughput, latency, the
// processor time and the memory of the proxy. It is what "make bench" runs.
//
// It owns everything it starts: servers (through pgcluster), proxies, clients and files are gone when it ends, after an
// interrupt too. It leaves the building of gopgpool to its caller.
//
// The files follow a run: workload.go is what is asked of pgbench, contender.go who is asked, bouncer.go where a newer PgBouncer comes from,
// servers.go and process.go what runs beneath, runner.go the order of things, measure.go, idle.go, connects.go, logins.go
// and virtual.go the figures, target.go their judgement, report.go, loginreport.go and chart.go what is written. profile.go records one row under perf instead.
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
	"slices"
	"strings"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	programs   programs
	quick      bool
	idle       bool
	allocs     bool
	connects   bool
	logins     bool
	virtual    bool
	seconds    int
	rounds     int
	jobs       int
	rows       *regexp.Regexp
	contenders *regexp.Regexp
	bouncerDir string
	out        string
	keep       bool
	profile    string // row to profile instead
	profileOut string

	hold     crowd // the child of idle.go
	holdPort int
}

func main() {
	// The kernel ties our children's lives to the thread that started them: main's, which lasts.
	runtime.LockOSThread()
	opts, err := parseOptions(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		err = run(opts)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parseOptions(args []string) (options, error) {
	var o options
	var rows, contenders string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.BoolVar(&o.quick, "quick", false, "only the rows the targets need")
	f.BoolVar(&o.idle, "idle", true, "measure idle clients too (default false with -rows)")
	f.BoolVar(&o.allocs, "allocs", true, "run the Go benchmark of the warm path too (default false with -rows)")
	f.BoolVar(&o.connects, "connects", true, "measure connections a second too (default false with -rows)")
	f.BoolVar(&o.logins, "logins", true, "measure logins by SCRAM a second too (default false with -rows)")
	f.BoolVar(&o.virtual, "virtual", true, "measure by perf what following the sessions' state costs too (default false with -rows)")
	f.IntVar(&o.seconds, "seconds", 5, "length of each run")
	f.IntVar(&o.rounds, "rounds", 3, "runs of each contender in each row")
	f.IntVar(&o.jobs, "jobs", 2, "threads of pgbench")
	f.StringVar(&rows, "rows", "", "only rows whose name matches this regular expression, e.g. 'one/select/simple/16$'")
	f.StringVar(&contenders, "contenders", "", "only contenders whose name matches this regular expression")
	f.StringVar(&o.out, "out", "", "directory for the results (default docs/bench, none with -rows or -contenders); without rows logins.md alone")
	f.BoolVar(&o.keep, "keep", false, "keep the files and logs of the proxies")
	f.StringVar(&o.programs.gopgpool, "pgpool", filepath.Join("bin", "pgpool"), "the pgpool under test")
	f.StringVar(&o.programs.pgpool2, "pgpool2", "/usr/sbin/pgpool", "Pgpool-II")
	f.StringVar(&o.programs.pgbouncer, "pgbouncer", "/usr/sbin/pgbouncer", "PgBouncer")
	f.StringVar(&o.profile, "profile", "", "record the pgpool under test by perf during this `row` instead, e.g. one/select/simple/16")
	f.StringVar(&o.profileOut, "profile-out", filepath.Join(os.TempDir(), "gopgpool-perf.data"), "where the recording goes")
	f.StringVar(&o.bouncerDir, "pgbouncer-dir", filepath.Join("bin", "pgbouncer"),
		"where a PgBouncer of a later Debian release is kept, for transaction mode, should the installed one be older than 1.21")
	f.IntVar(&o.hold.Clients, "hold", 0, "internal: hold this many idle clients until the input ends")
	f.BoolVar(&o.hold.Prepared, "hold-prepared", false, "internal: each runs a prepared statement first")
	f.IntVar(&o.holdPort, "hold-port", 0, "internal: their port")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if rows != "" { // who asks for some rows asks for nothing else
		given := map[string]bool{}
		f.Visit(func(one *flag.Flag) { given[one.Name] = true })
		o.idle = o.idle && given["idle"]
		o.allocs = o.allocs && given["allocs"]
		o.connects = o.connects && given["connects"]
		o.logins = o.logins && given["logins"]
		o.virtual = o.virtual && given["virtual"]
	}
	var err error
	if o.rows, err = regexp.Compile(rows); err != nil {
		return o, err
	}
	if o.contenders, err = regexp.Compile(contenders); err != nil {
		return o, err
	}
	if o.seconds < 1 || o.rounds < 1 || o.jobs < 1 {
		return o, errors.New("-seconds, -rounds and -jobs are at least 1")
	}
	if o.out == "" && rows == "" && contenders == "" { // a part of the table must not replace the whole
		o.out = filepath.Join("docs", "bench")
	}
	if o.programs.gopgpool, err = filepath.Abs(o.programs.gopgpool); err != nil { // a proxy starts in its own directory
		return o, err
	}
	return o, nil
}

func run(opts options) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	// A reader of our output that leaves ("| head") must not end us with everything still running. Ignoring the signal would
	// be inherited by the children; being told of it is not.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	if err := raiseFileLimit(idleFileLimit); err != nil && (opts.idle || opts.hold.Clients > 0) {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	if opts.hold.Clients > 0 {
		return hold(ctx, opts.holdPort, opts.hold, os.Stdin, os.Stdout)
	}
	if err := ensurePeers(ctx, opts.programs); err != nil {
		return err
	}
	if _, err := exec.LookPath(opts.programs.gopgpool); err != nil && opts.contenders.MatchString(gopgpool) {
		return fmt.Errorf("the pgpool under test: %w (make build)", err)
	}
	r, err := newRunner(opts)
	if err != nil {
		return err
	}
	defer r.close()
	r.prepare(ctx)
	switch {
	case strings.HasPrefix(opts.profile, "logins/"):
		return r.profileLogins(ctx)
	case opts.profile != "":
		return r.profileRow(ctx)
	}
	return r.compare(ctx)
}

// compare is the benchmark proper.
func (r *runner) compare(ctx context.Context) error {
	rows := allRows()
	if r.opts.quick {
		rows = quickRows()
	}
	rows = matching(rows, r.opts.rows)
	r.announce(rows)
	result, err := r.measureAll(ctx, rows)
	if err != nil {
		return err
	}
	printTargets(os.Stdout, result.Targets)
	if r.opts.out != "" {
		written, err := result.write(r.opts.out)
		if err != nil {
			return err
		}
		fmt.Printf("\nwritten to %s: %s\n", r.opts.out, strings.Join(written, ", "))
	}
	if problems := result.problems(); len(problems) > 0 {
		return fmt.Errorf("%d failed runs:\n  %s", len(problems), strings.Join(problems, "\n  "))
	}
	return nil
}

// announce says what will happen and how long it will take.
func (r *runner) announce(rows []row) {
	var more extras
	if r.opts.idle {
		for _, of := range r.opts.crowds() {
			more.idle += len(r.idleContenders(of))
		}
	}
	if r.opts.connects {
		more.connects = len(r.opts.contendersOver(pooled)) * r.opts.rounds
	}
	if r.opts.logins {
		more.connects += len(r.opts.loginContenders()) * r.opts.rounds * len(r.opts.loginRows())
	}
	count := func(t topology) int { return len(r.opts.contendersOver(t)) }
	left := estimate(rows, count, r.opts.seconds, r.opts.rounds, more)
	fmt.Printf("%d rows, %d rounds of %d s for each contender: about %s, until %s\n",
		len(rows), r.opts.rounds, r.opts.seconds, left.Round(time.Minute/2), time.Now().Add(left).Format("15:04"))
	if !r.opts.quick {
		fmt.Println("BENCH=quick measures only what the targets need")
	}
}

// crowds are the crowds of idle clients that are asked for; with -rows those that match, if any does.
func (o options) crowds() []crowd {
	all := crowds()
	some := slices.DeleteFunc(crowds(), func(c crowd) bool { return !o.rows.MatchString(c.id()) })
	if len(some) > 0 {
		return some
	}
	return all
}

// thisMachine describes where we run.
func thisMachine() machine {
	m := machine{Count: runtime.NumCPU(), Go: runtime.Version(), Processor: "unknown processor"}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(text))
	}
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return m
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			m.Processor = strings.TrimSpace(value)
			break
		}
	}
	return m
}
