package conf

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
)

// oldNode is a pgpool node as the per-node files of 4.1 describe it: the local one, or an other_*K block.
type oldNode struct {
	link       int // K, noIndex for the local node
	host       string
	pgpoolPort string
	wdPort     string
	from       assignment
	heartbeats []string
	hbPort     string
	devices    []string
}

// oldBlock is all old watchdog parameters of a file, by base and link.
type oldBlock map[key]assignment

func (b oldBlock) text(base string, link int, def string) string {
	if a, ok := b[key{base, link}]; ok {
		return a.text
	}
	return def
}

// mapWatchdog turns the per-node blocks of 4.1 into numbered ones. The numbers must be the same in every node's file, so they
// are the ranks in the list of all nodes sorted by host and watchdog port.
func (l *loader) mapWatchdog(old []assignment) {
	if len(old) == 0 {
		return
	}
	if k, ok := l.hasNumberedWatchdog(); ok {
		for _, a := range old {
			l.warnOld(a, "it is ignored because "+displayName(k)+" is set", "")
		}
		return
	}
	block := make(oldBlock)
	for _, a := range old {
		k, _ := oldWatchdogName(a.name)
		block[k] = a
		l.warnOld(a, "it is taken as part of a numbered node", numberedName(k.name))
	}
	nodes := l.oldNodes(block, old[0])
	l.linkHeartbeats(block, nodes)
	slices.SortFunc(nodes, func(a, b *oldNode) int {
		return cmp.Or(cmp.Compare(a.host, b.host), cmp.Compare(a.wdPort, b.wdPort))
	})
	for id, n := range nodes {
		l.numberNode(id, n)
	}
}

// numberedName is today's name for one of the old ones.
func numberedName(base string) string {
	return map[string]string{
		"wd_hostname":                "hostnameN",
		"wd_port":                    "wd_portN",
		"wd_heartbeat_port":          "heartbeat_portN",
		"other_pgpool_hostname":      "hostnameN",
		"other_pgpool_port":          "pgpool_portN",
		"other_wd_port":              "wd_portN",
		"heartbeat_destination":      "heartbeat_hostnameN",
		"heartbeat_destination_port": "heartbeat_portN",
	}[base]
}

// hasNumberedWatchdog finds a numbered node of today's form. A device does not tell: its name is the same in both.
func (l *loader) hasNumberedWatchdog() (key, bool) {
	for _, a := range l.assigned.inOrder() {
		switch a.name {
		case "hostname", "wd_port", "pgpool_port", "heartbeat_hostname", "heartbeat_port":
			return a.key, true
		}
	}
	return key{}, false
}

func (l *loader) oldNodes(block oldBlock, first assignment) []*oldNode {
	const wdPort, pgpoolPort, heartbeatPort = "9000", "9999", "9694"
	port := pgpoolPort
	if a, ok := l.assigned[key{"port", noIndex}]; ok {
		port = a.text
	}
	own := &oldNode{
		link: noIndex, host: block.text("wd_hostname", noIndex, ""), pgpoolPort: port,
		wdPort: block.text("wd_port", noIndex, wdPort), hbPort: block.text("wd_heartbeat_port", noIndex, heartbeatPort),
	}
	own.heartbeats = []string{own.host}
	own.from = first
	if a, ok := block[key{"wd_hostname", noIndex}]; ok {
		own.from = a
	}
	nodes := []*oldNode{own}
	for _, k := range block.links("other_pgpool_hostname") {
		nodes = append(nodes, &oldNode{
			link: k, host: block.text("other_pgpool_hostname", k, ""), from: block[key{"other_pgpool_hostname", k}],
			pgpoolPort: block.text("other_pgpool_port", k, pgpoolPort), wdPort: block.text("other_wd_port", k, wdPort),
			hbPort: heartbeatPort,
		})
	}
	return nodes
}

// links are the numbers a base name occurs with, in order.
func (b oldBlock) links(base string) []int {
	var links []int
	for k := range b {
		if k.name == base {
			links = append(links, k.index)
		}
	}
	slices.Sort(links)
	return links
}

// linkHeartbeats gives each heartbeat link to the node it leads to: the one with that host name, else the only other one.
func (l *loader) linkHeartbeats(block oldBlock, nodes []*oldNode) {
	for _, k := range block.links("heartbeat_destination") {
		host := block.text("heartbeat_destination", k, "")
		n := linkTarget(nodes, host)
		if n == nil {
			l.warnOld(block[key{"heartbeat_destination", k}], "it belongs to no other node and is ignored", "heartbeat_hostnameN")
			continue
		}
		n.heartbeats = append(n.heartbeats, host)
		n.hbPort = block.text("heartbeat_destination_port", k, n.hbPort)
		if a, ok := l.assigned[key{"heartbeat_device", k}]; ok && a.text != "" {
			n.devices = append(n.devices, a.text)
		}
	}
	for n := range FamilyHeartbeat.maxIndex() + 1 {
		delete(l.assigned, key{"heartbeat_device", n})
	}
}

func linkTarget(nodes []*oldNode, host string) *oldNode {
	for _, n := range nodes {
		if n.link != noIndex && n.host == host {
			return n
		}
	}
	if len(nodes) == 2 {
		return nodes[1]
	}
	return nil
}

func (l *loader) numberNode(id int, n *oldNode) {
	put := func(name, text string) {
		k := key{name, id}
		l.assigned[k] = assignment{key: k, text: text, file: n.from.file, line: n.from.line, mapped: true}
	}
	put("hostname", n.host)
	put("wd_port", n.wdPort)
	put("pgpool_port", n.pgpoolPort)
	if len(n.heartbeats) > 0 {
		put("heartbeat_port", n.hbPort)
		put("heartbeat_hostname", joinList(n.heartbeats, ';'))
		put("heartbeat_device", joinList(n.devices, ';'))
	}
	if n.link == noIndex {
		l.localNode = id
		l.report(Problem{
			Severity: Warning, File: n.from.file, Line: n.from.line, Name: "pgpool_node_id", Value: strconv.Itoa(id),
			Text: fmt.Sprintf("the watchdog nodes of this file are numbered by host and port; this is node %d", id),
			Hint: "every other node's file must name the same hosts and ports",
		})
	}
}
