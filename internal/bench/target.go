package main

import (
	"cmp"
	"fmt"
)

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
	ours  string // default gopgpool
	peer  string
	of    figure
	bound float64
	most  bool // the bound is an upper one
	// paired compares each run with the peer's run beside it and takes the median of that, which is steadier where the two
	// differ little. For throughput only.
	paired bool
}

// What an idle client may cost, in bytes.
const (
	idleSessionBytes = 20_000
	idlePooledBytes  = 15_000
)

// connectsPerSecond is what must be sustained: in every second.
const connectsPerSecond = 1000

// virtualPercent is what following a session's state may cost when there is none.
const virtualPercent = 3

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
	all = append(all, pooledTargets()...)
	reconnect := row{Topology: oneBackend, Script: selectOnly, Mode: simple, Clients: 16, Reconnect: true}
	return append(
		all,
		three(simple, 2.2),
		three(extended, 4),
		ratioTarget{name: "one server, -S -C, 16 clients: TPS / direct", row: reconnect, peer: direct, of: tpsOf, bound: 8},
	)
}

// pooledTargets are those of transaction mode.
func pooledTargets() []ratioTarget {
	var all []ratioTarget
	bounds := map[mode]float64{simple: 0.95, prepared: 1.05}
	for _, r := range pooledRows() {
		all = append(all, ratioTarget{
			name: fmt.Sprintf("transaction mode, %d connections, %s, %s: TPS / PgBouncer", poolSize, r.command(), r.crowd()),
			row:  r, peer: pgbouncer, of: tpsOf, bound: bounds[r.Mode],
		})
	}
	for _, r := range ampleRows() {
		all = append(all, ratioTarget{
			name: fmt.Sprintf("a connection for each client, %s, %s: TPS of transaction mode / session mode", r.command(), r.crowd()),
			row:  r, ours: gopgpoolByTransaction, peer: gopgpool, of: tpsOf, bound: 1 - virtualPercent/100.0, paired: true,
		})
	}
	return all
}

// targets compares the report with all targets.
func targets(r report) []target {
	var all []target
	for _, t := range ratioTargets() {
		all = append(all, t.judge(r))
	}
	for _, of := range crowds() {
		if !of.Prepared {
			all = append(all, idleTarget(of, r.Idle))
		}
	}
	all = append(all, loginTargets(r.Logins)...)
	return append(all, connectTarget(r.Connects), virtualTarget(r.Virtual), allocTarget(r.Allocs))
}

func (t ratioTarget) judge(r report) target {
	sign := "≥"
	if t.most {
		sign = "≤"
	}
	result := target{Name: t.name, Wanted: fmt.Sprintf("%s %g", sign, t.bound)}
	found, _ := r.row(t.row.id())
	ours, haveOurs := found.cell(cmp.Or(t.ours, gopgpool))
	theirs, haveTheirs := found.cell(t.peer)
	if !haveOurs || !haveTheirs || !ours.ok() || !theirs.ok() || t.of(theirs) == 0 {
		return result
	}
	ratio := t.ratio(ours, theirs)
	result.Known, result.Reached = true, fmt.Sprintf("%.2f", ratio)
	result.Met = ratio >= t.bound
	if t.most {
		result.Met = ratio <= t.bound
	}
	return result
}

func (t ratioTarget) ratio(ours, theirs cell) float64 {
	if !t.paired || len(ours.Runs) != len(theirs.Runs) {
		return t.of(ours) / t.of(theirs)
	}
	var ratios []float64
	for i := range ours.Runs {
		ratios = append(ratios, ours.Runs[i]/theirs.Runs[i])
	}
	return median(ratios)
}

func idleTarget(of crowd, idle []idleResult) target {
	most := int64(idleSessionBytes)
	if of.Mode == transactionMode {
		most = idlePooledBytes
	}
	t := target{Name: fmt.Sprintf("%d idle clients, %s mode: bytes each", of.Clients, of.Mode), Wanted: fmt.Sprintf("≤ %d", most)}
	for _, i := range idle {
		if i.Contender == gopgpool && i.crowd == of && i.Error == "" {
			t.Known, t.Reached, t.Met = true, fmt.Sprint(i.perClient()), i.perClient() <= most
		}
	}
	return t
}

func connectTarget(all []connectResult) target {
	t := target{Name: "connections a second, in the slowest second", Wanted: fmt.Sprintf("≥ %d", connectsPerSecond)}
	for _, c := range all {
		if c.Contender == gopgpool && c.Error == "" {
			t.Known, t.Reached, t.Met = true, fmt.Sprint(c.Slowest), c.Slowest >= connectsPerSecond
		}
	}
	return t
}

func virtualTarget(v *virtualResult) target {
	t := target{Name: "following a session's state: % of the proxy's CPU", Wanted: fmt.Sprintf("≤ %d", virtualPercent)}
	if v != nil {
		t.Known, t.Reached, t.Met = true, fmt.Sprintf("%.1f", v.worst()), v.worst() <= virtualPercent
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
