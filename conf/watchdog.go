package conf

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	shortestLease    = 3 * time.Second
	longestUnasked   = 10 * time.Second
	defaultStateRoot = "/var/lib/pgpool"
)

// Lease is the time after which a leader that hears from no quorum is leader no more: wd_lease_time, or what 0 stands for,
// wd_heartbeat_deadtime within 3 to 10 s. Always whole seconds, 3 at least.
func (w *Watchdog) Lease() time.Duration {
	if w.WdLeaseTime > 0 {
		return w.WdLeaseTime
	}
	return min(max(w.WdHeartbeatDeadtime, shortestLease), longestUnasked)
}

// StateDirectory is where the node keeps what it must remember: wd_state_directory, else a directory under /var/lib/pgpool
// with the own watchdog port in its name, so that nodes sharing a host do not share it.
func (w *Watchdog) StateDirectory() string {
	if w.WdStateDirectory != "" {
		return w.WdStateDirectory
	}
	return filepath.Join(defaultStateRoot, "wd_"+strconv.Itoa(w.local().WdPort))
}

// local is the own entry of Nodes, an empty one when there is none.
func (w *Watchdog) local() WatchdogNode {
	if w.NodeID < 0 || w.NodeID >= len(w.Nodes) {
		return WatchdogNode{}
	}
	return w.Nodes[w.NodeID]
}

// count is the number of configured nodes.
func (w *Watchdog) count() int {
	n := 0
	for i := range w.Nodes {
		if w.Nodes[i].WdPort != 0 {
			n++
		}
	}
	return n
}

// NodesHash stands for the list of nodes that their numbers come from, when they come from the per-node parameters of older releases:
// two nodes with different ones mean different nodes by the same number and must not join. It begins with the list, for the log, cut
// where it is long: "a:9000 b:9000 (5f7c...)". It is empty when the nodes are numbered in the file; each number's host and ports
// are compared one by one then.
func (w *Watchdog) NodesHash() string {
	if !w.NumberedByRank {
		return ""
	}
	names := make([]string, 0, len(w.Nodes))
	for _, n := range w.Nodes {
		names = append(names, net.JoinHostPort(strings.ToLower(n.Hostname), strconv.Itoa(n.WdPort)))
	}
	list := strings.Join(names, " ")
	sum := sha256.Sum256([]byte(list))
	const most = 300
	if len(list) > most {
		list = list[:most] + "..."
	}
	return list + " (" + hex.EncodeToString(sum[:8]) + ")"
}

// takeDevice makes delegate_device take the place of the commands about the virtual address, since their defaults name a device of
// their own. Commands that are set stay; with an if_up_cmd all of them do.
func (l *loader) takeDevice() {
	device, ok := l.assigned[key{"delegate_device", noIndex}]
	if !ok || device.text == "" || strings.TrimSpace(l.assigned[key{"if_up_cmd", noIndex}].text) != "" {
		return
	}
	for _, name := range []string{"if_up_cmd", "if_down_cmd", "arping_cmd"} {
		k := key{name, noIndex}
		if _, set := l.assigned[k]; !set {
			l.assigned[k] = assignment{key: k, file: device.file, line: device.line, mapped: true}
		}
	}
}
