package proxy

import (
	"gopgpool/cluster"
	"gopgpool/proxy/meter"
)

// This file decides what has become of a COMMIT whose answer was lost with its server connection. It is pure; committing.go asks and acts.
//
//	sent, with the question for the transaction's id in front
//	  |  the connection is lost
//	  |-- at a standby, or no id was assigned: nothing was written ----------------> as committed (rolled back if the server ended the session)
//	  |-- the server's last word came before the question was answered ------------> rolled back
//	  |-- no id is known (it was not asked for, or the answer was not there yet) --> unknown
//	  v
//	held ---- a View without a primary, or the lost one not decided about: wait --> failover_hold_timeout: unknown
//	  |-- a View whose Crossing ends the connection's reign: the id against its Bounds
//	  |       from After on -----------------------------------------------------> rolled back
//	  |       below Before: the new primary is asked ----------------------------> committed, rolled back, unknown
//	  |       in between, or no Bounds ------------------------------------------> unknown
//	  |-- the lost one is the primary still, or again, and answers ---------------> rolled back, unknown; in progress: wait
//	  |       on a connection from before the COMMIT -----------------------------> also committed
//	  '-- any other primary -----------------------------------------------------> unknown
//
// A server that has crashed and recovered may have forgotten ids and given them to other transactions. So "committed" is believed only
// where it did not recover in between: a connection from before the COMMIT proves it, a login after the loss makes it doubtful. Nor is it
// believed of a server that has warned the session that it ends: then it does not wait for its synchronous standbys, and what it alone has is
// lost with it.

// finding is what has become of a COMMIT and how that is known.
type finding struct {
	open    bool // it is not decided so far
	outcome meter.Outcome
	why     string
}

func found(o meter.Outcome, why string) finding { return finding{outcome: o, why: why} }

func undecided() finding { return finding{open: true} }

// lostCommit is what is known of a COMMIT whose answer was lost.
type lostCommit struct {
	node  cluster.NodeID
	epoch cluster.Epoch // of its connection
	// revived: the server has served somebody since the connection was lost.
	revived bool

	standby      bool // it ended a transaction at a standby
	unrun        bool // the server said that it ends before it came to the COMMIT
	refused      bool // the server ended the session by an error after that
	warned       bool // the server process warned that it ends: it no longer waits for synchronous standbys then
	keeps        bool // COMMIT was to run the query of a cursor WITH HOLD
	asked        bool // the question was sent ahead
	answered     bool // and its answer has come
	xid          cluster.XID
	none         bool // no id was assigned: nothing was written
	serializable bool
}

// atOnce is what the lost connection itself has told; an open one: a server has to be asked.
func (c *lostCommit) atOnce() finding {
	switch {
	case c.standby:
		return found(meter.Committed, "nothing can be written at a standby")
	case c.unrun:
		return found(meter.RolledBack, "the server ended before it came to the COMMIT")
	case !c.asked:
		return found(meter.Unknown, "the transaction's id was not asked for")
	case !c.answered:
		return found(meter.Unknown, "the transaction's id is not known")
	case c.none && c.refused: // COMMIT itself may have had something to do: to send notifications
		return found(meter.RolledBack, "the server ended the session, and the transaction had written nothing")
	case c.none && c.keeps:
		return found(meter.Unknown, "the query of a cursor WITH HOLD may have written")
	case c.none && c.serializable: // what it has read counts only if the server says so
		return found(meter.RolledBack, "the transaction is serializable and has written nothing")
	case c.none:
		return found(meter.Committed, "the transaction has written nothing")
	}
	return undecided()
}

// witness is who can tell what has become of a COMMIT; node is NoNode while nobody can.
type witness struct {
	node cluster.NodeID
	same bool // it is the server that was lost, and may be at work on the transaction still; otherwise its heir
}

// look tells whom to ask under a View. The finding is open as long as there is somebody, or somebody is waited for.
func (c *lostCommit) look(v *cluster.View) (witness, finding) {
	nobody := witness{node: cluster.NoNode}
	x := v.Crossing
	if x != nil && x.From == c.node && x.FromEpoch == c.epoch+1 {
		switch {
		case v.Seeking, v.Primary != x.To, !v.Live(x.To), v.Nodes[x.To].Epoch != x.ToEpoch:
			return nobody, found(meter.Unknown, "the primary was lost once more")
		case x.To == x.From:
			return witness{x.To, true}, undecided()
		}
		f := c.inside(x.Bounds)
		return witness{x.To, false}, f
	}
	switch {
	case v.Seeking, v.Primary == cluster.NoNode:
		return nobody, undecided()
	case v.Primary == c.node && v.Live(c.node) && v.Nodes[c.node].Epoch == c.epoch:
		return witness{c.node, true}, undecided()
	}
	return nobody, found(meter.Unknown, "the present primary does not know the lost one's transactions")
}

// inside holds the transaction's id against what is known of ids at the end of the reign.
func (c *lostCommit) inside(b cluster.Bounds) finding {
	switch {
	case b.Before == 0 && b.After == 0, b.After < b.Before:
		return found(meter.Unknown, "it is not known which transactions the new primary has seen")
	case c.xid < b.Before:
		return undecided()
	case c.xid >= b.After:
		return found(meter.RolledBack, "the new primary has not seen the transaction")
	}
	return found(meter.Unknown, "the new primary may have used the transaction's id itself")
}

// testimony is what a witness has answered.
type testimony struct {
	status string // of pg_xact_status; "" is NULL
	older  bool   // on a connection that was opened before the COMMIT was sent
}

// believe judges an answer.
func (c *lostCommit) believe(w witness, t testimony) finding {
	switch {
	case t.status == "aborted":
		return found(meter.RolledBack, "the primary says so")
	case t.status == "committed" && w.same && c.warned:
		return found(meter.Unknown, "the server may have given up waiting for its synchronous standbys")
	case t.status == "committed" && (w.same && !t.older || !w.same && c.revived):
		return found(meter.Unknown, "the server may have used the transaction's id twice")
	case t.status == "committed":
		return found(meter.Committed, "the primary says so")
	case t.status == "in progress" && w.same: // the server process works on it, or does not know yet that its client is gone
		return undecided()
	}
	return found(meter.Unknown, "the primary cannot tell")
}
