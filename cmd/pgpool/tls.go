package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/logging"
	"gopgpool/tlsconf"
)

// encryption is TLS as it was last read from files: towards clients, and towards each server. Connections that exist keep what
// they have shaken hands with.
type encryption struct {
	log     logging.Logger
	inForce atomic.Pointer[certificates]
}

// certificates are replaced whole, never changed.
type certificates struct {
	clients *tls.Config // nil with ssl = off
	servers map[serverKey]tlsconf.Server
}

// serverKey is a node at a host: the host in force may be another than the one configured until the next start.
type serverKey struct {
	node cluster.NodeID
	host string
}

func newEncryption(log logging.Logger) *encryption {
	e := &encryption{log: log}
	e.inForce.Store(&certificates{})
	return e
}

// load reads all files, for the nodes configured and those in force (nil: there are none yet). It may take as long as
// ssl_passphrase_command does. With an error, what was in force stays.
func (e *encryption) load(cfg *conf.Config, v *cluster.View) error {
	next := &certificates{servers: make(map[serverKey]tlsconf.Server)}
	clients, warnings, err := tlsconf.ForClients(&cfg.SSL)
	if err != nil {
		return err
	}
	next.clients = clients
	for k := range serversOf(cfg, v) {
		s, more, err := tlsconf.ForServer(&cfg.SSL, cfg.BackendTLS.For(int(k.node)), k.host)
		if err != nil {
			return fmt.Errorf("node %d: %w", k.node, err)
		}
		warnings = append(warnings, more...)
		next.servers[k] = s
	}
	e.inForce.Store(next)
	slices.Sort(warnings)
	for _, line := range slices.Compact(warnings) { // nodes share files
		e.log.Log(logging.Event{Severity: logging.Warning, Message: line})
	}
	return nil
}

func serversOf(cfg *conf.Config, v *cluster.View) map[serverKey]struct{} {
	keys := make(map[serverKey]struct{})
	for i := range cfg.Backends {
		if b := &cfg.Backends[i]; b.Exists() {
			keys[serverKey{cluster.NodeID(i), b.Hostname}] = struct{}{}
		}
	}
	if v == nil {
		return keys
	}
	for i := range v.Nodes {
		if n := &v.Nodes[i]; n.Port != 0 {
			keys[serverKey{n.ID, n.Host}] = struct{}{}
		}
	}
	return keys
}

// Clients is what clients meet now; nil without TLS.
func (e *encryption) Clients() *tls.Config { return e.inForce.Load().clients }

var errUnknownServer = errors.New("certificates of this server were not read")

// Server is how to speak to a node at its host in force. One nobody knows is refused rather than spoken to in plain text.
func (e *encryption) Server(node cluster.NodeID, host string) tlsconf.Server {
	if s, ok := e.inForce.Load().servers[serverKey{node, host}]; ok {
		return s
	}
	return tlsconf.Server{Mode: conf.SSLModeVerifyFull, Config: &tls.Config{
		ServerName: host, MinVersion: tls.VersionTLS12, InsecureSkipVerify: true,
		VerifyConnection: func(tls.ConnectionState) error { return errUnknownServer },
	}}
}
