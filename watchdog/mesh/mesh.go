package mesh

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"gopgpool/logging"
)

// Mesh is a node's connections to the others.
type Mesh struct {
	config         Config
	handler        Handler
	log            logging.Logger
	idle           time.Duration
	run            runID
	client, server *tls.Config
	peers          []*peer // by id; nil for us and where there is no node
	door           door
	strangers      logging.Limiter
	listeners      []net.Listener // New and Run fill it before anything is started
	work           sync.WaitGroup // of connections to us

	lookup       func(ctx context.Context, network, host string) ([]netip.Addr, error)
	bindInterval time.Duration
}

// New checks the configuration and tries to listen. A port in use or an address not there yet is no error: Run tries it again.
// Run must be called, or Close.
func New(c Config, h Handler, log logging.Logger) (*Mesh, error) {
	c.Nodes = slices.Clone(c.Nodes)
	if err := c.check(); err != nil {
		return nil, err
	}
	m := &Mesh{
		config: c, handler: h, log: log, idle: c.Idle, peers: make([]*peer, len(c.Nodes)),
		lookup: net.DefaultResolver.LookupNetIP, bindInterval: bindInterval,
	}
	if m.idle == 0 {
		m.idle = defaultIdle
	}
	rand.Read(m.run[:]) // never fails
	m.client, m.server = tlsConfigs(c.TLS)
	for id, at := range c.Nodes {
		if id != c.Self && at.WdPort != 0 {
			m.peers[id] = &peer{id: id, at: at, redial: make(chan struct{}, 1)}
		}
	}
	if err := m.listen(context.Background()); err != nil && !mayPass(err) {
		return nil, err
	}
	return m, nil
}

// Close gives up listening if Run is not called after New.
func (m *Mesh) Close() error {
	var failed error
	for _, l := range m.listeners {
		failed = errors.Join(failed, l.Close())
	}
	return failed
}

// Run connects to the other nodes and lets them connect until ctx ends; then it writes what is queued, for half a second at most, and
// returns nil. It returns an error if it cannot listen, after five attempts a second apart.
func (m *Mesh) Run(ctx context.Context) error {
	if m.config.Key == "" {
		m.log.Log(logging.Event{
			Severity: logging.Warning, Message: "watchdog nodes do not authenticate each other",
			Detail: "wd_authkey is empty", Hint: "set the same wd_authkey on all nodes",
		})
	}
	if err := m.listenAgain(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if m.unheard() {
		m.log.Log(logging.Event{
			Severity: logging.Warning, Message: "the watchdog listens on a loopback address only, so no other host can connect",
			Detail: "this is what " + m.config.Nodes[m.config.Self].Host + " means on this host", Hint: "set wd_listen_address, or mend /etc/hosts",
		})
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var failed error
	var once sync.Once
	for _, l := range m.listeners {
		m.work.Go(func() {
			if err := m.accept(ctx, l); err != nil {
				once.Do(func() { failed = err; cancel(err) })
			}
		})
	}
	for _, p := range m.peers {
		if p != nil {
			m.work.Go(func() { m.dial(ctx, p) })
		}
	}
	<-ctx.Done()
	_ = m.Close() // accept tells of errors that matter
	m.work.Wait()
	return failed
}

// Send queues a message for peer and never blocks. The payload must not be changed afterwards. A message to a node that is not
// linked, to ourselves or to nobody, or longer than MaxPayload is dropped; so are the oldest ones when more than 1024 messages or
// 32 MB wait.
func (m *Mesh) Send(peer int, payload []byte) {
	if p := m.peer(peer); p != nil && len(payload) > 0 && len(payload) <= MaxPayload {
		p.queue.push(payload)
	}
}

// Reachable reports whether a connection to peer is usable.
func (m *Mesh) Reachable(peer int) bool {
	p := m.peer(peer)
	return p != nil && p.up.Load()
}

// Peer returns what the node said of itself when it connected last; ok is false if it never did.
func (m *Mesh) Peer(peer int) (info Peer, ok bool) {
	p := m.peer(peer)
	if p == nil {
		return Peer{}, false
	}
	if said := p.info.Load(); said != nil {
		return *said, true
	}
	return Peer{}, false
}

// Dropped is the number of messages to peer that were dropped.
func (m *Mesh) Dropped(peer int) uint64 {
	if p := m.peer(peer); p != nil {
		return p.queue.dropped()
	}
	return 0
}

func (m *Mesh) peer(id int) *peer {
	if id < 0 || id >= len(m.peers) {
		return nil
	}
	return m.peers[id]
}
