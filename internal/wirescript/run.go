package wirescript

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// Target is where a script runs.
type Target struct {
	// Address is a TCP address.
	Address string
	// User and Database of sessions that do not say otherwise. The server must not ask for a password.
	User, Database string
	// Chop writes so many bytes at a time, each its own segment; 0: as much as there is.
	Chop int
	// Patience bounds the wait for one answer; 0: half a minute.
	Patience time.Duration
	// Setup runs SQL on the primary, in Database.
	Setup func(ctx context.Context, sql string) error
	// Holds answers a question of a wait step: whether the SQL is true on one of the servers.
	Holds func(ctx context.Context, sql string) (bool, error)
	// Settle is called before messages are sent: it waits until all servers know what was written so far, for reading from one
	// that lags behind is no mistake of the proxy.
	Settle func(ctx context.Context) error
}

// defaultPatience is that of targets which do not say.
const defaultPatience = 30 * time.Second

// deadline is when the wait for an answer that begins now is over.
func (r *run) deadline() time.Time { return time.Now().Add(r.target.Patience) }

// run is one run of a script.
type run struct {
	ctx    context.Context
	script *Script
	target Target
	conns  map[string]*conn
	order  []*conn
	log    Transcript
}

// conn is one connection of a script.
type conn struct {
	name   string
	net    net.Conn
	in     io.Reader
	out    []byte
	pid    uint32
	key    []byte
	closed bool
}

// Run runs a script. The transcript is complete up to the error if there is one.
func (s *Script) Run(ctx context.Context, target Target) (Transcript, error) {
	if target.Patience == 0 {
		target.Patience = defaultPatience
	}
	r := &run{ctx: ctx, script: s, target: target, conns: map[string]*conn{}}
	defer r.close()
	for _, sql := range s.Setup {
		if err := target.Setup(ctx, sql); err != nil {
			return nil, fmt.Errorf("%s: setup: %w", s.Name, err)
		}
	}
	for _, st := range s.steps {
		if err := r.step(st); err != nil {
			return r.log, fmt.Errorf("%s:%d: %s: %w", s.Name, st.line, st.verb, err)
		}
	}
	if err := r.finish(); err != nil {
		return r.log, fmt.Errorf("%s: end: %w", s.Name, err)
	}
	return r.log, nil
}

// actions are the steps that are no message.
func actions() map[string]func(r *run, c *conn, rest string) error {
	return map[string]func(*run, *conn, string) error{
		"open":    func(*run, *conn, string) error { return nil },
		"startup": (*run).startup,
		"connect": (*run).login,
		"ssl":     func(r *run, c *conn, _ string) error { return r.negotiate(c, 80877103) },
		"gss":     (*run).gss,
		"cancel":  (*run).cancel,
		"wait":    (*run).wait,
		"send":    func(r *run, _ *conn, _ string) error { return r.send() },
		"<":       (*run).expect,
		"<<":      (*run).expectLast,
	}
}

func (r *run) step(st step) error {
	text := r.pids(expand(st.rest))
	if st.verb != "<" && st.verb != "<<" && st.verb != "wait" && st.verb != "send" {
		r.log = append(r.log, Entry{Conn: st.conn, Step: strings.TrimSpace(st.verb + " " + abbreviate(st.rest))})
	}
	c := r.conns[st.conn]
	if act, ok := actions()[st.verb]; ok {
		if c == nil && st.verb != "wait" && st.verb != "send" {
			var err error
			if c, err = r.dial(st.conn); err != nil {
				return err
			}
		}
		return act(r, c, text)
	}
	if c == nil {
		var err error
		if c, err = r.dial(st.conn); err != nil {
			return err
		}
		if err := r.login(c, ""); err != nil {
			return err
		}
	}
	out, err := messages()[st.verb](c.out, text)
	if err != nil {
		return err
	}
	c.out = out
	return nil
}

func abbreviate(text string) string {
	if len(text) > 4*longValue {
		return fmt.Sprintf("%s... (%d bytes)", text[:longValue], len(text))
	}
	return text
}

var pidOf = regexp.MustCompile(`\{pid:([a-z0-9]+)\}`)

func (r *run) pids(text string) string {
	return pidOf.ReplaceAllStringFunc(text, func(m string) string {
		if c := r.conns[pidOf.FindStringSubmatch(m)[1]]; c != nil {
			return strconv.FormatUint(uint64(c.pid), 10)
		}
		return m
	})
}

func (r *run) dial(name string) (*conn, error) {
	var d net.Dialer
	n, err := d.DialContext(r.ctx, "tcp", r.target.Address)
	if err != nil {
		return nil, err
	}
	c := &conn{name: name, net: n, in: n}
	r.conns[name] = c
	r.order = append(r.order, c)
	return c, nil
}

// send writes what is gathered on all connections.
func (r *run) send() error {
	if !slices.ContainsFunc(r.order, func(c *conn) bool { return len(c.out) > 0 }) {
		return nil
	}
	if err := r.target.Settle(r.ctx); err != nil {
		return err
	}
	for _, c := range r.order {
		if err := r.write(c); err != nil {
			return err
		}
	}
	return nil
}

// write writes what is gathered on one connection while reading nothing; scripts stay below what sockets buffer, or ask for an
// answer in time. A connection the other side has closed takes nothing more, which the next read will tell.
func (r *run) write(c *conn) error {
	out := c.out
	c.out = nil
	if err := c.net.SetWriteDeadline(r.deadline()); err != nil {
		return err
	}
	for len(out) > 0 {
		n := len(out)
		if r.target.Chop > 0 && n <= chopped {
			n = min(n, r.target.Chop)
		}
		if _, err := c.net.Write(out[:n]); err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				return err
			}
			return nil
		}
		out = out[n:]
	}
	return nil
}

// chopped is the length up to which messages are cut up: beyond it would only take time.
const chopped = 16 << 10

// startup sends a startup packet.
func (r *run) startup(c *conn, rest string) error {
	version := uint32(3 << 16)
	list, err := words(rest)
	if err != nil {
		return err
	}
	params := [][2]string{{"user", r.target.User}, {"database", r.target.Database}}
	for _, w := range list {
		name, text, isParam := strings.Cut(w, "=")
		if !isParam {
			if version, err = protocolVersion(w); err != nil {
				return err
			}
			continue
		}
		text = bare(text)
		params = slices.DeleteFunc(params, func(p [2]string) bool { return p[0] == name })
		if text != "" || name != "user" && name != "database" {
			params = append(params, [2]string{name, text})
		}
	}
	body := binary.BigEndian.AppendUint32(nil, version)
	for _, p := range params {
		body = append(append(append(append(body, p[0]...), 0), p[1]...), 0)
	}
	body = append(body, 0)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(len(body)+4))
	c.out = append(c.out, body...)
	return nil
}

func protocolVersion(word string) (uint32, error) {
	major, minor, _ := strings.Cut(word, ".")
	high, err := strconv.ParseUint(major, 10, 16)
	if err != nil {
		return 0, err
	}
	low, err := strconv.ParseUint(minor, 10, 16)
	return uint32(high<<16 | low), err
}

func (r *run) login(c *conn, rest string) error {
	if err := r.startup(c, rest); err != nil {
		return err
	}
	return r.expect(c, "Z=I")
}

func (r *run) negotiate(c *conn, code uint32) error {
	c.out = binary.BigEndian.AppendUint32(c.out, 8)
	c.out = binary.BigEndian.AppendUint32(c.out, code)
	if err := r.send(); err != nil {
		return err
	}
	b := make([]byte, 1)
	if err := c.net.SetReadDeadline(r.deadline()); err != nil {
		return err
	}
	if _, err := io.ReadFull(c.in, b); err != nil {
		return err
	}
	r.log = append(r.log, Entry{Conn: c.name, Type: string(b), Text: "(no message)"})
	return nil
}

// gss asks for GSSAPI encryption. A server that offers it, as one may that was built with it, is left for a new connection; so
// does libpq without a ticket.
func (r *run) gss(c *conn, _ string) error {
	if err := r.negotiate(c, 80877104); err != nil {
		return err
	}
	last := &r.log[len(r.log)-1]
	if last.Type != "G" {
		return nil
	}
	last.Type = "N"
	if err := c.net.Close(); err != nil {
		return err
	}
	var d net.Dialer
	var err error
	c.net, err = d.DialContext(r.ctx, "tcp", r.target.Address)
	c.in = c.net
	return err
}

// cancel returns when the server has closed the connection the request went over: then it was acted on.
func (r *run) cancel(c *conn, _ string) error {
	if err := r.send(); err != nil {
		return err
	}
	var d net.Dialer
	n, err := d.DialContext(r.ctx, "tcp", r.target.Address)
	if err != nil {
		return err
	}
	defer n.Close()
	packet := binary.BigEndian.AppendUint32(nil, uint32(12+len(c.key)))
	packet = binary.BigEndian.AppendUint32(packet, 80877102)
	packet = binary.BigEndian.AppendUint32(packet, c.pid)
	packet = append(packet, c.key...)
	if _, err := n.Write(packet); err != nil {
		return err
	}
	if err := n.SetReadDeadline(r.deadline()); err != nil {
		return err
	}
	if got, err := io.ReadAll(n); err != nil || len(got) > 0 {
		return fmt.Errorf("answer to a cancel request: %q, %w", got, err)
	}
	return nil
}

func (r *run) wait(_ *conn, sql string) error {
	if err := r.send(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.ctx, r.target.Patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		yes, err := r.target.Holds(ctx, sql)
		if err != nil || yes {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// expect carries out a < step.
func (r *run) expect(c *conn, rest string) error {
	if err := r.send(); err != nil {
		return err
	}
	wanted, err := words(rest)
	if err != nil {
		return err
	}
	for len(wanted) > 0 {
		kind, text, _ := strings.Cut(wanted[0], "=")
		text = bare(text)
		e, err := r.read(c)
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", wanted[0], err)
		}
		switch {
		case e.Type == kind && strings.Contains(e.Text, text):
			wanted = wanted[1:]
		case e.Type == "EOF", e.Type == "Z":
			return fmt.Errorf("%s came, not %s", e, wanted[0])
		}
	}
	return nil
}

// expectLast carries out a << step.
func (r *run) expectLast(c *conn, rest string) error {
	if err := r.send(); err != nil {
		return err
	}
	first, rest, _ := strings.Cut(rest, " ")
	for {
		e, err := r.read(c)
		switch {
		case err != nil:
			return fmt.Errorf("waiting for %s: %w", first, err)
		case e.Type == first:
			return r.expect(c, rest)
		case e.Type == "EOF":
			return fmt.Errorf("%s came, not %s", e, first)
		}
	}
}

// read reads one message and writes it down, unless it is a difference altogether.
func (r *run) read(c *conn) (Entry, error) {
	for {
		kind, body, err := r.frame(c)
		if errors.Is(err, io.EOF) {
			c.closed = true
			e := Entry{Conn: c.name, Type: "EOF"}
			r.log = append(r.log, e)
			return e, nil
		}
		if err != nil {
			return Entry{}, err
		}
		m, err := decode(kind, body)
		if err != nil {
			return Entry{}, fmt.Errorf("message %q: %w", kind, err)
		}
		if k, ok := m.(*pgproto3.BackendKeyData); ok {
			c.pid, c.key = k.ProcessID, slices.Clone(k.SecretKey)
		}
		if !r.script.erase(m) {
			continue
		}
		e := Entry{Conn: c.name, Type: string(kind), Message: m, Text: show(m)}
		r.log = append(r.log, e)
		return e, nil
	}
}

// maxFrame bounds what a target can make us allocate.
const maxFrame = 64 << 20

func (r *run) frame(c *conn) (byte, []byte, error) {
	if c.closed {
		return 0, nil, io.EOF
	}
	if err := c.net.SetReadDeadline(r.deadline()); err != nil {
		return 0, nil, err
	}
	var head [5]byte
	if n, err := io.ReadFull(c.in, head[:]); err != nil {
		var timeout net.Error
		if n == 0 && (!errors.As(err, &timeout) || !timeout.Timeout()) { // a reset is an end as well
			return 0, nil, io.EOF
		}
		return 0, nil, err
	}
	if head[0] == 'E' && head[1] >= ' ' {
		return r.oldError(c, head[1:])
	}
	size := int(binary.BigEndian.Uint32(head[1:])) - 4
	if size < 0 || size > maxFrame {
		return 0, nil, fmt.Errorf("message %q of %d bytes", head[0], size)
	}
	body := make([]byte, size)
	_, err := io.ReadFull(c.in, body)
	return head[0], body, err
}

// oldError reads an error of protocol 2, a text with a zero byte at its end, and makes one of ours of it.
func (r *run) oldError(c *conn, text []byte) (byte, []byte, error) {
	text = slices.Clone(text)
	for next := make([]byte, 1); text[len(text)-1] != 0; text = append(text, next[0]) {
		if _, err := io.ReadFull(c.in, next); err != nil {
			return 0, nil, err
		}
	}
	body, err := (&pgproto3.ErrorResponse{Severity: "protocol 2", Message: string(text[:len(text)-1])}).Encode(nil)
	return 'E', body[min(5, len(body)):], err
}

// finish ends the sessions that are still open; what servers had still to say is written down.
func (r *run) finish() error {
	for _, c := range r.order {
		if c.closed {
			continue
		}
		var err error
		if c.out, err = (&pgproto3.Terminate{}).Encode(c.out); err != nil {
			return err
		}
		if err := r.write(c); err != nil {
			return err
		}
		for !c.closed {
			if _, err := r.read(c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *run) close() {
	for _, c := range r.order {
		_ = c.net.Close() // finish has told what there is to tell
	}
}
