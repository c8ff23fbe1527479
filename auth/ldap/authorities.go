package ldap

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// authorities are the certificates that were read last: those of a whole distribution take 10 ms to parse.
type authorities struct {
	mu    sync.Mutex
	state string // of the files when they were read, guarded by mu
	pool  *x509.CertPool
}

// read returns the authorities of TLS_CACERT and TLS_CACERTDIR; nil, those of the system, if both are empty.
func (a *authorities) read(file, dir string) (*x509.CertPool, error) {
	files, err := authorityFiles(file, dir)
	if err != nil || len(files) == 0 {
		return nil, err
	}
	state, err := stateOf(files)
	if err != nil {
		return nil, err
	}
	if pool := a.known(state); pool != nil {
		return pool, nil
	}
	pool, found := x509.NewCertPool(), false
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil && path == file {
			return nil, err
		}
		found = pool.AppendCertsFromPEM(text) || found
	}
	if !found {
		return nil, fmt.Errorf("no certificate in TLS_CACERT %s, TLS_CACERTDIR %s", file, dir)
	}
	a.keep(state, pool)
	return pool, nil
}

func (a *authorities) known(state string) *x509.CertPool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state != state {
		return nil
	}
	return a.pool
}

func (a *authorities) keep(state string, pool *x509.CertPool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.state, a.pool = state, pool
}

// authorityFiles are the file, and those of the directory.
func authorityFiles(file, dir string) ([]string, error) {
	var files []string
	if file != "" {
		files = append(files, file)
	}
	if dir == "" {
		return files, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			files = append(files, path) // one that cannot be read is no authority
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no files in TLS_CACERTDIR %s", dir)
	}
	return files, nil
}

// stateOf changes when a file is replaced or written to.
func stateOf(files []string) (string, error) {
	var b strings.Builder
	for _, path := range files {
		info, err := os.Stat(path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s %d %d\n", path, info.Size(), info.ModTime().UnixNano())
	}
	return b.String(), nil
}
