package proxy

import (
	"gopgpool/cluster"
	"gopgpool/pgwire"
	"gopgpool/proxy/route"
	"gopgpool/proxy/stmt"
	"gopgpool/proxy/vsession"
)

// prepared is a prepared statement of the client, by Parse or by SQL PREPARE.
type prepared struct {
	name         string
	frame        []byte // the Parse message, or a Query message with the PREPARE; nil if too large to be kept
	text         []byte // the statement's text, inside frame
	facts        *stmt.Facts
	bySQL        bool
	local        bool           // answered by the proxy until it is executed: transaction control, SHOW pool_*
	ver          uint64         // of the unnamed statement: rises with each Parse
	node         cluster.NodeID // where it was prepared first
	at           []*backend     // servers that have it, for a named one
	batch        uint64         // in which it was parsed, and
	stateVer     uint64         // session.stateVer then
	writes, both bool           // of the decision at Parse, made under the View of
	reason       route.Reason
	epoch        cluster.Generation
	shared       *sharedStatement // under whose name servers have it; nil: its own
	stays        bool             // it cannot be prepared on another connection
	lost         bool             // its frame was not kept: it lives on node only
	told         uint64           // form of its rows as the client was told last; 0: it was not, or there are none
	forms        []formAt         // on servers, for a named one that is not shared
}

// runs are the facts of what executing it runs: of a PREPARE the statement inside.
func (p *prepared) runs() *stmt.Facts {
	if p.bySQL && p.facts.Inner != nil {
		return p.facts.Inner
	}
	return p.facts
}

// sql is the statement's text, or that of the PREPARE.
func (p *prepared) sql() string {
	if p.bySQL && len(p.frame) > pgwire.HeaderSize {
		return string(p.frame[pgwire.HeaderSize : len(p.frame)-1])
	}
	return string(p.text)
}

// on reports whether the server has the statement.
func (p *prepared) on(b *backend) bool {
	if p.name == "" {
		return b.unnamed == p && b.unnamedVer == p.ver
	}
	if b.owner != 0 {
		if p.shared != nil {
			return b.statements().Has(p.shared.id)
		}
		return p.underOwnName(b)
	}
	for _, x := range p.at {
		if x == b {
			return true
		}
	}
	return false
}

// placed records that the server has been told of it.
func (p *prepared) placed(b *backend) {
	p.dropForm(b)
	if p.name == "" {
		b.unnamed, b.unnamedVer, b.unnamedForm = p, p.ver, 0
		return
	}
	if b.owner != 0 {
		if p.shared != nil {
			b.statements().Add(p.shared.id)
		} else {
			b.statements().SetName(p.name, p.named(b))
		}
		if p.stays {
			b.holds |= holdsPrepared
		}
		return
	}
	if !p.on(b) {
		p.at = append(p.at, b)
	}
}

// gone records that the server does not have it after all, or any more.
func (p *prepared) gone(b *backend) {
	p.dropForm(b)
	if b.unnamed == p {
		b.unnamed = nil
	}
	if b.owner != 0 && p.name != "" {
		if p.shared != nil {
			b.statements().Drop(p.shared.id)
		} else if p.underOwnName(b) {
			b.statements().Unname(p.name)
		}
		return
	}
	for i, x := range p.at {
		if x == b {
			p.at = append(p.at[:i], p.at[i+1:]...)
			return
		}
	}
}

// newPrepared registers a statement. The objects of unnamed ones are used again, so that parsing them allocates nothing.
func (s *session) newPrepared(name string, f *stmt.Facts, frame, text []byte) *prepared {
	at := pgwire.HeaderSize + len(name) + 1 // where the text stands in the frame
	if name != "" {
		s.versions++
		p := &prepared{name: name, facts: f, ver: s.versions, stays: frame == nil || !s.shares()}
		switch {
		case frame == nil: // too long to be kept
		case s.shares():
			p.text = text
			s.shareNamed(p, frame)
		default:
			p.frame = append([]byte(nil), frame...)
			p.setText(at, len(text))
		}
		s.name(name, p)
		return p
	}
	p := s.spare()
	s.versions++
	*p = prepared{frame: append(p.frame[:0], frame...), facts: f, ver: s.versions}
	p.setText(at, len(text))
	s.name("", p)
	return p
}

func (p *prepared) setText(at, n int) {
	if len(p.frame) >= at+n {
		p.text = p.frame[at : at+n]
	}
}

func (s *session) statement(name []byte) *prepared {
	if len(name) == 0 {
		return s.unnamed
	}
	return s.named[string(name)]
}

// holder is a server that has a statement, the active one if possible.
func (s *session) holder(p *prepared) *backend {
	if p == nil {
		return nil
	}
	if s.active != nil && p.on(s.active) {
		return s.active
	}
	for _, b := range s.backends {
		if p.on(b) {
			return b
		}
	}
	return nil
}

// queryFrame is what has to be sent to repeat a SQL PREPARE that came by the extended protocol.
func queryFrame(f *stmt.Facts, p *prepared) []byte {
	if f.Kind != stmt.KindPrepare {
		return nil
	}
	return pgwire.AppendQuery(nil, string(p.text))
}

// closeQuietly drops a statement on a server that is not the one answering.
func (s *session) closeQuietly(b *backend, p *prepared) {
	b.setQueued(pgwire.AppendClose(b.queued(), 'S', p.name))
	b.push(expect{kind: pgwire.Close, swallow: true, prep: p, mark: s.mark})
	b.unsynced = true
	b.dirty = true
}

// clearUnnamed destroys, ahead of a message about the statement p of that name, what a server has for an unnamed statement where p is
// none, or is lost: an earlier one of the client's, one of ours or, where sessions share connections, of somebody else's.
func (s *session) clearUnnamed(b *backend, name []byte, p *prepared) {
	if len(name) == 0 && (p == nil || !p.on(b)) {
		s.closeUnnamed(b, 'S')
		b.unnamed = nil
	}
}

// clearUnnamedPortal does the same ahead of a message about a portal.
func (s *session) clearUnnamedPortal(b *backend, name []byte, po *portal) {
	if len(name) == 0 && po.b != b {
		s.closeUnnamed(b, 'P')
	}
}

// closeUnnamed closes the unnamed statement (S) or portal (P) of a server.
func (s *session) closeUnnamed(b *backend, what byte) {
	b.setQueued(pgwire.AppendClose(b.queued(), what, ""))
	b.push(expect{kind: pgwire.Close, swallow: true, mark: s.mark})
	b.unsynced, b.dirty = true, true
}

// ensureExtended prepares a statement on a server that lacks it, ahead of its use in a batch.
func (s *session) ensureExtended(p *prepared, b *backend) {
	if p.on(b) || p.frame == nil {
		return
	}
	if p.bySQL {
		s.ensureSQL(p, b)
		return
	}
	s.closeDoubtful(p, b)
	b.queue2(p.frame)
	b.unsynced, b.dirty = true, true
	b.push(expect{kind: pgwire.Parse, swallow: true, prep: p, mark: s.mark})
	p.placed(b)
	s.makeRoom(b, p)
	if s.set.LogPerNodeStatement() {
		s.logInjected(b, string(p.text))
	}
}

// spread has the other servers of the session follow a DEALLOCATE that b has run; "" is ALL.
func (s *session) spread(b *backend, dropped string) {
	for _, o := range s.backends {
		switch {
		case o == b:
		case o.owner != 0:
			for _, name := range o.statements().Names(func(name string, _ vsession.Named) bool { return dropped == "" || dropped == name }) {
				s.closeOwn(o, name)
			}
			if o.unsynced && !s.batchUsed {
				o.setQueued(pgwire.AppendSimple(o.queued(), pgwire.Sync))
				o.push(expect{kind: pgwire.Sync, swallow: true})
				o.unsynced = false
			}
		case dropped == "":
			s.injectQuietly(o, "DEALLOCATE ALL")
		default:
			if p := s.named[dropped]; p != nil && p.on(o) {
				s.injectQuietly(o, "DEALLOCATE "+quoteName(dropped))
			}
		}
	}
}

// discardAll drops what DISCARD ALL drops, which is not the unnamed statement, here; the other servers follow by the journal.
func (s *session) discardAll(b *backend) {
	s.forgetPrepared(b)
	s.named = nil
	s.pinned = false
}

// forgetPrepared notes that a server has lost all its prepared statements that have names.
func (s *session) forgetPrepared(b *backend) {
	b.dropAll()
	if b.owner != 0 {
		return
	}
	for _, p := range s.named {
		p.gone(b)
	}
}

// deallocate follows DEALLOCATE, on the server b; "" is ALL.
func (s *session) deallocate(b *backend, name string) {
	s.spread(b, name)
	if name == "" {
		b.dropAll()
	} else {
		b.dropNamed(name)
	}
	if name == "" {
		s.named = nil
		return
	}
	delete(s.named, name)
}

func (s *session) setNamed(name string, p *prepared) {
	if s.named == nil {
		s.named = make(map[string]*prepared)
	}
	s.named[name] = p
}

// settleOn makes one server the only one that knows what is prepared: a string of several statements may change that in ways
// nobody else can follow. The session stays there from now on, see noteFor.
func (s *session) settleOn(b *backend, text []byte) {
	if s.failed() { // nothing can be prepared now
		return
	}
	if b.owner != 0 {
		s.unshare(b, text)
		return
	}
	for _, p := range s.named {
		s.ensure(p, b)
		p.at = append(p.at[:0], b)
	}
}

// ensure prepares a statement on a server that does not have it, ahead of its use by a simple query.
func (s *session) ensure(p *prepared, b *backend) {
	if p.shared != nil {
		s.ensureOwn(p, b)
		if b.unsynced && !s.batchUsed {
			b.setQueued(pgwire.AppendSimple(b.queued(), pgwire.Sync))
			b.push(expect{kind: pgwire.Sync, swallow: true})
			b.unsynced = false
		}
		return
	}
	if p.on(b) || p.frame == nil {
		return
	}
	if p.bySQL && b.unsynced {
		s.ensureSQL(p, b)
		return
	}
	b.dirty = true
	b.queue2(p.frame)
	if s.set.LogPerNodeStatement() {
		s.logInjected(b, p.sql())
	}
	if p.bySQL {
		b.unnamed = nil
		b.push(expect{kind: pgwire.Query, swallow: true, prelude: true, prep: p})
	} else {
		b.push(expect{kind: pgwire.Parse, swallow: true, prelude: true, prep: p})
		if !b.unsynced { // in front of a simple query
			b.setQueued(pgwire.AppendSimple(b.queued(), pgwire.Sync))
			b.push(expect{kind: pgwire.Sync, swallow: true})
		}
	}
	p.placed(b)
}
