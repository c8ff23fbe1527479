package route

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/proxy/stmt"
)

var update = flag.Bool("update", false, "write the outputs of the scenarios into testdata")

// TestScenarios runs testdata/*.txt. A file is a sequence of blocks separated by blank lines: directives and statements,
// a line of four dashes, and what comes out. Lines that begin with # are comments. A directive stays in force until the next
// "cluster", which also begins a new session:
//
//	cluster 0=primary 1=standby,weight=2,lag=90MB 2=standby,down  mode=logical dice=2 parameter=value 'parameter=with blanks'
//	cluster ... is=seeking|draining|steady  open=yes|no (of the session, on the primary)
//	session user=u database=d application_name=a
//	relation name temp|unlogged|catalog     function name volatile
//
// "dice" is a number with a point, or the node that the weights shall yield; "lb" is a load balance node chosen before.
// Statements follow the line "route". There, "change" takes what cluster takes, an exclamation mark begins a statement that
// fails, \n and \t stand for the characters, "parse name: sql" and "bind name" are the messages of the extended protocol.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runFile(t, file) })
	}
}

func runFile(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var w *world
	var out []string
	for _, block := range strings.Split(strings.TrimRight(string(text), "\n"), "\n\n") {
		input, want, ok := strings.Cut(block+"\n", "\n----\n")
		if !ok {
			out = append(out, block)
			continue
		}
		var got []string
		w, got = runBlock(t, w, input)
		if result := strings.Join(got, "\n"); !*update && result != strings.TrimRight(want, "\n") {
			t.Errorf("%s:\n%s\n---- got\n%s\n---- want\n%s", file, input, result, want)
		}
		out = append(out, input+"\n----\n"+strings.Join(got, "\n"))
	}
	if *update {
		if err := os.WriteFile(file, []byte(strings.Join(out, "\n\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func runBlock(t *testing.T, w *world, input string) (*world, []string) {
	t.Helper()
	var out []string
	routing := false
	for line := range strings.SplitSeq(input, "\n") {
		word, rest, _ := strings.Cut(line, " ")
		switch {
		case strings.HasPrefix(line, "#"):
		case !routing && word == "cluster":
			w = newWorld(t)
			w.set(fields(rest))
		case !routing && word == "session":
			w.set(fields(rest))
		case !routing && (word == "relation" || word == "function"):
			f := strings.Fields(rest)
			w.properties[f[1]] = append(w.properties[f[1]], f[0])
		case line == "route":
			routing = true
			w.start()
		case !routing:
			t.Fatalf("line %q before route", line)
		case word == "change":
			w.set(fields(rest))
			w.start()
		default:
			out = append(out, w.statement(line))
		}
	}
	return w, out
}

// fields splits at blanks; single quotes keep them.
func fields(s string) []string {
	var list []string
	quoted := false
	for _, f := range strings.FieldsFunc(s, func(r rune) bool {
		if r == '\'' {
			quoted = !quoted
		}
		return r == ' ' && !quoted
	}) {
		list = append(list, strings.ReplaceAll(f, "'", ""))
	}
	return list
}

// world is one scenario's cluster, catalogue and session.
type world struct {
	t          *testing.T
	analyzer   *stmt.Analyzer
	parameters map[string]string
	properties map[string][]string // of the catalogue: property to names
	startup    map[string]string
	dice       string
	prepared   map[string]*stmt.Facts // SQL PREPARE, and Parse
	preparedOn map[string]cluster.NodeID
	texts      map[string]string
	in         Input
	decided    Decision // the last
}

func newWorld(t *testing.T) *world {
	return &world{
		t: t, analyzer: stmt.NewAnalyzer(stmt.NewCache(stmt.Limits{})),
		parameters: map[string]string{},
		properties: map[string][]string{
			"catalog":  {"pg_class", "pg_tables"},
			"volatile": {"random", "nextval", "setval", "pg_is_in_recovery", "set_config", "pg_terminate_backend"},
		},
		startup:    map[string]string{"user": "u", "database": "d"},
		prepared:   map[string]*stmt.Facts{},
		preparedOn: map[string]cluster.NodeID{},
		texts:      map[string]string{},
		in: Input{
			State: &State{}, L: cluster.NoNode, Gauges: &cluster.Gauges{},
			View: &cluster.View{Mode: cluster.ModeStreaming, Primary: cluster.NoNode},
		},
	}
}

func (w *world) set(words []string) {
	for _, word := range words {
		name, value, ok := strings.Cut(word, "=")
		id, err := strconv.Atoi(name)
		switch {
		case !ok:
			w.t.Fatalf("%q is not name=value", word)
		case err == nil:
			w.node(cluster.NodeID(id), strings.Split(value, ","))
		case name == "dice":
			w.dice = value
		case name == "lb":
			w.in.L = cluster.NodeID(w.number(value))
		case name == "is":
			v := *w.in.View
			v.Seeking, v.Draining = value == "seeking", value == "draining"
			w.in.View = &v
		case name == "open":
			w.in.Open = value == "yes"
		case name == "mode":
			w.in.View.Mode = map[string]cluster.Mode{
				"streaming": cluster.ModeStreaming, "logical": cluster.ModeLogical, "raw": cluster.ModeRaw,
			}[value]
		case name == "user" || name == "database" || name == "application_name":
			w.startup[name] = value
		case name == "default_isolation":
			w.in.State.SetDefaults(value, false)
		case name == "default_read_only":
			w.in.State.SetDefaults("", value == "on")
		default:
			w.parameters[name] = value
		}
	}
}

func (w *world) number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// node sets one node: role, weight=, lag= (bytes with kB, MB, GB, or ms), down, waiting. Views are replaced, never edited.
func (w *world) node(id cluster.NodeID, words []string) {
	v := *w.in.View
	v.Nodes = append([]cluster.Node(nil), v.Nodes...)
	g := cluster.Gauges{Nodes: append([]cluster.NodeGauge(nil), w.in.Gauges.Nodes...)}
	for len(v.Nodes) <= int(id) {
		v.Nodes = append(v.Nodes, cluster.Node{ID: cluster.NodeID(len(v.Nodes))})
		g.Nodes = append(g.Nodes, cluster.NodeGauge{})
	}
	n := cluster.Node{ID: id, Status: cluster.StatusUp, Weight: 1}
	g.Nodes[id] = cluster.NodeGauge{}
	if v.Primary == id {
		v.Primary = cluster.NoNode
	}
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "primary":
			n.Role, v.Primary = cluster.RolePrimary, id
		case "standby":
			n.Role = cluster.RoleStandby
		case "down":
			n.Status = cluster.StatusDown
		case "waiting":
			n.Status = cluster.StatusWaiting
		case "weight":
			n.Weight = float64(w.number(value))
		case "lag":
			w.lag(&g.Nodes[id], value)
		default:
			w.t.Fatalf("node %d: unknown word %q", id, word)
		}
	}
	v.Nodes[id] = n
	w.in.View, w.in.Gauges = &v, &g
}

func (w *world) start() {
	file := filepath.Join(w.t.TempDir(), "pgpool.conf")
	var text strings.Builder
	text.WriteString("backend_clustering_mode = streaming_replication\n")
	for name, value := range w.parameters {
		fmt.Fprintf(&text, "%s = '%s'\n", name, value)
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		w.t.Fatal(err)
	}
	c, problems := conf.Load(file)
	if c == nil || len(problems) > 0 {
		w.t.Fatalf("%v: %v", w.parameters, problems)
	}
	w.in.Policy = NewPolicy(&c.LoadBalance, &c.StreamingCheck, &c.RelationCache)
	w.in.Preference = w.in.Policy.Prefer(w.startup["user"], w.startup["database"], w.startup["application_name"])
	w.in.Dice = w.throw()
}

// throw returns the dice: a number, or the middle of a node's share of the weights.
func (w *world) throw() float64 {
	if w.dice == "" || strings.Contains(w.dice, ".") {
		r, _ := strconv.ParseFloat(w.dice, 64)
		return r
	}
	node, at, total := w.number(w.dice), 0.0, 0.0
	for i, n := range w.in.View.Nodes {
		if !n.Status.Live() {
			continue
		}
		if i == node {
			at = total + n.Weight/2
		}
		total += n.Weight
	}
	return at / total
}

func (w *world) statement(line string) string {
	failing := strings.HasPrefix(line, "! ")
	sql := strings.NewReplacer(`\n`, "\n", `\t`, "\t").Replace(strings.TrimPrefix(line, "! "))
	in := &w.in
	in.Text = sql
	if name, ok := strings.CutPrefix(sql, "parse "); ok {
		name, sql, _ = strings.Cut(name, ": ")
		w.texts[name] = sql
		in.Text = sql
	} else if name, ok := strings.CutPrefix(sql, "bind "); ok {
		in.Text = w.texts[name]
	}
	in.Facts = w.analyzer.Analyze([]byte(in.Text))
	in.Prepared, in.PreparedNode = w.prepared[in.Facts.Name], w.preparedOn[in.Facts.Name]
	w.look()
	d := Decide(in)
	w.checkConsistency(d)
	if d.ChoseL {
		in.L = d.L
	}
	in.State.Placed(&d, d.Node)
	w.decided = d
	if name, ok := strings.CutPrefix(line, "parse "); ok {
		name, _, _ = strings.Cut(name, ": ")
		w.prepared[name], w.preparedOn[name] = in.Facts, d.Node
	} else {
		w.fold(d, failing)
	}
	text := fmt.Sprintf("%-10s %s", d.Destination(in.View), d.Reason)
	if d.PlainBegin {
		text += "; plain BEGIN elsewhere"
	}
	return text
}

// look asks the catalogue only when told to.
func (w *world) look() {
	in := &w.in
	in.Names = Names{}
	if !NeedsNames(in) {
		return
	}
	find := func(list []stmt.Name, property string) uint16 {
		for i, n := range list {
			for _, name := range w.properties[property] {
				if n.Name == name {
					return uint16(i + 1)
				}
			}
		}
		return 0
	}
	f := in.Subject()
	in.Names = Names{
		Catalog: find(f.Relations, "catalog"), Unlogged: find(f.Relations, "unlogged"),
		Temp: find(slices.Concat(f.Relations, f.Types), "temp"), Volatile: find(f.Functions, "volatile"),
		Calls: find(f.Relations, "calls"), Missing: find(f.Relations, "missing"), Parent: find(f.Relations, "parent"),
		TempSchema: len(w.properties["tempschema"]) > 0,
	}
}

// checkConsistency holds every step against what must hold for all: names that were not asked for do not matter, and a
// decision does not depend on when it is made.
func (w *world) checkConsistency(d Decision) {
	in := w.in
	if again := Decide(&in); !reflect.DeepEqual(d, again) {
		w.t.Errorf("%s: decided %+v, then %+v", in.Text, d, again)
	}
	if d.Action == Send && !in.View.Live(d.Node) {
		w.t.Errorf("%s: node %d is not live", in.Text, d.Node)
	}
	if d.ChoseL && !in.View.Live(d.L) {
		w.t.Errorf("%s: chose node %d, which is not live", in.Text, d.L)
	}
	if NeedsNames(&in) {
		return
	}
	if d.Action == Hold { // however it was decided
		return
	}
	in.Names = Names{Catalog: 1, Unlogged: 1, Temp: 1, Calls: 1, Missing: 1, Parent: 1, Volatile: 1, TempSchema: true, Unknown: true}
	if other := Decide(&in); !in.Policy.functionLists() && (other.Node != d.Node || other.Reason != d.Reason) {
		w.t.Errorf("%s: names were not asked for, but change %+v to %+v", in.Text, d, other)
	}
}

// fold tells the state what happened, as the session does.
func (w *world) fold(d Decision, failing bool) {
	in, s := &w.in, w.in.State
	f := in.Facts
	switch {
	case d.Action != Send:
		return
	case failing:
		s.Failed()
		return
	case f.Kind == stmt.KindPrepare:
		w.prepared[f.Name], w.preparedOn[f.Name] = f, d.Node
	case f.Kind == stmt.KindDeallocate:
		delete(w.prepared, f.Name)
	}
	for _, n := range f.CreatesTemp {
		w.properties["temp"] = append(w.properties["temp"], n.Name)
	}
	inTx := s.InTransaction() && (!f.Multi || f.MultiBegins)
	subject := in.Subject()
	if f.Kind == stmt.KindPrepare {
		subject = f
	}
	if subject != nil {
		s.Succeeded(subject, d.Writes)
	}
	if f.Multi && !inTx && !f.MultiBegins {
		s.Ready('I')
	}
}

func (w *world) lag(g *cluster.NodeGauge, value string) {
	if ms, ok := strings.CutSuffix(value, "ms"); ok {
		g.LagTime, g.HasLagTime = time.Duration(w.number(ms))*time.Millisecond, true
		return
	}
	unit := 1
	for suffix, bytes := range map[string]int{"kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30} {
		if n, ok := strings.CutSuffix(value, suffix); ok {
			value, unit = n, bytes
		}
	}
	g.Lag = cluster.LSN(w.number(value) * unit)
}
