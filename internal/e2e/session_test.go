package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"gopgpool/internal/pgcluster"
)

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	p := start(t, map[string]string{"unix_socket_permissions": "0770"})
	file := filepath.Join(p.RunDir, fmt.Sprintf(".s.PGSQL.%d", p.Port))
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o770 {
		t.Errorf("mode %o", mode)
	}
	if got := value(t, connect(t, p, "host="+p.RunDir), "SELECT current_user::text"); got != "postgres" {
		t.Error(got)
	}
	if _, err := p.Stop(t.Context(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the stop: %v", err)
	}
}

// running reports whether a statement with the mark runs on a node.
func running(t *testing.T, node int, mark string) bool {
	t.Helper()
	return onServer(t, node, "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state = 'active' AND query LIKE '%/* "+
		mark+" */%' AND wait_event = 'PgSleep'") != "0"
}

// sleeping starts a statement on the session that takes long, and returns when it runs on node 0.
func sleeping(t *testing.T, conn *pgx.Conn, mark string) (end <-chan error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := conn.Exec(t.Context(), "SELECT pg_sleep(120) /* "+mark+" */", pgx.QueryExecModeSimpleProtocol)
		done <- err
	}()
	eventually(t, mark+" runs", func() bool { return running(t, 0, mark) })
	return done
}

func TestCancel(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	conn, other := connect(t, p), connect(t, p)
	done := sleeping(t, conn, "e2e cancel")
	undisturbed := sleeping(t, other, "e2e not cancelled")
	if err := conn.PgConn().CancelRequest(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; sqlState(err) != "57014" {
		t.Errorf("cancelled statement: %v", err)
	}
	if got := value(t, conn, "SELECT 'goes on'"); got != "goes on" {
		t.Error(got)
	}
	eventually(t, "the other session's statement goes on", func() bool { return running(t, 0, "e2e not cancelled") }) // but for moments it sleeps
	if err := other.PgConn().CancelRequest(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-undisturbed; sqlState(err) != "57014" {
		t.Error(err)
	}
}

// A client that goes away while its statement runs takes the statement with it, and the connection is not given to another
// before it is clean.
func TestVanishedClient(t *testing.T) {
	t.Parallel()
	p := start(t, map[string]string{"num_init_children": "2"})
	for _, how := range []string{"closed", "reset", "in a transaction"} {
		conn, err := p.Connect(t.Context(), simple)
		if err != nil {
			t.Fatal(err)
		}
		socket, mark := conn.PgConn().Conn(), "e2e vanished "+how
		if how == "in a transaction" {
			exec(t, conn, "BEGIN")
			exec(t, conn, "CREATE TEMP TABLE left_behind ()")
		}
		frame, err := (&pgproto3.Query{String: "SELECT pg_sleep(120) /* " + mark + " */"}).Encode(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := socket.Write(frame); err != nil {
			t.Fatal(err)
		}
		eventually(t, mark+" runs", func() bool { return running(t, 0, mark) })
		if how == "reset" {
			if err := socket.(*net.TCPConn).SetLinger(0); err != nil {
				t.Fatal(err)
			}
		}
		if err := socket.Close(); err != nil {
			t.Fatal(err)
		}
		eventually(t, mark+" ends", func() bool { return !running(t, 0, mark) })
	}
	conn := connect(t, p)
	if _, err := conn.Exec(t.Context(), "SELECT * FROM left_behind"); sqlState(err) != "42P01" {
		t.Errorf("temporary table of another session: %v", err)
	}
}

// A server process that is told to end takes its session with it, and no other.
func TestTerminatedBackend(t *testing.T) {
	t.Parallel()
	p := start(t, map[string]string{"load_balance_mode": "off"})
	idle, busy, other := connect(t, p), connect(t, p), connect(t, p)
	pid := func(conn *pgx.Conn) string { return value(t, conn, "SELECT pg_backend_pid()::text") }
	if shown := fmt.Sprint(idle.PgConn().PID()); shown != pid(idle) {
		t.Errorf("the client was told process %s, it is %s", shown, pid(idle))
	}
	stays := pid(other)
	onServer(t, 0, "SELECT pg_terminate_backend("+pid(idle)+")")
	eventually(t, "the idle session ends", func() bool { return idle.Ping(t.Context()) != nil })
	busyPID := pid(busy)
	done := sleeping(t, busy, "e2e terminated")
	if got := value(t, other, "SELECT pg_terminate_backend("+busyPID+")::text"); got != "true" {
		t.Error(got)
	}
	if err := <-done; sqlState(err) != "57P01" {
		t.Errorf("the busy session's error: %v", err)
	}
	if got := pid(other); got != stays {
		t.Errorf("the third session changed its server process: %s, %s", stays, got)
	}
	connect(t, p)
}

// Manual, connection pooling: a server connection is used again by the next session of the same user and database, and
// reset_query_list has taken back what the one before has done. (One that has had temporary objects is closed: their schema stays.)
func TestReuseAndReset(t *testing.T) {
	t.Parallel()
	p := start(t, map[string]string{"load_balance_mode": "off"})
	session := func(f func(conn *pgx.Conn)) string {
		t.Helper()
		conn, err := p.Connect(t.Context(), simple)
		if err != nil {
			t.Fatal(err)
		}
		pid := value(t, conn, "SELECT pg_backend_pid()::text")
		f(conn)
		if err := conn.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		return pid
	}
	first := session(func(conn *pgx.Conn) {
		for _, sql := range []string{
			"SET work_mem = '7MB'", "PREPARE mine AS SELECT 1", "LISTEN mine",
			"SELECT pg_advisory_lock(20261121)", "DECLARE mine CURSOR WITH HOLD FOR SELECT 1", "BEGIN", "SET ROLE pg_monitor",
		} {
			exec(t, conn, sql)
		}
	})
	onlyClean := func(conn *pgx.Conn) {
		for sql, want := range map[string]string{
			"SHOW work_mem": "4MB", "SELECT current_user::text": "postgres",
			"SELECT count(*)::text FROM pg_prepared_statements":                                          "0",
			"SELECT count(*)::text FROM pg_cursors WHERE is_holdable":                                    "0",
			"SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()": "0",
			"SELECT count(*)::text FROM pg_listening_channels()":                                         "0",
		} {
			if got := value(t, conn, sql); got != want {
				t.Errorf("%s: %s, want %s", sql, got, want)
			}
		}
	}
	// The reset runs after the client has left: whoever comes at once gets a connection of its own, which is preferred from then on, as
	// the one used last. So two come together.
	eventually(t, "the server process serves again", func() bool {
		other, err := p.Connect(t.Context(), simple)
		if err != nil {
			t.Fatal(err)
		}
		found := value(t, other, "SELECT pg_backend_pid()::text") == first
		onlyClean(other)
		found = session(onlyClean) == first || found
		if err := other.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		return found
	})
	// A server process keeps the schema of temporary tables, so it does not serve again.
	withTemp := session(func(conn *pgx.Conn) { exec(t, conn, "CREATE TEMP TABLE mine ()") })
	for range 3 {
		if session(onlyClean) == withTemp {
			t.Error("a server process that has had temporary tables serves again")
		}
	}
}

// Sessions whose startup packets differ do not share connections.
func TestReuseKeepsParametersApart(t *testing.T) {
	t.Parallel()
	p := start(t, nil)
	pids := map[string]string{}
	for range 3 {
		for _, words := range []string{"application_name=one", "application_name=two", "options='-c work_mem=5MB'"} {
			conn, err := p.Connect(t.Context(), words, simple)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]string{"application_name=one": "one", "application_name=two": "two"}[words]
			if got := value(t, conn, "SHOW application_name"); got != want {
				t.Errorf("%s: application_name %q", words, got)
			}
			pid := value(t, conn, "SELECT pg_backend_pid()::text")
			if owner, ok := pids[pid]; ok && owner != words {
				t.Errorf("process %s served %s and %s", pid, owner, words)
			}
			pids[pid] = words
			conn.Close(t.Context())
		}
	}
}

// Manual, client_idle_limit: "the client will be disconnected if it remains idle" for so many seconds, also in a transaction.
func TestClientIdleLimit(t *testing.T) {
	t.Parallel()
	p := start(t, map[string]string{"client_idle_limit": "3"})
	idle := connect(t, p) // nobody is left alone but for the time between two steps
	inTransaction := connect(t, p)
	exec(t, inTransaction, "BEGIN")
	busy := connect(t, p, simple)
	exec(t, busy, "SELECT pg_sleep(3.5)")
	if got := value(t, busy, "SELECT 'served'"); got != "served" {
		t.Error(got)
	}
	for _, conn := range []*pgx.Conn{idle, inTransaction} {
		if _, err := conn.WaitForNotification(t.Context()); sqlState(err) != "57000" {
			t.Errorf("%v", err)
		}
	}
}

// Manual, num_init_children: "more clients wait until one of the sessions ends". A full server still serves cancel requests.
func TestQueue(t *testing.T) {
	t.Parallel()
	p := start(t, map[string]string{"num_init_children": "2"})
	first, second := connect(t, p), connect(t, p)
	done := sleeping(t, first, "e2e queue")
	type arrival struct {
		conn *pgx.Conn
		err  error
	}
	third := make(chan arrival, 1)
	go func() {
		conn, err := p.Connect(t.Context(), "connect_timeout=20")
		third <- arrival{conn, err}
	}()
	if err := first.PgConn().CancelRequest(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; sqlState(err) != "57014" {
		t.Errorf("cancelled while the server was full: %v", err)
	}
	select {
	case a := <-third:
		t.Fatalf("a third client was served beside two: %v", a.err)
	default:
	}
	if err := second.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := <-third
	if a.err != nil {
		t.Fatal(a.err)
	}
	if got := value(t, a.conn, "SELECT 'in'"); got != "in" {
		t.Error(got)
	}
	a.conn.Close(t.Context())
}

// Manual, reserved_connections: "connections from clients are not accepted with error message Sorry, too many clients already".
func TestReservedConnections(t *testing.T) {
	t.Parallel()
	p := start(t, map[string]string{"num_init_children": "3", "reserved_connections": "1"})
	first := connect(t, p)
	connect(t, p)
	if _, err := p.Connect(t.Context()); sqlState(err) != "53300" {
		t.Errorf("third client: %v", err)
	}
	first.Close(t.Context())
	eventually(t, "a place is free again", func() bool {
		conn, err := p.Connect(t.Context())
		if err == nil {
			conn.Close(t.Context())
		}
		return err == nil
	})
}

// Manual, authentication_timeout: a client that has not logged in by then is disconnected, at whatever stage it stands.
func TestAuthenticationTimeout(t *testing.T) {
	t.Parallel()
	p := startWith(t, pgcluster.PgpoolOptions{
		Conf: map[string]string{"authentication_timeout": "1", "enable_pool_hba": "on"},
		HBA:  "host all all 127.0.0.1/32 scram-sha-256\n", Passwd: "postgres:TEXT" + password + "\n",
	})
	startup, err := (&pgproto3.StartupMessage{ProtocolVersion: 3 << 16, Parameters: map[string]string{"user": "postgres"}}).Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	for stage, bytes := range map[string][]byte{"nothing sent": nil, "half a packet": startup[:7], "no answer to the challenge": startup} {
		socket, err := net.Dial("tcp", net.JoinHostPort(p.Host, fmt.Sprint(p.Port)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := socket.Write(bytes); err != nil {
			t.Fatal(err)
		}
		if err := socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, socket); err != nil {
			t.Errorf("%s: %v", stage, err)
		}
		socket.Close()
	}
}

// A client beyond max_client_conn is told why, also where it begins with TLS, and what runs can be cancelled all the same.
func TestMaxClientConn(t *testing.T) {
	t.Parallel()
	p := start(t, map[string]string{"max_client_conn": "1", "pool_mode": "transaction"})
	var conn *pgx.Conn
	eventually(t, "the place of whoever asked whether pgpool answers is free", func() bool {
		var err error
		if conn, err = p.Connect(t.Context(), simple); err != nil && sqlState(err) != "53300" {
			t.Fatal(err)
		}
		return err == nil
	})
	t.Cleanup(func() { conn.Close(context.Background()) })
	if _, err := p.Connect(t.Context(), "sslmode=prefer"); sqlState(err) != "53300" {
		t.Errorf("second client: %v", err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := conn.Exec(t.Context(), "SELECT pg_sleep(60)")
		done <- err
	}()
	var err error
	eventually(t, "it is cancelled", func() bool {
		if err := conn.PgConn().CancelRequest(t.Context()); err != nil {
			t.Error(err)
		}
		select {
		case err = <-done:
			return true
		default:
			return false
		}
	})
	if sqlState(err) != "57014" {
		t.Error(err)
	}
}
