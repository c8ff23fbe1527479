package pool

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gopgpool/auth"
	"gopgpool/cluster"
	"gopgpool/loop"
	"gopgpool/pgwire"
	"gopgpool/tlsconf"
)

// maxLoginMessage bounds what a server may send in one message before it is ready: an unknown peer costs bounded memory.
const maxLoginMessage = 64 << 10

// maxLogin bounds all a server may send before it is ready.
const maxLogin = 1 << 20

// ServerError is an ErrorResponse the server sent while a connection was opened. Frame is the whole message, to be relayed
// unchanged.
type ServerError struct {
	Node   cluster.NodeID
	Frame  []byte
	Fields pgwire.Fields
}

func (e *ServerError) Error() string { return e.Fields.Message }

// SQLState is the server's own code.
func (e *ServerError) SQLState() string { return e.Fields.Code }

// ConnectError is a server that could not be reached, or did not speak the protocol, or stopped speaking.
type ConnectError struct {
	Node cluster.NodeID
	Err  error
}

func (e *ConnectError) Error() string { return fmt.Sprintf("DB node %d: %v", e.Node, e.Err) }
func (e *ConnectError) Unwrap() error { return e.Err }

// Refused reports whether an error of connecting says that nothing listens at the address.
func Refused(err error) bool {
	return errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOENT)
}

// Unreachable reports whether an error of connecting says that there is no way to the host.
func Unreachable(err error) bool {
	return errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTDOWN)
}

// Opening is a connection on its way: the server has told how it wants to be convinced. Finish it with Login or Abandon.
type Opening struct {
	Method auth.ServerMethod // what the server asks for
	conn   *Conn
	in     reader
	first  []byte // body of the first authentication message
	pool   *Pool
	// walSender: the connection speaks the replication protocol, which knows no SQL
	walSender bool
}

// Open connects to a node for the key, sends the startup packet and waits for the server's first word. The place must have
// been reserved; on an error it is given back. until bounds the whole, besides Limits.ConnectTimeout for the dial.
func (p *Pool) Open(t *loop.Task, node cluster.Node, key Key, params []pgwire.Param, tune func(fd int), until time.Time) (*Opening, error) {
	o, err := p.open(t, node, key, params, tune, until)
	if err != nil {
		p.Unreserve(key)
		return nil, nodeError(node.ID, err)
	}
	return o, nil
}

func nodeError(node cluster.NodeID, err error) error {
	var se *ServerError
	if errors.As(err, &se) {
		se.Node = node
		return se
	}
	if errors.Is(err, loop.ErrStopped) {
		return err
	}
	if tlsconf.Disagreed(err) {
		return &TLSError{Node: node, Err: err}
	}
	return &ConnectError{Node: node, Err: err}
}

func (p *Pool) open(t *loop.Task, node cluster.Node, key Key, params []pgwire.Param, tune func(fd int), until time.Time) (*Opening, error) {
	b := p.birth(t, key)
	dialUntil := until
	if d := p.Limits().ConnectTimeout; d > 0 && (until.IsZero() || t.Now().Add(d).Before(until)) {
		dialUntil = t.Now().Add(d)
	}
	addr, err := resolve(t, node.Host, node.Port, dialUntil)
	if err != nil {
		return nil, err
	}
	var first error
	for _, w := range p.serverTLS(node).Ways() {
		o, err := p.attempt(t, node, b, addr, dialUntil, tune)
		if err == nil {
			_ = o.conn.Wire.SetDeadline(until)
			err = o.start(t, w, params)
		}
		switch {
		case err == nil:
			return o, nil
		case first == nil:
			first = err
		}
		if o != nil {
			o.conn.Wire.Close()
		}
		if !w.Retry(stateOf(err), err) {
			break
		}
	}
	return nil, first
}

// stateOf is the SQLSTATE a server has refused with, "" if it has not.
func stateOf(err error) string {
	var refused *ServerError
	if errors.As(err, &refused) {
		return refused.Fields.Code
	}
	return ""
}

// attempt makes one connection.
func (p *Pool) attempt(t *loop.Task, node cluster.Node, b birth, addr net.Addr, until time.Time, tune func(fd int)) (*Opening, error) {
	wire, err := t.Dial(addr, until)
	if err != nil {
		return nil, err
	}
	if tune != nil {
		tune(wire.FD())
	}
	o := &Opening{pool: p, conn: p.newConn(t, wire, node, b)}
	o.in.conn = wire
	return o, nil
}

// birth is when a connection was begun: before anybody asked where the server is and how it is to be spoken to. A Reconnect after that is
// about it, too.
type birth struct {
	place *Place
	era   uint64
	at    time.Time
}

func (p *Pool) birth(t *loop.Task, key Key) birth {
	p.mu.Lock()
	defer p.mu.Unlock()
	pl := p.places[key]
	return birth{pl, pl.era, t.Now()}
}

func (p *Pool) newConn(t *loop.Task, wire *loop.Conn, node cluster.Node, b birth) *Conn {
	c := &Conn{
		Wire: wire, Key: b.place.key, Epoch: node.Epoch, Created: b.at, home: t.Loop(), jitter: p.dice(), opening: true, Serial: 1,
		place: b.place, era: b.era,
	}
	c.onIdle = func(*loop.Conn) { p.spoiled(c) }
	return c
}

// start negotiates TLS, sends the startup packet and reads the server's first word.
func (o *Opening) start(t *loop.Task, w tlsconf.Way, params []pgwire.Param) error {
	showed := false
	if err := encrypt(t, o.conn.Wire, w, &showed); err != nil {
		return err
	}
	for _, p := range params {
		o.walSender = o.walSender || p.Name == "replication"
	}
	if _, err := o.conn.Wire.Write(pgwire.AppendStartup(nil, o.conn.Key.User, o.conn.Key.Database, params)); err != nil {
		return err
	}
	typ, body, err := o.next()
	if err != nil {
		return err
	}
	if typ != pgwire.Authentication || len(body) < 4 {
		return fmt.Errorf("unexpected message %q instead of an authentication request", typ)
	}
	o.first = append([]byte(nil), body...)
	o.Method = auth.ServerMethod(int32(binary.BigEndian.Uint32(body)))
	if showed {
		o.Method = o.Method.ByOwnCert()
	}
	return nil
}

// next reads a message, turning an ErrorResponse into a *ServerError and skipping notices and negotiation.
func (o *Opening) next() (byte, []byte, error) {
	for {
		typ, frame, err := o.in.message()
		if err != nil {
			return 0, nil, err
		}
		switch typ {
		case pgwire.ErrorResponse:
			body := frame[pgwire.HeaderSize:]
			return 0, nil, &ServerError{Frame: append([]byte(nil), frame...), Fields: pgwire.ReadFields(body)}
		case pgwire.NoticeResponse, pgwire.NegotiateVersion:
		default:
			return typ, frame[pgwire.HeaderSize:], nil
		}
	}
}

// Abandon gives the connection up.
func (o *Opening) Abandon() { o.pool.Discard(o.conn) }

// Login convinces the server with the credential and waits until it is ready. Expensive steps run off the loop. On an error
// the connection is closed and its place given back.
func (o *Opening) Login(t *loop.Task, cred auth.Credential, cache *auth.Cache) (*Conn, error) {
	if err := o.login(t, cred, cache); err != nil {
		o.Abandon()
		var ae *auth.Error
		if errors.As(err, &ae) {
			return nil, ae
		}
		return nil, nodeError(o.conn.Key.Node, err)
	}
	_ = o.conn.Wire.SetDeadline(time.Time{})
	o.conn.Uses = 1
	o.pool.opened(o.conn)
	return o.conn, nil
}

func (o *Opening) login(t *loop.Task, cred auth.Credential, cache *auth.Cache) error {
	login := auth.NewLogin(cred, cache, binding(o.conn.Wire))
	body := o.first
	for {
		step, err := login.Next(int32(binary.BigEndian.Uint32(body)), body[4:])
		for err == nil && step.Work != nil {
			t.Offload(step.Work)
			step, err = login.Resume()
		}
		if err != nil {
			return err
		}
		if step.Send {
			if _, err := o.conn.Wire.Write(pgwire.AppendBody(nil, pgwire.Password, step.Body)); err != nil {
				return err
			}
		}
		if step.Done {
			return o.ready()
		}
		typ, next, err := o.next()
		if err != nil {
			return err
		}
		if typ != pgwire.Authentication || len(next) < 4 {
			return fmt.Errorf("unexpected message %q during authentication", typ)
		}
		body = next
	}
}

// ready reads what follows AuthenticationOk.
func (o *Opening) ready() error {
	for {
		typ, body, err := o.next()
		if err != nil {
			return err
		}
		switch typ {
		case pgwire.ParameterStatus:
			name, rest, ok := pgwire.CString(body)
			value, _, ok2 := pgwire.CString(rest)
			if !ok || !ok2 || len(o.conn.Params) >= 1000 {
				return errors.New("malformed ParameterStatus")
			}
			o.conn.SetParam(string(name), string(value))
		case pgwire.BackendKeyData:
			if len(body) < 5 || len(body) > 4+256 {
				return errors.New("malformed BackendKeyData")
			}
			o.conn.PID = binary.BigEndian.Uint32(body)
			o.conn.Secret = append([]byte(nil), body[4:]...)
		case pgwire.ReadyForQuery:
			if o.in.left() > 0 {
				return errors.New("server sent more after it was ready")
			}
			return o.askIsolation()
		default:
			return fmt.Errorf("unexpected message %q before the server was ready", typ)
		}
	}
}

// askIsolation learns the isolation level of the session's transactions, which decides whether its reads may be balanced and
// which servers do not report. It is SHOW because a standby refuses every query where that level is serializable.
func (o *Opening) askIsolation() error {
	const question = "SHOW default_transaction_isolation"
	if o.walSender {
		return nil
	}
	if _, err := o.conn.Wire.Write(pgwire.AppendQuery(nil, question)); err != nil {
		return err
	}
	for {
		typ, body, err := o.next()
		if err != nil {
			return err
		}
		switch typ {
		case pgwire.DataRow:
			pgwire.Columns(body, func(_ int, v []byte) { o.conn.Isolation = string(v) })
		case pgwire.ReadyForQuery:
			if o.in.left() > 0 {
				return errors.New("server sent more after it was ready")
			}
			return nil
		}
	}
}

// reader frames what a server sends during login. A message lives until the next one is read.
type reader struct {
	conn  *loop.Conn
	buf   []byte
	r     int
	total int
}

func (r *reader) left() int { return len(r.buf) - r.r }

func (r *reader) message() (byte, []byte, error) {
	for {
		typ, size, ok, err := pgwire.Header(r.buf[r.r:])
		if err != nil {
			return 0, nil, err
		}
		if ok && size > maxLoginMessage {
			return 0, nil, fmt.Errorf("message %q of %d bytes during login", typ, size)
		}
		if ok && r.left() >= size {
			frame := r.buf[r.r : r.r+size]
			r.r += size
			return typ, frame, nil
		}
		if err := r.fill(); err != nil {
			return 0, nil, err
		}
	}
}

func (r *reader) fill() error {
	if r.r > 0 {
		r.buf = r.buf[:copy(r.buf, r.buf[r.r:])]
		r.r = 0
	}
	if cap(r.buf)-len(r.buf) < 1024 {
		r.buf = append(make([]byte, 0, 2*cap(r.buf)+2048), r.buf...)
	}
	n, err := r.conn.Read(r.buf[len(r.buf):cap(r.buf)])
	r.buf = r.buf[:len(r.buf)+n]
	if r.total += n; r.total > maxLogin {
		return fmt.Errorf("server sent %d bytes during login", r.total)
	}
	if n > 0 {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return errors.New("server closed the connection during login")
	}
	return err
}

// resolve turns a backend_hostname into an address; names are looked up off the loop.
func resolve(t *loop.Task, host string, port int, until time.Time) (net.Addr, error) {
	if strings.HasPrefix(host, "/") {
		return &net.UnixAddr{Name: host + "/.s.PGSQL." + strconv.Itoa(port), Net: "unix"}, nil
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, uint16(port))), nil
	}
	var addrs []netip.Addr
	var err error
	t.Offload(func() {
		ctx, cancel := context.Background(), func() {}
		if !until.IsZero() {
			ctx, cancel = context.WithDeadline(ctx, until)
		}
		defer cancel()
		addrs, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	})
	if err != nil {
		return nil, err
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("host %q has no address", host)
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(preferred(addrs).Unmap(), uint16(port))), nil
}

// preferred takes an IPv4 address where there is one: "localhost" servers of test set-ups listen there.
func preferred(addrs []netip.Addr) netip.Addr {
	for _, a := range addrs {
		if a.Unmap().Is4() {
			return a
		}
	}
	return addrs[0]
}
