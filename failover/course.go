package failover

import "fmt"

// course words the reasons that tell of requests and of the course of an operation. Tools look for these lines.
func (r Reason) course() (string, bool) {
	if text, ok := r.asked(); ok {
		return text, true
	}
	n := int(r.Node)
	switch r.Kind {
	case FailoverBegins:
		return "Pgpool-II parent process has received failover request", true
	case Degenerating:
		return fmt.Sprintf("=== Starting degeneration. shutdown host %s ===", r.Old), true
	case FailbackBegins:
		return fmt.Sprintf("=== Starting fail back. reconnect host %s ===", r.Old), true
	case NoMain:
		return "failover: no valid backend node found", true
	case SearchBegins:
		return "find_primary_node_repeatedly: waiting for finding a primary node", true
	case SearchFailed:
		return "failed to find primary node", true
	case PrimaryChanged:
		return fmt.Sprintf("failover: set new primary node: %d", n), true
	case MainChanged:
		return fmt.Sprintf("failover: set new main node: %d", n), true
	case FollowDegenerating:
		return fmt.Sprintf("starting follow degeneration. shutdown host %s", r.Old), true
	case FollowCount:
		return fmt.Sprintf("failover: %d follow backends have been degenerated", r.Count), true
	case FailoverDone:
		return fmt.Sprintf("=== Failover done. shutdown host %s ===", r.Old), true
	case FailbackDone:
		return fmt.Sprintf("=== Failback done. reconnect host %s ===", r.Old), true
	case PromotionDone:
		return fmt.Sprintf("=== Promotion done. promoted host %s ===", r.Old), true
	case FenceLate:
		return "not all sessions have let go of the connections of the failed nodes, going on without waiting for them", true
	case Executing:
		return "execute command: " + r.New, true
	case CommandEnded:
		return fmt.Sprintf("%s for node %d has ended", r.Old, n), true
	case CommandFailed:
		return fmt.Sprintf("%s for node %d has failed", r.Old, n), true
	case FollowBegins:
		return fmt.Sprintf("=== Starting follow primary command for node %d ===", n), true
	case FollowEnds:
		return fmt.Sprintf("=== Follow primary command for node %d ended ===", n), true
	case FollowDropped:
		return fmt.Sprintf("follow_primary_command is not run for node %d, node %s is no longer the primary", n, list(r.Others)), true
	}
	return "", false
}

// asked words the reasons that tell of a request.
func (r Reason) asked() (string, bool) {
	n := int(r.Node)
	switch r.Kind {
	case DetachAsked:
		return fmt.Sprintf("received degenerate backend request for node_id: %d from pid [%s]", n, r.New), true
	case DetachUnknown:
		return fmt.Sprintf("invalid degenerate backend request, node id: %d is not configured", n), true
	case DetachInvalid:
		return fmt.Sprintf("invalid degenerate backend request, node id : %d status: [%s] is not valid for failover", n, r.Old), true
	case DetachKept:
		return fmt.Sprintf("node %d stays down until it is attached, and nothing is done to its server", n), true
	case Outdated:
		return fmt.Sprintf("finding about node %d by %s is outdated", n, r.Old), true
	case DetachOff:
		return fmt.Sprintf("node %d is kept, because a %s causes no failover", n, r.Old), true
	case DetachDisallowed:
		return disallowed(r.Node, r.New), true
	case DetachEarly:
		return fmt.Sprintf("node %d is kept until the primary has been found or search_primary_node_timeout is over", n), true
	case DetachUnproved:
		return fmt.Sprintf("finding about node %d by %s does not prove that it is gone: %s", n, r.Old, r.Finding), true
	case DetachDoubtful:
		return fmt.Sprintf("node %d is checked because of a %s: %s", n, r.Old, r.Finding), true
	case AttachAsked:
		return fmt.Sprintf("received failback request for node_id: %d from pid [%s]", n, r.New), true
	case AttachUnknown:
		return fmt.Sprintf("invalid failback request, node id: %d is not configured", n), true
	case AttachInvalid:
		return fmt.Sprintf("invalid failback request, node id : %d status: [%s] not valid for failback", n, r.Old), true
	case PromoteAsked:
		return fmt.Sprintf("received promote backend request for node_id: %d from pid [%s]", n, r.New), true
	case PromoteRefused:
		return r.Old, true
	}
	return "", false
}
