package replication

import (
	"context"
	"fmt"

	"gopgpool/cluster"
	"gopgpool/logging"
)

// remembered is where a setting is kept. Whoever looks after synchronous standbys goes back to it when enough of them stream and have
// caught up.
const remembered = cluster.RememberedSyncNames

// syncPlan is what is done about synchronous_standby_names of a server that is about to become the primary.
type syncPlan struct {
	clear    bool   // commits wait for nobody at first
	remember string // the setting to go back to
	warning  string
}

// planSync decides it: a new primary must not hang on standbys that are not there. own is its setting, others are the names of the standbys
// that are going to follow it, self is its own name, and before what was in force at the lost primary.
//
// What names enough standbys that are there stays: they are repointed at once. Else it is cleared and remembered. A server that names
// nobody, after a primary that did, is asynchronous at first and gets its predecessor's setting when enough of those named stream.
func planSync(own, before, self string, others []string) syncPlan {
	wish := own
	if wish == "" {
		wish = before
	}
	names, err := cluster.ParseSyncNames(wish)
	if err != nil {
		return syncPlan{warning: err.Error()}
	}
	if names.Empty() {
		return syncPlan{}
	}
	there := 0
	for _, name := range others {
		if names.Has(name) {
			there++
		}
	}
	p := syncPlan{clear: own != "" && there < names.Num, remember: wish}
	if own != "" && !p.clear {
		return syncPlan{}
	}
	if reachable(names, self) < names.Num {
		p.warning = fmt.Sprintf("synchronous_standby_names = %q names too few standbys but the new primary itself", wish)
		if own == "" {
			p.remember = ""
		}
	}
	return p
}

// reachable counts the standbys that a setting names apart from the server itself.
func reachable(names cluster.SyncNames, self string) int {
	n := 0
	for _, name := range names.Names {
		if name == "*" {
			return cluster.MaxNodes
		}
		if !(cluster.SyncNames{Names: []string{name}}).Has(self) {
			n++
		}
	}
	return n
}

// prepareSync puts synchronous_standby_names of a standby in order just before its promotion, and tells whether it was reloaded for that. last
// is what was seen of its predecessor.
func (k *Keeper) prepareSync(ctx context.Context, s *server, t *tidings, last *cluster.PrimaryGauge, others []string) (bool, error) {
	before := ""
	if !last.Measured.IsZero() && last.Node != s.node {
		before = last.Sync
	}
	p := planSync(t.state.SyncNames, before, t.state.ApplicationName, others)
	if p.warning != "" {
		k.tell(s.node, logging.Warning, "node %d: %s", s.node, p.warning)
	}
	if !p.clear && p.remember == "" {
		return false, nil
	}
	// Before version 17 a custom setting must be known to the session to be kept.
	steps := []string{"SET " + remembered + " = ''", "ALTER SYSTEM SET " + remembered + " = " + literal(p.remember)}
	if p.clear {
		k.tell(s.node, logging.Warning,
			"node %d: too few standbys of synchronous_standby_names = %q are there: commits wait for none until enough stream",
			s.node, t.state.SyncNames)
		steps = append(steps, "ALTER SYSTEM SET synchronous_standby_names = ''")
	}
	for _, sql := range append(steps, "SELECT pg_reload_conf()") {
		if err := s.exec(ctx, sql); err != nil {
			return false, err
		}
	}
	return true, nil
}
