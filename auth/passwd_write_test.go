package auth

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func TestUpdatePasswordsOfSeveralUsers(t *testing.T) {
	before := "b:1\nsc:SCRAM-SHA-256$4096:a$b:c\nb:2\nz:TEXTa\\:b:more\r\nlast:x"
	got := string(UpdatePasswords([]byte(before), PasswordLine{"n", "1"}, PasswordLine{"b", "new"}, PasswordLine{"n", "2"}, PasswordLine{"m", "3"}))
	want := "b:new\nsc:SCRAM-SHA-256$4096:a$b:c\nb:2\nz:TEXTa\\:b:more\r\nlast:x\nn:2\nm:3\n"
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := string(UpdatePasswords([]byte("last:x"))); got != "last:x" {
		t.Errorf("nothing to write makes %q", got)
	}
}

// A verifier is written as it stands in pg_authid, and its colons are not those of fields.
func TestVerifierInPasswords(t *testing.T) {
	for line, want := range map[string]string{
		"SCRAM-SHA-256$4096:c2FsdA==$c3Q=:c2s=":           "SCRAM-SHA-256$4096:c2FsdA==$c3Q=:c2s=",
		"SCRAM-SHA-256$4096:c2FsdA==$c3Q=:c2s=:user:pw":   "SCRAM-SHA-256$4096:c2FsdA==$c3Q=:c2s=",
		`SCRAM-SHA-256$4096\:c2FsdA==$c3Q=\:c2s=:user:pw`: "SCRAM-SHA-256$4096:c2FsdA==$c3Q=:c2s=",
		"SCRAM-SHA-256$4096":                              "SCRAM-SHA-256$4096",
		"TEXTSCRAM-SHA-256$4096:x":                        "TEXTSCRAM-SHA-256$4096",
		`TEXT\SCRAM-SHA-256$:x`:                           "TEXTSCRAM-SHA-256$",
	} {
		user, password, problem := splitPasswordLine("u:" + line)
		if user != "u" || password != want || problem != "" {
			t.Errorf("%s: %q %q %q", line, user, password, problem)
		}
	}
}

// A line pasted from pg_authid lets its user in, also after another line was written.
func TestVerifierServes(t *testing.T) {
	hash := base64.StdEncoding.EncodeToString(make([]byte, 32))
	line := "u:SCRAM-SHA-256$4096:MDEyMzQ1Njc4OWFiY2RlZg==$" + hash + ":" + hash + "\n"
	data := UpdatePasswords([]byte(line), PasswordLine{"v", "TEXTx"})
	if !strings.HasPrefix(string(data), line) {
		t.Errorf("%q", data)
	}
	p, notices := ParsePasswords("pool_passwd", data, Key{})
	if e := p.Lookup("u"); !e.CanSCRAM() || len(notices) > 0 {
		t.Errorf("%v, %v", e, notices)
	}
}

func TestStorePasswords(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "pool_passwd")
	store := func(path string, wantCreated bool, lines ...PasswordLine) {
		t.Helper()
		if created, err := StorePasswords(path, lines...); created != wantCreated || err != nil {
			t.Errorf("created %t, %v", created, err)
		}
	}
	check := func(text string, mode fs.FileMode) fs.FileInfo {
		t.Helper()
		data, err := os.ReadFile(path)
		info, err2 := os.Lstat(path)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		if string(data) != text || info.Mode() != mode {
			t.Errorf("%v %q, want %v %q", info.Mode(), data, mode, text)
		}
		return info
	}
	store(path, true, PasswordLine{"u", "TEXTx"})
	first := check("u:TEXTx\n", 0o600)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("pool_passwd", link); err != nil {
		t.Fatal(err)
	}
	store(link, false, PasswordLine{"u", "TEXTy"}, PasswordLine{"v", "z"})
	if os.SameFile(first, check("u:TEXTy\nv:z\n", 0o640)) {
		t.Error("the file was changed in place")
	}
	if info, err := os.Lstat(link); err != nil || info.Mode().Type() != fs.ModeSymlink {
		t.Errorf("the link is %v, %v", info, err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(path, 1, 2); err != nil {
			t.Fatal(err)
		}
		store(path, false, PasswordLine{"u", "TEXTz"})
		if st, ok := check("u:TEXTz\nv:z\n", 0o640).Sys().(*syscall.Stat_t); !ok || st.Uid != 1 || st.Gid != 2 {
			t.Errorf("owner %+v", st)
		}
	} else {
		t.Log("not root: no change of owners")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("%v is left, %v", entries, err)
	}
}

func TestStorePasswordsRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "pool_passwd")
	for name, line := range map[string]PasswordLine{
		"no user": {"", "x"}, "another line": {"u", "x\nroot:TEXTx"}, "name of two lines": {"u\nv", "x"}, "zero": {"u", "\x00"},
	} {
		if _, err := StorePasswords(path, PasswordLine{"fine", "x"}, line); !errors.Is(err, ErrPasswordLine) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a part was written")
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "dangling")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"dangling", "none/pool_passwd", "."} {
		if _, err := StorePasswords(filepath.Join(dir, name), PasswordLine{"u", "x"}); err == nil {
			t.Errorf("%s is written", name)
		}
	}
}

// Whoever may write the file but not the directory changes it in place.
func TestOverwrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pool_passwd")
	if err := os.WriteFile(path, []byte("u:"+strings.Repeat("x", 100)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := overwrite(path, []byte("u:y\n")); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(path)
	data, err2 := os.ReadFile(path)
	if err != nil || err2 != nil || string(data) != "u:y\n" || !os.SameFile(before, after) {
		t.Errorf("%q, %v %v", data, err, err2)
	}
}

// A key file, or what its name leads to, is never waited for.
func TestLoadKeyOfPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadKey(path, true); !errors.Is(err, ErrKeyFileType) {
		t.Errorf("%v", err)
	}
}

// Programs that write at once lose nothing, and a reader sees whole files only.
func TestStorePasswordsAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pool_passwd")
	if err := os.WriteFile(path, []byte("first:x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const writers, each = 4, 10
	var wait sync.WaitGroup
	errs := make([]error, writers)
	write := func(w int) {
		defer wait.Done()
		for i := range each {
			_, err := StorePasswords(path, PasswordLine{fmt.Sprintf("u%d-%d", w, i), "TEXTx"})
			errs[w] = errors.Join(errs[w], err)
		}
	}
	wait.Add(writers)
	for w := range writers {
		go write(w)
	}
	for last := 0; last < 1+writers*each; {
		p, notices, err := LoadPasswords(path, Key{})
		if err != nil || len(notices) > 0 || p.Len() < last {
			t.Errorf("%d users after %d, %v %v", p.Len(), last, notices, err)
			break
		}
		last = p.Len()
		if err := errors.Join(t.Context().Err()); err != nil {
			t.Fatal(err)
		}
	}
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}

func TestPasswordNotices(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pool_passwd")
	for _, tt := range []struct {
		text string
		mode fs.FileMode
		want string
	}{
		{"", 0o644, ""},
		{"u:TEXTx\n", 0o640, ""},
		{"u:TEXTx\n", 0o644, "can be read or written by everybody; its mode should be 0600 or 0640 (file "},
		{"u:SCRAM-SHA-256$4096:nothing\n", 0o600, "not a SCRAM verifier as PostgreSQL stores it (line 1 of"},
		{"u:x\nv:AEShSltKZkF9x25a89JlEFPeA==\n", 0o600, "unable to decrypt password from pool_passwd: verify the valid pool_key exists (line 2 of"},
	} {
		if err := os.WriteFile(path, []byte(tt.text), tt.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, tt.mode); err != nil {
			t.Fatal(err)
		}
		_, notices, err := LoadPasswords(path, Key{})
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		for _, n := range notices {
			text += n.String()
		}
		if (text == "") != (tt.want == "") || !strings.Contains(text, tt.want) {
			t.Errorf("%v %q: %q", tt.mode, tt.text, text)
		}
	}
}

// An entry of the same length, written in the same instant, into the same file, is seen.
func TestPasswordFileChangedAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pool_passwd")
	write := func(text string) fs.FileInfo {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	var first fs.FileInfo
	var f *PasswordFile
	for try := 0; f == nil || f.loaded.Load().settled; try++ { // if so, the machine was busy: it was read long after it was written
		if try == 100 {
			t.Fatal("what was written just now is taken for old")
		}
		first = write("u:TEXTone\n")
		var err error
		if f, _, err = OpenPasswordFile(path, Key{}); err != nil {
			t.Fatal(err)
		}
	}
	write("u:TEXTtwo\n")
	if err := os.Chtimes(path, first.ModTime(), first.ModTime()); err != nil {
		t.Fatal(err)
	}
	p, err := f.Current()
	if clear, _ := p.Lookup("u").Clear(); clear != "two" || err != nil {
		t.Errorf("%q %v", clear, err)
	}
}
