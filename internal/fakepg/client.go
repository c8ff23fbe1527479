package fakepg

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"gopgpool/pgwire"
)

// Client is the other end: it sends any bytes and reads messages, with a bound on every wait. It is not for use by several
// goroutines. Its errors end the test; the methods that begin with Try return them.
type Client struct {
	tb  testing.TB
	tcp *net.TCPConn
	buf []byte
	r   int

	// PID and Key are what the login told, Params the settings reported so far.
	PID    uint32
	Key    []byte
	Params map[string]string
}

// Dial connects to 127.0.0.1 and says nothing. The test closes the connection.
func Dial(tb testing.TB, port int) *Client {
	tb.Helper()
	tcp, err := net.DialTCP("tcp4", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		tb.Fatal(err)
	}
	c := &Client{tb: tb, tcp: tcp, Params: make(map[string]string)}
	tb.Cleanup(func() { _ = tcp.Close() })
	return c
}

// Connect logs in without a password.
func Connect(tb testing.TB, port int, user, database string) *Client {
	tb.Helper()
	c := Dial(tb, port)
	c.Send(pgwire.AppendStartup(nil, user, database, nil))
	c.Login()
	return c
}

// Login reads everything up to the first ReadyForQuery.
func (c *Client) Login() {
	c.tb.Helper()
	for {
		m := c.Next()
		switch m.Type {
		case pgwire.BackendKeyData:
			c.PID, c.Key = binary.BigEndian.Uint32([]byte(m.Body)), []byte(m.Body[4:])
		case pgwire.ErrorResponse:
			c.tb.Fatalf("login: %s", Show(m))
		case pgwire.ReadyForQuery:
			return
		}
	}
}

// Send writes bytes. Whether anybody takes them shows when the answer is read.
func (c *Client) Send(b []byte) {
	_ = c.tcp.SetWriteDeadline(time.Now().Add(awaitTimeout))
	_, _ = c.tcp.Write(b)
}

// TrySend writes bytes for at most d and tells how many were taken.
func (c *Client) TrySend(b []byte, d time.Duration) (int, error) {
	_ = c.tcp.SetWriteDeadline(time.Now().Add(d))
	return c.tcp.Write(b)
}

// Close ends the connection without a word; CloseHard with a reset; CloseWrite ends its sending side only.
func (c *Client) Close() { _ = c.tcp.Close() }

// CloseHard see Close.
func (c *Client) CloseHard() {
	_ = c.tcp.SetLinger(0)
	_ = c.tcp.Close()
}

// CloseWrite see Close.
func (c *Client) CloseWrite() { _ = c.tcp.CloseWrite() }

// Bye says goodbye and waits for the end of the stream.
func (c *Client) Bye() {
	c.tb.Helper()
	c.Send(pgwire.AppendSimple(nil, pgwire.Terminate))
	c.ExpectEnd()
	c.Close()
}

// Query sends a simple query and reads the whole answer.
func (c *Client) Query(sql string) []Message {
	c.tb.Helper()
	c.Send(pgwire.AppendQuery(nil, sql))
	return c.UntilReady()
}

// Next reads a message.
func (c *Client) Next() Message {
	c.tb.Helper()
	m, err := c.TryNext()
	if err != nil {
		c.tb.Fatalf("no message: %v", err)
	}
	return m
}

// TryNext reads a message. io.EOF is the end between two messages, io.ErrUnexpectedEOF the end within one; a reset of the
// connection counts as an end.
func (c *Client) TryNext() (Message, error) {
	for {
		typ, size, ok, err := pgwire.Header(c.buf[c.r:])
		if err != nil {
			return Message{}, err
		}
		if ok && len(c.buf)-c.r >= size {
			m := Message{typ, string(c.buf[c.r+pgwire.HeaderSize : c.r+size])}
			c.r += size
			c.note(m)
			return m, nil
		}
		if err := c.fill(); err != nil {
			if ended(err) && len(c.buf) > c.r {
				return Message{}, io.ErrUnexpectedEOF
			}
			if ended(err) {
				return Message{}, io.EOF
			}
			return Message{}, err
		}
	}
}

func ended(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.As(err, &op) && !op.Timeout()
}

func (c *Client) note(m Message) {
	if m.Type != pgwire.ParameterStatus {
		return
	}
	name, rest, _ := pgwire.CString([]byte(m.Body))
	value, _, _ := pgwire.CString(rest)
	c.Params[string(name)] = string(value)
}

func (c *Client) fill() error {
	if c.r > 0 {
		c.buf = c.buf[:copy(c.buf, c.buf[c.r:])]
		c.r = 0
	}
	if cap(c.buf)-len(c.buf) < 4096 {
		c.buf = append(make([]byte, 0, 2*cap(c.buf)+16384), c.buf...)
	}
	_ = c.tcp.SetReadDeadline(time.Now().Add(awaitTimeout))
	n, err := c.tcp.Read(c.buf[len(c.buf):cap(c.buf)])
	c.buf = c.buf[:len(c.buf)+n]
	if n > 0 {
		return nil
	}
	return err
}

// Discard reads n bytes and forgets them.
func (c *Client) Discard(n int64) {
	c.tb.Helper()
	_ = c.tcp.SetReadDeadline(time.Now().Add(awaitTimeout))
	if _, err := io.CopyN(io.Discard, c.tcp, n); err != nil {
		c.tb.Fatal(err)
	}
}

// DiscardAll reads and forgets everything until the connection ends. Another goroutine may close it.
func (c *Client) DiscardAll() {
	_ = c.tcp.SetReadDeadline(time.Time{})
	_, _ = io.Copy(io.Discard, struct{ io.Reader }{c.tcp})
}

// UntilReady reads messages up to ReadyForQuery.
func (c *Client) UntilReady() []Message {
	c.tb.Helper()
	var out []Message
	for {
		m := c.Next()
		out = append(out, m)
		if m.Type == pgwire.ReadyForQuery {
			return out
		}
	}
}

// UntilEnd reads messages up to the end of the stream. whole tells that it did not end within a message.
func (c *Client) UntilEnd() (out []Message, whole bool) {
	c.tb.Helper()
	for {
		m, err := c.TryNext()
		switch {
		case err == nil:
			out = append(out, m)
		case errors.Is(err, io.EOF):
			return out, true
		case errors.Is(err, io.ErrUnexpectedEOF):
			return out, false
		default:
			c.tb.Fatalf("after %s: %v", Transcript(out), err)
		}
	}
}

// ExpectEnd reads the end of the stream.
func (c *Client) ExpectEnd() {
	c.tb.Helper()
	if out, _ := c.UntilEnd(); len(out) > 0 {
		c.tb.Fatalf("got %s instead of the end", Transcript(out))
	}
}

// ExpectFatal reads to the end of the stream and returns the last message, which has to be a FATAL error with the code.
func (c *Client) ExpectFatal(code string) pgwire.Fields {
	c.tb.Helper()
	out, whole := c.UntilEnd()
	if !whole || len(out) == 0 || out[len(out)-1].Type != pgwire.ErrorResponse {
		c.tb.Fatalf("no error at the end, but %s", Transcript(out))
	}
	f := pgwire.ReadFields([]byte(out[len(out)-1].Body))
	if f.Code != code || f.Severity != "FATAL" {
		c.tb.Fatalf("%s %s: %s (%s) instead of FATAL %s", f.Severity, f.Code, f.Message, f.Detail, code)
	}
	return f
}

// Errors are the SQLSTATEs of the errors among messages.
func Errors(messages []Message) []string {
	var out []string
	for _, m := range messages {
		if m.Type == pgwire.ErrorResponse {
			out = append(out, pgwire.ReadFields([]byte(m.Body)).Code)
		}
	}
	return out
}

// Transcript writes messages in one line each, without what differs between servers of one version.
func Transcript(messages []Message) string {
	lines := make([]string, len(messages))
	for i, m := range messages {
		lines[i] = Show(m)
	}
	return strings.Join(lines, "\n")
}

// Show writes a message: errors and notices by severity, code and message alone.
func Show(m Message) string {
	switch m.Type {
	case pgwire.ErrorResponse, pgwire.NoticeResponse:
		f := pgwire.ReadFields([]byte(m.Body))
		return fmt.Sprintf("%c %s %s %s", m.Type, f.Severity, f.Code, f.Message)
	}
	return fmt.Sprintf("%c %q", m.Type, m.Body)
}

// Byte reads a single byte: the answer to SSLRequest and GSSENCRequest.
func (c *Client) Byte() byte {
	c.tb.Helper()
	for len(c.buf) == c.r {
		if err := c.fill(); err != nil {
			c.tb.Fatal(err)
		}
	}
	c.r++
	return c.buf[c.r-1]
}

// Rest is everything up to the end of the stream.
func (c *Client) Rest() string {
	c.tb.Helper()
	for {
		if err := c.fill(); ended(err) {
			return string(c.buf[c.r:])
		} else if err != nil {
			c.tb.Fatal(err)
		}
	}
}
