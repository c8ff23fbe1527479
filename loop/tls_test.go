package loop

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"os"
	"testing"
	"time"
)

// identity makes a certificate for "test" and a pool that trusts it.
func identity(t *testing.T) (tls.Certificate, *x509.CertPool) {
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

// A connection on a loop stands under crypto/tls as server and as client: handshake, far more data than fits under way,
// deadlines, the orderly end.
func TestTLS(t *testing.T) {
	for _, server := range []bool{true, false} {
		name := map[bool]string{true: "server on the loop", false: "client on the loop"}[server]
		t.Run(name, func(t *testing.T) {
			onEngines(t, func(w *world) {
				cert, pool := identity(w.T)
				wrap := func(c net.Conn, server bool) *tls.Conn {
					if server {
						return tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
					}
					return tls.Client(c, &tls.Config{RootCAs: pool, ServerName: "test"})
				}
				payload := pattern(50 * room)
				p, done := w.connected("session", func(t *Task, c *Conn) {
					s := wrap(c, server)
					_ = s.SetDeadline(t.Now().Add(time.Minute))
					if err := s.Handshake(); err != nil {
						w.Error(err)
						return
					}
					got := make([]byte, len(payload))
					if _, err := io.ReadFull(s, got); err != nil || !bytes.Equal(got, payload) {
						w.Errorf("read: %v", err)
					}
					if _, err := s.Write(got); err != nil {
						w.Error(err)
					}
					_ = s.SetReadDeadline(t.Now().Add(5 * time.Millisecond))
					_, err := s.Read(got)
					w.isErr("read", err, os.ErrDeadlineExceeded)
					_ = s.SetReadDeadline(time.Time{})
					_, _ = s.Write([]byte("!"))
					_, err = s.Read(got)
					w.isErr("the peer's end", err, io.EOF)
					w.isErr("close", s.Close(), nil)
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
