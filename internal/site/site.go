package site

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gopgpool/internal/hosts"
	"gopgpool/internal/pgcluster"
)

// Site is hosts and what runs on them. It ends with the test that made it; its methods take the test they are used in, which may be a
// part of that one.
type Site struct {
	*hosts.World
	Bin string // PostgreSQL's programs

	owner testing.TB
	kept  []keptLog
}

// keptLog is a file of a host that tells what happened there.
type keptLog struct {
	host  *hosts.Host
	path  string
	lines int // how many of the last ones are printed
}

// New makes the hosts. The test is skipped without the rights for it, or without PostgreSQL's programs, unless
// [hosts.RequireEnv] and [pgcluster.RequireEnv] forbid that. There is a user postgres, and PostgreSQL's programs are in the PATH.
func New(tb testing.TB, opts hosts.Options) *Site {
	tb.Helper()
	bin, err := pgcluster.FindBinaries("")
	if errors.Is(err, pgcluster.ErrNoServer) && os.Getenv(pgcluster.RequireEnv) == "" {
		tb.Skip(err)
	}
	Must(tb, err)
	opts.Users, opts.Path = append(opts.Users, "postgres"), append(opts.Path, bin)
	s := &Site{World: hosts.StartTest(tb, opts), Bin: bin, owner: tb}
	tb.Cleanup(s.keepLogs)
	return s
}

// LAN is hosts on one network, with consecutive addresses from the first one on.
func LAN(device string, first netip.Prefix, names ...string) (specs []hosts.Spec) {
	address := first.Addr()
	for _, name := range names {
		d := hosts.Device{Name: device, Address: netip.PrefixFrom(address, first.Bits())}
		specs = append(specs, hosts.Spec{Name: name, Devices: []hosts.Device{d}})
		address = address.Next()
	}
	return specs
}

// Must ends the test after an error.
func Must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// runLimit bounds a command.
const runLimit = 60 * time.Second

// Run has a shell command carried out that must succeed, and returns its output without the space around it.
func (s *Site) Run(tb testing.TB, h *hosts.Host, user, command string) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), runLimit)
	defer cancel()
	out, err := h.Run(ctx, user, command)
	Must(tb, err)
	return strings.TrimSpace(out)
}

// Shell is what a shell command prints on both outputs, and its exit status.
func (s *Site) Shell(tb testing.TB, h *hosts.Host, user, command string) (stdout, stderr string, status int) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), runLimit)
	defer cancel()
	cmd, err := h.Command(ctx, user, "/bin/sh", "-c", command)
	Must(tb, err)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	Must(tb, h.Start(cmd))
	if err := cmd.Wait(); err != nil && ctx.Err() != nil {
		tb.Fatalf("%s: %v\n%s%s", command, err, out.String(), errs.String())
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// Drop lets packets that come in on a host vanish, those that a selector of ip-rule names: "iif eth0 ipproto udp dport 9694". It is done
// by a rule of routing that stands before the one about the host's own addresses.
func (s *Site) Drop(tb testing.TB, h *hosts.Host, selector string) {
	tb.Helper()
	s.Run(tb, h, "root", "ip rule show | grep -q '^10:' || { ip rule add pref 10 lookup local && ip rule del pref 0; }; ip rule add pref 1 "+
		selector+" blackhole")
}

// Undrop undoes Drop; it may be called without.
func (s *Site) Undrop(tb testing.TB, h *hosts.Host, selector string) {
	tb.Helper()
	s.Run(tb, h, "root", "ip rule del pref 1 "+selector+" blackhole 2>/dev/null || true")
}

// AppendTo adds lines to a file of the user's.
func (s *Site) AppendTo(tb testing.TB, h *hosts.Host, user, path string, lines ...string) {
	tb.Helper()
	s.Run(tb, h, user, "cat >>"+path+" <<'END'\n"+strings.Join(lines, "\n")+"\nEND")
}

// Await waits for a condition and logs how long that took. look returns what it sees, which is shown when the wait ends in vain.
func (s *Site) Await(tb testing.TB, what string, limit time.Duration, look func() (seen string, ok bool)) {
	tb.Helper()
	began := time.Now()
	if seen, ok := Wait(tb.Context(), limit, look); !ok {
		tb.Fatalf("waited %s in vain: %s; seen last: %s", limit, what, seen)
	}
	tb.Logf("%6.1f s until %s", time.Since(began).Seconds(), what)
}

// Wait is Await for those who go on when the wait ends in vain. A look is often a program that is run, so the pauses between them grow.
func Wait(ctx context.Context, limit time.Duration, look func() (seen string, ok bool)) (seen string, ok bool) {
	const shortest, longest = 10 * time.Millisecond, 100 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for pause := shortest; ; pause = min(2*pause, longest) {
		if seen, ok = look(); ok {
			return seen, true
		}
		timer.Reset(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return seen, false
		}
	}
}

// Keep has a file of a host left as an artifact when the test ends, and its last lines printed if the test has failed.
func (s *Site) Keep(h *hosts.Host, path string, lines int) {
	s.kept = append(s.kept, keptLog{h, path, lines})
}

func (s *Site) keepLogs() {
	for _, k := range s.kept {
		text, err := k.host.ReadFile(k.path)
		if err != nil || len(text) == 0 {
			continue // a host without it
		}
		name := filepath.Join(s.owner.ArtifactDir(), k.host.Name+strings.ReplaceAll(k.path, "/", "_"))
		if err := os.WriteFile(name, text, 0o644); err != nil {
			s.owner.Error(err)
		}
		if s.owner.Failed() {
			s.owner.Logf("---- %s: end of %s\n%s", k.host.Name, k.path, Tail(string(text), k.lines))
		}
	}
	if s.owner.Failed() {
		s.showCalls()
	}
}

// showCalls prints the calls of ssh and the like that failed; those of restore_command ask for files that are not there yet.
func (s *Site) showCalls() {
	for _, h := range s.Hosts() {
		calls, err := h.Calls()
		if err != nil {
			s.owner.Log(err)
		}
		for _, c := range calls {
			if c.Exit != 0 && (c.Program != "scp" || c.Running) {
				s.owner.Logf("%s: %s called %s %q: exit %d, running %v", h.Name, c.User, c.Program, c.Args, c.Exit, c.Running)
			}
		}
	}
}

// Tail is the last n lines of a text.
func Tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Rows reads what psql prints without alignment and with column names: one map a row.
func Rows(text string) (rows []map[string]string) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	names := strings.Split(lines[0], "|")
	for _, line := range lines[1:] {
		row := map[string]string{}
		for i, value := range strings.Split(line, "|") {
			if i < len(names) {
				row[names[i]] = value
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// Brief is columns of SHOW pool_nodes in one line. A node nobody has used yet is waiting, which is as good as up.
func Brief(rows []map[string]string, columns ...string) string {
	var all []string
	for _, row := range rows {
		var chosen []string
		for _, c := range columns {
			chosen = append(chosen, row[c])
		}
		all = append(all, strings.Join(chosen, " "))
	}
	return strings.ReplaceAll(strings.Join(all, ", "), "waiting", "up")
}

// Repository is the directory of this module; tests run in their package's.
func Repository(tb testing.TB) string {
	tb.Helper()
	dir, err := filepath.Abs(".")
	Must(tb, err)
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		Must(tb, fmt.Errorf("no go.mod above this directory"))
	}
}
