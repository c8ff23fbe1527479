package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"gopgpool/internal/getopt"
	"gopgpool/watchdog/ipc"
)

const (
	defaultDir  = "/tmp"
	defaultPort = 9898
	lowestPort  = 1025 // the text says 1024, which is refused
	highestPort = 65535

	anyNumber = -1 // a criterion that is not given
)

var (
	errHelp    = errors.New("--help")
	errVersion = errors.New("--version")
)

// valueError is a wrong value, or an answer that there is nothing of the kind.
type valueError struct{ text string }

func (e valueError) Error() string { return e.text }

// usageError is what getopt has to say.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }

// options is the command line, checked, and what the file adds to it.
type options struct {
	info, inform bool
	dead         bool
	message      string
	all          bool
	search       search

	file string
	dir  string
	port int     // 0: not given
	key  *string // nil: not given

	verbose, debug bool
}

func (o options) operation() string {
	if o.info {
		return "INFO REQUEST"
	}
	return "INFORM NODE STATUS"
}

// search are the criteria for nodes, all of which must hold.
type search struct {
	id, port   int // anyNumber: not given
	name, host *string
}

func (s search) empty() bool {
	return s.id == anyNumber && s.port == anyNumber && s.name == nil && s.host == nil
}

func (s search) matches(n *ipc.Node) bool {
	return (s.id == anyNumber || s.id == n.ID) && (s.port == anyNumber || s.port == n.WdPort) &&
		(s.name == nil || strings.EqualFold(*s.name, n.Name)) && (s.host == nil || strings.EqualFold(*s.host, n.Host))
}

func (s search) first(nodes []ipc.Node) *ipc.Node {
	for i := range nodes {
		if s.matches(&nodes[i]) {
			return &nodes[i]
		}
	}
	return nil
}

func (s search) String() string {
	number := func(n int) string {
		if n == anyNumber {
			return "ANY"
		}
		return strconv.Itoa(n)
	}
	text := func(p *string) string {
		if p == nil {
			return "ANY"
		}
		return *p
	}
	return fmt.Sprintf("[ID=%s AND Name=%s AND Host=%s AND WDPort=%s]", number(s.id), text(s.name), text(s.host), number(s.port))
}

// parseOptions reads the arguments (without the program's name).
func parseOptions(args []string) (options, error) {
	o := options{search: search{id: anyNumber, port: anyNumber}}
	if len(args) > 0 && args[0] == "-h" {
		return o, errHelp
	}
	_, err := getopt.Parse(o.flags(), args) // what is no option means nothing
	var value valueError
	switch {
	case errors.As(err, &value), errors.Is(err, errHelp), errors.Is(err, errVersion):
		return o, err
	case err != nil:
		return o, usageError{err}
	case !o.info && !o.inform:
		return o, valueError{"Missing operation. Try wd_cli --help\" for more information.\n"}
	case o.inform && o.all:
		return o, valueError{"Invalid option \"-a --all\" for inform status operation. Try wd_cli --help\" for more information.\n"}
	}
	return o, nil
}

// flags are the options, in the order in which ambiguous ones are listed.
func (o *options) flags() *pflag.FlagSet {
	fs := pflag.NewFlagSet("wd_cli", pflag.ContinueOnError)
	fs.SortFlags = false
	text := func(to **string) func(string) error { return func(v string) error { *to = &v; return nil } }
	fs.BoolFuncP("help", "?", "", func(string) error { return errHelp })
	fs.BoolVarP(&o.all, "all", "a", false, "")
	fs.BoolVarP(&o.debug, "debug", "d", false, "")
	fs.StringVarP(&o.file, "config-file", "f", "", "")
	fs.FuncP("node-host", "H", "", text(&o.search.host))
	fs.BoolFuncP("info", "i", "", func(string) error { return o.choose(&o.info) })
	fs.FuncP("inform", "I", "", o.setStatus)
	fs.FuncP("auth-key", "k", "", text(&o.key))
	fs.StringVarP(&o.message, "message", "m", "", "")
	fs.FuncP("node-id", "n", "", func(v string) (err error) { o.search.id, err = digits("node-id", v); return err })
	fs.FuncP("node-name", "N", "", text(&o.search.name))
	fs.FuncP("node-port", "P", "", func(v string) (err error) { o.search.port, err = digits("node-port", v); return err })
	fs.FuncP("ipc-port", "p", "", o.setPort)
	fs.StringVarP(&o.dir, "socket-dir", "s", "", "")
	fs.BoolFuncP("version", "V", "", func(string) error { return errVersion })
	fs.BoolVarP(&o.verbose, "verbose", "v", false, "")
	return fs
}

// choose takes one of the two operations.
func (o *options) choose(operation *bool) error {
	if (o.info || o.inform) && !*operation {
		return valueError{"Invalid option, 'info' and 'inform' are mutually exclusive options"}
	}
	*operation = true
	return nil
}

func (o *options) setStatus(v string) error {
	if err := o.choose(&o.inform); err != nil {
		return err
	}
	switch strings.ToUpper(v) {
	case "DEAD":
		o.dead = true
	case "ALIVE":
		o.dead = false
	default:
		return valueError{"Invalid node status " + quote(v) + ", Allowed options are DEAD or ALIVE''"}
	}
	return nil
}

func (o *options) setPort(v string) (err error) {
	if o.port, err = digits("port", v); err != nil {
		return err
	}
	if o.port < lowestPort || o.port > highestPort {
		return valueError{"Invalid port number " + quote(v) + ", must be between 1024 and 65535"}
	}
	return nil
}

// digits reads a number; no digits are 0, and too many are a number that nothing has.
func digits(what, v string) (int, error) {
	if strings.Trim(v, "0123456789") != "" {
		return 0, valueError{"Invalid value " + v + ", " + what + " can only contain numeric values"}
	}
	if v == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil {
		return math.MaxInt32, nil //nolint:nilerr // there are digits only, so it is too long
	}
	return int(n), nil
}

func quote(s string) string { return `"` + s + `"` }
