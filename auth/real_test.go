package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"gopgpool/internal/pgcluster"
)

// testCertificate is self-signed by ECDSA with SHA-256, so its hash for channel bindings is SHA-256's.
func testCertificate(t *testing.T) (crt, key string, binding []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "server"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(der)
	block := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", secret), sum[:]
}

const sslRequest = "\x00\x00\x00\x08\x04\xd2\x16\x2f"

// wire speaks the protocol of PostgreSQL as far as a login needs it.
type wire struct{ conn net.Conn }

func (w wire) write(kind string, body []byte) {
	frame := binary.BigEndian.AppendUint32([]byte(kind), uint32(len(body)+4))
	_, _ = w.conn.Write(append(frame, body...)) // whoever is gone does not answer either
}

// read gives the next message, nothing at the end or when the other side is lost.
func (w wire) read(kindSize int) (kind string, body []byte) {
	head := make([]byte, kindSize+4)
	_, err := io.ReadFull(w.conn, head)
	if err == nil {
		body = make([]byte, binary.BigEndian.Uint32(head[kindSize:])-4)
		_, err = io.ReadFull(w.conn, body)
	}
	if err != nil {
		return "", nil
	}
	return string(head[:kindSize]), body
}

func (w wire) negotiateTLS(t *testing.T) wire {
	t.Helper()
	answer := make([]byte, 1)
	if _, err := w.conn.Write([]byte(sslRequest)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(w.conn, answer); err != nil || answer[0] != 'S' {
		t.Fatal(answer, err)
	}
	return wire{tls.Client(w.conn, &tls.Config{InsecureSkipVerify: true})}
}

// realLogin logs in to a server; the error is the server's or ours.
func realLogin(t *testing.T, n *pgcluster.Node, cred Credential, useTLS bool, binding []byte) (*Login, error) {
	t.Helper()
	conn, err := net.Dial("tcp", net.JoinHostPort(n.Host, strconv.Itoa(n.Port)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	w := wire{conn}
	if useTLS {
		w = w.negotiateTLS(t)
	}
	w.write("", []byte("\x00\x03\x00\x00user\x00"+cred.user+"\x00database\x00postgres\x00\x00"))
	login := NewLogin(cred, testCache(), binding)
	for {
		kind, body := w.read(1)
		if kind != "R" {
			return login, fmt.Errorf("%s %q", kind, body)
		}
		step, err := login.Next(int32(binary.BigEndian.Uint32(body)), body[4:])
		if step, err = workOff(login, step, err); err != nil || step.Done {
			return login, err
		}
		if step.Send {
			w.write("p", step.Body)
		}
	}
}

// keyFor is what a client with the password leaves with us when it is checked against the verifier.
func keyFor(t *testing.T, user, verifier, password string) Credential {
	t.Helper()
	entry := ParseEntry(verifier, Key{})
	a := NewAcceptor(planFor(AskSCRAM), Party{User: user, Entry: entry, Cache: testCache(), Random: NewRandom()})
	serverErr, clientErr := converse(t, a, NewLogin(PasswordCredential(user, password), testCache(), nil))
	if serverErr != nil || clientErr != nil {
		t.Fatal(serverErr, clientErr)
	}
	cred, source, err := Answer(Facts{User: user, HBA: true, Entry: entry, Server: ServerSCRAM}, a.Identity())
	if err != nil || source != SourceKey {
		t.Fatal(source, err)
	}
	return cred
}

// Our logins, to a server of PostgreSQL's: with passwords, hashes and keys, with and without a bound channel.
func TestLoginToRealServer(t *testing.T) {
	c, err := pgcluster.New(pgcluster.Options{
		Nodes: 1, HBA: "host all hashed all md5\nhost all clear all password\nhost all postgres all trust\nhost all all all scram-sha-256\n",
		Config: map[string]string{"ssl": "on", "ssl_cert_file": "../server.crt", "ssl_key_file": "../server.key"},
	})
	if errors.Is(err, pgcluster.ErrNoServer) && os.Getenv(pgcluster.RequireEnv) == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	crt, key, binding := testCertificate(t)
	if err := errors.Join(c.WriteFile("server.crt", crt, 0o644), c.WriteFile("server.key", key, 0o600), c.Build(t.Context())); err != nil {
		t.Fatal(err)
	}
	n := c.Nodes[0]
	for _, sql := range []string{
		"CREATE ROLE carol LOGIN PASSWORD 'pä\u00a0ss'", "CREATE ROLE clear LOGIN PASSWORD 'secret'",
		"CREATE ROLE hashed LOGIN PASSWORD '" + MD5Hash("secret", "hashed") + "'",
	} {
		if err := n.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := n.Value(t.Context(), "SELECT rolpassword FROM pg_authid WHERE rolname = 'carol'")
	if err != nil {
		t.Fatal(err)
	}
	password, passKey := PasswordCredential("carol", "pä\u00a0ss"), keyFor(t, "carol", stored, "pä ss")
	otherKey := keyFor(t, "user", rfcVerifier, "pencil")
	otherKey.user = "carol"
	tests := []struct {
		name      string
		cred      Credential
		tls       bool
		binding   []byte
		mechanism string
		ok        bool
	}{
		{"password", password, false, nil, scramSHA256, true},
		{"password, TLS, not bound", password, true, nil, scramSHA256, true},
		{"password, bound", password, true, binding, scramSHA256Plus, true},
		{"password, bound to another certificate", password, true, []byte("another certificate"), scramSHA256Plus, false},
		{"password, could bind, no TLS", password, false, binding, scramSHA256, true},
		{"wrong password", PasswordCredential("carol", "wrong"), false, nil, scramSHA256, false},
		{"key", passKey, false, nil, scramSHA256, true},
		{"key, TLS, not bound", passKey, true, nil, scramSHA256, true},
		{"key, bound", passKey, true, binding, scramSHA256Plus, true},
		{"key, bound to another certificate", passKey, true, []byte("another certificate"), scramSHA256Plus, false},
		{"key of another verifier", otherKey, true, binding, scramSHA256Plus, false},
		{"md5 hash", EntryCredential("hashed", ParseEntry(MD5Hash("secret", "hashed"), Key{})), true, binding, "", true},
		{"password for md5", PasswordCredential("hashed", "secret"), false, nil, "", true},
		{"wrong password for md5", PasswordCredential("hashed", "x"), false, nil, "", false},
		{"clear", PasswordCredential("clear", "secret"), false, nil, "", true},
	}
	for _, tt := range tests {
		login, err := realLogin(t, n, tt.cred, tt.tls, tt.binding)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
		if tt.mechanism != "" && login.scram.mechanism != tt.mechanism {
			t.Errorf("%s: %s", tt.name, login.scram.mechanism)
		}
	}
}

// serveOnce is a server that lets one client in by an acceptor and answers whatever it asks with nothing.
func serveOnce(listener net.Listener, config *tls.Config, party Party, result chan<- error) {
	conn, err := listener.Accept()
	if err != nil {
		result <- err
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	w := wire{conn}
	if w.read(0); config != nil {
		_, _ = conn.Write([]byte("S"))
		w.conn = tls.Server(conn, config)
		w.read(0)
	} else {
		_, _ = conn.Write([]byte("N"))
		w.read(0)
	}
	acceptor := NewAcceptor(planFor(AskSCRAM), party)
	if err := w.accept(acceptor); err != nil {
		w.write("E", []byte("SFATAL\x00C28P01\x00Mrefused\x00\x00"))
		result <- err
		return
	}
	w.write("R", []byte{0, 0, 0, 0})
	for kind := "Q"; kind == "Q"; kind, _ = w.read(1) {
		w.write("Z", []byte("I"))
	}
	result <- nil
}

func (w wire) accept(acceptor Acceptor) error {
	step, err := acceptor.Start()
	for {
		step, err = workOff(acceptor, step, err)
		if err != nil {
			return err
		}
		if step.Send {
			w.write("R", append(binary.BigEndian.AppendUint32(nil, uint32(step.Code)), step.Body...))
		}
		if step.Done {
			return nil
		}
		kind, body := w.read(1)
		if kind != "p" {
			return fmt.Errorf("%q instead of an answer", kind)
		}
		step, err = acceptor.Next(body)
	}
}

// libpq, towards our side of the exchange.
func TestRealClient(t *testing.T) {
	bin, err := pgcluster.FindBinaries("")
	if errors.Is(err, pgcluster.ErrNoServer) && os.Getenv(pgcluster.RequireEnv) == "" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	crt, key, binding := testCertificate(t)
	pair, err := tls.X509KeyPair([]byte(crt), []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}}
	tests := []struct {
		name, words, password string
		config                *tls.Config
		binding               []byte
		ok                    bool
	}{
		{"no TLS", "sslmode=prefer", "pencil", nil, nil, true},
		{"TLS, binds", "sslmode=require channel_binding=require", "pencil", config, binding, true},
		{"TLS, may bind", "sslmode=require channel_binding=prefer", "pencil", config, binding, true},
		{"TLS, does not want to bind", "sslmode=require channel_binding=disable", "pencil", config, binding, true},
		{"TLS, nothing to bind to", "sslmode=require channel_binding=prefer", "pencil", config, nil, true},
		{"TLS, must bind, nothing to bind to", "sslmode=require channel_binding=require", "pencil", config, nil, false},
		{"TLS, bound to another certificate", "sslmode=require channel_binding=prefer", "pencil", config, []byte("another"), false},
		{"TLS, wrong password", "sslmode=require channel_binding=require", "pencils", config, binding, false},
	}
	for _, tt := range tests {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		party := Party{User: "user", Entry: ParseEntry(rfcVerifier, Key{}), Cache: testCache(), Random: NewRandom(), Binding: tt.binding}
		result := make(chan error, 1)
		go serveOnce(listener, tt.config, party, result)
		port := listener.Addr().(*net.TCPAddr).Port
		psql := exec.CommandContext(t.Context(), filepath.Join(bin, "psql"), "-Xwc", "",
			fmt.Sprintf("host=127.0.0.1 port=%d user=user dbname=d password=%s gssencmode=disable %s", port, tt.password, tt.words))
		out, clientErr := psql.CombinedOutput()
		serverErr := <-result
		if (serverErr == nil && clientErr == nil) != tt.ok {
			t.Errorf("%s: server %v, client %v %s", tt.name, serverErr, clientErr, out)
		}
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
	}
}
