package agent

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/logging"
)

// fakeHost remembers orders; a base backup lasts until it is ended.
type fakeHost struct {
	mu    sync.Mutex // guards the rest
	term  cluster.Term
	said  []string
	src   cluster.Source
	begun chan struct{}
	ended chan error
}

func newFakeHost() *fakeHost {
	return &fakeHost{begun: make(chan struct{}, 1), ended: make(chan error, 1)}
}

func (h *fakeHost) note(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.said = append(h.said, what)
}

func (h *fakeHost) Control(context.Context) (cluster.Control, error) {
	return cluster.Control{
		Running: true, PID: 7, State: stateProduction, SystemID: 1<<63 + 1, Timeline: 3, Checkpoint: 1 << 40,
		Starting: true, Says: `FATAL: "x"`,
	}, nil
}
func (h *fakeHost) Start(context.Context, cluster.Term) error { h.note("start"); return nil }
func (h *fakeHost) Stop(_ context.Context, _ cluster.Term, m cluster.StopMode) (cluster.LSN, error) {
	h.note("stop")
	if m == cluster.StopFast {
		return 1<<60 + 1, nil
	}
	return 0, errors.New("stopped badly")
}
func (h *fakeHost) Promote(context.Context, cluster.Term) error { h.note("promote"); return nil }
func (h *fakeHost) Standby(_ context.Context, _ cluster.Term, s cluster.Source) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.src = s
	return nil
}

func (h *fakeHost) Rewind(context.Context, cluster.Term, cluster.Source) error {
	return cannot(errNoHints)
}

func (h *fakeHost) BaseBackup(ctx context.Context, _ cluster.Term, _ cluster.Source) error {
	h.begun <- struct{}{}
	<-ctx.Done()
	h.ended <- context.Cause(ctx)
	return context.Cause(ctx)
}

func (h *fakeHost) Renew(_ context.Context, t cluster.Term) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t < h.term {
		return cluster.ErrOldTerm
	}
	h.term = t
	return nil
}

func (h *fakeHost) primary() bool                              { return false }
func (h *fakeHost) fence(context.Context, time.Duration) error { return nil }

var testKey = []byte("0123456789abcdef")

// serve runs an agent and returns where.
func serve(t *testing.T, h Actions, f fenced, cr Credentials) (address string, s *Server) {
	t.Helper()
	return serveAs(t, h, f, func() *Credentials { return &cr })
}

// serveAs is serve with credentials that may change.
func serveAs(t *testing.T, h Actions, f fenced, credentials func() *Credentials) (address string, s *Server) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	off := func() Fencing { return Fencing{} }
	s = &Server{Host: h, Credentials: credentials, Log: logging.To(testWriter{t}, logging.Log), Guard: newGuard(f, off, logging.Logger{}, sinceBoot)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, []net.Listener{l}) }()
	t.Cleanup(func() { cancel(); check(t, <-done) })
	return l.Addr().String(), s
}

func remote(t *testing.T, address string, cr Credentials) *Remote {
	t.Helper()
	r := NewRemote(address, cr)
	t.Cleanup(func() { check(t, r.Close()) })
	return r
}

// TestKeyIsTakenAway: who was let in by a key that is no longer in force has to come back with the one that is.
func TestKeyIsTakenAway(t *testing.T) {
	h := newFakeHost()
	var now atomic.Pointer[Credentials]
	now.Store(&Credentials{key: testKey})
	address, _ := serveAs(t, h, h, now.Load)
	r := remote(t, address, Credentials{key: testKey})
	ctx := limited(t, 20*time.Second)
	check(t, r.Renew(ctx, 3))
	now.Store(&Credentials{key: testKey}) // read again, the same
	check(t, r.Renew(ctx, 4))
	now.Store(&Credentials{key: []byte("fedcba9876543210")})
	if err := r.Renew(ctx, 5); err == nil || h.term != 4 {
		t.Fatalf("%v, term %d", err, h.term)
	}
}

// TestKeyIsReadDuringAnOrder: an order that comes just when the key is read again is carried out, and once.
func TestKeyIsReadDuringAnOrder(t *testing.T) {
	h := newFakeHost()
	var asked atomic.Int32
	former, now := &Credentials{key: testKey}, &Credentials{key: testKey}
	address, _ := serveAs(t, h, h, func() *Credentials {
		if asked.Add(1) == 1 {
			return former
		}
		return now
	})
	check(t, remote(t, address, *now).Start(limited(t, 20*time.Second), 3))
	if h.term != 3 || asked.Load() != 4 {
		t.Errorf("term %d, asked for the key %d times", h.term, asked.Load())
	}
}

func TestSameCredentials(t *testing.T) {
	one, err := LoadCredentials(ptr(pki(t, t.TempDir())))
	check(t, err)
	other, err := LoadCredentials(ptr(pki(t, t.TempDir())))
	check(t, err)
	key := Credentials{key: testKey}
	list := []*Credentials{&one, &other, &key, {key: []byte("fedcba9876543210")}, {key: testKey, tls: one.tls}}
	for i, a := range list {
		for j, b := range list {
			if a.Same(b) != (i == j) {
				t.Errorf("%d and %d: %t", i, j, a.Same(b))
			}
		}
	}
}

func TestRemoteIsLocalFromAfar(t *testing.T) {
	h := newFakeHost()
	address, _ := serve(t, h, h, Credentials{key: testKey})
	r := remote(t, address, Credentials{key: testKey})
	ctx := limited(t, 20*time.Second)
	for range 2 {
		c, err := r.Control(ctx)
		check(t, err)
		if time.Since(c.Since) > time.Minute {
			t.Fatal(c.Since)
		}
		c.Since = time.Time{}
		if want, _ := h.Control(ctx); c != want {
			t.Fatalf("%+v", c)
		}
		check(t, r.Renew(ctx, 3))
	}
	check(t, r.Start(ctx, 3))
	check(t, r.Promote(ctx, 3))
	if end, err := r.Stop(ctx, 3, cluster.StopFast); err != nil || end != 1<<60+1 {
		t.Fatal(end, err)
	}
	if _, err := r.Stop(ctx, 3, cluster.StopNow); err == nil || !strings.Contains(err.Error(), "stopped badly") {
		t.Fatal(err)
	}
	src := cluster.Source{
		Host: "h", Port: 5432, User: "u", Password: "\x01'\"\u20ac", SlotName: "s", ApplicationName: "a", Timeline: 4, Database: "d",
		Login: `passfile='/p "\'' sslmode=require`,
	}
	if check(t, r.Standby(ctx, 3, src)); h.src != src {
		t.Fatalf("%+v", h.src)
	}
	if err := r.Rewind(ctx, 3, src); !errors.Is(err, cluster.ErrCannotRewind) {
		t.Fatal(err)
	}
	for _, err := range []error{r.Renew(ctx, 2), r.Start(ctx, 2), r.BaseBackup(ctx, 2, src)} {
		if !errors.Is(err, cluster.ErrOldTerm) {
			t.Fatal(err)
		}
	}
}

// TestALoginIsNoOrder: a log-in that names what it must not is refused before anything is done, and whoever gave the order is told.
func TestALoginIsNoOrder(t *testing.T) {
	h := newFakeHost()
	address, _ := serve(t, h, h, Credentials{key: testKey})
	r := remote(t, address, Credentials{key: testKey})
	ctx := limited(t, 20*time.Second)
	for _, bad := range []string{"service=s", "user=u sslkey=/lib:1", "sslkeylogfile=/k", "host=elsewhere", "passfile=rel"} {
		err := r.Standby(ctx, 1, cluster.Source{Host: "h", Port: 1, Login: bad})
		if !errors.Is(err, errOrder) || !strings.Contains(err.Error(), "log-in of another server that is not taken over") {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if len(h.said) != 0 {
		t.Error(h.said)
	}
	check(t, r.Start(ctx, 1)) // on a new connection
}

// TestAnOlderAgentHangsUp: it knows no log-in, and what is said then is not just the end of a file.
func TestAnOlderAgentHangsUp(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	var old sync.WaitGroup
	old.Go(func() {
		for range 2 {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if ch, err := accept(c, testKey); err == nil {
				_, _ = ch.in.read(c)
			}
			_ = c.Close()
		}
	})
	r := remote(t, l.Addr().String(), Credentials{key: testKey})
	ctx := limited(t, 20*time.Second)
	if err := r.Standby(ctx, 1, cluster.Source{Host: "h", Port: 1, Login: "user=u"}); !errors.Is(err, errMute) {
		t.Error(err)
	}
	if err := r.Standby(ctx, 1, cluster.Source{Host: "h", Port: 1}); err == nil || errors.Is(err, errMute) {
		t.Error(err)
	}
	old.Wait()
}

func TestLostClientEndsTheAction(t *testing.T) {
	h := newFakeHost()
	address, s := serve(t, h, h, Credentials{key: testKey})
	r := remote(t, address, Credentials{key: testKey})
	ctx, cancel := context.WithCancelCause(limited(t, 20*time.Second))
	gone := errors.New("gone")
	result := make(chan error, 1)
	go func() { result <- r.BaseBackup(ctx, 1, cluster.Source{Host: "h", Port: 1}) }()
	<-h.begun
	check(t, remote(t, address, Credentials{key: testKey}).Renew(limited(t, 20*time.Second), 1)) // questions go on meanwhile
	cancel(gone)
	if err := <-result; !errors.Is(err, gone) {
		t.Fatal(err)
	}
	if err := <-h.ended; !errors.Is(err, errLost) {
		t.Fatal(err)
	}
	_ = s
}

func TestStrangers(t *testing.T) {
	h := newFakeHost()
	address, s := serve(t, h, h, Credentials{key: testKey})
	ctx := limited(t, 20*time.Second)
	if err := remote(t, address, Credentials{key: []byte("0123456789abcdeX")}).Start(ctx, 1); err == nil {
		t.Fatal("let in with another key")
	}
	// A listener that does not know the key learns nothing it could use, and is not believed.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	var fake sync.WaitGroup
	fake.Go(func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.ReadFull(c, make([]byte, len(magic)+helloLen))
		_, hello, _ := newHello()
		_, _ = c.Write(hello)
		_, _ = io.ReadFull(c, make([]byte, proofLen))
		_, _ = c.Write(make([]byte, proofLen))
	})
	if err := remote(t, l.Addr().String(), Credentials{key: testKey}).Start(ctx, 1); !errors.Is(err, errStranger) {
		t.Fatal(err)
	}
	fake.Wait()

	// More connections than there are places: the oldest give way, and who knows the key gets in.
	var conns []net.Conn
	for range 2 * strangers {
		c, err := net.Dial("tcp", address)
		check(t, err)
		conns = append(conns, c)
	}
	check(t, remote(t, address, Credentials{key: testKey}).Start(ctx, 1))
	s.door.mu.Lock()
	if n := len(s.door.waiting); n > strangers {
		t.Error(n, "strangers")
	}
	s.door.mu.Unlock()
	for _, c := range conns {
		check(t, c.Close())
	}
	if h.said[0] != "start" || len(h.said) != 1 {
		t.Fatal(h.said)
	}
}

// tape keeps what goes through a connection.
type tape struct {
	net.Conn
	wrote bytes.Buffer
}

func (c *tape) Write(b []byte) (int, error) {
	c.wrote.Write(b)
	return c.Conn.Write(b)
}

func TestNothingIsReadOrReplayed(t *testing.T) {
	h := newFakeHost()
	address, _ := serve(t, h, h, Credentials{key: testKey})
	ctx := limited(t, 20*time.Second)
	raw, err := net.Dial("tcp", address)
	check(t, err)
	c := &tape{Conn: raw}
	defer c.Close()
	ch, err := connect(c, testKey)
	check(t, err)
	handshake := c.wrote.Len()
	_, err = converse(ctx, ch, order{Verb: verbStandby, Term: 1, Source: &cluster.Source{Host: "h", Port: 1, Password: "secret"}})
	check(t, err)
	frame := bytes.Clone(c.wrote.Bytes()[handshake:])
	if h.src.Password != "secret" || bytes.Contains(frame, []byte("secret")) || bytes.Contains(frame, []byte("standby")) {
		t.Fatal("in clear")
	}
	h.src = cluster.Source{}
	_, err = c.Write(frame) // again
	check(t, err)
	if _, err := ch.in.read(c); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	// The whole conversation again.
	again, err := net.Dial("tcp", address)
	check(t, err)
	defer again.Close()
	_, err = again.Write(c.wrote.Bytes())
	check(t, err)
	if _, err := io.Copy(io.Discard, again); err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
		t.Fatal(err)
	}
	if h.src.Password != "" {
		t.Fatal("a replayed order was obeyed")
	}
}

func TestHostileLengths(t *testing.T) {
	a, err := newAEAD(make([]byte, 32))
	check(t, err)
	for _, head := range []string{"\xff\xff\xff\xff", "\x00\x00\x00\x00", "\x00\x00\x00\x0f", "\x00\x01\x00\x11"} {
		o := opener{aead: a}
		if _, err := o.read(strings.NewReader(head)); !errors.Is(err, errFrame) {
			t.Errorf("%q: %v", head, err)
		}
	}
	s := sealer{aead: a}
	one, err := s.seal([]byte("1"))
	check(t, err)
	two, err := s.seal([]byte("2"))
	check(t, err)
	o := opener{aead: a}
	if _, err := o.read(bytes.NewReader(two)); !errors.Is(err, errFrame) {
		t.Error("out of order", err)
	}
	if text, err := o.read(bytes.NewReader(one)); err != nil || string(text) != "1" {
		t.Error(string(text), err)
	}
}

func FuzzFrames(f *testing.F) {
	a, err := newAEAD(make([]byte, 32))
	if err != nil {
		f.Fatal(err)
	}
	s := sealer{aead: a}
	good, err := s.seal([]byte(`{"verb":"stop","term":3,"mode":1}`))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, []byte(`{"verb":"rewind","term":3,"source":{"Host":"h","Port":5432}}`))
	f.Fuzz(func(t *testing.T, wire, text []byte) {
		o := opener{aead: a}
		for r := bytes.NewReader(wire); ; {
			if _, err := o.read(r); err != nil {
				break
			}
		}
		if one, err := parseOrder(text); err == nil && one.Source != nil && one.Source.Port == 0 {
			t.Fatalf("%+v", one)
		}
		var any answer
		_ = decode(text, &any)
	})
}

func TestOrders(t *testing.T) {
	for text, ok := range map[string]bool{
		`{"verb":"start","term":18446744073709551615}`:                true,
		`{"verb":"stop","mode":1}`:                                    true,
		`{"verb":"stop","mode":2}`:                                    false,
		`{"verb":"exec"}`:                                             false,
		`{"verb":"start","command":"rm"}`:                             false,
		`{"verb":"start"}{}`:                                          false,
		`{"verb":"start","source":{"Host":"h","Port":1}}`:             false,
		`{"verb":"rewind"}`:                                           false,
		`{"verb":"rewind","source":{"Host":"h","Port":70000}}`:        false,
		`{"verb":"rewind","source":{"Host":"h","Port":1}}`:            true,
		`{"verb":"rewind","source":{"Host":"h","Port":1,"Binary":1}}`: false,
		`[]`: false, ``: false, `null`: false,
	} {
		if _, err := parseOrder([]byte(text)); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// pki makes an authority and a certificate of it for 127.0.0.1.
func pki(t *testing.T, dir string) conf.Agent {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &key.PublicKey, key)
	check(t, err)
	own := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "node"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, own, ca, &key.PublicKey, key)
	check(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		check(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	return conf.Agent{
		SSLCACert: write("ca.pem", "CERTIFICATE", caDER), SSLCert: write("cert.pem", "CERTIFICATE", der), SSLKey: write("key.pem", "PRIVATE KEY", keyDER),
	}
}

func TestTLSBothWays(t *testing.T) {
	ours, err := LoadCredentials(ptr(pki(t, t.TempDir())))
	check(t, err)
	foreign, err := LoadCredentials(ptr(pki(t, t.TempDir())))
	check(t, err)
	both := Credentials{key: testKey, tls: ours.tls}
	for _, tc := range []struct {
		name          string
		agent, client Credentials
		ok            bool
	}{
		{"certificates", ours, ours, true},
		{"certificates and key", both, both, true},
		{"key missing", both, ours, false},
		{"client of another authority", ours, Credentials{tls: mixed(ours, foreign)}, false},
		{"agent of another authority", ours, Credentials{tls: mixed(foreign, ours)}, false},
		{"no TLS", both, Credentials{key: testKey}, false},
		{"no TLS there", Credentials{key: testKey}, both, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newFakeHost()
			address, _ := serve(t, h, h, tc.agent)
			err := remote(t, address, tc.client).Start(limited(t, 20*time.Second), 1)
			if (err == nil) != tc.ok || tc.ok != (len(h.said) == 1) {
				t.Fatal(err, h.said)
			}
		})
	}
}

func TestCredentials(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		check(t, os.WriteFile(path, []byte(text), mode))
		check(t, os.Chmod(path, mode))
		return path
	}
	for _, tc := range []struct {
		name string
		c    conf.Agent
		want error
	}{
		{"nothing", conf.Agent{}, ErrNoCredentials},
		{"half", conf.Agent{SSLCert: "x"}, errHalfTLS},
		{"half beside a key", conf.Agent{KeyFile: write("k", string(testKey), 0o600), SSLCACert: "x"}, errHalfTLS},
		{"readable", conf.Agent{KeyFile: write("r", string(testKey), 0o640)}, errExposed},
		{"missing", conf.Agent{KeyFile: filepath.Join(dir, "no")}, os.ErrNotExist},
	} {
		if _, err := LoadCredentials(&tc.c); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	if _, err := LoadCredentials(&conf.Agent{KeyFile: write("s", "short\n", 0o600)}); err == nil || strings.Contains(err.Error(), "short\n") {
		t.Error(err)
	}
	cr, err := LoadCredentials(&conf.Agent{KeyFile: write("g", string(testKey)+"\n", 0o400)})
	if err != nil || !bytes.Equal(cr.key, testKey) {
		t.Error(string(cr.key), err)
	}
}
