package proxy

import (
	"errors"
	"time"

	"gopgpool/auth"
	"gopgpool/cluster"
	"gopgpool/logging"
	"gopgpool/loop"
	"gopgpool/pgwire"
	"gopgpool/pool"
)

// This file is about connections that no session opens: those that min_pool_size keeps, and the hub's.

// lender is what a client's login has shown, with which connections can be opened while it is not there.
type lender struct {
	srv      *Server
	facts    auth.Facts
	identity auth.Identity
	params   []pgwire.Param
}

func (s *session) lends() *lender {
	return &lender{srv: s.srv, facts: s.loginFacts(), identity: s.identity, params: s.params}
}

// open connects at a place that was reserved, and logs in.
func (l *lender) open(t *loop.Task, node cluster.Node, key pool.Key, params []pgwire.Param) (*pool.Conn, error) {
	o, err := l.srv.pool.Open(t, node, key, params, l.srv.tune, t.Now().Add(serverLoginTimeout))
	if err != nil {
		return nil, err
	}
	f := l.facts
	f.Server = o.Method
	cred, source, err := auth.Answer(f, l.identity)
	if err != nil {
		o.Abandon()
		return nil, err
	}
	c, err := o.Login(t, cred, l.srv.authKeys)
	if err == nil {
		c.Opened = auth.Opened{Server: o.Method, Source: source}
		if sent, ok := l.identity.Sent(); ok && source == auth.SourceClient {
			c.Opened.Proof = auth.NewProof(sent, auth.NewRandom())
		}
	}
	return c, err
}

// keepSpare leaves with a pool what opening its connections takes, where min_pool_size wants some to be there without a client.
func (s *session) keepSpare(node cluster.NodeID) {
	if s.pooling.MinSize > 0 && s.identity.By != auth.ByNothing {
		s.srv.pool.Keep(s.placeOf(node), s.lends())
	}
}

// sparePause is how often pools below min_pool_size are looked for.
const sparePause = time.Second

// fillSpares opens what pools lack, until its loop stops.
func (srv *Server) fillSpares(t *loop.Task) {
	for !t.Stopped() {
		for _, lack := range srv.pool.Lacking() {
			for range lack.N {
				if !srv.fillOne(t, lack.Place) {
					break
				}
			}
		}
		t.Sleep(sparePause)
	}
}

func (srv *Server) fillOne(t *loop.Task, pl *pool.Place) bool {
	l, _ := srv.pool.Kept(pl).(*lender)
	v := srv.store.Current()
	key := pl.Key()
	if l == nil || !v.Live(key.Node) || !srv.pool.ReserveSpare(pl) {
		return false
	}
	c, err := l.open(t, v.Nodes[key.Node], key, l.params)
	if err != nil {
		srv.log.Log(logging.Event{
			Severity: logging.Warning, Message: "could not open a connection for min_pool_size", Detail: err.Error(),
			Node: logging.OnNode(key.Node), DB: key.Database, User: key.User,
		})
		var refused *pool.ServerError
		if errors.As(err, &refused) {
			srv.pool.Keep(pl, nil) // until a client logs in again
		}
		return false
	}
	srv.pool.Return(c)
	return true
}
