package mesh

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"gopgpool/logging"
)

// authority signs certificates for the tests.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	a.key = a.newKey()
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	a.check(err)
	a.cert, err = x509.ParseCertificate(der)
	a.check(err)
	a.pool.AddCert(a.cert)
	return a
}

func (a *authority) check(err error) {
	a.t.Helper()
	if err != nil {
		a.t.Fatal(err)
	}
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	a.check(err)
	return key
}

// config is that of a node at ip, who trusts trusted.
func (a *authority) config(ip string, trusted *authority) *tls.Config {
	key := a.newKey()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: ip}, IPAddresses: []net.IP{net.ParseIP(ip)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	a.check(err)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, RootCAs: trusted.pool}
}

func TestTLS(t *testing.T) {
	w := newWorld(t, 3)
	ours, others := newAuthority(t), newAuthority(t)
	config := func(id int, c *tls.Config) Config {
		out := w.config(id)
		out.TLS = c
		return out
	}
	a := w.start(config(0, ours.config("127.0.1.1", ours)))
	b := w.start(config(1, ours.config("127.0.1.2", ours)))
	linked(t, a, b)
	a.Send(1, make([]byte, 1<<20))
	eventually(t, "message arrives", func() bool { return len(b.got(0)) == 1 })

	for name, c := range map[string]*tls.Config{
		"certificate of another authority": others.config("127.0.1.3", ours),
		"no TLS":                           nil,
		"no certificate":                   {RootCAs: ours.pool},
	} {
		before := strings.Count(a.log.String(), "turned away")
		n := w.start(config(2, c))
		eventually(t, name+" is turned away", func() bool { return strings.Count(a.log.String(), "turned away") > before })
		if n.Reachable(0) || a.Reachable(2) {
			t.Errorf("%s: linked", name)
		}
		n.stop()
	}
	// The wrong host behind a name: the connector notices.
	impostor := w.start(config(2, ours.config("127.0.1.9", ours)))
	eventually(t, "the impostor's connections", func() bool { return impostor.Reachable(0) })
	if impostor.connections(0) != 1 {
		t.Error("node 0 connected to a host with the certificate of another")
	}
	impostor.stop()
	b.stop()
	eventually(t, "b is gone", func() bool { return !a.Reachable(1) })
}

func TestTLSMustVerify(t *testing.T) {
	c := testConfig(0, testKey)
	c.TLS = &tls.Config{InsecureSkipVerify: true}
	if _, err := New(c, nil, logging.Logger{}); err == nil {
		t.Error("TLS without verification is accepted")
	}
}
