package authtest

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// report is the table of results.
type report struct {
	mu    sync.Mutex                            // guards what follows
	lines map[string]map[string]map[string]bool // line, client, step, in
	wrong int
	tried int
	open  int
}

func (r *report) add(l line, client string, s step, o outcome, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lines == nil {
		r.lines = map[string]map[string]map[string]bool{}
	}
	key := fmt.Sprintf("%4d %-22s %-12s %-9s %-12s %-6s %-6s", l.number, l.hba, l.entry, l.server, l.client, l.others, l.want)
	if r.lines[key] == nil {
		r.lines[key] = map[string]map[string]bool{}
	}
	if r.lines[key][client] == nil {
		r.lines[key][client] = map[string]bool{}
	}
	r.lines[key][client][s.what] = o.user != ""
	r.tried++
	if s.want != "in" && o.user != "" {
		r.open++
	}
	if err != nil {
		r.wrong++
	}
}

func (r *report) counts() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return fmt.Sprintf("%d combinations, %d logins, %d not as they should be, %d let in that should not be", len(r.lines), r.tried, r.wrong, r.open)
}

// String is a line a combination: for each client who was let in, and how many attempts were refused.
func (r *report) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(r.lines)) {
		b.WriteString(key)
		for _, c := range slices.Sorted(maps.Keys(r.lines[key])) {
			out := 0
			var in []string
			for what, ok := range r.lines[key][c] {
				if ok {
					in = append(in, what)
				} else {
					out++
				}
			}
			slices.Sort(in)
			fmt.Fprintf(&b, "  %s: in %s, refused %d", c, strings.Join(in, "+"), out)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// append adds the table to a file.
func (r *report) append(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(f, "%s:\n%s%s\n\n", t.Name(), r, r.counts())
	if err := errors.Join(err, f.Close()); err != nil {
		t.Error(err)
	}
}
