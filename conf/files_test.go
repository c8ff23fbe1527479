package conf

import (
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"testing"
)

// memory is a set of files by absolute name.
type memory map[string]string

func (m memory) read(name string) ([]byte, error) {
	text, ok := m[name]
	if !ok {
		return nil, fmt.Errorf("open %s: %w", name, fs.ErrNotExist)
	}
	return []byte(text), nil
}

const mainFile = "/etc/pgpool/pgpool.conf"

// load reads a text as the main file.
func load(text string) (*Config, []Problem) {
	return loadWith(mainFile, memory{mainFile: text}.read)
}

// mustLoad expects no error; warnings are fine.
func mustLoad(t *testing.T, text string) *Config {
	t.Helper()
	c, problems := load(text)
	if c == nil {
		t.Fatalf("refused: %v", problems)
	}
	return c
}

func errorsOf(problems []Problem) []string {
	var texts []string
	for _, p := range problems {
		if p.Severity == Error {
			texts = append(texts, p.String())
		}
	}
	return texts
}

// wantProblem expects one problem of that severity containing all parts.
func wantProblem(t *testing.T, problems []Problem, s Severity, parts ...string) {
	t.Helper()
	for _, p := range problems {
		found := p.Severity == s
		for _, part := range parts {
			found = found && strings.Contains(p.String(), part)
		}
		if found {
			return
		}
	}
	t.Errorf("no %v with %q among %v", s, parts, problems)
}

// valueText prints what a pointer of the table points to.
func valueText(at any) string {
	switch at := at.(type) {
	case enumField:
		return fmt.Sprint(at.get())
	case *bool:
		return fmt.Sprint(*at)
	case *int:
		return fmt.Sprint(*at)
	case *int64:
		return fmt.Sprint(*at)
	case *uint32:
		return fmt.Sprint(*at)
	case *float64:
		return fmt.Sprint(*at)
	case *string:
		return *at
	case *[]string:
		return fmt.Sprintf("%q", *at)
	case *[]netip.Prefix:
		return fmt.Sprint(*at)
	case *Patterns:
		return at.Text
	case *RedirectList:
		return at.Text
	case *ObjectRelationships:
		return at.Text
	case *LogDestination:
		return fmt.Sprint(*at)
	case *BackendFlag:
		return at.String()
	case fmt.Stringer:
		return at.String()
	}
	panic(fmt.Sprintf("unknown type %T", at))
}
