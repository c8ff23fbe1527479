package proxy

import (
	"errors"

	"gopgpool/cluster"
	"gopgpool/pgwire"
	"gopgpool/proxy/route"
	"gopgpool/proxy/stmt"
)

// orWriter switches to b, or to the connection to the node that takes writes.
func (s *session) orWriter(b *backend) (*backend, error) {
	if s.failed() {
		if f := s.failedBackend(); f != nil {
			return f, s.switchTo(f)
		}
	}
	return s.on(b)
}

// writerOrFailed is the connection to the node that takes writes or, in a failed transaction, to one that knows of the failure.
func (s *session) writerOrFailed() (*backend, error) {
	if s.failed() && s.failedBackend() == nil {
		return nil, errFailedTransaction
	}
	return s.orWriter(nil)
}

// on switches to b, or to the node that takes writes where b is nil.
func (s *session) on(b *backend) (*backend, error) {
	if b == nil {
		return s.onWriterHeld()
	}
	for again := true; again; again = s.closed(b.node) { // switching takes time
		if err := s.passTo(); err != nil {
			return nil, err
		}
		if s.closed(b.node) {
			if err := s.awaitOpening(b); err != nil {
				return nil, err
			}
			if b.dropped { // it had nothing that is lost
				return s.onWriterHeld()
			}
		}
		if err := s.switchTo(b); err != nil {
			return nil, err
		}
		if b.dropped {
			return nil, errNodeGone
		}
	}
	s.bringUp(b, b.node == s.writer()) // its state is what the client is told
	return b, nil
}

// sync is a Sync message: every server used since the last one gets it, and the active one answers the client.
func (s *session) sync() error {
	s.batch++
	wrote := s.batchWrote
	s.batchUsed, s.batchWrote, s.skipping = false, false, false
	s.blocked = nil
	lead := s.syncLead()
	if err := s.syncListen(lead); err != nil {
		return err
	}
	if lead == nil {
		if s.active != nil {
			if err := s.drain(s.active); err != nil {
				return err
			}
		}
		s.syncOthers(nil, wrote)
		s.client.setQueued(pgwire.AppendReady(s.client.queued(), s.txByte()))
		s.lastSeen = s.t.Now()
		s.settleChanges()
		return nil
	}
	if s.active != lead && s.active != nil { // its answers come before
		if err := s.drain(s.active); err != nil {
			return err
		}
		s.skipping = false
		if again := s.syncLead(); again != nil { // what it was still to answer may have failed
			lead = again
		}
	}
	s.active = lead
	s.syncOthers(lead, wrote)
	s.owed++
	return nil
}

// syncLead is the server that answers a Sync: the one that has written, else the active one, or any that was used; in a failed
// transaction only one that knows of the failure, as the one does where the batch has failed. nil means that we answer.
func (s *session) syncLead() *backend {
	if b := s.active; s.batchFailed && s.failed() && b != nil && b.unsynced {
		return b
	}
	var lead *backend
	for _, b := range s.backends {
		if b.unsynced && (lead == nil || b.wrote && !lead.wrote || b == s.active && b.wrote == lead.wrote) {
			lead = b
		}
	}
	if lead != nil && s.failed() && lead.status != 'E' && !s.batchFailed {
		return nil
	}
	return lead
}

// syncOthers sends Sync to every server used since the last one; lead's answer is the client's. Where the batch wrote, it commits that.
func (s *session) syncOthers(lead *backend, wrote bool) {
	for _, b := range s.backends {
		if b.unsynced {
			b.setQueued(pgwire.AppendSimple(b.queued(), pgwire.Sync))
			b.unsynced = false
			b.push(expect{kind: pgwire.Sync, swallow: b != lead, writes: wrote || b.wrote})
		}
	}
}

// failed reports whether the client is in a transaction block that has failed.
func (s *session) failed() bool { return s.journal.InTx() && s.state.IsFailed() }

// failedBackend is a server that knows of the failure.
func (s *session) failedBackend() *backend {
	for _, b := range s.backends {
		if b.mark.Joined() && b.status == 'E' {
			return b
		}
	}
	return nil
}

// runFailed gives a query that a failed transaction does not take to a server that knows of the failure: it says what is wrong, which
// may be the text itself.
func (s *session) runFailed(b *backend, f *stmt.Facts, frame []byte, size int) {
	s.activate(b)
	b.unnamed = nil
	b.push(expect{kind: pgwire.Query, facts: f})
	s.sendFrame(b, frame, size)
	s.owed++
}

// endsFailure reports whether a statement is one of those a failed transaction still takes.
func endsFailure(f *stmt.Facts) bool {
	switch f.Kind {
	case stmt.KindCommit, stmt.KindRollback, stmt.KindRollbackTo, stmt.KindEmpty:
		return true
	}
	return false
}

// flush is a Flush message.
func (s *session) flush() error {
	if s.active != nil && s.active.unsynced {
		s.active.setQueued(pgwire.AppendSimple(s.active.queued(), pgwire.Flush))
	}
	return nil
}

// enterBatch notes that an extended batch is under way.
func (s *session) enterBatch() { s.batchUsed = true }

// target is the connection to a node, brought up to the session's state and made the active one.
func (s *session) target(d route.Decision) (*backend, error) {
	if d.Node == cluster.NoNode {
		return nil, s.noWriter()
	}
	b, err := s.backendOr(&d)
	if err != nil {
		return nil, err
	}
	if err := s.switchTo(b); err != nil {
		return nil, err
	}
	if s.overtaken(b) { // before it is told that a transaction begins
		return nil, errChanged
	}
	s.bringUp(b, b.node == s.srv.store.Current().Writer())
	return b, nil
}

// switchTo makes b the server whose answers the client reads next. What the last one still owes comes first: answers must
// reach the client in the order of its messages.
func (s *session) switchTo(b *backend) error {
	if s.active != b && s.active != nil {
		if err := s.drain(s.active); err != nil {
			return err
		}
		if s.skipping {
			return errBatchFailed
		}
	}
	s.active = b
	return nil
}

// drain waits until a server has answered all it was sent.
func (s *session) drain(b *backend) error {
	if b.outstanding() == 0 {
		return nil
	}
	if b.unsynced {
		b.setQueued(pgwire.AppendSimple(b.queued(), pgwire.Flush))
	}
	return s.pump(func() bool { return b.outstanding() == 0 })
}

// barrier waits for the answer to a statement that changes the session, before anything else is decided.
func (s *session) barrier() error {
	b := s.blocked
	if b == nil {
		return nil
	}
	s.blocked = nil
	if err := s.drain(b); err != nil {
		return err
	}
	if s.skipping {
		return errBatchFailed
	}
	return nil
}

// settle ends an extended batch the client has not ended with Sync, before a simple query. PostgreSQL runs the query within
// the same state; all that matters to the client is that answers come in order.
func (s *session) settle() error {
	s.blocked = nil
	if s.active != nil {
		if err := s.drain(s.active); err != nil {
			return err
		}
	}
	s.batchUsed = false
	return nil
}

// forward sends a message of the client in the extended protocol.
func (s *session) forward(b *backend, e expect, frame []byte, size int) {
	e.mark = s.mark
	b.push(e)
	b.unsynced, b.dirty = true, true
	s.keepCopy(b, frame, size)
	if size > len(frame) {
		b.send(frame)
		s.streamTo = b
		return
	}
	b.queue2(frame)
}

// forwardFor is forward of a message with the name of the statement p at a position, which servers may know by another one.
func (s *session) forwardFor(b *backend, e expect, frame []byte, size, at int, p *prepared) {
	if p == nil || p.shared == nil {
		s.forward(b, e, frame, size)
		return
	}
	e.mark = s.mark
	b.push(e)
	b.unsynced, b.dirty = true, true
	b.compact()
	out := b.queued()
	start := len(out)
	out = pgwire.AppendRenamed(out, frame, size, at, p.shared.name)
	b.setQueued(out)
	s.keepCopy(b, out[start:], size-len(p.name)+len(p.shared.name))
	switch {
	case size > len(frame):
		s.streamTo = b
	case b.backlog() > bufferSize:
		b.flush()
	}
}

// queue2 adds to what the next flush writes, and writes at once when there is much.
func (b *backend) queue2(frame []byte) {
	b.side.queue(frame)
	if b.backlog() > bufferSize {
		b.side.flush()
	}
}

// refuseExtended answers a message of the extended protocol with an error; the rest of the batch is skipped, and the transaction it
// belongs to fails on the server too.
func (s *session) refuseExtended(err error) error {
	if errors.Is(err, errBatchFailed) {
		return nil
	}
	if s.mustEnd(err) {
		return err
	}
	s.countError(err)
	answer, _ := appendError(nil, err)
	b := s.active
	if (b == nil || !b.unsynced) && s.journal.InTx() && !s.failed() {
		b = s.endLead()
	}
	if b == nil || b.dropped || !b.unsynced && !b.mark.Joined() {
		s.client.queue(answer)
		s.state.Failed()
		s.skipping = true
		return nil
	}
	if err := s.switchTo(b); err != nil {
		if errors.Is(err, errBatchFailed) { // the server was first
			return nil
		}
		return err
	}
	s.failServer(b, answer, err)
	s.skipping = true
	return nil
}
