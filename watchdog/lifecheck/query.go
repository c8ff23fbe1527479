package lifecheck

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/logging"
)

// Question is what nodes are asked (manual: wd_lifecheck_query and the parameters beside it).
type Question struct {
	SQL            string // wd_lifecheck_query
	User, Database string
	// Password is in clear; nil is none. An error whose method Hashed returns true is a password that is known as a hash only.
	Password    func() (string, error)
	LifePoint   int           // wd_life_point: failures in a row until a node is dead
	ConnectTime time.Duration // 0: wd_interval / 2 + 1 s; to connect and log in, and again for the answer
}

const (
	deadByQuery     = "unable to connect to node"
	deadItself      = "parent process is dead"
	aliveByQuery    = "node answers again"
	applicationName = "lifecheck_ping"
	maxAnswer       = 1 << 20
)

// survey counts the failures of nodes.
type survey struct {
	self int

	mu    sync.Mutex
	nodes map[int]*respondent // guarded by mu
}

type respondent struct {
	seen, dead bool
	failures   int
}

func newSurvey(nodes []Node, self int) *survey {
	s := &survey{self: self, nodes: make(map[int]*respondent)}
	for _, n := range nodes {
		s.nodes[n.ID] = &respondent{}
	}
	return s
}

// answered takes note of one answer or failure of a node, and returns a verdict where that changes one. Before the life check has started
// a node that is seen for the first time is just seen, and failures do not count.
func (s *survey) answered(node int, well, started bool, lifePoint int) (Verdict, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.nodes[node]
	if r == nil {
		return Verdict{}, false
	}
	if well {
		revived := r.dead
		*r = respondent{seen: true}
		return Verdict{Node: node, Message: aliveByQuery}, revived
	}
	if !started {
		return Verdict{}, false
	}
	r.failures++
	if r.dead || r.failures < lifePoint {
		return Verdict{}, false
	}
	r.dead = true
	message := deadByQuery
	if node == s.self {
		message = deadItself
	}
	return Verdict{Node: node, Dead: true, Message: message}, true
}

func (s *survey) dead(node int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.nodes[node]
	return r != nil && r.dead
}

func (s *survey) allSeen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.nodes {
		if !r.seen {
			return false
		}
	}
	return true
}

// runQuery asks all nodes each interval, the local one as well.
func (k *Checks) runQuery(ctx context.Context) {
	k.every(ctx, perInterval, func(ctx context.Context, c *Config) {
		if c.Paused() {
			return
		}
		var asking sync.WaitGroup
		defer asking.Wait()
		for _, n := range c.Nodes {
			asking.Go(func() { k.askNode(ctx, c, n) })
		}
	})
}

func (k *Checks) askNode(ctx context.Context, c *Config, n Node) {
	err := c.Question.ask(ctx, n, c.Interval)
	if ctx.Err() != nil || c.Paused() {
		return
	}
	if err != nil && k.Started() && !k.query.dead(n.ID) {
		k.log.Log(logging.Event{
			Severity: logging.Warning, Message: fmt.Sprintf("watchdog lifecheck, failed to query node %d at %s", n.ID, hostPort(n)),
			Detail: err.Error(),
		})
	}
	if v, changed := k.query.answered(n.ID, err == nil, k.Started(), max(c.Question.LifePoint, 1)); changed {
		c.Verdict(v)
	}
}

var (
	errNoLogin = errors.New("wd_lifecheck_user and wd_lifecheck_dbname must be set")
	errShut    = errors.New("a probe opens no more connections")
)

// passwordError says why there is no password. A hash serves for no login but one by MD5.
func (q Question) passwordError(err error) error {
	var h interface{ Hashed() bool }
	if errors.As(err, &h) && h.Hashed() {
		return fmt.Errorf("the password of wd_lifecheck_user %s is invalid format: "+
			"wd_lifecheck_password is not allowed to be md5 hashed format", q.User)
	}
	return fmt.Errorf("password of wd_lifecheck_user %s: %w", q.User, err)
}

// ask runs the query on a node; any answer but an error is well.
func (q Question) ask(ctx context.Context, n Node, interval time.Duration) error {
	cfg, err := q.login(n)
	if err != nil {
		return err
	}
	bound := q.ConnectTime
	if bound == 0 {
		bound = interval/2 + time.Second
	}
	within, stop := context.WithTimeout(ctx, bound)
	defer stop()
	d := &dialer{}
	cfg.DialFunc = d.dial
	conn, err := pgconn.ConnectConfig(within, cfg)
	if err != nil {
		d.close()
		return err
	}
	again, stop := context.WithTimeout(ctx, bound)
	defer stop()
	_, err = conn.Exec(again, q.SQL).ReadAll()
	if err == nil {
		bye, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer stop()
		_ = conn.Close(bye) // it has said what it was asked
	}
	d.close()
	_ = conn.Close(again)
	<-conn.CleanupDone()
	return err
}

// login are the settings of a connection: encrypted if the node can, as the manual's client library does it. The PG* variables of the
// environment have no effect.
func (q Question) login(n Node) (*pgconn.Config, error) {
	if q.User == "" || q.Database == "" {
		return nil, errNoLogin
	}
	password := ""
	if q.Password != nil {
		var err error
		if password, err = q.Password(); err != nil {
			return nil, q.passwordError(err)
		}
	}
	cfg, err := pgconn.ParseConfig("host=localhost port=5432 user=x password=x dbname=x sslmode=disable" +
		" connect_timeout=0 target_session_attrs=any channel_binding=prefer" +
		" min_protocol_version=3.0 max_protocol_version=3.0")
	if err != nil {
		return nil, err
	}
	cfg.Host, cfg.Port, cfg.Database, cfg.User, cfg.Password = n.Host, uint16(n.Port), q.Database, q.User, password
	cfg.RuntimeParams = map[string]string{"application_name": applicationName}
	cfg.ValidateConnect, cfg.AfterConnect, cfg.RequireAuth = nil, nil, ""
	cfg.MaxProtocolMessageBodyLen = maxAnswer
	cfg.TLSConfig = &tls.Config{InsecureSkipVerify: true} // like sslmode=prefer: a question, no secret of ours
	cfg.Fallbacks = []*pgconn.FallbackConfig{{Host: cfg.Host, Port: cfg.Port}}
	return cfg, nil
}

// dialer opens no connection once it is shut: those the driver opens behind our back to cancel a statement would outlive the probe, as
// would its patience with a peer that says nothing.
type dialer struct {
	mu    sync.Mutex
	shut  bool       // guarded by mu
	conns []net.Conn // guarded by mu
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d.mu.Lock()
	shut := d.shut
	d.mu.Unlock()
	if shut {
		return nil, errShut
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conns = append(d.conns, conn)
	return conn, nil
}

func (d *dialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = true
	for _, conn := range d.conns {
		_ = conn.Close() // most are closed
	}
}
