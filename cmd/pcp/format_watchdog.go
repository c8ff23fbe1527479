package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gopgpool/pcp"
)

// watchdogLayout is the form of what pcp_watchdog_info prints.
type watchdogLayout uint8

const (
	watchdog47 watchdogLayout = iota // that of 4.3 and later
	watchdog42                       // without membership
	watchdog41                       // likewise, and the leader is the master
)

func parseWatchdogLayout(text string) (watchdogLayout, bool) {
	i := slices.Index([]string{"4.7", "4.2", "4.1"}, text)
	return watchdogLayout(max(i, 0)), i >= 0
}

// leader is what the layout calls it.
func (l watchdogLayout) leader() string {
	if l == watchdog41 {
		return "Master"
	}
	return "Leader"
}

func (l watchdogLayout) stateName(n pcp.WatchdogNode) string {
	return strings.Replace(n.StateName, "LEADER", strings.ToUpper(l.leader()), 1)
}

func formatWatchdogInfo(w pcp.WatchdogInfo, layout watchdogLayout, verbose bool) string {
	if verbose {
		return verboseWatchdog(w, layout)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d ", w.RemoteNodeCount+1) // with the local one
	if layout == watchdog47 {
		fmt.Fprintf(&b, "%d ", w.MemberRemoteNodeCount+1)
	}
	fmt.Fprintf(&b, "%s %s %s\n\n", yes(w.Escalated), w.LeaderNodeName, w.LeaderHostName)
	for _, n := range w.WatchdogNodes {
		fmt.Fprintf(&b, "%s %s %d %d %d %s", n.NodeName, n.HostName, n.PgpoolPort, n.WdPort, n.State, layout.stateName(n))
		if layout == watchdog47 {
			fmt.Fprintf(&b, " %d %s", n.Membership, n.MembershipString)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func verboseWatchdog(w pcp.WatchdogInfo, layout watchdogLayout) string {
	var b strings.Builder
	b.WriteString("Watchdog Cluster Information \n")
	// The labels fill their column: there is no blank before the colon of the longest.
	for _, l := range clusterLines(w, layout) {
		fmt.Fprintf(&b, "%-25s: %s\n", l.label, l.value)
	}
	b.WriteString("\nWatchdog Node Information \n")
	for _, n := range w.WatchdogNodes {
		lines := []line{
			{"Node Name", n.NodeName},
			{"Host Name", n.HostName},
			{"Delegate IP", n.DelegateIP},
			{"Pgpool port", strconv.Itoa(n.PgpoolPort)},
			{"Watchdog port", strconv.Itoa(n.WdPort)},
			{"Node priority", strconv.Itoa(n.Priority)},
			{"Status", strconv.Itoa(n.State)},
			{"Status Name", layout.stateName(n)},
		}
		if layout == watchdog47 {
			lines = append(lines, line{"Membership Status", n.MembershipString})
		}
		labelled(&b, 17, lines...)
	}
	return b.String()
}

func clusterLines(w pcp.WatchdogInfo, layout watchdogLayout) []line {
	lines := []line{
		{"Total Nodes", strconv.Itoa(w.RemoteNodeCount + 1)},
		{"Remote Nodes", strconv.Itoa(w.RemoteNodeCount)},
		{"Member Remote Nodes", strconv.Itoa(w.MemberRemoteNodeCount)},
		{"Alive Remote Nodes", strconv.Itoa(w.AliveNodeCount)},
		{"Nodes required for quorum", strconv.Itoa(w.NodesRequireForQuorum)},
		{"Quorum state", quorumText(w.QuorumStatus)},
		{"Local node escalation", yes(w.Escalated)},
		{layout.leader() + " Node Name", w.LeaderNodeName},
		{layout.leader() + " Host Name", w.LeaderHostName},
	}
	if layout == watchdog47 {
		return lines
	}
	return slices.DeleteFunc(lines, func(l line) bool {
		return l.label == "Member Remote Nodes" || l.label == "Nodes required for quorum"
	})
}

func yes(n int) string {
	if n != 0 {
		return "YES"
	}
	return "NO"
}

func quorumText(status int) string {
	switch status {
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
