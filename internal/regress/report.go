package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// print writes an outcome for the terminal.
func (o outcome) print(w io.Writer) {
	fmt.Fprintf(w, "%-12s %4d tests, %4d identical, %3d differ, %3d of them unexplained (%s)\n", o.config.name, o.tests,
		o.tests-len(o.differences), len(o.differences), o.unexplained(), o.took.Round(time.Second))
	for _, d := range o.differences {
		fmt.Fprintf(w, "  %-24s %s\n", d.test, d.why())
	}
}

// why is the reason, or how much is unexplained.
func (d difference) why() string {
	if d.reason != "" {
		return d.reason
	}
	return fmt.Sprintf("unexplained, %d lines", strings.Count(d.diff, "\n"))
}

// writePage writes the page of the documentation.
func writePage(file, server string, when time.Time, all []outcome) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# PostgreSQL's own suites through pgpool\n\nWritten by `make regress` on %s with %s. How to read it: "+
		"[regress.md](../regress.md).\n\n", when.Format("2006-01-02"), server)
	b.WriteString("| configuration | tests | identical | explained | unexplained |\n|---|--:|--:|--:|--:|\n")
	for _, o := range all {
		n := len(o.differences)
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d |\n", o.config.title, o.tests, o.tests-n, n-o.unexplained(), o.unexplained())
	}
	for _, o := range all {
		if len(o.differences) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n", o.config.title)
		for _, d := range o.differences {
			fmt.Fprintf(&b, "- `%s`: %s\n", d.test, d.why())
		}
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}
