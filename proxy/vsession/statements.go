package vsession

import (
	"slices"
	"strings"
)

// Statements are the prepared statements of a server connection that outlive a lease: those with names of the proxy's, which any
// session may use, and those with names of a client's own. The zero Statements is a connection as it was opened. What a server is
// told counts as done when it is sent; what a failed batch skipped is taken back.
type Statements struct {
	shared map[uint64]*held
	newest *held // the one used last; a ring
	names  map[string]Named
}

// held is a shared statement on a connection.
type held struct {
	id         uint64
	gone       bool   // perhaps; to be closed before it is prepared again
	form       uint64 // of its rows; 0: not known
	prev, next *held
}

// Named is who has given a prepared statement its name, and which of those that had this name.
type Named struct{ Owner, Version uint64 }

// Has reports whether the connection has a shared statement, which is going to be used.
func (st *Statements) Has(id uint64) bool {
	h := st.shared[id]
	if h == nil || h.gone {
		return false
	}
	st.unlink(h)
	st.link(h)
	return true
}

// MayHave reports whether its name may be in use there.
func (st *Statements) MayHave(id uint64) bool { return st.shared[id] != nil }

// Form is a fingerprint of the rows a shared statement returns there, which stays as long as it is prepared; 0 if it is not known.
func (st *Statements) Form(id uint64) uint64 {
	if h := st.shared[id]; h != nil && !h.gone {
		return h.form
	}
	return 0
}

// SetForm records what a server has said of the rows of a shared statement.
func (st *Statements) SetForm(id, form uint64) {
	if h := st.shared[id]; h != nil && !h.gone {
		h.form = form
	}
}

// Add records that a shared statement was prepared.
func (st *Statements) Add(id uint64) {
	if h := st.shared[id]; h != nil {
		h.gone, h.form = false, 0
		st.unlink(h)
		st.link(h)
		return
	}
	if st.shared == nil {
		st.shared = make(map[uint64]*held)
	}
	h := &held{id: id}
	st.shared[id] = h
	st.link(h)
}

// Oldest is the statement to be closed first where there are more than limit; ok is false where there are not.
func (st *Statements) Oldest(limit int) (id uint64, ok bool) {
	if len(st.shared) <= limit || st.newest == nil {
		return 0, false
	}
	return st.newest.next.id, true
}

// Drop records that a shared statement was closed.
func (st *Statements) Drop(id uint64) {
	if h := st.shared[id]; h != nil {
		st.unlink(h)
		delete(st.shared, id)
	}
}

// DropAll records that nothing is prepared any more.
func (st *Statements) DropAll() { *st = Statements{} }

// Doubt records that something has run which may have closed those shared ones for which doubtful holds.
func (st *Statements) Doubt(doubtful func(id uint64) bool) {
	for id, h := range st.shared {
		h.gone = h.gone || doubtful(id)
	}
}

func (st *Statements) link(h *held) {
	if st.newest == nil {
		h.prev, h.next = h, h
	} else {
		h.prev, h.next = st.newest, st.newest.next
		h.prev.next, h.next.prev = h, h
	}
	st.newest = h
}

func (st *Statements) unlink(h *held) {
	if h.next == h {
		st.newest = nil
		return
	}
	h.prev.next, h.next.prev = h.next, h.prev
	if st.newest == h {
		st.newest = h.prev
	}
}

// Name tells whose statement has a client's name.
func (st *Statements) Name(name string) (n Named, ok bool) {
	n, ok = st.names[name]
	return n, ok
}

// SetName records that a client's name was given.
func (st *Statements) SetName(name string, n Named) {
	if st.names == nil {
		st.names = make(map[string]Named)
	}
	st.names[name] = n
}

// Unname records that a client's name stands for nothing any more.
func (st *Statements) Unname(name string) { delete(st.names, name) }

// Names are the clients' names for which wanted holds.
func (st *Statements) Names(wanted func(name string, n Named) bool) (names []string) {
	for name, n := range st.names {
		if wanted(name, n) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Meaning tells what else than its text a statement's meaning depends on: how the session finds tables. private is true where that
// may end with the open transaction.
func (j *Journal) Meaning() (meaning string, private bool) {
	for i := range j.tx {
		if t := strings.ToLower(j.tx[i].Text); strings.Contains(t, "search_path") || strings.Contains(t, "role") ||
			strings.Contains(t, "authorization") {
			return "", true
		}
	}
	for i := range j.settings {
		switch j.settings[i].Name {
		case "", "search_path", "role", "session_authorization":
			meaning += j.settings[i].Text + "\x00"
		}
	}
	return meaning, false
}
