package tlsconf

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"
)

// Keys in all the forms openssl writes, each opened by a command.
func TestKeyForms(t *testing.T) {
	p := newPKI(t)
	p.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-keyout", "rsa.key", "-out", "rsa.crt")
	p.openssl("ecparam", "-name", "secp384r1", "-genkey", "-out", "ec.key") // with a block of parameters before it
	p.openssl("req", "-x509", "-key", "ec.key", "-subj", "/CN=x", "-out", "ec.crt")
	p.openssl("req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=x", "-keyout", "ed.key", "-out", "ed.crt")
	seal := []string{"-passout", "pass:secret word", "-out", "out.key"}
	pkcs8 := func(args ...string) []string { return append([]string{"pkcs8", "-topk8", "-in"}, args...) }
	for _, c := range []struct {
		name, crt string
		make      []string
		want      string
	}{
		{"RSA", "rsa.crt", []string{"rsa", "-traditional", "-in", "rsa.key", "-out", "out.key"}, ""},
		{"RSA, old form, AES", "rsa.crt", append([]string{"rsa", "-traditional", "-aes128", "-in", "rsa.key"}, seal...), ""},
		{"RSA, old form, DES3", "rsa.crt", append([]string{"rsa", "-traditional", "-des3", "-in", "rsa.key"}, seal...), ""},
		{"EC, with parameters", "ec.crt", []string{"ec", "-in", "ec.key", "-out", "out.key"}, ""},
		{"EC, old form, AES", "ec.crt", append([]string{"ec", "-aes256", "-in", "ec.key"}, seal...), ""},
		{"PKCS8", "rsa.crt", pkcs8("rsa.key", "-nocrypt", "-out", "out.key"), ""},
		{"PKCS8, Ed25519", "ed.crt", append(pkcs8("ed.key"), seal...), ""},
		{"PKCS8, AES", "rsa.crt", append(pkcs8("rsa.key", "-v2", "aes-256-cbc"), seal...), ""},
		{"PKCS8, AES and SHA-1", "rsa.crt", append(pkcs8("rsa.key", "-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA1"), seal...), ""},
		{"PKCS8, DES3", "ec.crt", append(pkcs8("ec.key", "-v2", "des3"), seal...), ""},
		{"PKCS8, scrypt", "ec.crt", append(pkcs8("ec.key", "-scrypt"), seal...), ""},
		{"PKCS8, other pass phrase", "ec.crt", pkcs8("ec.key", "-passout", "pass:other", "-out", "out.key"), "the pass phrase does not open it"},
		{
			"old form, other pass phrase", "ec.crt",
			[]string{"ec", "-aes256", "-in", "ec.key", "-passout", "pass:other", "-out", "out.key"},
			"the pass phrase does not open it",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.openssl(c.make...)
			ssl := base(certificate{crt: p.path(c.crt), key: p.path("out.key")})
			ssl.SSLPassphraseCommand = "echo secret word"
			_, _, err := ForClients(&ssl)
			says(t, err, c.want)
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Error("the pass phrase is in the error")
			}
			one := p.joined("one.pem", p.path(c.crt), p.path("out.key"))
			ssl.SSLCert, ssl.SSLKey = one, one
			_, _, err = ForClients(&ssl)
			says(t, err, c.want)
		})
	}
}

// Manual: ssl_passphrase_command.
func TestPhraseCommand(t *testing.T) {
	for _, c := range []struct {
		name, command string
		bound         time.Duration
		want, err     string
	}{
		{"none", "", within, "", errNoPhrase.Error()},
		{"echo", "echo secret", within, "secret", ""},
		{"no line feed", "printf secret", within, "secret", ""},
		{"first line", `printf 'a b \r\nc\n'`, within, "a b ", ""},
		{"prompt", `echo "%p 100%%"`, within, "Who? 100%", ""},
		{"nothing printed", "true", within, "", ""},
		{"fails", "echo secret; exit 3", within, "", "exit status 3"},
		{"no such command", "/nowhere/command 2>/dev/null", within, "", "exit status 127"},
		{"too long", "head -c 5000 /dev/zero | tr '\\0' x", within, "", "too long"},
		{"endless", "yes", 200 * time.Millisecond, "", "has not ended within 200ms"},
		{"silent, with a child", "cat /dev/zero | sleep 1000; true", 200 * time.Millisecond, "", "has not ended within 200ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := phraseCommand{command: c.command, prompt: "Who?", bound: c.bound}.run(context.Background())
			says(t, err, c.err)
			if string(got) != c.want {
				t.Errorf("%q", got)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Error("what was printed is in the error")
			}
		})
	}
}

func TestEncryptedKeyWithoutCommand(t *testing.T) {
	p := newPKI(t)
	c := p.root("root").certificate
	p.openssl("pkcs8", "-topk8", "-in", "root.key", "-passout", "pass:x", "-out", "sealed.key")
	ssl := base(certificate{crt: c.crt, key: p.path("sealed.key")})
	_, _, err := ForClients(&ssl)
	if !errors.Is(err, errNoPhrase) {
		t.Errorf("error %v", err)
	}
}

// Manual: the permissions of ssl_key.
func TestKeyPermissions(t *testing.T) {
	const me, root, other = 1000, 0, 1001
	for _, c := range []struct {
		mode        fs.FileMode
		owner, self int
		fine        bool
	}{
		{0o600, me, me, true},
		{0o400, me, me, true},
		{0o640, me, me, false},
		{0o604, me, me, false},
		{0o600, root, me, true},
		{0o640, root, me, true},
		{0o660, root, me, false},
		{0o644, root, me, false},
		{0o640, root, root, true},
		{0o644, root, root, false},
		{0o600, other, me, false},
		{0o600, other, root, false},
	} {
		if got := keyExposed(c.mode, c.owner, c.self); (got == "") != c.fine {
			t.Errorf("mode %o of %d for %d: %q", c.mode, c.owner, c.self, got)
		}
	}
}

func FuzzOpenKey(f *testing.F) {
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _ = openKey(data, func(context.Context) ([]byte, error) { return nil, errNoPhrase })
	})
}

func FuzzLists(f *testing.F) {
	f.Add([]byte("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"))
	f.Add([]byte{0x30, 0x80})
	f.Fuzz(func(_ *testing.T, data []byte) {
		for _, der := range listsIn(data) {
			_, _ = newList(der, &authorities{})
		}
		_, _ = certificates(data)
	})
}
