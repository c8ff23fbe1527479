package agent

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// endLeftovers kills what programs of a killed agent have left behind. pg_basebackup receives the WAL in a process of its own, which does not
// notice that the other one was killed along with the agent: it would go on for ever, with the lock.
func (p *place) endLeftovers(lock *os.File) {
	ours, err := lock.Stat()
	if err != nil {
		return
	}
	for _, one := range processes() {
		if leftOver(one.pid, p.owner.uid) && holds(one.pid, ours) {
			_ = one.signal(syscall.SIGKILL) // if not, the lock stays taken, which is told
		}
	}
}

// leftOver reports whether a process is a user's pg_basebackup whose session has lost its leader, as which each program of ours is started.
func leftOver(pid int, uid uint32) bool {
	if !runs(pid, "pg_basebackup", uid) {
		return false
	}
	leader, err := unix.Getsid(pid)
	if err != nil || leader <= 0 {
		return false
	}
	_, there := readProcess(leader)
	return !there
}

// holds reports whether a process has a file open.
func holds(pid int, file os.FileInfo) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, e := range entries {
		if info, err := os.Stat(filepath.Join(dir, e.Name())); err == nil && os.SameFile(info, file) {
			return true
		}
	}
	return false
}
