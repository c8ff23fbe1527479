package failover

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// shell runs commands. What they print is read until the last process that inherited their output is gone, which may be long after
// the command; the readers end with close.
type shell struct {
	output   func() io.WriteCloser // takes what one command prints
	patience time.Duration         // how long a command may take to end after SIGTERM, before SIGKILL

	mu      sync.Mutex
	pipes   map[*os.File]struct{} // guarded by mu: the outputs that are being read
	readers sync.WaitGroup
}

func newShell(output func() io.WriteCloser) *shell {
	return &shell{output: output, patience: 5 * time.Second, pipes: make(map[*os.File]struct{})}
}

// run has /bin/sh carry out a command in a process group of its own, with our environment and working directory, and waits for it.
// When ctx ends the group is terminated. The error says how the command ended, if not with 0.
func (s *shell) run(ctx context.Context, command string) error {
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd := exec.Command("/bin/sh", "-c", command)
	cmd.Stdout, cmd.Stderr = write, write
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	_ = write.Close() // the command has its own
	if err != nil {
		_ = read.Close()
		return err
	}
	s.listen(read)
	return s.wait(ctx, cmd)
}

func (s *shell) wait(ctx context.Context, cmd *exec.Cmd) error {
	ended := make(chan struct{})
	var killer sync.WaitGroup
	killer.Go(func() { s.terminate(ctx, cmd.Process.Pid, ended) })
	err := cmd.Wait()
	close(ended)
	killer.Wait()
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return err
}

// terminate ends a process group with ctx, unless its leader ends before. The leader is the shell, which may be gone long before
// the script it runs has cleaned up: the patience is for the whole group.
func (s *shell) terminate(ctx context.Context, group int, ended <-chan struct{}) {
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	_ = syscall.Kill(-group, syscall.SIGTERM)
	patience, again := time.NewTimer(s.patience), time.NewTicker(50*time.Millisecond)
	defer patience.Stop()
	defer again.Stop()
	for groupLives(group) {
		select {
		case <-again.C:
		case <-patience.C:
			_ = syscall.Kill(-group, syscall.SIGKILL)
			return
		}
	}
}

// groupLives reports whether a process group has members that are not just waiting to be reaped: whoever inherits orphans, the first
// process of a container say, may be slow at that, or never do it.
func groupLives(group int) bool {
	if syscall.Kill(-group, 0) != nil {
		return false
	}
	const state, groupID = 0, 2 // behind the name of the program, which may hold anything
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // gone
		}
		end := bytes.LastIndexByte(data, ')')
		f := strings.Fields(string(data[end+1:]))
		if len(f) > groupID && f[groupID] == strconv.Itoa(group) && f[state] != "Z" {
			return true
		}
	}
	return len(files) == 0 // nobody can tell without /proc
}

func (s *shell) listen(read *os.File) {
	s.mu.Lock()
	s.pipes[read] = struct{}{}
	s.mu.Unlock()
	s.readers.Go(func() {
		lines := s.output()
		if _, err := io.Copy(lines, read); errors.Is(err, os.ErrDeadlineExceeded) { // else it has ended with the writers
			lastWords(lines, read)
		}
		_ = lines.Close()
		s.mu.Lock()
		delete(s.pipes, read)
		s.mu.Unlock()
		_ = read.Close()
	})
}

// lastWords reads what is in a pipe, without waiting for more. At the deadline nothing is read any more, whatever has come before.
func lastWords(lines io.Writer, read *os.File) {
	raw, err := read.SyscallConn()
	if err != nil || read.SetReadDeadline(time.Time{}) != nil {
		return
	}
	text := make([]byte, 64<<10) // no pipe holds more, unless somebody has made it
	n := 0
	_ = raw.Read(func(fd uintptr) bool {
		n, err = syscall.Read(int(fd), text)
		return true // also where there is nothing
	})
	if err == nil && n > 0 {
		_, _ = lines.Write(text[:n])
	}
}

// close ends the readers. No command may be running.
func (s *shell) close() {
	s.mu.Lock()
	for f := range s.pipes {
		_ = f.SetReadDeadline(time.Now().Add(100 * time.Millisecond)) // what a command has just said is still heard
	}
	s.mu.Unlock()
	s.readers.Wait()
}
