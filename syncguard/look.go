package syncguard

import (
	"slices"

	"gopgpool/cluster"
)

// Look is what was seen at one time.
type Look struct {
	InForce    string      // synchronous_standby_names of the primary
	Remembered string      // what an administrator had set, where something weaker is in force; else empty
	LSN        cluster.LSN // where the primary wrote before it was asked who streams
	Peers      []Peer      // who streams from it
	// Obeyed: commits wait if InForce has them wait. It is the checkpointer that has them do so when it has read the setting, later than
	// sessions and walsenders if it is busy.
	Obeyed  bool
	After   cluster.LSN // where the primary wrote after all that had been seen
	Answers []bool      // index = NodeID: a new connection was served
	Known   bool        // every pgpool has had the time to learn what is in force, so that nobody chooses a successor by an older setting
}

// Peer is a row of pg_stat_replication.
type Peer struct {
	Name, State, Sync string
	Flush             cluster.LSN
}

// member is a standby that the setting names.
type member struct {
	name string
	node cluster.NodeID // NoNode: it is none of ours, so nobody can ask it or promote it
}

// members are the standbys that a setting of the primary names: nodes by their application name, names without a node, and with * all
// nodes and whoever else streams.
func members(v *cluster.View, s cluster.SyncNames, peers []Peer) []member {
	var all []member
	for i := range v.Nodes {
		n := &v.Nodes[i]
		if n.ID != v.Primary && n.Status != cluster.StatusUnused && n.ApplicationName != "" && s.Has(n.ApplicationName) {
			all = append(all, member{n.ApplicationName, n.ID})
		}
	}
	add := func(name string) {
		if own(v, name) || slices.ContainsFunc(all, func(m member) bool { return sameName(m.name, name) }) {
			return
		}
		all = append(all, member{name, cluster.NoNode})
	}
	for _, name := range s.Names {
		if name != "*" {
			add(name)
		}
	}
	for _, p := range peers {
		if s.Has(p.Name) && p.State == streaming {
			add(p.Name)
		}
	}
	return all
}

// States of a row of pg_stat_replication.
const (
	streaming = "streaming"
	catchup   = "catchup" // it is being sent what it lacks
)

// own reports whether a name is the primary's own, under which nobody streams from it.
func own(v *cluster.View, name string) bool {
	return v.Primary >= 0 && int(v.Primary) < len(v.Nodes) && sameName(v.Nodes[v.Primary].ApplicationName, name)
}

// sameName compares as the server does.
func sameName(a, b string) bool {
	return cluster.SyncNames{Names: []string{a}}.Has(b) && a != "*"
}

// row is the row of a standby: of several under its name the one that is furthest, for a base backup may run under the same name.
func (l *Look) row(name string) (Peer, bool) {
	found, ok := Peer{}, false
	for _, p := range l.Peers {
		if !sameName(p.Name, name) {
			continue
		}
		if !ok || p.State == streaming && (found.State != streaming || p.Flush > found.Flush) {
			found, ok = p, true
		}
	}
	return found, ok
}

func (l *Look) answers(id cluster.NodeID) bool {
	return id >= 0 && int(id) < len(l.Answers) && l.Answers[id]
}

// parsed is a setting with its text.
type parsed struct {
	cluster.SyncNames
	text string
}

func parse(text string) (parsed, error) {
	s, err := cluster.ParseSyncNames(text)
	return parsed{s, text}, err
}

func (p parsed) same(other parsed) bool { return p.String() == other.String() }

// weakens reports whether p can be what the guard has made of full: another setting is an administrator's.
func (p parsed) weakens(full parsed) bool {
	if p.Empty() {
		return !full.Empty()
	}
	if p.Num > full.Num || p.text != p.String() {
		return false
	}
	return !slices.ContainsFunc(p.Names, func(n string) bool { return n == "*" || !full.Has(n) })
}

// reduce is the setting that waits for the rest of those full names: full itself where they are enough.
func (p parsed) reduce(rest []member) parsed {
	if p.Empty() || len(rest) >= p.Num {
		return p
	}
	if len(rest) == 0 {
		return parsed{}
	}
	s := cluster.SyncNames{Method: p.Method, Num: len(rest)}
	for _, m := range rest {
		s.Names = append(s.Names, m.name)
	}
	return parsed{s, s.String()}
}
