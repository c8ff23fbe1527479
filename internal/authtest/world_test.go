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
	patience = time.Minute
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

var (
	shared = pgcluster.NewShared(pgcluster.Options{Nodes: 1, HBA: serverHBA, Listen: "127.0.0.1,127.0.0.2"})
	common ground
)

func TestMain(m *testing.M) { os.Exit(shared.Main(m)) }

// ground is what all tests of this package stand on, made by the first.
type ground struct {
	once         sync.Once
	ours, theirs *authority // theirs is trusted by nobody
	// pgpool and somebody are certificates of ours, server is the one that the server shows.
	pgpool, somebody, server leaf

	identsMu sync.Mutex // guards idents and the server's file
	idents   string     // pg_ident.conf
}

// world is the server with its roles and the certificates of everybody.
type world struct {
	*ground
	cluster *pgcluster.Cluster
	lines   []line
	// outside are methods of pool_hba.conf that other services judge, by their name in the table; environment is for pgpool.
	outside     map[string]string
	environment []string

	mu    sync.Mutex // guards files of this process and of pgpool that are made late
	leafs map[string]leaf
}

// newWorld makes what the lines need.
func newWorld(t *testing.T, lines []line) *world {
	t.Helper()
	w := &world{ground: &common, cluster: shared.Cluster(t), lines: lines, leafs: map[string]leaf{}}
	common.once.Do(func() { w.prepare(t) })
	if w.ours == nil || w.theirs == nil {
		t.Fatal("no certificates")
	}
	if len(lines) > 0 {
		w.issueAll(t)
		w.createRoles(t)
		w.mapRoles(t)
	}
	return w
}

// prepare makes databases and authorities, and lets the server use TLS and trust our authority.
func (w *world) prepare(t *testing.T) {
	t.Helper()
	dir := filepath.Join(w.cluster.Dir, "authorities")
	ours := newAuthority(t, filepath.Join(dir, "ours"), "Authority of the tests")
	theirs := newAuthority(t, filepath.Join(dir, "theirs"), "Authority of strangers")
	for _, db := range databases {
		w.onServer(t, "CREATE DATABASE "+db)
	}
	w.onServer(t, fmt.Sprintf("CREATE ROLE asker LOGIN; GRANT SELECT ON pg_authid TO asker; CREATE ROLE %s LOGIN PASSWORD '%s'", alice, verifier(t, "")))
	w.pgpool = ours.issue(t, "pgpool", "pgpool", "DNS:localhost", "IP:127.0.0.1")
	w.somebody = ours.issue(t, "somebody", "somebody")
	own := ours.issue(t, "server", "server", "DNS:localhost", "IP:127.0.0.1")
	w.server = own
	w.inDataDirectory(t, "server.crt", read(t, own.cert))
	w.inDataDirectory(t, "server.key", read(t, own.key))
	w.inDataDirectory(t, "root.crt", read(t, ours.root()))
	for _, setting := range []string{"ssl_cert_file = 'server.crt'", "ssl_key_file = 'server.key'", "ssl_ca_file = 'root.crt'", "ssl = on"} {
		w.onServer(t, "ALTER SYSTEM SET "+setting)
	}
	w.reloadServer(t)
	w.ours, w.theirs = ours, theirs
}

func (w *world) inDataDirectory(t *testing.T, name, text string) {
	t.Helper()
	if err := w.cluster.WriteFile(filepath.Join(filepath.Base(w.cluster.Nodes[0].DataDir), name), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// reloadServer returns when new connections meet the new files.
func (w *world) reloadServer(t *testing.T) {
	t.Helper()
	before := w.onServer(t, "SELECT pg_conf_load_time()")
	w.onServer(t, "SELECT pg_reload_conf()")
	waitFor(t, "the server has read its files", func() bool { return w.onServer(t, "SELECT pg_conf_load_time()") != before })
}

// issueAll makes the certificates of the lines: the right one, a revoked one, one of the strangers' authority.
func (w *world) issueAll(t *testing.T) {
	t.Helper()
	w.leafs["somebody"] = w.somebody
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
		w.leafs[role+" revoked"] = w.ours.issue(t, role+"-revoked", cn)
		w.ours.revoke(w.leafs[role+" revoked"])
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
	var sql strings.Builder
	for _, l := range w.lines {
		for suffix, options := range map[string]string{"": "LOGIN", expired: "LOGIN VALID UNTIL '2020-01-01'", nologin: "NOLOGIN"} {
			stored := verifier(t, "")
			if l.storedAs() == "md5" {
				stored = auth.MD5Hash(password, l.role()+suffix)
			}
			fmt.Fprintf(&sql, "CREATE ROLE %s %s PASSWORD '%s';", l.role()+suffix, options, stored)
		}
	}
	w.onServer(t, sql.String()+"SELECT 1")
}

// mapRoles lets pgpool's certificate stand for the roles on a server that asks for one.
func (w *world) mapRoles(t *testing.T) {
	t.Helper()
	w.identsMu.Lock()
	defer w.identsMu.Unlock()
	for _, l := range w.lines {
		if l.server == "cert" {
			for _, user := range l.users() {
				w.idents += "proxy pgpool " + user + "\n"
			}
		}
	}
	w.inDataDirectory(t, "pg_ident.conf", w.idents)
	w.reloadServer(t)
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

// verifier is the password as servers keep it for SCRAM; the salt depends on seed only. The roles have the one of "", which is worked out
// once.
func verifier(t *testing.T, seed string) string {
	t.Helper()
	work := everybodys
	if seed != "" {
		work = func() (string, error) { return workOut(seed) }
	}
	made, err := work()
	if err != nil {
		t.Fatal(err)
	}
	return made
}

var everybodys = sync.OnceValues(func() (string, error) { return workOut("") })

func workOut(seed string) (string, error) {
	const iterations = 4096
	salt := sha256.Sum256([]byte("salt " + seed))
	salted, err := pbkdf2.Key(sha256.New, password, salt[:16], iterations, sha256.Size)
	if err != nil {
		return "", err
	}
	mac := func(text string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(mac("Client Key"))
	encode := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, encode(salt[:16]), encode(stored[:]), encode(mac("Server Key"))), nil
}
