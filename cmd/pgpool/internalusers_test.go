package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gopgpool/auth"
)

// Manual: the parameter first, by its prefix; where it is empty, the entry of pool_passwd; none is an empty password.
func TestInternalPasswords(t *testing.T) {
	key := auth.NewKey("key")
	sealed, err := key.Encrypt("sealed")
	if err != nil {
		t.Fatal(err)
	}
	md5 := auth.MD5Hash("x", "u")
	path := filepath.Join(t.TempDir(), "pool_passwd")
	lines := []string{"plain:TEXTfrom file", "sealed:AES" + sealed, "hashed:" + md5, "foreign:AESAAAA", ""}
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	file, _, err := auth.OpenPasswordFile(path, key)
	if err != nil {
		t.Fatal(err)
	}
	hashed := hashedError{}
	for _, c := range []struct {
		user, param string
		want        string
		err         error
	}{
		{"plain", "", "from file", nil},
		{"sealed", "", "sealed", nil},
		{"hashed", "", "", hashed},
		{"foreign", "", "", errUndecryptable},
		{"nobody", "", "", nil},
		{"plain", "given", "given", nil},
		{"plain", "TEXTgiven", "given", nil},
		{"plain", "AES" + sealed, "sealed", nil},
		{"plain", "AESAAAA", "", errUndecryptable},
		{"plain", md5, "", hashed},
		{"plain", "TEXT" + md5, md5, nil},
		{"plain", "TEXT", "", nil},
		{"plain", "md5", "md5", nil}, // too short for a hash
	} {
		got, err := (&parts{passwords: file, key: key}).internalPassword(c.user, c.param)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("user %s, parameter %q: %q, %v", c.user, c.param, got, err)
		}
	}
	if got, err := (&parts{}).internalPassword("u", ""); got != "" || err != nil {
		t.Errorf("without pool_passwd: %q, %v", got, err)
	}
}
