package mesh

import (
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const writeStep = 64 << 10

// patient is a connection whose reads and writes must get on: each must move something within idle. Reads have an end besides,
// set by within. One goroutine reads, one writes.
type patient struct {
	net.Conn
	tcp   net.Conn // below Conn; closed without the farewell of TLS, which could block
	idle  time.Duration
	until time.Time    // the reader's; zero: none
	end   atomic.Int64 // of all writes, in Unix nanoseconds; 0: none
}

// within gives all reads from now on until d from now.
func (p *patient) within(d time.Duration) { p.until = time.Now().Add(d) }

// finishBy ends all writes at t, also the one that is under way. Any goroutine may call it.
func (p *patient) finishBy(t time.Time) {
	p.end.Store(t.UnixNano())
	_ = p.SetWriteDeadline(t) // a connection that is closed has ended its writes
}

// Close ends the connection at once.
func (p *patient) Close() error { return p.tcp.Close() }

func (p *patient) Read(b []byte) (int, error) {
	deadline := time.Now().Add(p.idle)
	if !p.until.IsZero() && p.until.Before(deadline) {
		deadline = p.until
	}
	if err := p.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	return p.Conn.Read(b)
}

func (p *patient) Write(b []byte) (int, error) {
	written := 0
	for written < len(b) {
		if err := p.writeSoon(); err != nil {
			return written, err
		}
		n, err := p.Conn.Write(b[written:min(len(b), written+writeStep)])
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// writeSoon sets the deadline of the next piece.
func (p *patient) writeSoon() error {
	for {
		end := p.end.Load()
		deadline := time.Now().Add(p.idle)
		if end != 0 && end < deadline.UnixNano() {
			deadline = time.Unix(0, end)
		}
		if err := p.SetWriteDeadline(deadline); err != nil || p.end.Load() == end {
			return err
		}
	}
}

// giveUpAfter makes the kernel end a connection whose data is not acknowledged for so long.
func giveUpAfter(conn net.Conn, d time.Duration) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return // closed already: the next call tells
	}
	_ = raw.Control(func(fd uintptr) {
		// Without it the silence of the peer is still noticed.
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	})
}
