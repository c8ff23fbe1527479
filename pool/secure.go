package pool

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/loop"
	"gopgpool/pgwire"
	"gopgpool/tlsconf"
)

// This file is about TLS towards the servers: when it is asked for, and what is done when a server wants it otherwise.

// TLSError is a server that is there and cannot be spoken to as backend_sslmode demands: it has no TLS, its certificate is not to be
// trusted, it wants another one of us. That is no reason to take the node for lost.
type TLSError struct {
	Node cluster.NodeID
	Err  error
}

func (e *TLSError) Error() string { return fmt.Sprintf("TLS to DB node %d: %v", e.Node, e.Err) }
func (e *TLSError) Unwrap() error { return e.Err }

// SQLState is that of a connection that cannot be made.
func (e *TLSError) SQLState() string { return "08001" }

// UseTLS sets how servers are spoken to; without it, in plain text. Call it before the first connection is opened. f is called for each
// connection, from any loop.
func (p *Pool) UseTLS(f func(node cluster.NodeID, host string) tlsconf.Server) { p.tls = f }

func (p *Pool) serverTLS(node cluster.Node) tlsconf.Server {
	if p.tls == nil {
		return tlsconf.Server{Mode: conf.SSLModeDisable}
	}
	return p.tls(node.ID, node.Host)
}

// encrypt asks the server for TLS, if the way wants it, and shakes hands. showed, if not nil, is set when the server has asked for a
// certificate and got one.
func encrypt(t *loop.Task, wire *loop.Conn, w tlsconf.Way, showed *bool) error {
	cfg, optional := w.TLS()
	if cfg == nil {
		return nil
	}
	if _, err := wire.Write(pgwire.AppendSSLRequest(nil)); err != nil {
		return err
	}
	var answer [1]byte
	if _, err := wire.Read(answer[:]); err != nil {
		return fmt.Errorf("no answer to SSLRequest: %w", err)
	}
	switch {
	case answer[0] == 'N' && optional:
		return nil
	case answer[0] == 'N':
		return tlsconf.ErrNoTLS
	case answer[0] == pgwire.ErrorResponse:
		return errors.New("server sent an error response during SSL exchange")
	case answer[0] != 'S':
		return fmt.Errorf("unexpected answer %q to SSLRequest", answer[0])
	case wire.Unread(): // or it would be taken for what came after the handshake
		return errors.New("received unencrypted data after SSL response")
	}
	cfg = t.WithOffloadedKeys(cfg)
	if showed != nil {
		cfg = noting(t, cfg, showed)
	}
	err := wire.StartTLS(nil, func(c net.Conn) *tls.Conn { return tls.Client(c, cfg) })
	if err != nil && !errors.Is(err, loop.ErrStopped) {
		return fmt.Errorf("%w: %w", tlsconf.ErrHandshake, err)
	}
	return err
}

// encryptCancel encrypts the connection for a cancel request to a server that is spoken to on TLS.
func (p *Pool) encryptCancel(t *loop.Task, wire *loop.Conn, node cluster.Node) error {
	ways := p.serverTLS(node).Ways()
	w := ways[0]
	if cfg, _ := w.TLS(); cfg == nil {
		w = ways[len(ways)-1]
	}
	return encrypt(t, wire, w, nil)
}

// noting is a configuration that notes whether its certificate is shown.
func noting(t *loop.Task, cfg *tls.Config, showed *bool) *tls.Config {
	give := cfg.GetClientCertificate
	if give == nil && len(cfg.Certificates) == 0 {
		return cfg
	}
	cfg = cfg.Clone()
	cfg.GetClientCertificate = func(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if give == nil {
			*showed = true
			return &cfg.Certificates[0], nil
		}
		given, err := give(asked)
		if err != nil {
			return nil, err
		}
		cert := t.WithOffloadedKey(*given)
		*showed = len(cert.Certificate) > 0
		return &cert, nil
	}
	return cfg
}

// binding is what SCRAM binds a login over the connection to; nil in plain text.
func binding(wire *loop.Conn) []byte {
	if cert := serverCertificate(wire); cert != nil {
		return tlsconf.EndPoint(cert)
	}
	return nil
}

func serverCertificate(wire *loop.Conn) *x509.Certificate {
	state := wire.ConnectionState()
	if state == nil || len(state.PeerCertificates) == 0 {
		return nil
	}
	return state.PeerCertificates[0]
}
