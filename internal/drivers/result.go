package main

import (
	"fmt"
	"strings"
)

// status is what a client says of a check, or what the runner says of a client that did not.
type status string

const (
	ok      status = "ok"
	failed  status = "failed"
	missing status = "n/a"
)

// result is a check's line.
type result struct {
	check  string
	status status
	detail string
}

// parseLine reads `check ok|failed|n/a detail`; other lines are not of the checklist.
func parseLine(line string) (result, bool) {
	check, rest, found := strings.Cut(strings.TrimSpace(line), " ")
	if !found || check == "" {
		return result{}, false
	}
	word, detail, _ := strings.Cut(rest, " ")
	switch s := status(word); s {
	case ok, failed, missing:
		return result{check, s, strings.TrimSpace(detail)}, true
	}
	return result{}, false
}

func (r result) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", r.check, r.status, r.detail))
}

// results are a client's lines in the order it printed them.
type results []result

func (rs results) find(check string) (result, bool) {
	for _, r := range rs {
		if r.check == check {
			return r, true
		}
	}
	return result{}, false
}

func (rs results) checks() (names []string) {
	for _, r := range rs {
		names = append(names, r.check)
	}
	return names
}
