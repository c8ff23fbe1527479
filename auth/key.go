package auth

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// MaxKeyLength is where the pass phrase ends, in bytes, however long its line is; existing AES entries were made so.
const MaxKeyLength = 255

// ErrKeyFileMode is a key file others may read.
var ErrKeyFileMode = errors.New("has group or world access; permissions should be u=rw (0600) or less")

// ErrKeyFileType is a key file that is a directory, a pipe, or the like.
var ErrKeyFileType = errors.New("is not a plain file")

// KeyFilePath is where the pass phrase is looked for: the -k option, else the environment's PGPOOLKEYFILE, else
// .pgpoolkey in home, which is the home directory of the effective user in the password database, not $HOME.
func KeyFilePath(option, environment, home string) string {
	switch {
	case option != "":
		return option
	case environment != "":
		return environment
	}
	return filepath.Join(home, ".pgpoolkey")
}

// LoadKey reads a key file. One that cannot be opened, or is empty, is no key and no error. One that group or others
// may access is refused with [ErrKeyFileMode] unless allowInsecure (allow_insecure_key_file); then key and error are
// both returned, for the caller to warn. Errors name the path.
func LoadKey(path string, allowInsecure bool) (Key, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe is refused, not waited for
	if err != nil {
		return Key{}, nil //nolint:nilerr // the manual's rule: no file, no key
	}
	defer f.Close() // only read
	info, err := f.Stat()
	if err != nil {
		return Key{}, fmt.Errorf("pool key file: %w", err)
	}
	modeErr := CheckKeyFile(info.Mode())
	if modeErr != nil {
		modeErr = fmt.Errorf(`pool key file "%s" %w`, path, modeErr)
		if !allowInsecure || errors.Is(modeErr, ErrKeyFileType) {
			return Key{}, modeErr
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxKeyLength+1))
	if err != nil {
		return Key{}, fmt.Errorf("pool key file: %w", err)
	}
	return ParseKey(data), modeErr
}

// CheckKeyFile judges the type and permissions of a key file.
func CheckKeyFile(mode fs.FileMode) error {
	switch {
	case !mode.IsRegular():
		return ErrKeyFileType
	case mode.Perm()&0o077 != 0:
		return ErrKeyFileMode
	}
	return nil
}

// ParseKey takes the pass phrase out of a key file: its first line, without the line feed but with a carriage return
// if there is one, at most 255 bytes. An empty file is no key, an empty first line the empty pass phrase.
func ParseKey(data []byte) Key {
	if len(data) == 0 {
		return Key{}
	}
	line, _, _ := bytes.Cut(data, []byte{'\n'})
	return NewKey(string(line[:min(len(line), MaxKeyLength)]))
}
