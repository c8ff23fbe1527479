package authtest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gopgpool/internal/pgcluster"
)

// alice has an entry in pool_passwd and is known to the server, which asks her for SCRAM.
const alice = "alice"

// pool starts a pgpool with TLS to its clients, of whom alice may come in by the given rule.
func (w *world) pool(t *testing.T, rule string, conf map[string]string) *pgcluster.Pgpool {
	t.Helper()
	all := w.clientTLS(t)
	maps.Copy(all, map[string]string{"enable_pool_hba": "on", "auth_delay": "0", "health_check_period": "0", "sr_check_period": "0"})
	maps.Copy(all, conf)
	return shared.Pgpool(t, pgcluster.PgpoolOptions{
		Conf: all, HBA: rule + "\n", Passwd: pgcluster.PasswdLine(alice, password), Env: []string{"GORACE=atexit_sleep_ms=0"},
	})
}

const anyTLS = "hostssl all alice 127.0.0.1/32 scram-sha-256"

var received = regexp.MustCompile("received unencrypted data after SSL request")

// as is alice's login by TLS; further words of the connection string win.
func (w *world) as(p *pgcluster.Pgpool, words ...string) string {
	a := attempt{
		host: p.Host, port: p.Port, user: alice, secret: password, database: "at_scram", client: "tls", root: w.ours.root(),
	}
	return strings.Join(append([]string{a.words()}, words...), " ")
}

// session opens a session that ends with the test.
func session(t *testing.T, words string) *pgx.Conn {
	t.Helper()
	ctx, cancel := contextWithin(t)
	defer cancel()
	conn, err := pgx.Connect(ctx, words)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func value(t *testing.T, conn *pgx.Conn, sql string) string {
	t.Helper()
	var v string
	if err := conn.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// shown is the serial number of the certificate that pgpool shows.
func shown(t *testing.T, p *pgcluster.Pgpool) string {
	t.Helper()
	conn := secured(t, p, &tls.Config{InsecureSkipVerify: true}) // looked at, not trusted
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

var sslRequest = []byte{0, 0, 0, 8, 4, 210, 22, 47}

// socket is a connection that ends with the test and fails what takes too long.
func socket(t *testing.T, p *pgcluster.Pgpool) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", net.JoinHostPort(p.Host, fmt.Sprint(p.Port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// secured asks for TLS and shakes hands.
func secured(t *testing.T, p *pgcluster.Pgpool, config *tls.Config) *tls.Conn {
	t.Helper()
	conn := socket(t, p)
	if _, err := conn.Write(sslRequest); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 1)
	if _, err := io.ReadFull(conn, answer); err != nil || answer[0] != 'S' {
		t.Fatalf("%q %v", answer, err)
	}
	upgraded := tls.Client(conn, config)
	if err := upgraded.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return upgraded
}

// A reload shows new clients the new certificate and the new list of revoked ones; who is there stays. A broken file changes
// nothing.
func TestCertificatesExchanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	p := w.pool(t, anyTLS, map[string]string{
		"ssl_cert": w.place(t, "changing.crt", read(t, w.pgpool.cert)), "ssl_key": w.place(t, "changing.key", read(t, w.pgpool.key)),
		"ssl_crl_file": w.place(t, "changing.crl", read(t, w.ours.crl())),
	})
	user := w.ours.issue(t, "alice", alice)
	withCertificate := w.as(p, "sslcert="+user.cert, "sslkey="+user.key)
	old := session(t, withCertificate)

	next := w.ours.issue(t, "pgpool-next", "pgpool", "DNS:localhost", "IP:127.0.0.1")
	w.place(t, "changing.crt", read(t, next.cert))
	w.place(t, "changing.key", read(t, next.key))
	w.place(t, "changing.crl", read(t, w.ours.listOf(t, "changing.crl", []int{user.serial})))
	if err := p.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the new certificate", func() bool { return shown(t, p) == fmt.Sprint(next.serial) })
	session(t, w.as(p))
	if _, err := pgx.Connect(t.Context(), withCertificate); refusal(err).state != "tls" {
		t.Errorf("with a revoked certificate: %v", err)
	}
	if got := value(t, old, "SELECT current_user::text"); got != alice {
		t.Errorf("the old session is %q", got)
	}

	w.place(t, "changing.crt", "no certificate")
	if err := p.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if _, err := p.WaitLog(within(t), regexp.MustCompile("(?s)the old ones stay in force.*changing.crt")); err != nil {
		t.Fatal(err)
	}
	if got := shown(t, p); got != fmt.Sprint(next.serial) {
		t.Errorf("certificate %s, want %d", got, next.serial)
	}
	session(t, w.as(p))
	value(t, old, "SELECT current_user::text")
}

// startup is the packet that begins a session of alice.
func startup() []byte {
	body := binary.BigEndian.AppendUint32(nil, 3<<16)
	body = append(body, "user\x00alice\x00database\x00at_scram\x00\x00"...)
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4)), body...)
}

// What stands behind the request for TLS in plain text was put there by somebody else: nothing of it may count.
func TestPlainTextBeforeTheUpgrade(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	p := w.pool(t, "host all alice 127.0.0.1/32 trust", nil)
	conn := socket(t, p)
	if _, err := conn.Write(append(bytes.Clone(sslRequest), startup()...)); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
	if bytes.Contains(answer, []byte("R\x00\x00\x00\x08\x00\x00\x00\x00")) {
		t.Errorf("logged in: %q", answer)
	}
	if _, err := p.WaitLog(within(t), received); err != nil {
		t.Error(err)
	}
}

// TLS from the first byte needs the protocol's name, and a pgpool that has TLS.
func TestDirectTLS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	p := w.pool(t, anyTLS, nil)
	off := w.pool(t, "host all alice 127.0.0.1/32 scram-sha-256", map[string]string{"ssl": "off"})
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(read(t, w.ours.root())))
	for _, tt := range []struct {
		what   string
		pool   *pgcluster.Pgpool
		names  []string
		wantIn bool
	}{
		{"with the name", p, []string{"postgresql"}, true},
		{"with several names", p, []string{"h2", "postgresql"}, true},
		{"without a name", p, nil, false},
		{"with another name", p, []string{"h2"}, false},
		{"ssl = off", off, []string{"postgresql"}, false},
	} {
		conn := tls.Client(socket(t, tt.pool), &tls.Config{RootCAs: roots, ServerName: "localhost", NextProtos: tt.names})
		err := conn.HandshakeContext(t.Context())
		if err == nil {
			_, err = conn.Write(startup())
		}
		answer := make([]byte, 1)
		if err == nil {
			_, err = io.ReadFull(conn, answer)
		}
		if asked := err == nil && answer[0] == 'R'; asked != tt.wantIn {
			t.Errorf("%s: %q %v", tt.what, answer, err)
		}
	}
	session(t, w.as(p, "sslnegotiation=direct"))
}

// Cancelling works with TLS, as new clients do, and without, as old ones do, whatever the rules say of connections without.
func TestCancelWithTLS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, mode := range []string{"session", "transaction"} {
		p := w.pool(t, anyTLS, map[string]string{"pool_mode": mode})
		for _, way := range []string{"tls", "direct", "plain"} {
			words := w.as(p, "application_name=cancel_"+mode+"_"+way)
			if way == "direct" {
				words += " sslnegotiation=direct"
			}
			conn := session(t, words)
			done := make(chan error, 1)
			go func() {
				_, err := conn.Exec(context.Background(), "SELECT pg_sleep(60)")
				done <- err
			}()
			waitFor(t, "the statement runs", func() bool {
				return w.onServer(t, "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(60)'") == "1"
			})
			if way == "plain" {
				packet := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 16, 4, 210, 22, 46}, conn.PgConn().PID())
				if _, err := socket(t, p).Write(append(packet, conn.PgConn().SecretKey()...)); err != nil {
					t.Fatal(err)
				}
			} else if err := conn.PgConn().CancelRequest(t.Context()); err != nil {
				t.Fatal(err)
			}
			var pgErr *pgconn.PgError
			if err := <-done; !errors.As(err, &pgErr) || pgErr.Code != "57014" {
				t.Errorf("%s, %s: %v", mode, way, err)
			}
		}
	}
}

// COPY of 100 MB in and out, with TLS on both sides.
func TestCopyWithTLS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	p := w.pool(t, anyTLS, nil)
	conn := session(t, w.as(p))
	if got := value(t, conn, "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()"); got != "true" {
		t.Errorf("TLS to the server: %s", got)
	}
	if _, err := conn.Exec(t.Context(), "CREATE TEMP TABLE copied (n int, filler text)"); err != nil {
		t.Fatal(err)
	}
	const rows, width = 100_000, 1000
	filler := strings.Repeat("x", width)
	reader, writer := io.Pipe()
	go func() {
		for n := range rows {
			if _, err := fmt.Fprintf(writer, "%d\t%s\n", n, filler); err != nil {
				writer.CloseWithError(err)
				return
			}
		}
		writer.Close()
	}()
	if tag, err := conn.PgConn().CopyFrom(t.Context(), reader, "COPY copied FROM STDIN"); err != nil || tag.RowsAffected() != rows {
		t.Fatal(tag, err)
	}
	var count counter
	if tag, err := conn.PgConn().CopyTo(t.Context(), &count, "COPY copied TO STDOUT"); err != nil || tag.RowsAffected() != rows {
		t.Fatal(tag, err)
	}
	if want := rows*(width+2) + 488_890; int(count) != want {
		t.Errorf("%d bytes, want %d", count, want)
	}
	if got := value(t, conn, "SELECT sum(n)::text FROM copied"); got != "4999950000" {
		t.Errorf("sum %s", got)
	}
}

type counter int

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

func memory(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for row := range strings.Lines(string(text)) {
		var kb int
		if _, err := fmt.Sscanf(row, "VmRSS: %d kB", &kb); err == nil {
			return kb << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}
