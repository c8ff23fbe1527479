package main

import (
	"fmt"
	"regexp"
	"time"
)

// topology is what stands behind and how the contenders share it.
type topology string

const (
	oneBackend    topology = "one"
	threeBackends topology = "three"
	pooled        topology = "pooled" // one server, transaction mode, few connections
	ample         topology = "ample"  // one server, a connection for each client in session mode and in transaction mode
)

// topologies are all, in the order they are measured.
func topologies() []topology { return []topology{oneBackend, threeBackends, pooled, ample} }

// servers is how many PostgreSQL servers a topology has.
func (t topology) servers() int {
	if t == threeBackends {
		return 3
	}
	return 1
}

// Every row of these topologies is measured so often as the options say, times this. What is told apart in the last one is
// smaller than a run differs from the next.
func (t topology) rounds(n int) int {
	if t == ample {
		return 3 * n
	}
	return n
}

// poolSize is the number of server connections that transaction mode shares in the topology pooled.
const poolSize = 20

// capacity is what the proxies are set up for: the most clients of its rows and a few places for our own logins.
func (t topology) capacity() capacity {
	switch t {
	case pooled:
		return capacity{mode: transactionMode, clients: 1050, servers: poolSize}
	default:
		return capacity{mode: sessionMode, clients: 72, servers: 72}
	}
}

// base is the contender the others are related to.
func (t topology) base() string {
	switch t {
	case pooled:
		return pgbouncer
	case ample:
		return gopgpool
	default:
		return direct
	}
}

// script is one of pgbench's built-in scripts.
type script string

const (
	selectOnly script = "select"
	tpcb       script = "tpcb"
)

// mode is pgbench's -M: how a statement travels.
type mode string

const (
	simple   mode = "simple"
	extended mode = "extended"
	prepared mode = "prepared"
)

// subject is the contender a row of the topology is profiled with.
func (t topology) subject() string {
	if t == ample {
		return gopgpoolByTransaction
	}
	return gopgpool
}

// row is one line of the result: what pgbench is asked to do, over which servers.
type row struct {
	Topology  topology `json:"topology"`
	Script    script   `json:"script"`
	Mode      mode     `json:"mode"`
	Clients   int      `json:"clients"`
	Reconnect bool     `json:"reconnect"` // a new connection for every transaction (-C)
}

// id names the row in reports and for the -rows filter.
func (r row) id() string {
	reconnect := ""
	if r.Reconnect {
		reconnect = "/reconnect"
	}
	return fmt.Sprintf("%s/%s/%s/%d%s", r.Topology, r.Script, r.Mode, r.Clients, reconnect)
}

// crowd is the number of clients in words.
func (r row) crowd() string {
	if r.Clients == 1 {
		return "1 client"
	}
	return fmt.Sprintf("%d clients", r.Clients)
}

// sampling is the share of transactions whose latency is logged. The slow rows log every one; for the fast ones a
// sample is enough and keeps pgbench's own work out of the result.
func (r row) sampling() float64 {
	if r.Script == selectOnly && !r.Reconnect {
		return 0.05
	}
	return 1
}

// pgbenchArgs is what pgbench is called with, but for the connection and the log prefix.
func (r row) pgbenchArgs(seconds, jobs int) []string {
	args := []string{
		"--no-vacuum",
		fmt.Sprintf("--client=%d", r.Clients),
		fmt.Sprintf("--jobs=%d", min(jobs, r.Clients)),
		fmt.Sprintf("--time=%d", seconds),
		fmt.Sprintf("--protocol=%s", r.Mode),
		"--log",
	}
	if s := r.sampling(); s < 1 {
		args = append(args, fmt.Sprintf("--sampling-rate=%g", s))
	}
	if r.Script == selectOnly {
		args = append(args, "--select-only")
	}
	if r.Reconnect {
		args = append(args, "--connect")
	}
	return args
}

// allRows is the whole table.
func allRows() []row {
	var rows []row
	for _, t := range []topology{oneBackend, threeBackends} {
		for _, s := range []script{selectOnly, tpcb} {
			for _, m := range []mode{simple, extended, prepared} {
				for _, c := range []int{1, 16, 64} {
					rows = append(rows, row{Topology: t, Script: s, Mode: m, Clients: c})
				}
			}
		}
		for _, c := range []int{1, 16, 64} {
			rows = append(rows, row{Topology: t, Script: selectOnly, Mode: simple, Clients: c, Reconnect: true})
		}
	}
	return append(append(rows, pooledRows()...), ampleRows()...)
}

// pooledRows have more clients than server connections.
func pooledRows() []row {
	var rows []row
	for _, m := range []mode{simple, prepared} {
		for _, c := range []int{64, 1000} {
			rows = append(rows, row{Topology: pooled, Script: selectOnly, Mode: m, Clients: c})
		}
	}
	return rows
}

// ampleRows show what it costs to follow a session's state when there is none.
func ampleRows() []row {
	var rows []row
	for _, m := range []mode{simple, prepared} {
		rows = append(rows, row{Topology: ample, Script: selectOnly, Mode: m, Clients: 16})
	}
	return rows
}

// quickRows is what the stated targets need and nothing else.
func quickRows() []row {
	var rows []row
	for _, m := range []mode{simple, prepared} {
		for _, c := range []int{1, 16, 64} {
			rows = append(rows, row{Topology: oneBackend, Script: selectOnly, Mode: m, Clients: c})
		}
	}
	rows = append(
		rows,
		row{Topology: oneBackend, Script: selectOnly, Mode: simple, Clients: 16, Reconnect: true},
		row{Topology: threeBackends, Script: selectOnly, Mode: simple, Clients: 16},
		row{Topology: threeBackends, Script: selectOnly, Mode: extended, Clients: 16},
	)
	return append(append(rows, pooledRows()...), ampleRows()...)
}

// matching keeps the rows whose id matches.
func matching(rows []row, pattern *regexp.Regexp) []row {
	var kept []row
	for _, r := range rows {
		if pattern.MatchString(r.id()) {
			kept = append(kept, r)
		}
	}
	return kept
}

// ofTopology keeps the rows over one set of servers.
func ofTopology(rows []row, t topology) []row {
	var kept []row
	for _, r := range rows {
		if r.Topology == t {
			kept = append(kept, r)
		}
	}
	return kept
}

// What a run costs beside pgbench's own time; used for the announcement only.
const (
	runOverhead   = 400 * time.Millisecond
	stageOverhead = 25 * time.Second // servers, tables, contenders, one warm-up each
	idleOverhead  = 45 * time.Second // per contender: logins, and waiting for its memory to settle
)

// extras are the measurements beside the rows: how many crowds of idle clients, and runs of the connecting client.
type extras struct{ idle, connects int }

// estimate is how long the plan will take.
func estimate(rows []row, contenders func(topology) int, seconds, rounds int, more extras) time.Duration {
	var total time.Duration
	run := time.Duration(seconds)*time.Second + runOverhead
	for _, t := range topologies() {
		runs := len(ofTopology(rows, t)) * contenders(t) * t.rounds(rounds)
		if runs == 0 {
			continue
		}
		total += stageOverhead + time.Duration(runs)*run
	}
	if more.connects > 0 {
		total += stageOverhead + time.Duration(more.connects)*run
	}
	return total + time.Duration(more.idle)*idleOverhead
}
