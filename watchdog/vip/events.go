package vip

import (
	"fmt"
	"net/netip"
	"os"

	"gopgpool/logging"
)

// Texts that administrators search for (manual: Watchdog).

func escalationStarts() []logging.Event {
	return []logging.Event{
		{Message: "I am the cluster leader node. Starting escalation process"},
		{Message: fmt.Sprintf("escalation process started with PID:%d", os.Getpid())},
		{Message: "watchdog: escalation started"},
	}
}

func escalationEnds() logging.Event {
	return logging.Event{Message: fmt.Sprintf("watchdog escalation process with pid: %d exit with SUCCESS.", os.Getpid())}
}

func deEscalationStarts() logging.Event {
	return logging.Event{Message: "watchdog: de-escalation started"}
}

func acquired(ip netip.Addr, detail string) logging.Event {
	return logging.Event{Message: fmt.Sprintf("successfully acquired the delegate IP:%q", ip.String()), Detail: detail}
}

func notAcquired(detail string) []logging.Event {
	return []logging.Event{
		{Message: "failed to acquire the delegate IP address", Detail: detail},
		{Severity: logging.Warning, Message: "watchdog escalation failed to acquire delegate IP", Detail: detail},
	}
}

func released(ip netip.Addr, detail string) logging.Event {
	return logging.Event{Message: fmt.Sprintf("successfully released the delegate IP:%q", ip.String()), Detail: detail}
}

func notReleased(detail string) []logging.Event {
	return []logging.Event{
		{Message: "failed to release the delegate IP address", Detail: detail},
		{Severity: logging.Warning, Message: "watchdog de-escalation failed to bring down delegate IP", Detail: detail},
	}
}

func placedAgain(ip netip.Addr, device string) logging.Event {
	return logging.Event{
		Severity: logging.Warning, Message: fmt.Sprintf("delegate IP %q was gone from %q, bringing it up again", ip.String(), device),
	}
}

func leftOver(ip netip.Addr, device string) logging.Event {
	return logging.Event{
		Severity: logging.Warning, Message: fmt.Sprintf("removed the delegate IP %q from %q", ip.String(), device),
		Detail: "This node does not hold it: an earlier process or a command has left it.",
	}
}

func foreign(ip netip.Addr, device string) logging.Event {
	return logging.Event{
		Severity: logging.Warning,
		Message:  fmt.Sprintf("delegate IP %q is on %q, but this node does not hold it", ip.String(), device),
		Detail:   "Somebody else has brought it up. It is left alone.",
		Hint:     "Remove it, unless another pgpool on this host holds it.",
	}
}

func notLeased(ip netip.Addr) logging.Event {
	return logging.Event{
		Message: fmt.Sprintf("delegate IP %q is on no device of this host", ip.String()),
		Detail:  "So no lease is enforced on it: what if_up_cmd did stays if this process is killed.",
	}
}

func commandEnded(parameter string, err error) logging.Event {
	if err != nil {
		return logging.Event{Severity: logging.Warning, Message: parameter + " failed", Detail: err.Error()}
	}
	return logging.Event{Message: parameter + " returned with success"}
}
