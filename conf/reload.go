package conf

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// Reload reads a file anew. The returned Config is what comes into force: parameters that need a restart keep their value,
// and the returned changes name them. With an Error among the problems nothing changes and c itself is returned. A parameter
// no longer in the file returns to its default. The pool file is read anew with it.
//
// A backend keeps its host and port, and stays when it is removed from the file; a new one is in the Config and marked in
// the changes, and its owner brings it in as down (manual: backend_hostname).
func (c *Config) Reload(path string) (*Config, []Change, []Problem) {
	return c.reloadWith(path, readFile)
}

func (c *Config) reloadWith(path string, read func(string) ([]byte, error)) (*Config, []Change, []Problem) {
	l := newLoader(path, read)
	if _, err := read(l.path); err != nil {
		return c, nil, []Problem{{
			Severity: Error, File: l.path, Text: "could not read configuration file \"" + l.path + "\": " + err.Error(),
		}}
	}
	l.top()
	wanted := l.build(l.assigned)
	l.takePoolFile(wanted)
	if Refused(l.problems) {
		return c, nil, l.problems
	}
	merging := newLoader(path, read)
	merging.localNode, merging.ranked = c.Watchdog.NodeID, c.Watchdog.NumberedByRank
	next := merging.build(c.keep(l.assigned))
	next.Watchdog.NodeID, next.Watchdog.NumberedByRank = c.Watchdog.NodeID, c.Watchdog.NumberedByRank
	next.poolFile = wanted.poolFile
	if Refused(merging.problems) {
		return c, nil, merging.afterRestart()
	}
	return next, c.changes(wanted, next), l.problems
}

// afterRestart says of problems that the file alone does not have where they come from.
func (l *loader) afterRestart() []Problem {
	for i := range l.problems {
		p := &l.problems[i]
		p.Hint = strings.TrimPrefix(p.Hint+"; parameters that need a restart count with their running values", "; ")
	}
	return l.problems
}

// keep takes what the file says where a reload may change it, and the running values elsewhere.
func (c *Config) keep(wanted assignments) assignments {
	kept := make(assignments, len(wanted))
	for k, a := range wanted {
		if !c.pinned(k, wanted) {
			kept[k] = a
		}
	}
	for k, a := range c.assigned {
		if c.pinned(k, wanted) {
			kept[k] = a
		}
	}
	return kept
}

// pinned reports whether a value cannot change while the program runs.
func (c *Config) pinned(k key, wanted assignments) bool {
	p := params().byName[k.name]
	if p.Context == Start {
		return true
	}
	if p.Family != FamilyBackend || !c.backend(k.index).Exists() {
		return false
	}
	if _, stays := wanted[key{"backend_port", k.index}]; !stays {
		return true
	}
	return k.name == "backend_hostname" || k.name == "backend_port"
}

// changes compares the running configuration with the file, and tells what is not in force.
func (c *Config) changes(wanted, next *Config) []Change {
	keys := make(map[key]bool)
	for _, a := range []assignments{c.assigned, wanted.assigned} {
		for k := range a {
			keys[k] = true
		}
	}
	var changes []Change
	for _, k := range slices.SortedFunc(maps.Keys(keys), compareKeys) {
		p := params().byName[k.name]
		was, want, is := c.exact(p, k.index), wanted.exact(p, k.index), next.exact(p, k.index)
		newNode := p.Family == FamilyBackend && !c.backend(k.index).Exists() && next.backend(k.index).Exists()
		if was == want && !newNode {
			continue
		}
		changes = append(changes, Change{
			Name: displayName(k), Old: c.show(p, k.index), New: wanted.show(p, k.index),
			NeedsRestart: is != want, NewNode: newNode,
		})
	}
	if c.Watchdog.NodeID != wanted.Watchdog.NodeID && c.Watchdog.UseWatchdog && wanted.Watchdog.UseWatchdog {
		changes = append(changes, Change{
			Name: "pgpool_node_id", Old: itoa(c.Watchdog.NodeID), New: itoa(wanted.Watchdog.NodeID), NeedsRestart: true,
		})
	}
	return append(changes, poolChanges(&c.poolFile, &next.poolFile)...)
}

// exact is a text that differs when the value does, secrets included. It is not for showing.
func (c *Config) exact(p *Param, n int) string {
	if p.Secret {
		return *p.at(c, n).(*string)
	}
	return c.show(p, n)
}

func compareKeys(a, b key) int {
	return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.index, b.index))
}
