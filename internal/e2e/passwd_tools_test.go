package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gopgpool/internal/pgcluster"
)

// passwordUser is a role whose entry one of the programs makes.
type passwordUser struct {
	program    string // pg_enc or pg_md5
	role       string
	password   string
	encryption string // of the server
}

// passwordUsers creates roles for a run, in whose names its own is. Long entries are for a pgpool that does not cut them.
func passwordUsers(t *testing.T, run string, long bool) []passwordUser {
	t.Helper()
	users := []passwordUser{
		{"pg_enc", run + "_scram", "pässwörd", "scram-sha-256"},
		{"pg_enc", run + "_scram_79", strings.Repeat("é", 39) + "x", "scram-sha-256"},
		{"pg_enc", run + "_md5", "also-for-md5", "md5"},
		{"pg_md5", run + "_hash", "mötörhead", "md5"},
	}
	if long {
		users = append(users,
			passwordUser{"pg_enc", run + "_scram_80", strings.Repeat("é", 40), "scram-sha-256"},
			passwordUser{"pg_enc", run + "_scram_600", strings.Repeat("long", 150), "scram-sha-256"})
	}
	createGroups(t)
	var sql strings.Builder
	for _, u := range users {
		group := map[string]string{"scram-sha-256": "ask_scram", "md5": "ask_md5"}[u.encryption]
		fmt.Fprintf(&sql, "SET password_encryption = %s; CREATE ROLE %s LOGIN PASSWORD %s IN ROLE %s;",
			quoted(u.encryption), u.role, quoted(u.password), group)
	}
	onServer(t, 0, sql.String())
	replayed(t)
	return users
}

// clientMethod asks the client in the way the server asks pgpool.
func (u passwordUser) clientMethod() string { return u.encryption }

// make runs the program for -m; path is where it is, by whatever name.
func (u passwordUser) make(t *testing.T, path, keyFile string, p *pgcluster.Pgpool) {
	t.Helper()
	cmd := osexec.CommandContext(t.Context(), path)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	cmd.Args = []string{u.program, "-m", "-f", filepath.Join(p.EtcDir, "pgpool.conf"), "-u", u.role}
	if u.program == "pg_enc" {
		cmd.Args = append(cmd.Args, "-k", keyFile)
	}
	cmd.Args = append(cmd.Args, u.password)
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s for %s: %v\n%s", u.program, u.role, err, output)
	}
}

// Entries made by Pgpool-II's programs log in through us, and ours through Pgpool-II: by SCRAM, and by md5, on both sides.
func TestPasswordPrograms(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat(peerProgram("pg_enc")); errors.Is(err, fs.ErrNotExist) {
		t.Skipf("%s is not there: install pgpool2 to exchange entries with it", peerProgram("pg_enc"))
	}
	// A key file is read up to 255 bytes of its first line.
	const keyName = "e2e-keys/long"
	if err := shared.Cluster(t).WriteFile(keyName, strings.Repeat("schlüssel ", 30)+"\nsecond line\n", 0o600); err != nil {
		t.Fatal(err)
	}
	keyFile := filepath.Join(shared.Cluster(t).Dir, keyName)
	programs := map[string]func(name string) string{
		"ours":   func(string) string { return shared.Program(t, "pg_enc") },
		"theirs": peerProgram,
	}
	for _, tt := range []struct{ programs, server string }{{"theirs", "ours"}, {"ours", "theirs"}, {"ours", "ours"}} {
		t.Run(tt.programs+" for "+tt.server, func(t *testing.T) {
			users := passwordUsers(t, "pw_"+tt.programs+"_"+tt.server, tt.programs == tt.server)
			p := newPasswordPgpool(t, tt.server, users, keyFile)
			made := users
			if tt.server == "ours" {
				made = users[1:] // the first is made while the server runs, which needs no reload
			}
			for _, u := range made {
				u.make(t, programs[tt.programs](u.program), keyFile, p)
			}
			if err := p.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			if tt.server == "ours" {
				if logIn(t, p, users[0].role, users[0].password) == nil {
					t.Error("a user without an entry is let in")
				}
				users[0].make(t, programs[tt.programs](users[0].program), keyFile, p)
			}
			for _, u := range users {
				if err := logIn(t, p, u.role, u.password); err != nil {
					t.Errorf("%s: %v", u.role, err)
				}
				if logIn(t, p, u.role, u.password+"x") == nil {
					t.Errorf("%s: a wrong password is taken", u.role)
				}
			}
		})
	}
}

// newPasswordPgpool writes the files of a pgpool, ours or theirs, that asks the users for their passwords.
func newPasswordPgpool(t *testing.T, server string, users []passwordUser, keyFile string) *pgcluster.Pgpool {
	t.Helper()
	opts := pgcluster.PgpoolOptions{
		Binary: shared.Program(t, "pgpool"), Env: []string{"GORACE=atexit_sleep_ms=0"}, Args: []string{"-k", keyFile},
		Dir:  filepath.Join(shared.Cluster(t).Dir, "passwords-"+strings.ReplaceAll(filepath.Base(t.Name()), " ", "-")),
		Conf: map[string]string{"enable_pool_hba": "on", "num_init_children": "4"},
		HBA:  "host all postgres 127.0.0.1/32 trust\n", Passwd: "# made by programs\n",
	}
	for _, u := range users {
		opts.HBA += fmt.Sprintf("host all %s 127.0.0.1/32 %s\n", u.role, u.clientMethod())
	}
	switch server {
	case "ours":
		opts.Conf["auth_delay"] = "0"
	case "theirs":
		opts.Binary = peer
		run := filepath.Join(opts.Dir, "run")
		opts.ConfText = "socket_dir = '" + run + "'\nwd_ipc_socket_dir = '" + run + "'\nlogdir = '" + filepath.Join(opts.Dir, "log") + "'\n"
	}
	p, err := shared.Cluster(t).NewPgpool(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return p
}
