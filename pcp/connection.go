package pcp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"gopgpool/logging"
)

// connection is one client of the server. Its goroutine owns all fields.
type connection struct {
	server *Server
	conn   net.Conn
	in     *Reader
	out    reply
	log    logging.Logger
	client string // its address

	deadline   time.Time // for authentication
	salt       [SaltSize]byte
	salted     bool // salt was sent and has not been answered
	authorized bool
	user       string
}

func newConnection(s *Server, conn net.Conn, number int) *connection {
	c := &connection{server: s, conn: conn, in: NewReader(conn, MaxRequest), client: clientName(conn), out: reply{conn: conn}}
	c.log = s.parts.Log.With(&logging.Origin{App: "pcp_child", ProcessName: "pcp_child", PID: number, Client: c.client})
	c.deadline = time.Now().Add(s.loginTime())
	return c
}

func clientName(conn net.Conn) string {
	if a, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return a.String()
	}
	return "[local]"
}

// evict ends a connection from outside.
func (c *connection) evict() { _ = c.conn.Close() }

var (
	errHungUp  = errors.New("the client has hung up")
	errRefused = errors.New("refused")
	errDone    = errors.New("done")
)

// serve answers requests until the client leaves, an error is fatal, or ctx ends.
func (c *connection) serve(ctx context.Context) {
	defer context.AfterFunc(ctx, c.evict)()
	defer c.evict()
	defer c.server.known(c)
	c.tell("new PCP connection received")
	for {
		p, err := c.next()
		if err == nil {
			err = c.answer(ctx, p)
		}
		if err != nil {
			c.end(ctx, err)
			return
		}
	}
}

// next waits for a request, before authentication for a bounded time.
func (c *connection) next() (Packet, error) {
	_ = c.conn.SetReadDeadline(c.loginDeadline()) // an error shows in reading
	if err := c.in.Await(); err != nil {
		return Packet{}, err
	}
	limit := time.Now().Add(requestTime)
	if d := c.loginDeadline(); !d.IsZero() && d.Before(limit) {
		limit = d
	}
	_ = c.conn.SetReadDeadline(limit)
	return c.in.Next()
}

// loginDeadline is when an unauthenticated connection ends; never for others.
func (c *connection) loginDeadline() time.Time {
	if c.authorized {
		return time.Time{}
	}
	return c.deadline
}

// answer replies to one request. An error ends the connection.
func (c *connection) answer(ctx context.Context, p Packet) error {
	var err error
	switch {
	case p.Type == TypeTerminate:
		return errDone
	case p.Type == TypeSalt:
		err = c.challenge()
	case p.Type == TypeAuthenticate:
		err = c.authenticate(p)
	case !c.authorized:
		err = fatal("authentication failed for new PCP connection", "connection not authorized")
	default:
		err = c.command(ctx, p)
		if end := ctx.Err(); end != nil && errors.Is(err, end) && !errors.As(err, new(*Error)) { // one of those says more
			err = fatal("terminating connection due to administrator command", "pgpool is stopping, the command was given up")
		}
	}
	if err != nil {
		if err := c.refuse(asError(err)); err != nil {
			return err
		}
	}
	return c.out.flush()
}

// refuse sends an error. It returns errRefused where that is the last the client gets.
func (c *connection) refuse(e *Error) error {
	severity, level := SeverityError, logging.Error
	if e.Fatal {
		severity, level = SeverityFatal, logging.Fatal
	}
	c.log.Log(logging.Event{Severity: level, Message: e.Message, Detail: e.Detail, User: c.user})
	c.out.notice(Notice{Severity: severity, State: stateInternal, Message: e.Message, Detail: e.Detail, File: "pcp", Line: "0"})
	if e.Fatal {
		return errors.Join(errRefused, c.out.flush())
	}
	return nil
}

// end takes leave of the client, telling it what was wrong with its packet.
func (c *connection) end(ctx context.Context, err error) {
	var length *LengthError
	if errors.As(err, &length) {
		err = c.refuse(asError(err))
	}
	switch {
	case errors.Is(err, errRefused):
		c.linger()
	case ctx.Err() != nil:
	case errors.Is(err, os.ErrDeadlineExceeded) && !c.authorized:
		c.log.Log(logging.Event{Severity: logging.Log, Message: "PCP connection ended without authentication", Detail: "time is up"})
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.log.Log(logging.Event{Severity: logging.Log, Message: "PCP connection ended", Detail: "a packet stayed unfinished for too long"})
	}
	c.tell("PCP connection ended")
}

// Bounds of linger.
const (
	lingerTime  = time.Second
	lingerBytes = 64 << 10
)

// linger lets the client read its last packet: closing with bytes unread would have the kernel throw that away.
func (c *connection) linger() {
	if h, ok := c.conn.(interface{ CloseWrite() error }); ok && h.CloseWrite() == nil {
		_ = c.conn.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, c.conn, lingerBytes)
	}
}

// tell is a line of log_pcp_processes.
func (c *connection) tell(text string) {
	if c.server.parts.Settings().LogProcesses {
		c.log.Log(logging.Event{Severity: logging.Log, Message: text, Client: c.client, User: c.user})
	}
}

// challenge sends a salt, good for one answer.
func (c *connection) challenge() error {
	_, _ = rand.Read(c.salt[:]) // never fails
	c.salted = true
	c.out.packet(ReplySalt, c.salt[:])
	return nil
}

const badLogin = "username and/or password does not match"

// authenticate judges the answer to the salt.
func (c *connection) authenticate(p Packet) error {
	c.authorized = false
	if !c.salted {
		return fatal("authentication failed", badLogin)
	}
	c.salted = false
	f := p.Strings()
	if len(f) != 2 || len(f[0]) > MaxUser {
		return fatal("authentication failed", badLogin)
	}
	path := c.server.parts.PasswordFile
	file, err := readPasswords(path)
	if err != nil {
		return fileError(path, err)
	}
	if !admits(file, f[0], f[1], c.salt) {
		return fatal(fmt.Sprintf("authentication failed for user %q", f[0]), badLogin)
	}
	c.authorized, c.user = true, f[0]
	c.server.known(c)
	c.out.strings(ReplyAuthenticate, AuthenticationOK)
	return nil
}

// watched runs f with a context that ends when the client hangs up meanwhile.
func (c *connection) watched(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	_ = c.conn.SetReadDeadline(time.Time{})
	gone := make(chan struct{})
	go c.watch(cancel, gone)
	err := f(ctx)
	_ = c.conn.SetReadDeadline(time.Unix(1, 0)) // wakes watch
	<-gone
	return err
}

// watch ends when the client says something, hangs up, or the deadline for reading comes.
func (c *connection) watch(cancel context.CancelCauseFunc, gone chan<- struct{}) {
	defer close(gone)
	if err := c.in.Await(); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		cancel(errHungUp)
	}
}

// reply collects packets for the client and sends them when there are enough, or at the end.
type reply struct {
	conn net.Conn
	buf  []byte
	err  error // the first one, behind which nothing is sent
}

// replyChunk is how much is collected.
const replyChunk = 64 << 10

func (r *reply) packet(typ byte, payload []byte) {
	r.buf = AppendPacket(r.buf, typ, payload)
	r.spill()
}

func (r *reply) strings(typ byte, fields ...string) {
	r.buf = AppendStrings(r.buf, typ, fields...)
	r.spill()
}

func (r *reply) notice(n Notice) { r.buf = AppendNotice(r.buf, ReplyError, n); r.spill() }

// tell sends a notice at once. Clients pass over it, or print it.
func (r *reply) tell(text string) {
	r.buf = AppendNotice(r.buf, ReplyNotice, Notice{Severity: "NOTICE", State: "00000", Message: text, File: "pcp", Line: "0"})
	_ = r.flush() // kept in err
}

func (r *reply) spill() {
	if len(r.buf) >= replyChunk {
		_ = r.flush() // kept in err
	}
}

// flush sends what was collected.
func (r *reply) flush() error {
	if r.err == nil && len(r.buf) > 0 {
		_ = r.conn.SetWriteDeadline(time.Now().Add(replyTime))
		_, r.err = r.conn.Write(r.buf)
	}
	r.buf = r.buf[:0]
	return r.err
}
