package replication

import "fmt"

// limitNames are the settings that a standby must not have lower than its primary. Where it has, its replay pauses as soon as it hears of
// the higher one, and the server shuts down when replay is resumed, which a promotion takes (PostgreSQL 14; before, it shuts down at once).
var limitNames = [...]string{
	"max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_transactions", "max_locks_per_transaction",
}

// misfit tells why a standby whose replay is paused would shut down instead of being promoted; nil: it would not, as far as is known.
func misfit(standby, primary *tidings) error {
	if !standby.state.InRecovery || !standby.state.ReplayPaused || primary.state.InRecovery || len(primary.limits) != len(standby.limits) {
		return nil
	}
	for i, n := range standby.limits {
		if n < primary.limits[i] {
			return fmt.Errorf("its replay is paused and %s = %d is lower than the primary's %d, so it would shut down: start it again with more",
				limitNames[i], n, primary.limits[i])
		}
	}
	return nil
}
