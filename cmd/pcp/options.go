package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"gopgpool/internal/getopt"
	"gopgpool/pcp"
)

const (
	defaultPort   = 9898
	lowestPort    = 1025 // the text says 1024, which is refused
	highestPort   = 65535
	highestNodeID = 128
)

// options is the command line, checked.
type options struct {
	host      string
	port      int
	username  *string // nil: that of the operating system
	noPrompt  bool    // -w
	askAlways bool    // -W
	debug     bool
	verbose   bool
	strict    bool

	all        bool
	gracefully bool
	switchover bool
	cluster    bool // -s cluster
	mode       pcp.StopMode

	layout  watchdogLayout
	id      int // of a node, watchdog node or process
	hasID   bool
	ignored []string // arguments the program has no use for
}

func (o options) idOr(all int) int {
	if o.hasID {
		return o.id
	}
	return all
}

// valueError is a wrong value, with the exit status that scripts know.
type valueError struct {
	text   string
	status int
}

func (e valueError) Error() string { return e.text }

// unsupportedError is a long option of another program.
type unsupportedError struct{ argument string }

func (e unsupportedError) Error() string { return "invalid argument " + e.argument }

// strayError is --help or --version behind another option.
type strayError struct{}

func (strayError) Error() string { return "not the first argument" }

// missingError is a node id that was not given.
type missingError struct{}

func (missingError) Error() string { return "missing node-id" }

// parseOptions reads the arguments (without the program's name).
func parseOptions(p *program, args []string) (options, error) {
	o := options{port: defaultPort, mode: pcp.StopSmart}
	words, err := getopt.Parse(p.flags(&o), args)
	if err != nil {
		return o, err
	}
	if p.operand != operandNone && !o.hasID && len(words) > 0 {
		if err := o.setID(p, p.operand, words[0]); err != nil {
			return o, err
		}
		words = words[1:]
	}
	if p.operand == operandNode && !o.hasID {
		return o, missingError{}
	}
	o.ignored = words
	return o, nil
}

// flags are the options of all programs, in the order in which ambiguous ones are listed. Every program has all long options; its
// letters are its own.
func (p *program) flags(o *options) *pflag.FlagSet {
	fs := pflag.NewFlagSet(p.name, pflag.ContinueOnError)
	fs.SortFlags = false
	own := func(letter string) string {
		if strings.Contains(p.letters, letter) {
			return letter
		}
		return ""
	}
	ownS := func(want sOption) string {
		if p.s == want {
			return own("s")
		}
		return ""
	}
	nodeLetter, watchdogLetter := own("n"), ""
	if p.operand == operandWatchdogOptional {
		nodeLetter, watchdogLetter = watchdogLetter, nodeLetter
	}
	scopeLetter := ownS(sScope) + ownS(sRefused)
	stray := func(string) error { return strayError{} }
	nodeKind := operandNode
	if p.operand != operandProcessOptional && p.operand != operandNone {
		nodeKind = p.operand
	}
	setID := func(v string) error { return o.setID(p, nodeKind, v) }

	fs.BoolFunc("help", "", stray)
	fs.BoolVarP(&o.debug, "debug", "d", false, "")
	fs.BoolFunc("version", "", stray)
	fs.StringVarP(&o.host, "host", "h", "", "")
	fs.FuncP("port", "p", "", o.setPort)
	fs.FuncP("process-id", own("P"), "", func(v string) error { return o.setID(p, operandProcessOptional, v) })
	fs.FuncP("username", "U", "", func(v string) error { o.username = &v; return nil })
	fs.BoolVarP(&o.noPrompt, "no-password", "w", false, "")
	fs.BoolVarP(&o.askAlways, "password", "W", false, "")
	fs.FuncP("mode", own("m"), "", func(v string) error { return o.setMode(p, v) })
	fs.FuncP("scope", scopeLetter, "", func(v string) error { return o.setScope(p, v) })
	fs.BoolVarP(&o.gracefully, "gracefully", own("g"), false, "")
	fs.BoolFuncP("switchover", ownS(sSwitchover), "", func(string) error { return o.setSwitchover(p) })
	fs.BoolVarP(&o.verbose, "verbose", "v", false, "")
	fs.BoolVarP(&o.all, "all", own("a"), false, "")
	fs.FuncP("node-id", nodeLetter, "", setID)
	fs.FuncP("watchdog-id", watchdogLetter, "", setID)
	fs.BoolVar(&o.strict, "strict", false, "")
	if p.operand == operandWatchdogOptional {
		fs.Func("layout", "", o.setLayout)
	}
	return fs
}

// setID checks the id of something, and keeps it if that is what the program works on.
func (o *options) setID(p *program, kind operand, text string) error {
	id := leadingInteger(text)
	switch {
	case kind == operandWatchdogOptional && id < 0:
		return valueError{"Invalid watchdog-id " + quote(text) + ", must be a positive number or zero for a local watchdog node", 0}
	case kind == operandProcessOptional && id <= 0:
		return valueError{"Invalid process-id " + quote(text) + ", must be greater than 0", 0}
	case (kind == operandNode || kind == operandNodeOptional) && !isInteger(text): // nobody means node 0 by it
		return valueError{fmt.Sprintf("Invalid node-id %s, must be between 0 and %d", quote(text), highestNodeID), 1}
	case (kind == operandNode || kind == operandNodeOptional) && (id < 0 || id > highestNodeID):
		return valueError{fmt.Sprintf("Invalid node-id %s, must be between 0 and %d", quote(text), highestNodeID), 0}
	}
	if kind == p.operand {
		o.id, o.hasID = id, true
	}
	return nil
}

func (o *options) setPort(text string) error {
	o.port = leadingInteger(text)
	if o.port < lowestPort || o.port > highestPort {
		return valueError{"Invalid port number " + quote(text) + ", must be between 1024 and 65535", 0}
	}
	return nil
}

func (o *options) setMode(p *program, text string) error {
	if !p.mode {
		return unsupportedError{text}
	}
	for _, m := range []string{"smart", "fast", "immediate"} {
		if text == m || text == m[:1] {
			o.mode = pcp.StopMode(m[0])
			return nil
		}
	}
	return valueError{"Invalid shutdown mode " + quote(text) + `, must be either "smart" "immediate" or "fast" `, 1}
}

func (o *options) setScope(p *program, text string) error {
	switch {
	case p.s != sScope:
		return unsupportedError{text}
	case text == "c" || text == "cluster":
		o.cluster = true
	case text == "l" || text == "local":
		o.cluster = false
	default:
		return valueError{"Invalid command scope " + quote(text) + `, must be either "cluster" or "local" `, 1}
	}
	return nil
}

func (o *options) setLayout(text string) error {
	layout, ok := parseWatchdogLayout(text)
	if !ok {
		return valueError{"Invalid layout " + quote(text) + ", must be 4.7, 4.2 or 4.1", 1}
	}
	o.layout = layout
	return nil
}

func (o *options) setSwitchover(p *program) error {
	if p.s != sSwitchover {
		return unsupportedError{"--switchover"}
	}
	o.switchover = true
	return nil
}

func quote(s string) string { return `"` + s + `"` }

// leadingInteger reads a number as the C library does: blanks, a sign, the digits up to anything else; 0 if there are none.
func leadingInteger(s string) int {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	end := 0
	if end < len(s) && (s[0] == '-' || s[0] == '+') {
		end++
	}
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	n, err := strconv.ParseInt(s[:end], 10, 32)
	if err != nil && n == 0 {
		return 0 // no digits; what is out of range became the nearest number that is in it
	}
	return int(n)
}

// isInteger reports whether a text is a number and nothing else but blanks.
func isInteger(s string) bool {
	_, err := strconv.Atoi(strings.TrimSpace(s))
	return err == nil || errors.Is(err, strconv.ErrRange)
}

// wantsStrict looks for --strict behind an option that is wrong, which ends the reading of options.
func wantsStrict(args []string) bool {
	if end := slices.Index(args, "--"); end >= 0 {
		args = args[:end]
	}
	return slices.Contains(args, "--strict")
}
