package pgcluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is whom the servers run as. The zero account with a name is the user of this process.
type account struct {
	name       string
	credential *syscall.Credential // nil: no change of user
}

// serverAccount is the current user, unless that is root.
func serverAccount() (account, error) {
	if os.Geteuid() != 0 {
		me, err := user.Current()
		if err != nil {
			return account{}, err
		}
		return account{name: me.Username}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, errU := strconv.ParseUint(u.Uid, 10, 32)
		gid, errG := strconv.ParseUint(u.Gid, 10, 32)
		if errU != nil || errG != nil {
			continue
		}
		return account{name: name, credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
	}
	return account{}, fmt.Errorf("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody")
}

// DefaultAccount is the name of the user a cluster's servers will run as; postgres if that cannot be told.
func DefaultAccount() string {
	a, err := serverAccount()
	if err != nil {
		return "postgres"
	}
	return a.name
}

// own makes path the account's.
func (a account) own(path string) error {
	if a.credential == nil {
		return nil
	}
	return os.Chown(path, int(a.credential.Uid), int(a.credential.Gid))
}

// mkdir creates path, if need be, as a directory of the account.
func (a account) mkdir(path string, mode fs.FileMode) error {
	if err := os.MkdirAll(path, mode); err != nil {
		return err
	}
	if err := os.Chmod(path, mode); err != nil {
		return err
	}
	return a.own(path)
}

// write replaces a file by one of the account, at once: a program that reads it meanwhile finds the one or the other.
func (a account) write(path, text string, mode fs.FileMode) error {
	next, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = next.WriteString(text)
	if err := errors.Join(err, next.Chmod(mode), next.Close(), a.own(next.Name())); err != nil {
		return errors.Join(err, os.Remove(next.Name()))
	}
	return os.Rename(next.Name(), path)
}

// checkReach tells whether the account may pass through every directory above path; a server started below root's home
// would otherwise stop with a message that names nothing.
func (a account) checkReach(path string) error {
	if a.credential == nil {
		return nil
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	for dir := filepath.Dir(abs); dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			continue
		}
		mode := info.Mode().Perm()
		mine := st.Uid == a.credential.Uid && mode&0o100 != 0
		group := st.Gid == a.credential.Gid && mode&0o010 != 0
		if !mine && !group && mode&0o001 == 0 {
			return fmt.Errorf("%s: the servers run as user %s, who may not enter %s", abs, a.name, dir)
		}
	}
	return nil
}
