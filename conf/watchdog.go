package conf

import (
	"path/filepath"
	"strconv"
	"time"
)

const (
	shortestLease    = 3 * time.Second
	longestUnasked   = 10 * time.Second
	defaultStateRoot = "/var/lib/pgpool"
)

// Lease is the time after which a leader that hears from no quorum is leader no more: wd_lease_time, or what 0 stands for,
// wd_heartbeat_deadtime within 3 to 10 s. Always whole seconds, 3 at least.
func (w *Watchdog) Lease() time.Duration {
	if w.WdLeaseTime > 0 {
		return w.WdLeaseTime
	}
	return min(max(w.WdHeartbeatDeadtime, shortestLease), longestUnasked)
}

// StateDirectory is where the node keeps what it must remember: wd_state_directory, else a directory under /var/lib/pgpool
// with the own watchdog port in its name, so that nodes sharing a host do not share it.
func (w *Watchdog) StateDirectory() string {
	if w.WdStateDirectory != "" {
		return w.WdStateDirectory
	}
	return filepath.Join(defaultStateRoot, "wd_"+strconv.Itoa(w.local().WdPort))
}

// local is the own entry of Nodes, an empty one when there is none.
func (w *Watchdog) local() WatchdogNode {
	if w.NodeID < 0 || w.NodeID >= len(w.Nodes) {
		return WatchdogNode{}
	}
	return w.Nodes[w.NodeID]
}
