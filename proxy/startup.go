package proxy

import (
	"errors"
	"net"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"gopgpool/auth"
	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/logging"
	"gopgpool/loop"
	"gopgpool/pgwire"
	"gopgpool/pool"
)

// welcome is the whole life of a client's connection, as a task. One that is late gets no session.
func (srv *Server) welcome(t *loop.Task, h *home, fd int, from net.Addr, late bool) {
	defer srv.admitted.closed()
	conn, err := t.Adopt(fd)
	if err != nil {
		unix.Close(fd)
		return
	}
	srv.tune(fd)
	cur := srv.current.Load()
	s := &session{
		srv: srv, home: h, t: t, cfg: cur.cfg, policy: cur.policy, set: conf.NewSessionSettings(cur.cfg),
		peer: peerOf(from), began: t.Now(),
	}
	s.client = side{conn: conn, pool: &h.buffers, thrifty: true}
	s.origin = logging.Origin{App: "child", ProcessName: "child", PID: srv.parts.PID, Client: logging.Address(s.peer.host, s.peer.port)}
	s.log = srv.log.With(&s.origin)
	sound := false
	defer func() {
		if !sound {
			s.entering.leave()
			s.abandon() // a panic is on its way to the loop, which reports it
		}
	}()
	s.over(s.ended(s.live(late)))
	s.entering.leave()
	sound = true
}

// live goes through the session's stages; its error is why the session is over.
func (s *session) live(late bool) error {
	if err := s.readStartup(); err != nil {
		return err
	}
	s.share()
	if late || s.admission().full() {
		return errTooMany
	}
	s.id = s.srv.numbers.Add(1)
	slot, err := s.admission().take(s.t, s.client.conn)
	if err != nil {
		return err
	}
	s.slot = slot
	s.origin.PID = slot.pid
	s.lastSeen = s.t.Now()
	s.home.sessions[s] = struct{}{}
	err = s.login()
	s.countLogin(err)
	if err != nil {
		s.delayFailure(err)
		return err
	}
	s.entering.leave()
	s.settled()
	return s.serve()
}

func (s *session) deadline() time.Time {
	if s.slot == nil && s.startup != nil {
		return time.Time{} // waiting for its turn is not the client's fault
	}
	return s.loginUntil()
}

// takeOver takes over what the startup packet says.
func (s *session) takeOver() {
	st := s.startup
	st.User, st.Database = cutName(st.User), cutName(st.Database)
	s.params = st.Params
	s.key = pool.Key{Node: cluster.NoNode, Database: st.Database, User: st.User, Params: pool.ParamsKey(st.Params)}
	s.origin.App, s.origin.DB, s.origin.User = st.Param("application_name"), st.Database, st.User
	s.pooling = s.cfg.Pooling(st.Database, st.User)
}

// maxName is the longest name a server knows; longer ones it cuts (up to PostgreSQL 16), so what is decided about a name must be about
// the one the server will take it for.
const maxName = 63

func cutName(name string) string { return name[:min(len(name), maxName)] }

// login authenticates the client and answers its startup packet.
func (s *session) login() error {
	if d := s.cfg.Auth.AuthenticationTimeout; d > 0 {
		s.began = s.t.Now() // the time limit counts from the client's turn
	}
	if err := s.count(); err != nil {
		return err
	}
	s.govern()
	if err := s.awaitNode(); err != nil {
		return err
	}
	if s.startup.NeedsNegotiation() {
		s.client.setQueued(s.startup.AppendNegotiate(s.client.queued()))
	}
	facts, err := s.authFacts()
	if err != nil {
		return err
	}
	return s.admit(facts)
}

// awaitNode waits while no node is live and a failover that may find one is under way.
func (s *session) awaitNode() error {
	until := s.t.Now().Add(s.srv.holding().HoldTimeout)
	for {
		v := s.srv.store.Current()
		switch {
		case v.Main() != cluster.NoNode:
			return nil
		case v.Op == cluster.OpNone && !v.Seeking:
			return noNode(v)
		}
		switch s.t.Wait(until, loop.Interest{Conn: s.client.conn, HangUp: true}) {
		case loop.Timeout:
			return noNode(v)
		case loop.Stopped:
			return errStopping
		case loop.Ready, loop.Woken:
		}
		if s.client.conn.HungUp() {
			return errTerminated
		}
	}
}

// admit asks the client for its proof and gets it a server connection where one is needed or at hand.
func (s *session) admit(f auth.Facts) error {
	plan, err := auth.Decide(f)
	if err != nil {
		return err
	}
	var idle *pool.Conn
	var opening *pool.Opening
	if plan.NeedServer {
		if idle, opening, err = s.firstServer(); err != nil {
			return err
		}
		f.Server = auth.Unasked
		if idle != nil {
			f.Server = idle.Opened.Server
		} else {
			f.Server = opening.Method
		}
		plan, err = auth.Decide(f)
	}
	if err == nil {
		s.identity, err = s.challenge(plan, f)
	}
	if err != nil {
		if opening != nil {
			opening.Abandon()
		}
		if idle != nil {
			s.giveUp(idle)
		}
		return err
	}
	for began := s.t.Now(); ; idle, opening = nil, nil {
		c, err := s.loginServer(f, plan.NeedServer || s.identity.By == auth.ByNothing, idle, opening)
		if err != nil {
			return err
		}
		err = s.greet(c)
		if !errors.Is(err, errChanged) || s.t.Now().Sub(began) >= s.srv.holding().HoldTimeout { // the server was lost before the client heard a word
			return err
		}
	}
}

// challenge carries out the exchange with the client.
func (s *session) challenge(plan auth.Plan, f auth.Facts) (auth.Identity, error) {
	a := auth.NewAcceptor(plan, auth.Party{User: f.User, Entry: f.Entry, Cache: s.srv.authKeys, Random: auth.NewRandom(), Check: s.outside, Binding: s.binding()})
	if a == nil {
		return plan.Unasked, nil
	}
	step, err := a.Start()
	for {
		for err == nil && step.Work != nil {
			s.t.Offload(step.Work)
			step, err = a.Resume()
		}
		if err != nil {
			return auth.Identity{}, err
		}
		if step.Send {
			s.client.setQueued(pgwire.AppendAuthentication(s.client.queued(), uint32(step.Code), step.Body))
		}
		if step.Send && !step.Done { // the last word goes out with what follows
			if err := s.flushLogin(); err != nil {
				return auth.Identity{}, err
			}
		}
		if step.Done {
			return a.Identity(), nil
		}
		body, err2 := s.passwordMessage(step.MaxMessage)
		if err2 != nil {
			return auth.Identity{}, err2
		}
		step, err = a.Next(body)
	}
}

// passwordMessage reads the client's 'p' message.
func (s *session) passwordMessage(maxBody int) ([]byte, error) {
	for {
		p := s.client.pending()
		typ, size, ok, err := pgwire.Header(p)
		if err != nil || ok && (typ != pgwire.Password || size-pgwire.HeaderSize > maxBody) {
			if ok && typ == pgwire.Terminate {
				return nil, errTerminated
			}
			return nil, protocolViolation("expected a password message")
		}
		if ok && len(p) >= size {
			s.client.r += size
			return p[pgwire.HeaderSize:size], nil
		}
		if err := s.readMore(); err != nil {
			return nil, err
		}
	}
}

// flushLogin writes what is queued for a client that is not logged in.
func (s *session) flushLogin() error {
	_ = s.client.conn.SetDeadline(s.loginUntil())
	out := s.client.out[s.client.o:]
	_, err := s.client.conn.Write(out)
	s.client.out, s.client.o = s.client.out[:0], 0
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errLoginTimeout
	case errors.Is(err, loop.ErrStopped):
		return errStopping
	case err != nil:
		return &clientGone{err}
	}
	return nil
}

// loginServer decides which server connection, if any, the session begins with. must tells that only a server can say
// whether the client may enter.
func (s *session) loginServer(f auth.Facts, must bool, idle *pool.Conn, opening *pool.Opening) (*pool.Conn, error) {
	node := s.loginNode()
	if idle == nil && opening == nil {
		idle = s.idleConn(node)
	}
	if idle != nil {
		f.Server = idle.Opened.Server
		if id, ok := auth.MayReuse(f, s.identity, idle.Opened); ok {
			s.identity = id
			return idle, nil
		}
		s.giveUp(idle)
	}
	if opening == nil {
		known := !must && s.known(f)
		if known && (s.pooled || s.srv.pauses.covers(s.startup.Database) || s.srv.store.Current().Draining) {
			return nil, nil
		}
		var err error
		if known { // the client is told the pid of its server process, but need not wait for a server that is away
			opening, err = s.openOne(s.srv.store.Current(), node)
		} else {
			opening, err = s.openAny(node)
		}
		switch {
		case known && (isUnreachable(err) || notServing(err)):
			return nil, nil
		case err != nil:
			return nil, err
		}
	}
	return s.finishAny(f, opening)
}

// known tells that a server has let the client's like in, and asked for no more than the client has shown.
func (s *session) known(f auth.Facts) bool {
	r := s.srv.pool.Recall(s.key)
	if r == nil {
		return false
	}
	f.Server = r.Server
	_, _, err := auth.Answer(f, s.identity)
	return err == nil
}

// greet tells the client that it is in: settings, key, ready.
func (s *session) greet(c *pool.Conn) error {
	params, isolation := []pgwire.Param(nil), ""
	s.pid = uint32(s.slot.pid)
	if c != nil && s.pooled {
		var err error
		if params, isolation, err = s.tryOut(c); err != nil {
			return err
		}
	} else if c != nil {
		params, isolation = s.asOfPrimary(c), c.Isolation
		s.pid = c.PID
		if stale(c, s.srv.store.Current()) { // condemned in this moment: the first statement gets another one
			s.srv.pool.Discard(c)
		} else {
			s.active = s.attach(c)
		}
	} else if r := s.srv.pool.Recall(s.key); r != nil {
		params, isolation = r.Params, r.Isolation
	}
	s.ops.superuser = isSuperuser(params)
	s.told = params
	s.state.SetDefaults(isolation, slices.Contains(params, pgwire.Param{Name: "default_transaction_read_only", Value: "on"}))
	s.secret = newSecret(s.startup.Negotiated())
	s.srv.keys.add(s)
	out := pgwire.AppendAuthentication(s.client.queued(), 0, nil)
	for _, p := range params {
		out = pgwire.AppendParameterStatus(out, p.Name, p.Value)
	}
	out = pgwire.AppendBackendKeyData(out, s.pid, s.secret)
	s.client.setQueued(pgwire.AppendReady(out, 'I'))
	return s.flushLogin()
}

// asOfPrimary is what a server has reported at login. Where it stands in for a primary that is away, the client must not take the session
// for one that cannot write: it waits for the primary when it does.
func (s *session) asOfPrimary(c *pool.Conn) []pgwire.Param {
	standby := pgwire.Param{Name: "in_hot_standby", Value: "on"}
	at := slices.Index(c.Params, standby)
	if v := s.srv.store.Current(); at < 0 || !v.Seeking && !v.Draining {
		return c.Params
	}
	params := slices.Clone(c.Params)
	params[at].Value = "off"
	return params
}

// settled prepares the session for its first statement.
func (s *session) settled() {
	s.refreshSettings()
	_ = s.client.conn.SetDeadline(time.Time{})
	s.in.State = &s.state
	s.in.L = cluster.NoNode
	s.in.Preference = s.policy.Prefer(s.startup.User, s.startup.Database, s.startup.Param("application_name"))
	s.temps = s.srv.sessionNames(s.startup.Database)
	s.lastSeen = s.t.Now()
	s.client.idle()
	s.startup.Params, s.startup.Options = nil, nil
	s.secured, s.rule = nil, auth.Rule{}
}

// refreshSettings takes over what the session's parameters say about its every message.
func (s *session) refreshSettings() {
	s.perNode = s.set.LogPerNodeStatement() || s.set.NoticePerNodeStatement()
	s.logsServer = s.set.LogBackendMessages() != conf.BackendMessagesNone
	s.logsClient = s.set.LogClientMessages()
	s.idleLimit = s.idleLimitInForce()
	s.policy = s.policy.WithSession(s.set.AllowSQLComments(), s.set.CheckUnloggedTable())
	s.log = s.srv.log.With(&s.origin)
	if l := logging.Severity(s.set.LogMinMessages()); l != logging.Severity(s.cfg.Logging.LogMinMessages) {
		s.log = s.log.WithLevel(l)
	}
	if v := s.set.LogErrorVerbosity(); v != s.cfg.Logging.LogErrorVerbosity {
		s.log = s.log.WithVerbosity(logging.Verbosity(v))
	}
}
