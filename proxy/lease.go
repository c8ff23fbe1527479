package proxy

import (
	"errors"
	"io"
	"slices"
	"strings"

	"gopgpool/auth"
	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/loop"
	"gopgpool/pgwire"
	"gopgpool/pool"
	"gopgpool/proxy/stmt"
	"gopgpool/proxy/vsession"
)

// This file is about sessions that share their server connections (pool_mode = transaction, statement): a connection is leased with the
// first statement of a transaction and given back when it is over. What the session has set is its journal's; what a connection has
// been told is recorded with it.

// share decides, at login, whether the session shares its connections. Its startup parameters are then settings like any other, and
// connections are opened without them, so that sessions with different ones can have the same connections.
func (s *session) share() {
	if s.pooling.Mode == conf.PoolModeSession || s.startup.Param("replication") != "" {
		return
	}
	s.pooled = true
	settings, rest := splitStartup(s.startup.Params, s.cfg.Pools.IgnoreStartupParameters)
	s.params = rest
	s.shareKey = pool.Key{Node: cluster.NoNode, Database: s.key.Database, User: s.key.User, Params: pool.ParamsKey(rest)}
	s.journal.Share(settings)
	s.wants.Cancelled = func() bool { return s.cancelled || s.ops.killed || s.clientLeft() }
	s.wants.Waiting = s.tellWaiting
	s.watched[0].Conn = s.client.conn
	s.wants.Watched = s.watched[:]
}

// bounds are those of the pools of one database and user.
func bounds(p *conf.Pooling) pool.Bounds {
	return pool.Bounds{
		Size: p.Size, Min: p.MinSize, Reserve: p.ReserveSize, ReserveAfter: p.ReserveTimeout,
		MaxDB: p.MaxDBConnections, MaxUser: p.MaxUserConnections,
		IdleTime: p.ServerIdleTimeout, Lifetime: p.ServerLifetime, CheckDelay: p.ServerCheckDelay, CheckQuery: p.ServerCheckQuery,
		WaitTimeout: p.QueryWaitTimeout,
	}
}

// splitStartup tells the startup parameters that can be set on an open connection from those it must be opened with.
func splitStartup(params []pgwire.Param, ignored []string) (settings []vsession.Startup, rest []pgwire.Param) {
	for _, p := range params {
		switch {
		case listed(ignored, p.Name):
		case p.Name == "options":
			fromOptions, ok := vsession.ReadOptions(p.Value)
			for i := range fromOptions {
				ok = ok && !onlyAtStart(fromOptions[i].Name)
			}
			if !ok {
				rest = append(rest, p)
				continue
			}
			settings = append(fromOptions, settings...) // PostgreSQL reads them first
		case onlyAtStart(p.Name):
			rest = append(rest, p)
		default:
			settings = append(settings, vsession.Startup{Name: p.Name, Value: p.Value})
		}
	}
	return settings, rest
}

func listed(names []string, name string) bool {
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

// onlyAtStart reports the parameters that cannot be set later, or have an effect at the start of a connection only (manual: parameters
// of contexts backend and superuser-backend).
func onlyAtStart(name string) bool {
	switch strings.ToLower(name) {
	case "ignore_system_indexes", "post_auth_delay", "pre_auth_delay", "jit_debugging_support", "jit_profiling_support", "log_connections", "log_disconnections",
		"session_preload_libraries", "local_preload_libraries":
		return true
	}
	return false
}

// clientLeft reports a client that has hung up without a goodbye.
func (s *session) clientLeft() bool { return s.client.conn.HungUp() && !s.saidGoodbye() }

// lease gets the session a connection to a node, with which it ends its wait; nil is a place at which one may be opened. A session that
// has connections waits for one to the node that takes writes alone: who has that one and waits for another might wait for somebody
// who waits for him.
func (s *session) lease(node cluster.NodeID) (*pool.Conn, error) {
	a := &s.wants
	a.Place = s.placeOf(node)
	writer := node == s.writer()
	a.Print, a.Owner = s.journal.Print(writer), s.id
	a.NoWait = len(s.backends) > 0 && !writer
	a.Exactly = nil
	if writer && s.sequences.conn != nil && s.in.Facts != nil && s.sequenceValues(s.in.Facts) {
		a.Exactly, a.Serial = s.sequences.conn, s.sequences.serial
	}
	s.watched[0].HangUp = !s.saidGoodbye()
	s.ops.standing, s.ops.stood = queuedUp, s.t.Now()
	c, err := s.srv.pool.Lease(s.t, a)
	s.ops.standing = servedNow
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, pool.ErrUsed):
		s.sequences.conn = nil
		return nil, errSequence
	case s.clientLeft():
		return nil, &clientGone{io.ErrUnexpectedEOF}
	case s.cancelled && !s.t.Stopped():
		return nil, errCancelled
	}
	return nil, err
}

var errSequence = &clientError{
	Code: "55000", Message: "currval and lastval are not known here",
	Detail: "Another session has used the server connection since nextval.",
	Hint:   "Use INSERT ... RETURNING, ask in the same transaction, or use pool_mode = session for this database or user.",
}

// leaseOn is connect for a session that shares its connections.
func (s *session) leaseOn(node cluster.NodeID) (*pool.Conn, error) {
	c, err := s.lease(node)
	if err != nil {
		return nil, err
	}
	if c != nil && s.mayUse(c) {
		return c, nil
	}
	if c != nil {
		s.srv.pool.Return(c)
		if s.wants.NoWait {
			return nil, pool.ErrBusy
		}
		if err := s.reserve(node); err != nil {
			return nil, err
		}
	}
	o, err := s.openReserved(node)
	if err != nil {
		return nil, err
	}
	if c, err = s.finishOpening(s.loginFacts(), o); err == nil {
		s.keepSpare(node)
	}
	return c, err
}

// loginFacts are what is known of the client for logins of ours.
func (s *session) loginFacts() auth.Facts {
	return auth.Facts{
		User: s.startup.User, HBA: s.cfg.Auth.EnablePoolHba, Entry: s.entry,
		AllowClearText: s.cfg.Auth.AllowClearTextFrontendAuth, Server: auth.Unasked,
	}
}

// mayUse reports whether the client has shown enough to use a connection that somebody else has opened.
func (s *session) mayUse(c *pool.Conn) bool {
	if c.State.Temp && s.mindsTemp() {
		return false
	}
	if c.State.Owner == s.id {
		return true
	}
	_, sent := s.identity.Sent()
	if !sent && s.mayUseKnown && s.mayUseLike == c.Opened.Server { // the answer does not depend on the connection's proof
		return true
	}
	f := s.loginFacts()
	f.Server = c.Opened.Server
	_, ok := auth.MayReuse(f, s.identity, c.Opened)
	if ok && !sent {
		s.mayUseLike, s.mayUseKnown = c.Opened.Server, true
	}
	return ok
}

// mindsTemp reports whether a connection that has had temporary objects will not do.
func (s *session) mindsTemp() bool {
	f := s.in.Facts
	return s.journal.MindsTemp() || f != nil && f.Setting != nil && f.Setting.Name == vsession.NameTempBuffers
}

// tellWaiting tells a client that has waited for a while.
func (s *session) tellWaiting() {
	if s.midFrame != nil || s.secret == nil {
		return
	}
	s.client.queue(pgwire.AppendNotice(nil, pgwire.Fields{
		Severity: "NOTICE", Code: "00000", Message: "waiting for a server connection",
		Detail: "All connections of the pool are in use.", Hint: "See default_pool_size, max_db_connections and max_user_connections.",
	}))
	s.client.flush()
}

// follow makes what is known of a leased connection the session's.
func (s *session) follow(b *backend) {
	if b.sequences = s.wants.Exactly == b.c; b.sequences {
		b.unsure = s.sequences.unsure
	}
	b.mark = s.journal.Take(&b.c.State, s.id, b.node == s.writer())
	b.owner = s.id
	s.home.dress(b)
	s.clearNames(b)
}

// endLeases gives back the connections that the session does not need before its next transaction.
func (s *session) endLeases() error {
	if !s.pooled || len(s.backends) == 0 || s.owed > 0 || s.batchUsed || s.copyIn != nil || s.cancels > 0 || s.unsettled || s.journal.InTx() {
		return nil
	}
	if s.unwanted != nil {
		return s.unwanted
	}
	for i := 0; i < len(s.backends); {
		b := s.backends[i]
		if b.holds&findable != 0 && b.probe && b.unused() && s.mayProbe(b) {
			if s.journal.Behind(&b.mark) {
				s.bringUp(b, b.node == s.writer())
			} else {
				s.askPins(b)
			}
		}
		if b.holds != 0 || !b.unused() || s.keepsUnnamed(b) {
			s.countPins(b)
			i++
			continue
		}
		s.backends = append(s.backends[:i], s.backends[i+1:]...)
		s.putBack(b)
	}
	return nil
}

// unused reports that nothing of the session is under way on a connection.
func (b *backend) unused() bool {
	return b.outstanding() == 0 && !b.busy() && b.status == 'I' && b.r == b.w && b.skip == 0 && b.backlog() == 0 && b.err == nil &&
		!b.spent && !b.broken && !b.mark.Spoiled()
}

// putBack ends the lease of a connection at the end of a transaction.
func (s *session) putBack(b *backend) {
	if s.active == b {
		s.active = nil
	}
	if s.noName.b == b {
		s.noName = portal{}
	}
	s.leaveStatements(b)
	if b.sequences {
		s.sequences.mixed = s.sequences.mixed || s.sequences.conn != nil && s.sequences.conn != b.c
		s.sequences.conn, s.sequences.serial, s.sequences.unsure = b.c, b.c.Serial, b.unsure
	}
	s.journal.Leave(&b.c.State, &b.mark, s.id, b.node == s.writer())
	s.leaveTemp(b)
	s.home.undress(b)
	b.side.free()
	s.returned = b
	if s.journal.Has("idle_session_timeout") { // it would end the connection under whoever comes next
		s.srv.pool.Discard(b.c)
		return
	}
	s.srv.pool.Return(b.c)
}

// leaveTemp records that the session has had temporary objects on a connection that it gives back.
func (s *session) leaveTemp(b *backend) {
	if b.node == s.writer() && s.temps.Had() {
		b.c.State.Temp = true
		s.temps.Left()
	}
}

// giveUp returns a connection on which the session has done nothing.
func (s *session) giveUp(c *pool.Conn) {
	if s.pooled {
		s.srv.pool.Return(c)
	} else {
		s.srv.pool.Release(c)
	}
}

// idleShared is idleConn for a session that shares its connections.
func (s *session) idleShared(node cluster.NodeID) *pool.Conn {
	if node == cluster.NoNode {
		return nil
	}
	s.wants.Place, s.wants.NoWait, s.wants.Exactly = s.placeOf(node), true, nil
	c, err := s.srv.pool.Lease(s.t, &s.wants)
	if err == nil && c == nil {
		s.srv.pool.Unreserve(s.keyFor(node))
	}
	return c
}

// placeOf is the pool of the session's connections to a node.
func (s *session) placeOf(node cluster.NodeID) *pool.Place {
	if int(node) >= len(s.places) {
		s.places = append(s.places, make([]*pool.Place, int(node)+1-len(s.places))...)
	}
	if s.places[node] == nil {
		s.places[node] = s.srv.pool.Place(s.keyFor(node), bounds(&s.pooling))
	}
	return s.places[node]
}

// reserve gets a place at which a connection may be opened.
func (s *session) reserve(node cluster.NodeID) error {
	watch := loop.Interest{Conn: s.client.conn, HangUp: !s.saidGoodbye()}
	if err := s.awaitLogin(); err != nil {
		return err
	}
	queued := s.stands(queuedUp)
	err := s.srv.pool.Reserve(s.t, s.keyFor(node), func() bool { return s.cancelled || s.ops.killed || s.clientLeft() }, watch)
	queued()
	switch {
	case err == nil:
		return nil
	case s.clientLeft():
		return &clientGone{io.ErrUnexpectedEOF}
	case s.cancelled && !s.t.Stopped():
		return errCancelled
	}
	return err
}

// isBusy reports that a connection was not to be had without waiting for it.
func isBusy(err error) bool { return errors.Is(err, pool.ErrBusy) }

// tryOut gives a connection the settings the client begins with, at its login, and tells what the server then reports. It is remembered:
// the next such login needs no server.
func (s *session) tryOut(c *pool.Conn) ([]pgwire.Param, string, error) {
	if stale(c, s.srv.store.Current()) {
		s.srv.pool.Discard(c)
		return nil, "", errChanged
	}
	b := s.attach(c)
	if s.journal.Behind(&b.mark) {
		s.bringUp(b, b.node == s.writer())
		if err := s.drain(b); err != nil {
			return nil, "", err
		}
		switch {
		case b.spent: // the client has been told
			return nil, "", errHandled
		case b.dropped:
			return nil, "", errChanged
		}
	}
	r := &pool.Remembered{Params: slices.Clone(s.asOfPrimary(c)), Isolation: c.Isolation, Server: c.Opened.Server}
	if level := s.journal.Value("default_transaction_isolation"); level != "" {
		r.Isolation = strings.ToLower(level)
	}
	s.srv.pool.Remember(s.key, r)
	return r.Params, r.Isolation, nil
}

// mayProbe reports whether it is a connection's turn to be asked: what is found on one is the session's from then on, and others follow. What
// was set where writes go counts first.
func (s *session) mayProbe(b *backend) bool {
	const unknown = holdsUnknown | holdsSettings
	for _, x := range s.backends {
		if x != b && b.holds&unknown != 0 && (x.probing != nil || x.holds&unknown != 0 && x.node == s.writer()) {
			return false
		}
	}
	return true
}

// awaitProbes waits, before anything is sent to b, for what other connections are being asked: b might set what the answers would take back.
func (s *session) awaitProbes(b *backend) error {
	for i := 0; s.pooled && i < len(s.backends); i++ {
		x := s.backends[i]
		if x == b || x.probing == nil {
			continue
		}
		if err := s.drain(x); err != nil {
			return err
		}
		if b.dropped {
			return errChanged
		}
		i = -1
	}
	return nil
}

// makeFit does what has to be over before the client's next statement is sent to a connection.
func (s *session) makeFit(b *backend) error {
	if err := s.awaitProbes(b); err != nil {
		return err
	}
	return s.confirmIdentity(b)
}

// confirmIdentity has a connection become the user or role that the session has set, and waits for it: nothing must run as somebody else
// because that is not allowed any more.
func (s *session) confirmIdentity(b *backend) error {
	if b.unsynced || s.failed() || !s.journal.LacksIdentity(&b.mark) {
		return nil
	}
	if f := s.in.Facts; s.unconfirmed != nil && f != nil && (f.Setting != nil && (f.Setting.Name == "role" || f.Setting.Name == "session_authorization") ||
		f.Kind == stmt.KindDiscard && f.DiscardTarget == "all") {
		s.journal.DropIdentity() // this statement is the way out
		s.unconfirmed = nil
		return nil
	}
	s.confirming, s.unconfirmed = true, nil
	s.bringUp(b, b.node == s.writer())
	err := s.drain(b)
	s.confirming = false
	switch {
	case err != nil:
		return err
	case s.unconfirmed != nil:
		if !b.dropped {
			s.dropBackend(b)
		}
		return s.unconfirmed
	case b.dropped:
		return errChanged
	}
	return nil
}

// check asks a connection that has idled for long whether it still serves, before anything of the client's is sent (server_check_query).
func (s *session) check(b *backend) error {
	b.c.MustCheck = false
	return s.ask(b, s.pooling.ServerCheckQuery, func([][]byte) error { return nil })
}

// govern puts the bounds of pools in force that are given for a session that does not share its connections.
func (s *session) govern() {
	p := &s.pooling
	if s.pooled || p.Size == 0 && p.MaxDBConnections == 0 && p.MaxUserConnections == 0 {
		return
	}
	for i := range s.srv.store.Current().Nodes {
		s.srv.pool.Place(s.keyFor(cluster.NodeID(i)), bounds(p))
	}
}
