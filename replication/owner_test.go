package replication

import (
	"io/fs"
	"syscall"
)

// owner is the user a file belongs to; -1 leaves it as it is.
func owner(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}
