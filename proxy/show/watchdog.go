package show

import (
	"cmp"
	"strconv"
	"time"
)

// Watchdog is what SHOW pool_watchdog is made of. The zero value is a pgpool without a watchdog.
type Watchdog struct {
	Enabled bool
	// Rows are the pgpools in the order in which they are shown, as pcp_watchdog_info has it: the asked one first.
	Rows []WatchdogRow
}

// WatchdogRow is a pgpool of the watchdog cluster, as the asked one sees it.
type WatchdogRow struct {
	NodeID             int // pgpool_node_id
	Host               string
	PgpoolPort, WdPort int
	State              string // LEADER, STANDBY, LOST and so on, as in pcp_watchdog_info
	Role               string // leader, standby, learner or none: its part in the consensus
	Priority           int    // wd_priority, 0 if it was never heard of
	Term               uint64 // of the consensus; 0 is unknown
	Leader             int    // node it follows, -1 none or unknown
	Quorum             int    // 1 exists, 0 on the edge, -1 absent, -2 no leader
	HasLease           bool   // the lease on the virtual address is known and runs
	LeaseLeft          time.Duration
	VIP                AddressState
	Reason             string    // why the virtual address is, or is not, there
	LastHeard          time.Time // zero: never, or it is the asked one
	Membership         string    // MEMBER, REVOKED-LOST and so on
}

// AddressState tells whether a pgpool holds the virtual address.
type AddressState uint8

// The states of an address on a pgpool.
const (
	AddressUnknown AddressState = iota // nobody told, or there is no address to hold
	AddressHeld
	AddressNotHeld
)

func (a AddressState) String() string { return [...]string{"", "held", "not held"}[a] }

// PoolWatchdog answers SHOW pool_watchdog, an addition of ours: one row for each pgpool, none without a watchdog.
func PoolWatchdog(w Watchdog) Result {
	columns := []string{
		"node_id", "host", "pgpool_port", "wd_port", "state", "role", "priority", "term", "leader", "quorum", "lease_left", "vip", "reason",
		"last_heard", "membership",
	}
	if !w.Enabled {
		r := table(columns, nil)
		r.Notice = "watchdog is not enabled"
		return r
	}
	rows := make([][]string, len(w.Rows))
	for i := range w.Rows {
		rows[i] = w.Rows[i].values()
	}
	return table(columns, rows)
}

func (r *WatchdogRow) values() []string {
	term, leader, lease := "", "", ""
	if r.Term != 0 {
		term = number(r.Term)
	}
	if r.Leader >= 0 {
		leader = strconv.Itoa(r.Leader)
	}
	if r.HasLease {
		lease = strconv.FormatFloat(max(r.LeaseLeft, 0).Seconds(), 'f', 1, 64) // seconds
	}
	return []string{
		strconv.Itoa(r.NodeID), r.Host, strconv.Itoa(r.PgpoolPort), strconv.Itoa(r.WdPort), r.State, cmp.Or(r.Role, "none"),
		strconv.Itoa(r.Priority), term, leader, quorumText(r.Quorum), lease, r.VIP.String(), r.Reason, clock(r.LastHeard), r.Membership,
	}
}

// quorumText is the wording of pcp_watchdog_info.
func quorumText(quorum int) string {
	switch quorum {
	case 1:
		return "QUORUM EXIST"
	case 0:
		return "QUORUM IS ON THE EDGE"
	case -1:
		return "QUORUM ABSENT"
	case -2:
		return "NO LEADER NODE"
	}
	return "UNKNOWN"
}
