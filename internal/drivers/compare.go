package main

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// difference is a check whose line through pgpool is not the direct one. Reason explains it; "" if nothing does.
type difference struct {
	setting, driver string
	direct, through result
	reason          string
}

func (d difference) String() string {
	return fmt.Sprintf("%s, %s: %s\n    direct:  %s %s\n    through: %s %s",
		d.setting, d.driver, d.direct.check, d.direct.status, d.direct.detail, d.through.status, d.through.detail)
}

// compare lists the differences of one client's run through pgpool. A check that is not in both is one.
func compare(setting, driver string, direct, through results) (found []difference) {
	for _, want := range direct {
		got, has := through.find(want.check)
		if !has {
			got = result{want.check, failed, "no line"}
		}
		if got != want {
			found = append(found, difference{setting: setting, driver: driver, direct: want, through: got})
		}
	}
	for _, got := range through {
		if _, has := direct.find(got.check); !has {
			found = append(found, difference{setting: setting, driver: driver, direct: result{got.check, failed, "no line"}, through: got})
		}
	}
	return found
}

// explanation is a line of explained.txt: which differences it covers, and why they are right.
type explanation struct {
	setting, driver, check string         // patterns of package path
	through                *regexp.Regexp // of status and detail through pgpool
	reason                 string
	byChance               bool // need not be seen in every run
}

// parseExplanations reads explained.txt: `setting driver check /through/ reason`, setting with underscores for blanks. # begins a
// comment line, ~ one about what depends on chance.
func parseExplanations(text string) (list []explanation, _ error) {
	for i, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		rest, byChance := strings.CutPrefix(line, "~")
		e, err := parseExplanation(strings.TrimSpace(rest))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		e.byChance = byChance
		list = append(list, e)
	}
	return list, nil
}

var explanationLine = regexp.MustCompile(`^(\S+)\s+(\S+)\s+(\S+)\s+/(.*)/\s+(\S.*)$`)

func parseExplanation(line string) (explanation, error) {
	m := explanationLine.FindStringSubmatch(line)
	if m == nil {
		return explanation{}, fmt.Errorf("not `setting driver check /through/ reason`: %s", line)
	}
	for _, pattern := range m[1:4] {
		if _, err := path.Match(pattern, ""); err != nil {
			return explanation{}, fmt.Errorf("%s: %w", pattern, err)
		}
	}
	through, err := regexp.Compile(m[4])
	if err != nil {
		return explanation{}, err
	}
	return explanation{setting: m[1], driver: m[2], check: m[3], through: through, reason: m[5]}, nil
}

func (e explanation) covers(d difference) bool {
	matches := func(pattern, name string) bool {
		m, err := path.Match(pattern, strings.ReplaceAll(name, " ", "_"))
		return err == nil && m
	}
	return matches(e.setting, d.setting) && matches(e.driver, d.driver) && matches(e.check, d.through.check) &&
		e.through.MatchString(string(d.through.status)+" "+d.through.detail)
}

// explain fills in reasons and returns those explanations nothing needed, but for those that depend on chance.
func explain(found []difference, list []explanation) (unused []explanation) {
	used := make([]bool, len(list))
	for i := range found {
		for k, e := range list {
			if e.covers(found[i]) {
				found[i].reason, used[k] = e.reason, true
				break
			}
		}
	}
	for k, e := range list {
		if !used[k] && !e.byChance {
			unused = append(unused, e)
		}
	}
	return unused
}

// unexplained are the differences that fail the matrix.
func unexplained(found []difference) []difference {
	return slices.DeleteFunc(slices.Clone(found), func(d difference) bool { return d.reason != "" })
}
