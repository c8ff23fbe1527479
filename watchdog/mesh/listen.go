package mesh

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"gopgpool/logging"
)

// listen opens what the configuration asks for: every address the name means, of which one must be there.
func (m *Mesh) listen(ctx context.Context) error {
	c := &m.config
	own := c.Nodes[c.Self]
	port := own.WdPort
	if c.ListenPort != 0 {
		port = c.ListenPort
	}
	host := own.Host
	if c.ListenAddress != "" {
		host = c.ListenAddress
	}
	targets := []string{":" + strconv.Itoa(port)}
	if host != "*" {
		addresses, err := m.resolve(ctx, host)
		if err != nil {
			return fmt.Errorf("address to listen on: %w", err)
		}
		targets = targets[:0]
		for _, a := range addresses {
			targets = append(targets, netip.AddrPortFrom(a, uint16(port)).String())
		}
	}
	var failed error
	for _, target := range targets {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", target)
		if err != nil {
			failed = err
			continue
		}
		m.listeners = append(m.listeners, l)
	}
	if len(m.listeners) > 0 {
		return nil
	}
	return failed
}

// listenAgain makes the rest of the attempts, after that of New.
func (m *Mesh) listenAgain(ctx context.Context) (err error) {
	for try := 1; len(m.listeners) == 0 && try < bindTries; try++ {
		if !sleep(ctx, m.bindInterval) {
			return context.Cause(ctx)
		}
		err = m.listen(ctx)
	}
	if err != nil && len(m.listeners) == 0 {
		return fmt.Errorf("watchdog: %w", err)
	}
	return nil
}

// unheard reports whether we listen where no other host reaches us because our name means a loopback address here, as Debian's
// /etc/hosts has it.
func (m *Mesh) unheard() bool {
	c := &m.config
	if _, err := netip.ParseAddr(c.Nodes[c.Self].Host); err == nil || c.ListenAddress != "" || c.Nodes[c.Self].Host == "localhost" {
		return false
	}
	return !slices.ContainsFunc(m.listeners, func(l net.Listener) bool {
		at, ok := l.Addr().(*net.TCPAddr)
		return !ok || !at.IP.IsLoopback()
	})
}

// mayPass tells of errors of listening that a moment later may be gone.
func mayPass(err error) bool {
	var dns *net.DNSError
	return errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EADDRNOTAVAIL) || errors.As(err, &dns)
}

// accept takes connections until the listener is closed.
func (m *Mesh) accept(ctx context.Context, l net.Listener) error {
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			m.welcome(ctx, conn)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		default: // no descriptors or memory left, or the client went away
			m.strangers.Log(m.log, logging.Event{
				Severity: logging.Warning, Message: "watchdog could not accept a connection", Detail: err.Error(),
			})
			sleep(ctx, 100*time.Millisecond)
		}
	}
}

// welcome starts the handshake with whoever connected.
func (m *Mesh) welcome(ctx context.Context, conn net.Conn) {
	from := remote(conn)
	known := slices.ContainsFunc(m.peers, func(p *peer) bool { return p != nil && p.isAt(from) })
	v := m.door.enter(from, known, func() { _ = conn.Close() })
	m.work.Go(func() { m.inbound(ctx, conn, v) })
}

// inbound is the life of a connection somebody made to us.
func (m *Mesh) inbound(ctx context.Context, conn net.Conn, v *visitor) {
	defer conn.Close()
	l, err := m.admit(ctx, conn)
	m.door.left(v)
	if err != nil {
		m.turnedAway(conn, err)
		return
	}
	m.log.Log(logging.Event{Message: fmt.Sprintf("new watchdog node connection is received from %q", conn.RemoteAddr())})
	m.serve(ctx, l, remote(conn))
}

func (m *Mesh) admit(ctx context.Context, tcp net.Conn) (*link, error) {
	stop := context.AfterFunc(ctx, func() { _ = tcp.Close() })
	defer stop()
	conn := tcp
	var secure *tls.Conn
	if m.server != nil {
		secure = tls.Server(tcp, m.server)
		conn = secure
	}
	w := m.patient(conn, tcp)
	h, err := m.handshake(ctx, w, secure)
	if err != nil {
		return nil, err
	}
	from := remote(tcp)
	h.at = func(host string) bool {
		addresses, _ := m.resolve(ctx, host) // a name nobody knows is not where the peer is
		return slices.Contains(addresses, from)
	}
	s, err := h.accept()
	if err != nil {
		return nil, err
	}
	return newLink(m.peers[s.hello.Node], w, h.in, s, false, m.idle), nil
}

// turnedAway logs why a connection did not become one of a node.
func (m *Mesh) turnedAway(conn net.Conn, err error) {
	from := remote(conn)
	lines := &m.strangers
	var by *peer
	for _, p := range m.peers {
		if p != nil && p.isAt(from) {
			by, lines = p, &p.lines
		}
	}
	var ours *refusal
	var theirs *refused
	switch {
	case errors.As(err, &ours):
		lines.Log(m.log, ours.event)
	case errors.As(err, &theirs) && by != nil:
		m.refusedBy(by, theirs.text)
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed): // came and went, or gave way to others
	default:
		lines.Log(m.log, logging.Event{
			Severity: logging.Notice, Message: fmt.Sprintf("watchdog connection from %q turned away", conn.RemoteAddr()), Detail: err.Error(),
		})
	}
}
