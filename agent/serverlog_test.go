package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTellingLine(t *testing.T) {
	t.Parallel()
	const began = "2026-01-01 LOG:  starting PostgreSQL 15.1 on x86_64\n"
	for _, tc := range []struct{ name, log, want string }{
		{"nothing", "", ""},
		{
			"it does not get its WAL", began + "2026-01-01 [7] LOG:  redo starts at 0/2\n" +
				`2026-01-01 [9] FATAL:  could not connect to the primary server: connection to server at "::1", port 1 failed: FATAL:  no pg_hba.conf entry` + "\n" +
				"\tconnection to server at \"::1\", port 1 failed: fe_sendauth: no password supplied\n" +
				"2026-01-01 [8] LOG:  waiting for WAL to become available at 0/5000018\n" +
				"2026-01-01 [10] FATAL:  the database system is not yet accepting connections\n" +
				"2026-01-01 [10] DETAIL:  Consistent recovery state has not been yet reached.\n",
			`FATAL: could not connect to the primary server: connection to server at "::1", port 1 failed: FATAL: no pg_hba.conf entry` +
				` connection to server at "::1", port 1 failed: fe_sendauth: no password supplied`,
		},
		{"what was before the start is past", "FATAL:  old\n" + began + "LOG:  redo starts at 0/2\nFATAL:  the database system is starting up\n", "LOG: redo starts at 0/2"},
		{"any prefix", "12:00:\t[x]\nat12:PANIC:  could not locate a valid checkpoint record\n", "PANIC: could not locate a valid checkpoint record"},
		{"libpq's own words", began + "WARNING: password file \"/p\" has group or world access\n", `WARNING: password file "/p" has group or world access`},
		{
			"statements are not passed on", "LOG:  statement: ALTER SYSTEM SET primary_conninfo = 'password=secret'\nERROR:  secret\n" +
				"STATEMENT:  ALTER ROLE r PASSWORD 'secret'\nLOG:  execute x: SELECT 'FATAL:  secret'\n" +
				"STATEMENT:  SELECT 'WARNING: secret', 'LOG:  redo secret'\n", "",
		},
		{"not a line of a terminal", "FATAL:  a\x1b[2Jb\xff\n", "FATAL: a?[2Jb?"},
	} {
		if got := tellingLine([]byte(tc.log)); got != tc.want {
			t.Errorf("%s:\n%s\nwant\n%s", tc.name, got, tc.want)
		}
	}
	if got := tellingLine([]byte("FATAL:  " + strings.Repeat("é", logEnd) + "\n")); len(got) > maxSays+3 {
		t.Errorf("%d bytes", len(got))
	}
}

func TestLastLines(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ text, want string }{
		{"", ""},
		{"a\nb\n", "a\nb"},
		{"abcdefgh\nij\nkl\n", "ij\nkl"},
		{"abcdefghijklm", "ghijklm"},
	} {
		if got := lastLines([]byte(tc.text), 7); got != tc.want {
			t.Errorf("%q: %q", tc.text, got)
		}
	}
}

func FuzzTellingLine(f *testing.F) {
	f.Add([]byte("x FATAL:  y\n\tz\nLOG:  redo starts"))
	f.Fuzz(func(t *testing.T, end []byte) {
		if got := tellingLine(end); strings.ContainsAny(got, "\n\r\x00\x1b") || len(got) > maxSays+3 {
			t.Errorf("%q", got)
		}
	})
}

// TestCollectedLog: where the server has a logging collector, its file counts.
func TestCollectedLog(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	check(t, os.Mkdir(dir, 0o700))
	p := place{data: dir, beside: dir + ".pgpool", owner: owner{uid: uint32(os.Geteuid()), gid: uint32(os.Getegid()), groups: []uint32{uint32(os.Getegid())}}}
	l := &Local{DataDirectory: dir, ServerLog: filepath.Join(dir, "out")}
	check(t, os.WriteFile(l.ServerLog, []byte("FATAL:  standard error\n"), 0o600))
	if got := l.says(&p); got != "FATAL: standard error" {
		t.Error(got)
	}
	check(t, os.Mkdir(filepath.Join(dir, "log"), 0o700))
	check(t, os.WriteFile(filepath.Join(dir, "log", "a.log"), []byte("FATAL:  collected\n"), 0o600))
	check(t, os.WriteFile(filepath.Join(dir, "current_logfiles"), []byte("csvlog log/a.csv\nstderr log/a.log\n"), 0o600))
	if got := l.says(&p); got != "FATAL: collected" {
		t.Error(got)
	}
	check(t, os.Remove(filepath.Join(dir, "log", "a.log")))
	check(t, os.Symlink("/etc/passwd", filepath.Join(dir, "log", "a.log")))
	l.lacks.Store(ptr(`passfile "/p" of its primary_conninfo: no such file or directory`))
	if got := l.says(&p); got != `FATAL: standard error; passfile "/p" of its primary_conninfo: no such file or directory` {
		t.Error(got)
	}
}
