package proxy

import (
	"bytes"

	"gopgpool/pgwire"
)

// This file is about statements whose result has another form since the definition of a table has changed. PostgreSQL refuses to run
// them ("cached plan must not change result type"). Where nothing was returned so far, no transaction is open and the client asks what
// the result looks like, the statement is prepared anew and what the client has sent is sent again. Statements of the extended protocol
// only, which drivers prepare behind the back of their callers: who has written PREPARE hears what PostgreSQL says.

// maxKept bounds the messages kept for being sent again.
const maxKept = 16 << 10

// batchCopy is what the client has sent since the first Bind of a batch outside transactions, of a statement that was prepared before.
type batchCopy struct {
	b      *backend // nil: nothing is kept
	p      *prepared
	frames []byte
}

// mayHeal begins to keep the messages of a batch with its first Bind.
func (s *session) mayHeal(b *backend, p *prepared) {
	if s.batchBound || p == nil || p.frame == nil || p.batch == s.batch || s.journal.InTx() || s.batchUsedElsewhere(b) {
		s.dropCopy()
	} else if s.copied.b == nil {
		s.copied.b, s.copied.p, s.copied.frames = b, p, s.home.buffers.get(bufferSize)[:0]
	}
	s.batchBound = true
}

// batchUsedElsewhere reports whether another server has a part in the batch.
func (s *session) batchUsedElsewhere(b *backend) bool {
	for _, o := range s.backends {
		if o != b && o.unsynced {
			return true
		}
	}
	return false
}

// keepCopy adds a message to those kept.
func (s *session) keepCopy(b *backend, frame []byte, size int) {
	c := &s.copied
	if c.b == nil {
		return
	}
	if b != c.b || size > len(frame) || len(c.frames)+size > maxKept {
		s.dropCopy()
		return
	}
	c.frames = append(c.frames, frame...)
}

// dropCopy ends the keeping.
func (s *session) dropCopy() {
	if s.copied.b != nil {
		s.home.buffers.put(s.copied.frames[:cap(s.copied.frames)])
		s.copied = batchCopy{}
	}
}

// outgrown reports the error of a statement whose result has another form now.
func outgrown(f pgwire.Fields, frame []byte) bool {
	return f.Code == "0A000" && bytes.Contains(frame, []byte("\x00RRevalidateCachedQuery\x00"))
}

// heal prepares a statement anew whose result has another form now, and repeats what was sent. It reports false where that cannot be.
func (s *session) heal(b *backend, e *expect) bool {
	if s.journal.InTx() || b.mark.Joined() || b.status != 'I' || e.swallow || b.spent {
		return false
	}
	c := &s.copied
	if e.kind != pgwire.Bind || c.b != b || e.prep != c.p || b.head+1 >= len(b.queue) || b.queue[b.head+1].kind != describePortal {
		return false
	}
	rest := append([]expect(nil), b.queue[b.head:]...)
	synced := false
	for i := range rest {
		switch {
		case rest[i].kind == ownAnswer && rest[i].answer != nil:
		case rest[i].swallow, rest[i].answer != nil, synced:
			return false
		}
		synced = rest[i].kind == pgwire.Sync
	}
	b.truncate()
	if !synced {
		b.setQueued(pgwire.AppendSimple(b.queued(), pgwire.Sync))
	}
	b.push(expect{kind: pgwire.Sync, swallow: true})
	s.prepareAnew(b, c.p)
	b.queue2(c.frames)
	last := byte(pgwire.Flush) // somebody may wait for the answers
	if synced {
		last = pgwire.Sync
	}
	b.setQueued(pgwire.AppendSimple(b.queued(), last))
	b.unsynced = !synced
	for i := range rest {
		b.push(rest[i])
	}
	s.dropCopy()
	return true
}

// prepareAnew replaces a statement on a server, ahead of its use in a batch that has not begun.
func (s *session) prepareAnew(b *backend, p *prepared) {
	if p.name != "" {
		s.injectQuietly(b, "DEALLOCATE "+quoteName(p.serverName()))
	}
	p.gone(b)
	s.ensureExtended(p, b)
}
