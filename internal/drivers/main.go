package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
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
	pgpool, source, built string
	drivers, settings     *regexp.Regexp
	checks                []string
	jobs                  int
	patience              time.Duration
	basePort              int
	out, keep             string
	verbose               bool
	conf                  map[string]string // parameters on top of a setting's
}

// whole tells whether every driver is run with everything, so that the result may replace the table.
func (o options) whole() bool {
	return o.drivers.String() == "" && o.settings.String() == "" && len(o.checks) == 0 && len(o.conf) == 0
}

func main() {
	// The kernel ties our children's lives to the thread that started them: main's, which lasts.
	runtime.LockOSThread()
	opts, err := parseOptions(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = run(ctx, opts)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "drivers:", err)
		os.Exit(1)
	}
}

func parseOptions(args []string) (options, error) {
	var o options
	var drivers, settings string
	f := flag.NewFlagSet("drivers", flag.ContinueOnError)
	f.StringVar(&o.pgpool, "pgpool", filepath.Join("bin", "pgpool"), "the pgpool under test")
	f.StringVar(&o.source, "clients", filepath.Join("internal", "drivers", "clients"), "where the clients' sources are")
	f.StringVar(&o.built, "built", filepath.Join("bin", "drivers.d"), "where the script prepare put the clients")
	f.StringVar(&drivers, "drivers", "", "only drivers whose name matches")
	f.StringVar(&settings, "settings", "", "only settings whose name matches; the direct one is always run")
	f.IntVar(&o.jobs, "jobs", 2, "clients at a time")
	f.DurationVar(&o.patience, "patience", 90*time.Second, "how long a client may be silent")
	f.IntVar(&o.basePort, "baseport", 0, "use ports from here on (default free ones)")
	f.StringVar(&o.out, "out", "", "the table (default docs/drivers.md for a whole run, else none)")
	f.StringVar(&o.keep, "keep", "", "copy pgpool's logs to this directory")
	o.conf = map[string]string{}
	f.Func("conf", "a further parameter of every pgpool, `name=value`", func(word string) error {
		name, value, found := strings.Cut(word, "=")
		if !found {
			return errors.New("not name=value")
		}
		o.conf[name] = value
		return nil
	})
	f.BoolVar(&o.verbose, "v", false, "print every line of the clients and what they write to stderr")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.checks = f.Args()
	return o, o.complete(drivers, settings)
}

// complete turns names into patterns and makes paths absolute: clients and pgpool are started in other directories.
func (o *options) complete(drivers, settings string) (err error) {
	if o.drivers, err = regexp.Compile(drivers); err != nil {
		return err
	}
	if o.settings, err = regexp.Compile(settings); err != nil {
		return err
	}
	for _, path := range []*string{&o.pgpool, &o.source, &o.built} {
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	if o.jobs < 1 || o.patience <= 0 {
		return errors.New("-jobs is at least 1, -patience positive")
	}
	if o.out == "" && o.whole() {
		o.out = filepath.Join("docs", "drivers.md")
	}
	return nil
}
