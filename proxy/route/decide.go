package route

import (
	"slices"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/proxy/stmt"
)

// Action is what the session does with a statement.
type Action uint8

// Actions.
const (
	Send   Action = iota // run it on Decision.Node
	Refuse               // answer with an error, see Decision.Reason
	Hold                 // wait for the next View, then decide again: the node it needs is being sought, or is about to change
	Answer               // the proxy answers it itself (SHOW pool_*, PGPOOL ...)
)

// Names are the catalogue's answers about the names in Subject's facts. Each field is 1 + the index of the first
// relation, or function, that has the property; 0 if none has.
type Names struct {
	Catalog  uint16 // of Facts.Relations: a relation of that name lies in schema pg_catalog
	Unlogged uint16 // of Facts.Relations
	Temp     uint16 // of Facts.Relations, then of Facts.Types: a temporary relation of this session
	Calls    uint16 // of Facts.Relations: a sequence, or a view that reads one or calls a volatile function
	Missing  uint16 // of Facts.Relations: there is no permanent relation of that name
	Parent   uint16 // of Facts.Relations: other tables inherit from it, some of which may be temporary
	Volatile uint16 // of Facts.Functions: some function of that name is volatile
	// TempSchema: the session has, or had, temporary objects.
	TempSchema bool
	Unknown    bool // the catalogue could not be asked: reads with names in them go to the primary
}

// Input is all that a decision depends on.
type Input struct {
	Facts *stmt.Facts // of the statement, or at Bind of the statement that was parsed
	// Prepared is, for EXECUTE and DEALLOCATE of Facts.Name, the facts of the text that prepared it (a PREPARE, or what a
	// Parse message held); nil if the session knows no such name. PreparedNode is where it was prepared.
	Prepared     *stmt.Facts
	PreparedNode cluster.NodeID

	State      *State
	View       *cluster.View
	Gauges     *cluster.Gauges
	Policy     *Policy
	Preference Preference     // Policy.Prefer, once per session
	Names      Names          // answers, where NeedsNames asks for them
	L          cluster.NodeID // the session's load balance node, NoNode before the first choice
	Dice       float64        // a new random number in [0,1)
	// Open: a transaction of the session, or a batch without its Sync, is open on the node that takes writes. It may go on there while
	// the View is Draining, and matters only then.
	Open bool
	Text string // the statement's text, where Policy.NeedsText
}

// Decision is where a statement goes.
type Decision struct {
	Action Action
	Node   cluster.NodeID // the node that runs the statement and whose reply the client sees; NoNode unless Send
	// Both: the statement changes the state of session or transaction, so every other node the session uses has to get it
	// too before it runs anything else. All: that is every live node, not just the load balance node.
	Both, All bool
	// PlainBegin: nodes other than Node get a plain BEGIN in its place, as a standby can be neither read-write nor
	// serializable.
	PlainBegin bool
	// Writes: not read-only by syntax or by the functions it calls. The session gives it to State.Succeeded.
	Writes bool
	// L is the load balance node from now on; ChoseL tells that it was chosen by this decision and is to be kept.
	L      cluster.NodeID
	ChoseL bool
	Reason Reason

	home     bool   // a read-only transaction stays on the node this statement is sent to
	snapshot bool   // a REPEATABLE READ transaction has its snapshot there
	declares string // a cursor that will be there
}

// openness is what the names in a statement can still change about a decision.
type openness uint8

const (
	settled    openness = iota // nothing
	writesOpen                 // whether it counts as a write, by the functions it calls
	allOpen                    // where it goes
)

// Subject returns the facts the decision is about: those of the statement behind EXECUTE and PREPARE, else of the
// statement itself. It is nil for an EXECUTE of an unknown name. Names are answers about the Subject.
func (in *Input) Subject() *stmt.Facts {
	switch in.Facts.Kind {
	case stmt.KindExecute:
		if p := in.Prepared; p != nil && p.Kind == stmt.KindPrepare && p.Inner != nil {
			return p.Inner
		}
		return in.Prepared
	case stmt.KindPrepare:
		if in.Facts.Inner != nil {
			return in.Facts.Inner
		}
	}
	return in.Facts
}

// NeedsNames reports whether the catalogue's answers about the names in Subject matter for the decision.
func NeedsNames(in *Input) bool {
	f := in.Subject()
	if f == nil || len(f.Relations)+len(f.Functions)+len(f.Types) == 0 {
		return false
	}
	var d Decision
	switch settle(in, &d) {
	case allOpen:
		return len(f.Relations)+len(f.Types) > 0 || f.MayTouchSession || !in.Policy.functionLists()
	case writesOpen:
		return len(f.Functions) > 0 && !in.Policy.functionLists()
	}
	return false
}

// Decide says where a statement goes, and why.
func Decide(in *Input) (d Decision) {
	decide(in, &d)
	d.snapshot = tookSnapshot(in)
	Admit(in, &d)
	return d
}

// Admit turns the decision to send a statement into Hold, or Refuse, where its node takes nothing now. Decide has done so; it is for who
// has changed d.Node.
func Admit(in *Input, d *Decision) {
	if d.Action != Send {
		return
	}
	switch {
	case d.Node == cluster.NoNode && in.View.Seeking:
		d.Action, d.Reason = Hold, Reason{Code: ReasonSeeking}
	case d.Node == cluster.NoNode:
		d.Action, d.Reason = Refuse, Reason{Code: ReasonNoPrimary}
	case d.Node == in.View.Writer() && in.closing():
		d.Action, d.Node, d.Reason = Hold, cluster.NoNode, Reason{Code: ReasonDraining}
	}
}

// closing reports whether nothing new may begin on the node that takes writes, because it is about to be another one.
func (in *Input) closing() bool { return in.View.Draining && !in.Open }

func decide(in *Input, d *Decision) {
	open := settle(in, d)
	if open == settled {
		return
	}
	f := in.Subject()
	why, writes := writingFunction(in, f)
	d.Writes = writes
	switch {
	case open == writesOpen:
	case namedRelation(in, f, &d.Reason):
	case writes:
		d.Reason = why
	default:
		balance(in, d)
	}
}

// settle decides as far as syntax, session and configuration do, with the primary as destination of what stays open.
func settle(in *Input, d *Decision) openness {
	f := in.Facts
	d.Node, d.L = in.View.Writer(), in.L
	switch {
	case f.Kind == stmt.KindPool:
		d.Action, d.Node, d.Reason.Code = Answer, cluster.NoNode, ReasonProxy
		return settled
	case in.View.Main() == cluster.NoNode && !in.View.Seeking:
		d.Action, d.Reason.Code = Refuse, ReasonNoNode
		return settled
	case in.State.failed && !leavesFailed(f):
		d.Action, d.Node, d.Reason.Code = Refuse, cluster.NoNode, ReasonFailedTransaction
		return settled
	case !in.View.Mode.HasPrimary():
		d.Reason.Code, d.Writes = ReasonMainNode, !f.ReadOnly
		return settled
	case f.Kind == stmt.KindUnparsed:
		d.Reason.Code, d.Writes = ReasonUnparsed, true
		return settled
	case f.Multi:
		d.Reason.Code, d.Writes = ReasonMulti, !f.ReadOnly
		return settled
	case f.Kind == stmt.KindDeallocate && f.Class == stmt.ClassPrepared:
		deallocate(in, d)
		return settled
	}
	f = in.Subject()
	if f == nil {
		d.Reason = Reason{Code: ReasonUnknownPrepared, Name: stmt.Name{Name: in.Facts.Name}}
		d.Writes = true
		return settled
	}
	switch f.Class {
	case stmt.ClassEither:
		return either(in, f, d)
	case stmt.ClassBoth:
		both(in, f, d)
	default:
		if in.Facts.Kind == stmt.KindDeclareCursor && !f.Hold && in.whole() {
			d.declares = f.Name
		}
		if runsOnStandby(f) && in.whole() {
			return reads(in, f, d)
		}
		if c, ok := declared(in, f); ok {
			d.Node, d.Reason = c.node, Reason{Code: ReasonCursorThere, Name: stmt.Name{Name: c.name}}
			return settled
		}
		d.Writes = !f.ReadOnly || f.MayTouchSession
		d.Reason = kindReason(f)
	}
	return settled
}

// leavesFailed reports what a failed transaction accepts. Anything else must not reach a server in either protocol: the
// transaction may have failed on another node than the one it would be sent to.
func leavesFailed(f *stmt.Facts) bool {
	switch f.Kind {
	case stmt.KindCommit, stmt.KindRollback, stmt.KindRollbackTo, stmt.KindEmpty:
		return true
	}
	return false
}

func kindReason(f *stmt.Facts) Reason {
	switch f.Kind {
	case stmt.KindInsert, stmt.KindUpdate, stmt.KindDelete, stmt.KindMerge, stmt.KindCopyFrom, stmt.KindCopyTo:
		return Reason{Code: ReasonWrite}
	case stmt.KindSelect:
		return Reason{Code: ReasonLocksOrWrites}
	}
	return Reason{Code: ReasonPrimaryOnly, Kind: f.Kind}
}

func deallocate(in *Input, d *Decision) {
	name := stmt.Name{Name: in.Facts.Name}
	d.Writes = true
	if in.Prepared == nil || !in.View.Live(in.PreparedNode) {
		d.Reason = Reason{Code: ReasonUnknownPrepared, Name: name}
		return
	}
	d.Node = in.PreparedNode
	d.Reason = Reason{Code: ReasonPreparedThere, Name: name}
}

// both decides statements that change the state of session or transaction. They run on the primary; the other nodes follow.
func both(in *Input, f *stmt.Facts, d *Decision) {
	d.Writes = !f.ReadOnly
	d.Reason.Code = ReasonSessionState
	d.Both = true
	switch f.Kind {
	case stmt.KindBegin:
		d.Reason.Code = ReasonTransactionControl
		d.PlainBegin = f.Modes.ReadWrite || f.Modes.Isolation == isolationSerializable
	case stmt.KindCommit, stmt.KindRollback:
		d.Reason.Code = ReasonTransactionControl
		d.Both = in.State.inTx
		if n, ok := in.stays(); ok && in.whole() {
			d.Node = n
		}
	case stmt.KindSavepoint, stmt.KindRollbackTo, stmt.KindRelease:
		d.Reason.Code = ReasonTransactionControl
	case stmt.KindLock:
		d.Reason.Code = ReasonShareLock
	}
	spread(in, d)
	switch f.Kind {
	case stmt.KindSet, stmt.KindReset, stmt.KindSavepoint, stmt.KindRollbackTo, stmt.KindRelease:
		atHome(in, d)
	}
}

// spread settles which other nodes follow.
func spread(in *Input, d *Decision) {
	if in.State.multi || !in.Policy.loadBalance {
		d.Both = false
	}
	if !d.Both {
		d.PlainBegin = false
		return
	}
	d.All = in.Policy.statementLevel
	if !d.All && !in.View.Live(d.L) {
		why := d.Reason
		choose(in, d)
		d.Reason = why
	}
}

// either runs the conditions for reading on the load balance node that need no catalogue.
func either(in *Input, f *stmt.Facts, d *Decision) openness {
	p := in.Policy
	d.Writes = true
	switch {
	case f.Setting != nil: // a SELECT that is nothing but set_config()
		d.Reason.Code, d.Both = ReasonSessionState, true
		spread(in, d)
		atHome(in, d)
		return settled
	case !f.ReadOnly && f.Kind != stmt.KindEmpty, callsInArguments(in):
		d.Reason.Code = ReasonNotReadOnly
		return settled
	case f == in.Facts && !beginsAsRead(p, f) && !in.whole():
		d.Reason.Code = ReasonFirstChar
		return settled
	}
	return reads(in, f, d)
}

// reads runs those of them that are about the session.
func reads(in *Input, f *stmt.Facts, d *Decision) openness {
	p, s := in.Policy, in.State
	node, stays := in.stays()
	d.Writes = false
	switch {
	case !p.loadBalance:
		d.Reason.Code = ReasonBalancingOff
		return settled
	case pinnedByWrite(p, s, &d.Reason):
		return settled
	case s.inTx && s.modes.isolation == serializable:
		d.Reason.Code = ReasonSerializable
		return writesOpen
	case f.NoLoadBalanceHint:
		d.Reason.Code = ReasonHint
		return writesOpen
	case p.matchesPattern(in.Text):
		d.Reason.Code = ReasonPattern
		return writesOpen
	case s.inTx && p.onWrite == conf.OnWriteDmlAdaptive && writtenRelation(in, f, &d.Reason):
		return writesOpen
	case f.ServerCall.Name != "" && (!in.snapshotAway() || assignsXID(f)):
		d.Reason = Reason{Code: ReasonServerCall, Name: f.ServerCall}
		return writesOpen
	case stays && node == d.Node:
		d.Reason = Reason{Code: ReasonTransactionNode, Node: node}
		return writesOpen
	case stays:
	case !p.statementLevel && in.L == d.Node && in.L != cluster.NoNode && !in.closing(): // the load balance node is the primary: nothing below matters
		d.Reason.Code = ReasonLoadBalanceNode
		return settled
	}
	return allOpen
}

// callsInArguments reports an EXECUTE whose arguments call functions. The catalogue is asked about the prepared statement
// only, so they count as writing.
func callsInArguments(in *Input) bool {
	return in.Facts.Kind == stmt.KindExecute && len(in.Facts.Functions) > 0
}

// beginsAsRead is the rule about the first character of the text.
func beginsAsRead(p *Policy, f *stmt.Facts) bool {
	if p.allowComments || f.Kind != stmt.KindSelect && f.Kind != stmt.KindEmpty {
		return true
	}
	return f.FirstCharOK && (p.skipBlanks || !f.LeadingSpace)
}

func pinnedByWrite(p *Policy, s *State, r *Reason) bool {
	switch {
	case p.onWrite == conf.OnWriteAlways && s.wroteEver:
		r.Code = ReasonSessionWrote
	case s.inTx && s.wrote && p.onWrite != conf.OnWriteOff && p.onWrite != conf.OnWriteDmlAdaptive:
		r.Code = ReasonTxWrote
	case s.inTx && s.wroteInTx && p.onWrite == conf.OnWriteTransTransaction:
		r.Code = ReasonEarlierTxWrote
	default:
		return false
	}
	return true
}

func writtenRelation(in *Input, f *stmt.Facts, r *Reason) bool {
	if in.State.wroteUnknown && len(f.Relations) > 0 {
		r.Code = ReasonUnknownWritten
		return true
	}
	name, found := in.State.writtenIn(in.Policy, f)
	if found {
		*r = Reason{Code: ReasonRelationWritten, Name: name}
	}
	return found
}

// namedRelation runs the conditions about the relations in the statement.
func namedRelation(in *Input, f *stmt.Facts, r *Reason) bool {
	p, n := in.Policy, &in.Names
	switch {
	case p.tempTables == conf.TempTableCatalog && besidesTemp(f, n, r):
		return true
	case len(f.Relations) == 0:
		return false
	case n.Unknown:
		r.Code = ReasonNamesUnknown
		return true
	case n.Catalog > 0 && !in.snapshotAway():
		*r = Reason{Code: ReasonCatalog, Name: nameAt(f.Relations, n.Catalog)}
		return true
	case p.tempTables == conf.TempTableCatalog && n.Temp > 0:
		*r = Reason{Code: ReasonTemp, Name: nameAt(f.Relations, n.Temp)}
		return true
	case n.Calls > 0 && !p.functionLists():
		*r = Reason{Code: ReasonVolatileView, Name: nameAt(f.Relations, n.Calls)}
		return true
	case n.Missing > 0 && in.Facts.Kind == stmt.KindExecute && in.PreparedNode == in.View.Writer():
		r.Code = ReasonPreparedThere
		r.Name = stmt.Name{Name: in.Facts.Name}
		return true
	case p.checkUnlogged && n.Unlogged > 0:
		*r = Reason{Code: ReasonUnlogged, Name: nameAt(f.Relations, n.Unlogged)}
		return true
	case p.tempTables == conf.TempTableTrace && len(in.State.temps) > 0:
		name, found := in.State.tempIn(f)
		if found {
			*r = Reason{Code: ReasonTemp, Name: name}
		}
		return found
	}
	return false
}

// assignsXID tells a read that recovery refuses although the function is not volatile.
func assignsXID(f *stmt.Facts) bool {
	return slices.ContainsFunc(f.Functions, func(n stmt.Name) bool { return n.Name == "txid_current" || n.Name == "pg_current_xact_id" })
}

// besidesTemp tells what may reach a temporary object of the session without naming a temporary relation: a type, a table with
// children, a function of the user's own.
func besidesTemp(f *stmt.Facts, n *Names, r *Reason) bool {
	ofType := int(n.Temp) - len(f.Relations)
	switch {
	case ofType > 0 && ofType <= len(f.Types):
		*r = Reason{Code: ReasonTemp, Name: f.Types[ofType-1]}
	case n.TempSchema && n.Parent > 0 && len(f.Relations) > 0:
		*r = Reason{Code: ReasonTempPossible, Name: nameAt(f.Relations, n.Parent)}
	case n.TempSchema && f.MayTouchSession:
		*r = Reason{Code: ReasonTempPossible, Name: ownFunction(f)}
	default:
		return false
	}
	return true
}

// ownFunction is the first function that is not PostgreSQL's own.
func ownFunction(f *stmt.Facts) stmt.Name {
	for _, n := range f.Functions {
		if stmt.MayTouchSession(n) {
			return n
		}
	}
	return stmt.Name{}
}

func nameAt(list []stmt.Name, oneBased uint16) stmt.Name {
	if i := int(oneBased) - 1; i >= 0 && i < len(list) {
		return list[i]
	}
	return stmt.Name{}
}

// writingFunction tells whether the statement calls a function that writes, by the lists or by the catalogue.
func writingFunction(in *Input, f *stmt.Facts) (Reason, bool) {
	p := in.Policy
	switch {
	case len(f.Functions) == 0:
		return Reason{}, false
	case !p.readOnly.empty():
		for i := range f.Functions {
			if !p.readOnly.match(f.Functions[i]) {
				return Reason{Code: ReasonNotListed, Name: f.Functions[i]}, true
			}
		}
	case !p.writing.empty():
		for i := range f.Functions {
			if p.writing.match(f.Functions[i]) {
				return Reason{Code: ReasonWriteFunction, Name: f.Functions[i]}, true
			}
		}
	case in.Names.Unknown:
		return Reason{Code: ReasonNamesUnknown}, true
	case in.Names.Volatile > 0:
		return Reason{Code: ReasonVolatile, Name: nameAt(f.Functions, in.Names.Volatile)}, true
	}
	return Reason{}, false
}

// balance sends a read to the load balance node, choosing one where that is due, unless it is too late.
func balance(in *Input, d *Decision) {
	if n, ok := in.stays(); ok {
		d.Node, d.Reason = n, Reason{Code: ReasonTransactionNode, Node: n}
		return
	}
	writer := d.Node
	d.home = in.whole()
	d.Reason.Code = ReasonLoadBalanceNode
	if in.Policy.statementLevel || !in.View.Live(d.L) {
		if !choose(in, d) {
			return
		}
	} else if d.L == writer && in.closing() {
		standIn(in, d)
		return
	}
	lag, late := tooLate(in, writer, d.L)
	switch {
	case !late:
		d.Node = d.L
	case in.Policy.preferLower:
		if choose(in, d) {
			d.Node = d.L
		}
	default:
		d.Reason = lagReason(ReasonLag, d.L, lag)
		d.Reason.Chosen = d.ChoseL
	}
}

// standIn sends a read to another node than the session's load balance node, which is the node that takes writes and takes nothing now.
// The session keeps its own for later.
func standIn(in *Input, d *Decision) {
	c := Choose(in)
	if lag, late := tooLate(in, d.Node, c.Node); late {
		d.Reason = lagReason(ReasonLag, c.Node, lag)
		return
	}
	d.Node, d.Reason = c.Node, c.Reason
}

// choose takes a new load balance node. It reports false when all standbys are too late: then the primary stands in, and
// is not kept, so that a standby that has caught up is taken again.
func choose(in *Input, d *Decision) bool {
	c := Choose(in)
	d.Reason = c.Reason
	if c.Reason.Code == ReasonAllLag {
		return false
	}
	d.L, d.ChoseL = c.Node, true
	return true
}
