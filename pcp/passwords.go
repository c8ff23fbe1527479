package pcp

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Bounds of pcp.conf.
const (
	maxPasswordFile  = 1 << 20
	maxPasswordField = 128
)

// noDigest stands in for the password of users that do not exist, so that they cost the same work.
const noDigest = "00000000000000000000000000000000"

// admits reports whether a line of pcp.conf for user fits the answer to salt. Every line is looked at, and every comparison takes the
// same time whether it fits or not.
func admits(file, user, answer string, salt [SaltSize]byte) bool {
	found, fits := 0, 0
	for line := range strings.Lines(file) {
		name, stored, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		if !ok || name == "" || line[0] == '#' || name != user || len(name) > maxPasswordField || len(stored) > maxPasswordField {
			continue
		}
		found++
		fits |= subtle.ConstantTimeCompare([]byte(Digest(stored, user, salt)), []byte(answer))
	}
	if found == 0 {
		subtle.ConstantTimeCompare([]byte(Digest(noDigest, user, salt)), []byte(answer))
	}
	return fits == 1
}

var errLongFile = errors.New("it is longer than a megabyte")

// readPasswords reads pcp.conf, which is done at each authentication: a change needs no reload.
func readPasswords(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxPasswordFile+1))
	if err == nil && len(data) > maxPasswordFile {
		err = errLongFile
	}
	return string(data), err
}

// fileError is what the client is told of a pcp.conf that cannot be read.
func fileError(path string, err error) *Error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return fatal("failed to authenticate PCP user", fmt.Sprintf("could not open %s. reason: %v", path, err))
}
