package tlsconf

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// authorities are the certificates others must come from.
type authorities struct {
	certs  []*x509.Certificate
	all    *x509.CertPool
	roots  *x509.CertPool      // issued by themselves: where a chain may end
	middle []*x509.Certificate // the others: links of a chain
}

var (
	errNoCertificate = errors.New("holds no certificate in PEM form")
	errNoRoot        = errors.New("none of the authorities is a root, issued by itself: no chain could end there")
)

// readAuthorities reads a file, a directory or both; name is the parameter of the file.
func readAuthorities(name, file, dir string, w *warner) (*authorities, error) {
	var certs []*x509.Certificate
	if file == "" {
		name = "ssl_ca_cert_dir"
	} else {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if certs, err = certificates(data); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", name, file, err)
		}
	}
	if dir != "" {
		more, err := directory(dir, w)
		if err != nil {
			return nil, fmt.Errorf("ssl_ca_cert_dir: %w", err)
		}
		certs = append(certs, more...)
	}
	a, err := newAuthorities(certs)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return a, nil
}

func newAuthorities(certs []*x509.Certificate) (*authorities, error) {
	a := &authorities{certs: certs, all: x509.NewCertPool(), roots: x509.NewCertPool()}
	found := false
	for _, c := range certs {
		a.all.AddCert(c)
		if bytes.Equal(c.RawIssuer, c.RawSubject) {
			a.roots.AddCert(c)
			found = true
		} else {
			a.middle = append(a.middle, c)
		}
	}
	if !found {
		return nil, errNoRoot
	}
	return a, nil
}

// directory reads the certificates of all PEM files of a directory. Files without any (lists of revoked certificates, a README)
// are passed over. One that cannot be read costs a warning: what was not read is not trusted.
func directory(dir string, w *warner) ([]*x509.Certificate, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			continue // a link to nothing, a directory
		}
		data, err := os.ReadFile(path)
		if err != nil {
			w.warn("ssl_ca_cert_dir: %v", err)
			continue
		}
		more, err := certificates(data)
		if err != nil && !errors.Is(err, errNoCertificate) {
			w.warn("ssl_ca_cert_dir: %s is not used: %v", path, err)
		}
		certs = append(certs, more...)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%s: no file in it %w", dir, errNoCertificate)
	}
	return certs, nil
}

// certificates reads the certificates among PEM blocks; there must be one.
func certificates(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, errNoCertificate
	}
	return certs, nil
}

// verifier checks a peer's certificate.
type verifier struct {
	trust   *authorities
	revoked *revoked // nil: there are no lists
	usage   x509.ExtKeyUsage
	now     func() time.Time
}

// verify checks the chain a peer has sent, its own certificate first. One of the ways to a root must be free of revoked
// certificates.
func (v verifier) verify(sent []*x509.Certificate) error {
	if len(sent) == 0 {
		return errors.New("certificate verify failed: no certificate was shown")
	}
	links := x509.NewCertPool()
	for _, c := range append(sent[1:len(sent):len(sent)], v.trust.middle...) {
		links.AddCert(c)
	}
	now := v.now()
	chains, err := sent[0].Verify(x509.VerifyOptions{
		Roots: v.trust.roots, Intermediates: links, KeyUsages: []x509.ExtKeyUsage{v.usage}, CurrentTime: now,
	})
	if err != nil {
		return fmt.Errorf("certificate verify failed: %w", err)
	}
	if v.revoked == nil {
		return nil
	}
	for _, chain := range chains {
		if err = v.revoked.check(chain, now); err == nil {
			return nil
		}
	}
	return fmt.Errorf("certificate verify failed: %w", err)
}
