package route

import (
	"math/rand/v2"
	"strings"
	"testing"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/proxy/stmt"
)

func newPolicy(change func(*conf.Config)) *Policy {
	c := *conf.Default()
	if change != nil {
		change(&c)
	}
	return NewPolicy(&c.LoadBalance, &c.StreamingCheck, &c.RelationCache)
}

func threeNodes() *cluster.View {
	v := &cluster.View{Mode: cluster.ModeStreaming, Primary: 0}
	for i, weight := range []float64{1, 1, 2} {
		role := cluster.RoleStandby
		if i == 0 {
			role = cluster.RolePrimary
		}
		v.Nodes = append(v.Nodes, cluster.Node{ID: cluster.NodeID(i), Status: cluster.StatusUp, Role: role, Weight: weight})
	}
	return v
}

func analyze(sql string) *stmt.Facts {
	return stmt.NewAnalyzer(stmt.NewCache(stmt.Limits{})).Analyze([]byte(sql))
}

func newInput(sql string, change func(*conf.Config)) *Input {
	return &Input{
		Facts: analyze(sql), State: &State{}, View: threeNodes(), Gauges: &cluster.Gauges{}, Policy: newPolicy(change), L: 1,
	}
}

// A transaction that a string of several statements leaves open exists on the primary only. Whether a later read must
// follow it depends on whether the string wrote.
func TestTransactionBegunAmongSeveral(t *testing.T) {
	for _, c := range []struct {
		name     string
		readOnly bool
		want     cluster.NodeID
	}{{"reads only", true, 1}, {"writes", false, 0}} {
		in := newInput("select 1", nil)
		several := &stmt.Facts{Kind: stmt.KindBegin, Multi: true, MultiBegins: true, ReadOnly: c.readOnly}
		in.State.Succeeded(several, !several.ReadOnly)
		if d := Decide(in); d.Node != c.want || !in.State.PrimaryOnly() {
			t.Errorf("%s: read goes to %s (%s)", c.name, d.Destination(in.View), d.Reason)
		}
		in.Facts = analyze("savepoint a")
		if d := Decide(in); d.Both {
			t.Errorf("%s: savepoint is for %s", c.name, d.Destination(in.View))
		}
		in.State.Ready('I')
		if in.State.InTransaction() || in.State.PrimaryOnly() {
			t.Errorf("%s: ReadyForQuery I did not end it", c.name)
		}
	}
}

// What the server says after a statement wins over what its text said.
func TestReadyCorrectsState(t *testing.T) {
	var s State
	s.Ready('T')
	if !s.InTransaction() || !s.PrimaryOnly() {
		t.Error("a transaction nobody told of is not open, or not on the primary alone")
	}
	s.Ready('E')
	if !s.IsFailed() {
		t.Error("E is not a failed transaction")
	}
	s.Ready('I')
	if s.InTransaction() {
		t.Error("I left a transaction open")
	}
}

func TestBeginInsideTransactionKeepsTheWrite(t *testing.T) {
	var s State
	s.Begin(stmt.TxModes{})
	s.Succeeded(analyze("insert into t values (1)"), true)
	s.Begin(stmt.TxModes{})
	if !s.Wrote() {
		t.Error("a second BEGIN, which is only a warning, forgot the write")
	}
}

func TestNamesUnknownKeepReadsOnThePrimary(t *testing.T) {
	for _, sql := range []string{"select * from t", "select f()"} {
		in := newInput(sql, nil)
		if !NeedsNames(in) {
			t.Errorf("%s: no names needed", sql)
		}
		in.Names.Unknown = true
		if d := Decide(in); d.Node != 0 || d.Reason.Code != ReasonNamesUnknown {
			t.Errorf("%s: %s, %s", sql, d.Destination(in.View), d.Reason)
		}
	}
}

// The catalogue is not asked where its answer cannot matter.
func TestNeedsNames(t *testing.T) {
	inTx := func(in *Input) { in.State.Begin(stmt.TxModes{}) }
	wrote := func(in *Input) {
		inTx(in)
		in.State.Succeeded(analyze("insert into t values (1)"), true)
	}
	off := func(c *conf.Config) { c.LoadBalance.LoadBalanceMode = false }
	for _, c := range []struct {
		sql    string
		conf   func(*conf.Config)
		before func(*Input)
		want   bool
	}{
		{"select 1", nil, nil, false},
		{"select * from t", nil, nil, true},
		{"select lower('a')", nil, nil, true},
		{"copy t to stdout", nil, nil, true},
		{"prepare p as select * from t", nil, nil, true},
		{"insert into t values (1)", nil, nil, false},
		{"update t set a = f()", nil, nil, false},
		{"values (f())", nil, nil, false},
		{"show work_mem", nil, nil, false},
		{"begin", nil, nil, false},
		{"select * from t for update", nil, nil, false},
		{"select * from t; select 1", nil, nil, false},
		{"select * from t", off, nil, false},
		{"select * from t", nil, inTx, true},
		{"select * from t", nil, wrote, false},
		{"select * from t", nil, func(in *Input) { in.L = 0 }, false},
		{"select * from t", nil, func(in *Input) { in.View.Mode = cluster.ModeRaw }, false},
		{"execute p", nil, nil, false},
		{"execute p", nil, func(in *Input) { in.Prepared = analyze("prepare p as select * from t") }, true},
		{"select * from t", nil, func(in *Input) { in.State.Begin(stmt.TxModes{Isolation: "serializable"}) }, false},
		{"select f()", nil, func(in *Input) { in.State.Begin(stmt.TxModes{Isolation: "serializable"}) }, true},
	} {
		in := newInput(c.sql, c.conf)
		if c.before != nil {
			c.before(in)
		}
		if got := NeedsNames(in); got != c.want {
			t.Errorf("%s: %v", c.sql, got)
		}
	}
}

// A standby's share of many choices is its share of the weights.
func TestSharesFollowWeights(t *testing.T) {
	in := newInput("select 1", func(c *conf.Config) { c.LoadBalance.StatementLevelLoadBalance = true })
	dice := rand.New(rand.NewPCG(1, 2))
	const n = 40000
	var count [3]int
	for range n {
		in.Dice = dice.Float64()
		count[Decide(in).Node]++
	}
	for i, want := range [3]float64{0.25, 0.25, 0.5} {
		if got := float64(count[i]) / n; got < want-0.01 || got > want+0.01 {
			t.Errorf("node %d got %.3f of the reads, its weight is %.2f", i, got, want)
		}
	}
}

func TestWithSession(t *testing.T) {
	p := newPolicy(nil)
	if p.WithSession(false, true) != p {
		t.Error("no change makes a new policy")
	}
	in := newInput("/* c */ select * from t", nil)
	in.Policy = p.WithSession(true, false)
	in.Names.Unlogged = 1
	if d := Decide(in); d.Node != 1 {
		t.Errorf("%s, %s", d.Destination(in.View), d.Reason)
	}
}

// Whatever the View: a decision to send names a live node, even when the session's load balance node is gone from it.
func TestLostLoadBalanceNode(t *testing.T) {
	for _, l := range []cluster.NodeID{cluster.NoNode, 2, 7} {
		for _, sql := range []string{"select 1", "begin", "set a.b to 1", "insert into t values (1)"} {
			in := newInput(sql, nil)
			in.L = l
			in.View.Nodes[2].Status = cluster.StatusDown
			if d := Decide(in); !in.View.Live(d.Node) || d.ChoseL != (sql != "insert into t values (1)") {
				t.Errorf("%s with load balance node %d: %+v", sql, l, d)
			}
		}
	}
}

func TestWrittenStatementsAreBounded(t *testing.T) {
	in := newInput("select * from other", func(c *conf.Config) {
		c.LoadBalance.DisableLoadBalanceOnWrite = conf.OnWriteDmlAdaptive
	})
	in.State.Begin(stmt.TxModes{})
	for range maxWritten {
		in.State.Succeeded(&stmt.Facts{Kind: stmt.KindInsert, Relations: []stmt.Name{{Name: "t"}}}, true)
	}
	if d := Decide(in); d.Node != 1 {
		t.Errorf("at the bound: %s, %s", d.Destination(in.View), d.Reason)
	}
	in.State.Succeeded(&stmt.Facts{Kind: stmt.KindInsert, Relations: []stmt.Name{{Name: "t"}}}, true)
	if d := Decide(in); d.Reason.Code != ReasonUnknownWritten {
		t.Errorf("beyond the bound: %s, %s", d.Destination(in.View), d.Reason)
	}
}

func TestEveryReasonHasText(t *testing.T) {
	seen := map[string]ReasonCode{}
	for code := ReasonNone + 1; code <= ReasonProxy; code++ {
		text := Reason{Code: code, Name: stmt.Name{Name: "x"}}.String()
		if text == "" || strings.HasPrefix(text, " ") {
			t.Errorf("reason %d has text %q", code, text)
		}
		if other, ok := seen[text]; ok {
			t.Errorf("reasons %d and %d have the text %q", other, code, text)
		}
		seen[text] = code
	}
	if got := (Reason{Code: ReasonProxy + 1}).String(); got != "" {
		t.Errorf("no reason has text %q", got)
	}
}

func TestDecideAllocatesNothing(t *testing.T) {
	lists := func(c *conf.Config) {
		c.LoadBalance.StatementLevelLoadBalance = true
		c.StreamingCheck.DelayThreshold = 1
		c.StreamingCheck.PreferLowerDelayStandby = true
	}
	for _, sql := range []string{"select 1", "select a from t where b = f(1)", "insert into t values (1)", "begin", "set a.b to 1"} {
		for _, change := range []func(*conf.Config){nil, lists} {
			in := newInput(sql, change)
			in.Gauges = &cluster.Gauges{Nodes: []cluster.NodeGauge{{}, {Lag: 5}, {Lag: 0}}}
			var st State
			in.State = &st
			if n := testing.AllocsPerRun(100, func() {
				NeedsNames(in)
				d := Decide(in)
				st.Succeeded(in.Facts, d.Writes)
				st.Ready('I')
			}); n != 0 {
				t.Errorf("%s: %v allocations", sql, n)
			}
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	for _, c := range []struct {
		name, sql string
		change    func(*conf.Config)
	}{
		{"select", "select 1", nil},
		{"select from table", "select abalance from pgbench_accounts where aid = 1", nil},
		{"statement level", "select abalance from pgbench_accounts where aid = 1", func(c *conf.Config) {
			c.LoadBalance.StatementLevelLoadBalance = true
		}},
		{"update", "update pgbench_accounts set abalance = 1 where aid = 1", nil},
	} {
		b.Run(c.name, func(b *testing.B) {
			in := newInput(c.sql, c.change)
			b.ReportAllocs()
			for b.Loop() {
				NeedsNames(in)
				d := Decide(in)
				in.State.Succeeded(in.Facts, d.Writes)
			}
		})
	}
}
