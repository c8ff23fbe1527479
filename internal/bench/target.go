package main

import "fmt"

// target is a figure we set out to reach and what became of it.
type target struct {
	Name    string `json:"name"`
	Wanted  string `json:"wanted"`
	Reached string `json:"reached"`
	Known   bool   `json:"measured"` // false: a row it needs was left out or failed
	Met     bool   `json:"met"`
}

func (t target) verdict() string {
	switch {
	case !t.Known:
		return "not measured"
	case t.Met:
		return "met"
	default:
		return "NOT met"
	}
}

// figure picks what is compared out of a cell.
type figure func(cell) float64

func tpsOf(c cell) float64   { return c.TPS }
func cpuCost(c cell) float64 { return c.CPU }

// ratioTarget compares gopgpool with a peer in one row.
type ratioTarget struct {
	name  string
	row   row
	peer  string
	of    figure
	bound float64
	most  bool // the bound is an upper one
}

// idleClientBytes is what an idle client may cost.
const idleClientBytes = 20_000

// ratioTargets are the targets about speed.
func ratioTargets() []ratioTarget {
	var all []ratioTarget
	for _, m := range []mode{simple, prepared} {
		for _, clients := range []int{1, 16, 64} {
			r := row{Topology: oneBackend, Script: selectOnly, Mode: m, Clients: clients}
			what := fmt.Sprintf("one server, %s, %s", r.command(), r.crowd())
			all = append(
				all,
				ratioTarget{name: what + ": TPS / PgBouncer", row: r, peer: pgbouncer, of: tpsOf, bound: 0.95},
				ratioTarget{name: what + ": CPU / PgBouncer", row: r, peer: pgbouncer, of: cpuCost, bound: 1.2, most: true},
			)
			if clients == 16 {
				all = append(all, ratioTarget{name: what + ": TPS / Pgpool-II", row: r, peer: pgpool2, of: tpsOf, bound: 1.9})
			}
		}
	}
	three := func(m mode, bound float64) ratioTarget {
		r := row{Topology: threeBackends, Script: selectOnly, Mode: m, Clients: 16}
		return ratioTarget{
			name: fmt.Sprintf("three servers, %s, 16 clients: TPS / Pgpool-II", r.command()),
			row:  r, peer: pgpool2, of: tpsOf, bound: bound,
		}
	}
	reconnect := row{Topology: oneBackend, Script: selectOnly, Mode: simple, Clients: 16, Reconnect: true}
	return append(
		all,
		three(simple, 2.2),
		three(extended, 4),
		ratioTarget{name: "one server, -S -C, 16 clients: TPS / direct", row: reconnect, peer: direct, of: tpsOf, bound: 8},
	)
}

// targets compares the report with all targets.
func targets(r report) []target {
	var all []target
	for _, t := range ratioTargets() {
		all = append(all, t.judge(r))
	}
	return append(all, idleTarget(r.Idle), allocTarget(r.Allocs))
}

func (t ratioTarget) judge(r report) target {
	sign := "≥"
	if t.most {
		sign = "≤"
	}
	result := target{Name: t.name, Wanted: fmt.Sprintf("%s %g", sign, t.bound)}
	found, _ := r.row(t.row.id())
	ours, haveOurs := found.cell(gopgpool)
	theirs, haveTheirs := found.cell(t.peer)
	if !haveOurs || !haveTheirs || !ours.ok() || !theirs.ok() || t.of(theirs) == 0 {
		return result
	}
	ratio := t.of(ours) / t.of(theirs)
	result.Known, result.Reached = true, fmt.Sprintf("%.2f", ratio)
	result.Met = ratio >= t.bound
	if t.most {
		result.Met = ratio <= t.bound
	}
	return result
}

func idleTarget(idle []idleResult) target {
	t := target{
		Name:   fmt.Sprintf("%d idle clients: bytes each", idleClients),
		Wanted: fmt.Sprintf("≤ %d", idleClientBytes),
	}
	for _, i := range idle {
		if i.Contender == gopgpool && i.Error == "" {
			t.Known, t.Reached, t.Met = true, fmt.Sprint(i.perClient()), i.perClient() <= idleClientBytes
		}
	}
	return t
}

func allocTarget(a *allocResult) target {
	t := target{Name: "warm simple query: allocations per statement", Wanted: "0"}
	if a != nil {
		t.Known, t.Reached, t.Met = true, fmt.Sprint(a.Allocs), a.Allocs == 0
	}
	return t
}
