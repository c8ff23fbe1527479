package main

import (
	"context"
	"encoding/binary"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sys/unix"
)

// maxReason bounds the ErrorResponse a tap keeps.
const maxReason = 8 << 10

// farewell is how long a tap reads on before it closes: what the server said last may still be on its way.
const farewell = 100 * time.Millisecond

// tap is a client's connection that follows the frames it reads, so that the reason a server gave is known even where the driver
// met a failed write first.
type tap struct {
	net.Conn
	mu     sync.Mutex // guards what follows: the driver closes in another goroutine
	header []byte     // of the frame that is being read
	left   int        // bytes of its body to come
	body   []byte     // kept of it, if it is an ErrorResponse
	reason *pgconn.PgError
}

func dialTap(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &tap{Conn: conn}, nil
}

func (t *tap) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	t.follow(b[:n])
	return n, err
}

// Close reads what is still there, then closes.
func (t *tap) Close() error {
	if t.SetReadDeadline(time.Now().Add(farewell)) == nil {
		rest := make([]byte, 4096)
		for {
			n, err := t.Conn.Read(rest)
			t.follow(rest[:n])
			if err != nil {
				break
			}
		}
	}
	return t.Conn.Close()
}

// follow takes the next bytes of the stream of frames. Logins here use no TLS, so it consists of frames from its beginning.
func (t *tap) follow(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(b) > 0 {
		if t.left == 0 {
			take := min(5-len(t.header), len(b))
			t.header = append(t.header, b[:take]...)
			b = b[take:]
			if len(t.header) < 5 {
				return
			}
			t.left = max(0, int(binary.BigEndian.Uint32(t.header[1:]))-4)
			t.body = t.body[:0]
		}
		take := min(t.left, len(b))
		if t.header[0] == 'E' && len(t.body)+take <= maxReason {
			t.body = append(t.body, b[:take]...)
		}
		b = b[take:]
		if t.left -= take; t.left == 0 {
			if t.header[0] == 'E' {
				t.reason = readReason(t.body)
			}
			t.header = t.header[:0]
		}
	}
}

// lastReason is the last ErrorResponse that was FATAL or worse.
func (t *tap) lastReason() *pgconn.PgError {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.reason == nil || t.reason.Severity == "ERROR" {
		return nil
	}
	return t.reason
}

// readReason reads the fields of an ErrorResponse.
func readReason(body []byte) *pgconn.PgError {
	e := &pgconn.PgError{}
	for len(body) > 1 {
		field := body[0]
		end := 1
		for end < len(body) && body[end] != 0 {
			end++
		}
		value := string(body[1:end])
		switch field {
		case 'V':
			e.Severity = value
		case 'S':
			if e.Severity == "" {
				e.Severity = value
			}
		case 'C':
			e.Code = value
		case 'M':
			e.Message = value
		case 'D':
			e.Detail = value
		}
		body = body[min(end+1, len(body)):]
	}
	return e
}

// rest tells about a connection on which nothing is under way: over is true if the other side has closed it, or has said something
// nobody asked for that ends it. It neither waits nor takes anything.
func (t *tap) rest() (over bool) {
	conn, ok := t.Conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return true
	}
	first := make([]byte, 1)
	// Not raw.Read, which waits for its turn: the driver leaves a reader behind when a write took long.
	err = raw.Control(func(fd uintptr) {
		n, _, errno := unix.Recvfrom(int(fd), first, unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch errno {
		case nil:
			over = n == 0 || first[0] == 'E'
		case unix.EAGAIN, unix.EINTR:
		default:
			over = true
		}
	})
	return over || err != nil
}
