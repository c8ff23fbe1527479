package proxy

import "gopgpool/pgwire"

// This file is about clients that keep what they were told of a prepared statement's rows, and later only bind and execute it. A server
// never lets the rows of a prepared statement change. Where the statement has to be prepared anew on another server or connection, the
// definition of a table may have changed meanwhile; a client that would take the rows for others gets the error that PostgreSQL gives.

// formAt is the form of a statement's rows on a server.
type formAt struct {
	b    *backend
	form uint64
}

// formOn is a fingerprint of the rows the statement returns on a server; 0 if it is not known, or the statement is not there.
func (p *prepared) formOn(b *backend) uint64 {
	switch {
	case p.name == "":
		if p.on(b) {
			return b.unnamedForm
		}
	case b.owner != 0 && p.shared != nil:
		return b.statements().Form(p.shared.id)
	default:
		for i := range p.forms {
			if p.forms[i].b == b && p.on(b) { // memory of a lease that is over serves others
				return p.forms[i].form
			}
		}
	}
	return 0
}

// setForm records what a server has said of the statement's rows.
func (p *prepared) setForm(b *backend, form uint64) {
	switch {
	case p.formOn(b) != 0 || form == 0:
	case p.name == "":
		if p.on(b) {
			b.unnamedForm = form
		}
	case b.owner != 0 && p.shared != nil:
		b.statements().SetForm(p.shared.id, form)
	case p.on(b):
		p.forms = append(p.forms, formAt{b, form})
	}
}

// dropForm forgets the form of a statement that is not on a server any more, or was prepared anew there.
func (p *prepared) dropForm(b *backend) {
	for i := range p.forms {
		if p.forms[i].b == b {
			p.forms = append(p.forms[:i], p.forms[i+1:]...)
			return
		}
	}
}

// described is the answer to a Describe, of the statement or a portal.
func (b *backend) described(e *expect, typ byte, frame []byte) {
	p := e.prep
	if p == nil || p.bySQL {
		return
	}
	form := uint64(0) // what returns no rows never will
	if typ == pgwire.RowDescription {
		form = formOf(frame)
	}
	p.setForm(b, form)
	if !e.swallow {
		p.told = form
	}
}

// formOf is a fingerprint of a RowDescription, as far as it has to be in the buffer: names, types and their modifiers. Formats are the
// portal's matter.
func formOf(frame []byte) uint64 {
	const (
		offset, prime = 14695981039346656037, 1099511628211 // FNV-1a
		fixed         = 18                                  // what follows a name
	)
	h := uint64(offset)
	mix := func(p []byte) {
		for _, c := range p {
			h = (h ^ uint64(c)) * prime
		}
	}
	frame = frame[:min(len(frame), inspected)]
	mix(frame[1:min(len(frame), pgwire.HeaderSize+2)])
	for rest := frame[min(len(frame), pgwire.HeaderSize+2):]; ; {
		name, after, ok := pgwire.CString(rest)
		if !ok || len(after) < fixed {
			break
		}
		mix(rest[:len(name)+1])
		mix(after[6:10])  // type
		mix(after[12:16]) // its modifier
		rest = after[fixed:]
	}
	return max(h, 1)
}

var errOutgrown = &clientError{
	Code: "0A000", Message: "cached plan must not change result type", Routine: "RevalidateCachedQuery",
}

// ensureForm is ensureExtended for a Bind: a client that was told what the rows look like gets others only if it asks again.
func (s *session) ensureForm(p *prepared, b *backend, portalName []byte) error {
	if p.told == 0 || p.bySQL || p.frame == nil || p.formOn(b) == p.told || b.describing(p) {
		s.ensureExtended(p, b)
		return nil
	}
	asks := s.describesNext(portalName)
	if asks && p.formOn(b) == 0 {
		s.ensureExtended(p, b)
		return nil
	}
	if err := s.drainBatch(b); err != nil {
		return err
	}
	s.takeAway(p, b) // it may be out of date
	s.ensureExtended(p, b)
	if asks {
		return nil
	}
	b.setQueued(pgwire.AppendDescribe(b.queued(), 'S', p.serverName()))
	b.push(expect{kind: pgwire.Describe, swallow: true, prep: p, mark: s.mark})
	if err := s.drainBatch(b); err != nil {
		return err
	}
	if p.formOn(b) != p.told {
		return errOutgrown
	}
	return nil
}

// drainBatch waits until a server has answered all of the batch so far.
func (s *session) drainBatch(b *backend) error {
	if err := s.drain(b); err != nil {
		return err
	}
	switch {
	case s.skipping:
		return errBatchFailed
	case b.dropped:
		return errNodeGone
	}
	return nil
}

// describing reports whether the client is about to be told of the statement by this server.
func (b *backend) describing(p *prepared) bool {
	for i := b.head; i < len(b.queue); i++ {
		if e := &b.queue[i]; e.prep == p && !e.swallow && (e.kind == pgwire.Describe || e.kind == describePortal) {
			return true
		}
	}
	return false
}

// describesNext reports whether the next message is known to be a Describe of the portal.
func (s *session) describesNext(portalName []byte) bool {
	next := s.client.pending()
	typ, size, ok, err := pgwire.Header(next)
	if err != nil || !ok || typ != pgwire.Describe || size > len(next) {
		return false
	}
	what, name, ok := object(next[:size])
	return ok && what == 'P' && string(name) == string(portalName)
}

// takeAway closes a statement on a server where nothing is outstanding.
func (s *session) takeAway(p *prepared, b *backend) {
	switch {
	case !p.on(b), p.name == "": // the next Parse replaces the unnamed one
	case p.shared != nil && b.owner != 0:
		s.closeShared(b, p.shared.id)
	case b.owner != 0:
		s.closeOwn(b, p.name)
	default:
		b.setQueued(pgwire.AppendClose(b.queued(), 'S', p.name))
		b.push(expect{kind: pgwire.Close, swallow: true, mark: s.mark})
		b.unsynced, b.dirty = true, true
	}
	p.gone(b)
}
