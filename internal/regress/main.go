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
	"strings"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	pgpool    string
	sources   string
	configs   *regexp.Regexp
	tests     []string
	reference string
	out       string
	keep      string
	basePort  int
	width     int
	explained string
	conf      string
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
		fmt.Fprintln(os.Stderr, "regress:", err)
		os.Exit(1)
	}
}

func parseOptions(args []string) (options, error) {
	var o options
	var configs string
	f := flag.NewFlagSet("regress", flag.ContinueOnError)
	f.StringVar(&o.pgpool, "pgpool", filepath.Join("bin", "pgpool"), "the pgpool under test")
	f.StringVar(&o.sources, "sources", defaultSources(), "directory of the suites, as the script sources makes it")
	f.StringVar(&configs, "configs", "", "only configurations whose name matches: direct, session, nodes, transaction, isolation")
	f.StringVar(&o.reference, "reference", "", "keep the direct runs' results in this directory, and take them from there the next time")
	f.StringVar(&o.out, "out", "", "directory for results.md (default docs/regress for a whole run, else none)")
	f.StringVar(&o.keep, "keep", "", "copy results, differences and logs to this directory")
	f.IntVar(&o.basePort, "port", 0, "port of the first server, those of the others and of pgpool follow (default free ports)")
	f.IntVar(&o.width, "width", 0, "tests that run at the same time (default as the suite has it)")
	f.StringVar(&o.explained, "explained", filepath.Join("internal", "regress", "explained"), "directory of the differences that are known")
	f.StringVar(&o.conf, "conf", "", "a file with further lines for pgpool.conf")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.tests = f.Args(); o.out == "" && configs == "" && len(o.tests) == 0 && o.conf == "" { // a part must not replace the whole
		o.out = filepath.Join("docs", "regress")
	}
	var err error
	if o.configs, err = regexp.Compile(configs); err != nil {
		return o, err
	}
	for _, path := range []*string{&o.pgpool, &o.sources, &o.explained} { // used from other directories
		if *path, err = filepath.Abs(*path); err != nil {
			return o, err
		}
	}
	return o, nil
}

// defaultSources is where make regress keeps the suites.
func defaultSources() string {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	return filepath.Join(cache, "gopgpool", "regress")
}

func start(o options) error {
	if _, err := exec.LookPath(o.pgpool); err != nil {
		return fmt.Errorf("the pgpool under test: %w (make build)", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	return perform(ctx, o)
}

// perform runs all configurations and writes what they found.
func perform(ctx context.Context, o options) error {
	var all []outcome
	for _, c := range configurations() {
		if !o.configs.MatchString(c.name) {
			continue
		}
		began := time.Now()
		found, err := c.run(ctx, o)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		found.took = time.Since(began)
		found.print(os.Stdout)
		all = append(all, found)
	}
	return conclude(all, o)
}

// conclude writes the page, and is an error when something differs without a reason.
func conclude(all []outcome, o options) error {
	if o.out != "" {
		release, err := os.ReadFile(filepath.Join(o.sources, "complete"))
		if err != nil {
			return err
		}
		server := "PostgreSQL " + strings.TrimSpace(string(release))
		if err := os.MkdirAll(o.out, 0o755); err != nil {
			return err
		}
		if err := writePage(filepath.Join(o.out, "results.md"), server, time.Now(), all); err != nil {
			return err
		}
	}
	unexplained := 0
	for _, found := range all {
		unexplained += found.unexplained()
	}
	if unexplained > 0 {
		return fmt.Errorf("%d tests print something else through pgpool, without a reason in %s", unexplained, o.explained)
	}
	return nil
}
