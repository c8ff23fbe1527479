package proxy

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"gopgpool/conf"
	"gopgpool/pgwire"
	"gopgpool/tlsconf"
)

// serverTLS is a configuration with a certificate made for the test.
func serverTLS(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, leaf, leaf, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if leaf, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{tlsconf.ALPN},
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}},
	}
}

// newTLSProxy is a proxy that offers TLS.
func newTLSProxy(t *testing.T, o setup) *testProxy {
	t.Helper()
	p, cfg := newTestProxy(t, o), serverTLS(t)
	p.onLoops(func(*home) { p.parts.ClientTLS = func() *tls.Config { return cfg } })
	return p
}

// tlsClient is a client that may be on TLS. Reads and writes are bounded; what fails ends the test.
type tlsClient struct {
	t    *testing.T
	conn net.Conn
}

func dialTLS(t *testing.T, p *testProxy) *tlsClient {
	t.Helper()
	conn, err := net.DialTCP("tcp4", nil, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: p.port})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(awaitTimeout))
	return &tlsClient{t: t, conn: conn}
}

// do carries out steps: "ssl=" and "gss=" request and expect the answer, "answer=" expects alone, "tls" shakes hands, "tls+alpn" names the protocol,
// "login" logs in, "cancel" asks for the cancelling of nobody's statement; others are sent as they are.
func (c *tlsClient) do(steps ...string) {
	c.t.Helper()
	for _, step := range steps {
		name, want, _ := strings.Cut(step, "=")
		switch name {
		case "ssl", "gss":
			code := uint32(sslCode)
			if name == "gss" {
				code = gssCode
			}
			c.send(string(whole(code, "")))
			c.expect(want)
		case "answer":
			c.expect(want)
		case "tls", "tls+alpn":
			cfg := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12} //nolint:gosec // made for this test
			if name == "tls+alpn" {
				cfg.NextProtos = []string{tlsconf.ALPN}
			}
			over := tls.Client(c.conn, cfg)
			if err := over.Handshake(); err != nil {
				c.t.Fatalf("handshake: %v", err)
			}
			c.conn = over
		case "login":
			c.send(startupOf("victim"))
			c.ready()
		case "cancel":
			c.send(string(whole(cancelCode, "\x00\x00\x00\x01key!")))
		default:
			c.send(step)
		}
	}
}

func (c *tlsClient) expect(want string) {
	c.t.Helper()
	answer := make([]byte, len(want))
	if _, err := io.ReadFull(c.conn, answer); err != nil || string(answer) != want {
		c.t.Fatalf("got %q, %v, want %q", answer, err, want)
	}
}

func (c *tlsClient) send(text string) {
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.t.Fatal(err)
	}
}

// ready reads up to ReadyForQuery and says goodbye.
func (c *tlsClient) ready() {
	c.t.Helper()
	var got []byte
	buffer := make([]byte, 4096)
	for !bytes.HasSuffix(got, pgwire.AppendReady(nil, 'I')) {
		n, err := c.conn.Read(buffer)
		got = append(got, buffer[:n]...)
		if err != nil {
			c.t.Fatalf("got %q, then %v", got, err)
		}
	}
	c.send(string(pgwire.AppendSimple(nil, pgwire.Terminate)))
}

// rest is all that comes up to the end, however that comes.
func (c *tlsClient) rest() string {
	c.t.Helper()
	got, err := io.ReadAll(c.conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("no end; got %q", got)
	}
	return string(got)
}

// TestHostileNegotiation mixes up the negotiation of TLS.
func TestHostileNegotiation(t *testing.T) {
	startup, ssl := startupOf("victim"), string(whole(sslCode, ""))
	hello := "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("x", 50)
	for _, h := range []struct {
		name  string
		steps []string
		want  string // of what comes before the end: a code, "" nothing, "tls" something of TLS's own; "in" it has logged in
	}{
		{"TLS", []string{"ssl=S", "tls", "login"}, "in"},
		{"TLS with the name of the protocol", []string{"ssl=S", "tls+alpn", "login"}, "in"},
		{"no TLS", []string{"login"}, "in"},
		{"direct TLS", []string{"tls+alpn", "login"}, "in"},
		{"direct TLS for any protocol", []string{"tls"}, "08P01"},
		{"GSS, then TLS", []string{"gss=N", "ssl=S", "tls", "login"}, "in"},
		{"GSS, then direct TLS", []string{"gss=N", hello}, "08P01"},
		{"GSS, then none", []string{"gss=N", "login"}, "in"},
		{"SSLRequest within TLS", []string{"ssl=S", "tls", "ssl=N", "login"}, "in"},
		{"SSLRequest within direct TLS", []string{"tls+alpn", "ssl=N", "login"}, "in"},
		{"GSSENCRequest within TLS", []string{"ssl=S", "tls", "gss=N", "login"}, "in"},
		{"requests without end", []string{"gss=N", "gss=N", "gss=N"}, "08P01"},
		{"a startup packet behind SSLRequest", []string{ssl + startup}, "08P01"},
		{"one byte behind SSLRequest", []string{ssl + "\x16"}, "08P01"},
		{"SSLRequest twice at once", []string{ssl + ssl}, "08P01"},
		{"a handshake behind SSLRequest", []string{ssl + hello}, "08P01"},
		{"plain after the answer", []string{"ssl=S", startup}, "tls"},
		{"SSLRequest after the answer", []string{"ssl=S", ssl}, "tls"},
		{"HTTP after the answer", []string{"ssl=S", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"}, "tls"},
		{"a handshake of rubbish", []string{"ssl=S", "\x16\x03\x01\x00\x08" + strings.Repeat("\xff", 8)}, "tls"},
		{"a direct handshake of rubbish", []string{"\x16\x03\x01\x00\x08" + strings.Repeat("\xff", 8)}, "tls"},
		{"a record of 64 kB", []string{"ssl=S", "\x16\x03\x01\xff\xff" + strings.Repeat("x", 1000)}, "tls"},
		{"a PROXY header within TLS", []string{"ssl=S", "tls", lineHeader + startup}, "08P01"},
		{"a cancel request within TLS", []string{"ssl=S", "tls", "cancel"}, ""},
		{"rubbish within TLS", []string{"ssl=S", "tls", strings.Repeat("\xff\xfe", 100)}, "08P01"},
	} {
		t.Run(h.name, func(t *testing.T) {
			p := newTLSProxy(t, setup{world: world()})
			c := dialTLS(t, p)
			c.do(h.steps...)
			got := c.rest()
			switch h.want {
			case "in":
			case "":
				if got != "" {
					t.Errorf("got %q", got)
				}
			case "tls":
				if len(got) > 7 || got != "" && got[0] != 0x15 { // an alert, in clear
					t.Errorf("got %q", got)
				}
				if log := p.log.String(); !strings.Contains(log, "could not accept SSL connection") {
					t.Errorf("log:\n%s", log)
				}
			default:
				if !strings.Contains(got, "SFATAL\x00") || !strings.Contains(got, "C"+h.want+"\x00") {
					t.Errorf("got %q", got)
				}
			}
			await(t, "the socket is closed", func() bool { return p.sockets() == 0 })
		})
	}
}

// TestTLSBehindBalancer has the header come first, in clear.
func TestTLSBehindBalancer(t *testing.T) {
	for name, steps := range map[string][]string{
		"negotiated":               {lineHeader, "ssl=S", "tls", "login"},
		"direct":                   {binaryHeader, "tls+alpn", "login"},
		"header with the request":  {lineHeader + string(whole(sslCode, "")), "answer=S", "tls", "login"},
		"cancel request in clear":  {lineHeader, "cancel"},
		"cancel request under TLS": {lineHeader, "ssl=S", "tls", "cancel"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newTLSProxy(t, setup{world: world(), conf: "proxy_protocol_networks = '127.0.0.0/8'\n"})
			c := dialTLS(t, p)
			c.do(steps...)
			if got := c.rest(); got != "" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// TestHandshakeTimeout ends clients that do not get on with TLS.
func TestHandshakeTimeout(t *testing.T) {
	const limit = time.Second // and within it they have to get as far as they go, on a busy machine too
	p := newTLSProxy(t, setup{world: world(), tweak: func(c *conf.Config) { c.Auth.AuthenticationTimeout = limit }})
	record := "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("x", 100) // 512 bytes are to come
	cases := map[string][]string{
		"nothing after the answer":   {"ssl=S"},
		"half a header of a record":  {"ssl=S", record[:3]},
		"half a record":              {"ssl=S", record},
		"half a direct record":       {record},
		"one direct byte":            {record[:1]},
		"nothing after TLS":          {"ssl=S", "tls"},
		"half a startup after TLS":   {"ssl=S", "tls", startupOf("victim")[:10]},
		"nothing after direct TLS":   {"tls+alpn"},
		"a negotiation without more": {"gss=N", "ssl=S"},
	}
	clients := make(map[string]*tlsClient)
	for name, steps := range cases { // each has its own time, all of them together take that of one
		clients[name] = dialTLS(t, p)
		clients[name].do(steps...)
	}
	for name, c := range clients {
		if got := c.rest(); strings.Contains(got, "FATAL") {
			t.Errorf("%s: got %q", name, got)
		}
	}
	await(t, "the sockets are closed", func() bool { return p.sockets() == 0 })
	told := p.log.events()
	for _, event := range told {
		if !strings.Contains(event, "authentication") {
			t.Errorf("told: %s", event)
		}
	}
	if len(told) != len(cases) {
		t.Errorf("%d lines of %d clients:\n%s", len(told), len(cases), p.log)
	}
	t.Run("byte by byte", func(t *testing.T) {
		c := dialTLS(t, p)
		c.do("ssl=S")
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for i := range record {
			<-tick.C
			if p.sockets() == 0 {
				return
			}
			_, _ = fmt.Fprint(c.conn, record[i:i+1])
		}
		t.Error("still there")
	})
}
