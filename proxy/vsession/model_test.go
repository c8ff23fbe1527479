package vsession

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
)

// modelServer is what a PostgreSQL server knows of the session: settings with their rules for transactions and savepoints
// (manual: SET, SAVEPOINT).
type modelServer struct {
	begins  map[string]string // what RESET goes back to: the parameters of the startup packet
	session map[string]string
	local   map[string]string // masks session until the transaction ends
	inTx    bool
	begun   string // the text it was begun with
	undo    snapshot
	points  []snapshot
}

type snapshot struct {
	name           string
	session, local map[string]string
}

func newModelServer() *modelServer {
	return newModelServerWith(map[string]string{})
}

func newModelServerWith(begins map[string]string) *modelServer {
	return &modelServer{begins: begins, session: maps.Clone(begins), local: map[string]string{}}
}

func (m *modelServer) snapshot(name string) snapshot {
	return snapshot{name, maps.Clone(m.session), maps.Clone(m.local)}
}

func (m *modelServer) restore(s snapshot) {
	m.session, m.local = maps.Clone(s.session), maps.Clone(s.local)
}

// run executes one statement. It reports false for one that PostgreSQL would refuse, which changes nothing.
func (m *modelServer) run(sql string) bool {
	word := strings.Fields(sql)
	switch word[0] {
	case "BEGIN":
		if m.inTx {
			return false
		}
		m.inTx, m.begun, m.undo, m.points = true, sql, m.snapshot(""), nil
	case "COMMIT", "ROLLBACK":
		return m.end(word)
	case "SAVEPOINT":
		if !m.inTx {
			return false
		}
		m.points = append(m.points, m.snapshot(word[1]))
	case "RELEASE":
		at := m.point(word[1])
		if at < 0 {
			return false
		}
		m.points = m.points[:at]
	case "SET":
		return m.set(word[1:])
	case "RESET":
		if word[1] != "ALL" {
			return m.set([]string{word[1], "DEFAULT"})
		}
		m.resetAll()
	case "DISCARD":
		if m.inTx {
			return false
		}
		m.set([]string{nameAuthorization, "DEFAULT"})
		m.resetAll()
	default:
		panic("model: " + sql)
	}
	return true
}

// set sets a parameter, given as [LOCAL] name value. What only a superuser may set is refused to a role.
func (m *modelServer) set(word []string) bool {
	local := word[0] == "LOCAL"
	if local {
		word = word[1:]
	}
	name, value := word[0], word[1]
	if name == privileged && m.session[nameRole]+m.session[nameAuthorization] != "" {
		return false
	}
	if value == "DEFAULT" {
		value = m.begins[name]
	}
	if local {
		if m.inTx { // else with a warning
			m.local[name] = value
		}
		return true
	}
	m.session[name] = value
	delete(m.local, name)
	if name == nameAuthorization {
		m.session[nameRole] = ""
	}
	return true
}

// privileged is a setting of the model that only superusers may make.
const privileged = "p3"

// resetAll is RESET ALL, which does not change who the session is.
func (m *modelServer) resetAll() {
	was := m.session
	m.session = maps.Clone(m.begins)
	for _, name := range []string{nameAuthorization, nameRole} {
		m.session[name] = was[name]
	}
	clear(m.local)
}

func (m *modelServer) end(word []string) bool {
	if len(word) > 1 && word[1] == "TO" {
		at := m.point(word[2])
		if at < 0 {
			return false
		}
		m.restore(m.points[at])
		m.points = m.points[:at+1]
		return true
	}
	if !m.inTx {
		return true // with a warning
	}
	if word[0] == "ROLLBACK" {
		m.restore(m.undo)
	}
	clear(m.local)
	m.inTx, m.points = false, nil
	if len(word) > 1 { // AND CHAIN
		m.inTx, m.undo = true, m.snapshot("")
	}
	return true
}

// point finds the newest savepoint of the name.
func (m *modelServer) point(name string) int {
	for i := len(m.points) - 1; m.inTx && i >= 0; i-- {
		if m.points[i].name == name {
			return i
		}
	}
	return -1
}

// state is what a statement that runs now could see.
func (m *modelServer) state() string {
	session := maps.Clone(m.session)
	effective := maps.Clone(session)
	maps.Copy(effective, m.local)
	for _, settings := range []map[string]string{session, effective} {
		maps.DeleteFunc(settings, func(_, value string) bool { return value == "" })
	}
	names := make([]string, len(m.points))
	for i, p := range m.points {
		names[i] = p.name
	}
	return fmt.Sprintf("tx %v, savepoints %v, settings %v, without local ones %v", m.inTx, names, effective, session)
}

// world is a session with servers behind it. Statements that change its state run on server 0; the others follow when they
// are used, as proxy does it.
type world struct {
	journal Journal
	servers []*modelServer
	marks   []*Mark
	log     []string
}

func newWorld(n int) *world {
	w := &world{}
	for range n {
		w.servers = append(w.servers, newModelServer())
		w.marks = append(w.marks, &Mark{})
	}
	return w
}

func (w *world) note(format string, args ...any) { w.log = append(w.log, fmt.Sprintf(format, args...)) }

// use brings a server up to the session's state. A server that has come apart is replaced by a fresh one.
func (w *world) use(i int) {
	if w.marks[i].Spoiled() && !w.marks[i].Joined() {
		w.note("server %d is replaced", i)
		w.servers[i], *w.marks[i] = newModelServer(), Mark{}
	}
	if !w.journal.Behind(w.marks[i]) {
		return
	}
	for _, s := range w.journal.Lacks(w.marks[i], i == 0, nil) {
		w.note("    server %d gets %s", i, s.Text)
		if !w.servers[i].run(asModelled(s.Text)) {
			w.note("    ... and refuses it")
		}
	}
}

// client runs a statement of the client.
func (w *world) client(s Statement) {
	w.note("client: %s", s.Text)
	word := strings.Fields(s.Text)
	switch {
	case word[0] == "BEGIN":
		if !w.journal.InTx() {
			w.journal.Begin(Begin{Text: s.Text, Other: "BEGIN"})
		}
	case word[0] == "COMMIT" || word[0] == "ROLLBACK" && s.Effect != RollbackTo:
		w.end(word)
	default:
		w.use(0)
		if w.servers[0].run(s.Text) {
			w.journal.Ran(w.marks[0], s)
		}
	}
}

func (w *world) end(word []string) {
	if !w.journal.InTx() {
		return
	}
	joined := w.marks[0].Joined()
	for i, m := range w.marks {
		switch {
		case !m.Joined():
		case i == 0:
			w.servers[i].run(strings.Join(word, " "))
		default:
			w.servers[i].run(word[0])
		}
	}
	if word[0] == "COMMIT" {
		w.journal.Commit(w.marks)
	} else {
		w.journal.Rollback(w.marks)
	}
	switch {
	case len(word) == 1:
	case joined:
		w.journal.Chain(w.marks[0])
	default:
		w.journal.Rechain()
	}
}

// statement makes the n-th kind of statement with small names and values.
func statement(n, name, value int) Statement {
	k, v := "p"+strconv.Itoa(name%4), strconv.Itoa(value%5)
	point := "s" + strconv.Itoa(name%2)
	switch n % 16 {
	case 0, 1:
		return Statement{Text: "BEGIN"}
	case 2:
		return Statement{Text: "COMMIT"}
	case 3:
		return Statement{Text: "ROLLBACK"}
	case 4, 5, 6:
		return Statement{Text: "SET " + k + " " + v, Effect: Setting, Name: k}
	case 7:
		return Statement{Text: "SET LOCAL " + k + " " + v, Effect: Local, Name: k}
	case 8:
		return Statement{Text: "RESET " + k, Effect: Setting, Name: k, Reset: true}
	case 9:
		if value%3 > 0 {
			return Statement{Text: "RESET ALL", Effect: ResetAll}
		}
		return Statement{Text: "DISCARD ALL", Effect: DiscardAll}
	case 10, 11:
		return Statement{Text: "SAVEPOINT " + point, Effect: Savepoint, Name: point}
	case 12:
		if value%3 == 0 {
			return Statement{Text: "RELEASE " + point, Effect: Release, Name: point}
		}
		return Statement{Text: "ROLLBACK TO " + point, Effect: RollbackTo, Name: point}
	case 13:
		return Statement{Text: []string{"COMMIT", "ROLLBACK"}[value%2] + " AND CHAIN"}
	case 14:
		who := []string{nameRole, nameAuthorization}[name%2]
		return Statement{Text: "SET " + who + " " + v, Effect: Setting, Name: who}
	default:
		who := []string{nameRole, nameAuthorization}[name%2]
		return Statement{Text: "RESET " + who, Effect: Setting, Name: who, Reset: true}
	}
}
