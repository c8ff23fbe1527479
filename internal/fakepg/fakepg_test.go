package fakepg

import (
	"slices"
	"strings"
	"testing"

	"gopgpool/internal/pgcluster"
	"gopgpool/pgwire"
)

// honestWorld answers the statements of the scripts as PostgreSQL 15 does.
func honestWorld() World {
	return World{
		"SELECT 1": One(),
		"SELECT 1 AS a, 'x' AS b": {
			Columns: []Column{Int4Column("a"), TextColumn("b")}, Rows: [][]string{{"1", "x"}}, Tag: "SELECT 1",
		},
		"SELECT generate_series(1,3)": {
			Columns: []Column{Int4Column("generate_series")}, Rows: [][]string{{"1"}, {"2"}, {"3"}}, Tag: "SELECT 3",
		},
		"SELECT $1::int4":    {Params: []uint32{Int4}, Columns: []Column{Int4Column("int4")}, Rows: [][]string{{"7"}}, Tag: "SELECT 1"},
		"SELECT nothing":     {Error: Failure("42703", `column "nothing" does not exist`)},
		"SELECT 1/0":         {Error: Failure("22012", "division by zero")},
		"SET work_mem = 'x'": {Error: Failure("22023", `invalid value for parameter "work_mem": "x"`)},
		"SET application_name = 'me'": {
			Tag: "SET", Set: &pgwire.Param{Name: "application_name", Value: "me"},
		},
		"CREATE TEMP TABLE c (t text); COPY c FROM STDIN": {Before: "CREATE TABLE", CopyIn: true, Tag: "COPY 0"},
		"CREATE TEMP TABLE c (t text)":                    {Tag: "CREATE TABLE"},
		"COPY c FROM STDIN":                               {CopyIn: true, Tag: "COPY 2"},
		"COPY (VALUES ('a'), ('b')) TO STDOUT": {
			CopyOut: []string{"a\n", "b\n"}, Tag: "COPY 2",
		},
	}
}

func query(sql string) []byte { return pgwire.AppendQuery(nil, sql) }

func parse(name, sql string) []byte { return pgwire.AppendParse(nil, name, sql) }

func bind(portal, name string, values ...string) []byte {
	body := append(append([]byte(portal), 0), append([]byte(name), 0)...)
	body = append(body, 0, 0, 0, byte(len(values)))
	for _, v := range values {
		body = append(append(body, 0, 0, 0, byte(len(v))), v...)
	}
	return pgwire.AppendBody(nil, pgwire.Bind, append(body, 0, 0))
}

func describe(what byte, name string) []byte {
	return pgwire.AppendBody(nil, pgwire.Describe, append(append([]byte{what}, name...), 0))
}

func execute(portal string, rows byte) []byte {
	return pgwire.AppendBody(nil, pgwire.Execute, append(append([]byte(portal), 0), 0, 0, 0, rows))
}

func simple(typ byte) []byte { return pgwire.AppendSimple(nil, typ) }

// TestHonest runs the same scripts against the fake server and against PostgreSQL.
func TestHonest(t *testing.T) {
	t.Parallel()
	scripts := []struct {
		name  string
		steps [][]byte // each is sent, then its answers are read: as many ReadyForQuery as it has Query and Sync messages
		ready int      // 0: up to the end of the stream
	}{
		{"simple", [][]byte{query("SELECT 1"), query("SELECT 1 AS a, 'x' AS b"), query("SELECT generate_series(1,3)"), query("")}, 1},
		{"errors", [][]byte{query("SELECT nothing"), query("SELECT 1/0"), query("SELECT 1")}, 1},
		{"transaction", [][]byte{
			query("BEGIN"), query("SELECT 1"), query("SELECT 1/0"), query("SELECT 1"), query("COMMIT"), query("BEGIN"),
			query("ROLLBACK"), query("ROLLBACK"), query("ABORT"),
		}, 1},
		{"settings", [][]byte{query("SET application_name = 'me'"), query("SET application_name = 'me'")}, 1},
		{"discard", [][]byte{query("ABORT"), query("DISCARD ALL")}, 1},
		{"copy in", [][]byte{
			query("CREATE TEMP TABLE c (t text)"),
			slices.Concat(query("COPY c FROM STDIN"), pgwire.AppendBody(nil, pgwire.CopyData, []byte("a\nb\n")), simple(pgwire.CopyDone)),
			slices.Concat(query("COPY c FROM STDIN"), pgwire.AppendBody(nil, pgwire.CopyFail, []byte("no\x00"))),
			query("SELECT 1"),
		}, 1},
		{"copy out", [][]byte{query("COPY (VALUES ('a'), ('b')) TO STDOUT")}, 1},
		{"extended", [][]byte{
			slices.Concat(parse("", "SELECT $1::int4"), bind("", "", "7"), describe('P', ""), execute("", 0), simple(pgwire.Sync)),
			slices.Concat(parse("s", "SELECT generate_series(1,3)"), describe('S', "s"), bind("", "s"), execute("", 2), execute("", 2), simple(pgwire.Sync)),
			slices.Concat(bind("", "s"), execute("", 0), simple(pgwire.Sync)),
			slices.Concat(parse("s", "SELECT 1"), simple(pgwire.Sync)),
			slices.Concat(pgwire.AppendClose(nil, 'S', "s"), bind("", "s"), simple(pgwire.Sync)),
			slices.Concat(parse("", ""), bind("", ""), describe('S', ""), execute("", 0), simple(pgwire.Sync)),
		}, 1},
		{"extended errors", [][]byte{
			slices.Concat(parse("", "SELECT nothing"), bind("", ""), execute("", 0), simple(pgwire.Sync)),
			slices.Concat(parse("", "SET work_mem = 'x'"), bind("", ""), execute("", 0), query("SELECT 1"), simple(pgwire.Sync)),
			slices.Concat(describe('S', "none"), simple(pgwire.Sync)),
			slices.Concat(execute("none", 0), simple(pgwire.Sync)),
			slices.Concat(describe('X', "none"), simple(pgwire.Sync)),
			query("SELECT 1"),
		}, 1},
		{"malformed", [][]byte{
			simple(pgwire.Query), pgwire.AppendBody(nil, pgwire.Query, []byte("SELECT 1")), query("SELECT 1\x00more"),
			slices.Concat(simple(pgwire.Parse), simple(pgwire.Sync)),
			slices.Concat(pgwire.AppendBody(nil, pgwire.Parse, []byte("\x00SELECT 1")), simple(pgwire.Sync)),
			slices.Concat(pgwire.AppendBody(nil, pgwire.Parse, []byte("\x00SELECT 1\x00")), simple(pgwire.Sync)),
			slices.Concat(simple(pgwire.Bind), simple(pgwire.Sync)),
			slices.Concat(pgwire.AppendBody(nil, pgwire.Bind, []byte("portal\x00")), simple(pgwire.Sync)),
			slices.Concat(parse("", "SELECT 1"), pgwire.AppendBody(nil, pgwire.Bind, []byte("\x00\x00")), simple(pgwire.Sync)),
			slices.Concat(parse("", "SELECT 1"), pgwire.AppendBody(nil, pgwire.Bind, []byte("\x00\x00\x00\x00\x00\x01\x00")), simple(pgwire.Sync)),
			slices.Concat(simple(pgwire.Describe), simple(pgwire.Sync)),
			slices.Concat(pgwire.AppendBody(nil, pgwire.Describe, []byte("Sname")), simple(pgwire.Sync)),
			slices.Concat(simple(pgwire.Execute), simple(pgwire.Sync)),
			slices.Concat(pgwire.AppendBody(nil, pgwire.Execute, []byte("\x00\x00\x00")), simple(pgwire.Sync)),
			slices.Concat(pgwire.AppendBody(nil, pgwire.Execute, []byte("\x00\x00\x00\x00\x00\x00")), simple(pgwire.Sync)),
			slices.Concat(simple(pgwire.Close), simple(pgwire.Sync)),
			slices.Concat(pgwire.AppendBody(nil, pgwire.Close, []byte("X\x00")), simple(pgwire.Sync)),
			slices.Concat(pgwire.AppendBody(nil, pgwire.Close, []byte("Sname\x00more")), simple(pgwire.Sync)),
		}, 1},
		{"a query during a copy", [][]byte{
			query("CREATE TEMP TABLE c (t text); COPY c FROM STDIN"),
			slices.Concat(pgwire.AppendBody(nil, pgwire.CopyData, []byte("a\n")), query("SELECT 1")),
		}, 0},
		{"a message nobody knows", [][]byte{pgwire.AppendBody(nil, 'y', []byte("what"))}, 0},
		{"a long name", [][]byte{describe('S', strings.Repeat("n", 20000))}, 0},
		{"a length of 3", [][]byte{{'Q', 0, 0, 0, 3}}, 0},
		{"pipeline", [][]byte{
			slices.Concat(parse("", "SELECT 1"), bind("", ""), execute("", 0), simple(pgwire.Sync),
				parse("", "SELECT nothing"), bind("", ""), simple(pgwire.Sync), query("SELECT 1")),
		}, 3},
	}
	fake := Start(t, honestWorld())
	rows := []struct {
		name string
		port func(*testing.T) int
	}{
		{"simulated", func(*testing.T) int { return fake.Port() }},
		{"real", func(t *testing.T) int { return pgcluster.StartTest(t, pgcluster.Options{Nodes: 1}).Nodes[0].Port }},
	}
	got := map[string]map[string]string{}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			port := row.port(t)
			got[row.name] = map[string]string{}
			for _, s := range scripts {
				c := Connect(t, port, "postgres", "postgres")
				if row.name == "simulated" {
					checkReported(t, c)
				}
				var all []Message
				for _, step := range s.steps {
					c.Send(step)
					for range s.ready {
						all = append(all, c.UntilReady()...)
					}
				}
				if s.ready > 0 {
					c.Bye()
				} else {
					rest, _ := c.UntilEnd()
					all = append(all, rest...)
				}
				got[row.name][s.name] = Transcript(all)
			}
		})
	}
	real, ok := got["real"]
	if !ok || len(real) == 0 {
		t.Skip("no PostgreSQL server to compare with") // said by the row "real" in detail
	}
	for _, s := range scripts {
		if fake := got["simulated"][s.name]; fake != real[s.name] {
			t.Errorf("%s: the fake server says\n%s\n\nPostgreSQL says\n%s", s.name, fake, real[s.name])
		}
	}
}

// checkReported looks whether the login reported settings at all.
func checkReported(t *testing.T, c *Client) {
	t.Helper()
	if c.Params["server_version"] == "" || c.PID == 0 || len(c.Key) != 4 {
		t.Fatalf("login told %v, pid %d, key %x", c.Params, c.PID, c.Key)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	s := Start(t, honestWorld())
	s.Misbehave(Fault{At: HalfRow, SQL: "SELECT 1", Times: 1, Do: Drop})
	c := Connect(t, s.Port(), "u", "d")
	c.Send(query("SELECT 1"))
	if out, whole := c.UntilEnd(); whole || len(out) != 1 {
		t.Fatalf("half a row: %s, whole %v", Transcript(out), whole)
	}
	s.Misbehave(Fault{At: Asked, SQL: "SELECT 1", Times: 1, Do: WaitForCancel})
	c = Connect(t, s.Port(), "u", "d")
	c.Send(query("SELECT 1"))
	s.Await("the query", func() bool { return s.Last().Has("SELECT 1") })
	other := Dial(t, s.Port())
	other.Send(pgwire.AppendCancel(nil, pgwire.Cancel{PID: c.PID, Key: c.Key}))
	other.ExpectEnd()
	if codes := Errors(c.UntilReady()); !slices.Equal(codes, []string{"57014"}) {
		t.Fatalf("a cancelled statement ends with %v", codes)
	}
	if got := s.Cancels(); len(got) != 1 || got[0].Conn != s.Last() {
		t.Fatalf("cancels: %v", got)
	}
	c.Bye()
	s.Await("the ends", func() bool { return s.Open() == 0 })
}
