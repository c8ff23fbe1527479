package proxy

import (
	"crypto/rand"
	"crypto/subtle"
	"sync"
	"sync/atomic"
	"time"

	"gopgpool/cluster"
	"gopgpool/loop"
	"gopgpool/pgwire"
	"gopgpool/pool"
)

// registry finds the session a CancelRequest means. Pids may repeat, for they come from several servers; keys do not.
type registry struct {
	mu    sync.Mutex
	byPID map[uint32][]*session // guarded by mu
}

func newRegistry() *registry { return &registry{byPID: make(map[uint32][]*session)} }

func (r *registry) add(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byPID[s.pid] = append(r.byPID[s.pid], s)
}

func (r *registry) remove(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.byPID[s.pid]
	for i, x := range list {
		if x == s {
			list = append(list[:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(r.byPID, s.pid)
	} else {
		r.byPID[s.pid] = list
	}
}

// find compares keys in constant time.
func (r *registry) find(c *pgwire.Cancel) *session {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found *session
	for _, s := range r.byPID[c.PID] {
		if subtle.ConstantTimeCompare(s.secret, c.Key) == 1 {
			found = s
		}
	}
	return found
}

// newSecret draws a cancel key: four bytes in protocol 3.0, 32 where longer keys are known.
func newSecret(v pgwire.Version) []byte {
	n := 4
	if v >= pgwire.Version32 {
		n = 32
	}
	key := make([]byte, n)
	_, _ = rand.Read(key) // never fails: the runtime ends the process instead
	return key
}

// cancelTimeout bounds the delivery of one cancel request to a server.
const cancelTimeout = 10 * time.Second

// victim is a server connection that runs a statement to be cancelled.
type victim struct {
	conn *pool.Conn
	node cluster.Node
}

// cancel serves a CancelRequest: it reaches every server on which the session runs something. It returns when the servers have
// taken it, so that the client knows it was delivered when its connection closes.
func (srv *Server) cancel(t *loop.Task, c *pgwire.Cancel) {
	s := srv.keys.find(c)
	if s == nil {
		srv.logUnknownCancel(c.PID)
		return
	}
	var victims []victim
	if !srv.onLoop(t, s.home.loop, func() { victims = s.victims() }) || len(victims) == 0 {
		return
	}
	until := t.Now().Add(cancelTimeout)
	for _, v := range victims {
		if err := srv.pool.SendCancel(t, v.conn, v.node, until); err != nil {
			srv.logCancelFailed(err)
		}
	}
	s.home.loop.Post(func() {
		s.cancels--
		s.t.Wake()
	})
}

// victims are the connections with client statements running; a statement that waits to be sent ends without any. The session keeps them until the cancel was delivered: it must
// not hit whoever has the connection next.
func (s *session) victims() []victim {
	view := s.srv.store.Current()
	var out []victim
	for _, b := range s.backends {
		if b.outstanding() > 0 && int(b.node) < len(view.Nodes) {
			out = append(out, victim{b.c, view.Nodes[b.node]})
		}
	}
	switch {
	case len(out) > 0:
		s.cancels++
		s.flight.cancelled = true
	case s.placing:
		s.cancelled = true
		s.t.Wake()
	}
	return out
}

// onLoop runs f on another loop, or on this one, and waits for it. It reports false if the loop has ended, or has not come to it within
// cancelTimeout: f is not run then.
func (srv *Server) onLoop(t *loop.Task, l *loop.Loop, f func()) bool {
	if l == t.Loop() {
		f()
		return true
	}
	ran := false
	t.Offload(func() {
		var taken atomic.Bool // by the loop, or by who gives up
		done := make(chan struct{})
		posted := l.Post(func() {
			if taken.CompareAndSwap(false, true) {
				f()
			}
			close(done)
		})
		if !posted {
			return
		}
		select {
		case <-done:
			ran = true
		case <-time.After(cancelTimeout):
			if !taken.CompareAndSwap(false, true) {
				<-done
				ran = true
			}
		}
	})
	return ran
}

// stopCancelTimeout bounds the cancel requests of a fast stop.
const stopCancelTimeout = time.Second

// cancelAll ends what runs for a session whose loop is being stopped: servers would otherwise go on with it.
func (s *session) cancelAll() {
	view := s.srv.store.Current()
	var victims []victim
	for _, b := range s.backends {
		if b.outstanding() > 0 && int(b.node) < len(view.Nodes) {
			victims = append(victims, victim{b.c, view.Nodes[b.node]})
		}
	}
	if len(victims) == 0 {
		return
	}
	s.t.Offload(func() {
		for _, v := range victims {
			if err := s.srv.pool.CancelNow(v.conn, v.node, stopCancelTimeout); err != nil {
				s.srv.logCancelFailed(err)
			}
		}
	})
}

// cancelLeft cancels what a client that has gone left running. A client that said goodbye left nothing.
func (s *session) cancelLeft() {
	for _, b := range s.backends {
		for i := b.head; i < len(b.queue); i++ {
			if !b.queue[i].swallow {
				s.cancelOn(b)
				break
			}
		}
	}
}

// cancelOn cancels what runs on a server connection whose client has gone, by a task of its own.
func (s *session) cancelOn(b *backend) {
	view := s.srv.store.Current()
	if int(b.node) >= len(view.Nodes) {
		return
	}
	s.cancels++
	c, node := b.c, view.Nodes[b.node]
	s.home.loop.Go("cancel", func(t *loop.Task) {
		if err := s.srv.pool.SendCancel(t, c, node, t.Now().Add(cancelTimeout)); err != nil {
			s.srv.logCancelFailed(err)
		}
		s.cancels--
		s.t.Wake()
	})
}
