package main

import (
	"fmt"
	"strconv"
	"strings"

	"gopgpool/pcp"
)

func formatWatchdogInfo(w pcp.WatchdogInfo, verbose bool) string {
	var b strings.Builder
	total := w.RemoteNodeCount + 1 // with the local one
	if !verbose {
		fmt.Fprintf(&b, "%d %d %s %s %s\n\n", total, w.MemberRemoteNodeCount+1, yes(w.Escalated), w.LeaderNodeName, w.LeaderHostName)
		for _, n := range w.WatchdogNodes {
			fmt.Fprintf(&b, "%s %s %d %d %d %s %d %s\n", n.NodeName, n.HostName, n.PgpoolPort, n.WdPort, n.State, n.StateName,
				n.Membership, n.MembershipString)
		}
		return b.String()
	}
	b.WriteString("Watchdog Cluster Information \n")
	// The labels fill their column: there is no blank before the colon of the longest.
	for _, l := range []line{
		{"Total Nodes", strconv.Itoa(total)},
		{"Remote Nodes", strconv.Itoa(w.RemoteNodeCount)},
		{"Member Remote Nodes", strconv.Itoa(w.MemberRemoteNodeCount)},
		{"Alive Remote Nodes", strconv.Itoa(w.AliveNodeCount)},
		{"Nodes required for quorum", strconv.Itoa(w.NodesRequireForQuorum)},
		{"Quorum state", quorumText(w.QuorumStatus)},
		{"Local node escalation", yes(w.Escalated)},
		{"Leader Node Name", w.LeaderNodeName},
		{"Leader Host Name", w.LeaderHostName},
	} {
		fmt.Fprintf(&b, "%-25s: %s\n", l.label, l.value)
	}
	b.WriteString("\nWatchdog Node Information \n")
	for _, n := range w.WatchdogNodes {
		labelled(&b, 17,
			line{"Node Name", n.NodeName},
			line{"Host Name", n.HostName},
			line{"Delegate IP", n.DelegateIP},
			line{"Pgpool port", strconv.Itoa(n.PgpoolPort)},
			line{"Watchdog port", strconv.Itoa(n.WdPort)},
			line{"Node priority", strconv.Itoa(n.Priority)},
			line{"Status", strconv.Itoa(n.State)},
			line{"Status Name", n.StateName},
			line{"Membership Status", n.MembershipString},
		)
	}
	return b.String()
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
