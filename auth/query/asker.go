package query

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/auth"
	"gopgpool/cluster"
	"gopgpool/tlsconf"
)

// Account is who asks.
type Account struct {
	User     string
	Password string // as configured; empty and prefixed forms are for Parts.Password
	Database string // for auth_query: empty is the client's
}

// Settings are taken anew for each question.
type Settings struct {
	Entries Account // auth_user and auth_dbname; an empty User switches auth_query off
	Query   string  // auth_query
	Roles   Account // who asks for role membership

	// Timeout bounds a question, its waiting and connecting included, and is the statement_timeout of the connections; 0 is a minute.
	Timeout time.Duration
	// ConnectTimeout bounds logging in to a node, and all its part where another one could answer; 0 sets no bound.
	ConnectTimeout time.Duration
}

// Parts are what an Asker needs of others; all are called from any goroutine.
type Parts struct {
	Store    *cluster.Store
	Settings func() Settings
	// Password finds an account's password: the parameter's value where it is set, else the entry of pool_passwd, else empty.
	Password func(user, param string) (string, error)
	// TLS tells how a node is spoken to; nil is without TLS.
	TLS func(node cluster.NodeID, host string) tlsconf.Server
}

// Asker asks servers about users. Its methods may be called from any goroutine; they block. Run closes what they open.
type Asker struct {
	parts   Parts
	base    *pgconn.Config // what all connections have in common
	keep    time.Duration  // how long an idle connection is kept
	wake    chan struct{}  // holds at most one token
	stop    chan struct{}  // closed when Run ends
	places  chan struct{}  // a token for each open connection
	calls   sync.WaitGroup // questions under way and connections being closed
	mu      sync.Mutex     // guards what follows; held for moments only
	closed  bool
	seats   map[string]*seat      // by database
	idle    []*conn               // the longest unused first
	under   map[*attempt]struct{} // under way
	waiting int                   // who waits for one of places
}

const (
	maxConns   = 32
	perDB      = 2
	keepIdle   = time.Minute
	patience   = time.Minute // where no timeout is set
	maxMoves   = 3           // how often a question follows a node that was lost in the middle
	maxRoles   = 10000
	entryRows  = 2 // one more than may be
	maxMessage = 1 << 20
)

// New makes an Asker. Nothing but what its parts say is taken from outside: the PG* variables of the environment have no effect.
func New(parts Parts) (*Asker, error) {
	base, err := baseConfig()
	if err != nil {
		return nil, fmt.Errorf("auth_query: settings of connections: %w", err)
	}
	return &Asker{
		parts: parts, base: base, keep: keepIdle, wake: make(chan struct{}, 1), stop: make(chan struct{}),
		places: make(chan struct{}, maxConns), seats: map[string]*seat{}, under: map[*attempt]struct{}{},
	}, nil
}

// Run closes connections that nobody uses or whose node was lost, and at the end of ctx all, after breaking off the questions under
// way. Later questions are refused.
func (a *Asker) Run(ctx context.Context) error {
	stop := a.parts.Store.Watch(a.changed)
	defer stop()
	defer a.close()
	tick := time.NewTicker(a.keep / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.wake:
		case <-tick.C:
		}
		a.sweep(time.Now())
	}
}

// Entry asks for a user's password; database is the client's. The entry is the zero Entry whenever there is an error: a *NoEntry where
// the servers have no password for the user, else that of ctx or an *Error.
func (a *Asker) Entry(ctx context.Context, database, user string) (auth.Entry, error) {
	s := a.parts.Settings()
	switch s.Entries.User {
	case "":
		return auth.Entry{}, &NoEntry{User: user, Why: WhyOff}
	case user:
		return auth.Entry{}, &NoEntry{User: user, Why: WhySelf}
	}
	who, clients := s.Entries, s.Entries.Database == ""
	if clients {
		who.Database = database
	}
	rows, err := a.ask(ctx, &s, who, question{sql: s.Query, arg: user, limit: entryRows})
	if err == nil {
		return judge(user, rows)
	}
	var on *nodeError
	if errors.As(err, &on) && state(on) != "" && !elsewhere(on) {
		switch {
		case !on.connecting:
			err = &NoEntry{User: user, Why: WhyFailed, Err: on}
		case clients:
			err = &NoEntry{User: user, Why: WhyNoDatabase, Err: on}
		}
	}
	return auth.Entry{}, err
}

// rolesSQL walks the memberships itself: pg_has_role makes a superuser a member of everything.
const rolesSQL = `WITH RECURSIVE member(oid) AS (
	SELECT oid FROM pg_catalog.pg_roles WHERE rolname = $1
	UNION SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN member ON m.member = member.oid)
SELECT rolname FROM pg_catalog.pg_roles JOIN member USING (oid) ORDER BY rolname`

// Roles are the roles a user is a member of, directly or through others, itself included: what +group and samerole in pool_hba.conf
// mean. They are empty and not nil for an unknown user, nil with an error: a record that rejects members must not be passed by then.
// Superusers are members of what was granted to them only.
func (a *Asker) Roles(ctx context.Context, user string) ([]string, error) {
	s := a.parts.Settings()
	rows, err := a.ask(ctx, &s, s.Roles, question{sql: rolesSQL, arg: user, limit: maxRoles})
	if err != nil {
		return nil, err
	}
	if len(rows) == maxRoles {
		return nil, &Error{Account: s.Roles.User, Database: s.Roles.Database, Err: errors.New("too many roles")}
	}
	roles := make([]string, 0, len(rows))
	for _, r := range rows {
		roles = append(roles, string(r[0]))
	}
	return roles, nil
}

// Forget closes the idle connections to a database, so that it can be dropped, renamed or copied.
func (a *Asker) Forget(database string) {
	a.discardIdle(func(c *conn) bool { return c.key.database == database })
}

var errSlow = errors.New("no answer in time")

// ask puts a question to the nodes until one answers.
func (a *Asker) ask(ctx context.Context, s *Settings, who Account, q question) ([]row, error) {
	wrap := func(err error) error { return &Error{Account: who.User, Database: who.Database, Err: err} }
	password, err := a.parts.Password(who.User, who.Password)
	if err != nil {
		return nil, wrap(err)
	}
	t := terms{timeout: s.Timeout, connect: s.ConnectTimeout}
	if t.timeout <= 0 {
		t.timeout = patience
	}
	ctx, cancel := context.WithTimeoutCause(ctx, t.timeout, errSlow)
	defer cancel()
	leave, err := a.enter(ctx, who.Database)
	if err != nil {
		return nil, wrap(err)
	}
	defer leave()
	rows, err := a.tour(ctx, key{user: who.User, password: password, database: who.Database}, t, q)
	if err != nil {
		return nil, wrap(err)
	}
	return rows, nil
}

// tour goes from node to node. A node that was lost while it was asked is no answer: the View that followed names others.
func (a *Asker) tour(ctx context.Context, k key, t terms, q question) ([]row, error) {
	var errs failures
	for moves := 0; ; {
		left := errs.left(candidates(a.parts.Store.Current()))
		if len(left) == 0 {
			return nil, errs.sum()
		}
		k.home, t.only = homeOf(left[0]), len(left) == 1
		k.server = a.server(k.home)
		rows, err := a.askNode(ctx, k, t, q)
		switch {
		case err == nil:
			return rows, nil
		case errors.Is(err, errMoved) && moves < maxMoves:
			moves++
		case ctx.Err() != nil || errors.Is(err, errClosed) || !elsewhere(err):
			return nil, err
		default:
			errs = append(errs, err)
		}
	}
}

// askNode asks over an idle connection, or a new one where there is none or it has broken.
func (a *Asker) askNode(ctx context.Context, k key, t terms, q question) ([]row, error) {
	ctx, done := a.attend(ctx, k.home)
	defer done()
	if t.connect > 0 && !t.only { // a frozen server keeps its connections and says nothing
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, t.connect, errSlow)
		defer cancel()
	}
	if c := a.takeIdle(k); c != nil {
		rows, err := c.ask(ctx, q)
		broken := c.broken()
		a.giveBack(c)
		if !broken || ctx.Err() != nil {
			return rows, on(k, err, false)
		}
		a.discardIdle(func(other *conn) bool { return other.key == k }) // the server has been started anew, most likely
	}
	c, err := a.connect(ctx, k, t)
	if err != nil {
		return nil, on(k, err, true)
	}
	defer a.giveBack(c)
	rows, err := c.ask(ctx, q)
	return rows, on(k, err, false)
}
