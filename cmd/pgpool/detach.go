package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Detaching: Go cannot fork, so the daemon is this program started again in a session of its own. Its working directory is
// "/"; until it is ready it keeps the caller's standard error, so that the reason of a failed start is seen. It says that it
// is ready through a pipe, and the caller ends then, or with the daemon's exit code if it ends before.

const (
	detachedVar  = "GOPGPOOL_DETACHED" // in the environment of the daemon
	statusFD     = 3                   // the pipe, in the daemon
	statusReady  = "ready"
	firstOtherFD = 3
)

// detach starts command in a session of its own and returns its exit code, 0 once it is ready.
func detach(command []string, environ []string, stderr *os.File) (int, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return exitFatal, fmt.Errorf("could not detach: %w", err)
	}
	defer func() { _ = r.Close() }()
	// The daemon inherits nothing it was not given.
	if err := unix.CloseRange(firstOtherFD, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil && !errors.Is(err, unix.ENOSYS) {
		return exitFatal, fmt.Errorf("could not detach: %w", err)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(environ, detachedVar+"=1")
	cmd.Dir = "/"
	cmd.Stderr = stderr
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		return exitFatal, fmt.Errorf("could not detach: %w", err)
	}
	status, err := io.ReadAll(r)
	if err == nil && string(status) == statusReady {
		return 0, cmd.Process.Release()
	}
	if err := cmd.Wait(); err != nil && cmd.ProcessState == nil {
		return exitFatal, fmt.Errorf("could not detach: %w", err)
	}
	if code := cmd.ProcessState.ExitCode(); code > 0 {
		return code, nil
	}
	return exitFatal, nil
}

// statusPipe is the daemon's end of the pipe; nil in a process that did not detach.
type statusPipe struct{ f *os.File }

// openStatusPipe finds the pipe, and hides it from programs the daemon will start.
func openStatusPipe() *statusPipe {
	if os.Getenv(detachedVar) == "" {
		return nil
	}
	_ = os.Unsetenv(detachedVar) // cannot fail for this name
	unix.CloseOnExec(statusFD)
	return &statusPipe{os.NewFile(statusFD, "status pipe")}
}

// ready tells the caller that the daemon serves, and lets go of the terminal.
func (p *statusPipe) ready() error {
	if p == nil {
		return nil
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("could not let go of the terminal: %w", err)
	}
	for fd := range 3 {
		if err := unix.Dup3(int(null.Fd()), fd, 0); err != nil {
			return fmt.Errorf("could not let go of the terminal: %w", err)
		}
	}
	_, _ = io.WriteString(p.f, statusReady) // the caller may have been interrupted; the daemon goes on
	return errors.Join(p.f.Close(), null.Close())
}

// detached reports whether environ belongs to a daemon started by detach.
func detached(environ []string) bool {
	for _, e := range environ {
		if strings.HasPrefix(e, detachedVar+"=") {
			return true
		}
	}
	return false
}
