package query

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"gopgpool/conf"
	"gopgpool/tlsconf"
)

// way is one manner of speaking to a server. Where it does not get on, the next one is tried, as libpq does.
type way struct {
	config   *tls.Config // nil: in plain text
	optional bool        // in plain text where the server has no TLS
	last     bool
}

// ways are those of a server's mode, in order.
func ways(s tlsconf.Server) []way {
	plain, over := way{}, way{config: s.Config}
	var list []way
	switch s.Mode {
	case conf.SSLModeDisable:
		list = []way{plain}
	case conf.SSLModeAllow:
		list = []way{plain, over}
	case conf.SSLModePrefer:
		over.optional = true
		list = []way{over, plain}
	case conf.SSLModeAuto, conf.SSLModeRequire, conf.SSLModeVerifyCA, conf.SSLModeVerifyFull:
		list = []way{over}
	}
	list[len(list)-1].last = true
	return list
}

// retry reports whether an error leaves the next way to try: pg_hba.conf wants the other one, or TLS cannot be agreed on.
func (w way) retry(err error) bool {
	return !w.last && (state(err) == "28000" || errors.Is(err, errHandshake))
}

var (
	sslRequest   = [...]byte{0, 0, 0, 8, 4, 210, 22, 47}
	errNoTLS     = errors.New("the server does not support TLS")
	errHandshake = errors.New("TLS handshake")
)

// upgrade asks a server for TLS. Exactly its one byte of answer is read in clear.
func (w way) upgrade(ctx context.Context, c net.Conn) (net.Conn, error) {
	if w.config == nil {
		return c, nil
	}
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	if _, err := c.Write(sslRequest[:]); err != nil {
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
			return nil, fmt.Errorf("%w: %w", errHandshake, err)
		}
		return over, nil
	case answer[0] == 'N' && w.optional:
		return c, nil
	}
	return nil, errNoTLS
}
