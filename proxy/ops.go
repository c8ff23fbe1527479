package proxy

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopgpool/auth"
	"gopgpool/logging"
	"gopgpool/loop"
	"gopgpool/pgwire"
	"gopgpool/pool"
	"gopgpool/proxy/show"
	"gopgpool/proxy/stmt"
)

// This file is about the verbs of an administrator, whose names are those of PgBouncer's console: PGPOOL PAUSE, RESUME, RECONNECT and
// KILL; switchover.go has SWITCHOVER. A statement that arrives while its database is paused is held where it would otherwise be routed: it has not been sent, so
// nothing is at risk.

// standing is what a session waits for besides its client and its servers.
type standing uint8

const (
	servedNow  standing = iota
	queuedUp            // for a server connection
	heldBack            // for a node that can run its statement, see hold.go
	pausedHere          // for RESUME
)

// operated is what operations verbs have to do with a session.
type operated struct {
	superuser bool      // of the servers, as they said when it logged in
	killed    bool      // by KILL
	standing  standing  // what it waits for
	stood     time.Time // since when
	turn      uint64    // among the held ones; 0: not held by PAUSE
}

var (
	errPausedAlready = &clientError{Code: "55000", Message: "already suspended/paused"}
	errNotPaused     = &clientError{Code: "55000", Message: "pooler is not paused/suspended"}
	errPausedLong    = &clientError{
		Severity: "FATAL", Code: "57P03", Message: "query_wait_timeout", Detail: "The statement was not sent: its database is paused.",
		Hint: "See query_wait_timeout.",
	}
	errResumed     = &clientError{Code: "57014", Message: "PAUSE was ended by RESUME before all transactions were over"}
	errPauseInside = &clientError{Code: "25001", Message: "PGPOOL PAUSE cannot run inside a transaction block"}
	errNotAdmin    = &clientError{
		Code: "42501", Message: "admin access needed",
		Hint: "admin_users names those who may; while it is empty, superusers may.",
	}
)

func notPaused(database string) error {
	if database == "" {
		return errNotPaused
	}
	return &clientError{Code: "55000", Message: "database " + database + " is not paused"}
}

// Pause holds the statements of a database, or of all with "", and returns when none of its transactions is open on a server any more.
// Sessions keep the connections whose state cannot be moved, and in session mode all of theirs; nothing is sent on them. When ctx ends
// before, nothing is paused and its cause is returned. It is for goroutines other than the loops'.
func (s *Server) Pause(ctx context.Context, database string) error {
	token, err := s.pauses.add(database)
	if err != nil {
		return err
	}
	tick := time.NewTicker(pauseTick)
	defer tick.Stop()
	for s.busyIn(database, nil) {
		select {
		case <-ctx.Done():
			s.unpause(database, token)
			return context.Cause(ctx)
		case <-tick.C:
		}
		if !s.pauses.holds(database, token) {
			return errResumed
		}
	}
	s.closeIdle(database)
	return nil
}

// pauseTick is how often a PAUSE looks whether the last transaction is over.
const pauseTick = 20 * time.Millisecond

// unpause takes back a PAUSE that did not come to its end.
func (s *Server) unpause(database string, token uint64) {
	if s.pauses.drop(database, token) {
		s.letGo()
	}
}

// Resume lets the statements go on that a PAUSE of the same database holds ("" is that of all databases), in the order of their coming.
func (s *Server) Resume(database string) error {
	if err := s.pauses.end(database); err != nil {
		return err
	}
	s.letGo()
	return nil
}

// letGo wakes the sessions that PAUSE has held, first come first served on each loop.
func (s *Server) letGo() {
	for _, h := range s.homes {
		h.loop.Post(func() {
			var held []*session
			for x := range h.sessions {
				if x.ops.turn > 0 {
					held = append(held, x)
				}
			}
			slices.SortFunc(held, func(a, b *session) int { return int(a.ops.turn) - int(b.ops.turn) })
			for _, x := range held {
				x.t.Wake()
			}
		})
	}
}

// closeIdle closes the idle connections to a database, or to all.
func (s *Server) closeIdle(database string) {
	s.pool.CloseIdle(func(c *pool.Conn) bool { return database == "" || c.Key.Database == database })
}

// busyIn reports whether a session of the database has something open on a server, or is opening a connection to one; except is not looked at. It waits for the loops.
func (s *Server) busyIn(database string, except *session) (busy bool) {
	for _, h := range s.homes {
		s.offLoop(h, func() {
			for x := range h.sessions {
				busy = busy || x != except && x.of(database) && (x.busyAtServers() || x.opening != nil || x.clearing())
			}
		})
	}
	return busy
}

// offLoop runs f on a loop and waits for it. It is for other goroutines than the loops'.
func (s *Server) offLoop(h *home, f func()) {
	done := make(chan struct{})
	if h.loop.Post(func() { f(); close(done) }) {
		<-done
	}
}

// of reports whether a session is one of the database; "" is all of them.
func (s *session) of(database string) bool {
	return database == "" || s.startup != nil && s.startup.Database == database
}

// clearing reports whether the session is over and has not given all its connections back.
func (s *session) clearing() bool { return s.returning != nil || s.gone && len(s.backends) > 0 }

// busyAtServers reports whether something runs or is open on one of the session's servers.
func (s *session) busyAtServers() bool {
	for _, b := range s.backends {
		if b.busy() {
			return true
		}
	}
	return false
}

// Reconnect has every connection to a database, or to all with "", replaced once nothing holds it: those in the pool now, those of
// sessions when they are given back or stand outside a transaction and have no state that cannot be moved.
func (s *Server) Reconnect(database string) error {
	s.renewals.add(database, time.Now())
	s.pool.Reconnect(database)
	s.wakeAll()
	return nil
}

// Kill ends the session with the number SHOW pool_processes shows as its pid: its client is told 57P01, and what runs is cancelled.
// It is for goroutines other than the loops'.
func (s *Server) Kill(pid int) error {
	found := false
	for _, h := range s.homes {
		s.offLoop(h, func() {
			for x := range h.sessions {
				if x.slot.pid == pid {
					found = true
					x.kill()
				}
			}
		})
	}
	if !found {
		return &clientError{Code: "42704", Message: "no session has the number " + strconv.Itoa(pid)}
	}
	return nil
}

// kill has the session end at its next wait; for its loop.
func (s *session) kill() {
	s.ops.killed = true
	if s.in.State == nil { // it is logging in, where a wake-up is not listened to
		s.client.conn.Abort()
	}
	s.t.Wake()
}

// ended is why the session is over: who was killed is told so, whatever that has met on its way.
func (s *session) ended(err error) error {
	if s.ops.killed && !s.gone {
		return errStopping
	}
	return err
}

// operate carries out PGPOOL PAUSE, RESUME, RECONNECT, KILL or SWITCHOVER.
func (s *session) operate(c *stmt.PoolCommand) (*show.Result, error) {
	if !s.administers() {
		return nil, errNotAdmin
	}
	var err error
	switch c.Verb {
	case "pause":
		err = s.pause(c.Name)
	case "resume":
		err = s.srv.Resume(c.Name)
	case "reconnect":
		err = s.srv.Reconnect(c.Name)
	case "kill":
		err = s.killOther(c.Value)
	case "switchover":
		err = s.switchover(c)
	default:
		panic("proxy: unknown command " + c.Verb)
	}
	if err != nil {
		return nil, err
	}
	tag := strings.ToUpper(c.Verb)
	s.log.Log(logging.Event{Severity: logging.Log, Message: strings.TrimSpace(tag + " " + c.Name + c.Value)})
	return &show.Result{Tag: tag}, nil
}

// administers reports whether the user may use the verbs: who stands in admin_users or, while that is empty, a superuser.
func (s *session) administers() bool {
	if users := s.srv.current.Load().cfg.Pools.AdminUsers; len(users) > 0 {
		return slices.Contains(users, s.startup.User)
	}
	return s.ops.superuser
}

// pause is PAUSE by a client. It is undone when the client cancels it or goes before it is done.
func (s *session) pause(database string) error {
	if s.journal.InTx() || s.busyAtServers() {
		return errPauseInside
	}
	token, err := s.srv.pauses.add(database)
	if err != nil {
		return err
	}
	defer s.placingDone()
	for s.placing = true; s.srv.busyElsewhere(s, database); {
		if err := s.awhile(database, token); err != nil {
			s.srv.unpause(database, token)
			return err
		}
	}
	s.srv.closeIdle(database)
	return nil
}

// busyElsewhere is busyIn for a session.
func (s *Server) busyElsewhere(x *session, database string) (busy bool) {
	x.t.Offload(func() { busy = s.busyIn(database, x) })
	return busy
}

// awhile lets some time go by in a PAUSE.
func (s *session) awhile(database string, token uint64) error {
	until := s.t.Now().Add(pauseTick)
	if err := s.pumpUntil(until, func() bool { return s.cancelled || !s.t.Now().Before(until) }); err != nil {
		return err
	}
	switch {
	case s.cancelled:
		return errCancelled
	case !s.srv.pauses.holds(database, token):
		return errResumed
	}
	return nil
}

func (s *session) killOther(number string) error {
	pid, err := strconv.Atoi(number)
	if err != nil {
		return &clientError{Code: "22023", Message: "no session has the number " + number}
	}
	if pid == s.slot.pid {
		return errStopping
	}
	s.t.Offload(func() { err = s.srv.Kill(pid) })
	return err
}

// barred reports whether the session's next statement has to wait for RESUME. Where something is open on a server it goes on to its end.
func (s *session) barred() bool {
	return s.srv.pauses.covers(s.startup.Database) && !s.busyAtServers()
}

// pass is where a statement comes by before it is routed: it is held while its database is paused.
func (s *session) pass() error {
	if v := s.srv.store.Current(); v != s.seen { // nothing is sent elsewhere before what was lost is known
		if err := s.takeStock(v); err != nil {
			return err
		}
	}
	if s.bereaved != nil {
		return s.bereaved
	}
	s.renew()
	if !s.barred() {
		return nil
	}
	s.giveBackLeases()
	return s.awaitResume()
}

// giveBackLeases gives back the connections leased for a transaction that has not begun.
func (s *session) giveBackLeases() {
	for i := 0; s.pooled && i < len(s.backends); {
		b := s.backends[i]
		if b.holds != 0 || !b.unused() {
			i++
			continue
		}
		s.backends = slices.Delete(s.backends, i, i+1)
		s.putBack(b)
	}
}

// passTo is pass for a statement that goes where the session has a connection already.
func (s *session) passTo() error {
	if !s.barred() {
		return nil
	}
	defer s.placingDone()
	s.placing = true
	return s.awaitResume()
}

// awaitResume holds a statement until its database is no longer paused, for at most query_wait_timeout.
func (s *session) awaitResume() error {
	s.ops.turn = s.srv.turns.Add(1)
	defer func() { s.ops.turn = 0 }()
	defer s.stands(pausedHere)()
	began, told := s.t.Now(), false
	s.logHeld(&clientError{Message: "its database is paused"})
	for s.barred() && !s.cancelled {
		until, wait := began.Add(noticeAfter), s.pooling.QueryWaitTimeout
		if told {
			until = time.Time{}
		}
		if end := began.Add(wait); wait > 0 && (until.IsZero() || end.Before(until)) {
			until = end
		}
		over := func() bool {
			return s.cancelled || !s.barred() || !until.IsZero() && !s.t.Now().Before(until)
		}
		if err := s.pumpUntil(until, over); err != nil {
			return err
		}
		now := s.t.Now()
		if s.barred() && wait > 0 && !now.Before(began.Add(wait)) {
			return errPausedLong
		}
		if s.barred() && !told && !now.Before(began.Add(noticeAfter)) {
			told = true
			s.client.queue(pgwire.AppendNotice(nil, waitingNotice(s.startup.Database)))
		}
	}
	if s.cancelled {
		return errCancelled
	}
	return nil
}

// noticeAfter is how long a client is held before it is told why.
const noticeAfter = 5 * time.Second

func waitingNotice(database string) pgwire.Fields {
	return pgwire.Fields{
		Severity: "NOTICE", Code: "00000", Message: `the statement waits, for database "` + database + `" is paused`,
		Hint: "It goes on after PGPOOL RESUME.",
	}
}

// stands notes what the session waits for, until the returned function is called.
func (s *session) stands(what standing) (done func()) {
	was := s.ops.standing
	if s.ops.standing = what; was != what {
		s.ops.stood = s.t.Now()
	}
	return func() { s.ops.standing = was }
}

// awaitLogin holds a login that would open a server connection while its database is paused, but for those of users who may say RESUME.
func (s *session) awaitLogin() error {
	if s.secret != nil || !s.srv.pauses.covers(s.startup.Database) || s.mayAdminister() {
		return nil
	}
	s.ops.turn = s.srv.turns.Add(1)
	defer func() { s.ops.turn = 0 }()
	defer s.stands(pausedHere)()
	for s.srv.pauses.covers(s.startup.Database) {
		cause := s.t.Wait(time.Time{}, loop.Interest{Conn: s.client.conn, HangUp: true})
		switch {
		case cause == loop.Stopped:
			return loop.ErrStopped
		case s.ops.killed:
			return errStopping
		case s.client.conn.HungUp():
			return errTerminated
		}
	}
	s.began = s.t.Now() // the time limit of the login counts from its turn
	return nil
}

// excusedByPause reports whether a login is to be tried again that could not reach a server: its database is paused, and the server may
// be being restarted.
func (s *session) excusedByPause(err error) bool {
	if s.secret != nil || !s.srv.pauses.covers(s.startup.Database) || !isUnreachable(err) && !notServing(err) {
		return false
	}
	s.began = s.t.Now()
	return true
}

// mayAdminister reports whether a user who is not logged in may turn out to be one who may say RESUME.
func (s *session) mayAdminister() bool {
	if users := s.srv.current.Load().cfg.Pools.AdminUsers; len(users) > 0 {
		return slices.Contains(users, s.startup.User)
	}
	known := s.srv.pool.Recall(s.key)
	return known == nil || isSuperuser(known.Params)
}

// isSuperuser reads what a server has reported at login.
func isSuperuser(params []pgwire.Param) bool {
	return slices.Contains(params, pgwire.Param{Name: "is_superuser", Value: "on"})
}

// renew drops the connections RECONNECT is about that nothing keeps. The next statement gets new ones.
func (s *session) renew() {
	if s.srv.renewals.none() {
		return
	}
	for i := 0; i < len(s.backends); i++ {
		if b := s.backends[i]; s.srv.renewals.outdated(b.c) && s.replaceable(b) {
			s.dropBackend(b)
			i--
		}
	}
}

// replaceable reports whether a connection can be had anew with all that the session has there.
func (s *session) replaceable(b *backend) bool {
	if b.busy() || b.backlog() > 0 || b.r < b.w || b.holds != 0 || s.cancels > 0 || s.midFrame == b {
		return false
	}
	if s.unnamed != nil && s.unnamed.lost && s.unnamed.on(b) {
		return false
	}
	for _, p := range s.named {
		if p.lost && p.on(b) {
			return false
		}
	}
	f := s.loginFacts()
	f.Server = b.c.Opened.Server
	_, _, err := auth.Answer(f, s.identity)
	return err == nil
}
