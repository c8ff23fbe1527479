package route

import (
	"fmt"
	"strconv"
	"time"

	"gopgpool/cluster"
	"gopgpool/proxy/stmt"
)

// ReasonCode is the kind of a reason.
type ReasonCode uint8

// Reasons of decisions.
const (
	ReasonNone ReasonCode = iota

	// The load balance node.
	ReasonLoadBalanceNode // it was chosen earlier
	ReasonDice            // it was chosen now, by weight
	ReasonRedirect        // Node, by redirect list List
	ReasonRedirectStandby // Node, a standby as redirect list List asks
	ReasonRedirectRest    // Node, because the dice fell outside the share in redirect list List
	ReasonLowestDelay     // Other, because Node is too late
	ReasonNoWeight        // Node, the main node: no other has a weight
	ReasonTransactionNode // Node, where the transaction's reads have to stay
	ReasonCursorThere     // where the cursor Name was declared

	// The primary, though a read.
	ReasonLag             // Node is the load balance node and too late
	ReasonAllLag          // Node is too late and so are all others
	ReasonBalancingOff    // load_balance_mode
	ReasonNotReadOnly     // by syntax
	ReasonFirstChar       // the text does not begin as a read must
	ReasonHint            // /*NO LOAD BALANCE*/
	ReasonPattern         // primary_routing_query_pattern_list
	ReasonTxWrote         // disable_load_balance_on_write = transaction
	ReasonEarlierTxWrote  // ... = trans_transaction
	ReasonSessionWrote    // ... = always
	ReasonRelationWritten // ... = dml_adaptive, Name
	ReasonUnknownWritten  // ... = dml_adaptive, relations that cannot be named
	ReasonSerializable    // the transaction's isolation
	ReasonCatalog         // Name is a system catalog
	ReasonTemp            // Name is a temporary table
	ReasonTempPossible    // Name, a function or a table with children, may reach the session's temporary objects
	ReasonUnlogged        // Name is an unlogged table
	ReasonServerCall      // Name is a function, or a cast, whose answer is only right on the primary
	ReasonVolatileView    // Name is a sequence, or a view that reads one or calls a volatile function
	ReasonVolatile        // Name is a volatile function
	ReasonWriteFunction   // Name is in write_function_list
	ReasonNotListed       // Name is not in read_only_function_list
	ReasonNamesUnknown    // the catalogue could not be asked

	// The primary by the kind of statement.
	ReasonWrite
	ReasonLocksOrWrites // SELECT with INTO, a locking clause or a writing WITH
	ReasonPrimaryOnly   // Kind
	ReasonUnparsed
	ReasonMulti
	ReasonUnknownPrepared // EXECUTE, DEALLOCATE of Name

	// All nodes of the session.
	ReasonTransactionControl
	ReasonSessionState
	ReasonShareLock

	ReasonPreparedThere     // DEALLOCATE of Name: where it was prepared
	ReasonMainNode          // a mode without primary and balancing
	ReasonFailedTransaction // SQLSTATE 25P02
	ReasonNoNode            // no node is live
	ReasonSeeking           // the primary is being sought
	ReasonDraining          // a planned switchover waits for what is open on the primary
	ReasonNoPrimary         // no live node may be written to
	ReasonProxy             // answered by the proxy itself
)

// Reason says why a decision fell as it did. It is a value: comparing and counting by Code is cheap, text is made by
// String only when somebody reads it.
type Reason struct {
	Code    ReasonCode
	List    uint8          // which redirect list, in order of precedence
	Chosen  bool           // with ReasonLag: Node was chosen for this very statement
	Kind    stmt.Kind      // of ReasonPrimaryOnly
	Node    cluster.NodeID // the node spoken of; -1 or 0 where none is
	Other   cluster.NodeID
	Lag     cluster.LSN   // bytes, where LagTime is 0
	LagTime time.Duration // of delay_threshold_by_time
	Name    stmt.Name     // the relation, function or prepared statement spoken of
}

// plain texts of the reasons without arguments.
var reasonTexts = [...]string{
	ReasonLoadBalanceNode:    "load balance node",
	ReasonBalancingOff:       "load_balance_mode is off",
	ReasonNotReadOnly:        "not read-only",
	ReasonFirstChar:          "allow_sql_comments is off and the text does not begin as a SELECT",
	ReasonHint:               "hint NO LOAD BALANCE",
	ReasonPattern:            "matches primary_routing_query_pattern_list",
	ReasonTxWrote:            "transaction has written",
	ReasonEarlierTxWrote:     "an earlier transaction of the session has written",
	ReasonSessionWrote:       "session has written",
	ReasonUnknownWritten:     "transaction has written unknown relations",
	ReasonSerializable:       "transaction is serializable",
	ReasonNamesUnknown:       "the names in it could not be looked up",
	ReasonWrite:              "write",
	ReasonLocksOrWrites:      "SELECT that locks or writes",
	ReasonUnparsed:           "not understood, so taken for a write",
	ReasonMulti:              "several statements in one string",
	ReasonTransactionControl: "transaction control",
	ReasonSessionState:       "session state",
	ReasonShareLock:          "share lock",
	ReasonPreparedThere:      "prepared there",
	ReasonMainNode:           "main node",
	ReasonFailedTransaction:  "transaction has failed",
	ReasonNoNode:             "no node is up",
	ReasonSeeking:            "waits for the new primary",
	ReasonDraining:           "waits for the switchover of the primary",
	ReasonNoPrimary:          "no node may be written to",
	ReasonProxy:              "answered by pgpool",
}

// String returns the reason as an operator reads it in logs and in PGPOOL EXPLAIN ROUTE.
func (r Reason) String() string {
	switch r.Code {
	case ReasonDice:
		return "dice said " + r.node()
	case ReasonRedirect:
		return redirectNames[r.List] + " says node " + r.node()
	case ReasonRedirectStandby:
		return redirectNames[r.List] + " says standby, dice said " + r.node()
	case ReasonRedirectRest:
		return "dice said " + r.node() + ", outside the share in " + redirectNames[r.List]
	case ReasonNoWeight:
		return "no node to choose from has a weight"
	case ReasonLowestDelay:
		return fmt.Sprintf("node %d lags least; lag %s of node %d exceeds %s", r.Other, r.lag(), r.Node, r.threshold())
	case ReasonLag:
		who := "load balance node is " + r.node()
		if r.Chosen {
			who = "dice said " + r.node()
		}
		return who + ", but its lag " + r.lag() + " exceeds " + r.threshold()
	case ReasonAllLag:
		return "lag " + r.lag() + " of node " + r.node() + " exceeds " + r.threshold() + ", and no standby is within it"
	case ReasonTransactionNode:
		return "transaction stays on node " + r.node()
	case ReasonCursorThere:
		return "cursor " + r.name() + " is there"
	case ReasonPrimaryOnly:
		return kindText(r.Kind) + " runs on the primary"
	case ReasonRelationWritten:
		return "transaction has written " + r.name()
	case ReasonCatalog:
		return "system catalog " + r.name()
	case ReasonTemp:
		return "temporary table " + r.name()
	case ReasonTempPossible:
		return r.name() + " may read temporary tables of the session"
	case ReasonUnlogged:
		return "unlogged table " + r.name()
	case ReasonServerCall:
		return r.name() + " tells of catalogs or of its server"
	case ReasonVolatileView:
		return "rows of " + r.name() + " are made where writes go"
	case ReasonVolatile:
		return "volatile function " + r.name()
	case ReasonWriteFunction:
		return r.name() + " is in write_function_list"
	case ReasonNotListed:
		return r.name() + " is not in read_only_function_list"
	case ReasonUnknownPrepared:
		return "no prepared statement " + r.name()
	}
	if int(r.Code) < len(reasonTexts) {
		return reasonTexts[r.Code]
	}
	return ""
}

func (r Reason) node() string { return strconv.Itoa(int(r.Node)) }

func (r Reason) name() string {
	if r.Name.Schema == "" {
		return r.Name.Name
	}
	return r.Name.Schema + "." + r.Name.Name
}

func (r Reason) threshold() string {
	if r.LagTime > 0 {
		return "delay_threshold_by_time"
	}
	return "delay_threshold"
}

func (r Reason) lag() string {
	if r.LagTime > 0 {
		return r.LagTime.String()
	}
	const units = "kMGT"
	n, unit := float64(r.Lag), ""
	for i := 0; n >= 1024 && i < len(units); i++ {
		n /= 1024
		unit = units[i : i+1]
	}
	return strconv.FormatFloat(float64(int64(n*10))/10, 'f', -1, 64) + unit + "B"
}

func kindText(k stmt.Kind) string {
	switch k {
	case stmt.KindPrepareTransaction, stmt.KindCommitPrepared, stmt.KindRollbackPrepared:
		return "two-phase commit"
	case stmt.KindSavepoint, stmt.KindRelease, stmt.KindRollbackTo:
		return "savepoint"
	case stmt.KindSet:
		return "this SET"
	case stmt.KindReset:
		return "this RESET"
	case stmt.KindExplain:
		return "EXPLAIN"
	case stmt.KindLock:
		return "LOCK"
	case stmt.KindDeclareCursor, stmt.KindFetch, stmt.KindClosePortal:
		return "cursor"
	case stmt.KindListen:
		return "LISTEN"
	case stmt.KindNotify:
		return "NOTIFY"
	case stmt.KindUnlisten:
		return "UNLISTEN"
	case stmt.KindCall:
		return "CALL"
	case stmt.KindDo:
		return "DO"
	case stmt.KindVacuum:
		return "maintenance"
	case stmt.KindLoad:
		return "LOAD"
	case stmt.KindCheckpoint:
		return "CHECKPOINT"
	}
	return "utility statement"
}
