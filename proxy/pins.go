package proxy

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"gopgpool/conf"
	"gopgpool/logging"
	"gopgpool/pgwire"
	"gopgpool/proxy/stmt"
	"gopgpool/proxy/vsession"
)

// This file is about what keeps a session that shares its connections on one of them (a pin): state at the server that cannot be moved.
// What a statement leaves is told by its text (holdingOf) or, after functions and the like, by a probe: a question to the server, sent
// when the transaction is over, about all that might have been left. The pin ends when a probe finds nothing.

// pins are the reasons as operators see them.
var pins = []struct {
	h      holding
	reason string
}{
	{holdsTemp, "temporary objects"},
	{holdsListen, "LISTEN"},
	{holdsLock, "advisory locks"},
	{holdsCursor, "cursor WITH HOLD"},
	{holdsSequence, "currval or lastval"},
	{holdsSeed, "setseed"},
	{holdsLibrary, "LOAD"},
	{holdsPrepared, "prepared statements"},
	{holdsMarked, "a function that leaves what cannot be asked for"},
	{holdsSettings, "settings"},
	{holdsUnknown, "a function"},
}

func (h holding) String() string {
	var all []string
	for _, p := range pins {
		if h&p.h != 0 {
			all = append(all, p.reason)
		}
	}
	return strings.Join(all, ", ")
}

// pinReason tells why the session keeps a connection, "" if it does not.
func (s *session) pinReason() string {
	if !s.pooled {
		return ""
	}
	var h holding
	for _, b := range s.backends {
		h |= b.holds
	}
	return h.String()
}

const (
	// findable is what a probe would find.
	findable = holdsTemp | holdsListen | holdsLock | holdsCursor | holdsPrepared | holdsSettings | holdsUnknown
	// foreverHeld is what no reset takes away.
	foreverHeld = holdsSeed | holdsLibrary | holdsMarked
)

// refuseShared is the error for a statement that cannot be run by a session that shares its connections; nil for most.
func (s *session) refuseShared(f *stmt.Facts) error {
	if !s.pooled {
		return nil
	}
	if s.pooling.Mode == conf.PoolModeStatement && (f.Kind == stmt.KindBegin || f.MultiBegins) {
		return &clientError{Code: "0A000", Message: "transaction blocks are not allowed with pool_mode = statement"}
	}
	if f.Kind == stmt.KindPrepareTransaction && s.hears.changes.Pending() {
		return &clientError{Code: "0A000", Message: "cannot PREPARE a transaction that has executed LISTEN, UNLISTEN, or NOTIFY"}
	}
	if err := s.refuseOurName(f); err != nil {
		return err
	}
	return s.refusePin(f)
}

// refusePin is the error for a statement whose effect would pin the session, where pin_mode says so; nil for any other.
func (s *session) refusePin(f *stmt.Facts) error {
	if !s.pooled || s.pooling.Pin != conf.PinModeError || s.state.IsFailed() {
		return nil
	}
	h := s.pinsBy(f) &^ (holdsUnknown | holdsSettings)
	if h == 0 {
		return nil
	}
	return &clientError{
		Code: "0A000", Message: fmt.Sprintf("%v cannot be used with pool_mode = %v", h, s.pooling.Mode),
		Detail: "It would keep the session on its server connection, and pin_mode is \"error\".",
		Hint:   "Use pin_mode = pin, or pool_mode = session for this database or user.",
	}
}

// pinsBy is what a statement will leave behind.
func (s *session) pinsBy(f *stmt.Facts) holding {
	if f.Kind == stmt.KindExplain && f.ReadOnly {
		return 0
	}
	return s.holdingThrough(f, true)
}

// holdingThrough is holdingOf for a statement and those it runs by name.
func (s *session) holdingThrough(f *stmt.Facts, writes bool) holding {
	h := s.holdingOf(s.subject(f), writes)
	for _, name := range f.Executes {
		if p := s.named[name]; p != nil {
			h |= s.holdingOf(p.runs(), writes)
		}
	}
	return h
}

// sequenceValues reports whether a statement, or one it runs by name, asks for what nextval has left on the connection.
func (s *session) sequenceValues(f *stmt.Facts) bool {
	if f.Kind == stmt.KindOther && f.Inner == nil {
		return false // a definition (DEFAULT currval(...)), which runs nothing now
	}
	if namesSequenceValues(s.subject(f)) {
		return true
	}
	for _, name := range f.Executes {
		if p := s.named[name]; p != nil && namesSequenceValues(p.runs()) {
			return true
		}
	}
	return false
}

func namesSequenceValues(f *stmt.Facts) bool {
	for i := range f.Functions {
		if n := f.Functions[i].Name; n == "currval" || n == "lastval" {
			return true
		}
	}
	return false
}

// mayAdvance reports whether a statement may call nextval: by name, as the default of a column, or in a function of the user's.
func (s *session) mayAdvance(f *stmt.Facts) bool {
	switch f.Kind {
	case stmt.KindInsert, stmt.KindUpdate, stmt.KindMerge, stmt.KindCopyFrom, stmt.KindUnparsed, stmt.KindDo, stmt.KindCall:
		return true
	case stmt.KindExecute, stmt.KindExplain:
		return true // what it runs may
	}
	for i := range f.Functions {
		if n := f.Functions[i].Name; n == "nextval" || n == "setval" {
			return true
		}
	}
	return f.Multi || s.taints(f)
}

// ownSequences makes sure that a statement which asks for a sequence's last value gets none of another session's. What others have left is
// taken away before the session's own nextval, once anybody asks for such values at all: most applications never do.
func (s *session) ownSequences(f *stmt.Facts, b *backend) {
	if !s.pooled {
		return
	}
	asks := s.sequenceValues(f)
	if asks || len(f.Functions) > 0 && namesSequenceValues(f) { // a default that asks for them counts, too
		s.srv.asksSequences.Store(true)
	}
	switch {
	case b.sequences && (!asks || !b.unsure || !s.sequences.mixed):
		return
	case !asks && (!s.srv.asksSequences.Load() || !s.mayAdvance(f)):
		return
	}
	b.sequences, b.unsure = true, false
	if b.unsynced {
		s.injectExtended(b, "DISCARD SEQUENCES", nil)
	} else {
		s.injectQuietly(b, "DISCARD SEQUENCES")
	}
}

// mayEndPin reports whether a statement may take away what pins the session, so that it is worth while to probe.
func mayEndPin(f *stmt.Facts) bool {
	if f.Multi {
		return true
	}
	switch f.Kind {
	case stmt.KindSelect, stmt.KindInsert, stmt.KindUpdate, stmt.KindDelete, stmt.KindMerge:
		return len(f.Functions) > 0
	case stmt.KindFetch, stmt.KindShow, stmt.KindExplain, stmt.KindNotify, stmt.KindEmpty, stmt.KindBegin, stmt.KindCopyFrom, stmt.KindCopyTo:
		return false
	}
	return true
}

// askPins asks a connection on which nothing runs what the session has left there.
func (s *session) askPins(b *backend) {
	p := &probed{collector: &collector{}, full: b.holds&(holdsUnknown|holdsSettings) != 0, given: b.statements().Names(allNames)}
	p.at = s.journal.Version()
	p.collector.take = p.row
	p.collector.over = func() { s.absorb(b) }
	b.probing, b.probe = p, false
	sql := probeObjects
	if p.full {
		sql += probeSettings
		for _, name := range s.ownSettingNames() {
			name = vsession.Literal(name)
			sql += "\nUNION ALL SELECT 's', " + name + ", pg_catalog.current_setting(" + name + ", true)"
		}
	}
	b.unnamed = nil
	b.setQueued(pgwire.AppendQuery(b.queued(), sql))
	b.push(expect{kind: pgwire.Query, swallow: true, collect: p.collector})
	if s.set.LogPerNodeStatement() {
		s.logInjected(b, sql)
	}
}

// probed is what a probe has found.
type probed struct {
	*collector
	full     bool
	at       uint64 // version of the session's settings
	finds    holding
	settings []vsession.Startup
	user     string
	prepared []string
	given    []string // names clients have given, when it was asked
}

// The questions of a probe: one row for each finding, its kind and what it is about.
const (
	probeObjects = `SELECT 't', '', '' WHERE EXISTS (SELECT FROM pg_catalog.pg_class WHERE relnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())
OR EXISTS (SELECT FROM pg_catalog.pg_type WHERE typnamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())
OR EXISTS (SELECT FROM pg_catalog.pg_proc WHERE pronamespace OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())
UNION ALL SELECT 'l', '', '' WHERE EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory'
AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())
UNION ALL SELECT 'n', '', '' WHERE EXISTS (SELECT FROM pg_catalog.pg_listening_channels())
UNION ALL SELECT 'c', '', '' WHERE EXISTS (SELECT FROM pg_catalog.pg_cursors)
UNION ALL SELECT 'p', name::pg_catalog.text, '' FROM pg_catalog.pg_prepared_statements`
	probeSettings = `
UNION ALL SELECT 's', name, setting FROM pg_catalog.pg_settings WHERE source OPERATOR(pg_catalog.=) 'session' AND name OPERATOR(pg_catalog.!~) '^transaction_'
UNION ALL SELECT 'u', '', SESSION_USER::pg_catalog.text
UNION ALL SELECT 'r', '', pg_catalog.current_setting('role')`
)

func (p *probed) row(columns [][]byte) error {
	if len(columns) != 3 || len(columns[0]) != 1 {
		return fmt.Errorf("unexpected row of %d columns", len(columns))
	}
	name, value := string(columns[1]), string(columns[2])
	if columns[2] == nil {
		return nil // a setting that is not there
	}
	switch columns[0][0] {
	case 't':
		p.finds |= holdsTemp
	case 'l':
		p.finds |= holdsLock
	case 'n':
		p.finds |= holdsListen
	case 'c':
		p.finds |= holdsCursor
	case 'p':
		p.prepared = append(p.prepared, name)
	case 's':
		p.settings = append(p.settings, vsession.Startup{Name: name, Value: value})
	case 'u':
		p.user = value
	case 'r':
		if value != "none" {
			p.settings = append(p.settings, vsession.Startup{Name: "role", Value: value})
		}
	}
	return nil
}

// absorb takes over what a probe has found. Settings found become the journal's, so they need not pin.
func (s *session) absorb(b *backend) {
	p := b.probing
	b.probing = nil
	if p.err != nil {
		s.log.Log(logging.Event{Severity: logging.Warning, Message: "could not find out what a session has left on its server connection", Detail: p.err.Error()})
		return
	}
	if p.full && p.at != s.journal.Version() { // settings were made elsewhere meanwhile: these are not the session's any more
		b.probe = true
		return
	}
	was := b.holds
	b.holds = b.holds&^findable | p.finds
	if s.foundPrepared(b, p.prepared, p.given) {
		b.holds |= holdsPrepared
	}
	if p.full {
		s.adoptSettings(b, p)
	}
	if b.holds != 0 && was&(holdsUnknown|holdsSettings) != 0 && s.pooling.Pin == conf.PinModeError {
		s.unwanted = &clientError{
			Severity: "FATAL", Code: "0A000", Message: fmt.Sprintf("%v cannot be used with pool_mode = %v", b.holds, s.pooling.Mode),
			Detail: "A function has left it on the server connection, and pin_mode is \"error\".",
		}
	}
}

func (s *session) adoptSettings(b *backend, p *probed) {
	settings := p.settings
	if p.user != "" && p.user != s.startup.User {
		at := len(settings)
		if at > 0 && settings[at-1].Name == "role" {
			at--
		}
		settings = append(settings[:at:at], append([]vsession.Startup{{Name: "session_authorization", Value: p.user}}, settings[at:]...)...)
	}
	s.journal.Adopt(&b.mark, settings)
	s.pinned = false
	s.stateVer++
}

// maxOwnNames bounds the names of settings of applications' own that are remembered.
const maxOwnNames = 200

// ownSettingNames are the settings with names of applications' own (my.name) that the session may have made: servers do not list them.
func (s *session) ownSettingNames() []string {
	names := s.journal.OwnNames()
	for _, n := range s.ownNames {
		if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// configured notes the names of settings that a statement has made in ways its text does not tell.
func (s *session) configured(b *backend, f *stmt.Facts) {
	if f.Setting != nil && !f.Multi {
		return
	}
	for _, n := range f.Configures {
		switch {
		case n == "", len(s.ownNames) >= maxOwnNames:
			b.holds |= holdsMarked // nobody knows what to ask for
		case strings.Contains(n, ".") && !slices.Contains(s.ownNames, n):
			s.ownNames = append(s.ownNames, n)
		}
	}
}

// sendsPin notes what a statement may leave behind when it is sent: much of that stays when it fails, or is rolled back.
func (s *session) sendsPin(b *backend, f *stmt.Facts, writes bool) {
	subject := s.subject(f)
	if subject == nil {
		subject = f
	}
	if len(f.Configures) > 0 {
		s.configured(b, f)
	}
	before := b.holds
	b.holds |= s.holdingThrough(f, writes) &^ holdsSequence
	b.probe = b.probe || b.holds&^before&findable != 0 || b.holds&findable != 0 && (mayEndPin(f) || mayEndPin(subject))
}

// asksVolatile reports whether it matters if the functions in a statement are volatile.
func asksVolatile(f *stmt.Facts) bool {
	return f != nil && f.MayTouchSession && f.Setting == nil && len(f.Functions) > 0 && !f.Multi
}

// taints reports whether a statement may leave state that its text does not show: it runs code, or calls a volatile function that is not one
// of PostgreSQL's harmless ones nor in safe_function_list.
func (s *session) taints(f *stmt.Facts) bool {
	if !f.MayTouchSession || f.Setting != nil {
		return false
	}
	if !asksVolatile(f) || f.Kind == stmt.KindDo || f.Kind == stmt.KindUnparsed {
		return true
	}
	names, ok := s.temps.Look(f, s.policy.AsksTemp(), s.t.Now())
	for i, n := range f.Functions {
		switch {
		case !stmt.MayTouchSession(n), s.cfg.Pools.SafeFunctionList.Match(qualified(&n)):
		case !ok, names.Unknown, i >= 16, names.Volatile&(1<<i) != 0:
			return true
		}
	}
	return f.Kind == stmt.KindCall
}

// injectExtended sends a statement of ours, which prepares p if that is not nil, in the middle of an extended batch. It has a name, for
// the unnamed statement and portal are the client's; one that failed may have left its name behind.
func (s *session) injectExtended(b *backend, text string, p *prepared) {
	name := s.srv.statements.nameOf(0)
	out := pgwire.AppendClose(b.queued(), 'S', name)
	out = pgwire.AppendParse(out, name, text)
	out = pgwire.AppendBind(out, name, name)
	out = pgwire.AppendExecute(out, name)
	out = pgwire.AppendClose(out, 'P', name)
	out = pgwire.AppendClose(out, 'S', name)
	b.setQueued(out)
	for _, kind := range []byte{pgwire.Close, pgwire.Parse, pgwire.Bind, pgwire.Execute, pgwire.Close, pgwire.Close} {
		e := expect{kind: kind, swallow: true, mark: s.mark}
		if kind == pgwire.Execute {
			e.prep = p
		}
		b.push(e)
	}
	b.dirty = true
}

// sendsText notes what a text that cannot be parsed may leave behind.
func (s *session) sendsText(b *backend, f *stmt.Facts, text []byte) {
	if s.pooled && f.Kind == stmt.KindUnparsed && maySetOwn(text) {
		b.holds |= holdsMarked
	}
}

// maySetOwn reports whether a text that cannot be parsed (it is not in UTF-8, say) may set a parameter of the application's own (my.name),
// which no probe would find.
func maySetOwn(text []byte) bool {
	return bytes.IndexByte(text, '.') >= 0 && bytes.Contains(bytes.ToLower(text), []byte("set"))
}
