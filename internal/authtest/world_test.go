package authtest

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gopgpool/auth"
	"gopgpool/internal/pgcluster"
)

const (
	// password is everybody's.
	password = "correct horse"
	// keyPhrase decrypts pool_passwd.
	keyPhrase = "a key for tests"
	// patience bounds every wait.
	patience = 20 * time.Second
)

// serverHBA maps the databases to what the server asks.
const serverHBA = `host at_trust all 127.0.0.1/32 trust
host at_password all 127.0.0.1/32 password
host at_md5 all 127.0.0.1/32 md5
host at_upgrade all 127.0.0.1/32 md5
host at_scram all 127.0.0.1/32 scram-sha-256
hostssl at_tls all 127.0.0.1/32 scram-sha-256
hostnossl at_tls all 127.0.0.1/32 reject
hostssl at_cert all 127.0.0.1/32 cert map=proxy
hostnossl at_cert all 127.0.0.1/32 reject
`

var databases = []string{"at_trust", "at_password", "at_md5", "at_upgrade", "at_scram", "at_tls", "at_cert"}

var shared = pgcluster.NewShared(pgcluster.Options{Nodes: 1, HBA: serverHBA})

func TestMain(m *testing.M) { os.Exit(shared.Main(m)) }

// world is the server with its roles and the certificates of everybody.
type world struct {
	cluster      *pgcluster.Cluster
	lines        []line
	ours, theirs *authority // theirs is trusted by nobody

	mu    sync.Mutex // guards leafs
	leafs map[string]leaf
}

// newWorld makes what the lines need.
func newWorld(t *testing.T, lines []line) *world {
	t.Helper()
	w := &world{cluster: shared.Cluster(t), lines: lines, leafs: map[string]leaf{}}
	dir := t.TempDir()
	w.ours = newAuthority(t, filepath.Join(dir, "ours"), "Authority of the tests")
	w.theirs = newAuthority(t, filepath.Join(dir, "theirs"), "Authority of strangers")
	w.issueAll(t)
	w.createRoles(t)
	w.serverTLS(t)
	return w
}

// fingerprint names the certificates of a line: right, revoked, of the strangers' authority.
func (w *world) issueAll(t *testing.T) {
	t.Helper()
	w.leafs["server"] = w.ours.issue(t, "server", "server", "DNS:localhost", "IP:127.0.0.1")
	w.leafs["pgpool"] = w.ours.issue(t, "pgpool", "pgpool", "DNS:localhost", "IP:127.0.0.1")
	w.leafs["somebody"] = w.ours.issue(t, "somebody", "somebody")
	for _, l := range w.lines {
		role := l.certificateOf()
		if role == "" {
			continue
		}
		cn := role
		if l.hba == "map" {
			cn += "@staff"
		}
		w.leafs[role] = w.ours.issue(t, role, cn)
		w.leafs[role+" revoked"] = w.ours.revoked(t, role+"-revoked", cn)
		w.leafs[role+" theirs"] = w.theirs.issue(t, role, cn)
	}
	w.ours.list(t)
}

// leaf is a certificate made before.
func (w *world) leaf(t *testing.T, name string) leaf {
	t.Helper()
	l, ok := w.leafs[name]
	if !ok {
		t.Fatalf("no certificate %q", name)
	}
	return l
}

func (w *world) createRoles(t *testing.T) {
	t.Helper()
	for _, db := range databases {
		w.onServer(t, "CREATE DATABASE "+db)
	}
	var sql strings.Builder
	sql.WriteString("CREATE ROLE asker LOGIN; GRANT SELECT ON pg_authid TO asker;")
	for _, l := range w.lines {
		for suffix, options := range map[string]string{"": "LOGIN", expired: "LOGIN VALID UNTIL '2020-01-01'", nologin: "NOLOGIN"} {
			stored := verifier(t, "")
			if l.storedAs() == "md5" {
				stored = auth.MD5Hash(password, l.role()+suffix)
			}
			fmt.Fprintf(&sql, "CREATE ROLE %s %s PASSWORD '%s';", l.role()+suffix, options, stored)
		}
	}
	w.onServer(t, sql.String())
}

// serverTLS lets the server use TLS and trust our authority; pgpool's certificate stands for every role.
func (w *world) serverTLS(t *testing.T) {
	t.Helper()
	own := w.leaf(t, "server")
	var idents strings.Builder
	for _, l := range w.lines {
		if l.server == "cert" {
			for _, user := range l.users() {
				fmt.Fprintf(&idents, "proxy pgpool %s\n", user)
			}
		}
	}
	data := filepath.Base(w.cluster.Nodes[0].DataDir)
	for name, text := range map[string]string{
		"server.crt": read(t, own.cert), "server.key": read(t, own.key), "root.crt": read(t, w.ours.root()), "pg_ident.conf": idents.String(),
	} {
		if err := w.cluster.WriteFile(filepath.Join(data, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, setting := range []string{"ssl_cert_file = 'server.crt'", "ssl_key_file = 'server.key'", "ssl_ca_file = 'root.crt'", "ssl = on"} {
		w.onServer(t, "ALTER SYSTEM SET "+setting)
	}
	w.onServer(t, "SELECT pg_reload_conf()")
	waitFor(t, "the server has TLS", func() bool { return w.onServer(t, "SHOW ssl") == "on" })
}

func (w *world) onServer(t *testing.T, sql string) string {
	t.Helper()
	value, err := w.cluster.Nodes[0].Value(t.Context(), sql)
	if err != nil {
		t.Fatalf("%.100s: %v", sql, err)
	}
	return value
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := contextWithin(t)
	defer cancel()
	if err := pgcluster.Poll(ctx, what, func() (bool, error) { return ok(), nil }); err != nil {
		t.Fatal(err)
	}
}

// verifier is the password as servers keep it for SCRAM; the salt depends on seed only. The roles have the one of "".
func verifier(t *testing.T, seed string) string {
	t.Helper()
	const iterations = 4096
	salt := sha256.Sum256([]byte("salt " + seed))
	salted, err := pbkdf2.Key(sha256.New, password, salt[:16], iterations, sha256.Size)
	if err != nil {
		t.Fatal(err)
	}
	mac := func(text string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(mac("Client Key"))
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, encode(salt[:16]), encode(stored[:]), encode(mac("Server Key")))
}
