package proxy

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"gopgpool/auth/proxyproto"
	"gopgpool/logging"
	"gopgpool/loop"
	"gopgpool/pgwire"
	"gopgpool/tlsconf"
)

// This file is about what comes before the startup packet: who the client is behind a balancer, and TLS.

// errHandled is a first packet that was no session's: it has been dealt with.
var errHandled = errors.New("not a session")

// readStartup reads first packets up to the one that begins a session, within authentication_timeout: a PROXY header from whom one is
// due, negotiation of TLS, then the startup packet or a cancel request.
func (s *session) readStartup() error {
	_ = s.client.conn.SetDeadline(s.loginUntil())
	if err := s.readHeader(); err != nil {
		return err
	}
	if err := s.countStartup(); err != nil {
		return err
	}
	s.logConnection()
	if err := s.direct(); err != nil {
		return err
	}
	for range maxFirstPackets {
		packet, err := s.firstPacket()
		if err != nil {
			return err
		}
		st, err := pgwire.ParseStartup(packet)
		if err != nil {
			return err
		}
		switch {
		case st.Cancel != nil:
			s.srv.cancel(s.t, st.Cancel)
			return errHandled
		case st.SSLRequest, st.GSSRequest:
			if err := s.negotiate(st); err != nil {
				return err
			}
		default:
			s.startup = st
			s.takeOver()
			return nil
		}
	}
	return protocolViolation("too many negotiation requests")
}

// readHeader reads the PROXY header of a connection from proxy_protocol_networks, whose client is the one that counts from then on.
func (s *session) readHeader() error {
	if !s.fromBalancer() {
		return nil
	}
	for {
		h, n, more, err := proxyproto.Parse(s.client.pending())
		switch {
		case err != nil:
			s.log.Log(logging.Event{Severity: logging.Warning, Message: err.Error(), Detail: "This address is in proxy_protocol_networks."})
			return protocolViolation("invalid PROXY protocol header")
		case !more:
			s.client.r += n
			if !h.Local {
				s.peer = peerOf(net.TCPAddrFromAddrPort(h.Source))
				s.origin.Client = logging.Address(s.peer.host, s.peer.port)
			}
			return nil
		}
		if err := s.readMore(); err != nil {
			return err
		}
	}
}

func (s *session) fromBalancer() bool {
	networks := s.cfg.Auth.ProxyProtocolNetworks
	if len(networks) == 0 {
		return false
	}
	addr := s.address().Unmap()
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// address is the client's; not valid on a Unix socket.
func (s *session) address() netip.Addr {
	tcp, ok := s.peer.addr.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().WithZone("")
}

// countStartup counts the connection among those of its address that are not logged in, see startups.
func (s *session) countStartup() (err error) {
	s.entering, err = s.srv.startups.enter(s.address(), s.cfg.Auth.MaxStartupsPerAddress, s.t.Now())
	return err
}

// direct begins TLS with a client that has not asked for it but begun with its handshake, as PostgreSQL 17's sslnegotiation=direct.
func (s *session) direct() error {
	cfg := s.tlsConfig()
	if cfg == nil {
		return nil
	}
	for len(s.client.pending()) == 0 {
		if err := s.readMore(); err != nil {
			return err
		}
	}
	const handshake = 0x16 // first byte of a record; that of a packet is 0, for lengths are small
	if s.client.pending()[0] != handshake {
		return nil
	}
	read := s.client.pending()
	s.client.r = s.client.w
	if err := s.startTLS(cfg, read); err != nil {
		return err
	}
	if !s.secured.alpn { // a client of some other protocol might be made to speak to us
		return protocolViolation("received direct SSL connection request without ALPN protocol negotiation extension")
	}
	return nil
}

// negotiate answers an SSLRequest or GSSENCRequest.
func (s *session) negotiate(st *pgwire.Startup) error {
	if s.client.r < s.client.w {
		return protocolViolation("received unencrypted data after SSL request")
	}
	cfg := s.tlsConfig()
	if st.GSSRequest || cfg == nil {
		return s.answerRequest('N')
	}
	if err := s.answerRequest('S'); err != nil {
		return err
	}
	return s.startTLS(cfg, nil)
}

func (s *session) answerRequest(answer byte) error {
	if _, err := s.client.conn.Write([]byte{answer}); err != nil {
		return &clientGone{err}
	}
	return nil
}

// tlsConfig is nil where the client gets no TLS: none is configured, it has it already, or it is on a Unix socket.
func (s *session) tlsConfig() *tls.Config {
	if s.srv.parts.ClientTLS == nil || s.peer.local || s.client.conn.Encrypted() {
		return nil
	}
	return s.srv.parts.ClientTLS()
}

// secured is what a client's TLS connection says about it, kept until it is logged in.
type secured struct {
	cert    tlsconf.Peer
	binding []byte // for SCRAM
	alpn    bool   // it has asked for PostgreSQL's protocol
}

// handshakeError is a client that TLS could not be agreed on with.
type handshakeError struct{ clientGone }

// startTLS shakes hands. read is what has been read of the client's records; all of it is taken.
func (s *session) startTLS(cfg *tls.Config, read []byte) error {
	cfg = s.t.WithOffloadedKeys(cfg)
	err := s.client.conn.StartTLS(read, func(c net.Conn) *tls.Conn { return tls.Server(c, cfg) })
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errLoginTimeout
	case errors.Is(err, loop.ErrStopped):
		return errStopping
	case err != nil:
		return &handshakeError{clientGone{err}}
	}
	state := s.client.conn.ConnectionState()
	s.secured = &secured{
		cert: tlsconf.PeerOf(state), binding: tlsconf.EndPoint(cfg.Certificates[0].Leaf), alpn: state.NegotiatedProtocol == tlsconf.ALPN,
	}
	return nil
}

// maxFirstPackets allows for one SSLRequest and one GSSENCRequest before the startup packet.
const maxFirstPackets = 3

func (s *session) loginUntil() time.Time {
	if d := s.cfg.Auth.AuthenticationTimeout; d > 0 {
		return s.began.Add(d)
	}
	return time.Time{}
}

// firstPacket reads a packet without a type byte. It aliases the buffer.
func (s *session) firstPacket() ([]byte, error) {
	for {
		p := s.client.pending()
		size, ok, err := pgwire.StartupSize(p)
		if err != nil {
			return nil, err
		}
		if ok && len(p) >= size {
			s.client.r += size
			return p[:size], nil
		}
		if err := s.readMore(); err != nil {
			return nil, err
		}
	}
}

// readMore waits for more from a client that is not logged in.
func (s *session) readMore() error {
	for {
		n, err := s.client.fill()
		if n > 0 {
			return nil
		}
		if errors.Is(err, io.EOF) {
			return errTerminated
		}
		if err != nil {
			return &clientGone{err}
		}
		if s.client.full() {
			return protocolViolation("invalid message length")
		}
		s.client.rest()
		switch s.t.Wait(s.deadline(), loop.Interest{Conn: s.client.conn, Read: true}) {
		case loop.Timeout:
			return errLoginTimeout
		case loop.Stopped:
			return errStopping
		case loop.Ready, loop.Woken:
		}
	}
}

var errLoginTimeout = errors.New("authentication timeout")

func (s *session) binding() []byte {
	if s.secured == nil {
		return nil
	}
	return s.secured.binding
}
