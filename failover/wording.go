package failover

import "fmt"

// agreed words the reasons that tell of the agreement with other pgpool nodes. Tools look for these lines.
func (r Reason) agreed() (string, bool) {
	n := int(r.Node)
	request := fmt.Sprintf("degenerate backend request for node_id: %d from pid [%s]", n, r.New)
	switch r.Kind {
	case VoteBuilding:
		return request + ", will be handled by watchdog, which is building consensus for request", true
	case VoteHandled:
		return request + ", will be handled by watchdog", true
	case VoteCanceled:
		return request + " is canceled by other pgpool", true
	case VoteQuarantine:
		return request + " is changed to quarantine node request by watchdog", true
	case QuarantineBegins:
		return fmt.Sprintf("=== Starting quarantine. shutdown host %s ===", r.Old), true
	case QuarantineDone:
		return fmt.Sprintf("=== Quarantine done. shutdown host %s ===", r.Old), true
	case QuarantineEnds:
		return fmt.Sprintf("the quarantine of node %d is over, host %s is used again", n, r.Old), true
	case Resigns:
		return fmt.Sprintf("We are not able to build consensus for our primary node failover request, got %d votes only", r.Count), true
	case ResignsBlind:
		return "no server answers this node, and the other watchdog nodes do not agree that all are lost", true
	case AloneBegins:
		return "this node decides about backends alone", true
	case AloneOrder:
		return "the request is carried out on this node only, there is no quorum of watchdog nodes", true
	case AloneFailover:
		return "failover goes on without a quorum of watchdog nodes, because failover_when_quorum_exists is off", true
	}
	return r.synced()
}

// synced words the reasons that tell of a leader and those who follow it.
func (r Reason) synced() (string, bool) {
	n := int(r.Node)
	switch r.Kind {
	case GrantDropped:
		return "a request of another watchdog node was not carried out, because this node does not lead any more", true
	case OrderFailed:
		return fmt.Sprintf("request %q was not carried out", r.Old), true
	case LeaderData:
		return "I am the leader watchdog node", true
	case Resumed:
		return fmt.Sprintf("going on with the %s that another watchdog node has begun", r.Old), true
	case TakenUp:
		return fmt.Sprintf("going on with the %s that was under way when pgpool ended", r.Old), true
	case JoinedStandby:
		return "we have joined the watchdog cluster as STANDBY node", true
	case LeaderFailover:
		return "leader watchdog has performed failover", true
	case LeaderStatus:
		return fmt.Sprintf("leader watchdog node %q returned status for %d backend nodes", r.Old, r.Count), true
	case SetDown:
		return fmt.Sprintf("backend:%d is set to down status", n), true
	case SetUp:
		return fmt.Sprintf("backend:%d is set to UP status", n), true
	case Stranger:
		return fmt.Sprintf("node %d is %s here and %s on the leader of the watchdog cluster", n, r.Old, r.New), true
	case OthersLate:
		return "not all watchdog nodes have cut the connections of the failed nodes, going on without waiting for them", true
	case NotCommitted:
		return "the decision could not be written on most of the watchdog nodes, trying again", true
	case DecisionUnread:
		return "a decision of the watchdog cluster cannot be read", true
	}
	return "", false
}
