package main

import (
	"os"
	"path/filepath"
	"testing"

	"gopgpool/auth"
)

func TestLoginSecret(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, loginSecretFile)
	p := &parts{}
	first := p.loginSecret(dir)
	if first == (auth.Random{}) || p.loginSecret(dir) != first {
		t.Error("the secret does not outlive the process")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	for name, spoil := range map[string]func() error{
		"readable by others": func() error { return os.Chmod(path, 0o640) },
		"cut short":          func() error { return os.Truncate(path, 3) },
		"a link":             func() error { return os.Rename(path, path+"x") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path = filepath.Join(dir, loginSecretFile)
			made := p.loginSecret(dir)
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			if name == "a link" {
				if err := os.Symlink(path+"x", path); err != nil {
					t.Fatal(err)
				}
			}
			if p.loginSecret(dir) == made {
				t.Error("taken all the same")
			}
		})
	}
}
