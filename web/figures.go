package web

import (
	"cmp"
	"runtime"
	"slices"
	"strconv"
	"time"

	"gopgpool/cluster"
	"gopgpool/proxy/meter"
)

// This file fills in the metrics of the process and the proxy.

// maxDatabases bounds how many databases are told apart; the others are added up under otherDatabases, which is no name of a database.
const (
	maxDatabases   = 50
	otherDatabases = "(other)"
)

func (o sink) process(f *Facts, r *meter.Reading, held []time.Duration, version string) {
	o.put("build_info", 1, version, runtime.Version())
	o.put("ready", truth(f.Readiness().OK))
	for _, l := range r.Loops {
		id := strconv.Itoa(l.ID)
		o.put("loop_answered", truth(l.Answered), id)
		o.put("loop_tasks", float64(l.Tasks), id)
	}
	for id, d := range held {
		o.put("loop_held_seconds", d.Seconds(), strconv.Itoa(id))
	}
}

// largest tells which databases are told apart: those with the most. Numbers of others are told under the name it returns for them.
func largest(weight map[string]int) (name func(database string) string) {
	if len(weight) <= maxDatabases {
		return func(d string) string { return d }
	}
	all := make([]string, 0, len(weight))
	for d := range weight {
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(cmp.Compare(weight[b], weight[a]), cmp.Compare(a, b)) })
	kept := make(map[string]bool, maxDatabases)
	for _, d := range all[:maxDatabases] {
		kept[d] = true
	}
	return func(d string) string {
		if kept[d] {
			return d
		}
		return otherDatabases
	}
}

func (o sink) sessions(r *meter.Reading) {
	type group struct{ database, state string }
	weight := make(map[string]int)
	for _, s := range r.Sessions {
		weight[valid(s.Database)] += s.N
	}
	name, sums := largest(weight), make(map[group]int)
	for _, s := range r.Sessions {
		sums[group{name(valid(s.Database)), s.State}] += s.N
	}
	for g, n := range sums {
		o.put("sessions", float64(n), g.database, g.state)
	}
	o.put("client_slots_used", float64(r.Limits.Clients), "session")
	o.put("client_slots", float64(r.Limits.MaxClients), "session")
	o.put("client_slots_used", float64(r.Limits.Shared), "shared")
	o.put("client_slots", float64(r.Limits.MaxShared), "shared")
	for l := range meter.Logins {
		o.put("logins_total", float64(r.Total.Logins[l]), l.String())
	}
	for bit, reason := range r.Pins {
		if reason != "" {
			o.put("pinned_sessions", float64(r.Pinned[bit]), reason)
			o.put("pins_total", float64(r.Total.Pins[bit]), reason)
		}
	}
	for class, n := range r.Total.Errors {
		o.put("errors_total", float64(n), class)
	}
}

// place is the pools of all users of a database on a node.
type place struct {
	database string
	node     cluster.NodeID
}

type placeSum struct {
	active, idle, opening, waiting int
	oldest                         time.Duration
}

func (o sink) pools(p Connections) {
	stats := p.Stats()
	weight := make(map[string]int)
	for i := range stats {
		weight[valid(stats[i].Key.Database)] += stats[i].Leased + stats[i].Idle + stats[i].Waiting
	}
	name, sums := largest(weight), make(map[place]placeSum)
	for i := range stats {
		st := &stats[i]
		at := place{name(valid(st.Key.Database)), st.Key.Node}
		sum := sums[at]
		sum.active, sum.idle, sum.opening, sum.waiting = sum.active+st.Leased, sum.idle+st.Idle, sum.opening+st.Opening, sum.waiting+st.Waiting
		sum.oldest = max(sum.oldest, st.Oldest)
		sums[at] = sum
	}
	for at, sum := range sums {
		node := nodeLabel(at.node)
		o.put("pool_connections", float64(sum.active), at.database, node, "active")
		o.put("pool_connections", float64(sum.idle), at.database, node, "idle")
		o.put("pool_connections", float64(sum.opening), at.database, node, "opening")
		o.put("pool_waiting_clients", float64(sum.waiting), at.database, node)
		o.put("pool_max_wait_seconds", sum.oldest.Seconds(), at.database, node)
	}
	for id, t := range p.Totals() {
		node := nodeLabel(id)
		o.put("pool_leases_total", float64(t.Leases), node)
		o.put("pool_waits_total", float64(t.Waits), node)
		o.put("pool_wait_seconds_total", t.WaitTime.Seconds(), node)
		o.put("server_connections_opened_total", float64(t.Opened), node)
		o.put("server_connections_closed_total", float64(t.Closed), node)
	}
}

func (o sink) statements(r *meter.Reading) {
	for id, n := range r.Total.Nodes {
		if n == nil {
			continue
		}
		node := nodeLabel(cluster.NodeID(id))
		for class := range meter.Classes {
			o.histogram("query_duration_seconds", &n.Queries[class], node, class.String())
		}
		for code, count := range n.Routes {
			if count > 0 && r.Reasons[code] != "" {
				o.put("routes_total", float64(count), node, r.Reasons[code])
			}
		}
		for class, count := range n.Errors {
			o.put("server_errors_total", float64(count), node, class)
		}
	}
}

func (o sink) holds(r *meter.Reading) {
	h := &r.Total.Holds
	o.put("held_sessions", float64(r.Limits.HeldSessions))
	o.put("held_bytes", float64(r.Limits.HeldBytes))
	o.put("holds_total", float64(h.Began))
	o.put("holds_refused_total", float64(h.Refused))
	o.put("holds_expired_total", float64(h.Expired))
	o.histogram("hold_duration_seconds", &h.Waited)
	o.put("reruns_total", float64(r.Total.Reruns))
	for end := range meter.Outcomes {
		o.put("commit_outcomes_total", float64(r.Total.Ends[end]), end.String())
	}
}
