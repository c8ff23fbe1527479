package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopgpool/conf"
)

// base are the parameters of a plain server.
func base(server certificate) conf.SSL {
	c := conf.Default().SSL
	c.SSL, c.SSLCert, c.SSLKey = true, server.crt, server.key
	return c
}

func mustClients(t *testing.T, c conf.SSL) *tls.Config {
	t.Helper()
	cfg, warnings, err := ForClients(&c)
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) > 0 {
		t.Fatalf("warnings: %q", warnings)
	}
	return cfg
}

// client is a client that trusts the root and shows certificates.
func client(t *testing.T, root *authority, shown ...certificate) *tls.Config {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(parse(t, root.crt))
	cfg := &tls.Config{RootCAs: pool, ServerName: "proxy.test"}
	if len(shown) > 0 {
		pair, err := tls.LoadX509KeyPair(shown[0].crt, shown[0].key)
		if err != nil {
			t.Fatal(err)
		}
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return cfg
}

const forProxy = "subjectAltName=DNS:proxy.test\n"

func TestOff(t *testing.T) {
	cfg, warnings, err := ForClients(&conf.SSL{SSLCert: "nowhere"})
	if cfg != nil || warnings != nil || err != nil {
		t.Errorf("ssl = off gives %v, %v, %v", cfg, warnings, err)
	}
}

// Manual: "ssl = on ... ssl_key and ssl_cert must also be set".
func TestRefusedStarts(t *testing.T) {
	p := newPKI(t)
	root := p.root("root")
	server, other := root.issue("server", "/CN=server", forProxy), root.issue("other", "/CN=other", "")
	middle := root.authority("middle")
	stranger := p.root("stranger")
	forged := p.forger("root").crl("forged.crl")
	text := p.write("text", "no PEM here\n")
	broken := p.write("broken", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
	empty := t.TempDir()
	for _, c := range []struct {
		name   string
		change func(*conf.SSL)
		want   string
	}{
		{"no certificate", func(c *conf.SSL) { c.SSLCert = "" }, "ssl_cert: ssl = on needs"},
		{"no key", func(c *conf.SSL) { c.SSLKey = "" }, "ssl_key: ssl = on needs"},
		{"certificate is nowhere", func(c *conf.SSL) { c.SSLCert = "/nowhere" }, "ssl_cert: open /nowhere"},
		{"certificate is text", func(c *conf.SSL) { c.SSLCert = text }, "ssl_cert: " + text + ": holds no certificate"},
		{"certificate is broken", func(c *conf.SSL) { c.SSLCert = broken }, "ssl_cert: " + broken},
		{"key is nowhere", func(c *conf.SSL) { c.SSLKey = "/nowhere" }, "ssl_key: stat /nowhere"},
		{"key is a directory", func(c *conf.SSL) { c.SSLKey = empty }, "ssl_key: " + empty + " is not a plain file"},
		{"key is text", func(c *conf.SSL) { c.SSLKey = text }, "ssl_key: " + text + ": holds no private key"},
		{"key of another", func(c *conf.SSL) { c.SSLKey = other.key }, "ssl_key: " + other.key + " does not fit ssl_cert"},
		{"authorities are nowhere", func(c *conf.SSL) { c.SSLCaCert = "/nowhere" }, "ssl_ca_cert: open /nowhere"},
		{"authorities are text", func(c *conf.SSL) { c.SSLCaCert = text }, "ssl_ca_cert: " + text},
		{"no root", func(c *conf.SSL) { c.SSLCaCert = middle.crt }, "ssl_ca_cert: none of the authorities is a root"},
		{
			"directory is nowhere", func(c *conf.SSL) { c.SSLCaCert, c.SSLCaCertDir = root.crt, "/nowhere" },
			"ssl_ca_cert_dir: open /nowhere",
		},
		{"directory is empty", func(c *conf.SSL) { c.SSLCaCert, c.SSLCaCertDir = root.crt, empty }, "ssl_ca_cert_dir: " + empty},
		{"list is nowhere", func(c *conf.SSL) { c.SSLCaCert, c.SSLCrlFile = root.crt, "/nowhere" }, "ssl_crl_file: open /nowhere"},
		{"list is text", func(c *conf.SSL) { c.SSLCaCert, c.SSLCrlFile = root.crt, text }, "ssl_crl_file: " + text},
		{
			"list is a certificate", func(c *conf.SSL) { c.SSLCaCert, c.SSLCrlFile = root.crt, root.crt },
			"holds no list of revoked certificates",
		},
		{
			"list is forged", func(c *conf.SSL) { c.SSLCaCert, c.SSLCrlFile = root.crt, forged },
			`the list of "CN=root" is not signed by it`,
		},
		{"no such cipher", func(c *conf.SSL) { c.SSLCiphers = "CAMELLIA" }, "ssl_ciphers: none of these ciphers exists"},
		{"no such curve", func(c *conf.SSL) { c.SSLEcdhCurve = "secp256k1" }, `ssl_ecdh_curve: no such curve: "secp256k1"`},
		{
			"versions crossed", func(c *conf.SSL) { c.SSLMinProtocolVersion, c.SSLMaxProtocolVersion = conf.TLSv13, conf.TLSv12 },
			"ssl_max_protocol_version: is below",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			ssl := base(server)
			c.change(&ssl)
			cfg, _, err := ForClients(&ssl)
			says(t, err, c.want)
			if cfg != nil {
				t.Error("a configuration beside an error")
			}
		})
	}
	// A list of somebody else does no harm.
	ssl := base(server)
	ssl.SSLCaCert, ssl.SSLCrlFile = root.crt, p.joined("lists", root.crl("root.crl"), stranger.crl("stranger.crl"))
	mustClients(t, ssl)
}

func TestPlainHandshake(t *testing.T) {
	p := newPKI(t)
	root := p.root("root")
	cfg := mustClients(t, base(root.issue("server", "/CN=server", forProxy)))
	for _, v := range []struct {
		name    string
		version uint16
	}{{"TLS 1.2", tls.VersionTLS12}, {"TLS 1.3", tls.VersionTLS13}} {
		t.Run(v.name, func(t *testing.T) {
			c := client(t, root)
			c.MinVersion, c.MaxVersion = v.version, v.version
			o := handshake(t, cfg, c)
			says(t, o.serverErr, "")
			says(t, o.clientErr, "")
			if got := PeerOf(&o.server); got != (Peer{}) {
				t.Errorf("a client without certificate is %+v", got)
			}
		})
	}
	old := client(t, root)
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if o := handshake(t, cfg, old); o.serverErr == nil {
		t.Error("TLS 1.1 passed the default of ssl_min_protocol_version")
	}
	if cfg.Certificates[0].Leaf == nil {
		t.Error("the certificate has no Leaf, which channel binding needs")
	}
}

// The chain behind the server's own certificate is sent.
func TestServerChain(t *testing.T) {
	p := newPKI(t)
	root := p.root("root")
	middle := root.authority("middle")
	leaf := middle.issue("server", "/CN=server", forProxy)
	cfg := mustClients(t, base(certificate{crt: p.joined("chain", leaf.crt, middle.crt), key: leaf.key}))
	o := handshake(t, cfg, client(t, root))
	says(t, o.clientErr, "")
	says(t, handshake(t, mustClients(t, base(leaf)), client(t, root)).clientErr, "unknown authority")
}

func TestProtocols(t *testing.T) {
	p := newPKI(t)
	root := p.root("root")
	cfg := mustClients(t, base(root.issue("server", "/CN=server", forProxy)))
	for _, c := range []struct {
		offered []string
		want    string
	}{
		{nil, ""},
		{[]string{"postgresql"}, ALPN},
		{[]string{"h2", "postgresql"}, ALPN},
		{[]string{"http/1.1"}, ""}, // whoever asked by SSLRequest is served
	} {
		cl := client(t, root)
		cl.NextProtos = c.offered
		o := handshake(t, cfg, cl)
		says(t, o.serverErr, "")
		if o.server.NegotiatedProtocol != c.want {
			t.Errorf("offered %q: negotiated %q, not %q", c.offered, o.server.NegotiatedProtocol, c.want)
		}
	}
}

func TestNoResumption(t *testing.T) {
	p := newPKI(t)
	root := p.root("root")
	cfg := mustClients(t, base(root.issue("server", "/CN=server", forProxy)))
	c := client(t, root)
	c.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	for range 2 {
		if o := handshake(t, cfg, c); o.serverErr != nil || o.server.DidResume {
			t.Fatalf("resumed %v, error %v", o.server.DidResume, o.serverErr)
		}
	}
}

// Versions, ciphers and curves as another implementation asks for them.
func TestOpenSSLClients(t *testing.T) {
	p := newPKI(t)
	root := p.root("root")
	server := root.issue("server", "/CN=server", forProxy)
	for _, c := range []struct {
		name   string
		change func(*conf.SSL)
		args   []string
		passes bool
	}{
		{"default", func(*conf.SSL) {}, nil, true},
		{"TLS 1.2", func(*conf.SSL) {}, []string{"-tls1_2"}, true},
		{"TLS 1.1", func(*conf.SSL) {}, []string{"-tls1_1", "-cipher", "ALL@SECLEVEL=0"}, false},
		{
			"TLS 1.1 allowed", func(c *conf.SSL) { c.SSLMinProtocolVersion = conf.TLSv11 },
			[]string{"-tls1_1", "-cipher", "ALL@SECLEVEL=0"},
			true,
		},
		{
			"TLS 1.0 with any version", func(c *conf.SSL) { c.SSLMinProtocolVersion = conf.ProtocolAny },
			[]string{"-tls1", "-cipher", "ALL@SECLEVEL=0"},
			true,
		},
		{"TLS 1.2 at most", func(c *conf.SSL) { c.SSLMaxProtocolVersion = conf.TLSv12 }, []string{"-tls1_3"}, false},
		{"TLS 1.3 at least", func(c *conf.SSL) { c.SSLMinProtocolVersion = conf.TLSv13 }, []string{"-tls1_2"}, false},
		{
			"the cipher", func(c *conf.SSL) { c.SSLCiphers = "ECDHE-ECDSA-AES256-GCM-SHA384" },
			[]string{"-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"},
			true,
		},
		{
			"another cipher", func(c *conf.SSL) { c.SSLCiphers = "ECDHE-ECDSA-AES256-GCM-SHA384" },
			[]string{"-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"},
			false,
		},
		{"default curve is no restriction", func(*conf.SSL) {}, []string{"-groups", "X25519"}, true},
		{"the curve", func(c *conf.SSL) { c.SSLEcdhCurve = "secp384r1" }, []string{"-groups", "P-384"}, true},
		{"another curve", func(c *conf.SSL) { c.SSLEcdhCurve = "secp384r1" }, []string{"-groups", "P-256"}, false},
		{"one curve of two", func(c *conf.SSL) { c.SSLEcdhCurve = "secp384r1:X25519" }, []string{"-groups", "P-521:X25519"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			ssl := base(server)
			c.change(&ssl)
			_, err := sClient(t, mustClients(t, ssl), c.args...)
			if (err == nil) != c.passes {
				t.Errorf("handshake: %v", err)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	p := newPKI(t)
	root := p.root("root")
	server := root.issue("server", "/CN=server", forProxy)
	expired := root.issue("expired", "/CN=expired", forProxy, "-startdate", "20200101000000Z", "-enddate", "20200201000000Z")
	for _, c := range []struct {
		name   string
		change func(*conf.SSL)
		want   string
	}{
		{"dh", func(c *conf.SSL) { c.SSLDhParamsFile = "dh.pem" }, "ssl_dh_params_file has no effect"},
		{"expired", func(c *conf.SSL) { c.SSLCert, c.SSLKey = expired.crt, expired.key }, "ssl_cert: the certificate in " + expired.crt + " has expired"},
		{"ciphers", func(c *conf.SSL) { c.SSLCiphers = "HIGH:CAMELLIA:DHE" }, "ssl_ciphers: these do not exist here and are not used: CAMELLIA, DHE"},
		{"level", func(c *conf.SSL) { c.SSLCiphers = "HIGH:@SECLEVEL=2" }, "ssl_ciphers: @SECLEVEL=2 has no effect"},
		{"list without authority", func(c *conf.SSL) { c.SSLCrlFile = "x" }, "ssl_crl_file has no effect without ssl_ca_cert"},
		{
			"broken file in the directory", func(c *conf.SSL) {
				dir := t.TempDir()
				if err := os.WriteFile(filepath.Join(dir, "a"), []byte(readFile(t, root.crt)), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, "b"), []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				c.SSLCaCert, c.SSLCaCertDir = root.crt, dir
			}, "b is not used: x509",
		},
		{
			"exposed key", func(c *conf.SSL) {
				c.SSLKey = p.joined("exposed.key", server.key)
				if err := os.Chmod(c.SSLKey, 0o644); err != nil {
					t.Fatal(err)
				}
			}, "exposed.key has group or world access",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			ssl := base(server)
			c.change(&ssl)
			_, warnings, err := ForClients(&ssl)
			says(t, err, "")
			if len(warnings) != 1 || !strings.Contains(warnings[0], c.want) {
				t.Errorf("warnings %q, wanted %q", warnings, c.want)
			}
		})
	}
	var w warner
	w.warn("a")
	w.warn("a")
	if !slices.Equal(w.lines, []string{"a"}) {
		t.Errorf("a warning was told twice: %q", w.lines)
	}
}
