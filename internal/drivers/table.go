package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// generatedMark ends the hand-written part of docs/drivers.md.
const generatedMark = "<!-- What follows is written by `make drivers`. -->"

// table is the generated part of docs/drivers.md.
func (m *matrix) table(found []difference) string {
	var b strings.Builder
	m.summary(&b, found)
	m.checklist(&b, found)
	listDifferences(&b, found)
	return b.String()
}

// summary is a line for each driver: what it is, and how many of its checks end as they do directly.
func (m *matrix) summary(b *strings.Builder, found []difference) {
	head := []string{"driver", "what", "version"}
	for _, one := range m.settings {
		head = append(head, one.name)
	}
	row(b, head)
	rule(b, len(head))
	for i, d := range m.drivers {
		cells := []string{d.name, d.about, m.versions[i]}
		for _, one := range m.settings {
			cells = append(cells, m.share(one, d, found))
		}
		row(b, cells)
	}
	b.WriteString("\n")
}

// share is "25 ok, 2 n/a" for the direct run and "same" or "25 of 27" for others.
func (m *matrix) share(one setting, d driver, found []difference) string {
	lines := m.lines[one.name][d.name]
	if one.nodes == 0 {
		counts := map[status]int{}
		for _, r := range lines {
			counts[r.status]++
		}
		if counts[missing] == 0 {
			return fmt.Sprintf("%d ok", counts[ok])
		}
		return fmt.Sprintf("%d ok, %d n/a", counts[ok], counts[missing])
	}
	differ := 0
	for _, f := range found {
		if f.setting == one.name && f.driver == d.name {
			differ++
		}
	}
	if differ == 0 {
		return "same"
	}
	return fmt.Sprintf("%d differ", differ)
}

// checklist is a line for each check and a column for each driver: ok, – for what a driver does not have, * where a setting differs.
func (m *matrix) checklist(b *strings.Builder, found []difference) {
	head := []string{"check"}
	var checks []string
	for _, d := range m.drivers {
		head = append(head, d.name)
		for _, name := range m.lines[m.settings[0].name][d.name].checks() {
			if !slices.Contains(checks, name) {
				checks = append(checks, name)
			}
		}
	}
	row(b, head)
	rule(b, len(head))
	for _, check := range checks {
		cells := []string{check}
		for _, d := range m.drivers {
			cells = append(cells, m.mark(d, check, found))
		}
		row(b, cells)
	}
	b.WriteString("\n")
}

func (m *matrix) mark(d driver, check string, found []difference) string {
	r, has := m.lines[m.settings[0].name][d.name].find(check)
	mark := "–"
	if has && r.status != missing {
		mark = string(r.status)
	}
	if slices.ContainsFunc(found, func(f difference) bool { return f.driver == d.name && f.through.check == check }) {
		mark += "*"
	}
	return mark
}

// listDifferences joins those of one reason.
func listDifferences(b *strings.Builder, found []difference) {
	if len(found) == 0 {
		return
	}
	row(b, []string{"differs in", "driver: check", "directly", "through pgpool", "reason"})
	rule(b, 5)
	type key struct{ where, direct, through, reason string }
	var order []key
	in := map[key][]string{}
	for _, f := range found {
		k := key{f.driver + ": " + f.through.check, text(f.direct), text(f.through), f.reason}
		if in[k] == nil {
			order = append(order, k)
		}
		in[k] = append(in[k], f.setting)
	}
	for _, k := range order {
		row(b, []string{strings.Join(in[k], ", "), k.where, k.direct, k.through, cmp.Or(k.reason, "**not explained**")})
	}
}

func text(r result) string { return string(r.status) + ": " + r.detail }

func row(b *strings.Builder, cells []string) {
	for _, cell := range cells {
		fmt.Fprintf(b, "| %s ", strings.ReplaceAll(cell, "|", `\|`))
	}
	b.WriteString("|\n")
}

func rule(b *strings.Builder, n int) { b.WriteString(strings.Repeat("|---", n) + "|\n") }
