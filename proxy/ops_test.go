package proxy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gopgpool/internal/fakepg"
	"gopgpool/pgwire"
)

// inModes runs a test in the modes whose sessions keep and share their connections; line is for pgpool.conf.
func inModes(t *testing.T, f func(t *testing.T, line string)) {
	for _, mode := range []string{"session", "transaction"} {
		t.Run(mode, func(t *testing.T) { f(t, "pool_mode = "+mode+"\n") })
	}
}

// admin is a session of a superuser, the fake servers' postgres.
func (p *testProxy) admin(tb testing.TB) *fakepg.Client {
	tb.Helper()
	return p.connect(tb, "postgres")
}

// refusal sends a statement and returns the code and message it is refused with.
func refusal(tb testing.TB, c *fakepg.Client, sql string) string {
	tb.Helper()
	got := errorsOf(c.Query(sql))
	if len(got) != 1 {
		tb.Errorf("%s got %v", sql, got)
		return ""
	}
	return got[0].Code + " " + got[0].Message
}

// asked counts the messages the first server has got, goodbyes apart.
func (p *testProxy) asked() (n int) {
	for _, c := range p.fakes[0].Conns() {
		for _, m := range c.Received() {
			if m.Type != pgwire.Terminate {
				n++
			}
		}
	}
	return n
}

// pausing reports whether the administrator's PAUSE is under way.
func (p *testProxy) pausing() (yes bool) {
	p.sessionOf("postgres", func(s *session) { yes = s.placing })
	return yes
}

// standsAs tells what a user's session waits for.
func (p *testProxy) standsAs(user string) (what standing) {
	p.sessionOf(user, func(s *session) { what = s.ops.standing })
	return what
}

// TestPauseHoldsStatements: what comes while a database is paused is not sent, in whichever protocol, and goes on after RESUME.
func TestPauseHoldsStatements(t *testing.T) { inModes(t, testPauseHoldsStatements) }

func testPauseHoldsStatements(t *testing.T, line string) {
	for name, message := range map[string][]byte{
		"simple": pgwire.AppendQuery(nil, victimQ), "extended": extended(victimQ), "describe": pgwire.AppendSimple(pgwire.AppendBody(nil, pgwire.Describe, []byte("Sp\x00")), pgwire.Sync),
	} {
		t.Run(name, func(t *testing.T) {
			p := newTestProxy(t, setup{world: world(), conf: line})
			boss, c := p.admin(t), p.connect(t, "victim")
			c.Send(pgwire.AppendSimple(pgwire.AppendParse(nil, "p", one), pgwire.Sync))
			c.UntilReady()
			ok(t, boss, "PGPOOL PAUSE")
			seen := p.asked()
			c.Send(message)
			await(t, "the statement is held", func() bool { return p.standsAs("victim") == pausedHere })
			if got := p.asked(); got != seen {
				t.Errorf("the server got %d messages", got-seen)
			}
			ok(t, boss, "SHOW pool_version")
			ok(t, boss, "PGPOOL RESUME")
			if got := c.UntilReady(); len(fakepg.Errors(got)) > 0 {
				t.Errorf("got %s", fakepg.Transcript(got))
			}
			ok(t, c, one)
			c.Bye()
			boss.Bye()
		})
	}
}

// TestPauseWaitsForTransactions: an open transaction goes on to its end, and PAUSE waits for it.
func TestPauseWaitsForTransactions(t *testing.T) { inModes(t, testPauseWaitsForTransactions) }

func testPauseWaitsForTransactions(t *testing.T, line string) {
	p := newTestProxy(t, setup{world: world(), conf: line})
	boss, c, lazy := p.admin(t), p.connect(t, "victim"), p.connect(t, "lazy")
	ok(t, c, "BEGIN")
	ok(t, c, one)
	ok(t, lazy, "BEGIN") // has not reached a server: it is held when it would
	boss.Send(pgwire.AppendQuery(nil, "PGPOOL PAUSE db"))
	await(t, "the database is paused", func() bool { return p.pauses.covers("db") })
	ok(t, c, one)
	ok(t, c, insert)
	lazy.Send(pgwire.AppendQuery(nil, one))
	await(t, "the other transaction is held", func() bool { return p.standsAs("lazy") == pausedHere })
	if !p.pausing() {
		t.Error("PAUSE is done while a transaction is open")
	}
	ok(t, c, "COMMIT")
	if got := boss.UntilReady(); len(fakepg.Errors(got)) > 0 {
		t.Errorf("PAUSE got %s", fakepg.Transcript(got))
	}
	c.Send(pgwire.AppendQuery(nil, one))
	await(t, "the next statement is held", func() bool { return p.standsAs("victim") == pausedHere })
	ok(t, boss, "PGPOOL RESUME db")
	c.UntilReady()
	lazy.UntilReady()
	ok(t, lazy, "COMMIT")
	for _, x := range []*fakepg.Client{boss, c, lazy} {
		x.Bye()
	}
}

// pausedCount is how many sessions are held by PAUSE.
func (p *testProxy) pausedCount() (n int) {
	p.onLoops(func(h *home) {
		for s := range h.sessions {
			if s.ops.standing == pausedHere {
				n++
			}
		}
	})
	return n
}

// TestResumeKeepsOrder: the statements go on in the order of their coming.
func TestResumeKeepsOrder(t *testing.T) { inModes(t, testResumeKeepsOrder) }

func testResumeKeepsOrder(t *testing.T, line string) {
	w := world()
	for i := range 5 {
		w[fmt.Sprintf("SELECT %d0", i)] = fakepg.One()
	}
	size := "default_pool_size = 5\n" // one for each session
	if strings.Contains(line, "transaction") {
		size = "default_pool_size = 1\n"
	}
	p := newTestProxy(t, setup{world: w, conf: line + size + "log_per_node_statement = on\n"})
	boss := p.admin(t)
	var clients []*fakepg.Client
	for range 5 {
		clients = append(clients, p.connect(t, "victim"))
	}
	ok(t, boss, "PGPOOL PAUSE")
	var want []string
	for i := range 5 {
		c := clients[i]
		want = append(want, fmt.Sprintf("SELECT %d0", i))
		c.Send(pgwire.AppendQuery(nil, want[i]))
		await(t, "the statement is held", func() bool { return p.pausedCount() == i+1 })
	}
	if err := p.Resume(""); err != nil {
		t.Fatal(err)
	}
	for _, c := range clients {
		c.UntilReady()
		c.Bye()
	}
	var order []string
	for _, line := range p.log.events() {
		if i := strings.Index(line, "SELECT "); i >= 0 && slices.Contains(want, line[i:]) {
			order = append(order, line[i:])
		}
	}
	if !slices.Equal(order, want) {
		t.Errorf("they ran in the order %q", order)
	}
	boss.Bye()
}

// TestHeldByPauseEnds: a held statement can be cancelled, its client may go, its session be killed, its time run out.
func TestHeldByPauseEnds(t *testing.T) { inModes(t, testHeldByPauseEnds) }

func testHeldByPauseEnds(t *testing.T, line string) {
	p := newTestProxy(t, setup{world: world(), conf: line})
	boss := p.admin(t)
	clients := make(map[string]*fakepg.Client)
	for _, user := range []string{"cancelled", "gone", "killed", "late"} {
		clients[user] = p.connect(t, user)
	}
	ok(t, boss, "PGPOOL PAUSE")
	p.sessionOf("late", func(s *session) { s.pooling.QueryWaitTimeout = 20 * time.Millisecond })
	for user, c := range clients {
		c.Send(pgwire.AppendQuery(nil, one))
		if user != "late" {
			await(t, "the statement is held", func() bool { return p.standsAs(user) == pausedHere })
		}
	}
	p.cancelRequest(t, clients["cancelled"])
	if got := errorsOf(clients["cancelled"].UntilReady()); len(got) != 1 || got[0].Code != "57014" || got[0].Severity != "ERROR" {
		t.Errorf("cancelled: %v", got)
	}
	clients["cancelled"].Bye()
	clients["gone"].Close()
	ok(t, boss, fmt.Sprintf("PGPOOL KILL %d", p.numberOf("killed")))
	if got := clients["killed"].Next(); pgwire.ReadFields([]byte(got.Body)).Code != "57P01" {
		t.Errorf("killed: %s", fakepg.Show(got))
	}
	clients["killed"].ExpectEnd()
	if f := pgwire.ReadFields([]byte(clients["late"].Next().Body)); f.Code != "57P03" || f.Message != "query_wait_timeout" || f.Severity != "FATAL" {
		t.Errorf("waited too long: %v", f)
	}
	clients["late"].ExpectEnd()
	for user := range clients {
		await(t, "the session is over", func() bool { return !p.sessionOf(user, func(*session) {}) })
	}
	ok(t, boss, "PGPOOL RESUME")
	boss.Bye()
}

// TestPauseHoldsLogins: a login that needs a server connection waits, but for that of a superuser, who may have come to say RESUME.
func TestPauseHoldsLogins(t *testing.T) { inModes(t, testPauseHoldsLogins) }

func testPauseHoldsLogins(t *testing.T, line string) {
	p := newTestProxy(t, setup{world: world(), conf: line})
	boss := p.admin(t)
	p.connect(t, "victim").Bye() // from now on it is known that it is no superuser
	await(t, "the session is over", func() bool { return !p.sessionOf("victim", func(*session) {}) })
	ok(t, boss, "PGPOOL PAUSE")
	for _, end := range []string{"goes", "is killed", "gets in"} {
		c := p.start(t, "victim")
		await(t, "the login is held", func() bool { return p.standsAs("victim") == pausedHere })
		switch end {
		case "goes":
			c.Close()
		case "is killed":
			ok(t, boss, fmt.Sprintf("PGPOOL KILL %d", p.numberOf("victim")))
			_, _ = c.UntilEnd()
		default:
			boss.Bye()
			other := p.admin(t)
			ok(t, other, "PGPOOL RESUME")
			other.Bye()
			c.Login()
			c.Bye()
		}
		await(t, "the session is over", func() bool { return !p.sessionOf("victim", func(*session) {}) })
	}
}

// numberOf is the number KILL knows a user's session by.
func (p *testProxy) numberOf(user string) (pid int) {
	p.sessionOf(user, func(s *session) { pid = s.slot.pid })
	return pid
}

// TestVerbsLikeTheConsole: the errors are those of PgBouncer's console.
func TestVerbsLikeTheConsole(t *testing.T) {
	p := newTestProxy(t, setup{world: world()})
	boss, c := p.admin(t), p.connect(t, "somebody")
	ok(t, boss, "BEGIN")
	ok(t, boss, one)
	if got := refusal(t, boss, "PGPOOL PAUSE"); !strings.HasPrefix(got, "25001") {
		t.Errorf("PAUSE in a transaction: %s", got)
	}
	ok(t, boss, "ROLLBACK")
	for _, step := range []struct{ sql, want string }{
		{"PGPOOL RESUME", "55000 pooler is not paused/suspended"},
		{"PGPOOL RESUME db", "55000 database db is not paused"},
		{"PGPOOL PAUSE", ""},
		{"PGPOOL PAUSE", "55000 already suspended/paused"},
		{"PGPOOL PAUSE db", "55000 already suspended/paused"},
		{"PGPOOL RESUME db", "55000 database db is not paused"},
		{"PGPOOL RESUME", ""},
		{"PGPOOL PAUSE db", ""},
		{"PGPOOL PAUSE db", ""},
		{"PGPOOL RESUME", "55000 pooler is not paused/suspended"},
		{"PGPOOL RESUME db", ""},
		{"PGPOOL RESUME db", "55000 database db is not paused"},
		{"PGPOOL RECONNECT", ""},
		{"PGPOOL RECONNECT db", ""},
		{"PGPOOL KILL 1", "42704 no session has the number 1"},
		{"PGPOOL KILL 99999999999999999999", "22023 no session has the number 99999999999999999999"},
	} {
		got := ""
		for _, f := range errorsOf(boss.Query(step.sql)) {
			got = f.Code + " " + f.Message
		}
		if got != step.want {
			t.Errorf("%s: %q, want %q", step.sql, got, step.want)
		}
		if got := refusal(t, c, step.sql); got != "42501 admin access needed" {
			t.Errorf("%s by somebody: %s", step.sql, got)
		}
	}
	boss.Send(extended("PGPOOL RECONNECT"))
	if got := fakepg.Transcript(boss.UntilReady()); !strings.Contains(got, `C "RECONNECT`) || strings.Contains(got, "E ") {
		t.Errorf("extended protocol: %s", got)
	}
	boss.Bye()
	c.Bye()
}

// TestPauseUndone: a PAUSE that is cancelled, or whose client goes, before the last transaction is over leaves nothing paused. RESUME
// ends one that waits.
func TestPauseUndone(t *testing.T) { inModes(t, testPauseUndone) }

func testPauseUndone(t *testing.T, line string) {
	p := newTestProxy(t, setup{world: world(), conf: line})
	c := p.connect(t, "victim")
	ok(t, c, "BEGIN")
	ok(t, c, one)
	pause := func() *fakepg.Client {
		boss := p.admin(t)
		boss.Send(pgwire.AppendQuery(nil, "PGPOOL PAUSE db"))
		await(t, "the database is paused", func() bool { return p.pauses.covers("db") && p.pausing() })
		return boss
	}
	free := func() { await(t, "nothing is paused", func() bool { return !p.pauses.covers("db") }) }

	boss := pause()
	p.cancelRequest(t, boss)
	if got := errorsOf(boss.UntilReady()); len(got) != 1 || got[0].Code != "57014" {
		t.Errorf("cancelled: %v", got)
	}
	free()
	boss.Bye()
	await(t, "the session is over", func() bool { return !p.sessionOf("postgres", func(*session) {}) })

	boss = pause()
	boss.Close()
	free()
	await(t, "the session is over", func() bool { return !p.sessionOf("postgres", func(*session) {}) })

	boss = pause()
	if err := p.Resume("db"); err != nil {
		t.Error(err)
	}
	if got := errorsOf(boss.UntilReady()); len(got) != 1 || got[0].Code != "57014" {
		t.Errorf("resumed: %v", got)
	}
	boss.Bye()

	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	done := make(chan error, 1)
	go func() { done <- p.Pause(ctx, "db") }()
	await(t, "the database is paused", func() bool { return p.pauses.covers("db") })
	cancel(cause)
	if err := <-done; !errors.Is(err, cause) {
		t.Error(err)
	}
	free()
	ok(t, c, "COMMIT")
	if err := p.Pause(t.Context(), "db"); err != nil {
		t.Error(err)
	}
	if err := p.Resume("db"); err != nil {
		t.Error(err)
	}
	c.Bye()
}

// TestKill: the client is told, what runs is cancelled, a session in its transaction or logging in ends as well.
func TestKill(t *testing.T) { inModes(t, testKill) }

func testKill(t *testing.T, line string) {
	p := newTestProxy(t, setup{world: world(), conf: line})
	boss := p.admin(t)
	for name, begin := range map[string]func(c *fakepg.Client){
		"idle":           func(*fakepg.Client) {},
		"in transaction": func(c *fakepg.Client) { ok(t, c, "BEGIN"); ok(t, c, one) },
		"running":        func(c *fakepg.Client) { c.Send(pgwire.AppendQuery(nil, victimQ)) },
	} {
		t.Run(name, func(t *testing.T) {
			if name == "running" {
				p.fakes[0].Misbehave(fakepg.Fault{At: fakepg.Asked, SQL: victimQ, User: "victim", Times: 1, Do: fakepg.WaitForCancel})
				defer p.fakes[0].Behave()
			}
			c := p.connect(t, "victim")
			begin(c)
			ok(t, boss, fmt.Sprintf("PGPOOL KILL %d", p.numberOf("victim")))
			if f := pgwire.ReadFields([]byte(c.Next().Body)); f.Code != "57P01" || f.Severity != "FATAL" {
				t.Errorf("the client is told %v", f)
			}
			c.ExpectEnd()
			await(t, "the session is over", func() bool { return !p.sessionOf("victim", func(*session) {}) })
		})
	}
	boss.Send(pgwire.AppendQuery(nil, fmt.Sprintf("PGPOOL KILL %d", p.numberOf("postgres"))))
	if f := pgwire.ReadFields([]byte(boss.Next().Body)); f.Code != "57P01" {
		t.Errorf("a session that ends itself: %v", f)
	}
	boss.ExpectEnd()
}

// TestAdminUsers: who stands in admin_users may use the verbs, and nobody else.
func TestAdminUsers(t *testing.T) {
	p := newTestProxy(t, setup{world: world(), conf: "admin_users = 'op, second'\n"})
	op, boss := p.connect(t, "op"), p.admin(t)
	ok(t, op, "PGPOOL PAUSE")
	if got := refusal(t, boss, "PGPOOL RESUME"); !strings.HasPrefix(got, "42501") {
		t.Errorf("a superuser who is not in admin_users: %s", got)
	}
	second := p.connect(t, "second") // logs in, for it may say RESUME
	ok(t, second, "PGPOOL RESUME")
	for _, c := range []*fakepg.Client{op, boss, second} {
		c.Bye()
	}
}

// TestPauseOnSeveralLoops: sessions are held, waited for and let go on whichever loop they run.
func TestPauseOnSeveralLoops(t *testing.T) {
	inModes(t, func(t *testing.T, line string) {
		p := newTestProxy(t, setup{world: world(), loops: 3, conf: line})
		boss := p.admin(t)
		var clients []*fakepg.Client
		for i := range 6 {
			c := p.connect(t, fmt.Sprintf("u%d", i))
			clients = append(clients, c)
			ok(t, c, "BEGIN")
			ok(t, c, one)
		}
		boss.Send(pgwire.AppendQuery(nil, "PGPOOL PAUSE"))
		await(t, "the databases are paused", func() bool { return p.pauses.covers("db") })
		for i, c := range clients {
			if !p.pausing() {
				t.Errorf("PAUSE is done with %d transactions open", len(clients)-i)
			}
			ok(t, c, "COMMIT")
			c.Send(pgwire.AppendQuery(nil, one))
		}
		if got := boss.UntilReady(); len(fakepg.Errors(got)) > 0 {
			t.Errorf("PAUSE got %s", fakepg.Transcript(got))
		}
		await(t, "all are held", func() bool { return p.pausedCount() == len(clients) })
		ok(t, boss, "PGPOOL RESUME")
		for _, c := range clients {
			c.UntilReady()
			c.Bye()
		}
		boss.Bye()
	})
}

// TestReconnect: connections are replaced when nothing holds them, with the settings of their sessions.
func TestReconnect(t *testing.T) {
	inModes(t, func(t *testing.T, line string) {
		w := stateful()
		w["DROP TABLE x"] = fakepg.Answer{Tag: "DROP TABLE"}
		p := newTestProxy(t, setup{world: w, conf: line + "num_init_children = 8\nmax_pool = 2\n"})
		f := p.fakes[0]
		clients := make(map[string]*fakepg.Client)
		conns := make(map[string]*fakepg.Conn)
		for _, user := range []string{"free", "busy", "keeper"} {
			clients[user] = p.connect(t, user)
			ok(t, clients[user], "SET work_mem TO '5MB'")
			conns[user] = f.Last()
		}
		ok(t, clients["busy"], "BEGIN")
		ok(t, clients["busy"], one)
		ok(t, clients["keeper"], "CREATE TEMP TABLE x (a int)")
		boss := p.admin(t)
		ok(t, boss, "PGPOOL RECONNECT db")
		f.Await("the free connection is closed", conns["free"].Over)
		ok(t, clients["keeper"], one)
		if conns["busy"].Over() || conns["keeper"].Over() {
			t.Error("a connection in use was closed")
		}
		ok(t, clients["free"], one)
		if last := f.Last(); last == conns["free"] || !strings.Contains(strings.Join(last.Statements(), ";"), "work_mem") {
			t.Errorf("the new connection got %q", last.Statements())
		}
		ok(t, clients["busy"], "COMMIT")
		f.Await("the busy connection is closed", conns["busy"].Over)
		for _, c := range clients {
			c.Bye()
		}
		f.Await("the last old connection is closed", conns["keeper"].Over)
		boss.Bye()
	})
}

// TestPauseOutlivesRestart: a server that ends its connections while the database is paused does not end the sessions.
func TestPauseOutlivesRestart(t *testing.T) {
	inModes(t, func(t *testing.T, line string) {
		p := newTestProxy(t, setup{world: world(), conf: line})
		boss, idle, held := p.admin(t), p.connect(t, "idle"), p.connect(t, "held")
		ok(t, idle, one)
		ok(t, held, one)
		ok(t, boss, "PGPOOL PAUSE")
		held.Send(pgwire.AppendQuery(nil, one))
		await(t, "the statement is held", func() bool { return p.standsAs("held") == pausedHere })
		for _, c := range p.fakes[0].Conns() {
			if !c.Over() {
				c.Inject(pgwire.AppendError(nil, pgwire.Fields{Severity: "FATAL", Code: "57P01", Message: "bye"}))
				c.Cut()
			}
		}
		await(t, "the sessions have noticed", func() bool {
			left := 0
			p.onLoops(func(h *home) {
				for s := range h.sessions {
					left += len(s.backends)
				}
			})
			return left == 0
		})
		ok(t, boss, "PGPOOL RESUME")
		if got := held.UntilReady(); len(fakepg.Errors(got)) > 0 {
			t.Errorf("got %s", fakepg.Transcript(got))
		}
		ok(t, idle, one)
		for _, c := range []*fakepg.Client{boss, idle, held} {
			c.Bye()
		}
	})
}

// TestPauseClaims: a pause of a database lasts while any of those who asked for it wants it, or until RESUME.
func TestPauseClaims(t *testing.T) {
	var p pauses
	claim := func(database string) uint64 {
		t.Helper()
		token, err := p.add(database)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	first, second := claim("a"), claim("a")
	if p.covers("b") || !p.covers("a") || p.drop("a", first) || !p.covers("a") || p.holds("a", first) || !p.holds("a", second) {
		t.Error("the first claim takes the second with it")
	}
	if !p.drop("a", second) || p.covers("a") || p.drop("a", second) || p.now.Load() != nil {
		t.Error("the last claim leaves something")
	}
	old := claim("a")
	if err := p.end("a"); err != nil {
		t.Error(err)
	}
	claim("a")
	if p.drop("a", old) || !p.covers("a") {
		t.Error("a claim that RESUME has ended takes back a later one")
	}
	all := claim("")
	if _, err := p.add("b"); !errors.Is(err, errPausedAlready) {
		t.Error(err)
	}
	if !p.covers("b") || !p.drop("", all) || p.covers("b") || !p.covers("a") {
		t.Error("the pause of all databases and that of one are not apart")
	}
}
