package machine

// Quorum tells whether enough nodes are there (manual: quorum status). Its numbers are those of pcp_watchdog_info.
type Quorum int8

// Quorums.
const (
	QuorumExists   Quorum = 1
	QuorumOnEdge   Quorum = 0 // exactly half, and half is enough
	QuorumAbsent   Quorum = -1
	QuorumNoLeader Quorum = -2
)

func (q Quorum) String() string {
	switch q {
	case QuorumExists:
		return "QUORUM EXIST"
	case QuorumOnEdge:
		return "QUORUM IS ON THE EDGE"
	case QuorumAbsent:
		return "QUORUM ABSENT"
	case QuorumNoLeader:
		return "NO LEADER NODE"
	}
	return "UNKNOWN"
}

// quorumOf judges that alive of members nodes are there.
func quorumOf(members, alive int, half bool) Quorum {
	switch {
	case 2*alive > members:
		return QuorumExists
	case 2*alive == members && half && members > 0:
		return QuorumOnEdge
	}
	return QuorumAbsent
}

// required is how many of members nodes must be alive, and how many votes a request needs.
func required(members int, half bool) int {
	if half && members%2 == 0 && members > 0 {
		return members / 2
	}
	return members/2 + 1
}
