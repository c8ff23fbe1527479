package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
// until its parent looks: PostgreSQL would take that for a server.
func (s *site) dropStalePidFile() error {
	pid := s.postmasterPID()
	if pid == 0 {
		return nil
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err != nil {
		return nil
	}
	return s.owner.as(func() error { return os.Remove(filepath.Join(s.data, "postmaster.pid")) })
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

func (s *site) openServerLog() (f *os.File, err error) {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_APPEND
	if s.ServerLog == "" {
		return s.openBeside("server.log", flags)
	}
	err = s.owner.as(func() error {
		f, err = os.OpenFile(s.ServerLog, flags|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
		return err
	})
	return f, err
}

// errEnded is a server that ended while it was starting.
var errEnded = errors.New("the server ended while it was starting")

// accepting waits until the server accepts connections.
func (s *site) accepting(ctx context.Context, launched bool) error {
	err := poll(ctx, func() (bool, error) {
		if why, dead := s.child.dead(); dead && launched {
			return false, fmt.Errorf("%w (%s): %s", errEnded, why, s.lastWords())
		}
		f := s.pidFile()
		there := f.pid != 0 && serves(f.pid, s.data, s.owner.uid)
		if !there && !launched {
			return false, errEnded
		}
		return there && f.accepts(), nil
	})
	if ctx.Err() != nil {
		return fmt.Errorf("the server is still starting: %w", err)
	}
	return err
}

// lastWords is the end of the server's log.
func (s *site) lastWords() string {
	path := s.ServerLog
	if path == "" {
		path = filepath.Join(s.beside, "server.log")
	}
	var text []byte
	err := s.owner.as(func() error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		text = make([]byte, min(info.Size(), 1000))
		_, err = f.ReadAt(text, info.Size()-int64(len(text)))
		return err
	})
	if err != nil {
		return err.Error()
	}
	return string(text)
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
