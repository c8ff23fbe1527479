package main

import (
	"errors"
	"fmt"
	"strconv"
)

const usage = `usage: pgpool_setup [-m s|n] [-n num_clusters] [-p base_port] [-pg pg_base_port] [--no-stop] [-d] [-s] [-r] [-e] [-t]
  -m MODE      s: streaming replication (default), n: raw
  -n NUMBER    number of PostgreSQL servers, default 2
  -p PORT      port of pgpool, default 11000; PCP gets PORT + 1
  -pg PORT     port of server 0, default base port + 2; the others follow
  --no-stop    leave everything running
  -d           start pgpool with debug messages
  -s           replication slots instead of a WAL archive
  -r           pg_rewind in basebackup.sh, before a full copy is tried
  -e           only the files of pgpool, no servers
  -t           set health_check_test
`

var errUsage = errors.New("wrong usage")

// options is the command line, checked.
type options struct {
	raw        bool
	nodes      int
	basePort   int
	pgBasePort int
	keepUp     bool // --no-stop
	debug      bool
	slots      bool
	rewind     bool
	noServers  bool // -e
	testHook   bool // -t
}

// unbuilt are the modes of Pgpool-II that this program does not make clusters for.
func unbuilt(mode string) (name string, ok bool) {
	switch mode {
	case "r":
		return "native replication", true
	case "i":
		return "snapshot isolation", true
	case "l":
		return "logical replication", true
	case "y":
		return "slony", true
	}
	return "", false
}

// parseOptions reads the command line and, for what it leaves out, the environment variables of the same meaning. An error
// is one line to print, or errUsage.
func parseOptions(args []string, getenv func(string) string) (options, error) {
	o := options{
		nodes: 2, basePort: 11000,
		slots: getenv("USE_REPLICATION_SLOT") == "true", rewind: getenv("USE_PG_REWIND") == "true",
		testHook: getenv("ENABLE_TEST") == "true",
	}
	switches := map[string]*bool{
		"--no-stop": &o.keepUp, "-no-stop": &o.keepUp, "-d": &o.debug, "-s": &o.slots, "-r": &o.rewind, "-e": &o.noServers,
		"-t": &o.testHook,
	}
	numbers := map[string]*int{"-n": &o.nodes, "-p": &o.basePort, "-pg": &o.pgBasePort}
	for len(args) > 0 {
		name := args[0]
		args = args[1:]
		if on, ok := switches[name]; ok {
			*on = true
			continue
		}
		if name == "-c" {
			return o, errors.New("-c: there are no sample scripts to use")
		}
		if (name != "-m" && numbers[name] == nil) || len(args) == 0 {
			return o, errUsage
		}
		value := args[0]
		args = args[1:]
		if err := o.assign(name, value, numbers[name]); err != nil {
			return o, err
		}
	}
	if o.pgBasePort == 0 {
		o.pgBasePort = o.basePort + 2
	}
	return o, o.check()
}

func (o *options) assign(name, value string, number *int) error {
	if name == "-m" {
		return o.setMode(value)
	}
	n, err := strconv.Atoi(value)
	if err != nil || n <= 0 {
		return fmt.Errorf("%s %s: not a positive number", name, value)
	}
	*number = n
	return nil
}

func (o *options) setMode(value string) error {
	switch value {
	case "s":
		o.raw = false
	case "n":
		o.raw = true
	default:
		if mode, ok := unbuilt(value); ok {
			return fmt.Errorf("-m %s: %s mode is not built; s (streaming replication) and n (raw) are", value, mode)
		}
		return errUsage
	}
	return nil
}

func (o *options) check() error {
	if o.nodes > 128 {
		return fmt.Errorf("-n %d: at most 128 servers", o.nodes)
	}
	if o.basePort+1 > 65535 || o.pgBasePort+o.nodes-1 > 65535 {
		return errors.New("the ports exceed 65535")
	}
	if o.pgBasePort <= o.basePort+1 && o.basePort < o.pgBasePort+o.nodes {
		return fmt.Errorf("the servers' ports %d to %d overlap those of pgpool, %d and %d",
			o.pgBasePort, o.pgBasePort+o.nodes-1, o.basePort, o.basePort+1)
	}
	return nil
}
