package conf

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// oldNode is a pgpool node as the per-node files of 4.1 describe it: the local one, or an other_*K block.
type oldNode struct {
	link       int // K, noIndex for the local node
	host       string
	pgpoolPort string
	wdPort     string
	from       assignment
	links      []oldLink
	hbPort     string
}

// oldLink is a way heartbeats take to a node.
type oldLink struct{ host, device string }

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
	slices.SortStableFunc(nodes, compareOldNodes)
	for id, n := range nodes {
		l.numberNode(id, n)
	}
	l.listenEverywhere(nodes)
}

// compareOldNodes orders nodes alike whatever file they come from: hosts without regard to case, ports as numbers.
func compareOldNodes(a, b *oldNode) int {
	port := func(n *oldNode) int64 {
		v, _, _ := splitNumber(n.wdPort)
		return v.whole
	}
	return cmp.Or(cmp.Compare(strings.ToLower(a.host), strings.ToLower(b.host)), cmp.Compare(port(a), port(b)))
}

// listenEverywhere: such a file names the addresses heartbeats go to, the own ones only in the other nodes' files.
func (l *loader) listenEverywhere(nodes []*oldNode) {
	k := key{"wd_heartbeat_listen_addresses", noIndex}
	if _, set := l.assigned[k]; set {
		return
	}
	l.assigned[k] = assignment{key: k, text: "*", file: nodes[0].from.file, line: nodes[0].from.line, mapped: true}
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
	own.from = first
	if a, ok := block[key{"wd_hostname", noIndex}]; ok {
		own.from = a
	}
	nodes := []*oldNode{own}
	for _, k := range block.links("other_pgpool_hostname") {
		n := &oldNode{
			link: k, host: block.text("other_pgpool_hostname", k, ""), from: block[key{"other_pgpool_hostname", k}],
			pgpoolPort: block.text("other_pgpool_port", k, pgpoolPort), wdPort: block.text("other_wd_port", k, wdPort),
			hbPort: heartbeatPort,
		}
		switch {
		case n.host == "":
			l.warnOld(n.from, "it is empty and ignored", "")
		case own.host != "" && compareOldNodes(n, own) == 0:
			l.warnOld(n.from, "it is this node itself and ignored", "")
		default:
			nodes = append(nodes, n)
		}
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

// linkHeartbeats gives each heartbeat link to the node it leads to, and a node without any one to its host.
func (l *loader) linkHeartbeats(block oldBlock, nodes []*oldNode) {
	var last *oldNode
	for _, k := range block.links("heartbeat_destination") {
		host := block.text("heartbeat_destination", k, "")
		if host == "" {
			continue
		}
		n := linkTarget(nodes, host, last)
		if n == nil {
			l.warnOld(block[key{"heartbeat_destination", k}], "it belongs to no other node and is ignored", "heartbeat_hostnameN")
			continue
		}
		last = n
		n.links = append(n.links, oldLink{host: host, device: l.assigned[key{"heartbeat_device", k}].text})
		n.hbPort = block.text("heartbeat_destination_port", k, n.hbPort)
	}
	for n := range FamilyHeartbeat.maxIndex() + 1 {
		delete(l.assigned, key{"heartbeat_device", n})
	}
	for _, n := range nodes {
		if len(n.links) == 0 && n.host != "" {
			n.links = []oldLink{{host: n.host}}
		}
	}
}

// linkTarget is the node of that host; else the only other one; else the one the link before leads to, since the links of a node
// usually stand together.
func linkTarget(nodes []*oldNode, host string, last *oldNode) *oldNode {
	for _, n := range nodes {
		if n.link != noIndex && strings.EqualFold(n.host, host) {
			return n
		}
	}
	if len(nodes) == 2 {
		return nodes[1]
	}
	return last
}

// lists are the node's links as heartbeat_hostnameN and heartbeat_deviceN. The first device belongs to the first host, and so on, so
// those with a device come first.
func (n *oldNode) lists() (hosts, devices []string) {
	for _, l := range n.links {
		if l.device != "" {
			hosts, devices = append(hosts, l.host), append(devices, l.device)
		}
	}
	for _, l := range n.links {
		if l.device == "" {
			hosts = append(hosts, l.host)
		}
	}
	return hosts, devices
}

func (l *loader) numberNode(id int, n *oldNode) {
	put := func(name, text string) {
		k := key{name, id}
		l.assigned[k] = assignment{key: k, text: text, file: n.from.file, line: n.from.line, mapped: true}
	}
	put("hostname", n.host)
	put("wd_port", n.wdPort)
	put("pgpool_port", n.pgpoolPort)
	if hosts, devices := n.lists(); len(hosts) > 0 {
		put("heartbeat_port", n.hbPort)
		put("heartbeat_hostname", joinList(hosts, ';'))
		put("heartbeat_device", joinList(devices, ';'))
	}
	if n.link == noIndex {
		l.localNode, l.ranked = id, true
		l.report(Problem{
			Severity: Warning, File: n.from.file, Line: n.from.line, Name: "pgpool_node_id", Value: strconv.Itoa(id),
			Text: fmt.Sprintf("the watchdog nodes of this file are numbered by host and port; this is node %d", id),
			Hint: "every other node's file must name the same hosts and ports",
		})
	}
}
