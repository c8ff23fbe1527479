package tlsconf

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// pki are authorities and certificates made by the program openssl, in a directory of the test.
type pki struct {
	t   *testing.T
	dir string
}

func newPKI(t *testing.T) *pki {
	t.Helper()
	needOpenSSL(t)
	return &pki{t: t, dir: t.TempDir()}
}

func (p *pki) path(name string) string { return filepath.Join(p.dir, name) }

func (p *pki) write(name, content string) string {
	p.t.Helper()
	if err := os.WriteFile(p.path(name), []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return p.path(name)
}

// joined writes the contents of files into one.
func (p *pki) joined(name string, files ...string) string {
	p.t.Helper()
	var all []byte
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			p.t.Fatal(err)
		}
		all = append(all, data...)
	}
	return p.write(name, string(all))
}

func (p *pki) openssl(args ...string) []byte {
	p.t.Helper()
	return openssl(p.t, p.dir, args...)
}

func needOpenSSL(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not there: ", err)
	}
}

func openssl(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	needOpenSSL(t)
	var stdout, stderr bytes.Buffer
	cmd := exec.Command("openssl", args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("openssl %q: %v\n%s", args, err, stderr.Bytes())
	}
	return stdout.Bytes()
}

// certificate is a certificate and its key.
type certificate struct{ crt, key string }

// authority is a certificate that issues others.
type authority struct {
	certificate
	p    *pki
	name string
}

const caExtensions = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"

// root makes an authority that issues itself.
func (p *pki) root(name string) *authority {
	p.t.Helper()
	a := &authority{p: p, name: name, certificate: p.request(name, "/CN="+name)}
	p.write(name+".ext", caExtensions)
	p.openssl("x509", "-req", "-in", name+".csr", "-signkey", name+".key", "-days", "30", "-extfile", name+".ext", "-out", name+".crt")
	a.open()
	return a
}

// forger makes a root that bears another authority's name.
func (p *pki) forger(name string) *authority {
	p.t.Helper()
	a := &authority{p: p, name: "forger-" + name, certificate: p.request("forger-"+name, "/CN="+name)}
	p.write(a.name+".ext", caExtensions)
	p.openssl("x509", "-req", "-in", a.name+".csr", "-signkey", a.name+".key", "-days", "3", "-extfile", a.name+".ext", "-out", a.name+".crt")
	a.open()
	return a
}

// request makes a key and a request for a certificate, which is to be written to name.crt.
func (p *pki) request(name, subject string) certificate {
	p.t.Helper()
	p.openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-utf8",
		"-keyout", name+".key", "-out", name+".csr", "-subj", subject)
	return certificate{crt: p.path(name + ".crt"), key: p.path(name + ".key")}
}

// open makes the books of an authority.
func (a *authority) open() {
	a.p.t.Helper()
	n := a.name
	a.p.write(n+".db", "")
	a.p.write(n+".attr", "unique_subject = no\n")
	a.p.write(n+".serial", "1000\n")
	a.p.write(n+".crlnumber", "01\n")
	a.p.write(n+".cnf", fmt.Sprintf(`[ca]
default_ca=d
[d]
database=%[1]s.db
serial=%[1]s.serial
crlnumber=%[1]s.crlnumber
new_certs_dir=.
certificate=%[1]s.crt
private_key=%[1]s.key
default_md=sha256
default_days=20
default_crl_days=20
policy=any
unique_subject=no
crl_extensions=crl
[crl]
authorityKeyIdentifier=keyid
[any]
`, n))
}

// authority makes one that this one has issued.
func (a *authority) authority(name string) *authority {
	a.p.t.Helper()
	b := &authority{p: a.p, name: name, certificate: a.issue(name, "/CN="+name, caExtensions)}
	b.open()
	return b
}

// issue makes a certificate; extensions are lines of an extension file, more arguments go to openssl ca.
func (a *authority) issue(name, subject, extensions string, more ...string) certificate {
	a.p.t.Helper()
	c := a.p.request(name, subject)
	if extensions == "" {
		extensions = "basicConstraints=CA:FALSE\n"
	}
	a.p.write(name+".ext", extensions)
	args := []string{
		"ca", "-batch", "-notext", "-preserveDN", "-utf8", "-config", a.name + ".cnf", "-in", name + ".csr", "-out", name + ".crt",
		"-extfile", name + ".ext",
	}
	a.p.openssl(append(args, more...)...)
	return c
}

func (a *authority) revoke(c certificate) {
	a.p.t.Helper()
	a.p.openssl("ca", "-config", a.name+".cnf", "-revoke", c.crt)
}

// crl writes the list of what is revoked so far.
func (a *authority) crl(name string, more ...string) string {
	a.p.t.Helper()
	a.p.openssl(append([]string{"ca", "-config", a.name + ".cnf", "-gencrl", "-out", name}, more...)...)
	return a.p.path(name)
}

// crlOfVersion1 writes the list as openssl does unless its configuration asks for extensions.
func (a *authority) crlOfVersion1(name string) string {
	a.p.t.Helper()
	cnf := readFile(a.p.t, a.p.path(a.name+".cnf"))
	for _, line := range []string{"crl_extensions=crl\n", "crlnumber=" + a.name + ".crlnumber\n"} {
		if !strings.Contains(cnf, line) {
			a.p.t.Fatalf("no %q in the configuration", line)
		}
		cnf = strings.Replace(cnf, line, "", 1)
	}
	a.p.write(a.name+"-1.cnf", cnf)
	a.p.openssl("ca", "-config", a.name+"-1.cnf", "-gencrl", "-out", name)
	if text := a.p.openssl("crl", "-in", name, "-noout", "-text"); !bytes.Contains(text, []byte("Version 1")) {
		a.p.t.Fatalf("%s", text)
	}
	return a.p.path(name)
}

func parse(t *testing.T, file string) *x509.Certificate {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all, err := certificates(data)
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

// says checks an error against a text, "" for none.
func says(t *testing.T, err error, text string) {
	t.Helper()
	switch {
	case text == "" && err != nil:
		t.Errorf("error: %v", err)
	case text != "" && (err == nil || !strings.Contains(err.Error(), text)):
		t.Errorf("error %v, wanted one with %q", err, text)
	}
}

func readFile(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// opensslVerify asks the program whether a chain (own certificate first) is fine, with all lists looked at.
func opensslVerify(t *testing.T, ca, lists, chain string) bool {
	t.Helper()
	args := []string{"verify", "-CAfile", ca, "-crl_check_all", "-CRLfile", lists, "-untrusted", chain, "-purpose", "sslclient", chain}
	return exec.Command("openssl", args...).Run() == nil
}
