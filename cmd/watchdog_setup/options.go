package main

import (
	"errors"
	"fmt"
	"strconv"
)

const usage = `usage: watchdog_setup [-wn num_pgpool] [-wp watchdog_base_port] [-m s|n] [-n num_clusters] [-pg pg_base_port] [--no-stop] [-d]
                      [-vip address -dev device]
  -wn NUMBER   number of pgpools, default 3
  -wp PORT     port of pgpool 0, default 50000; PCP, the watchdog and its heartbeats get the next three, then pgpool 1 follows
  -p PORT      the same as -wp
  -m MODE      s: streaming replication (default), n: raw
  -n NUMBER    number of PostgreSQL servers, default 2
  -pg PORT     port of server 0, default watchdog_base_port + 1000; the others follow
  --no-stop    leave everything running
  -d           start the pgpools with debug messages
  -vip ADDRESS virtual address that the leader holds, which needs the right to set addresses; default: none
  -dev DEVICE  network device for it
`

var errUsage = errors.New("wrong usage")

// portsPerPgpool are those of clients, PCP, the watchdog and heartbeats, in this order.
const portsPerPgpool = 4

// options is the command line, checked.
type options struct {
	pgpools    int
	basePort   int
	mode       string
	servers    int
	pgBasePort int
	keepUp     bool // --no-stop
	debug      bool
	vip        string
	device     string
}

func (o *options) port(pgpool int) int { return o.basePort + pgpool*portsPerPgpool }

// parseOptions reads the command line and, for what it leaves out, the environment variables of the same meaning. An error is one line to
// print, or errUsage.
func parseOptions(args []string, getenv func(string) string) (options, error) {
	o := options{pgpools: 3, basePort: 50000, mode: "s", servers: 2}
	numbers := map[string]*int{"-wn": &o.pgpools, "-wp": &o.basePort, "-p": &o.basePort, "-n": &o.servers, "-pg": &o.pgBasePort}
	switches := map[string]*bool{"--no-stop": &o.keepUp, "-no-stop": &o.keepUp, "-d": &o.debug}
	words := map[string]*string{"-m": &o.mode, "-vip": &o.vip, "-dev": &o.device}
	for name, variable := range map[string]string{"-wn": "W_NUM_PGPOOL", "-wp": "W_BASE_PORT"} {
		if text := getenv(variable); text != "" {
			if err := assign(numbers[name], variable, text); err != nil {
				return o, err
			}
		}
	}
	for len(args) > 0 {
		name := args[0]
		args = args[1:]
		if on, ok := switches[name]; ok {
			*on = true
			continue
		}
		number, word := numbers[name], words[name]
		switch {
		case len(args) == 0 || (number == nil && word == nil):
			return o, errUsage
		case word != nil:
			*word = args[0]
		default:
			if err := assign(number, name, args[0]); err != nil {
				return o, err
			}
		}
		args = args[1:]
	}
	if o.pgBasePort == 0 {
		o.pgBasePort = o.basePort + 1000
	}
	return o, o.check()
}

func assign(to *int, name, text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		return fmt.Errorf("%s %s: not a positive number", name, text)
	}
	*to = n
	return nil
}

func (o *options) check() error {
	unbuilt := map[string]string{"r": "native replication", "i": "snapshot isolation"}
	last := o.port(o.pgpools) - 1
	switch {
	case unbuilt[o.mode] != "":
		return fmt.Errorf("-m %s: %s mode is not built; s (streaming replication) and n (raw) are", o.mode, unbuilt[o.mode])
	case o.mode != "s" && o.mode != "n":
		return errUsage
	case o.pgpools <= 1:
		return errors.New("number of Pgpool-II nodes must be greater than 1")
	case o.pgpools > 128 || o.servers > 128:
		return errors.New("at most 128 pgpools and 128 servers")
	case last > 65535 || o.pgBasePort+o.servers-1 > 65535:
		return errors.New("the ports exceed 65535")
	case o.pgBasePort <= last && o.basePort < o.pgBasePort+o.servers:
		return fmt.Errorf("the servers' ports %d to %d overlap those of the pgpools, %d to %d",
			o.pgBasePort, o.pgBasePort+o.servers-1, o.basePort, last)
	case (o.vip == "") != (o.device == ""):
		return errors.New("-vip and -dev belong together")
	}
	return nil
}
