package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/pflag"

	"gopgpool/internal/getopt"
)

// Set by the linker (-ldflags "-X main.version=... -X main.sysconfdir=..."), never by the program.
var (
	version    = "0.6.0"
	sysconfdir = "" // "" looks for the directory a package of Pgpool-II uses
)

// versionText begins with the release whose behaviour we follow: tools parse the first number.
func versionText() string { return "4.7.2 (gopgpool " + version + ")" }

// Command is what the program is asked to do.
type Command uint8

// The commands.
const (
	CommandStart Command = iota
	CommandStop
	CommandReload
	CommandTest    // -t: check the files
	CommandHelp    // -h
	CommandVersion // -v
	CommandAgent   // act on the server of this host for pgpools elsewhere
)

// StopMode is how the daemon stops.
type StopMode uint8

// The modes, in the order of haste. Immediate is the same as fast.
const (
	StopSmart     StopMode = iota + 1 // no new clients, wait for the sessions to end
	StopFast                          // end the sessions
	StopImmediate                     // likewise
)

// Options is the command line, checked. File names are absolute.
type Options struct {
	Command    Command
	ConfigFile string // -f
	PcpFile    string // -F
	HbaFile    string // -a
	KeyFile    string // -k, "" if not given: PGPOOLKEYFILE or ~/.pgpoolkey; of an agent: agent_key_file

	Foreground      bool // -n
	Debug           bool // -d: log_min_messages at least debug1
	DiscardStatus   bool // -D
	ClearOidmaps    bool // -C
	DebugAssertions bool // -x: accepted, no effect

	StopMode StopMode // -m
}

// errUsage asks for the usage text, after the error's own text if it has one.
type errUsage struct{ text string }

func (e errUsage) Error() string { return e.text }

// parseOptions reads the command line; args has no program name, cwd makes file names absolute.
func parseOptions(args []string, cwd, confDir string) (Options, error) {
	var o Options
	var mode string
	var help, showVersion, test bool
	fs := pflag.NewFlagSet("pgpool", pflag.ContinueOnError)
	fs.SortFlags = false
	fs.StringVarP(&o.ConfigFile, "config-file", "f", "pgpool.conf", "")
	fs.StringVarP(&o.PcpFile, "pcp-file", "F", "pcp.conf", "")
	fs.StringVarP(&o.HbaFile, "hba-file", "a", "pool_hba.conf", "")
	fs.StringVarP(&o.KeyFile, "key-file", "k", "", "")
	fs.BoolVarP(&o.Foreground, "dont-detach", "n", false, "")
	fs.BoolVarP(&o.Debug, "debug", "d", false, "")
	fs.BoolVarP(&o.DiscardStatus, "discard-status", "D", false, "")
	fs.BoolVarP(&o.ClearOidmaps, "clear-oidmaps", "C", false, "")
	fs.BoolVarP(&o.DebugAssertions, "debug-assertions", "x", false, "")
	fs.StringVarP(&mode, "mode", "m", "smart", "")
	fs.BoolVarP(&test, "test", "t", false, "")
	fs.BoolVarP(&showVersion, "version", "v", false, "")
	fs.BoolVarP(&help, "help", "h", false, "")
	questionMark(fs, &help)

	words, err := getopt.Parse(fs, args)
	if err != nil {
		return o, errUsage{err.Error()}
	}
	switch {
	case help:
		o.Command = CommandHelp
		return o, nil
	case showVersion:
		o.Command = CommandVersion
		return o, nil
	}
	o.absolute(fs, cwd, confDir)
	if o.StopMode, err = parseStopMode(mode); err != nil {
		return o, err
	}
	o.Command, err = parseCommand(words, test)
	return o, err
}

// questionMark makes -? a hidden synonym of -h.
func questionMark(fs *pflag.FlagSet, help *bool) {
	fs.BoolVarP(help, "?", "?", false, "")
	_ = fs.MarkHidden("?") // the flag exists
}

// absolute resolves file names: given ones against cwd, defaults against confDir.
func (o *Options) absolute(fs *pflag.FlagSet, cwd, confDir string) {
	for name, path := range map[string]*string{
		"config-file": &o.ConfigFile, "pcp-file": &o.PcpFile, "hba-file": &o.HbaFile, "key-file": &o.KeyFile,
	} {
		dir := cwd
		if !fs.Changed(name) {
			dir = confDir
		}
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(dir, *path)
		}
	}
}

// parseStopMode looks at the first letter only.
func parseStopMode(mode string) (StopMode, error) {
	if mode != "" {
		switch mode[0] {
		case 's':
			return StopSmart, nil
		case 'f':
			return StopFast, nil
		case 'i':
			return StopImmediate, nil
		}
	}
	return 0, errUsage{fmt.Sprintf("mode %q is none of smart, fast, immediate", mode)}
}

func parseCommand(words []string, test bool) (Command, error) {
	switch {
	case len(words) == 0 && test:
		return CommandTest, nil
	case len(words) == 0:
		return CommandStart, nil
	case len(words) > 1:
		return 0, errUsage{"only one command may be given"}
	case test:
		return 0, errUsage{"--test and " + words[0] + " exclude each other"}
	case words[0] == "stop":
		return CommandStop, nil
	case words[0] == "reload":
		return CommandReload, nil
	case words[0] == "agent":
		return CommandAgent, nil
	}
	return 0, errUsage{fmt.Sprintf("unknown command %q", words[0])}
}

// startArgs is the command line that starts the daemon with the same options, from any directory.
func (o *Options) startArgs() []string {
	args := []string{"--config-file=" + o.ConfigFile, "--pcp-file=" + o.PcpFile, "--hba-file=" + o.HbaFile}
	if o.KeyFile != "" {
		args = append(args, "--key-file="+o.KeyFile)
	}
	for _, f := range []struct {
		on   bool
		name string
	}{
		{o.Foreground, "--dont-detach"},
		{o.Debug, "--debug"},
		{o.DiscardStatus, "--discard-status"},
		{o.ClearOidmaps, "--clear-oidmaps"},
		{o.DebugAssertions, "--debug-assertions"},
	} {
		if f.on {
			args = append(args, f.name)
		}
	}
	if o.Command == CommandAgent {
		args = append(args, "agent")
	}
	return args
}

// usageText is what -h prints.
func usageText(confDir string) string {
	return fmt.Sprintf(`pgpool-II version %s: connection pool, load balancer and failover manager for PostgreSQL.

Usage:
  pgpool [OPTION]...                     start the daemon
  pgpool [OPTION]... [-m MODE] stop      stop it
  pgpool [OPTION]... reload              have it read its files again
  pgpool [-f FILE] [-k FILE] [-n] [-d] agent
                                         act on the PostgreSQL server of this host for pgpools on others
  pgpool [OPTION]... -t                  check the files and say what is wrong with them

Files:
  -f, --config-file=FILE   pgpool.conf    (default %[2]s/pgpool.conf)
  -a, --hba-file=FILE      pool_hba.conf  (default %[2]s/pool_hba.conf)
  -F, --pcp-file=FILE      pcp.conf       (default %[2]s/pcp.conf)
  -k, --key-file=FILE      key of AES encrypted passwords
                           (default $PGPOOLKEYFILE, else ~/.pgpoolkey);
                           agent: the key it shares with pgpool
                           (default agent_key_file)

Start:
  -n, --dont-detach        stay in the foreground
  -d, --debug              log debug messages
  -D, --discard-status     forget which nodes were down
  -C, --clear-oidmaps      clear the query cache when it is kept in memcached
  -x, --debug-assertions   accepted, without effect

Stop:
  -m, --mode=MODE          smart: wait until the clients have gone (default)
                           fast: disconnect them
                           immediate: the same as fast

Other:
  -t, --test               check the files; exit status 0 if the daemon would start
  -v, --version            print the version
  -h, -?, --help           print this text
`, versionText(), confDir)
}

// asUsage reports whether err asks for the usage text.
func asUsage(err error) (errUsage, bool) {
	var u errUsage
	ok := errors.As(err, &u)
	return u, ok
}
