package authparts

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// PAM is a service of Linux-PAM with users of its own, made for one test. The service asks one hidden question, the password.
//
//	host all all all pam pamservice=<Service>
type PAM struct {
	Service string // the name of a file in /etc/pam.d, removed with the test
	dir     string
}

const servicesDir = "/etc/pam.d"

// The password comes on standard input, ended by a zero byte. A user who is to hang is answered when there is a line in the pipe.
const pamScript = `#!/bin/sh
dir=${0%/*}
case $PAM_TYPE in
auth)
	given=$(tr -d '\000')
	echo "$PAM_USER rhost=$PAM_RHOST" >>"$dir/seen"
	[ ! -p "$dir/hang.$PAM_USER" ] || read -r _ <"$dir/hang.$PAM_USER"
	[ -f "$dir/user.$PAM_USER" ] && [ "$given" = "$(cat "$dir/user.$PAM_USER")" ]
	;;
account) [ ! -e "$dir/expired.$PAM_USER" ] ;;
*) false ;;
esac
`

// NewPAM makes a service without users. Where that cannot be (no root, no pam_exec.so) the test is skipped, or fails if
// [RequireEnv] is set. The program that asks the service may run as any account.
func NewPAM(tb testing.TB) *PAM {
	tb.Helper()
	p := &PAM{dir: OpenDir(tb)}
	script := filepath.Join(p.dir, "check")
	write(tb, script, pamScript, 0o755)
	write(tb, filepath.Join(p.dir, "seen"), "", 0o666)
	if err := os.Chmod(filepath.Join(p.dir, "seen"), 0o666); err != nil {
		tb.Fatal(err)
	}
	p.Service = PAMService(tb,
		"auth required pam_exec.so quiet expose_authtok "+script,
		"account required pam_exec.so quiet "+script)
	return p
}

// PAMService writes a service with the given lines and returns its name.
func PAMService(tb testing.TB, lines ...string) string {
	tb.Helper()
	switch modules, _ := filepath.Glob("/lib*/*/security/pam_exec.so"); {
	case os.Geteuid() != 0:
		missing(tb, "only root may write a service into "+servicesDir)
	case !exists(servicesDir) || len(modules) == 0 && !exists("/lib64/security/pam_exec.so"):
		missing(tb, "no Linux-PAM here: libpam-modules is its package")
	}
	file, err := os.CreateTemp(servicesDir, "gopgpool-test-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.Remove(file.Name()); err != nil {
			tb.Error(err)
		}
	})
	_, err = file.WriteString(strings.Join(lines, "\n") + "\n")
	if err := errors.Join(err, file.Chmod(0o644), file.Close()); err != nil {
		tb.Fatal(err)
	}
	return filepath.Base(file.Name())
}

// AddUser makes a user, or changes the password of one. The name may hold what a file name may.
func (p *PAM) AddUser(tb testing.TB, user, password string) {
	tb.Helper()
	write(tb, filepath.Join(p.dir, "user."+user), password, 0o644)
}

// Expire makes the account of a user whose password is right a refused one.
func (p *PAM) Expire(tb testing.TB, user string) {
	tb.Helper()
	write(tb, filepath.Join(p.dir, "expired."+user), "", 0o644)
}

// Seen returns who asked the service, a line each: user, and the remote host as rhost=.
func (p *PAM) Seen(tb testing.TB) []string {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, "seen"))
	if err != nil {
		tb.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// Hang makes the module wait when it is asked about the user, until the function returned is called or the test ends.
func (p *PAM) Hang(tb testing.TB, user string) (release func()) {
	tb.Helper()
	path := filepath.Join(p.dir, "hang."+user)
	if err := syscall.Mkfifo(path, 0o644); err != nil {
		tb.Fatal(err)
	}
	// Opened for reading too: whoever writes need not wait for a module, and one that comes later finds the line.
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		tb.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		_, err := file.WriteString(strings.Repeat("\n", 100))
		if err != nil {
			tb.Error(err)
		}
	})
	tb.Cleanup(func() {
		release()
		if err := file.Close(); err != nil {
			tb.Error(err)
		}
	})
	return release
}
