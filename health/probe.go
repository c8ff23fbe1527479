package health

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
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
	return &Prober{passwords: passwords, base: base}, nil
}

// Error is a probe that failed.
type Error struct {
	Node cluster.NodeID
	// Gone: every address of the node refused the connection, so nothing listens there.
	Gone bool
	Err  error
}

func (e *Error) Error() string { return fmt.Sprintf("node %d: %v", e.Node, e.Err) }

func (e *Error) Unwrap() error { return e.Err }

// gone reports whether err says that nothing listens at the node's address.
func gone(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Gone
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
		return nil, &Error{Node: n.ID, Err: fmt.Errorf("password of user %q: %w", l.User, err)}
	}
	return p.connect(ctx, n, l, password, params)
}

func (p *Prober) connect(
	ctx context.Context, n cluster.Node, l Login, password string, params map[string]string,
) (*Conn, error) {
	cfg := p.base.Copy()
	cfg.Host, cfg.Port = n.Host, uint16(n.Port)
	cfg.User, cfg.Password, cfg.Database = l.User, password, l.Database
	cfg.RuntimeParams = params
	d := dialer{Dialer: net.Dialer{Timeout: l.ConnectTimeout}}
	cfg.DialFunc = d.dial
	pg, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, &Error{Node: n.ID, Gone: d.refusedAll(), Err: redact(err)}
	}
	return &Conn{node: n.ID, pg: pg}, nil
}

// redact takes the driver's "failed to connect to `user=... database=...`" off: the node is named by Error already.
func redact(err error) error {
	var ce *pgconn.ConnectError
	if errors.As(err, &ce) && ce.Unwrap() != nil {
		return ce.Unwrap()
	}
	return err
}

// dialer remembers whether each address of a host refused the connection.
type dialer struct {
	net.Dialer
	mu             sync.Mutex
	tried, refused int // guarded by mu
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d.DialContext(ctx, network, address)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tried++
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) && network == "unix" {
		d.refused++
	}
	return c, err
}

func (d *dialer) refusedAll() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.tried > 0 && d.tried == d.refused
}

// Close says goodbye to the server. The context bounds how long it takes.
func (c *Conn) Close(ctx context.Context) error { return c.pg.Close(ctx) }

// dead reports whether the connection cannot be used any more.
func (c *Conn) dead() bool { return c.pg.IsClosed() }

// version is the server's major version, 0 if it did not tell.
func (c *Conn) version() int {
	major, _, _ := strings.Cut(c.pg.ParameterStatus("server_version"), ".")
	digits := 0
	for digits < len(major) && major[digits] >= '0' && major[digits] <= '9' {
		digits++
	}
	n, err := strconv.Atoi(major[:digits])
	if err != nil {
		return 0
	}
	return n
}

// Answer is what a server said of itself.
type Answer struct {
	Role cluster.Role // RolePrimary or RoleStandby
	// LSN is the write position of a primary, the replay position of a standby; Received is how far a standby has received.
	LSN, Received cluster.LSN
	Version       int // major version, 0 if the server did not tell
}

// The positions under the names of version 10 and those before.
const (
	positionSQL = "SELECT pg_catalog.pg_is_in_recovery()," +
		" CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()" +
		" ELSE pg_catalog.pg_current_wal_lsn() END, pg_catalog.pg_last_wal_receive_lsn()"
	positionSQL9 = "SELECT pg_catalog.pg_is_in_recovery()," +
		" CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_xlog_replay_location()" +
		" ELSE pg_catalog.pg_current_xlog_location() END, pg_catalog.pg_last_xlog_receive_location()"
)

// Position asks for role and position in the write-ahead log.
func (c *Conn) Position(ctx context.Context) (Answer, error) {
	a := Answer{Version: c.version()}
	sql := positionSQL
	if a.Version > 0 && a.Version < 10 {
		sql = positionSQL9
	}
	rows, err := c.query(ctx, sql)
	if err != nil {
		return Answer{}, err
	}
	if len(rows) != 1 || len(rows[0]) != 3 {
		return Answer{}, &Error{Node: c.node, Err: errors.New("unexpected answer to the question for its role")}
	}
	row := rows[0]
	switch string(row[0]) {
	case "t":
		a.Role = cluster.RoleStandby
	case "f":
		a.Role = cluster.RolePrimary
	default:
		return Answer{}, &Error{Node: c.node, Err: fmt.Errorf("pg_is_in_recovery() is %q", row[0])}
	}
	// A standby that has replayed nothing yet has no position, and one that never streamed received nothing.
	if a.LSN, err = lsn(row[1]); err == nil {
		a.Received, err = lsn(row[2])
	}
	if err != nil {
		return Answer{}, &Error{Node: c.node, Err: err}
	}
	return a, nil
}

func lsn(b []byte) (cluster.LSN, error) {
	if len(b) == 0 {
		return 0, nil
	}
	return cluster.ParseLSN(string(b))
}

// Peer is a row of a primary's pg_stat_replication.
type Peer struct {
	ApplicationName, State, SyncState string
	// ReplayLag is how long ago what the standby replayed last was written; 0 where the server does not tell.
	ReplayLag time.Duration
}

const (
	peersSQL = "SELECT application_name, state, sync_state," +
		" pg_catalog.round(extract(epoch FROM replay_lag) * 1000000)::pg_catalog.int8" +
		" FROM pg_catalog.pg_stat_replication"
	peersSQL9 = "SELECT application_name, state, sync_state, NULL FROM pg_catalog.pg_stat_replication"
)

// Peers asks a primary who streams from it. Without the role pg_monitor all fields but the name are empty.
func (c *Conn) Peers(ctx context.Context) ([]Peer, error) {
	sql := peersSQL
	if v := c.version(); v > 0 && v < 10 {
		sql = peersSQL9
	}
	rows, err := c.query(ctx, sql)
	if err != nil {
		return nil, err
	}
	peers := make([]Peer, 0, len(rows))
	for _, row := range rows {
		if len(row) != 4 {
			return nil, &Error{Node: c.node, Err: errors.New("unexpected answer of pg_stat_replication")}
		}
		p := Peer{ApplicationName: string(row[0]), State: string(row[1]), SyncState: string(row[2])}
		if len(row[3]) > 0 {
			micros, err := strconv.ParseInt(string(row[3]), 10, 64)
			if err != nil {
				return nil, &Error{Node: c.node, Err: fmt.Errorf("replay_lag: %w", err)}
			}
			p.ReplayLag = time.Duration(max(micros, 0)) * time.Microsecond
		}
		peers = append(peers, p)
	}
	return peers, nil
}

// query runs one statement in the simple protocol and returns the rows of its result in text form.
func (c *Conn) query(ctx context.Context, sql string) ([][][]byte, error) {
	results, err := c.pg.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, &Error{Node: c.node, Err: err}
	}
	if len(results) != 1 {
		return nil, &Error{Node: c.node, Err: fmt.Errorf("%d results where one was expected", len(results))}
	}
	return results[0].Rows, nil
}
