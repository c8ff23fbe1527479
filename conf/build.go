package conf

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// build makes a Config of assignments and checks it as a whole.
func (l *loader) build(assigned assignments) *Config {
	c := &Config{Path: l.path, Dir: filepath.Dir(l.path), assigned: assigned}
	c.Watchdog.NodeID = noIndex
	c.Backends = make([]Backend, l.nodes(assigned, "backend_port"))
	c.Watchdog.Nodes = make([]WatchdogNode, l.nodes(assigned, "wd_port"))
	c.Watchdog.Heartbeat = make([]HeartbeatPeer, l.nodes(assigned, "heartbeat_port"))
	for i := range params().rows {
		p := &params().rows[i]
		if p.Family == NotNumbered || p.Family.inherits() {
			l.fill(c, p, noIndex)
		}
	}
	c.completeHealth(assigned)
	c.completeBackendTLS(assigned)
	for i := range params().rows {
		if p := &params().rows[i]; p.Family != NotNumbered {
			l.fillNumbered(c, p)
		}
	}
	c.complete()
	l.check(c)
	return c
}

// nodes is the highest index whose port is set, plus one.
func (l *loader) nodes(assigned assignments, port string) int {
	n := 0
	for k := range assigned {
		if k.name == port {
			n = max(n, k.index+1)
		}
	}
	return n
}

// fill reads one value: what the file says, else the default.
func (l *loader) fill(c *Config, p *Param, n int) {
	l.fillDefault(c, p, n)
	a, ok := c.assigned[key{p.Name, n}]
	if !ok {
		return
	}
	name := displayName(a.key)
	warnings, err := p.parse(c, n, a.text)
	if err != nil {
		l.bad[p.Name] = true
		err.text = strings.Replace(err.text, `"`+p.Name+`"`, `"`+name+`"`, 1)
		if err.hint == "" && err.detail == "" {
			err.hint = "allowed: " + p.Allowed()
		}
		a.text = p.shown(a.text)
		l.reportValue(a, name, err)
	}
	for _, w := range warnings {
		l.report(Problem{Severity: Warning, File: a.file, Line: a.line, Name: name, Value: a.text, Text: name + ": " + w})
	}
}

func (l *loader) fillDefault(c *Config, p *Param, n int) {
	if n != noIndex && p.Family.inherits() {
		return // the index-free value is there already
	}
	if _, isInt := p.at(c, n).(*int); isInt && p.Family != NotNumbered && p.Default == "0" {
		return // a port outside its range: no node
	}
	if _, err := p.parse(c, n, p.defaultIn(c.Dir)); err != nil {
		panic("conf: default of " + p.Name + ": " + err.text)
	}
}

func (l *loader) fillNumbered(c *Config, p *Param) {
	for _, n := range c.indexes(p) {
		l.fill(c, p, n)
	}
}

// indexes are those the file gives the parameter, and those of existing nodes, in order.
func (c *Config) indexes(p *Param) []int {
	set := make(map[int]bool)
	for k := range c.assigned {
		if k.name == p.Name && k.index != noIndex {
			set[k.index] = true
		}
	}
	count := 0
	switch p.Family {
	case FamilyBackend, FamilyAgent:
		count = len(c.Backends)
	case FamilyWatchdog:
		count = len(c.Watchdog.Nodes)
	case FamilyHeartbeat:
		count = len(c.Watchdog.Heartbeat)
	case FamilyHealthCheck, FamilyBackendTLS, NotNumbered:
	}
	for n := range count {
		set[n] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// completeHealth makes room for the nodes with values of their own; what they lack is as for all.
func (c *Config) completeHealth(assigned assignments) {
	c.HealthCheck.Nodes = make(map[int]*NodeHealthCheck)
	for k := range assigned {
		if k.index != noIndex && params().byName[k.name].Family == FamilyHealthCheck {
			h := c.HealthCheck.Global
			c.HealthCheck.Nodes[k.index] = &h
		}
	}
}

// completeBackendTLS does the same for TLS towards the servers.
func (c *Config) completeBackendTLS(assigned assignments) {
	c.BackendTLS.Nodes = make(map[int]*NodeTLS)
	for k := range assigned {
		if k.index != noIndex && params().byName[k.name].Family == FamilyBackendTLS {
			t := c.BackendTLS.Global
			c.BackendTLS.Nodes[k.index] = &t
		}
	}
}

// complete puts in what an empty value stands for, and empties the slots without a port.
func (c *Config) complete() {
	const database = "postgres"
	for i := range c.Backends {
		b := &c.Backends[i]
		if !b.Exists() {
			*b = Backend{}
		} else if b.Hostname == "" {
			b.Hostname = "/tmp"
		}
	}
	for i := range c.Watchdog.Nodes {
		if c.Watchdog.Nodes[i].WdPort == 0 {
			c.Watchdog.Nodes[i] = WatchdogNode{}
		}
	}
	for i := range c.Watchdog.Heartbeat {
		if c.Watchdog.Heartbeat[i].Port == 0 {
			c.Watchdog.Heartbeat[i] = HeartbeatPeer{}
		}
	}
	c.Watchdog.WdInterval = max(c.Watchdog.WdInterval, time.Second)
	c.Watchdog.WdLifePoint = max(c.Watchdog.WdLifePoint, 1)
	setEmpty(&c.HealthCheck.Global.Database, database)
	for _, h := range c.HealthCheck.Nodes {
		setEmpty(&h.Database, database)
	}
	setEmpty(&c.Recovery.RecoveryDatabase, database)
}

func setEmpty(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

// backendName is for messages.
func backendName(name string, n int) string { return fmt.Sprintf("%s%d", name, n) }
