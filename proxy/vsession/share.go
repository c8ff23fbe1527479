package vsession

import (
	"hash/maphash"
	"slices"
	"strings"
)

// This file is about sessions that share their server connections with others (pool_mode = transaction): what a connection lacks that
// another session has used.

// Share makes the journal that of a session that shares its connections. startup are the parameters it began with, which a RESET
// goes back to; connections are opened without them. Call it once, before anything else.
func (j *Journal) Share(startup []Startup) {
	j.shared = true
	for _, p := range startup {
		st := Statement{Text: setConfig(p.Name, p.Value, false), Effect: Setting, Name: strings.ToLower(p.Name), local: setConfig(p.Name, p.Value, true), value: p.Value}
		j.startup = append(j.startup, st)
		j.keep(st)
	}
}

// Startup is a parameter of a startup packet.
type Startup struct{ Name, Value string }

// Adopt replaces the session's settings by what a server says is in force there, on the connection of m; they have to be given in an
// order in which they can be set. It is for what a function has set out of sight. There may be more that no question finds, so nobody else
// gets the connection without a reset. Outside of transactions only.
func (j *Journal) Adopt(m *Mark, settings []Startup) {
	j.seq++
	j.settings, j.cleared = j.settings[:0], j.seq
	for _, p := range settings {
		j.keep(Statement{Text: setConfig(p.Name, p.Value, false), Effect: Setting, Name: strings.ToLower(p.Name)})
	}
	m.settings, m.foreign, m.impure = j.seq, false, true
}

// Take tells how far a connection in a recorded state has followed the session me, which is to use it next. writer tells the node that
// takes writes.
func (j *Journal) Take(sv *Server, me uint64, writer bool) Mark {
	switch {
	case sv.Owner == me:
		return sv.Mark
	case sv.Print == j.Print(writer):
		return Mark{settings: j.seq}
	case sv.Print == 0:
		return Mark{settings: j.cleared}
	}
	return Mark{foreign: true}
}

// Leave records the state of a connection that the session me gives back, outside of transactions.
func (j *Journal) Leave(sv *Server, m *Mark, me uint64, writer bool) {
	sv.Owner, sv.Mark, sv.Print = me, *m, Foreign
	if m.settings == j.seq && !m.foreign && !m.impure {
		sv.Print = j.Print(writer)
	}
}

// Print is a fingerprint of the session's settings outside of transactions: connections of equal prints have equal settings. 0 is none.
// It cannot be forged from outside.
func (j *Journal) Print(writer bool) uint64 {
	p := &j.prints[0]
	if writer {
		p = &j.prints[1]
	}
	if p.at == j.seq {
		return p.value
	}
	*p = print{at: j.seq}
	if j.empty(writer) {
		return 0
	}
	var h maphash.Hash
	h.SetSeed(printSeed)
	for i := range j.settings {
		if writer || !j.settings[i].Writer {
			h.WriteString(j.settings[i].Text)
			h.WriteByte(0)
		}
	}
	if p.value = h.Sum64(); p.value == 0 || p.value == Foreign {
		p.value = 1
	}
	return p.value
}

// print is a fingerprint, and the newest setting it knows.
type print struct{ at, value uint64 }

// printSeed makes fingerprints of one process comparable, and unknown outside of it.
var printSeed = maphash.MakeSeed()

func (j *Journal) empty(writer bool) bool {
	for i := range j.settings {
		if writer || !j.settings[i].Writer {
			return false
		}
	}
	return true
}

// forget takes back everything another session may have set. As DISCARD ALL does, it goes back to the user who logged in first.
const forget = "SET SESSION AUTHORIZATION DEFAULT; RESET ALL"

// lacksSettings is Lacks for the settings. What is shared is sent as one string: either all of it is in force, or nothing.
func (j *Journal) lacksSettings(m *Mark, writer bool, dst []Statement) []Statement {
	first := len(dst)
	if j.shared && (m.foreign || m.settings < j.cleared) {
		dst = append(dst, Statement{Text: forget})
		m.settings, m.foreign, m.impure = j.cleared, false, false
	}
	anew := m.settings > 0 && m.settings < j.identity // it is somebody who may not set what it lacks
	if anew {
		dst = append(dst, Statement{Text: "SET SESSION AUTHORIZATION DEFAULT"})
	}
	for i := range j.settings {
		st := &j.settings[i]
		if (st.seq > m.settings || anew && st.isIdentity()) && (writer || !st.Writer) {
			dst = append(dst, *st)
		}
	}
	m.settings = j.seq
	if !j.shared || len(dst)-first < 2 {
		return dst
	}
	return append(dst[:first], together(dst[first:])...)
}

// together puts statements into one string, so that either all of them take effect or none. What client_encoding is set to has to be in force
// before, for all texts are in it.
func together(list []Statement) []Statement {
	var all, encoding strings.Builder
	for _, s := range list {
		to := &all
		if s.Name == "client_encoding" || s.Text == forget {
			to = &encoding
		}
		to.WriteString(s.Text)
		to.WriteString("\n;\n") // a text may end in a comment
	}
	switch {
	case encoding.Len() == 0:
		return []Statement{{Text: all.String()}}
	case all.Len() == 0:
		return []Statement{{Text: encoding.String()}}
	case !slices.ContainsFunc(list, func(s Statement) bool { return s.Name == "client_encoding" }):
		return []Statement{{Text: encoding.String() + all.String()}}
	}
	return []Statement{{Text: encoding.String()}, {Text: all.String()}}
}

// began appends the settings the session began with that a statement has taken away on the server: its own defaults are others.
func (j *Journal) began(dst []Statement, s Statement) []Statement {
	for _, st := range j.startup {
		switch {
		case s.Effect == ResetAll, s.Effect == DiscardAll, s.Effect == Setting && s.Reset && s.Name == st.Name:
			dst = append(dst, st)
		case s.Effect == Local && s.Reset && s.Name == st.Name:
			dst = append(dst, Statement{Text: st.local, Effect: Local, Name: st.Name})
		}
	}
	return dst
}

// setConfig sets a parameter to a value as a whole, lists included, as a startup packet does.
func setConfig(name, value string, local bool) string {
	last := ", false)"
	if local {
		last = ", true)"
	}
	return "SELECT pg_catalog.set_config(" + Literal(name) + ", " + Literal(value) + last
}

// Literal is a string constant whatever standard_conforming_strings says.
func Literal(s string) string {
	s = strings.ReplaceAll(s, "'", "''")
	if !strings.Contains(s, `\`) {
		return "'" + s + "'"
	}
	return " E'" + strings.ReplaceAll(s, `\`, `\\`) + "'"
}

// OwnNames are the settings recorded whose names are of applications' own (my.name), which servers do not list.
func (j *Journal) OwnNames() (names []string) {
	for i := range j.settings {
		if n := j.settings[i].Name; strings.Contains(n, ".") && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// MindsTemp reports whether the session has made a setting that means something else, or cannot be made, on a connection that has had
// temporary objects.
func (j *Journal) MindsTemp() bool {
	for i := range j.settings {
		switch st := &j.settings[i]; st.Name {
		case "search_path":
			if strings.Contains(strings.ToLower(st.Text), "pg_temp") {
				return true
			}
		case NameTempBuffers:
			return true
		}
	}
	return false
}

// NameTempBuffers is the setting that temporary tables freeze.
const NameTempBuffers = "temp_buffers"

// Value is the value a startup parameter gave a setting, "" if none did.
func (j *Journal) Value(startup string) (value string) {
	for _, st := range j.startup {
		if st.Name == startup {
			value = st.value
		}
	}
	return value
}

// Has reports whether the session has made a setting outside of transactions.
func (j *Journal) Has(name string) bool {
	for i := range j.settings {
		if j.settings[i].Name == name {
			return true
		}
	}
	return false
}

// Version rises with each setting that is made outside of transactions or committed.
func (j *Journal) Version() uint64 { return j.seq }

// LacksIdentity reports whether Lacks would yield a change of the user or role.
func (j *Journal) LacksIdentity(m *Mark) bool {
	if !m.joined && (m.settings != j.seq || m.foreign) {
		for i := range j.settings {
			if st := &j.settings[i]; st.isIdentity() && (st.seq > m.settings || m.foreign || m.settings < j.identity) {
				return true
			}
		}
	}
	from := m.tx
	if !m.joined {
		from = 0
	}
	for i := min(from, len(j.tx)); j.inTx && i < len(j.tx); i++ {
		if j.tx[i].isIdentity() {
			return true
		}
	}
	return false
}

// DropIdentity forgets the user and role the session has set: they cannot be set any more.
func (j *Journal) DropIdentity() {
	j.settings = slices.DeleteFunc(j.settings, func(s Statement) bool { return s.isIdentity() })
	j.seq++
}
