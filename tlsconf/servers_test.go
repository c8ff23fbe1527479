package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"path/filepath"
	"testing"

	"gopgpool/conf"
)

// backend_sslmode without auto, and where TLS is not spoken.
func TestModes(t *testing.T) {
	p := newPKI(t)
	ca := p.root("root").crt
	const host = "db.test"
	for _, c := range []struct {
		name     string
		ssl      bool
		ca, root string // ssl_ca_cert, backend_sslrootcert
		mode     conf.SSLMode
		host     string
		want     conf.SSLMode
	}{
		{"auto, off", false, "", "", conf.SSLModeAuto, host, conf.SSLModeDisable},
		{"auto, off, with authorities", false, ca, ca, conf.SSLModeAuto, host, conf.SSLModeDisable},
		{"auto, on", true, "", "", conf.SSLModeAuto, host, conf.SSLModePrefer},
		{"auto, on, ssl_ca_cert", true, ca, "", conf.SSLModeAuto, host, conf.SSLModeVerifyCA},
		{"auto, on, backend_sslrootcert", true, "", ca, conf.SSLModeAuto, host, conf.SSLModeVerifyCA},
		{"disable", true, ca, "", conf.SSLModeDisable, host, conf.SSLModeDisable},
		{"allow", true, ca, "", conf.SSLModeAllow, host, conf.SSLModeAllow},
		{"prefer", true, ca, "", conf.SSLModePrefer, host, conf.SSLModePrefer},
		{"require", false, "", "", conf.SSLModeRequire, host, conf.SSLModeRequire},
		{"require with authorities", false, ca, "", conf.SSLModeRequire, host, conf.SSLModeVerifyCA},
		{"verify-ca", false, ca, "", conf.SSLModeVerifyCA, host, conf.SSLModeVerifyCA},
		{"verify-full", false, "", ca, conf.SSLModeVerifyFull, host, conf.SSLModeVerifyFull},
		{"socket", true, ca, "", conf.SSLModeAuto, "/tmp", conf.SSLModeDisable},
		{"socket, verify-full", true, ca, "", conf.SSLModeVerifyFull, "/tmp", conf.SSLModeDisable},
		{"socket, default directory", true, ca, "", conf.SSLModeRequire, "", conf.SSLModeDisable},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, warnings, err := ForServer(&conf.SSL{SSL: c.ssl, SSLCaCert: c.ca}, conf.NodeTLS{Mode: c.mode, RootCert: c.root}, c.host)
			says(t, err, "")
			if s.Mode != c.want || (s.Config == nil) != (c.want == conf.SSLModeDisable) || len(warnings) > 0 {
				t.Errorf("mode %v, configuration %v, warnings %q", s.Mode, s.Config != nil, warnings)
			}
		})
	}
}

func TestServerParametersRefused(t *testing.T) {
	w := newWorld(t)
	text := w.p.write("text", "no PEM here\n")
	noRoot := t.TempDir()
	w.p.openssl("x509", "-in", "middle.crt", "-out", filepath.Join(noRoot, "middle.crt"))
	for _, c := range []struct {
		name string
		ssl  conf.SSL
		node conf.NodeTLS
		want string
	}{
		{"no authorities", conf.SSL{}, conf.NodeTLS{Mode: conf.SSLModeVerifyCA}, "backend_sslmode: verify-ca needs backend_sslrootcert or ssl_ca_cert"},
		{"no authorities", conf.SSL{}, conf.NodeTLS{Mode: conf.SSLModeVerifyFull}, "backend_sslmode: verify-full needs"},
		{"rootcert nowhere", conf.SSL{}, conf.NodeTLS{Mode: conf.SSLModeRequire, RootCert: "/nowhere"}, "backend_sslrootcert: open /nowhere"},
		{"ca nowhere", conf.SSL{SSL: true, SSLCaCert: "/nowhere"}, conf.NodeTLS{}, "ssl_ca_cert: open /nowhere"},
		{"dir nowhere", conf.SSL{SSL: true, SSLCaCertDir: "/nowhere"}, conf.NodeTLS{}, "ssl_ca_cert_dir: open /nowhere"},
		{"dir without a root", conf.SSL{SSL: true, SSLCaCertDir: noRoot}, conf.NodeTLS{}, "ssl_ca_cert_dir: none of the authorities is a root"},
		{"rootcert is text", conf.SSL{}, conf.NodeTLS{Mode: conf.SSLModeVerifyCA, RootCert: text}, "backend_sslrootcert: " + text},
		{
			"list nowhere",
			conf.SSL{},
			conf.NodeTLS{Mode: conf.SSLModeVerifyCA, RootCert: w.root.crt, CRL: "/nowhere"},
			"backend_sslcrl: open /nowhere",
		},
		{"certificate without key", conf.SSL{}, conf.NodeTLS{Mode: conf.SSLModeAllow, Cert: w.good.crt}, "backend_sslkey: backend_sslcert is set"},
		{"key without certificate", conf.SSL{}, conf.NodeTLS{Mode: conf.SSLModeAllow, Key: w.good.key}, "backend_sslcert: backend_sslkey is set"},
		{
			"key of another",
			conf.SSL{},
			conf.NodeTLS{Mode: conf.SSLModePrefer, Cert: w.good.crt, Key: w.server.key},
			"backend_sslkey: " + w.server.key + " does not fit backend_sslcert",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _, err := ForServer(&c.ssl, c.node, "db.test")
			says(t, err, c.want)
			if s.Config != nil {
				t.Error("a configuration beside an error")
			}
		})
	}
	_, warnings, err := ForServer(&conf.SSL{}, conf.NodeTLS{Mode: conf.SSLModePrefer, CRL: "x"}, "db.test")
	says(t, err, "")
	if len(warnings) != 1 {
		t.Errorf("warnings %q", warnings)
	}
}

// serving is a server that shows a certificate.
func serving(t *testing.T, c certificate) *tls.Config {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(c.crt, c.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}}
}

// What each mode makes of each server.
func TestServerCertificates(t *testing.T) {
	w := newWorld(t)
	alien := w.p.root("alien").certificate
	expired := w.root.issue("expired", "/CN=db.test", "", "-startdate", "20200101000000Z", "-enddate", "20200201000000Z")
	forClients := w.root.issue("forclients", "/CN=db.test", "extendedKeyUsage=clientAuth\n")
	named := w.root.issue("named", "/CN=other", "subjectAltName=DNS:db.test,IP:10.1.2.3\n")
	byCN := w.root.issue("bycn", "/CN=db.test", "")
	lists := w.p.joined("lists", w.root.crl("root.crl"), w.middle.crl("middle.crl"))
	ca, full, req, prefer := conf.SSLModeVerifyCA, conf.SSLModeVerifyFull, conf.SSLModeRequire, conf.SSLModePrefer
	for _, c := range []struct {
		name   string
		mode   conf.SSLMode
		root   string
		crl    string
		host   string
		server certificate
		want   string
	}{
		{"prefer takes anybody", prefer, w.root.crt, "", "db.test", alien, ""},
		{"allow takes anybody", conf.SSLModeAllow, w.root.crt, "", "db.test", expired, ""},
		{"require takes anybody", req, "", "", "db.test", alien, ""},
		{"require with authorities does not", req, w.root.crt, "", "db.test", alien, "unknown authority"},
		{"require with authorities, other name", req, w.root.crt, "", "db.test", w.server, ""},
		{"verify-ca", ca, w.root.crt, "", "elsewhere", named, ""},
		{"verify-ca, stranger", ca, w.root.crt, "", "db.test", alien, "unknown authority"},
		{"verify-ca, expired", ca, w.root.crt, "", "db.test", expired, "expired"},
		{"verify-ca, for clients", ca, w.root.crt, "", "db.test", forClients, "incompatible key usage"},
		{"verify-ca, chain", ca, w.root.crt, "", "db.test", w.deepChain, ""},
		{"verify-ca, chain not sent", ca, w.root.crt, "", "db.test", w.deep, "unknown authority"},
		{"verify-ca, lists", ca, w.root.crt, lists, "db.test", w.deepChain, ""},
		{"verify-ca, revoked", ca, w.root.crt, lists, "db.test", w.revoked, "certificate revoked"},
		{"verify-ca, no list", ca, w.root.crt, w.root.crl("root.crl"), "db.test", w.deepChain, "unable to get certificate CRL"},
		{"verify-full", full, w.root.crt, lists, "db.test", named, ""},
		{"verify-full, address", full, w.root.crt, "", "10.1.2.3", named, ""},
		{"verify-full, by CN", full, w.root.crt, "", "db.test", byCN, ""},
		{"verify-full, other name", full, w.root.crt, "", "other", named, `server certificate for "db.test" does not match host name "other"`},
		{"verify-full, other address", full, w.root.crt, "", "10.1.2.4", named, "does not match host"},
		{"verify-full, stranger", full, w.root.crt, "", "db.test", alien, "unknown authority"},
		{"verify-full, revoked", full, w.root.crt, lists, "revoked", w.revoked, "certificate revoked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _, err := ForServer(&conf.SSL{}, conf.NodeTLS{Mode: c.mode, RootCert: c.root, CRL: c.crl}, c.host)
			says(t, err, "")
			says(t, handshake(t, serving(t, c.server), s.Config).clientErr, c.want)
		})
	}
}

// The certificate we show, and the protocol we offer.
func TestCertificateShownToServers(t *testing.T) {
	w := newWorld(t)
	pool := x509.NewCertPool()
	pool.AddCert(parse(t, w.p.root("elsewhere").crt)) // the server names authorities ours is not of: it is shown all the same
	w.p.openssl("pkcs8", "-topk8", "-in", "good.key", "-passout", "pass:x", "-out", "sealed.key")
	for _, key := range []string{w.good.key, w.p.path("sealed.key")} {
		server := serving(t, w.server)
		server.ClientAuth, server.ClientCAs, server.NextProtos = tls.RequireAnyClientCert, pool, []string{ALPN}
		ssl := conf.SSL{SSLPassphraseCommand: `test "%p" = "Enter PEM pass phrase for backend_sslkey:" && echo x`}
		s, _, err := ForServer(&ssl, conf.NodeTLS{Mode: conf.SSLModeRequire, Cert: w.good.crt, Key: key}, "db.test")
		says(t, err, "")
		o := handshake(t, server, s.Config)
		says(t, o.clientErr, "")
		if got := PeerOf(&o.server); got.CN != "good" {
			t.Errorf("the server sees %+v", got)
		}
		if o.server.NegotiatedProtocol != ALPN || o.server.ServerName != "db.test" {
			t.Errorf("protocol %q, name %q", o.server.NegotiatedProtocol, o.server.ServerName)
		}
	}
}

func TestOpenSSLServers(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name string
		node conf.NodeTLS
		host string
		args []string
		want string
	}{
		{"verify-full", conf.NodeTLS{Mode: conf.SSLModeVerifyFull, RootCert: w.root.crt}, "proxy.test", nil, ""},
		{"TLS 1.2", conf.NodeTLS{Mode: conf.SSLModeVerifyFull, RootCert: w.root.crt}, "proxy.test", []string{"-tls1_2"}, ""},
		{"TLS 1.1", conf.NodeTLS{Mode: conf.SSLModePrefer}, "proxy.test", []string{"-tls1_1", "-cipher", "ALL@SECLEVEL=0"}, "protocol version"},
		{"other host", conf.NodeTLS{Mode: conf.SSLModeVerifyFull, RootCert: w.root.crt}, "db.test", nil, "does not match host name"},
		{
			"certificate demanded",
			conf.NodeTLS{Mode: conf.SSLModeRequire},
			"proxy.test",
			[]string{"-CAfile", w.root.crt, "-Verify", "1", "-verify_return_error"},
			"certificate required",
		},
		{
			"certificate demanded and shown",
			conf.NodeTLS{Mode: conf.SSLModeRequire, Cert: w.good.crt, Key: w.good.key},
			"proxy.test",
			[]string{"-CAfile", w.root.crt, "-Verify", "1", "-verify_return_error"},
			"",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, _, err := ForServer(&conf.SSL{}, c.node, c.host)
			says(t, err, "")
			_, err = sServer(t, s.Config, append([]string{"-cert", w.server.crt, "-key", w.server.key}, c.args...)...)
			says(t, err, c.want)
		})
	}
}
