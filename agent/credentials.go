package agent

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"

	"gopgpool/conf"
)

// Credentials are what pgpool and its agents know each other by: a key, certificates, or both.
type Credentials struct {
	key []byte
	tls *tls.Config // for both directions; nil: the key alone authenticates and encrypts
}

// minKey is the shortest key that is taken. Whoever listens in can try keys as fast as his machines allow.
const minKey = 16

var (
	// ErrNoCredentials is a configuration with neither a key nor certificates: nobody could be told from a stranger.
	ErrNoCredentials = errors.New("neither agent_key_file nor agent_ssl_cert is set")
	errHalfTLS       = errors.New("agent_ssl_cert, agent_ssl_key and agent_ssl_ca_cert must be set together")
	errExposed       = errors.New("may be read by others, permissions should be u=rw (0600) or less")
	errForeignKey    = errors.New("belongs to another user")
	errNoAuthorities = errors.New("holds no certificate in PEM form")
)

// LoadCredentials reads the files named in the configuration.
func LoadCredentials(c *conf.Agent) (Credentials, error) {
	var cr Credentials
	var err error
	if c.KeyFile != "" {
		if cr.key, err = readKey(c.KeyFile, os.Geteuid()); err != nil {
			return Credentials{}, fmt.Errorf("agent_key_file: %w", err)
		}
	}
	switch {
	case c.SSLCert != "" && c.SSLKey != "" && c.SSLCACert != "":
		if cr.tls, err = loadTLS(c); err != nil {
			return Credentials{}, err
		}
	case c.SSLCert != "" || c.SSLKey != "" || c.SSLCACert != "":
		return Credentials{}, errHalfTLS
	case len(cr.key) == 0:
		return Credentials{}, ErrNoCredentials
	}
	return cr, nil
}

// Same tells whether who was let in by one of them would be by the other.
func (c *Credentials) Same(other *Credentials) bool {
	if !bytes.Equal(c.key, other.key) || (c.tls == nil) != (other.tls == nil) {
		return false
	}
	return c.tls == nil || c.tls.ClientCAs.Equal(other.tls.ClientCAs) &&
		slices.EqualFunc(c.tls.Certificates[0].Certificate, other.tls.Certificates[0].Certificate, bytes.Equal)
}

// readKey takes only a file that nobody else than uid and root can have read or written. White space at its end is no part of the key.
func readKey(path string, uid int) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := secret(f, uid); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, err
	}
	key := bytes.TrimRight(text, " \t\r\n")
	if len(key) < minKey {
		return nil, fmt.Errorf("%s: the key has %d bytes, %d are needed", path, len(key), minKey)
	}
	return key, nil
}

func secret(f *os.File, uid int) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok || !info.Mode().IsRegular():
		return errors.New("is no plain file")
	case int(st.Uid) != uid && st.Uid != 0:
		return errForeignKey
	case info.Mode().Perm()&0o077 != 0:
		return errExposed
	}
	return nil
}

func loadTLS(c *conf.Agent) (*tls.Config, error) {
	f, err := os.Open(c.SSLKey)
	if err != nil {
		return nil, fmt.Errorf("agent_ssl_key: %w", err)
	}
	err = errors.Join(secret(f, os.Geteuid()), f.Close())
	if err != nil {
		return nil, fmt.Errorf("agent_ssl_key: %s: %w", c.SSLKey, err)
	}
	pair, err := tls.LoadX509KeyPair(c.SSLCert, c.SSLKey)
	if err != nil {
		return nil, fmt.Errorf("agent_ssl_cert, agent_ssl_key: %w", err)
	}
	text, err := os.ReadFile(c.SSLCACert)
	if err != nil {
		return nil, fmt.Errorf("agent_ssl_ca_cert: %w", err)
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("agent_ssl_ca_cert: %s %w", c.SSLCACert, errNoAuthorities)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13,
		RootCAs: authorities, ClientCAs: authorities, ClientAuth: tls.RequireAndVerifyClientCert,
	}, nil
}
