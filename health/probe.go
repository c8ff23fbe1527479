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

	"gopgpool/cluster"
)

// Login is the account a probe uses, and how long it waits for a TCP connection.
type Login struct {
	User, Password, Database string        // Password as configured; empty and prefixed forms are for Passwords
	ConnectTimeout           time.Duration // 0 = as long as the context allows
}

// Passwords finds the password of a probe's user: the parameter's value where it is set, else the entry of pool_passwd, else
// empty.
type Passwords func(user, param string) (string, error)

// maxMessage bounds one message of a server, so that a broken one cannot make us allocate.
const maxMessage = 1 << 20

// Prober opens probe connections. It may be used from any goroutine.
type Prober struct {
	passwords Passwords
	names     *names
	base      *pgconn.Config // what all connections have in common
}

// NewProber makes a Prober. Nothing but what a Login says is taken from outside: the PG* variables of the environment have no
// effect.
func NewProber(passwords Passwords) (*Prober, error) {
	base, err := pgconn.ParseConfig("host=localhost port=5432 user=x password=x dbname=x sslmode=disable" +
		" connect_timeout=0 target_session_attrs=any channel_binding=disable" +
		" min_protocol_version=3.0 max_protocol_version=3.0")
	if err != nil {
		return nil, fmt.Errorf("health: settings of probe connections: %w", err)
	}
	base.RuntimeParams = map[string]string{}
	base.Fallbacks, base.ValidateConnect, base.AfterConnect = nil, nil, nil
	base.RequireAuth = ""
	base.MaxProtocolMessageBodyLen = maxMessage
	return &Prober{passwords: passwords, names: newNames(), base: base}, nil
}

// Conn is one probe connection to a node. It belongs to one goroutine at a time; whoever connected closes it.
type Conn struct {
	node cluster.NodeID
	pg   *pgconn.PgConn
}

// Connect logs in to a node: TCP or Unix socket, startup, authentication. The context bounds all of it. The errors are of
// type *Error.
func (p *Prober) Connect(ctx context.Context, n cluster.Node, l Login, params map[string]string) (*Conn, error) {
	password, err := p.passwords(l.User, l.Password)
	if err != nil {
		return nil, &Error{Node: n.ID, Trouble: NotAsked, Err: fmt.Errorf("password of user %q: %w", l.User, err)}
	}
	return p.connect(ctx, n, l, password, params)
}

// connect tries the addresses of a node one after another until one answers.
func (p *Prober) connect(
	ctx context.Context, n cluster.Node, l Login, password string, params map[string]string,
) (*Conn, error) {
	addresses, note, err := p.names.find(ctx, n.Host)
	if err != nil {
		return nil, &Error{Node: n.ID, Trouble: NotAsked, Err: err}
	}
	var troubles []Trouble
	var errs []error
	for i, a := range addresses {
		cfg := p.config(n, l, password, params)
		pg, trouble, err := connectTo(ctx, cfg, a, share(ctx, l.ConnectTimeout, len(addresses)-i))
		if err == nil {
			return &Conn{node: n.ID, pg: pg}, nil
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

// config are the settings of one connection; the driver keeps them as long as the connection.
func (p *Prober) config(n cluster.Node, l Login, password string, params map[string]string) *pgconn.Config {
	cfg := p.base.Copy()
	cfg.Port = uint16(n.Port)
	cfg.User, cfg.Password, cfg.Database = l.User, password, l.Database
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

// connectTo logs in at one address.
func connectTo(ctx context.Context, cfg *pgconn.Config, address string, bound time.Duration) (*pgconn.PgConn, Trouble, error) {
	cfg.Host = address
	cfg.LookupFunc = func(context.Context, string) ([]string, error) { return []string{address}, nil }
	d := &dialer{Dialer: net.Dialer{Timeout: bound}}
	cfg.DialFunc = d.dial
	pg, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		trouble := sortTrouble(err, strings.HasPrefix(address, "/"), d.asked())
		return nil, trouble, describe(err, address, cfg.Port, trouble)
	}
	return pg, 0, nil
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
	used  atomic.Bool
	first atomic.Uint32 // the first byte the server said, 0 if none
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
	return &tap{Conn: c, first: &d.first}, nil
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

// asked reports whether the server asked who we are.
func (d *dialer) asked() bool { return d.first.Load() == 'R' }

// tap remembers the first byte that comes.
type tap struct {
	net.Conn
	first *atomic.Uint32
}

func (t *tap) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	if n > 0 {
		t.first.CompareAndSwap(0, uint32(b[0]))
	}
	return n, err
}

// Close says goodbye to the server. The context bounds how long it takes.
func (c *Conn) Close(ctx context.Context) error { return c.pg.Close(ctx) }

// dead reports whether the connection cannot be used any more.
func (c *Conn) dead() bool { return c.pg.IsClosed() }
