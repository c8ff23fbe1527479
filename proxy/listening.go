package proxy

import (
	"errors"
	"sync"

	"gopgpool/cluster"
	"gopgpool/loop"
	"gopgpool/pgwire"
	"gopgpool/pool"
	"gopgpool/proxy/listen"
	"gopgpool/proxy/stmt"
	"gopgpool/proxy/vsession"
)

// This file is about LISTEN in sessions that share their connections: the proxy answers it, and what is notified comes from the hub.

// listening is what a session that has ever said LISTEN needs.
type listening struct {
	changes  listen.Changes
	ear      *ear
	key      listen.Key // of ear
	added    []string   // confirmed by the hub, for a transaction whose end is not known yet
	notified bool       // the transaction may have notified: its notifications come before its end is told
}

// ear is the session to the hub, which may use it on any loop: it holds what the login has fixed.
type ear struct {
	*lender
	key   pool.Key
	inbox *listen.Inbox
}

// Inbox implements listen.Subscriber.
func (e *ear) Inbox() *listen.Inbox { return e.inbox }

// OpenListener implements listen.Subscriber: it logs in as the client of the session.
func (e *ear) OpenListener(t *loop.Task, key listen.Key, view *cluster.View) (*pool.Conn, error) {
	k := e.key
	k.Node, k.Params = view.Writer(), "LISTEN"
	if err := e.srv.pool.Reserve(t, k, nil); err != nil {
		return nil, err
	}
	params := []pgwire.Param{{Name: "application_name", Value: "pgpool LISTEN"}}
	if key.Encoding != "" {
		params = append(params, pgwire.Param{Name: "client_encoding", Value: key.Encoding})
	}
	return e.open(t, view.Nodes[k.Node], k, params)
}

// ears makes the session one of the hub's.
func (s *session) ears() *ear {
	if s.hears.ear == nil {
		s.hears.ear = &ear{lender: s.lends(), key: s.shareKey}
		s.hears.key = s.encodingKey()
		s.hears.ear.inbox = listen.NewInbox(s.t.Loop(), listen.DefaultLimit, s.t.Wake)
	}
	return s.hears.ear
}

// encodingKey is what the session hears by: notifications come in the encoding it had when it first said LISTEN.
func (s *session) encodingKey() listen.Key {
	k := listen.Key{Database: s.startup.Database}
	for _, p := range s.told {
		if p.Name == "client_encoding" {
			k.Encoding = p.Value
		}
	}
	return k
}

// answersListen reports the statements about channels that the proxy answers in the servers' place.
func (s *session) answersListen(f *stmt.Facts) bool {
	return s.pooled && !f.Multi && (f.Kind == stmt.KindListen || f.Kind == stmt.KindUnlisten)
}

// listenTo carries out LISTEN or UNLISTEN: outside of transactions at once.
func (s *session) listenTo(f *stmt.Facts) (tag string, err error) {
	h := &s.hears.changes
	switch {
	case s.state.IsFailed():
		return "", errFailedTransaction
	case f.Kind == stmt.KindListen:
		tag, err = "LISTEN", h.Listen(listen.Channel(f.Name))
	case f.Name == "":
		tag, err = "UNLISTEN", h.UnlistenAll()
	default:
		tag, err = "UNLISTEN", h.Unlisten(listen.Channel(f.Name))
	}
	if err != nil {
		return "", listenError(err)
	}
	return tag, nil
}

func listenError(err error) error {
	var e *listen.Error
	if errors.As(err, &e) {
		return &clientError{Code: e.Code, Message: e.Message, Detail: e.Detail, Hint: e.Hint}
	}
	return err
}

// listenSimple answers a simple LISTEN or UNLISTEN.
func (s *session) listenSimple(f *stmt.Facts) error {
	tag, err := s.listenTo(f)
	if err == nil && !s.journal.InTx() {
		if err = s.confirmListen(); err == nil {
			s.endListen(true)
		}
	}
	if err != nil {
		if !s.journal.InTx() {
			s.endListen(false)
		}
		return s.refuse(err)
	}
	s.answer(tag, s.txByte())
	return nil
}

// confirmListen has the hub listen to what the transaction that is about to be committed has added: every notification of a transaction
// that commits after it is heard.
func (s *session) confirmListen() error {
	if !s.hears.changes.Pending() {
		return nil
	}
	added, _ := s.hears.changes.Outcome()
	if len(added) == 0 {
		return nil
	}
	s.watched[0].HangUp = !s.saidGoodbye()
	e := s.ears()
	if err := s.srv.hub.Listen(s.t, s.hears.key, e, added, s.wants.Cancelled, s.watched[:]...); err != nil {
		return listenError(err)
	}
	s.hears.added = added
	return nil
}

// endListen is the end of a transaction for what it has said about channels.
func (s *session) endListen(commit bool) {
	h := &s.hears
	if h.ear == nil && !h.changes.Pending() && !h.changes.Listening() {
		return
	}
	if !commit {
		h.changes.Rollback()
		if len(h.added) > 0 {
			s.srv.hub.Unlisten(s.hears.key, h.ear, h.added)
			h.added = nil
		}
		return
	}
	_, removed := h.changes.Commit()
	h.added = nil
	if len(removed) > 0 && h.ear != nil {
		s.srv.hub.Unlisten(s.hears.key, h.ear, removed)
	}
}

// savepointListen follows savepoints.
func (s *session) savepointListen(st *vsession.Statement) {
	switch h := &s.hears.changes; st.Effect {
	case vsession.Savepoint:
		h.Savepoint(st.Name)
	case vsession.Release:
		h.Release(st.Name)
	case vsession.RollbackTo:
		h.RollbackTo(st.Name)
	case vsession.DiscardAll:
		if h.Listening() {
			_ = h.UnlistenAll() // there cannot be too many: it is one
			s.endListen(true)
		}
	case vsession.Setting, vsession.Local, vsession.ResetAll:
	}
}

// hear passes on what has come for the session, between its transactions.
func (s *session) hear() error {
	e := s.hears.ear
	if e == nil {
		return nil
	}
	if err := e.inbox.Err(); err != nil {
		return fatalListen(err)
	}
	if !e.inbox.Pending() || s.journal.InTx() || s.owed > 0 || s.batchUsed || s.midFrame != nil || s.client.backlog() > maxOut {
		return nil
	}
	s.client.setQueued(e.inbox.Append(s.client.queued(), maxOut, s.hears.changes.Has))
	return nil
}

func fatalListen(err error) error {
	e := &clientError{Severity: "FATAL", Code: "57000", Message: err.Error()}
	var le *listen.Error
	if errors.As(err, &le) {
		e.Code, e.Message, e.Detail, e.Hint = le.Code, le.Message, le.Detail, le.Hint
	}
	return e
}

// notifies reports whether a statement notifies by its text.
func notifies(f *stmt.Facts) bool {
	if f.Kind == stmt.KindNotify {
		return true
	}
	for i := range f.Functions {
		if f.Functions[i].Name == "pg_notify" {
			return true
		}
	}
	return false
}

// sinceNotify notes that a statement notifies: whose pid the notification is to have, and that the session's own come before its end.
func (s *session) sinceNotify(b *backend, f *stmt.Facts) {
	if s.pooled && (notifies(f) || f.Multi) {
		s.srv.notifiers.store(b.c.PID, s.pid)
		s.hears.notified = s.hears.changes.Listening()
	}
}

// ownNotifications waits until what the session itself has notified has come back to it.
func (s *session) ownNotifications() error {
	s.hears.notified = false
	s.watched[0].HangUp = !s.saidGoodbye()
	if err := s.srv.hub.Flush(s.t, s.hears.key, s.wants.Cancelled, s.watched[:]...); err != nil && s.t.Stopped() {
		return err
	}
	return nil
}

// notifiers remembers for which session a server process has notified last: clients know that session's pid.
type notifiers struct {
	mu   sync.Mutex
	pids map[uint32]uint32 // guarded by mu
}

// maxNotifiers bounds what is remembered.
const maxNotifiers = 10000

func (n *notifiers) store(server, session uint32) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.pids == nil || len(n.pids) >= maxNotifiers {
		n.pids = make(map[uint32]uint32)
	}
	n.pids[server] = session
}

func (n *notifiers) load(server uint32) (session uint32, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	session, ok = n.pids[server]
	return session, ok
}

// syncListen is Sync for what a batch outside of transaction blocks has said about channels. If a server answers the Sync, the end is known with it.
func (s *session) syncListen(lead *backend) error {
	if s.journal.InTx() || !s.hears.changes.Pending() {
		return nil
	}
	if s.batchFailed || s.state.IsFailed() {
		s.endListen(false)
		return nil
	}
	if err := s.confirmListen(); err != nil {
		s.endListen(false)
		return fatalListen(err)
	}
	if lead == nil {
		s.endListen(true)
	}
	return nil
}

// beginListener sends BEGIN at once where the session has said LISTEN on a connection of its own: a server passes on notifications as long
// as it knows of no transaction.
func (s *session) beginListener() {
	for _, b := range s.backends {
		if b.holds&(holdsListen|holdsUnknown) != 0 && !b.unsynced {
			s.bringUp(b, b.node == s.writer())
		}
	}
}
