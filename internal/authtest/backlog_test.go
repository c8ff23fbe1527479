package authtest

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// A client with TLS pipelines 100 MB and begins to read only when nothing moves any more: everything comes back, and the proxy has
// held no more than its buffers meanwhile.
func TestBacklogWithTLS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, tt := range []struct {
		what string
		conf map[string]string
	}{
		{"TLS on both sides", map[string]string{"backend_sslmode": "require"}},
		{"TLS to the client", map[string]string{"backend_sslmode": "disable"}},
	} {
		t.Run(tt.what, func(t *testing.T) { w.backlog(t, tt.conf) })
	}
}

func (w *world) backlog(t *testing.T, conf map[string]string) {
	const batches, size, room = 400, 256 << 10, 64 << 20
	p := w.pool(t, anyTLS, conf)
	conn := session(t, w.as(p))
	value(t, conn, "SELECT 'warm'")
	hijacked, err := conn.PgConn().Hijack()
	if err != nil {
		t.Fatal(err)
	}
	socket := hijacked.Conn
	defer socket.Close()
	before := memory(t, p.Pid())
	one := batch(t, bytes.Repeat([]byte("x"), size))
	var last atomic.Int64
	written := make(chan error, 1)
	go func() {
		for range batches {
			if _, err := socket.Write(one); err != nil {
				written <- err
				return
			}
			last.Store(time.Now().UnixNano())
		}
		written <- nil
	}()
	waitFor(t, "the writer is stuck", func() bool {
		return last.Load() != 0 && time.Since(time.Unix(0, last.Load())) > 500*time.Millisecond
	})
	select {
	case err := <-written:
		t.Fatalf("everything was taken, nothing was read: %v", err)
	default:
	}
	if grown := memory(t, p.Pid()) - before; grown > room {
		t.Errorf("%d MB more while nobody reads", grown>>20)
	}
	values, ready := readAll(t, socket, batches)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if values != batches*size || ready != batches {
		t.Errorf("%d bytes in rows, %d batches", values, ready)
	}
	if grown := memory(t, p.Pid()) - before; grown > room {
		t.Errorf("%d MB more afterwards", grown>>20)
	}
}

// batch is Parse, Bind with one parameter that comes back, Execute, Sync.
func batch(t *testing.T, parameter []byte) (out []byte) {
	t.Helper()
	for _, m := range []pgproto3.FrontendMessage{
		&pgproto3.Parse{Query: "SELECT $1::text"}, &pgproto3.Bind{Parameters: [][]byte{parameter}}, &pgproto3.Execute{}, &pgproto3.Sync{},
	} {
		var err error
		if out, err = m.Encode(out); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// readAll reads until so many batches have ended; it counts the bytes of values.
func readAll(t *testing.T, socket net.Conn, batches int) (values, ready int) {
	t.Helper()
	if err := socket.SetReadDeadline(time.Now().Add(3 * patience)); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 5)
	for ready < batches {
		if _, err := io.ReadFull(socket, head); err != nil {
			t.Fatalf("after %d batches: %v", ready, err)
		}
		body := make([]byte, binary.BigEndian.Uint32(head[1:])-4)
		if _, err := io.ReadFull(socket, body); err != nil {
			t.Fatalf("after %d batches: %v", ready, err)
		}
		switch head[0] {
		case 'D':
			values += len(body) - 6 // one column: count and length
		case 'Z':
			ready++
		case 'E':
			t.Fatalf("error: %q", body)
		}
	}
	return values, ready
}
