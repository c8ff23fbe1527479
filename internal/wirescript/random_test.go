package wirescript_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gopgpool/internal/wirescript"
)

// Seeds of random scripts: from seedEnv on, countEnv of them. A failure names its seed; with shrinkEnv set it shows the script without
// what the failure does not need.
const (
	seedEnv   = "WIRE_SEED"
	countEnv  = "WIRE_SEEDS"
	shrinkEnv = "WIRE_SHRINK"
)

func fromEnv(t *testing.T, name string, other int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return other
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestRandomScripts does what no list of cases does: sequences of transactions, savepoints, settings, prepared statements, portals,
// cursors, errors and pipelines that nobody thought of.
func TestRandomScripts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	variants := w.variants(t, "random")
	direct := w.direct(shared.Cluster(t).Nodes[0], "random_direct")
	first, count := fromEnv(t, seedEnv, 1), fromEnv(t, countEnv, 25)
	for seed := first; seed < first+count; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			text := randomScript(uint64(seed))
			script, err := wirescript.Parse(fmt.Sprintf("seed %d", seed), text)
			if err != nil {
				t.Fatal(err)
			}
			want, err := script.Run(t.Context(), direct)
			if err != nil {
				t.Fatalf("%v\n%s", err, strings.Join(want.Lines(), "\n"))
			}
			for _, v := range variants {
				d := difference(t, script, want, v.target)
				if d == "" {
					continue
				}
				t.Errorf("%s: %s", v.name, d)
				if os.Getenv(shrinkEnv) != "" {
					t.Fatal(shrink(t, text, direct, v.target))
				}
			}
		})
	}
}

// shrink leaves out of a script what its failure does not need; the answer is script and difference.
func shrink(t *testing.T, text string, direct, target wirescript.Target) string {
	t.Helper()
	direct.Patience, target.Patience = 300*time.Millisecond, time.Second
	failure := func(text string) string {
		script, err := wirescript.Parse("shrunk", text)
		if err != nil {
			return ""
		}
		want, err := script.Run(t.Context(), direct)
		if err != nil {
			return ""
		}
		return difference(t, script, want, target)
	}
	first := firstDifference(failure(text))
	for _, cut := range []func(string) []string{groupsOf, messagesOf} {
		for parts, i := cut(text), 0; i < len(parts); {
			shorter := slices.Delete(slices.Clone(parts), i, i+1)
			if candidate := strings.Join(shorter, ""); firstDifference(failure(candidate)) == first {
				parts, text = shorter, candidate
				continue
			}
			i++
		}
	}
	return text + failure(text)
}

// firstDifference is the first lines that are marked, by which a failure is known again.
func firstDifference(diff string) string {
	var marked []string
	for line := range strings.Lines(diff) {
		if (strings.HasPrefix(line, "- a") || strings.HasPrefix(line, "+ a")) && len(marked) < 2 {
			marked = append(marked, line)
		}
	}
	return strings.Join(marked, "")
}

// groupsOf cuts a script behind every answer that is awaited.
func groupsOf(text string) (groups []string) {
	group := ""
	for line := range strings.Lines(text) {
		group += line
		if strings.HasPrefix(line, "<") || strings.HasPrefix(line, "setup") {
			groups, group = append(groups, group), ""
		}
	}
	return groups
}

// messagesOf cuts it so that messages can go without which as many answers come.
func messagesOf(text string) (parts []string) {
	part := ""
	for line := range strings.Lines(text) {
		part += line
		if verb, _, _ := strings.Cut(strings.TrimSpace(line), " "); verb != "query" && verb != "sync" && verb != "copydata" {
			parts, part = append(parts, part), ""
		}
	}
	return parts
}

// author writes a random script. Statements have one text per name, so that it knows what an Execute does whether or not the Parse
// before it succeeded.
type author struct {
	dice  *rand.Rand
	out   strings.Builder
	loose bool // in this group: how many times the server gets ready depends on what fails
	wrote bool // in this group of messages: a read in a later batch may find a standby that lags behind
}

func (a *author) say(format string, args ...any) { fmt.Fprintf(&a.out, format+"\n", args...) }

func (a *author) pick(list ...string) string { return list[a.dice.IntN(len(list))] }

func randomScript(seed uint64) string {
	a := &author{dice: rand.New(rand.NewPCG(seed, 20261121))}
	a.say("setup CREATE TABLE IF NOT EXISTS rnd (a int PRIMARY KEY, b int); DELETE FROM rnd; " +
		"INSERT INTO rnd SELECT i, 10 * i FROM generate_series(1, 5) i")
	a.say("setup CREATE TABLE IF NOT EXISTS other (a int); DELETE FROM other; INSERT INTO other VALUES (7)")
	for range 12 + a.dice.IntN(30) {
		a.wrote, a.loose = false, false
		switch a.dice.IntN(20) {
		case 0, 1, 2, 3, 4, 5, 6:
			a.simple()
		case 7, 8, 9, 10, 11, 12, 13:
			a.group(1)
		case 14, 15:
			a.group(2 + a.dice.IntN(4))
		case 16:
			a.loose = true
			a.group(1 + a.dice.IntN(3))
		case 17:
			a.copyIn()
		case 18:
			a.copyOut()
		case 19:
			a.say("call %s\n< Z", a.pick("177 x'00000001' x'00000002' -> 1", "154 x'00000001' x'00000000' -> 1", "1257 abc", "1257",
				"2078 work_mem 7MB f", "2078 x'776f726b5f6d656d' 8MB t -> 1", "999999"))
		}
	}
	return a.out.String()
}

// simple is one simple query of one or several statements.
func (a *author) simple() {
	list := []string{a.statement()}
	for a.dice.IntN(6) == 0 {
		list = append(list, a.statement())
	}
	a.say("query %s\n< Z", strings.Join(list, "; "))
}

func (a *author) copyIn() {
	n := 100 + a.dice.IntN(50)
	data, end := fmt.Sprintf(`"%d\t1\n"`, n), a.pick("copydone", "copydone", `copyfail "no"`)
	switch a.dice.IntN(8) {
	case 0, 1:
		data = `"no number\n"`
	case 2:
		data = fmt.Sprintf(`"%d\t1\n"`+"\ncopydata "+`"no number\n"`+"\nflush\ncopydata "+`"%d\t1\n"`, n, n+1)
	case 3:
		data += "\ncopydata " + `"` + strings.Repeat(`# no number\n`, 6000) + `"`
	case 4:
		data += "\nflush\ncopydata " + fmt.Sprintf(`"%d\t"`, n+1) + "\ncopydata " + `"2\n"`
	}
	from := "COPY rnd FROM STDIN" + a.pick("", "", " (FORMAT binary)")
	switch a.dice.IntN(4) {
	case 0, 1:
		a.say("query %s%s\ncopydata %s\n%s\n< Z", from, a.pick("", "; SELECT 8"), data, end)
	case 2:
		a.say("parse - %s\nbind - -\nexecute -\ncopydata %s\n%s\nsync\n< Z", from, data, end)
	case 3: // as libpq does it, but without waiting: a server that copies passes over the first Sync
		a.say("parse - %s\nbind - -\nexecute -\nsync\ncopydata %s\n%s\nsync", from, data, end)
		a.last()
	}
}

func (a *author) copyOut() {
	sql := "COPY (SELECT a, " + a.pick("a", "a", "1 / (a - 3)") + " FROM (SELECT a FROM rnd WHERE a < 6 ORDER BY a OFFSET 0) x) TO STDOUT" +
		a.pick("", "", " (FORMAT binary)")
	if a.dice.IntN(2) == 0 {
		a.say("query %s%s\n< Z", sql, a.pick("", "", "; SELECT 9"))
		return
	}
	a.say("parse - %s\nbind - -\n%sexecute -\nflush\nbind - -\nsync\n< Z", sql, a.pick("", "describe P -\n", "flush\n"))
}

// last waits for the end of what was sent: an empty query, which is answered in every state.
func (a *author) last() { a.say("query\n<< I Z") }

// group is a number of batches sent at once.
func (a *author) group(batches int) {
	for range batches {
		for range 1 + a.dice.IntN(4) {
			if a.loose && a.dice.IntN(3) == 0 {
				a.say("query %s", a.statement())
			}
			a.message()
		}
		a.say("sync")
	}
	if a.loose {
		a.last()
		return
	}
	a.say("<%s", strings.Repeat(" Z", batches))
}

// message is one message of the extended protocol, or those that belong together.
func (a *author) message() {
	switch a.dice.IntN(13) {
	case 12:
		a.say("%s", a.pick("parse - SELECT length('{x*9000}')", "parse - SELECT length('{x*70000}'), nosuch",
			"parse s4 SELECT length($1::text), '{y*70000}'::text\nbind - s4 {z*100}\nexecute -", "parse s4 SELECT $1::text || '{y*9000}'",
			"bind p1 s4 {z*9000}\ndescribe P p1\nexecute p1", "bind - s4 {z*70000}\nexecute -",
			"close S s4", "bind - s4\nexecute -", "describe S s4\nflush"))
	case 0:
		name := a.pick("s1", "s2", "s3")
		a.say("parse %s %s", name, a.named(name))
	case 1:
		a.say("close S %s", a.pick("s1", "s2", "s3", "nosuch"))
	case 2:
		a.say("describe S %s", a.pick("s1", "s2", "s3", "nosuch"))
	case 3, 4, 5:
		name, portal := a.pick("s1", "s2", "s3"), a.pick("-", "-", "p1", "p2")
		if name == "s2" && a.wrote {
			name = "s1"
		}
		a.say("bind %s %s%s", portal, name, map[string]string{
			"s1": a.pick(" 5", " 5", " 5 -> 1", " x'00000005' -> 1", " x'05'", " NULL", " nonsense", "", " {5*70000}"),
			"s2": a.pick("", "", " -> 1", " -> 0 1", " -> 1 1 1"),
			"s3": " " + strconv.Itoa(6+a.dice.IntN(30)),
		}[name])
		a.wrote = a.wrote || name == "s3"
		if a.dice.IntN(3) == 0 {
			a.say("describe P %s", portal)
		}
		a.say("execute %s%s", portal, a.pick("", "", " 1", " 3"))
	case 6:
		a.say("%s", a.pick("execute p1", "execute p2", "close P p1", "describe P p2", "flush"))
	default:
		a.say("parse - %s\nbind - -\nexecute -%s", a.statement(), a.pick("", "", "", " 1"))
	}
}

// named is the text of a named statement.
func (a *author) named(name string) string {
	return map[string]string{
		"s1": "SELECT $1::int + 1 AS x",
		"s2": "SELECT a, b FROM rnd ORDER BY a",
		"s3": "INSERT INTO rnd VALUES ($1, 0) RETURNING a",
	}[name]
}

// statement is SQL of any kind.
func (a *author) statement() string {
	n := strconv.Itoa(1 + a.dice.IntN(20))
	sql := a.anyStatement(n)
	if sql == "" && a.loose {
		return "SELECT 3"
	}
	return sql
}

func (a *author) anyStatement(n string) string {
	switch a.dice.IntN(14) {
	case 0:
		return a.pick("BEGIN", "BEGIN", "BEGIN", "START TRANSACTION READ ONLY", "BEGIN ISOLATION LEVEL REPEATABLE READ",
			"BEGIN ISOLATION LEVEL SERIALIZABLE")
	case 1:
		return a.pick("COMMIT", "COMMIT", "ROLLBACK", "ROLLBACK", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN")
	case 2:
		name := a.pick("one", "two")
		return a.pick("SAVEPOINT ", "SAVEPOINT ", "ROLLBACK TO ", "ROLLBACK TO ", "RELEASE ") + name
	case 3, 4:
		a.wrote = true
		return a.pick("INSERT INTO rnd VALUES ("+n+", 1)", "UPDATE rnd SET b = b + 1 WHERE a < "+n, "DELETE FROM rnd WHERE a = "+n,
			"INSERT INTO other VALUES ("+n+") RETURNING a", "TRUNCATE other")
	case 5:
		a.wrote = true // what is set counts for reads as well, but is no matter of lag; DISCARD and PREPARE are few
		return a.pick("SET work_mem = '"+n+"MB'", "SET LOCAL work_mem = '"+n+"MB'", "RESET work_mem", "SET application_name = 'app "+n+"'",
			"SELECT set_config('work_mem', '"+n+"MB', false)", "SELECT set_config('work_mem', '"+n+"MB', true)", "RESET ALL",
			"SET search_path = public, pg_catalog")
	case 6:
		return "SELECT current_setting('work_mem'), current_setting('application_name')"
	case 7:
		return a.pick("SELECT 1/0", "SELECT nosuch", "SELECT * FROM nosuch", "SELEKT", "SELECT 'open")
	case 8:
		name := a.pick("s1", "s3")
		a.wrote = true
		return a.pick("DEALLOCATE "+name, "EXECUTE "+name+" ("+n+")", "PREPARE "+name+" (int) AS "+a.named(name), "DEALLOCATE ALL")
	case 9:
		a.wrote = true
		return a.pick("CREATE TEMP TABLE tmp (a int)", "INSERT INTO tmp VALUES ("+n+")", "SELECT count(*) FROM tmp", "DROP TABLE tmp",
			"DISCARD ALL", "DISCARD TEMP")
	case 10:
		return a.pick("DECLARE c CURSOR FOR SELECT i FROM generate_series(1, 5) i", "FETCH 2 FROM c", "FETCH 1 FROM c", "CLOSE c",
			"DECLARE c CURSOR WITH HOLD FOR SELECT i FROM generate_series(1, 5) i")
	}
	if a.wrote {
		return "SELECT " + n
	}
	return a.pick("SELECT a, b FROM rnd ORDER BY a", "SELECT count(*), sum(a), sum(b) FROM rnd", "SELECT a FROM other ORDER BY a",
		"SELECT "+n, "SELECT length('{x*70000}')", "SELECT repeat('x', 20000)", "SELECT a FROM rnd WHERE a = "+n, "", "SHOW work_mem", "SELECT a FROM other FOR UPDATE",
		"WITH x AS (SELECT max(a) AS m FROM rnd) SELECT m FROM x")
}
