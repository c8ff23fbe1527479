package recovery

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/internal/pgcluster"
)

// tellArguments is a script that writes its arguments, one per NUL, to a file in the directory it was started in.
const tellArguments = `#!/bin/sh
{ [ $# -eq 0 ] || printf '%s\0' "$@"; } >arguments.new && mv arguments.new arguments.out
echo "said by the script" >&2
`

// extensionServer is one server with one of the two extensions.
type extensionServer struct {
	node *pgcluster.Node
	own  bool
}

func startExtensionServer(t *testing.T, binDir string, own bool) extensionServer {
	t.Helper()
	c := pgcluster.StartTest(t, pgcluster.Options{Nodes: 1, BinDir: binDir, Archive: true})
	s := extensionServer{c.Nodes[0], own}
	for name, text := range map[string]string{
		"script": tellArguments, "pgpool_remote_start": tellArguments, "a 'b' $(touch injected).sh": tellArguments,
		"fails": "#!/bin/sh\nexit 3\n", "killed": "#!/bin/sh\nkill -9 $$\n",
	} {
		s.write(t, name, text, 0o755)
	}
	s.write(t, "not_executable", tellArguments, 0o644)
	check(t, s.node.Exec(t.Context(), "CREATE EXTENSION pgpool_recovery"))
	check(t, s.node.Exec(t.Context(), "CREATE ROLE nobody LOGIN"))
	check(t, s.node.Exec(t.Context(), "CREATE ROLE old LOGIN SUPERUSER"))
	check(t, s.node.Exec(t.Context(), "ALTER ROLE old SET standard_conforming_strings = off"))
	return s
}

func (s extensionServer) write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	check(t, os.WriteFile(filepath.Join(s.node.DataDir, name), []byte(text), mode))
	check(t, os.Chmod(filepath.Join(s.node.DataDir, name), mode))
}

// arguments are what the script was given at its last run, which is forgotten; nil if it did not run.
func (s extensionServer) arguments(t *testing.T) []string {
	t.Helper()
	path := filepath.Join(s.node.DataDir, "arguments.out")
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	check(t, err)
	check(t, os.Remove(path))
	return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
}

// eventually are the arguments of a script that runs in the background.
func (s extensionServer) eventually(t *testing.T) string {
	t.Helper()
	var given []string
	check(t, pgcluster.Poll(t.Context(), "the script runs", func() (bool, error) {
		given = s.arguments(t)
		return given != nil, nil
	}))
	return strings.Join(given, " ")
}

// call runs one statement as the given user and returns its value, or "SQLSTATE message | detail".
func (s extensionServer) call(t *testing.T, user, sql string, args ...any) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.node.ConnString("user="+user))
	check(t, err)
	defer conn.Close(t.Context())
	var value *string
	err = conn.QueryRow(t.Context(), sql, append([]any{pgx.QueryExecModeExec}, args...)...).Scan(&value)
	var pgErr *pgconn.PgError
	switch {
	case errors.As(err, &pgErr):
		return fmt.Sprintf("%s %s | %s", pgErr.Code, pgErr.Message, pgErr.Detail)
	case err != nil:
		t.Fatal(err)
	case value == nil:
		return "NULL"
	}
	return *value
}

// TestExtension runs one table of calls against our extension and, where it is installed, the original.
func TestExtension(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	t.Run("ours", func(t *testing.T) {
		t.Parallel()
		if out, err := in.install(t); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		testExtension(t, startExtensionServer(t, in.binDir, true))
	})
	t.Run("original", func(t *testing.T) {
		t.Parallel()
		if !originalInstalled(in) {
			t.Skip("the original extension pgpool_recovery is not installed")
		}
		testExtension(t, startExtensionServer(t, "", false))
	})
}

func originalInstalled(in installation) bool {
	control, err := os.ReadFile(filepath.Join(in.original, "pgpool_recovery.control"))
	return err == nil && strings.Contains(string(control), "module_pathname")
}

func testExtension(t *testing.T, s extensionServer) {
	data := s.node.DataDir
	const cast = "::text"
	all := []any{"script", "h", "/d", "5432", 7, "5433", "p"}
	for _, tc := range []struct {
		name, user, sql string
		args            []any
		want            string
		given           []string // nil: the script must not run
		only            string   // ours, original; empty: both
	}{
		{
			name: "seven", sql: "SELECT pgpool_recovery($1,$2,$3,$4,$5,$6,$7)" + cast, args: all,
			want: "true", given: []string{data, "h", "/d", "5432", "7", "5433", "p"},
		},
		{
			name: "six", sql: "SELECT pgpool_recovery($1,$2,$3,$4,$5,$6)" + cast, args: all[:6],
			want: "true", given: []string{data, "h", "/d", "5432", "7", "5433"},
		},
		{
			name: "five", sql: "SELECT pgpool_recovery($1,$2,$3,$4,$5)" + cast, args: all[:5],
			want: "true", given: []string{data, "h", "/d", "5432", "7"},
		},
		{
			name: "four", sql: "SELECT pgpool_recovery($1,$2,$3,$4)" + cast, args: all[:4],
			want: "true", given: []string{data, "h", "/d", "5432"},
		},
		{
			name: "three", sql: "SELECT pgpool_recovery($1,$2,$3)" + cast, args: all[:3],
			want: "true", given: []string{data, "h", "/d"},
		},
		{
			name: "remote start", sql: "SELECT pgpool_remote_start($1,$2)" + cast, args: []any{"h", "/d"},
			want: "true", given: []string{"h", "/d"},
		},
		{name: "null", sql: "SELECT pgpool_recovery($1,$2,$3)" + cast, args: []any{"script", nil, "/d"}, want: "NULL"},
		{name: "null start", sql: "SELECT pgpool_remote_start(NULL, '/d')" + cast, want: "NULL"},
		{
			name: "script fails", sql: "SELECT pgpool_recovery('fails','h','/d')" + cast,
			want: `38000 pgpool_recovery failed | script "fails": child process exited with exit code 3`, only: "ours",
		},
		{
			name: "script fails", sql: "SELECT pgpool_recovery('fails','h','/d')" + cast,
			want: `XX000 pgpool_recovery failed | `, only: "original",
		},
		{
			name: "script is killed", sql: "SELECT pgpool_recovery('killed','h','/d')" + cast,
			want: `38000 pgpool_recovery failed | script "killed": child process was terminated by signal 9: Killed`, only: "ours",
		},
		{
			name: "no script", sql: "SELECT pgpool_recovery('missing','h','/d')" + cast,
			want: `38000 pgpool_recovery failed | script "missing": command not found`, only: "ours",
		},
		{
			name: "not executable", sql: "SELECT pgpool_recovery('not_executable','h','/d')" + cast,
			want: `38000 pgpool_recovery failed | script "not_executable": command not executable`, only: "ours",
		},
		{
			name: "path", sql: "SELECT pgpool_recovery('../data0/script','h','/d')" + cast,
			want: "22023 pgpool_recovery failed | A script is named by the name of a file in the data directory.", only: "ours",
		},
		{
			name: "empty name", sql: "SELECT pgpool_recovery('','h','/d')" + cast,
			want: "22023 pgpool_recovery failed | A script is named by the name of a file in the data directory.", only: "ours",
		},
		{
			name: "not superuser", user: "nobody", sql: "SELECT pgpool_recovery('script','h','/d')" + cast,
			want: "42501 must be superuser to use pgpool_recovery function | ", only: "ours",
		},
		{
			name: "not superuser, start", user: "nobody", sql: "SELECT pgpool_remote_start('h','/d')" + cast,
			want: "42501 must be superuser to use pgpool_remote_start function | ", only: "ours",
		},
		{
			name: "not superuser, any script", user: "nobody",
			sql:  "SELECT pgpool_run_script('x', 'script', true, '{}')" + cast,
			want: "42501 must be superuser to use x function | ", only: "ours",
		},
		{
			name: "not superuser, switch", user: "nobody", sql: "SELECT pgpool_switch_xlog('/')" + cast,
			want: "42501 must be superuser to use pgpool_switch_xlog function | ", only: "ours",
		},
		{
			name: "not superuser, pgctl", user: "nobody", sql: "SELECT pgpool_pgctl('reload', '')" + cast,
			want: "42501 must be superuser to use pgpool_pgctl function | ", only: "ours",
		},
		{
			name: "empty arguments", sql: "SELECT pgpool_recovery('script','','')" + cast,
			want: "true", given: []string{data, "", ""}, only: "ours",
		},
		{
			name: "hostile arguments", sql: "SELECT pgpool_recovery('script',$1,$2)" + cast,
			args: []any{"'; touch injected; '", "$(touch injected)`touch injected`\n\"\\$HOME * é \\'"},
			want: "true", given: []string{data, "'; touch injected; '", "$(touch injected)`touch injected`\n\"\\$HOME * é \\'"}, only: "ours",
		},
		{
			name: "hostile arguments of start", sql: "SELECT pgpool_remote_start($1,$2)" + cast,
			args: []any{"h; touch injected", "a' & touch 'injected\n-n"},
			want: "true", given: []string{"h; touch injected", "a' & touch 'injected\n-n"}, only: "ours",
		},
		{
			name: "hostile file name", sql: "SELECT pgpool_recovery($1,'h','/d')" + cast, args: []any{"a 'b' $(touch injected).sh"},
			want: "true", given: []string{data, "h", "/d"}, only: "ours",
		},
		{
			name: "old strings", user: "old", sql: "SELECT pgpool_recovery('script','h',$1)" + cast,
			args: []any{`\'; touch injected; \\'`}, want: "true", given: []string{data, "h", `\'; touch injected; \\'`}, only: "ours",
		},
	} {
		if tc.only == "ours" && !s.own || tc.only == "original" && s.own {
			continue
		}
		if tc.user == "" {
			tc.user = "postgres"
		}
		if got := s.call(t, tc.user, tc.sql, tc.args...); got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.name, got, tc.want)
		}
		if got := s.arguments(t); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", tc.given) {
			t.Errorf("%s: the script was given %q, want %q", tc.name, got, tc.given)
		}
	}
	if _, err := os.Stat(filepath.Join(data, "injected")); err == nil {
		t.Error("an argument was carried out as a command")
	}
	if s.own {
		log, err := os.ReadFile(s.node.Log)
		check(t, err)
		if !strings.Contains(string(log), "said by the script") {
			t.Error("what the script said is not in the server's log")
		}
	}
	t.Run("switch", s.testSwitch)
	t.Run("pgctl", s.testPgctl)
}

// A segment that was switched is in the archive when the function returns.
func (s extensionServer) testSwitch(t *testing.T) {
	archive, err := s.node.Value(t.Context(), `SELECT regexp_replace(current_setting('archive_command'), '^.*''(.*)''/%f.*$', '\1')`)
	check(t, err)
	check(t, s.node.Exec(t.Context(), "CREATE TABLE IF NOT EXISTS switched AS SELECT 1"))
	if s.own { // a disk that takes its time
		slow := fmt.Sprintf("head -c 1048576 %%p >%s/%%f && sleep 0.5 && cp %%p %[1]s/%%f", pgcluster.ShellQuote(archive))
		check(t, s.node.Exec(t.Context(), "ALTER SYSTEM SET archive_command = '"+strings.ReplaceAll(slow, "'", "''")+"'"))
		check(t, s.node.Reload())
		check(t, pgcluster.Poll(t.Context(), "the setting is read", func() (bool, error) {
			got, err := s.node.Value(t.Context(), "SHOW archive_command")
			return got == slow, err
		}))
	}
	path := s.call(t, "postgres", "SELECT pgpool_switch_xlog($1)", archive)
	info, err := os.Stat(path)
	check(t, err)
	if size := info.Size(); filepath.Dir(path) != archive || size == 0 || s.own && size != 16<<20 {
		t.Errorf("%s of %d bytes, want one in %s", path, size, archive)
	}
	if !s.own {
		return
	}
	want := `58P01 pgpool_switch_xlog failed | There is no directory "/no/such".`
	if got := s.call(t, "postgres", "SELECT pgpool_switch_xlog('/no/such')"); !strings.HasSuffix(got, want[6:]) {
		t.Errorf("got %s, want %s", got, want)
	}
}

// The program is the one of the setting; its last word is what happens to the server.
func (s extensionServer) testPgctl(t *testing.T) {
	s.write(t, "pg 'ctl", tellArguments+"[ \"$1\" != reload ] || [ ! -e reload_fails ]\n", 0o755)
	reload := "SELECT pgpool_pgctl('reload', '')::text"
	if s.own {
		for sql, want := range map[string]string{
			reload:                                  "42704 pgpool_pgctl failed | Setting pgpool.pg_ctl does not name the program.",
			"SELECT pgpool_pgctl('', 'fast')::text": "42704 pgpool_pgctl failed | Setting pgpool.pg_ctl does not name the program.",
		} {
			if got := s.call(t, "postgres", sql); got != want {
				t.Errorf("%s: got %s, want %s", sql, got, want)
			}
		}
	}
	program := filepath.Join(s.node.DataDir, "pg 'ctl")
	if !s.own {
		program = filepath.Join(s.node.DataDir, "script")
	}
	conf, err := os.ReadFile(filepath.Join(s.node.DataDir, "postgresql.conf"))
	check(t, err)
	s.write(t, "postgresql.conf", string(conf)+"\npgpool.pg_ctl = '"+strings.ReplaceAll(program, "'", "''")+"'\n", 0o600)
	check(t, s.node.Reload())
	check(t, pgcluster.Poll(t.Context(), "the setting is read", func() (bool, error) {
		got, err := s.node.Value(t.Context(), "SELECT current_setting('pgpool.pg_ctl', true)")
		return got == program, err
	}))
	if got := s.call(t, "postgres", reload); got != "true" {
		t.Errorf("reload: %s", got)
	}
	if got, want := s.eventually(t), "reload -D "+s.node.DataDir; got != want {
		t.Errorf("reload was given %q, want %q", got, want)
	}
	if got := s.call(t, "postgres", "SELECT pgpool_pgctl('stop', 'fast')::text"); got != "true" {
		t.Errorf("stop: %s", got)
	}
	if got, want := s.eventually(t), "stop -D "+s.node.DataDir+" -m fast"; got != want {
		t.Errorf("stop was given %q, want %q", got, want)
	}
	if !s.own {
		return
	}
	for sql, want := range map[string]string{
		"SELECT pgpool_pgctl('initdb', '')::text":   `22023 pgpool_pgctl failed | Action "initdb" is none of stop, restart, reload.`,
		"SELECT pgpool_pgctl('stop', '; id')::text": `22023 pgpool_pgctl failed | Mode "; id" is none of smart, fast, immediate.`,
	} {
		if got := s.call(t, "postgres", sql); got != want {
			t.Errorf("%s: got %s, want %s", sql, got, want)
		}
	}
	s.write(t, "reload_fails", "", 0o644)
	want := "38000 pgpool_pgctl failed | child process exited with exit code 1"
	if got := s.call(t, "postgres", reload); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A database with an older release of the original gets our functions in their place.
func TestUpgradeFromTheOriginal(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	if !originalInstalled(in) {
		t.Skip("the original extension pgpool_recovery is not installed")
	}
	if out, err := in.install(t); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	olds := []string{"1.1", "1.2", "1.3"}
	for _, old := range olds {
		name := "pgpool_recovery--" + old + ".sql"
		text, err := os.ReadFile(filepath.Join(in.original, name))
		check(t, err)
		text = []byte(strings.ReplaceAll(string(text), "MODULE_PATHNAME", "$libdir/pgpool-recovery"))
		check(t, os.WriteFile(filepath.Join(in.extensionDir, name), text, 0o644))
	}
	s := startExtensionServer(t, in.binDir, true)
	for _, old := range olds {
		check(t, s.node.Exec(t.Context(), "DROP EXTENSION pgpool_recovery"))
		check(t, s.node.Exec(t.Context(), "CREATE EXTENSION pgpool_recovery VERSION '"+old+"'"))
		check(t, s.node.Exec(t.Context(), "ALTER EXTENSION pgpool_recovery UPDATE"))
		const count = `SELECT count(*) FILTER (WHERE l.lanname = 'c') || ' of ' || count(*) FROM pg_proc AS p
			JOIN pg_language AS l ON l.oid = p.prolang WHERE p.proname LIKE 'pgpool%'`
		if got, want := s.call(t, "postgres", count), "0 of 9"; got != want {
			t.Errorf("after an upgrade from %s: %s functions in C, want %s", old, got, want)
		}
		s.call(t, "postgres", "SELECT pgpool_recovery('script','h','/d')::text")
		if got, want := strings.Join(s.arguments(t), " "), s.node.DataDir+" h /d"; got != want {
			t.Errorf("after an upgrade from %s: the script was given %q, want %q", old, got, want)
		}
	}
}

// Files of a package are not written over unless that is asked for.
func TestInstallRespectsTheOriginal(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	control := filepath.Join(in.extensionDir, "pgpool_recovery.control")
	const original = "module_pathname = '$libdir/x'\n"
	check(t, os.WriteFile(control, []byte(original), 0o644))
	if out, err := in.install(t); err == nil || !strings.Contains(out, "FORCE=1") {
		t.Errorf("installing over the original: %v\n%s", err, out)
	}
	if out, err := in.install(t, "FORCE=1"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(control)
	check(t, err)
	if string(text) == original {
		t.Error("FORCE=1 did not replace it")
	}
	if out, err := in.install(t); err != nil {
		t.Errorf("installing again: %v\n%s", err, out)
	}
}
