package pulse

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Path is one way to another node: an element of its heartbeat_hostnameX, heartbeat_portX and heartbeat_deviceX.
type Path struct {
	Node   int
	Host   string // name or address; a name is resolved for every packet
	Port   int
	Device string // the interface to send through; "" leaves it to the routes
}

// Listener is one address of ours to receive on.
type Listener struct {
	Address string // name, address, or "*" for all
	Port    int
	Device  string // the interface to receive on; "" is any
}

// NodeName is by what a node is known: a packet must bring the port, and the host as text or as the address it comes from.
type NodeName struct {
	Node       int
	Host       string
	PgpoolPort int
}

// Config says who we are, where to send and where to listen.
type Config struct {
	Self           int
	SelfHost       string
	SelfPgpoolPort int
	Key            string        // wd_authkey; "" turns authentication off
	Keepalive      time.Duration // wd_heartbeat_keepalive; 0 means 2 seconds
	Paths          []Path
	Listen         []Listener
	Known          []NodeName // the other nodes
}

const (
	defaultKeepalive = 2 * time.Second
	lookupTimeout    = 5 * time.Second
	bindTries        = 5
	bindInterval     = time.Second
	restartInterval  = time.Second
	deviceCheck      = time.Second
	maxPaths         = math.MaxUint8 + 1 // to one node
)

func (c *Config) check() error {
	if c.Self < 0 || c.Self > math.MaxUint16 || len(c.SelfHost) > maxHost || !isPort(c.SelfPgpoolPort) || c.Keepalive < 0 {
		return errors.New("heartbeat: bad id, host, port or interval of the local node")
	}
	known := map[int]int{} // to the number of paths
	for _, n := range c.Known {
		if n.Node < 0 || n.Node > math.MaxUint16 || n.Node == c.Self || !isPort(n.PgpoolPort) {
			return fmt.Errorf("heartbeat: bad id or port of node %d", n.Node)
		}
		known[n.Node] = 0
	}
	for _, p := range c.Paths {
		count, ok := known[p.Node]
		if !ok || p.Host == "" || !isPort(p.Port) || count == maxPaths {
			return fmt.Errorf("heartbeat: bad destination %q port %d of node %d", p.Host, p.Port, p.Node)
		}
		known[p.Node]++
	}
	for _, l := range c.Listen {
		if l.Address == "" || !isPort(l.Port) {
			return fmt.Errorf("heartbeat: bad address %q port %d to listen on", l.Address, l.Port)
		}
	}
	return nil
}

func isPort(p int) bool { return p > 0 && p <= math.MaxUint16 }
