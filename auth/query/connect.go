package query

import (
	"context"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/conf"
	"gopgpool/tlsconf"
)

// terms are how long things may take; only: no other node is left to ask.
type terms struct {
	timeout, connect time.Duration
	only             bool
}

// key is what a connection is good for. server is how it was opened: after a reload new questions go over new connections.
type key struct {
	home                     home
	server                   tlsconf.Server
	user, password, database string
}

// conn is one connection. It belongs to one question at a time.
type conn struct {
	key   key
	pg    *pgconn.PgConn
	kill  context.CancelFunc // cuts it, and the request to cancel its statement
	since time.Time          // unused since; guarded by Asker.mu while it is idle
}

// question is a statement with the one value for $1. No more rows than limit are read.
type question struct {
	sql, arg string
	limit    int
}

func baseConfig() (*pgconn.Config, error) {
	base, err := pgconn.ParseConfig("host=localhost port=5432 user=x password=x dbname=x sslmode=disable" +
		" connect_timeout=0 target_session_attrs=any channel_binding=prefer" +
		" min_protocol_version=3.0 max_protocol_version=3.0")
	if err != nil {
		return nil, err
	}
	base.Fallbacks, base.ValidateConnect, base.AfterConnect = nil, nil, nil
	base.RequireAuth = ""
	base.MaxProtocolMessageBodyLen = maxMessage
	return base, nil
}

// sessionParams are the same for every connection, and go before those of the database and the role. Names are bytes: no conversion.
func sessionParams(timeout time.Duration) map[string]string {
	return map[string]string{
		"application_name":  "pgpool auth_query",
		"client_encoding":   "SQL_ASCII",
		"search_path":       "pg_catalog",
		"statement_timeout": strconv.FormatInt(max(timeout.Milliseconds(), 1), 10),
		// A standby refuses all queries of a serializable transaction.
		"default_transaction_isolation": "read committed",
	}
}

// connect opens a connection, once there is a place for it.
func (a *Asker) connect(ctx context.Context, k key, t terms) (*conn, error) {
	if err := a.reserve(ctx); err != nil {
		return nil, err
	}
	c, err := a.open(ctx, k, t)
	if err != nil {
		a.free()
	}
	return c, err
}

func (a *Asker) open(ctx context.Context, k key, t terms) (*conn, error) {
	if t.connect > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, t.connect, errSlow)
		defer cancel()
	}
	var err error
	for _, w := range k.server.Ways() {
		var c *conn
		if c, err = a.login(ctx, k, t, w); err == nil || !w.Retry(state(err), err) {
			return c, err
		}
	}
	return nil, err
}

// server tells how a node is spoken to now.
func (a *Asker) server(h home) tlsconf.Server {
	if a.parts.TLS == nil {
		return tlsconf.Server{Mode: conf.SSLModeDisable}
	}
	return a.parts.TLS(h.node, h.host)
}

// login opens a connection in one of the ways.
func (a *Asker) login(ctx context.Context, k key, t terms, w tlsconf.Way) (*conn, error) {
	life, kill := context.WithCancel(context.Background())
	cfg := a.base.Copy()
	cfg.Host, cfg.Port = k.home.host, uint16(k.home.port)
	cfg.User, cfg.Password, cfg.Database = k.user, k.password, k.database
	cfg.RuntimeParams = sessionParams(t.timeout)
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		return dial(ctx, life, network, address, w)
	}
	pg, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		kill()
		return nil, describe(ctx, err)
	}
	return &conn{key: k, pg: pg, kill: kill}, nil
}

// dial connects; what it opens is cut when life ends. The driver dials again to cancel a statement it does not wait for.
func dial(ctx, life context.Context, network, address string, w tlsconf.Way) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(life, cancel)()
	var d net.Dialer
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(life, func() { _ = c.Close() })
	upgraded, err := w.Upgrade(ctx, c)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return upgraded, nil
}

// ask is one round trip.
func (c *conn) ask(ctx context.Context, q question) ([]row, error) {
	result := c.pg.ExecParams(ctx, q.sql, [][]byte{[]byte(q.arg)}, nil, nil, nil)
	var rows []row
	for result.NextRow() {
		rows = append(rows, copyRow(result.Values()))
		if len(rows) == q.limit {
			c.kill() // rather than read what may have no end
			_, _ = result.Close()
			return rows, nil
		}
	}
	if _, err := result.Close(); err != nil {
		return nil, describe(ctx, err)
	}
	return rows, nil
}

// copyRow keeps NULL apart from the empty text.
func copyRow(values [][]byte) row {
	out := make(row, len(values))
	for i, v := range values {
		if v != nil {
			out[i] = append([]byte{}, v...)
		}
	}
	return out
}

// broken reports whether a connection cannot be used any more.
func (c *conn) broken() bool { return c.pg.IsClosed() }

// farewell is how long a server may take over the end of a connection when we are about to end ourselves.
const farewell = time.Second

// finish closes a connection and gives its place back. Whether the server heard it makes no difference.
func (a *Asker) finish(c *conn) {
	defer a.calls.Done()
	defer a.free()
	defer c.kill()
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	_ = c.pg.Close(ctx)
	select {
	case <-c.pg.CleanupDone(): // a statement is being cancelled, or was
		return
	case <-a.stop:
	}
	select {
	case <-c.pg.CleanupDone():
	case <-ctx.Done():
		c.kill()
		<-c.pg.CleanupDone()
	}
}
