package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"gopgpool/pcp"
)

// line is a label and its value.
type line struct{ label, value string }

// labelled prints lines with their labels filled up to width, and an empty line.
func labelled(b *strings.Builder, width int, lines ...line) {
	for _, l := range lines {
		fmt.Fprintf(b, "%-*s : %s\n", width, l.label, l.value)
	}
	b.WriteByte('\n')
}

// values are the values of lines, separated by blanks.
func values(lines []line) string {
	texts := make([]string, len(lines))
	for i, l := range lines {
		texts[i] = l.value
	}
	return strings.Join(texts, " ") + "\n"
}

func number(n int64) string  { return strconv.FormatInt(n, 10) }
func float(x float64) string { return strconv.FormatFloat(x, 'f', 6, 64) }

func digit(on bool) string {
	if on {
		return "1"
	}
	return "0"
}

func formatNodeCount(n int, verbose bool) string {
	if verbose {
		return fmt.Sprintf("Node Count\n____________\n %d\n", n)
	}
	return fmt.Sprintln(n)
}

// formatNodeInfo leaves out nodes without a host, unless all is set.
func formatNodeInfo(rows []pcp.NodeInfo, verbose, all bool) string {
	var b strings.Builder
	for _, n := range rows {
		switch lines := nodeLines(n, verbose); {
		case n.Host == "" && !all:
		case verbose:
			labelled(&b, 22, lines...)
		default:
			b.WriteString(values(lines))
		}
	}
	if b.Len() == 0 {
		return "No node information available\n\n"
	}
	return b.String()
}

func nodeLines(n pcp.NodeInfo, verbose bool) []line {
	return []line{
		{"Hostname", n.Host},
		{"Port", strconv.Itoa(n.Port)},
		{"Status", strconv.Itoa(n.Status)},
		{"Weight", float(n.Weight)},
		{"Status Name", statusName(n)},
		{"Backend Status Name", n.BackendStatus},
		{"Role", roleName(n.Role)},
		{"Backend Role", n.BackendRole},
		{"Replication Delay", delay(n, verbose)},
		{"Replication State", orNone(n.ReplicationState)},
		{"Replication Sync State", orNone(n.SyncState)},
		{"Last Status Change", n.LastStatusChange.Local().Format(time.DateTime)},
	}
}

func statusName(n pcp.NodeInfo) string {
	switch {
	case n.Status == 3 && n.Quarantine:
		return "quarantine"
	case n.Status >= 0 && n.Status <= 3:
		return [...]string{"unused", "waiting", "up", "down"}[n.Status]
	}
	return "unknown"
}

func roleName(role int) string {
	if role >= 0 && role <= 3 {
		return [...]string{"main", "replica", "primary", "standby"}[role]
	}
	return "unknown"
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// delay is in bytes, or in seconds, which are named where there is room for it.
func delay(n pcp.NodeInfo, verbose bool) string {
	if !n.DelayByTime {
		return number(n.Delay)
	}
	seconds := float(float64(n.Delay) / 1e6)
	switch {
	case !verbose:
		return seconds
	case n.Delay >= 2e6:
		return seconds + " seconds"
	}
	return seconds + " second"
}

func formatHealthCheckStats(h pcp.HealthCheckStats, verbose bool) string {
	lines := []line{
		{"Node Id", number(h.NodeID)},
		{"Host Name", h.Host},
		{"Port", number(h.Port)},
		{"Status", h.Status},
		{"Role", h.Role},
		{"Last Status Change", h.LastStatusChange},
		{"Total Count", number(h.Total)},
		{"Success Count", number(h.Success)},
		{"Fail Count", number(h.Fail)},
		{"Skip Count", number(h.Skip)},
		{"Retry Count", number(h.Retry)},
		{"Average Retry Count", float(h.AverageRetry)},
		{"Max Retry Count", number(h.MaxRetry)},
		{"Max Health Check Duration", number(h.MaxDuration)},
		{"Minimum Health Check Duration", number(h.MinDuration)},
		{"Average Health Check Duration", float(h.AverageDuration)},
		{"Last Health Check", h.LastCheck},
		{"Last Successful Health Check", h.LastSuccess},
		{"Last Skip Health Check", h.LastSkip},
		{"Last Failed Health Check", h.LastFailure},
	}
	if !verbose {
		return values(lines)
	}
	var b strings.Builder
	labelled(&b, 29, lines...)
	return b.String()
}

func formatProcCount(pids []int, verbose bool) string {
	var b strings.Builder
	if !verbose {
		for _, pid := range pids {
			fmt.Fprintf(&b, "%d ", pid)
		}
		return b.String() + "\n"
	}
	b.WriteString("No \t | \t PID\n_____________________\n")
	for i, pid := range pids {
		fmt.Fprintf(&b, "%d \t | \t %d\n", i, pid)
	}
	fmt.Fprintf(&b, "\nTotal Processes:%d\n", len(pids))
	return b.String()
}

// formatProcessInfo leaves out places without a connection, unless all is set.
func formatProcessInfo(rows []pcp.ProcessInfo, verbose, all bool) string {
	var b strings.Builder
	for _, p := range rows {
		switch {
		case p.Database == "" && !all:
		case verbose:
			labelled(&b, 25, processLines(p)...)
		default:
			b.WriteString(values(processLines(p)))
		}
	}
	if b.Len() == 0 {
		return "No process information available\n\n"
	}
	return b.String()
}

// processLines have the columns that the server's release has.
func processLines(p pcp.ProcessInfo) []line {
	lines := []line{
		{"Database", p.Database},
		{"Username", p.User},
		{"Start time", p.StartTime},
		{"Client connection count", number(p.Clients)},
		{"Major", number(p.Major)},
		{"Minor", number(p.Minor)},
		{"Backend connection time", p.BackendConnected},
		{"Client connection time", p.ClientConnected},
		{"Client idle duration", p.ClientIdle},
		{"Client disconnection time", p.ClientDisconnected},
		{"Pool Counter", number(p.PoolCounter)},
		{"Backend PID", number(p.BackendPID)},
		{"Connected", digit(p.Connected)},
		{"PID", number(p.PID)},
		{"Backend ID", number(p.BackendID)},
		{"Status", p.Status},
	}
	if p.HasLoadBalance {
		lines = append(lines, line{"Load balance node", digit(p.LoadBalanceNode)})
	}
	if p.HasClient {
		lines = append(lines, line{"client_host", p.ClientHost}, line{"client_port", p.ClientPort}, line{"statement", p.Statement})
	}
	return lines
}

func formatPoolStatus(rows []pcp.Parameter, verbose bool) string {
	var b strings.Builder
	for i, r := range rows {
		if verbose {
			fmt.Fprintf(&b, "Name [%3d]:\t%s\nValue:      \t%s\nDescription:\t%s\n\n", i, r.Name, r.Value, r.Description)
		} else {
			fmt.Fprintf(&b, "name : %s\nvalue: %s\ndesc : %s\n\n", r.Name, r.Value, r.Description)
		}
	}
	return b.String()
}
