package mesh

import (
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"time"
)

// Endpoint is one row of hostnameX, wd_portX, pgpool_portX.
type Endpoint struct {
	Host       string
	WdPort     int // 0: there is no node with this id
	PgpoolPort int
}

// Config says who we are and who the others are. New copies what it needs; the TLS configuration must not be changed later.
type Config struct {
	Self          int        // our pgpool_node_id, an index into Nodes
	Nodes         []Endpoint // by pgpool_node_id
	ListenAddress string     // wd_listen_address: "" is the address of our own Host, "*" all addresses
	ListenPort    int        // wd_listen_port: 0 is our own WdPort
	Name          string     // what we are called in log lines and lists: "host:9999 Linux nodename"
	Key           string     // wd_authkey; "" turns authentication off
	TLS           *tls.Config
	NodesHash     string        // of the node list, where each node has a file of its own; two that are set must be the same
	Version       int           // of what the messages say; nodes of different versions refuse each other
	Idle          time.Duration // a connection on which nothing was heard for so long is given up; 0 means 2.5 seconds
}

// Handler is told what happens. The calls for one peer come one at a time and in order: Linked up, messages, Linked down.
// They are made by the goroutine that reads from the peer, so they must not block. They may call the methods of Mesh.
type Handler interface {
	// Linked tells that the first connection to peer became usable, or that the last one is gone, and why.
	Linked(peer int, up bool, why string)
	// Received hands over a message, which is the handler's to keep. It is never empty, and at most MaxPayload long.
	Received(peer int, payload []byte)
	// Rejected tells that a peer refused us, and its reason. Nobody vouches for that reason: with different keys there is
	// no way to tell the peer from somebody who speaks in its place.
	Rejected(peer int, reason string)
}

const (
	defaultIdle      = 2500 * time.Millisecond
	minIdle          = 100 * time.Millisecond
	handshakeTimeout = 3 * time.Second
	connectTimeout   = time.Second
	lookupTimeout    = 800 * time.Millisecond
	farewell         = 500 * time.Millisecond // what is queued at the end may take so long to be written

	bindTries    = 5
	bindInterval = time.Second
)

func (c *Config) check() error {
	if c.Self < 0 || c.Self >= len(c.Nodes) || c.Nodes[c.Self].WdPort == 0 {
		return fmt.Errorf("no watchdog configuration for local pgpool node, pgpool node id: %d", c.Self)
	}
	for id, n := range c.Nodes {
		if n.WdPort == 0 {
			continue
		}
		if n.Host == "" || len(n.Host) > maxText {
			return fmt.Errorf("bad hostname%d", id)
		}
		if !isPort(n.WdPort) || !isPort(n.PgpoolPort) {
			return fmt.Errorf("bad wd_port%d or pgpool_port%d", id, id)
		}
	}
	switch {
	case len(c.Nodes) > math.MaxUint16:
		return errors.New("too many watchdog nodes")
	case c.ListenPort != 0 && !isPort(c.ListenPort):
		return errors.New("bad wd_listen_port")
	case len(c.Name) > maxText, len(c.NodesHash) > maxText:
		return errors.New("name of the node or hash of the nodes is too long")
	case c.Version < 0 || c.Version > math.MaxUint16:
		return errors.New("bad protocol version")
	case c.Idle < 0 || c.Idle > 0 && c.Idle < minIdle:
		return fmt.Errorf("idle time %v is too short", c.Idle)
	case c.TLS != nil && c.TLS.InsecureSkipVerify && c.TLS.VerifyConnection == nil && c.TLS.VerifyPeerCertificate == nil:
		return errors.New("TLS between watchdog nodes must verify the other side")
	}
	return nil
}

func isPort(p int) bool { return p > 0 && p <= math.MaxUint16 }

// tlsConfigs are the two sides' configurations: both ask for a certificate, TLS 1.3 alone is spoken because its exporter binds the
// challenge to the connection.
func tlsConfigs(c *tls.Config) (client, server *tls.Config) {
	if c == nil {
		return nil, nil
	}
	client, server = c.Clone(), c.Clone()
	client.MinVersion, server.MinVersion = tls.VersionTLS13, tls.VersionTLS13
	server.ClientAuth = tls.RequireAndVerifyClientCert
	if server.InsecureSkipVerify { // a verification of the caller's own takes its place
		server.ClientAuth = tls.RequireAnyClientCert
	}
	if server.ClientCAs == nil {
		server.ClientCAs = c.RootCAs
	}
	return client, server
}
