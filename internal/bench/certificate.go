package main

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
	"os"
	"path/filepath"
	"time"

	"gopgpool/auth"
)

// newLoginKit makes a certificate (ECDSA, P-256) for all proxies.
func newLoginKit(p places) (loginKit, error) {
	kit := loginKit{
		cert: filepath.Join(p.dir, "tls", "server.crt"), certKey: filepath.Join(p.dir, "tls", "server.key"),
		phrase: auth.NewKey(loginPhrase),
	}
	if err := os.MkdirAll(filepath.Dir(kit.cert), 0o755); err != nil {
		return kit, err
	}
	cert, key, err := makeCertificate()
	if err != nil {
		return kit, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	kit.tls = &tls.Config{
		RootCAs: roots, ServerName: loopback, MinVersion: tls.VersionTLS12,
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256}, // as OpenSSL's clients; ours would offer what only ours take
	}
	return kit, errors.Join(
		os.WriteFile(kit.cert, cert, 0o644),
		os.WriteFile(kit.certKey, key, 0o600),
		p.who.own(filepath.Dir(kit.cert)),
	)
}

// makeCertificate gives a certificate that signs itself, and its key.
func makeCertificate() (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: loopback}, IPAddresses: []net.IP{net.ParseIP(loopback)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}
