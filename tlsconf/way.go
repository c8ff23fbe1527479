package tlsconf

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"gopgpool/conf"
)

// Way is one manner of opening a connection to a server. Each way needs a connection of its own.
type Way struct {
	config   *tls.Config // nil: in plain text
	optional bool        // in plain text where the server has no TLS
	last     bool
}

// Ways are the manners a server's mode allows, in the order in which libpq tries them; at least one.
func (s Server) Ways() []Way {
	plain, over := Way{}, Way{config: s.Config}
	var list []Way
	switch s.Mode {
	case conf.SSLModeDisable:
		list = []Way{plain}
	case conf.SSLModeAllow:
		list = []Way{plain, over}
	case conf.SSLModePrefer:
		over.optional = true
		list = []Way{over, plain}
	case conf.SSLModeAuto, conf.SSLModeRequire, conf.SSLModeVerifyCA, conf.SSLModeVerifyFull:
		list = []Way{over}
	}
	list[len(list)-1].last = true
	return list
}

// TLS is the configuration of the way, nil for plain text; optional tells that a server without TLS is taken in plain text.
func (w Way) TLS() (cfg *tls.Config, optional bool) { return w.config, w.optional }

// stateNoEntry is the SQLSTATE of a server whose pg_hba.conf has no entry for a connection: one for the other kind may be there.
const stateNoEntry = "28000"

// Retry reports whether the next way is worth trying after this one has failed: TLS could not be agreed on, or the server has
// refused with a SQLSTATE ("" if it has not) that says it wants the other kind of connection.
func (w Way) Retry(state string, err error) bool {
	return !w.last && (state == stateNoEntry || errors.Is(err, ErrHandshake))
}

var (
	// ErrNoTLS is a server that has no TLS where it is demanded.
	ErrNoTLS = errors.New("server does not support SSL, but SSL was required")
	// ErrHandshake is a TLS handshake that failed, on either side. It wraps the reason.
	ErrHandshake = errors.New("TLS handshake")
)

// Upgrade, for those who have a goroutine to wait on, asks a server for TLS if the way wants it, and shakes hands. The result is a *tls.Conn, or c itself; with an error c is
// not closed. Exactly one byte is read in clear, so nothing said before the handshake is taken for something said in it. The end of
// ctx ends it.
func (w Way) Upgrade(ctx context.Context, c net.Conn) (net.Conn, error) {
	if w.config == nil {
		return c, nil
	}
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	if _, err := c.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil { // SSLRequest
		return nil, err
	}
	var answer [1]byte
	if _, err := c.Read(answer[:]); err != nil {
		return nil, err
	}
	switch {
	case answer[0] == 'S':
		over := tls.Client(c, w.config)
		if err := over.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrHandshake, err)
		}
		return over, nil
	case answer[0] == 'N' && w.optional:
		return c, nil
	case answer[0] == 'N':
		return nil, ErrNoTLS
	}
	return nil, fmt.Errorf("server answers a request for SSL with %q", answer[0])
}

// Disagreed reports whether a connection has failed because the two sides want different things of TLS: the server has none, or one
// side does not take the other's certificate or version. A server that is silent, or goes away, is no such case.
func Disagreed(err error) bool {
	var op *net.OpError
	switch {
	case errors.Is(err, ErrNoTLS):
		return true
	case errors.As(err, &op):
		return op.Op == "remote error" // an alert
	case !errors.Is(err, ErrHandshake):
		return false
	}
	for _, other := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, os.ErrDeadlineExceeded, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, other) {
			return false
		}
	}
	var system syscall.Errno
	return !errors.As(err, &system)
}
