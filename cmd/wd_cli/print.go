package main

import (
	"errors"
	"fmt"
	"strings"

	"gopgpool/watchdog/ipc"
)

// formatNodes is what -i prints; total is the number of all nodes.
func formatNodes(total int, nodes []ipc.Node, verbose bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Total Watchdog nodes configured for lifecheck:    %d\n", total)
	if verbose {
		b.WriteString(strings.Repeat("*", 17) + "\n")
	}
	for i := range nodes {
		n := &nodes[i]
		if !verbose {
			// The 0 is a field of the original's that never has another value.
			fmt.Fprintf(&b, "%d 0 \"%s\"\"%s\"\"%s\" %d %d\n", n.ID, n.StateName, n.Name, n.Host, n.WdPort, n.PgpoolPort)
			continue
		}
		fmt.Fprintf(&b, "Node ID:           %d\nNode Status code:  %d\nNode Status:       %s\n", n.ID, n.State, n.StateName)
		fmt.Fprintf(&b, "Node Name:         %s\nNode Host:         %s\n", n.Name, n.Host)
		fmt.Fprintf(&b, "Node WD Port:      %d\nNode Pgpool Port:  %d\n\n", n.WdPort, n.PgpoolPort)
	}
	return b.String()
}

// listError is a list of nodes that could not be had.
type listError struct{ err error }

func (e listError) Error() string { return "list of nodes: " + e.err.Error() }
func (e listError) Unwrap() error { return e.err }

// informError is a verdict that did not arrive.
type informError struct {
	node int
	err  error
}

func (e informError) Error() string { return fmt.Sprintf("verdict about node %d: %v", e.node, e.err) }
func (e informError) Unwrap() error { return e.err }

// errorText is what an error looks like on stderr. The DETAIL lines, and that a verdict which was refused is an error, are ours.
func (i *invocation) errorText(err error) string {
	var inform informError
	if errors.As(err, &inform) {
		return fmt.Sprintf("ERROR: failed to inform watchdog about node id %d\nDETAIL: %v\n", inform.node, inform.err)
	}
	var list listError
	if !errors.As(err, &list) {
		return "ERROR: " + err.Error() + "\n"
	}
	var b strings.Builder
	say := func(severity, text string) { fmt.Fprintf(&b, "%s: pid %d: %s\n", severity, i.pid, text) }
	var refused *ipc.RefusedError
	switch {
	case errors.Is(err, ipc.ErrNotJSON):
		say("ERROR", "unable to parse json data for node list")
	case errors.Is(err, ipc.ErrIncomplete):
		say("ERROR", "invalid json data")
	default:
		if errors.Is(err, ipc.ErrNoReply) {
			say("WARNING", "error reading from IPC command socket for ipc command 3")
		}
		if !errors.As(err, &refused) || refused.Reply != ipc.ReplyBad {
			say("WARNING", "get watchdog nodes command failed")
		}
		say("ERROR", "get node list command reply contains no data")
	}
	fmt.Fprintf(&b, "DETAIL: %v\n", list.err)
	return b.String()
}

// helpText is what --help prints, on stderr.
func helpText() string {
	return `wd_cli - asks the watchdog of the pgpool on this machine about its nodes, or tells it about one
Usage:
  wd_cli OPERATION [OPTION...] [CRITERION...]

Operations:
  -i, --info             print the nodes that meet the criteria
  -I, --inform=STATUS    report that a node is DEAD or ALIVE

Criteria, all of which a node must meet; the first node that does is taken:
  -a, --all              all nodes, with --info only
  -n, --node-id=ID       pgpool_node_id
  -N, --node-name=NAME   name, in upper or lower case
  -H, --node-host=HOST   host, in upper or lower case
  -P, --node-port=PORT   watchdog port

Options:
  -f, --config-file=FILE take directory, port and key of the socket from this
                         pgpool.conf
  -s, --socket-dir=DIR   directory of the socket (default /tmp)
  -p, --ipc-port=PORT    port in its name, which is the watchdog port of the
                         pgpool on this machine (default 9898)
  -k, --auth-key=KEY     wd_authkey
  -m, --message=TEXT     text that goes with --inform
  -v, --verbose          print more
  -d, --debug            print what is done
  -V, --version          print the version
  -?, -h, --help         print this text
`
}
