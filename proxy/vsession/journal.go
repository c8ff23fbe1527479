// Package vsession is a client's session as the client believes it to be, apart from any server connection: the settings it
// has made and the transaction it is in. [Journal] records the statements that made that state; a [Mark] says how much of the
// journal one server connection has seen. What a connection lacks is sent to it before the next statement runs there.
//
// It is pure: it decides what has to be sent; sending, and swallowing the replies, is left to proxy. Which statements
// change state is told by proxy/stmt.
package vsession

import "strings"

// Effect is what a recorded statement does to the journal itself.
type Effect uint8

// Effects.
const (
	Setting    Effect = iota // a setting of the session (SET, RESET x, set_config): undone by rollback, kept by commit
	Local                    // ends with the transaction (SET LOCAL, SET TRANSACTION)
	ResetAll                 // RESET ALL: makes earlier settings irrelevant, but for SET ROLE and SET SESSION AUTHORIZATION
	DiscardAll               // DISCARD ALL: the same, and drops what is prepared
	Savepoint
	Release
	RollbackTo
)

// Statement is one recorded statement.
type Statement struct {
	Text   string
	Effect Effect
	Name   string // of the setting (lower case, "" if it is none alone) or savepoint
	Writer bool   // only the node that takes writes can have it (SERIALIZABLE)
	Begins bool   // the BEGIN of the open transaction, which Lacks gives a server that joins it
	Reset  bool   // of a Setting or Local: back to the value the session began with (RESET x, SET x TO DEFAULT)

	seq   uint64 // of a setting
	local string // of a startup parameter: the text that sets it for a transaction, and
	value string // what it is set to
}

// maxTx bounds the statements recorded in one transaction: beyond it no further server can join, see Journal.Full.
const maxTx = 1000

// maxSettings bounds the settings a server is brought up to.
const maxSettings = 1000

// Journal is the state of one session. The zero Journal is a session that has done nothing.
type Journal struct {
	settings []Statement // committed, in order, without those overridden later
	seq      uint64      // of the newest setting, counting from 1
	identity uint64      // of the newest SET ROLE or SET SESSION AUTHORIZATION

	inTx  bool
	begin Begin
	tx    []Statement // since BEGIN
	full  bool

	// of a session that shares its connections, see [Journal.Share]
	shared  bool
	startup []Statement // the settings it began with
	cleared uint64      // the newest setting that made all earlier ones irrelevant
	prints  [2]print    // of a standby and of the node that takes writes
}

// Begin is how a transaction starts: its text, and what servers other than the writing one are sent (a standby can be
// neither serializable nor read-write).
type Begin struct {
	Text  string
	Other string
}

// Mark is how much of the journal a server connection has seen. The zero Mark is a connection fresh from the pool.
type Mark struct {
	settings uint64
	tx       int // statements of the transaction seen
	joined   bool
	spoiled  bool
	foreign  bool // it has settings of another session
	impure   bool // it may have settings that the journal does not know
}

// Joined reports whether the server takes part in the transaction.
func (m *Mark) Joined() bool { return m.joined }

// Spoiled reports that the connection's state has come apart from the journal: it must not be used again.
func (m *Mark) Spoiled() bool { return m.spoiled }

// InTx reports whether the client is in a transaction block.
func (j *Journal) InTx() bool { return j.inTx }

// Full reports that so much has been recorded that servers which lack it should no longer be brought up to it.
func (j *Journal) Full() bool { return j.full || len(j.settings) > maxSettings }

// Freeze keeps servers that have not joined out of the open transaction: it holds something the journal does not know.
func (j *Journal) Freeze() { j.full = true }

// Touching reports whether the open transaction has made settings that outlive it.
func (j *Journal) Touching() bool {
	for _, s := range j.tx {
		if s.Effect == Setting || s.Effect == ResetAll {
			return true
		}
	}
	return false
}

// Begin starts a transaction block that no server has joined so far.
func (j *Journal) Begin(b Begin) {
	j.inTx, j.begin = true, b
	j.tx = j.tx[:0]
	j.full = false
}

// BeganOn records that a server has begun a transaction by itself (BEGIN inside a longer string): others join with b.
func (j *Journal) BeganOn(m *Mark, b Begin) {
	j.Begin(b)
	m.joined, m.tx = true, 0
}

// Behind reports whether Lacks would yield anything: the cheap test before every statement.
func (j *Journal) Behind(m *Mark) bool {
	if m.joined {
		return m.tx != len(j.tx)
	}
	return m.settings != j.seq || m.foreign || j.inTx
}

// Lacks appends to dst the statements the server has to see before it can run the client's next one, and marks them as
// seen. writer tells the node that takes writes.
func (j *Journal) Lacks(m *Mark, writer bool, dst []Statement) []Statement {
	if !m.joined && (m.settings != j.seq || m.foreign) {
		dst = j.lacksSettings(m, writer, dst)
	}
	if !j.inTx {
		return dst
	}
	if !m.joined {
		text := j.begin.Other
		if writer {
			text = j.begin.Text
		}
		dst = append(dst, Statement{Text: text, Effect: Local, Begins: true})
		m.joined, m.tx = true, 0
	}
	for i := range j.tx[m.tx:] {
		if st := &j.tx[m.tx+i]; writer || !st.Writer {
			dst = append(dst, *st)
		}
	}
	m.tx = len(j.tx)
	return dst
}

// Ran records that a state-changing statement has succeeded on the server of m, which was not behind.
func (j *Journal) Ran(m *Mark, s Statement) {
	if j.inTx {
		if len(j.tx) >= maxTx {
			j.full = true
		}
		j.tx = append(j.tx, s)
		m.tx = len(j.tx)
		j.tx = j.began(j.tx, s)
		return
	}
	if s.Effect == Setting || s.Effect == ResetAll || s.Effect == DiscardAll {
		j.keep(s)
		m.settings = j.seq
		for _, st := range j.began(nil, s) {
			j.keep(st)
		}
	}
}

// keep adds a committed setting and drops the ones it makes irrelevant. Their order stays, for a setting may depend on an
// earlier one (SET ROLE, then SET of what only that role may set).
func (j *Journal) keep(s Statement) {
	j.seq++
	s.seq = j.seq
	switch {
	case s.Effect != Setting:
		j.clear(s.Effect)
		if j.shared {
			return
		}
	case s.Name != "":
		kept := j.settings[:0]
		for _, old := range j.settings {
			if old.Effect != Setting || !s.overrides(&old) {
				kept = append(kept, old)
			}
		}
		j.settings = kept
	}
	if s.isIdentity() {
		j.identity = j.seq
	}
	j.settings = append(j.settings, s)
}

// clear is the end of all settings. RESET ALL leaves alone who the session is.
func (j *Journal) clear(by Effect) {
	j.cleared = j.seq
	kept := j.settings[:0]
	for _, st := range j.settings {
		if by != ResetAll || !st.isIdentity() && st.Effect != DiscardAll {
			continue
		}
		if j.shared { // it has to follow what makes a connection forget all
			j.seq++
			st.seq, j.identity = j.seq, j.seq
		}
		kept = append(kept, st)
	}
	clear(j.settings[len(kept):])
	j.settings = kept
}

// overrides reports whether nothing is left of an older setting. The name of a part of a setting is the setting's, a space and its
// own: each half of DateStyle can be set alone. SET SESSION AUTHORIZATION ends a role.
func (s *Statement) overrides(old *Statement) bool {
	return old.Name == s.Name || s.Name == nameAuthorization && old.Name == nameRole || strings.HasPrefix(old.Name, s.Name+" ")
}

const (
	nameRole          = "role"
	nameAuthorization = "session_authorization"
)

// isIdentity tells the settings on which depends what else may be set.
func (s *Statement) isIdentity() bool { return s.Name == nameRole || s.Name == nameAuthorization }

// Commit ends the transaction block: its settings become the session's. marks are all connections the session holds; those
// that joined are taken to have committed too.
func (j *Journal) Commit(marks []*Mark) {
	alive := j.surviving()
	for i := range j.tx {
		if !alive[i] {
			continue
		}
		j.keep(j.tx[i])
		for _, m := range marks {
			if m.joined && i < m.tx {
				m.settings = j.seq
			}
		}
	}
	for _, m := range marks {
		if m.joined && j.undoneAfter(m.tx) {
			m.spoiled = true // it holds settings that were rolled back to a savepoint elsewhere
		}
	}
	j.leave(marks)
}

// surviving tells which statements of the transaction are settings that no ROLLBACK TO has undone.
func (j *Journal) surviving() []bool {
	alive := make([]bool, len(j.tx))
	var open []int // positions of the savepoints
	newest := func(name string) int {
		for k := len(open) - 1; k >= 0; k-- {
			if j.tx[open[k]].Name == name {
				return k
			}
		}
		return -1
	}
	for i, s := range j.tx {
		switch s.Effect {
		case Setting, ResetAll:
			alive[i] = true
		case Savepoint:
			open = append(open, i)
		case Release:
			if k := newest(s.Name); k >= 0 {
				open = open[:k]
			}
		case RollbackTo:
			if k := newest(s.Name); k >= 0 {
				clear(alive[open[k]:i])
				open = open[:k+1]
			}
		case Local, DiscardAll:
		}
	}
	return alive
}

// undoneAfter reports whether a ROLLBACK TO stands at or after position from.
func (j *Journal) undoneAfter(from int) bool {
	for _, s := range j.tx[min(from, len(j.tx)):] {
		if s.Effect == RollbackTo {
			return true
		}
	}
	return false
}

// Rollback ends the transaction block without its settings.
func (j *Journal) Rollback(marks []*Mark) { j.leave(marks) }

func (j *Journal) leave(marks []*Mark) {
	for _, m := range marks {
		m.joined, m.tx = false, 0
	}
	j.inTx, j.full = false, false
	j.tx = j.tx[:0]
}

// Chain is COMMIT AND CHAIN or ROLLBACK AND CHAIN after Commit or Rollback: a new block like the last one, already begun on m. What the
// server lacks of the session's settings it gets inside of it.
func (j *Journal) Chain(m *Mark) {
	j.BeganOn(m, j.begin)
	if m.settings == j.seq {
		return
	}
	for i := range j.settings {
		if j.settings[i].seq > m.settings {
			j.tx = append(j.tx, j.settings[i])
		}
	}
}

// Touched reports whether the session has made any setting that a connection may carry.
func (j *Journal) Touched() bool { return j.seq > 0 }

// Rechain is Chain where no server has joined: the new block waits, like the last one, for the first statement.
func (j *Journal) Rechain() { j.Begin(j.begin) }

// LastBegin is how the open transaction, or the last one, was begun.
func (j *Journal) LastBegin() Begin { return j.begin }
