package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// difference is a test that printed something else through pgpool.
type difference struct {
	test   string
	diff   string // unified, direct run first
	reason string // empty: not explained
}

// outcome is what a configuration gave.
type outcome struct {
	config      configuration
	tests       int
	differences []difference
	took        time.Duration
}

func (o outcome) unexplained() int {
	n := 0
	for _, d := range o.differences {
		if d.reason == "" {
			n++
		}
	}
	return n
}

func (o outcome) print(w io.Writer) {
	fmt.Fprintf(w, "%-12s %4d tests, %4d identical, %3d differ, %3d of them unexplained (%s)\n", o.config.name, o.tests,
		o.tests-len(o.differences), len(o.differences), o.unexplained(), o.took.Round(time.Second))
	for _, d := range o.differences {
		reason := d.reason
		if reason == "" {
			reason = "UNEXPLAINED, " + fmt.Sprint(strings.Count(d.diff, "\n")) + " lines"
		}
		fmt.Fprintf(w, "  %-24s %s\n", d.test, reason)
	}
}

// compare tells which tests printed something else, and whether that is known.
func compare(c configuration, direct, pooled printed, o options) (outcome, error) {
	found := outcome{config: c, tests: len(direct)}
	for _, test := range slices.Sorted(maps.Keys(direct)) {
		if pooled[test] == direct[test] {
			continue
		}
		diff, err := unified(direct[test], pooled[test])
		if err != nil {
			return found, err
		}
		d := difference{test: test, diff: diff}
		if err := d.explain(filepath.Join(o.explained, c.name, test+".txt"), o.update); err != nil {
			return found, err
		}
		if o.keep != "" {
			if err := os.WriteFile(filepath.Join(o.keep, c.name, test+".diff"), []byte(diff), 0o644); err != nil {
				return found, err
			}
		}
		found.differences = append(found.differences, d)
	}
	return found, nil
}

// divider separates the reason from the difference in a file of explained/.
const divider = "\n---\n"

// explain finds the reason in the file of a known difference, which counts for exactly that difference.
func (d *difference) explain(file string, update bool) error {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	reason, known, _ := strings.Cut(string(text), divider)
	if update && reason != "" && known != d.diff {
		known = d.diff
		if err := os.WriteFile(file, []byte(reason+divider+known), 0o644); err != nil {
			return err
		}
	}
	if known == d.diff {
		d.reason = strings.Join(strings.Fields(reason), " ")
	}
	return nil
}

// unified is the difference of two texts as diff -U2 prints it, without the names of files.
func unified(a, b string) (string, error) {
	dir, err := os.MkdirTemp("", "regress-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	first, second := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if err := errors.Join(os.WriteFile(first, []byte(a), 0o600), os.WriteFile(second, []byte(b), 0o600)); err != nil {
		return "", err
	}
	out, err := exec.Command("diff", "-U2", "--label", "direct", "--label", "pgpool", first, second).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 1 {
		err = nil
	}
	return string(bytes.TrimSuffix(out, nil)), err
}

// writePage writes the table that the documentation shows.
func writePage(file string, all []outcome) error {
	return errors.ErrUnsupported
}
