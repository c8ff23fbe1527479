package tlsconf

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/youmark/pkcs8"
)

// keyPair says where a certificate and its key are found, and how the key is opened.
type keyPair struct {
	certName, keyName string // the parameters
	certFile, keyFile string
	phrase            phraseCommand
}

// load reads certificate and key, which must belong together.
func (p keyPair) load(w *warner) (tls.Certificate, error) {
	chain, err := os.ReadFile(p.certFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%s: %w", p.certName, err)
	}
	if _, err := certificates(chain); err != nil {
		return tls.Certificate{}, fmt.Errorf("%s: %s: %w", p.certName, p.certFile, err)
	}
	key, err := p.readKey(w)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%s: %s does not fit %s: %w", p.keyName, p.keyFile, p.certName, err)
	}
	if now := time.Now(); now.After(pair.Leaf.NotAfter) {
		w.warn("%s: the certificate in %s has expired at %s", p.certName, p.certFile, pair.Leaf.NotAfter.Format(time.RFC3339))
	}
	return pair, nil
}

// readKey returns the key in clear, PEM.
func (p keyPair) readKey(w *warner) ([]byte, error) {
	info, err := os.Stat(p.keyFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.keyName, err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %s is not a plain file", p.keyName, p.keyFile)
	}
	if why := keyExposed(info.Mode(), owner(info), os.Geteuid()); why != "" {
		w.warn("%s: private key file %s %s", p.keyName, p.keyFile, why)
	}
	data, err := os.ReadFile(p.keyFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.keyName, err)
	}
	clear, err := openKey(data, p.phrase.run)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", p.keyName, p.keyFile, err)
	}
	return clear, nil
}

func owner(info fs.FileInfo) int {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(s.Uid)
	}
	return os.Geteuid()
}

// keyExposed tells what is wrong with the permissions of a private key, "" if nothing (manual: ssl_key): a file of ours is ours
// alone, one of root's may be read by a group.
func keyExposed(mode fs.FileMode, owner, self int) string {
	switch {
	case owner != self && owner != 0:
		return "belongs to another user"
	case owner == self && owner != 0 && mode.Perm()&0o077 != 0:
		return "has group or world access; permissions should be u=rw (0600) or less"
	case owner == 0 && mode.Perm()&0o037 != 0:
		return "has group or world access; permissions should be u=rw,g=r (0640) or less"
	}
	return ""
}

var (
	errNoKey    = errors.New("holds no private key in PEM form")
	errNoPhrase = errors.New("the private key is encrypted and ssl_passphrase_command is empty")
)

// openKey finds the private key among PEM blocks and decrypts it; phrase is called if it must.
func openKey(data []byte, phrase func(context.Context) ([]byte, error)) ([]byte, error) {
	block := keyBlock(data)
	if block == nil {
		return nil, errNoKey
	}
	sealed := block.Type == "ENCRYPTED PRIVATE KEY"
	//nolint:staticcheck // SA1019: keys in OpenSSL's old form exist, and the file is the administrator's
	old := x509.IsEncryptedPEMBlock(block)
	if !sealed && !old {
		return pem.EncodeToMemory(block), nil
	}
	secret, err := phrase(context.Background())
	if err != nil {
		return nil, err
	}
	if sealed {
		return openPKCS8(block.Bytes, secret)
	}
	//nolint:staticcheck // SA1019: as above
	der, err := x509.DecryptPEMBlock(block, secret)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errWrongPhrase, err)
	}
	// One wrong phrase in 256 makes something that has the right padding and is no key.
	var key asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &key); err != nil || len(rest) > 0 || key.Tag != asn1.TagSequence {
		return nil, errWrongPhrase
	}
	return pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: der}), nil
}

var errWrongPhrase = errors.New("the pass phrase does not open it")

func openPKCS8(der, secret []byte) ([]byte, error) {
	key, _, err := pkcs8.ParsePrivateKey(der, secret)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errWrongPhrase, err)
	}
	if der, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func keyBlock(data []byte) *pem.Block {
	for {
		var b *pem.Block
		if b, data = pem.Decode(data); b == nil || strings.HasSuffix(b.Type, "PRIVATE KEY") {
			return b
		}
	}
}
