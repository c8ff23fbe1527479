package proxy

import (
	"errors"
	"io"
	"net"
	"time"

	"gopgpool/auth"
	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/logging"
	"gopgpool/loop"
	"gopgpool/pgwire"
	"gopgpool/pool"
	"gopgpool/proxy/relcache"
	"gopgpool/proxy/route"
	"gopgpool/proxy/vsession"
)

// session is one client. All of it belongs to its task; others reach it by posting to its loop.
type session struct {
	srv  *Server
	home *home
	t    *loop.Task

	client side
	peer   peer // address of the client
	slot   *slot

	// set by the login
	startup  *pgwire.Startup
	identity auth.Identity
	entry    auth.Entry
	rule     auth.Rule // of pool_hba.conf that has let the client in; until it is
	secured  *secured  // on TLS, until it is logged in
	entering startup   // while it is not
	key      pool.Key  // Node is filled in when a connection is wanted
	params   []pgwire.Param
	id       uint64 // of all sessions of the process

	// of a session that shares its connections, see share
	pooled    bool
	shareKey  pool.Key
	wants     pool.Ask
	places    []*pool.Place // by node, made when needed
	hears     listening
	unwanted  error    // a pin that pin_mode does not allow, found too late
	sequences struct { // the connection with what nextval has left, as the session left it
		conn   *pool.Conn
		serial uint64
		unsure bool // see backend
		mixed  bool // there may be values on several
	}
	mayUseLike  auth.ServerMethod // connections opened like that may be used, whoever has opened them
	mayUseKnown bool
	confirming  bool     // what is sent ahead must succeed before anything else is sent, see confirmIdentity
	unconfirmed error    // it has not
	counted     bool     // among the clients of its database and user
	signalled   int32    // the pid that a bound call of pg_cancel_backend or pg_terminate_backend means
	ownNames    []string // settings my.name that functions or longer texts have made
	watched     [1]loop.Interest

	told        []pgwire.Param // what the client was told of settings
	toldOwn     bool           // told is the session's alone
	toldVersion uint64         // of the parameters of the connection last compared
	readyKept   byte           // state of a ReadyForQuery kept meanwhile, 0 if none
	unsettled   bool           // parameters have gone back to other values than the session's, see settleParams

	pid      uint32
	secret   []byte
	origin   logging.Origin
	log      logging.Logger
	cfg      *conf.Config
	set      conf.SessionSettings
	policy   *route.Policy
	began    time.Time
	lastSeen time.Time // when the client was last served

	// the servers
	backends []*backend
	active   *backend // whose answers the client is reading
	midFrame *backend // in the middle of whose frame the client stands
	torn     bool     // ... which will never be finished: nothing more can be said to the client
	moved    int      // bytes since the session last let others run

	// the virtual session
	journal vsession.Journal
	state   route.State
	in      route.Input
	temps   relcache.Session
	named   map[string]*prepared
	unnamed *prepared
	portals map[string]*portal
	noName  portal // the unnamed portal
	changeLog
	preludes []vsession.Statement

	pumping                bool                    // in the middle of a client's message: its buffer must stay where it is
	owed                   int                     // ReadyForQuery messages the client waits for
	copyIn                 *backend                // a server that reads CopyData
	streamTo               *backend                // where the rest of client.skip goes; nil drops it
	skipping               bool                    // an extended message failed: the client's messages are dropped up to Sync
	batch                  uint64                  // counts Syncs
	batchUsed              bool                    // extended messages since the last Sync
	batchWrote             bool                    // one of them may have written
	batchNotes             []batchNote             // settings made outside a transaction block since the last Sync
	batchFailed            bool                    // an error since the last Sync
	blocked                *backend                // runs a statement that changes the session: wait for it before deciding anything else
	stateVer               uint64                  // rises with what may change a decision
	pinned                 bool                    // settings were made that only the writer knows
	shunned                map[cluster.NodeID]shun // nodes that did not let the session in, and get no reads for a while
	ownSettings            bool                    // settings that only a writer may have (SERIALIZABLE) were made
	changedCatalog         bool                    // the open transaction has run DDL: answers about names are its own
	logsServer, logsClient bool                    // log_backend_messages, log_client_messages
	idleLimit              time.Duration           // client_idle_limit
	resetting, resetFailed bool                    // reset queries are running; one has failed
	perNode                bool                    // log_per_node_statement or notice_per_node_statement
	marks                  []*vsession.Mark
	opening                *cluster.Node // of the connection being opened
	openedUnder            *cluster.View // the View in force when it, or the last one, was begun
	suspects               []suspect
	returned               *backend      // given back: its memory serves the next lease
	returning              *backend      // being reset before it goes back to the pool
	cancels                int           // cancel requests on their way: the connections stay ours meanwhile
	placing                bool          // a statement is on its way to a server: nothing of it was sent
	cancelled              bool          // and the client wants it no more
	gone                   bool          // the client has left
	leaving                bool          // it has said goodbye behind its last statement, which is finished
	end                    error         // why the session is over
	seen                   *cluster.View // the last one under which stock was taken of the connections
	bereaved               error         // what it had on a server is lost: what its next statement is told
	flight                 flight        // what the client has sent last

	pooling conf.Pooling // of the database and user
	ops     operated
	timing  timing

	commits *commitWatch // nil before the first
	doubt   *doubt       // nil: there is none

	interests       []loop.Interest
	backendMessages logging.BackendMessages
}

// peer is the client's end.
type peer struct {
	addr  net.Addr
	host  string // an address, or "[local]"
	port  string // "" for a unix socket
	local bool
}

// errTerminated is a client that has said goodbye.
var errTerminated = errors.New("client terminated the session")

// serve runs the session after its login until the client leaves or something ends it.
func (s *session) serve() error {
	for {
		if err := s.relayAll(); err != nil {
			return err
		}
		if s.doubt != nil {
			if err := s.settleDoubt(); err != nil {
				return err
			}
		}
		if err := s.settleReady(); err != nil {
			return err
		}
		if err := s.hear(); err != nil {
			return err
		}
		if err := s.endLeases(); err != nil {
			return err
		}
		if len(s.suspects) > 0 {
			if err := s.askSuspects(); err != nil {
				return err
			}
		}
		turn := s.clientTurn()
		if turn {
			if err := s.fromClient(); err != nil {
				return err
			}
			if err := s.endLeases(); err != nil { // what was refused has no answer of a server's to come
				return err
			}
			turn = s.clientTurn()
		}
		s.flushAll()
		if err := s.writeError(); err != nil {
			return err
		}
		s.giveWay()
		if s.doubt != nil || s.flight.putBack || !turn && s.clientTurn() {
			continue // the flush has made room for what the client has sent already
		}
		if err := s.wait(s.idleUntil()); err != nil {
			return err
		}
	}
}

// giveWay lets other sessions run when this one has moved much: a wait gives up the loop only when there is nothing to do.
func (s *session) giveWay() {
	if s.moved >= maxPerTurn {
		s.moved = 0
		s.t.Yield()
	}
}

// clientTurn reports whether the client's next message may be dealt with: no answer is outstanding (or a COPY reads), and
// neither direction is congested.
func (s *session) clientTurn() bool {
	return s.readyKept == 0 && (s.owed == 0 || s.copyIn != nil || s.client.skip > 0) && s.client.backlog() < maxOut && !s.congested()
}

// pump relays until over holds, in the middle of a client's message.
func (s *session) pump(over func() bool) error { return s.pumpUntil(time.Time{}, over) }

// pumpUntil is pump that also asks over when the time has come.
func (s *session) pumpUntil(until time.Time, over func() bool) error {
	s.pumping = true
	defer func() { s.pumping = false }()
	for {
		if err := s.relayAll(); err != nil {
			return err
		}
		s.flushAll()
		if err := s.writeError(); err != nil {
			return err
		}
		if over() {
			return nil
		}
		s.giveWay()
		if err := s.wait(until); err != nil {
			return err
		}
	}
}

// outLimit is how much may wait for the client before servers are no longer read. While the session pumps, the client may be
// unable to read before all it has to say was taken, so more is kept for it.
func (s *session) outLimit() int {
	if s.pumping {
		return maxOutPumping
	}
	return maxOut
}

// maxOutstanding bounds the answers of one server that are waited for. A server sends them in pieces of some kilobytes without being
// asked to flush, so the bound stops nobody for ever.
const maxOutstanding = 16 << 10

// congested reports that a server does not take what was sent to it, or does not answer.
func (s *session) congested() bool {
	for _, b := range s.backends {
		if b.backlog() > maxOut || b.outstanding() > maxOutstanding {
			return true
		}
	}
	return false
}

// relayAll passes on what the servers have sent.
func (s *session) relayAll() error {
	for i := 0; i < len(s.backends); i++ {
		b := s.backends[i]
		if !b.conn.Readable() && b.r == b.w {
			continue
		}
		if err := s.fromServer(b); err != nil {
			return err
		}
		if i < len(s.backends) && s.backends[i] != b {
			i-- // it was dropped from the list
		}
	}
	return nil
}

func (s *session) flushAll() {
	s.client.flush()
	for _, b := range s.backends {
		b.flush()
	}
}

// writeError turns a failed write into the end of the session, or of the server connection.
func (s *session) writeError() error {
	if s.client.err != nil {
		return &clientGone{s.client.err}
	}
	for _, b := range s.backends {
		if b.err != nil && !b.conn.Readable() { // what it has still said comes first
			return s.lostBackend(b, b.err)
		}
	}
	return nil
}

// clientGone is a client that vanished.
type clientGone struct{ err error }

func (e *clientGone) Error() string { return "client connection lost: " + e.err.Error() }
func (e *clientGone) Unwrap() error { return e.err }

// wait gives up the loop until a socket can make progress or something else wants the session's attention.
func (s *session) wait(until time.Time) error {
	if len(s.home.departures) > 0 {
		s.home.rests(s)
	}
	in := s.interests[:0]
	busy := s.owed > 0 || s.pumping || !s.clientTurn()
	ci := loop.Interest{Conn: s.client.conn, Write: s.client.backlog() > 0, HangUp: busy && !s.gone && !s.leaving}
	if !s.gone && !s.leaving && !s.pumping && !s.client.full() && (s.clientTurn() || busy) {
		ci.Read = true
	}
	in = append(in, ci)
	quiet := !busy
	for _, b := range s.backends {
		if b.outstanding() > 0 || b.backlog() > 0 {
			quiet = false
		}
		read := s.client.backlog() < s.outLimit() && (s.midFrame == nil || s.midFrame == b)
		in = append(in, loop.Interest{Conn: b.conn, Read: read, Write: b.backlog() > 0 && b.err == nil})
	}
	s.interests = in[:0]
	if quiet {
		s.rest()
	}
	switch s.t.Wait(s.limited(until), in...) {
	case loop.Timeout:
		return s.timedOut()
	case loop.Stopped:
		return s.srv.stopCause()
	case loop.Woken:
		return s.woken()
	case loop.Ready:
	}
	if busy && s.client.conn.HungUp() && !s.gone && !s.leaving {
		return s.hungUp()
	}
	if busy && !s.leaving && !s.pumping && s.client.conn.Readable() && !s.client.full() {
		return s.readAhead()
	}
	return nil
}

// rest lets go of buffers before a wait for the client.
func (s *session) rest() {
	s.renew()
	s.client.rest()
	for _, b := range s.backends {
		b.rest()
	}
}

// readAhead takes what the client pipelines while an answer is outstanding, as far as the buffer goes.
func (s *session) readAhead() error {
	if _, err := s.client.fill(); err != nil {
		return s.vanished()
	}
	return nil
}

// hungUp is a client that closed its side while its statement runs: one that has said goodbye behind the statement still
// wants it done.
func (s *session) hungUp() error {
	if !s.pumping {
		for !s.client.full() && s.client.conn.Readable() {
			if n, err := s.client.fill(); n == 0 || err != nil {
				break
			}
		}
	}
	if s.saidGoodbye() {
		s.leaving = true
		return nil
	}
	return s.vanished()
}

// saidGoodbye reports whether all that the client has still said is that it goes.
func (s *session) saidGoodbye() bool {
	p := s.client.pending()
	return len(p) > 0 && p[0] == pgwire.Terminate
}

// vanished is a client that has gone while its statement runs: it is cancelled when the session is cleared away.
func (s *session) vanished() error {
	s.gone = true
	return &clientGone{io.ErrUnexpectedEOF}
}

// idleUntil is when client_idle_limit ends the session; zero where it does not.
func (s *session) idleUntil() time.Time {
	if s.owed > 0 {
		return time.Time{}
	}
	var until time.Time
	if s.idleLimit > 0 {
		until = s.lastSeen.Add(s.idleLimit)
	}
	if quiet, on := s.quietUntil(); on && (until.IsZero() || quiet.Before(until)) {
		until = quiet
	}
	return until
}

func (s *session) timedOut() error {
	if err := s.overdue(); err != nil {
		return err
	}
	if err := s.outstayed(); err != nil {
		return err
	}
	if s.pumping || s.idleLimit <= 0 || s.t.Now().Before(s.lastSeen.Add(s.idleLimit)) {
		return nil
	}
	return idleLimitError(s.idleLimit)
}

// woken looks at what others may have left: the end of a connection's node.
func (s *session) woken() error {
	if s.ops.killed {
		return errStopping
	}
	return s.takeStock(s.srv.store.Current())
}

// find returns the session's connection to a node.
func (s *session) find(node cluster.NodeID) *backend {
	for _, b := range s.backends {
		if b.node == node {
			return b
		}
	}
	return nil
}

// dropBackend closes a server connection the session goes on without.
func (s *session) dropBackend(b *backend) {
	for i, x := range s.backends {
		if x == b {
			s.backends = append(s.backends[:i], s.backends[i+1:]...)
			break
		}
	}
	s.torn = s.torn || s.midFrame == b
	s.silence(b)
	s.forgetBackend(b)
	b.side.free()
	b.dropped = true
	s.srv.pool.Discard(b.c)
}

// silence throws away what was sent and has not left the machine where the server still owes an answer or must hear nothing more: it
// could be delivered long after the fence that a later failover puts up.
func (s *session) silence(b *backend) {
	if b.outstanding() > 0 || b.backlog() > 0 || fenced(b.c, s.srv.store.Current()) {
		b.c.Wire.Abort()
	}
}

// forgetBackend removes what refers to a connection.
func (s *session) forgetBackend(b *backend) {
	if s.active == b {
		s.active = nil
	}
	if s.midFrame == b {
		s.midFrame = nil
	}
	if s.copyIn == b {
		s.copyIn = nil
	}
	if s.unnamed != nil {
		s.unnamed.gone(b)
	}
	for _, p := range s.named {
		p.gone(b)
	}
	for name, p := range s.portals {
		if p.b == b {
			delete(s.portals, name)
		}
	}
	if s.noName.b == b {
		s.noName = portal{}
	}
	for i := range b.queue[b.head:] {
		e := &b.queue[b.head+i]
		if e.note != nil && e.note.release != nil {
			e.note.release()
		}
		if e.collect != nil { // a question of ours: it can be put again
			e.collect.err, e.collect.done = &pool.ConnectError{Node: b.node, Err: errNodeLeft}, true
		}
	}
	b.queue, b.head = nil, 0
}

// backendFor returns a connection to the node, leasing one if the session has none. It returns errChanged where the View has changed
// so that the connection may not be used.
func (s *session) backendFor(node cluster.NodeID) (*backend, error) {
	if b := s.find(node); b != nil && b.outstanding() > 0 && !b.unsynced {
		// The end of a transaction is on its way there: whether the connection survives it is known before it is used again.
		if err := s.drain(b); err != nil {
			return nil, err
		}
	}
	v := s.srv.store.Current()
	if b := s.find(node); b != nil {
		switch {
		case !stale(b.c, v):
			return b, s.makeFit(b)
		case fenced(b.c, v), !b.busy() && b.holds != 0:
			if err := s.lostBackend(b, errNodeLeft); err != nil {
				return nil, err
			}
			if s.bereaved != nil {
				return nil, s.bereaved
			}
		case b.busy() && !s.failed():
			if err := s.promotedUnder(b); err != nil {
				return nil, err
			}
		case b.busy():
			return b, nil // only the end of the failed transaction is still to come
		default:
			s.dropBackend(b)
		}
	}
	if !v.Live(node) {
		return nil, errChanged
	}
	c, err := s.connect(node)
	if err != nil {
		s.tellLost(node, v, err)
		return nil, err
	}
	if stale(c, s.srv.store.Current()) {
		s.srv.pool.Discard(c)
		return nil, errChanged
	}
	b := s.attach(c)
	if c.MustCheck {
		if err := s.check(b); err != nil {
			return nil, err
		}
	}
	if err := s.makeFit(b); err != nil {
		return nil, err
	}
	return b, nil
}

// attach makes a leased connection the session's.
func (s *session) attach(c *pool.Conn) *backend {
	v := s.srv.store.Current()
	b := s.returned
	if s.returned = nil; b == nil {
		b = &backend{}
	}
	*b = backend{side: side{conn: c.Wire, pool: &s.home.buffers}, node: c.Key.Node, c: c, status: 'I'}
	b.standby = v.Mode.HasPrimary() && v.Live(v.Primary) && v.Primary != b.node
	if s.pooled {
		s.follow(b)
	}
	s.backends = append(s.backends, b)
	s.srv.nodeUsed(b.node)
	return b
}

// writer is the node that takes writes, as decided now.
func (s *session) writer() cluster.NodeID { return s.srv.store.Current().Writer() }
