package watchdog

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gopgpool/watchdog/machine"
)

// certificate writes a key and a certificate for 127.0.0.1, signed by ca or, where that is nil, by itself.
func certificate(t *testing.T, dir, name string, ca *x509.Certificate, caKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	made := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: ca == nil, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if ca == nil {
		ca, caKey = made, key
	}
	der, err := x509.CreateCertificate(rand.Reader, made, ca, &key.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{".crt": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "EC PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(filepath.Join(dir, name+file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return made, key
}

func tlsSettings(dir, name, ca string) string {
	file := func(n string) string { return "'" + filepath.Join(dir, n) + "'" }
	return "wd_ssl = on\nwd_ssl_cert = " + file(name+".crt") + "\nwd_ssl_key = " + file(name+".key") + "\nwd_ssl_ca_cert = " + file(ca+".crt") + "\n"
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca, caKey := certificate(t, dir, "ca", nil, nil)
	certificate(t, dir, "node", ca, caKey)
	certificate(t, dir, "stranger", nil, nil)

	c := newCluster(t, 3, tlsSettings(dir, "node", "ca"))
	c.start(0, 1)
	c.await("two nodes by TLS", c.leads(0))
	c.extra = tlsSettings(dir, "stranger", "stranger")
	c.startOne(2)
	n := c.nodes[2]
	<-n.Ready() // after the loading time
	if s := n.Snapshot(); s.Standing == machine.Follows || s.Standing == machine.Leads {
		t.Errorf("a node with another authority's certificate is %v", s.Standing)
	}
	if c.nodes[0].Snapshot().Nodes[2].Heard != 0 {
		t.Error("it was heard")
	}
}
