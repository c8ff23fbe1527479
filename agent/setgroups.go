package agent

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// setGroups sets the groups of the calling thread alone: syscall.Setgroups changes those of all threads.
func setGroups(groups []uint32) error {
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0])), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
