package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"
)

// The pid file holds the decimal process id followed by one NUL byte. Readers take the leading digits.

// errBadPidFile is a pid file that names no process.
var errBadPidFile = errors.New("pid file holds no process id")

// writePidFile creates or overwrites path, readable by its owner alone.
func writePidFile(path string, pid int) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("could not open pid file %q: %w", path, err)
	}
	_, err = f.Write(append(strconv.AppendInt(nil, int64(pid), 10), 0))
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("could not write pid file %q: %w", path, err)
	}
	return nil
}

// readPidFile returns the process id in path.
func readPidFile(path string) (int, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n := 0
	for n < len(text) && '0' <= text[n] && text[n] <= '9' {
		n++
	}
	pid, err := strconv.ParseInt(string(text[:n]), 10, 32)
	if err != nil || pid <= 0 {
		return 0, fmt.Errorf("%q: %w", path, errBadPidFile)
	}
	return int(pid), nil
}

// pidState is what a pid file says about a daemon that may be running.
type pidState uint8

const (
	pidNone  pidState = iota // no file
	pidBogus                 // a file, but no such process
	pidAlive
)

// checkPidFile tells whether path names a running process. A file that names this process or its parent is bogus: numbers
// repeat when a container starts again.
func checkPidFile(path string) (pidState, int, error) {
	pid, err := readPidFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return pidNone, 0, nil
	case err != nil:
		return pidNone, 0, err
	case pid == os.Getpid() || pid == os.Getppid() || syscall.Kill(pid, 0) != nil:
		return pidBogus, pid, nil
	}
	return pidAlive, pid, nil
}

// removePidFile removes path if it still holds pid: a daemon started meanwhile keeps its own.
func removePidFile(path string, pid int) {
	if held, err := readPidFile(path); err == nil && held == pid {
		_ = os.Remove(path) // a left-over file is found to be bogus at the next start
	}
}
