package recovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/internal/pgcluster"
)

// lab is a primary and a standby that runs already and stands for the node that is recovered. There is no extension: tests make the
// functions they want.
type lab struct {
	*world
	cluster *pgcluster.Cluster
	source  *pgcluster.Node
}

func newLab(t *testing.T) *lab {
	t.Helper()
	c := pgcluster.StartTest(t, pgcluster.Options{Nodes: 2})
	all := make([]cluster.Node, 2)
	for i, n := range c.Nodes {
		all[i] = cluster.Node{
			ID: cluster.NodeID(i), Host: n.Host, Port: n.Port, DataDirectory: n.DataDir, Status: cluster.StatusUp,
		}
	}
	l := &lab{world: newWorld(t, all...), cluster: c, source: c.Nodes[0]}
	l.detach()
	return l
}

// detach takes node 1 out, for the next recovery.
func (l *lab) detach() { l.change(func(v *cluster.View) { v.Nodes[1].Status = cluster.StatusDown }) }

func (l *lab) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	check(t, l.source.Exec(t.Context(), sql, args...))
}

// functions makes a pgpool_recovery of n arguments that keeps what it was given, and pgpool_remote_start.
func (l *lab) functions(t *testing.T, n int) {
	t.Helper()
	l.exec(t, "DROP SCHEMA public CASCADE")
	l.exec(t, "CREATE SCHEMA public")
	l.exec(t, "CREATE TABLE given (id serial, what text)")
	types := argumentTypes()[:n]
	words := make([]string, n)
	for i := range words {
		words[i] = fmt.Sprintf("$%d::text", i+1)
	}
	l.exec(t, fmt.Sprintf(`CREATE FUNCTION pgpool_recovery(%s) RETURNS boolean LANGUAGE sql AS $$
		INSERT INTO given(what) VALUES (concat_ws(' ', %s, current_setting('statement_timeout'))) RETURNING true $$`,
		strings.Join(types, ","), strings.Join(words, ",")))
	l.exec(t, `CREATE FUNCTION pgpool_remote_start(text, text) RETURNS boolean LANGUAGE sql AS $$
		INSERT INTO given(what) VALUES (concat_ws(' ', 'start', $1, $2)) RETURNING true $$`)
}

// given is what the functions were called with since it was asked last.
func (l *lab) given(t *testing.T) string {
	t.Helper()
	text, err := l.source.Value(t.Context(), "SELECT string_agg(what, '; ' ORDER BY id) FROM given")
	check(t, err)
	l.exec(t, "DELETE FROM given")
	return text
}

// TestRecover runs against a real primary and a real standby.
func TestRecover(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	t.Run("every extension", l.everyExtension)
	t.Run("second stage", l.secondStage)
	t.Run("clients who stay", l.clientsWhoStay)
	t.Run("one at a time", l.oneAtATime)
	t.Run("given up", l.givenUp)
	t.Run("failures", l.failures)
	t.Run("reserved", l.reserved)
	t.Run("template1", l.functionsInTemplate)
	t.Run("node", l.nodeThatIsNoStandby)
}

// Where releases before 4.7 looked for the extension, it is found if nobody has said where it is.
func (l *lab) functionsInTemplate(t *testing.T) {
	l.functions(t, mostArguments)
	l.exec(t, "DROP FUNCTION pgpool_remote_start(text, text)")
	conn, err := l.source.Connect(t.Context(), "dbname=template1")
	check(t, err)
	defer conn.Close(t.Context())
	for _, sql := range []string{
		"CREATE FUNCTION pgpool_recovery(text, text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
		"CREATE FUNCTION pgpool_remote_start(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
	} {
		_, err := conn.Exec(t.Context(), sql)
		check(t, err)
	}
	l.detach()
	l.recovers(t, 1)
	if given := l.given(t); given != "" {
		t.Errorf("called in database postgres: %s", given)
	}
	old := l.r.parts.Settings()
	l.set(func(s *Settings) { s.RecoveryDatabase = "elsewhere" })
	defer l.set(func(s *Settings) { *s = old })
	l.exec(t, "CREATE DATABASE elsewhere TEMPLATE template0")
	l.detach()
	e := l.fails(t.Context(), t, 1)
	if want := `extension pgpool_recovery is missing in database "elsewhere"`; !strings.Contains(e.Detail, want) {
		t.Errorf("%v: %s, want %s", e, e.Detail, want)
	}
}

// Older extensions take fewer arguments; of several forms the widest is called.
func (l *lab) everyExtension(t *testing.T) {
	all := strings.Fields(fmt.Sprintf("recovery_1st_stage 127.0.0.1 %s %d 1 %d 127.0.0.1",
		l.cluster.Nodes[1].DataDir, l.source.Port, l.cluster.Nodes[1].Port))
	start := "; start 127.0.0.1 " + l.cluster.Nodes[1].DataDir
	for n := leastArguments; n <= mostArguments; n++ {
		l.functions(t, n)
		l.detach()
		l.recovers(t, 1)
		if got, want := l.given(t), strings.Join(all[:n], " ")+" 0"+start; got != want {
			t.Errorf("%d arguments:\n got %s\nwant %s", n, got, want)
		}
	}
	l.exec(t, "CREATE FUNCTION pgpool_recovery(text, text, text) RETURNS boolean LANGUAGE sql AS 'SELECT false'")
	l.exec(t, "CREATE FUNCTION pgpool_recovery(text, text, text, text, text) RETURNS boolean LANGUAGE sql AS 'SELECT false'")
	l.detach()
	l.recovers(t, 1)
	if got := l.given(t); !strings.HasPrefix(got, strings.Join(all, " ")) {
		t.Errorf("of several forms not the widest was called: %s", got)
	}

	l.set(func(s *Settings) { s.Recovery1stStageCommand = "it's; $(x)" })
	l.detach()
	l.recovers(t, 1)
	if got := l.given(t); !strings.HasPrefix(got, "it's; $(x) 127") {
		t.Errorf("the script's name became %s", got)
	}
	l.set(func(s *Settings) { s.Recovery1stStageCommand = "" })
	l.detach()
	l.recovers(t, 1)
	if got := l.given(t); got != start[2:] {
		t.Errorf("without a script: %s", got)
	}
	l.set(func(s *Settings) { s.Recovery1stStageCommand = "recovery_1st_stage" })
}

// The modes with a second stage keep clients out from there to the end.
func (l *lab) secondStage(t *testing.T) {
	l.set(func(s *Settings) { s.Mode = conf.ModeNativeReplication })
	defer l.set(func(s *Settings) { s.Mode = conf.ModeStreamingReplication })
	l.resumedTimes()
	l.detach()
	l.out.Flush(time.Second)
	l.lines.Reset()
	l.recovers(t, 1)
	l.tells(t, "starting recovering node 1", "executing recovery", "node recovery, 1st stage is done", "node recovery, starting 2nd stage",
		"node recovery, all connections from clients have been closed", "executing recovery", "node recovery, 2nd stage is done",
		"checking if postmaster is started", "node recovery, node: 1 restarted", "recovery done")
	words := strings.Fields(l.given(t))
	if !slices.Contains(words, "recovery_1st_stage") || !slices.Contains(words, "recovery_2nd_stage") {
		t.Errorf("the stages were %q", words)
	}
	if n := l.resumedTimes(); n != 1 {
		t.Errorf("clients were let in %d times, want 1", n)
	}
}

// tells looks at the log: these are all its lines, without the details.
func (l *lab) tells(t *testing.T, want ...string) {
	t.Helper()
	l.out.Flush(time.Second)
	var got []string
	for _, line := range strings.Split(strings.TrimSpace(l.lines.String()), "\n") {
		if text, ok := strings.CutPrefix(line, "LOG:  "); ok {
			got = append(got, text)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the log:\n got %q\nwant %q", got, want)
	}
}

func (l *lab) resumedTimes() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.resumed
	l.resumed = 0
	return n
}

// "recovery_timeout": with an idle limit that must have ended all idle clients by then, the recovery goes on; else it fails.
func (l *lab) clientsWhoStay(t *testing.T) {
	l.set(func(s *Settings) { s.Mode, s.RecoveryTimeout = conf.ModeNativeReplication, time.Second })
	defer l.set(func(s *Settings) { s.Mode, s.RecoveryTimeout = conf.ModeStreamingReplication, 20*time.Second })
	l.quiesceWith(func(ctx context.Context) error {
		<-ctx.Done()
		return context.Cause(ctx)
	})
	defer l.quiesceWith(nil)
	for idle, goesOn := range map[time.Duration]bool{
		0: false, -time.Second: true, time.Second: true, 2 * time.Second: false,
	} {
		l.set(func(s *Settings) { s.ClientIdleLimitInRecovery = idle })
		l.detach()
		l.resumedTimes()
		if goesOn {
			l.recovers(t, 1)
		} else {
			e := l.fails(t.Context(), t, 1)
			want := "node recovery failed, waiting connection closed in the other pgpools timeout"
			if e.Error() != want {
				t.Errorf("idle limit %v: %s, want %s", idle, e, want)
			}
		}
		if n := l.resumedTimes(); n != 1 {
			t.Errorf("idle limit %v: clients were let in %d times, want 1", idle, n)
		}
	}
	l.given(t)
}

func (l *lab) quiesceWith(f func(context.Context) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.quiesce = f
}

// A second request while one is at work is refused, and closes its connection.
func (l *lab) oneAtATime(t *testing.T) {
	l.set(func(s *Settings) { s.Mode = conf.ModeNativeReplication })
	defer l.set(func(s *Settings) { s.Mode = conf.ModeStreamingReplication })
	inside, goOn := make(chan struct{}), make(chan struct{})
	l.quiesceWith(func(context.Context) error {
		close(inside)
		<-goOn
		return nil
	})
	defer l.quiesceWith(nil)
	l.detach()
	done := make(chan error, 1)
	go func() { done <- l.r.Recover(t.Context(), 1) }()
	<-inside
	e := l.fails(t.Context(), t, 1)
	if want := errBusy(); e.Error() != want.Error() || !e.Fatal {
		t.Errorf("%v, fatal %v; want %v", e, e.Fatal, want)
	}
	// What is wrong with the request itself is told first.
	if e := l.fails(t.Context(), t, 7); e.Fatal || e.Detail != "node id 7 is not valid" {
		t.Errorf("%v, fatal %v", e, e.Fatal)
	}
	close(goOn)
	check(t, <-done)
	l.took()
	l.given(t)
}

// A recovery that is given up leaves the node down, and lets the next one begin.
func (l *lab) givenUp(t *testing.T) {
	l.exec(t, "CREATE OR REPLACE FUNCTION pgpool_remote_start(text, text) RETURNS boolean LANGUAGE sql AS "+
		"'SELECT pg_sleep(60) IS NULL'")
	l.detach()
	cause := errors.New("asked to stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan *Error, 1)
	go func() { done <- l.fails(ctx, t, 1) }()
	check(t, pgcluster.Poll(t.Context(), "the script runs", func() (bool, error) {
		n, err := l.source.Value(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
		return n == "1", err
	}))
	cancel(cause)
	if e := <-done; e.Error() != "node recovery failed, node id: 1: given up: asked to stop" || !errors.Is(e, cause) {
		t.Errorf("given up: %v", e)
	}
	if l.store.Current().Nodes[1].Status.Live() {
		t.Error("the node was attached")
	}
	l.functions(t, mostArguments)
	l.recovers(t, 1)
}

// The node is reserved when all is ready for the scripts, and before the first of them. Without that nothing is done.
func (l *lab) reserved(t *testing.T) {
	var said error
	asked := 0
	l.r.parts.Reserve = func(ctx context.Context, id cluster.NodeID) error {
		asked++
		if n, err := l.source.Value(ctx, "SELECT count(*) FROM given"); err != nil || n != "0" || id != 1 {
			t.Errorf("node %d is reserved after %s scripts: %v", id, n, err)
		}
		return said
	}
	defer func() { l.r.parts.Reserve = nil }()
	l.detach()
	l.recovers(t, 1)
	if l.given(t) == "" || asked != 1 {
		t.Errorf("reserved %d times", asked)
	}
	said = errors.New("there is no leader")
	l.detach()
	e := l.fails(t.Context(), t, 1)
	if want := "the other pgpools could not be told to leave the node alone: there is no leader"; e.Detail != want || l.given(t) != "" {
		t.Errorf("%v", e)
	}
	l.exec(t, "DROP FUNCTION pgpool_remote_start(text, text)")
	if e := l.fails(t.Context(), t, 1); asked != 2 {
		t.Errorf("reserved though nothing can be done: %v", e)
	}
	l.functions(t, mostArguments)
}

func (l *lab) failures(t *testing.T) {
	stage := `executing recovery, execution of command failed at "1st stage"`
	for _, tc := range []struct {
		name, sql string
		set       func(*Settings)
		message   string
		detail    string // the beginning
	}{
		{
			"script", "CREATE OR REPLACE FUNCTION pgpool_recovery(text,text,text,text,integer,text,text) RETURNS boolean LANGUAGE plpgsql" +
				" AS $$ BEGIN RAISE 'pgpool_recovery failed' USING DETAIL = 'exit code 3'; END $$", nil,
			stage, `command:"recovery_1st_stage" (pgpool_recovery failed: exit code 3); more may be in the log of the server on 127.0.0.1:`,
		},
		{
			"false", "CREATE OR REPLACE FUNCTION pgpool_recovery(text,text,text,text,integer,text,text) RETURNS boolean LANGUAGE sql" +
				" AS 'SELECT false'", nil,
			stage, `command:"recovery_1st_stage" (the function did not return true)`,
		},
		{
			"remote start", "CREATE OR REPLACE FUNCTION pgpool_remote_start(text,text) RETURNS boolean LANGUAGE plpgsql" +
				" AS $$ BEGIN RAISE 'pgpool_remote_start failed'; END $$", nil,
			"executing remote start, execution of command failed",
			`command:"pgpool_remote_start" (pgpool_remote_start failed); more may be in the log`,
		},
		{
			"no remote start", "DROP FUNCTION pgpool_remote_start(text,text)", nil,
			`executing recovery, execution of command failed at "preparation"`,
			`command:"pgpool_recovery" (extension pgpool_recovery is missing in database "postgres")`,
		},
		{
			"no extension", "", func(s *Settings) { s.RecoveryDatabase = "template1" },
			`executing recovery, execution of command failed at "preparation"`,
			`command:"pgpool_recovery" (extension pgpool_recovery is missing in database "template1")`,
		},
		{
			"no database", "", func(s *Settings) { s.RecoveryDatabase = "nosuch" },
			"node recovery failed, unable to connect to main node: 0 ", `the reason is: database "nosuch" does not exist`,
		},
		{
			"no user", "", func(s *Settings) { s.RecoveryUser = "nosuch" },
			"node recovery failed, unable to connect to main node: 0 ", `the reason is: role "nosuch" does not exist`,
		},
	} {
		l.functions(t, mostArguments)
		if tc.sql != "" {
			l.exec(t, tc.sql)
		}
		before := l.r.parts.Settings()
		if tc.set != nil {
			l.set(tc.set)
		}
		l.detach()
		e := l.fails(t.Context(), t, 1)
		l.set(func(s *Settings) { *s = before })
		if e.Message != tc.message || !strings.HasPrefix(e.Detail, tc.detail) {
			t.Errorf("%s:\n got %s|%s\nwant %s|%s", tc.name, e.Message, e.Detail, tc.message, tc.detail)
		}
	}
	l.functions(t, mostArguments)
}

// What runs at the node's address must be a standby that lets recovery_user in, and its source must still be the primary.
func (l *lab) nodeThatIsNoStandby(t *testing.T) {
	l.detach()
	standby := l.store.Current().Nodes[1]
	at := func(port int) {
		l.change(func(v *cluster.View) { v.Nodes[1].Port = port })
	}
	at(l.source.Port)
	if e := l.fails(t.Context(), t, 1); !strings.Contains(e.Detail, "it runs as a primary") {
		t.Errorf("a primary in the node's place: %v", e)
	}
	for _, tc := range []struct {
		name    string
		answers []string // SQLSTATEs, the last one for ever
		bound   time.Duration
		want    string
	}{
		{
			"starting", []string{"57P03"}, 500 * time.Millisecond, `recovery is checking if postmaster is started: postmaster on hostname:"127.0.0.1" ` +
				`database:"postgres" user:"postgres" failed to start in 0 second`,
		},
		{
			"without the database", []string{"57P03", "3D000", "53300"}, 3 * time.Second, `recovery is checking if postmaster is started: ` +
				`postmaster on hostname:"127.0.0.1" database:"template1" user:"postgres" failed to start in 0 second`,
		},
		{"stranger", []string{"57P03", "28P01"}, time.Minute, "node recovery failed, node id: 1: it runs but refuses recovery_user: no"},
	} {
		at(refuseAll(t, tc.answers))
		l.set(func(s *Settings) { s.RecoveryTimeout = 0 })
		l.r.startBound = tc.bound
		if e := l.fails(t.Context(), t, 1); e.Error() != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.name, e, tc.want)
		}
	}
	at(standby.Port)
	l.given(t)
	l.exec(t, "CREATE OR REPLACE FUNCTION pgpool_remote_start(text, text) RETURNS boolean LANGUAGE sql AS "+
		"'SELECT pg_sleep(60) IS NOT NULL'")
	done := make(chan *Error, 1)
	go func() { done <- l.fails(t.Context(), t, 1) }()
	check(t, pgcluster.Poll(t.Context(), "the script runs", func() (bool, error) {
		n, err := l.source.Value(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
		return n == "1", err
	}))
	l.change(func(v *cluster.View) { v.Primary, v.Nodes[0].Status = cluster.NoNode, cluster.StatusDown })
	if e := <-done; e.Detail != "its source, node 0, is not the primary any more" {
		t.Errorf("a source that was lost: %v", e)
	}
}

// refuseAll is a server that answers every login with an error; it returns its port.
func refuseAll(t *testing.T, codes []string) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			refuse1(c, codes[min(i, len(codes)-1)])
		}
	}()
	t.Cleanup(func() {
		check(t, l.Close())
		<-done
	})
	return l.Addr().(*net.TCPAddr).Port
}

func refuse1(c net.Conn, code string) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := pgproto3.NewBackend(c, c).ReceiveStartupMessage(); err != nil {
		return
	}
	answer := pgproto3.ErrorResponse{Severity: "FATAL", Code: code, Message: "no"}
	if b, err := answer.Encode(nil); err == nil {
		_, _ = c.Write(b)
	}
}

// A server that was the primary when the recovery began must be it when the node is attached.
func TestSourceLostMeanwhile(t *testing.T) {
	t.Parallel()
	v := nodes(up, down)
	w := newWorld(t, v.Nodes...)
	plan, err := Decide(w.store.Current(), w.settings, 1)
	check(t, err)
	x := &run{Recoverer: w.r, plan: plan, settings: w.settings}
	w.change(func(v *cluster.View) { v.Primary, v.Nodes[0].Status = 2, cluster.StatusDown })
	want := "node recovery failed, node id: 1: its source, node 0, is not the primary any more"
	if e := x.attach(t.Context()); e == nil || e.Error() != want {
		t.Errorf("%v, want %s", e, want)
	}
	if got := w.took(); got != nil {
		t.Errorf("%v was attached", got)
	}
}

// Nothing of the process' environment leads our connections anywhere.
func TestEnvironmentHasNoEffect(t *testing.T) {
	for name, value := range map[string]string{
		"PGHOST": "/no/such", "PGPORT": "1", "PGUSER": "x", "PGPASSWORD": "x", "PGSSLMODE": "verify-full", "PGOPTIONS": "-c x=y",
		"PGTARGETSESSIONATTRS": "primary", "PGAPPNAME": "x", "PGPASSFILE": filepath.Join(os.TempDir(), "none"),
	} {
		t.Setenv(name, value)
	}
	cfg, err := baseConfig()
	check(t, err)
	if cfg.TLSConfig != nil || cfg.Host != "localhost" || cfg.Port != 5432 || cfg.User != "x" || len(cfg.RuntimeParams) != 1 {
		t.Errorf("%+v", cfg)
	}
	t.Setenv("PGSERVICE", "nosuch")
	w := newWorld(t, nodes(up, down).Nodes...)
	if e := w.fails(t.Context(), t, 1); !strings.Contains(e.Detail, "service") {
		t.Errorf("PGSERVICE: %v", e)
	}
}
