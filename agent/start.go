package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"gopgpool/cluster"
)

// Start starts the server with the arguments it was started with last and returns when it accepts connections; one that runs already is
// waited for. What is left of a server whose first process is gone is killed before. When ctx ends first the server goes on starting.
func (l *Local) Start(ctx context.Context, term cluster.Term) error {
	return l.act(ctx, term, "start", false, func(ctx context.Context, s *site) error {
		if broken, err := s.exists(s.mark()); err != nil || broken {
			return errors.Join(err, errBroken)
		}
		return s.start(ctx)
	})
}

func (s *site) start(ctx context.Context) error {
	g := s.gang()
	launched := !g.running()
	if launched {
		if err := errors.Join(s.sweep(ctx), s.dropStalePidFile()); err != nil {
			return err
		}
		if err := s.launch(ctx); err != nil {
			return err
		}
	}
	return s.accepting(ctx, launched)
}

// dropStalePidFile removes the postmaster.pid of a dead server if its number is in use, by another process or by what is left of the server
// until its parent looks: PostgreSQL would take that for a server. The lock of its socket has the same number.
func (s *site) dropStalePidFile() error {
	f := s.pidFile()
	if f.pid == 0 {
		return nil
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", f.pid)); err != nil {
		return nil
	}
	return s.owner.as(func() error {
		return errors.Join(dropStaleLock(f, s.owner.uid), os.Remove(filepath.Join(s.data, "postmaster.pid")))
	})
}

// dropStaleLock removes the lock of a dead server's socket. It stays where its process is a PostgreSQL of whoever.
func dropStaleLock(f pidFile, uid uint32) error {
	path := f.socketLock()
	if path == "" {
		return nil
	}
	text, err := readPlain(path, uid)
	switch first, _, _ := strings.Cut(string(text), "\n"); {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, errNotOwned):
		return nil
	case err != nil:
		return err
	case strings.TrimSpace(first) != strconv.Itoa(f.pid), livesAs(f.pid, "postgres"):
		return nil
	}
	return os.Remove(path)
}

// livesAs reports whether a process is at work under a name.
func livesAs(pid int, name string) bool {
	_, ok := readProcess(pid)
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return ok && err == nil && strings.TrimSpace(string(comm)) == name
}

// launch starts the postmaster, in a session of its own: it outlives us.
func (s *site) launch(ctx context.Context) error {
	args, err := s.arguments()
	if err != nil {
		return err
	}
	dir, err := s.binDirectory(ctx, &s.place)
	if err != nil {
		return err
	}
	log, err := s.openServerLog()
	if err != nil {
		return err
	}
	defer log.Close()
	info, err := log.Stat()
	if err != nil {
		return err
	}
	s.launchedAt = info.Size()
	cmd := exec.Command(filepath.Join(dir, "postgres"), args...)
	cmd.Env = s.serverEnvironment()
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: s.owner.credential()}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.child.born(cmd.Process.Pid)
	return cmd.Process.Release()
}

// serverEnvironment is that of our children, with the locale we have: messages of the server follow it where it is not configured.
func (s *site) serverEnvironment() []string {
	env := []string{
		"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + s.owner.home, "USER=" + s.owner.name, "LOGNAME=" + s.owner.name, "PGDATA=" + s.data,
		"PG_OOM_ADJUST_FILE=/proc/self/oom_score_adj", // its children are not protected as we may be
	}
	for _, name := range []string{"LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// accepting waits until the server accepts connections.
func (s *site) accepting(ctx context.Context, launched bool) error {
	err := poll(ctx, func() (bool, error) {
		if why, dead := s.child.dead(); dead && launched {
			return false, fmt.Errorf("%w (%s): %s", cluster.ErrEnded, why, s.lastWords())
		}
		f := s.pidFile()
		there := f.pid != 0 && serves(f.pid, s.data, s.owner.uid)
		if !there && !launched {
			return false, cluster.ErrEnded
		}
		return there && f.accepts(), nil
	})
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("the server is still starting: %w", err)
	}
	return err
}

// childServer is the last server we have started. It is our child, so it is us who must take note of its end: until then it looks alive
// to others.
type childServer struct {
	mu    sync.Mutex // guards the rest
	pid   int        // 0: there is none
	ended string     // how the last one ended
}

func (c *childServer) born(pid int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pid, c.ended = pid, ""
}

// reap takes note of the end of the child, if it has ended.
func (c *childServer) reap() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pid == 0 {
		return
	}
	var status unix.WaitStatus
	pid, err := unix.Wait4(c.pid, &status, unix.WNOHANG, nil)
	switch {
	case err != nil:
		c.pid, c.ended = 0, err.Error()
	case pid == c.pid && status.Signaled():
		c.pid, c.ended = 0, status.Signal().String()
	case pid == c.pid && status.Exited():
		c.pid, c.ended = 0, fmt.Sprintf("exit status %d", status.ExitStatus())
	}
}

// dead reports how the last server ended that we have started.
func (c *childServer) dead() (why string, dead bool) {
	c.reap()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended, c.ended != ""
}
