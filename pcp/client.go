package pcp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// maxRows is how many rows of one reply a client takes. The longest reply has one for each worker, pool slot and node.
const maxRows = 1 << 20

// Errors of a client. Answers of the server are of type *ServerError instead.
var (
	// ErrConnectionLost is a connection that ended in the middle of something.
	ErrConnectionLost = errors.New("unable to read data from socket.") //nolint:staticcheck // the text of Pgpool-II's clients
	// ErrUserTooLong is a user name that no server takes.
	ErrUserTooLong = errors.New("PCP authorization failed. username too long.") //nolint:staticcheck // likewise
	// ErrBadResponse is a reply that does not follow the protocol.
	ErrBadResponse = errors.New("bad response from server")
)

// ServerError is what the server answered instead of a reply.
type ServerError struct{ Notice }

func (e *ServerError) Error() string {
	text := e.Severity + ":  " + e.Message
	if e.Detail != "" {
		text += "\nDETAIL:  " + e.Detail
	}
	return text
}

// ClientOptions are what a client tells while it works. Both may be nil.
type ClientOptions struct {
	// Trace is called for each packet received, and for each sent after the authentication. length is that in the packet.
	Trace func(sent bool, typ byte, length int)
	// Notice is called for each notice, which may come before any reply.
	Notice func(Notice)
}

// Client is a connection to a PCP server. It serves one caller at a time. When a method's context ends, or its error is not a
// *ServerError, the connection is good for nothing but Close.
type Client struct {
	conn net.Conn
	in   *Reader
	opts ClientOptions
}

// Dial connects to a server; network is "tcp" or "unix". The error is that of net.Dialer.
func Dial(ctx context.Context, network, address string, opts ClientOptions) (*Client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return NewClient(conn, opts), nil
}

// NewClient speaks on conn, which belongs to it from now on.
func NewClient(conn net.Conn, opts ClientOptions) *Client {
	return &Client{conn: conn, in: NewReader(conn, MaxReply), opts: opts}
}

// Close takes leave of the server, if it still listens, and closes the connection.
func (c *Client) Close() error {
	_ = c.conn.SetDeadline(time.Now().Add(time.Second)) // nobody waits for a server that does not read
	_ = c.send(TypeTerminate)                           // it may have closed the connection before
	return c.conn.Close()
}

// Authenticate proves that the user knows the password (manual: pcp.conf).
func (c *Client) Authenticate(ctx context.Context, user, password string) error {
	if len(user) > MaxUser {
		return ErrUserTooLong
	}
	return c.during(ctx, func() error {
		if err := c.write(AppendPacket(nil, TypeSalt, nil)); err != nil {
			return err
		}
		p, err := c.reply(ReplySalt)
		if err != nil {
			return err
		}
		if len(p.Payload) != SaltSize {
			return fmt.Errorf("%w: a salt of %d bytes", ErrBadResponse, len(p.Payload))
		}
		digest := Digest(StoredDigest(password), user, [SaltSize]byte(p.Payload))
		if err := c.write(AppendStrings(nil, TypeAuthenticate, user, digest)); err != nil {
			return err
		}
		p, err = c.reply(ReplyAuthenticate)
		if err != nil {
			return err
		}
		if f := p.Strings(); len(f) == 0 || f[0] != AuthenticationOK {
			return fmt.Errorf("authentication failed. reason=%q", p.Payload)
		}
		return nil
	})
}

// during runs f, whose reads and writes fail once ctx ends.
func (c *Client) during(ctx context.Context, f func() error) error {
	expired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = c.conn.SetDeadline(time.Unix(1, 0)) // a closed connection is as good
		close(expired)
	})
	err := f()
	if stop() {
		return err
	}
	<-expired
	return context.Cause(ctx)
}

func (c *Client) send(typ byte, fields ...string) error {
	return c.sendPacket(AppendStrings(nil, typ, fields...))
}

func (c *Client) sendPacket(packet []byte) error {
	if c.opts.Trace != nil {
		c.opts.Trace(true, packet[0], len(packet)-1)
	}
	return c.write(packet)
}

// write does not report a lost connection: the server may have said why before it closed, which reading tells.
func (c *Client) write(packet []byte) error {
	if len(packet)-1 > MaxRequest {
		return fmt.Errorf("a request of %d bytes, which no server takes", len(packet)-1)
	}
	_, _ = c.conn.Write(packet)
	return nil
}

// reply reads the next packet, which must be of type want. Notices before it are told, an error packet is an error.
func (c *Client) reply(want byte) (Packet, error) {
	for {
		p, err := c.in.Next()
		if err != nil {
			return Packet{}, lost(err)
		}
		if c.opts.Trace != nil {
			c.opts.Trace(false, p.Type, lengthSize+len(p.Payload))
		}
		switch p.Type {
		case want:
			return p, nil
		case ReplyError, ReplyNotice:
			n, err := ParseNotice(p.Payload)
			if err != nil {
				return Packet{}, fmt.Errorf("%w: %w", ErrBadResponse, err)
			}
			if p.Type == ReplyError {
				return Packet{}, &ServerError{n}
			}
			if c.opts.Notice != nil {
				c.opts.Notice(n)
			}
		default:
			return Packet{}, fmt.Errorf("invalid PCP packet type =%q", string(rune(p.Type)))
		}
	}
}

// lost makes one error of all that end a connection.
func lost(err error) error {
	var length *LengthError
	if errors.As(err, &length) {
		return err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrConnectionLost
	}
	return fmt.Errorf("%w %w", ErrConnectionLost, err)
}

// record asks for a reply of one packet and returns its fields.
func (c *Client) record(ctx context.Context, reply byte, request []byte) (fields []string, err error) {
	err = c.during(ctx, func() error {
		if err := c.sendPacket(request); err != nil {
			return err
		}
		p, err := c.reply(reply)
		if err != nil {
			return err
		}
		f := p.Strings()
		if len(f) == 0 || f[0] != TagComplete {
			return refusal(p)
		}
		fields = f[1:]
		return nil
	})
	return fields, err
}

// refusal is a reply of the right type that tells neither success nor data.
func refusal(p Packet) error {
	if f := p.Strings(); len(f) > 0 {
		return fmt.Errorf("%w: %q", ErrBadResponse, f[0])
	}
	return ErrBadResponse
}

// array asks for a reply of several packets and has each row taken, whose fields are those behind the tag. The number of rows in the
// first packet is not needed: a last packet ends the reply.
func (c *Client) array(ctx context.Context, reply byte, tag string, request []byte, take func(fields []string) error) error {
	return c.during(ctx, func() error {
		if err := c.sendPacket(request); err != nil {
			return err
		}
		p, err := c.reply(reply)
		if err != nil {
			return err
		}
		if first, _, _ := bytes.Cut(p.Payload, []byte{0}); string(first) != TagArraySize {
			return refusal(p)
		}
		for range maxRows {
			p, err := c.reply(reply)
			if err != nil {
				return err
			}
			f := p.Strings()
			switch {
			case len(f) > 0 && f[0] == TagComplete:
				return nil
			case len(f) == 0 || f[0] != tag:
				return refusal(p)
			}
			if err := take(f[1:]); err != nil {
				return err
			}
		}
		return fmt.Errorf("%w: more than %d rows", ErrBadResponse, maxRows)
	})
}

// done asks for a reply without data.
func (c *Client) done(ctx context.Context, reply byte, request []byte) error {
	_, err := c.record(ctx, reply, request)
	return err
}

func numbered(typ byte, n int) []byte { return AppendStrings(nil, typ, strconv.Itoa(n)) }
