package loop

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestTLSStress: both directions at once through sockets of a few kB, in pieces of any size, what did not fit being
// offered again with more behind it: every byte arrives once, in order.
func TestTLSStress(t *testing.T) {
	onEngines(t, func(w *world) {
		wrap := wrapping(w.T)
		for seed := range uint64(3) {
			const size = 1 << 19
			down, up := make([]byte, size), make([]byte, size)
			fill(down, seed)
			fill(up, seed+1000)
			p, done := w.connected(fmt.Sprint("session ", seed), func(t *Task, c *Conn) {
				if c.FD() > 0 {
					_ = unix.SetsockoptInt(c.FD(), unix.SOL_SOCKET, unix.SO_SNDBUF, 4096)
				}
				if err := c.StartTLS(nil, func(n net.Conn) *tls.Conn { return wrap(n, true) }); err != nil {
					w.Error(err)
					return
				}
				got, err := exchange(t, c, down, size, rand.New(rand.NewPCG(seed, 1)))
				if err != nil || got != sha256.Sum256(up) {
					w.Errorf("seed %d: what came up is not what was sent: %v", seed, err)
				}
				_ = c.Close()
			})
			if tcp, ok := p.(*net.TCPConn); ok {
				_ = tcp.SetReadBuffer(4096)
			}
			f := wrap(p, false)
			wrote := make(chan error, 1)
			go func() { wrote <- drip(f, up, rand.New(rand.NewPCG(seed, 2))) }()
			got := make([]byte, size)
			if n, err := sip(f, got, rand.New(rand.NewPCG(seed, 3))); err != nil || !bytes.Equal(got, down) {
				w.Errorf("seed %d: %d bytes came down: %v", seed, n, err)
			}
			w.isErr("the far side wrote", <-wrote, nil)
			<-done
		}
	})
}

func fill(b []byte, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 9))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
}

// exchange writes down and reads n bytes, as a session does: what was not taken is offered again, with more behind it.
func exchange(t *Task, c *Conn, down []byte, n int, r *rand.Rand) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	b := make([]byte, 40_000)
	offered := 0
	for read, sent := 0, 0; read < n || sent < len(down); {
		if sent < len(down) {
			offered = min(max(offered, sent+1+r.IntN(150_000)), len(down))
			k, err := c.TryWrite(down[sent:offered])
			if sent += k; err != nil {
				return sum, err
			}
		}
		if read < n && r.IntN(3) > 0 {
			k, err := c.TryRead(b[:1+r.IntN(len(b))])
			if read += k; err != nil {
				return sum, err
			}
			h.Write(b[:k])
		}
		if r.IntN(4) == 0 {
			c.Unread()
		}
		if r.IntN(2) == 0 && (read < n || sent < len(down)) {
			t.Wait(time.Time{}, Interest{Conn: c, Read: read < n, Write: sent < len(down)})
		}
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

func drip(w io.Writer, b []byte, r *rand.Rand) error {
	for len(b) > 0 {
		n := min(1+r.IntN(50_000), len(b))
		if _, err := w.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func sip(r io.Reader, b []byte, dice *rand.Rand) (n int, err error) {
	for n < len(b) {
		k, err := r.Read(b[n:min(n+1+dice.IntN(20_000), len(b))])
		if n += k; err != nil && !errors.Is(err, io.EOF) {
			return n, err
		} else if err != nil && n < len(b) {
			return n, io.ErrUnexpectedEOF
		}
	}
	return n, nil
}
