package health

import (
	"fmt"
	"time"

	"gopgpool/cluster"
	"gopgpool/logging"
)

const (
	searchEvery = time.Second
	// idleEvery is how often a check that is off looks whether it has been turned on.
	idleEvery = 30 * time.Second
)

// step is what the replication check does next.
type step struct {
	ask       bool
	searching bool          // for the primary, not for the lag
	keep      bool          // connections stay open until the next round
	wait      time.Duration // until the next step
}

// pace decides whether to ask now and when to look again: each second while no primary is known and the search that began at
// searched has not run out, else each sr_check_period in streaming mode (manual: search_primary_node_timeout, sr_check_period).
func pace(v *cluster.View, s *Settings, searched, now time.Time) step {
	if resting(v) {
		return step{wait: idleEvery} // the View that ends it wakes us
	}
	if missing(v) && !expired(s, searched, now) {
		return step{ask: true, searching: true, keep: true, wait: searchEvery}
	}
	if v.Mode == cluster.ModeStreaming && s.Streaming.SrCheckPeriod > 0 {
		return step{ask: true, keep: true, wait: s.Streaming.SrCheckPeriod}
	}
	if missing(v) { // given up, but one that comes back is taken
		return step{ask: true, searching: true, wait: idleEvery}
	}
	return step{wait: idleEvery}
}

// resting reports whether failover is at work: it searches for the primary itself, and servers come and go under its commands
// (manual: follow_primary_command). A primary lost while they run is searched for, whatever becomes of them.
func resting(v *cluster.View) bool { return v.Op != cluster.OpNone || v.Following && !missing(v) }

// missing reports whether there should be a primary and is none.
func missing(v *cluster.View) bool { return v.Mode.HasPrimary() && v.Primary == cluster.NoNode }

func expired(s *Settings, searched, now time.Time) bool {
	return s.SearchTimeout > 0 && !searched.IsZero() && now.Sub(searched) >= s.SearchTimeout
}

// searchClock starts and stops the time of the search, and tells its beginning and end.
func (c *ReplicationCheck) searchClock(v *cluster.View, s *Settings, now time.Time) {
	switch {
	case !missing(v) || resting(v):
		c.searched, c.given = time.Time{}, false
	case c.searched.IsZero():
		c.searched, c.given = now, false
		c.log.Log(logging.Event{Message: "find_primary_node_repeatedly: waiting for finding a primary node"})
	case !c.given && expired(s, c.searched, now):
		c.given = true
		c.log.Log(logging.Event{
			Severity: logging.Warning,
			Message:  "failed to find primary node",
			Detail:   fmt.Sprintf("expired after %d seconds", int(s.SearchTimeout/time.Second)),
		})
	}
}
