package relcache

import (
	"errors"
	"time"

	"gopgpool/proxy/stmt"
)

// maxTemps bounds the names one session remembers.
const maxTemps = 1000

// Session is one client session's view of the answers: those of its database and its own about temporary tables. It is
// not safe for concurrent use. A session that has run nothing which may create a temporary table has none to ask about.
type Session struct {
	db       *Database
	possible bool            // it may have temporary tables
	had      bool            // it has had temporary objects for sure
	schema   schema          // what the server said since the last Touched
	temps    map[string]bool // is there a temporary relation of this bare name
	types    map[string]bool // is there a temporary type
}

// schema says whether the session has a temporary schema.
type schema uint8

const (
	schemaUnknown schema = iota
	schemaNone
	schemaThere
)

// NewSession returns the view of a new session on the database.
func NewSession(db *Database) Session { return Session{db: db} }

// TempPossible reports whether the session may have temporary tables.
func (s *Session) TempPossible() bool { return s.possible }

// Had reports that the session has had temporary objects: what its server connection keeps of them (the temporary schema, buffers of a
// size that cannot be changed any more) no DISCARD takes back.
func (s *Session) Had() bool { return s.had }

// Created tells that a statement has created temporary relations by name; Touched is told as well.
func (s *Session) Created() { s.had = true }

// Left tells that the server connection with the temporary objects is the session's no more.
func (s *Session) Left() {
	s.Discarded()
	s.had = false
}

// Touched tells that something ran which may have created or dropped temporary relations (CreatesTemp and DropsTables of
// its facts, text that is not understood, DO, CALL, a call of a volatile function that is not PostgreSQL's own), or that
// a transaction ended in a session where TempPossible.
func (s *Session) Touched() {
	s.possible = true
	s.schema = schemaUnknown
	clear(s.temps)
	clear(s.types)
}

// Discarded tells that DISCARD ALL or DISCARD TEMP ran outside a transaction: there are no temporary relations.
func (s *Session) Discarded() {
	s.possible = false
	s.schema = schemaUnknown
	clear(s.temps)
	clear(s.types)
}

// Forget drops the shared answers of the session's database, see Database.Forget.
func (s *Session) Forget() { s.db.Forget() }

// Look answers about the names of a statement; ok is false if the server must be asked first (Ask, then Absorb). Temp
// decides whether temporary tables matter (check_temp_table = catalog). On a hit nothing is allocated and no lock taken.
func (s *Session) Look(f *stmt.Facts, temp bool, now time.Time) (names Names, ok bool) {
	names, ok = s.db.look(f, now)
	if !ok || !s.asksTemp(temp) || names.Unknown {
		return names, ok
	}
	if s.schema == schemaUnknown && f.MayTouchSession {
		return names, false
	}
	return names, s.addTemps(f, &names)
}

// asksTemp reports whether temporary relations can matter.
func (s *Session) asksTemp(temp bool) bool { return temp && s.possible && s.schema != schemaNone }

// addTemps fills in Temp and TempSchema; false if some name has not been asked about.
func (s *Session) addTemps(f *stmt.Facts, names *Names) bool {
	names.TempSchema = s.schema == schemaThere
	return firstTemp(f.Relations, s.temps, 0, names) && firstTemp(f.Types, s.types, len(f.Relations), names)
}

// firstTemp sets Temp to the first name of the list that is known as temporary, counting from base; false if one is not known.
func firstTemp(list []stmt.Name, temps map[string]bool, base int, names *Names) bool {
	for i := range list {
		is, known := temps[list[i].Name]
		if !known {
			return false
		}
		if is && names.Temp == 0 {
			names.Temp = uint16(base + i + 1)
		}
	}
	return true
}

// Ask is a query under way for the names of one statement.
type Ask struct {
	facts      *stmt.Facts
	generation uint64
	questions  []question
	temp       bool // temporary tables matter
	noSchema   bool // no row said that there is a temporary schema
	sql        string
}

// Ask collects what is not known of a statement's names. Temp is as for Look, whose answer was no.
func (s *Session) Ask(f *stmt.Facts, temp bool, now time.Time) *Ask {
	a := &Ask{facts: f, generation: s.db.generation.Load(), temp: temp, noSchema: true}
	asksTemp := s.asksTemp(temp)
	s.db.mu.RLock()
	defer s.db.mu.RUnlock()
	add := func(k kind, n stmt.Name) {
		known, found := s.db.of(k)[n]
		fresh := found && now.Before(known.expires)
		_, tempKnown := s.temps[n.Name]
		ofTemp := asksTemp && (k == relation && !tempKnown || k == function && f.MayTouchSession && s.schema == schemaUnknown)
		if askable(n) && (!fresh || ofTemp) {
			a.questions = append(a.questions, question{kind: k, name: n, only: fresh && k == relation})
		}
	}
	for _, n := range f.Relations {
		add(relation, n)
	}
	for _, n := range f.Functions {
		add(function, n)
	}
	for _, n := range f.Types {
		if _, known := s.types[n.Name]; asksTemp && !known && askable(n) {
			a.questions = append(a.questions, question{kind: typeName, name: n, only: true})
		}
	}
	a.sql = build(a.questions)
	return a
}

// SQL is the query to run as the client's user on its server connection. It returns rows of text for Row; it raises no
// error of its own for names that do not exist. It is empty if there is nothing to ask.
func (a *Ask) SQL() string { return a.sql }

// Row takes one row of the result, its columns in text format (nil is NULL). The bytes are not kept.
func (a *Ask) Row(columns [][]byte) error {
	hasSchema, err := read(a.questions, columns)
	if hasSchema {
		a.noSchema = false
	}
	return err
}

var errIncomplete = errors.New("relcache: some question was not answered")

// Absorb keeps the answers and returns those about the statement. It is called once, after the last Row. With share false
// (the session's transaction has changed relations or functions, which others do not see yet) only this statement uses them.
func (s *Session) Absorb(a *Ask, share bool, now time.Time) (Names, error) {
	for i := range a.questions {
		if !a.questions[i].answered {
			return Names{Unknown: true}, errIncomplete
		}
	}
	if share {
		s.db.learn(a.generation, a.questions, now)
	}
	s.learnTemps(a)
	return s.combine(a, now), nil
}

func (s *Session) learnTemps(a *Ask) {
	if !s.possible || len(a.questions) == 0 {
		return
	}
	s.schema = schemaThere
	if a.noSchema {
		s.schema = schemaNone
	}
	s.had = s.had || s.schema == schemaThere
	if s.temps == nil {
		s.temps, s.types = make(map[string]bool), make(map[string]bool)
	}
	if len(s.temps)+len(s.types) > maxTemps {
		clear(s.temps)
		clear(s.types)
	}
	for i := range a.questions {
		switch q := &a.questions[i]; q.kind {
		case relation:
			s.temps[q.name.Name] = q.temp
		case typeName:
			s.types[q.name.Name] = q.temp
		case function:
		}
	}
}

// combine answers for the statement from the answers just received, and from the kept ones for its other names. A name
// that was dropped from the cache meanwhile counts as unknown.
func (s *Session) combine(a *Ask, now time.Time) Names {
	c := &combined{expires: now.Add(s.db.opt.Expire)}
	s.db.mu.RLock()
	complete := c.collect(a.facts, func(k kind, n stmt.Name) (answer, bool) {
		for i := range a.questions {
			if q := &a.questions[i]; q.kind == k && q.name == n && !q.only {
				return q.answer, true
			}
		}
		kept, found := s.db.of(k)[n]
		return kept, found
	})
	s.db.mu.RUnlock()
	if s.asksTemp(a.temp) {
		complete = s.addTemps(a.facts, &c.names) && complete
	}
	if !complete {
		c.names.Unknown = true
	}
	return c.names
}
