package proxy

import (
	"slices"

	"gopgpool/pgwire"
)

// This file is about what the names of statements and portals stand for while messages are under way. A message of the extended
// protocol counts as done when it is sent, so that what follows it in the pipeline can be dealt with; a server that fails one skips all
// up to the Sync, and what those would have done is taken back.

// change is one thing that a message did to the client's names.
type change struct {
	name   string
	portal bool
	was    *prepared // what the name of a statement stood for before; nil: nothing
	bound  portal    // what the name of a portal stood for
}

// changeLog is the part of a session that knows what to take back.
type changeLog struct {
	changes     []change    // of messages under way
	changesGone int         // how many earlier ones are no longer kept
	mark        int         // how many there were before the message that is dealt with
	spares      []*prepared // objects for unnamed statements
	versions    uint64      // counts those
	copied      batchCopy   // see statements_heal.go
	batchBound  bool        // a Bind was sent since the last Sync
}

// trimAt is how many changes are kept before those are let go of whose messages have been answered.
const trimAt = 256

// changed is how many changes there have been: what a message that is dealt with now does comes behind.
func (s *session) changed() int { return s.changesGone + len(s.changes) }

// keepChange keeps what a name stood for.
func (s *session) keepChange(c change) {
	if len(s.changes) >= trimAt && len(s.changes) == cap(s.changes) {
		s.trimChanges()
		if len(s.changes) > cap(s.changes)/2 {
			s.changes = slices.Grow(s.changes, len(s.changes))
		}
	}
	s.changes = append(s.changes, c)
}

// trimChanges lets go of the changes of messages that have been answered.
func (s *session) trimChanges() {
	until := s.mark
	if s.active != nil {
		for i := s.active.head; i < len(s.active.queue); i++ {
			if e := &s.active.queue[i]; !e.swallow {
				until = min(until, e.mark)
				break
			}
		}
	}
	n := until - s.changesGone
	for i := range s.changes[:n] {
		s.letGo(&s.changes[i])
	}
	rest := copy(s.changes, s.changes[n:])
	clear(s.changes[rest:])
	s.changes = s.changes[:rest]
	s.changesGone += n
}

// nextVersion tells one statement of a name from the next.
func (s *session) nextVersion() uint64 {
	s.versions++
	return s.versions
}

// settleChanges is the end of a batch: what it did stays.
func (s *session) settleChanges() {
	s.dropCopy()
	s.batchBound = false
	for i := range s.changes {
		s.letGo(&s.changes[i])
		s.changes[i] = change{}
	}
	s.changes, s.changesGone = s.changes[:0], 0
	if cap(s.changes) > trimAt {
		s.changes = nil
	}
}

// letGo keeps the object of an unnamed statement that was replaced for the next one.
func (s *session) letGo(c *change) {
	if c.portal || c.name != "" || c.was == nil || c.was == s.unnamed || s.noName.p == c.was || len(s.spares) >= maxSpares {
		return
	}
	s.spares = append(s.spares, c.was)
}

// spare is an object for an unnamed statement.
func (s *session) spare() *prepared {
	n := len(s.spares)
	if n == 0 {
		return &prepared{}
	}
	p := s.spares[n-1]
	s.spares = s.spares[:n-1]
	return p
}

// maxSpares bounds the objects kept for unnamed statements.
const maxSpares = 4

// takeBack undoes what messages did from a place on, the last one first.
func (s *session) takeBack(mark int) {
	for i := len(s.changes) - 1; i >= 0 && s.changesGone+i >= mark; i-- {
		c := &s.changes[i]
		switch {
		case c.portal && c.name == "":
			s.noName = c.bound
		case c.portal && c.bound == (portal{}):
			delete(s.portals, c.name)
		case c.portal:
			s.setNamedPortal(c.name, c.bound)
		case c.name == "":
			s.unnamed = c.was
		case c.was == nil:
			delete(s.named, c.name)
		default:
			s.setNamed(c.name, c.was)
		}
		*c = change{}
		s.changes = s.changes[:i]
	}
}

// name makes the name of a statement stand for p, or for nothing.
func (s *session) name(name string, p *prepared) {
	if name == "" {
		s.keepChange(change{was: s.unnamed})
		s.unnamed = p
		return
	}
	s.keepChange(change{name: name, was: s.named[name]})
	if p == nil {
		delete(s.named, name)
		return
	}
	s.setNamed(name, p)
}

// setPortal makes the name of a portal stand for a bound statement. The object of an unnamed statement is used again for the next one,
// while a named portal of it goes on.
func (s *session) setPortal(name []byte, p portal) {
	if len(name) == 0 {
		s.keepChange(change{portal: true, bound: s.noName})
		s.noName = p
		return
	}
	if p.p != nil && p.p.name == "" {
		own := *p.p
		own.frame = append([]byte(nil), own.frame...)
		own.text = append([]byte(nil), own.text...)
		p.p = &own
	}
	c := change{name: string(name), portal: true}
	if old := s.portals[c.name]; old != nil {
		c.bound = *old
	}
	s.keepChange(c)
	s.setNamedPortal(c.name, p)
}

func (s *session) setNamedPortal(name string, p portal) {
	if s.portals == nil {
		s.portals = make(map[string]*portal)
	}
	s.portals[name] = &p
}

// dropPortal makes the name of a portal stand for nothing.
func (s *session) dropPortal(name []byte) {
	if len(name) == 0 {
		s.keepChange(change{portal: true, bound: s.noName})
		s.noName = portal{}
		return
	}
	if old := s.portals[string(name)]; old != nil {
		s.keepChange(change{name: string(name), portal: true, bound: *old})
		delete(s.portals, string(name))
	}
}

// ownAnswer is expect.kind for an answer of ours that waits for its turn among the server's.
const ownAnswer = '.'

// local sends an answer of our own, in its place among the servers' answers.
func (s *session) local(answer []byte) error {
	b := s.active
	if b == nil || b.outstanding() == 0 {
		s.flight.told = true
		s.client.queue(answer)
		return nil
	}
	b.push(expect{kind: ownAnswer, answer: answer, mark: s.mark})
	return nil
}

// answerNext puts an answer of ours in the place of one that has just been taken off the queue.
func (b *backend) answerNext(answer []byte) {
	e := expect{kind: ownAnswer, answer: answer}
	if b.head == 0 {
		b.push(e)
		return
	}
	b.head--
	b.queue[b.head] = e
}

// answerOurs gives the client the answers of ours whose turn has come.
func (s *session) answerOurs(b *backend) {
	for e := b.front(); e != nil && e.kind == ownAnswer; e = b.front() {
		s.client.queue(e.answer)
		s.flight.told = true
		b.pop()
	}
}

// failServer makes a server's transaction fail where we have found an error: the server is given something that cannot be right, and
// its error is replaced by ours.
func (s *session) failServer(b *backend, answer []byte, err error) {
	b.setQueued(pgwire.AppendParse(b.queued(), "pgpool", "pgpool found: "+err.Error()))
	b.push(expect{kind: pgwire.Parse, answer: answer, mark: s.mark})
	b.unsynced, b.dirty = true, true
}
