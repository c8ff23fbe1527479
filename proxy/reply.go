package proxy

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"gopgpool/cluster"
	"gopgpool/pgwire"
	"gopgpool/pool"
)

// inspected is how much of a frame must be in the buffer before it is judged; the rest of a longer one is only passed on.
const inspected = 8 << 10

// fromServer reads from a server and passes on what the client is to see.
func (s *session) fromServer(b *backend) error {
	if s.midFrame != nil && s.midFrame != b {
		return nil
	}
	for moved := 0; moved < maxPerTurn && s.client.backlog() < s.outLimit(); {
		n, err := b.fill()
		if n > 0 {
			moved += n
			s.moved += n
			if err := s.relay(b); err != nil || b.dropped {
				return err
			}
		}
		if err != nil {
			return s.lostBackend(b, err)
		}
		if n == 0 || !b.conn.Readable() {
			break
		}
	}
	b.rest()
	return nil
}

// relay judges the frames in the server's buffer and writes what is for the client, in as few writes as possible.
func (s *session) relay(b *backend) error {
	in := b.in // stays readable even when the connection is dropped below
	start, pos := b.r, b.r
	for {
		if b.skip == 0 && b.waitsForUs() {
			s.client.send(in[start:pos])
			start = pos
			s.answerOurs(b)
		}
		if pos == b.w {
			break
		}
		if b.skip > 0 {
			n := min(b.skip, b.w-pos)
			b.skip -= n
			pos += n
			if b.drop {
				start = pos
			}
			continue
		}
		typ, size, ok, err := pgwire.Header(in[pos:b.w])
		if err != nil {
			s.client.send(in[start:pos])
			return s.lostBackend(b, err)
		}
		if !ok {
			break
		}
		have := min(size, b.w-pos)
		if n := need(b, typ, size); n < 0 {
			s.client.send(in[start:pos])
			return s.nonsense(b, typ)
		} else if have < n {
			break
		}
		if typ == pgwire.ReadyForQuery && s.pooled && s.owed > 0 && !s.unsettled && b.c.ParamsVersion() != s.toldVersion && !b.readyForUs() {
			s.client.queue(in[start:pos])
			start = pos
			s.tellChanges(b)
		}
		pass, err := s.reply(b, typ, in[pos:pos+have])
		if err != nil || b.dropped {
			s.client.send(in[start:pos])
			return err
		}
		if pass && s.pooled && s.keepsReady(typ, in[pos:pos+have]) {
			pass = false
		}
		if pass {
			s.flight.told = true
		} else {
			s.client.send(in[start:pos])
			start = pos + have
		}
		pos += have
		b.skip, b.drop = size-have, !pass
	}
	s.client.send(in[start:pos])
	b.r = pos
	s.midFrame = nil
	if b.skip > 0 && !b.drop {
		s.midFrame = b
	}
	if s.end != nil && b.skip == 0 {
		return s.end // the client has been told
	}
	return s.afterRelay(b)
}

// afterRelay gives up a connection that has been found out of step, once nothing is outstanding.
func (s *session) afterRelay(b *backend) error {
	if b.spent && b.outstanding() == 0 || b.mark.Spoiled() && b.outstanding() == 0 && !b.mark.Joined() {
		if b.mark.Joined() && !s.failed() && !s.confirming {
			return s.lostBackend(b, errOutOfStep)
		}
		s.dropBackend(b)
	}
	return nil
}

// need is how much of a frame has to be there to judge it; negative if no server may send such a frame.
func need(b *backend, typ byte, size int) int {
	switch typ {
	case pgwire.DataRow:
		if e := b.front(); e != nil && e.collect != nil {
			return min(size, bufferSize)
		}
		return min(size, inspected) // half a message that will never be finished leaves no room for a word to the client
	case pgwire.CopyData, pgwire.RowDescription, pgwire.CommandComplete, pgwire.FunctionCallResponse,
		pgwire.ParameterDescription, pgwire.CopyInResponse, pgwire.CopyOutResponse, pgwire.CopyBothResponse,
		pgwire.NotificationResponse, pgwire.ParameterStatus, pgwire.ErrorResponse, pgwire.NoticeResponse:
		return min(size, inspected)
	case pgwire.ReadyForQuery:
		return exactly(size, pgwire.HeaderSize+1)
	case pgwire.ParseComplete, pgwire.BindComplete, pgwire.CloseComplete, pgwire.NoData, pgwire.PortalSuspended,
		pgwire.EmptyQueryResponse, pgwire.CopyDone:
		return exactly(size, pgwire.HeaderSize)
	}
	return -1
}

func exactly(size, want int) int {
	if size != want {
		return -1
	}
	return size
}

// reply folds one answer of a server into the session and reports whether the client gets it.
func (s *session) reply(b *backend, typ byte, frame []byte) (pass bool, err error) {
	if s.logsServer {
		s.logBackendMessage(b, typ)
	}
	e := b.front()
	switch typ {
	case pgwire.DataRow:
		if e == nil {
			return false, s.nonsense(b, typ)
		}
		if e.collect != nil {
			e.collect.row(frame)
		}
		return !e.swallow && !b.spent, nil
	case pgwire.ParameterStatus:
		return s.parameterStatus(b, e, frame)
	case pgwire.NoticeResponse:
		b.warned = b.warned || endsServer(frame)
		return e == nil && s.tellsClient(b, frame) || e != nil && !e.swallow && !(endsServer(frame) && s.mayRerun(b)), nil
	case pgwire.NotificationResponse:
		return true, nil
	case pgwire.ErrorResponse:
		return s.errorReply(b, e, frame)
	}
	if e == nil {
		return false, s.nonsense(b, typ)
	}
	pass = !e.swallow && !b.spent && !e.muted
	switch typ {
	case pgwire.ReadyForQuery:
		if b.spent && s.journal.InTx() {
			frame[5] = 'E' // the server does not know that the transaction has failed
		}
		return s.ready(b, frame[5])
	case pgwire.CommandComplete, pgwire.EmptyQueryResponse, pgwire.PortalSuspended:
		return pass, s.completed(b, e)
	case pgwire.ParseComplete:
		return pass, s.step(b, e, pgwire.Parse, typ)
	case pgwire.BindComplete:
		return pass, s.step(b, e, pgwire.Bind, typ)
	case pgwire.CloseComplete:
		return pass, s.step(b, e, pgwire.Close, typ)
	case pgwire.NoData:
		if e.kind != pgwire.Describe && e.kind != describePortal {
			return false, s.nonsense(b, typ)
		}
		b.described(e, typ, frame)
		b.pop()
	case pgwire.RowDescription:
		if e.kind == pgwire.Describe || e.kind == describePortal {
			b.described(e, typ, frame)
			b.pop()
		}
	case pgwire.ParameterDescription, pgwire.CopyOutResponse, pgwire.FunctionCallResponse, pgwire.CopyData, pgwire.CopyDone:
	case pgwire.CopyInResponse, pgwire.CopyBothResponse:
		s.copyStarts(b, e)
	default:
		return false, s.nonsense(b, typ)
	}
	return pass, nil
}

// describePortal is expect.kind for Describe of a portal, which has no ParameterDescription.
const describePortal = 'd'

// nonsense is a server that does not speak the protocol.
func (s *session) nonsense(b *backend, typ byte) error {
	return s.lostBackend(b, fmt.Errorf("unexpected message %q", typ))
}

// step takes the one answer of an extended message.
func (s *session) step(b *backend, e *expect, kind, typ byte) error {
	if e.kind != kind {
		return s.nonsense(b, typ)
	}
	if kind == pgwire.Close && e.prep != nil {
		e.prep.gone(b)
		b.probe = b.holds&holdsPrepared != 0
	}
	b.pop()
	return nil
}

// completed is the end of one command. That of an Execute is its last answer; a simple query goes on to ReadyForQuery.
func (s *session) completed(b *backend, e *expect) error {
	switch e.kind {
	case pgwire.Query:
		e.told = true
	case pgwire.Execute:
		done := *e
		b.pop()
		s.copyIn = nil
		return s.executed(b, &done)
	default:
		return s.nonsense(b, pgwire.CommandComplete)
	}
	return nil
}

// copyStarts opens the way for the client's CopyData. A Sync sent behind the Execute will be ignored by the server, which
// reads CopyData now; the client sends another one after the copy.
func (s *session) copyStarts(b *backend, e *expect) {
	if e.copied {
		return // the client has not waited for it
	}
	s.copyIn = b
	if e.kind != pgwire.Execute {
		return
	}
	for i := b.head + 1; i < len(b.queue); i++ {
		if b.queue[i].kind == pgwire.Sync && !b.queue[i].swallow {
			s.owed--
			s.batchUsed, b.unsynced = true, true
		}
	}
	b.queue = b.queue[:b.head+1]
}

// errorReply is an error of a server: of what it was asked, or out of the blue.
func (s *session) errorReply(b *backend, e *expect, frame []byte) (bool, error) {
	f := pgwire.ReadFields(frame[pgwire.HeaderSize:])
	s.home.counters.Failure(b.node, f.Severity)
	s.home.tally.ServerError(b.node, f.Code)
	fatal := f.Severity == "FATAL" || f.Severity == "PANIC"
	if fatal {
		b.broken = true
	}
	if s.resetting {
		s.resetFailed = true
		if e != nil && e.kind == pgwire.Query {
			return false, nil
		}
	}
	if e == nil {
		return s.unasked(b, f, frame, fatal)
	}
	ends := f.Code == "57P01" || f.Code == "57P02" // the server process is told to end, or another one has crashed
	switch {
	case fatal && ends && e.prelude && s.mayPutBack(b):
		s.suspect(b.node, frame, notRun)
		s.rewind(b, nil)
		return false, nil
	case fatal && ends && e.prelude:
		s.end = endedBy(b.node, f, notRun)
		return false, nil
	case fatal && ends && e.collect != nil && s.stakeAt(b) == nothing: // a question of ours: it can be put to another server
		return false, s.lostBackend(b, errServerEnded)
	}
	if fatal && ends && s.mayRerun(b) { // whether it is elsewhere depends on what the server meant
		at, node := s.stakeAt(b), b.node
		s.suspect(node, frame, at)
		s.rewind(b, func() error { return endedBy(node, f, at) })
		return false, nil
	}
	if e.prelude {
		s.logPreludeFailure(b, f)
		b.spent = true
		e.failed = true
		if s.confirming {
			s.unconfirmed = &clientError{Code: f.Code, Message: f.Message, Detail: f.Detail, Hint: f.Hint}
			return false, nil
		}
		s.state.Failed()
		if s.secret == nil { // a startup parameter is wrong: that ends a login
			f.Severity = "FATAL"
			s.client.queue(pgwire.AppendError(nil, f))
			return false, nil
		}
		return true, nil // the client learns why; what follows it on this connection is dropped
	}
	if fatal && ends && e.swallow && e.collect == nil && s.stakeAt(b) == nothing {
		return s.unasked(b, f, frame, true)
	}
	if fatal && s.doubts(b, &serverRefusal{f}) {
		return false, nil
	}
	if fatal { // whatever was asked, the client has to know why its session ends
		return s.serverEnds(b, f), nil
	}
	if outgrown(f, frame) && s.heal(b, e) {
		return false, nil
	}
	pass := !e.swallow && !b.spent
	switch e.kind {
	case pgwire.Query, pgwire.FunctionCall:
		e.failed = true
		if e.asksID {
			pass = s.idRefused(b, f)
		}
		if !e.swallow {
			s.state.Failed()
		}
		if s.copyIn == b {
			s.copyIn = nil
		}
	default:
		s.took(b, e)
		answer := e.answer
		if answer == nil && b == s.active && !b.spent {
			answer = renamed(e, frame)
		}
		if answer != nil { // it is ours, or in our words
			s.failExtended(b, true)
			b.answerNext(answer)
			return false, nil
		}
		// In a batch the client hears of any failure, also of what we sent ahead: the server skips the client's own messages.
		pass = b == s.active && !b.spent
		s.failExtended(b, pass)
	}
	if e.collect != nil {
		e.collect.err = &serverRefusal{f}
	}
	return pass, nil
}

// tellsClient reports whether a notice nobody has asked for is for the client: one of the primary, but not that the server is about to go.
// What that means for the session is seen when it goes.
func (s *session) tellsClient(b *backend, frame []byte) bool {
	if b != s.primaryBackend() {
		return false
	}
	return !endsServer(frame)
}

// endsServer reports whether a notice or an error says that a server process ends by an administrator's will, or because another one has
// crashed.
func endsServer(frame []byte) bool {
	code := pgwire.ReadFields(frame[pgwire.HeaderSize:]).Code
	return code == "57P01" || code == "57P02"
}

// serverRefusal is an error a server gave to one of our own questions.
type serverRefusal struct{ f pgwire.Fields }

func (e *serverRefusal) Error() string    { return e.f.Message }
func (e *serverRefusal) SQLState() string { return e.f.Code }

// failExtended is an error inside an extended batch: the server skips to Sync, and so do we.
func (s *session) failExtended(b *backend, visible bool) {
	at := b.head
	mark, unnamed := -1, false
	if visible && at < len(b.queue) {
		unnamed = b.queue[at].drops()
	}
	for at < len(b.queue) && b.queue[at].kind != pgwire.Sync {
		e := &b.queue[at]
		if mark < 0 && !e.swallow {
			mark = e.mark
		}
		if e.note != nil && e.note.release != nil {
			e.note.release()
		}
		at++
	}
	for i := at - 1; i >= b.head; i-- {
		b.takeBackOn(&b.queue[i])
		b.queue[i] = expect{}
	}
	b.head = at
	if at == len(b.queue) {
		b.queue, b.head = b.queue[:0], 0
	}
	if visible && mark >= 0 {
		s.takeBack(mark)
	}
	if unnamed {
		s.unnamed = nil // it was dropped before the new one was found to be wrong
	}
	if s.copyIn == b {
		s.copyIn = nil
	}
	if visible {
		s.state.Failed()
		s.batchFailed = true
		if s.owed == 0 {
			s.skipping = true
		}
	}
}

// unasked is an error without a question: a server that ends the connection, mostly.
func (s *session) unasked(b *backend, f pgwire.Fields, frame []byte, fatal bool) (bool, error) {
	if !fatal {
		return b == s.primaryBackend(), nil
	}
	idle := s.stakeAt(b) == nothing
	heart := b.node == s.writer() || len(s.backends) == 1
	if idle && (f.Code == "57P01" || f.Code == "57P02") {
		if !s.srv.pauses.covers(s.startup.Database) { // or the server is being restarted, as everybody knows
			s.suspects = append(s.suspects, suspect{node: b.node, frame: append([]byte(nil), frame...), heart: heart})
		}
		b.spent = true
		return false, nil
	}
	if !idle || heart {
		return s.serverEnds(b, f), nil
	}
	b.spent = true // nothing of ours is there: given up at once, whether or not the server closes
	return false, nil
}

// serverEnds is a server that ends the connection, and the session with it. It reports whether the client gets the server's own
// message; one about the end of a server process lacks whether what was running may have taken effect.
func (s *session) serverEnds(b *backend, f pgwire.Fields) (pass bool) {
	at := s.stakeAt(b)
	if at == nothing || f.Code != "57P01" && f.Code != "57P02" {
		s.logServerEnded(b, f)
		s.end = errServerEnded
		return true
	}
	if at == writing && s.findsOutcome() {
		f.Code = "08007"
	}
	s.end = endedBy(b.node, f, at)
	return false
}

// orphaned reports whether a server process ended because its postmaster is gone: nobody has meant its client, and nobody serves there. Only
// the function that tells it knows, the text is in the server's language.
func orphaned(f *pgwire.Fields) bool {
	return f.Routine == "secure_read" || f.Routine == "secure_write"
}

// endedBy is a server's word that its process ends, with what that means for the session.
func endedBy(node cluster.NodeID, f pgwire.Fields, at stake) error {
	e := &clientError{Severity: f.Severity, Code: f.Code, Message: f.Message, Hint: f.Hint}
	e.Detail = fmt.Sprintf("DB node %d ended the connection; %v", node, at)
	if f.Detail != "" {
		e.Detail = f.Detail + "; " + e.Detail
	}
	return e
}

var (
	errServerEnded = errors.New("the server ended the connection")
	errNodeLeft    = errors.New("the node has left the cluster or changed its role")
	errOutOfStep   = errors.New("the connection's state has come apart from the session's")
)

// ready is a ReadyForQuery: the answer to a simple query or a Sync is complete.
func (s *session) ready(b *backend, status byte) (bool, error) {
	b.status = status
	for b.outstanding() > 0 {
		e := *b.front()
		if e.kind != pgwire.Query && e.kind != pgwire.Sync && e.kind != pgwire.FunctionCall {
			if e.note != nil && e.note.release != nil {
				e.note.release()
			}
			b.pop() // skipped by the server after an error
			continue
		}
		if s.resetting && e.kind == pgwire.Query && !e.told && !e.failed && !s.resetFailed { // it is of something else, and nothing was reset
			return false, s.nonsense(b, pgwire.ReadyForQuery)
		}
		b.pop()
		if e.collect != nil {
			e.collect.done = true
			if e.collect.over != nil {
				e.collect.over()
			}
		}
		if b.outstanding() == 0 && !b.unsynced {
			b.lasting = false
			b.wrote = b.wrote && status != 'I'
		}
		if e.swallow {
			if e.note != nil && e.note.release != nil {
				e.note.release()
			}
			return false, nil
		}
		s.owed--
		s.copyIn = nil
		s.lastSeen = s.t.Now()
		s.settleChanges()
		s.took(b, &e)
		s.concluded(b, &e, status)
		return true, nil
	}
	return false, s.nonsense(b, pgwire.ReadyForQuery)
}

// lostBackend is the end of a server connection. A session that has nothing at stake there goes on without it; else the
// client gets one error that says what happened.
func (s *session) lostBackend(b *backend, cause error) error {
	if s.gone || s.end != nil {
		s.dropBackend(b)
		if s.end == nil {
			return &clientGone{io.ErrUnexpectedEOF}
		}
		return s.end
	}
	s.tellBroken(b, cause)
	if s.doubts(b, cause) {
		return nil
	}
	stake := s.stakeAt(b)
	node := b.node
	if severed(cause) && s.mayRerun(b) {
		s.rewind(b, func() error { return s.lostWith(node, cause, stake) })
		return nil
	}
	s.dropBackend(b)
	if stake == nothing {
		s.logLost(node, cause)
		return nil
	}
	lost := s.lostWith(node, cause, stake)
	if stake == stateThere && s.bereave(b, s.srv.store.Current(), lost) {
		s.logLost(node, cause)
		return nil
	}
	return lost
}

// tellBroken tells failover of a connection that did not end by a server's or our own will.
func (s *session) tellBroken(b *backend, cause error) {
	var errno unix.Errno
	v := s.srv.store.Current()
	if errors.As(cause, &errno) && !stale(b.c, v) {
		s.tellLost(b.node, v, &pool.ConnectError{Node: b.node, Err: cause})
	}
}
