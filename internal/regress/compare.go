package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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

// compare tells which tests printed something else, and whether that is known.
func compare(c configuration, direct, pooled printed, o options) (outcome, error) {
	found := outcome{config: c, tests: len(direct)}
	for _, test := range slices.Sorted(maps.Keys(direct)) {
		if pooled[test] == direct[test] || len(o.tests) > 0 && !slices.Contains(o.tests, test) {
			continue
		}
		diff, err := unified(direct[test], pooled[test])
		if err != nil {
			return found, err
		}
		d := difference{test: test, diff: diff}
		if d.reason, err = explain(filepath.Join(o.explained, c.name, test+".txt"), diff); err != nil {
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

// explanation is a file of explained/: the reason in prose, a line of dashes, then regular expressions, one a line. It counts for a
// difference if each line that was added (+) or is missing (-) matches one of them as a whole, its sign included.
type explanation struct {
	reason string
	lines  []*regexp.Regexp
}

const divider = "\n---\n"

func parseExplanation(text string) (explanation, error) {
	reason, rest, found := strings.Cut(text, divider)
	e := explanation{reason: strings.Join(strings.Fields(reason), " ")}
	if !found || e.reason == "" {
		return e, errors.New("no reason, line of dashes and expressions")
	}
	for _, line := range strings.Split(strings.TrimRight(rest, "\n"), "\n") {
		re, err := regexp.Compile("^(?:" + line + ")$")
		if err != nil {
			return e, err
		}
		e.lines = append(e.lines, re)
	}
	return e, nil
}

// covers reports whether nothing of a difference is left unexplained.
func (e explanation) covers(diff string) bool {
	for _, line := range strings.Split(strings.TrimSuffix(diff, "\n"), "\n")[2:] { // after the two lines that name the sides
		changed := strings.HasPrefix(line, "+") || strings.HasPrefix(line, "-")
		if changed && !slices.ContainsFunc(e.lines, func(re *regexp.Regexp) bool { return re.MatchString(line) }) {
			return false
		}
	}
	return true
}

// explain finds the reason of a difference; it is empty if there is none.
func explain(file, diff string) (reason string, err error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	e, err := parseExplanation(string(text))
	if err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	if !e.covers(diff) {
		return "", nil
	}
	return e.reason, nil
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
	return string(out), err
}
