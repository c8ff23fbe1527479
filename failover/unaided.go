package failover

import "fmt"

// unaided words the reasons that tell of operations without scripts.
func (r Reason) unaided() (string, bool) {
	n := int(r.Node)
	switch r.Kind {
	case SwitchoverBegins:
		return fmt.Sprintf("switchover: node %d is to take over from node %s, waiting for transactions to end", n, list(r.Others)), true
	case SwitchoverDone:
		return fmt.Sprintf("switchover: node %d has taken over", n), true
	case SwitchoverFailed:
		return fmt.Sprintf("switchover: node %d has not taken over", n), true
	case ServerStopped:
		return fmt.Sprintf("auto_failover: the server of node %d, the old primary, is stopped", n), true
	case ServerNotStopped:
		return fmt.Sprintf("auto_failover: the server of node %d, the old primary, could not be stopped", n), true
	case Elected:
		return fmt.Sprintf("auto_failover: node %d is promoted (%s)", n, r.Old), true
	case NotElected:
		return "auto_failover: nobody is promoted", true
	case NotPromoted:
		return fmt.Sprintf("auto_failover: node %d could not be promoted", n), true
	case NotRestored:
		return fmt.Sprintf("auto_failover: the server of node %d, the old primary, could not be started again", n), true
	case Reinstated:
		return fmt.Sprintf("auto_failover: node %d, the old primary, serves again", n), true
	case NowUnfit:
		return fmt.Sprintf("node %d is not to be promoted: it lacks what is acknowledged from now on", n), true
	case NowFit:
		return fmt.Sprintf("node %d may be promoted again", n), true
	case LastIsLost:
		return fmt.Sprintf("auto_failover: node %d was the primary before this start and is not there any more", n), true
	case KeepsakeLost:
		return "what a restart needs to finish a failover could not be read or written", true
	}
	return "", false
}
