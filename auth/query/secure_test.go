package query

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"gopgpool/cluster"
	"gopgpool/conf"
	"gopgpool/internal/pgcluster"
	"gopgpool/tlsconf"
)

// certificate makes a certificate for 127.0.0.1 that vouches for itself, with its key.
func certificate(t *testing.T) (certPEM, keyPEM string, cert *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "server"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	block := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", secret), cert
}

func TestTLS(t *testing.T) {
	c, err := pgcluster.New(pgcluster.Options{
		Nodes: 1, Auth: "scram-sha-256", Password: superPassword,
		HBA:    "hostssl all tls_only all scram-sha-256\nhost all tls_only all reject\nhostnossl all plain_only all scram-sha-256\nhost all plain_only all reject\n",
		Config: map[string]string{"ssl": "on", "ssl_cert_file": "../server.crt", "ssl_key_file": "../server.key"},
	})
	if errors.Is(err, pgcluster.ErrNoServer) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	crt, key, cert := certificate(t)
	if err := errors.Join(c.WriteFile("server.crt", crt, 0o644), c.WriteFile("server.key", key, 0o600), c.Build(t.Context())); err != nil {
		t.Fatal(err)
	}
	n := c.Nodes[0]
	do(t, n, "CREATE ROLE tls_only SUPERUSER LOGIN PASSWORD 'p'", "CREATE ROLE plain_only SUPERUSER LOGIN PASSWORD 'p'")

	without := shared.Cluster(t).Nodes[0]
	role(t, without, "plain_only", "SUPERUSER LOGIN PASSWORD 'p'")

	known, others := x509.NewCertPool(), x509.NewCertPool()
	known.AddCert(cert)
	blind := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}
	old := &tls.Config{MinVersion: tls.VersionTLS11, MaxVersion: tls.VersionTLS11, InsecureSkipVerify: true}
	trusting := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: known, ServerName: "127.0.0.1"}
	doubting := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: others, ServerName: "127.0.0.1"}
	for name, row := range map[string]struct {
		server tlsconf.Server
		user   string
		sslOff bool
		want   Why
	}{
		"disable":                         {server: tlsconf.Server{Mode: conf.SSLModeDisable}, user: "plain_only"},
		"disable, TLS wanted":             {server: tlsconf.Server{Mode: conf.SSLModeDisable}, user: "tls_only", want: 255},
		"allow":                           {server: tlsconf.Server{Mode: conf.SSLModeAllow, Config: blind}, user: "plain_only"},
		"allow, TLS wanted":               {server: tlsconf.Server{Mode: conf.SSLModeAllow, Config: blind}, user: "tls_only"},
		"prefer":                          {server: tlsconf.Server{Mode: conf.SSLModePrefer, Config: blind}, user: "tls_only"},
		"prefer, plain wanted":            {server: tlsconf.Server{Mode: conf.SSLModePrefer, Config: blind}, user: "plain_only"},
		"prefer, no version in common":    {server: tlsconf.Server{Mode: conf.SSLModePrefer, Config: old}, user: "plain_only"},
		"require":                         {server: tlsconf.Server{Mode: conf.SSLModeRequire, Config: blind}, user: "tls_only"},
		"require, plain wanted":           {server: tlsconf.Server{Mode: conf.SSLModeRequire, Config: blind}, user: "plain_only", want: 255},
		"verify-ca":                       {server: tlsconf.Server{Mode: conf.SSLModeVerifyCA, Config: trusting}, user: "tls_only"},
		"verify-ca, unknown authority":    {server: tlsconf.Server{Mode: conf.SSLModeVerifyCA, Config: doubting}, user: "tls_only", want: 255},
		"require, server without TLS":     {server: tlsconf.Server{Mode: conf.SSLModeRequire, Config: blind}, user: "plain_only", sslOff: true, want: 255},
		"prefer, server without TLS":      {server: tlsconf.Server{Mode: conf.SSLModePrefer, Config: blind}, user: "plain_only", sslOff: true},
		"verify-full, server without TLS": {server: tlsconf.Server{Mode: conf.SSLModeVerifyFull, Config: trusting}, user: "plain_only", sslOff: true, want: 255},
	} {
		on := n
		if row.sslOff {
			on = without
		}
		t.Run(name, func(t *testing.T) {
			if why := askOver(t, on, row.server, row.user); why != row.want {
				t.Errorf("%v, want %v", why, row.want)
			}
		})
	}
}

// After a reload a question does not go over a connection that was opened as the parameters said before.
func TestReloadOfTLS(t *testing.T) {
	plain, required := tlsconf.Server{Mode: conf.SSLModeDisable}, tlsconf.Server{Mode: conf.SSLModeRequire, Config: &tls.Config{InsecureSkipVerify: true}}
	var inForce atomic.Pointer[tlsconf.Server]
	b := newBed(t, viewOf(0, shared.Cluster(t).Nodes[0]), func(b *bed) {
		b.parts.TLS = func(cluster.NodeID, string) tlsconf.Server { return *inForce.Load() }
	})
	for _, c := range []struct {
		server *tlsconf.Server
		want   error
	}{{&plain, nil}, {&required, tlsconf.ErrNoTLS}, {&plain, nil}} {
		inForce.Store(c.server)
		if _, err := b.Roles(t.Context(), "postgres"); !errors.Is(err, c.want) {
			t.Errorf("%v: error %v, want %v", c.server.Mode, err, c.want)
		}
	}
}

// askOver asks once, as user.
func askOver(t *testing.T, n *pgcluster.Node, s tlsconf.Server, user string) Why {
	t.Helper()
	b := newBed(t, viewOf(0, n), func(b *bed) { b.parts.TLS = func(cluster.NodeID, string) tlsconf.Server { return s } })
	b.set(func(s *Settings) { s.Entries = Account{User: user, Password: "p", Database: "postgres"} })
	_, err := b.Entry(t.Context(), "postgres", "nobody")
	if why := whyOf(err); why != WhyNoRow {
		return why
	}
	return 0
}
