package route

import (
	"gopgpool/cluster"
	"gopgpool/proxy/stmt"
)

// A read-only transaction goes to a standby as a whole: its reads, and what else a standby can do for it (settings, savepoints,
// cursors, EXPLAIN), run on one node, which is chosen with its first statement. What a standby cannot do, or would answer
// otherwise, still runs on the primary: what the conditions for reads send there, and every other kind of statement. A
// serializable transaction runs on the primary. The reads of a REPEATABLE READ transaction, read-only or not, stay on the node
// that took its snapshot: two nodes are two snapshots.

// whole reports whether the statement belongs to such a read-only transaction, or announces it.
func (in *Input) whole() bool {
	s := in.State
	var r Reason
	return s.inTx && (s.modes.readOnly || announcesReadOnly(in.Facts)) && s.modes.isolation != serializable && !s.multi &&
		in.Policy.loadBalance && in.View.Mode == cluster.ModeStreaming && !pinnedByWrite(in.Policy, s, &r)
}

// announcesReadOnly reports SET TRANSACTION READ ONLY and its like.
func announcesReadOnly(f *stmt.Facts) bool {
	if f.Setting == nil || f.Class != stmt.ClassBoth && f.Kind != stmt.KindSelect {
		return false
	}
	if f.Setting.Transaction {
		return f.Modes.ReadOnly
	}
	return f.Setting.Name == "transaction_read_only" && !f.Setting.Default && isTrue(f.Setting.Value)
}

// stays returns the node the transaction's reads stay on, false as long as none has been settled, or when it is gone.
func (in *Input) stays() (cluster.NodeID, bool) {
	s := in.State
	switch {
	case s.snapshot.is(in.View):
		return s.snapshot.node, true
	case s.home.is(in.View) && in.whole():
		return s.home.node, true
	}
	return cluster.NoNode, false
}

// snapshotAway reports whether the transaction's snapshot is one of a standby. What would be read from the primary only to be up to
// date is read there too.
func (in *Input) snapshotAway() bool {
	return in.State.snapshot.is(in.View) && in.State.snapshot.node != in.View.Writer()
}

// settled is a node that was settled for a transaction.
type settledNode struct {
	node  cluster.NodeID
	known bool
}

func (n settledNode) is(v *cluster.View) bool { return n.known && v.Live(n.node) }

// runsOnStandby reports the kinds that belong to the primary as a rule, and that a standby can do in a read-only transaction.
func runsOnStandby(f *stmt.Facts) bool {
	switch f.Kind {
	case stmt.KindExplain:
		return f.ReadOnly && len(f.Executes) == 0
	case stmt.KindDeclareCursor:
		q := f.Inner
		return !f.Hold && q != nil && q.Kind == stmt.KindSelect && q.Class == stmt.ClassEither && q.ReadOnly && q.Setting == nil
	}
	return false
}

// atHome settles where a statement runs that a read-only transaction only needs on its own node.
func atHome(in *Input, d *Decision) {
	if !in.whole() {
		return
	}
	why := d.Reason
	balance(in, d)
	d.Reason = why
}

// declared finds a cursor of this transaction, for FETCH and CLOSE. CLOSE ALL closes those of the node of the first; the others end
// with the transaction.
func declared(in *Input, f *stmt.Facts) (cursor, bool) {
	if f.Kind != stmt.KindFetch && f.Kind != stmt.KindClosePortal {
		return cursor{}, false
	}
	for _, c := range in.State.cursors {
		if (c.name == f.Name || f.Name == "") && in.View.Live(c.node) {
			return c, true
		}
	}
	return cursor{}, false
}

// tookSnapshot reports whether the statement takes the snapshot of a REPEATABLE READ transaction that has none.
func tookSnapshot(in *Input) bool {
	s := in.State
	if !s.inTx || s.multi || s.modes.isolation != repeatableRead || s.snapshot.is(in.View) {
		return false
	}
	switch in.Facts.Kind {
	case stmt.KindEmpty, stmt.KindBegin, stmt.KindCommit, stmt.KindRollback, stmt.KindSavepoint, stmt.KindRollbackTo, stmt.KindRelease,
		stmt.KindSet, stmt.KindReset, stmt.KindShow, stmt.KindDeallocate:
		return in.Facts.Multi
	}
	return true
}

// Placed folds that a statement decided by d is about to be sent to a node, which may be another one than d asks for. Call it
// for each statement, before the next is decided.
func (s *State) Placed(d *Decision, node cluster.NodeID) {
	if !s.inTx || d.Action != Send {
		return
	}
	if d.home {
		s.home = settledNode{node, true}
	}
	if d.snapshot {
		s.snapshot = settledNode{node, true}
	}
	if d.declares != "" {
		s.closeCursor(d.declares)
		s.cursors = append(s.cursors, cursor{d.declares, node})
	}
}

// cursor is one that the transaction has declared.
type cursor struct {
	name string
	node cluster.NodeID
}

// closeCursor forgets a cursor, or all of them.
func (s *State) closeCursor(name string) {
	kept := s.cursors[:0]
	for _, c := range s.cursors {
		if name != "" && c.name != name {
			kept = append(kept, c)
		}
	}
	s.cursors = kept
}
