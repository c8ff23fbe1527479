package query

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// TLS is how a node is spoken to. The zero value is without TLS.
type TLS struct {
	Config   *tls.Config // nil: without TLS
	Optional bool        // go on without where the server has none
}

// terms are how long things may take.
type terms struct{ timeout, connect time.Duration }

// key is what a connection is good for.
type key struct {
	home                     home
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
	secure := TLS{}
	if a.parts.TLS != nil {
		var err error
		if secure, err = a.parts.TLS(k.home.node, k.home.host); err != nil {
			return nil, err
		}
	}
	life, kill := context.WithCancel(context.Background())
	cfg := a.base.Copy()
	cfg.Host, cfg.Port = k.home.host, uint16(k.home.port)
	cfg.User, cfg.Password, cfg.Database = k.user, k.password, k.database
	cfg.RuntimeParams = sessionParams(t.timeout)
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		return dial(ctx, life, network, address, secure)
	}
	pg, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		kill()
		return nil, describe(ctx, err)
	}
	return &conn{key: k, pg: pg, kill: kill}, nil
}

// dial connects; what it opens is cut when life ends. The driver dials again to cancel a statement it does not wait for.
func dial(ctx, life context.Context, network, address string, secure TLS) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(life, cancel)()
	var d net.Dialer
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(life, func() { _ = c.Close() })
	if secure.Config == nil {
		return c, nil
	}
	upgraded, err := startTLS(ctx, c, secure)
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return upgraded, nil
}

var (
	sslRequest = [...]byte{0, 0, 0, 8, 4, 210, 22, 47}
	errNoTLS   = errors.New("the server does not support TLS")
)

// startTLS asks a server for TLS. Exactly its one byte of answer is read in clear.
func startTLS(ctx context.Context, c net.Conn, secure TLS) (net.Conn, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := c.Write(sslRequest[:]); err != nil {
		return nil, err
	}
	var answer [1]byte
	if _, err := c.Read(answer[:]); err != nil {
		return nil, err
	}
	switch {
	case answer[0] == 'S':
		over := tls.Client(c, secure.Config)
		if err := over.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS: %w", err)
		}
		return over, nil
	case answer[0] == 'N' && secure.Optional:
		return c, nil
	}
	return nil, errNoTLS
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

// finish closes a connection and gives its place back. Whether the server heard it makes no difference.
func (a *Asker) finish(c *conn) {
	defer a.calls.Done()
	defer a.free()
	defer c.kill()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.pg.Close(ctx)
	select {
	case <-c.pg.CleanupDone(): // a statement is being cancelled, or was
	case <-a.stop:
		c.kill()
		<-c.pg.CleanupDone()
	}
}
