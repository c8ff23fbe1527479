package auth

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// PasswordLine is a line to be written to pool_passwd: a user and the form in which the password is kept.
type PasswordLine struct{ User, Entry string }

// GoString keeps the password out of %#v.
func (l PasswordLine) GoString() string { return "auth.PasswordLine(" + l.User + ")" }

func (l PasswordLine) String() string { return "line of " + l.User }

// ErrPasswordLine is a line that the file cannot hold: without a user, or of more than one line.
var ErrPasswordLine = errors.New("a user name must not be empty, and neither name nor password may contain a line feed or a zero byte")

var errNotPlain = errors.New("not a plain file")

func (l PasswordLine) check() error {
	if l.User == "" || strings.ContainsAny(l.User+l.Entry, "\n\x00") {
		return ErrPasswordLine
	}
	return nil
}

func (l PasswordLine) text() string {
	return quotePasswordField(l.User) + ":" + quotePasswordField(l.Entry) + "\n"
}

func quotePasswordField(s string) string {
	return strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(s)
}

// UpdatePasswords gives pool_passwd with the lines' users replaced in place, or appended: the rule of pg_md5 -m and pg_enc -m. The
// first line of a user is replaced, of several new ones for one user the last counts. Other lines stay byte for byte, but a last line
// without its end gets one.
func UpdatePasswords(data []byte, lines ...PasswordLine) []byte {
	open := make(map[string]PasswordLine, len(lines)) // not yet written
	for _, l := range lines {
		open[l.User] = l
	}
	var out []byte
	for old := range strings.SplitAfterSeq(string(data), "\n") {
		name, _, more := passwordField(trimCR(strings.TrimSuffix(old, "\n")))
		if l, ok := open[name]; ok && more {
			out = append(out, l.text()...)
			delete(open, name)
			continue
		}
		out = append(out, old...)
	}
	if len(out) > 0 && out[len(out)-1] != '\n' && len(open) > 0 {
		out = append(out, '\n')
	}
	for _, l := range lines {
		if last, ok := open[l.User]; ok {
			out = append(out, last.text()...)
			delete(open, l.User)
		}
	}
	return out
}

// StorePasswords writes lines to pool_passwd as [UpdatePasswords] does, all or none of them; a file that is missing is created with
// mode 0600, which created tells. Readers see the old file or the new one, never half of one, and programs that do this at once wait
// for each other. Owner, group and mode stay; where path is a symbolic link, its target is replaced.
//
// Whoever may write the file but not its directory, or not give it back to its owner, changes it in place.
func StorePasswords(path string, lines ...PasswordLine) (created bool, err error) {
	for _, l := range lines {
		if err := l.check(); err != nil {
			return false, fmt.Errorf("user %q: %w", l.User, err)
		}
	}
	target, err := linkTarget(path)
	if err != nil {
		return false, fmt.Errorf("pool_passwd: %w", err)
	}
	unlock, err := lockDirectory(filepath.Dir(target))
	if err != nil {
		return false, fmt.Errorf("pool_passwd: %w", err)
	}
	defer unlock()
	created, err = rewrite(target, lines)
	if err != nil {
		return false, fmt.Errorf("pool_passwd: %w", err)
	}
	return created, nil
}

// linkTarget is the file that path means; a link to nothing is an error.
func linkTarget(path string) (string, error) {
	target, err := filepath.EvalSymlinks(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return target, err
	}
	if _, lerr := os.Lstat(path); lerr == nil {
		return "", err
	}
	return path, nil
}

// lockDirectory keeps others that write there out. The directory bears the lock, not the file: that one is replaced.
func lockDirectory(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(&fs.PathError{Op: "lock", Path: dir, Err: err}, f.Close())
	}
	return func() { _ = f.Close() }, nil // which gives up the lock
}

func rewrite(path string, lines []PasswordLine) (created bool, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, replace(path, nil, UpdatePasswords(nil, lines...))
	case err != nil:
		return false, err
	case !info.Mode().IsRegular():
		return false, &fs.PathError{Op: "write", Path: path, Err: errNotPlain}
	}
	old, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	data := UpdatePasswords(old, lines...)
	err = replace(path, info, data)
	if errors.Is(err, fs.ErrPermission) {
		err = overwrite(path, data)
	}
	return false, err
}

// replace puts a new file in the place of the one that like describes, nil: of none.
func replace(path string, like fs.FileInfo, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err == nil && like != nil {
		err = takeAfter(f, like)
	}
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}

// takeAfter gives a file another one's owner, group and mode. The owner comes first: a change of it takes modes away.
func takeAfter(f *os.File, like fs.FileInfo) error {
	mine, err := f.Stat()
	if err != nil {
		return err
	}
	want, ok := like.Sys().(*syscall.Stat_t)
	have, ok2 := mine.Sys().(*syscall.Stat_t)
	if ok && ok2 && (want.Uid != have.Uid || want.Gid != have.Gid) {
		if err := f.Chown(int(want.Uid), int(want.Gid)); err != nil {
			return err
		}
	}
	return f.Chmod(like.Mode())
}

// overwrite changes a file in place: first the bytes, then the length.
func overwrite(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Truncate(int64(len(data)))
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
