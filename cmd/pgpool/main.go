package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"gopgpool/conf"
	"gopgpool/logging"
)

// Exit codes (manual: "pgpool").
const (
	exitOK    = 0
	exitUsage = 1 // bad command line, a failed reload, another daemon is running
	exitFatal = 3 // anything else
)

func main() {
	p := &program{
		args: os.Args, environ: os.Environ(), stdout: os.Stdout, stderr: os.Stderr,
		load: conf.Load, build: build,
	}
	os.Exit(p.main())
}

// program is one run of the command.
type program struct {
	args    []string // the name first
	environ []string
	stdout  io.Writer
	stderr  *os.File

	load  func(path string) (*conf.Config, []conf.Problem)
	build func(Options, *conf.Config, *logging.Output) (*daemon, error)
}

// main does what the command line asks for and returns the exit code.
func (p *program) main() int {
	cwd, err := os.Getwd()
	if err != nil {
		cwd = "/"
	}
	confDir := conf.Directory(sysconfdir)
	o, err := parseOptions(p.args[1:], cwd, confDir)
	if err != nil {
		return p.usage(err, confDir)
	}
	switch o.Command {
	case CommandHelp:
		_, _ = fmt.Fprint(p.stderr, usageText(confDir))
		return exitOK
	case CommandVersion:
		_, _ = fmt.Fprintf(p.stderr, "pgpool-II version %s\n", versionText())
		return exitOK
	case CommandTest:
		return p.test(o)
	case CommandStop, CommandReload:
		return p.control(o)
	case CommandStart, CommandAgent:
	}
	return p.start(o)
}

func (p *program) usage(err error, confDir string) int {
	if u, ok := asUsage(err); ok && u.text != "" {
		_, _ = fmt.Fprintf(p.stderr, "%s: %s\n", filepath.Base(p.args[0]), u.text)
	}
	_, _ = fmt.Fprint(p.stderr, usageText(confDir))
	return exitUsage
}

// fatal logs err and returns code.
func fatal(log logging.Logger, err error, code int) int {
	log.Log(logging.Event{Severity: logging.Fatal, Message: err.Error()})
	return code
}

// tell logs problems of a file; an Error refuses the start.
func tell(log logging.Logger, problems []conf.Problem) {
	for _, p := range problems {
		sev := logging.Warning
		if p.Severity == conf.Error {
			sev = logging.Fatal
		}
		log.Log(problemEvent(sev, p))
	}
}

// problemEvent is the line that tells of a problem: place in the message, what is allowed as the hint.
func problemEvent(sev logging.Severity, p conf.Problem) logging.Event {
	hint := p.Hint
	p.Hint = ""
	return logging.Event{Severity: sev, Message: p.String(), Hint: hint}
}

// console is the log of everything before the daemon has its own: standard error, shaped by cfg.
func (p *program) console(cfg *conf.Config, debug bool) logging.Logger {
	c := logging.Default()
	if cfg != nil {
		own := logConfig(&cfg.Logging, debug)
		c.MinMessages, c.Verbosity, c.LinePrefix, c.Format = own.MinMessages, own.Verbosity, own.LinePrefix, own.Format
	}
	c.Writer = p.stderr
	out, err := logging.New(c)
	if err != nil {
		panic("pgpool: " + err.Error()) // only files and syslog can fail
	}
	return out.Logger()
}

// control stops the running daemon or has it reload. Both need the configuration to find the pid file.
func (p *program) control(o Options) int {
	cfg, problems := p.load(o.ConfigFile)
	log := p.console(cfg, o.Debug)
	if conf.Refused(problems) {
		tell(log, problems)
		return exitFatal
	}
	c := &control{log: log, stderr: p.stderr, tick: stopTick, kill: syscall.Kill}
	if o.Command == CommandReload {
		if err := c.reload(cfg.Files.PidFileName); err != nil {
			return fatal(log, err, exitUsage)
		}
		return exitOK
	}
	if err := c.stop(cfg.Files.PidFileName, o.StopMode); err != nil {
		return fatal(log, err, exitFatal)
	}
	return exitOK
}

// start is everything from the configuration to the end of the daemon, or of its caller when it detaches.
func (p *program) start(o Options) int {
	cfg, problems := p.load(o.ConfigFile)
	if cfg != nil {
		problems = append(problems, cfg.NotBuilt()...)
	}
	log := p.console(cfg, o.Debug)
	if conf.Refused(problems) {
		tell(log, problems)
		return exitFatal
	}
	if code, ok := p.checkOthers(log, o.pidFile(cfg)); !ok {
		return code
	}
	if !o.Foreground && !detached(p.environ) {
		return p.detach(log, o)
	}
	return p.serve(o, cfg, problems)
}

// checkOthers refuses the start while the pid file names a running process.
func (p *program) checkOthers(log logging.Logger, pidFile string) (code int, ok bool) {
	switch state, pid, err := checkPidFile(pidFile); {
	case err != nil:
		return fatal(log, fmt.Errorf("could not read pid file: %w", err), exitFatal), false
	case state == pidAlive:
		_, _ = fmt.Fprintf(p.stderr, "ERROR: pid file found. is another pgpool(%d) is running?\n", pid)
		return exitUsage, false
	case state == pidBogus && !detached(p.environ):
		_, _ = fmt.Fprintln(p.stderr, "NOTICE: pid file found but it seems bogus. Trying to start pgpool anyway...")
	}
	return exitOK, true
}

func (p *program) detach(log logging.Logger, o Options) int {
	exe, err := os.Executable()
	if err != nil {
		return fatal(log, fmt.Errorf("could not detach: %w", err), exitFatal)
	}
	code, err := detach(append([]string{exe}, o.startArgs()...), p.environ, p.stderr)
	if err != nil {
		return fatal(log, err, code)
	}
	return code
}

// serve is the daemon: logging around everything, then the pid file, then the parts.
func (p *program) serve(o Options, cfg *conf.Config, problems []conf.Problem) int {
	status := openStatusPipe()
	out, err := logging.New(logConfig(&cfg.Logging, o.Debug))
	if err != nil {
		return fatal(p.console(cfg, o.Debug), err, exitFatal)
	}
	defer out.Close()
	log := out.Logger()
	tell(log, problems)
	raiseFileLimit(log, connectionBound(cfg))

	pidFile, pid := o.pidFile(cfg), os.Getpid()
	if err := writePidFile(pidFile, pid); err != nil {
		return fatal(log, err, exitFatal)
	}
	defer removePidFile(pidFile, pid)
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR1,
		syscall.SIGUSR2, syscall.SIGPIPE) // the last two are ignored
	defer signal.Stop(signals)

	build := p.build
	if o.Command == CommandAgent {
		build = buildAgent
	}
	d, err := build(o, cfg, out)
	if err != nil {
		return fatal(log, err, exitFatal)
	}
	return p.runLogged(d, out, signals, status)
}

// runLogged runs d with the log writer beside it, which ends last.
func (p *program) runLogged(d *daemon, out *logging.Output, signals <-chan os.Signal, status *statusPipe) int {
	stopLog := startLogWriter(out)
	log := out.Logger()
	err := d.run(signals, func() {
		log.Log(logging.Started(versionText()))
		if err := status.ready(); err != nil {
			log.Log(logging.Event{Severity: logging.Warning, Message: err.Error()})
		}
	})
	code := exitOK
	if err != nil {
		code = fatal(log, err, exitFatal)
	} else {
		log.Log(logging.Event{Severity: logging.Log, Message: "shutdown complete"})
	}
	if err := stopLog(); err != nil {
		_, _ = fmt.Fprintln(p.stderr, err)
	}
	if errors.Is(err, errStuck) {
		return exitFatal
	}
	return code
}

// connectionBound is how many clients and server connections the configuration allows at once.
func connectionBound(c *conf.Config) int {
	nodes := 0
	for i := range c.Backends {
		if c.Backends[i].Exists() {
			nodes++
		}
	}
	return c.Pool.ClientBound() + c.Pool.NumInitChildren*c.Pool.MaxPool*nodes
}
