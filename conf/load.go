package conf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	maxNesting  = 10      // of include
	maxFiles    = 1000    // read for one configuration
	maxFileSize = 8 << 20 // bytes
)

// Load reads a configuration file with what it includes (manual: Configuration File, Setting Parameters). The Config is
// complete and consistent unless one of the problems is an Error, then it is nil. A missing file is a Warning: all
// parameters have their defaults then.
func Load(path string) (*Config, []Problem) {
	return loadWith(path, readFile)
}

func loadWith(path string, read func(string) ([]byte, error)) (*Config, []Problem) {
	l := newLoader(path, read)
	l.top()
	c := l.build(l.assigned)
	l.takePoolFile(c)
	if Refused(l.problems) {
		return nil, l.problems
	}
	return c, l.problems
}

// Default is the configuration of an empty file in the root directory.
func Default() *Config { return defaultAt("/pgpool.conf") }

// defaultAt is the configuration if that file were empty.
func defaultAt(path string) *Config {
	c, _ := loadWith(path, func(string) ([]byte, error) { return nil, nil })
	return c
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err == nil && len(text) > maxFileSize {
		err = fmt.Errorf("%s: larger than %d bytes", name, maxFileSize)
	}
	return text, err
}

// loader gathers what the files say, and everything that is wrong with it.
type loader struct {
	read      func(string) ([]byte, error)
	path      string
	files     int
	localNode int  // implied by old watchdog parameters, else noIndex
	ranked    bool // localNode is a rank in the list of nodes
	assigned  assignments
	old       []assignment // of names that are no longer in use
	unknown   map[string]bool
	bad       map[string]bool // parameters with a value that could not be taken
	problems  []Problem
}

func newLoader(path string, read func(string) ([]byte, error)) *loader {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	return &loader{
		read: read, path: path, localNode: noIndex,
		assigned: make(assignments), unknown: make(map[string]bool), bad: make(map[string]bool),
	}
}

// top reads the main file.
func (l *loader) top() {
	text, err := l.read(l.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.report(Problem{
			Severity: Warning, File: l.path, Text: fmt.Sprintf("could not open configuration file: \"%s\"", l.path),
			Hint: "using default configuration parameter values",
		})
	case err != nil:
		l.report(Problem{
			Severity: Error, File: l.path, Text: fmt.Sprintf("could not read configuration file \"%s\": %v", l.path, err),
		})
	default:
		l.file(l.path, string(text), 0)
	}
	l.mapOldNames()
	l.takeDevice()
}

// file takes the text of one file.
func (l *loader) file(name, text string, depth int) {
	l.files++
	statements, errs := lex(text)
	for _, e := range errs {
		l.report(Problem{
			Severity: Error, File: name, Line: e.line, Value: e.token,
			Text: fmt.Sprintf("syntax error in configuration file \"%s\" near \"%s\"", name, e.token), Hint: e.hint,
		})
	}
	for _, s := range statements {
		if s.name == "include" {
			l.include(name, s, depth+1)
			continue
		}
		l.assign(assignment{key: key{s.name, noIndex}, text: s.value, file: name, line: s.line})
	}
}

func (l *loader) include(from string, s statement, depth int) {
	name := s.value
	if !filepath.IsAbs(name) {
		name = filepath.Join(filepath.Dir(from), name)
	}
	p := Problem{Severity: Error, File: from, Line: s.line, Name: s.name, Value: s.value}
	switch {
	case depth > maxNesting:
		p.Text = fmt.Sprintf("could not open configuration file \"%s\": maximum nesting depth exceeded", s.value)
	case l.files >= maxFiles:
		p.Text = fmt.Sprintf("could not open configuration file \"%s\": more than %d files", s.value, maxFiles)
	default:
		text, err := l.read(name)
		if err == nil {
			l.file(name, string(text), depth)
			return
		}
		p.Text = fmt.Sprintf("could not open configuration file \"%s\": %v", s.value, err)
	}
	l.report(p)
}

// assign takes a statement whose name is still as written.
func (l *loader) assign(a assignment) {
	if isOldName(a.name) {
		l.old = append(l.old, a)
		return
	}
	p, index, err := resolve(a.name)
	switch {
	case err != nil:
		l.reportValue(a, a.name, err)
	case p == nil:
		l.reportUnknown(a)
	default:
		a.key = key{p.Name, index}
		l.assigned[a.key] = a
	}
}

func (l *loader) reportUnknown(a assignment) {
	if l.unknown[a.name] {
		return
	}
	l.unknown[a.name] = true
	hint := "it is ignored"
	if ours := bouncerNames()[a.name]; ours != "" {
		hint += "; PgBouncer's name, here it is " + ours
	} else if near := nearest(a.name); near != "" {
		hint += "; did you mean " + near + "?"
	}
	l.report(Problem{
		Severity: Warning, File: a.file, Line: a.line, Name: a.name, Value: a.text,
		Text: fmt.Sprintf("unrecognized configuration parameter %q", a.name), Hint: hint,
	})
}

func (l *loader) reportValue(a assignment, name string, err *valueError) {
	l.report(Problem{
		Severity: Error, File: a.file, Line: a.line, Name: name, Value: a.text, Text: err.text,
		Hint: strings.TrimPrefix(err.detail+"; "+err.hint, "; "),
	})
}

func (l *loader) report(p Problem) {
	p.Hint = strings.TrimSuffix(p.Hint, "; ")
	if strings.Contains(strings.ToLower(p.Name), "password") && p.Value != "" {
		p.Value = hidden // also of names that are misspelt or old
	}
	l.problems = append(l.problems, p)
}
