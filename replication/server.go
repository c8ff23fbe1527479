package replication

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/tlsconf"
)

const (
	// maxMessage bounds one message of a server, so that a broken one cannot make us allocate.
	maxMessage = 1 << 20
	// maxIdle is how many connections to a server are kept for the next question.
	maxIdle = 2
)

// access is how a server is logged in to. Connections of another access are not used again.
type access struct {
	host                     string
	port                     int
	user, password, database string
	how                      tlsconf.Server
}

// server is a connection to one node, used by one goroutine at a time.
type server struct {
	node   cluster.NodeID
	access access
	pg     *pgconn.PgConn
}

// links opens connections to the servers and keeps idle ones, so that a question costs one round trip and a server whose connections
// are all taken still answers.
type links struct {
	parts  *Parts
	base   *pgconn.Config
	defect error // why there is no base

	mu     sync.Mutex
	idle   map[cluster.NodeID][]*server // guarded by mu
	closed bool                         // guarded by mu: nothing is kept any more
}

// newLinks makes links. The environment's PG* variables have no effect on its connections.
func newLinks(parts *Parts) *links {
	base, err := pgconn.ParseConfig("host=localhost port=5432 user=x password=x dbname=x sslmode=disable" +
		" connect_timeout=0 target_session_attrs=any channel_binding=prefer" +
		" min_protocol_version=3.0 max_protocol_version=3.0")
	l := &links{parts: parts, base: base, idle: map[cluster.NodeID][]*server{}}
	if err != nil {
		l.defect = fmt.Errorf("settings of connections: %w", err)
		return l
	}
	base.RuntimeParams = map[string]string{
		"application_name": "pgpool replication", "search_path": "pg_catalog", "standard_conforming_strings": "on",
		"client_encoding": "UTF8", "datestyle": "ISO", "statement_timeout": "0",
		"default_transaction_isolation": "read committed", // a standby refuses all queries of a serializable transaction
	}
	base.Fallbacks, base.ValidateConnect, base.AfterConnect = nil, nil, nil
	base.RequireAuth = ""
	base.MaxProtocolMessageBodyLen = maxMessage
	return l
}

// use runs f with a connection to a node. An idle connection that turns out to be broken is replaced once, so f must be repeatable.
func (l *links) use(ctx context.Context, n cluster.Node, f func(*server) error) error {
	a, err := l.access(n)
	if err != nil {
		return err
	}
	if s := l.take(n.ID, a); s != nil {
		err := f(s)
		broken := s.pg.IsClosed()
		l.put(s)
		if !broken || ctx.Err() != nil {
			return err
		}
	}
	s, err := l.open(ctx, n.ID, a, nil)
	if err != nil {
		return err
	}
	defer l.put(s)
	return f(s)
}

// access is how a node is logged in to now.
func (l *links) access(n cluster.Node) (access, error) {
	if l.defect != nil {
		return access{}, l.defect
	}
	who := l.parts.Settings().Account
	password, err := l.parts.Password(who.User, who.Password)
	if err != nil {
		return access{}, fmt.Errorf("password of user %q: %w", who.User, err)
	}
	a := access{host: n.Host, port: n.Port, user: who.User, password: password, database: who.Database}
	a.how.Mode = conf.SSLModeDisable
	if l.parts.TLS != nil {
		a.how = l.parts.TLS(n.ID, n.Host)
	}
	return a, nil
}

func (l *links) take(id cluster.NodeID, a access) *server {
	l.mu.Lock()
	var found *server
	var stale []*server
	for len(l.idle[id]) > 0 && found == nil {
		last := len(l.idle[id]) - 1
		s := l.idle[id][last]
		l.idle[id] = l.idle[id][:last]
		if s.access == a {
			found = s
		} else {
			stale = append(stale, s)
		}
	}
	l.mu.Unlock()
	for _, s := range stale {
		s.close()
	}
	return found
}

// put keeps a connection for the next question, or ends it.
func (l *links) put(s *server) {
	if s.pg.IsClosed() {
		s.bury()
		return
	}
	l.mu.Lock()
	keep := !l.closed && len(l.idle[s.node]) < maxIdle
	if keep {
		l.idle[s.node] = append(l.idle[s.node], s)
	}
	l.mu.Unlock()
	if !keep {
		s.close()
	}
}

// drop ends all idle connections; with forGood none is kept from now on.
func (l *links) drop(forGood bool) {
	l.mu.Lock()
	all := l.idle
	l.idle = map[cluster.NodeID][]*server{}
	l.closed = l.closed || forGood
	l.mu.Unlock()
	for _, list := range all {
		for _, s := range list {
			s.close()
		}
	}
}

// open logs in. params are added to those of all connections.
func (l *links) open(ctx context.Context, id cluster.NodeID, a access, params map[string]string) (*server, error) {
	cfg := l.base.Copy()
	cfg.Host, cfg.Port = a.host, uint16(a.port)
	cfg.User, cfg.Password, cfg.Database = a.user, a.password, a.database
	for name, value := range params {
		cfg.RuntimeParams[name] = value
	}
	var err error
	for _, w := range a.how.Ways() {
		var pg *pgconn.PgConn
		if pg, err = dial(ctx, cfg, w); err == nil {
			return &server{node: id, access: a, pg: pg}, nil
		}
		if !w.Retry(sqlState(err), err) {
			break
		}
	}
	return nil, shorten(err)
}

// dial logs in in one of the ways in which the server may be spoken to. It opens one connection and no other: what the driver would
// open behind our back to cancel a statement is of no use here, and would outlive us.
func dial(ctx context.Context, base *pgconn.Config, w tlsconf.Way) (*pgconn.PgConn, error) {
	cfg := base.Copy()
	var used atomic.Bool
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		if used.Load() {
			return nil, errOnce
		}
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		over, err := w.Upgrade(ctx, c)
		if err != nil {
			_ = c.Close()
			return nil, err
		}
		return over, nil
	}
	pg, err := pgconn.ConnectConfig(ctx, cfg)
	used.Store(err == nil)
	return pg, err
}

var errOnce = errors.New("no second connection")

func sqlState(err error) string {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return answer.Code
	}
	return ""
}

// shorten leaves out the driver's words around an error, which repeat who we are.
func shorten(err error) error {
	var answer *pgconn.PgError
	var whole *pgconn.ConnectError
	switch {
	case errors.As(err, &answer):
		return answer
	case errors.As(err, &whole) && whole.Unwrap() != nil:
		return whole.Unwrap()
	}
	return err
}

// close says goodbye; whether the server heard it makes no difference.
func (s *server) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = s.pg.Close(ctx)
	s.bury()
}

// bury ends a connection that has broken at once: the driver would go on listening to a silent server.
func (s *server) bury() {
	_ = s.pg.Conn().Close()
	<-s.pg.CleanupDone()
}

// query runs one statement in the simple protocol and returns the rows of its result in text form.
func (s *server) query(ctx context.Context, sql string) ([][][]byte, error) {
	results, err := s.pg.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(results) != 1 {
		return nil, fmt.Errorf("%d results where one was expected", len(results))
	}
	return results[0].Rows, nil
}

// row runs a statement and returns its only row, which has width columns.
func (s *server) row(ctx context.Context, sql string, width int) ([][]byte, error) {
	rows, err := s.query(ctx, sql)
	if err != nil {
		return nil, err
	}
	if len(rows) != 1 || len(rows[0]) != width {
		return nil, fmt.Errorf("%d rows where one of %d columns was expected", len(rows), width)
	}
	return rows[0], nil
}

func (s *server) exec(ctx context.Context, sql string) error {
	_, err := s.pg.Exec(ctx, sql).ReadAll()
	return err
}

// version is the server's major version, 0 if it did not tell.
func (s *server) version() int {
	text := s.pg.ParameterStatus("server_version")
	digits := 0
	for digits < len(text) && text[digits] >= '0' && text[digits] <= '9' {
		digits++
	}
	n, err := strconv.Atoi(text[:digits])
	if err != nil {
		return 0
	}
	return n
}
