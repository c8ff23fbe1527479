package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"gopgpool/agent"
	"gopgpool/cluster"
	"gopgpool/replication"
)

// hosts remembers those who act on servers, so that connections to agents are kept and a server has one Local.
type hosts struct {
	mu      sync.Mutex               // guards the rest
	remotes map[string]*agent.Remote // by address
	locals  map[string]*agent.Local  // by data directory
}

// host is who acts on a node's host: its agent, this process if it is the same host and may, else nobody (cluster.ErrNeedsAgent).
func (p *parts) host(n cluster.Node) (replication.Host, error) {
	if n.Agent != "" {
		r, err := p.hosts.remote(p, agentAddress(n))
		if err != nil {
			return nil, fmt.Errorf("agent of node %d: %w", n.ID, err)
		}
		return r, nil
	}
	if err := actsHere(n); err != nil {
		return nil, fmt.Errorf("node %d %w: %w", n.ID, cluster.ErrNeedsAgent, err)
	}
	return p.hosts.local(p, n.DataDirectory), nil
}

// agentAddress is backend_agentN, completed by the host of the server; a server that is reached by a socket is on this host.
func agentAddress(n cluster.Node) string {
	if !strings.HasPrefix(n.Agent, ":") {
		return n.Agent
	}
	host := n.Host
	if host == "" || strings.HasPrefix(host, "/") {
		host = "localhost"
	}
	return net.JoinHostPort(host, n.Agent[1:])
}

var (
	errNoDataDirectory = errors.New("its backend_data_directory is not set")
	errElsewhere       = errors.New("it is on another host and has no backend_agent")
)

// actsHere tells why this process cannot act on the server itself.
func actsHere(n cluster.Node) error {
	switch {
	case n.DataDirectory == "":
		return errNoDataDirectory
	case !onThisHost(n.Host):
		return errElsewhere
	}
	return agent.Here(n.DataDirectory, n.Port)
}

// lookUpTime bounds the question for a host's addresses.
const lookUpTime = 2 * time.Second

// onThisHost reports whether a backend_hostname means this host: a socket directory, a loopback address, or an address of one of its
// interfaces.
func onThisHost(host string) bool {
	if host == "" || strings.HasPrefix(host, "/") {
		return true
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookUpTime)
	defer cancel()
	addrs := []netip.Addr{}
	if a, err := netip.ParseAddr(host); err == nil {
		addrs = append(addrs, a)
	} else if addrs, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host); err != nil {
		return false
	}
	for _, a := range addrs {
		if !ownAddress(a.Unmap(), own) {
			return false
		}
	}
	return len(addrs) > 0
}

func ownAddress(a netip.Addr, own []net.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	for _, o := range own {
		if n, ok := o.(*net.IPNet); ok {
			if one, ok := netip.AddrFromSlice(n.IP); ok && one.Unmap() == a.WithZone("") {
				return true
			}
		}
	}
	return false
}

func (h *hosts) remote(p *parts, address string) (*agent.Remote, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.remotes[address]; r != nil {
		return r, nil
	}
	cfg := p.live.Current()
	credentials, err := agent.LoadCredentials(&cfg.Agent)
	if err != nil {
		return nil, err
	}
	if h.remotes == nil {
		h.remotes = make(map[string]*agent.Remote)
	}
	r := agent.NewRemote(address, credentials)
	h.remotes[address] = r
	return r, nil
}

func (h *hosts) local(p *parts, dir string) *agent.Local {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.locals[dir]
	if l == nil {
		l = &agent.Local{DataDirectory: dir, Log: p.partLog("agent")}
		if h.locals == nil {
			h.locals = make(map[string]*agent.Local)
		}
		h.locals[dir] = l
	}
	l.UseBinDirectory(p.live.Current().Agent.BinDirectory)
	return l
}

// forget has the next order read the key again. What is under way goes on.
func (h *hosts) forget() {
	h.mu.Lock()
	old := h.remotes
	h.remotes = nil
	h.mu.Unlock()
	for _, r := range old {
		_ = r.Close() // idle connections
	}
}
