package vsession

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// sharedConn is a server connection that many sessions use one after the other, and what is recorded of it.
type sharedConn struct {
	server *modelServer
	state  Server
}

// lease is a connection while a session has it.
type lease struct {
	*sharedConn
	mark Mark
}

// sharer is a session that shares its connections, and the server it believes to have for itself.
type sharer struct {
	id      uint64
	journal Journal
	ideal   *modelServer
	leases  [nodesOfPool]*lease
}

// nodesOfPool: node 0 takes writes.
const nodesOfPool = 2

// hidden is a setting of an application's own that a function has made out of sight: no probe finds it, and nobody else may see it.
const hidden = "my.hidden"

// sharedWorld is a pool with sessions.
type sharedWorld struct {
	*rand.Rand
	sessions []*sharer
	idle     [nodesOfPool][]*sharedConn
	lastID   uint64
	wrong    string // what was not as it should be, first
	logs     bool
	log      []string
}

func (w *sharedWorld) note(format string, args ...any) {
	if w.logs {
		w.log = append(w.log, fmt.Sprintf(format, args...))
	}
}

func (w *sharedWorld) failed(format string, args ...any) {
	if w.wrong == "" {
		w.wrong = fmt.Sprintf(format, args...)
		w.note("%s", w.wrong)
	}
}

// login begins a session with some startup parameters.
func (w *sharedWorld) login() *sharer {
	w.lastID++
	begins := map[string]string{}
	var startup []Startup
	for k := range w.IntN(3) {
		p := Startup{"p" + strconv.Itoa(k), strconv.Itoa(w.IntN(2))}
		begins[p.Name] = p.Value
		startup = append(startup, p)
	}
	s := &sharer{id: w.lastID, ideal: newModelServerWith(begins)}
	s.journal.Share(startup)
	w.note("session %d begins with %v", s.id, startup)
	return s
}

// take leases a connection to a node, any that is idle or a new one.
func (w *sharedWorld) take(s *sharer, node int) *lease {
	if l := s.leases[node]; l != nil && !(l.mark.Spoiled() && !l.mark.Joined()) {
		return l
	}
	c := &sharedConn{server: newModelServer()}
	if n := len(w.idle[node]); n > 0 && w.IntN(8) > 0 {
		at := w.IntN(n)
		c = w.idle[node][at]
		w.idle[node] = slices.Delete(w.idle[node], at, at+1)
	}
	s.leases[node] = &lease{sharedConn: c, mark: s.journal.Take(&c.state, s.id, node == 0)}
	return s.leases[node]
}

// use brings a session's connection to a node up to its state, and compares.
func (w *sharedWorld) use(s *sharer, node int) *lease {
	l := w.take(s, node)
	if s.journal.Behind(&l.mark) {
		for _, st := range s.journal.Lacks(&l.mark, node == 0, nil) {
			w.note("    %s", strings.ReplaceAll(st.Text, "\n", " "))
			for _, text := range strings.Split(strings.TrimSuffix(st.Text, "\n;\n"), ";") {
				if !l.server.run(asModelled(text)) {
					w.failed("session %d, node %d: %s is refused", s.id, node, text)
				}
			}
		}
	}
	if got, want := visible(l.server, s, node), visible(s.ideal, s, node); got != want {
		w.failed("session %d, node %d: %s\nwant %s", s.id, node, got, want)
	}
	return l
}

// visible is the state of a server as far as it must be the same everywhere: but for settings that only the node which takes writes can
// have, and for those of the session's own that nobody could know of.
func visible(m *modelServer, s *sharer, node int) string {
	m = m.copied()
	if node > 0 {
		delete(m.session, ofWriter)
		delete(m.local, ofWriter)
	}
	if m.session[hidden] == strconv.FormatUint(s.id, 10) {
		delete(m.session, hidden)
	}
	return m.state()
}

// ofWriter is a setting that only the node which takes writes can have.
const ofWriter = "p2"

// asModelled is a text of the package's own in the model's words.
func asModelled(text string) string {
	text = strings.TrimSpace(text)
	if text == "SET SESSION AUTHORIZATION DEFAULT" {
		return "SET " + nameAuthorization + " DEFAULT"
	}
	args, ok := strings.CutPrefix(text, "SELECT pg_catalog.set_config(")
	if !ok {
		return text
	}
	word := strings.FieldsFunc(args, func(r rune) bool { return strings.ContainsRune("', )", r) })
	if word[2] == "true" {
		return "SET LOCAL " + word[0] + " " + word[1]
	}
	return "SET " + word[0] + " " + word[1]
}

// client runs a statement of a session's client on one of the nodes.
func (w *sharedWorld) client(s *sharer, st Statement, node int) {
	word := strings.Fields(st.Text)
	switch {
	case (st.Effect == Setting || st.Effect == Local) && st.Name == ofWriter && !st.Reset:
		st.Writer, node = true, 0
	case word[0] == "BEGIN":
		if s.ideal.run(st.Text) {
			w.note("session %d: BEGIN", s.id)
			s.journal.Begin(Begin{Text: "BEGIN", Other: "BEGIN"})
		}
		return
	case word[0] == "COMMIT" || word[0] == "ROLLBACK" && st.Effect != RollbackTo:
		w.end(s, st.Text)
		return
	}
	if !s.ideal.copied().run(st.Text) {
		return
	}
	node = s.lead(node)
	w.note("session %d, node %d: %s", s.id, node, st.Text)
	l := w.use(s, node)
	s.ideal.run(st.Text)
	l.server.run(st.Text)
	s.journal.Ran(&l.mark, st)
}

// lead is the server that runs what changes the session's state: one that takes part in the transaction, the one that takes writes first.
func (s *sharer) lead(node int) int {
	for i, l := range s.leases {
		if l != nil && l.mark.Joined() {
			return i
		}
	}
	return node
}

func (m *modelServer) copied() *modelServer {
	c := *m
	c.session, c.local, c.points = maps.Clone(m.session), maps.Clone(m.local), slices.Clone(m.points)
	return &c
}

// end is COMMIT or ROLLBACK, which goes to all servers that take part.
func (w *sharedWorld) end(s *sharer, text string) {
	if !s.journal.InTx() {
		return
	}
	w.note("session %d: %s", s.id, text)
	s.ideal.run(text)
	word := strings.Fields(text)
	var marks []*Mark
	var first *lease // it begins the next transaction by itself
	for _, l := range s.leases {
		if l == nil {
			continue
		}
		marks = append(marks, &l.mark)
		switch {
		case !l.mark.Joined():
		case first == nil:
			first = l
			l.server.run(text)
		default:
			l.server.run(word[0])
		}
	}
	if word[0] == "COMMIT" {
		s.journal.Commit(marks)
	} else {
		s.journal.Rollback(marks)
	}
	switch {
	case len(word) == 1:
	case first != nil:
		s.journal.Chain(&first.mark)
	default:
		s.journal.Rechain()
	}
}

// function is a function that sets something out of sight, and the probe that finds some of it.
func (w *sharedWorld) function(s *sharer) {
	l := w.use(s, 0)
	text := "SET p1 " + strconv.Itoa(w.IntN(5))
	secret := "SET " + hidden + " " + strconv.FormatUint(s.id, 10)
	w.note("session %d: a function does %s; %s", s.id, text, secret)
	for _, m := range []*modelServer{s.ideal, l.server} {
		m.run(text)
		m.run(secret)
	}
	var found []Startup
	for _, name := range slices.Sorted(maps.Keys(l.server.session)) {
		if name != hidden && !isWho(name) && l.server.session[name] != "" {
			found = append(found, Startup{name, l.server.session[name]})
		}
	}
	for _, name := range []string{nameAuthorization, nameRole} {
		if v := l.server.session[name]; v != "" {
			found = append(found, Startup{name, v})
		}
	}
	s.journal.Adopt(&l.mark, found)
}

func isWho(name string) bool { return name == nameRole || name == nameAuthorization }

// release gives back what a session need not keep outside of a transaction, or all.
func (w *sharedWorld) release(s *sharer, all bool) {
	for node, l := range s.leases {
		if l == nil || !all && w.IntN(4) == 0 {
			continue
		}
		s.leases[node] = nil
		switch {
		case l.mark.Spoiled():
			w.note("session %d: the connection to node %d has come apart", s.id, node)
		case l.mark.Joined(): // the client is gone: it is reset
			w.idle[node] = append(w.idle[node], &sharedConn{server: newModelServer()})
		default:
			s.journal.Leave(&l.state, &l.mark, s.id, node == 0)
			w.idle[node] = append(w.idle[node], l.sharedConn)
		}
	}
}

// step lets one of the sessions do something.
func (w *sharedWorld) step() {
	at := w.IntN(len(w.sessions))
	s := w.sessions[at]
	switch n := w.IntN(40); {
	case n == 0:
		w.note("session %d ends", s.id)
		w.release(s, true)
		w.sessions[at] = w.login()
		return
	case n == 1 && !s.journal.InTx():
		w.function(s)
	case n < 8:
		node := w.IntN(nodesOfPool)
		w.note("session %d uses node %d", s.id, node)
		w.use(s, node)
	default:
		w.client(s, sharedStatement(w.IntN(18), w.IntN(12), w.IntN(15)), w.IntN(nodesOfPool))
	}
	if !s.journal.InTx() {
		w.release(s, false)
	}
}

// sharedStatement makes statements as statement does, and those that go back to what the session began with.
func sharedStatement(n, name, value int) Statement {
	k := "p" + strconv.Itoa(name%4)
	if n == 16 {
		return Statement{Text: "SET LOCAL " + k + " DEFAULT", Effect: Local, Name: k, Reset: true}
	}
	return statement(n, name, value)
}

// playShared lets sessions take turns on a few connections.
func playShared(seed uint64, logs bool) *sharedWorld {
	w := &sharedWorld{Rand: rand.New(rand.NewPCG(seed, 5)), logs: logs}
	for range 3 {
		w.sessions = append(w.sessions, w.login())
	}
	for range 60 {
		w.step()
	}
	for _, s := range w.sessions {
		for node := range nodesOfPool {
			w.use(s, node)
		}
	}
	return w
}

// TestSharedConnectionsFollow: each of the sessions that share connections finds the state of a server of its own.
func TestSharedConnectionsFollow(t *testing.T) {
	t.Parallel()
	for seed := range uint64(1500) {
		if playShared(seed, false).wrong != "" {
			t.Fatalf("seed %d:\n%s", seed, strings.Join(playShared(seed, true).log, "\n"))
		}
	}
}

// The state of a connection that is taken for that of another session's is found to be wrong.
func TestSharedWorldFindsLeaks(t *testing.T) {
	t.Parallel()
	w := &sharedWorld{Rand: rand.New(rand.NewPCG(1, 1))}
	a, b := w.login(), w.login()
	w.sessions = []*sharer{a, b}
	l := w.use(a, 0)
	w.client(a, set(privileged, "9"), 0)
	w.release(a, true)
	w.idle[0][0].state.Print = 0
	b.leases[0] = &lease{sharedConn: l.sharedConn, mark: b.journal.Take(&l.state, b.id, true)}
	if w.use(b, 0); w.wrong == "" {
		t.Error("not found")
	}
}
