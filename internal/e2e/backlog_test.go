package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// memory is the resident set of a process in bytes.
func memory(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// batch is Parse, Bind with one parameter that comes back, Execute, Sync.
func batch(t *testing.T, parameter []byte) []byte {
	t.Helper()
	var out []byte
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

// A client pipelines 100 MB and begins to read only when nothing moves any more: everything comes back, and the proxy has held
// no more than its buffers meanwhile.
func TestBacklog(t *testing.T) {
	t.Parallel()
	const batches, size, room = 400, 256 << 10, 64 << 20
	p := start(t, nil)
	conn, err := p.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	exec(t, conn, "SELECT 1")
	hijacked, err := conn.PgConn().Hijack()
	if err != nil {
		t.Fatal(err)
	}
	socket := hijacked.Conn
	defer socket.Close()
	before := memory(t, p.Pid())
	one := batch(t, bytes.Repeat([]byte("x"), size))
	var stuck progress
	written := make(chan error, 1)
	go func() {
		for range batches {
			if _, err := socket.Write(one); err != nil {
				written <- err
				return
			}
			stuck.moved()
		}
		written <- nil
	}()
	eventually(t, "the writer is stuck", func() bool { return stuck.rests(500 * time.Millisecond) })
	if grown := memory(t, p.Pid()) - before; grown > room {
		t.Errorf("%d MB more while nobody reads", grown>>20)
	}
	rows, ready := readAll(t, socket, batches)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if rows != batches*size || ready != batches {
		t.Errorf("%d bytes in rows, %d batches", rows, ready)
	}
	if grown := memory(t, p.Pid()) - before; grown > room {
		t.Errorf("%d MB more afterwards", grown>>20)
	}
}

// progress tells since when nothing has moved.
type progress struct{ last atomic.Int64 }

func (p *progress) moved() { p.last.Store(time.Now().UnixNano()) }

func (p *progress) rests(d time.Duration) bool {
	last := p.last.Load()
	return last != 0 && time.Since(time.Unix(0, last)) > d
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
		size := int(head[1])<<24 | int(head[2])<<16 | int(head[3])<<8 | int(head[4]) - 4
		if _, err := io.CopyN(io.Discard, socket, int64(size)); err != nil {
			t.Fatal(err)
		}
		switch head[0] {
		case 'D':
			values += size - 6
		case 'Z':
			ready++
		case 'E':
			t.Fatal("an error came")
		}
	}
	return values, ready
}
