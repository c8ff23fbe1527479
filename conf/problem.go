package conf

import (
	"fmt"
	"strings"
)

// Severity of a Problem.
type Severity uint8

// Severities: an Error refuses the start or the reload, a Warning is only told.
const (
	Warning Severity = iota + 1
	Error
)

func (s Severity) String() string {
	if s == Warning {
		return "WARNING"
	}
	return "ERROR"
}

// Problem is something about a configuration file that its author should know.
type Problem struct {
	Severity Severity
	File     string // "" where no place can be named
	Line     int
	Name     string // parameter, "" for the file itself
	Value    string // as written
	Text     string // what is wrong
	Hint     string // what is allowed or what to do
}

// Error tells everything on one line.
func (p Problem) Error() string { return p.String() }

func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		fmt.Fprintf(&b, "%s:%d: ", p.File, p.Line)
	}
	b.WriteString(p.Text)
	if p.Hint != "" {
		fmt.Fprintf(&b, " (%s)", p.Hint)
	}
	return b.String()
}

// Refused reports whether one of the problems is an Error.
func Refused(problems []Problem) bool {
	for _, p := range problems {
		if p.Severity == Error {
			return true
		}
	}
	return false
}

// Change is one parameter a reload found different.
type Change struct {
	Name         string // with its index
	Old, New     string // as PGPOOL SHOW prints them
	NeedsRestart bool   // New is not in force
	NewNode      bool   // part of a backend that was not there before; it comes as down
}
