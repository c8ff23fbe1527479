package pgcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// spawner starts children from one operating system thread that lives as long as they do: the kernel sends the
// parent-death signal when the *thread* that forked a child ends, not the process.
type spawner struct {
	as       account
	guard    *guard
	requests chan spawnRequest
	stopped  chan struct{}
}

type spawnRequest struct {
	cmd   *exec.Cmd
	reply chan error
}

func startSpawner(as account, g *guard) *spawner {
	s := &spawner{as: as, guard: g, requests: make(chan spawnRequest), stopped: make(chan struct{})}
	go s.run()
	return s
}

func (s *spawner) run() {
	runtime.LockOSThread()
	defer close(s.stopped)
	for r := range s.requests {
		r.reply <- r.cmd.Start()
	}
	runtime.UnlockOSThread()
}

// close ends the thread. Only after the last child is gone.
func (s *spawner) close() {
	close(s.requests)
	<-s.stopped
}

// process is a child and its end. One with a home is nobody's child of ours, and lives while its working directory is there.
type process struct {
	name  string
	pid   int
	home  string
	done  chan struct{} // closed when it was reaped; state and err are set before
	state *os.ProcessState
	err   error
}

// start runs cmd as the servers' account, or as this process' user if privileged, in a process group of its own.
func (s *spawner) start(name string, cmd *exec.Cmd, privileged bool) (*process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGQUIT}
	if !privileged {
		cmd.SysProcAttr.Credential = s.as.credential
	}
	reply := make(chan error, 1)
	s.requests <- spawnRequest{cmd, reply}
	if err := <-reply; err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	p := &process{name: name, pid: cmd.Process.Pid, done: make(chan struct{})}
	s.guard.watch(p.pid)
	go p.reap(cmd, s.guard)
	return p, nil
}

func (p *process) reap(cmd *exec.Cmd, g *guard) {
	defer close(p.done)
	err := cmd.Wait()
	g.forget(p.pid)
	p.state = cmd.ProcessState
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.err = err
	}
}

// complete starts a program that ends by itself and waits for it; its output is part of the error.
func (s *spawner) complete(ctx context.Context, name string, env []string, program string, args ...string) error {
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Dir = "/"
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	p, err := s.start(name, cmd, false)
	if err != nil {
		return err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		p.signalGroup(syscall.SIGKILL)
		<-p.done
		return fmt.Errorf("%s: %w", name, context.Cause(ctx))
	}
	if !p.state.Success() || p.err != nil {
		return fmt.Errorf("%s: %s\n%s", name, p.state, strings.TrimSpace(out.String()))
	}
	return nil
}

func (p *process) exited() bool {
	if p.home != "" {
		return !livesIn(p.pid, p.home)
	}
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// signal reaches the process itself. One that is gone is no error: that is what was wanted.
func (p *process) signal(sig syscall.Signal) error {
	if p.exited() {
		return nil
	}
	if err := syscall.Kill(p.pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("%s: signal %s: %w", p.name, sig, err)
	}
	return nil
}

func (p *process) signalGroup(sig syscall.Signal) {
	if !p.exited() {
		_ = syscall.Kill(-p.pid, sig) // gone meanwhile
	}
}

// livesIn tells whether a process is there that is no zombie and works in a directory.
func livesIn(pid int, dir string) bool {
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
	if err != nil || cwd != dir {
		return false
	}
	_, _, ok := readParent(fmt.Sprintf("/proc/%d/stat", pid))
	return ok
}

// wait waits for the end and returns the exit code, 128 + number for a signal. That of nobody's child is 0.
func (p *process) wait(ctx context.Context) (int, error) {
	if p.home != "" {
		return 0, Poll(ctx, p.name+" ends", func() (bool, error) { return p.exited(), nil })
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		return 0, fmt.Errorf("%s still runs: %w", p.name, context.Cause(ctx))
	}
	if p.err != nil {
		return 0, p.err
	}
	if ws, ok := p.state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return p.state.ExitCode(), nil
}

// family returns pid and its living descendants. Servers' children leave the process group, so they are looked up.
func family(pid int) []int {
	children := map[int][]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the only error is a bad pattern
	for _, file := range stats {
		if id, parent, ok := readParent(file); ok {
			children[parent] = append(children[parent], id)
		}
	}
	pids := []int{pid}
	for i := 0; i < len(pids); i++ {
		pids = append(pids, children[pids[i]]...)
	}
	return pids
}

// living are those of some processes that are there still.
func living(pids []int) []int {
	var alive []int
	for _, pid := range pids {
		if _, _, ok := readParent(fmt.Sprintf("/proc/%d/stat", pid)); ok {
			alive = append(alive, pid)
		}
	}
	return alive
}

// readParent reads the file stat of a process and leaves out zombies.
func readParent(file string) (pid, parent int, ok bool) {
	head, fields := readStat(file)
	if len(fields) < 2 || fields[0] == "Z" {
		return 0, 0, false
	}
	pid, err1 := strconv.Atoi(head)
	parent, err2 := strconv.Atoi(fields[1])
	return pid, parent, err1 == nil && err2 == nil
}

// readStat reads "pid (name) state ppid ...": the pid, and the fields from the state on. There are none if the process is gone.
func readStat(file string) (pid string, fields []string) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", nil
	}
	head, rest, _ := strings.Cut(string(text), " ")
	return head, strings.Fields(rest[strings.LastIndexByte(rest, ')')+1:])
}

// stopped tells whether a signal has stopped a process, or whether it is over.
func stopped(pid int) bool {
	_, fields := readStat(fmt.Sprintf("/proc/%d/stat", pid))
	return len(fields) == 0 || fields[0] == "T" || fields[0] == "Z"
}

// Poll asks cond every few milliseconds until it is true, fails, or the time is over. what names the condition in the
// error.
func Poll(ctx context.Context, what string, cond func() (bool, error)) error {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		ok, err := cond()
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if ok {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		}
	}
}

// parallel runs f for 0..n-1 at once and joins the errors.
func parallel(n int, f func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
