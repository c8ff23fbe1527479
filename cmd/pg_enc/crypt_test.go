package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gopgpool/auth"
	"gopgpool/internal/terminal/pty"
)

const testKey = "mysecretkey"

// printed is the entry in what pg_enc prints.
func printed(t *testing.T, r result) string {
	t.Helper()
	_, after, found := strings.Cut(r.stdout, "pool_passwd string: AES")
	if !found || r.status != 0 {
		t.Fatal(r)
	}
	return strings.TrimSpace(after)
}

// What theirs encrypts we decrypt, and what it prints is what we print.
func TestDecryptsPeers(t *testing.T) {
	t.Parallel()
	needPeers(t)
	for _, length := range []int{0, 1, 15, 16, 17, 31, 32, 79, 80, 127, 128} {
		password := strings.Repeat("ü", length/2) + strings.Repeat("x", length%2)
		c := call{args: []string{"pg_enc", "-k", "key", password}}
		text := printed(t, peers.run(t, c))
		if clear, err := auth.NewKey(testKey).Decrypt(text); clear != password || err != nil {
			t.Errorf("%d bytes: %q, %v", length, clear, err)
		}
		if mine := printed(t, ours.run(t, c)); mine != text {
			t.Errorf("%d bytes: %s, want %s", length, mine, text)
		}
	}
}

// Manual, AES256 encryption: OpenSSL's command line reads and writes the same entries.
func TestLikeOpenSSL(t *testing.T) {
	t.Parallel()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not there:", err)
	}
	openssl := func(input string, args ...string) string {
		t.Helper()
		args = append([]string{"enc", "-aes-256-cbc", "-md", "sha1", "-nosalt", "-base64", "-A", "-pass", "pass:" + testKey}, args...)
		cmd := exec.CommandContext(t.Context(), path, args...)
		cmd.Stdin = strings.NewReader(input)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	for _, password := range []string{"", "foo", strings.Repeat("x", 16), strings.Repeat("é", 100), strings.Repeat("z", maxPassword)} {
		text := printed(t, ours.run(t, call{args: []string{"pg_enc", "-K", testKey, password}}))
		if clear := openssl(text, "-d"); clear != password {
			t.Errorf("OpenSSL reads %q as %.50q", password, clear)
		}
		if clear, err := auth.NewKey(testKey).Decrypt(openssl(password)); clear != password || err != nil {
			t.Errorf("OpenSSL's %.50q is %.50q, %v", password, clear, err)
		}
	}
}

// A signal ends the question and leaves the terminal as it was.
func TestSignalInsteadOfAnswer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args, question, typed string
		status                int
	}{
		{"pg_enc -K x", "db password: ", "\x03", 128 + int(syscall.SIGINT)},
		{"pg_md5 -p", "password: ", "sec\x03", 128 + int(syscall.SIGINT)},
		{"pg_enc -P x", "encryption key: ", "sec\x03", 128 + int(syscall.SIGINT)},
	} {
		c := call{args: strings.Fields(tt.args), typed: []answer{{tt.question, tt.typed}}}
		r := ours.run(t, c)
		if r.status != tt.status || r.stdout != tt.question+"\n" || r.seen != "" {
			t.Errorf("%s %q: %v", tt.args, tt.typed, r)
		}
	}
}

// Nothing that was typed is seen on the terminal.
func TestTypedIsNotSeen(t *testing.T) {
	t.Parallel()
	tt := pty.Open(t)
	dir := newDirectory(t, "")
	cmd := ours.command(t, t.Context(), call{args: []string{"pg_md5", "-p"}}, dir)
	tt.Attach(cmd)
	cmd.Stdout, cmd.Stderr = tt.Program, tt.Program
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	tt.Await(t, "password: ")
	tt.Type(t, "sesame\n")
	seen := tt.Await(t, "\n") + tt.Await(t, "\n")
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if want := "\r\nc8dae1c50e092f3d877192fc555b1dcf\r\n"; seen != want {
		t.Errorf("%q, want %q", seen, want)
	}
}

// Whoever may write pool_passwd but not its directory changes it in place.
func TestWithoutRightsOnDirectory(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("not root: no other user can be taken for one without rights")
	}
	const nobody = 65534
	dir := newDirectory(t, "a:1\n")
	path := filepath.Join(dir, "pool_passwd")
	for _, name := range []string{path, filepath.Join(dir, "pgpool.conf")} {
		if err := os.Chown(name, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	for d := dir; strings.HasPrefix(d, os.TempDir()+"/"); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "program")
	self, err := os.Executable()
	if err == nil {
		var data []byte
		if data, err = os.ReadFile(self); err == nil {
			// The place of the test binary may be out of reach. What another test starts meanwhile must not have the file open for writing.
			syscall.ForkLock.RLock()
			err = os.WriteFile(program, data, 0o755)
			syscall.ForkLock.RUnlock()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	c := call{args: []string{"pg_md5", "-m", "-f", "pgpool.conf", "-u", "bob", "secret"}}
	cmd := ours.command(t, t.Context(), c, dir)
	cmd.Path = program
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	after, err := os.Stat(path)
	text, err2 := os.ReadFile(path)
	if err != nil || err2 != nil || !os.SameFile(before, after) || string(text) != "a:1\nbob:md521f3163f8f86fa10bdefbfbd502a8f06\n" {
		t.Errorf("%q, %v, %v", text, err, err2)
	}
}
