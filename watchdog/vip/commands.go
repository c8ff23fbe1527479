package vip

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"gopgpool/logging"
)

const (
	// overlap is how long a command waits for the opposite one that still runs (manual: wd_de_escalation_command).
	overlap = 5 * time.Second
	// patience is how long a command may take to end after SIGTERM, and whoever inherited its output to close it.
	patience = time.Second
)

// Causes for ending a command.
var (
	errTimeout   = errors.New("it took longer than wd_command_timeout")
	errNotWanted = errors.New("the address is not wanted any more")
	errStopped   = errors.New("pgpool stops")
)

// job is a command that runs beside.
type job struct {
	done   chan struct{}
	err    error // how it ended; to be read after done
	cancel context.CancelCauseFunc
}

// ended reports whether a job is over; no job is.
func (j *job) ended() bool {
	if j == nil {
		return true
	}
	select {
	case <-j.done:
		return true
	default:
		return false
	}
}

// jobs are the commands of an address. close waits for them.
type jobs struct {
	timeout time.Duration
	log     logging.Logger
	notify  func() // after a job has ended
	wg      sync.WaitGroup

	mu     sync.Mutex
	active map[*job]struct{} // guarded by mu
}

// start has work done beside, when the job `after` has ended or overlapped long enough. The end of ctx does not end it.
func (s *jobs) start(ctx context.Context, after *job, work func(context.Context) error) *job {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	j := &job{done: make(chan struct{}), cancel: cancel}
	s.mu.Lock()
	s.active[j] = struct{}{}
	s.mu.Unlock()
	s.wg.Go(func() { s.run(ctx, j, after, work) })
	return j
}

func (s *jobs) run(ctx context.Context, j, after *job, work func(context.Context) error) {
	if !after.ended() {
		limit := time.NewTimer(overlap)
		defer limit.Stop()
		select {
		case <-after.done:
		case <-limit.C:
		case <-ctx.Done():
		}
	}
	if j.err = context.Cause(ctx); j.err == nil {
		j.err = work(ctx)
	}
	j.cancel(nil)
	s.mu.Lock()
	delete(s.active, j)
	s.mu.Unlock()
	close(j.done)
	s.notify()
}

// close waits for all jobs; those that take longer than a de-escalation may overlap are ended.
func (s *jobs) close() {
	limit := time.AfterFunc(overlap, s.cancelAll)
	defer limit.Stop()
	s.wg.Wait()
}

func (s *jobs) cancelAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for j := range s.active {
		j.cancel(errStopped)
	}
}

// limited bounds the time of work by wd_command_timeout.
func (s *jobs) limited(work func(context.Context) error) func(context.Context) error {
	if s.timeout <= 0 {
		return work
	}
	return func(ctx context.Context) error {
		ctx, stop := context.WithTimeoutCause(ctx, s.timeout, errTimeout)
		defer stop()
		return work(ctx)
	}
}

// shell is the work of a command for /bin/sh.
func (s *jobs) shell(command string) func(context.Context) error {
	return s.limited(func(ctx context.Context) error { return s.execute(ctx, syscall.SIGTERM, "/bin/sh", "-c", command) })
}

// command is the work of a command that is split into words. It is killed at once when it is not wanted any more, so that it changes
// nothing afterwards; and it does not outlive us, who give what it raises its lifetime.
func (s *jobs) command(argv []string, dir string) func(context.Context) error {
	return s.limited(func(ctx context.Context) error {
		program, err := executable(argv[0], dir)
		if err != nil {
			return err
		}
		return s.execute(ctx, syscall.SIGKILL, program, argv[1:]...)
	})
}

// execute runs a program in a process group of its own. When ctx ends the group gets the signal.
func (s *jobs) execute(ctx context.Context, end syscall.Signal, program string, args ...string) error {
	return s.executeTo(ctx, nil, end, program, args...)
}

// executeTo is execute for a program whose output is of interest.
func (s *jobs) executeTo(ctx context.Context, out io.Writer, end syscall.Signal, program string, args ...string) error {
	said := s.log.LineWriter()
	defer func() { _ = said.Close() }() // it is the log
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = out, said, patience
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, end) }
	if end == syscall.SIGKILL {
		// The kernel's promise to end the child with its parent is about the thread that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	return ending(ctx, cmd, cmd.Run())
}

// ending makes an error of how a command ended.
func ending(ctx context.Context, cmd *exec.Cmd, err error) error {
	if cause := context.Cause(ctx); cause != nil && err != nil {
		if cmd.Process != nil {
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what the shell has left; mostly nothing
		}
		return fmt.Errorf("%w: %w", cause, err)
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil // it ended well and left somebody with its output
	}
	return err
}

// pingLimit bounds one round of three packets.
const pingLimit = 15 * time.Second

// ping asks an address the manual's way (ping_path): three packets, and a round-trip time in the answer.
func (s *jobs) ping(ctx context.Context, program, address string) error {
	ctx, stop := context.WithTimeout(ctx, pingLimit)
	defer stop()
	var out bytes.Buffer
	if err := s.executeTo(ctx, &out, syscall.SIGTERM, program, "-q", "-c3", address); err != nil {
		return err
	}
	if !hasRoundTrip(out.Bytes()) {
		return fmt.Errorf("%s printed no average round-trip time", program)
	}
	return nil
}

// hasRoundTrip looks for the average in ping's summary: a number that is not 0, behind the fourth slash of a line as in
// "rtt min/avg/max/mdev = 0.018/0.020/0.022/0.002 ms".
func hasRoundTrip(out []byte) bool {
	for line := range bytes.Lines(out) {
		fields := bytes.Split(line, []byte("/"))
		if len(fields) > 5 && bytes.ContainsAny(fields[4], "123456789") {
			return true
		}
	}
	return false
}
