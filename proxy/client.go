package proxy

import (
	"errors"
	"fmt"
	"io"

	"gopgpool/pgwire"
	"gopgpool/proxy/stmt"
)

// fromClient deals with the client's messages as long as it is the client's turn.
func (s *session) fromClient() error {
	for moved := 0; s.clientTurn(); {
		took, err := s.take()
		if err != nil {
			return err
		}
		if took {
			continue
		}
		if s.client.full() {
			if err := s.big(); err != nil {
				return err
			}
			continue
		}
		if !s.client.conn.Readable() || moved >= maxPerTurn { // what has been read is always dealt with, or nobody would come back to it
			return nil
		}
		n, err := s.client.fill()
		if errors.Is(err, io.EOF) {
			return s.left()
		}
		if err != nil {
			return &clientGone{err}
		}
		if n == 0 {
			return nil
		}
		moved += n
		s.moved += n
	}
	return nil
}

// left is the end of a client's stream. In the middle of a batch it leaves something running.
func (s *session) left() error {
	for _, b := range s.backends {
		if b.outstanding() > 0 && b.unsynced {
			return s.vanished()
		}
	}
	return errTerminated
}

// take deals with the next message in the buffer; it reports false when more of it has to be read first.
func (s *session) take() (bool, error) {
	p := s.client.pending()
	if s.client.skip > 0 {
		n := min(s.client.skip, len(p))
		if s.streamTo != nil {
			s.streamTo.send(p[:n])
		}
		s.client.skip -= n
		s.client.r += n
		return n > 0, nil
	}
	typ, size, ok, err := pgwire.Header(p)
	if err != nil {
		return false, protocolViolation(err.Error())
	}
	if !ok {
		return false, nil
	}
	if s.copyIn != nil && (typ == pgwire.CopyData || typ == pgwire.CopyDone || typ == pgwire.CopyFail) {
		return s.copyRun(p), nil
	}
	if len(p) < size {
		return false, nil
	}
	s.flight.message = s.client.r
	if !s.batchUsed {
		s.takesOff()
	}
	s.client.r += size
	return true, s.message(typ, p[:size])
}

// copyRun passes on as many CopyData messages as the buffer holds in one write, and the beginning of another. It reports whether
// there was anything to pass on.
func (s *session) copyRun(p []byte) bool {
	pos := 0
	for pos < len(p) {
		typ, size, ok, err := pgwire.Header(p[pos:])
		if err != nil || !ok {
			break
		}
		last := typ == pgwire.CopyDone || typ == pgwire.CopyFail
		if !last && typ != pgwire.CopyData {
			break
		}
		have := min(size, len(p)-pos)
		if last && have < size {
			break // the end of the copy is seen whole
		}
		pos += have
		if have < size {
			s.client.skip, s.streamTo = size-have, s.copyIn
			break
		}
		if last {
			s.copyIn.send(p[:pos])
			s.client.r += pos
			s.copyIn = nil
			return true
		}
	}
	s.copyIn.send(p[:pos])
	s.client.r += pos
	return pos > 0
}

// message is one whole message of the client.
func (s *session) message(typ byte, frame []byte) error {
	if s.logsClient {
		s.logClientMessage(typ, frame)
	}
	if s.copyIn != nil {
		return s.duringCopy(typ, frame)
	}
	if s.skipping && typ != pgwire.Sync && typ != pgwire.Terminate {
		return nil
	}
	if s.bereaved != nil && typ != pgwire.Terminate {
		return s.bereaved
	}
	s.mark = s.changed()
	switch typ {
	case pgwire.Query:
		return s.query(frame)
	case pgwire.Parse:
		return s.parse(frame, len(frame))
	case pgwire.Bind:
		return s.bind(frame, len(frame))
	case pgwire.Describe:
		return s.describe(frame)
	case pgwire.Execute:
		return s.execute(frame)
	case pgwire.Close:
		return s.closeObject(frame)
	case pgwire.Sync:
		return s.sync()
	case pgwire.Flush:
		return s.flush()
	case pgwire.FunctionCall:
		return s.functionCall(frame, len(frame))
	case pgwire.Terminate:
		return errTerminated
	case pgwire.CopyData, pgwire.CopyDone, pgwire.CopyFail:
		s.copyAhead(typ, frame)
		return nil
	}
	return protocolViolation(fmt.Sprintf("invalid frontend message type %d", typ))
}

// copyAhead is CopyData before the server has asked for it, behind the Execute of a COPY, or after a COPY that has failed, when
// servers ignore it.
func (s *session) copyAhead(typ byte, frame []byte) {
	b := s.active
	if b == nil || !b.unsynced || b.outstanding() == 0 {
		return
	}
	s.dropCopy()
	b.queue2(frame)
	if last := &b.queue[len(b.queue)-1]; typ != pgwire.CopyData && last.kind == pgwire.Execute {
		last.copied = true
	}
}

// duringCopy is a message other than CopyData while a server reads CopyData: it ignores Flush and Sync and refuses the rest.
func (s *session) duringCopy(typ byte, frame []byte) error {
	switch typ {
	case pgwire.Terminate:
		return errTerminated
	case pgwire.Flush, pgwire.Sync:
		return nil
	}
	s.copyIn.send(frame)
	return nil
}

// big is a message that does not fit the buffer: its beginning is judged, the rest passed on as it comes.
func (s *session) big() error {
	p := s.client.pending()
	typ, size, _, err := pgwire.Header(p)
	if err != nil {
		return protocolViolation(err.Error())
	}
	s.flight.message = s.client.r
	s.client.r += len(p)
	s.client.skip = size - len(p)
	s.streamTo = nil
	if s.copyIn != nil && typ != pgwire.Terminate {
		s.copyIn.send(p)
		s.streamTo = s.copyIn
		if typ == pgwire.CopyFail {
			s.copyIn = nil
		}
		return nil
	}
	if s.skipping {
		return nil
	}
	if s.bereaved != nil {
		return s.bereaved
	}
	s.mark = s.changed()
	switch typ {
	case pgwire.Query:
		if err := s.settle(); err != nil || s.skipping {
			return err
		}
		return s.run(unparsed, nil, p, size)
	case pgwire.Parse:
		return s.parse(p, size)
	case pgwire.Bind:
		return s.bind(p, size)
	case pgwire.FunctionCall:
		return s.functionCall(p, size)
	case pgwire.CopyData:
		if b := s.active; b != nil && b.unsynced && b.outstanding() > 0 {
			b.send(p)
			s.streamTo = b
		}
		return nil
	}
	return protocolViolation(fmt.Sprintf("message type %q of %d bytes", typ, size))
}

// unparsed are the facts of a statement too long to be looked at.
var unparsed = &stmt.Facts{Kind: stmt.KindUnparsed, Class: stmt.ClassPrimary, MayTouchSession: true}

// functionCall is the fast path: it goes where writes go, or to a server that knows that the transaction has failed.
func (s *session) functionCall(frame []byte, size int) error {
	b, err := s.writerOrFailed()
	if err != nil {
		s.skipRest(frame, size)
		return s.refuse(err)
	}
	b.wrote = true
	if s.pooled { // nobody knows which function it is
		b.sequences, b.unsure = true, true
		s.sendsPin(b, unparsed, true)
	}
	b.push(expect{kind: pgwire.FunctionCall, facts: unparsed, writes: true})
	s.sendFrame(b, frame, size)
	s.owed++
	return nil
}

// sendFrame sends a message to a server; of one that is longer than what is there, the rest follows as it comes.
func (s *session) sendFrame(b *backend, frame []byte, size int) {
	b.send(frame)
	b.dirty = true
	if size > len(frame) {
		s.streamTo = b
	}
}
