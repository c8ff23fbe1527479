package ldap

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/go-ldap/ldap/v3"

	"gopgpool/auth/outside"
)

// maxAnswer bounds, in bytes, what a server may send on one connection, its certificates included. A login needs a few hundred.
const maxAnswer = 128 << 10

var errTooLong = errors.New("the server's answer is too long")

// conn is a connection that no longer answers when its context ends.
type conn struct {
	*ldap.Conn
	forget func() bool // ends the watch on the context
}

// dial connects, with TLS as the options say. The caller closes.
func (l *login) dial(ctx context.Context, s server) (*conn, error) {
	var dialer net.Dialer
	raw, err := dialer.DialContext(ctx, "tcp", s.address())
	if err != nil {
		return nil, lost(ctx, `could not connect to LDAP server "`+s.address()+`"`, err)
	}
	limited := &bounded{Conn: raw, left: maxAnswer}
	// A deadline rather than a close: the library's goroutines see an error and end by themselves.
	forget := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	c := &conn{forget: forget}
	if err := c.start(ctx, limited, l, s); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *conn) start(ctx context.Context, stream net.Conn, l *login, s server) error {
	if l.options.LDAPS {
		encrypted := tls.Client(stream, l.security.config(s.host))
		if err := encrypted.HandshakeContext(ctx); err != nil {
			c.forget()
			_ = stream.Close() // it is of no use any more
			return lost(ctx, `no TLS with LDAP server "`+s.address()+`"`, err)
		}
		stream = encrypted
	}
	c.Conn = ldap.NewConn(stream, l.options.LDAPS)
	c.Start()
	if !l.options.StartTLS || l.options.LDAPS {
		return nil
	}
	if err := c.StartTLS(l.security.config(s.host)); err != nil {
		c.close()
		return lost(ctx, `could not start LDAP TLS session with server "`+s.address()+`"`, err)
	}
	return nil
}

func (c *conn) close() {
	c.forget()
	_ = c.Close() // what was asked is answered
}

// failed is an operation that was not carried out; kind says what that means if the server itself said so.
func failed(ctx context.Context, text string, err error, kind outside.Failure) error {
	result := (*ldap.Error)(nil)
	if !errors.As(err, &result) || ctx.Err() != nil {
		return lost(ctx, text, err)
	}
	switch code := result.ResultCode; {
	case code == ldap.ErrorFilterCompile: // nothing was sent
	case code >= ldap.ErrorNetwork && code <= ldap.ErrorEmptyPassword: // the library's own
		return lost(ctx, text, err)
	case code == ldap.LDAPResultBusy || code == ldap.LDAPResultUnavailable:
		kind = outside.Unavailable
	}
	return outside.New(kind, text, err)
}

// lost is a server that gave no answer, if the context ended then because of that. The dialer's own clock may run out a moment before the
// context's.
func lost(ctx context.Context, text string, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	} else if end, ok := ctx.Deadline(); ok && !time.Now().Before(end) {
		err = context.DeadlineExceeded
	}
	return outside.New(outside.Unavailable, text, err)
}

// bounded reads so much and no more.
type bounded struct {
	net.Conn
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errTooLong
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
