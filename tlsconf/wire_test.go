package tlsconf

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// outcome is what became of one handshake.
type outcome struct {
	server, client       tls.ConnectionState
	serverErr, clientErr error
}

// within bounds a test's wait for the other side.
const within = time.Minute

// handshake lets two configurations meet. The client hears a word from the server before it is content: in TLS 1.3 a server
// refuses a certificate after the client's handshake is over.
func handshake(t *testing.T, server, client *tls.Config) outcome {
	t.Helper()
	near, far := pair(t)
	var o outcome
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn := tls.Server(far, server)
		if o.serverErr = conn.Handshake(); o.serverErr == nil {
			o.server = conn.ConnectionState()
			_, o.serverErr = conn.Write([]byte("!"))
		}
		_, _ = io.Copy(io.Discard, conn) // until the client leaves, so that it reads what it was told
		_ = far.Close()
	}()
	conn := tls.Client(near, client)
	if o.clientErr = conn.Handshake(); o.clientErr == nil {
		o.client = conn.ConnectionState()
		_, o.clientErr = io.ReadFull(conn, make([]byte, 1))
	}
	_ = near.Close()
	<-done
	return o
}

// pair are the two ends of a connection.
func pair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l := listener(t)
	near, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{near, far} {
		_ = c.SetDeadline(time.Now().Add(within))
	}
	return near, far
}

func listener(t *testing.T) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	_ = l.SetDeadline(time.Now().Add(within))
	return l
}

// sClient has the program openssl shake hands with a server of ours, and returns what the server saw.
func sClient(t *testing.T, server *tls.Config, args ...string) (tls.ConnectionState, error) {
	t.Helper()
	l := listener(t)
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	cmd := exec.CommandContext(ctx, "openssl", append([]string{"s_client", "-unix", l.Addr().String(), "-quiet"}, args...)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = in.Close()
		cancel()
		_ = cmd.Wait()
	}()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(within))
	conn := tls.Server(c, server)
	err = conn.Handshake()
	return conn.ConnectionState(), err
}

// sServer has the program openssl serve, and shakes hands with it by a configuration of ours.
func sServer(t *testing.T, client *tls.Config, args ...string) (tls.ConnectionState, error) {
	t.Helper()
	dir, err := os.MkdirTemp("", "tlsc-") // short: openssl fails with paths beyond 31 bytes
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	socket := filepath.Join(dir, "s")
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	cmd := exec.CommandContext(ctx, "openssl", append([]string{"s_server", "-unix", socket, "-rev"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = cmd.Wait()
	}()
	for lines := bufio.NewScanner(out); lines.Scan() && !strings.HasPrefix(lines.Text(), "ACCEPT"); {
	}
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(within))
	return reversed(tls.Client(c, client))
}

// reversed says a line to a server that answers it backwards.
func reversed(conn *tls.Conn) (tls.ConnectionState, error) {
	if err := conn.Handshake(); err != nil {
		return tls.ConnectionState{}, err
	}
	// A server that refuses our certificate may be gone by now: why, it has said before.
	_, unsaid := conn.Write([]byte("ab\n"))
	_, err := io.ReadFull(conn, make([]byte, 3))
	if err == nil {
		err = unsaid
	}
	return conn.ConnectionState(), err
}
