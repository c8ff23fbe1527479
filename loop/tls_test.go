package loop

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"testing"
	"time"
)

// identity makes a certificate for "test" and a pool that trusts it.
func identity(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// wrapping is how the two ends of a connection begin TLS.
func wrapping(t testing.TB) func(net.Conn, bool) *tls.Conn {
	cert, pool := identity(t)
	return func(c net.Conn, server bool) *tls.Conn {
		if server {
			return tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}, SessionTicketsDisabled: true})
		}
		return tls.Client(c, &tls.Config{RootCAs: pool, ServerName: "test"})
	}
}

// A connection on TLS is one like any other: handshake, far more data than fits under way, deadlines, the orderly end.
func TestTLS(t *testing.T) {
	for _, server := range []bool{true, false} {
		name := map[bool]string{true: "server on the loop", false: "client on the loop"}[server]
		t.Run(name, func(t *testing.T) {
			onEngines(t, func(w *world) {
				wrap := wrapping(w.T)
				payload := pattern(50 * room)
				p, done := w.connected("session", func(t *Task, c *Conn) {
					_ = c.SetDeadline(t.Now().Add(time.Minute))
					if err := c.StartTLS(nil, func(n net.Conn) *tls.Conn { return wrap(n, server) }); err != nil {
						w.Error(err)
						return
					}
					got := make([]byte, len(payload))
					if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, payload) {
						w.Errorf("read: %v", err)
					}
					if _, err := c.Write(got); err != nil {
						w.Error(err)
					}
					_ = c.SetReadDeadline(t.Now().Add(5 * time.Millisecond))
					_, err := c.Read(got)
					w.isErr("read", err, os.ErrDeadlineExceeded)
					_ = c.SetReadDeadline(time.Time{})
					if !c.Encrypted() || c.ConnectionState().Version != tls.VersionTLS13 {
						w.Error("not encrypted")
					}
					_, _ = c.Write([]byte("!"))
					_, err = c.Read(got)
					w.isErr("the peer's end", err, io.EOF)
					w.isErr("close", c.Close(), nil)
				})
				f := wrap(p, !server)
				wrote := make(chan error, 1)
				go func() { _, err := f.Write(payload); wrote <- err }()
				got := make([]byte, len(payload)+1)
				if _, err := io.ReadFull(f, got); err != nil || !bytes.Equal(got[:len(payload)], payload) {
					w.Errorf("the far side read: %v", err)
				}
				w.isErr("the far side wrote", <-wrote, nil)
				w.isErr("the far side's end", f.CloseWrite(), nil)
				_, err := f.Read(got)
				w.isErr("the loop's end", err, io.EOF)
				<-done
			})
		})
	}
}

// TestTLSRelay: one task reads and writes as a session does, never waiting for one direction alone: what fits is written, the rest is
// offered again, and what has been decrypted and not been read counts as readable.
func TestTLSRelay(t *testing.T) {
	onEngines(t, func(w *world) {
		wrap := wrapping(w.T)
		payload := pattern(100 * room)
		p, done := w.connected("session", func(t *Task, c *Conn) {
			if err := c.StartTLS(nil, func(n net.Conn) *tls.Conn { return wrap(n, true) }); err != nil {
				w.Error(err)
				return
			}
			var queue []byte
			b := make([]byte, 777) // less than a record
			for moved := 0; moved < len(payload); {
				n, err := c.TryWrite(queue)
				queue = queue[n:]
				moved += n
				if err != nil {
					w.Error(err)
					return
				}
				if n, err = c.TryRead(b); err != nil {
					w.Error(err)
					return
				}
				queue = append(queue, b[:n]...)
				if moved < len(payload) {
					t.Wait(time.Time{}, Interest{Conn: c, Read: true, Write: len(queue) > 0})
				}
			}
			if c.Unread() {
				w.Error("something is left to read")
			}
			_ = c.Close()
		})
		f := wrap(p, false)
		wrote := make(chan error, 1)
		go func() { _, err := f.Write(payload); wrote <- err }()
		got := make([]byte, len(payload))
		if n, err := io.ReadFull(f, got); err != nil || !bytes.Equal(got, payload) {
			w.Errorf("the far side read %d bytes of %d: %v", n, len(payload), err)
		}
		w.isErr("the far side wrote", <-wrote, nil)
		<-done
	})
}

// TestTLSUnread: a byte that was looked at while the connection idled is not lost, and records without content are nothing to read.
func TestTLSUnread(t *testing.T) {
	onEngines(t, func(w *world) {
		wrap := wrapping(w.T)
		begun, told := make(chan struct{}), make(chan struct{})
		p, done := w.connected("session", func(t *Task, c *Conn) {
			if err := c.StartTLS(nil, func(n net.Conn) *tls.Conn { return wrap(n, true) }); err != nil {
				w.Error(err)
				return
			}
			if c.Unread() {
				w.Error("something to read before anything was written")
			}
			close(begun)
			t.Wait(time.Time{}, Interest{Conn: c, Read: true})
			for range 2 { // to ask takes nothing away
				if !c.Unread() {
					w.Error("nothing to read")
				}
			}
			b := make([]byte, 100)
			if n, err := c.TryRead(b); string(b[:n]) != "hello" || err != nil {
				w.Errorf("%q, %v", b[:n], err)
			}
			if c.Unread() {
				w.Error("more to read")
			}
			close(told)
		})
		f := wrap(p, false)
		w.isErr("handshake", f.Handshake(), nil)
		<-begun
		_, err := f.Write([]byte("hello"))
		w.isErr("write", err, nil)
		<-told
		<-done
	})
}

// TestTLSMoves: a connection changes its loop in the middle of its data.
func TestTLSMoves(t *testing.T) {
	onEpoll(t, func(w *world) {
		other, err := New(8, w.reports)
		if err != nil {
			w.Fatal(err)
		}
		ctx, cancel := context.WithCancel(w.Context())
		ran := make(chan error, 1)
		go func() { ran <- other.Run(ctx) }()
		wrap := wrapping(w.T)
		moved := make(chan Loose, 1)
		p, done := w.connected("first", func(_ *Task, c *Conn) {
			if err := c.StartTLS(nil, func(n net.Conn) *tls.Conn { return wrap(n, true) }); err != nil {
				w.Error(err)
			}
			b := make([]byte, 2)
			if n, err := c.Read(b); string(b[:n]) != "ab" || err != nil {
				w.Errorf("%q, %v", b[:n], err)
			}
			moved <- c.Release()
		})
		f := wrap(p, false)
		_, _ = f.Write([]byte("abcd"))
		<-done
		second := make(chan struct{})
		other.GoFrom("second", func(t *Task) {
			defer close(second)
			c, err := t.AdoptLoose(<-moved)
			if err != nil {
				w.Error(err)
				return
			}
			echo(t, c)
		})
		_, _ = f.Write([]byte("ef"))
		_ = f.CloseWrite()
		got, err := io.ReadAll(f)
		if string(got) != "cdef" || err != nil {
			w.Errorf("%q, %v", got, err)
		}
		<-second
		cancel()
		w.isErr("Run", <-ran, nil)
	})
}

// TestTLSEarly: records that were read before anybody knew what they are, and what is no TLS at all.
func TestTLSEarly(t *testing.T) {
	onEngines(t, func(w *world) {
		wrap := wrapping(w.T)
		p, done := w.connected("session", func(t *Task, c *Conn) {
			early := make([]byte, 3)
			if _, err := io.ReadFull(c, early); err != nil {
				w.Error(err)
			}
			if err := c.StartTLS(early, func(n net.Conn) *tls.Conn { return wrap(n, true) }); err != nil {
				w.Error(err)
			}
			echo(t, c)
		})
		f := wrap(p, false)
		_, _ = f.Write([]byte("hello"))
		_ = f.CloseWrite()
		if got, err := io.ReadAll(f); string(got) != "hello" || err != nil {
			w.Errorf("%q, %v", got, err)
		}
		<-done
		q, done := w.connected("garbage", func(t *Task, c *Conn) {
			var header tls.RecordHeaderError
			err := c.StartTLS(nil, func(n net.Conn) *tls.Conn { return wrap(n, true) })
			if !errors.As(err, &header) {
				w.Errorf("garbage: %v", err)
			}
		})
		_, _ = q.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
		<-done
	})
}
