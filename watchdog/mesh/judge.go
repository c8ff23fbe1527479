package mesh

import (
	"fmt"
	"net/netip"
	"strings"

	"gopgpool/logging"
)

// refusal is why we do not want to talk to somebody. Text is told to the other side too.
type refusal struct {
	event logging.Event
	text  string
}

func (r *refusal) Error() string { return r.text }

// refused is the other side's refusal of us.
type refused struct{ text string }

func (r *refused) Error() string { return "refused: " + r.text }

func who(h *hello) string {
	return fmt.Sprintf("hostname:%q port:%d pgpool_port:%d", h.Host, h.WdPort, h.PgpoolPort)
}

func refuseKey(h *hello) *refusal {
	return &refusal{
		text: "authentication failed for add node from " + who(h) + ": wd_authkey differs",
		event: logging.Event{
			Severity: logging.Notice, Message: "authentication failed for add node from " + who(h),
			Detail: "wd_authkey must be the same on all nodes",
		},
	}
}

func refuseVersion(theirs, ours uint16) *refusal {
	text := fmt.Sprintf("protocol version %d is not understood, this node speaks version %d", theirs, ours)
	return &refusal{text: text, event: logging.Event{
		Severity: logging.Notice, Message: "add node rejected.", Detail: text,
	}}
}

func refuseNode(h *hello, why string) *refusal {
	return &refusal{
		text: "add node from " + who(h) + " rejected: " + why,
		event: logging.Event{
			Severity: logging.Notice, Message: "add node from " + who(h) + " rejected.",
			Detail: why, Hint: "verify the configuration of the other watchdog node",
		},
	}
}

func refuseSameID(h *hello, self int, ours string) *refusal {
	text := fmt.Sprintf("pgpool node id %d of %q is also the id of the local node %d, %q", h.Node, h.Name, self, ours)
	return &refusal{text: text, event: logging.Event{
		Severity: logging.Error, Message: text, Hint: "every node needs a pgpool_node_id of its own",
	}}
}

// judge compares what a node announced with our configuration; nil admits it (manual: adding a node). At is tried when the
// announced host name is not the configured one: does that name mean the address the peer speaks from?
func judge(c *Config, h *hello, at func(host string) bool) *refusal {
	id := int(h.Node)
	switch {
	case id == c.Self:
		return refuseSameID(h, c.Self, c.Name)
	case id >= len(c.Nodes) || c.Nodes[id].WdPort == 0:
		return refuseNode(h, fmt.Sprintf("there is no node %d in the configuration of node %d", id, c.Self))
	case int(h.To) != c.Self:
		return refuseNode(h, fmt.Sprintf("it looks for node %d, but this is node %d", h.To, c.Self))
	case int(h.WdPort) != c.Nodes[id].WdPort:
		return refuseNode(h, fmt.Sprintf("wd_port%d is %d on node %d", id, c.Nodes[id].WdPort, c.Self))
	case int(h.PgpoolPort) != c.Nodes[id].PgpoolPort:
		return refuseNode(h, fmt.Sprintf("pgpool_port%d is %d on node %d", id, c.Nodes[id].PgpoolPort, c.Self))
	case h.NodesHash != c.NodesHash && h.NodesHash != "" && c.NodesHash != "": // ids, hosts and ports were compared above
		return refuseNode(h, fmt.Sprintf("the lists of nodes differ, %q on node %d, %q on node %d",
			h.NodesHash, id, c.NodesHash, c.Self))
	case !strings.EqualFold(h.Host, c.Nodes[id].Host) && !at(c.Nodes[id].Host):
		return refuseNode(h, fmt.Sprintf("hostname%d is %q on node %d", id, c.Nodes[id].Host, c.Self))
	}
	return nil
}

// printable makes text of a stranger fit for a log line.
func printable(b []byte) string {
	if len(b) > maxWhy {
		b = b[:maxWhy]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			return '?'
		}
		return r
	}, string(b))
}

// plain is the address without a zone and not as IPv6 form of an IPv4 address, so that it compares.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
