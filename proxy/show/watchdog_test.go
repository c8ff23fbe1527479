package show

import (
	"testing"
	"time"
)

func TestPoolWatchdog(t *testing.T) {
	golden(t, "pool_watchdog", PoolWatchdog(Watchdog{Enabled: true, Rows: []WatchdogRow{
		{
			NodeID: 1, Host: "server1", PgpoolPort: 9999, WdPort: 9000, State: "LEADER", Role: "leader", Priority: 3, Term: 7, Leader: 1, Quorum: 1,
			HasLease: true, LeaseLeft: 6450 * time.Millisecond, VIP: AddressHeld, Reason: "leads with a quorum", Membership: "MEMBER",
		},
		{
			NodeID: 0, Host: "server0", PgpoolPort: 9999, WdPort: 9000, State: "STANDBY", Role: "standby", Priority: 1, Term: 7, Leader: 1, Quorum: 0,
			VIP: AddressNotHeld, Reason: "does not lead", LastHeard: at("18:13:24"), Membership: "MEMBER",
		},
		{NodeID: 2, Host: "server2", PgpoolPort: 9999, WdPort: 9000, State: "DEAD", Leader: -1, Quorum: -2, Membership: "REVOKED-NO-SHOW"},
		{NodeID: 3, Role: "learner", Leader: -1, Quorum: -1, HasLease: true, LeaseLeft: -time.Second},
		{NodeID: 4, Leader: -1, Quorum: 9},
	}}))
}

func TestPoolWatchdogOff(t *testing.T) {
	r := PoolWatchdog(Watchdog{})
	golden(t, "pool_watchdog_off", r)
	if r.Notice != "watchdog is not enabled" {
		t.Errorf("notice %q", r.Notice)
	}
}
