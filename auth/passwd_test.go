package auth

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseEntry(t *testing.T) {
	key := NewKey("mysecretkey")
	md5 := MD5Hash("secret", testUser)
	long := strings.Repeat("x", 500)
	longAES, err := key.Encrypt(long)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		field                 string
		kind                  EntryKind
		clear                 string
		password, md5s, scram bool
	}{
		{"TEXTsecret", EntryPlain, "secret", true, true, true},
		{"TEXTTEXT", EntryPlain, "TEXT", true, true, true},
		{"textsecret", EntryPlain, "textsecret", true, true, true},
		{"secret", EntryPlain, "secret", true, true, true},
		{"AEShSltKZkF9x25a89JlEFPeA==", EntryAES, "foo", true, true, true},
		{"AES" + longAES, EntryAES, long, true, true, true},
		{"AESrubbish", EntryAES, "", false, false, false},
		{"AES", EntryAES, "", false, false, false},
		{"aesx", EntryPlain, "aesx", true, true, true},
		{md5, EntryMD5, "", true, true, false},
		{md5 + "0", EntryPlain, md5 + "0", true, true, true},
		{"md5", EntryPlain, "md5", true, true, true},
		{"SCRAM-SHA-256$4096:abc", EntrySCRAM, "", false, false, false},
		{"SCRAM-SHA-256", EntryPlain, "SCRAM-SHA-256", true, true, true},
		{"TEXTSCRAM-SHA-256$x", EntryPlain, "SCRAM-SHA-256$x", true, true, true},
		{"TEXT", EntryPlain, "", false, false, false},
		{"", EntryPlain, "", false, false, false},
	}
	for _, tt := range tests {
		e := ParseEntry(tt.field, key)
		clear, ok := e.Clear()
		if e.Kind() != tt.kind || clear != tt.clear || ok != (tt.clear != "") || !e.Present() {
			t.Errorf("%.40q: %v, %d bytes in clear", tt.field, e, len(clear))
		}
		if e.CanCleartext() != tt.password || e.CanMD5() != tt.md5s || e.CanSCRAM() != tt.scram {
			t.Errorf("%.40q: usable for password %t, md5 %t, SCRAM %t", tt.field, e.CanCleartext(), e.CanMD5(), e.CanSCRAM())
		}
		if e.Serves(ServerPassword) != tt.scram || e.Serves(ServerMD5) != tt.md5s || e.Serves(ServerSCRAM) != tt.scram {
			t.Errorf("%.40q: serves the wrong servers", tt.field)
		}
	}
	if e := (Entry{}); e.Present() || e.CanMD5() || e.CanSCRAM() || e.CanCleartext() {
		t.Error("no entry is of use")
	}
	if !ParseEntry("AEShSltKZkF9x25a89JlEFPeA==", Key{}).Undecryptable() {
		t.Error("decrypted without a key")
	}
}

func TestParsePasswords(t *testing.T) {
	text := strings.Join([]string{
		"alice:TEXTone",
		"alice:TEXTtwo",
		"",
		`we\:ird\\:TEXTa\:b\\c\d`,
		"crlf:TEXTpass\r",
		`quotedcr:TEXTpass\` + "\r",
		"fields:TEXTpass:backend:TEXTother",
		"#comment:TEXTx",
		" blank : x ",
		"nocolon",
		":nouser",
		"zero:TEXTa\x00b",
		"end:\\",
		"long:TEXT" + strings.Repeat("y", 3000),
		"last:TEXTnonewline",
	}, "\n")
	p, notices := ParsePasswords("pool_passwd", []byte(text), Key{})
	want := map[string]string{
		"alice": "one", `we:ird\`: `a:b\cd`, "crlf": "pass", "quotedcr": "pass\r", "fields": "pass", "#comment": "x",
		" blank ": " x ", "end": `\`, "long": strings.Repeat("y", 3000), "last": "nonewline",
	}
	for user, password := range want {
		if clear, _ := p.Lookup(user).Clear(); clear != password {
			t.Errorf("%q: %q, want %q", user, clear, password)
		}
	}
	if p.Len() != len(want) {
		t.Errorf("%d users, want %d", p.Len(), len(want))
	}
	if p.Lookup("nobody").Present() || (*Passwords)(nil).Lookup("x").Present() {
		t.Error("unknown user has an entry")
	}
	var lines []int
	for _, n := range notices {
		lines = append(lines, n.Line)
	}
	if len(lines) != 3 || lines[0] != 10 || lines[1] != 11 || lines[2] != 12 {
		t.Errorf("notices %v", notices)
	}
}

func TestUpdatePasswords(t *testing.T) {
	tests := []struct{ before, user, entry, want string }{
		{"", "u", "x", "u:x\n"},
		{"a:1\nu:2\nu:3\nb:4\n", "u", "x", "a:1\nu:x\nu:3\nb:4\n"},
		{"a:1", "u", "x", "a:1\nu:x\n"},
		{"u:1", "u", "x", "u:x\n"},
		{"garbage\r\nu\\::1\r\n", "u:", "x", "garbage\r\nu\\::x\n"},
		{"a:1\n\n", "u", `b:\`, "a:1\n\nu:b\\:\\\\\n"},
	}
	for _, tt := range tests {
		got := string(UpdatePasswords([]byte(tt.before), PasswordLine{tt.user, tt.entry}))
		if got != tt.want {
			t.Errorf("%q: %q, want %q", tt.before, got, tt.want)
		}
		p, _ := ParsePasswords("", []byte(got), Key{})
		if clear, _ := p.Lookup(tt.user).Clear(); clear != tt.entry {
			t.Errorf("%q: reads back as %q", tt.before, clear)
		}
	}
}

func TestPasswordFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pool_passwd")
	if _, _, err := OpenPasswordFile(path, Key{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("u:TEXTone\nbad\n")
	f, notices, err := OpenPasswordFile(path, Key{})
	if err != nil || len(notices) != 1 {
		t.Fatal(notices, err)
	}
	check := func(want string) {
		t.Helper()
		p, err := f.Current()
		if clear, _ := p.Lookup("u").Clear(); clear != want || err != nil {
			t.Errorf("%q %v, want %q", clear, err, want)
		}
	}
	check("one")
	old, _ := f.Current()
	write("u:TEXTthree\n")
	check("three")
	if clear, _ := old.Lookup("u").Clear(); clear != "one" {
		t.Error("an old snapshot changed")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if p, err := f.Current(); err == nil || !p.Lookup("u").Present() {
		t.Errorf("file gone: %v, entry %v", err, p.Lookup("u"))
	}
	if _, err := f.Reload(); err == nil {
		t.Error("reload of a missing file passes")
	}
	write("u:TEXTfour\n")
	check("four")

	off, _, err := OpenPasswordFile("", Key{})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := off.Current(); err != nil || p.Len() != 0 {
		t.Errorf("switched off: %v", err)
	}
}

func TestAESVector(t *testing.T) {
	key := NewKey("mysecretkey")
	if got, err := key.Encrypt("foo"); err != nil || got != "hSltKZkF9x25a89JlEFPeA==" {
		t.Errorf("%q %v", got, err)
	}
	k, iv := key.derive()
	if want := "17f8341226dbfd4f2ef424c64a475f1bb2e7c9b09c34303e0334d26a4e71292d"; hexString(k) != want {
		t.Errorf("key %x", k)
	}
	if want := "5b519a6381743b1333a469c4b96463fb"; hexString(iv) != want {
		t.Errorf("iv %x", iv)
	}
	for _, password := range []string{"", "x", strings.Repeat("y", 15), strings.Repeat("z", 16), strings.Repeat("ä", 100)} {
		text, err := key.Encrypt(password)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := key.Decrypt(text); err != nil || back != password {
			t.Errorf("%q becomes %q, %v", password, back, err)
		}
	}
}

func TestDecryptRefuses(t *testing.T) {
	key := NewKey("mysecretkey")
	for name, text := range map[string]string{
		"empty": "", "no base64": "!", "half a block": "aGFsbG8=", "zero block": "AAAAAAAAAAAAAAAAAAAAAA==",
	} {
		if _, err := key.Decrypt(text); !errors.Is(err, ErrDecrypt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, other := range map[string]Key{"no key": {}, "other key": NewKey("other"), "empty key": NewKey("")} {
		if _, err := other.Decrypt("hSltKZkF9x25a89JlEFPeA=="); !errors.Is(err, ErrDecrypt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (Key{}).Encrypt("x"); !errors.Is(err, ErrDecrypt) {
		t.Errorf("encrypts without a key: %v", err)
	}
}

func TestKeyFilePath(t *testing.T) {
	for _, tt := range []struct{ option, env, want string }{
		{"/o", "/e", "/o"}, {"", "/e", "/e"}, {"", "", "/home/u/.pgpoolkey"},
	} {
		if got := KeyFilePath(tt.option, tt.env, "/home/u"); got != tt.want {
			t.Errorf("%+v: %s", tt, got)
		}
	}
}

func TestParseKey(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 300)
	for _, tt := range []struct {
		data []byte
		want Key
	}{
		{nil, Key{}},
		{[]byte("\n"), NewKey("")},
		{[]byte("a\nb\n"), NewKey("a")},
		{[]byte("a"), NewKey("a")},
		{[]byte("a\r\n"), NewKey("a\r")},
		{long, NewKey(string(long[:255]))},
	} {
		if got := ParseKey(tt.data); got != tt.want {
			t.Errorf("%.20q: another key", tt.data)
		}
	}
}

func TestLoadKey(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	if err := os.WriteFile(path, []byte("mysecretkey\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := NewKey("mysecretkey")
	for _, tt := range []struct {
		mode     fs.FileMode
		insecure bool
		key      Key
		err      error
	}{
		{0o600, false, want, nil},
		{0o400, false, want, nil},
		{0o640, false, Key{}, ErrKeyFileMode},
		{0o604, false, Key{}, ErrKeyFileMode},
		{0o644, true, want, ErrKeyFileMode},
	} {
		if err := os.Chmod(path, tt.mode); err != nil {
			t.Fatal(err)
		}
		key, err := LoadKey(path, tt.insecure)
		if key != tt.key || !errors.Is(err, tt.err) {
			t.Errorf("%o, insecure %t: known %t, %v", tt.mode, tt.insecure, key.Known(), err)
		}
		if err != nil && !strings.Contains(err.Error(), path) {
			t.Errorf("%v does not name the file", err)
		}
	}
	if key, err := LoadKey(filepath.Join(dir, "none"), false); key.Known() || err != nil {
		t.Errorf("missing file: %t %v", key.Known(), err)
	}
	if _, err := LoadKey(dir, true); !errors.Is(err, ErrKeyFileType) {
		t.Errorf("directory: %v", err)
	}
}
