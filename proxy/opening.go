package proxy

import (
	"errors"
	"slices"
	"time"

	"gopgpool/auth"
	"gopgpool/cluster"
	"gopgpool/loop"
	"gopgpool/pool"
)

// This file is about how a session gets its server connections, at its login and later.

// firstServer finds an idle connection for the client, or opens one up to the server's first word.
func (s *session) firstServer() (*pool.Conn, *pool.Opening, error) {
	node := s.loginNode()
	if c := s.idleConn(node); c != nil {
		return c, nil, nil
	}
	o, err := s.openAny(node)
	return nil, o, err
}

// loginNode is the node that takes writes or, while there is none or it is about to be another one, any other: the session's own
// connection to the primary can wait.
func (s *session) loginNode() cluster.NodeID {
	v := s.srv.store.Current()
	w := v.Writer()
	if w != cluster.NoNode && !v.Draining {
		return w
	}
	for i := range v.Nodes {
		if id := cluster.NodeID(i); id != w && v.Live(id) {
			return id
		}
	}
	return v.Main()
}

func (s *session) keyFor(node cluster.NodeID) pool.Key {
	k := s.key
	if s.pooled {
		k = s.shareKey
	}
	k.Node = node
	return k
}

func (s *session) idleConn(node cluster.NodeID) *pool.Conn {
	if s.pooled {
		return s.idleShared(node)
	}
	return s.srv.pool.Idle(s.t, s.keyFor(node))
}

// openAny opens a connection to the node, or to another live one if that cannot be reached. Where none can and failover is going to
// decide about that, it tries again under the next View.
func (s *session) openAny(node cluster.NodeID) (*pool.Opening, error) {
	began := s.t.Now()
	for {
		v := s.srv.store.Current()
		o, err := s.openOne(v, node)
		if err == nil || !s.openAgain(v, began, err) {
			return o, err
		}
		if err := s.awaitAnother(v); err != nil {
			return nil, err
		}
		node = s.loginNode()
	}
}

// openAgain tells whether a login that could not reach a server under v, and began to try then, is to go on: something has been decided
// since, or will be.
func (s *session) openAgain(v *cluster.View, began time.Time, err error) bool {
	changed := v != s.srv.store.Current() && (isUnreachable(err) || notServing(err))
	return changed || s.t.Now().Sub(began) < s.worthWaiting(v, err) || s.excusedByPause(err)
}

// awaitAnother waits for a View other than v, for a while, and then for one with a live node.
func (s *session) awaitAnother(v *cluster.View) error {
	if err := s.awaitView(v, s.t.Now().Add(retryRefused)); err != nil {
		return err
	}
	return s.awaitNode()
}

// awaitView waits for a View other than v, or until the time has come.
func (s *session) awaitView(v *cluster.View, until time.Time) error {
	for s.srv.store.Current() == v {
		switch s.t.Wait(until, loop.Interest{Conn: s.client.conn, HangUp: true}) {
		case loop.Timeout:
			return nil
		case loop.Stopped:
			return loop.ErrStopped
		case loop.Ready, loop.Woken:
		}
		if s.client.conn.HungUp() {
			return errTerminated
		}
	}
	return nil
}

// openOne opens a connection to the node, or to another live one if that cannot be reached or does not serve.
func (s *session) openOne(v *cluster.View, node cluster.NodeID) (*pool.Opening, error) {
	o, err := s.open(node)
	if err == nil || !isUnreachable(err) && !notServing(err) {
		return o, err
	}
	first := err
	s.logUnreachable(node, first)
	s.tellLost(node, v, first)
	for i := range v.Nodes {
		id := cluster.NodeID(i)
		if id == node || !v.Live(id) {
			continue
		}
		if o, err = s.open(id); err == nil || !isUnreachable(err) && !notServing(err) {
			return o, err
		}
		s.logUnreachable(id, err)
		s.tellLost(id, v, err)
	}
	return nil, first
}

// open reserves a place and connects to a node.
func (s *session) open(node cluster.NodeID) (*pool.Opening, error) {
	v := s.srv.store.Current()
	switch {
	case node == cluster.NoNode:
		return nil, noNode(v)
	case !v.Live(node): // condemned since it was chosen
		return nil, &pool.ConnectError{Node: node, Err: errNodeLeft}
	}
	if err := s.reserve(node); err != nil {
		return nil, err
	}
	return s.openReserved(node)
}

// openReserved connects to a node at a place that was reserved.
func (s *session) openReserved(node cluster.NodeID) (*pool.Opening, error) {
	v := s.srv.store.Current()
	if !v.Live(node) { // condemned while its connections were all in use
		s.srv.pool.Unreserve(s.keyFor(node))
		return nil, &pool.ConnectError{Node: node, Err: errNodeLeft}
	}
	until := s.t.Now().Add(serverLoginTimeout)
	if limit := s.loginUntil(); s.secret == nil && !limit.IsZero() && limit.Before(until) {
		until = limit // the client is not logged in so far
	}
	s.opening, s.openedUnder = &v.Nodes[node], v
	o, err := s.srv.pool.Open(s.t, v.Nodes[node], s.keyFor(node), s.params, s.srv.tune, until)
	if err != nil {
		s.opening = nil
	}
	return o, err
}

// serverLoginTimeout bounds the login to a server, PgBouncer's server_login_timeout.
const serverLoginTimeout = 15 * time.Second

// finishAny is finishOpening that begins again elsewhere when the server is lost on the way: the client has shown all it has to show.
func (s *session) finishAny(f auth.Facts, o *pool.Opening) (*pool.Conn, error) {
	began, v := s.t.Now(), s.openedUnder
	for {
		c, err := s.finishOpening(f, o)
		if !isUnreachable(err) || !s.openAgain(v, began, err) {
			return c, err
		}
		s.logUnreachable(nodeOf(err), err)
		s.tellLost(nodeOf(err), v, err)
		if err := s.awaitAnother(v); err != nil {
			return nil, err
		}
		if o, err = s.openAny(s.loginNode()); err != nil {
			return nil, err
		}
		v = s.openedUnder
	}
}

// finishOpening logs in to a server with what the client has shown or pool_passwd knows.
func (s *session) finishOpening(f auth.Facts, o *pool.Opening) (*pool.Conn, error) {
	defer func() { s.opening = nil }()
	f.Server = o.Method
	cred, source, err := auth.Answer(f, s.identity)
	if err != nil {
		o.Abandon()
		return nil, err
	}
	c, err := o.Login(s.t, cred, s.srv.authKeys)
	if err != nil {
		return nil, err
	}
	s.srv.serves(c.Key.Node, s.t.Now())
	s.identity = s.identity.ProvedBy(o.Method, source)
	c.Opened = auth.Opened{Server: o.Method, Source: source}
	if sent, ok := s.identity.Sent(); ok && source == auth.SourceClient {
		c.Opened.Proof = auth.NewProof(sent, auth.NewRandom())
	}
	if !s.pooled && (source != auth.SourceClient || s.identity.By != auth.ByNothing) {
		s.srv.pool.Remember(s.key, &pool.Remembered{Params: slices.Clone(s.asOfPrimary(c)), Isolation: c.Isolation, Server: o.Method})
	}
	return c, nil
}

// connectAnew opens a connection to a node for a session that is logged in. That one lies in the pool says nothing about the server now.
func (s *session) connectAnew(node cluster.NodeID) (*pool.Conn, error) {
	o, err := s.open(node)
	if err != nil {
		return nil, err
	}
	return s.finishOpening(s.loginFacts(), o)
}

// connect leases a connection to a node for a session that is logged in.
func (s *session) connect(node cluster.NodeID) (*pool.Conn, error) {
	if s.pooled {
		return s.leaseOn(node)
	}
	f := s.loginFacts()
	if c := s.idleConn(node); c != nil {
		f.Server = c.Opened.Server
		if _, ok := auth.MayReuse(f, s.identity, c.Opened); ok {
			return c, nil
		}
		s.srv.pool.Release(c)
	}
	o, err := s.open(node)
	if err == nil {
		c, err2 := s.finishOpening(f, o)
		if err2 == nil {
			return c, nil
		}
		err = err2
	}
	var refused *pool.ServerError
	if errors.As(err, &refused) {
		s.srv.pool.Forget(s.key) // what was remembered of such logins may be wrong
	}
	return nil, err
}
