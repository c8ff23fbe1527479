package failover

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"gopgpool/cluster"
)

// election is what a successor is chosen by.
type election struct {
	states []cluster.ServerState
	last   cluster.PrimaryGauge // of the lost primary; Measured is zero where nothing is known
	old    cluster.NodeID       // the lost primary
	target cluster.NodeID       // who has to be it, NoNode for the best
	end    cluster.LSN          // of the old primary's WAL, where it was shut down cleanly
	whole  bool                 // all of that is asked for: the old primary was stopped for a switchover, and can serve again
	// settled was told to be the primary before: nobody else is, unless that one is lost. NoNode: nobody was.
	settled cluster.NodeID
	maxLag  cluster.LSN // 0: no bound
	// patient: a standby that has not read all it has is waited for, if nobody is sure to have more.
	patient bool
	// descends: somebody told to be the primary was lost, so that a newer timeline than the lost primary's may be its own.
	descends bool
	avoid    []cluster.NodeID
}

// elect chooses the standby that has the most: the newest timeline, then the most WAL received, then the lowest number. NoNode: nobody
// is to be promoted, and why.
func elect(v *cluster.View, e election) (cluster.NodeID, string) {
	if v.Live(e.settled) {
		return e.settled, ""
	}
	able, others := e.candidates(v)
	if e.target != cluster.NoNode {
		able = slices.DeleteFunc(able, func(s *cluster.ServerState) bool { return s.Node != e.target })
	}
	if len(able) == 0 {
		return cluster.NoNode, "no standby can take over: " + orWords(strings.Join(others, "; "), "none is up")
	}
	best := able[0]
	for _, s := range able[1:] {
		if ahead(s, best) {
			best = s
		}
	}
	if why := e.insufficient(v, best, able); why != "" {
		return cluster.NoNode, why
	}
	if i := slices.IndexFunc(able, func(s *cluster.ServerState) bool { return s.Unread && s != best }); i >= 0 && e.patient {
		return cluster.NoNode, fmt.Sprintf("node %d was started again and has not read all of its WAL so far, so it may have more than node %d",
			able[i].Node, best.Node)
	}
	return best.Node, ""
}

// candidates are the standbys that could be promoted, and why the others could not.
func (e *election) candidates(v *cluster.View) (able []*cluster.ServerState, others []string) {
	system, known := e.system(v)
	for i := range e.states {
		s := &e.states[i]
		if s.Node == e.old || !v.Live(s.Node) {
			continue
		}
		why := ""
		switch {
		case s.Err != nil:
			why = s.Err.Error()
		case !s.InRecovery:
			why = "it is no standby"
		case v.Nodes[s.Node].Unfit:
			why = "it " + lacks(&v.Nodes[s.Node])
		case slices.Contains(e.avoid, s.Node):
			why = "it holds other data"
		case !known:
			why = "the standbys belong to different database clusters, and the lost primary's is not known"
		case s.SystemID != system:
			why = "it belongs to another database cluster"
		}
		if why != "" {
			others = append(others, fmt.Sprintf("node %d: %s", s.Node, why))
			continue
		}
		able = append(able, s)
	}
	return e.loyal(able, others)
}

// loyal leaves out who has left for a newer timeline than the lost primary's, where not everybody has: he follows a server that somebody
// has promoted beside the primary, and lacks what was written there since.
func (e *election) loyal(able []*cluster.ServerState, others []string) ([]*cluster.ServerState, []string) {
	t := e.timeline()
	left := func(s *cluster.ServerState) bool { return s.Timeline > t }
	if t == 0 || e.descends || !slices.ContainsFunc(able, func(s *cluster.ServerState) bool { return !left(s) }) {
		return able, others
	}
	for _, s := range able {
		if left(s) {
			others = append(others, fmt.Sprintf("node %d: it is on timeline %d, the lost primary was on %d", s.Node, s.Timeline, t))
		}
	}
	return slices.DeleteFunc(able, left), others
}

// timeline is the lost primary's, 0 where it is not known.
func (e *election) timeline() (t cluster.Timeline) {
	if e.last.Node == e.old && !e.last.Measured.IsZero() {
		t = e.last.Timeline
	}
	for i := range e.states {
		if s := &e.states[i]; s.Node == e.old && !s.InRecovery {
			t = max(t, s.Timeline)
		}
	}
	return t
}

// system is the lost primary's system identifier, as it told it last; where that is not known, the one of all standbys. known is false
// where they differ.
func (e *election) system(v *cluster.View) (id uint64, known bool) {
	for i := range e.states {
		if s := &e.states[i]; s.Node == e.old && s.SystemID != 0 {
			return s.SystemID, true
		}
	}
	for i := range e.states {
		s := &e.states[i]
		switch {
		case s.Err != nil, !s.InRecovery, !v.Live(s.Node), s.SystemID == 0:
		case id == 0:
			id = s.SystemID
		case id != s.SystemID:
			return 0, false
		}
	}
	return id, true
}

// ahead reports whether a has more than b.
func ahead(a, b *cluster.ServerState) bool {
	if a.Timeline != b.Timeline {
		return a.Timeline > b.Timeline
	}
	return a.Received > b.Received
}

// insufficient tells what speaks against promoting even the best; "" for nothing.
func (e *election) insufficient(v *cluster.View, best *cluster.ServerState, able []*cluster.ServerState) string {
	if e.end == 0 && e.target != cluster.NoNode {
		return fmt.Sprintf("the primary was not shut down cleanly, so nobody knows whether node %d has all of its WAL", best.Node)
	}
	if e.end != 0 {
		if best.Received >= e.end {
			return "" // it has all there is
		}
		if e.whole {
			return fmt.Sprintf("node %d has received WAL up to %v, the primary ended at %v", best.Node, best.Received, e.end)
		}
	}
	known := !e.last.Measured.IsZero() && e.last.Node == e.old
	if known && e.maxLag > 0 && e.last.LSN > best.Received && e.last.LSN-best.Received > e.maxLag {
		return fmt.Sprintf("node %d, which has the most, lacks %d bytes of WAL (max_lag_on_failover is %d)",
			best.Node, e.last.LSN-best.Received, e.maxLag)
	}
	return e.unacknowledged(v, best, able, known)
}

// unacknowledged tells why the best may lack what was acknowledged in synchronous mode: a commit was acknowledged when some of the named
// standbys had it, and nobody knows which. One that has not read all of its WAL has not answered: it may have more than the best.
func (e *election) unacknowledged(v *cluster.View, best *cluster.ServerState, able []*cluster.ServerState, known bool) string {
	setting := e.last.Sync
	old := known && setting == "" && e.longAgo(v)
	if !known || old {
		setting = ownSetting(e.states)
	}
	names, err := cluster.ParseSyncNames(setting)
	if err != nil {
		return err.Error()
	}
	if old && len(names.Members(e.standbyNames(v))) == 0 {
		return "" // a setting for another primary
	}
	answered := 0
	for _, s := range able {
		if names.Has(s.ApplicationName) && (!s.Unread || s == best) {
			answered++
		}
	}
	if need := names.Needed(nodeOf(v, e.old).ApplicationName, e.standbyNames(v)); answered < need {
		return fmt.Sprintf("with synchronous_standby_names = '%s' %d of the standbys it names must have answered for all acknowledged commits to be there, %d did",
			setting, need, answered)
	}
	return ""
}

// outOfDate is how long before the loss the lost primary's setting must have been seen to be empty to count: sr_check_period may be 0.
const outOfDate = time.Minute

// longAgo reports whether what is known of the lost primary is out of date.
func (e *election) longAgo(v *cluster.View) bool {
	return nodeOf(v, e.old).LastStatusChange.Sub(e.last.Measured) > outOfDate
}

// standbyNames are the names under which the nodes but the old primary stream; "" where a node's is not known.
func (e *election) standbyNames(v *cluster.View) []string {
	var names []string
	for i := range v.Nodes {
		id := cluster.NodeID(i)
		if v.Nodes[i].Port == 0 || id == e.old {
			continue
		}
		name := v.Nodes[i].ApplicationName
		for j := range e.states {
			if s := &e.states[j]; s.Node == id && s.Err == nil {
				name = s.ApplicationName
			}
		}
		names = append(names, name)
	}
	return names
}

// ownSetting is the standbys' own synchronous_standby_names, which their primary very likely had as well.
func ownSetting(states []cluster.ServerState) string {
	for i := range states {
		if s := &states[i]; s.Err == nil && s.SyncNames != "" {
			return s.SyncNames
		}
	}
	return ""
}

// stillPrimary reports whether the old primary serves as one, and nobody has gone further than it.
func stillPrimary(v *cluster.View, states []cluster.ServerState, old cluster.NodeID) bool {
	i := slices.IndexFunc(states, func(s cluster.ServerState) bool { return s.Node == old })
	if i < 0 || states[i].Err != nil || states[i].InRecovery {
		return false
	}
	return !slices.ContainsFunc(states, func(s cluster.ServerState) bool {
		return s.Err == nil && s.SystemID == states[i].SystemID &&
			(s.Timeline > states[i].Timeline || v.Live(s.Node) && s.Node != old && !s.InRecovery)
	})
}

// isStandby reports whether a node says that it is a standby.
func isStandby(states []cluster.ServerState, id cluster.NodeID) bool {
	return slices.ContainsFunc(states, func(s cluster.ServerState) bool { return s.Node == id && s.Err == nil && s.InRecovery })
}

// another reports whether somebody else is a primary of the same database cluster, promoted by hand: the old one must not be started beside
// it. One on no newer timeline is an earlier primary that came back, and does not count.
func another(states []cluster.ServerState, old cluster.NodeID, last cluster.PrimaryGauge) bool {
	var system uint64
	var timeline cluster.Timeline
	if last.Node == old && !last.Measured.IsZero() {
		timeline = last.Timeline
	}
	for i := range states {
		if states[i].Node == old {
			system = states[i].SystemID
		}
	}
	return slices.ContainsFunc(states, func(s cluster.ServerState) bool {
		return s.Err == nil && s.Node != old && !s.InRecovery && s.Timeline > timeline && (system == 0 || s.SystemID == system)
	})
}

// positionOf words what a standby has.
func positionOf(states []cluster.ServerState, id cluster.NodeID) string {
	for i := range states {
		if s := &states[i]; s.Node == id && s.Err == nil {
			return fmt.Sprintf("timeline %d, %v", s.Timeline, s.Received)
		}
	}
	return "as decided before"
}
