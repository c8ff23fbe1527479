package chaos

import (
	"context"
	"encoding/binary"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// tap keeps the last FATAL ErrorResponse that came in, for the driver forgets it when a write fails first.
type tap struct {
	net.Conn
	mu   sync.Mutex // guards what follows
	in   []byte
	last *pgconn.PgError
}

func dialTap(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
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

// Close reads what is still on its way first.
func (t *tap) Close() error {
	rest := make([]byte, 4096)
	for t.SetReadDeadline(time.Now().Add(100*time.Millisecond)) == nil {
		n, err := t.Conn.Read(rest)
		t.follow(rest[:n])
		if err != nil {
			break
		}
	}
	return t.Conn.Close()
}

func (t *tap) follow(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.in = append(t.in, b...)
	for len(t.in) >= 5 {
		end := 1 + int(binary.BigEndian.Uint32(t.in[1:5]))
		if len(t.in) < end {
			return
		}
		var e pgproto3.ErrorResponse
		if t.in[0] == 'E' && e.Decode(t.in[5:end]) == nil && e.Severity != "ERROR" {
			t.last = pgconn.ErrorResponseToPgError(&e)
		}
		t.in = append([]byte(nil), t.in[end:]...)
	}
}

func (t *tap) reason() *pgconn.PgError {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}
