package authtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// authority is a certificate authority in a directory of its own, run by openssl.
type authority struct {
	dir string

	mu   sync.Mutex // guards what follows and the list's files
	next int        // serial number of the next certificate
	gone []int      // serial numbers of revoked ones
}

// leaf is a certificate and its key as files.
type leaf struct {
	cert, key string
	serial    int
}

const opensslConf = `[req]
distinguished_name = dn
prompt = no
[dn]
CN = unused
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = keyCertSign,cRLSign
subjectKeyIdentifier = hash
[ca]
default_ca = here
[here]
database = index.txt
default_md = sha256
crl_extensions = list
[list]
authorityKeyIdentifier = keyid:always
`

func openssl(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "openssl", args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func newAuthority(t *testing.T, dir, name string) *authority {
	t.Helper()
	a := &authority{dir: dir, next: 16}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "openssl.cnf"), []byte(opensslConf), 0o600); err != nil {
		t.Fatal(err)
	}
	openssl(t, dir, "req", "-config", "openssl.cnf", "-x509", "-extensions", "authority", "-newkey", "ec", "-pkeyopt",
		"ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN="+name, "-days", "30")
	a.list(t)
	return a
}

// root is the file of the authority's own certificate, crl that of its list of revoked ones.
func (a *authority) root() string { return filepath.Join(a.dir, "ca.crt") }
func (a *authority) crl() string  { return filepath.Join(a.dir, "ca.crl") }

// issue makes a certificate; names are of subjectAltName, "DNS:localhost" for example.
func (a *authority) issue(t *testing.T, file, cn string, names ...string) leaf {
	t.Helper()
	a.mu.Lock()
	serial := a.next
	a.next++
	a.mu.Unlock()
	args := []string{
		"req", "-config", "openssl.cnf", "-x509", "-CA", "ca.crt", "-CAkey", "ca.key", "-newkey", "ec", "-pkeyopt",
		"ec_paramgen_curve:prime256v1", "-nodes", "-keyout", file + ".key", "-out", file + ".crt", "-subj", "/O=Tests/CN=" + cn,
		"-days", "20", "-set_serial", fmt.Sprint(serial),
	}
	if len(names) > 0 {
		args = append(args, "-addext", "subjectAltName="+strings.Join(names, ","))
	}
	openssl(t, a.dir, args...)
	return leaf{filepath.Join(a.dir, file+".crt"), filepath.Join(a.dir, file+".key"), serial}
}

// revoke puts certificates on the list; list writes it.
func (a *authority) revoke(leafs ...leaf) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range leafs {
		a.gone = append(a.gone, l.serial)
	}
}

func (a *authority) list(t *testing.T) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.listOf(t, "ca.crl", a.gone)
}

// listOf writes a list of some certificates only, and returns its path.
func (a *authority) listOf(t *testing.T, file string, serials []int) string {
	t.Helper()
	var index strings.Builder
	for _, serial := range serials {
		fmt.Fprintf(&index, "R\t491231235959Z\t250101000000Z\t%04X\tunknown\t/O=Tests\n", serial)
	}
	if err := os.WriteFile(filepath.Join(a.dir, "index.txt"), []byte(index.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	openssl(t, a.dir, "ca", "-config", "openssl.cnf", "-gencrl", "-crldays", "20", "-keyfile", "ca.key", "-cert", "ca.crt", "-out", file)
	return filepath.Join(a.dir, file)
}

// der is the key in the form that Java's driver reads.
func (l leaf) der(t *testing.T) string {
	t.Helper()
	out := l.key + ".pk8"
	if _, err := os.Stat(out); err != nil {
		openssl(t, filepath.Dir(l.key), "pkcs8", "-topk8", "-nocrypt", "-outform", "DER", "-in", l.key, "-out", out)
	}
	return out
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
