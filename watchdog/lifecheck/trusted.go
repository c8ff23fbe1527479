package lifecheck

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"gopgpool/logging"
)

// leastCommandTime is what trusted_server_command gets however short wd_interval is: three packets of ping take two seconds where all is
// well.
const leastCommandTime = 10 * time.Second

var errCommandTime = errors.New("it took too long")

// runTrusted asks all trusted servers each interval. One that answers is enough (manual: trusted_servers).
func (k *Checks) runTrusted(ctx context.Context) {
	s := &state{checks: k, self: CutOff}
	k.every(ctx, perInterval, func(ctx context.Context, c *Config) {
		failures := askTrusted(ctx, c.TrustedServers, c.TrustedServerCommand, max(c.Interval, leastCommandTime))
		if ctx.Err() != nil {
			return
		}
		if failures != nil && !s.bad {
			k.logTrusted(c, failures)
		}
		s.set(failures != nil, "trusted server is unreachable", "a trusted server is reachable again")
	})
}

// AskTrusted asks the trusted servers now, and reports whether one has answered; true where none are configured. It takes as long as the
// command does, bounded as in the regular checks.
func (k *Checks) AskTrusted(ctx context.Context) bool {
	c := k.config.Load()
	return len(c.TrustedServers) == 0 ||
		askTrusted(ctx, c.TrustedServers, c.TrustedServerCommand, max(c.Interval, leastCommandTime)) == nil
}

func (k *Checks) logTrusted(c *Config, failures []error) {
	for i, host := range c.TrustedServers {
		k.log.Log(logging.Event{
			Severity: logging.Warning, Message: fmt.Sprintf("watchdog failed to ping host: \"%s\"", host), Detail: failures[i].Error(),
		})
	}
	k.log.Log(logging.Event{Severity: logging.Warning, Message: "watchdog lifecheck, failed to connect to any trusted servers"})
}

// askTrusted runs the command for all hosts at once, and ends them all with the first that succeeds. It returns nil if one did, else one
// error per host.
func askTrusted(ctx context.Context, hosts []string, template string, bound time.Duration) []error {
	ctx, stop := context.WithTimeoutCause(ctx, bound, errCommandTime)
	defer stop()
	var mu sync.Mutex
	reached := false // guarded by mu
	failures := make([]error, len(hosts))
	var running sync.WaitGroup
	for i, host := range hosts {
		running.Go(func() {
			failures[i] = runShell(ctx, expandHost(template, host))
			if failures[i] == nil {
				mu.Lock()
				reached = true
				mu.Unlock()
				stop()
			}
		})
	}
	running.Wait()
	if reached {
		return nil
	}
	return failures
}

// expandHost puts the host into the template: %h; %% is a percent sign, other placeholders vanish (manual: trusted_server_command).
func expandHost(template, host string) string {
	var b strings.Builder
	for {
		text, rest, found := strings.Cut(template, "%")
		b.WriteString(text)
		if !found || rest == "" {
			return b.String()
		}
		switch rest[0] {
		case 'h':
			b.WriteString(host)
		case '%':
			b.WriteByte('%')
		}
		template = rest[1:]
	}
}

// runShell has /bin/sh carry out a command, in a process group of its own that ends with ctx; the shell ends with us, too, if we are
// killed. Standard input and output are /dev/null.
func runShell(ctx context.Context, command string) error {
	runtime.LockOSThread() // the kernel's promise to end the child with its parent is about the thread that started it
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	err := cmd.Run()
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}
