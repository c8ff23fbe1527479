package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// program is one client program at one place.
type program struct {
	driver   driver
	env      []string
	built    string
	server   string
	patience time.Duration
	tell     func(line string) // not nil
}

// runAll runs the checklist and returns its lines. A client that hangs or ends early has failed the check it was at; the rest is asked
// for again. Known are the names of the checks; nil if this run is to tell them.
func (p program) runAll(ctx context.Context, wanted, known []string) (results, error) {
	got, ending, err := p.runOnce(ctx, wanted)
	if err != nil {
		return nil, err
	}
	for {
		rest := slices.DeleteFunc(slices.Clone(known), func(name string) bool { _, has := got.find(name); return has })
		if len(rest) == 0 {
			return p.concluded(got, known, ending), ctx.Err()
		}
		got = append(got, result{rest[0], failed, "client " + ending})
		if len(rest) == 1 {
			return got, ctx.Err()
		}
		var more results
		if more, ending, err = p.runOnce(ctx, rest[1:]); err != nil {
			return nil, err
		}
		got = append(got, more...)
	}
}

// concluded adds a line for a client whose end was not clean although no check is missing, or whose checks are not known.
func (p program) concluded(got results, known []string, ending string) results {
	if ending == "" || known != nil {
		return got
	}
	return append(got, result{"end", failed, "client " + ending})
}

// runOnce starts the client for some checks (nil for all). Ending is "" if it ended by itself with status 0.
func (p program) runOnce(ctx context.Context, checks []string) (got results, ending string, _ error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.driver.argv[0], append(slices.Clone(p.driver.argv[1:]), checks...)...)
	cmd.Env = append(append(p.env, p.driver.env...), "PATH="+p.server+":/usr/local/bin:/usr/bin:/bin", "DRIVERS_BUILT="+p.built)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	var complaint strings.Builder
	cmd.Stderr = &complaint
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	got, silent := p.read(stdout, cancel)
	err = cmd.Wait()
	if complaint.Len() > 0 {
		p.tell(strings.TrimSpace(complaint.String()))
	}
	switch {
	case silent:
		ending = fmt.Sprintf("silent for %v", p.patience)
	case err != nil:
		ending = "ended early: " + err.Error()
	}
	return got, ending, nil
}

// read collects lines until the end; one that is silent too long is killed.
func (p program) read(stdout io.Reader, kill func()) (got results, silent bool) {
	timer := time.AfterFunc(p.patience, kill)
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		timer.Reset(p.patience)
		p.tell(lines.Text())
		if r, is := parseLine(lines.Text()); is {
			got = append(got, r)
		}
	}
	return got, !timer.Stop()
}

// versionOf is the first line of what a driver's version command prints, or the last of what it complains.
func versionOf(ctx context.Context, d driver) string {
	if len(d.version) == 0 {
		return ""
	}
	out, err := exec.CommandContext(ctx, d.version[0], d.version[1:]...).Output()
	if err != nil {
		return "?"
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return first
}
