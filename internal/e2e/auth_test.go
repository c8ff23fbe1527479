package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopgpool/auth"
	"gopgpool/internal/pgcluster"
)

const keyPhrase = "a key for tests"

// login is one cell of the matrix: what a role's record in pool_hba.conf, its server and its entry in pool_passwd are.
type login struct{ hba, server, entry string }

func (l login) role() string { return "m_" + strings.Join([]string{l.hba, l.server, l.entry}, "_") }

var (
	hbaMethods    = map[string]string{"off": "", "trust": "trust", "password": "password", "md5": "md5", "scram": "scram-sha-256"}
	serverMethods = []string{"trust", "password", "md5", "scram"}
	entryKinds    = []string{"none", "text", "md5", "aes"}
)

// admitted tells whether the right password lets a role in (manual, client authentication; what Pgpool-II was measured to do, but
// for the cell password, none, trust, where it accepts any password).
func (l login) admitted() bool {
	clear := l.entry == "text" || l.entry == "aes"
	any := l.entry != "none"
	switch l.hba {
	case "off":
		switch l.server {
		case "md5":
			return any
		case "scram":
			return clear
		}
		return true
	case "trust":
		return l.server == "trust" || clear || l.server == "md5" && any
	case "password":
		return any || l.server != "trust"
	case "md5":
		return clear || any && (l.server == "trust" || l.server == "md5")
	}
	return clear // scram
}

// unchecked tells whether nobody asks for the password.
func (l login) unchecked() bool { return l.hba == "trust" || l.hba == "off" && l.server == "trust" }

func (l login) passwdLine() string {
	switch l.entry {
	case "text":
		return l.role() + ":TEXT" + password + "\n"
	case "md5":
		return l.role() + ":" + auth.MD5Hash(password, l.role()) + "\n"
	case "aes":
		encrypted, err := auth.NewKey(keyPhrase).Encrypt(password)
		if err != nil {
			panic("e2e: " + err.Error())
		}
		return l.role() + ":AES" + encrypted + "\n"
	}
	return ""
}

func matrix() (cells []login) {
	for hba := range hbaMethods {
		for _, server := range serverMethods {
			for _, entry := range entryKinds {
				cells = append(cells, login{hba, server, entry})
			}
		}
	}
	slices.SortFunc(cells, func(a, b login) int { return strings.Compare(a.role(), b.role()) })
	return cells
}

// createGroups makes the roles whose members the servers ask for passwords, see hba, unless another test has done so.
func createGroups(t *testing.T) {
	t.Helper()
	for _, group := range []string{"ask_password", "ask_md5", "ask_scram"} {
		onServer(t, 0, "DO $$ BEGIN CREATE ROLE "+group+"; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$")
	}
}

// createRoles makes the roles of the matrix on the servers.
func createRoles(t *testing.T, cells []login) {
	t.Helper()
	createGroups(t)
	var sql strings.Builder
	for _, server := range serverMethods {
		encryption, member := "md5", " IN ROLE ask_"+server
		switch server {
		case "scram":
			encryption = "scram-sha-256"
		case "trust":
			member = ""
		}
		fmt.Fprintf(&sql, "SET password_encryption = %s;", quoted(encryption))
		for _, l := range cells {
			if l.server == server {
				fmt.Fprintf(&sql, "CREATE ROLE %s LOGIN PASSWORD %s%s;", l.role(), quoted(password), member)
			}
		}
	}
	onServer(t, 0, sql.String())
	replayed(t)
}

// Every combination of client and server methods and kinds of pool_passwd entries, each with the right password, then with a wrong
// one while the role's server connection idles, then with the right one again.
func TestAuthenticationMatrix(t *testing.T) {
	t.Parallel()
	cells := matrix()
	createRoles(t, cells)
	var rules, passwd strings.Builder
	for _, l := range cells {
		if l.hba != "off" {
			fmt.Fprintf(&rules, "host all %s 127.0.0.1/32 %s\n", l.role(), hbaMethods[l.hba])
		}
		passwd.WriteString(l.passwdLine())
	}
	begin := func(hbaOn string) *pgcluster.Pgpool {
		if err := shared.Cluster(t).WriteFile("e2e-keys/"+hbaOn, keyPhrase+"\n", 0o600); err != nil {
			t.Fatal(err)
		}
		return startWith(t, pgcluster.PgpoolOptions{
			Conf: map[string]string{"enable_pool_hba": hbaOn, "num_init_children": "100"},
			HBA:  rules.String() + "host all postgres 127.0.0.1/32 trust\n", Passwd: passwd.String(),
			Args: []string{"-k", filepath.Join(shared.Cluster(t).Dir, "e2e-keys", hbaOn)},
		})
	}
	on, off := begin("on"), begin("off")
	for _, l := range cells {
		p := on
		if l.hba == "off" {
			p = off
		}
		try := func(step, secret string, want bool) {
			err := logIn(t, p, l.role(), secret)
			if (err == nil) != want {
				t.Errorf("%s, %s: admitted %t, want %t: %v", l.role(), step, err == nil, want, err)
			}
			if err != nil && sqlState(err) == "" {
				t.Errorf("%s, %s: no SQLSTATE: %v", l.role(), step, err)
			}
		}
		try("right password", password, l.admitted())
		try("wrong password while a connection idles", "wrong", l.admitted() && l.unchecked())
		try("right password again", password, l.admitted())
	}
}

// logIn logs in and runs a statement.
func logIn(t *testing.T, p *pgcluster.Pgpool, role, secret string) error {
	t.Helper()
	conn, err := p.Connect(t.Context(), "user="+role, "password="+secret)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	var me string
	return conn.QueryRow(t.Context(), "SELECT current_user::text").Scan(&me)
}

// The answer does not tell whether a user exists.
func TestUnknownUserLooksLikeWrongPassword(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"md5", "scram-sha-256", "password"} {
		p := startWith(t, pgcluster.PgpoolOptions{
			Conf: map[string]string{"enable_pool_hba": "on"},
			HBA:  "host all all 127.0.0.1/32 " + method + "\n", Passwd: "postgres:TEXT" + password + "\n",
		})
		_, known := p.Connect(t.Context(), "password=wrong")
		_, unknown := p.Connect(t.Context(), "user=nobody_at_all", "password=wrong")
		if sqlState(known) != "28P01" || sqlState(unknown) != "28P01" {
			t.Errorf("%s: known user: %v; unknown user: %v", method, known, unknown)
		}
		if conn, err := p.Connect(t.Context(), "password="+password); err != nil {
			t.Errorf("%s: right password: %v", method, err)
		} else {
			conn.Close(t.Context())
		}
	}
}

func TestHBARejects(t *testing.T) {
	t.Parallel()
	p := startWith(t, pgcluster.PgpoolOptions{
		Conf: map[string]string{"enable_pool_hba": "on"},
		HBA:  "host template1 all 127.0.0.1/32 reject\nhost postgres postgres 127.0.0.1/32 trust\n",
	})
	for _, words := range []string{"dbname=template1", "user=somebody_else"} {
		_, err := p.Connect(t.Context(), words)
		if err == nil || !strings.Contains(err.Error(), "client authentication failed") && !strings.Contains(err.Error(), "no pool_hba.conf entry") {
			t.Errorf("%s: %v", words, err)
		}
	}
	connect(t, p)
}
