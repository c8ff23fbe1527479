package hosts

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Places in a host's file tree.
const (
	ownDir      = "/run/hosts"
	stubDir     = ownDir + "/bin"
	programFile = ownDir + "/program" // the test's binary
	callsFile   = ownDir + "/calls"
	loggerFile  = ownDir + "/logger" // what the stand-in for logger was told
	noSSHFile   = ownDir + "/no-ssh" // while it exists, nobody can log in here by ssh
)

// stagingDir is where the new root is put together; it exists on every machine and is covered in the host's namespace only.
const stagingDir = "/tmp"

// Share makes a file or directory of the machine visible on a host, read-only unless it says otherwise.
type Share struct {
	Source, Target string
	Writable       bool // what the host writes there outlives it, and is on a file system of the machine's
}

// plan is what the helper is told when it starts.
type plan struct {
	Name    string
	Program string // the test's binary
	Hosts   string // content of /etc/hosts
	Shares  []Share
	Users   []string // whose homes are made
	Path    []string
}

// rooter builds the file tree of a host in the mount namespace of the calling process, which has it for itself.
type rooter struct {
	plan plan
	open []*os.File // held until the tree stands
}

// pin opens a path of the machine, so that it can be mounted when it is covered already.
func (r *rooter) pin(path string) (source string, isDir bool, err error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", false, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	r.open = append(r.open, f)
	info, err := f.Stat()
	if err != nil {
		return "", false, err
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), info.IsDir(), nil
}

func (r *rooter) close() {
	for _, f := range r.open {
		_ = f.Close() // opened without access
	}
}

// build makes the tree and moves the process there.
func (r *rooter) build() error {
	defer r.close()
	type mount struct {
		source, target string
		isDir          bool
		readOnly       bool
	}
	var mounts []mount
	for _, s := range append([]Share{{Source: r.plan.Program, Target: programFile}}, r.plan.Shares...) {
		source, isDir, err := r.pin(s.Source)
		if err != nil {
			return err
		}
		mounts = append(mounts, mount{source, s.Target, isDir, !s.Writable})
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if err := unix.Mount("tmpfs", stagingDir, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("tmpfs: %w", err)
	}
	for _, step := range []func() error{system, directories, devices, r.etc} {
		if err := step(); err != nil {
			return err
		}
	}
	for _, m := range mounts {
		if err := bind(m.source, stagingDir+m.target, m.isDir, m.readOnly); err != nil {
			return err
		}
	}
	if err := enter(); err != nil {
		return err
	}
	return r.homes()
}

// system shows the machine's programs.
func system() error {
	for _, name := range []string{"usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "opt"} {
		info, err := os.Lstat("/" + name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return err
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink("/" + name)
			if err != nil {
				return err
			}
			if err := os.Symlink(target, filepath.Join(stagingDir, name)); err != nil {
				return err
			}
		default:
			if err := bind("/"+name, filepath.Join(stagingDir, name), true, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// bind mounts source on target, which it creates.
func bind(source, target string, isDir, readOnly bool) error {
	if err := mountPoint(target, isDir); err != nil {
		return err
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return &fs.PathError{Op: "mount", Path: target, Err: err}
	}
	if !readOnly {
		return nil
	}
	if err := unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return &fs.PathError{Op: "mount read-only", Path: target, Err: err}
	}
	return nil
}

func mountPoint(target string, isDir bool) error {
	if isDir {
		return os.MkdirAll(target, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(target, os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

func directories() error {
	for _, d := range []struct {
		name string
		mode fs.FileMode
	}{
		{"proc", 0o755},
		{"sys", 0o755},
		{"dev", 0o755},
		{"dev/shm", 0o777 | fs.ModeSticky},
		{"dev/pts", 0o755},
		{"run", 0o755},
		{"run/lock", 0o777 | fs.ModeSticky},
		{stubDir, 0o755},
		{"tmp", 0o777 | fs.ModeSticky},
		{"home", 0o755},
		{"root", 0o700},
		{"mnt", 0o755},
		{"srv", 0o755},
		{"var/lib", 0o755},
		{"var/log", 0o755},
		{"var/cache", 0o755},
		{"var/spool", 0o755},
		{"var/tmp", 0o777 | fs.ModeSticky},
	} {
		path := filepath.Join(stagingDir, d.name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(path, d.mode); err != nil {
			return err
		}
	}
	for _, name := range stubNames {
		if err := os.Symlink(programFile, filepath.Join(stagingDir, stubDir, name)); err != nil {
			return err
		}
	}
	return os.Symlink("../run", filepath.Join(stagingDir, "var/run"))
}

func devices() error {
	dev := filepath.Join(stagingDir, "dev")
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		if err := bind("/dev/"+name, filepath.Join(dev, name), false, false); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx",
	} {
		if err := os.Symlink(target, filepath.Join(dev, name)); err != nil {
			return err
		}
	}
	if err := unix.Mount("proc", filepath.Join(stagingDir, "proc"), "proc", 0, ""); err != nil {
		return fmt.Errorf("/proc: %w", err)
	}
	// Few programs miss these.
	_ = unix.Mount("sysfs", filepath.Join(stagingDir, "sys"), "sysfs", unix.MS_RDONLY, "")
	_ = unix.Mount("devpts", filepath.Join(dev, "pts"), "devpts", 0, "newinstance,ptmxmode=0666,mode=620")
	return nil
}

// etc copies /etc and puts in the names. There is no name server.
func (r *rooter) etc() error {
	target := filepath.Join(stagingDir, "etc")
	var said bytes.Buffer
	cp := exec.Command("cp", "-a", "/etc", target)
	cp.Stderr = &said
	if err := cp.Run(); err != nil {
		return fmt.Errorf("cp -a /etc: %w: %s", err, strings.TrimSpace(said.String()))
	}
	for name, text := range map[string]string{"hosts": r.plan.Hosts, "hostname": r.plan.Name + "\n", "resolv.conf": ""} {
		path := filepath.Join(target, name)
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// enter makes the tree the root directory and lets go of the machine's.
func enter() error {
	const old = "/.machine"
	if err := os.Mkdir(stagingDir+old, 0o700); err != nil {
		return err
	}
	if err := unix.PivotRoot(stagingDir, stagingDir+old); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Unmount(old, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount the machine's root: %w", err)
	}
	return os.Remove(old)
}

// homes are made for the users that were asked for; and the files that every user may write.
func (r *rooter) homes() error {
	for _, name := range r.plan.Users {
		a, err := lookUpAccount(name)
		if err != nil {
			return err
		}
		if _, err := os.Stat(a.home); err == nil {
			continue
		}
		if err := os.MkdirAll(a.home, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(a.home, 0o700); err != nil {
			return err
		}
		if err := os.Chown(a.home, int(a.uid), int(a.gid)); err != nil {
			return err
		}
	}
	for _, name := range []string{callsFile, loggerFile} {
		if err := os.WriteFile(name, nil, 0o666); err != nil {
			return err
		}
		if err := os.Chmod(name, 0o666); err != nil {
			return err
		}
	}
	return nil
}
