package loop

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"
)

// This file puts TLS below Conn: after StartTLS, reading, writing and waiting mean the plain text, and nobody above can tell.
//
// crypto/tls wants to block, a loop must not. Reading: where the socket has nothing, its Read is told a temporary error, after
// which crypto/tls goes on where it stood. Writing: crypto/tls forgives no error, so records are collected and sent from here.

// TLS is the encryption of a connection. It goes with the descriptor when a connection changes its loop, see Conn.Release.
type TLS struct {
	conn *tls.Conn
	wire *tlsWire
	// owed is plain text that has been encrypted and not been reported as written: its records have not all left. The caller offers
	// it again, as with every write that did not fit.
	owed   int
	peeked [1]byte
	has    bool // peeked holds a byte
}

// maxSeal bounds the plain text encrypted at a time, and so the records that wait for room in the socket.
const maxSeal = 64 << 10

// maxUnsent bounds what waits to be sent: crypto/tls answers some messages by itself, and a peer might not read the answers.
const maxUnsent = 4 * maxSeal

var (
	errUnsent  = errors.New("loop: the peer takes no TLS records")
	errMeantTo = errors.New("loop: a write was not repeated as it was begun")
)

// StartTLS encrypts a connection: begin is tls.Server or tls.Client with the configuration of the caller's choice, and read is what has
// been read of the peer's records already. It waits for the handshake in the name of the owner, within the connection's deadlines.
// After an error the connection is good for nothing but Close.
func (c *Conn) StartTLS(read []byte, begin func(net.Conn) *tls.Conn) error {
	if c.tls != nil {
		panic("loop: StartTLS twice")
	}
	wire := &tlsWire{loop: c.loop, hand: c, early: append([]byte(nil), read...)}
	layer := &TLS{conn: begin(wire), wire: wire}
	if err := layer.conn.HandshakeContext(context.Background()); err != nil {
		return err
	}
	wire.raw, wire.hand = c.sock, nil
	c.tls, c.stream = layer, layer
	c.readable = true // records may have come along with the end of the handshake
	return nil
}

// ConnectionState is that of the encryption; nil without any.
func (c *Conn) ConnectionState() *tls.ConnectionState {
	if c.tls == nil {
		return nil
	}
	state := c.tls.conn.ConnectionState()
	return &state
}

// Encrypted reports whether the connection is on TLS.
func (c *Conn) Encrypted() bool { return c.tls != nil }

// resume goes on with the encryption of a connection that has left another loop.
func (c *Conn) resume(layer *TLS) {
	if layer == nil {
		return
	}
	layer.wire.loop, layer.wire.raw, layer.wire.dry = c.loop, c.sock, false
	c.tls, c.stream = layer, layer
	c.readable = true
}

// read decrypts until b is full or the socket has nothing more, so that a short read means what it means on a socket.
func (l *TLS) read(b []byte) (n int, err error) {
	if l.has && len(b) > 0 {
		b[0], l.has, n = l.peeked[0], false, 1
	}
	for n < len(b) && err == nil {
		var k int
		k, err = l.conn.Read(b[n:])
		n += k
	}
	if unsent := l.wire.flush(); err == nil && unsent != nil && !errors.Is(unsent, errAgain) {
		err = unsent
	}
	switch {
	case n > 0, len(b) == 0:
		return n, nil // an error comes again
	case errors.Is(err, io.EOF):
		return 0, nil
	}
	return 0, err
}

// write encrypts and sends. What it does not report as written must be offered again.
func (l *TLS) write(b []byte) (int, error) {
	if err := l.wire.flush(); err != nil {
		return 0, err
	}
	if l.owed > 0 {
		n := l.owed
		if n > len(b) {
			return 0, errMeantTo
		}
		l.owed = 0
		return n, nil
	}
	b = b[:min(len(b), maxSeal)]
	l.wire.gather()
	_, err := l.conn.Write(b)
	if sent := l.wire.scatter(); err == nil {
		err = sent
	}
	switch {
	case errors.Is(err, errAgain):
		l.owed = len(b)
		return 0, errAgain
	case err != nil:
		return 0, err
	}
	return len(b), nil
}

func (l *TLS) pending() bool {
	if l.has {
		return true
	}
	n, err := l.read(l.peeked[:])
	l.has = n > 0
	return !errors.Is(err, errAgain)
}

// end tells the peer, as far as that goes without waiting, that nothing more comes.
func (l *TLS) end() {
	if l.owed == 0 && l.wire.flush() == nil {
		_ = l.conn.CloseWrite()
	}
}

// tlsWire is the connection that crypto/tls sees: during the handshake that of the loop, which waits; then one that never does.
type tlsWire struct {
	loop  *Loop
	hand  *Conn  // during the handshake
	early []byte // was read before it
	raw   socket // after it

	dry     bool   // nothing to read until the next event
	hup     bool   // the peer has ended: a short read says nothing
	gathers bool   // records are collected in the loop's buffer
	out     []byte // records that did not fit
	o       int    // of out, gone
}

// errDry is a temporary error, which crypto/tls survives.
type errDry struct{}

func (errDry) Error() string   { return errAgain.Error() }
func (errDry) Timeout() bool   { return false }
func (errDry) Temporary() bool { return true }
func (errDry) Unwrap() error   { return errAgain }

var errDryWire error = errDry{}

// Read implements net.Conn.
func (w *tlsWire) Read(b []byte) (int, error) {
	if len(w.early) > 0 {
		n := copy(b, w.early)
		w.early = w.early[n:]
		return n, nil
	}
	if w.hand != nil {
		return w.hand.Read(b)
	}
	if w.dry {
		return 0, errDryWire
	}
	n, err := w.raw.read(b)
	switch {
	case errors.Is(err, errAgain):
		w.dry = true
		return 0, errDryWire
	case err == nil && n == 0 && len(b) > 0:
		return 0, io.EOF
	case err == nil && n < len(b) && !w.hup:
		w.dry = true
	}
	return n, err
}

// Write implements net.Conn.
func (w *tlsWire) Write(b []byte) (int, error) {
	switch {
	case w.hand != nil:
		return w.hand.Write(b)
	case w.gathers:
		w.loop.records = append(w.loop.records, b...)
		return len(b), nil
	case len(w.out)-w.o+len(b) > maxUnsent:
		return 0, errUnsent
	}
	w.out = append(w.out, b...)
	if err := w.flush(); err != nil && !errors.Is(err, errAgain) {
		return 0, err
	}
	return len(b), nil
}

// gather has the records of the next writes collected in a buffer of the loop.
func (w *tlsWire) gather() { w.gathers, w.loop.records = true, w.loop.records[:0] }

// scatter sends what was gathered, and keeps what does not fit.
func (w *tlsWire) scatter() error {
	w.gathers = false
	b := w.loop.records
	n, err := w.send(b)
	if errors.Is(err, errAgain) {
		w.out, w.o = append([]byte(nil), b[n:]...), 0
	}
	return err
}

// flush sends what did not fit before.
func (w *tlsWire) flush() error {
	if w.o == len(w.out) {
		return nil
	}
	n, err := w.send(w.out[w.o:])
	if w.o += n; w.o == len(w.out) {
		w.out, w.o = nil, 0
	}
	return err
}

func (w *tlsWire) send(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var k int
		k, err = w.raw.write(b[n:])
		n += k
	}
	return n, err
}

// news is what the poller has told.
func (w *tlsWire) news(hup bool) {
	w.dry = false
	w.hup = w.hup || hup
}

// LocalAddr implements net.Conn.
func (w *tlsWire) LocalAddr() net.Addr { return w.side().local() }

// RemoteAddr implements net.Conn.
func (w *tlsWire) RemoteAddr() net.Addr { return w.side().remote() }

func (w *tlsWire) side() socket {
	if w.hand != nil {
		return w.hand.sock
	}
	return w.raw
}

// SetDeadline implements net.Conn: the deadlines of the connection hold.
func (w *tlsWire) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (w *tlsWire) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (w *tlsWire) SetWriteDeadline(time.Time) error { return nil }

// Close implements net.Conn; only the loop's connection closes.
func (w *tlsWire) Close() error { return nil }

// WithOffloadedKeys is a configuration whose slow signatures (RSA) are made off the loop of the task, which owns the connection they
// are for; those it chooses for some clients (GetConfigForClient) are such too. cfg itself stays as it is.
func (t *Task) WithOffloadedKeys(cfg *tls.Config) *tls.Config {
	if len(cfg.Certificates) == 0 {
		return cfg
	}
	cfg = cfg.Clone()
	cfg.Certificates = append([]tls.Certificate(nil), cfg.Certificates...)
	for i := range cfg.Certificates {
		cfg.Certificates[i] = t.WithOffloadedKey(cfg.Certificates[i])
	}
	if choose := cfg.GetConfigForClient; choose != nil {
		cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen, err := choose(hello)
			if chosen == nil || err != nil {
				return chosen, err
			}
			return t.WithOffloadedKeys(chosen), nil
		}
	}
	return cfg
}

// WithOffloadedKey is WithOffloadedKeys for one certificate.
func (t *Task) WithOffloadedKey(cert tls.Certificate) tls.Certificate {
	if key, ok := cert.PrivateKey.(*rsa.PrivateKey); ok {
		cert.PrivateKey = offloadedKey{key, t}
	}
	return cert
}

// offloadedKey signs on another goroutine.
type offloadedKey struct {
	*rsa.PrivateKey
	task *Task
}

// Sign implements crypto.Signer.
func (k offloadedKey) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) (sig []byte, err error) {
	k.task.Offload(func() { sig, err = k.PrivateKey.Sign(rand, digest, opts) })
	return sig, err
}
