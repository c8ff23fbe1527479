package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// account is who the servers and proxies run as. PostgreSQL and PgBouncer refuse root, so root hands over to the
// postgres account; anybody else stays who they are.
type account struct {
	credential *syscall.Credential // nil: as we are
}

// serverAccount looks up the account.
func serverAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return account{}, fmt.Errorf("account for the servers: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return account{}, fmt.Errorf("account for the servers: %w", err)
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return account{}, fmt.Errorf("account for the servers: %w", err)
	}
	return account{credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}

// own gives everything under path to the account.
func (a account) own(path string) error {
	if a.credential == nil {
		return nil
	}
	return filepath.WalkDir(path, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, int(a.credential.Uid), int(a.credential.Gid))
	})
}

// process is a program the bench started and has to stop.
type process struct {
	name    string
	logPath string
	cmd     *exec.Cmd
	done    chan struct{} // closed by await once the program ended
}

// startProcess starts argv in a process group of its own, so that a Ctrl-C reaches us alone and we stop things in
// order. Its output goes to dir/<name>.log. Should we be killed, the kernel sends it stopSig; that is bound to the
// thread which started it, so only main's goroutine, which is locked to the first thread, may call this.
func startProcess(name, dir string, who account, stopSig syscall.Signal, argv ...string) (*process, error) {
	logPath := filepath.Join(dir, name+".log")
	out, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: who.credential, Pdeathsig: stopSig}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	p := &process{name: name, logPath: logPath, cmd: cmd, done: make(chan struct{})}
	go p.await()
	return p, nil
}

// await ends when the program does; stop waits for it.
func (p *process) await() {
	defer close(p.done)
	_ = p.cmd.Wait() // how it ended shows in its log
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// check tells whether the program still runs, and if not, the end of its log.
func (p *process) check() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended (%v): %s", p.name, p.cmd.ProcessState, p.logTail(8))
	default:
		return nil
	}
}

// logTail is the last lines of the program's output, on one line.
func (p *process) logTail(lines int) string {
	if p == nil {
		return ""
	}
	text, err := os.ReadFile(p.logPath)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], " | ")
}

// stop asks politely by sig, then kills the program's group.
func (p *process) stop(sig syscall.Signal, grace time.Duration) {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
	case <-time.After(grace):
	}
	// The group is ours, so this reaches children that outlived their parent and nobody else.
	if err := syscall.Kill(-p.pid(), syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		fmt.Fprintf(os.Stderr, "bench: stopping %s: %v\n", p.name, err)
	}
	<-p.done
}

// usage is what a process and all its descendants have used and hold.
type usage struct {
	cpu    time.Duration // user and system time, of children that ended too
	memory int64         // bytes resident; shared pages are divided among the processes that share them
	rss    int64         // bytes resident of all processes, shared pages counted in each
	count  int           // processes
}

// clockTick is the unit of times in /proc: USER_HZ, 100 on every Linux Go runs on.
const clockTick = 10 * time.Millisecond

// procStat is the part of /proc/PID/stat we read.
type procStat struct {
	pid, parent int
	cpu         time.Duration
}

// parseStat reads one /proc/PID/stat. The name stands in brackets and may hold anything, brackets included.
func parseStat(text string) (procStat, error) {
	open, shut := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 1 || shut < open {
		return procStat{}, fmt.Errorf("stat line %q has no name", text)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(text[:open]))
	if err != nil {
		return procStat{}, fmt.Errorf("stat line %q: %w", text, err)
	}
	fields := strings.Fields(text[shut+1:]) // from the third field of proc(5) on
	const parent, utime, cstime = 1, 11, 14
	if len(fields) <= cstime {
		return procStat{}, fmt.Errorf("stat line %q is short", text)
	}
	s := procStat{pid: pid}
	if s.parent, err = strconv.Atoi(fields[parent]); err != nil {
		return procStat{}, fmt.Errorf("stat line %q: %w", text, err)
	}
	for _, f := range fields[utime : cstime+1] {
		ticks, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return procStat{}, fmt.Errorf("stat line %q: %w", text, err)
		}
		s.cpu += time.Duration(ticks) * clockTick
	}
	return s, nil
}

// tree is the process with all its descendants. Processes that end while we read are left out.
func tree(root int) ([]procStat, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	children := map[int][]procStat{}
	var found []procStat
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // ended meanwhile
		}
		s, err := parseStat(string(text))
		if err != nil {
			return nil, err
		}
		children[s.parent] = append(children[s.parent], s)
		if s.pid == root {
			found = append(found, s)
		}
	}
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i].pid]...)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("process %d is gone", root)
	}
	return found, nil
}

// cpuOf is the processor time of a process tree so far.
func cpuOf(root int) (time.Duration, error) {
	procs, err := tree(root)
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, p := range procs {
		sum += p.cpu
	}
	return sum, nil
}

// usageOf is cpuOf with memory; reading it walks page tables, so not while a figure is taken if it can be helped.
func usageOf(root int) (usage, error) {
	procs, err := tree(root)
	if err != nil {
		return usage{}, err
	}
	u := usage{count: len(procs)}
	for _, p := range procs {
		u.cpu += p.cpu
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.pid))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue
		}
		if err != nil {
			return usage{}, err
		}
		u.memory += kilobytes(string(text), "Pss:") << 10
		u.rss += kilobytes(string(text), "Rss:") << 10
	}
	return u, nil
}

// kilobytes is the value of one line of smaps_rollup; 0 when it is not there.
func kilobytes(text, label string) int64 {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, label)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	return 0
}
