package stmt

import (
	"slices"
	"strconv"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// cursorHold is the bit of DECLARE's options for WITH HOLD.
const cursorHold = 0x20

// The lock modes from which on a LOCK is refused by a standby.
const rowExclusiveLock = 3

// statementFacts computes the facts of one statement but for what its text begins with.
func statementFacts(n *pg.Node) *Facts {
	w := walk(n)
	f := &Facts{
		Kind:            KindOther,
		Counter:         CountDDL,
		Relations:       w.relations.list,
		Functions:       w.functions.list,
		Types:           w.types.list,
		ServerCall:      w.serverCall,
		Executes:        w.executes,
		Configures:      w.configures,
		CreatesTemp:     w.temporary.list,
		MayTouchSession: slices.ContainsFunc(w.functions.list, MayTouchSession),
	}
	switch s := n.GetNode().(type) {
	case *pg.Node_SelectStmt:
		selectFacts(f, s.SelectStmt, &w)
	case *pg.Node_InsertStmt:
		f.Kind, f.Counter = KindInsert, CountInsert
	case *pg.Node_UpdateStmt:
		f.Kind, f.Counter = KindUpdate, CountUpdate
	case *pg.Node_DeleteStmt:
		f.Kind, f.Counter = KindDelete, CountDelete
	case *pg.Node_MergeStmt:
		f.Kind = KindMerge
	case *pg.Node_CopyStmt:
		copyFacts(f, s.CopyStmt)
	case *pg.Node_TransactionStmt:
		transactionFacts(f, s.TransactionStmt)
	case *pg.Node_VariableSetStmt:
		setFacts(f, s.VariableSetStmt)
	case *pg.Node_VariableShowStmt:
		showFacts(f, s.VariableShowStmt)
	case *pg.Node_ExplainStmt:
		explainFacts(f, s.ExplainStmt)
	case *pg.Node_PrepareStmt:
		prepareFacts(f, s.PrepareStmt)
	case *pg.Node_CreateTableAsStmt:
		f.Inner = nestedFacts(s.CreateTableAsStmt.GetQuery())
	case *pg.Node_LockStmt:
		f.Kind, f.Counter = KindLock, CountOther
		if s.LockStmt.GetMode() < rowExclusiveLock {
			f.Class = ClassBoth
		}
	case *pg.Node_DropStmt:
		f.DropsTables = dropped(s.DropStmt)
		w.relations.add(f.DropsTables...)
		f.Relations = w.relations.list
	case *pg.Node_CallStmt:
		f.Kind, f.MayTouchSession = KindCall, true
	case *pg.Node_DoStmt:
		f.Kind, f.MayTouchSession = KindDo, true
	case *pg.Node_CreatedbStmt:
		f.DatabaseDDL = optionText(s.CreatedbStmt.GetOptions(), "template")
	case *pg.Node_DropdbStmt:
		f.DatabaseDDL = s.DropdbStmt.GetDbname()
	case *pg.Node_AlterDatabaseStmt:
		if hasOption(s.AlterDatabaseStmt.GetOptions(), "tablespace") {
			f.DatabaseDDL = s.AlterDatabaseStmt.GetDbname()
		}
	case *pg.Node_RenameStmt:
		if s.RenameStmt.GetRenameType() == pg.ObjectType_OBJECT_DATABASE {
			f.DatabaseDDL = s.RenameStmt.GetSubname()
		}
	default:
		namedFacts(f, n)
	}
	if f.Class == ClassEither && (slices.ContainsFunc(f.Functions, inTempSchema) || slices.ContainsFunc(f.Relations, inTempSchema)) {
		f.Class = ClassPrimary
	}
	return f
}

// namedFacts handles statements that are little more than a verb and a name.
func namedFacts(f *Facts, n *pg.Node) {
	switch s := n.GetNode().(type) {
	case *pg.Node_ExecuteStmt:
		f.Kind, f.Class, f.Counter, f.Name = KindExecute, ClassPrepared, CountOther, s.ExecuteStmt.GetName()
		f.Executes = nil
	case *pg.Node_DeallocateStmt:
		f.Kind, f.Class, f.Counter, f.Name = KindDeallocate, ClassPrepared, CountOther, s.DeallocateStmt.GetName()
		if s.DeallocateStmt.GetIsall() || f.Name == "" {
			f.Class, f.Name = ClassBoth, ""
		}
	case *pg.Node_DiscardStmt:
		f.Kind, f.Class, f.Counter = KindDiscard, ClassBoth, CountOther
		f.DiscardTarget = discardTarget(s.DiscardStmt.GetTarget())
	case *pg.Node_DeclareCursorStmt:
		f.Kind, f.Name = KindDeclareCursor, s.DeclareCursorStmt.GetPortalname()
		f.Hold = s.DeclareCursorStmt.GetOptions()&cursorHold != 0
		f.Inner = nestedFacts(s.DeclareCursorStmt.GetQuery())
	case *pg.Node_FetchStmt:
		f.Kind, f.Name = KindFetch, s.FetchStmt.GetPortalname()
	case *pg.Node_ClosePortalStmt:
		f.Kind, f.Name = KindClosePortal, s.ClosePortalStmt.GetPortalname()
	case *pg.Node_ListenStmt:
		f.Kind, f.Counter, f.Name = KindListen, CountOther, s.ListenStmt.GetConditionname()
	case *pg.Node_NotifyStmt:
		f.Kind, f.Counter, f.Name = KindNotify, CountOther, s.NotifyStmt.GetConditionname()
	case *pg.Node_UnlistenStmt:
		f.Kind, f.Counter, f.Name = KindUnlisten, CountOther, s.UnlistenStmt.GetConditionname()
	case *pg.Node_VacuumStmt:
		f.Kind, f.Counter = KindVacuum, CountOther
	case *pg.Node_LoadStmt:
		f.Kind, f.Counter = KindLoad, CountOther
	case *pg.Node_CheckPointStmt:
		f.Kind, f.Counter = KindCheckpoint, CountOther
	case *pg.Node_ConstraintsSetStmt:
		f.Counter = CountOther
	}
}

// selectFacts: SELECT, VALUES, TABLE (query-routing sections 6 and 7).
func selectFacts(f *Facts, s *pg.SelectStmt, w *walker) {
	f.Kind, f.Counter = KindSelect, CountSelect
	f.ReadOnly = !w.writingCTE && !intoOrLocks(s)
	if !w.writingCTE && !w.into && !w.locks {
		f.Class = ClassEither
	}
	call := soleCall(s)
	if call == nil {
		return
	}
	switch name := nameOf(call.GetFuncname()); {
	case name.Schema != "" && name.Schema != catalogSchema:
	case name.Name == nameTerminate, name.Name == nameCancel:
		f.Signal = signalOf(call, name.Name == nameTerminate)
	case name.Name == nameSetConfig:
		if f.Setting = configSetting(call); f.Setting != nil {
			f.MayTouchSession = false
		}
	}
}

// intoOrLocks tells INTO and FOR UPDATE of a SELECT itself or the SELECTs it is a set operation of.
func intoOrLocks(s *pg.SelectStmt) bool {
	if s == nil {
		return false
	}
	return s.GetIntoClause() != nil || len(s.GetLockingClause()) > 0 || intoOrLocks(s.GetLarg()) || intoOrLocks(s.GetRarg())
}

// soleCall answers the function call a SELECT consists of, nil if there is anything else in it.
func soleCall(s *pg.SelectStmt) *pg.FuncCall {
	if len(s.GetTargetList()) != 1 || len(s.GetFromClause()) > 0 || s.GetWhereClause() != nil || s.GetWithClause() != nil ||
		s.GetIntoClause() != nil || s.GetLarg() != nil || len(s.GetLockingClause()) > 0 || s.GetHavingClause() != nil ||
		s.GetLimitCount() != nil || s.GetLimitOffset() != nil || len(s.GetGroupClause()) > 0 {
		return nil
	}
	return s.GetTargetList()[0].GetResTarget().GetVal().GetFuncCall()
}

// signalOf reads pg_terminate_backend(pid [, timeout]) or pg_cancel_backend(pid).
func signalOf(call *pg.FuncCall, terminate bool) *Signal {
	if n := len(call.GetArgs()); n != 1 && (n != 2 || !terminate) {
		return nil
	}
	pid := uncast(call.GetArgs()[0])
	g := &Signal{Terminate: terminate, Param: int(pid.GetParamRef().GetNumber())}
	if text, ok := constText(pid); ok {
		if n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 32); err == nil {
			g.PID = int32(max(0, n))
		}
	}
	if g.PID == 0 && g.Param == 0 {
		return nil
	}
	return g
}

func copyFacts(f *Facts, s *pg.CopyStmt) {
	if s.GetIsFrom() {
		f.Kind = KindCopyFrom
		return
	}
	f.Kind = KindCopyTo
	f.Inner = nestedFacts(s.GetQuery())
	reads := true
	if f.Inner != nil {
		reads = f.Inner.Kind == KindSelect && f.Inner.ReadOnly
	}
	f.ReadOnly = reads && s.GetFilename() == "" && !s.GetIsProgram()
	if f.Inner == nil || f.Inner.Kind == KindSelect && f.Inner.Class == ClassEither {
		f.Class = ClassEither
	}
}

func showFacts(f *Facts, s *pg.VariableShowStmt) {
	f.Kind, f.Class, f.Counter, f.ReadOnly = KindShow, ClassEither, CountOther, true
	name := s.GetName()
	if strings.Contains(name, ".") { // whether it exists depends on the libraries that were loaded
		f.Class = ClassPrimary
	}
	if isPoolShow(name) {
		f.Kind, f.Class = KindPool, ClassPrimary
		f.Pool = &PoolCommand{Verb: "show_pool", Name: name}
	}
}

func explainFacts(f *Facts, s *pg.ExplainStmt) {
	f.Kind, f.Counter = KindExplain, CountOther
	f.Inner = nestedFacts(s.GetQuery())
	f.ReadOnly = !optionOn(s.GetOptions(), "analyze") || f.Inner != nil && f.Inner.Kind == KindSelect && f.Inner.ReadOnly
}

func prepareFacts(f *Facts, s *pg.PrepareStmt) {
	f.Kind, f.Counter, f.Name = KindPrepare, CountOther, s.GetName()
	if f.Inner = nestedFacts(s.GetQuery()); f.Inner != nil {
		f.Class = f.Inner.Class
		f.ReadOnly = f.Inner.Kind == KindSelect && f.Inner.ReadOnly
	}
}

// dropped answers what DROP TABLE and its like drop.
func dropped(s *pg.DropStmt) []Name {
	var names nameSet
	switch s.GetRemoveType() {
	case pg.ObjectType_OBJECT_TABLE, pg.ObjectType_OBJECT_VIEW, pg.ObjectType_OBJECT_SEQUENCE,
		pg.ObjectType_OBJECT_MATVIEW, pg.ObjectType_OBJECT_FOREIGN_TABLE:
		for _, o := range s.GetObjects() {
			names.add(nameOf(o.GetList().GetItems()))
		}
	}
	return names.list
}

func transactionFacts(f *Facts, s *pg.TransactionStmt) {
	f.Counter, f.Class, f.Chain = CountOther, ClassBoth, s.GetChain()
	f.Name = s.GetSavepointName()
	switch s.GetKind() {
	case pg.TransactionStmtKind_TRANS_STMT_BEGIN, pg.TransactionStmtKind_TRANS_STMT_START:
		f.Kind, f.Modes = KindBegin, modesOf(s.GetOptions())
		f.StartTransaction = s.GetKind() == pg.TransactionStmtKind_TRANS_STMT_START
	case pg.TransactionStmtKind_TRANS_STMT_COMMIT:
		f.Kind = KindCommit
	case pg.TransactionStmtKind_TRANS_STMT_ROLLBACK:
		f.Kind = KindRollback
	case pg.TransactionStmtKind_TRANS_STMT_SAVEPOINT:
		f.Kind = KindSavepoint
	case pg.TransactionStmtKind_TRANS_STMT_RELEASE:
		f.Kind = KindRelease
	case pg.TransactionStmtKind_TRANS_STMT_ROLLBACK_TO:
		f.Kind = KindRollbackTo
	case pg.TransactionStmtKind_TRANS_STMT_PREPARE:
		f.Kind, f.Class = KindPrepareTransaction, ClassPrimary
	case pg.TransactionStmtKind_TRANS_STMT_COMMIT_PREPARED:
		f.Kind, f.Class = KindCommitPrepared, ClassPrimary
	case pg.TransactionStmtKind_TRANS_STMT_ROLLBACK_PREPARED:
		f.Kind, f.Class = KindRollbackPrepared, ClassPrimary
	default:
		f.Class = ClassPrimary
	}
}

func discardTarget(m pg.DiscardMode) string {
	switch m {
	case pg.DiscardMode_DISCARD_PLANS:
		return "plans"
	case pg.DiscardMode_DISCARD_SEQUENCES:
		return "sequences"
	case pg.DiscardMode_DISCARD_TEMP:
		return "temp"
	}
	return "all"
}

// inTempSchema tells whether a name is that of a temporary object: those exist where writes go.
func inTempSchema(n Name) bool { return strings.HasPrefix(n.Schema, "pg_temp") }
