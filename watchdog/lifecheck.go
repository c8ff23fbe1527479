package watchdog

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"

	"gopgpool/conf"
	"gopgpool/logging"
	"gopgpool/watchdog/lifecheck"
	"gopgpool/watchdog/machine"
	"gopgpool/watchdog/pulse"
	"gopgpool/watchdog/vip"
)

// openLifecheck makes what judges the other nodes and this one.
func (w *Watchdog) openLifecheck(c *conf.Watchdog) (err error) {
	w.checks = lifecheck.NewChecks(w.checksConfig(), w.found, w.log)
	if c.WdLifecheckMethod != conf.LifecheckHeartbeat {
		return nil
	}
	var ids []int
	for id := range c.Nodes {
		if c.Nodes[id].WdPort != 0 && id < len(c.Heartbeat) && c.Heartbeat[id].Port != 0 {
			ids = append(ids, id)
		}
	}
	w.judge = lifecheck.NewJudge(w.self, ids, c.WdHeartbeatDeadtime, vip.Boottime())
	w.pulse, err = pulse.New(w.pulseConfig(c), func(node int, _ string, at time.Duration) {
		w.inbox.put(heartbeat{node: node, at: at})
	}, w.log)
	return err
}

// checksConfig is what is checked, as configured now.
func (w *Watchdog) checksConfig() lifecheck.Config {
	cfg := w.parts.Config.Current()
	c := &cfg.Watchdog
	out := lifecheck.Config{
		Self: w.self, Method: lifecheckMethod(c.WdLifecheckMethod), Interval: c.WdInterval, TrustedServers: c.TrustedServers,
		TrustedServerCommand: c.TrustedServerCommand, Interfaces: c.WdMonitoringInterfacesList, Listener: ownListener(w.cfg),
		Question: lifecheck.Question{
			SQL: c.WdLifecheckQuery, Database: c.WdLifecheckDbname, User: c.WdLifecheckUser, LifePoint: c.WdLifePoint,
			Password: func() (string, error) { return w.parts.Password(c.WdLifecheckUser, c.WdLifecheckPassword) },
		},
		Verdict: w.verdict, Ready: w.allHeard.Load, Paused: w.parts.Pause,
	}
	out.Delegate, _ = netip.ParseAddr(c.DelegateIP)
	for id, n := range c.Nodes {
		if n.WdPort != 0 {
			out.Nodes = append(out.Nodes, lifecheck.Node{ID: id, Host: n.Hostname, Port: n.PgpoolPort})
		}
	}
	return out
}

// Reload takes over what a reload of the configuration may change.
func (w *Watchdog) Reload() {
	w.checks.Configure(w.checksConfig())
	w.inbox.put(machine.Reconfigure{Config: w.machineConfig(w.parts.Config.Current())})
}

func lifecheckMethod(m conf.LifecheckMethod) lifecheck.Method {
	switch m {
	case conf.LifecheckHeartbeat:
		return lifecheck.Heartbeat
	case conf.LifecheckQuery:
		return lifecheck.Query
	case conf.LifecheckExternal:
	}
	return lifecheck.External
}

// ownListener is where this node's clients connect, as far as it can be reached from here; "" where it listens on no address.
func ownListener(c *conf.Config) string {
	if len(c.Connections.ListenAddresses) == 0 {
		return ""
	}
	host := c.Connections.ListenAddresses[0]
	switch host {
	case "*", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	return net.JoinHostPort(host, strconv.Itoa(c.Connections.Port))
}

func (w *Watchdog) pulseConfig(c *conf.Watchdog) pulse.Config {
	local := c.Nodes[w.self]
	out := pulse.Config{
		Self: w.self, SelfHost: local.Hostname, SelfPgpoolPort: local.PgpoolPort, Key: c.WdAuthkey, Keepalive: c.WdHeartbeatKeepalive,
	}
	for id, n := range c.Nodes {
		if id == w.self || n.WdPort == 0 || id >= len(c.Heartbeat) {
			continue
		}
		out.Known = append(out.Known, pulse.NodeName{Node: id, Host: n.Hostname, PgpoolPort: n.PgpoolPort})
		h := &c.Heartbeat[id]
		for i, host := range h.Hostnames {
			out.Paths = append(out.Paths, pulse.Path{Node: id, Host: host, Port: h.Port, Device: at(h.Devices, i)})
		}
	}
	if w.self < len(c.Heartbeat) {
		own := &c.Heartbeat[w.self]
		hosts, port := own.Hostnames, own.Port
		if len(c.WdHeartbeatListenAddresses) > 0 {
			hosts = c.WdHeartbeatListenAddresses
		}
		if c.WdHeartbeatListenPort != 0 {
			port = c.WdHeartbeatListenPort
		}
		for i, host := range hosts {
			out.Listen = append(out.Listen, pulse.Listener{Address: host, Port: port, Device: at(own.Devices, i)})
		}
	}
	return out
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return ""
}

// found takes what the checks have found about this node.
func (w *Watchdog) found(f lifecheck.Finding) {
	switch f.Self {
	case lifecheck.Sick:
		w.inbox.put(machine.SelfChecked{Sick: !f.Well, Why: f.Message})
	case lifecheck.CutOff:
		w.inbox.put(machine.Trusted{Reachable: f.Well})
		if !f.Well {
			w.inbox.put(lost{f})
		}
	case lifecheck.NoNetwork:
		if !f.Well {
			w.inbox.put(lost{f})
		}
	case lifecheck.Fine:
	}
}

// lost is the end of this node: it is cut off, and must not stay (manual: the states LOST and IN NETWORK TROUBLE).
type lost struct{ lifecheck.Finding }

// isLost begins the end of this node. Without trusted servers it may still reach the other nodes, and hands over to them first.
func (w *Watchdog) isLost(m *machine.Machine, l lost) {
	err := errors.New("system has lost the network: " + l.Message)
	if l.Self != lifecheck.CutOff {
		w.fatal = err
		return
	}
	w.log.Log(logging.Event{Severity: logging.Warning, Message: "watchdog life-check reported, we are disconnected from the network", Detail: l.Message})
	if w.ending == nil {
		w.ending, w.endBy = err, vip.Boottime()+cutOffTime
		m.Step(vip.Boottime(), machine.Leave{})
	}
}

// cutOffTime bounds how long a node that is cut off stays to hand over.
const cutOffTime = 3 * time.Second

// end ends a node that is cut off, once it has handed over or was given the time to.
func (w *Watchdog) end() {
	if w.ending == nil {
		return
	}
	select {
	case <-w.left:
		w.fatal = w.ending
	default:
		if vip.Boottime() > w.endBy {
			w.fatal = w.ending
		}
	}
}

// verdict takes what the query method says of a node.
func (w *Watchdog) verdict(v lifecheck.Verdict) { w.inbox.put(v) }

// nodeTLS reads the certificates for connections between nodes; nil where they are not encrypted.
func nodeTLS(c *conf.Watchdog) (*tls.Config, error) {
	if !c.WdSSL {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(c.WdSSLCert, c.WdSSLKey)
	if err != nil {
		return nil, fmt.Errorf("wd_ssl_cert, wd_ssl_key: %w", err)
	}
	pem, err := os.ReadFile(c.WdSSLCACert)
	if err != nil {
		return nil, fmt.Errorf("wd_ssl_ca_cert: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("wd_ssl_ca_cert: no certificate in %s", c.WdSSLCACert)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: roots, ClientCAs: roots, MinVersion: tls.VersionTLS13}, nil
}
