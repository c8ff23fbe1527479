package proxy

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"gopgpool/loop"
	"gopgpool/pgwire"
	"gopgpool/proxy/vsession"
)

// resetTimeout bounds the reset queries at the end of a session.
const resetTimeout = 10 * time.Second

// farewellTimeout bounds the last words to a client that does not read.
const farewellTimeout = time.Second

// over ends the session: last words to the client, then its server connections go back or are closed.
func (s *session) over(cause error) {
	if cause != nil && !errors.Is(cause, errHandled) {
		s.countEnd(cause)
		s.logEnd(cause)
		s.sayGoodbye(cause)
	}
	s.client.conn.Close()
	s.client.free()
	s.gone = true
	if s.slot == nil {
		return
	}
	s.srv.keys.remove(s)
	if s.hears.ear != nil {
		s.srv.hub.Leave(s.hears.ear)
	}
	if s.t.Stopped() {
		s.cancelAll()
	} else {
		s.cancelLeft()
	}
	s.awaitCancels()
	for len(s.backends) > 0 {
		b := s.backends[0]
		s.backends = s.backends[1:]
		s.giveBack(b)
	}
	s.home.forget(s)
	s.backendMessages.Flush(s.log)
	s.uncount()
	s.admission().give(s.slot, s.t.Now())
	s.logDisconnection()
}

// abandon cleans up after a session that met a bug of ours: nothing it held is trusted.
func (s *session) abandon() {
	s.client.conn.Close()
	if s.slot == nil {
		return
	}
	s.srv.keys.remove(s)
	if s.hears.ear != nil {
		s.srv.hub.Leave(s.hears.ear)
	}
	for _, b := range s.backends {
		s.forgetNotes(b)
		s.srv.pool.Discard(b.c)
	}
	s.backends = nil
	s.home.forget(s)
	s.uncount()
	s.admission().give(s.slot, s.t.Now())
}

func (s *session) sayGoodbye(cause error) {
	if errors.Is(cause, errLoginTimeout) || s.midFrame != nil || s.torn {
		return
	}
	_ = s.client.conn.SetDeadline(s.t.Now().Add(farewellTimeout))
	out := append(s.client.out[s.client.o:], farewell(cause)...)
	if len(out) > 0 && !s.t.Stopped() {
		_, _ = s.client.conn.Write(out)
	} else if len(out) > 0 {
		_, _ = s.client.conn.TryWrite(out)
	}
	s.discardUnread()
}

// discardUnread reads what the client has sent and nobody will look at: closing over unread bytes resets the connection, and the client might
// never see why.
func (s *session) discardUnread() {
	var b [1024]byte
	for range 16 {
		if n, err := s.client.conn.TryRead(b[:]); n == 0 || err != nil {
			return
		}
	}
}

// awaitCancels waits until no cancel request is on its way to one of the session's connections.
func (s *session) awaitCancels() {
	until := s.t.Now().Add(cancelTimeout)
	for s.cancels > 0 && s.t.Now().Before(until) && !s.t.Stopped() {
		s.t.Wait(until)
	}
}

// giveBack resets a connection and returns it to the pool, or closes it.
func (s *session) giveBack(b *backend) {
	s.returning = b
	defer func() { s.returning = nil }()
	s.forgetNotes(b)
	if s.pooled && s.cancels == 0 && !s.t.Stopped() && b.holds == 0 && b.unused() {
		s.putBack(b)
		return
	}
	if !s.reusable(b) || !s.reset(b) {
		if b.dropped { // while it was being reset
			return
		}
		s.silence(b)
		b.side.free()
		s.srv.pool.Discard(b.c)
		return
	}
	b.side.free()
	if s.pooled {
		s.leaveTemp(b)
		b.c.State = vsession.Server{Temp: b.c.State.Temp}
		s.srv.pool.Return(b.c)
		return
	}
	s.srv.pool.Release(b.c)
}

func (s *session) forgetNotes(b *backend) {
	for i := b.head; i < len(b.queue); i++ {
		if n := b.queue[i].note; n != nil && n.release != nil {
			n.release()
			n.release = nil
		}
	}
}

// staysForever reports that a connection has something that no reset takes away.
func (s *session) staysForever(b *backend) bool {
	if s.pooled {
		return b.holds&foreverHeld != 0
	}
	return b.holds&holdsLibrary != 0
}

// reusable reports whether the connection is at a point from which it can be reset.
func (s *session) reusable(b *backend) bool {
	if s.cancels > 0 || s.t.Stopped() || s.staysForever(b) || b.broken || b.spent || b.mark.Spoiled() || b.err != nil || b.skip > 0 ||
		b.r < b.w || b.conn.HungUp() || b.unsynced || s.copyIn == b || stale(b.c, s.srv.store.Current()) || s.srv.renewals.outdated(b.c) {
		return false
	}
	if !s.pooled && b.node == s.writer() && s.temps.Had() { // a new session could tell: their schema is there, and SET temp_buffers is refused
		return false
	}
	// Our own statements may be outstanding (the COMMIT of a server the client does not hear); the client's must not.
	for i := b.head; i < len(b.queue); i++ {
		if !b.queue[i].swallow {
			return false
		}
	}
	return s.pooled || s.srv.pool.Limits().Cache
}

// reset runs reset_query_list. A connection on which nothing ran needs none.
func (s *session) reset(b *backend) bool {
	if !b.dirty {
		return b.outstanding() == 0 && b.r == b.w
	}
	for _, q := range s.cfg.Pool.ResetQueryList {
		if strings.EqualFold(q, "ABORT") && b.status == 'I' && b.outstanding() == 0 {
			continue
		}
		b.setQueued(pgwire.AppendQuery(b.queued(), q))
		b.push(expect{kind: pgwire.Query, swallow: true})
		s.home.counters.Statement(b.node, 0)
		b.remember([]byte(q))
		if s.set.LogStatement() {
			s.logStatement([]byte(q))
		}
		if s.set.LogPerNodeStatement() {
			s.logInjected(b, q)
		}
	}
	if b.holds&(holdsSeed|holdsUnknown) != 0 { // nothing of PostgreSQL's resets random()
		s.injectQuietly(b, "SELECT pg_catalog.setseed("+strconv.FormatFloat(s.home.dice.Float64(), 'f', -1, 64)+")")
	}
	b.flush()
	failed := s.awaitReset(b)
	return !failed && b.status == 'I' && b.r == b.w && b.skip == 0
}

// awaitReset reads the answers to the reset queries; it reports whether one failed.
func (s *session) awaitReset(b *backend) (failed bool) {
	until := s.t.Now().Add(resetTimeout)
	s.resetting, s.resetFailed = true, false
	defer func() { s.resetting = false }()
	for b.outstanding() > 0 {
		if b.conn.Readable() {
			if s.readReset(b) != nil {
				return true
			}
			continue
		}
		b.flush()
		if b.err != nil {
			return true
		}
		switch s.t.Wait(until, loop.Interest{Conn: b.conn, Read: true, Write: b.backlog() > 0}) {
		case loop.Timeout, loop.Stopped:
			return true
		case loop.Ready, loop.Woken:
		}
	}
	b.rest()
	return s.resetFailed
}

func (s *session) readReset(b *backend) error {
	n, err := b.fill()
	if n > 0 {
		if err := s.relay(b); err != nil {
			return err
		}
	}
	return err
}
