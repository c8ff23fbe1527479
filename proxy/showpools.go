package proxy

import (
	"cmp"
	"slices"

	"gopgpool/conf"
	"gopgpool/loop"
	"gopgpool/pool"
	"gopgpool/proxy/show"
)

// This file gathers what SHOW pool_sessions and SHOW pool_queues tell.

// sessions tells of every session that has a number, in the order of the numbers. asking is the one that wants to know.
func (srv *Server) sessions(asking *session) []show.Session {
	var all []show.Session
	for _, h := range srv.homes {
		srv.onLoop(asking.t, h.loop, func() {
			for s := range h.sessions {
				row := s.shown()
				if s == asking {
					row.State = show.SessionActive
				}
				all = append(all, row)
			}
		})
	}
	slices.SortFunc(all, func(a, b show.Session) int { return cmp.Compare(a.PID, b.PID) })
	return all
}

// shown tells what the session does; for its loop.
func (s *session) shown() show.Session {
	out := show.Session{
		PID: int64(s.slot.pid), Database: s.startup.Database, User: s.startup.User, ClientHost: s.peer.host, ClientPort: s.peer.port,
		Mode: s.modeInForce().String(), State: s.stateShown(), Pin: s.pinReason(), Since: s.timing.since,
	}
	switch {
	case s.ops.standing != servedNow:
		out.Since = s.ops.stood
	case out.State == show.SessionLogin:
		out.Since = s.began
	case out.Since.IsZero(), out.State == show.SessionIdle:
		out.Since = s.lastSeen
	}
	for _, b := range s.backends {
		out.Nodes = append(out.Nodes, b.node)
	}
	slices.Sort(out.Nodes)
	return out
}

// modeInForce is pool_mode, but that replication connections are never shared.
func (s *session) modeInForce() conf.PoolMode {
	if s.pooled {
		return s.pooling.Mode
	}
	return conf.PoolModeSession
}

func (s *session) stateShown() show.SessionState {
	switch s.ops.standing {
	case queuedUp:
		return show.SessionWaiting
	case heldBack:
		return show.SessionHeld
	case pausedHere:
		return show.SessionPaused
	case servedNow:
	}
	if s.in.State == nil {
		return show.SessionLogin
	}
	switch s.stageNow() {
	case answered:
		return show.SessionActive
	case inBlock:
		return show.SessionIdleInTransaction
	case atRest:
	}
	return show.SessionIdle
}

// tenant is who shares a pool on each node.
type tenant struct{ database, user string }

// queues tells of the pools of all databases and users, by database, user and node.
func (srv *Server) queues(t *loop.Task) []show.Queue {
	clients := srv.clientCounts(t)
	cfg := srv.current.Load().cfg
	merged := make(map[pool.Key]*show.Queue)
	for _, st := range srv.pool.Stats() {
		key := pool.Key{Node: st.Key.Node, Database: st.Key.Database, User: st.Key.User} // whatever its startup parameters
		q := merged[key]
		if q == nil {
			c := clients[tenant{key.Database, key.User}]
			q = &show.Queue{
				Database: key.Database, User: key.User, Node: key.Node, Mode: cfg.Pooling(key.Database, key.User).Mode.String(),
				ClientsActive: c.active, ClientsPaused: c.paused, Paused: srv.pauses.covers(key.Database),
			}
			merged[key] = q
		}
		q.ClientsWaiting += st.Waiting
		q.ServersActive += st.Leased
		q.ServersIdle += st.Idle
		q.ServersLogin += st.Opening
		q.MaxWait = max(q.MaxWait, st.Oldest)
		q.Size = max(q.Size, st.Bounds.Size)
	}
	out := make([]show.Queue, 0, len(merged))
	for _, q := range merged {
		out = append(out, *q)
	}
	slices.SortFunc(out, func(a, b show.Queue) int {
		return cmp.Or(cmp.Compare(a.Database, b.Database), cmp.Compare(a.User, b.User), cmp.Compare(a.Node, b.Node))
	})
	return out
}

// clientCount is how many sessions of a database and user wait for nothing, and for RESUME.
type clientCount struct{ active, paused int }

func (srv *Server) clientCounts(t *loop.Task) map[tenant]clientCount {
	out := make(map[tenant]clientCount)
	for _, h := range srv.homes {
		srv.onLoop(t, h.loop, func() {
			for s := range h.sessions {
				k := tenant{s.key.Database, s.key.User}
				c := out[k]
				switch s.ops.standing {
				case pausedHere:
					c.paused++
				case servedNow, heldBack:
					c.active++
				case queuedUp:
				}
				out[k] = c
			}
		})
	}
	return out
}
