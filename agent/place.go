package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// errForeign is a data directory that this process may not act on.
var errForeign = errors.New("belongs to another user")

// place is where a server lives and as whom it runs: the owner of its data directory.
type place struct {
	data   string // without symbolic links, so that it compares with working directories of processes
	beside string // our own directory for it, on the same file system: lock, term, marks, the new copy of a base backup
	owner  owner
}

// owner is the user of a server.
type owner struct {
	uid, gid uint32
	groups   []uint32
	name     string
	home     string
}

// beside names our own directory of a data directory.
func beside(data string) string { return data + ".pgpool" }

// locate finds out about a data directory; it need not exist, but the directory above it must.
func locate(dir string) (place, error) {
	if !filepath.IsAbs(dir) {
		return place{}, fmt.Errorf("data directory %q is no absolute path", dir)
	}
	data, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		var above string
		above, err = filepath.EvalSymlinks(filepath.Dir(filepath.Clean(dir)))
		data = filepath.Join(above, filepath.Base(dir))
	}
	if err != nil {
		return place{}, err
	}
	p := place{data: data, beside: beside(data)}
	if p.owner, err = ownerOf(data); err != nil {
		return p, err
	}
	return p, p.trusted(dir)
}

// trusted refuses, where we are root, a place that a third user could have led us to: by a link that is not root's or the owner's, or by a
// directory above that he could put something else into. In the owner's name programs are run and files removed.
func (p *place) trusted(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, path := range []string{filepath.Clean(dir), p.data, p.beside} {
		if err := p.owner.trusts(path, 0); err != nil {
			return err
		}
	}
	return nil
}

// maxLinks is how many links may follow each other, as in the kernel.
const maxLinks = 40

// trusts walks from a name up to the root, and along each link that it meets. A name that is not there is nobody's.
func (o *owner) trusts(path string, links int) error {
	for ; ; path = filepath.Dir(path) {
		info, err := os.Lstat(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 && st.Uid != o.uid {
				return fmt.Errorf("%s %w than the data directory", path, errForeign)
			}
			if info.Mode()&fs.ModeSymlink != 0 {
				if err := o.trustsLink(path, links); err != nil {
					return err
				}
			}
		}
		if path == filepath.Dir(path) {
			return nil
		}
	}
}

func (o *owner) trustsLink(path string, links int) error {
	if links >= maxLinks {
		return fmt.Errorf("%s: too many links", path)
	}
	to, err := os.Readlink(path)
	if err != nil {
		return err
	}
	if !filepath.IsAbs(to) {
		to = filepath.Join(filepath.Dir(path), to)
	}
	return o.trusts(to, links+1)
}

// ownerOf tells whose server lives in dir, or would: then it is who owns our own directory beside it, or the one above.
func ownerOf(dir string) (owner, error) {
	for _, path := range []string{dir, beside(dir), filepath.Dir(dir)} {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return owner{}, err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		switch {
		case !ok || !info.IsDir():
			return owner{}, fmt.Errorf("%s is no directory", path)
		case st.Uid == 0:
			return owner{}, fmt.Errorf("%s belongs to root, as whom no server runs", path)
		case os.Geteuid() != 0 && st.Uid != uint32(os.Geteuid()):
			return owner{}, fmt.Errorf("%s %w", path, errForeign)
		}
		return lookUp(st.Uid, st.Gid), nil
	}
	return owner{}, fmt.Errorf("%s: %w", filepath.Dir(dir), fs.ErrNotExist)
}

// lookUp completes a user from the account database. One that is not there has no home and no further groups.
func lookUp(uid, gid uint32) owner {
	o := owner{uid: uid, gid: gid, groups: []uint32{gid}, name: strconv.Itoa(int(uid)), home: "/"}
	u, err := user.LookupId(o.name)
	if err != nil {
		return o
	}
	o.name, o.home = u.Username, u.HomeDir
	if id, err := strconv.ParseUint(u.Gid, 10, 32); err == nil {
		o.gid = uint32(id)
	}
	names, err := u.GroupIds()
	if err != nil {
		return o
	}
	o.groups = o.groups[:0]
	for _, name := range names {
		if id, err := strconv.ParseUint(name, 10, 32); err == nil {
			o.groups = append(o.groups, uint32(id))
		}
	}
	return o
}

// credential is what a child needs to run as the owner; nil where we are the owner.
func (o *owner) credential() *syscall.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	return &syscall.Credential{Uid: o.uid, Gid: o.gid, Groups: o.groups}
}

// as runs f, which works on files, with the rights of the owner: root must not be led astray by links in a directory of another user.
func (o *owner) as(f func() error) error {
	if os.Geteuid() != 0 {
		return f()
	}
	done := make(chan error, 1)
	go o.impersonate(f, done)
	return <-done
}

// impersonate takes over the owner's rights on files for one thread, which ends with this goroutine: it is never unlocked.
func (o *owner) impersonate(f func() error, done chan<- error) {
	runtime.LockOSThread()
	err := o.takeOver()
	if err == nil {
		err = f()
	}
	done <- err
}

func (o *owner) takeOver() error {
	groups := o.groups
	if len(groups) == 0 {
		groups = []uint32{o.gid}
	}
	if err := setGroups(groups); err != nil {
		return fmt.Errorf("groups of %s: %w", o.name, err)
	}
	if err := errors.Join(unix.Setfsgid(int(o.gid)), unix.Setfsuid(int(o.uid))); err != nil {
		return fmt.Errorf("rights of %s: %w", o.name, err)
	}
	// The system calls report no failure: ask what is in force (-1 changes nothing).
	if uid, err := unix.SetfsuidRetUid(-1); err != nil || uid != int(o.uid) {
		return fmt.Errorf("cannot take over the rights of %s", o.name)
	}
	return nil
}
