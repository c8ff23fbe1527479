package tlsconf

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"time"
)

// revoked are the lists of a file.
type revoked struct{ lists []revocationList }

// revocationList is one authority's list.
type revocationList struct {
	crl     *x509.RevocationList
	serials map[string]struct{}
	signer  *x509.Certificate // nil: the authority is not among ours, it may be sent with a chain
}

var (
	errNoList  = errors.New("holds no list of revoked certificates")
	errRevoked = errors.New("certificate revoked")
	errNoCRL   = errors.New("unable to get certificate CRL")
	errOldCRL  = errors.New("CRL has expired")
	errNewCRL  = errors.New("CRL is not yet valid")
)

// readRevoked reads the lists of a file, PEM or DER; "" is no file and nil. A list in the name of one of our authorities must
// bear its signature.
func readRevoked(name, file string, trust *authorities, now time.Time, w *warner) (*revoked, error) {
	if file == "" {
		return nil, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	r := &revoked{}
	for _, der := range listsIn(data) {
		l, err := newList(der, trust)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", name, file, err)
		}
		if l.expired(now) {
			w.warn("%s: the list of %q in %s has expired: certificates of this authority are refused", name, l.crl.Issuer, file)
		}
		r.lists = append(r.lists, l)
	}
	if len(r.lists) == 0 {
		return nil, fmt.Errorf("%s: %s: %w", name, file, errNoList)
	}
	return r, nil
}

// listsIn finds the lists in a file: PEM blocks, or one list in DER.
func listsIn(data []byte) [][]byte {
	if !bytes.Contains(data, []byte("-----BEGIN")) {
		if len(data) == 0 {
			return nil
		}
		return [][]byte{data}
	}
	var found [][]byte
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil {
			return found
		}
		if b.Type == "X509 CRL" {
			found = append(found, b.Bytes)
		}
	}
}

func newList(der []byte, trust *authorities) (revocationList, error) {
	crl, err := parseList(der)
	if err != nil {
		return revocationList{}, err
	}
	// A critical extension limits what the list is about: taken for a whole one, it would let revoked certificates pass.
	for _, e := range crl.Extensions {
		if e.Critical {
			return revocationList{}, fmt.Errorf("the list of %q has the critical extension %v, which is not understood", crl.Issuer, e.Id)
		}
	}
	l := revocationList{crl: crl, serials: make(map[string]struct{}, len(crl.RevokedCertificateEntries))}
	for _, e := range crl.RevokedCertificateEntries {
		l.serials[serial(e.SerialNumber)] = struct{}{}
	}
	l.signer, err = signerOf(crl, trust)
	return l, err
}

func serial(n *big.Int) string { return n.Text(62) }

func signerOf(crl *x509.RevocationList, trust *authorities) (*x509.Certificate, error) {
	var refused error
	for _, c := range trust.certs {
		if !bytes.Equal(c.RawSubject, crl.RawIssuer) {
			continue
		}
		err := crl.CheckSignatureFrom(c)
		if err == nil {
			return c, nil
		}
		refused = fmt.Errorf("the list of %q is not signed by it: %w", crl.Issuer, err)
	}
	return nil, refused
}

func (l *revocationList) expired(now time.Time) bool {
	return !l.crl.NextUpdate.IsZero() && now.After(l.crl.NextUpdate)
}

// of reports whether the list is the authority's.
func (l *revocationList) of(authority *x509.Certificate) bool {
	if !bytes.Equal(l.crl.RawIssuer, authority.RawSubject) {
		return false
	}
	if l.signer != nil && bytes.Equal(l.signer.RawSubjectPublicKeyInfo, authority.RawSubjectPublicKeyInfo) {
		return true
	}
	return l.crl.CheckSignatureFrom(authority) == nil
}

// check looks up all certificates of a chain, the root's too. As in OpenSSL each authority must have a list that is in force.
func (r *revoked) check(chain []*x509.Certificate, now time.Time) error {
	for i, c := range chain {
		issuer := chain[min(i+1, len(chain)-1)]
		if err := r.checkOne(c, issuer, now); err != nil {
			return fmt.Errorf("%w: %q", err, c.Subject)
		}
	}
	return nil
}

func (r *revoked) checkOne(c, issuer *x509.Certificate, now time.Time) error {
	verdict := errNoCRL
	for i := range r.lists {
		l := &r.lists[i]
		if !l.of(issuer) {
			continue
		}
		if _, listed := l.serials[serial(c.SerialNumber)]; listed {
			return errRevoked // an old list is right about that
		}
		switch {
		case l.expired(now):
			if verdict != nil {
				verdict = errOldCRL
			}
		case now.Before(l.crl.ThisUpdate):
			if verdict != nil {
				verdict = errNewCRL
			}
		default:
			verdict = nil
		}
	}
	return verdict
}
