package machine

import "fmt"

// State is what a node is doing, as administrators see it (manual: watchdog status codes).
type State uint8

// States; their numbers are those of pcp_watchdog_info and wd_cli.
const (
	StateDead State = iota // never heard since this node started
	StateLoading
	StateJoining
	StateInitializing
	StateLeader
	StateParticipating
	StateStanding
	StateStandby
	StateLost
	StateTrouble
	StateShutdown
	StateAddSent
	StateIsolated
)

var stateNames = [...]string{
	"DEAD", "LOADING", "JOINING", "INITIALIZING", "LEADER", "PARTICIPATING IN ELECTION", "STANDING FOR LEADER", "STANDBY", "LOST",
	"IN NETWORK TROUBLE", "SHUTDOWN", "ADD MESSAGE SENT", "NETWORK ISOLATION",
}

func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("UNKNOWN (%d)", uint8(s))
}

// Active reports whether a node in this state takes part.
func (s State) Active() bool { return s != StateDead && s != StateLost && s != StateShutdown }

// Membership tells whether a node counts for the quorum.
type Membership uint8

// Memberships; their numbers are those of pcp_watchdog_info.
const (
	Member Membership = iota
	RevokedShutdown
	RevokedNoShow
	RevokedLost
)

var membershipNames = [...]string{"MEMBER", "REVOKED-SHUTDOWN", "REVOKED-NO-SHOW", "REVOKED-LOST"}

func (m Membership) String() string {
	if int(m) < len(membershipNames) {
		return membershipNames[m]
	}
	return fmt.Sprintf("UNKNOWN (%d)", uint8(m))
}
