package conf

import (
	"cmp"
	"fmt"
	"slices"
)

// Item is one row of PGPOOL SHOW or SHOW pool_status.
type Item struct {
	Name, Value, Description string
}

// Shown is the answer to PGPOOL SHOW. A Table has the columns item, value and description; otherwise there is one Item, and
// its Value is the only column, named like the parameter.
type Shown struct {
	Items []Item
	Table bool
}

// SettingError is an error of PGPOOL SHOW, SET or RESET, in the words the client is told. The session goes on.
type SettingError struct {
	Message, Detail, Hint string
}

func (e *SettingError) Error() string { return e.Message }

// SQLState is the code all these errors carry.
func (e *SettingError) SQLState() string { return "XX000" }

func asSettingError(e *valueError) *SettingError {
	return &SettingError{Message: e.text, Detail: e.detail, Hint: e.hint}
}

// Show answers PGPOOL SHOW for a parameter, a numbered parameter with or without its index, a group, or ALL. Errors are of
// type *SettingError.
func (c *Config) Show(name string) (Shown, error) {
	if name == "all" || name == "ALL" {
		return Shown{Items: c.ShowAll(), Table: true}, nil
	}
	for _, f := range groups() {
		if f.group() == name {
			return Shown{Items: c.showGroup(f), Table: true}, nil
		}
	}
	p, index, bad := lookUp(name)
	switch {
	case bad != nil:
		return Shown{}, asSettingError(bad)
	case p == nil:
		return Shown{}, &SettingError{Message: fmt.Sprintf("config variable %q not found", name)}
	case p.Family == NotNumbered:
		return Shown{Items: []Item{c.item(p, noIndex)}}, nil
	case index > p.Family.maxIndex():
		return Shown{}, &SettingError{
			Message: fmt.Sprintf("invalid index %s for configuration parameter %q", name[len(p.Name):], p.Name),
			Detail:  fmt.Sprintf("allowed index is between 0 and %d", p.Family.maxIndex()),
		}
	case index != noIndex:
		return Shown{Items: []Item{c.item(p, index)}}, nil
	}
	return Shown{Items: c.showFamily(p), Table: true}, nil
}

// groups are the families in the order of PGPOOL SHOW ALL.
func groups() []Family {
	return []Family{FamilyBackend, FamilyWatchdog, FamilyHeartbeat, FamilyHealthCheck, FamilyBackendTLS, FamilyAgent}
}

func (c *Config) item(p *Param, n int) Item {
	return Item{Name: displayName(key{p.Name, n}), Value: c.show(p, n), Description: p.Doc}
}

// ShowAll lists the groups, then all other parameters, those with the longest names first.
func (c *Config) ShowAll() []Item {
	var items []Item
	for _, f := range groups() {
		items = append(items, c.showGroup(f)...)
	}
	var rest []*Param
	for i := range params().rows {
		if p := &params().rows[i]; p.Family == NotNumbered {
			rest = append(rest, p)
		}
	}
	slices.SortStableFunc(rest, func(a, b *Param) int { return cmp.Compare(len(b.Name), len(a.Name)) })
	for _, p := range rest {
		items = append(items, c.item(p, noIndex))
	}
	return items
}

// showGroup lists a family by index, then member.
func (c *Config) showGroup(f Family) []Item {
	var items []Item
	for _, n := range c.shownIndexes(f) {
		for i := range params().rows {
			if p := &params().rows[i]; p.Family == f {
				items = append(items, c.item(p, n))
			}
		}
	}
	return items
}

func (c *Config) showFamily(p *Param) []Item {
	var items []Item
	for _, n := range c.shownIndexes(p.Family) {
		items = append(items, c.item(p, n))
	}
	return items
}

// shownIndexes are those of the nodes in use; a health check also has the values for all nodes.
func (c *Config) shownIndexes(f Family) []int {
	var list []int
	add := func(n int, used bool) {
		if used {
			list = append(list, n)
		}
	}
	switch f {
	case FamilyHealthCheck, FamilyBackendTLS:
		list = append(list, noIndex)
		fallthrough
	case FamilyBackend, FamilyAgent:
		for n := range c.Backends {
			add(n, c.Backends[n].Exists())
		}
	case FamilyWatchdog:
		for n := range c.Watchdog.Nodes {
			add(n, c.Watchdog.Nodes[n].WdPort != 0)
		}
	case FamilyHeartbeat:
		for n := range c.Watchdog.Heartbeat {
			add(n, c.Watchdog.Heartbeat[n].Port != 0)
		}
	case NotNumbered:
	}
	return list
}
