package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// process is one entry of the process table. Number and start time together name it for ever; numbers are used again.
type process struct {
	pid, parent int
	frozen      bool   // stopped by a signal or a debugger
	started     uint64 // clock ticks after the boot
}

// readProcess reads an entry; ok is false where the process is gone or has ended and waits for its parent.
func readProcess(pid int) (p process, ok bool) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return process{}, false
	}
	return parseStat(pid, string(text))
}

// parseStat reads "pid (name) state ppid ...": the name may hold blanks and parentheses.
func parseStat(pid int, text string) (p process, ok bool) {
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return process{}, false
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return process{}, false
	}
	started, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return process{}, false
	}
	return process{pid: pid, parent: parent, frozen: fields[0] == "T" || fields[0] == "t", started: started}, true
}

// processes is the process table.
func processes() []process {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // what was read counts
	var list []process
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, ok := readProcess(pid); ok {
			list = append(list, p)
		}
	}
	return list
}

// serves reports whether a process is a server's at data: PostgreSQL's program, of that user, at work in that directory.
func serves(pid int, data string, uid uint32) bool {
	return runs(pid, "postgres", uid) && worksIn(filepath.Join("/proc", strconv.Itoa(pid), "cwd"), data)
}

// runs reports whether a process is a program of that name and belongs to that user.
func runs(pid int, program string, uid uint32) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	exe, err := os.Readlink(filepath.Join(dir, "exe"))
	if err != nil || filepath.Base(strings.TrimSuffix(exe, deleted)) != program {
		return false
	}
	info, err := os.Stat(dir)
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Uid == uid
}

// worksIn reports whether a working directory is data: by its path, also when it was removed meanwhile, or as the same directory under
// another path, as of a bind mount.
func worksIn(cwd, data string) bool {
	path, err := os.Readlink(cwd)
	if err != nil {
		return false
	}
	if strings.TrimSuffix(path, deleted) == data {
		return true
	}
	there, err := os.Stat(cwd)
	if err != nil {
		return false
	}
	here, err := os.Stat(data)
	return err == nil && os.SameFile(there, here)
}

// deleted is what the kernel appends to the name of a file that is gone, such as the program after an upgrade.
const deleted = " (deleted)"

// gang is the processes of one server.
type gang struct {
	first process   // the postmaster; its pid is 0 if there is none
	all   []process // with the postmaster, and what it has started beside servers: archive commands and the like
}

func (g *gang) running() bool { return g.first.pid != 0 }
func (g *gang) orphans() bool { return g.first.pid == 0 && len(g.all) > 0 }

// gang finds the processes of the server at a place.
func (p *place) gang() gang {
	table := processes()
	var g gang
	var servers []process
	for _, one := range table {
		if serves(one.pid, p.data, p.owner.uid) {
			servers = append(servers, one)
		}
	}
	if len(servers) == 0 {
		return g
	}
	pid := p.postmasterPID()
	for _, one := range servers {
		if one.pid == pid {
			g.first = one
		}
	}
	g.all = withDescendants(servers, table)
	return g
}

// withDescendants adds to servers whatever they have started, theirs first.
func withDescendants(servers, table []process) []process {
	all := slices.Clone(servers)
	have := make(map[int]bool, len(all))
	for _, one := range all {
		have[one.pid] = true
	}
	for i := 0; i < len(all); i++ {
		for _, other := range table {
			if other.parent == all[i].pid && !have[other.pid] {
				have[other.pid] = true
				all = append(all, other)
			}
		}
	}
	return all
}

// alive reports whether exactly this process is still there.
func (p process) alive() bool {
	now, ok := readProcess(p.pid)
	return ok && now.started == p.started
}

// signal sends sig to exactly this process, whoever may have its number by now. That it is gone is no error.
func (p process) signal(sig syscall.Signal) error {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("process %d: %w", p.pid, err)
	}
	defer unix.Close(fd)
	if !p.alive() { // asked after fd was opened: from here on fd means this process and no other
		return nil
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("process %d: signal %s: %w", p.pid, sig, err)
	}
	return nil
}
