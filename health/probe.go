package health

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/auth"
	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/tlsconf"
)

// Login is the account a probe uses, and how long it waits for a TCP connection.
type Login struct {
	User, Password, Database string        // Password as configured; empty and prefixed forms are for Passwords
	ConnectTimeout           time.Duration // 0 = as long as the context allows
}

// Passwords finds the password of a probe's user: the parameter's value where it is set, else the entry of pool_passwd, else none.
type Passwords func(user, param string) (auth.Entry, error)

// Servers tells how to speak to a node at a host.
type Servers func(node cluster.NodeID, host string) tlsconf.Server

// maxMessage bounds one message of a server, so that a broken one cannot make us allocate.
const maxMessage = 1 << 20

// Prober opens probe connections. It may be used from any goroutine.
type Prober struct {
	passwords Passwords
	servers   Servers // nil: in plain text
	names     *names
	base      *pgconn.Config // what all connections have in common
}

// NewProber makes a Prober; without servers it speaks to all of them in plain text. Nothing but what a Login says is taken from
// outside: the PG* variables of the environment have no effect.
func NewProber(passwords Passwords, servers Servers) (*Prober, error) {
	base, err := pgconn.ParseConfig("host=localhost port=5432 user=x password=x dbname=x sslmode=disable" +
		" connect_timeout=0 target_session_attrs=any channel_binding=prefer" +
		" min_protocol_version=3.0 max_protocol_version=3.0")
	if err != nil {
		return nil, fmt.Errorf("health: settings of probe connections: %w", err)
	}
	base.RuntimeParams = map[string]string{}
	base.Fallbacks, base.ValidateConnect, base.AfterConnect = nil, nil, nil
	base.RequireAuth = ""
	base.MaxProtocolMessageBodyLen = maxMessage
	return &Prober{passwords: passwords, servers: servers, names: newNames(), base: base}, nil
}

// Conn is one probe connection to a node. It belongs to one goroutine at a time; whoever connected closes it.
type Conn struct {
	node   cluster.NodeID
	server tlsconf.Server // how it was opened
	pg     *pgconn.PgConn
}

// Connect logs in to a node: TCP or Unix socket, TLS, startup, authentication. The context bounds all of it. The errors are of
// type *Error.
func (p *Prober) Connect(ctx context.Context, n cluster.Node, l Login, params map[string]string) (*Conn, error) {
	entry, err := p.passwords(l.User, l.Password)
	if err != nil {
		return nil, &Error{Node: n.ID, Trouble: NotAsked, Err: fmt.Errorf("password of user %q: %w", l.User, err)}
	}
	return p.connect(ctx, n, l, entry, params)
}

// connect tries the addresses of a node one after another until one answers.
func (p *Prober) connect(
	ctx context.Context, n cluster.Node, l Login, entry auth.Entry, params map[string]string,
) (*Conn, error) {
	addresses, note, err := p.names.find(ctx, n.Host)
	if err != nil {
		return nil, &Error{Node: n.ID, Trouble: NotAsked, Err: err}
	}
	server := p.server(n)
	var troubles []Trouble
	var errs []error
	for i, a := range addresses {
		v := visit{
			cfg: p.config(n, l, entry, params), entry: entry, address: a, bound: share(ctx, l.ConnectTimeout, len(addresses)-i),
		}
		pg, trouble, err := v.connect(ctx, server)
		if err == nil {
			return &Conn{node: n.ID, server: server, pg: pg}, nil
		}
		troubles, errs = append(troubles, trouble), append(errs, err)
		if trouble == Rejected || ctx.Err() != nil {
			break
		}
	}
	if note != nil {
		errs = append(errs, fmt.Errorf("the addresses are the last known: %w", note))
	}
	return nil, &Error{Node: n.ID, Trouble: sum(troubles), Err: several(errs)}
}

// server tells how a node is spoken to now.
func (p *Prober) server(n cluster.Node) tlsconf.Server {
	if p.servers == nil {
		return tlsconf.Server{Mode: conf.SSLModeDisable}
	}
	return p.servers(n.ID, n.Host)
}

// config are the settings of one connection; the driver keeps them as long as the connection.
func (p *Prober) config(n cluster.Node, l Login, entry auth.Entry, params map[string]string) *pgconn.Config {
	cfg := p.base.Copy()
	cfg.Port = uint16(n.Port)
	cfg.User, cfg.Database = l.User, l.Database
	cfg.Password, _ = entry.Clear()
	cfg.RuntimeParams = params
	return cfg
}

// share is how long one of the addresses left may take to connect, so that a silent one leaves time for the others; 0 is no bound.
func share(ctx context.Context, bound time.Duration, left int) time.Duration {
	end, limited := ctx.Deadline()
	if !limited || left == 1 {
		return bound
	}
	part := max(time.Until(end)/time.Duration(left), time.Millisecond)
	if bound <= 0 {
		return part
	}
	return min(part, bound)
}

// visit is a login at one address.
type visit struct {
	cfg     *pgconn.Config
	entry   auth.Entry
	address string
	bound   time.Duration
}

// connect tries the ways in which the server may be spoken to. The last one tried tells what the trouble is.
func (v *visit) connect(ctx context.Context, server tlsconf.Server) (*pgconn.PgConn, Trouble, error) {
	var trouble Trouble
	var err error
	for _, w := range server.Ways() {
		var pg *pgconn.PgConn
		var raw error
		if pg, trouble, err, raw = v.once(ctx, w); raw == nil {
			return pg, 0, nil
		}
		if !w.Retry(sqlState(raw), raw) {
			break
		}
	}
	return nil, trouble, err
}

// once is one connection. Raw is what the driver says, err the same in words.
func (v *visit) once(ctx context.Context, w tlsconf.Way) (pg *pgconn.PgConn, trouble Trouble, err, raw error) {
	cfg := v.cfg.Copy()
	cfg.Host = v.address
	cfg.LookupFunc = func(context.Context, string) ([]string, error) { return []string{v.address}, nil }
	d := &dialer{Dialer: net.Dialer{Timeout: v.bound}, way: w}
	cfg.DialFunc = d.dial
	h := newHearing(cfg.User, v.entry)
	cfg.BuildFrontend = h.frontend
	if pg, raw = pgconn.ConnectConfig(ctx, cfg); raw == nil {
		h.over()
		return pg, 0, nil, nil
	}
	trouble = sortTrouble(raw, strings.HasPrefix(v.address, "/"), h.asked())
	return nil, trouble, describe(raw, v.address, cfg.Port, trouble), raw
}

func sqlState(err error) string {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return answer.Code
	}
	return ""
}

// describe says what happened at an address, without the driver's words around it, which repeat who we are.
func describe(err error, address string, port uint16, trouble Trouble) error {
	var answer *pgconn.PgError
	var network *net.OpError
	var whole *pgconn.ConnectError
	switch {
	case errors.As(err, &answer):
		err = answer
	case trouble == Silent:
		err = errSilent
	case errors.As(err, &network):
		return network // it names the address
	case errors.As(err, &whole) && whole.Unwrap() != nil:
		return whole.Unwrap() // likewise
	}
	_, at := pgconn.NetworkAddress(address, port)
	return fmt.Errorf("%s: %w", at, err)
}

// broken reports whether a connection ended in the middle.
func broken(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// dialer opens one connection and no other: what the driver would open behind our back to cancel a statement of a connection that
// has broken is of no use here, and would outlive the probe.
type dialer struct {
	net.Dialer
	way  tlsconf.Way
	used atomic.Bool
}

var errOnce = errors.New("a probe opens one connection")

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if d.used.Swap(true) {
		return nil, errOnce
	}
	c, err := d.patiently(ctx, network, address)
	if err != nil {
		return nil, err
	}
	over, err := d.way.Upgrade(ctx, c)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return over, nil
}

// patiently connects. A socket file whose queue is full says so at once, where TCP would wait: one waits here then.
func (d *dialer) patiently(ctx context.Context, network, address string) (net.Conn, error) {
	const again = 20 * time.Millisecond
	if d.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.Timeout)
		defer cancel()
	}
	for {
		c, err := d.DialContext(ctx, network, address)
		if !errors.Is(err, syscall.EAGAIN) || ctx.Err() != nil {
			return c, err
		}
		sleep(ctx, again)
	}
}

// Close says goodbye to the server. The context bounds how long it takes.
func (c *Conn) Close(ctx context.Context) error { return c.pg.Close(ctx) }

// dead reports whether the connection cannot be used any more.
func (c *Conn) dead() bool { return c.pg.IsClosed() }
