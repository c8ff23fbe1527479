package tlsconf

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"hash"
	"strings"
	"testing"
)

// Names in the form in which the program openssl prints them.
func TestDistinguishedNames(t *testing.T) {
	p := newPKI(t)
	root := p.root("root")
	for i, c := range []struct{ subject, cn string }{
		{"/CN=alice", "alice"},
		{"/C=DE/ST=Bayern/L=München/O=Acme, Inc./OU=R&D/CN=alice", "alice"},
		{"/DC=org/DC=example/UID=4711/CN=Alice Smith", "Alice Smith"},
		{"/O=x/CN=alice+emailAddress=a@example.org", "alice"},
		{`/CN= spaces \/ and #;<>"\\`, ` spaces / and #;<>"\`},
		{"/CN=#first", "#first"},
		{"/CN=first/CN=second", "first"},
		{"/O=nobody", ""},
		{"/serialNumber=7/title=Dr/GN=A/SN=B/description=d/street=s/postalCode=1/CN=z", "z"},
		{"/1.2.3.4=strange/CN=z", "z"},
	} {
		name := "n" + string(rune('a'+i))
		crt := root.issue(name, c.subject, "")
		parsed := parse(t, crt.crt)
		if got := commonName(parsed); got != c.cn {
			t.Errorf("%s: CN %q", c.subject, got)
		}
		out := string(p.openssl("x509", "-in", name+".crt", "-noout", "-subject", "-nameopt", "RFC2253"))
		want := strings.TrimPrefix(strings.TrimSpace(out), "subject=")
		if got := distinguishedName(parsed.RawSubject); got != want {
			t.Errorf("%s: %s, openssl has %s", c.subject, got, want)
		}
	}
}

func TestNamesWithNUL(t *testing.T) {
	c := &x509.Certificate{Subject: pkix.Name{Names: []pkix.AttributeTypeAndValue{
		{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "admin\x00.evil"},
	}}}
	if got := commonName(c); got != "" {
		t.Errorf("CN %q", got)
	}
}

func FuzzDistinguishedName(f *testing.F) {
	f.Add([]byte{0x30, 0})
	f.Add([]byte("\x30\x0f\x31\x0d\x30\x0b\x06\x03\x55\x04\x03\x0c\x04root"))
	f.Add([]byte("\x30\x0f\x31\x0d\x30\x0b\x06\x03\x55\x04\x03\x04\x04root"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, r := range distinguishedName(raw) {
			if r < ' ' || r > '~' {
				t.Errorf("%q is written as it is", r)
			}
		}
	})
}

// RFC 5929, 4.1: the hash of the signature, SHA-256 in place of MD5 and SHA-1.
func TestEndPoint(t *testing.T) {
	p := newPKI(t)
	for _, c := range []struct {
		name string
		key  []string
		sign []string
		hash func() hash.Hash
	}{
		{"rsa-sha1", []string{"rsa:1024"}, []string{"-sha1"}, sha256.New},
		{"rsa-md5", []string{"rsa:1024"}, []string{"-md5"}, sha256.New},
		{"rsa-sha256", []string{"rsa:1024"}, []string{"-sha256"}, sha256.New},
		{"rsa-sha384", []string{"rsa:1024"}, []string{"-sha384"}, sha512.New384},
		{"rsa-sha512", []string{"rsa:2048"}, []string{"-sha512"}, sha512.New},
		{
			"pss-sha384",
			[]string{"rsa:2048"},
			[]string{"-sha384", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:48"},
			sha512.New384,
		},
		{"ec-sha1", []string{"ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"}, []string{"-sha1"}, sha256.New},
		{"ec-sha384", []string{"ec", "-pkeyopt", "ec_paramgen_curve:secp384r1"}, []string{"-sha384"}, sha512.New384},
		{"ec-sha512", []string{"ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"}, []string{"-sha512"}, sha512.New},
		{"ed25519", []string{"ed25519"}, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"req", "-x509", "-nodes", "-subj", "/CN=x", "-keyout", "k", "-out", "c", "-newkey"}, c.key...)
			p.openssl(append(args, c.sign...)...)
			cert := parse(t, p.path("c"))
			var want []byte
			if c.hash != nil {
				h := c.hash()
				_, _ = h.Write(cert.Raw)
				want = h.Sum(nil)
			}
			if got := EndPoint(cert); !bytes.Equal(got, want) {
				t.Errorf("%v: %x, not %x", cert.SignatureAlgorithm, got, want)
			}
		})
	}
}
