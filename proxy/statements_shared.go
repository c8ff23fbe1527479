package proxy

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"sync"

	"gopgpool/pgwire"
	"gopgpool/proxy/stmt"
	"gopgpool/proxy/vsession"
)

// This file is about prepared statements of sessions that share their server connections. One of the extended protocol has on servers a
// name of ours, which all sessions with the same statement share; it stays when the connection goes to another session. One that was
// prepared by SQL has its own name, and is closed there before another session uses the connection.

// sharedStatement is a statement under a name of ours. It never changes.
type sharedStatement struct {
	id    uint64
	name  string
	frame []byte // the Parse message with this name
}

// sharedKey is what makes statements equal: text and parameter types as the Parse message has them, and how names in it are found.
type sharedKey struct{ statement, meaning string }

// sharedRegistry knows the shared statements. It forgets those that were not asked for during a whole round; sessions that use one keep it,
// and the next session that prepares it gets another name.
type sharedRegistry struct {
	prefix string // unguessable

	mu         sync.Mutex
	last       uint64
	young, old map[sharedKey]*sharedStatement
	bytes      int // of young
}

// A round of the registry is over with so many statements or bytes.
const (
	maxShared      = 5000
	maxSharedBytes = 16 << 20
)

func newSharedRegistry() *sharedRegistry {
	var random [8]byte
	_, _ = rand.Read(random[:]) // it never fails
	return &sharedRegistry{prefix: "pgpool_" + hex.EncodeToString(random[:]) + "_", young: make(map[sharedKey]*sharedStatement)}
}

// nameOf is the name of a statement on servers.
func (r *sharedRegistry) nameOf(id uint64) string { return r.prefix + strconv.FormatUint(id, 36) }

// get is the shared statement of a Parse message, of which statement is what follows the name. With private nobody else gets it.
func (r *sharedRegistry) get(statement []byte, meaning string, private bool) *sharedStatement {
	r.mu.Lock()
	defer r.mu.Unlock()
	if private {
		return r.makeLocked(statement)
	}
	key := sharedKey{string(statement), meaning}
	sh := r.young[key]
	if sh != nil {
		return sh
	}
	if sh = r.old[key]; sh == nil {
		sh = r.makeLocked(statement)
	}
	if len(r.young) >= maxShared || r.bytes > maxSharedBytes {
		r.old, r.young, r.bytes = r.young, make(map[sharedKey]*sharedStatement), 0
	}
	r.young[key] = sh
	r.bytes += 2*len(statement) + len(meaning)
	return sh
}

func (r *sharedRegistry) makeLocked(statement []byte) *sharedStatement {
	r.last++
	sh := &sharedStatement{id: r.last, name: r.nameOf(r.last)}
	body := append(append([]byte(sh.name), 0), statement...)
	sh.frame = pgwire.AppendBody(nil, pgwire.Parse, body)
	return sh
}

// shares reports whether the session's named statements have names of ours on servers.
func (s *session) shares() bool { return s.pooled && s.pooling.MaxPreparedStatements > 0 }

// shareNamed gives a statement its name on servers.
func (s *session) shareNamed(p *prepared, frame []byte) {
	meaning, private := s.journal.Meaning()
	sh := s.srv.statements.get(frame[pgwire.HeaderSize+len(p.name)+1:], meaning, private)
	n := len(p.text)
	p.shared, p.frame = sh, sh.frame
	p.setText(pgwire.HeaderSize+len(sh.name)+1, n)
}

// statements are those recorded with the connection.
func (b *backend) statements() *vsession.Statements { return &b.c.State.Statements }

// named is how a connection records that a client's name stands for p.
func (p *prepared) named(b *backend) vsession.Named {
	return vsession.Named{Owner: b.owner, Version: p.ver}
}

// underOwnName reports whether the server has the statement under the client's name, where sessions share connections.
func (p *prepared) underOwnName(b *backend) bool {
	n, ok := b.statements().Name(p.name)
	return ok && n == p.named(b)
}

// serverName is the statement's name on servers.
func (p *prepared) serverName() string {
	if p.shared != nil {
		return p.shared.name
	}
	return p.name
}

// ensureOwn prepares a statement on a server under the client's name, for SQL that names it.
func (s *session) ensureOwn(p *prepared, b *backend) {
	if p.shared == nil {
		s.ensureExtended(p, b)
		return
	}
	if p.underOwnName(b) {
		return
	}
	b.setQueued(pgwire.AppendRenamed(b.queued(), p.frame, len(p.frame), pgwire.HeaderSize, p.name))
	b.push(expect{kind: pgwire.Parse, swallow: true, prep: p, own: true, mark: s.mark})
	b.statements().SetName(p.name, p.named(b))
	b.unsynced, b.dirty = true, true
}

// ensureSQL repeats a PREPARE ahead of an extended message. A simple query would end the transaction that a batch is.
func (s *session) ensureSQL(p *prepared, b *backend) {
	if !b.unsynced {
		s.ensure(p, b)
		return
	}
	s.injectExtended(b, p.sql(), p)
	p.placed(b)
}

// unshare gives all statements of the session their own names on a server, ahead of a string of statements that may do anything to
// them. What is there afterwards is found out by a probe, before the connection is given back.
func (s *session) unshare(b *backend, text []byte) {
	if !touchesPrepared(text) {
		return
	}
	for _, p := range s.named {
		s.ensure(p, b)
		if p.shared != nil {
			n := len(p.text)
			p.frame = pgwire.AppendRenamed(nil, p.frame, len(p.frame), pgwire.HeaderSize, p.name)
			p.shared = nil
			p.setText(pgwire.HeaderSize+len(p.name)+1, n)
		}
	}
	b.statements().Doubt(func(uint64) bool { return true })
}

// touchesPrepared reports whether a text has one of the words by which SQL names prepared statements.
func touchesPrepared(text []byte) bool {
	if text == nil {
		return true
	}
	text = bytes.ToLower(text)
	for _, word := range []string{"prepare", "execute", "deallocate", "discard"} {
		if bytes.Contains(text, []byte(word)) {
			return true
		}
	}
	return false
}

// prepareClash is the statement whose name a PREPARE repeats: it has to be there, for the server to say so.
func (s *session) prepareClash(f *stmt.Facts, b *backend) *prepared {
	if f.Kind != stmt.KindPrepare || b.owner == 0 {
		return nil
	}
	return s.named[f.Name]
}

// makeRoom closes, where p is shared, what has fallen out of those kept on a connection.
func (s *session) makeRoom(b *backend, p *prepared) {
	for p.shared != nil {
		id, ok := b.statements().Oldest(s.pooling.MaxPreparedStatements)
		if !ok {
			return
		}
		s.closeShared(b, id)
	}
}

// closeDoubtful closes a shared statement that a server may have, ahead of preparing it.
func (s *session) closeDoubtful(p *prepared, b *backend) {
	if p.shared != nil && b.statements().MayHave(p.shared.id) {
		s.closeShared(b, p.shared.id)
	}
}

// closeShared closes a shared statement on a server.
func (s *session) closeShared(b *backend, id uint64) {
	b.setQueued(pgwire.AppendClose(b.queued(), 'S', s.srv.statements.nameOf(id)))
	b.push(expect{kind: pgwire.Close, swallow: true, closes: id, mark: s.mark})
	b.statements().Drop(id)
	b.unsynced, b.dirty = true, true
}

// closeOwn closes a statement that has a client's name on a server.
func (s *session) closeOwn(b *backend, name string) {
	n, ok := b.statements().Name(name)
	if !ok {
		return
	}
	b.setQueued(pgwire.AppendClose(b.queued(), 'S', name))
	b.push(expect{kind: pgwire.Close, swallow: true, closed: &closedName{name, n}, mark: s.mark})
	b.statements().Unname(name)
	b.unsynced, b.dirty = true, true
}

// closedName is a client's name that a Close takes away.
type closedName struct {
	name string
	was  vsession.Named
}

// clearNames closes, at the beginning of a lease, what has a client's name on the connection and is not what the name stands for in this
// session.
func (s *session) clearNames(b *backend) {
	stale := b.statements().Names(func(name string, n vsession.Named) bool {
		p := s.named[name]
		return p == nil || n != p.named(b)
	})
	if len(stale) == 0 {
		return
	}
	for _, name := range stale {
		s.closeOwn(b, name)
	}
	b.setQueued(pgwire.AppendSimple(b.queued(), pgwire.Sync))
	b.push(expect{kind: pgwire.Sync, swallow: true})
	b.unsynced = false
}

// takeBackOn undoes, the last one first, what messages that a server skips would have done to its prepared statements.
func (b *backend) takeBackOn(e *expect) {
	st := b.statements()
	switch {
	case e.closes != 0:
		st.Add(e.closes)
	case e.closed != nil:
		st.SetName(e.closed.name, e.closed.was)
	case e.prep == nil, e.kind != pgwire.Parse && e.kind != pgwire.Execute && e.kind != pgwire.Query:
	case e.own:
		st.Unname(e.prep.name)
	default:
		e.prep.gone(b)
	}
}

// dropAll is the end of all that is prepared on a server.
func (b *backend) dropAll() {
	if b.owner != 0 {
		b.statements().DropAll()
	}
}

// dropNamed is the end of what has a client's name on a server.
func (b *backend) dropNamed(name string) {
	if b.owner != 0 {
		b.statements().Unname(name)
	}
}

// leaveStatements ends a lease: it forgets where statements are that do not stay known with the connection.
func (s *session) leaveStatements(b *backend) {
	if s.unnamed != nil {
		s.unnamed.gone(b)
	}
}

// keepsUnnamed reports whether the unnamed statement is there and cannot be prepared elsewhere.
func (s *session) keepsUnnamed(b *backend) bool {
	return s.unnamed != nil && s.unnamed.frame == nil && s.unnamed.on(b)
}

// isOurName reports whether a name is one that we have given.
func (s *session) isOurName(name string) bool {
	return strings.HasPrefix(name, s.srv.statements.prefix)
}

// noStatement is PostgreSQL's error for a name that stands for nothing.
func noStatement(name []byte) error {
	return &clientError{Code: "26000", Message: `prepared statement "` + string(name) + `" does not exist`}
}

// statementExists is PostgreSQL's error for a name that is taken.
func statementExists(name string) error {
	return &clientError{Code: "42P05", Message: `prepared statement "` + name + `" already exists`}
}

// refuseOurName is the error for SQL that means to use a statement under a name of ours: to the client there is none.
func (s *session) refuseOurName(f *stmt.Facts) error {
	if !s.isOurName(f.Name) || s.state.IsFailed() {
		return nil
	}
	switch f.Kind {
	case stmt.KindPrepare:
		return statementExists(f.Name)
	case stmt.KindExecute, stmt.KindDeallocate:
		return noStatement([]byte(f.Name))
	}
	return nil
}

// renamed is an error in which a server calls a statement by our name, with the client's; nil for any other.
func renamed(e *expect, frame []byte) []byte {
	p := e.prep
	if p == nil || p.shared == nil || !bytes.Contains(frame, []byte(p.shared.name)) {
		return nil
	}
	if _, size, _, _ := pgwire.Header(frame); size != len(frame) {
		return nil
	}
	body := bytes.ReplaceAll(frame[pgwire.HeaderSize:], []byte(p.shared.name), []byte(p.name))
	return pgwire.AppendBody(nil, pgwire.ErrorResponse, body)
}

// allNames wants all names a client has given.
func allNames(string, vsession.Named) bool { return true }

// foundPrepared compares what a server says is prepared there with what is recorded, of which clients' names were given before the
// question was asked. It reports whether there is anything that nobody could prepare elsewhere.
func (s *session) foundPrepared(b *backend, names, given []string) (unknown bool) {
	st := b.statements()
	found := make(map[string]bool, len(names))
	for _, name := range names {
		found[name] = true
		if _, ok := st.Name(name); ok || s.isOurName(name) {
			continue
		}
		st.SetName(name, vsession.Named{Owner: s.id})
		unknown = true
	}
	st.Doubt(func(id uint64) bool { return !found[s.srv.statements.nameOf(id)] })
	for _, name := range st.Names(allNames) {
		n, _ := st.Name(name)
		switch p := s.named[name]; {
		case !found[name] && !slices.Contains(given, name):
		case !found[name]:
			st.Unname(name)
			if p != nil && n == p.named(b) {
				delete(s.named, name) // a string of statements, or a function, has dropped it
			}
		case n.Version == 0, p != nil && (p.frame == nil || !s.shares()):
			unknown = true
		}
	}
	return unknown
}
