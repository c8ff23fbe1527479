package site

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// WatchdogInfo is what pcp_watchdog_info prints, in the form of today.
type WatchdogInfo struct {
	Summary string // total nodes, member nodes, escalation of the asked node
	Leader  string // the leader's host
	Nodes   []WatchdogNode
}

// WatchdogNode is a line of it. The asked node comes first.
type WatchdogNode struct {
	Name, Host       string
	PgpoolPort, Port string
	State            string // code and name: 4 LEADER
	Membership       string // code and name: 0 MEMBER
}

// ParseWatchdogInfo reads it.
func ParseWatchdogInfo(text string) (info WatchdogInfo, err error) {
	head, list, found := strings.Cut(strings.TrimSpace(text), "\n\n")
	f := strings.Fields(head)
	// The leader's name has three words; without a leader there are fewer, and no host.
	if !found || len(f) < 3 {
		return info, fmt.Errorf("pcp_watchdog_info: %q", text)
	}
	info.Summary = strings.Join(f[:3], " ")
	if len(f) >= 7 {
		info.Leader = f[len(f)-1]
	}
	for line := range strings.Lines(list) {
		n, err := parseWatchdogNode(line)
		if err != nil {
			return info, err
		}
		info.Nodes = append(info.Nodes, n)
	}
	return info, nil
}

// parseWatchdogNode reads from the end, for a name may be Not_Set, which is one word, or three.
func parseWatchdogNode(line string) (n WatchdogNode, err error) {
	f := strings.Fields(line)
	if len(f) < 8 {
		return n, fmt.Errorf("pcp_watchdog_info: line %q", line)
	}
	n.Membership = strings.Join(f[len(f)-2:], " ")
	f = f[:len(f)-2]
	// State names have several words; the code is the last number.
	i := len(f) - 1
	for i > 0 && strings.Trim(f[i], "0123456789") != "" {
		i--
	}
	if i < 4 {
		return n, fmt.Errorf("pcp_watchdog_info: line %q", line)
	}
	n.State, n.Port, n.PgpoolPort, n.Host = strings.Join(f[i:], " "), f[i-1], f[i-2], f[i-3]
	n.Name = strings.Join(f[:i-3], " ")
	return n, nil
}

// State is the state in which a host's pgpool is seen, or "".
func (i WatchdogInfo) State(host string) string {
	for _, n := range i.Nodes {
		if n.Host == host {
			return n.State
		}
	}
	return ""
}

// WatchdogInfo asks a pgpool, named by its host or address.
func (c *Cluster) WatchdogInfo(tb testing.TB, at string) (WatchdogInfo, error) {
	tb.Helper()
	return ParseWatchdogInfo(c.PCP(tb, at, "watchdog_info"))
}

// AwaitStates waits until a pgpool sees these states, one for each in the order of their numbers.
func (c *Cluster) AwaitStates(tb testing.TB, limit time.Duration, at string, want ...string) {
	tb.Helper()
	c.Await(tb, fmt.Sprintf("%s sees %s", at, strings.Join(want, ", ")), limit, func() (string, bool) {
		info, err := c.WatchdogInfo(tb, at)
		if err != nil {
			return err.Error(), false
		}
		ok := true
		var seen []string
		for id, p := range c.Pgpools {
			seen = append(seen, info.State(p.Host.Name))
			ok = ok && id < len(want) && seen[id] == want[id]
		}
		return strings.Join(seen, ", "), ok
	})
}
