package mesh

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"gopgpool/logging"
)

const (
	redialAtLeast = 100 * time.Millisecond
	redialRefused = 2 * time.Second
	exporterLabel = "EXPORTER-gopgpool-mesh"
)

func hostPort(e Endpoint) string { return net.JoinHostPort(e.Host, strconv.Itoa(e.WdPort)) }

// dial keeps a connection to p until ctx ends.
func (m *Mesh) dial(ctx context.Context, p *peer) {
	quiet := false // that p is not there was told
	for attempt := 1; ctx.Err() == nil; attempt++ {
		next := time.Now().Add(pause(attempt))
		linked, err := m.connect(ctx, p)
		switch {
		case ctx.Err() != nil:
			return
		case linked:
			attempt, quiet = 0, false // if it did not live long, the next one follows no faster than after a failure
		case errors.As(err, new(*refused)), errors.As(err, new(*refusal)):
			next = time.Now().Add(redialRefused)
		case !quiet:
			quiet = true
			m.log.Log(logging.Event{
				Message: "could not connect to watchdog node " + hostPort(p.at), Detail: err.Error() + "; trying again and again",
			})
		}
		m.rest(ctx, p, time.Now().Add(redialAtLeast), next)
	}
}

// rest waits until the time of the next attempt, or until p shows that it is there.
func (m *Mesh) rest(ctx context.Context, p *peer, soonest, next time.Time) {
	if !sleep(ctx, time.Until(soonest)) {
		return
	}
	wait := time.NewTimer(time.Until(next))
	defer wait.Stop()
	select {
	case <-ctx.Done():
	case <-wait.C:
	case <-p.redial:
	}
}

// sleep reports whether d passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// connect makes one connection to p and serves it until it ends. linked tells whether it got as far as being one.
func (m *Mesh) connect(ctx context.Context, p *peer) (linked bool, err error) {
	addresses, err := m.resolve(ctx, p.at.Host)
	addresses = p.knows(addresses)
	if len(addresses) == 0 {
		return false, err
	}
	conn, err := dialAny(ctx, addresses, p.at.WdPort)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	l, err := m.outbound(ctx, p, conn)
	if err != nil {
		m.explain(p, err)
		return false, err
	}
	m.log.Log(logging.Event{Message: "new outbound connection to " + p.at.Host + ":" + strconv.Itoa(p.at.WdPort)})
	m.serve(ctx, l, remote(conn))
	return true, nil
}

// explain logs and tells refusals of a handshake with p that we began.
func (m *Mesh) explain(p *peer, err error) {
	var theirs *refused
	var ours *refusal
	switch {
	case errors.As(err, &theirs):
		m.refusedBy(p, theirs.text)
	case errors.As(err, &ours):
		p.lines.Log(m.log, ours.event)
	}
}

func dialAny(ctx context.Context, addresses []netip.Addr, port int) (conn net.Conn, err error) {
	d := net.Dialer{Timeout: connectTimeout}
	for _, a := range addresses {
		conn, err = d.DialContext(ctx, "tcp", netip.AddrPortFrom(a, uint16(port)).String())
		if err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// outbound is the handshake on a connection we dialled.
func (m *Mesh) outbound(ctx context.Context, p *peer, tcp net.Conn) (*link, error) {
	stop := context.AfterFunc(ctx, func() { _ = tcp.Close() })
	defer stop()
	conn := tcp
	var secure *tls.Conn
	if m.client != nil {
		config := m.client
		if config.ServerName == "" {
			config = config.Clone()
			config.ServerName = p.at.Host
		}
		secure = tls.Client(tcp, config)
		conn = secure
	}
	w := m.patient(conn, tcp)
	h, err := m.handshake(ctx, w, secure)
	if err != nil {
		return nil, err
	}
	s, err := h.connect(p.id)
	if err != nil {
		return nil, err
	}
	return newLink(p, w, h.in, s, true, m.idle), nil
}

// patient prepares a new connection for a handshake.
func (m *Mesh) patient(conn, tcp net.Conn) *patient {
	giveUpAfter(tcp, m.idle)
	w := &patient{Conn: conn, tcp: tcp, idle: handshakeTimeout}
	w.within(handshakeTimeout)
	w.finishBy(time.Now().Add(handshakeTimeout))
	return w
}

// handshake prepares our side; with TLS it does that of TLS first.
func (m *Mesh) handshake(ctx context.Context, w *patient, secure *tls.Conn) (*handshake, error) {
	h := &handshake{config: &m.config, run: m.run, in: bufio.NewReader(w), out: w}
	if secure == nil {
		return h, nil
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	state := secure.ConnectionState()
	channel, err := state.ExportKeyingMaterial(exporterLabel, nil, 32)
	h.channel = channel
	return h, err
}

// serve runs an authenticated connection until it ends.
func (m *Mesh) serve(ctx context.Context, l *link, from netip.Addr) {
	l.conn.idle = m.idle
	l.conn.end.Store(0)
	m.attach(l, from)
	why := l.serve(ctx, func(payload []byte) { m.deliver(l, payload) })
	m.detach(l, why)
}

// resolve turns a host name into addresses; an address is itself.
func (m *Mesh) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	addresses, err := m.lookup(ctx, "ip", host)
	for i, a := range addresses {
		addresses[i] = a.Unmap()
	}
	return addresses, err
}

func remote(conn net.Conn) netip.Addr {
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return plain(a.AddrPort().Addr())
	}
	return netip.Addr{}
}
