package stmt

import (
	"unicode/utf8"

	pg "github.com/pganalyze/pg_query_go/v6"
)

// parseFacts shows a shape to the grammar and computes its facts. Text that is not UTF-8 (names in another encoding) is
// not shown to it: its result could not be read back.
func parseFacts(sql []byte, flags byte) *Facts {
	if !utf8.Valid(sql) {
		return unparsedFacts(flags)
	}
	tree, err := pg.Parse(string(sql))
	if err != nil || len(tree.GetStmts()) == 0 {
		return unparsedFacts(flags)
	}
	return treeFacts(tree.GetStmts(), flags)
}

// treeFacts computes the facts of a parsed string.
func treeFacts(stmts []*pg.RawStmt, flags byte) *Facts {
	f := statementFacts(stmts[0].GetStmt())
	if len(stmts) > 1 {
		addStatements(f, stmts)
	}
	if flags&flagUnsure != 0 {
		f.Class, f.ReadOnly, f.MayTouchSession = ClassPrimary, false, true
		f.MultiState = f.Multi
	}
	applyStart(f, flags)
	return f
}

// addStatements makes the facts of the first statement those of the whole string. What is named anywhere is gathered, so
// that nothing a later statement does goes unnoticed.
func addStatements(f *Facts, stmts []*pg.RawStmt) {
	f.Multi = true
	f.Class = ClassPrimary
	first := *f
	f.MultiState, f.MultiBegins = changesState(&first), opens(&first, false)
	var relations, functions, temporary, dropped nameSet
	var executes, configures []string
	gather := func(g *Facts) {
		if g.Kind == KindExecute {
			executes = append(executes, g.Name)
		}
		executes = append(executes, g.Executes...)
		relations.add(g.Relations...)
		functions.add(g.Functions...)
		temporary.add(g.CreatesTemp...)
		dropped.add(g.DropsTables...)
	}
	f.ReadOnly = harmless(&first)
	gather(f)
	for _, s := range stmts[1:] {
		g := statementFacts(s.GetStmt())
		f.MultiState = f.MultiState || changesState(g)
		f.MultiBegins = opens(g, f.MultiBegins)
		f.ReadOnly = f.ReadOnly && harmless(g)
		f.MayTouchSession = f.MayTouchSession || g.MayTouchSession
		configures = append(configures, g.Configures...)
		gather(g)
		if f.DatabaseDDL == "" {
			f.DatabaseDDL = g.DatabaseDDL
		}
	}
	f.Relations, f.Functions, f.CreatesTemp, f.DropsTables = relations.list, functions.list, temporary.list, dropped.list
	f.Executes, f.Configures = executes, configures
	f.Signal = nil
}

// harmless tells whether a statement of a string leaves the string read-only: what only begins or ends transactions does.
func harmless(f *Facts) bool {
	switch f.Kind {
	case KindBegin, KindCommit, KindRollback:
		return true
	}
	return f.ReadOnly
}

// opens tells whether a transaction block is open after a statement.
func opens(f *Facts, before bool) bool {
	switch f.Kind {
	case KindBegin:
		return true
	case KindCommit, KindRollback:
		return f.Chain
	case KindPrepareTransaction:
		return false
	}
	return before
}

// changesState tells whether a statement leaves something in its session that outlives the transaction.
func changesState(f *Facts) bool {
	if len(f.CreatesTemp) > 0 {
		return true
	}
	switch f.Kind {
	case KindSet, KindSelect:
		return f.Setting != nil && !f.Setting.Local && !f.Setting.Transaction
	case KindReset, KindDiscard, KindPrepare, KindDeallocate, KindListen, KindUnlisten, KindLoad:
		return true
	case KindDeclareCursor:
		return f.Hold
	}
	return false
}

// applyStart sets what follows from how the text begins.
func applyStart(f *Facts, flags byte) {
	f.NoLoadBalanceHint = flags&flagNoBalance != 0
	f.FirstCharOK = true
	switch f.Kind {
	case KindSelect, KindEmpty, KindUnparsed:
		f.FirstCharOK = flags&flagFirstCharOK != 0
		f.LeadingSpace = flags&flagLeadingSpace != 0
	}
}

// emptyFacts are those of a text without a statement; the server answers EmptyQueryResponse.
func emptyFacts(flags byte) *Facts {
	f := &Facts{Kind: KindEmpty, Class: ClassEither, Counter: CountSelect, ReadOnly: true}
	applyStart(f, flags)
	return f
}

// unparsedFacts are those of a text the grammar does not know or must not see.
func unparsedFacts(flags byte) *Facts {
	f := &Facts{Kind: KindUnparsed, MayTouchSession: true}
	applyStart(f, flags)
	return f
}

// nestedFacts are the facts of a statement within another; its text has no start of its own.
func nestedFacts(n *pg.Node) *Facts {
	if n.GetNode() == nil {
		return nil
	}
	f := statementFacts(n)
	f.FirstCharOK = true
	return f
}
