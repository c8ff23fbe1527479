package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"gopgpool/auth"
	"gopgpool/logging"
)

// loginSecretFile, in work_dir, holds what makes up the salts of users who have none of their own. It outlives the process: a salt that
// changes at each start would tell that its user does not exist. Pgpools that clients can compare should have copies of one file.
const loginSecretFile = "pgpool_login_secret"

// loginSecret reads the file, or makes it. Without it the process draws a secret of its own.
func (p *parts) loginSecret(workDir string) auth.Random {
	path := filepath.Join(workDir, loginSecretFile)
	secret, err := readLoginSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		secret = auth.NewRandom()
		err = writeLoginSecret(path, secret)
	}
	if err != nil {
		p.log.Log(logging.Event{
			Severity: logging.Warning, Message: "salts of unknown users will be others after the next start", Detail: err.Error(),
			Hint: "Remove the file, or make work_dir a directory that pgpool can write to.",
		})
		return auth.NewRandom()
	}
	return secret
}

// readLoginSecret takes only a file that nobody else can have written or read.
func readLoginSecret(path string) (secret auth.Random, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return secret, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return secret, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular(), !ok, info.Mode().Perm()&0o077 != 0, st.Uid != uint32(os.Geteuid()):
		return secret, fmt.Errorf("%s is not ours alone", path)
	case info.Size() != int64(len(secret)):
		return secret, fmt.Errorf("%s has %d bytes instead of %d", path, info.Size(), len(secret))
	}
	_, err = f.Read(secret[:])
	return secret, err
}

func writeLoginSecret(path string, secret auth.Random) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(secret[:])
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		_ = os.Remove(path) // half a secret is none
	}
	return err
}
