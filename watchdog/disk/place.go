package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// prepare makes the directory, and checks that it is ours and lasts.
func prepare(dir string, force bool) error {
	if !force {
		if err := lasts(dir); err != nil {
			return fmt.Errorf("%w; set wd_state_directory to a directory on a disk", err)
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("%w; set wd_state_directory to a directory that this user may write", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	return mine(info)
}

// Check tells, without making anything, why Open would find no place for its store.
func Check(dir string, force bool) error {
	dir, err := filepath.Abs(dir)
	if err == nil && !force {
		err = lasts(dir)
	}
	if err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err == nil {
		return mine(info)
	}
	there, err := nearest(dir)
	if err != nil {
		return err
	}
	if err := unix.Faccessat(unix.AT_FDCWD, there, unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return fmt.Errorf("it cannot be made: %w", &fs.PathError{Op: "mkdir", Path: there, Err: err})
	}
	return nil
}

// mine checks that nobody else can change what a directory holds.
func mine(info fs.FileInfo) error {
	owner := info.Sys().(*syscall.Stat_t).Uid
	if euid := os.Geteuid(); int(owner) != euid {
		return fmt.Errorf("it belongs to user %d, and this is user %d", owner, euid)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("others may write there (mode %04o); it should have mode 0700", info.Mode().Perm())
	}
	return nil
}

// lasts refuses memory and /tmp, which is emptied at boot or by age.
func lasts(dir string) error {
	there, err := nearest(dir)
	if err != nil {
		return err
	}
	if there == "/tmp" || strings.HasPrefix(there, "/tmp/") {
		return fmt.Errorf("%w: it is below /tmp", ErrVolatile)
	}
	var fsys unix.Statfs_t
	if err := unix.Statfs(there, &fsys); err != nil {
		return &fs.PathError{Op: "statfs", Path: there, Err: err}
	}
	switch fsys.Type {
	case unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		return fmt.Errorf("%w: it is in memory (tmpfs)", ErrVolatile)
	}
	return nil
}

// nearest is the directory itself or the one above it that exists, without symbolic links.
func nearest(dir string) (string, error) {
	for {
		there, err := filepath.EvalSymlinks(dir)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			return there, err
		}
		dir = filepath.Dir(dir)
	}
}
