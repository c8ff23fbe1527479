package route

import (
	"testing"

	"gopgpool/proxy/stmt"
)

// A transaction stays where its first statement was really sent, which may be another node than the decision asked for.
func TestPlacedElsewhere(t *testing.T) {
	for _, begin := range []string{"begin read only", "begin isolation level repeatable read"} {
		in := newInput("select 1", nil)
		in.State.Succeeded(analyze(begin), true)
		d := Decide(in)
		if d.Node != 1 {
			t.Fatalf("%s: first read on %s", begin, d.Destination(in.View))
		}
		in.State.Placed(&d, 2)
		for range 2 {
			if d = Decide(in); d.Node != 2 || d.Reason.Code != ReasonTransactionNode {
				t.Errorf("%s: next read on %s (%s)", begin, d.Destination(in.View), d.Reason)
			}
			in.State.Placed(&d, d.Node)
		}
		in.State.End(true)
		if d = Decide(in); d.Node != 1 {
			t.Errorf("%s: read after the transaction on %s", begin, d.Destination(in.View))
		}
	}
}

// A decision that sent nothing, or was made outside a transaction, settles nothing.
func TestPlacedSettlesNothing(t *testing.T) {
	in := newInput("select 1", nil)
	d := Decide(in)
	in.State.Placed(&d, 2)
	in.State.Begin(stmt.TxModes{ReadOnly: true})
	if d = Decide(in); d.Node != 1 {
		t.Errorf("after a read outside: %s", d.Destination(in.View))
	}
	d.Action = Hold
	in.State.Placed(&d, 2)
	if d = Decide(in); d.Node != 1 {
		t.Errorf("after a statement that was held: %s", d.Destination(in.View))
	}
}

// TestModes follows the isolation level and READ ONLY through what can change them.
func TestModes(t *testing.T) {
	for _, c := range []struct {
		name       string
		seed       modes
		statements []string
		want       modes
	}{
		{"begin", modes{}, []string{"begin"}, modes{}},
		{"the session's defaults", modes{repeatableRead, true}, []string{"begin"}, modes{repeatableRead, true}},
		{
			"begin beats them",
			modes{repeatableRead, true},
			[]string{"begin isolation level read committed, read write"},
			modes{},
		},
		{
			"serializable",
			modes{},
			[]string{"start transaction isolation level serializable, read only"},
			modes{serializable, true},
		},
		{"a second begin", modes{}, []string{"begin", "begin read only"}, modes{readCommitted, true}},
		{
			"set transaction",
			modes{},
			[]string{"begin", "set transaction isolation level repeatable read, read only"},
			modes{repeatableRead, true},
		},
		{"outside a transaction", modes{}, []string{"set transaction read only", "begin"}, modes{}},
		{
			"the variables",
			modes{},
			[]string{"begin", "set transaction_isolation = 'Repeatable Read'", "set transaction_read_only = yes"},
			modes{repeatableRead, true},
		},
		{"off again", modes{}, []string{"begin read only", "set transaction_read_only to default"}, modes{}},
		{"local", modes{}, []string{"set local transaction_read_only = on", "begin"}, modes{}},
		{
			"characteristics",
			modes{},
			[]string{"set session characteristics as transaction read only, isolation level repeatable read", "begin"},
			modes{repeatableRead, true},
		},
		{
			"the defaults' variables",
			modes{},
			[]string{"set default_transaction_isolation = 'repeatable read'", "set default_transaction_read_only = 1", "begin"},
			modes{repeatableRead, true},
		},
		{
			"a local default",
			modes{},
			[]string{"begin", "set local default_transaction_read_only = on", "commit", "begin"},
			modes{},
		},
		{
			"reset",
			modes{serializable, true},
			[]string{"set default_transaction_read_only = off", "reset default_transaction_read_only", "begin"},
			modes{serializable, true},
		},
		{
			"reset all",
			modes{repeatableRead, false},
			[]string{"set default_transaction_isolation = serializable", "reset all", "begin"},
			modes{repeatableRead, false},
		},
		{"discard all", modes{}, []string{"set default_transaction_read_only = on", "discard all", "begin"}, modes{}},
		{"rolled back", modes{}, []string{"begin", "set default_transaction_read_only = on", "rollback", "begin"}, modes{}},
		{
			"chained",
			modes{},
			[]string{"begin isolation level repeatable read, read only", "commit and chain"},
			modes{repeatableRead, true},
		},
		{
			"savepoint of a chained one",
			modes{},
			[]string{"begin read only", "commit and chain", "savepoint a", "rollback to a"},
			modes{readCommitted, true},
		},
		{
			"a savepoint takes it back",
			modes{},
			[]string{"begin", "savepoint a", "set transaction read only", "rollback to a"},
			modes{},
		},
		{
			"a savepoint of before",
			modes{},
			[]string{"begin", "set transaction read only", "savepoint a", "savepoint b", "rollback to a"},
			modes{readCommitted, true},
		},
		{
			"and one of before that",
			modes{},
			[]string{"begin", "savepoint c", "set transaction read only", "savepoint a", "rollback to a", "rollback to c"},
			modes{},
		},
		{
			"a name that was released",
			modes{},
			[]string{"begin", "savepoint a", "set transaction read only", "savepoint a", "release a", "rollback to a"},
			modes{},
		},
		{
			"a name of before and after",
			modes{},
			[]string{"begin", "savepoint a", "set transaction read only", "savepoint b", "savepoint a", "rollback to b", "rollback to a"},
			modes{},
		},
		{
			"but not the beginning",
			modes{},
			[]string{"begin read only", "savepoint a", "rollback to a"},
			modes{readCommitted, true},
		},
	} {
		var s State
		s.seed, s.defaults = c.seed, c.seed
		for _, sql := range c.statements {
			s.Succeeded(analyze(sql), true)
		}
		if s.modes != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, s.modes, c.want)
		}
	}
}

// The cursors of a transaction are forgotten when they are closed and when it ends.
func TestCursorsAreForgotten(t *testing.T) {
	var s State
	s.Begin(stmt.TxModes{ReadOnly: true})
	for _, name := range []string{"a", "b", "a", "c"} {
		s.Placed(&Decision{declares: name}, 1)
	}
	for _, step := range []struct {
		sql  string
		left int
	}{{"close a", 2}, {"close x", 2}, {"close all", 0}} {
		s.Succeeded(analyze(step.sql), true)
		if len(s.cursors) != step.left {
			t.Errorf("%s leaves %d", step.sql, len(s.cursors))
		}
	}
	s.Placed(&Decision{declares: "a"}, 1)
	s.End(true)
	if len(s.cursors) != 0 {
		t.Error("a cursor outlives its transaction")
	}
}
