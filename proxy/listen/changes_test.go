package listen

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/internal/pgcluster"
	"gopgpool/proxy/stmt"
)

var shared = pgcluster.NewShared(pgcluster.Options{Nodes: 1, Config: map[string]string{"max_prepared_transactions": "5"}})

func TestMain(m *testing.M) { os.Exit(shared.Main(m)) }

func TestChannelNames(t *testing.T) {
	long := strings.Repeat("x", 62)
	for _, c := range []struct{ name, want string }{
		{"", ""},
		{"a", "a"},
		{long + "y", long + "y"},
		{long + "yz", long + "y"},
		{long + "é", long},
		{long[:61] + "é", long[:61] + "é"},
		{long[:61] + "éz", long[:61] + "é"},
		{long[:60] + "😀", long[:60]},
		{strings.Repeat("\xbf", 70), strings.Repeat("\xbf", 63)},
	} {
		if got := Channel(c.name); got != c.want {
			t.Errorf("Channel(%q) = %q, want %q", c.name, got, c.want)
		}
	}
}

func TestChangesAreBounded(t *testing.T) {
	var c Changes
	var refused *Error
	for i := range MaxChannels {
		if err := c.Listen(fmt.Sprint("c", i)); err != nil {
			t.Fatalf("channel %d: %v", i, err)
		}
	}
	if err := c.Listen("one more"); !errors.As(err, &refused) || refused.SQLState() != "53400" {
		t.Fatalf("channel %d: %v", MaxChannels+1, err)
	}
	c.Commit()
	if err := c.Listen("c17"); err != nil {
		t.Fatalf("a channel it has: %v", err)
	}
	if err := c.Unlisten("c17"); err != nil {
		t.Fatal(err)
	}
	c.Commit()
	if err := c.Listen("one more"); err != nil {
		t.Fatalf("after UNLISTEN: %v", err)
	}
	c.Rollback()
	var err error
	for i := 0; i <= maxActions && err == nil; i++ {
		if err = c.Unlisten("a"); err == nil {
			err = c.Listen("c1")
		}
	}
	if !errors.As(err, &refused) {
		t.Fatalf("%d commands in one transaction are let through: %v", maxActions, err)
	}
	c.Rollback()
	for range 2 * maxActions {
		if err := c.Listen("c1"); err != nil {
			t.Fatalf("the same again and again: %v", err)
		}
	}
}

// modelled is a session on a real server with the Changes that are to follow it.
type modelled struct {
	t     *testing.T
	conn  *pgconn.PgConn
	facts *stmt.Analyzer
	c     Changes
	log   []string
	inTx  bool
	bad   bool // the transaction has failed
}

// exec runs one string and reports whether it succeeded.
func (m *modelled) exec(sql string) bool {
	m.t.Helper()
	_, err := m.conn.Exec(m.t.Context(), sql).ReadAll()
	var said *pgconn.PgError
	if err != nil && !errors.As(err, &said) {
		m.t.Fatalf("%s: %v\n%s", sql, err, strings.Join(m.log, "\n"))
	}
	m.log = append(m.log, fmt.Sprintf("%s   -- %v", sql, err))
	return err == nil
}

// do runs a statement and follows it.
func (m *modelled) do(sql string) {
	m.t.Helper()
	f := m.facts.Analyze([]byte(sql))
	pending := m.c.Pending()
	ok := m.exec(sql)
	if f.Kind == stmt.KindPrepareTransaction && m.inTx && !m.bad && ok == pending {
		m.fail("PREPARE TRANSACTION ok is %v, Pending is %v", ok, pending)
	}
	if !ok {
		m.bad = m.inTx
		if f.Kind == stmt.KindPrepareTransaction { // it rolls back
			m.end(false)
		} else if !m.inTx {
			m.c.Rollback()
		}
		return
	}
	m.follow(f)
	if !m.inTx {
		m.end(true)
	}
}

func (m *modelled) follow(f *stmt.Facts) {
	m.t.Helper()
	var err error
	switch f.Kind {
	case stmt.KindBegin:
		m.inTx = true
	case stmt.KindListen:
		err = m.c.Listen(f.Name)
	case stmt.KindUnlisten:
		if f.Name == "" {
			err = m.c.UnlistenAll()
		} else {
			err = m.c.Unlisten(f.Name)
		}
	case stmt.KindDiscard:
		err = m.c.UnlistenAll()
	case stmt.KindSavepoint:
		m.c.Savepoint(f.Name)
	case stmt.KindRelease:
		m.c.Release(f.Name)
	case stmt.KindRollbackTo:
		m.c.RollbackTo(f.Name)
		m.bad = false
	case stmt.KindCommit:
		m.end(!m.bad)
	case stmt.KindRollback, stmt.KindPrepareTransaction:
		m.end(false)
	}
	if err != nil {
		m.fail("%v", err)
	}
}

// end is the end of a transaction: what Commit and Outcome say agrees with the difference on the server.
func (m *modelled) end(commit bool) {
	m.t.Helper()
	m.inTx, m.bad = false, false
	before := m.c.Channels()
	if !commit {
		m.c.Rollback()
		m.compare()
		return
	}
	added, removed := m.c.Outcome()
	if a, r := m.c.Commit(); !slices.Equal(a, added) || !slices.Equal(r, removed) {
		m.fail("Outcome %q %q, Commit %q %q", added, removed, a, r)
	}
	now := m.compare()
	if got := minus(now, before); !slices.Equal(got, added) {
		m.fail("added %q, on the server %q", added, got)
	}
	if got := minus(before, now); !slices.Equal(got, removed) {
		m.fail("removed %q, on the server %q", removed, got)
	}
}

func minus(a, b []string) []string {
	var out []string
	for _, x := range a {
		if !slices.Contains(b, x) {
			out = append(out, x)
		}
	}
	slices.Sort(out)
	return out
}

// compare asks the server what is in force.
func (m *modelled) compare() []string {
	m.t.Helper()
	r, err := m.conn.Exec(m.t.Context(), "SELECT * FROM pg_listening_channels()").ReadAll()
	if err != nil {
		m.fail("%v", err)
	}
	theirs := []string{}
	for _, row := range r[0].Rows {
		theirs = append(theirs, string(row[0]))
	}
	if ours := m.c.Channels(); !reflect.DeepEqual(append([]string{}, ours...), theirs) || m.c.Listening() != (len(theirs) > 0) {
		m.fail("ours %q, the server's %q", ours, theirs)
	}
	for _, name := range theirs {
		if !m.c.Has(name) {
			m.fail("Has(%q) is false", name)
		}
	}
	return theirs
}

func (m *modelled) fail(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(m.log, "\n"))
}

// names are written as a client would.
func names() []string {
	long := strings.Repeat("long", 15)
	return []string{
		"a", "b", "A", `"A"`, `"b c"`, `"x""y;--"`, `"é"`, "É", long + "xyz1", long + "xyz2", `"` + long + "xyé" + `"`, `"` + long + "éé" + `"`, `U&"\0061"`,
	}
}

func (m *modelled) random(dice *rand.Rand) {
	all := names()
	name := func() string { return all[dice.IntN(len(all))] }
	point := func() string { return []string{"s1", "s2", `"S1"`, "S2"}[dice.IntN(4)] }
	made := func() string { // mostly one there is
		if n := len(m.c.saves); n > 0 && dice.IntN(10) > 0 {
			return strconv.Quote(m.c.saves[dice.IntN(n)].name)
		}
		return point()
	}
	change := func() string {
		switch dice.IntN(8) {
		case 0, 1, 2:
			return "UNLISTEN " + name()
		case 3:
			return "UNLISTEN *"
		}
		return "LISTEN " + name()
	}
	if !m.inTx {
		switch dice.IntN(10) {
		case 0:
			m.do("DISCARD ALL")
		case 1, 2, 3:
			m.do(change())
		case 4:
			m.string([]string{change(), change(), change()}, dice.IntN(3) == 0)
		default:
			m.do("BEGIN")
		}
		return
	}
	switch n := dice.IntN(30); {
	case !m.bad && n < 6 && len(m.c.saves) == 0:
		m.do("SAVEPOINT " + point())
	case m.bad && n < 20 && len(m.c.saves) == 0:
		m.do("ROLLBACK")
	case m.bad && n < 20, n < 4:
		m.do("ROLLBACK TO " + made())
	case n < 6:
		m.do("RELEASE " + made())
	case n < 10:
		m.do("SAVEPOINT " + point())
	case n < 12:
		m.do("COMMIT")
	case n == 12:
		m.do("ROLLBACK")
	case n == 13:
		m.do("PREPARE TRANSACTION 'x'")
		m.exec("ROLLBACK PREPARED 'x'")
	case n == 14:
		m.do("SELECT 1/0")
	case n == 15:
		if !m.bad {
			m.compare()
		}
	default:
		m.do(change())
	}
}

// string is several statements in one string: one transaction.
func (m *modelled) string(all []string, fails bool) {
	m.t.Helper()
	text := strings.Join(all, ";")
	if fails {
		text += "; SELECT 1/0"
	}
	if m.exec(text) {
		for _, sql := range all {
			m.follow(m.facts.Analyze([]byte(sql)))
		}
		m.end(true)
		return
	}
	m.end(false)
}

// Random sequences of statements on a real server, which Changes follow.
func TestChangesFollowPostgreSQL(t *testing.T) {
	sequences := 250
	if testing.Short() {
		sequences = 30
	}
	node := shared.Cluster(t).Nodes[0]
	facts := stmt.NewAnalyzer(stmt.NewCache(stmt.Limits{}))
	for seed := range sequences {
		conn, err := node.Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m := &modelled{t: t, conn: conn.PgConn(), facts: facts, log: []string{fmt.Sprint("-- seed ", seed)}}
		dice := rand.New(rand.NewPCG(uint64(seed), 5))
		if seed%3 == 0 { // as long as it has never listened, UNLISTEN is nothing
			for _, sql := range []string{"BEGIN", "UNLISTEN a", "UNLISTEN *", "PREPARE TRANSACTION 'x'", "ROLLBACK PREPARED 'x'"} {
				m.do(sql)
			}
		}
		for range 60 {
			m.random(dice)
		}
		m.do("ROLLBACK")
		if err := conn.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
